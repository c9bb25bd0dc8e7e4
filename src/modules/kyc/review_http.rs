//! Routes of reviewers. What they read is recorded before it is shown.

use axum::{Json, extract::State, http::StatusCode};
use bson::DateTime;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    draft::Numbers,
    http::ApplicationResponse,
    identifiers::Holder,
    model::{Application, Check, CheckStatus, KycState, ReviewDecision},
    papers::LinkedAccount,
    request::{DecisionRequest, ErasureRequest, ListApplicationsQuery},
    service::{KycService, NewDecision},
    store::ApplicationFilter,
};
use crate::{
    modules::providers::checks::CheckKind,
    platform::{
        clock::Rfc3339Time,
        error::{AppError, FieldError, Problem},
        http::{ApiJson, ApiPath, ApiQuery, NoQuery, cursor},
        identity::{Admin, AdminReader},
    },
};

const PAGE: usize = 20;
const SCOPE: &str = "kyc applications";

pub fn router(service: KycService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list_applications))
        .routes(routes!(review_application))
        .routes(routes!(decide_application))
        .routes(routes!(erase_rejected))
        .with_state(service)
}

/// An application in a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ApplicationSummary {
    user_id: String,
    state: KycState,
    business_type: Option<Holder>,
    legal_name: Option<String>,
    submission: i32,
    submitted_at: Option<Rfc3339Time>,
    /// Seconds since it was handed in.
    age_seconds: i64,
    /// One of two reviewers has approved.
    awaits_second_approval: bool,
    /// Whether another account had handed in the same PAN, GSTIN or account number before.
    papers_shared: bool,
}

/// A page of applications.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ApplicationListResponse {
    items: Vec<ApplicationSummary>,
    /// Send it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

/// An application, as a reviewer sees it: with whole numbers. An auditor sees them masked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReviewResponse {
    user_id: String,
    #[serde(flatten)]
    application: ApplicationResponse,
    /// Results of the checks.
    check_results: Vec<CheckResult>,
    /// Other accounts that have handed in the same PAN, GSTIN or account number; twenty at most.
    linked_accounts: Vec<LinkedAccountResponse>,
    /// The checker: `idcheck`, or `manual`.
    provider: Option<String>,
    /// The first of two approvals.
    first_approval: Option<DecisionResponse>,
    /// The latest decision.
    decision: Option<DecisionResponse>,
    erased_at: Option<Rfc3339Time>,
    created_at: Rfc3339Time,
}

/// Another account with the same papers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct LinkedAccountResponse {
    /// The user.
    user_id: String,
    /// State of its application.
    state: KycState,
    /// The numbers that are the same: `pan`, `gstin`, `bankAccount`.
    shared: Vec<String>,
}

/// The result of a check.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CheckResult {
    check: CheckKind,
    status: CheckStatus,
    /// Our reference at the provider.
    reference: String,
    /// 0 to 100: how similar the name there is to the applicant's.
    name_similarity_percent: Option<i32>,
    /// The name there.
    name_found: Option<String>,
    /// The transfer of a penny drop.
    transfer: Option<String>,
    code: Option<String>,
    message: Option<String>,
    checked_at: Option<Rfc3339Time>,
}

#[derive(Debug, Serialize, ToSchema)]
struct DecisionResponse {
    decision: String,
    /// The user.
    by: String,
    reason: String,
    at: Rfc3339Time,
}

impl From<&ReviewDecision> for DecisionResponse {
    fn from(decision: &ReviewDecision) -> Self {
        Self {
            decision: decision.decision.clone(),
            by: decision.by.clone(),
            reason: decision.reason.clone(),
            at: Rfc3339Time(decision.at),
        }
    }
}

impl From<&Check> for CheckResult {
    fn from(check: &Check) -> Self {
        Self {
            check: check.kind,
            status: check.status,
            reference: check.reference.clone(),
            name_similarity_percent: check.name_similarity_percent,
            name_found: check.name_found.clone(),
            transfer: check.transfer.clone(),
            code: check.code.clone(),
            message: check.message.clone(),
            checked_at: check.checked_at.map(Rfc3339Time),
        }
    }
}

impl ApplicationSummary {
    fn new(application: &Application, now: DateTime) -> Self {
        let submitted = application.submitted_at.unwrap_or(now);
        Self {
            user_id: application.user_id.clone(),
            state: application.state,
            business_type: application.business_type,
            legal_name: application.legal_name.clone(),
            submission: application.submission,
            submitted_at: application.submitted_at.map(Rfc3339Time),
            age_seconds: (now.timestamp_millis() - submitted.timestamp_millis()).max(0) / 1000,
            papers_shared: application.papers_shared,
            awaits_second_approval: application.first_approval.is_some() && application.state == KycState::UnderReview,
        }
    }
}

impl ReviewResponse {
    fn new(application: &Application, linked: Vec<LinkedAccount>) -> Self {
        let linked = linked.into_iter().map(|LinkedAccount { user_id, state, shared }| LinkedAccountResponse {
            user_id,
            state,
            shared,
        });
        Self {
            linked_accounts: linked.collect(),
            user_id: application.user_id.clone(),
            application: application.into(),
            check_results: application.checks.iter().map(Into::into).collect(),
            provider: application.provider.clone(),
            first_approval: application.first_approval.as_ref().map(Into::into),
            decision: application.decision.as_ref().map(Into::into),
            erased_at: application.erased_at.map(Rfc3339Time),
            created_at: Rfc3339Time(application.created_at),
        }
    }

    fn unmasked(mut self, numbers: &Numbers) -> Self {
        let text = |number: &Option<SecretString>| number.as_ref().map(|number| number.expose_secret().to_owned());
        self.application.pan = text(&numbers.pan);
        self.application.gstin = text(&numbers.gstin);
        if let (Some(account), Some(number)) = (&mut self.application.bank_account, text(&numbers.account_number)) {
            account.account_number = number;
        }
        self
    }
}

fn cursor_of(application: &Application) -> Option<String> {
    let at = application.submitted_at?.timestamp_millis();
    Some(cursor::seal(SCOPE, &format!("{at}|{}", application.id)))
}

fn place_of(text: &str) -> Result<(DateTime, String), AppError> {
    let place = cursor::open(SCOPE, text);
    let place = place.as_deref().and_then(|place| place.split_once('|'));
    let place = place.and_then(|(at, id)| Some((DateTime::from_millis(at.parse().ok()?), id.to_owned())));
    place.ok_or_else(|| {
        AppError::invalid(vec![FieldError::new("cursor", "format", "must be the nextCursor of the page before")])
    })
}

/// Lists applications that were handed in, the longest waiting first.
#[utoipa::path(get, path = "/kyc/applications", tag = "kyc", security(("bearer" = [])), params(ListApplicationsQuery),
    responses(
        (status = 200, body = ApplicationListResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_applications(
    State(service): State<KycService>,
    AdminReader(reviewer): AdminReader,
    ApiQuery(query): ApiQuery<ListApplicationsQuery>,
) -> Result<Json<ApplicationListResponse>, AppError> {
    let filter = ApplicationFilter {
        state: query.state,
        from: query.from.map(|at| at.0),
        to: query.to.map(|at| at.0),
        after: query.cursor.as_deref().map(place_of).transpose()?,
    };
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && from >= to
    {
        return Err(AppError::invalid(vec![FieldError::new("to", "range", "must be later than from")]));
    }
    let (found, more) = service.list(&reviewer, &filter, query.limit.unwrap_or(PAGE)).await?;
    let next_cursor = if more { found.last().and_then(cursor_of) } else { None };
    let now = service.now();
    let items = found.iter().map(|application| ApplicationSummary::new(application, now)).collect();
    Ok(Json(ApplicationListResponse { items, next_cursor }))
}

/// One application with its documents and the checks' findings; whole numbers for a reviewer.
#[utoipa::path(get, path = "/kyc/applications/{userId}", tag = "kyc", security(("bearer" = [])),
    params(("userId" = String, Path, description = "`usr_...`")),
    responses(
        (status = 200, body = ReviewResponse),
        (status = 404, description = "The user has no application.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn review_application(
    State(service): State<KycService>,
    AdminReader(reviewer): AdminReader,
    _: NoQuery,
    ApiPath(user_id): ApiPath<String>,
) -> Result<Json<ReviewResponse>, AppError> {
    let (application, numbers, linked) = service.review(&reviewer, &user_id).await?;
    let masked = ReviewResponse::new(&application, linked);
    Ok(Json(match numbers {
        Some(numbers) => masked.unmasked(&numbers),
        None => masked,
    }))
}

/// Decides about an application: approve, reject, clarify; or suspend and reinstate a merchant who was verified.
#[utoipa::path(post, path = "/kyc/applications/{userId}/decision", tag = "kyc", security(("bearer" = [])),
    params(("userId" = String, Path, description = "`usr_...`")), request_body = DecisionRequest,
    responses(
        (status = 200, description = "Decided; or, where two have to approve, approved once.", body = ReviewResponse),
        (status = 404, description = "The user has no application.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Decided already (`kyc.not_decidable`), handed in again meanwhile (`kyc.changed`), or another reviewer has to approve (`kyc.second_person_needed`).", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn decide_application(
    State(service): State<KycService>,
    Admin(reviewer): Admin,
    _: NoQuery,
    ApiPath(user_id): ApiPath<String>,
    ApiJson(request): ApiJson<DecisionRequest>,
) -> Result<Json<ReviewResponse>, AppError> {
    let decision = NewDecision {
        verdict: request.decision,
        reason: request.reason,
        requirements: request.requirements.into_iter().map(Into::into).collect(),
        submission: request.submission,
    };
    let application = service.decide(&reviewer, user_id, decision).await?;
    let linked = service.linked(&application).await?;
    Ok(Json(ReviewResponse::new(&application, linked)))
}

/// Erases what is personal of a rejected application, on the merchant's request. What stays is that there was one.
#[utoipa::path(post, path = "/kyc/applications/{userId}/erasure", tag = "kyc", security(("bearer" = [])),
    params(("userId" = String, Path, description = "`usr_...`")), request_body = ErasureRequest,
    responses(
        (status = 204, description = "The application is erased."),
        (status = 404, description = "The user has no application.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Only a rejected application can be erased (`kyc.not_erasable`), and none that a legal hold keeps (`audit.held`).", body = Problem, content_type = "application/problem+json"),
    ))]
async fn erase_rejected(
    State(service): State<KycService>,
    Admin(reviewer): Admin,
    _: NoQuery,
    ApiPath(user_id): ApiPath<String>,
    ApiJson(request): ApiJson<ErasureRequest>,
) -> Result<StatusCode, AppError> {
    service.erase(&reviewer, user_id, request.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}
