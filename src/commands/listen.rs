//! `waybill webhooks listen`: posts what happens to a merchant's things to a program on the developer's machine, signed as a
//! delivery is. It asks the API, so nothing has to reach this machine from outside.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant, SystemTime},
};

use reqwest::{Method, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};
use standardwebhooks::Webhook;

use super::{
    remote::{Remote, Trouble, read},
    serve::Shutdown,
};
use crate::{config::ListenArgs, modules::webhooks::new_secret, platform::clock::Rfc3339Time};

/// How often the API is asked.
const EVERY: Duration = Duration::from_secs(1);
/// An API that is away is asked again after this long.
const AGAIN: Duration = Duration::from_secs(2);
/// An event may come to light so long after younger ones: so far back is looked each time.
const LOOK_BACK: Duration = Duration::from_secs(30);
/// Events that are known to have been posted: more than happen within that time.
const SEEN_MAX: usize = 20_000;
/// Pages of one look; the next one goes on.
const PAGES_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    items: Vec<Item>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    event_id: String,
    #[serde(flatten)]
    body: Map<String, Value>,
}

/// Ids of events that were posted, the latest so many.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    /// Whether it is new.
    fn note(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

struct Listener<'a> {
    args: &'a ListenArgs,
    remote: Remote,
    secret: SecretString,
    seen: Seen,
    /// Nothing before is posted; by the API's clock.
    since: Option<SystemTime>,
    /// When a look last came to its end; by the API's clock.
    looked: Option<SystemTime>,
}

pub(super) async fn run(args: ListenArgs) -> Result<(), String> {
    let shutdown = Shutdown::on_signals(Duration::ZERO)?;
    let secret = args.secret.clone().unwrap_or_else(new_secret);
    Webhook::new(secret.expose_secret()).map_err(|_| "--secret must be whsec_ and Base64")?;
    let mut listener = Listener {
        remote: Remote::new(args.api.clone())?,
        args: &args,
        secret,
        seen: Seen::default(),
        since: None,
        looked: None,
    };
    println!("events of {} go to {}", args.api.url, args.forward);
    println!("signed with {}", listener.secret.expose_secret());
    tokio::select! {
        ended = listener.listen() => ended,
        () = shutdown.wait() => Ok(()),
    }
}

impl Listener<'_> {
    async fn listen(&mut self) -> Result<(), String> {
        let mut was_away = false;
        let mut signs_in = self.remote.signs_in();
        loop {
            let looked = if signs_in { self.remote.sign_in().await } else { self.look().await };
            match looked {
                Ok(()) if signs_in => {
                    signs_in = false;
                    continue;
                }
                Ok(()) => {
                    if std::mem::take(&mut was_away) {
                        println!("the API is back");
                    }
                    tokio::time::sleep(EVERY).await;
                }
                Err(Trouble::Away(reason)) => {
                    if !std::mem::replace(&mut was_away, true) {
                        println!("the API can't be reached ({reason}); trying again");
                    }
                    tokio::time::sleep(AGAIN).await;
                }
                Err(Trouble::SignedOut) if self.remote.signs_in() => signs_in = true,
                Err(trouble) => return Err(trouble.said()),
            }
        }
    }

    /// Posts what is new, page by page.
    async fn look(&mut self) -> Result<(), Trouble> {
        let mut cursor = String::new();
        // The first look only finds out what time it is there.
        let limit = if self.since.is_some() { 100 } else { 1 };
        for _ in 0..PAGES_MAX {
            let back_to = self.looked.and_then(|looked| looked.checked_sub(LOOK_BACK));
            let from = back_to.max(self.since).unwrap_or_else(SystemTime::now);
            let from = Rfc3339Time(bson::DateTime::from_system_time(from));
            let path = format!("/webhook-events?limit={limit}&from={from}{cursor}");
            let answer = self.remote.ask(Method::GET, &path).await?;
            let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
            let now = date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now);
            let Some(since) = self.since else {
                self.since = Some(now);
                println!("waiting for events");
                return Ok(());
            };
            let page: Page = read(answer).await?;
            for item in page.items {
                if self.seen.note(&item.event_id) {
                    self.post(&item).await;
                }
            }
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={next}"),
                None => {
                    self.looked = Some(now.max(since));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Posts an event, once, and says how that went.
    async fn post(&self, item: &Item) {
        let kind = item.body.get("type").and_then(Value::as_str).unwrap_or_default();
        if !self.args.types.is_empty() && !self.args.types.iter().any(|wanted| wanted == kind) {
            return;
        }
        let body = Value::Object(item.body.clone()).to_string();
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        let signature = Webhook::new(self.secret.expose_secret())
            .and_then(|webhook| webhook.sign(&item.event_id, at, body.as_bytes()))
            .unwrap_or_default();
        let began = Instant::now();
        let request = self.remote.http.post(&self.args.forward).header(header::CONTENT_TYPE, "application/json");
        let request = request.header("webhook-id", &item.event_id).header("webhook-timestamp", at);
        let said = match request.header("webhook-signature", signature).body(body).send().await {
            Ok(answer) => answer.status().as_u16().to_string(),
            Err(error) => error.without_url().to_string(),
        };
        println!("{kind} {} -> {said} ({} ms)", item.event_id, began.elapsed().as_millis());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_posted_is_not_posted_again() {
        let mut seen = Seen::default();
        assert!(seen.note("a") && !seen.note("a") && seen.note("b"));
        assert!((0..SEEN_MAX).all(|n| seen.note(&n.to_string())));
        assert_eq!((seen.ids.len(), seen.order.len()), (SEEN_MAX, SEEN_MAX));
    }
}
