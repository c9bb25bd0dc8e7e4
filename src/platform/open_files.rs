//! How many files and sockets this process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit as far as the system lets us: its default, often 1024, is for programs that use `select`. Where
/// that fails, fewer connections are served.
pub fn raise_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        tracing::warn!(%error, limit = limit(), "the limit of open files can't be raised");
    }
}

/// The limit as it stands.
#[must_use]
pub fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_what_the_system_allows() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        raise_limit();
        raise_limit();
        assert_eq!(limit(), hard);
    }
}
