//! `/audit/export`: sealed records as a file, written while the client takes it.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use futures_util::stream;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::{
    io::AsyncReadExt,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use crate::{
    modules::audit::export::{Export, ExportError, ExportFilter, ExportFormat, Exporter},
    platform::{
        clock::{Clock, Rfc3339Time},
        error::{AppError, ErrorKind, Problem},
        http::{ApiQuery, CSV, NDJSON, attachment},
        identity::{About, Actor, AdminReader},
    },
};

/// Exports that one process writes at once: each reads as fast as its client takes it.
const EXPORTS_MAX: usize = 2;
/// Nobody takes longer than this, however slowly; what is larger is for `waybill audit export`.
const EXPORT_TIME_MAX: Duration = Duration::from_secs(3_600);
/// When to try again where there is no room.
const BUSY_FOR: Duration = Duration::from_secs(10);
/// Bytes that are written and not yet taken.
const PIPE_BYTES: usize = 256 * 1024;
/// Bytes that are handed to the connection at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// State of the route, and room for exports.
#[derive(Clone, Debug)]
pub struct AuditExports {
    exporter: Exporter,
    clock: Clock,
    room: Arc<Semaphore>,
    /// Users who export just now: one at a time, so that nobody takes all the room.
    readers: Arc<Mutex<BTreeSet<String>>>,
}

/// A reader's place among those who export.
struct Turn {
    _place: OwnedSemaphorePermit,
    reader: String,
    readers: Arc<Mutex<BTreeSet<String>>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.readers.lock().remove(&self.reader);
    }
}

impl AuditExports {
    /// With all the room that a process has; to be made once.
    #[must_use]
    pub fn new(exporter: Exporter, clock: Clock) -> Self {
        Self { exporter, clock, room: Arc::new(Semaphore::new(EXPORTS_MAX)), readers: Arc::default() }
    }

    fn turn_of(&self, reader: &str) -> Result<Turn, AppError> {
        let busy = |detail| AppError::new(ErrorKind::RateLimited, "audit.exports_busy", detail).retry_after(BUSY_FOR);
        let place = Arc::clone(&self.room).try_acquire_owned();
        let place = place.map_err(|_| busy("Other exports are being written; try again when one of them is done."))?;
        let readers = Arc::clone(&self.readers);
        if !readers.lock().insert(reader.to_owned()) {
            return Err(busy("An export of yours is being written; try again when it is done."));
        }
        Ok(Turn { _place: place, reader: reader.to_owned(), readers })
    }
}

/// The route.
pub fn audit_export_router(exports: AuditExports) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(export_audit)).with_state(exports)
}

/// `GET /audit/export`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// `ndjson` by default.
    #[param(inline)]
    format: Option<ExportFormat>,
    /// About this order.
    order_id: Option<String>,
    /// User.
    user_id: Option<String>,
    /// About the order that its merchant calls so; calls to providers only.
    client_order_id: Option<String>,
    /// Provider; calls only.
    provider: Option<String>,
    /// Operation; calls only.
    operation: Option<String>,
    /// Answered with this shipment; calls only.
    awb: Option<String>,
    /// Following from the request with this id (`X-Request-Id`).
    correlation_id: Option<String>,
    /// A collection, or several, with commas between.
    #[param(example = "events,audit_events")]
    collection: Option<String>,
    /// Start of the period, RFC 3339: without other filters seals that were sealed then, else records by the time of their ids.
    #[param(value_type = Option<String>)]
    from: Option<Rfc3339Time>,
    /// Before then, RFC 3339.
    #[param(value_type = Option<String>)]
    to: Option<Rfc3339Time>,
}

impl From<ExportQuery> for ExportFilter {
    fn from(query: ExportQuery) -> Self {
        let collections = query.collection.iter().flat_map(|names| names.split(',')).map(str::to_owned).collect();
        Self {
            order_id: query.order_id,
            user_id: query.user_id,
            client_order_id: query.client_order_id,
            provider: query.provider,
            operation: query.operation,
            awb: query.awb,
            correlation_id: query.correlation_id,
            collections,
            from: query.from,
            to: query.to,
        }
    }
}

impl From<ExportError> for AppError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::NotSigned => Self::unavailable(
                "audit.not_signed",
                "No key signs audit records here; an operator has to set AUDIT_SIGNING_KEY.",
            ),
            ExportError::Database(error) => error.into(),
            // Where the times begin or end: exporting what is left would pass it off as all there was.
            ExportError::Seal { number, reason } => {
                let detail = format!("Seal {number} {reason}. Nothing can be exported up to it or from it on.");
                Self::new(ErrorKind::Conflict, "audit.seal_not_usable", detail).caused_by(error)
            }
            ExportError::Secret(_) | ExportError::Record { .. } | ExportError::Write(_) | ExportError::Task(_) => {
                Self::internal(error)
            }
        }
    }
}

/// Sealed records as a file that can be checked with the public keys alone. Without filters, or with times only, whole seals
/// with all their records; else records that match, each with its proof. What is not sealed yet is left out. The last line
/// is a signed manifest: a file without it is not whole, ask again.
#[utoipa::path(get, path = "/audit/export", tag = "audit", security(("bearer" = [])), params(ExportQuery),
    responses(
        (status = 200, description = "A value per line as JSON, or with `csv` a record per row.",
            content((String = "application/x-ndjson"), (String = "text/csv"))),
        (status = 409, description = "A seal at which the times begin or end is missing, or no known key has signed it.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "Others are being written; try again later.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No key signs here.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn export_audit(
    State(exports): State<AuditExports>,
    AdminReader(reader): AdminReader,
    ApiQuery(query): ApiQuery<ExportQuery>,
) -> Result<Response, AppError> {
    let format = query.format.unwrap_or_default();
    let filter = ExportFilter::from(query);
    match filter.faults() {
        faults if faults.is_empty() => {}
        faults => return Err(AppError::invalid(faults)),
    }
    let turn = exports.turn_of(&reader.user_id)?;
    let about = About::new(filter.order_id.as_deref(), filter.user_id.as_deref());
    let export = exports.exporter.begin(filter, format, Actor::from(&reader), exports.clock.now()).await?;
    let content_type = if format == ExportFormat::Csv { CSV } else { NDJSON };
    let file = attachment(content_type, &export.file_name(), body_of(export, turn))?;
    Ok((Extension(about), file).into_response())
}

/// A body that is written as it is taken, by a task that ends with it: a client that hangs up ends the reading too. Where
/// it fails, the body breaks off, and no client takes what it has for the whole.
fn body_of(export: Export, turn: Turn) -> Body {
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    // A set ends its tasks when it is dropped.
    let mut writing = JoinSet::new();
    writing.spawn(async move {
        let _turn = turn;
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it was taken too slowly");
        tokio::time::timeout(EXPORT_TIME_MAX, export.write_to(ours, |_| ())).await.map_err(late)?
    });
    Body::from_stream(stream::try_unfold((theirs, writing), |(mut theirs, mut writing)| async move {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        if theirs.read_buf(&mut piece).await? > 0 {
            return Ok(Some((piece.freeze(), (theirs, writing))));
        }
        let ended = writing.join_next().await;
        let ended = ended.map_or(Ok(()), |ended| ended.map_err(ExportError::from).flatten().map(drop));
        ended.map(|()| None).map_err(|error| {
            tracing::error!(%error, "an audit export was broken off");
            io::Error::other(error)
        })
    }))
}
