//! `/audit/verification`: whether what was sealed within some time is still what it was.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{Json, extract::State};
use bson::DateTime;
use mongodb::Database;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use crate::{
    modules::audit::{
        proof::{Anchor, Finding, FindingKind, PublicKeys},
        verification::{ChainError, ChainPart, Limits, Report, sealed_between, verify_chain},
    },
    platform::{
        clock::{Clock, Rfc3339Time},
        error::{AppError, ErrorKind, FieldError, Problem},
        http::ApiQuery,
        identity::AdminReader,
        sealing::SealingKeys,
    },
};

/// One answer checks as many records, and takes about as long; the next one goes on. `waybill audit verify` has no limits.
const LIMITS: Limits = Limits { records: 200_000, time: Duration::from_secs(10) };
/// Without a range this time is looked at.
const RANGE_MS: i64 = 3_600_000;
/// Checking keeps a processor busy: one process checks for so many at once.
const AT_ONCE: usize = 2;
/// When somebody who found all of them taken may try again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// State of the route.
#[derive(Clone, Debug)]
pub struct Verifications {
    db: Database,
    keys: PublicKeys,
    sealing: Arc<SealingKeys>,
    clock: Clock,
    places: Arc<Semaphore>,
}

impl Verifications {
    /// Checks the chain in `db` by `keys`.
    #[must_use]
    pub fn new(db: Database, keys: PublicKeys, sealing: Arc<SealingKeys>, clock: Clock) -> Self {
        Self { db, keys, sealing, clock, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

/// The route.
pub fn verification_router(verifications: Verifications) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(get_verification)).with_state(verifications)
}

/// `GET /audit/verification`
#[derive(Clone, Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct VerificationQuery {
    /// Seals that were sealed from then on, RFC 3339; an hour before `to` unless given.
    #[param(value_type = Option<String>)]
    from: Option<Rfc3339Time>,
    /// Before then, RFC 3339; now unless given.
    #[param(value_type = Option<String>)]
    to: Option<Rfc3339Time>,
    /// `nextFromSeal` of the answer before, with the same range.
    #[validate(range(min = 1))]
    #[param(minimum = 1)]
    from_seal: Option<i64>,
}

/// The scope of a check, and its findings.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct VerificationResponse {
    /// Whether everything that was checked is as it was sealed.
    verified: bool,
    /// Whether all seals of the range were checked; false where the limits ended it, something was found, or nothing was
    /// sealed from then on.
    complete: bool,
    /// The seal to go on with: send it as `fromSeal`, with the same range. Null where nothing is left.
    next_from_seal: Option<i64>,
    from: Rfc3339Time,
    to: Rfc3339Time,
    seals: VerifiedSeals,
    /// Records that were compared with what was sealed.
    records: u64,
    /// Records that are gone and are declared purged.
    purged: u64,
    /// Number of both that were sealed more than three minutes after the time in their ids: nothing was sealed for a while,
    /// or somebody put them there later.
    sealed_late: u64,
    /// The first thing that is wrong; nothing behind it was looked at.
    finding: Option<FindingResponse>,
    /// The seal before the first one. It is believed, but for its signature: what is before it was not checked.
    trusted: Option<AnchorResponse>,
    /// The last seal that was checked: compare it with one that is kept elsewhere.
    anchor: Option<AnchorResponse>,
    /// Ids of the keys that signed.
    keys: BTreeSet<String>,
}

/// Seals that were checked with all their records; null where there are none.
#[derive(Debug, Serialize, ToSchema)]
struct VerifiedSeals {
    first: Option<i64>,
    last: Option<i64>,
    count: u64,
}

/// A seal by its number and hash.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AnchorResponse {
    number: i64,
    /// SHA-256 in hex.
    header_hash: String,
}

impl From<Anchor> for AnchorResponse {
    fn from(anchor: Anchor) -> Self {
        Self { number: anchor.number, header_hash: anchor.header_hash.to_hex() }
    }
}

/// A finding: something that is not as it was sealed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct FindingResponse {
    /// `record_changed`, `record_removed`, `record_inserted`, `record_reordered`, `record_doubled`, `seal_missing`, `seal_forged`,
    /// `seal_changed`, `unknown_key`, `chain_broken`.
    #[schema(value_type = String)]
    kind: FindingKind,
    /// Number of the seal, as it should be.
    seal: i64,
    /// The record's number in the whole chain, where it is sealed.
    seq: Option<i64>,
    collection: Option<String>,
    record_id: Option<String>,
    /// The same in words.
    detail: String,
}

impl From<Finding> for FindingResponse {
    fn from(finding: Finding) -> Self {
        let Finding { seal, seq, collection, record_id, kind, detail } = finding;
        Self { kind, seal, seq, collection, record_id, detail }
    }
}

impl VerificationQuery {
    fn range(&self, now: DateTime) -> Result<(DateTime, DateTime), AppError> {
        let to = self.to.map_or(now, |time| time.0);
        let an_hour_before = || DateTime::from_millis(to.timestamp_millis().saturating_sub(RANGE_MS));
        let from = self.from.map_or_else(an_hour_before, |time| time.0);
        if from >= to {
            return Err(AppError::invalid(vec![FieldError::new("to", "range", "must be later than from")]));
        }
        Ok((from, to))
    }
}

/// Checks the seals of a time with all their records against the database, and that there are no records of that time
/// besides; where nothing was sealed within it, the seal after it. The seal before the first one is believed. At most 200,000 records or about ten seconds an answer: go on with
/// `nextFromSeal`. The whole chain, and anchors, are checked by `waybill audit verify`.
#[utoipa::path(get, path = "/audit/verification", tag = "audit", security(("bearer" = [])), params(VerificationQuery),
    responses(
        (status = 200, body = VerificationResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Others are checking already, or it can't be checked.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_verification(
    State(verifications): State<Verifications>,
    _: AdminReader,
    ApiQuery(query): ApiQuery<VerificationQuery>,
) -> Result<Json<VerificationResponse>, AppError> {
    let (from, to) = query.range(verifications.clock.now())?;
    let Ok(_place) = verifications.places.try_acquire() else {
        let detail = "As many checks as this process makes at once are running; try again soon.";
        return Err(AppError::new(ErrorKind::Unavailable, "audit.verification_busy", detail).retry_after(TRY_AGAIN));
    };
    let report = check(&verifications, from, to, query.from_seal).await?;
    if let Some(finding) = &report.finding {
        tracing::error!(seal = finding.seal, kind = ?finding.kind, "the audit records are not as they were sealed");
    }
    Ok(Json(VerificationResponse {
        verified: report.is_verified(),
        complete: report.is_verified() && report.next_seal.is_none() && report.seals.count > 0,
        next_from_seal: report.next_seal,
        from: Rfc3339Time(from),
        to: Rfc3339Time(to),
        seals: VerifiedSeals { first: report.seals.first, last: report.seals.last, count: report.seals.count },
        records: report.records,
        purged: report.purged,
        sealed_late: report.sealed_late,
        finding: report.finding.map(Into::into),
        trusted: report.trusted.map(Into::into),
        anchor: report.anchor.map(Into::into),
        keys: report.keys,
    }))
}

async fn check(
    verifications: &Verifications,
    from: DateTime,
    to: DateTime,
    from_seal: Option<i64>,
) -> Result<Report, AppError> {
    let db = &verifications.db;
    let Some((first, last)) = sealed_between(db, &verifications.keys, from, to).await? else {
        return Ok(Report::default());
    };
    let first = first.max(from_seal.unwrap_or(1));
    if first > last {
        return Ok(Report::default());
    }
    let part = ChainPart { from_seal: Some(first), to_seal: Some(last), anchors: Vec::new(), limits: Some(LIMITS) };
    match verify_chain(db, &verifications.keys, &verifications.sealing, part, |_| {}).await {
        Ok(report) => Ok(report),
        Err(ChainError::Database(error)) => Err(error.into()),
        Err(ChainError::NoSeals) => Ok(Report::default()),
        Err(error @ (ChainError::Secret(_) | ChainError::NoSecret)) => {
            tracing::error!(%error, "audit records can't be checked");
            let detail = "The secret of personal fields can't be read, so nothing can be checked.";
            Err(AppError::new(ErrorKind::Unavailable, "audit.not_verifiable", detail))
        }
    }
}
