//! `/provider-accounts`: with which credentials providers are called, and how often. Nobody is shown a credential.

use axum::{
    Json,
    extract::{FromRequestParts, MatchedPath, State},
    http::{StatusCode, request::Parts},
    routing::{get, post},
};
use bson::DateTime;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::provider_account_requests::{ChangeAccountRequest, CreateAccountRequest, ListAccountsQuery};
use crate::{
    modules::{
        auth::{AsUser, user_key},
        providers::{
            AccountChange, AccountChanged, AccountFilter, AccountLimits, AccountStatus, Accounts, ChangeAccount,
            CreateAccount, Dispatcher, NotCreated, ProviderAccount, accounts,
            dispatch::{AccountState, BreakerState},
        },
    },
    platform::{
        batch::Lane,
        clock::{Clock, Rfc3339Time},
        error::{AppError, ErrorKind, FieldError, Problem},
        http::{ApiJson, ApiPath, ApiQuery, NoQuery},
        identity::{Actor, Admin, AdminReader, CurrentUser},
        ids::new_id,
    },
};

const PAGE: usize = 20;
const BODY_BYTES_MAX: usize = 32 * 1024;

/// State of the routes.
#[derive(Clone)]
pub struct AccountBoard {
    /// Reads and seals.
    pub accounts: Accounts,
    /// Knows how they are doing.
    pub dispatch: Dispatcher,
    /// Writes.
    pub lane: Lane,
    /// Time.
    pub clock: Clock,
}

/// The routes. Those of the account that environment variables make can also be written without escaping its slash.
pub fn provider_account_router(board: AccountBoard) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create_account, list_accounts))
        .routes(routes!(get_account, change_account, deactivate_account))
        .routes(routes!(activate_account))
        .route(
            "/provider-accounts/{accountId}/default",
            get(get_account).put(change_account).delete(deactivate_account),
        )
        .route("/provider-accounts/{accountId}/default/activate", post(activate_account))
        .with_state(board)
}

/// The id of an account in a path.
pub(super) struct AccountId(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for AccountId {
    type Rejection = AppError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AppError> {
        let ApiPath(id) = ApiPath::<String>::from_request_parts(parts, state).await?;
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        Ok(Self(if route.contains("/default") { accounts::default_account(&id) } else { id }))
    }
}

/// An account, as answered: without its credentials, user names included.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AccountResponse {
    /// `acc_...`, or `<provider>/default` for the one that environment variables make.
    account_id: String,
    provider: String,
    label: String,
    status: AccountStatus,
    /// `open`: it is not called, because it was away or refused its credentials; `half_open`: one call finds out whether it is
    /// back.
    breaker: BreakerState,
    /// The limits as they were set, else those of the environment or the provider.
    limits: AccountLimits,
    comment: Option<String>,
    /// The merchant whose orders alone it is used for.
    owner_user_id: Option<String>,
    /// Counts the changes of its credentials; 0 where environment variables have them.
    credentials_version: i64,
    last_used_at: Option<Rfc3339Time>,
    created_at: Rfc3339Time,
    updated_at: Rfc3339Time,
}

/// A page of accounts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AccountListResponse {
    /// Accounts: those of environment variables first, then the newest.
    items: Vec<AccountResponse>,
    /// Send it as `cursor` for the next page; null on the last one.
    next_cursor: Option<String>,
}

impl AccountResponse {
    fn new(account: ProviderAccount, limits: AccountLimits, state: &AccountState, now: DateTime) -> Self {
        Self {
            account_id: account.id,
            provider: account.provider,
            label: account.label,
            status: account.status,
            breaker: state.shown(now),
            limits,
            comment: account.comment,
            owner_user_id: account.owner_user_id,
            credentials_version: account.credentials_version,
            last_used_at: state.last_used_at.map(Rfc3339Time),
            created_at: Rfc3339Time(account.created_at),
            updated_at: Rfc3339Time(account.updated_at),
        }
    }
}

pub(super) fn not_found() -> AppError {
    AppError::new(ErrorKind::NotFound, "provider_accounts.not_found", "There is no such account.")
}

fn from_environment() -> AppError {
    let detail = "The credentials of this account are environment variables; change them there, or add an account.";
    AppError::new(ErrorKind::Conflict, "provider_accounts.from_environment", detail)
}

impl From<accounts::AccountNotChanged> for AppError {
    fn from(refused: accounts::AccountNotChanged) -> Self {
        match refused {
            accounts::AccountNotChanged::NotFound => not_found(),
            accounts::AccountNotChanged::FromEnvironment => from_environment(),
        }
    }
}

impl AccountBoard {
    async fn find(&self, account_id: &str) -> Result<ProviderAccount, AppError> {
        self.accounts.find(account_id).await?.ok_or_else(not_found)
    }

    async fn describe(&self, accounts: Vec<ProviderAccount>) -> Result<Vec<AccountResponse>, AppError> {
        let ids: Vec<&str> = accounts.iter().map(|account| &*account.id).collect();
        let (mut states, now) = (self.dispatch.states(&ids).await?, self.clock.now());
        let described = accounts.into_iter().map(|account| {
            let limits = self.accounts.limits(&account.id, &account.provider, account.limits);
            let state = states.remove(&account.id).unwrap_or_default();
            AccountResponse::new(account, limits, &state, now)
        });
        Ok(described.collect())
    }

    async fn describe_one(&self, account: ProviderAccount) -> Result<Json<AccountResponse>, AppError> {
        let described = self.describe(vec![account]).await?.pop();
        described.map(Json).ok_or_else(not_found)
    }

    async fn create(&self, user: &CurrentUser, request: CreateAccountRequest) -> Result<ProviderAccount, AppError> {
        let (id, now) = (new_id("acc"), self.clock.now());
        let account = ProviderAccount {
            credentials: Some(self.accounts.seal(&id, &request.credentials.into())),
            credentials_version: 1,
            id,
            provider: request.provider,
            label: request.label,
            status: AccountStatus::Active,
            limits: request.limits.map(AccountLimits::from).unwrap_or_default(),
            owner_user_id: request.owner_user_id,
            comment: request.comment.filter(|comment| !comment.is_empty()),
            test: None,
            created_at: now,
            updated_at: now,
        };
        let owner = account.owner_user_id.as_deref().map(user_key);
        let command = CreateAccount { account, owner, actor: Actor::from(user), event_id: new_id("aud") };
        self.lane.submit(AsUser::new(user, command)).await??.map_err(|refused| match refused {
            NotCreated::NoSuchMerchant => {
                let message = "must be the id of a merchant";
                AppError::invalid(vec![FieldError::new("ownerUserId", "provider_accounts.no_such_merchant", message)])
            }
        })
    }

    /// Changes an account, and lets it be called again where that was the point.
    async fn change(
        &self,
        user: &CurrentUser,
        account_id: String,
        change: AccountChange,
    ) -> Result<ProviderAccount, AppError> {
        let command = ChangeAccount { account_id, change, actor: Actor::from(user), event_id: new_id("aud") };
        let AccountChanged { account, closes_breaker } = self.lane.submit(AsUser::new(user, command)).await???;
        if closes_breaker {
            self.dispatch.close(&account.id).await?;
        }
        Ok(account)
    }
}

/// Adds an account at a provider.
#[utoipa::path(post, path = "/provider-accounts", tag = "provider accounts", security(("bearer" = [])),
    request_body = CreateAccountRequest, responses(
        (status = 201, description = "The account is added, and takes orders within seconds.", body = AccountResponse),
        (status = 422, description = "Some fields are not acceptable; unknown and missing credentials are named.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn create_account(
    State(board): State<AccountBoard>,
    Admin(user): Admin,
    _: NoQuery,
    ApiJson(request): ApiJson<CreateAccountRequest, BODY_BYTES_MAX>,
) -> Result<(StatusCode, Json<AccountResponse>), AppError> {
    let account = board.create(&user, request).await?;
    Ok((StatusCode::CREATED, board.describe_one(account).await?))
}

/// Accounts at providers.
#[utoipa::path(get, path = "/provider-accounts", tag = "provider accounts", security(("bearer" = [])),
    params(ListAccountsQuery), responses(
        (status = 200, body = AccountListResponse),
        (status = 422, description = "A parameter is not acceptable.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn list_accounts(
    State(board): State<AccountBoard>,
    _: AdminReader,
    ApiQuery(query): ApiQuery<ListAccountsQuery>,
) -> Result<Json<AccountListResponse>, AppError> {
    let filter = AccountFilter {
        provider: query.provider.map(|name| name.as_str().to_owned()),
        status: query.status,
        after: query.cursor,
    };
    let page = board.accounts.list(&filter, query.limit.unwrap_or(PAGE)).await?;
    Ok(Json(AccountListResponse { items: board.describe(page.shown).await?, next_cursor: page.next }))
}

/// One account.
#[utoipa::path(get, path = "/provider-accounts/{accountId}", tag = "provider accounts", security(("bearer" = [])),
    params(("accountId" = String, Path, description = "`acc_...`, or `<provider>/default`, escaped or not")), responses(
        (status = 200, body = AccountResponse),
        (status = 404, description = "No such account.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn get_account(
    State(board): State<AccountBoard>,
    _: AdminReader,
    _: NoQuery,
    AccountId(account_id): AccountId,
) -> Result<Json<AccountResponse>, AppError> {
    let account = board.find(&account_id).await?;
    board.describe_one(account).await
}

/// Changes an account. What is left out stays as it is. Other credentials are used for every call that begins from then on,
/// and close the breaker. Safe to repeat.
#[utoipa::path(put, path = "/provider-accounts/{accountId}", tag = "provider accounts", security(("bearer" = [])),
    params(("accountId" = String, Path, description = "`acc_...`, or `<provider>/default`, escaped or not")),
    request_body = ChangeAccountRequest, responses(
        (status = 200, body = AccountResponse),
        (status = 404, description = "No such account.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Its credentials are environment variables (`provider_accounts.from_environment`).", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Some fields are not acceptable; unknown and missing credentials are named.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn change_account(
    State(board): State<AccountBoard>,
    Admin(user): Admin,
    _: NoQuery,
    AccountId(account_id): AccountId,
    ApiJson(request): ApiJson<ChangeAccountRequest, BODY_BYTES_MAX>,
) -> Result<Json<AccountResponse>, AppError> {
    let account = board.find(&account_id).await?;
    if request.credentials.is_some() && account.credentials.is_none() {
        return Err(from_environment());
    }
    let faults = request.faults(&account.provider);
    if !faults.is_empty() {
        return Err(AppError::invalid(faults));
    }
    let change = request.into_change(|credentials| board.accounts.seal(&account_id, &credentials));
    let account = board.change(&user, account_id.clone(), change).await?;
    board.describe_one(account).await
}

/// Takes an account out of use: it takes nothing new, and finishes what was placed with it. Safe to repeat.
#[utoipa::path(delete, path = "/provider-accounts/{accountId}", tag = "provider accounts", security(("bearer" = [])),
    params(("accountId" = String, Path, description = "`acc_...`, or `<provider>/default`, escaped or not")), responses(
        (status = 204, description = "The account is inactive."),
        (status = 404, description = "No such account.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn deactivate_account(
    State(board): State<AccountBoard>,
    Admin(user): Admin,
    _: NoQuery,
    AccountId(account_id): AccountId,
) -> Result<StatusCode, AppError> {
    board.set_status(&user, &account_id, AccountStatus::Inactive).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets an account take orders, again, and closes its breaker. Safe to repeat.
#[utoipa::path(post, path = "/provider-accounts/{accountId}/activate", tag = "provider accounts", security(("bearer" = [])),
    params(("accountId" = String, Path, description = "`acc_...`, or `<provider>/default`, escaped or not")), responses(
        (status = 200, body = AccountResponse),
        (status = 404, description = "No such account.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn activate_account(
    State(board): State<AccountBoard>,
    Admin(user): Admin,
    _: NoQuery,
    AccountId(account_id): AccountId,
) -> Result<Json<AccountResponse>, AppError> {
    let account = board.set_status(&user, &account_id, AccountStatus::Active).await?;
    board.describe_one(account).await
}

impl AccountBoard {
    async fn set_status(
        &self,
        user: &CurrentUser,
        account_id: &str,
        status: AccountStatus,
    ) -> Result<ProviderAccount, AppError> {
        // One that only the environment has so far gets its document first.
        self.find(account_id).await?;
        let change = AccountChange { status: Some(status), ..AccountChange::default() };
        self.change(user, account_id.to_owned(), change).await
    }
}
