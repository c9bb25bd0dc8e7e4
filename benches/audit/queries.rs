//! How long auditors' questions take, of a short history and of a long one.

use std::time::Instant;

use super::{
    fill::Filled,
    history::{History, mixed, reader, user},
    programs::{Program, answer, client},
    verdict::Verdicts,
};

/// Requests that are measured of a question; half of them ask for the newest first.
const REQUESTS: usize = 300;
/// And before that, so that plans and pages are where they are in use.
const WARM_UP: usize = 40;
/// Pages that are followed from a first one.
const PAGES: usize = 3;
/// What we promise of the long history.
const P99_MS_MAX: f64 = 50.0;
const RATIO_MAX: f64 = 1.5;
/// Below this, the slower of two is no slower for what is stored: it is the machine, whose other work is as long.
const NOISE_P50_MS: f64 = 1.0;
const NOISE_P99_MS: f64 = 5.0;
/// Merchants, and people who look, who are asked for; a history has at least as many.
const BUSY_USERS: u64 = 20;

/// What is asked: a name, and a path for a random number.
type Question = (&'static str, fn(&History, u64) -> String);

const QUESTIONS: &[Question] = &[
    ("orderId", |h, n| calls(&format!("orderId={}", h.order(n % h.orders())))),
    ("userId", |_, n| calls(&format!("userId={}", busy(n)))),
    ("clientOrderId", |h, n| calls(&format!("clientOrderId={}", History::client_order(n % h.orders())))),
    ("correlationId", |h, n| calls(&format!("correlationId={}", h.correlation(n % h.orders())))),
    ("awb", |h, n| calls(&format!("awb={}", History::awb(n % h.orders())))),
    ("provider, most", |_, _| calls("provider=parcelx")),
    ("provider, 1 in 100", |_, _| calls("provider=idcheck")),
    ("operation, most", |_, _| calls("operation=create_order")),
    ("operation, 1 in 13", |_, _| calls("operation=cancel_order")),
    ("accountId, 1 in 70", |_, _| calls("accountId=paygate/default")),
    ("outcome, most", |_, _| calls("outcome=done")),
    ("outcome, 1 in 70", |_, _| calls("outcome=absent")),
    ("outcome, 1 in 300", |_, _| calls("outcome=fatal")),
    ("errorClass, 1 in 170", |_, _| calls("errorClass=unknown")),
    ("errorClass, 1 in 300", |_, _| calls("errorClass=retryable")),
    ("httpStatus, most", |_, _| calls("httpStatus=200")),
    ("httpStatus, 1 in 300", |_, _| calls("httpStatus=422")),
    ("httpStatus, none", |_, _| calls("httpStatus=503")),
    ("nothing", |_, _| calls("")),
    ("from, to", |h, n| calls(&six_hours(h, n))),
    ("userId, from, to", |h, n| calls(&format!("userId={}&{}", busy(n), six_hours(h, n)))),
    ("userId, operation", |_, n| calls(&format!("userId={}&operation=cancel_order", busy(n)))),
    ("userId, outcome, most", |_, n| calls(&format!("userId={}&outcome=done", busy(n)))),
    ("userId, errorClass", |_, n| calls(&format!("userId={}&errorClass=fatal", busy(n)))),
    ("orderId, httpStatus", |h, n| calls(&format!("orderId={}&httpStatus=200", h.order(n % h.orders())))),
    ("provider, operation, outcome", |_, _| calls("provider=parcelx&operation=look_up_order&outcome=found")),
    ("operation, errorClass, from, to", |h, n| {
        calls(&format!("operation=create_order&errorClass=fatal&{}", six_hours(h, n)))
    }),
    ("events: nothing", |_, _| events("")),
    ("events: resourceId", |h, n| events(&format!("resourceId={}", h.event(n % h.events()).resource_id))),
    ("events: requestId", |h, n| events(&format!("requestId={}", h.event_request(n % h.events())))),
    ("events: actorId", |_, n| events(&format!("actorId={}", reader(n % BUSY_USERS)))),
    ("events: userId", |_, n| events(&format!("userId={}", busy(n)))),
    ("events: action", |_, _| events("action=kyc.approved")),
    ("events: type", |_, _| events("action=OrderCreated")),
    ("events: outcome", |_, _| events("outcome=denied")),
    ("events: actorId, outcome", |_, n| events(&format!("actorId={}&outcome=denied", reader(n % BUSY_USERS)))),
    ("an order's story", |h, n| format!("/audit/orders/{}", h.placed[(n % h.placed.len() as u64) as usize])),
];

fn calls(query: &str) -> String {
    format!("/audit/provider-requests?{query}")
}

fn events(query: &str) -> String {
    format!("/audit/events?{query}")
}

fn busy(number: u64) -> String {
    user(number % BUSY_USERS)
}

fn six_hours(history: &History, number: u64) -> String {
    const HOURS_MS: i64 = 6 * 3_600_000;
    let span = (history.ended_ms - history.at(0) - HOURS_MS).max(1);
    let from = history.at(0) + (number % span.unsigned_abs()) as i64;
    let text = |ms| bson::DateTime::from_millis(ms).try_to_rfc3339_string().unwrap_or_default();
    format!("from={}&to={}", text(from), text(from + HOURS_MS))
}

/// One of the two histories, with an API over it.
struct Side<'a> {
    filled: &'a Filled,
    api: Program,
    http: reqwest::Client,
}

#[derive(Default)]
struct Measured {
    ms: Vec<f64>,
    items: usize,
}

impl Measured {
    /// The share of requests that were faster.
    fn quantile(&self, share: f64) -> f64 {
        let mut ms = self.ms.clone();
        ms.sort_by(f64::total_cmp);
        ms[((ms.len() as f64 * share) as usize).min(ms.len() - 1)]
    }
}

impl<'a> Side<'a> {
    async fn start(filled: &'a Filled) -> Result<Self, String> {
        let http = client()?;
        let api = filled.settings.start("api", &http).await?;
        Ok(Self { filled, api, http })
    }

    /// A first page and the pages behind it.
    async fn ask(&self, path: &str, measured: &mut Measured) -> Result<(), String> {
        let mut cursor = String::new();
        for _ in 0..PAGES {
            let request = self.http.get(format!("{}{path}{cursor}", self.api.base));
            let began = Instant::now();
            let page = answer(request, &self.filled.token).await?;
            measured.ms.push(began.elapsed().as_secs_f64() * 1_000.0);
            let items = page["items"].as_array().or_else(|| page["entries"].as_array());
            measured.items += items.ok_or_else(|| format!("{path} is no list"))?.len();
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        Ok(())
    }
}

/// Asks every question of both, in turn, so that a machine that slows down slows both.
pub async fn compare(short: &Filled, long: &Filled, verdicts: &mut Verdicts) -> Result<(), String> {
    let sides = [Side::start(short).await?, Side::start(long).await?];
    println!(
        "{:<34}{:>9}{:>9}{:>9}{:>9}{:>7}{:>8}{:>8}",
        "ms, of so many calls stored",
        format!("p50 {}", thousands(short.history.calls)),
        format!("p50 {}", thousands(long.history.calls)),
        format!("p99 {}", thousands(short.history.calls)),
        format!("p99 {}", thousands(long.history.calls)),
        "ratio",
        "found",
        "found"
    );
    let (mut slowest, mut steepest) = (("", 0.0), ("", 0.0));
    for (number, (name, path)) in QUESTIONS.iter().enumerate() {
        let [of_short, of_long] = measure(&sides, *path, number as u64).await?;
        let p50 = [of_short.quantile(0.5), of_long.quantile(0.5)];
        let p99 = [of_short.quantile(0.99), of_long.quantile(0.99)];
        let found = |measured: &Measured| measured.items as f64 / measured.ms.len() as f64;
        println!(
            "{name:<34}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>7.2}{:>8.1}{:>8.1}",
            p50[0],
            p50[1],
            p99[0],
            p99[1],
            p50[1] / p50[0],
            found(&of_short),
            found(&of_long)
        );
        if of_long.items == 0 && *name != "httpStatus, none" {
            return Err(format!("{name}: nothing was found, so nothing was measured"));
        }
        if p99[1] > slowest.1 {
            slowest = (name, p99[1]);
        }
        for (pair, noise) in [(p50, NOISE_P50_MS), (p99, NOISE_P99_MS)] {
            let ratio = if pair[1] > noise { pair[1] / pair[0].max(noise) } else { 0.0 };
            if ratio > steepest.1 {
                steepest = (name, ratio);
            }
        }
    }
    for side in sides {
        side.api.stop().await?;
    }
    verdicts.at_most(&format!("the slowest question's p99, ms ({})", slowest.0), slowest.1, P99_MS_MAX);
    let steepest_is = if steepest.0.is_empty() { "all within noise" } else { steepest.0 };
    verdicts.at_most(&format!("the steepest question, long over short ({steepest_is})"), steepest.1, RATIO_MAX);
    Ok(())
}

async fn measure(
    sides: &[Side<'_>; 2],
    path: fn(&History, u64) -> String,
    number: u64,
) -> Result<[Measured; 2], String> {
    let mut measured = [Measured::default(), Measured::default()];
    for (requests, is_measured) in [(WARM_UP, false), (REQUESTS, true)] {
        measured = [Measured::default(), Measured::default()];
        for turn in 0.. {
            if measured.iter().all(|measured| measured.ms.len() >= requests) {
                break;
            }
            for (side, measured) in sides.iter().zip(&mut measured) {
                if measured.ms.len() >= requests {
                    continue;
                }
                let asked = path(&side.filled.history, mixed(mixed(number) ^ turn ^ u64::from(is_measured) << 32));
                let ordered = match (asked.contains('?'), turn % 2) {
                    (true, 1) => format!("{asked}&order=oldest"),
                    _ => asked,
                };
                side.ask(&ordered, measured).await?;
            }
        }
    }
    Ok(measured)
}

fn thousands(calls: u64) -> String {
    if calls.is_multiple_of(1_000) { format!("{}k", calls / 1_000) } else { calls.to_string() }
}
