//! Routes of a merchant's own application.

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    content::{DOCUMENT_BYTES_MAX, MediaType},
    identifiers::Holder,
    model::{Address, Application, Check, CheckStatus, DocumentEntry, DocumentKind, KycState, Requirement},
    request::{ErasureRequest, SaveDraftRequest},
    service::KycService,
};
use crate::{
    modules::providers::checks::CheckKind,
    platform::{
        clock::Rfc3339Time,
        error::{AppError, ErrorKind, FieldError, Problem},
        http::{ApiJson, ApiPath, NoQuery, answered, read_form, transfers},
        identity::{Merchant, MerchantOrAdmin, Role},
    },
};

pub fn router(service: KycService) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(get_application, save_draft))
        .routes(routes!(list_documents, add_document))
        .routes(routes!(get_document, remove_document))
        .routes(routes!(submit_application))
        .routes(routes!(erase_application))
        .with_state(service)
}

/// An application, as its merchant sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApplicationResponse {
    pub(super) state: KycState,
    /// The next step, in a sentence.
    next_step: &'static str,
    pub(super) business_type: Option<Holder>,
    pub(super) legal_name: Option<String>,
    /// All but the last four characters are hidden.
    #[schema(example = "XXXXXX234F")]
    pub(super) pan: Option<String>,
    #[schema(example = "29XXXXXXXXXX1Z5")]
    pub(super) gstin: Option<String>,
    #[schema(example = "XXXX-XXXX-7058")]
    aadhaar: Option<String>,
    pub(super) bank_account: Option<BankAccountResponse>,
    address: Option<Address>,
    documents: Vec<DocumentResponse>,
    /// Changes to make before it is handed in again.
    requirements: Vec<Requirement>,
    /// Automatic checks of what was handed in.
    checks: Vec<CheckResponse>,
    /// Reason of the latest decision.
    decision_reason: Option<String>,
    /// Number of submissions.
    submission: i32,
    submitted_at: Option<Rfc3339Time>,
    updated_at: Option<Rfc3339Time>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BankAccountResponse {
    #[schema(example = "XXXXXXXX9012")]
    pub(super) account_number: String,
    ifsc: String,
}

/// A document without its content.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DocumentResponse {
    document_id: String,
    kind: DocumentKind,
    #[schema(example = "application/pdf")]
    media_type: String,
    bytes: i64,
    uploaded_at: Rfc3339Time,
}

/// Documents.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DocumentListResponse {
    items: Vec<DocumentResponse>,
    /// Always null: there are ten at most.
    next_cursor: Option<String>,
}

/// A check as the merchant sees it: its result, without the name in the register.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct CheckResponse {
    check: CheckKind,
    status: CheckStatus,
    checked_at: Option<Rfc3339Time>,
}

impl From<&Check> for CheckResponse {
    fn from(check: &Check) -> Self {
        Self { check: check.kind, status: check.status, checked_at: check.checked_at.map(Rfc3339Time) }
    }
}

impl From<&DocumentEntry> for DocumentResponse {
    fn from(entry: &DocumentEntry) -> Self {
        Self {
            document_id: entry.id.clone(),
            kind: entry.kind,
            media_type: entry.media_type.clone(),
            bytes: entry.bytes,
            uploaded_at: Rfc3339Time(entry.uploaded_at),
        }
    }
}

impl From<&Application> for ApplicationResponse {
    fn from(application: &Application) -> Self {
        Self {
            state: application.state,
            next_step: application.state.next_step(),
            business_type: application.business_type,
            legal_name: application.legal_name.clone(),
            pan: application.pan.as_ref().map(|number| number.masked.clone()),
            gstin: application.gstin.as_ref().map(|number| number.masked.clone()),
            aadhaar: application.aadhaar.as_ref().map(|aadhaar| format!("XXXX-XXXX-{}", aadhaar.last4)),
            bank_account: application.bank_account.as_ref().map(|account| BankAccountResponse {
                account_number: account.number.masked.clone(),
                ifsc: account.ifsc.clone(),
            }),
            address: application.address.clone(),
            documents: application.documents.iter().map(Into::into).collect(),
            requirements: application.requirements.clone(),
            checks: application.checks.iter().map(Into::into).collect(),
            decision_reason: application.decision.as_ref().map(|decision| decision.reason.clone()),
            submission: application.submission,
            submitted_at: application.submitted_at.map(Rfc3339Time),
            updated_at: (application.state != KycState::NotStarted).then_some(Rfc3339Time(application.updated_at)),
        }
    }
}

/// Your application; `not_started` where there is none. Numbers are masked.
#[utoipa::path(get, path = "/kyc", tag = "kyc", security(("bearer" = [])),
    responses((status = 200, body = ApplicationResponse)))]
async fn get_application(
    State(service): State<KycService>,
    Merchant(user): Merchant,
    _: NoQuery,
) -> Result<Json<ApplicationResponse>, AppError> {
    Ok(Json((&service.own(&user).await?).into()))
}

/// Fills in your application. What is left out stays as it is; `null` empties a field. Safe to repeat.
#[utoipa::path(put, path = "/kyc", tag = "kyc", security(("bearer" = [])), request_body = SaveDraftRequest,
    responses(
        (status = 200, body = ApplicationResponse),
        (status = 409, description = "The application was handed in; `errors` names the fields that are locked (`kyc.field_locked`).", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A number is malformed; all of them are named.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn save_draft(
    State(service): State<KycService>,
    Merchant(user): Merchant,
    _: NoQuery,
    ApiJson(request): ApiJson<SaveDraftRequest>,
) -> Result<Json<ApplicationResponse>, AppError> {
    let change = request.read().map_err(AppError::invalid)?;
    Ok(Json((&service.save(&user, change).await?).into()))
}

/// Lists your documents.
#[utoipa::path(get, path = "/kyc/documents", tag = "kyc", security(("bearer" = [])),
    responses((status = 200, body = DocumentListResponse)))]
async fn list_documents(
    State(service): State<KycService>,
    Merchant(user): Merchant,
    _: NoQuery,
) -> Result<Json<DocumentListResponse>, AppError> {
    let application = service.own(&user).await?;
    Ok(Json(DocumentListResponse { items: application.documents.iter().map(Into::into).collect(), next_cursor: None }))
}

/// A document to add.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form; it is read part by part")]
struct DocumentForm {
    /// The kind of document.
    kind: DocumentKind,
    /// PDF, PNG or JPEG, told by its content; at most 5 MiB.
    #[schema(value_type = String, format = Binary, content_media_type = "application/octet-stream")]
    file: Vec<u8>,
}

/// Adds a document to your application. The same content again is the same document.
#[utoipa::path(post, path = "/kyc/documents", tag = "kyc", security(("bearer" = [])),
    request_body(content = DocumentForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, body = DocumentResponse),
        (status = 200, description = "The document was there already; with `Idempotent-Replayed: true`.", body = DocumentResponse),
        (status = 409, description = "Locked (`kyc.field_locked`), or ten are there (`kyc.too_many_documents`).", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "Over 5 MiB.", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Another kind, or its content is no PDF, PNG or JPEG.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn add_document(
    State(service): State<KycService>,
    Merchant(user): Merchant,
    _: NoQuery,
    request: Request,
) -> Result<Response, AppError> {
    let _turn = service.turn(&user).await?;
    let form = read_form(request, &["kind"], DOCUMENT_BYTES_MAX).await?;
    let kind = form.texts.get("kind").map(String::as_str).unwrap_or_default();
    let kind = DocumentKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(|| {
        let kinds = DocumentKind::ALL.map(DocumentKind::as_str).join(", ");
        AppError::invalid(vec![FieldError::new("kind", "unknown_value", format!("must be one of {kinds}"))])
    })?;
    let (entry, replayed) = service.upload(&user, kind, form.file).await?;
    Ok(answered(replayed, StatusCode::CREATED, DocumentResponse::from(&entry)))
}

/// The content of a document: of yours, or, for a reviewer, of anybody's; that is recorded.
#[utoipa::path(get, path = "/kyc/documents/{documentId}", tag = "kyc", security(("bearer" = [])),
    params(("documentId" = String, Path, description = "`doc_...`")),
    responses(
        (status = 200, description = "The file, as an attachment.", body = String, content_type = "application/octet-stream"),
        (status = 404, description = "No such document of yours.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_document(
    State(service): State<KycService>,
    MerchantOrAdmin(user): MerchantOrAdmin,
    _: NoQuery,
    ApiPath(document_id): ApiPath<String>,
) -> Result<Response, AppError> {
    let turn = service.turn(&user).await?;
    let (entry, content) = match user.role {
        Role::Admin => service.reviewed_document(&user, &document_id).await?,
        Role::Merchant | Role::Finance | Role::Auditor | Role::Manager | Role::Customer => {
            service.own_document(&user, &document_id).await?
        }
    };
    let media_type = MediaType::from_name(&entry.media_type).ok_or_else(|| {
        tracing::error!(document.id = document_id, "a document is of a kind that is not accepted");
        AppError::new(ErrorKind::Internal, "kyc.unreadable_document", "The document can't be read.")
    })?;
    let name = format!("attachment; filename=\"{}.{}\"", entry.kind.as_str(), media_type.extension());
    let headers = [
        (header::CONTENT_TYPE, media_type.as_str().to_owned()),
        (header::CONTENT_LENGTH, content.len().to_string()),
        (header::CONTENT_DISPOSITION, name),
        // Somebody else made it: a browser that shows it all the same must not run it.
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox".to_owned()),
    ];
    Ok((headers, transfers::body(Bytes::copy_from_slice(&content), turn)).into_response())
}

/// Removes a document of yours, while your application is open.
#[utoipa::path(delete, path = "/kyc/documents/{documentId}", tag = "kyc", security(("bearer" = [])),
    params(("documentId" = String, Path, description = "`doc_...`")),
    responses(
        (status = 204, description = "The document is deleted, with its content."),
        (status = 404, description = "No such document of yours.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The document was handed in (`kyc.field_locked`), or a legal hold keeps it (`audit.held`).", body = Problem, content_type = "application/problem+json"),
    ))]
async fn remove_document(
    State(service): State<KycService>,
    Merchant(user): Merchant,
    _: NoQuery,
    ApiPath(document_id): ApiPath<String>,
) -> Result<StatusCode, AppError> {
    service.remove_document(&user, document_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Hands your application in. Everything that is missing or contradicts is named at once; then its fields lock and the
/// checks begin. Safe to repeat.
#[utoipa::path(post, path = "/kyc/submit", tag = "kyc", security(("bearer" = [])),
    responses(
        (status = 202, description = "The application is handed in and will be checked.", body = ApplicationResponse),
        (status = 200, description = "The application was handed in before; with `Idempotent-Replayed: true`.", body = ApplicationResponse),
        (status = 409, description = "Nothing can be handed in in this state (`kyc.not_submittable`).", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not complete (`kyc.incomplete`): `errors` names everything.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn submit_application(
    State(service): State<KycService>,
    Merchant(user): Merchant,
    _: NoQuery,
) -> Result<Response, AppError> {
    let (application, replayed) = service.submit(&user).await?;
    Ok(answered(replayed, StatusCode::ACCEPTED, ApplicationResponse::from(&application)))
}

/// Erases what is personal of your application, once it was refused. What stays is that there was one.
#[utoipa::path(post, path = "/kyc/erasure", tag = "kyc", security(("bearer" = [])), request_body = ErasureRequest,
    responses(
        (status = 204, description = "The application is erased."),
        (status = 404, description = "You have no application.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Only a rejected application can be erased (`kyc.not_erasable`), and none that a legal hold keeps (`audit.held`).", body = Problem, content_type = "application/problem+json"),
    ))]
async fn erase_application(
    State(service): State<KycService>,
    Merchant(user): Merchant,
    _: NoQuery,
    ApiJson(request): ApiJson<ErasureRequest>,
) -> Result<StatusCode, AppError> {
    service.erase(&user, user.user_id.clone(), request.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}
