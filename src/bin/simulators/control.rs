//! Books to read and knobs to turn; not part of any provider's API, and open to anybody who can reach the port.
//!
//! | path | |
//! |---|---|
//! | `GET`, `DELETE _books` | sums; forgets everything |
//! | `GET _books/{entries}` | all entries; `?field=text` gives those where it says that |
//! | `GET _books/{entries}/{reference}` | one entry |
//! | `GET _alive/{reference}` | how many orders are alive that carry this reference |
//! | `GET`, `POST`, `DELETE _control/rules` | see [`crate::rules`] |
//! | `POST _control/credentials` | `{"expected": text, texts or null}`: one account, several, any |
//! | `GET _traffic` | when calls arrived, see [`crate::traffic`] |

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    rules::NewRule,
    stand::{ACCOUNT, Provider, Stand},
};

/// Everything of one provider, relative to the path of its namespace.
pub fn router<P: Provider>(stand: &Stand<P>) -> Router {
    let control = Router::new()
        .route("/_books", get(read_totals::<P>).delete(clear_books::<P>))
        .route(&format!("/_books/{}", P::ENTRIES), get(list_entries::<P>))
        .route(&format!("/_books/{}/{{reference}}", P::ENTRIES), get(read_entry::<P>))
        .route("/_alive/{reference}", get(count_alive::<P>))
        .route("/_control/rules", get(list_rules::<P>).post(add_rule::<P>).delete(clear_rules::<P>))
        .route("/_control/credentials", post(set_credentials::<P>))
        .route("/_traffic", get(read_traffic::<P>))
        .with_state(stand.clone());
    Router::new().nest(&format!("/{}", P::NAME), stand.api().merge(control))
}

async fn read_totals<P: Provider>(State(stand): State<Stand<P>>) -> Json<Value> {
    Json(stand.lock().totals())
}

async fn clear_books<P: Provider>(State(stand): State<Stand<P>>) -> StatusCode {
    stand.lock().clear_books();
    stand.traffic.clear();
    StatusCode::NO_CONTENT
}

async fn list_entries<P: Provider>(
    State(stand): State<Stand<P>>,
    Query(wanted): Query<Vec<(String, String)>>,
) -> Json<Vec<Value>> {
    let mut entries = stand.lock().provider.entries();
    entries.retain(|entry| wanted.iter().all(|(field, text)| entry[field] == *text));
    Json(entries)
}

async fn read_entry<P: Provider>(State(stand): State<Stand<P>>, Path(reference): Path<String>) -> Response {
    found(stand.lock().provider.entry(&reference), "no call carried this reference")
}

async fn count_alive<P: Provider>(State(stand): State<Stand<P>>, Path(reference): Path<String>) -> Json<usize> {
    Json(stand.lock().provider.alive(&reference))
}

async fn list_rules<P: Provider>(State(stand): State<Stand<P>>) -> Response {
    Json(stand.lock().rules.list()).into_response()
}

async fn add_rule<P: Provider>(State(stand): State<Stand<P>>, Json(rule): Json<NewRule<P::Mode>>) -> Response {
    match stand.lock().rules.add(rule, &[P::SUBJECT, &[ACCOUNT]].concat()) {
        Ok(rule) => (StatusCode::CREATED, Json(rule)).into_response(),
        Err(problem) => failed(StatusCode::UNPROCESSABLE_ENTITY, &problem),
    }
}

async fn clear_rules<P: Provider>(State(stand): State<Stand<P>>) -> StatusCode {
    stand.lock().rules.clear();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetCredentials {
    expected: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

async fn set_credentials<P: Provider>(State(stand): State<Stand<P>>, Json(asked): Json<SetCredentials>) -> StatusCode {
    stand.lock().expected = asked.expected.map(|expected| match expected {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    });
    StatusCode::NO_CONTENT
}

async fn read_traffic<P: Provider>(State(stand): State<Stand<P>>) -> Json<Value> {
    Json(stand.traffic.shown())
}

/// The value that was looked for, or why it is not there.
pub fn found(value: Option<Value>, otherwise: &str) -> Response {
    match value {
        Some(value) => Json(value).into_response(),
        None => failed(StatusCode::NOT_FOUND, otherwise),
    }
}

/// A request that cannot be met.
pub fn failed(status: StatusCode, problem: &str) -> Response {
    (status, Json(json!({"error": problem}))).into_response()
}
