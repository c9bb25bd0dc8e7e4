//! IDCheck, a verification provider. Base path `/idcheck/v1`.
//!
//! `POST pan-verifications`, `gstin-verifications` and `penny-drops`, in the provider's own words. Everything is valid and
//! on record under the name that was sent, in capitals. The reference is the idempotency key: the same one again is the
//! same verification, with other content it is a conflict. The books show no identifier in full.

mod answers;
mod books;
mod contract;
mod modes;
#[cfg(test)]
mod tests;

use axum::{
    http::{HeaderMap, StatusCode},
    routing::MethodFilter,
};
use serde_json::json;

use crate::{
    answer::{Answer, Refusal},
    contract::{Deviating, Deviation, spell_out},
    rules::{Fault, Subject},
    stand::{Call, Provider, Stand, World},
};

use books::Checks;
use contract::{Operation, Request};
use modes::Mode;

const OTHER_REFERENCE: &str = "chk_1f0e4c52a7b34d5e9c60718293a4b5c6";

/// The stand-in; its key is `dev`.
pub fn stand(world: &World<'_>) -> Stand<Checks> {
    Stand::new(Checks::default(), world, Some("dev"))
}

impl Provider for Checks {
    const NAME: &'static str = "idcheck";
    const API: &'static str = "/v1";
    const CALLS: &'static [(MethodFilter, &'static str, Operation)] = &[
        (MethodFilter::POST, "/pan-verifications", Operation::Pan),
        (MethodFilter::POST, "/gstin-verifications", Operation::Gstin),
        (MethodFilter::POST, "/penny-drops", Operation::PennyDrop),
    ];
    const ENTRIES: &'static str = "checks";
    const SUBJECT: &'static [&'static str] = &["reference"];

    type Mode = Mode;
    type Request = Request;

    fn credentials(headers: &HeaderMap) -> Option<String> {
        headers.get("x-api-key")?.to_str().ok().map(str::to_owned)
    }

    fn read(&mut self, operation: Operation, call: &Call) -> Result<(Request, Subject), Deviating> {
        match contract::read(operation, &call.headers, &call.body) {
            Ok(request) => {
                self.note(&request);
                let subject = vec![("reference", json!(request.reference))];
                Ok((request, subject))
            }
            Err(deviations) => {
                let reference = contract::named_reference(&call.body);
                self.note_unreadable(operation, reference.as_deref());
                Err(Deviating { reference, deviations })
            }
        }
    }

    async fn work(stand: &Stand<Self>, request: &Request, fault: &Fault<Mode>) -> Answer {
        let finding = modes::finding(fault, request);
        stand.lock().provider.verify(request, &finding).map_or_else(|refusal| refusal, Answer::ok)
    }

    fn reply(mode: Mode, request: &Request, _: Option<&str>, worked: Option<Answer>) -> Answer {
        let field = request.operation.identifier();
        match (mode, worked) {
            (Mode::Unprocessable, _) => {
                let message = format!("{} cannot be processed", field.name);
                answers::refusal(StatusCode::UNPROCESSABLE_ENTITY, field.code, &message)
            }
            // A message as no provider should write it.
            (Mode::EchoPan, _) => {
                let Request { identifier, ifsc, name, .. } = request;
                let sent = format!("{identifier} {ifsc}");
                let message = format!("Cannot verify {} {} of {name}", field.name, sent.trim());
                answers::refusal(StatusCode::BAD_REQUEST, contract::UNREADABLE, &message)
            }
            (Mode::WrongReference, Some(answer)) => answer.with_field("reference", json!(OTHER_REFERENCE)),
            (_, Some(answer)) => answer,
            (_, None) => Self::refuse(Refusal::SimulatorFailed, None),
        }
    }

    /// 422 where nothing but the spelling of an identifier is wrong.
    fn object(deviations: &[Deviation]) -> Answer {
        let misspelled = deviations.iter().all(|deviation| deviation.code.is_some());
        let code = deviations.first().and_then(|first| first.code).filter(|_| misspelled);
        let status = if code.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
        answers::refusal(status, code.unwrap_or(contract::UNREADABLE), &spell_out(deviations))
    }

    fn refuse(refusal: Refusal, message: Option<&str>) -> Answer {
        let (code, words) = match refusal {
            Refusal::Unauthorized => ("invalid_key", "The API key is not valid"),
            Refusal::Forbidden => ("account_suspended", "The account is suspended"),
            Refusal::TooManyRequests => ("too_many_requests", "Too many requests"),
            Refusal::InternalError => ("internal", "Internal error"),
            Refusal::NoSuchPath => ("not_found", "There is nothing here"),
            Refusal::SimulatorFailed => ("simulator_failed", "the simulator itself failed"),
        };
        answers::refusal(refusal.status(), code, message.unwrap_or(words))
    }
}
