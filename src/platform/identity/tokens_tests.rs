//! Tokens: whose they are, how long they hold, and which are refused.

use super::*;

fn keys(secret: &str, previous: Option<&str>) -> TokenKeys {
    keys_at(secret, previous, Clock::default())
}

fn keys_at(secret: &str, previous: Option<&str>, clock: Clock) -> TokenKeys {
    TokenKeys::new(&SecretString::from(secret), previous.map(SecretString::from).as_ref(), clock)
}

fn now_ms() -> i64 {
    Clock::default().now_ms()
}

fn access(role: Role, access_version: i64) -> AccessToken {
    AccessToken { user_id: "usr_1".into(), role, access_version, tenant_id: None, only: None }
}

#[test]
fn a_token_is_accepted_under_its_own_and_the_previous_secret() {
    let finance = AccessToken { tenant_id: Some("ten_1".into()), ..access(Role::Finance, 3) };
    let token = keys("one", None).issue(finance.clone(), now_ms()).expect("signing works");
    assert_eq!(keys("one", None).verify(&token).expect("valid"), finance);
    assert_eq!(keys("two", Some("one")).verify(&token).expect("valid"), finance);
    assert!(keys("two", None).verify(&token).is_err());
}

#[test]
fn an_expired_token_says_so() {
    let token = keys("one", None).issue(access(Role::Merchant, 0), now_ms() - 16 * 60 * 1000).expect("signing works");
    assert_eq!(keys("one", None).verify(&token).expect_err("expired").code, "auth.token_expired");
}

#[test]
fn a_token_expires_by_the_clock_by_which_it_was_issued() {
    // The database may be days ahead of this host.
    for ahead in [Duration::ZERO, Duration::from_secs(30 * 86_400)] {
        let clock = Clock::default();
        clock.advance(ahead);
        let keys = keys_at("one", None, clock.clone());
        let token = keys.issue(access(Role::Merchant, 0), clock.now_ms()).expect("signing works");
        assert!(keys.verify(&token).is_ok());
        clock.advance(ACCESS_TOKEN_TTL + Duration::from_secs(LEEWAY_SECONDS - 2));
        assert!(keys.verify(&token).is_ok(), "within the leeway");
        clock.advance(Duration::from_secs(4));
        assert_eq!(keys.verify(&token).expect_err("expired").code, "auth.token_expired");
    }
}

#[test]
fn unsigned_foreign_and_altered_tokens_are_refused() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
    let ours = keys("one", None);
    let good = ours.issue(access(Role::Merchant, 0), now_ms()).expect("signing works");
    let parts: Vec<_> = good.split('.').collect();
    let admin = String::from_utf8(B64.decode(parts[1]).expect("base64")).expect("utf-8").replace("merchant", "admin");
    let none = format!("{}.{}.", B64.encode(r#"{"alg":"none","typ":"JWT"}"#), parts[1]);
    let validly_signed = |claims: serde_json::Value| {
        let header = Header { kid: Some(ours.current.id.clone()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &claims, &ours.current.encode).expect("signing works")
    };
    let exp = (now_ms() / 1000 + 600) as u64;
    let wrong_audience = validly_signed(
        serde_json::json!({"iss": ISSUER, "aud": "other", "sub": "usr_1", "role": "admin", "iat": 0, "exp": exp}),
    );
    let wrong_issuer = validly_signed(
        serde_json::json!({"iss": "other", "aud": AUDIENCE, "sub": "usr_1", "role": "admin", "iat": 0, "exp": exp}),
    );
    let endless =
        validly_signed(serde_json::json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "usr_1", "role": "admin", "iat": 0}));
    for bad in [
        format!("{}.{}.{}", parts[0], B64.encode(admin), parts[2]),
        none.clone(),
        none + parts[2],
        format!("{}.{}.{}", B64.encode(r#"{"alg":"HS512","typ":"JWT"}"#), parts[1], parts[2]),
        wrong_audience,
        wrong_issuer,
        endless,
        String::new(),
        "a.b.c".into(),
    ] {
        assert_eq!(ours.verify(&bad).expect_err(&bad).code, "auth.invalid_token", "{bad}");
    }
}
