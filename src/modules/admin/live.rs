//! News of the queues, as server-sent events. All streams of a process share one look at the database.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout};

use super::render;
use crate::modules::queue::{PulseSubscription, QueueWatch};

/// A stream ends by then, and the browser asks for another: with a session that has ended it gets none.
const STREAM_TIME_MAX: Duration = Duration::from_secs(60);
/// Whether the process is about to end is looked at so often.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The stream begins with so many bytes that say nothing: what gathers small portions passes them on.
const BEGINNING_BYTES: usize = 2048;

/// The stream.
pub(super) fn queues(watch: &QueueWatch) -> Response {
    let Some(following) = watch.follow() else {
        let busy = (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], "Too many boards are open.");
        return render::hardened(busy.into_response());
    };
    let state = (following, watch.clone(), Instant::now() + STREAM_TIME_MAX);
    let events = stream::unfold(state, |(mut following, watch, until)| async move {
        let event = next(&mut following, &watch, until).await?;
        Some((Ok::<_, Infallible>(event), (following, watch, until)))
    });
    let beginning = Event::default().comment(" ".repeat(BEGINNING_BYTES));
    let events = stream::iter([Ok(beginning)]).chain(events);
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(10))).into_response();
    let headers = response.headers_mut();
    // What stands between must not gather it into portions, nor change or keep it.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    render::hardened(response)
}

/// The latest news alone, for pages that a stream does not reach: something between gathers it.
pub(super) async fn queues_once(watch: &QueueWatch) -> Response {
    render::hardened(match watch.latest().await {
        Some(pulse) => Json(&*pulse).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "The queues can't be looked at now.").into_response(),
    })
}

async fn next(following: &mut PulseSubscription, watch: &QueueWatch, until: Instant) -> Option<Event> {
    loop {
        if watch.is_leaving() || Instant::now() >= until {
            return None;
        }
        match timeout(LOOK_EVERY, following.next()).await {
            Ok(pulse) => return Event::default().event("queues").json_data(&*pulse?).ok(),
            Err(_) => continue,
        }
    }
}
