//! `POST /provider-accounts/{accountId}/test`: one call that changes nothing, to see whether an account works.

use std::time::{Duration, Instant};

use axum::{Json, extract::State, routing::post};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::provider_accounts::{AccountId, not_found};
use crate::{
    modules::{
        audit::{Call, ErrorClass, Verdict},
        auth::AsUser,
        events,
        providers::{
            AccountSecrets, Accounts, Configured, Dispatcher, ProviderAccount, Providers, Testing,
            accounts::{BeginTest, EndTest, NotTested, test_wait},
        },
        queue::{Candidate, Dispatch, Permit},
    },
    platform::{
        batch::Lane,
        clock::Rfc3339Time,
        error::{AppError, ErrorKind, Problem},
        exchange::{ExchangeClient, Logged, NotSent, Prepared, Reply},
        http::NoQuery,
        identity::{Actor, Admin, CurrentUser},
        ids::new_id,
    },
};

/// A person waits for the answer.
pub const TEST_DEADLINE: Duration = Duration::from_secs(8);
/// Time for what comes after the call, before another one may begin.
const SPARE: Duration = Duration::from_secs(5);
/// Tries to write down the outcome of a call.
const END_TRIES: u32 = 5;

/// State of the route.
#[derive(Clone)]
pub struct AccountTester {
    /// Accounts with their credentials.
    pub accounts: Accounts,
    /// Limits of accounts hold for test calls, too.
    pub dispatch: Dispatcher,
    /// Speak providers' words.
    pub providers: Providers,
    /// Writes.
    pub lane: Lane,
    /// Sends.
    pub exchange: ExchangeClient,
}

/// The route. That of the account that environment variables make can also be written without escaping its slash.
pub fn provider_account_test_router(tester: AccountTester) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(test_account))
        .route("/provider-accounts/{accountId}/default/test", post(test_account))
        .with_state(tester)
}

/// The outcome of a test call.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AccountTestResponse {
    account_id: String,
    /// The provider answered as it does to who may call it.
    works: bool,
    /// The operation that was called.
    #[schema(example = "look_up_order")]
    operation: String,
    /// `absent`: it looked, and there is no such thing, as it should be.
    #[schema(example = "absent")]
    outcome: String,
    /// The class of what went wrong.
    error_class: Option<ErrorClass>,
    #[schema(example = "provider.unauthorized")]
    error_code: Option<String>,
    /// The provider's message, or a description of the failure.
    error_message: Option<String>,
    http_status: Option<i32>,
    /// Milliseconds from sending to the end of the answer.
    latency_ms: i64,
    /// The call on record: `GET /audit/provider-requests/{requestRefId}`.
    request_ref_id: String,
    /// Start of the call.
    sent_at: Rfc3339Time,
}

impl From<NotTested> for AppError {
    fn from(refused: NotTested) -> Self {
        match refused {
            NotTested::NotFound => not_found(),
            NotTested::TooSoon(wait) => {
                let detail =
                    "This account was tested a moment ago, or is being tested; one test in ten seconds is made.";
                Self::new(ErrorKind::RateLimited, "provider_accounts.tested_lately", detail).retry_after(wait)
            }
        }
    }
}

impl AccountTester {
    /// A call that got no answer within so long is given up.
    fn patience(&self) -> Duration {
        self.exchange.deadline() * 2 + SPARE
    }

    /// The permit for a call: limits of the account hold for it. Its breaker does not: whether the provider is back is what is to
    /// be found out.
    async fn permit(&self, account: &ProviderAccount, at: &Configured) -> Result<Permit, AppError> {
        let candidate = Candidate { account_id: account.id.clone(), ..Candidate::default() };
        let busy = "All that this account may be asked at once is being asked; try again.";
        let permit = self.dispatch.admit(at.create.name, &candidate, &new_id("tst"), 1).await.pop();
        permit.ok_or_else(|| AppError::unavailable("provider_accounts.busy", busy))
    }

    async fn test(&self, user: &CurrentUser, account: ProviderAccount) -> Result<AccountTestResponse, AppError> {
        let untestable = || {
            let detail = "No call to this provider is without an effect: there is none to test it with.";
            AppError::new(ErrorKind::Conflict, "provider_accounts.not_testable", detail)
        };
        let at = self.providers.get(&account.provider).ok_or_else(untestable)?;
        let testing = at.adapter.testing().ok_or_else(untestable)?;
        // Before a place and a time to send are taken, which orders would wait for.
        if let Some(wait) = test_wait(&account, self.patience(), self.accounts.now()) {
            return Err(NotTested::TooSoon(wait).into());
        }
        let permit = self.permit(&account, at).await?;
        let tested = self.test_with(user, testing, &permit).await;
        self.dispatch.release(&[permit]).await;
        tested
    }

    async fn test_with(
        &self,
        user: &CurrentUser,
        testing: &dyn Testing,
        permit: &Permit,
    ) -> Result<AccountTestResponse, AppError> {
        // Nothing has this id, here or there.
        let reference = new_id("ord");
        let outbound = testing.test_request(&reference);
        let call = self.call(user, permit, (outbound.provider, outbound.operation));
        let begin = BeginTest {
            prepared: Prepared::new(outbound, testing.credential_headers()),
            call,
            patience: self.patience(),
            queue: events::queue(),
            actor: Actor::from(user),
            event_id: new_id("aud"),
        };
        let (logged, call) = *self.lane.submit(AsUser::new(user, begin)).await???;
        let Reply { answer, record } = self.send(testing, &logged, permit).await;
        let outcome = testing.read_test(&reference, &answer).or_repeat();
        let verdict = outcome.verdict(|()| Verdict::done("absent"));
        metrics::histogram!("waybill_provider_call_seconds",
            "provider" => testing.name(), "operation" => logged.outbound().operation, "outcome" => verdict.outcome)
        .record(record.latency_ms as f64 / 1_000.0);
        let response = AccountTestResponse {
            account_id: permit.account_id.clone(),
            works: verdict.error_class.is_none(),
            operation: call.operation.clone(),
            outcome: verdict.outcome.to_owned(),
            error_class: verdict.error_class,
            error_code: verdict.error_code.map(str::to_owned),
            error_message: verdict.error_message.clone(),
            http_status: record.http_status,
            latency_ms: record.latency_ms,
            request_ref_id: call.request_ref_id.clone(),
            sent_at: Rfc3339Time(call.sent_at),
        };
        let response_id = new_id("res");
        for _ in 0..END_TRIES {
            let (call, record, verdict) = (call.clone(), record.clone(), verdict.clone());
            let end = EndTest { call, record, verdict, response_id: response_id.clone() };
            if self.lane.submit(end).await.is_ok() {
                break;
            }
        }
        Ok(response)
    }

    async fn send(&self, testing: &dyn Testing, logged: &Logged, permit: &Permit) -> Reply {
        if !self.dispatch.wait_to_send(permit).await {
            return Reply::not_sent(NotSent::NoTime);
        }
        let since = Instant::now();
        let Ok(secrets) = self.secrets(testing, &permit.account_id).await else {
            return Reply::not_sent(NotSent::NoTime);
        };
        match testing.sign(&secrets) {
            Some(credentials) => self.exchange.send(logged, credentials, since).await,
            None => Reply::not_sent(NotSent::NoCredentials),
        }
    }

    /// The secrets that sign a call with an account now. A session that is there is used; none is begun for a test.
    async fn secrets(&self, testing: &dyn Testing, account_id: &str) -> mongodb::error::Result<AccountSecrets> {
        let mut secrets = self.accounts.secrets(account_id).await?.unwrap_or_default();
        if testing.log_in().is_some() {
            self.accounts.sessions.complete(account_id, &mut secrets).await?;
        }
        Ok(secrets)
    }

    fn call(&self, user: &CurrentUser, permit: &Permit, (provider, operation): (&str, &str)) -> Call {
        Call {
            request_ref_id: new_id("req"),
            order_id: None,
            user_id: String::new(),
            client_order_id: None,
            resource_id: Some(permit.account_id.clone()),
            provider: provider.into(),
            operation: operation.into(),
            attempt: 1,
            job_id: String::new(),
            worker_id: String::new(),
            account_id: permit.account_id.clone(),
            correlation_id: user.request_id.clone(),
            sent_at: self.accounts.now(),
        }
    }
}

/// Calls the provider once with an account, by a call that changes nothing: an order that is not there is looked up. Says whether it
/// answered, how, and how long it took. The account's limits hold for it and its breaker does not, which the answer leaves as it is.
/// Once in ten seconds for an account.
#[utoipa::path(post, path = "/provider-accounts/{accountId}/test", tag = "provider accounts", security(("bearer" = [])),
    params(("accountId" = String, Path, description = "`acc_...`, or `<provider>/default`, escaped or not")), responses(
        (status = 200, description = "The call was made, whatever came of it.", body = AccountTestResponse),
        (status = 404, description = "No such account.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`provider_accounts.not_testable`: the provider has no such call.", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`provider_accounts.tested_lately`: see `Retry-After`.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`provider_accounts.busy`: its calls at once are used up.", body = Problem, content_type = "application/problem+json"),
    ))]
async fn test_account(
    State(tester): State<AccountTester>,
    Admin(user): Admin,
    _: NoQuery,
    AccountId(account_id): AccountId,
) -> Result<Json<AccountTestResponse>, AppError> {
    let account = tester.accounts.find(&account_id).await?.ok_or_else(not_found)?;
    // A client that goes away leaves no call without its answer on record.
    let testing = tokio::spawn(async move { tester.test(&user, account).await });
    Ok(Json(testing.await.map_err(AppError::internal)??))
}
