//! Requests of browsers: who they are from, which page or action is meant, and what is answered.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use serde_json::{Map, Value, json};

use super::{
    action::Action,
    api::Refused,
    assets,
    console::{Console, ROOT},
    cookies::append_cookie,
    form::{Form, next_page, read_form},
    live,
    page::{Get, Page, Placeholders},
    render,
    sign_in::SECOND_FACTOR,
};
use crate::{
    modules::auth::BrowserSession,
    platform::{
        error::AppError,
        identity::{Caller, Role},
    },
};

const SIGN_IN: &str = "/admin/sign-in";
/// Longest text of what was done that goes to the next page by its cookie.
const SAID_CHARS_MAX: usize = 300;

/// A request of somebody who has signed in.
struct Visit<'a> {
    session: &'a BrowserSession,
    caller: &'a Caller,
    headers: &'a HeaderMap,
}

/// A message on a page.
#[derive(Default)]
struct Notice {
    said: Option<Value>,
    problem: Option<Refused>,
}

/// The routes.
pub(super) fn router(console: Console) -> Router {
    Router::new()
        .route(ROOT, get(show))
        .route("/admin/", get(show))
        .route("/admin/sign-in", get(show_sign_in).post(sign_in))
        .route("/admin/{*path}", get(show).post(act))
        .with_state(Arc::new(console))
}

async fn show_sign_in(State(console): State<Arc<Console>>, headers: HeaderMap, uri: Uri) -> Response {
    let next = next_page(Form::read(uri.query().unwrap_or_default().as_bytes()).text("next"));
    if let Ok(Some(_)) = console.session(&headers, true).await {
        return render::hardened(Redirect::to(&next).into_response());
    }
    console.show_sign_in(&headers, &next, StatusCode::OK, json!({}))
}

async fn sign_in(State(console): State<Arc<Console>>, caller: Caller, request: Request) -> Response {
    let (headers, form) = match read_form(request).await {
        Ok(read) => read,
        Err(response) => return *response,
    };
    console.sign_in(&headers, &caller, &form).await
}

async fn show(State(console): State<Arc<Console>>, caller: Caller, headers: HeaderMap, uri: Uri) -> Response {
    if let Some(asset) = assets::find(uri.path()) {
        return asset;
    }
    let live = uri.path().starts_with("/admin/live/");
    let session = match console.session(&headers, !live).await {
        Ok(Some(session)) => session,
        // A stream of news can't sign in.
        Ok(None) if live => return render::hardened(StatusCode::UNAUTHORIZED.into_response()),
        Ok(None) => {
            let asked = uri.path_and_query().map_or(ROOT, |asked| asked.as_str());
            let to = if asked == ROOT { SIGN_IN.into() } else { with_next(asked) };
            return render::hardened(Redirect::to(&to).into_response());
        }
        Err(refused) => return console.show_problem(None, &refused),
    };
    let visit = Visit { session: &session, caller: &caller, headers: &headers };
    let rest = uri.path().strip_prefix(ROOT).unwrap_or_default();
    let query = Form::read(uri.query().unwrap_or_default().as_bytes());
    if rest == "/live/queues" && session.user.role == Role::Admin && !session.is_limited {
        return match query.text("once") {
            "" => live::queues(&console.queues),
            _ => live::queues_once(&console.queues).await,
        };
    }
    if let Some(name) = rest.strip_prefix("/file/") {
        return console.pass_on(&visit, name, &query).await;
    }
    let said = console.said(&headers);
    let is_told = said.is_some();
    let mut response = console.show(&visit, rest, query, Notice { said, problem: None }).await;
    if is_told {
        append_cookie(&mut response, &console.cookies.drop_said());
    }
    response
}

async fn act(State(console): State<Arc<Console>>, caller: Caller, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let (headers, form) = match read_form(request).await {
        Ok(read) => read,
        Err(response) => return *response,
    };
    let session = match console.session(&headers, true).await {
        Ok(Some(session)) => session,
        Ok(None) => {
            let detail = "Your session has ended: nothing was changed. Please sign in again.";
            let values = json!({ "problem": { "detail": detail } });
            return console.show_sign_in(&headers, &next_page(form.text("back")), StatusCode::UNAUTHORIZED, values);
        }
        Err(refused) => return console.show_problem(None, &refused),
    };
    let visit = Visit { session: &session, caller: &caller, headers: &headers };
    if !session.is_own_form(form.text("token")) || !console.is_from_here(&headers) {
        tracing::warn!(user.id = session.user.id, request.id = caller.request_id, "a form was not from here");
        let detail = "This form was not from a page of your session, so nothing was changed. Go back, reload the page and try again.";
        return console
            .show_problem(Some(&visit), &Refused::new(StatusCode::FORBIDDEN, "console.form_refused", detail));
    }
    if path == "/admin/sign-out" {
        return console.sign_out(&visit).await;
    }
    let action = path.strip_prefix("/admin/do/").and_then(|name| console.action(name));
    match action {
        Some(action) if action.roles.contains(&session.user.role) => console.act(&visit, action, &form).await,
        Some(_) => console.show_problem(
            Some(&visit),
            &Refused::new(StatusCode::FORBIDDEN, "auth.forbidden", "Your role does not allow this."),
        ),
        None => console.show_problem(Some(&visit), &nothing_here()),
    }
}

fn with_next(asked: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("next", asked);
    format!("{SIGN_IN}?{}", query.finish())
}

fn nothing_here() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "console.not_found", "There is no page under this address.")
}

impl Console {
    fn common_for(&self, visit: &Visit<'_>, title: &str, path: &str, query: &Form) -> Value {
        let session = visit.session;
        let mut common = self.common(title);
        let mut parts: Vec<(&str, Vec<Value>)> = Vec::new();
        // A sign-in that lacks its second factor opens nothing of the API but that.
        let is_open = |page: &&Page| {
            page.roles.contains(&session.user.role)
                && (!session.is_limited || format!("{ROOT}{}", page.path) == SECOND_FACTOR)
        };
        for page in self.pages().filter(is_open) {
            let Some((part, name)) = page.nav else { continue };
            let is_here = path == page.path || (!page.path.is_empty() && path.starts_with(&format!("{}/", page.path)));
            let entry = json!({ "name": name, "href": format!("{ROOT}{}", page.path), "here": is_here });
            match parts.iter_mut().find(|(own, _)| *own == part) {
                Some((_, entries)) => entries.push(entry),
                None => parts.push((part, vec![entry])),
            }
        }
        let pairs: Map<String, Value> = query.0.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let serialized = form_urlencoded::Serializer::new(String::new()).extend_pairs(&query.0).finish();
        let address =
            if serialized.is_empty() { format!("{ROOT}{path}") } else { format!("{ROOT}{path}?{serialized}") };
        if let Value::Object(common) = &mut common {
            common.insert(
                "nav".into(),
                json!(parts.iter().map(|(n, e)| json!({ "name": n, "pages": e })).collect::<Vec<_>>()),
            );
            common.insert(
                "user".into(),
                json!({ "name": session.user.name, "email": session.user.email,
                "role": session.user.role.as_str(), "userId": session.user.id }),
            );
            common.insert("token".into(), json!(session.form_token));
            common.insert("path".into(), json!(format!("{ROOT}{path}")));
            common.insert("address".into(), json!(address));
            common.insert("query".into(), Value::Object(pairs));
            common.insert("requestId".into(), json!(visit.caller.request_id));
            common.insert("audits".into(), json!(matches!(session.user.role, Role::Admin | Role::Auditor)));
        }
        common
    }

    /// A page, or why there is none.
    async fn show(&self, visit: &Visit<'_>, path: &str, query: Form, notice: Notice) -> Response {
        let path = path.trim_end_matches('/');
        if path.is_empty() && visit.session.is_limited {
            return render::hardened(Redirect::to(SECOND_FACTOR).into_response());
        }
        let Some((page, names)) = self.pages().find_map(|page| Some((page, page.matches(path)?))) else {
            return self.show_problem(Some(visit), &nothing_here());
        };
        if !page.roles.contains(&visit.session.user.role) {
            // The first page is not everybody's, but everybody has one.
            let first = self.pages().find(|page| page.nav.is_some() && page.roles.contains(&visit.session.user.role));
            return match first.filter(|_| path.is_empty()) {
                Some(first) => render::hardened(Redirect::to(&format!("{ROOT}{}", first.path)).into_response()),
                None => self.show_problem(
                    Some(visit),
                    &Refused::new(StatusCode::FORBIDDEN, "auth.forbidden", "Your role does not allow this."),
                ),
            };
        }
        let answers = match self.answers(visit, page, &names, &query).await {
            Ok(answers) => answers,
            Err(refused) => {
                // What went wrong before is why somebody is here.
                return self.show_problem(Some(visit), notice.problem.as_ref().unwrap_or(&refused));
            }
        };
        let known = Placeholders { path: &names, query: &query.0, answers: &answers };
        let mut common = self.common_for(visit, &known.said(page.title), path, &query);
        let status = notice.problem.as_ref().map_or(StatusCode::OK, |refused| refused.status);
        common["said"] = notice.said.unwrap_or_default();
        common["problem"] = notice.problem.map(|refused| refused.problem).unwrap_or_default();
        common["names"] = json!(names);
        let mut values = answers;
        values["c"] = common;
        self.page(page.template, status, &values)
    }

    /// The answers to the page's requests. Those that need no other's answer are asked together.
    async fn answers(
        &self,
        visit: &Visit<'_>,
        page: &Page,
        names: &std::collections::BTreeMap<String, String>,
        query: &Form,
    ) -> Result<Value, Refused> {
        let mut answers = json!({});
        let mut rest: &[Get] = &page.gets;
        while !rest.is_empty() {
            let together = rest.iter().take_while(|get| !get.waits()).count().max(1);
            let (now, later) = rest.split_at(together);
            let asked = now.iter().map(|get| {
                let known = Placeholders { path: names, query: &query.0, answers: &answers };
                let may = get.only.is_none_or(|roles| roles.contains(&visit.session.user.role));
                let address = if may { known.address(get.path) } else { None };
                async move {
                    match address {
                        Some(address) => Some(self.ask(visit, Method::GET, &address, None).await),
                        None => None,
                    }
                }
            });
            for (get, answer) in now.iter().zip(join_all(asked).await) {
                answers[get.name] = match answer {
                    None => Value::Null,
                    Some(Ok(answer)) => answer,
                    Some(Err(refused)) if get.needed => return Err(refused),
                    Some(Err(refused)) => json!({ "problem": refused.problem }),
                };
            }
            rest = later;
        }
        Ok(answers)
    }

    async fn ask(&self, visit: &Visit<'_>, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Refused> {
        self.api.send(&visit.session.access, visit.caller, method, path, body).await
    }

    /// Does what was clicked, once it was asked for as it has to be. Where it does not work the page stays, and says why.
    async fn act(&self, visit: &Visit<'_>, action: &Action, form: &Form) -> Response {
        let names = form.0.iter().cloned().collect();
        let none = Value::Null;
        let known = Placeholders { path: &names, query: &form.0, answers: &none };
        let Some(address) = known.address(action.path) else {
            let refused =
                Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "console.form_refused", "The form says too little.");
            return self.stay(visit, form, refused).await;
        };
        if action.question.is_some() && form.text("confirmed") != "yes" {
            return self.confirm(visit, action, form, None).await;
        }
        let body = action.body(&form.0);
        match self.ask(visit, action.method.clone(), &address, body.as_ref()).await {
            Ok(answer) if let Some(template) = action.shows => {
                let common = self.common_for(visit, action.done, "/do", &Form::default());
                let values = json!({ "c": common, "answer": answer, "back": next_page(form.text("back")) });
                self.page(template, StatusCode::OK, &values)
            }
            Ok(answer) => {
                let answers = json!({ "answer": answer });
                let known = Placeholders { path: &names, query: &form.0, answers: &answers };
                let to = action.then.and_then(|page| known.address(page)).map(|path| format!("{ROOT}{path}"));
                let to = to.unwrap_or_else(|| next_page(form.text("back")));
                let mut response = render::hardened(Redirect::to(&to).into_response());
                // What is shown once, such as a new secret, is in no cookie.
                let text: String = known.said(action.done).chars().take(SAID_CHARS_MAX).collect();
                let said = json!({ "text": text, "requestId": visit.caller.request_id });
                append_cookie(&mut response, &self.cookies.set_said(&URL_SAFE_NO_PAD.encode(said.to_string())));
                response
            }
            Err(refused) if refused.status == StatusCode::UNPROCESSABLE_ENTITY && action.question.is_some() => {
                self.confirm(visit, action, form, Some(refused)).await
            }
            Err(refused) => self.stay(visit, form, refused).await,
        }
    }

    /// The page from which something was tried in vain.
    async fn stay(&self, visit: &Visit<'_>, form: &Form, refused: Refused) -> Response {
        let back = next_page(form.text("back"));
        let (path, query) = back.split_once('?').unwrap_or((&back, ""));
        let rest = path.strip_prefix(ROOT).unwrap_or_default().to_owned();
        let notice = Notice { said: None, problem: Some(refused) };
        Box::pin(self.show(visit, &rest, Form::read(query.as_bytes()), notice)).await
    }

    /// Asks before something is done.
    async fn confirm(&self, visit: &Visit<'_>, action: &Action, form: &Form, refused: Option<Refused>) -> Response {
        let names = form.0.iter().cloned().collect();
        let mut answers = json!({});
        if let Some(preview) = action.preview {
            let address = Placeholders { path: &names, query: &form.0, answers: &answers }.address(preview);
            let Some(address) = address else { return self.show_problem(Some(visit), &nothing_here()) };
            match self.ask(visit, Method::GET, &address, None).await {
                Ok(preview) => answers["preview"] = preview,
                Err(refused) => return self.stay(visit, form, refused).await,
            }
        }
        let known = Placeholders { path: &names, query: &form.0, answers: &answers };
        let question = known.said(action.question.unwrap_or_default());
        let asked: Vec<_> = action.fields.iter().filter(|field| field.label.is_some()).collect();
        let inputs = asked
            .iter()
            .map(|field| json!({ "name": field.name, "label": field.label, "value": form.text(field.name) }));
        let agreed = action.agreed.map(|(name, value)| (name.to_owned(), known.said(value)));
        let is_kept = |name: &str| {
            let is_ours =
                ["token", "confirmed", "back"].contains(&name) || agreed.as_ref().is_some_and(|a| a.0 == name);
            !is_ours && asked.iter().all(|f| f.name != name)
        };
        let kept = form.0.iter().filter(|(name, _)| is_kept(name)).chain(&agreed);
        let status = refused.as_ref().map_or(StatusCode::OK, |refused| refused.status);
        let mut common = self.common_for(visit, "Are you sure?", "/do", &Form::default());
        common["problem"] = refused.map(|refused| refused.problem).unwrap_or_default();
        let values = json!({
            "c": common,
            "action": action.name,
            "question": question,
            "asks": inputs.collect::<Vec<_>>(),
            "kept": kept.map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>(),
            "back": next_page(form.text("back")),
            "preview": answers["preview"],
        });
        self.page("confirm.html", status, &values)
    }

    /// A file, or news as they happen, from the API to the browser.
    async fn pass_on(&self, visit: &Visit<'_>, name: &str, query: &Form) -> Response {
        let Some(download) = self.download(name) else { return self.show_problem(Some(visit), &nothing_here()) };
        if !download.roles.contains(&visit.session.user.role) {
            let detail = "Your role does not allow this.";
            return self.show_problem(Some(visit), &Refused::new(StatusCode::FORBIDDEN, "auth.forbidden", detail));
        }
        let names = query.0.iter().cloned().collect();
        let address = Placeholders { path: &names, query: &query.0, answers: &Value::Null }.address(download.path);
        let Some(address) = address else { return self.show_problem(Some(visit), &nothing_here()) };
        match self.api.stream(&visit.session.access, visit.caller, &address).await {
            Ok(response) => render::hardened(response),
            Err(refused) => self.show_problem(Some(visit), &refused),
        }
    }

    async fn sign_out(&self, visit: &Visit<'_>) -> Response {
        if let Err(error) = self.sessions.end(visit.session, visit.caller).await {
            return self.show_problem(Some(visit), &AppError::from(error).into());
        }
        let mut response = render::hardened(Redirect::to(SIGN_IN).into_response());
        append_cookie(&mut response, &self.cookies.drop_session());
        response
    }

    fn show_problem(&self, visit: Option<&Visit<'_>>, refused: &Refused) -> Response {
        let mut common = match visit {
            Some(visit) => self.common_for(visit, "This did not work", "/problem", &Form::default()),
            None => self.common("This did not work"),
        };
        if refused.status == StatusCode::NOT_FOUND {
            common["title"] = json!("Not found");
        }
        let back = visit.and_then(|visit| visit.headers.get(header::REFERER)).and_then(|referer| referer.to_str().ok());
        let back =
            back.and_then(|back| back.parse::<Uri>().ok()).and_then(|uri| Some(uri.path_and_query()?.to_string()));
        let values = json!({ "c": common, "problem": refused.problem, "back": back.map(|back| next_page(&back)) });
        self.page("problem.html", refused.status, &values)
    }

    /// The message of the last click.
    fn said(&self, headers: &HeaderMap) -> Option<Value> {
        let bytes = URL_SAFE_NO_PAD.decode(self.cookies.said_of(headers)?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}
