//! The mailbox page, and the control API.

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::{get, put},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    books::Mail,
    modes::{Reply, fate},
    posts::Post,
};
use crate::{
    control::failed,
    rules::{Mode, NewRule},
};

/// Names that rules may ask for.
const SUBJECT: &[&str] = &["account", "recipient"];

#[derive(Clone)]
struct Page {
    post: Post,
    base: String,
}

/// Everything below the path of the mailbox.
pub fn router(post: Post, base: &str) -> Router {
    Router::new()
        .route("/", get(list))
        .route("/{number}", get(show))
        .route("/{number}/html", get(show_html))
        .route("/{number}/raw", get(show_raw))
        .route("/_books", get(read_totals).delete(clear_books))
        .route("/_books/mails", get(list_mails))
        .route("/_control/rules", get(list_rules).post(add_rule).delete(clear_rules))
        .route("/_control/deduplicate", put(set_deduplicate))
        .with_state(Page { post, base: base.to_owned() })
}

const STYLE: &str = "body{font:15px/1.5 sans-serif;max-width:960px;margin:24px auto;padding:0 16px;color:#1f2933}\
    table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:6px 10px;border-bottom:1px solid #ddd}\
    pre{background:#f4f5f7;padding:12px;white-space:pre-wrap}iframe{width:100%;height:420px;border:1px solid #ddd}";

fn page(title: &str, body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <h1>{title}</h1>\n{body}\n</html>\n",
        title = escape(title)
    ))
}

async fn list(State(Page { post, base }): State<Page>) -> Html<String> {
    let rows: String = {
        let known = post.lock();
        let row = |mail: &Mail| {
            format!(
                "<tr><td>{at}</td><td>{to}</td><td><a href=\"{base}/{number}\">{subject}</a></td><td>{bytes}</td></tr>\n",
                at = clock(mail.received_at_ms),
                to = escape(&mail.to.join(", ")),
                number = mail.number,
                subject = escape(&mail.subject),
                bytes = mail.bytes,
            )
        };
        known.mails.all().iter().rev().map(row).collect()
    };
    let body = if rows.is_empty() {
        "<p>Nothing has come yet.</p>".to_owned()
    } else {
        format!("<table>\n<tr><th>at (UTC)</th><th>to</th><th>subject</th><th>bytes</th></tr>\n{rows}</table>")
    };
    page("Mailbox", &body)
}

/// The time of day.
fn clock(ms: u64) -> String {
    let seconds = ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn found<T: IntoResponse>(post: &Post, number: u64, shown: impl FnOnce(&Mail) -> T) -> Response {
    match post.lock().mails.numbered(number) {
        Some(mail) => shown(mail).into_response(),
        None => failed(StatusCode::NOT_FOUND, "there is no such mail"),
    }
}

async fn show(State(Page { post, base }): State<Page>, Path(number): Path<u64>) -> Response {
    found(&post, number, |mail| {
        let files: String = mail
            .attachments
            .iter()
            .map(|file| {
                let text = file.text.as_deref().map_or_else(String::new, |text| format!("<pre>{}</pre>", escape(text)));
                format!(
                    "<h2>{} ({}, {} bytes)</h2>{text}\n",
                    escape(&file.name),
                    escape(&file.content_type),
                    file.bytes
                )
            })
            .collect();
        let headers: String =
            mail.headers.iter().map(|(name, value)| format!("<br>{}: {}", escape(name), escape(value))).collect();
        let body = format!(
            "<p>From: {from}<br>To: {to}<br>Message-ID: {id}{headers}</p>\n<h2>Text</h2>\n<pre>{text}</pre>\n\
             <h2>HTML</h2>\n<iframe sandbox src=\"{base}/{number}/html\" title=\"the mail\"></iframe>\n{files}\
             <p><a href=\"{base}/{number}/raw\">as it was sent</a> · <a href=\"{base}\">all mails</a></p>",
            from = escape(&mail.from),
            to = escape(&mail.header_to),
            id = escape(&mail.message_id),
            text = escape(&mail.text),
        );
        page(&mail.subject, &body)
    })
}

/// The mail itself, which may do nothing.
async fn show_html(State(Page { post, .. }): State<Page>, Path(number): Path<u64>) -> Response {
    let policy = [(header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'; style-src 'unsafe-inline'")];
    found(&post, number, |mail| (policy, Html(mail.html.clone())))
}

async fn show_raw(State(Page { post, .. }): State<Page>, Path(number): Path<u64>) -> Response {
    found(&post, number, |mail| ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], mail.raw.clone()))
}

async fn read_totals(State(Page { post, .. }): State<Page>) -> Json<Value> {
    Json(post.lock().mails.totals())
}

async fn clear_books(State(Page { post, .. }): State<Page>) -> StatusCode {
    post.lock().mails = Default::default();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Wanted {
    to: Option<String>,
}

async fn list_mails(State(Page { post, .. }): State<Page>, Query(wanted): Query<Wanted>) -> Json<Vec<Mail>> {
    let known = post.lock();
    let is_wanted = |mail: &&Mail| wanted.to.as_ref().is_none_or(|to| mail.to.contains(to));
    Json(known.mails.all().iter().filter(is_wanted).cloned().collect())
}

async fn list_rules(State(Page { post, .. }): State<Page>) -> Response {
    Json(post.lock().rules.list()).into_response()
}

async fn add_rule(State(Page { post, .. }): State<Page>, Json(asked): Json<Value>) -> Response {
    let mode = serde_json::from_value::<Mode<Reply>>(asked["mode"].clone());
    if !mode.is_ok_and(|mode| fate(mode).is_some()) {
        return failed(StatusCode::UNPROCESSABLE_ENTITY, "this mode means nothing to a mail server");
    }
    let rule = match serde_json::from_value::<NewRule<Reply>>(asked) {
        Ok(rule) => rule,
        Err(error) => return failed(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    };
    match post.lock().rules.add(rule, SUBJECT) {
        Ok(rule) => (StatusCode::CREATED, Json(rule)).into_response(),
        Err(problem) => failed(StatusCode::UNPROCESSABLE_ENTITY, &problem),
    }
}

async fn clear_rules(State(Page { post, .. }): State<Page>) -> StatusCode {
    post.lock().rules.clear();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deduplicate {
    on: bool,
}

async fn set_deduplicate(State(Page { post, .. }): State<Page>, Json(asked): Json<Deduplicate>) -> StatusCode {
    post.lock().deduplicates = asked.on;
    StatusCode::NO_CONTENT
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
