//! The client's address behind proxies: only entries written by trusted proxies count.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use axum::http::HeaderMap;
use ipnet::{IpNet, Ipv4Net};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Proxies whose `X-Forwarded-For` is believed; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// The client behind `peer`. Each proxy appends whom it heard from, so the header is walked from the right, and
    /// the first address that is no proxy of ours is the client; what stands left of it anybody may have written.
    /// The peer, where it is no proxy of ours, where the header can't be read up to the client, or names none.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.contains(peer) {
            return peer;
        }
        let lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
        for line in lines.into_iter().rev() {
            let Ok(line) = line.to_str() else { return peer };
            for hop in line.rsplit(',') {
                match address(hop.trim()) {
                    None => return peer,
                    Some(hop) if self.contains(hop) => {}
                    Some(client) => return client,
                }
            }
        }
        peer
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for TrustedProxies {
    type Err = String;

    /// Addresses and networks (`10.0.0.0/8`), separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(network).collect::<Result<_, _>>().map(Self)
    }
}

/// An address, with or without a port: some proxies append one.
fn address(hop: &str) -> Option<IpAddr> {
    let address = hop.parse().or_else(|_| hop.parse::<SocketAddr>().map(|socket| socket.ip())).ok()?;
    Some(address.to_canonical())
}

/// A network, or the one of a single address.
fn network(text: &str) -> Result<IpNet, String> {
    let read = text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address)));
    let network: IpNet =
        read.map_err(|_| format!("`{text}` is neither an address nor a network such as 10.0.0.0/8"))?;
    // ::ffff:10.0.0.0/104 is 10.0.0.0/8; a shorter prefix is a network of IPv6.
    let mapped = match (network, network.addr().to_canonical(), network.prefix_len().checked_sub(96)) {
        (IpNet::V6(_), IpAddr::V4(address), Some(prefix)) => Ipv4Net::new(address, prefix).ok(),
        _ => None,
    };
    Ok(mapped.map_or(network, IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &str, peer: &str, lines: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.to_vec().try_into().expect("a header"));
        }
        let trusted: TrustedProxies = trusted.parse().expect(trusted);
        trusted.client(peer.parse().expect("an address"), &headers).to_string()
    }

    #[test]
    fn the_client_is_the_first_address_from_the_right_that_is_no_proxy() {
        for (trusted, peer, lines, expected) in [
            // Nobody is trusted, or not this one: the header means nothing.
            ("", "10.0.0.1", &[&b"203.0.113.7"[..]][..], "10.0.0.1"),
            ("10.0.0.0/8", "192.0.2.1", &[b"203.0.113.7"], "192.0.2.1"),
            // One proxy, several, in one line or in many; what the client wrote itself stands on the left.
            ("10.0.0.1", "10.0.0.1", &[b"203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", "10.0.0.1", &[b"127.0.0.1, 203.0.113.7"], "203.0.113.7"),
            ("10.0.0.0/8", "10.0.0.1", &[b"1.1.1.1,203.0.113.7 ,10.2.3.4"], "203.0.113.7"),
            ("10.0.0.0/8, 192.0.2.9", "10.0.0.1", &[b"1.1.1.1", b"203.0.113.7, 192.0.2.9", b"10.2.3.4"], "203.0.113.7"),
            // Trusted addresses that the client wrote don't hide it.
            ("10.0.0.0/8", "10.0.0.1", &[b"10.9.9.9, 203.0.113.7"], "203.0.113.7"),
            // Nothing to go by: the peer.
            ("10.0.0.0/8", "10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.0/8", "10.0.0.1", &[b"10.0.0.2, 10.0.0.3"], "10.0.0.1"),
            ("10.0.0.0/8", "10.0.0.1", &[b""], "10.0.0.1"),
            ("10.0.0.0/8", "10.0.0.1", &[b"203.0.113.7, unknown"], "10.0.0.1"),
            ("10.0.0.0/8", "10.0.0.1", &[b"203.0.113.7,"], "10.0.0.1"),
            ("10.0.0.0/8", "10.0.0.1", &[b"203.0.113.7, \xff"], "10.0.0.1"),
            ("10.0.0.0/8", "10.0.0.1", &[b"203.0.113.7, \xff", b"10.0.0.2"], "10.0.0.1"),
            ("10.0.0.0/8", "10.0.0.1", &[b"203.0.113.256"], "10.0.0.1"),
            // What can't be read left of the client doesn't matter.
            ("10.0.0.0/8", "10.0.0.1", &[b"\xff", b"unknown, 203.0.113.7"], "203.0.113.7"),
            // IPv6, mapped addresses on every side, ports.
            ("2001:db8::/32", "2001:db8::1", &[b"2001:db9::7, 2001:db8:ffff::2"], "2001:db9::7"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", &[b"::ffff:203.0.113.7, ::ffff:10.0.0.2"], "203.0.113.7"),
            ("::ffff:10.0.0.0/104", "10.0.0.1", &[b"203.0.113.7"], "203.0.113.7"),
            ("::ffff:10.0.0.1", "10.0.0.1", &[b"203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", "10.0.0.1", &[b"203.0.113.7:4711"], "203.0.113.7"),
            ("10.0.0.1", "10.0.0.1", &[b"[2001:db9::7]:4711"], "2001:db9::7"),
            // Edges of prefixes.
            ("10.0.0.1/32", "10.0.0.1", &[b"10.0.0.2"], "10.0.0.2"),
            ("10.0.0.9/30", "10.0.0.10", &[b"10.0.0.12, 10.0.0.11"], "10.0.0.12"),
            ("0.0.0.0/0", "10.0.0.1", &[b"203.0.113.7"], "10.0.0.1"),
            ("0.0.0.0/0", "2001:db8::1", &[b"203.0.113.7"], "2001:db8::1"),
            ("::/0", "10.0.0.1", &[b"203.0.113.7"], "10.0.0.1"),
        ] {
            assert_eq!(client(trusted, peer, lines), expected, "{trusted} trusted, {peer} says {lines:?}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_by_name() {
        for bad in [
            "proxy",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0/8",
            "::/129",
            "10.0.0.1:80",
            "10.0.0.1/",
            "::ffff:10.0.0.1/129",
        ] {
            let error = format!("127.0.0.1,{bad}").parse::<TrustedProxies>().expect_err(bad);
            assert!(error.contains(bad), "{error}");
        }
        assert_eq!(" , ".parse(), Ok(TrustedProxies::default()));
    }
}
