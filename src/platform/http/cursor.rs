//! Places in a list that clients hand back to us: opaque, and refused where they are not ours.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use validator::ValidationError;

use crate::platform::ids::is_id;

/// Hex digits that tell ours from others'.
const DIGEST_LEN: usize = 16;

/// `place` as a cursor of `scope`: the list, and whose it is.
///
/// The digest has no key. It tells a cursor of another list or user, and one that was cut off, from ours; it doesn't have
/// to keep anything out, because every query takes the user from the token and never from a cursor.
#[must_use]
pub fn seal(scope: &str, place: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}{place}", digest(scope, place)))
}

/// The place in a cursor of `scope`.
#[must_use]
pub fn open(scope: &str, cursor: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (sealed, place) = text.split_at_checked(DIGEST_LEN)?;
    (sealed == digest(scope, place)).then(|| place.to_owned())
}

/// That a cursor which is the last id of its page is one: in a query's rules.
///
/// # Errors
/// With what it has to be, for the client.
pub fn check_id(prefix: &str, cursor: &str) -> Result<(), ValidationError> {
    if is_id(prefix, cursor) {
        Ok(())
    } else {
        Err(ValidationError::new("format").with_message("must be the nextCursor of the page before".into()))
    }
}

fn digest(scope: &str, place: &str) -> String {
    let mut digest = hex::encode(Sha256::digest(format!("{}\0{scope}\0{place}", scope.len())));
    digest.truncate(DIGEST_LEN);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_in_its_own_scope_only() {
        let cursor = seal("list usr_1", "17|INR");
        assert_eq!(open("list usr_1", &cursor).as_deref(), Some("17|INR"));
        assert_eq!(open("list usr_2", &cursor), None);
        assert!(
            cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
            "goes into a URL as it is"
        );
    }

    #[test]
    fn what_we_did_not_write_is_refused() {
        let cursor = seal("list", "17");
        let changed = URL_SAFE_NO_PAD.encode(format!("{}18", digest("list", "17")));
        for bad in
            ["", "x", "17", "%00", "....", &cursor[1..], &cursor[..cursor.len() - 1], &changed, &"a".repeat(9_999)]
        {
            assert_eq!(open("list", bad), None, "{bad}");
        }
    }
}
