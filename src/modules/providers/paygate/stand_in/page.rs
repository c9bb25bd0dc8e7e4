//! The page on which a payment is paid. For developers: no card is asked for, two buttons decide.

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{Html, IntoResponse, Response},
    routing::get,
};

use super::{
    books::{Gateway, PayerAction, Payment, Payments},
    callbacks::{self, Plan},
    contract::CURRENCIES,
};
use crate::{answer::Answer, stand::Stand};

pub fn router() -> Router<Stand<Gateway>> {
    Router::new().route("/pay/{payment_id}", get(show).post(settle))
}

async fn show(State(stand): State<Stand<Gateway>>, Path(payment_id): Path<String>) -> Response {
    page(&stand.lock().provider.books, &payment_id, "")
}

async fn settle(State(stand): State<Stand<Gateway>>, Path(payment_id): Path<String>, form: Bytes) -> Response {
    let asked = form_urlencoded::parse(&form).find(|(name, _)| name == "do").map(|(_, value)| value.into_owned());
    let deed = match asked.as_deref() {
        Some("pay") => PayerAction::Pay,
        Some("fail") => PayerAction::Fail,
        _ => return Answer::page(StatusCode::BAD_REQUEST, "Pay or Fail?").into_response(),
    };
    // Who presses twice pays once, as at any shop.
    let reference = {
        let books = &stand.lock().provider.books;
        let reference = books.reference_of(&payment_id).map(str::to_owned);
        reference.filter(|reference| books.payment(reference).is_some_and(Payment::is_payable))
    };
    let note = match reference {
        Some(reference) => callbacks::carry_out(&stand, &reference, Plan::of(deed)).await.err(),
        None => None,
    };
    page(&stand.lock().provider.books, &payment_id, note.map_or("", callbacks::Problem::text))
}

fn page(books: &Payments, payment_id: &str, note: &str) -> Response {
    let found = books.reference_of(payment_id).and_then(|reference| books.payment(reference));
    let Some(payment) = found else {
        return Answer::page(StatusCode::NOT_FOUND, "There is no such payment").into_response();
    };
    let create = &payment.create;
    let buttons = if payment.is_payable() {
        "<form method=\"post\"><button name=\"do\" value=\"pay\">Pay</button> \
         <button name=\"do\" value=\"fail\">Fail</button></form>\n"
    } else {
        ""
    };
    let callbacks: String = books
        .callbacks(&create.reference)
        .iter()
        .map(|sent| {
            let answer = sent.answer.map_or_else(|| "not answered".to_owned(), |status| format!("answered {status}"));
            format!("<li>{} {} {answer}</li>\n", sent.kind, escape(&sent.event_id))
        })
        .collect();
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>PayGate</title>\n\
         <h1>{amount}</h1>\n<p>{description}</p>\n<p>Reference: {reference}</p>\n\
         <p>Status: <strong>{status}</strong></p>\n{buttons}<p>{note}</p>\n<ul>\n{callbacks}</ul>\n</html>\n",
        amount = escape(&decimal(create.amount, &create.currency)),
        description = escape(&create.description),
        reference = escape(&create.reference),
        status = payment.status().word(),
        note = escape(note),
    );
    Html(html).into_response()
}

/// Minor units as a person reads them.
fn decimal(amount: i64, currency: &str) -> String {
    let digits = CURRENCIES.iter().find(|(code, _)| *code == currency).map_or(0, |(_, digits)| *digits);
    let text = format!("{amount:0>width$}", width = digits + 1);
    let (whole, rest) = text.split_at(text.len() - digits);
    if rest.is_empty() { format!("{whole} {currency}") } else { format!("{whole}.{rest} {currency}") }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
