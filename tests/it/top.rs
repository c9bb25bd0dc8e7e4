//! `waybill top`: what a terminal shows of the queues.

use bson::doc;
use serde_json::json;
use tokio::process::Command;

use crate::support::{PASSWORD, TestApp, totp::Authenticator};

async fn top(url: &str, environment: &[(&str, &str)]) -> (bool, String, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_waybill"));
    program.args(["top", "--once", "--url", url]).env_clear().envs(environment.iter().copied());
    let output = program.current_dir(env!("CARGO_MANIFEST_DIR")).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn the_board_is_printed_once_for_scripts() {
    let app = TestApp::start().await;
    let (user, admin) = (app.merchant().await, app.admin().await);
    app.created(&user, "c-1").await;
    app.post(&admin, "/queues/mail-queue/pause", &json!({})).await.expect(200);
    let order_id = app.created(&user, "c-2").await;
    let dead = doc! {
        "state": "dead", "runAt": app.app.clock.now(),
        "lastError": { "class": "fatal", "code": "provider.refused", "message": "Not \u{1b}[31mserved." },
    };
    app.update_one("jobs", doc! { "payload.orderId": &order_id }, dead).await;
    let (went_well, board, said) = top(&app.base, &[("WAYBILL_TOKEN", &admin.token)]).await;
    assert!(went_well, "{said}");
    let line = |begin: &str| {
        let line = board.lines().find(|line| line.trim_start().starts_with(begin));
        line.unwrap_or_else(|| panic!("no {begin} in\n{board}")).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(line("waybill top").starts_with("waybill top 1 ready, 0 active, 1 dead, 0 alerts"), "{board}");
    assert!(line("parcelx-orders-queue").starts_with("parcelx-orders-queue 1 0 0 1 0 0.0/s"), "{board}");
    assert!(line("mail-queue").ends_with("paused"), "{board}");
    assert!(
        board.contains("provider.refused Not [31mserved.") || board.contains("provider.refused Not  [31mserved."),
        "{board}"
    );
    assert!(!board.contains('\u{1b}'), "colours are for terminals");

    // It signs in by itself, and says what is wrong.
    let signed_in = [("WAYBILL_EMAIL", &*admin.email), ("WAYBILL_PASSWORD", PASSWORD)];
    assert!(top(&app.base, &signed_in).await.0);
    let wrong = [("WAYBILL_EMAIL", &*admin.email), ("WAYBILL_PASSWORD", "not the password")];
    let (went_well, _, said) = top(&app.base, &wrong).await;
    assert!(!went_well && said.contains("the e-mail address or the password is wrong"), "{said}");
    let (went_well, _, said) = top(&app.base, &[("WAYBILL_TOKEN", &user.token)]).await;
    assert!(!went_well && said.contains("auth.forbidden (HTTP 403)"), "{said}");
    let (went_well, _, said) = top("http://127.0.0.1:1", &[("WAYBILL_TOKEN", &admin.token)]).await;
    assert!(!went_well && said.contains("the API can't be reached"), "{said}");
    // With a second factor it needs its code, and says so.
    let other = app.admin().await;
    let authenticator = Authenticator::of(&app, &other).await;
    let mut with_code = vec![("WAYBILL_EMAIL", &*other.email), ("WAYBILL_PASSWORD", PASSWORD)];
    let (went_well, _, said) = top(&app.base, &with_code).await;
    assert!(!went_well && said.contains("has a second factor: give its code by --otp"), "{said}");
    let code = authenticator.code(&app);
    with_code.push(("WAYBILL_OTP", &code));
    assert!(top(&app.base, &with_code).await.0);
    let (went_well, _, said) = top(&app.base, &with_code).await;
    assert!(!went_well && said.contains("the code is wrong, or was used before"), "{said}");
    let mut program = Command::new(env!("CARGO_BIN_EXE_waybill"));
    program.args(["top", "--url", &app.base, "--token", &admin.token]);
    let output = program.output().await.unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("--once prints the board once"), "no terminal is here");
    app.finish_unchecked().await;
}
