//! `/audit/seals`, `/audit/proofs/{recordId}` and `/.well-known/waybill-audit-keys`: what a third party needs to check that
//! nothing was changed. What the fields mean is in docs/audit-proof.md.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bson::{Document, RawDocument, doc};
use mongodb::Database;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use super::paging::{ListOrder, scope_of};
use crate::{
    modules::audit::{
        proof::{ExtendedJson, Hash, Proof, PublicKeys, Record, Salts, Scopes, Seal, SealHeader, SealScope},
        seals::{SealStore, SecretError, commitment_key_of},
    },
    platform::{
        error::{AppError, ErrorKind, FieldError, Problem},
        http::{ApiPath, ApiQuery, NoQuery, cursor},
        identity::{About, AdminReader},
        ids::is_id,
        mongo::READ_TIME_MAX,
        sealing::SealingKeys,
    },
};

const PAGE: i64 = 20;
/// Keys change rarely; who checks seals may keep them for so long.
const KEYS_FRESH: &str = "public, max-age=300";

/// State of the routes.
#[derive(Clone, Debug)]
pub struct SealReader {
    /// Where seals and records are.
    pub db: Database,
    /// Opens the secret behind commitments.
    pub sealing: Arc<SealingKeys>,
    /// Those by which seals are checked.
    pub keys: PublicKeys,
}

/// The routes.
pub fn seal_router(reader: SealReader) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list_seals))
        .routes(routes!(get_proof))
        .routes(routes!(get_audit_keys))
        .with_state(reader)
}

/// `GET /audit/seals`
#[derive(Clone, Debug, Deserialize, Serialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListSealsQuery {
    /// Seals on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    limit: Option<i64>,
    /// `nextCursor` of the page before, in the same order.
    #[serde(skip_serializing)]
    cursor: Option<String>,
    /// Newest or oldest first.
    #[serde(default)]
    #[param(inline)]
    order: ListOrder,
}

/// A page of seals.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SealListResponse {
    #[schema(value_type = Vec<Object>)]
    items: Vec<SealResponse>,
    /// Send it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// A seal without its leaves.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SealResponse {
    #[serde(flatten)]
    header: SealHeader,
    /// The hash that the next seal and anchors name.
    header_hash: Hash,
}

/// Lists seals, without their leaves: number, time, records by collection, root, the hash before, signature.
#[utoipa::path(get, path = "/audit/seals", tag = "audit", security(("bearer" = [])), params(ListSealsQuery),
    responses(
        (status = 200, body = SealListResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_seals(
    State(reader): State<SealReader>,
    AdminReader(user): AdminReader,
    ApiQuery(query): ApiQuery<ListSealsQuery>,
) -> Result<Json<SealListResponse>, AppError> {
    let scope = scope_of("audit seals", &user.user_id, &ListSealsQuery { limit: None, ..query.clone() });
    let after = query.cursor.as_deref().map(|text| open(&scope, text)).transpose()?;
    let ascending = query.order == ListOrder::Oldest;
    let filter = match after {
        Some(number) if ascending => doc! { "_id": { "$gt": number } },
        Some(number) => doc! { "_id": { "$lt": number } },
        None => doc! { "_id": { "$gte": 1_i64 } },
    };
    let take = query.limit.unwrap_or(PAGE);
    let mut headers = SealStore::new(reader.db).list_headers(filter, ascending, take + 1).await?;
    let more = headers.len() as i64 > take;
    headers.truncate(take as usize);
    let last = headers.last().filter(|_| more).map(|last| cursor::seal(&scope, &last.number.to_string()));
    let items = headers.into_iter().map(|header| SealResponse { header_hash: header.hash(), header });
    Ok(Json(SealListResponse { items: items.collect(), next_cursor: last }))
}

fn open(scope: &str, text: &str) -> Result<i64, AppError> {
    cursor::open(scope, text).and_then(|number| number.parse().ok()).ok_or_else(|| {
        let message = "must be the nextCursor of the page before, asked for by the same user in the same order";
        AppError::invalid(vec![FieldError::new("cursor", "format", message)])
    })
}

/// A record, its place in a seal, and what is needed to check the one by the other.
#[derive(Serialize, ToSchema)]
struct ProofResponse<'a> {
    /// See docs/audit-proof.md, "Checking one record".
    #[schema(value_type = Object)]
    proof: Proof,
    /// The record as it is stored, in canonical extended JSON whose order of fields counts; null where it was purged.
    #[schema(value_type = Option<Object>)]
    record: Option<ExtendedJson<&'a RawDocument>>,
    /// Whether the service itself finds that record, place and seal agree. To be sure, check it elsewhere.
    check: ProofCheck,
    /// Its salt; where something of it is erased, those of its other personal fields, by their paths.
    #[schema(value_type = Object)]
    salts: Salts,
}

/// The result of checking a proof.
#[derive(Serialize, ToSchema)]
struct ProofCheck {
    verified: bool,
    /// The contradiction; null where there is none.
    detail: Option<String>,
}

/// The proof that a record is in a seal and what it was sealed as: of a request (`req_`), a response (`res_`), an event
/// (`evt_`), an audit event (`aud_`) or a ledger transaction (`txn_`).
#[utoipa::path(get, path = "/audit/proofs/{recordId}", tag = "audit", security(("bearer" = [])),
    params(("recordId" = String, Path, description = "Id of the record.")),
    responses(
        (status = 200, body = inline(ProofResponse)),
        (status = 404, description = "There is no such record, or it is not sealed yet (`audit.not_sealed`): that takes some seconds.",
         body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_proof(
    State(reader): State<SealReader>,
    _: AdminReader,
    ApiPath(id): ApiPath<String>,
    _: NoQuery,
) -> Result<Response, AppError> {
    let not_found = || AppError::new(ErrorKind::NotFound, "audit.not_found", "There is no such record.");
    let scope = Scopes::standard().today().find(|scope| is_id(scope.id_prefix(), &id)).ok_or_else(not_found)?;
    let store = SealStore::new(reader.db.clone());
    let Some(seal) = store.find_by_record(&id).await? else {
        let records = reader.db.collection::<Document>(scope.collection());
        return Err(
            match records.find_one(doc! { "_id": &id }).projection(doc! { "_id": 1 }).max_time(READ_TIME_MAX).await? {
                Some(_) => {
                    let detail = "The record is not sealed yet. That takes some seconds; if it stays so, look whether a worker \
                              has AUDIT_SIGNING_KEY.";
                    AppError::new(ErrorKind::NotFound, "audit.not_sealed", detail)
                }
                None => not_found(),
            },
        );
    };
    prove(&reader, &store, &seal, &id).await
}

async fn prove(reader: &SealReader, store: &SealStore, seal: &Seal, id: &str) -> Result<Response, AppError> {
    let unreadable = || AppError::new(ErrorKind::Internal, "audit.unreadable_seal", "The record's seal can't be read.");
    let index = seal.leaves.iter().position(|leaf| leaf.id == id).ok_or_else(unreadable)?;
    let proof = Proof::of(seal, index, Scopes::standard()).ok_or_else(unreadable)?;
    let leaf = &seal.leaves[index];
    let stored = store.record(leaf).await?;
    let scope: &SealScope = Scopes::standard().of_code(leaf.code).ok_or_else(unreadable)?;
    let commitments = commitment_key_of(&reader.db, &reader.sealing).await.map_err(|error| match error {
        SecretError::Database(error) => error.into(),
        error => {
            tracing::error!(%error, "proofs can't be made");
            AppError::new(ErrorKind::Internal, "audit.no_commitment_key", "A key is missing; see the service's log.")
        }
    })?;
    let about = stored.as_deref().map(about).unwrap_or_default();
    let salts = stored.as_ref().map(|document| commitments.salts(&Record { scope, id, document })).unwrap_or_default();
    let checked = match stored.as_deref() {
        Some(record) => {
            proof.verify(record, &salts, Scopes::standard(), &reader.keys).map_err(|error| error.to_string())
        }
        None => Err("The record was purged; what is left is that it was sealed.".into()),
    };
    let check = ProofCheck { verified: checked.is_ok(), detail: checked.err() };
    let record = stored.as_deref().map(ExtendedJson);
    let body = serde_json::to_vec(&ProofResponse { proof, record, check, salts }).map_err(|error| {
        tracing::error!(%error, record.id = id, "a record can't be written as JSON");
        AppError::new(ErrorKind::Internal, "audit.unreadable_record", "The record can't be written as JSON.")
    })?;
    Ok((Extension(about), [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// The user and the subject of a record, whose fields differ from collection to collection.
fn about(record: &RawDocument) -> About {
    let text = |field: &str| record.get_str(field).ok();
    let named = ["orderId", "subjectId", "referenceId", "resourceId"].into_iter().filter_map(text);
    named.fold(About::new(None, text("userId")), |about, id| about.or(About::new(Some(id), None)))
}

/// The public keys by which seals are checked, with those by which nothing is signed any more. Whoever checks seals should
/// know them from elsewhere: keep a copy.
#[utoipa::path(get, path = "/.well-known/waybill-audit-keys", tag = "audit", responses((status = 200, body = Object)))]
async fn get_audit_keys(State(reader): State<SealReader>, _: NoQuery) -> Response {
    ([(header::CACHE_CONTROL, KEYS_FRESH)], Json(reader.keys)).into_response()
}
