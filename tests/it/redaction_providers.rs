//! Providers that repeat what is secret, in every field and every way: nothing of it is kept but where it belongs.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use bson::doc;
use reqwest::Method;
use serde_json::{Map, Value, json};
use waybill::{
    modules::providers::{Policy, policies},
    platform::secret::sha256_hex,
};

use crate::support::{
    TestApp, User, eventually, kyc,
    liar::{Asked, Liar, Said},
    process::Launch,
    secrets::{Kept, Search, Secret, marked},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Where what a provider says belongs.
const KEPT: &[Kept] = &[Kept {
    collection: "topups",
    field: "paymentUrl",
    why: "the page on which is paid, shown to who asked for it; whatever is in it, it is what leads there",
}];

/// What providers call things: any number or word may be a waybill number, a payment's or a transfer's. Nothing tells a number
/// of somebody's from these, so only what is recognised by its letters is hidden there, and only in logs: where the answer is
/// believed, the name is stored with what it names.
const NAMES: &[&str] = &[
    "data.awb_number",
    "data.order_number",
    "data.job_id",
    "data.lrnum",
    "data.routing_code",
    "data.client_order_id",
    "data.pickup_id",
    "awb_number",
    "client_order_id",
    "paymentId",
    "reference",
    "utr",
    "amount",
    "amount_deposited",
    "expiresAt",
];

/// Everything that is not to be found again.
#[derive(Clone)]
struct Marks(Vec<Secret>);

impl Marks {
    fn of(&self, kind: &str) -> &str {
        &self.0.iter().find(|secret| secret.kind == kind).expect("a kind of secret").value
    }

    /// A sentence with all of them, as providers write; a password stands behind its name, because only that tells.
    fn sentence(&self) -> String {
        let one = |secret: &Secret| match secret.kind {
            "a password" => format!("password={} Password: {}", secret.value, secret.value),
            "an access token" => format!("Authorization: Bearer {}", secret.value),
            "an Aadhaar number" => {
                let digits = &secret.value;
                format!(
                    "{digits} Aadhaar:{} {} {} {}-{}-{}",
                    &digits[..4],
                    &digits[4..8],
                    &digits[8..],
                    &digits[..4],
                    &digits[4..8],
                    &digits[8..]
                )
            }
            _ => format!("{} ({}), x={0}; https://h.example/p?k={0}", secret.value, secret.kind),
        };
        // Each in a sentence of its own, so that none is hidden only because what is long is cut.
        self.0.iter().map(one).collect::<Vec<_>>().join(" | ")
    }

    /// The same one by one.
    fn sentences(&self) -> Vec<String> {
        self.0.iter().map(|secret| Self(vec![secret.clone()]).sentence()).collect()
    }

    /// Those that are recognised by their letters.
    fn lettered(&self) -> Vec<&str> {
        ["an access token", "a PAN", "a provider's API key", "a webhook secret"].map(|kind| self.of(kind)).to_vec()
    }
}

/// Sets `a.b`, `a[].b` or `a[]`.
fn put(body: &mut Value, path: &str, value: Value) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    if !body.is_object() {
        *body = Value::Object(Map::new());
    }
    let slot = match first.strip_suffix("[]") {
        Some(name) => {
            body[name] = json!([null]);
            &mut body[name][0]
        }
        None => &mut body[first],
    };
    match rest {
        Some(rest) => put(slot, rest, value),
        None => *slot = value,
    }
}

/// An answer that is believed, with `text` in every field that may be stored and is not a name.
fn in_allowed_words(asked: &Asked, text: &str) -> Value {
    let mut body = asked.honest();
    let believed = ["status", "currency", "message"];
    for field in allowed(asked).into_iter().filter(|field| !NAMES.contains(field) && !believed.contains(field)) {
        put(&mut body, field, json!(text));
    }
    for field in ["registered_name", "legal_name", "name_at_bank", "data.courier_name"] {
        if body.pointer(&format!("/{}", field.replace('.', "/"))).is_some() {
            put(&mut body, field, json!(format!("Asha {text}")));
        }
    }
    body
}

/// An answer with `text` in every field that may be stored.
fn in_all_allowed(asked: &Asked, text: &str) -> Value {
    let mut body = json!({});
    allowed(asked).into_iter().for_each(|field| put(&mut body, field, json!(text)));
    body
}

fn allowed(asked: &Asked) -> Vec<&'static str> {
    let of_this = |policy: &Policy| policy.provider == asked.provider && policy.operation == asked.operation;
    let redaction = policies().into_iter().find(of_this).expect("every operation has a policy").redaction;
    [redaction.not_personal, redaction.response, redaction.free_text].concat()
}

/// A way to tell: its name, and what is said.
type Way = (String, Box<dyn Fn(&Asked) -> Said + Send>);

/// The ways in which all secrets are told, each with its name.
fn ways(marks: &Marks, ours: &Marks) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    let mut way = |name: String, said: Box<dyn Fn(&Asked) -> Said + Send>| ways.push((name, said));
    for sentence in marks.sentences() {
        let text = sentence.clone();
        way(format!("words: {sentence}"), Box::new(move |asked| Said::json(200, &in_allowed_words(asked, &text))));
        let refusals = [200, 400, 404, 409, 422, 500];
        let status = refusals
            [usize::from(u8::from_str_radix(&sha256_hex(sentence.as_bytes())[..2], 16).unwrap()) % refusals.len()];
        way(format!("refused with {status}: {sentence}"), Box::new(move |_| refusal(status, &sentence)));
    }
    for lettered in marks.lettered() {
        let text = lettered.to_owned();
        way(format!("names: {text}"), Box::new(move |asked| Said::json(200, &in_all_allowed(asked, &text))));
    }
    let all = marks.sentence();
    for status in [400, 404, 409, 422, 429, 500, 503] {
        let text = all.clone();
        way(format!("refused with {status}"), Box::new(move |_| refusal(status, &text)));
    }
    let unknown = marks.clone();
    way("unknown fields".into(), Box::new(move |asked| Said::json(200, &with_unknown(asked, &unknown))));
    let in_head = marks.clone();
    way("headers".into(), Box::new(move |asked| with_headers(asked, &in_head)));
    for (status, text) in [(200, all.clone()), (502, all.clone())] {
        let page = format!("<html><title>{text}</title>{text}").into_bytes();
        let headers = vec![("content-type", "text/html".to_owned())];
        way(
            format!("a page with {status}"),
            Box::new(move |_| Said { status, headers: headers.clone(), body: page.clone() }),
        );
    }
    let text = all.clone();
    way(
        "cut off".into(),
        Box::new(move |asked| {
            let mut said = Said::json(200, &in_allowed_words(asked, &text));
            said.body.truncate(said.body.len() - 2);
            said
        }),
    );
    let location = format!("https://elsewhere.example/{}", marks.of("a provider's API key"));
    way(
        "elsewhere".into(),
        Box::new(move |_| Said { status: 307, headers: vec![("location", location.clone())], body: Vec::new() }),
    );
    // What it was sent, credentials included: the carrier's pair is encoded, and some decode it.
    for status in [200, 400, 500] {
        let pair = format!("{} {}", ours.of("a carrier's access key"), ours.of("a carrier's secret key"));
        way(
            format!("an echo with {status}"),
            Box::new(move |asked| {
                let pair = if asked.provider == "parcelx" { &*pair } else { "" };
                let text = format!("You sent {} {pair}", asked.whole);
                if status == 200 { Said::json(200, &in_allowed_words(asked, &text)) } else { refusal(status, &text) }
            }),
        );
    }
    ways
}

/// In the shapes of all providers at once.
fn refusal(status: u16, text: &str) -> Said {
    let code: String = text.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let error = json!({ "code": code, "message": text, "details": [text] });
    Said::json(status, &json!({ "status": false, "responsemsg": text, "message": text, "error": error }))
}

fn with_unknown(asked: &Asked, marks: &Marks) -> Value {
    let mut body = asked.honest();
    for (n, Secret { value, .. }) in marks.0.iter().enumerate() {
        body[value] = json!({ value: [value, { value: value }] });
        body[format!("extra{n}")] =
            value.parse::<i64>().map_or_else(|_| json!(value), |number| json!({ "number": number }));
    }
    body
}

fn with_headers(asked: &Asked, marks: &Marks) -> Said {
    let mut said = Said::json(200, &asked.honest());
    for Secret { value, .. } in &marks.0 {
        for name in [
            "server",
            "x-request-id",
            "date",
            "set-cookie",
            "x-debug",
            "location",
            "www-authenticate",
            "retry-after",
            "etag",
        ] {
            said.headers.push((name, value.clone()));
        }
        said.headers.push(("content-type", format!("application/json; key={value}")));
    }
    said
}

/// What is asked of every provider: an order, a top-up and an application.
struct Errands {
    merchant: User,
    admin: User,
    applicant: Value,
}

impl TestApp {
    /// Has every provider asked; waits until each has answered.
    async fn run_errands(&self, errands: &Errands, n: usize) {
        let order_id = self.created(&errands.merchant, &format!("c-{n}")).await;
        let topup_id = self.requested(&errands.merchant, &format!("t-{n}")).await;
        let applicant = self.newcomer().await;
        self.complete(&applicant, &errands.applicant).await;
        self.submit(&applicant).await.expect(202);
        let application = self.application(&applicant).await.get_str("_id").unwrap().to_owned();
        let answered = async |about: bson::Document| !self.all("provider_response_logs", about).await.is_empty();
        let resumed = Cell::new(None);
        eventually("every provider has answered", PATIENCE, async || {
            let all = answered(doc! { "orderId": &order_id }).await
                && answered(doc! { "resourceId": &topup_id }).await
                && answered(doc! { "resourceId": &application }).await;
            // Whatever they were told, their accounts are called again.
            if !all && resumed.get().is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(1)) {
                resumed.set(Some(Instant::now()));
                for queue in ["parcelx-orders-queue", "payments-queue", "kyc-verification-queue"] {
                    self.resume(&errands.admin, queue).await;
                }
            }
            all
        })
        .await;
    }
}

#[tokio::test]
async fn no_answer_of_a_provider_leaves_a_secret_behind() {
    let mut app = TestApp::start().await;
    let mut secrets = marked();
    for (kind, value) in [
        ("a carrier's access key", "Ck7-access-Qm2xZp9L"),
        ("a carrier's secret key", "Ck7-secret-Vt4rNb8K"),
        ("the gateway's key", "pg-key-without-a-known-prefix"),
        ("the verification provider's key", "idc key of words"),
        ("the secret of callbacks", "callbacks-secret-of-a-test-0123"),
    ] {
        secrets.push(Secret { kind, value: value.to_owned() });
    }
    let marks = Marks(secrets.clone());
    let liar = Liar::start().await;
    let mut flags = liar.flags();
    flags.extend([
        format!("--parcelx-access-key={}", marks.of("a carrier's access key")),
        format!("--parcelx-secret-key={}", marks.of("a carrier's secret key")),
        format!("--paygate-api-key={}", marks.of("the gateway's key")),
        format!("--idcheck-api-key={}", marks.of("the verification provider's key")),
        format!("--paygate-webhook-secret={}", marks.of("the secret of callbacks")),
        "--poll-ms=50".to_owned(),
        "--backoff-base-ms=50".to_owned(),
    ]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut process = Launch::all(&app, &flags).env("RUST_LOG", "trace").start().await;
    let ours = std::mem::replace(&mut app.base, process.base.clone());
    let mut applicant = kyc::individual();
    applicant["pan"] = json!(marks.of("a PAN"));
    applicant["aadhaar"] = json!(marks.of("an Aadhaar number"));
    applicant["bankAccount"]["accountNumber"] = json!(marks.of("an account number"));
    let errands = Errands { merchant: app.merchant().await, admin: app.admin().await, applicant };
    let told = ways(&Marks(marked()), &marks);
    assert!(told.len() > 30);
    for (n, (name, said)) in told.into_iter().enumerate() {
        println!("{n}: {name}");
        liar.says(said);
        app.run_errands(&errands, n).await;
    }
    let metrics = app.request(Method::GET, "/metrics", None, None).await.text;
    process.terminate().await;
    let log = process.log();
    assert!(log.contains("TRACE"), "it logs everything");
    app.base = ours;
    app.expect_kept_to_itself(&Search::of(&secrets), KEPT, &log, &metrics).await;
    for (collection, believed) in [
        ("orders", doc! { "status": "confirmed" }),
        ("topups", doc! { "status": "pending" }),
        ("kyc_applications", doc! { "checks.nameFound": { "$ne": null } }),
    ] {
        assert!(!app.all(collection, believed).await.is_empty(), "nothing that was said reached {collection}");
    }
    app.finish_unchecked().await;
}
