//! PayGate, a payment gateway. Base path `/paygate/v1`.
//!
//! - `POST payments`, `GET payments?reference=`, in the gateway's own words. The reference is the idempotency key: the
//!   same one again is the same payment, with another amount it is a conflict.
//! - `POST refunds`, `GET refunds?reference=`: all of a payment goes back, under a reference of its own, once.
//! - `/paygate/pay/{paymentId}` the page on which a person pays, or does not ([`page`]).
//! - `/paygate/_control/...` where callbacks go, and payments that succeed or fail ([`control`], [`callbacks`]).

mod answers;
mod books;
mod callbacks;
mod contract;
mod control;
mod modes;
mod page;
#[cfg(test)]
mod tests;

use std::{sync::LazyLock, time::Duration};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    routing::MethodFilter,
};
use reqwest::Client;
use serde_json::json;

use crate::{
    answer::{Answer, Refusal},
    contract::{Deviating, Deviation, spell_out},
    rules::{Fault, Subject},
    stand::{Call, Provider, Stand, World},
};

use books::{Gateway, PayerAction, Payment, Payments, Placed, Target};
use callbacks::Plan;
use contract::{Create, Operation, Request};
use modes::{CallsBack, Mode};

/// The stand-in; its token is `dev`.
pub fn stand(world: &World<'_>) -> Stand<Gateway> {
    static CLIENT: LazyLock<Client> = LazyLock::new(callbacks::client);
    let callbacks = world.callbacks.cloned().map(|(url, secret)| Target { url, secret });
    let gateway = Gateway { books: Payments::default(), client: CLIENT.clone(), callbacks, auto_after: None };
    Stand::new(gateway, world, Some("dev"))
}

impl Provider for Gateway {
    const NAME: &'static str = "paygate";
    const API: &'static str = "/v1";
    const CALLS: &'static [(MethodFilter, &'static str, Operation)] = &[
        (MethodFilter::POST, "/payments", Operation::Create),
        (MethodFilter::GET, "/payments", Operation::LookUp),
        (MethodFilter::POST, "/refunds", Operation::Refund),
        (MethodFilter::GET, "/refunds", Operation::LookUpRefund),
    ];
    const ENTRIES: &'static str = "payments";
    const SUBJECT: &'static [&'static str] = &["reference", "amount"];

    type Mode = Mode;
    type Request = Request;

    fn credentials(headers: &HeaderMap) -> Option<String> {
        headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(str::to_owned)
    }

    fn read(&mut self, operation: Operation, call: &Call) -> Result<(Request, Subject), Deviating> {
        let read = contract::read(operation, call);
        let (reference, amount) = match &read {
            Ok(Request::Create(create, _)) => (Some(create.reference.clone()), Some(create.amount)),
            Ok(Request::LookUp(reference, _)) => (Some(reference.clone()), self.books.note_look_up(reference)),
            Ok(Request::Refund(refund)) => (Some(refund.reference.clone()), Some(refund.amount)),
            Ok(Request::LookUpRefund(reference)) => (Some(reference.clone()), None),
            Err(_) => (contract::named_reference(&call.body), None),
        };
        if operation == Operation::Create {
            self.books.note_create(reference.as_deref(), &call.body);
        }
        let subject = [("reference", json!(reference)), ("amount", json!(amount))];
        match read {
            Ok(request) => Ok((request, subject.into())),
            Err(deviations) => Err(Deviating { reference, deviations }),
        }
    }

    async fn work(stand: &Stand<Self>, request: &Request, fault: &Fault<Mode>) -> Answer {
        match request {
            Request::Create(create, home) => place(stand, create, home, fault.own().and_then(Mode::calls_back)).await,
            Request::LookUp(reference, home) => match stand.lock().provider.books.payment(reference) {
                Some(payment) => Answer::ok(payment.shown(home)),
                None => answers::payment_not_found(None),
            },
            Request::Refund(refund) => {
                let fails = fault.own() == Some(Mode::RefundFailed);
                match stand.lock().provider.books.refund(refund, fails) {
                    Ok((refunded, true)) => Answer::json(StatusCode::CREATED, refunded.shown()),
                    Ok((refunded, false)) => Answer::ok(refunded.shown()),
                    Err(refusal) => refusal,
                }
            }
            Request::LookUpRefund(reference) => match stand.lock().provider.books.refund_of(reference) {
                Some(refunded) => Answer::ok(refunded.shown()),
                None => answers::refund_not_found(None),
            },
        }
    }

    fn reply(mode: Mode, request: &Request, message: Option<&str>, worked: Option<Answer>) -> Answer {
        let is_refund = matches!(request, Request::Refund(_) | Request::LookUpRefund(_));
        modes::reply(mode, is_refund, message, worked)
    }

    fn object(deviations: &[Deviation]) -> Answer {
        answers::refusal(StatusCode::BAD_REQUEST, "invalid_request", &spell_out(deviations))
    }

    fn refuse(refusal: Refusal, message: Option<&str>) -> Answer {
        let (code, words) = match refusal {
            Refusal::Unauthorized => ("invalid_token", "The access token is not valid"),
            Refusal::Forbidden => ("account_suspended", "The account is suspended"),
            Refusal::TooManyRequests => ("too_many_requests", "Too many requests"),
            Refusal::InternalError => ("internal_error", "Internal error"),
            Refusal::NoSuchPath => ("not_found", "There is nothing here"),
            Refusal::SimulatorFailed => ("simulator_failed", "the simulator itself failed"),
        };
        answers::refusal(refusal.status(), code, message.unwrap_or(words))
    }

    fn routes() -> Router<Stand<Self>> {
        page::router().merge(control::router())
    }
}

/// Books the payment, or finds the one that is there, and gives the answer to it.
async fn place(stand: &Stand<Gateway>, create: &Create, home: &str, calls_back: Option<CallsBack>) -> Answer {
    let (answer, auto_after) = {
        let gateway = &mut stand.lock().provider;
        let auto_after = gateway.auto_after;
        match gateway.books.create(create) {
            Ok(Placed { payment, is_new: true }) => {
                (Answer::json(StatusCode::CREATED, payment.shown(home)), auto_after)
            }
            Ok(Placed { payment, is_new: false }) => (Answer::ok(payment.shown(home)), None),
            Err(refusal) => return refusal,
        }
    };
    let reference = &create.reference;
    if let Some(after) = auto_after {
        tokio::spawn(pay_later(stand.clone(), reference.clone(), after));
    }
    let Some(calls_back) = calls_back else {
        return answer;
    };
    if let Err(problem) = callbacks::carry_out(stand, reference, Plan::of(PayerAction::Pay)).await {
        tracing::warn!(problem = problem.text(), "no callback before the answer");
    }
    match (calls_back, stand.lock().provider.books.payment(reference)) {
        (CallsBack::ThenAnswers, Some(payment)) => Answer::json(answer.status, payment.shown(home)),
        _ => answer,
    }
}

/// Pays a payment that nobody has settled in the meantime.
async fn pay_later(stand: Stand<Gateway>, reference: String, after: Duration) {
    tokio::time::sleep(after).await;
    let waiting = stand.lock().provider.books.payment(&reference).is_some_and(Payment::is_payable);
    if waiting && let Err(problem) = callbacks::carry_out(&stand, &reference, Plan::of(PayerAction::Pay)).await {
        tracing::warn!(problem = problem.text(), "not paid by itself");
    }
}
