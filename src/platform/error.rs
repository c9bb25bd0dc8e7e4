//! The one error of the edge: what a client is told, and what the operator is told.
//!
//! Modules have error enums of their own, whose variants are decisions, and map them to [`AppError`].
//! `detail` and `fields` are for the client; `source` is for the log and never leaves the house.

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The closed set of ways in which a request can fail. Status and retryability follow from the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request can't be read as what it claims to be.
    Unreadable,
    /// No valid proof of who is asking.
    Unauthenticated,
    /// Too little money.
    InsufficientFunds,
    /// Known, but not allowed.
    Forbidden,
    /// Absent, or not the caller's: the answers are the same on purpose.
    NotFound,
    /// The path exists, the method doesn't.
    MethodNotAllowed,
    /// The state of things does not allow it.
    Conflict,
    /// The body is over the limit.
    TooLarge,
    /// The body is of another media type.
    UnsupportedMediaType,
    /// Readable, but its content is not acceptable.
    Invalid,
    /// Too many requests.
    RateLimited,
    /// A bug or a broken invariant of ours.
    Internal,
    /// A dependency is away or we are overloaded; trying again later makes sense.
    Unavailable,
}

impl ErrorKind {
    #[must_use]
    pub const fn status(self) -> axum::http::StatusCode {
        use axum::http::StatusCode as S;
        match self {
            Self::Unreadable => S::BAD_REQUEST,
            Self::Unauthenticated => S::UNAUTHORIZED,
            Self::InsufficientFunds => S::PAYMENT_REQUIRED,
            Self::Forbidden => S::FORBIDDEN,
            Self::NotFound => S::NOT_FOUND,
            Self::MethodNotAllowed => S::METHOD_NOT_ALLOWED,
            Self::Conflict => S::CONFLICT,
            Self::TooLarge => S::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => S::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => S::UNPROCESSABLE_ENTITY,
            Self::RateLimited => S::TOO_MANY_REQUESTS,
            Self::Internal => S::INTERNAL_SERVER_ERROR,
            Self::Unavailable => S::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether the same request may succeed later without a change by the caller.
    #[must_use]
    pub const fn retryable(self) -> bool {
        match self {
            Self::RateLimited | Self::Internal | Self::Unavailable => true,
            Self::Unreadable
            | Self::Unauthenticated
            | Self::InsufficientFunds
            | Self::Forbidden
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Conflict
            | Self::TooLarge
            | Self::UnsupportedMediaType
            | Self::Invalid => false,
        }
    }

    /// Short title of the problem (RFC 9457 `title`): the same for every problem of a kind.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Unreadable => "The request can't be read",
            Self::Unauthenticated => "Sign in first",
            Self::InsufficientFunds => "Not enough money",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Method not allowed",
            Self::Conflict => "Not possible in this state",
            Self::TooLarge => "The request is too large",
            Self::UnsupportedMediaType => "Unsupported media type",
            Self::Invalid => "The request is not valid",
            Self::RateLimited => "Too many requests",
            Self::Internal => "Something went wrong on our side",
            Self::Unavailable => "Not available at the moment",
        }
    }
}

/// The fault of a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Path of the field, as in the body: `shipment.consignee.pincode`, `shipment.items[0].sku`.
    pub field: String,
    /// Machine-readable code: `required`, `unknown`, `type`, `length`, `range`, ...
    pub code: Cow<'static, str>,
    /// A sentence for people.
    pub message: Cow<'static, str>,
}

impl FieldError {
    /// Names what is wrong with `field`.
    pub fn new(
        field: impl Into<String>,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field: field.into(), code: code.into(), message: message.into() }
    }
}

/// Members of a problem besides the usual ones.
pub type Members = serde_json::Map<String, serde_json::Value>;

/// The error of a request.
#[derive(Clone, Debug)]
pub struct AppError {
    /// Decides status and retryability.
    pub kind: ErrorKind,
    /// `module.reason`, stable, for programs.
    pub code: &'static str,
    /// A sentence that says what to do, for people. Safe to show to the caller.
    pub detail: Cow<'static, str>,
    /// Faults by field; empty where no field is to blame.
    pub fields: Vec<FieldError>,
    /// When to try again; sent as `Retry-After` in whole seconds, at least 1.
    pub retry_after: Option<Duration>,
    /// Further members of the problem, for programs (RFC 9457, section 3.2).
    pub members: Box<Members>,
    /// The cause, for the log alone.
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl std::fmt::Display for AppError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for AppError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl AppError {
    /// An error of `kind` with a stable code and a sentence for people.
    pub fn new(kind: ErrorKind, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            code,
            detail: detail.into(),
            fields: Vec::new(),
            retry_after: None,
            members: Box::default(),
            source: None,
        }
    }

    /// 422 with the fields to blame. Where one field alone is, and for a reason of a module's own (`module.reason`), the
    /// problem has its code.
    #[must_use]
    pub fn invalid(fields: Vec<FieldError>) -> Self {
        let code = match &fields[..] {
            [FieldError { code: Cow::Borrowed(code), .. }] if code.contains('.') => code,
            _ => "request.invalid",
        };
        Self { fields, ..Self::new(ErrorKind::Invalid, code, "Some fields are not acceptable; see errors.") }
    }

    /// 500: the cause goes to the log, the client learns nothing of it.
    pub fn internal(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::new(ErrorKind::Internal, "internal", "This is our fault. Try again; if it stays, tell us the request id.")
            .caused_by(source)
    }

    /// 503 with `Retry-After`.
    #[must_use]
    pub fn unavailable(code: &'static str, detail: &'static str) -> Self {
        Self::new(ErrorKind::Unavailable, code, detail).retry_after(Duration::from_secs(2))
    }

    /// 503 while unique indexes are missing: a duplicate could slip in.
    #[must_use]
    pub fn not_migrated() -> Self {
        Self::unavailable(
            "service.not_migrated",
            "The database is not prepared yet; an operator has to run `waybill migrate`.",
        )
    }

    /// Adds the time after which a retry makes sense.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds a member to the problem.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        self.members.insert(name.into(), serde_json::to_value(value).expect("members have JSON"));
        self
    }

    /// Adds the cause for the log.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }
}

/// The body of every error answer (RFC 9457, `application/problem+json`).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Always `about:blank`: the code says more than a page could.
    #[serde(rename = "type")]
    pub type_uri: &'static str,
    /// The same for every problem of a kind.
    pub title: &'static str,
    /// The HTTP status again.
    pub status: u16,
    /// `module.reason`, stable.
    pub code: &'static str,
    /// A sentence for people: the cause, and the remedy.
    pub detail: Cow<'static, str>,
    /// Also in the header `X-Request-Id`; quote it when asking for help.
    pub request_id: String,
    /// Present where fields are to blame.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Further members for programs, named by the operation.
    #[serde(flatten)]
    #[schema(ignore)]
    pub members: Members,
}

impl IntoResponse for AppError {
    /// Leaves the body to the outermost layer ([`super::http`]), which knows the request id.
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<mongodb::error::Error> for AppError {
    fn from(error: mongodb::error::Error) -> Self {
        if super::mongo::is_away(&error) {
            Self::unavailable("database.unavailable", "The database can't be reached at the moment; try again.")
                .caused_by(error)
        } else {
            Self::internal(error)
        }
    }
}
