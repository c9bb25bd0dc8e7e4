//! Recommendations: what others bought too, from the checkouts themselves; Redis only saves looking again.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use bson::{Document, doc};
use reqwest::Method;
use serde_json::{Value, json};
use waybill::platform::{identity::Role, ids::new_id};

use crate::{
    checkout::{cart, paid_elsewhere},
    support::{TestApp, User, server, servers::RedisServer, unique, with_database},
};

const PLENTY: i64 = 1_000_000_000;

impl TestApp {
    async fn buys(&self, buyer: &User, carts: &[&[&str]]) {
        for products in carts {
            let lines: Vec<_> = products.iter().map(|id| (*id, 1)).collect();
            self.post(buyer, "/checkout", &cart(&unique("k"), &lines)).await.expect(202);
        }
    }

    async fn recommended(&self, user: &User) -> Vec<String> {
        let answer = self.get(user, "/recommendations").await.expect(200).body;
        let items = answer["items"].as_array().unwrap().iter();
        items.map(|product| product["productId"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn what_two_others_bought_too_is_recommended_with_redis_or_without() {
    let mut redis = RedisServer::start().await;
    let app = TestApp::over(with_database(&server("MONGODB_URI"), &unique("waybill")), redis.url(), &[]).await;
    let seller = app.merchant().await;
    let mut ids = Vec::new();
    for sku in ["X", "Y", "Z", "Q", "W"] {
        ids.push(app.stocked(&seller, sku, 100).await);
    }
    let [x, y, z, q, w] = [0, 1, 2, 3, 4].map(|n| &*ids[n]);
    let (me, a, b) = (app.customer(PLENTY).await, app.customer(PLENTY).await, app.customer(PLENTY).await);
    let (c, d) = (app.customer(PLENTY).await, app.customer(PLENTY).await);
    assert_eq!(app.recommended(&me).await, [""; 0]);
    app.buys(&me, &[&[x]]).await;
    app.buys(&a, &[&[x, y, z]]).await;
    app.buys(&b, &[&[x], &[y]]).await;
    // Who gave it back has not bought it, and who is named by a merchant is nobody's account.
    app.post(&c, "/checkout", &cart("k-c", &[(x, 1), (z, 1)])).await.expect(202);
    app.post(&c, "/checkout/cancel", &json!({ "clientOrderId": "k-c" })).await.expect(202);
    for payment in ["pay_1", "pay_2"] {
        let body = paid_elsewhere(payment, &[(x, 1), (w, 1)], payment);
        app.post(&seller, "/checkout", &body).await.expect(202);
    }
    app.buys(&c, &[&[y, q]]).await;
    app.buys(&d, &[&[q, y]]).await;
    app.relay_and_run().await;
    redis.run("FLUSHALL").await.expect("it is emptied");
    assert_eq!(app.recommended(&me).await, [y]);
    let answer = app.get(&me, "/recommendations").await.expect(200);
    assert_eq!(answer.body["items"][0]["name"], "Rolex Submariner Date");
    assert!([&me, &a, &b, &c, &d].iter().all(|buyer| !answer.text.contains(&buyer.user_id)), "{}", answer.text);
    // It is kept for ten minutes; what is not offered, and what the caller has asked for, is left out all the same.
    app.buys(&b, &[&[z]]).await;
    assert_eq!(app.recommended(&me).await, [y]);
    let archived = async |status: &str| {
        let (path, body) = (format!("/products/{y}"), json!({ "status": status }));
        app.request(Method::PATCH, &path, Some(&seller.token), Some(&body)).await.expect(200);
    };
    archived("archived").await;
    assert_eq!(app.recommended(&me).await, [""; 0]);
    archived("active").await;
    app.buys(&me, &[&[y]]).await;
    assert_eq!(app.recommended(&me).await, [""; 0]);
    // The event of the purchase has it found anew.
    app.relay_and_run().await;
    let found: BTreeSet<String> = app.recommended(&me).await.into_iter().collect();
    assert_eq!(found, [z, q].map(str::to_owned).into());

    let within = async |what: &str| {
        let began = Instant::now();
        assert_eq!(app.recommended(&me).await.len(), 2, "{what}");
        assert!(began.elapsed() < Duration::from_secs(5), "{what}: {:?}", began.elapsed());
    };
    redis.freeze();
    within("frozen").await;
    redis.thaw();
    redis.kill().await;
    within("gone").await;
    app.buys(&me, &[&[z]]).await;
    app.relay_and_run().await;
    assert_eq!(app.recommended(&me).await, [q]);
    app.finish().await;
}

/// Keys and documents, whatever there is; here there are four times as many.
const COST_MAX: i64 = 7_500;

#[tokio::test]
async fn a_search_among_many_purchases_looks_at_few() {
    let app = TestApp::start().await;
    let (seller, me) = (app.merchant().await, app.customer(PLENTY).await);
    let first = app.stocked(&seller, "first", 9).await;
    app.buys(&me, &[&[&first]]).await;
    let one = async |collection: &str, filter: Document| app.all(collection, filter).await.remove(0);
    let product = one("products", doc! {}).await;
    let checkout = one("checkouts", doc! {}).await;
    let moved = one("stock_movements", doc! { "kind": "sale" }).await;
    let products: Vec<String> = std::iter::repeat_with(|| new_id("prd")).take(60).collect();
    let copies = products.iter().map(|id| {
        let mut copy = product.clone();
        copy.extend(doc! { "_id": id, "sku": id });
        copy
    });
    app.db().collection::<Document>("products").insert_many(copies).await.unwrap();
    // Three thousand buyers of two products each, and three thousand purchases of the caller's.
    let (mut checkouts, mut movements) = (Vec::new(), Vec::new());
    for n in 0..6_000_usize {
        let buyer = if n % 2 == 0 { new_id("usr") } else { me.user_id.clone() };
        let lines = if n % 2 == 0 { vec![n / 2 % 60, n / 120 % 60] } else { vec![n / 2 % 30] };
        let id = new_id("chk");
        let items = lines.iter().map(|&line| {
            let mut item = checkout.get_array("items").unwrap()[0].as_document().unwrap().clone();
            item.insert("productId", &products[line]);
            item
        });
        let mut copy = checkout.clone();
        copy.extend(doc! { "_id": &id, "userId": &buyer, "clientOrderId": &id, "items": items.collect::<Vec<_>>() });
        checkouts.push(copy);
        for line in lines.into_iter().collect::<BTreeSet<_>>() {
            let mut copy = moved.clone();
            copy.extend(
                doc! { "_id": new_id("mov"), "productId": &products[line], "seq": n as i64, "referenceId": &id },
            );
            movements.push(copy);
        }
    }
    app.db().collection::<Document>("checkouts").insert_many(checkouts).await.unwrap();
    app.db().collection::<Document>("stock_movements").insert_many(movements).await.unwrap();
    let began = Instant::now();
    let (answer, cost) = app.cost_of(&me, "/recommendations").await;
    println!("{cost} keys and documents, {:?}", began.elapsed());
    assert!(cost <= COST_MAX, "{cost}");
    let found: Vec<&Value> = answer["items"].as_array().unwrap().iter().map(|product| &product["productId"]).collect();
    assert!(found.len() >= 10, "{found:?}");
    assert!(found.iter().all(|id| products[30..].iter().any(|other| *id == other)), "none of the caller's: {found:?}");
    let (again, cost) = app.cost_of(&me, "/recommendations").await;
    assert_eq!(again, answer);
    assert!(cost <= 400, "kept: {cost}");
    app.get(&app.user(Role::Merchant).await, "/recommendations").await.expect(403);
    app.finish_unchecked().await;
}
