//! Integration tests: through HTTP, against a real MongoDB replica set and a real Redis, with the carrier's stand-in as a
//! process of its own. `scripts/test` starts the servers.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

mod journey;
