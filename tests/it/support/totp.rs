//! A user's authenticator.

use std::time::Duration;

use serde_json::json;
use totp_rs::{Builder, Secret};

use super::{PASSWORD, TestApp, User};

/// Codes of a second factor that was set up for a user.
pub struct Authenticator(String);

impl Authenticator {
    /// Sets it up. The user's token is void then, and the clock has moved on to a code that was not used.
    pub async fn of(app: &TestApp, user: &User) -> Self {
        let begun = app.post(user, "/auth/totp", &json!({ "currentPassword": PASSWORD })).await.expect(200).body;
        let this = Self(begun["secret"].as_str().unwrap().to_owned());
        app.post(user, "/auth/totp/confirm", &json!({ "code": this.code(app) })).await.expect(200);
        app.app.clock.advance(Duration::from_secs(30));
        this
    }

    /// What it shows now.
    pub fn code(&self, app: &TestApp) -> String {
        let secret = Secret::try_from_base32(&self.0).unwrap();
        let totp = Builder::new().with_secret(secret).build().unwrap();
        totp.generate((app.app.clock.now_ms() / 1000) as u64).to_string()
    }
}
