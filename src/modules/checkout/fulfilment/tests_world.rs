//! A checkout of two products in a view, for tests of what is decided.

use bson::{DateTime, Document};

use super::{
    cancellation::{TakenBack, take_back},
    follow::FollowOrder,
    parts::{Part, PartKind, PartStatus},
    retry::FulfilAgain,
    send::Fulfil,
    settings::{CarrierSettings, ErpSettings, FulfilmentSettings},
};
use crate::{
    modules::{
        audit::ErrorClass,
        catalog::{PieceDimensions, PieceParcel, Product, ProductStatus},
        checkout::{
            error::CheckoutError,
            jobs::queue,
            model::{
                Checkout, CheckoutCustomer, CheckoutItem, CheckoutStatus, Payment, PaymentMethod, PaymentStatus,
                Priority, ShippingAddress,
            },
        },
        events::{Actor, EVENTS},
        orders::{CancelOrderTemplate, Order, OrderStatus},
        providers::{Party, Service, StoredFailure, call_job::Author},
        queue::QueueConfig,
        wallet::Wallet,
    },
    platform::{
        batch::{Command, View},
        money::{Currency, Money},
    },
};

const NOW: DateTime = DateTime::from_millis(1_800_000_000_000);
const STOCK: i64 = 10;

pub(super) fn product(id: &str, parcel: Option<PieceParcel>) -> Product {
    Product {
        id: id.into(),
        seller_id: "usr_seller".into(),
        tenant_id: None,
        sku: format!("sku-{id}"),
        name: "Watch".into(),
        description: None,
        category: None,
        price: Money::new(50_000, Currency::INR),
        prices: Vec::new(),
        low_stock_at: 0,
        parcel,
        status: ProductStatus::Active,
        terms: Vec::new(),
        stock: STOCK,
        movements: 1,
        is_low: false,
        events: 1,
        created_at: NOW,
        updated_at: NOW,
    }
}

pub(super) fn boxed(weight_grams: i64, [length, width, height]: [i32; 3]) -> Option<PieceParcel> {
    Some(PieceParcel { weight_grams, dimensions_cm: PieceDimensions { length, width, height } })
}

pub(super) fn item(product_id: &str, quantity: i64) -> CheckoutItem {
    CheckoutItem {
        product_id: product_id.into(),
        sku: format!("sku-{product_id}"),
        product_name: "Watch".into(),
        quantity,
        unit_price: 50_000,
    }
}

pub(super) fn address() -> ShippingAddress {
    ShippingAddress {
        name: None,
        phone: None,
        line1: "12 MG Road".into(),
        line2: None,
        city: "Bengaluru".into(),
        state: None,
        postcode: "560 001".into(),
        country: "IN".into(),
    }
}

pub(super) fn checkout() -> Checkout {
    Checkout {
        id: format!("chk_{}", "1".repeat(32)),
        order_number: "1".into(),
        user_id: "usr_buyer".into(),
        seller_id: "usr_seller".into(),
        tenant_id: None,
        client_order_id: "k-1".into(),
        fingerprint: "f".into(),
        status: CheckoutStatus::Paid,
        priority: Priority::Normal,
        currency: Currency::INR,
        total: 150_000,
        items: vec![item("prd_1", 2), item("prd_2", 1)],
        customer: Some(CheckoutCustomer {
            name: "Asha Rao".into(),
            email: "asha@example.com".into(),
            phone: Some("+919876543210".into()),
        }),
        shipping_address: Some(address()),
        erased_at: None,
        payment: Payment {
            method: PaymentMethod::External,
            status: PaymentStatus::Paid,
            payment_id: Some("pay_1".into()),
            transaction_id: None,
            refund_id: None,
            expires_at: None,
            gateway_payment: None,
            url: None,
        },
        external_payment: None,
        parts: Vec::new(),
        cancellation: None,
        completed_at: None,
        cancel_reason: None,
        events: 2,
        correlation_id: "rqs_1".into(),
        created_at: NOW,
        updated_at: NOW,
    }
}

pub(super) fn failure(message: &str) -> StoredFailure {
    StoredFailure { class: ErrorClass::Fatal, code: "provider.refused".into(), message: message.into() }
}

pub(super) fn settings() -> FulfilmentSettings {
    FulfilmentSettings {
        erp: Some(ErpSettings { provider: "xapi".into() }),
        carrier: Some(CarrierSettings { provider: "parcelx".into(), service: Service::Surface }),
        pickup: Some(Party {
            name: "Kiran Stores".into(),
            phone: "9812345678".into(),
            email: None,
            line1: "Plot 7".into(),
            line2: None,
            city: "New Delhi".into(),
            state: "Delhi".into(),
            pincode: "110020".into(),
            country: "IN".into(),
        }),
        ..FulfilmentSettings::nothing("usr_seller")
    }
}

/// The stored documents, and a counter for ids.
pub(super) struct World {
    pub(super) view: View,
    pub(super) asked: usize,
}

impl World {
    pub(super) fn with(checkout: &Checkout, settings: Option<&FulfilmentSettings>) -> Self {
        let mut view = View::new(NOW);
        view.put_read(checkout);
        settings.into_iter().for_each(|settings| view.put_read(settings));
        view.put_read(&product("prd_1", boxed(400, [10, 8, 9])));
        view.put_read(&product("prd_2", boxed(100, [30, 5, 5])));
        let mut world = Self { view, asked: 0 };
        world.view.put_read(&world.wallet(1_000_000));
        world
    }

    /// With both parts set up.
    pub(super) fn new() -> Self {
        Self::with(&checkout(), Some(&settings()))
    }

    /// With both parts sent.
    pub(super) fn sent() -> Self {
        let mut world = Self::new();
        assert_eq!(world.fulfil().len(), 2);
        world
    }

    pub(super) fn wallet(&self, available: i64) -> Wallet {
        Wallet {
            id: Wallet::id_of("usr_seller", Currency::INR),
            user_id: "usr_seller".into(),
            currency: Currency::INR,
            available,
            version: 1,
            last_at: NOW,
            created_at: NOW,
        }
    }

    pub(super) fn id(&mut self, prefix: &str) -> String {
        self.asked += 1;
        format!("{prefix}_{:032x}", self.asked)
    }

    pub(super) fn checkout(&self) -> Checkout {
        self.view.by_id(&checkout().id).expect("the checkout")
    }

    pub(super) fn parts(&self) -> Vec<PartStatus> {
        self.checkout().parts.iter().map(|part| part.status).collect()
    }

    pub(super) fn part(&self, kind: PartKind) -> Part {
        self.checkout().parts.into_iter().find(|part| part.kind == kind).expect("the part")
    }

    /// Runs the job; gives the queues that have work then.
    pub(super) fn fulfil(&mut self) -> Vec<&'static str> {
        Fulfil::of_a_test(&checkout().id).run(&mut self.view)
    }

    pub(super) fn order(&self, kind: PartKind) -> Order {
        self.view.by_id(self.part(kind).last_order().expect("an order")).expect("the order")
    }

    /// Has the order of a part come to something, without anybody being told.
    pub(super) fn change(&mut self, kind: PartKind, status: OrderStatus) {
        let mut order = self.order(kind);
        order.status = status;
        let is_trouble = matches!(status, OrderStatus::Failed | OrderStatus::NeedsAttention);
        order.failure = is_trouble.then(|| failure("No."));
        self.view.update(&order);
    }

    /// An event about the order of a part comes.
    pub(super) fn tell(&mut self, kind: PartKind) -> Result<(), CheckoutError> {
        let order_id = self.order(kind).id;
        self.tell_of(order_id)
    }

    pub(super) fn tell_of(&mut self, order_id: String) -> Result<(), CheckoutError> {
        let event_ids = [self.id("evt"), self.id("evt")];
        let (checkout_id, actor) = (checkout().id, Actor::worker("wrk_1", "rqs_1"));
        let payments = QueueConfig::named("payments-queue");
        FollowOrder { order_id, checkout_id, actor, event_ids, payments }.decide(&mut self.view)
    }

    pub(super) fn becomes(&mut self, kind: PartKind, status: OrderStatus) {
        self.change(kind, status);
        self.tell(kind).expect("it is followed");
    }

    pub(super) fn again(&mut self) -> Result<bool, CheckoutError> {
        let command = FulfilAgain {
            seller_id: "usr_seller".into(),
            checkout_id: checkout().id,
            actor: Actor::worker("wrk_1", "rqs_1"),
            correlation_id: "rqs_2".into(),
            queue: queue(),
            job_id: self.id("job"),
            event_ids: [self.id("evt"), self.id("evt")],
        };
        command.decide(&mut self.view).map(|reply| reply.replayed)
    }

    pub(super) fn cancelling(&mut self) -> Vec<CancelOrderTemplate> {
        (0..2).map(|_| CancelOrderTemplate::of_a_test(self.id("job"), [self.id("evt"), self.id("evt")])).collect()
    }

    pub(super) fn cancel(&mut self) -> Result<TakenBack, CheckoutError> {
        let (orders, event_id) = (self.cancelling(), self.id("evt"));
        let mut checkout = self.checkout();
        let actor = Actor::worker("wrk_1", "rqs_1");
        let by = Author { actor: &actor, event_id: &event_id };
        let taken = take_back(&mut self.view, &mut checkout, &orders, by)?;
        self.view.update(&checkout);
        Ok(taken)
    }

    /// Types of the checkout's events.
    pub(super) fn events(&self) -> Vec<String> {
        let all = self.view.appended_to(EVENTS).map(|raw| Document::try_from(raw.clone()).expect("a document"));
        let own = all.filter(|event| event.get_str("subjectId").ok() == Some(&checkout().id));
        own.map(|event| event.get_str("type").expect("a type").to_owned()).collect()
    }

    /// Pieces that came back.
    pub(super) fn returned(&self) -> i64 {
        let stock = |id| self.view.by_id::<Product>(id).expect("a product").stock;
        stock("prd_1") + stock("prd_2") - 2 * STOCK
    }
}
