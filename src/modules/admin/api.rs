//! The API as the console uses it: in this process, through its own router, as the user who has signed in.

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header},
    response::Response,
};
use http_body_util::{BodyExt, Limited};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::platform::{error::AppError, http::ClientAddr, identity::Caller};

/// Longest answer that is shown on a page.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A request that the API did not carry out: its problem.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) problem: Value,
}

impl Refused {
    /// One of our own.
    pub(super) fn new(status: StatusCode, code: &str, detail: &str) -> Self {
        Self { status, problem: json!({ "status": status.as_u16(), "code": code, "detail": detail }) }
    }

    pub(super) fn code(&self) -> &str {
        self.problem["code"].as_str().unwrap_or_default()
    }
}

/// Sends requests to the API.
#[derive(Clone, Debug)]
pub(super) struct Api(pub(super) Router);

impl Api {
    /// The API's answer; null where it has no body.
    pub(super) async fn send(
        &self,
        access: &SecretString,
        caller: &Caller,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refused> {
        let mut headers = HeaderMap::new();
        let token = HeaderValue::from_str(&format!("Bearer {}", access.expose_secret()));
        headers.insert(header::AUTHORIZATION, token.map_err(|_| unreadable())?);
        let response = self.answer(caller, method, path, headers, body).await?;
        Ok(read(response).await?.0)
    }

    /// The same for somebody whom the API has yet to let in; gives the headers too.
    pub(super) async fn send_as_nobody(
        &self,
        caller: &Caller,
        path: &str,
        headers: HeaderMap,
        body: &Value,
    ) -> Result<(Value, HeaderMap), Refused> {
        read(self.answer(caller, Method::POST, path, headers, Some(body)).await?).await
    }

    /// An answer as it comes, for what is no JSON: files, and news as they happen. A refusal is read.
    pub(super) async fn stream(&self, access: &SecretString, caller: &Caller, path: &str) -> Result<Response, Refused> {
        let mut headers = HeaderMap::new();
        let token = HeaderValue::from_str(&format!("Bearer {}", access.expose_secret()));
        headers.insert(header::AUTHORIZATION, token.map_err(|_| unreadable())?);
        let response = self.answer(caller, Method::GET, path, headers, None).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        match read(response).await {
            Err(refused) => Err(refused),
            Ok(_) => Err(unreadable()),
        }
    }

    async fn answer(
        &self,
        caller: &Caller,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<&Value>,
    ) -> Result<Response, Refused> {
        let bytes = body.map(ToString::to_string);
        let mut request = Request::builder().method(method).uri(path);
        if bytes.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let mut request = request.body(Body::from(bytes.unwrap_or_default())).map_err(|_| {
            Refused::new(StatusCode::NOT_FOUND, "request.not_found", "There is nothing under this name.")
        })?;
        request.headers_mut().extend(headers);
        // One id for the click and all that it leads to.
        if let Ok(id) = HeaderValue::from_str(&caller.request_id) {
            request.headers_mut().insert("x-request-id", id);
        }
        if let Some(address) = caller.address {
            request.extensions_mut().insert(ClientAddr(address));
        }
        let Ok(response) = self.0.clone().oneshot(request).await;
        Ok(response)
    }
}

async fn read(response: Response) -> Result<(Value, HeaderMap), Refused> {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|_| unreadable())?;
    let bytes = body.to_bytes();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).map_err(|_| unreadable())? };
    if status.is_success() { Ok((body, headers)) } else { Err(Refused { status, problem: body }) }
}

fn unreadable() -> Refused {
    let detail = "What the API answered can't be shown.";
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "console.unreadable", detail)
}

impl From<AppError> for Refused {
    fn from(error: AppError) -> Self {
        if let Some(source) = &error.source {
            tracing::warn!(error.code = error.code, error = %source, "a page of the console can't be shown");
        }
        Self::new(error.kind.status(), error.code, &error.detail)
    }
}
