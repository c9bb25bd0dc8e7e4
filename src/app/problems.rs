//! Every code that a problem can have, with its status and what to do about it. `/openapi.json`, `/docs` and docs/clients.md show
//! this table; tests hold every code of the source and every answer that they get against it.

use std::{fmt::Write, sync::Arc};

use axum::response::{IntoResponse, Response};

use crate::platform::error::AppError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemCode {
    /// `module.reason`, as answered.
    pub code: &'static str,
    pub status: u16,
    /// Its meaning and what the client should do.
    pub advice: &'static str,
}

const fn of(code: &'static str, status: u16, advice: &'static str) -> ProblemCode {
    ProblemCode { code, status, advice }
}

/// All of them, by code.
pub const PROBLEM_CODES: &[ProblemCode] = &[
    of("analytics.not_found", 404, "There is no such merchant for you."),
    of("audit.exports_busy", 429, "Other exports are being written: repeat it after `Retry-After`."),
    of("audit.held", 409, "A legal hold keeps this until an administrator releases it."),
    of("audit.no_commitment_key", 500, "A key of the service is missing: an operator looks at its log."),
    of("audit.not_found", 404, "There is no such record."),
    of("audit.not_sealed", 404, "The record is there and not sealed yet: ask again in a few seconds."),
    of("audit.not_signed", 503, "An operator has to set `AUDIT_SIGNING_KEY`."),
    of("audit.not_verifiable", 503, "The chain can't be checked at the moment; `detail` says why."),
    of("audit.seal_not_usable", 409, "A seal is not as it was made: run `waybill audit verify`."),
    of("audit.unreadable_record", 500, "The record can't be shown: quote the request id."),
    of("audit.unreadable_seal", 500, "The seal can't be read: run `waybill audit verify`."),
    of("audit.verification_busy", 503, "Another check is running: repeat it after `Retry-After`."),
    of("auth.account_disabled", 403, "Ask an administrator to enable the account."),
    of("auth.busy", 503, "Too many people sign in: repeat it after `Retry-After`."),
    of("auth.email_taken", 409, "There is an account with this address: sign in, or reset its password."),
    of("auth.email_verified", 409, "Nothing to do: the address is verified."),
    of("auth.forbidden", 403, "Your role does not allow it: sign in as a user whose role does."),
    of("auth.invalid_credentials", 401, "The address or the password is wrong."),
    of("auth.invalid_key", 401, "It is no API key of ours: see that it was copied whole."),
    of("auth.invalid_link", 422, "The link was used, has expired or is not complete: ask for a new one."),
    of("auth.invalid_refresh", 401, "Sign in again."),
    of("auth.invalid_token", 401, "Sign in again."),
    of("auth.key_expired", 401, "Make another API key."),
    of("auth.key_revoked", 401, "The API key was revoked, or its user has another role: make another one."),
    of("auth.no_such_key", 404, "There is no such API key, or it is another user's."),
    of("auth.not_with_key", 403, "No API key opens it: sign in."),
    of("auth.otp_required", 401, "The password is right: send `otp` too, the authenticator's code or a recovery code."),
    of("auth.refresh_reused", 401, "The session has ended: sign in again."),
    of("auth.required", 401, "Send an access token or an API key as `Authorization: Bearer ...`."),
    of("auth.scope_missing", 403, "Make an API key with the scope that `detail` names."),
    of("auth.token_expired", 401, "Renew it by `POST /auth/refresh`, then repeat."),
    of("auth.token_limited", 403, "The access token opens what `detail` names alone: finish that, and sign in again."),
    of("auth.token_revoked", 401, "Renew it by `POST /auth/refresh`, or sign in again."),
    of("auth.too_many_attempts", 429, "Wait as `Retry-After` says."),
    of("auth.too_many_keys", 409, "Revoke an API key first."),
    of("auth.totp_not_begun", 409, "Begin (again) with `POST /auth/totp`."),
    of("auth.totp_off", 409, "Nothing to do: no second factor is asked for."),
    of("auth.totp_on", 409, "Remove the second factor before you begin with another one."),
    of("auth.totp_required", 403, "Sign in, and begin with a second factor (`POST /auth/totp`)."),
    of("auth.wrong_code", 422, "The code is wrong or was used: wait for the authenticator's next one."),
    of("auth.wrong_otp", 401, "The code is wrong or was used: wait for the authenticator's next one."),
    of("auth.wrong_password", 422, "The current password is another one."),
    of("catalog.below_zero", 409, "There is less stock than that; `available` says how much."),
    of("catalog.idempotency_mismatch", 422, "Choose a new `clientReference` for another movement."),
    of("catalog.not_found", 404, "There is no such product for you."),
    of("catalog.sku_taken", 409, "Change the product that `productId` names, or choose another sku."),
    of("catalog.too_many", 409, "That is more stock than a product may have."),
    of("checkout.gateway_not_available", 422, "Pay in another way: no payment gateway is configured."),
    of("checkout.idempotency_mismatch", 422, "Choose a new `clientOrderId` for another checkout."),
    of("checkout.not_cancellable", 409, "It is too late; `detail` says in which state it is."),
    of("checkout.not_found", 404, "There is no such checkout for you."),
    of("checkout.not_fulfillable", 409, "Nothing of it can be sent again in its state."),
    of("checkout.nothing_to_fulfil", 409, "Wait: whether the provider has the order is being found out."),
    of("checkout.out_of_stock", 409, "Take less of what `items` names, or something else."),
    of("checkout.payment_used", 409, "The payment has paid another checkout."),
    of("checkout.seller_not_verified", 409, "The merchant can't sell at the moment."),
    of("checkout.stock_full", 409, "The merchant's stock can't take the goods back: ask the merchant."),
    of("checkout.too_many_orders", 409, "Ask an operator: too many orders were made for it."),
    of("database.unavailable", 503, "Repeat it with the same ids after `Retry-After`."),
    of("finance.already_reversed", 409, "Nothing to do; `transactionId` names the reversal."),
    of("finance.idempotency_mismatch", 422, "Choose a new `clientReference` for another transaction."),
    of("finance.no_user", 404, "There is no such user."),
    of("finance.not_found", 404, "There is no such transaction."),
    of("finance.not_reversible", 409, "Only recharges and adjustments are reversed."),
    of("finance.too_wide", 503, "Ask for less: a user, a reference or a shorter period."),
    of("internal", 500, "Our fault. Repeat it with the same ids; quote the request id if it stays."),
    of("kyc.changed", 409, "It was handed in again meanwhile: look at it again."),
    of("kyc.document_not_found", 404, "There is no such document for you."),
    of("kyc.field_locked", 409, "What `errors` names can't be changed in this state."),
    of("kyc.gstin_kind_not_supported", 422, "A GSTIN of this kind is not accepted."),
    of("kyc.incomplete", 422, "Complete what `errors` names, then submit."),
    of("kyc.not_decidable", 409, "This can't be decided in its state; `state` names it."),
    of("kyc.not_erasable", 409, "Only a rejected application is erased."),
    of("kyc.not_found", 404, "There is no such application."),
    of("kyc.not_submittable", 409, "`detail` says what comes next."),
    of("kyc.not_verified", 403, "Do what `nextStep` says first."),
    of("kyc.own_application", 403, "Another reviewer has to decide."),
    of("kyc.sealing_key_missing", 503, "An operator has to add the key that the record is sealed under."),
    of("kyc.second_person_needed", 409, "Another reviewer has to agree."),
    of("kyc.too_many_documents", 409, "Remove a document first."),
    of("kyc.unreadable_document", 500, "The document can't be read: quote the request id."),
    of("kyc.uploads_busy", 503, "Repeat it after `Retry-After`."),
    of("orders.files_busy", 503, "Repeat it after `Retry-After`."),
    of("orders.idempotency_mismatch", 422, "Choose a new `clientOrderId` for another order."),
    of("orders.no_file", 404, "The order has no such file (yet)."),
    of("orders.not_cancellable", 409, "It is too late; `detail` says why."),
    of("orders.not_found", 404, "There is no such order for you."),
    of(
        "orders.not_markable",
        409,
        "Only an order that needs attention, and that the provider does not have, can be marked failed.",
    ),
    of(
        "orders.not_settled",
        409,
        "The books don't allow it: `waybill ledger check`; then repeat. Nothing was changed.",
    ),
    of("provider_accounts.busy", 503, "All calls at once that the account may make are being made; repeat later."),
    of("provider_accounts.from_environment", 409, "Change its credentials in the environment."),
    of("provider_accounts.no_such_merchant", 422, "`ownerUserId` has to name a merchant."),
    of("provider_accounts.not_found", 404, "There is no such account."),
    of("provider_accounts.not_testable", 409, "No call to this provider is without an effect."),
    of("provider_accounts.tested_lately", 429, "Test an account once in ten seconds; see `Retry-After`."),
    of("queues.count_changed", 409, "Other jobs are dead by now: count again. Nothing was deleted."),
    of("queues.job_not_found", 404, "There is no such job; done ones are trimmed."),
    of("queues.not_dead", 409, "Only dead jobs are retried; `detail` says how this one stands."),
    of("queues.not_ended", 409, "Wait until the job has ended."),
    of("queues.not_found", 404, "There is no such queue; see `GET /queues`."),
    of("queues.retry_refused", 409, "It can't run again; `detail` says why."),
    of("queues.unavailable", 503, "The queues can't be looked at now: repeat it after `Retry-After`."),
    of("rates.unavailable", 503, "There is no price list yet: an operator runs `waybill migrate`."),
    of("request.content_encoding", 415, "Send the body as it is, not compressed."),
    of("request.cut_off", 400, "The body did not arrive whole: repeat it."),
    of("request.invalid", 422, "Correct what `errors` names."),
    of("request.media_type", 415, "Send what `requestBody` names."),
    of("request.method_not_allowed", 405, "`Allow` names the methods."),
    of("request.not_a_form", 400, "The body is no form; `detail` says where."),
    of("request.not_found", 404, "There is nothing at this path."),
    of("request.not_json", 400, "The body is no JSON; `detail` says where."),
    of("request.rate_limited", 429, "Wait as `Retry-After` says."),
    of("request.too_large", 413, "`detail` names the limit."),
    of("request.too_slow", 400, "The body did not arrive in time: repeat it."),
    of("schedules.not_found", 404, "There is no such schedule; see `GET /schedules`."),
    of("schedules.still_running", 409, "Wait for the end of the run before."),
    of("service.not_migrated", 503, "An operator has to run `waybill migrate`; repeat it afterwards."),
    of("service.not_ready", 503, "Send requests elsewhere; `errors` names what is down."),
    of("service.overloaded", 503, "Repeat it with the same ids after `Retry-After`."),
    of("service.timeout", 503, "It is not known whether it was carried out: repeat it with the same ids."),
    of("tenants.full", 409, "The tenant has as many members as it may have."),
    of("tenants.not_found", 404, "There is no such tenant for you."),
    of("tenants.other_tenant", 409, "The user has to leave its tenant first."),
    of("tenants.slug_taken", 409, "Choose another slug."),
    of("topups.idempotency_mismatch", 422, "Choose a new `clientTopupId` for another top-up."),
    of("topups.not_configured", 503, "No payment gateway is configured: ask the operator."),
    of("topups.not_found", 404, "There is no such top-up for you."),
    of("topups.over_limit", 403, "Spend some of it first, or be verified; `limit` says how much there may be."),
    of("users.no_mail", 409, "Leave `sendLink` out: no mail is sent here."),
    of("users.not_found", 404, "There is no such user."),
    of("users.own_account", 409, "Another administrator has to do it."),
    of("wallet.hold_closed", 409, "The money was captured or given back before."),
    of(
        "wallet.insufficient_funds",
        402,
        "Top up the wallet by the difference of `needed` and `available`, then repeat.",
    ),
    of("wallet.too_large", 409, "The wallet can't hold that much."),
    of("webhooks.address_refused", 422, "Nothing is posted to this network: give a public address."),
    of("webhooks.bad_signature", 401, "Sign the callback with the secret that was agreed upon."),
    of("webhooks.endpoint_deleted", 409, "The endpoint is gone: replay to another one."),
    of("webhooks.endpoint_disabled", 409, "Enable the endpoint first."),
    of("webhooks.no_delivery", 404, "There is no such delivery for you."),
    of("webhooks.no_endpoint", 404, "There is no such endpoint for you."),
    of("webhooks.no_tenant", 404, "You belong to no tenant: ask an administrator."),
    of("webhooks.not_taken", 503, "Send the callback again."),
    of("webhooks.replay_under_way", 409, "Wait for the end of the replay."),
    of("webhooks.rotated_meanwhile", 409, "Somebody else has changed the secret: read it again."),
    of("webhooks.stale", 401, "Sign the callback again: its time is too far from ours."),
    of("webhooks.too_many_endpoints", 409, "Delete an endpoint first."),
    of("webhooks.unknown_payment", 404, "There is no such payment."),
    of("webhooks.unknown_provider", 404, "No gateway of this name calls here."),
    of("webhooks.unreadable", 422, "The callback is signed and can't be used; `detail` says what of it."),
];

#[must_use]
pub fn problem_code(code: &str) -> Option<&'static ProblemCode> {
    let at = PROBLEM_CODES.binary_search_by_key(&code, |known| known.code).ok()?;
    PROBLEM_CODES.get(at)
}

/// As a table for people, in Markdown.
#[must_use]
pub fn problem_table() -> String {
    let mut table = String::from("| status | code | what to do |\n|---|---|---|\n");
    for ProblemCode { code, status, advice } in PROBLEM_CODES {
        let _ = writeln!(table, "| {status} | `{code}` | {advice} |");
    }
    table
}

/// A problem with a code that is not in the table.
#[derive(Debug, thiserror::Error)]
#[error("the problem code {0} is in no table")]
struct Unlisted(&'static str);

/// Lets no problem out whose code nobody could look up.
pub(super) async fn only_listed(response: Response) -> Response {
    let code = response.extensions().get::<Arc<AppError>>().map(|error| error.code);
    match code.filter(|code| problem_code(code).is_none()) {
        Some(code) => AppError::internal(Unlisted(code)).into_response(),
        None => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::error::ErrorKind;

    #[test]
    fn every_code_is_there_once_and_is_found() {
        assert!(PROBLEM_CODES.is_sorted_by(|one, next| one.code < next.code), "by code, each once");
        for known in PROBLEM_CODES {
            assert_eq!(problem_code(known.code), Some(known));
            assert!((400..600).contains(&known.status) && known.advice.ends_with('.'), "{}", known.code);
        }
        assert_eq!(problem_code("auth.unheard_of"), None);
    }

    #[tokio::test]
    async fn a_code_that_is_in_no_table_is_not_answered() {
        for (code, status) in [("orders.not_found", 404), ("orders.unheard_of", 500)] {
            let answer = AppError::new(ErrorKind::NotFound, code, "Not there.").into_response();
            assert_eq!(only_listed(answer).await.status().as_u16(), status, "{code}");
        }
    }
}
