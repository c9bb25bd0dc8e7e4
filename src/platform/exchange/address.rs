//! Addresses that somebody else chose: calls to them leave for the public internet alone. A URL is checked when it is saved
//! ([`check_url`]), and what its name stands for again whenever a connection is opened ([`PublicResolver`]), because a name may
//! answer something else the second time.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Longest URL: as long as browsers and proxies take them.
pub const URL_CHARS_MAX: usize = 2_000;

/// Above the ports of system services, those that browsers call no web server on (Fetch standard, "bad port"): whoever listens
/// there speaks another protocol, in which a request might mean something.
const NO_WEB_PORTS: &[u16] = &[
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];
/// Names that mean this machine or this network, or nothing at all (RFC 6761, RFC 8375, RFC 9476 and common use).
const LOCAL_SUFFIXES: &[&str] = &[
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "private",
    "home.arpa",
    "in-addr.arpa",
    "ip6.arpa",
    "onion",
    "alt",
    "test",
    "invalid",
    "example",
];

/// Addresses that may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPolicy {
    /// Public ones, by https.
    Public,
    /// All, by http too: for development and tests.
    Anywhere,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlFault {
    /// It can't be read, or has more than [`URL_CHARS_MAX`] characters.
    Unreadable,
    /// Another scheme than https, or http where that is allowed.
    Scheme,
    /// A user name or a password.
    Credentials,
    /// A part behind `#`, which no server sees.
    Fragment,
    /// A port on which no web server is.
    Port,
    /// Its host is, or means, an address that may not be called.
    Address,
}

impl UrlFault {
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Unreadable => "must be an absolute URL of at most 2000 characters",
            Self::Scheme => "must begin with https://",
            Self::Credentials => "must hold no user name and no password",
            Self::Fragment => "must hold no #",
            Self::Port => "must have the port 443 or one above 1023 on which web servers are",
            Self::Address => "must have the name or address of a host in the public internet",
        }
    }
}

/// Reads a URL that somebody else chose. Every spelling of an address is read as what it means: `0x7f.1`, `2130706433`.
///
/// # Errors
/// [`UrlFault`].
pub fn check_url(text: &str, reach: AddressPolicy) -> Result<Url, UrlFault> {
    if text.chars().count() > URL_CHARS_MAX {
        return Err(UrlFault::Unreadable);
    }
    let url = Url::parse(text).map_err(|_| UrlFault::Unreadable)?;
    match (url.scheme(), reach) {
        ("https", _) | ("http", AddressPolicy::Anywhere) => {}
        _ => return Err(UrlFault::Scheme),
    }
    // An empty user name leaves no trace in what was read.
    let behind_scheme = text.split_once(':').map_or("", |(_, rest)| rest).trim_start_matches(['/', '\\']);
    let authority = behind_scheme.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    if !url.username().is_empty() || url.password().is_some() || authority.contains('@') {
        return Err(UrlFault::Credentials);
    }
    if url.fragment().is_some() {
        return Err(UrlFault::Fragment);
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(UrlFault::Unreadable)?;
    if reach == AddressPolicy::Anywhere {
        return Ok(url);
    }
    if url.port().is_some_and(|port| port < 1024 || NO_WEB_PORTS.contains(&port)) {
        return Err(UrlFault::Port);
    }
    match literal(host) {
        Some(address) if is_public(address) => Ok(url),
        None if is_public_name(host) => Ok(url),
        _ => Err(UrlFault::Address),
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether a name may stand for a host in the public internet: it has a dot, and no ending that means this network.
fn is_public_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let is_within =
        |suffix: &&str| name.strip_suffix(*suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    name.contains('.') && !name.starts_with('.') && !name.ends_with('.') && !LOCAL_SUFFIXES.iter().any(is_within)
}

/// Whether an address belongs to a host in the public internet, by the registries of special addresses of IANA. Addresses that
/// hold others (IPv4-mapped, NAT64, 6to4, Teredo) do not: what they lead to depends on the network.
#[must_use]
pub const fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

const fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..] // this network, private, loopback, multicast and reserved
            | [100, 64..=127, ..] // shared by customers of a carrier
            | [169, 254, ..] // link-local
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [192, 0, 0 | 2, _] // protocol assignments, documentation
            | [192, 88, 99, _] // 6to4 relays
            | [198, 18 | 19, ..] // benchmarks
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    )
}

const fn is_public_v6(address: Ipv6Addr) -> bool {
    // Of all addresses only 2000::/3 is given to hosts; some of it is not.
    let segments = address.segments();
    segments[0] & 0xe000 == 0x2000
        && !matches!(
            segments,
            [0x2001, 0..=0x1ff, ..] // protocol assignments, Teredo and benchmarks among them
                | [0x2001, 0xdb8, ..]
                | [0x2002, ..] // 6to4
                | [0x3fff, 0..=0xfff, ..]
        )
}

pub type LookUp =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync>;

/// The system's way to look names up.
#[must_use]
pub fn system_look_up() -> LookUp {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) }))
}

/// A name stands for no address that may be called.
#[derive(Debug, thiserror::Error)]
#[error("the name stands for no address in the public internet")]
pub struct NotPublic;

/// Gives of what names stand for the public addresses alone, whenever a connection is opened.
pub(super) struct PublicResolver {
    pub(super) look_up: LookUp,
    pub(super) reach: AddressPolicy,
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (looking, reach) = ((self.look_up)(name.as_str().to_owned()), self.reach);
        Box::pin(async move {
            let mut found = looking.await?;
            let some = !found.is_empty();
            found.retain(|address| reach == AddressPolicy::Anywhere || is_public(address.ip()));
            if found.is_empty() && some {
                return Err(NotPublic.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(url: &str) -> Result<(), UrlFault> {
        check_url(url, AddressPolicy::Public).map(drop)
    }

    #[test]
    fn every_spelling_of_an_address_is_read_as_what_it_means() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "0x7f.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "0177.0.0.1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "１２７.０.０.１",
            "127。0。0。1",
            "①②⑦.0.0.1",
            "0",
            "0.0.0.0",
            "0x0",
            "10.0.0.1",
            "012.1",
            "100.64.0.1",
            "100.127.255.254",
            "169.254.169.254",
            "0xa9fea9fe",
            "2852039166",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "192.168.257",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "4294967295",
            "[::]",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::ffff:8.8.8.8]",
            "[::ffff:0:7f00:1]",
            "[::127.0.0.1]",
            "[::8.8.8.8]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::8.8.8.8]",
            "[64:ff9b:1::1]",
            "[100::1]",
            "[2001::1]",
            "[2001:0:7f00:1::]",
            "[2001:2::1]",
            "[2001:20::1]",
            "[2001:db8::1]",
            "[2002:7f00:1::]",
            "[2002:808:808::1]",
            "[3fff::1]",
            "[3fff:fff::1]",
            "[5f00::1]",
            "[fc00::1]",
            "[fd12:3456::1]",
            "[fe80::1]",
            "[fec0::1]",
            "[ff02::1]",
            "[fd00:ec2::254]",
        ] {
            for url in
                [format!("https://{host}/hook"), format!("https://{host}:8443"), format!("HTTPS:\\\\{host}\\hook")]
            {
                assert_eq!(public(&url), Err(UrlFault::Address), "{url}");
            }
        }
    }

    #[test]
    fn names_of_this_network_are_refused() {
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "ｌocalhost",
            "foo.localhost",
            "localhost.localdomain",
            "printer.local",
            "metadata.google.internal",
            "intranet",
            "mongo",
            "db.lan",
            "router.home.arpa",
            "x.onion",
            "a.test",
            "a.example",
            "1.0.0.127.in-addr.arpa",
        ] {
            assert_eq!(public(&format!("https://{host}/")), Err(UrlFault::Address), "{host}");
        }
    }

    #[test]
    fn hosts_in_the_public_internet_are_taken() {
        for url in [
            "https://hooks.example.com/waybill?token=1",
            "https://hooks.example.com:8443",
            "https://notlocalhost.com/",
            "https://local.example.com./",
            "https://bücher.de/hook",
            "https://8.8.8.8/",
            "https://100.63.255.255/",
            "https://172.32.0.1/",
            "https://192.0.1.1/",
            "https://198.20.0.1/",
            "https://223.255.255.255/",
            "https://[2606:4700::1111]/",
            "https://[2001:4860:4860::8888]:9443/",
            "https://[2001:200::1]/",
        ] {
            assert_eq!(public(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_is_no_plain_web_address_is_refused() {
        let long = format!("https://example.com/{}", "a".repeat(URL_CHARS_MAX));
        for (url, fault) in [
            ("", UrlFault::Unreadable),
            ("hooks.example.com", UrlFault::Unreadable),
            ("/hook", UrlFault::Unreadable),
            ("https://", UrlFault::Unreadable),
            ("https://256.1.1.1/", UrlFault::Unreadable),
            ("https://1.2.3.4.5/", UrlFault::Unreadable),
            ("https://[::1/", UrlFault::Unreadable),
            ("https://[fe80::1%25eth0]/", UrlFault::Unreadable),
            ("https://exa mple.com/", UrlFault::Unreadable),
            ("https://example.com:99999/", UrlFault::Unreadable),
            (&long, UrlFault::Unreadable),
            ("http://example.com/", UrlFault::Scheme),
            ("ftp://example.com/", UrlFault::Scheme),
            ("file:///etc/passwd", UrlFault::Scheme),
            ("gopher://127.0.0.1:6379/_FLUSHALL", UrlFault::Scheme),
            ("unix:/var/run/docker.sock", UrlFault::Scheme),
            ("javascript:alert(1)", UrlFault::Scheme),
            ("https://user:password@example.com/", UrlFault::Credentials),
            ("https://user@example.com/", UrlFault::Credentials),
            ("https://:password@example.com/", UrlFault::Credentials),
            ("https://@example.com/", UrlFault::Credentials),
            ("https://example.com@127.0.0.1/", UrlFault::Credentials),
            ("https:\\\\a@127.0.0.1", UrlFault::Credentials),
            ("https://example.com/#part", UrlFault::Fragment),
            ("https://example.com:22/", UrlFault::Port),
            ("https://example.com:80/", UrlFault::Port),
            ("https://example.com:0/", UrlFault::Port),
            ("https://example.com:6667/", UrlFault::Port),
        ] {
            assert_eq!(public(url), Err(fault), "{url}");
        }
        assert_eq!(public("https://example.com/@name?to=a@b"), Ok(()), "behind the host it is no user name");
    }

    #[test]
    fn development_may_call_this_machine() {
        for url in ["http://127.0.0.1:3000/hook", "http://localhost/", "https://[::1]:1/"] {
            assert!(check_url(url, AddressPolicy::Anywhere).is_ok(), "{url}");
        }
        for url in ["http://a:b@localhost/", "file:///etc/passwd", "localhost:3000"] {
            assert!(check_url(url, AddressPolicy::Anywhere).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_leads_to_its_public_addresses_alone() {
        let given = |addresses: &'static [&'static str], reach| {
            let look_up: LookUp = Arc::new(move |_| {
                let found =
                    addresses.iter().map(|text| SocketAddr::new(text.parse().expect("an address"), 0)).collect();
                Box::pin(async move { Ok(found) })
            });
            let resolver = PublicResolver { look_up, reach };
            async move {
                let name = "hooks.example.com".parse().expect("a name");
                resolver
                    .resolve(name)
                    .await
                    .map(|found| found.map(|address| address.ip().to_string()).collect::<Vec<_>>())
            }
        };
        const BOTH: &[&str] = &["169.254.169.254", "8.8.8.8", "::ffff:10.0.0.1"];
        assert_eq!(given(BOTH, AddressPolicy::Public).await.expect("one is left"), ["8.8.8.8"]);
        assert_eq!(given(BOTH, AddressPolicy::Anywhere).await.expect("all are").len(), 3);
        let refused = given(&["127.0.0.1", "::1"], AddressPolicy::Public).await.expect_err("none is left");
        assert!(refused.is::<NotPublic>());
    }
}
