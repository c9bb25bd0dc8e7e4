//! Access tokens that are void before they expire.

use std::{collections::HashMap, sync::Arc};

use parking_lot::RwLock;

/// The access versions of users whose version has grown while tokens of an older one may still be around. Each process keeps
/// it in memory and follows the database (`modules::auth`), so a request is checked without a question to anybody.
#[derive(Clone, Debug, Default)]
pub struct Revocations(Arc<RwLock<HashMap<String, Revocation>>>);

#[derive(Clone, Copy, Debug)]
struct Revocation {
    access_version: i64,
    at_ms: i64,
}

impl Revocations {
    /// Since `at_ms`, tokens of `user_id` below this version are void.
    pub fn note(&self, user_id: &str, access_version: i64, at_ms: i64) {
        let mut changes = self.0.write();
        let change = changes.entry(user_id.to_owned()).or_insert(Revocation { access_version, at_ms });
        change.access_version = change.access_version.max(access_version);
        change.at_ms = change.at_ms.max(at_ms);
    }

    /// Whether a token of this user and version is void.
    #[must_use]
    pub fn void(&self, user_id: &str, access_version: i64) -> bool {
        self.0.read().get(user_id).is_some_and(|change| access_version < change.access_version)
    }

    /// Forgets changes from before `at_ms`: tokens of an older version have expired.
    pub fn forget_before(&self, at_ms: i64) {
        self.0.write().retain(|_, change| change.at_ms >= at_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_below_the_version_are_void_until_it_is_forgotten() {
        let revocations = Revocations::default();
        assert!(!revocations.void("usr_1", 0));
        revocations.note("usr_1", 2, 1_000);
        // News may come in any order, and twice.
        revocations.note("usr_1", 1, 900);
        for (version, void) in [(0, true), (1, true), (2, false), (3, false)] {
            assert_eq!(revocations.void("usr_1", version), void, "{version}");
        }
        assert!(!revocations.void("usr_2", 0));
        revocations.forget_before(1_000);
        assert!(revocations.void("usr_1", 1));
        revocations.forget_before(1_001);
        assert!(!revocations.void("usr_1", 1));
    }
}
