//! Client of the Waybill API. Whatever takes an id of yours is safe to repeat, so this repeats it until there is an answer that
//! won't change; any other route can be called too.
//!
//! ```no_run
//! # async fn example(order: serde_json::Value) -> Result<(), waybill_client::Failure> {
//! use std::time::Duration;
//! use waybill_client::{Waybill, verify_webhook};
//!
//! let waybill = Waybill::new("https://api.example.com")?.with_token("an access token, or an API key");
//! let order = waybill.create_order(&order).await?;
//! let order = waybill.wait_until_placed(&order.order_id, Duration::from_secs(60)).await?;
//! if order.status == "confirmed" {
//!     waybill.cancel_order(&order.client_order_id, Some("changed my mind")).await?;
//! }
//! # Ok(()) }
//! ```

mod answer;
mod failure;
mod orders;
mod webhook;

use std::time::Duration;

use reqwest::{Client, Response, header, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

pub use answer::Answer;
pub use failure::{Failure, FieldProblem, Problem};
pub use orders::{Order, OrderFailure};
pub use reqwest::{Method, Url, header::HeaderMap};
pub use webhook::{Event, verify_webhook};

/// A connection is there by then.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// No delay between attempts is longer, unless the server asks for it.
const LONGEST_DELAY: Duration = Duration::from_secs(15);
/// A server that asks for it is waited for as long as this, and no longer.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The API, as one caller.
#[derive(Clone, Debug)]
pub struct Waybill {
    http: Client,
    base: String,
    token: Option<SecretString>,
    deadline: Duration,
    attempts: u32,
    first_delay: Duration,
}

/// A request that is to be sent.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// The address.
    pub url: Url,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
}

impl Call {
    /// With one more query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    /// With a body of JSON.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    /// With a body that is JSON already.
    #[must_use]
    pub fn body(mut self, body: String) -> Self {
        self.body = Some(body);
        self
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Waybill {
    /// The API at this address: `https://api.example.com`.
    ///
    /// # Errors
    /// [`Failure::Unusable`] where it is no such address.
    pub fn new(base_url: &str) -> Result<Self, Failure> {
        let url = Url::parse(base_url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let url =
            url.ok_or_else(|| Failure::Unusable(format!("{base_url} is no address like https://api.example.com")))?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder().connect_timeout(CONNECT_DEADLINE).redirect(redirect::Policy::none());
        if matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            builder = builder.no_proxy();
        }
        if url.scheme() == "http" {
            // To read the machine's root certificates takes longer than a request.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| Failure::Unusable(format!("no HTTP client: {error}")))?;
        Ok(Self {
            http,
            base: base_url.trim_end_matches('/').to_owned(),
            token: None,
            deadline: Duration::from_secs(30),
            attempts: 8,
            first_delay: Duration::from_millis(250),
        })
    }

    /// As the caller whose access token or API key this is.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<SecretString>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// An attempt without an answer by then is given up; 30 seconds where nobody says so.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// So often something that is safe to repeat is tried, and so long after the first time for the second; eight times and
    /// 250 ms where nobody says so. The delay doubles, up to 15 seconds.
    #[must_use]
    pub const fn with_attempts(mut self, attempts: u32, first_delay: Duration) -> Self {
        self.attempts = attempts;
        self.first_delay = first_delay;
        self
    }

    /// Its address.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// A call of any route. What stands in braces in the path of the description has to be filled in.
    ///
    /// # Errors
    /// [`Failure::Unusable`] where it is no path.
    pub fn call(&self, method: Method, path: &str) -> Result<Call, Failure> {
        let url = Url::parse(&format!("{}{path}", self.base));
        let url = url.ok().filter(|_| path.is_empty() || path.starts_with('/'));
        let url = url.ok_or_else(|| Failure::Unusable(format!("{path} is no path like /orders")))?;
        Ok(Call { method, url, headers: Vec::new(), body: None })
    }

    /// Sends it once; gives what was answered, be it a success or not.
    ///
    /// # Errors
    /// [`Failure::NoAnswer`].
    pub async fn exchange(&self, call: &Call) -> Result<Answer, Failure> {
        let exchange = async { Answer::read(self.begin(call).await?).await };
        let answer = tokio::time::timeout(self.deadline, exchange).await;
        answer.map_err(|_| Failure::no_answer(format!("{} ms passed", self.deadline.as_millis())))?
    }

    /// Sends it once.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send(&self, call: &Call) -> Result<Answer, Failure> {
        self.exchange(call).await?.or_problem()
    }

    /// Sends what is safe to repeat until there is an answer that won't change, or no attempt is left: after a lost connection, a
    /// time-out, 408, 425, 429, 500, 502, 503 and 504. A `Retry-After` is waited for, a minute at most; after that it asks again,
    /// earlier than it was told.
    ///
    /// # Errors
    /// [`Failure`]; the last one where no attempt is left.
    pub async fn send_safely(&self, call: &Call) -> Result<Answer, Failure> {
        for attempt in 1.. {
            let failure = match self.send(call).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if !failure.may_pass() || attempt >= self.attempts {
                return Err(failure.after(attempt));
            }
            tokio::time::sleep(self.delay(attempt, failure.retry_after(), rand::random())).await;
        }
        Err(Failure::Unusable("no attempt is left".into()))
    }

    /// Spread out by `chance` (0 to 1), so that not all clients come back at once.
    fn delay(&self, attempt: u32, asked: Option<Duration>, chance: f64) -> Duration {
        let doubled = self.first_delay.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_DELAY) / 2;
        asked.unwrap_or_default().min(LONGEST_RETRY_AFTER).max(doubled) + doubled.mul_f64(chance)
    }

    /// Begins a call whose answer is a file, and gives the answer for the caller to read.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn open(&self, call: &Call) -> Result<Response, Failure> {
        let begun = tokio::time::timeout(self.deadline, self.begin(call)).await;
        let begun = begun.map_err(|_| Failure::no_answer(format!("{} ms passed", self.deadline.as_millis())))??;
        if begun.status().is_success() {
            return Ok(begun);
        }
        let said = tokio::time::timeout(self.deadline, Answer::read(begun)).await;
        let said = said.map_err(|_| Failure::no_answer("its problem did not come".into()))??;
        Err(said.or_problem().map_or_else(|failure| failure, |_| Failure::no_answer("it changed its mind".into())))
    }

    /// All that a list has, page by page: each page is given to `take`, which says whether to go on.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn each_page(&self, call: &Call, mut take: impl FnMut(Vec<Value>) -> bool) -> Result<(), Failure> {
        let mut next = call.clone();
        loop {
            let page = self.send_safely(&next).await?.page()?;
            let go_on = take(page.items);
            let Some(cursor) = page.next_cursor.filter(|_| go_on) else { return Ok(()) };
            let kept: Vec<(String, String)> = call
                .url
                .query_pairs()
                .filter(|(name, _)| name != "cursor")
                .map(|(n, v)| (n.into(), v.into()))
                .collect();
            next.url.query_pairs_mut().clear().extend_pairs(kept).append_pair("cursor", &cursor);
        }
    }

    async fn begin(&self, call: &Call) -> Result<Response, Failure> {
        let mut request = self.http.request(call.method.clone(), call.url.clone()).header(header::ACCEPT, "*/*");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(body) = &call.body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.clone());
        }
        Ok(request.send().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_are_never_shorter_than_the_server_asks() {
        let waybill = Waybill::new("http://127.0.0.1:1").expect("an address");
        let delay = |attempt, asked: Option<u64>, chance| {
            waybill.delay(attempt, asked.map(Duration::from_secs), chance).as_millis()
        };
        assert_eq!([delay(1, None, 0.0), delay(1, None, 1.0), delay(3, None, 0.0)], [125, 250, 500]);
        assert_eq!([delay(40, None, 1.0), delay(2, Some(7), 0.0)], [15_000, 7_000]);
        assert_eq!(delay(1, Some(86_400), 0.0), 60_000, "nobody waits for a day");
    }

    #[test]
    fn addresses_and_paths_that_are_none_are_refused() {
        for address in ["", "api.example.com", "ftp://api.example.com", "/orders"] {
            assert!(Waybill::new(address).is_err(), "{address}");
        }
        let waybill = Waybill::new("https://api.example.com/v/").expect("an address");
        assert!(waybill.call(Method::GET, "orders").is_err() && waybill.call(Method::GET, "@evil.example/").is_err());
        let call = waybill.call(Method::GET, "/orders").expect("a path").query("status", "a&b");
        assert_eq!(call.url.as_str(), "https://api.example.com/v/orders?status=a%26b");
    }
}
