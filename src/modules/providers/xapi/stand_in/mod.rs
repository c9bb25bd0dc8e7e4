//! X-API, the order endpoint of an ERP (Dynamics NAV). Base path `/xapi/api`.
//!
//! `POST orders`, `GET orders?externalDocumentNumber=`, HTTP Basic, any account that is well-formed. A number is unique
//! without regard to case, each account having its own; the second create of it is 409 `Application_DuplicateDocument`.
//! `POST /xapi/_control/orders/{number}` `{"status": "Released"}` sets where an order stands.
//!
//! Where a rule's message begins with a code (`Internal_Error: try later`), refusals have that code.

mod books;
mod contract;
mod modes;
#[cfg(test)]
mod tests;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{MethodFilter, post},
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    answer::{Answer, Refusal},
    contract::{Deviating, Deviation, basic, spell_out},
    control,
    entries::Entries,
    rules::{Fault, Subject},
    stand::{Books, Call, Provider, Stand, World},
};

use books::{Order, Status};
use contract::{NUMBER, Operation, Request};
use modes::Mode;

type Orders = Entries<Order>;

pub fn stand(world: &World<'_>) -> Stand<Orders> {
    Stand::new(Orders::default(), world, None)
}

impl Provider for Orders {
    const NAME: &'static str = "xapi";
    const API: &'static str = "/api";
    const CALLS: &'static [(MethodFilter, &'static str, Operation)] =
        &[(MethodFilter::POST, "/orders", Operation::Create), (MethodFilter::GET, "/orders", Operation::LookUp)];
    const ENTRIES: &'static str = "orders";
    const SUBJECT: &'static [&'static str] = &[NUMBER];

    type Mode = Mode;
    type Request = Request;

    fn credentials(headers: &HeaderMap) -> Option<String> {
        basic(headers)
    }

    fn read(&mut self, operation: Operation, call: &Call) -> Result<(Request, Subject), Deviating> {
        let (number, deviations) = contract::read(operation, call);
        self.note(number.as_deref(), operation, &call.body);
        match number {
            Some(number) if deviations.is_empty() => {
                let subject = vec![(NUMBER, json!(number))];
                Ok((Request { operation, account: call.account.clone(), number }, subject))
            }
            reference => Err(Deviating { reference, deviations }),
        }
    }

    async fn work(stand: &Stand<Self>, request: &Request, fault: &Fault<Mode>) -> Answer {
        let orders = &mut stand.lock().provider;
        match request.operation {
            Operation::Create => {
                let cancelled = fault.own() == Some(Mode::Cancelled);
                let status = if cancelled { Status::Cancelled } else { Status::Open };
                let placed = orders.place(&request.number, Order::new(request, status));
                placed.map_or_else(modes::duplicate, |order| Answer::json(StatusCode::CREATED, order.answered()))
            }
            Operation::LookUp => {
                let found = orders.of(&request.account, &request.number).map(Order::answered);
                Answer::ok(json!({"value": Vec::from_iter(found)}))
            }
        }
    }

    fn reply(mode: Mode, _: &Request, message: Option<&str>, worked: Option<Answer>) -> Answer {
        modes::reply(mode, message, worked.unwrap_or_else(|| Self::refuse(Refusal::SimulatorFailed, None)))
    }

    fn object(deviations: &[Deviation]) -> Answer {
        modes::refusal(StatusCode::BAD_REQUEST, "BadRequest_InvalidRequest", &spell_out(deviations), None)
    }

    fn refuse(refusal: Refusal, message: Option<&str>) -> Answer {
        let code = match refusal {
            Refusal::Unauthorized => "Authentication_InvalidCredentials",
            Refusal::Forbidden => "Authorization_Forbidden",
            Refusal::TooManyRequests => "Internal_TooManyRequests",
            Refusal::InternalError => "Internal_ServerError",
            Refusal::NoSuchPath => "BadRequest_NotFound",
            Refusal::SimulatorFailed => "Internal_SimulatorFailed",
        };
        modes::refusal(refusal.status(), code, refusal.words(), message)
    }

    fn routes() -> Router<Stand<Self>> {
        Router::new().route("/_control/orders/{number}", post(set_order))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetOrder {
    status: Status,
}

/// That of every account.
async fn set_order(
    State(stand): State<Stand<Orders>>,
    Path(number): Path<String>,
    Json(asked): Json<SetOrder>,
) -> Response {
    let orders = &mut stand.lock().provider;
    let all = orders.all_of(&number);
    all.iter_mut().for_each(|order| order.status = asked.status);
    let entry = if all.is_empty() { None } else { orders.entry(&number) };
    control::found(entry, "no order has this number")
}
