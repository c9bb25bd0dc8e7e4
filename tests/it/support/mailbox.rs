//! The mail server's stand-in, with a namespace of its own in the process that `scripts/test` has started.

use serde_json::{Value, json};

use super::{TestApp, server, unique};

/// Who writes in tests.
pub const SENDER: &str = "no-reply@waybill.example";

pub struct Mailbox {
    name: String,
    url: String,
    client: reqwest::Client,
}

impl Mailbox {
    pub fn open() -> Self {
        let name = unique("mail");
        let url = format!("{}/ns/{name}/mail", server("SIMULATORS_URL"));
        Self { name, url, client: super::http_client(std::time::Duration::from_secs(30)) }
    }

    /// Settings for an application whose mail comes here.
    pub fn flags(&self) -> [String; 4] {
        [
            format!("--smtp-url=smtp://{}@{}", self.sign_in(), server("SIMULATORS_SMTP")),
            format!("--mail-from=Waybill <{SENDER}>"),
            "--public-url=https://waybill.example/".into(),
            "--mail-deadline-ms=2000".into(),
        ]
    }

    /// User and password, as in a URL.
    pub fn sign_in(&self) -> String {
        format!("{}:secret", self.name)
    }

    /// An application whose mail comes here.
    pub async fn app(&self, flags: &[&str]) -> TestApp {
        let own = self.flags();
        TestApp::with(&own.iter().map(String::as_str).chain(flags.iter().copied()).collect::<Vec<_>>()).await
    }

    async fn read(&self, path: &str) -> Value {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        serde_json::from_str(&response.text().await.unwrap()).unwrap()
    }

    /// What came for somebody, oldest first.
    pub async fn mails_to(&self, address: &str) -> Vec<Value> {
        self.read(&format!("/_books/mails?to={address}")).await.as_array().unwrap().clone()
    }

    /// What came for somebody about something, oldest first.
    pub async fn mails_about(&self, address: &str, letter: &str) -> Vec<Value> {
        let mut mails = self.mails_to(address).await;
        let is_letter = |mail: &Value| mail["messageId"].as_str().unwrap().contains(&format!(".{letter}@"));
        mails.retain(is_letter);
        mails
    }

    /// `mails`, and how many of them `repeated` a Message-ID.
    pub async fn books(&self) -> Value {
        self.read("/_books").await
    }

    /// Adds a rule; see the stand-in's `smtp`.
    pub async fn rule(&self, rule: Value) {
        let body = rule.to_string();
        let request =
            self.client.post(format!("{}/_control/rules", self.url)).header("content-type", "application/json");
        let response = request.body(body).send().await.unwrap();
        assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
    }

    /// `times` steps go wrong like `mode`.
    pub async fn misbehave(&self, operation: &str, mode: &str, times: u32) {
        self.rule(json!({ "operation": operation, "mode": mode, "times": times })).await;
    }

    /// A second mail with a known Message-ID is taken and not kept from now on.
    pub async fn deduplicate(&self) {
        let request = self.client.put(format!("{}/_control/deduplicate", self.url));
        let response = request.header("content-type", "application/json").body(r#"{"on":true}"#).send().await.unwrap();
        assert_eq!(response.status(), 204);
    }
}

impl TestApp {
    /// Relays what happened and runs what is due, until nothing is.
    pub async fn relay_and_run(&self) {
        // The relay of the time before has the lease.
        self.db().collection::<bson::Document>("singletons").delete_many(bson::doc! {}).await.unwrap();
        let relay = self.app.relay();
        loop {
            relay.pass().await.unwrap();
            if self.worker.run_due().await == 0 {
                return;
            }
        }
    }
}
