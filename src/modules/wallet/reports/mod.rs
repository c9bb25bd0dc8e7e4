//! Reports over the ledger: a merchant's own lines and statement; finance's search, export and trial balance.
//!
//! They only read. What is in the ledger never changes, so a place in it stays a place: pages carry the last line and,
//! where they have to add up, the last sequence that was there when the first page was read. A read of many pages goes on
//! in later snapshots with the same bounds and gives the same lines.

mod export;
mod finance;
mod http;
mod parts;
mod search;
mod snapshot;
mod statement;
mod statement_csv;
mod trial_balance;

use utoipa_axum::router::OpenApiRouter;

use super::store::WalletStore;
use crate::platform::{
    clock::Clock,
    error::{AppError, FieldError},
};
use parts::{ReportError, Reports};

pub fn router(store: WalletStore, clock: Clock) -> OpenApiRouter {
    let reports = Reports { store, clock };
    http::router(reports.clone()).merge(finance::router(reports))
}

impl From<ReportError> for AppError {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Cursor => {
                Self::invalid(vec![FieldError::new("cursor", "format", "must be the nextCursor of the page before")])
            }
            ReportError::TooWide => Self::unavailable(
                "finance.too_wide",
                "There is too much to look through in time; narrow it down, to a user, a reference or a shorter period.",
            ),
            ReportError::Database(error) => error.into(),
            ReportError::Broken(_) | ReportError::Overflow | ReportError::Write(_) => Self::internal(error),
        }
    }
}
