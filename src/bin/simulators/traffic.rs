//! When calls arrived and how many were open, by account: limits are the provider's, so it is the provider that counts.
//!
//! ```json
//! {"accounts": {"user": {"calls": 12, "atOnce": 5, "inASecond": 10}},
//!  "calls": [{"account": "user", "operation": "create", "atMicros": 81, "tookMicros": 9, "status": 201}]}
//! ```
//! `atOnce` and `inASecond` are the most that were seen. A call is over with the last byte of its answer, or when the client
//! leaves; until then `tookMicros` is null. No status: it was left without one. Times are those since the first call.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::header,
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::server::HangUp;

/// Calls kept, the latest.
const CALLS_MAX: usize = 10_000;
const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Default)]
pub struct Traffic(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    began: Option<Instant>,
    accounts: BTreeMap<String, Account>,
    calls: VecDeque<Call>,
    /// Calls that are no longer kept.
    dropped: usize,
}

#[derive(Default)]
struct Account {
    calls: u64,
    open: u64,
    at_once: u64,
    last_second: VecDeque<Instant>,
    in_a_second: usize,
}

struct Call {
    account: String,
    operation: Value,
    at: Instant,
    took: Option<Duration>,
    status: Option<u16>,
}

/// A call that is open, until this is dropped.
pub struct Open {
    traffic: Traffic,
    account: String,
    number: usize,
}

impl Traffic {
    pub fn begin(&self, operation: Value, account: &str) -> Open {
        let seen = &mut *self.0.lock();
        let at = Instant::now();
        seen.began.get_or_insert(at);
        seen.accounts.entry(account.to_owned()).or_default().begin(at);
        seen.calls.push_back(Call { account: account.to_owned(), operation, at, took: None, status: None });
        let number = seen.dropped + seen.calls.len() - 1;
        if seen.calls.len() > CALLS_MAX {
            seen.calls.pop_front();
            seen.dropped += 1;
        }
        Open { traffic: self.clone(), account: account.to_owned(), number }
    }

    pub fn shown(&self) -> Value {
        let seen = self.0.lock();
        let account = |(name, account): (&String, &Account)| {
            let shown = json!({
                "calls": account.calls,
                "atOnce": account.at_once,
                "inASecond": account.in_a_second,
            });
            (name.clone(), shown)
        };
        let calls = seen.calls.iter().map(|call| {
            json!({
                "account": call.account,
                "operation": call.operation,
                "atMicros": seen.began.map(|began| micros(call.at - began)),
                "tookMicros": call.took.map(micros),
                "status": call.status,
            })
        });
        json!({
            "accounts": seen.accounts.iter().map(account).collect::<BTreeMap<_, _>>(),
            "calls": calls.collect::<Vec<_>>(),
        })
    }

    /// Forgets what is over.
    pub fn clear(&self) {
        let seen = &mut *self.0.lock();
        seen.dropped += seen.calls.len();
        seen.calls.clear();
        seen.accounts.retain(|_, account| account.open > 0);
        for account in seen.accounts.values_mut() {
            *account = Account { open: account.open, at_once: account.open, ..Account::default() };
        }
    }
}

impl Account {
    fn begin(&mut self, at: Instant) {
        self.calls += 1;
        self.open += 1;
        self.at_once = self.at_once.max(self.open);
        self.last_second.push_back(at);
        while self.last_second.front().is_some_and(|first| at - *first >= SECOND) {
            self.last_second.pop_front();
        }
        self.in_a_second = self.in_a_second.max(self.last_second.len());
    }
}

impl Open {
    /// The call is over with the last byte of `response`. That is before the client has seen it, so a client that waits for
    /// its answer is never seen twice at once.
    pub fn hold(self, response: Response) -> Response {
        if response.extensions().get::<HangUp>().is_none() {
            self.note(|call| call.status = Some(response.status().as_u16()));
        }
        let length =
            response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        response.map(|body| {
            let left = length.or(body.size_hint().exact());
            let open = Some(self).filter(|_| left != Some(0) && !body.is_end_stream());
            Body::new(Held { body, left, open })
        })
    }

    fn note(&self, change: impl FnOnce(&mut Call)) {
        let seen = &mut *self.traffic.0.lock();
        let index = self.number.checked_sub(seen.dropped);
        if let Some(call) = index.and_then(|index| seen.calls.get_mut(index)) {
            change(call);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.note(|call| call.took = Some(call.at.elapsed()));
        if let Some(account) = self.traffic.0.lock().accounts.get_mut(&self.account) {
            account.open = account.open.saturating_sub(1);
        }
    }
}

/// A body that keeps its call open.
struct Held {
    body: Body,
    /// Bytes that are still to come, where that is known.
    left: Option<u64>,
    open: Option<Open>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let sent = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map(|data| data.len() as u64);
        self.left = self.left.map(|left| left.saturating_sub(sent.unwrap_or_default()));
        if sent.is_none() || self.left == Some(0) || self.body.is_end_stream() {
            self.open = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
