//! Holding the books against each other: the ledger against itself, holds against orders, orders against provider logs,
//! paid top-ups against credits, checkouts against bookings and stock; and what is open against the jobs that are to settle it.

use std::collections::{BTreeMap, HashMap, HashSet};

use axum::{Json, extract::State};
use bson::{DateTime, Document, doc};
use mongodb::{ClientSession, Database, error::Result, options::Hint};
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::checkouts::check_checkouts;
use crate::{
    modules::{
        audit::{RESPONSE_LOGS, retention::calls_purged_before},
        checkout::{CHECKOUTS, Checkout, PaymentStatus},
        orders::{HoldAction, ORDERS, Order, OrderStatus, due, is_settled},
        queue::{JOBS, JobState},
        wallet::{
            Account, HOLDS, Hold, HoldState, LEDGER, LedgerTransaction, WalletStore, check_ledger,
            topups::{RefundStatus, TOPUPS, Topup, TopupStatus},
        },
    },
    platform::{
        clock::{Clock, Rfc3339Time},
        differences::{Difference, Differences, differ, sorted},
        error::AppError,
        http::NoQuery,
        identity::FinanceReader,
        money::Money,
    },
};

/// Documents that are looked up at once.
const CHUNK: usize = 1_000;
/// Differences that an answer lists; the rest is counted. `waybill ledger check` prints all.
const LISTED_MAX: usize = 1_000;

/// State of the route.
#[derive(Clone)]
pub struct Reconciler {
    /// Reads the ledger.
    pub store: WalletStore,
    /// Time.
    pub clock: Clock,
}

/// The route.
pub fn reconciliation_router(reconciler: Reconciler) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(reconcile)).with_state(reconciler)
}

/// The counts of what was compared, and the differences.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ReconciliationResponse {
    checked_at: Option<Rfc3339Time>,
    /// Documents that were looked at, by collection.
    checked: BTreeMap<&'static str, u64>,
    /// Empty where everything agrees; at most a thousand.
    differences: Vec<Difference>,
    /// Number of all differences, also those that are not listed.
    difference_count: u64,
}

impl Differences for ReconciliationResponse {
    fn add(&mut self, difference: Difference) {
        self.difference_count += 1;
        if self.differences.len() < LISTED_MAX {
            self.differences.push(difference);
        }
    }

    fn looked_at(&mut self, collection: &'static str, count: u64) {
        *self.checked.entry(collection).or_default() += count;
    }
}

/// Compares stored balances with lines, holds with orders, orders with provider logs, and top-ups with credits, all at one
/// moment, and lists every difference; and what is open without a job that would settle it. It reads everything once:
/// expect seconds per million transactions.
#[utoipa::path(get, path = "/finance/reconciliation", tag = "finance", security(("bearer" = [])),
    responses((status = 200, body = ReconciliationResponse)))]
async fn reconcile(
    State(reconciler): State<Reconciler>,
    _: FinanceReader,
    _: NoQuery,
) -> std::result::Result<Json<ReconciliationResponse>, AppError> {
    let mut response = ReconciliationResponse::default();
    check_all(&reconciler.store, &mut response).await?;
    let now: DateTime = reconciler.clock.now();
    response.checked_at = Some(Rfc3339Time(now));
    Ok(Json(response))
}

/// Every check there is, over one snapshot.
///
/// # Errors
/// What the driver says.
pub async fn check_all(store: &WalletStore, to: &mut impl Differences) -> Result<()> {
    let mut session = store.snapshot().await?;
    check_ledger(store, &mut session, to).await?;
    check_orders(store.snapshots(), &mut session, to).await?;
    check_order_holds(store.snapshots(), &mut session, to).await?;
    check_topups(store.snapshots(), &mut session, to).await?;
    check_topup_credits(store.snapshots(), &mut session, to).await?;
    check_checkout_payments(store.snapshots(), &mut session, to).await?;
    check_checkouts(store.snapshots(), &mut session, to).await
}

/// Every order that costs something has the hold that its status wants, and every confirmed one has the provider's word.
async fn check_orders(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    // Of what was before that, an answer may have been there and have been purged.
    let purged_before = calls_purged_before(db, session).await?;
    let mut cursor = sorted(db, ORDERS, doc! {}, session).await?;
    let mut count = 0;
    loop {
        let orders: Vec<Order> = chunk(&mut cursor, session, to, "order.readable").await?;
        if orders.is_empty() {
            break;
        }
        count += orders.len() as u64;
        let hold_ids = orders.iter().filter_map(|order| order.billing.as_ref()).map(|billing| billing.hold_id.as_str());
        let holds: HashMap<String, Hold> = by_ids(db, HOLDS, hold_ids.collect(), session).await?;
        let accepted = accepted_orders(db, &orders, session).await?;
        let awaited = orders.iter().filter_map(|order| Some((order.id.as_str(), awaited_job(order)?)));
        check_jobs(db, "order.job", awaited.collect(), session, to).await?;
        for order in &orders {
            check_order(order, &holds, to);
            let has_word = accepted.contains(&order.id);
            let may_be_purged = purged_before.is_some_and(|purged| order.created_at < purged);
            match due(order.status, order.detail.kind()) {
                HoldAction::Capture if !has_word && !may_be_purged => {
                    to.add(Difference::new("order.provider_word", &order.id, "an answer that accepts it", "none"));
                }
                HoldAction::GiveBack if order.status == OrderStatus::Failed && has_word && !ends_otherwise(order) => {
                    to.add(Difference::new("order.provider_word", &order.id, "none", "an answer that accepts it"));
                }
                HoldAction::Capture | HoldAction::GiveBack | HoldAction::Keep => {}
            }
        }
    }
    to.looked_at("orders", count);
    Ok(())
}

fn check_order(order: &Order, holds: &HashMap<String, Hold>, to: &mut impl Differences) {
    let Some(billing) = &order.billing else {
        if let Some(charge) = order.charge.filter(|charge| charge.amount > 0) {
            to.add(Difference::new("order.hold", &order.id, format!("a hold of {charge}"), "none"));
        }
        return;
    };
    let Some(hold) = holds.get(&billing.hold_id) else {
        return to.add(Difference::new("order.hold", &order.id, &billing.hold_id, "none"));
    };
    if !is_settled(due(order.status, order.detail.kind()), hold.state) {
        let expected = format!("{:?} ({})", due(order.status, order.detail.kind()), order.status.as_str());
        to.add(Difference::new("order.hold_state", &order.id, expected, format!("{:?}", hold.state)));
    }
    if hold.user_id != order.user_id {
        to.add(Difference::new("order.hold_owner", &order.id, &order.user_id, &hold.user_id));
    }
    if order.charge != Some(hold.money()) {
        let charge = order.charge.map_or_else(|| "none".to_owned(), |charge| charge.to_string());
        to.add(Difference::new("order.hold_amount", &order.id, charge, hold.money()));
    }
}

/// Whether what its provider has accepted came to nothing all the same: later, or with the second of two calls.
fn ends_otherwise(order: &Order) -> bool {
    ends_later(order) || order.unfinished
}

/// Whether what its provider has accepted may still come to nothing.
fn ends_later(order: &Order) -> bool {
    order.detail.kind().is_owed_on_delivery()
}

/// The job that has to settle an open order or its cancellation; none where nothing is open, or a person has to decide.
fn awaited_job(order: &Order) -> Option<&str> {
    let cancels = order.cancellation.as_ref().filter(|_| order.cancellation_pending());
    let goes_on = ends_later(order) && matches!(order.status, OrderStatus::Confirmed | OrderStatus::InProgress);
    let creates = (order.status == OrderStatus::Created || goes_on).then_some(order.job_id.as_str());
    cancels.and_then(|cancellation| cancellation.job_id.as_deref()).or(creates)
}

/// Each of these things waits for a job that is still to run: one whose job is dead or gone would wait for ever, with its
/// money, and nobody would know.
async fn check_jobs(
    db: &Database,
    check: &'static str,
    awaited: Vec<(&str, &str)>,
    session: &mut ClientSession,
    to: &mut impl Differences,
) -> Result<()> {
    let ids: Vec<&str> = awaited.iter().map(|(_, job_id)| *job_id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let jobs = db.collection::<Document>(JOBS);
    let states = jobs.find(doc! { "_id": { "$in": ids } }).projection(doc! { "state": 1 });
    let mut found = states.session(&mut *session).await?;
    let mut state_of = HashMap::new();
    while let Some(job) = found.next(session).await.transpose()? {
        let text = |name| job.get_str(name).unwrap_or_default().to_owned();
        state_of.insert(text("_id"), text("state"));
    }
    let live = [JobState::Ready, JobState::Active].map(JobState::as_str);
    for (subject, job_id) in awaited {
        let state = state_of.get(job_id).map_or("none", String::as_str);
        if !live.contains(&state) {
            to.add(Difference::new(check, subject, "a job that is ready or active", format!("{job_id}: {state}")));
        }
    }
    Ok(())
}

/// Every top-up that names a credit has it, over its amount, every paid one names one, and no other has one.
async fn check_topups(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let mut cursor = sorted(db, TOPUPS, doc! {}, session).await?;
    let mut count = 0;
    loop {
        let topups: Vec<Topup> = chunk(&mut cursor, session, to, "topup.readable").await?;
        if topups.is_empty() {
            break;
        }
        count += topups.len() as u64;
        let waiting = topups.iter().filter(|topup| matches!(topup.status, TopupStatus::Created | TopupStatus::Pending));
        let awaited = waiting.map(|topup| (topup.id.as_str(), topup.check_job_id.as_str()));
        check_jobs(db, "topup.job", awaited.collect(), session, to).await?;
        let refunding = topups.iter().filter_map(|topup| Some((topup.id.as_str(), topup.refund.as_ref()?)));
        let refunding = refunding.filter(|(_, refund)| refund.status == RefundStatus::Requested);
        let refunding = refunding.map(|(id, refund)| (id, refund.job_id.as_str())).collect();
        check_jobs(db, "topup.refund_job", refunding, session, to).await?;
        let ids: Vec<&str> = topups.iter().map(|topup| topup.id.as_str()).collect();
        let checkouts: Vec<&str> = topups.iter().filter_map(|topup| topup.checkout_id.as_deref()).collect();
        let credits = booked(db, ("topup", "payment"), ids.clone(), session, to).await?;
        let purchases = booked(db, ("checkout", "payment"), checkouts.clone(), session, to).await?;
        let refunds = booked(db, ("topup", "refund"), ids, session, to).await?;
        let bought: HashMap<String, Checkout> = by_ids(db, CHECKOUTS, checkouts, session).await?;
        for topup in &topups {
            if let Some(checkout_id) = topup.checkout_id.as_ref().filter(|id| !bought.contains_key(*id)) {
                to.add(Difference::new("payment.checkout", &topup.id, checkout_id, "none"));
            }
            // What is paid for a checkout that waits for it is its purchase.
            let purchase = topup.checkout_id.as_ref().and_then(|checkout_id| purchases.get(checkout_id));
            check_topup(topup, credits.get(&topup.id).or(purchase), to);
            check_refund(topup, refunds.get(&topup.id), to);
        }
    }
    to.looked_at("topups", count);
    Ok(())
}

fn check_topup(topup: &Topup, credit: Option<&LedgerTransaction>, to: &mut impl Differences) {
    let found = credit.map_or("none", |credit| credit.id.as_str());
    let named = topup.transaction_id.as_deref().unwrap_or("none");
    if named != found || (topup.status == TopupStatus::Paid && credit.is_none()) {
        let expected = format!("{named} ({})", topup.status.as_str());
        return to.add(Difference::new("topup.credit", &topup.id, expected, found));
    }
    let Some(credit) = credit else { return };
    let credited = match topup.checkout_id {
        None => credit.sum_of(&Account::Available),
        Some(_) => -credit.sum_of(&Account::SettlementCash),
    };
    if (topup.amount, topup.currency, &topup.user_id) != (credited, credit.currency, &credit.user_id) {
        let of = |amount: i64, currency, user: &str| format!("{} of {user}", Money::new(amount, currency));
        let expected = of(topup.amount, topup.currency, &topup.user_id);
        let found = of(credited, credit.currency, &credit.user_id);
        to.add(Difference::new("topup.amount", &topup.id, expected, found));
    }
}

/// Every checkout at the gateway has a payment, and both say the same of it.
async fn check_checkout_payments(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let mut cursor = sorted(db, CHECKOUTS, doc! { "payment.method": "gateway" }, session).await?;
    loop {
        // What can't be read is named by the walk over all of them.
        let checkouts: Vec<Checkout> = chunk(&mut cursor, session, to, "checkout.readable").await?;
        if checkouts.is_empty() {
            return Ok(());
        }
        let ids = checkouts.iter().filter_map(|checkout| checkout.payment.gateway_payment.as_deref()).collect();
        let payments: HashMap<String, Topup> = by_ids(db, TOPUPS, ids, session).await?;
        for checkout in &checkouts {
            let payment = checkout.payment.gateway_payment.as_ref().and_then(|id| payments.get(id));
            let Some(payment) = payment.filter(|payment| payment.checkout_id.as_ref() == Some(&checkout.id)) else {
                to.add(Difference::new("checkout.payment", &checkout.id, "a payment", "none"));
                continue;
            };
            let expected = match (payment.status, payment.refund.as_ref().map(|refund| refund.status)) {
                (TopupStatus::Paid, None) => PaymentStatus::Paid,
                (TopupStatus::Paid, Some(RefundStatus::Done)) => PaymentStatus::Refunded,
                (TopupStatus::Paid, Some(_)) => PaymentStatus::Refunding,
                (TopupStatus::Created | TopupStatus::Pending, _) => PaymentStatus::Pending,
                (TopupStatus::Failed | TopupStatus::Expired, _) => PaymentStatus::Failed,
                // A person decides.
                (TopupStatus::NeedsAttention, _) => continue,
            };
            let word = |status: PaymentStatus| status.as_str();
            differ(to, "checkout.payment", &checkout.id, word(expected), word(checkout.payment.status));
        }
    }
}

/// A refund that is done names its booking, over all of the payment; no other has one, and only what was paid is given back.
fn check_refund(topup: &Topup, booked: Option<&LedgerTransaction>, to: &mut impl Differences) {
    let refund = topup.refund.as_ref();
    let named = refund.and_then(|refund| refund.transaction_id.as_deref()).unwrap_or("none");
    let found = booked.map_or("none", |booked| booked.id.as_str());
    let is_done = refund.is_some_and(|refund| refund.status == RefundStatus::Done);
    if named != found || is_done != booked.is_some() {
        let expected = format!("{named} ({})", refund.map_or("none", |refund| refund.status.as_str()));
        to.add(Difference::new("topup.refund", &topup.id, expected, found));
    }
    if let Some(booked) = booked {
        differ(to, "topup.refund_amount", &topup.id, topup.amount, booked.sum_of(&Account::SettlementCash));
    }
    if refund.is_some() && topup.transaction_id.is_none() {
        to.add(Difference::new("topup.refund_paid", &topup.id, "a payment", "none"));
    }
}

/// Bookings for these things, by the thing.
async fn booked(
    db: &Database,
    (thing, booking): (&str, &str),
    ids: Vec<&str>,
    session: &mut ClientSession,
    to: &mut impl Differences,
) -> Result<HashMap<String, LedgerTransaction>> {
    let booked = doc! { "referenceType": thing, "referenceKind": booking, "referenceId": { "$in": ids } };
    let ledger = db.collection::<Document>(LEDGER);
    let mut found = ledger.find(booked).hint(Hint::Name("reference".into())).session(&mut *session).await?;
    let booked: Vec<LedgerTransaction> = chunk(&mut found, session, to, "transaction.readable").await?;
    Ok(booked.into_iter().map(|booked| (booked.reference_id.clone(), booked)).collect())
}

/// Every credit for a top-up has its top-up.
async fn check_topup_credits(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let ledger = db.collection::<Document>(LEDGER);
    let credits = ledger.find(doc! { "referenceType": "topup" }).hint(Hint::Name("reference".into()));
    let mut cursor = credits.session(&mut *session).await?;
    loop {
        let credits: Vec<LedgerTransaction> = chunk(&mut cursor, session, to, "transaction.readable").await?;
        if credits.is_empty() {
            return Ok(());
        }
        let ids = credits.iter().map(|credit| credit.reference_id.as_str()).collect();
        let topups: HashMap<String, Topup> = by_ids(db, TOPUPS, ids, session).await?;
        for credit in credits.iter().filter(|credit| !topups.contains_key(&credit.reference_id)) {
            to.add(Difference::new("credit.topup", &credit.id, &credit.reference_id, "none"));
        }
    }
}

/// Every hold for an order has its order; one that the order no longer names was given back.
async fn check_order_holds(db: &Database, session: &mut ClientSession, to: &mut impl Differences) -> Result<()> {
    let mut cursor = sorted(db, HOLDS, doc! { "referenceType": "order" }, session).await?;
    loop {
        let holds: Vec<Hold> = chunk(&mut cursor, session, to, "hold.readable").await?;
        if holds.is_empty() {
            return Ok(());
        }
        let orders: HashMap<String, Order> = by_ids(db, ORDERS, holds.iter().map(order_id).collect(), session).await?;
        for hold in &holds {
            let Some(order) = orders.get(order_id(hold)) else {
                to.add(Difference::new("hold.order", &hold.id, order_id(hold), "none"));
                continue;
            };
            let is_current = order.billing.as_ref().is_some_and(|billing| billing.hold_id == hold.id);
            if !is_current && !matches!(hold.state, HoldState::Released | HoldState::Refunded) {
                to.add(Difference::new("hold.replaced", &hold.id, "given back", format!("{:?}", hold.state)));
            }
        }
    }
}

/// The order that a hold is for: later holds of an order are called `ord_...#2` and so on.
fn order_id(hold: &Hold) -> &str {
    hold.reference_id.split('#').next().unwrap_or_default()
}

/// The orders that their provider has accepted, by our logs.
async fn accepted_orders(db: &Database, orders: &[Order], session: &mut ClientSession) -> Result<HashSet<String>> {
    let wanted: Vec<&str> = orders
        .iter()
        .filter(|order| due(order.status, order.detail.kind()) != HoldAction::Keep)
        .map(|order| order.id.as_str())
        .collect();
    let logs = db.collection::<Document>(RESPONSE_LOGS);
    let says_yes = doc! { "orderId": { "$in": wanted }, "operation": { "$in": ["create_order", "finish_order", "look_up_order"] },
    "outcome": { "$in": ["done", "found"] } };
    let mut found = logs.find(says_yes).projection(doc! { "orderId": 1 }).session(&mut *session).await?;
    let mut accepted = HashSet::new();
    while let Some(log) = found.next(session).await.transpose()? {
        accepted.extend(log.get_str("orderId").ok().map(str::to_owned));
    }
    Ok(accepted)
}

/// The next documents of a cursor; what can't be read is a difference.
async fn chunk<T: DeserializeOwned>(
    cursor: &mut mongodb::SessionCursor<Document>,
    session: &mut ClientSession,
    to: &mut impl Differences,
    check: &'static str,
) -> Result<Vec<T>> {
    let mut read = Vec::new();
    while read.len() < CHUNK {
        let Some(document) = cursor.next(session).await.transpose()? else { break };
        let id = document.get_str("_id").unwrap_or_default().to_owned();
        match bson::deserialize_from_document(document) {
            Ok(value) => read.push(value),
            Err(error) => to.add(Difference::new(check, id, "a document of its kind", error)),
        }
    }
    Ok(read)
}

async fn by_ids<T: DeserializeOwned>(
    db: &Database,
    collection: &str,
    ids: Vec<&str>,
    session: &mut ClientSession,
) -> Result<HashMap<String, T>> {
    let documents = db.collection::<Document>(collection);
    let mut found = documents.find(doc! { "_id": { "$in": ids } }).session(&mut *session).await?;
    let mut by_id = HashMap::new();
    while let Some(document) = found.next(session).await.transpose()? {
        let id = document.get_str("_id").unwrap_or_default().to_owned();
        // What can't be read counts as missing here, and is named by the walk over its own collection.
        if let Ok(value) = bson::deserialize_from_document(document) {
            by_id.insert(id, value);
        }
    }
    Ok(by_id)
}
