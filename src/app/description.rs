//! The OpenAPI description: what the routes say of themselves, and what holds for every route.

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header},
    middleware::{Next, from_fn},
};
use serde_json::json;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, Header, Ref, RefOr, Response,
        link::Link,
        path::{Operation, ParameterIn, PathItem},
        schema::{ObjectBuilder, Type},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::problems::problem_table;
use crate::{
    modules::{
        auth::Scope,
        providers::{ProviderSettings, registry::PAYMENT_GATEWAY},
    },
    platform::error::Problem,
};

pub(super) const DESCRIPTION_PATH: &str = "/openapi.json";
/// The reference page runs its own script and asks its own server, nothing else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Waybill",
        description = "Orders to carriers and back: idempotent, on record, never doubled.\n\n\
            Every answer has `X-Request-Id`. What goes wrong is answered as RFC 9457 `application/problem+json`, with a `code` for \
            programs and a `detail` that says what to do. Whatever takes an id of yours (`clientOrderId`, `clientTopupId`, \
            `clientReference`) is safe to repeat with the same id and the same content: the answer is then 200. Money is whole minor \
            units. Unknown fields and parameters are 422. Lists are read page by page: send `nextCursor` as `cursor` until it is null."
    ),
    tags(
        (name = "auth", description = "Accounts, access tokens (15 minutes) and refresh tokens."),
        (name = "orders", description = "Orders to providers: create, cancel, read."),
        (name = "wallet", description = "The caller's money: balance, ledger, top-ups."),
        (name = "catalog", description = "Products of merchants, and their stock."),
        (name = "checkout", description = "Buying: stock and money are taken at once or not at all."),
        (name = "service", description = "For load balancers and monitoring.")
    ),
    modifiers(&SecuritySchemes),
    components(schemas(Problem))
)]
pub(super) struct ApiDoc;

struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = openapi.components.get_or_insert_with(Default::default);
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("wb_live_...");
        let key = key.description(Some("An API key (`POST /auth/api-keys`), where it has the scope that is named."));
        components.add_security_scheme("api_key", SecurityScheme::Http(key.build()));
        let signature = ApiKeyValue::with_description(
            (PAYMENT_GATEWAY.adapter)(&ProviderSettings::default()).signature_header(),
            "`t=<unix seconds>,v1=<hex of HMAC-SHA256(secret, \"<t>.<raw body>\")>`",
        );
        components.add_security_scheme("payment_signature", SecurityScheme::ApiKey(ApiKey::Header(signature)));
    }
}

/// An answer that may come from many routes.
struct Common {
    status: &'static str,
    name: &'static str,
    description: &'static str,
    /// Comes with `Retry-After`.
    retry: bool,
    /// Whether an operation may be answered so.
    comes: fn(&Operation) -> bool,
}

/// Answers that follow from what an operation is. Where an operation describes the status itself, its own words stand.
const COMMON: [Common; 11] = [
    Common {
        status: "400",
        name: "Unreadable",
        description: "The body can't be read: `request.not_json`, `request.cut_off` or `request.too_slow`.",
        retry: false,
        comes: has_body,
    },
    Common {
        status: "401",
        name: "Unauthenticated",
        description: "`auth.required`; `auth.token_expired`: renew it by `POST /auth/refresh`; `auth.invalid_token` or \
            `auth.token_revoked`: sign in again; `auth.invalid_key`, `auth.key_revoked` or `auth.key_expired`: make another API key.",
        retry: false,
        comes: is_secured,
    },
    Common {
        status: "403",
        name: "Forbidden",
        description: "`auth.forbidden`: not with this role; `auth.scope_missing`, `auth.not_with_key`: not with this API key; \
            `auth.account_disabled`: ask an administrator; `auth.token_limited`: finish what the token is for.",
        retry: false,
        comes: is_secured,
    },
    Common {
        status: "404",
        name: "NotFound",
        description: "Absent, or not yours: the answer is the same.",
        retry: false,
        comes: names_a_thing,
    },
    Common {
        status: "413",
        name: "TooLarge",
        description: "`request.too_large`: the body is over the limit, which the detail names.",
        retry: false,
        comes: has_body,
    },
    Common {
        status: "415",
        name: "UnsupportedMediaType",
        description: "`request.media_type` or `request.content_encoding`: send what `requestBody` names, not compressed.",
        retry: false,
        comes: has_body,
    },
    Common {
        status: "422",
        name: "Invalid",
        description: "`request.invalid`: `errors` names each field or parameter that is not acceptable, unknown ones too.",
        retry: false,
        comes: is_of_the_api,
    },
    Common {
        status: "429",
        name: "TooManyRequests",
        description: "`request.rate_limited`: wait as `Retry-After` says.",
        retry: true,
        comes: is_of_the_api,
    },
    Common {
        status: "500",
        name: "Internal",
        description: "`internal`: our fault. Safe to repeat with the same ids; quote the request id if it stays.",
        retry: false,
        comes: is_of_the_api,
    },
    Common {
        status: "503",
        name: "Unavailable",
        description: "`database.unavailable`, `service.overloaded`, `service.timeout` or `service.not_migrated`: repeat it with the \
            same ids after `Retry-After`.",
        retry: true,
        comes: is_of_the_api,
    },
    Common {
        status: "409",
        name: "Conflict",
        description: "The state of things doesn't allow it; the code says why.",
        retry: false,
        comes: changes_a_thing,
    },
];

fn has_body(operation: &Operation) -> bool {
    operation.request_body.is_some()
}

fn is_secured(operation: &Operation) -> bool {
    operation.security.is_some()
}

fn names_a_thing(operation: &Operation) -> bool {
    let parameters = operation.parameters.iter().flatten();
    parameters.into_iter().any(|parameter| matches!(parameter, RefOr::T(it) if it.parameter_in == ParameterIn::Path))
}

fn changes_a_thing(operation: &Operation) -> bool {
    has_body(operation) && names_a_thing(operation) && is_secured(operation)
}

fn is_of_the_api(operation: &Operation) -> bool {
    operation.tags.iter().flatten().all(|tag| tag != "service")
}

/// Links of answers: operation and status, the link's name, the operation it leads to, and what of the
/// answer goes where (a path parameter, or `body`).
const LINKS: [(&str, &str, &str, &str, &str, &str); 13] = [
    ("create_order", "201", "read", "get_order", "orderId", "orderId"),
    ("create_order", "201", "timeline", "get_timeline", "orderId", "orderId"),
    ("create_order", "201", "cancel", "cancel_order", "body", "clientOrderId"),
    ("check_out", "202", "read", "get_checkout", "checkoutId", "checkoutId"),
    ("check_out", "202", "cancel", "cancel_checkout", "body", "clientOrderId"),
    ("create_product", "201", "read", "get_product", "productId", "productId"),
    ("create_product", "201", "change", "change_product", "productId", "productId"),
    ("create_product", "201", "stock", "move_stock", "productId", "productId"),
    ("create_product", "201", "movements", "list_movements", "productId", "productId"),
    ("request_topup", "201", "read", "get_topup", "topupId", "topupId"),
    ("create_account", "201", "read", "get_account", "accountId", "accountId"),
    ("create_account", "201", "change", "change_account", "accountId", "accountId"),
    ("create_account", "201", "deactivate", "deactivate_account", "accountId", "accountId"),
];

fn links_of(operation_id: &str) -> impl Iterator<Item = (&'static str, &'static str, Link)> + use<'_> {
    let mine = LINKS.iter().filter(move |(from, ..)| *from == operation_id);
    mine.map(|(_, status, name, to, place, field)| {
        let taken = format!("$response.body#/{field}");
        let link = Link::builder().operation_id(*to);
        let link = match *place {
            "body" => link.request_body(Some(json!({ *field: taken }))),
            parameter => link.parameter(parameter, taken),
        };
        (*status, *name, link.build())
    })
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("GET", &mut item.get),
        ("PUT", &mut item.put),
        ("POST", &mut item.post),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// Adds what holds for every operation: answers that follow from what it is, and what can be done with an answer.
pub(super) fn complete(openapi: &mut utoipa::openapi::OpenApi) {
    for (route, item) in &mut openapi.paths.paths {
        for (method, operation) in operations(item) {
            complete_operation(method, route, operation);
        }
    }
    let about = openapi.info.description.get_or_insert_default();
    about.push_str("\n\n## Problem codes\n\n");
    about.push_str(&problem_table());
    let components = openapi.components.get_or_insert_with(Default::default);
    components.responses.extend(COMMON.iter().map(|common| (common.name.to_owned(), RefOr::T(common.answer()))));
}

fn complete_operation(method: &str, route: &str, operation: &mut Operation) {
    if let Some(scope) = Scope::of_route(method, route) {
        let by_key = SecurityRequirement::new("api_key", [scope.as_str()]);
        operation.security.get_or_insert_default().push(by_key);
    }
    let is_page = is_page(operation);
    for common in &COMMON {
        if (common.comes)(operation) {
            let answer = || {
                if is_page { RefOr::T(common.answer()) } else { RefOr::Ref(Ref::from_response_name(common.name)) }
            };
            operation.responses.responses.entry(common.status.to_owned()).or_insert_with(answer);
        }
    }
    for (status, answer) in &mut operation.responses.responses {
        // Who opens a page sees one, whatever becomes of it.
        if let (true, true, RefOr::T(answer)) = (is_page, status.starts_with(['4', '5']), answer) {
            let page = ObjectBuilder::new().schema_type(Type::String).build();
            answer.content.insert("text/html".into(), RefOr::T(Content::new(Some(page))));
        }
    }
    let operation_id = operation.operation_id.clone().unwrap_or_default();
    for (status, name, link) in links_of(&operation_id) {
        if let Some(RefOr::T(response)) = operation.responses.responses.get_mut(status) {
            response.links.insert(name.to_owned(), RefOr::T(link));
        }
    }
}

fn is_page(operation: &Operation) -> bool {
    let answer = operation.responses.responses.get("200");
    matches!(answer, Some(RefOr::T(answer)) if answer.content.contains_key("text/html"))
}

impl Common {
    fn answer(&self) -> Response {
        let problem = Content::new(Some(Ref::from_schema_name("Problem")));
        let mut answer = Response::new(self.description);
        answer.content.insert("application/problem+json".into(), RefOr::T(problem));
        if self.retry {
            let mut after = Header::new(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)));
            after.description = Some("Seconds after which to try again.".to_owned());
            answer.headers.insert("Retry-After".into(), RefOr::T(after));
        }
        answer
    }
}

/// The reference page, with everything it needs.
pub(super) fn page() -> Router {
    let config = Config::from(DESCRIPTION_PATH).try_it_out_enabled(false).persist_authorization(false);
    let page = Router::from(SwaggerUi::new("/docs").config(config));
    page.layer(from_fn(|request: Request, next: Next| async move {
        let mut response = next.run(request).await;
        let policy = HeaderValue::from_static(PAGE_POLICY);
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        response
    }))
}
