//! Effects of payments at the gateway on their checkouts, decided over a view without a database: in whichever order they tell, the stock
//! is there or sold, and the money is owed to the merchant, to the payer, or to nobody.

use std::{collections::BTreeMap, time::Duration};

use bson::{DateTime, Document};

use super::{
    CheckoutPayments, FULFIL_KIND,
    commands::{CancelCheckout, CreateCheckout},
    error::CheckoutError,
    jobs::queue,
    model::{
        CartLine, Checkout, CheckoutCustomer, CheckoutStatus, PaymentMethod, PaymentStatus, Priority, ShippingAddress,
    },
};
use crate::{
    modules::{
        catalog::{Product, ProductStatus},
        events::{Actor, EVENTS},
        kyc::KycGate,
        providers::call_job::Author,
        queue::{Job, QueueConfig},
        wallet::{
            LedgerReference, LedgerTransaction,
            topups::{PAYMENTS_QUEUE, Payee, PaymentSettings, REFUND_KIND, Topup, TopupStatus},
        },
    },
    platform::{
        batch::{Command, View},
        ids::{nth_id, sibling_id},
        money::{Currency, Money},
    },
};

const NOW: DateTime = DateTime::from_millis(1_767_225_600_000);
const CHECKOUT: &str = "chk_00000000000000000000000000000001";
/// Of the event that says that its payment begins.
const BEGUN: &str = "evt_00000000000000000000000000000200";
const PAID: &str = "evt_00000000000000000000000000000300";
const CANCELLED: &str = "evt_00000000000000000000000000000400";
const ENDED: &str = "evt_00000000000000000000000000000500";

struct Shop {
    view: View,
    payee: CheckoutPayments,
    actor: Actor,
}

impl Shop {
    /// Ten pieces, of which a buyer wants three and pays at the gateway.
    fn open() -> Self {
        let mut view = View::new(NOW);
        view.put_read(&Product {
            id: "prd_1".into(),
            seller_id: "usr_seller".into(),
            tenant_id: None,
            sku: "A-1".into(),
            name: "Book".into(),
            description: None,
            category: None,
            price: Money::new(100, Currency::INR),
            prices: Vec::new(),
            low_stock_at: 0,
            parcel: None,
            status: ProductStatus::Active,
            terms: Vec::new(),
            stock: 10,
            movements: 0,
            is_low: false,
            events: 0,
            created_at: NOW,
            updated_at: NOW,
        });
        let payee = CheckoutPayments { queue: queue(), payments: QueueConfig::named(PAYMENTS_QUEUE) };
        let mut shop = Self { view, payee, actor: Actor::system("test") };
        let bought = shop.create().decide(&mut shop.view).expect("there is enough");
        assert!(!bought.replayed);
        shop
    }

    fn create(&self) -> CreateCheckout {
        CreateCheckout {
            gate: KycGate::new(false),
            user_id: "usr_buyer".into(),
            only_of: None,
            tenant_id: None,
            client_order_id: "k-1".into(),
            fingerprint: "f".into(),
            lines: vec![CartLine { product_id: "prd_1".into(), quantity: 3 }],
            customer: CheckoutCustomer { name: "Eva".into(), email: "eva@example.com".into(), phone: None },
            shipping_address: ShippingAddress {
                name: None,
                phone: None,
                line1: "Hauptstr. 4".into(),
                line2: None,
                city: "Berlin".into(),
                state: None,
                postcode: "10115".into(),
                country: "DE".into(),
            },
            method: PaymentMethod::Gateway,
            payment_id: None,
            priority: Priority::Normal,
            currency: None,
            actor: self.actor.clone(),
            correlation_id: "rqs_1".into(),
            queue: queue(),
            checkout_id: CHECKOUT.into(),
            job_id: "job_unused".into(),
            event_ids: ["evt_00000000000000000000000000000100".into(), BEGUN.into()],
            gateway: Some(PaymentSettings {
                provider: "paygate",
                queue: QueueConfig::named(PAYMENTS_QUEUE),
                expires_in: Duration::from_secs(600),
            }),
        }
    }

    fn payment(&self) -> Topup {
        self.view.by_id(&sibling_id("pmt", BEGUN)).expect("a payment")
    }

    fn checkout(&self) -> Checkout {
        self.view.by_id(CHECKOUT).expect("a checkout")
    }

    /// Has a payment and its payee learn something, as jobs and callbacks do.
    fn learn(&mut self, change: impl FnOnce(&mut View, &CheckoutPayments, &mut Topup, &Actor)) {
        let mut payment = self.payment();
        change(&mut self.view, &self.payee, &mut payment, &self.actor);
        self.view.update(&payment);
    }

    fn pay(&mut self) {
        self.learn(|view, payee, payment, actor| {
            payment.transaction_id = payee.receive(view, payment, Author { actor, event_id: PAID }).ok();
            payment.status = TopupStatus::Paid;
        });
    }

    fn tell(&mut self, status: TopupStatus, event: &str) {
        self.learn(|view, payee, payment, actor| {
            payment.status = status;
            payee.follow(view, payment, event, Author { actor, event_id: ENDED });
        });
    }

    fn cancel(&mut self) -> Result<Checkout, CheckoutError> {
        let cancel = CancelCheckout {
            orders: Vec::new(),
            user_id: "usr_buyer".into(),
            client_order_id: "k-1".into(),
            reason: None,
            actor: self.actor.clone(),
            event_id: CANCELLED.into(),
            payments: QueueConfig::named(PAYMENTS_QUEUE),
        };
        cancel.decide(&mut self.view).map(|reply| reply.checkout)
    }

    /// Where the checkout is, where its payment is, and how many pieces are there.
    fn stands(&self) -> (CheckoutStatus, PaymentStatus, i64) {
        let (checkout, product) = (self.checkout(), self.view.by_id::<Product>("prd_1").expect("a product"));
        (checkout.status, checkout.payment.status, product.stock)
    }

    /// Balances by account; their sum is nought.
    fn balances(&self) -> BTreeMap<String, i64> {
        let payment = self.payment().id;
        let references = [
            LedgerReference::new("checkout", CHECKOUT, "payment"),
            LedgerReference::new("checkout", CHECKOUT, "refund"),
            LedgerReference::new("topup", &*payment, "payment"),
        ];
        let booked = references.iter().filter_map(|reference| self.view.find::<LedgerTransaction>(&reference.key()));
        let mut balances = BTreeMap::new();
        for line in booked.flat_map(|booked| booked.lines) {
            *balances.entry(line.account.to_string()).or_insert(0) += line.amount;
        }
        assert_eq!(balances.values().sum::<i64>(), 0);
        balances.retain(|_, sum| *sum != 0);
        balances
    }

    fn events(&self) -> Vec<String> {
        let events = self.view.appended_to(EVENTS).map(|raw| Document::try_from(raw.clone()).expect("a document"));
        events.map(|event| event.get_str("type").expect("a type").to_owned()).collect()
    }

    fn job(&self, id: &str) -> Option<String> {
        self.view.by_id::<Job>(id).map(|job| job.kind)
    }
}

fn owed(account: &str) -> BTreeMap<String, i64> {
    [(account.to_owned(), 300), ("settlement.cash".to_owned(), -300)].into()
}

#[test]
fn stock_is_taken_and_the_payment_begins() {
    let mut shop = Shop::open();
    assert_eq!(shop.stands(), (CheckoutStatus::Pending, PaymentStatus::Pending, 7));
    let (checkout, payment) = (shop.checkout(), shop.payment());
    assert_eq!((&*payment.user_id, payment.money()), ("usr_buyer", Money::new(300, Currency::INR)));
    assert_eq!(checkout.payment.gateway_payment.as_ref(), Some(&payment.id));
    assert_eq!(checkout.payment.expires_at, Some(payment.expires_at));
    let kinds = [&payment.start_job_id, &payment.check_job_id].map(|id| shop.job(id));
    assert_eq!(kinds, [Some("start-payment".into()), Some("check-payment".into())]);
    assert_eq!(shop.events(), ["CheckoutCreated", "PaymentRequested"]);
    assert!(shop.create().decide(&mut shop.view).expect("the same").replayed);

    shop.learn(|view, payee, payment, actor| {
        payment.payment_url = Some("https://pay.example/1".into());
        payee.follow(view, payment, "TopupStarted", Author { actor, event_id: ENDED });
    });
    assert_eq!(shop.checkout().payment.url.as_deref(), Some("https://pay.example/1"));
    assert!(shop.balances().is_empty());
}

#[test]
fn paid_it_is_the_merchants_money_and_followed_by_one_job() {
    let mut shop = Shop::open();
    shop.pay();
    assert_eq!(shop.stands(), (CheckoutStatus::Paid, PaymentStatus::Paid, 7));
    assert_eq!(shop.balances(), owed("payable.merchant:usr_seller"));
    let payment = shop.checkout().payment;
    assert_eq!((payment.url, payment.expires_at, payment.transaction_id), (None, None, shop.payment().transaction_id));
    assert_eq!(shop.job(&sibling_id("job", PAID)).as_deref(), Some(FULFIL_KIND));
    assert_eq!(shop.events().last().map(String::as_str), Some("CheckoutPaid"));
    // What the gateway says afterwards changes nothing.
    for (status, event) in [(TopupStatus::Failed, "TopupFailed"), (TopupStatus::Expired, "TopupExpired")] {
        shop.tell(status, event);
        assert_eq!(shop.stands(), (CheckoutStatus::Paid, PaymentStatus::Paid, 7), "{event}");
    }
}

#[test]
fn not_paid_its_stock_comes_back_and_late_money_goes_back() {
    for (status, event) in [
        (TopupStatus::Failed, "TopupFailed"),
        (TopupStatus::Expired, "TopupExpired"),
        (TopupStatus::NeedsAttention, "TopupNeedsAttention"),
    ] {
        let mut shop = Shop::open();
        // Of what needs attention, only money that is not what was asked for ends the checkout.
        shop.tell(TopupStatus::NeedsAttention, "TopupNeedsAttention");
        assert_eq!(shop.stands(), (CheckoutStatus::Pending, PaymentStatus::Pending, 7), "it may be paid still");
        shop.learn(|_, _, payment, _| payment.disputed = status == TopupStatus::NeedsAttention);
        shop.tell(status, event);
        assert_eq!(shop.stands(), (CheckoutStatus::PaymentFailed, PaymentStatus::Failed, 10), "{event}");
        assert!(matches!(shop.cancel(), Err(CheckoutError::NotCancellable(_))));
        assert!(shop.balances().is_empty());

        shop.pay();
        assert_eq!(shop.stands(), (CheckoutStatus::PaymentFailed, PaymentStatus::Refunding, 10), "{event}");
        assert_eq!(shop.balances(), owed("payable.refunds"));
        assert_eq!(shop.job(&sibling_id("job", PAID)).as_deref(), Some(REFUND_KIND), "and not {FULFIL_KIND}");
        assert!(shop.payment().refund.is_some());
        shop.tell(TopupStatus::Paid, "TopupRefunded");
        assert_eq!(shop.stands(), (CheckoutStatus::PaymentFailed, PaymentStatus::Refunded, 10), "{event}");
        let last: Vec<_> = shop.events().into_iter().rev().take(3).collect();
        assert_eq!(last, ["CheckoutRefunded", "CheckoutPaidLate", "CheckoutPaymentFailed"]);
    }
}

#[test]
fn cancelled_before_it_is_paid_nobody_is_to_pay_it() {
    let mut shop = Shop::open();
    let cancelled = shop.cancel().expect("it is pending");
    assert_eq!((cancelled.payment.url, cancelled.payment.expires_at), (None, None));
    assert_eq!(shop.stands(), (CheckoutStatus::Cancelled, PaymentStatus::Failed, 10));
    assert_eq!((shop.payment().status, shop.payment().refund), (TopupStatus::Expired, None));
    assert_eq!(shop.events()[2..], ["PaymentExpired", "CheckoutCancelled"]);
    shop.cancel().expect("once more");
    shop.pay();
    assert_eq!(shop.stands(), (CheckoutStatus::Cancelled, PaymentStatus::Refunding, 10));
    assert_eq!(shop.balances(), owed("payable.refunds"));
}

#[test]
fn cancelled_after_it_is_paid_the_money_goes_back() {
    let mut shop = Shop::open();
    shop.pay();
    shop.cancel().expect("it is paid");
    assert_eq!(shop.stands(), (CheckoutStatus::Cancelled, PaymentStatus::Refunding, 10));
    assert_eq!(shop.balances(), owed("payable.refunds"));
    let refund = shop.payment().refund.expect("a refund");
    assert_eq!(refund.job_id, sibling_id("job", &nth_id("evt", CANCELLED, 1)));
    assert_eq!(shop.job(&refund.job_id).as_deref(), Some(REFUND_KIND));
    assert_eq!(shop.events()[3..], ["PaymentRefundRequested", "CheckoutCancelled"]);
    shop.cancel().expect("once more");
    assert_eq!(shop.payment().refund.map(|refund| refund.job_id), Some(refund.job_id), "once");
    shop.tell(TopupStatus::Paid, "TopupRefunded");
    assert_eq!(shop.stands(), (CheckoutStatus::Cancelled, PaymentStatus::Refunded, 10));
}

#[test]
fn what_costs_nothing_is_not_paid_at_a_gateway() {
    let mut shop = Shop::open();
    let product = shop.view.by_id::<Product>("prd_1").expect("a product");
    shop.view.update(&Product { price: Money::new(0, Currency::INR), ..product });
    let free = CreateCheckout { client_order_id: "k-2".into(), ..shop.create() };
    assert!(matches!(free.decide(&mut shop.view), Err(CheckoutError::Unpaid(_))));
}
