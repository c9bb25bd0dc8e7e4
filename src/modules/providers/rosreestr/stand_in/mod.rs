//! Rosreestr, a gateway to the Russian property register. Base path `/rosreestr/v1`.
//!
//! `POST docflows/object_request`, `GET docflows?requestId=`, `GET docflows/{docflowId}`, its files below it; HTTP Basic, any
//! account that is well-formed. A docflow is there for the account that placed it and for no other. How it goes on is a
//! [`course`]: after so many polls, after so long, or both.
//!
//! - `POST /rosreestr/_control/courses` sets the course of what is placed from then on, or of one cadastral number only.
//! - `POST /rosreestr/_control/docflows/{requestId}` sets where a docflow stands, for good.

mod books;
mod contract;
mod course;
mod files;
mod modes;
#[cfg(test)]
mod tests;

use std::time::Instant;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{MethodFilter, post},
};
use serde_json::json;

use crate::{
    answer::{Answer, Refusal},
    contract::{Deviating, Deviation, basic, spell_out},
    control,
    rules::{Fault, Subject},
    stand::{Books, Call, Provider, Stand, World},
};

use books::Registry;
use contract::{Operation, Request};
use course::{Course, Step};
use modes::Mode;

pub fn stand(world: &World<'_>) -> Stand<Registry> {
    Stand::new(Registry::default(), world, None)
}

impl Provider for Registry {
    const NAME: &'static str = "rosreestr";
    const API: &'static str = "/v1";
    const CALLS: &'static [(MethodFilter, &'static str, Operation)] = &[
        (MethodFilter::POST, "/docflows/object_request", Operation::Place),
        (MethodFilter::GET, "/docflows", Operation::LookUp),
        (MethodFilter::GET, "/docflows/{docflowId}", Operation::Poll),
        (MethodFilter::GET, "/docflows/{docflowId}/files/{fileId}", Operation::Download),
    ];
    const ENTRIES: &'static str = "docflows";
    const SUBJECT: &'static [&'static str] = &["requestId", "cadastralNumber", "docflowId", "fileId"];

    type Mode = Mode;
    type Request = Request;

    fn credentials(headers: &HeaderMap) -> Option<String> {
        basic(headers)
    }

    fn read(&mut self, operation: Operation, call: &Call) -> Result<(Request, Subject), Deviating> {
        let (mut request, deviations) = contract::read(operation, call);
        self.complete(&mut request);
        let reference = Some(request.request_id.clone()).filter(|id| !id.is_empty());
        self.docflows.note(reference.as_deref(), operation, &call.body);
        if !deviations.is_empty() {
            return Err(Deviating { reference, deviations });
        }
        let Request { request_id, cadastral_number, docflow_id, file_id, .. } = &request;
        // In the order of their names.
        let values = [request_id, cadastral_number, docflow_id, file_id].map(|value| json!(value));
        let subject = Self::SUBJECT.iter().copied().zip(values).collect();
        Ok((request, subject))
    }

    async fn work(stand: &Stand<Self>, request: &Request, fault: &Fault<Mode>) -> Answer {
        let now = Instant::now();
        let registry = &mut stand.lock().provider;
        match request.operation {
            Operation::Place => {
                let placed = registry.place(request);
                placed.map_or_else(modes::duplicate, |placed| Answer::json(StatusCode::ACCEPTED, placed))
            }
            Operation::LookUp => {
                let found = registry.under_number(request).map(|docflow| docflow.looked_up(now));
                Answer::ok(json!({"items": Vec::from_iter(found)}))
            }
            Operation::Poll => {
                let found = registry.docflow(request).map(|docflow| docflow.polled(now));
                found.map_or_else(|| modes::not_found(None), Answer::ok)
            }
            Operation::Download => {
                let file = registry.docflow(request).and_then(|docflow| docflow.download(&request.file_id, now));
                let Some(mut file) = file else {
                    return modes::not_found(None);
                };
                if fault.own() == Some(Mode::ChangedFile) {
                    file.seed = !file.seed;
                }
                Answer::file(file)
            }
        }
    }

    fn reply(mode: Mode, _: &Request, message: Option<&str>, worked: Option<Answer>) -> Answer {
        modes::reply(mode, message, worked.unwrap_or_else(|| Self::refuse(Refusal::SimulatorFailed, None)))
    }

    fn object(deviations: &[Deviation]) -> Answer {
        modes::refusal(StatusCode::BAD_REQUEST, &spell_out(deviations))
    }

    fn refuse(refusal: Refusal, message: Option<&str>) -> Answer {
        modes::refusal(refusal.status(), message.unwrap_or(refusal.words()))
    }

    fn routes() -> Router<Stand<Self>> {
        Router::new()
            .route("/_control/courses", post(set_course))
            .route("/_control/docflows/{requestId}", post(set_docflow))
    }
}

async fn set_course(State(stand): State<Stand<Registry>>, Json(course): Json<Course>) -> Response {
    if let Err(problem) = course.check() {
        return control::failed(StatusCode::UNPROCESSABLE_ENTITY, problem);
    }
    let courses = &mut stand.lock().provider.courses;
    courses.retain(|other| other.cadastral_number != course.cadastral_number);
    courses.push(course);
    StatusCode::NO_CONTENT.into_response()
}

/// That of every account.
async fn set_docflow(
    State(stand): State<Stand<Registry>>,
    Path(request_id): Path<String>,
    Json(step): Json<Step>,
) -> Response {
    let registry = &mut stand.lock().provider;
    let all = registry.docflows.all_of(&request_id);
    let none = all.is_empty();
    all.iter_mut().for_each(|docflow| docflow.stay(&step));
    let entry = if none { None } else { registry.entry(&request_id) };
    control::found(entry, "no docflow has this request id")
}
