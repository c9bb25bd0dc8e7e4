//! The page for developers.

use axum::{body::Body, extract::Request};
use tower::ServiceExt;

use super::*;
use crate::testing::text;

struct Page {
    status: StatusCode,
    text: String,
}

impl PayGate {
    async fn page(&self, method: &str, id: &str, form: &'static str) -> Page {
        let request = Request::builder().method(method).uri(format!("/paygate/pay/{id}"));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(Body::from(form));
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        Page { status: response.status(), text: text(response).await }
    }

    async fn payment_id(&self, body: &Value) -> String {
        let created = read(self.call("POST", "/v1/payments", Some(body)).await).await;
        let url = created["paymentUrl"].as_str().unwrap();
        url.strip_prefix("http://stand.test:4900/paygate/pay/").unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_person_fails_then_pays() {
    let stand = PayGate::new();
    let receiver = Receiver::start(&[]).await;
    stand.call_back(&receiver).await;
    let id = stand.payment_id(&create_body("top_1")).await;

    let shown = stand.page("GET", &id, "").await;
    assert_eq!(shown.status, StatusCode::OK);
    for part in ["500.00 INR", "Wallet top-up", "top_1", "<strong>created</strong>", ">Pay<", ">Fail<"] {
        assert!(shown.text.contains(part), "{part}: {}", shown.text);
    }
    let failed = stand.page("POST", &id, "do=fail").await;
    for part in ["<strong>failed</strong>", "payment.failed", "answered 204", ">Pay<"] {
        assert!(failed.text.contains(part), "{part}: {}", failed.text);
    }
    let paid = stand.page("POST", &id, "do=pay").await;
    assert!(paid.text.contains("<strong>paid</strong>"), "{}", paid.text);
    assert!(!paid.text.contains("<button"), "nothing more to press: {}", paid.text);
    // Pressed twice.
    for form in ["do=pay", "do=fail"] {
        assert!(stand.page("POST", &id, form).await.text.contains("<strong>paid</strong>"));
    }
    let kinds: Vec<_> = receiver.arrived().iter().map(|callback| callback.json()["type"].clone()).collect();
    assert_eq!(kinds, ["payment.failed", "payment.paid"]);
    assert!(receiver.arrived().iter().all(|callback| callback.signed_at().is_some()));
}

#[tokio::test]
async fn a_page_says_what_is_wrong() {
    let stand = PayGate::new();
    let id = stand.payment_id(&create_body("top_1")).await;
    for form in ["", "do=", "do=refund", "pay"] {
        assert_eq!(stand.page("POST", &id, form).await.status, StatusCode::BAD_REQUEST, "{form}");
    }
    assert_eq!(stand.page("GET", "pay_none", "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(stand.page("POST", "pay_none", "do=pay").await.status, StatusCode::NOT_FOUND);

    let paid = stand.page("POST", &id, "do=pay").await;
    assert!(paid.text.contains("<strong>paid</strong>"), "{}", paid.text);
    assert!(paid.text.contains("no callback address is set"), "{}", paid.text);

    let late = stand.payment_id(&create_body("top_2")).await;
    stand.control("payments/top_2", &json!({"do": "expire"})).await;
    let shown = stand.page("POST", &late, "do=pay").await;
    assert!(shown.text.contains("<strong>expired</strong>") && !shown.text.contains("<button"), "{}", shown.text);
}

#[tokio::test]
async fn a_page_shows_text_as_text_and_amounts_as_people_read_them() {
    for (amount, currency, shown) in [
        (5, "INR", "0.05 INR"),
        (123_456, "INR", "1234.56 INR"),
        (5, "JPY", "5 JPY"),
        (5, "KWD", "0.005 KWD"),
        (1_000, "KWD", "1.000 KWD"),
    ] {
        let stand = PayGate::new();
        let mut body = create_body("top_1");
        body["amount"] = json!(amount);
        body["currency"] = json!(currency);
        body["description"] = json!("<script>alert('x')</script> & \"more\"");
        let id = stand.payment_id(&body).await;
        let page = stand.page("GET", &id, "").await;
        assert!(page.text.contains(&format!("<h1>{shown}</h1>")), "{}", page.text);
        let escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;more&quot;";
        assert!(page.text.contains(escaped), "{}", page.text);
    }
}
