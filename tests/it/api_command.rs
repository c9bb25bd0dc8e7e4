//! `waybill api ...`: the API on the command line.

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
    time::timeout,
};
use waybill::platform::identity::Role;

use crate::support::{PASSWORD, TestApp, User, orders, process::free_port, proxy::Proxy, totp::Authenticator, unique};

const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody's command line, with a home of its own.
struct Shell {
    url: String,
    token: Option<String>,
    home: PathBuf,
}

impl Shell {
    fn new(url: &str, user: Option<&User>) -> Self {
        let home = std::env::temp_dir().join(unique("waybill-home"));
        std::fs::create_dir_all(&home).unwrap();
        Self { url: url.to_owned(), token: user.map(|user| user.token.clone()), home }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
        command.arg("api").args(args).env("WAYBILL_URL", &self.url).env("HOME", &self.home);
        command.env_remove("XDG_CONFIG_HOME").stdin(Stdio::null()).kill_on_drop(true);
        match &self.token {
            Some(token) => command.env("WAYBILL_TOKEN", token),
            None => command.env_remove("WAYBILL_TOKEN"),
        };
        command
    }

    async fn output(&self, args: &[&str]) -> Output {
        timeout(PATIENCE, self.command(args).output()).await.expect("in time").unwrap()
    }

    async fn documents(&self, args: &[&str]) -> Vec<Value> {
        let output = self.output(args).await;
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let stdout = String::from_utf8(output.stdout).unwrap();
        stdout.lines().map(|line| serde_json::from_str(line).expect("a line is a document")).collect()
    }

    async fn document(&self, args: &[&str]) -> Value {
        let mut documents = self.documents(args).await;
        assert_eq!(documents.len(), 1, "{args:?}");
        documents.remove(0)
    }

    /// The exit code and what is said; nothing is printed.
    async fn refused(&self, args: &[&str]) -> (i32, String) {
        let output = self.output(args).await;
        assert!(output.stdout.is_empty(), "{args:?}");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn kept_in(&self) -> PathBuf {
        self.home.join(".config/waybill/credentials.json")
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

#[tokio::test]
async fn orders_are_made_read_and_cancelled_from_a_script() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let shell = Shell::new(&app.base, Some(&user));
    let file = shell.home.join("order.json");
    std::fs::write(&file, orders::order("c-1").to_string()).unwrap();
    let data = format!("@{}", file.display());
    let made = shell.document(&["orders", "create", "--data", &data]).await;
    let again = shell.document(&["orders", "create", "--data", &data]).await;
    assert_eq!((&made["clientOrderId"], &made["orderId"]), (&json!("c-1"), &again["orderId"]));
    for id in ["c-2", "c-3"] {
        let mut child = shell.command(&["orders", "create", "--data=@-", "--client-order-id", id]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(orders::order("").to_string().as_bytes()).await.unwrap();
        assert!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().success());
    }
    let order_id = made["orderId"].as_str().unwrap();
    assert_eq!(shell.document(&["orders", "get", order_id]).await["orderId"], order_id);
    assert_eq!(shell.document(&["orders", "get", "--client-order-id=c-1"]).await["orderId"], order_id);
    let cancelled = shell.document(&["orders", "cancel", "c-1", "--reason", "changed my mind"]).await;
    assert_eq!(cancelled["cancellation"]["reason"], "changed my mind");
    let ids = async |args: &[&str]| -> Vec<Value> {
        shell.documents(args).await.iter().map(|order| order["clientOrderId"].clone()).collect()
    };
    assert_eq!(ids(&["orders", "list"]).await, ["c-3", "c-2", "c-1"]);
    assert_eq!(ids(&["orders", "list", "--status=cancelled", "--all"]).await, ["c-1"]);
    assert_eq!(
        ids(&["get", "/orders", "--query=limit=1", "--all"]).await,
        ["c-3", "c-2", "c-1"],
        "cursors are followed"
    );

    // The same by any path.
    let page = shell.document(&["get", "/orders", "--query", "limit=1"]).await;
    assert_eq!((page["items"].as_array().unwrap().len(), page["nextCursor"].is_string()), (1, true));
    let by_path = shell.document(&["post", "/orders/cancel", "--data", r#"{"clientOrderId": "c-2"}"#]).await;
    assert_eq!(by_path["clientOrderId"], "c-2");
    let statement = shell.output(&["get", "/wallet/statement", "--query=format=csv"]).await;
    assert!(statement.status.success() && statement.stdout.iter().filter(|byte| **byte == b'\n').count() > 1);
    let cut = shell.output(&["get", "/openapi.json", "--unchecked"]).await;
    assert!(cut.status.success(), "what the description does not have is sent where one insists");
    assert!(serde_json::from_slice::<Value>(&cut.stdout).unwrap()["paths"].is_object());
    app.run_jobs().await;
    app.finish().await;
}

#[tokio::test]
async fn failures_say_what_to_do_and_have_codes_of_their_own() {
    let app = TestApp::start().await;
    let (user, auditor) = (app.merchant().await, app.user(Role::Auditor).await);
    let (mine, auditors) = (Shell::new(&app.base, Some(&user)), Shell::new(&app.base, Some(&auditor)));
    let nobody = Shell::new(&app.base, None);
    let away = Shell::new(&format!("http://127.0.0.1:{}", free_port()), Some(&user));
    app.create(&user, "c-1").await.expect(201);
    app.run_jobs().await;
    let order = orders::order("c-9").to_string();
    let mut odd = orders::order("c-8");
    odd["shipment"]["consignee"]["pincode"] = json!("12");
    let (odd, create) = (odd.to_string(), ["orders", "create", "--data"]);
    for (shell, args, code, words) in [
        (
            &mine,
            &["get", "/order/ord_1/timeline"][..],
            2,
            &["no path /order/ord_1/timeline", "get /orders/{orderId}/timeline"][..],
        ),
        (
            &mine,
            &["get", "/orders", "--query=state=x"],
            2,
            &["no parameter state; it has limit, cursor, clientOrderId, status"],
        ),
        (&mine, &["get", "/orders/../users"], 4, &["auth.forbidden"]),
        (&mine, &["delete", "/orders"], 2, &["takes no DELETE; it takes get"]),
        (&mine, &["get", "/orders?limit=1"], 2, &["--query"]),
        (&mine, &["post", "/orders/cancel", "--data", "{"], 2, &["the data is no JSON"]),
        (&mine, &["orders", "create", "--data={}"], 2, &["no clientOrderId"]),
        (&mine, &["orders", "create", "--data=@/nowhere/order.json"], 1, &["/nowhere/order.json can't be read"]),
        (&mine, &["orders", "get", "ord_nothing"], 5, &["(HTTP 404)", "request "]),
        (&mine, &["orders", "get", "--client-order-id=c-0"], 5, &["you have no order c-0"]),
        (
            &mine,
            &[&create[..], &[&odd]].concat(),
            6,
            &["request.invalid (HTTP 422)", "shipment.consignee.pincode: ", "request "],
        ),
        (&nobody, &["orders", "list"], 4, &["auth.required", "waybill api login"]),
        (&auditors, &[&create[..], &[&order]].concat(), 4, &["auth.forbidden (HTTP 403)"]),
        (&away, &[&create[..], &[&order, "--attempts=2"]].concat(), 3, &["no answer after 2 attempt(s): ", "refused"]),
    ] {
        let (exit, said) = shell.refused(args).await;
        assert_eq!(exit, code, "{args:?}: {said}");
        words.iter().for_each(|words| assert!(said.contains(words), "{args:?}: {words} is not in {said}"));
        assert!(!said.contains(&user.token), "{said}");
    }
    let listed = nobody.output(&["--list"]).await;
    let listed = String::from_utf8(listed.stdout).unwrap();
    let line = listed.lines().find(|line| line.contains(" /orders/create ")).expect("every operation");
    assert!(line.starts_with("POST ") && line.ends_with("Creates an order."), "{line}");
    assert!(listed.lines().count() > 100);
    app.finish().await;
}

#[tokio::test]
async fn who_signs_in_is_kept_where_nobody_else_reads_it() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let shell = Shell::new(&app.base, None);
    let signing_in = shell.command(&["login", "--email", &user.email]).env("WAYBILL_PASSWORD", PASSWORD).output();
    let signed_in = timeout(PATIENCE, signing_in).await.unwrap().unwrap();
    assert!(signed_in.status.success(), "{}", String::from_utf8_lossy(&signed_in.stderr));
    assert!(!String::from_utf8_lossy(&signed_in.stdout).contains("eyJ"), "the token is kept, not shown");
    let file = shell.kept_in();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let me = async || shell.document(&["get", "/auth/me"]).await["userId"].clone();
    assert_eq!(me().await, user.user_id.as_str());

    // One that has expired is renewed, and the new one kept.
    let kept = || -> Value { serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap() };
    let before = kept();
    let mut expired = before.clone();
    (expired["expiresAt"], expired["accessToken"]) = (json!(1), json!("expired"));
    std::fs::write(&file, expired.to_string()).unwrap();
    assert_eq!(me().await, user.user_id.as_str());
    assert!(kept()["expiresAt"].as_u64() > Some(1) && kept()["refreshToken"] != before["refreshToken"]);

    // It goes to nobody else, and what others can read is not believed.
    let other = Proxy::start(app.base.trim_start_matches("http://").to_owned()).await;
    let elsewhere =
        shell.command(&["get", "/auth/me"]).env("WAYBILL_URL", format!("http://127.0.0.1:{}", other.port)).output();
    assert_eq!(timeout(PATIENCE, elsewhere).await.unwrap().unwrap().status.code(), Some(4));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = shell.refused(&["get", "/auth/me"]).await;
    assert!(code == 1 && said.contains("chmod 600"), "{said}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(shell.documents(&["logout"]).await.is_empty() && !file.exists());
    assert_eq!(shell.refused(&["get", "/auth/me"]).await.0, 4);

    // A session that can't be ended now is kept, so that it can be ended later.
    let password = [("WAYBILL_PASSWORD", PASSWORD)];
    let sign_in = shell.command(&["login", "--email", &user.email]).envs(password).output();
    assert!(timeout(PATIENCE, sign_in).await.unwrap().unwrap().status.success());
    let mut unreachable = kept();
    let there = unreachable["url"].take();
    unreachable["url"] = json!("http://127.0.0.1:1");
    std::fs::write(&file, unreachable.to_string()).unwrap();
    let in_vain = shell.command(&["logout"]).env("WAYBILL_URL", "http://127.0.0.1:1").output();
    let in_vain = timeout(PATIENCE, in_vain).await.unwrap().unwrap();
    assert!(in_vain.status.code() == Some(3) && file.exists(), "{in_vain:?}");
    assert!(String::from_utf8_lossy(&in_vain.stderr).contains("the session goes on: try again, or remove"));
    // What is kept for another API stays.
    assert!(shell.documents(&["logout"]).await.is_empty() && file.exists());
    unreachable["url"] = there;
    std::fs::write(&file, unreachable.to_string()).unwrap();
    assert!(shell.documents(&["logout"]).await.is_empty() && !file.exists());
    let refresh = json!({ "refreshToken": unreachable["refreshToken"] });
    app.request(reqwest::Method::POST, "/auth/refresh", None, Some(&refresh)).await.expect(401);

    // With a second factor a code is needed, once: what is kept is renewed by itself.
    let other = app.merchant().await;
    let authenticator = Authenticator::of(&app, &other).await;
    let login = async |otp: &[&str]| {
        let args = [&["login", "--email", &*other.email][..], otp].concat();
        timeout(PATIENCE, shell.command(&args).envs(password).output()).await.unwrap().unwrap()
    };
    let refused = login(&[]).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("give its code by --otp"), "{refused:?}");
    assert!(login(&["--otp", &authenticator.code(&app)]).await.status.success());
    assert_eq!(me().await, other.user_id.as_str());
    shell.documents(&["logout"]).await;

    // A token that is given by hand is kept as it is, once it is known to be good. It is never kept in place of somebody who signs in.
    let by_hand = Shell::new(&app.base, Some(&user));
    let both = by_hand.command(&["login", "--email", &user.email]).envs(password).output();
    let both = timeout(PATIENCE, both).await.unwrap().unwrap();
    assert!(both.status.code() == Some(2) && !by_hand.kept_in().exists());
    assert!(String::from_utf8_lossy(&both.stderr).contains("both a token"), "{both:?}");
    let said = by_hand.document(&["login"]).await;
    assert_eq!((&said["user"], &said["kept"]), (&json!(user.email), &json!("token")));
    assert!(std::fs::read_to_string(by_hand.kept_in()).unwrap().contains(&user.token));
    let wrong = by_hand.command(&["login"]).env("WAYBILL_TOKEN", "nonsense").output();
    assert_eq!(timeout(PATIENCE, wrong).await.unwrap().unwrap().status.code(), Some(4));
    app.finish().await;
}

#[tokio::test]
async fn events_are_followed_over_an_api_that_is_away() {
    let app = TestApp::start().await;
    let user = app.merchant().await;
    let proxy = Proxy::start(app.base.trim_start_matches("http://").to_owned()).await;
    let shell = Shell::new(&format!("http://127.0.0.1:{}", proxy.port), Some(&user));
    let following = ["events", "tail", "--types=order.created,order.cancelled"];
    let mut child = shell.command(&following).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut heard = async |words: &str| {
        let line = timeout(PATIENCE, said.next_line()).await.expect("in time").unwrap().expect("a line");
        assert!(line.contains(words), "{line}");
    };
    let mut event = async || -> Value {
        let line = timeout(PATIENCE, events.next_line()).await.expect("in time").unwrap().expect("an event");
        serde_json::from_str(&line).unwrap()
    };
    heard("waiting for events").await;
    let order_id = app.create(&user, "c-1").await.expect(201).body["orderId"].clone();
    let first = event().await;
    assert_eq!((&first["type"], &first["data"]["orderId"]), (&json!("order.created"), &order_id));
    assert!(first["eventId"].as_str().unwrap().starts_with("evt_"));
    proxy.cut();
    heard("can't be reached").await;
    app.cancel(&user, "c-1").await.expect(202);
    proxy.mend();
    heard("the API is back").await;
    assert_eq!(event().await["type"], "order.cancelled");
    child.kill().await.unwrap();
    let since = ["events", "tail", "--once", "--from", first["timestamp"].as_str().unwrap()];
    let kinds: Vec<Value> = shell.documents(&since).await.into_iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["order.created", "order.cancellation_requested", "order.cancelled"]);
    app.run_jobs().await;
    app.finish().await;
}
