//! The console in a real browser, as people use it: one walk through it, with a look at each page in both themes and on a phone.
//! With `CONSOLE_PICTURES=FOLDER` it leaves pictures of them there.

use std::time::{Duration, Instant};

use serde_json::json;
use waybill::platform::identity::Role;

use crate::support::{
    PASSWORD, TestApp, User, chromium::Chromium, eventually, kyc, proxy::Proxy, receiver::Receiver, seals::seal_all,
    totp::Authenticator,
};

const PATIENCE: Duration = Duration::from_secs(10);
const QUEUE: &str = "parcelx-orders-queue";

struct Walk {
    app: TestApp,
    chromium: Chromium,
}

impl Walk {
    async fn go(&self, path: &str) {
        self.chromium.go(&format!("{}/admin{path}", self.app.base)).await;
    }

    async fn look_at(&self, path: &str, name: &str) {
        self.go(path).await;
        self.chromium.look(name).await;
    }

    async fn sign_in(&self, user: &User) {
        self.give_password(user).await;
        let came_in = async || self.chromium.has("details.me").await;
        eventually("somebody has come in", PATIENCE, came_in).await;
    }

    async fn give_password(&self, user: &User) {
        self.chromium.page.delete_all_cookies().await.unwrap();
        self.go("/sign-in").await;
        self.chromium.fill("#email", &user.email).await;
        self.chromium.fill("#password", PASSWORD).await;
        self.chromium.click("form.sign-in button.main").await;
    }

    /// Signs in with password and code, after the user has got a second factor.
    async fn sign_in_with_code(&self, user: &User) {
        let Self { app, chromium } = self;
        let authenticator = Authenticator::of(app, user).await;
        self.give_password(user).await;
        chromium.sees("Code from your authenticator").await;
        // That a code is needed is a 401, and browsers say so.
        let _ = chromium.complaints().await;
        chromium.look("second-step").await;
        chromium.fill("#otp", "000000").await;
        chromium.click("form.sign-in button.main").await;
        eventually("a wrong code is refused", PATIENCE, async || chromium.has("[role=alert]").await).await;
        let _ = chromium.complaints().await;
        chromium.fill("#otp", &authenticator.code(app)).await;
        chromium.click("form.sign-in button.main").await;
        eventually("somebody has come in", PATIENCE, async || chromium.has("details.me").await).await;
    }

    /// Through a proxy that holds streams back the page asks by itself, and says so.
    async fn behind_a_proxy(&self) {
        let port_of = |base: &str| base.rsplit(':').next().unwrap().to_owned();
        let proxy = Proxy::that_buffers(format!("127.0.0.1:{}", port_of(&self.app.base))).await;
        self.chromium.go(&format!("http://127.0.0.1:{}/admin/queues", proxy.port)).await;
        self.chromium.sees("Not live: something between holds the stream back; asked every 5 s.").await;
        let _ = self.chromium.complaints().await;
    }

    /// What a cell of the board says, which changes without a reload.
    async fn cell(&self, name: &str) -> String {
        let script = format!("return (document.querySelector('[data-queue] [data-is={name}]') || {{}}).textContent");
        let said = self.chromium.page.execute(&script, vec![]).await.unwrap();
        said.as_str().unwrap_or_default().to_owned()
    }

    async fn cell_becomes(&self, name: &str, value: &str) {
        let is = async || self.cell(name).await == value;
        eventually(&format!("{name} becomes {value}"), PATIENCE, is).await;
    }

    /// An order that the carrier refuses once, so that its job dies and may be run again.
    async fn refused(&self, merchant: &User, name: &str) -> String {
        self.app.misbehave_for(name, "create", "refuse", Some(1)).await;
        self.app.created(merchant, name).await
    }

    /// A job fails, is run again from the board, and succeeds, seen live; then several by their filter.
    async fn watch_jobs(&self, merchant: &User) {
        let Self { app, chromium } = self;
        self.go(&format!("/queues/{QUEUE}?state=dead")).await;
        chromium.sees("Live:").await;
        let mark = "window.since = 'before'";
        chromium.page.execute(mark, vec![]).await.unwrap();
        let order_id = self.refused(merchant, "c-dead").await;
        self.cell_becomes("ready", "1").await;
        app.run_jobs().await;
        self.cell_becomes("dead", "1").await;
        let marked = chromium.page.execute("return window.since", vec![]).await.unwrap();
        assert_eq!(marked, "before", "the page was not loaded again");
        chromium.page.refresh().await.unwrap();
        chromium.look("dead-jobs").await;
        chromium.click_words("Retry").await;
        chromium.sees("runs again").await;
        assert!(chromium.has("a[href*='/admin/audit?requestId=']").await, "its record is one click away");
        app.run_jobs().await;
        self.cell_becomes("dead", "0").await;
        self.cell_becomes("ready", "0").await;
        let job = app.create_job(&order_id).await;
        self.look_at(&format!("/jobs/{}", job.get_str("_id").unwrap()), "job").await;
        assert!(chromium.has(".state-done").await, "{}", chromium.text().await);

        for n in 0..3 {
            self.refused(merchant, &format!("c-bulk-{n}")).await;
        }
        app.run_jobs().await;
        self.go(&format!("/queues/{QUEUE}?state=dead&errorCode=provider.refused")).await;
        chromium.click_words("Run all of these again").await;
        chromium.sees(&format!("Run 3 dead jobs of {QUEUE} again?")).await;
        chromium.look("confirm").await;
        chromium.click_words("Yes, do it").await;
        chromium.sees("3 jobs run again").await;
        app.run_jobs().await;
        self.cell_becomes("dead", "0").await;
    }

    /// An application is read and approved with a reason.
    async fn review(&self) {
        let chromium = &self.chromium;
        let applicant = self.app.applicant(&kyc::individual()).await;
        self.look_at("/kyc", "applications").await;
        chromium.click_words(&applicant.user_id).await;
        chromium.sees("That you read this is on record").await;
        chromium.look("application").await;
        chromium.click_words("Approve").await;
        chromium.sees(&format!("approve the application of {}?", applicant.user_id)).await;
        chromium.fill("textarea[name=reason]", "The papers are in order.").await;
        chromium.click_words("Yes, do it").await;
        chromium.sees("Decided: approve.").await;
        assert_eq!(self.app.kyc_state(&applicant).await, "verified");
    }

    /// An order is found by the number on its parcel; its exchange is opened, and the proof of its record.
    async fn follow(&self, merchant: &User, order_id: &str) {
        let (app, chromium) = (&self.app, &self.chromium);
        let awb = app.order(merchant, order_id).await["shipment"]["awb"].as_str().unwrap().to_owned();
        seal_all(app).await;
        self.go("/queues").await;
        chromium.fill("#find", &format!("{awb}\u{e007}")).await;
        chromium.sees("Any id, number or e-mail address").await;
        chromium.look("search").await;
        chromium.click_words(order_id).await;
        chromium.sees(&awb).await;
        chromium.look("order").await;
        chromium.click("details.exchange summary").await;
        chromium.sees("HTTP 200").await;
        chromium.look("exchange").await;
        chromium.click_words("proof of the response").await;
        chromium.sees("It is what was sealed.").await;
        chromium.look("record").await;
    }

    /// An order of which nobody knows what became is ended by a person, with a reason; its money goes back.
    async fn resolve(&self, merchant: &User) {
        let (app, chromium) = (&self.app, &self.chromium);
        app.misbehave_for("c-odd", "create", "401", Some(1)).await;
        let order_id = app.created(merchant, "c-odd").await;
        let (_, held) = app.balance(merchant).await;
        app.run_jobs().await;
        self.look_at("/attention", "attention").await;
        chromium.sees(&order_id).await;
        chromium.click_words("Mark failed and release").await;
        chromium.fill("textarea[name=reason]", "The carrier has no such parcel.").await;
        chromium.click_words("Yes, do it").await;
        chromium.sees("has failed, and what it cost went back").await;
        chromium.sees("Nothing waits for a person.").await;
        assert_eq!(app.order(merchant, &order_id).await["status"], "failed");
        assert!(app.balance(merchant).await.1 < held, "its money is free again");
        let admin = app.admin().await;
        app.resume(&admin, QUEUE).await;
    }

    /// Finance books a recharge and takes it back.
    async fn book(&self, merchant: &User) {
        let chromium = &self.chromium;
        self.look_at("/ledger", "trial-balance").await;
        chromium.sees("debits equal credits").await;
        chromium.click_words("Book something").await;
        for (name, value) in [
            ("userId", &*merchant.user_id),
            ("amount.amount", "12345"),
            ("clientReference", "R-1"),
            ("reason", "Paid in"),
        ] {
            chromium.fill(&format!("form.edit [name='{name}']"), value).await;
        }
        chromium.click_words("Book…").await;
        chromium.click_words("Yes, do it").await;
        chromium.sees("is booked.").await;
        self.look_at(&format!("/ledger/transactions?userId={}&kind=recharge", merchant.user_id), "transactions").await;
        chromium.click("tbody tr:first-child a[href*='/ledger/transactions/txn_']").await;
        chromium.sees("wallet.available").await;
        chromium.look("transaction").await;
        self.look_at(&format!("/ledger/wallets/{}", merchant.user_id), "wallet").await;
        self.look_at("/ledger/differences", "differences").await;
        chromium.sees("all books agree").await;
    }

    /// A merchant sees what is its own, and nothing else.
    async fn portal(&self, merchant: &User, order_id: &str) {
        let (chromium, receiver) = (&self.chromium, Receiver::start().await);
        self.look_at("/my/orders", "my-orders").await;
        let reference = self.app.order(merchant, order_id).await["shipment"]["awb"].as_str().unwrap().to_owned();
        chromium.sees(&reference).await;
        self.look_at(&format!("/my/orders/{order_id}"), "my-order").await;
        for (path, name) in [
            ("/my/wallet", "my-wallet"),
            ("/my/verification", "my-verification"),
            ("/my/letters", "my-letters"),
            ("/checkouts", "checkouts"),
            ("/products", "products"),
        ] {
            self.look_at(path, name).await;
        }
        self.go("/webhooks").await;
        chromium.click_words("Add an endpoint").await;
        chromium.fill("[name=url]", &receiver.url).await;
        chromium.click("form[action$='/create-endpoint'] button").await;
        chromium.sees("it is not shown again").await;
        self.go("/webhooks").await;
        chromium.click("tbody a[href*='/admin/webhooks/whe_']").await;
        chromium.sees("Post a test").await;
        chromium.click_words("New secret").await;
        chromium.click_words("Yes, do it").await;
        chromium.sees("it is not shown again").await;
        chromium.look("secret").await;
        let text = chromium.text().await;
        assert!(text.contains("whsec_"), "{text}");
        chromium.click_words("Go on").await;
        chromium.click_words("Post a test").await;
        chromium.sees("A test is on its way").await;
        self.app.run_jobs().await;
        assert_eq!(receiver.types(), ["webhook.test"]);
        chromium.page.refresh().await.unwrap();
        assert!(chromium.has(".state-delivered").await, "{}", chromium.text().await);
        chromium.look("webhook").await;
        chromium.click("tbody a[href*='/admin/webhooks/deliveries/']").await;
        chromium.look("delivery").await;
        // What is not its own is not there: no page leads there, and the address opens nothing.
        for path in ["/queues", "/users", "/kyc", "/ledger"] {
            self.go(path).await;
            chromium.sees("Your role does not allow this").await;
        }
        let _ = chromium.complaints().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_through_the_console_in_a_browser() {
    let flags = ["--environment=development", "--webhook-allow-private=true"];
    let (app, chromium) = tokio::join!(TestApp::with(&flags), Chromium::open());
    let walk = Walk { app, chromium };
    let (app, chromium) = (&walk.app, &walk.chromium);
    let began = Instant::now();
    let (merchant, admin, finance) = (app.merchant().await, app.admin().await, app.user(Role::Finance).await);
    let order_id = app.confirmed(&merchant, "c-fine").await;
    let product = json!({ "sku": "B-1", "name": "<b>Book</b>", "price": { "amount": 500, "currency": "INR" } });
    let product = app.post(&merchant, "/products", &product).await.expect(201).body;
    let tenant =
        app.post(&app.admin().await, "/tenants", &json!({ "name": "Ours", "slug": "ours" })).await.expect(201).body;

    walk.go("/queues").await;
    chromium.sees("Sign in").await;
    chromium.look("sign-in").await;
    walk.sign_in_with_code(&admin).await;
    walk.look_at("/queues", "queues").await;
    walk.behind_a_proxy().await;
    walk.watch_jobs(&merchant).await;
    walk.follow(&merchant, &order_id).await;
    walk.resolve(&merchant).await;
    walk.review().await;
    for (path, name) in [
        (String::new(), "overview"),
        ("/orders".to_owned(), "orders"),
        ("/providers".to_owned(), "providers"),
        ("/logs".to_owned(), "logs"),
        ("/audit".to_owned(), "audit"),
        ("/seals".to_owned(), "seals"),
        ("/alerts".to_owned(), "alerts"),
        ("/schedules".to_owned(), "schedules"),
        ("/mail".to_owned(), "mail"),
        ("/users".to_owned(), "users"),
        (format!("/users/{}", merchant.user_id), "user"),
        ("/tenants".to_owned(), "tenants"),
        (format!("/tenants/{}", tenant["tenantId"].as_str().unwrap()), "tenant"),
        (format!("/products/{}", product["productId"].as_str().unwrap()), "product"),
    ] {
        walk.look_at(&path, name).await;
    }
    walk.look_at("/providers/parcelx%2Fdefault", "provider").await;
    chromium.click_words("Test it").await;
    chromium.sees("It works.").await;
    chromium.look("provider-test").await;
    walk.go("/schedules/ledger-check").await;
    chromium.click_words("Run now").await;
    chromium.sees("ledger-check runs").await;
    app.run_jobs().await;
    walk.look_at("/schedules/ledger-check", "schedule").await;
    assert!(chromium.has(".state-done").await, "{}", chromium.text().await);

    walk.sign_in(&finance).await;
    walk.book(&merchant).await;
    walk.sign_in(&merchant).await;
    walk.portal(&merchant, &order_id).await;
    let Walk { app, chromium } = walk;
    println!("the walk took {:.1?}", began.elapsed());
    chromium.close().await;
    app.finish().await;
}
