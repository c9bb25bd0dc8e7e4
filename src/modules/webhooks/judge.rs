//! Classifies answers to deliveries, and schedules the next attempt. Pure.

use std::time::Duration;

use crate::{
    modules::audit::{ErrorClass, Verdict},
    platform::exchange::{Answer, Lost, NotSent},
};

/// Delays are made longer by up to one part in so many, so that what failed together does not come back together.
const JITTER_PARTS: f64 = 10.0;

/// Result of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DeliveryOutcome {
    Delivered,
    /// Not taken.
    Failed {
        /// `webhooks.timed_out`, ...
        code: &'static str,
        message: String,
        /// How long the endpoint wants to be left alone.
        wait: Option<Duration>,
    },
    /// Nothing may be posted there ever again.
    Gone,
    /// Nothing was sent, for a reason of ours: the attempt does not count.
    NotTried,
}

impl DeliveryOutcome {
    /// As in metrics.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed { .. } => "failed",
            Self::Gone => "gone",
            Self::NotTried => "not_tried",
        }
    }
}

/// Classifies an answer: only a 2xx is a success; bodies are ignored.
pub(super) fn judge(answer: &Answer) -> DeliveryOutcome {
    let failed = |code, message: &str| DeliveryOutcome::Failed { code, message: message.to_owned(), wait: None };
    match answer {
        Answer::Http { status: 200..=299, .. } => DeliveryOutcome::Delivered,
        Answer::Http { status: 410, .. } => DeliveryOutcome::Gone,
        Answer::Http { status: status @ 300..=399, .. } => {
            failed("webhooks.redirected", &format!("Answered {status}; redirects are not followed."))
        }
        Answer::Http { status, retry_after, .. } => {
            let message = format!("Answered {status}.");
            // Elsewhere the header says nothing of when to come back.
            let wait = retry_after.filter(|_| matches!(status, 429 | 503));
            DeliveryOutcome::Failed { code: "webhooks.refused", message, wait }
        }
        Answer::Lost(Lost::TimedOut) => failed("webhooks.timed_out", "No answer within the deadline."),
        Answer::Lost(Lost::ConnectionLost | Lost::TooLarge | Lost::NotKept) => {
            failed("webhooks.connection_lost", "The connection broke before the answer.")
        }
        Answer::NotSent(NotSent::NotConnected) => failed("webhooks.not_connected", "No connection to the endpoint."),
        Answer::NotSent(NotSent::NotPublic) => {
            failed("webhooks.not_public", "The address is none in the public internet.")
        }
        Answer::NotSent(NotSent::NoCredentials) => {
            failed("webhooks.no_secret", "The endpoint's secrets can't be used.")
        }
        Answer::NotSent(NotSent::NoTime) => DeliveryOutcome::NotTried,
    }
}

impl DeliveryOutcome {
    /// As it is logged.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Delivered => Verdict::done("done"),
            Self::Gone => Verdict::failed(ErrorClass::Fatal, "webhooks.gone", "Answered 410."),
            Self::Failed { code, message, .. } => Verdict::failed(ErrorClass::Retryable, code, message),
            Self::NotTried => Verdict::failed(
                ErrorClass::Retryable,
                "exchange.no_time",
                "The lease would not have outlasted the call.",
            ),
        }
    }
}

/// The delay after the `attempt`-th attempt, from 1, has failed; none after the last one. `jitter` is in `0.0..1.0`.
pub(super) fn delay(retries: &[Duration], attempt: i32, jitter: f64) -> Option<Duration> {
    let retry = retries.get(usize::try_from(attempt.max(1) - 1).ok()?)?;
    Some(retry.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / JITTER_PARTS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::exchange::AnswerBody;

    #[test]
    fn only_a_2xx_is_a_success() {
        let http = |status, retry_after_s: Option<u64>| Answer::Http {
            status,
            retry_after: retry_after_s.map(Duration::from_secs),
            body: AnswerBody::NotJson,
        };
        let told = |answer: Answer| match judge(&answer) {
            DeliveryOutcome::Delivered => "delivered".to_owned(),
            DeliveryOutcome::Gone => "gone".to_owned(),
            DeliveryOutcome::NotTried => "not tried".to_owned(),
            DeliveryOutcome::Failed { code, wait, .. } => format!("{code} {}", wait.unwrap_or_default().as_secs()),
        };
        for (answer, expected) in [
            (http(200, None), "delivered"),
            (http(204, Some(60)), "delivered"),
            (http(100, None), "webhooks.refused 0"),
            (http(301, None), "webhooks.redirected 0"),
            (http(304, None), "webhooks.redirected 0"),
            (http(307, Some(60)), "webhooks.redirected 0"),
            (http(400, None), "webhooks.refused 0"),
            (http(404, Some(60)), "webhooks.refused 0"),
            (http(410, None), "gone"),
            (http(429, Some(60)), "webhooks.refused 60"),
            (http(429, None), "webhooks.refused 0"),
            (http(500, Some(60)), "webhooks.refused 0"),
            (http(503, Some(60)), "webhooks.refused 60"),
            (Answer::Lost(Lost::TimedOut), "webhooks.timed_out 0"),
            (Answer::Lost(Lost::ConnectionLost), "webhooks.connection_lost 0"),
            (Answer::NotSent(NotSent::NotConnected), "webhooks.not_connected 0"),
            (Answer::NotSent(NotSent::NotPublic), "webhooks.not_public 0"),
            (Answer::NotSent(NotSent::NoCredentials), "webhooks.no_secret 0"),
            (Answer::NotSent(NotSent::NoTime), "not tried"),
        ] {
            assert_eq!(told(answer.clone()), expected, "{answer:?}");
        }
    }

    #[test]
    fn delays_follow_the_schedule_and_end() {
        let retries = [5, 300].map(Duration::from_secs);
        let seconds = |attempt, jitter| delay(&retries, attempt, jitter).map(|delay| delay.as_secs_f64());
        assert_eq!(
            [seconds(1, 0.0), seconds(1, 1.0), seconds(2, 0.5), seconds(3, 0.0)],
            [Some(5.0), Some(5.5), Some(315.0), None]
        );
        assert_eq!(seconds(0, 0.0), Some(5.0));
    }
}
