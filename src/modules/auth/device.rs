//! Devices on which somebody has signed in: a cookie that says so, by which strangers' wrong passwords don't shut the owner
//! out. It opens nothing: whoever has it may try passwords within a limit of its own. No IO, no clock.

use axum::http::{HeaderMap, header};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use subtle::ConstantTimeEq;

use crate::platform::secret::{MacKey, derive_key};

const COOKIE: &str = "waybill_device";
/// A year: whoever comes back more rarely is a stranger.
const SECONDS_MAX: u32 = 365 * 24 * 60 * 60;
const NAME_BYTES: usize = 12;
const MAC_BYTES: usize = 32;

/// Keys that sign device cookies: today's, and the one before.
#[derive(Debug)]
pub struct DeviceKeys {
    current: MacKey,
    previous: Option<MacKey>,
}

impl DeviceKeys {
    /// Keys of their own, derived from the secrets that sign access tokens.
    #[must_use]
    pub fn derive(secret: &SecretString, previous: Option<&SecretString>) -> Self {
        let derive = |secret| MacKey::new(&derive_key(secret, "waybill devices v1"));
        Self { current: derive(secret), previous: previous.map(derive) }
    }

    /// A `Set-Cookie` for a new device of `user_id`. Not `Secure`, because the API speaks plain HTTP behind its proxy and the
    /// cookie opens nothing.
    pub(super) fn cookie(&self, user_id: &str) -> String {
        let name: [u8; NAME_BYTES] = rand::random();
        let value = [&name[..], &self.current.mac(&signed(&name, user_id))].concat();
        let value = URL_SAFE_NO_PAD.encode(value);
        format!("{COOKIE}={value}; Max-Age={SECONDS_MAX}; Path=/auth; HttpOnly; SameSite=Strict")
    }

    /// The name of the device that these headers present, where `user_id` has signed in on it.
    pub(super) fn device_of(&self, headers: &HeaderMap, user_id: &str) -> Option<String> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut values = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        values.find_map(|(name, value)| if name == COOKIE { self.read(value, user_id) } else { None })
    }

    fn read(&self, value: &str, user_id: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(value).ok()?;
        if bytes.len() != NAME_BYTES + MAC_BYTES {
            return None;
        }
        let (name, mac) = bytes.split_at(NAME_BYTES);
        let is_ours = |key: &MacKey| key.mac(&signed(name, user_id)).as_slice().ct_eq(mac).into();
        std::iter::once(&self.current).chain(&self.previous).any(is_ours).then(|| hex::encode(name))
    }
}

fn signed(name: &[u8], user_id: &str) -> Vec<u8> {
    [name, user_id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secret: &str, previous: Option<&str>) -> DeviceKeys {
        DeviceKeys::derive(&SecretString::from(secret), previous.map(SecretString::from).as_ref())
    }

    fn sent(cookies: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, cookie.parse().expect("a header"));
        }
        headers
    }

    #[test]
    fn a_device_is_known_to_its_user_alone() {
        let ours = keys("one", None);
        let set = ours.cookie("usr_1");
        let pair = set.split(';').next().expect("a cookie");
        let device = ours.device_of(&sent(&[pair]), "usr_1").expect("known");
        assert_eq!(ours.device_of(&sent(&["a=b; c", &format!("x=y;{pair} ; z")]), "usr_1"), Some(device.clone()));
        assert_eq!(keys("two", Some("one")).device_of(&sent(&[pair]), "usr_1"), Some(device));
        assert!(ours.device_of(&sent(&[pair]), "usr_2").is_none());
        assert!(keys("two", None).device_of(&sent(&[pair]), "usr_1").is_none());
        let (_, value) = pair.split_once('=').expect("a pair");
        for forged in
            ["waybill_device=", "waybill_device=x", &format!("other={value}"), &format!("{pair}A"), &pair[..30]]
        {
            assert!(ours.device_of(&sent(&[forged]), "usr_1").is_none(), "{forged}");
        }
        assert!(ours.device_of(&HeaderMap::new(), "usr_1").is_none());
        let other = ours.cookie("usr_1");
        assert_ne!(ours.device_of(&sent(&[&other]), "usr_1"), ours.device_of(&sent(&[pair]), "usr_1"));
    }
}
