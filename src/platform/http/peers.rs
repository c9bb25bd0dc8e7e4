//! How many connections each address has.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use super::TrustedProxies;
use crate::platform::rate_limit::network;

/// That connections are refused is logged this often; each is counted.
const LOG_EVERY_SECONDS: u64 = 60;

/// How many connections one address (of IPv6 a /64) may have open. Proxies of ours stand for many clients and have no limit here.
#[derive(Clone, Debug, Default)]
pub struct PeerLimit {
    /// None for no limit.
    pub connections: Option<usize>,
    /// Ours.
    pub proxies: TrustedProxies,
}

/// The connections that there are.
#[derive(Debug)]
pub(super) struct Peers {
    limit: PeerLimit,
    open: Mutex<HashMap<String, usize>>,
    logged_at: AtomicU64,
}

/// The slot of one connection; it is free when this is dropped.
#[derive(Debug)]
pub(super) struct PeerSlot {
    /// None where it is not counted.
    counted: Option<(Arc<Peers>, String)>,
}

impl Peers {
    /// No address gets more than half of the `room` that there is for all.
    pub(super) fn new(limit: PeerLimit, room: usize) -> Arc<Self> {
        let connections = limit.connections.map(|connections| connections.min(room / 2).max(1));
        Arc::new(Self {
            limit: PeerLimit { connections, ..limit },
            open: Mutex::default(),
            logged_at: AtomicU64::new(0),
        })
    }

    /// A place for a connection from `peer`; none where it has as many as it may have.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<PeerSlot> {
        let Some(most) = self.limit.connections.filter(|_| !self.limit.proxies.contains(peer.to_canonical())) else {
            return Some(PeerSlot { counted: None });
        };
        let network = network(peer, 64);
        let mut all = self.open.lock();
        let open = all.get(&network).copied().unwrap_or_default();
        if open >= most {
            drop(all);
            self.refused(&network, most);
            return None;
        }
        all.insert(network.clone(), open + 1);
        Some(PeerSlot { counted: Some((Arc::clone(self), network)) })
    }

    fn refused(&self, network: &str, most: usize) {
        metrics::counter!("waybill_http_connections_refused_total").increment(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let before = self.logged_at.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(before) >= LOG_EVERY_SECONDS;
        if is_due && self.logged_at.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(
                client.network = network,
                most,
                "an address has too many connections; where it is a proxy, name it in TRUSTED_PROXIES"
            );
        }
    }
}

impl Drop for PeerSlot {
    fn drop(&mut self) {
        let Some((peers, network)) = &self.counted else { return };
        let mut all = peers.open.lock();
        match all.get_mut(network) {
            Some(open) if *open > 1 => *open -= 1,
            _ => drop(all.remove(network)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(connections: Option<usize>, room: usize) -> Arc<Peers> {
        Peers::new(PeerLimit { connections, proxies: "10.0.0.0/8".parse().expect("a network") }, room)
    }

    /// How many places out of `asked` an address gets.
    fn taken(peers: &Arc<Peers>, address: &str, asked: usize) -> Vec<PeerSlot> {
        let address = address.parse().expect("an address");
        (0..asked).filter_map(|_| peers.take(address)).collect()
    }

    #[test]
    fn an_address_has_so_many_connections_and_others_theirs() {
        let peers = peers(Some(3), 100);
        let held = taken(&peers, "192.0.2.1", 5);
        assert_eq!((held.len(), taken(&peers, "::ffff:192.0.2.1", 1).len()), (3, 0), "the same address");
        assert_eq!(taken(&peers, "192.0.2.2", 5).len(), 3);
        let of_network = taken(&peers, "2001:db8::1", 2);
        assert_eq!(taken(&peers, "2001:db8::2", 2).len(), 1, "of one /64");
        assert_eq!(taken(&peers, "2001:db8:0:1::1", 5).len(), 3);
        assert_eq!(taken(&peers, "10.1.2.3", 50).len(), 50, "a proxy stands for many");
        drop(held);
        assert_eq!(taken(&peers, "192.0.2.1", 5).len(), 3, "whoever has left makes room");
        drop(of_network);
        assert_eq!(peers.open.lock().len(), 0, "who has none is forgotten");
    }

    #[test]
    fn nobody_gets_all_the_room_unless_it_is_not_limited() {
        for (connections, room, expected) in [(Some(1_000), 16, 8), (Some(1_000), 1, 1), (None, 16, 50)] {
            assert_eq!(taken(&peers(connections, room), "192.0.2.1", 50).len(), expected, "{connections:?} of {room}");
        }
    }
}
