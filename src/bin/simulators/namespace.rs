//! Namespaces: any number of worlds in one process, each with rules and books of its own. `/ns/{name}/parcelx/...` is the
//! carrier of the world called `name`; without `/ns/...` it is that of a world that everybody shares. So one process
//! serves many tests side by side.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    extract::{Path, Request, State},
    http::{StatusCode, Uri, uri::PathAndQuery},
    response::{IntoResponse, Response},
    routing::{any, delete},
};
use tower::ServiceExt;

/// Makes the stand-ins of a world; it is told where they are, which is where their links lead.
type MakeWorld = dyn Fn(&str) -> Router + Send + Sync;

#[derive(Clone)]
struct Worlds {
    make: Arc<MakeWorld>,
    made: Arc<Mutex<HashMap<String, Router>>>,
}

/// All namespaces, each made at its first use by `make`, which is given the path in front of its routes.
pub fn router(make: impl Fn(&str) -> Router + Send + Sync + 'static) -> Router {
    let shared = make("");
    let worlds = Worlds { make: Arc::new(make), made: Arc::default() };
    Router::new()
        .route("/ns/{name}", delete(forget))
        .route("/ns/{name}/{*rest}", any(enter))
        .with_state(worlds)
        .fallback_service(shared)
}

async fn forget(State(worlds): State<Worlds>, Path(name): Path<String>) -> StatusCode {
    worlds.lock().remove(&name);
    StatusCode::NO_CONTENT
}

/// Passes a request on to its world, as if that were all there is.
async fn enter(State(worlds): State<Worlds>, Path((name, _)): Path<(String, String)>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    // Cut out of the path as it was sent: what is decoded in `Path` may be escaped for a reason.
    let cut = parts.uri.path().match_indices('/').nth(2).map_or(0, |(at, _)| at);
    let (base, _) = parts.uri.path().split_at(cut);
    let world = worlds.lock().entry(name).or_insert_with(|| (worlds.make)(base)).clone();
    let inside = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str).split_at(cut).1;
    let Ok(uri) = inside.parse::<Uri>() else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    parts.uri = uri;
    // What was read of the outer path would be taken for parts of the inner one.
    parts.extensions.clear();
    let Ok(response) = world.oneshot(Request::from_parts(parts, body)).await;
    response
}

impl Worlds {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Router>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::{body::Body, routing::get};
    use http_body_util::BodyExt;

    use super::*;

    async fn send(router: &Router, method: &str, path: &str) -> String {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// A world that counts its calls and says where it is and what it was asked.
    fn counting(base: &str) -> Router {
        let (base, calls) = (base.to_owned(), Arc::new(Mutex::new(0)));
        let answer = move |Path(_): Path<String>, uri: Uri| async move {
            let mut calls = calls.lock().unwrap();
            *calls += 1;
            format!("{calls} {base} {uri}")
        };
        Router::new().nest("/counter", Router::new().route("/{what}", get(answer)))
    }

    #[tokio::test]
    async fn each_namespace_is_a_world_of_its_own() {
        let router = router(counting);
        for (path, answer) in [
            ("/counter/a", "1  /a"),
            ("/ns/one/counter/a%2Fb?q=%20", "1 /ns/one /a%2Fb?q=%20"),
            ("/ns/one/counter/a", "2 /ns/one /a"),
            ("/ns/two/counter/a", "1 /ns/two /a"),
            ("/counter/a", "2  /a"),
        ] {
            assert_eq!(send(&router, "GET", path).await, answer, "{path}");
        }
        send(&router, "DELETE", "/ns/one").await;
        assert_eq!(send(&router, "GET", "/ns/one/counter/a").await, "1 /ns/one /a", "forgotten");
        assert_eq!(send(&router, "GET", "/ns/two/counter/a").await, "2 /ns/two /a");
    }
}
