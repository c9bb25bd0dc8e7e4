//! `/search`: whatever has this id, number or address, as far as whoever asks may see it. Every question goes along an index and
//! comes back with a few records.

use axum::{Json, extract::State};
use bson::{Document, doc};
use futures_util::TryStreamExt;
use mongodb::{Database, error::Result};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use validator::Validate;

use crate::{
    modules::{
        audit::{AUDIT_EVENTS, REQUEST_LOGS, RESPONSE_LOGS},
        auth,
        catalog::PRODUCTS,
        checkout::CHECKOUTS,
        events::EVENTS,
        orders::ORDERS,
        queue::JOBS,
        tenants::TENANTS,
        wallet::{LEDGER, topups::TOPUPS},
        webhooks::{DELIVERIES, ENDPOINTS},
    },
    platform::{
        clock::Rfc3339Time,
        error::{AppError, Problem},
        http::ApiQuery,
        identity::{CurrentUser, Role},
        mongo::READ_TIME_MAX,
        text::normal_email,
    },
};

/// Records of one name that are shown.
const SHOWN: usize = 20;

/// State of the route.
#[derive(Clone, Debug)]
pub struct Searching {
    /// Where everything is.
    pub db: Database,
}

/// The route.
pub fn search_router(searching: Searching) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(search)).with_state(searching)
}

#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SearchQuery {
    /// An id of any kind, an order number, a merchant's own id, a waybill number, an e-mail address, or a request id.
    #[validate(length(min = 3, max = 254))]
    #[param(example = "ord_0198f0c2b1e07c3e8a41b5d0f3a2c4e6")]
    q: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct SearchResponse {
    items: Vec<Hit>,
    /// Whether there is more of the same name.
    truncated: bool,
}

/// A hit.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct Hit {
    /// `order`, `job`, `provider request`, ...
    kind: &'static str,
    id: String,
    /// Its state, where it has one.
    state: Option<String>,
    /// Its other name.
    title: String,
    at: Option<Rfc3339Time>,
}

/// A kind of record, and its readers.
struct SearchKind {
    prefix: &'static str,
    name: &'static str,
    collection: &'static str,
    /// Fields that make up the title.
    title: &'static [&'static str],
    state: &'static str,
    at: &'static str,
    /// Roles that see all of them.
    readers: &'static [Role],
    /// The field that has the merchant whose they are.
    owner: Option<&'static str>,
    /// The field that has the customer whose they are.
    buyer: Option<&'static str>,
    /// The field that has the tenant, whose manager sees them.
    tenant: Option<&'static str>,
}

const STAFF: &[Role] = &[Role::Admin, Role::Auditor];
const MONEY: &[Role] = &[Role::Finance, Role::Auditor];

const fn kind(
    prefix: &'static str,
    name: &'static str,
    collection: &'static str,
    readers: &'static [Role],
) -> SearchKind {
    SearchKind {
        prefix,
        name,
        collection,
        title: &[],
        state: "status",
        at: "createdAt",
        readers,
        owner: None,
        buyer: None,
        tenant: None,
    }
}

const ORDER: SearchKind = SearchKind {
    title: &["orderNumber", "clientOrderId", "provider"],
    owner: Some("userId"),
    tenant: Some("tenantId"),
    ..kind("ord", "order", ORDERS, STAFF)
};
const TOPUP: SearchKind = SearchKind {
    title: &["clientTopupId"],
    owner: Some("userId"),
    buyer: Some("userId"),
    ..kind("top", "top-up", TOPUPS, MONEY)
};
const CHECKOUT: SearchKind = SearchKind {
    title: &["clientOrderId"],
    owner: Some("sellerId"),
    buyer: Some("userId"),
    ..kind("chk", "checkout", CHECKOUTS, &[])
};
const DELIVERY: SearchKind = SearchKind {
    title: &["type"],
    owner: Some("ownerId"),
    tenant: Some("ownerId"),
    ..kind("whd", "webhook delivery", DELIVERIES, &[])
};
const REQUEST: SearchKind = SearchKind {
    title: &["operation", "provider"],
    at: "sentAt",
    ..kind("req", "provider request", REQUEST_LOGS, STAFF)
};

const KINDS: &[SearchKind] = &[
    ORDER,
    TOPUP,
    CHECKOUT,
    DELIVERY,
    REQUEST,
    SearchKind { title: &["kind", "queue"], state: "state", ..kind("job", "job", JOBS, &[Role::Admin]) },
    SearchKind {
        title: &["operation", "provider"],
        state: "outcome",
        at: "receivedAt",
        ..kind("res", "provider response", RESPONSE_LOGS, STAFF)
    },
    SearchKind {
        title: &["kind"],
        at: "at",
        owner: Some("userId"),
        buyer: Some("userId"),
        ..kind("txn", "transaction", LEDGER, MONEY)
    },
    SearchKind { title: &["type"], at: "at", ..kind("evt", "event", EVENTS, STAFF) },
    SearchKind { title: &["action"], state: "outcome", at: "at", ..kind("aud", "audit event", AUDIT_EVENTS, STAFF) },
    SearchKind { title: &["role"], ..kind("usr", "user", "users", &[Role::Admin]) },
    SearchKind { title: &["sku"], owner: Some("sellerId"), ..kind("prd", "product", PRODUCTS, STAFF) },
    SearchKind { title: &["slug"], ..kind("ten", "tenant", TENANTS, &[Role::Admin]) },
    SearchKind { owner: Some("ownerId"), tenant: Some("ownerId"), ..kind("whe", "webhook endpoint", ENDPOINTS, &[]) },
];

impl SearchKind {
    /// The condition that narrows them down to this user's; none where the user may see none.
    fn visible_to(&self, user: &CurrentUser) -> Option<Document> {
        if self.readers.contains(&user.role) {
            return Some(Document::new());
        }
        match user.role {
            Role::Manager => Some(doc! { self.tenant?: user.tenant_id.as_ref()? }),
            Role::Merchant => Some(doc! { self.owner?: &user.user_id }),
            Role::Customer => Some(doc! { self.buyer?: &user.user_id }),
            Role::Finance | Role::Auditor | Role::Admin => None,
        }
    }

    fn hit(&self, found: &Document) -> Hit {
        let text = |field: &str| found.get_str(field).unwrap_or_default();
        let time = |field: &str| found.get_datetime(field).ok().copied();
        let title: Vec<_> = self.title.iter().map(|field| text(field)).filter(|text| !text.is_empty()).collect();
        Hit {
            kind: self.name,
            id: text("_id").to_owned(),
            state: Some(text(self.state).to_owned()).filter(|state| !state.is_empty()),
            title: title.join(" · "),
            at: time(self.at).map(Rfc3339Time),
        }
    }
}

impl Searching {
    /// Records of a kind that match and may be seen, one more than are shown.
    async fn find(&self, kind: &SearchKind, user: &CurrentUser, wanted: Document, index: &str) -> Result<Vec<Hit>> {
        let Some(visible) = kind.visible_to(user) else { return Ok(Vec::new()) };
        let mut filter = wanted;
        filter.extend(visible);
        let mut fields = doc! { kind.state: 1, kind.at: 1 };
        fields.extend(kind.title.iter().map(|field| ((*field).to_owned(), 1.into())));
        let records = self.db.collection::<Document>(kind.collection);
        let found = records.find(filter).projection(fields);
        let found =
            found.hint(mongodb::options::Hint::Name(index.to_owned())).sort(doc! { "_id": -1 }).limit(SHOWN as i64 + 1);
        let found: Vec<Document> = found.max_time(READ_TIME_MAX).await?.try_collect().await?;
        Ok(found.iter().map(|found| kind.hit(found)).collect())
    }

    /// Orders of which a waybill number is on record.
    async fn by_reference(&self, user: &CurrentUser, reference: &str) -> Result<Vec<Hit>> {
        if ORDER.visible_to(user).is_none() {
            return Ok(Vec::new());
        }
        let answers = self.db.collection::<Document>(RESPONSE_LOGS);
        let answers = answers
            .find(doc! { "awb": reference })
            .projection(doc! { "orderId": 1 })
            .sort(doc! { "_id": -1 })
            .limit(10 * SHOWN as i64);
        let answers: Vec<Document> = answers.max_time(READ_TIME_MAX).await?.try_collect().await?;
        let mut ids: Vec<&str> = answers.iter().filter_map(|answer| answer.get_str("orderId").ok()).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.find(&ORDER, user, doc! { "_id": { "$in": ids } }, "_id_").await
    }

    async fn search(&self, user: &CurrentUser, text: &str) -> Result<Vec<Hit>> {
        let by_prefix = text.split_once('_').and_then(|(prefix, _)| KINDS.iter().find(|kind| kind.prefix == prefix));
        if let Some(kind) = by_prefix {
            let found = self.find(kind, user, doc! { "_id": text }, "_id_").await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let number = text.to_uppercase();
        let (users, numbered, named, referenced, following, topups) = tokio::try_join!(
            self.by_email(user, text),
            self.find(&ORDER, user, doc! { "orderNumber": number }, "number"),
            self.find(&ORDER, user, doc! { "clientOrderId": text }, "client_user"),
            self.by_reference(user, text),
            self.find(&REQUEST, user, doc! { "correlationId": text }, "correlation"),
            self.own_topups(user, text),
        )?;
        let mut found: Vec<Hit> = Vec::new();
        for hit in [users, numbered, named, referenced, following, topups].into_iter().flatten() {
            if found.iter().all(|other| other.id != hit.id) {
                found.push(hit);
            }
        }
        Ok(found)
    }

    /// A user by the address.
    async fn by_email(&self, user: &CurrentUser, text: &str) -> Result<Vec<Hit>> {
        let Some(email) = normal_email(text).filter(|_| user.role == Role::Admin) else { return Ok(Vec::new()) };
        let found = auth::find_user_by_email(&self.db, &email).await?;
        let hit = found.map(|found| Hit {
            kind: "user",
            id: found.id,
            state: found.disabled_at.map(|_| "disabled".to_owned()),
            title: found.role.as_str().to_owned(),
            at: Some(Rfc3339Time(found.created_at)),
        });
        Ok(hit.into_iter().collect())
    }

    /// A merchant's or customer's own top-up by the name that it was given.
    async fn own_topups(&self, user: &CurrentUser, text: &str) -> Result<Vec<Hit>> {
        if !matches!(user.role, Role::Merchant | Role::Customer) {
            return Ok(Vec::new());
        }
        self.find(&TOPUP, user, doc! { "clientTopupId": text }, "idempotency").await
    }
}

/// Things with this id, number or address, as far as you may see them: a merchant and a customer what is theirs, a manager the tenant's
/// orders, staff what their role reads.
#[utoipa::path(get, path = "/search", tag = "search", security(("bearer" = [])), params(SearchQuery),
    responses(
        (status = 200, description = "The hits; an empty list where there are none.", body = SearchResponse),
        (status = 422, description = "The text is too short or too long.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn search(
    State(searching): State<Searching>,
    user: CurrentUser,
    ApiQuery(query): ApiQuery<SearchQuery>,
) -> std::result::Result<Json<SearchResponse>, AppError> {
    let mut items = searching.search(&user, query.q.trim()).await?;
    let truncated = items.len() > SHOWN;
    items.truncate(SHOWN);
    Ok(Json(SearchResponse { items, truncated }))
}
