//! From a payment to its end, decided over a view without a database.

use serde_json::json;

use super::{
    cancellation::TakenBack,
    compose,
    parts::{PartKind, PartStatus},
    settings::FulfilmentSettings,
    tests_world::{World, address, checkout, failure, item, product, settings},
};
use crate::{
    modules::{
        catalog::Product,
        checkout::{
            FULFIL_KIND,
            error::CheckoutError,
            model::{
                Checkout, CheckoutCancellationStatus, CheckoutCustomer, CheckoutStatus, Priority, ShippingAddress,
            },
        },
        orders::{CancellationStatus, Order, OrderStatus, read_order},
        queue::Job,
        wallet::Wallet,
    },
    platform::money::Currency,
};

#[test]
fn without_settings_what_is_paid_is_completed_once() {
    for settings in [None, Some(FulfilmentSettings::nothing("usr_seller"))] {
        let mut world = World::with(&checkout(), settings.as_ref());
        assert!(world.fulfil().is_empty());
        assert_eq!((world.checkout().status, world.checkout().parts), (CheckoutStatus::Completed, Vec::new()));
        world.fulfil();
        assert_eq!(world.events(), ["CheckoutCompleted"]);
        assert!(matches!(world.again(), Err(CheckoutError::NotFulfillable(CheckoutStatus::Completed))));
        assert!(matches!(world.cancel(), Ok(TakenBack::Nothing)), "and no order is in the way of anything");
    }
}

#[test]
fn each_part_has_one_order_that_is_linked_both_ways() {
    let mut world = World::sent();
    let checkout = world.checkout();
    assert_eq!((checkout.status, world.parts()), (CheckoutStatus::Paid, vec![PartStatus::Placed; 2]));
    for kind in PartKind::ALL {
        let order = world.order(kind);
        assert_eq!(order.checkout_id.as_ref(), Some(&checkout.id));
        assert_eq!(order.client_order_id, format!("{}:{}", checkout.id, kind.as_str()));
        assert_eq!((&*order.user_id, &*order.correlation_id), ("usr_seller", "rqs_1"));
    }
    assert_eq!(checkout.orders().count(), 2);
    // The merchant pays for the parcel.
    let held = world.order(PartKind::Carrier).charge.expect("a price").amount;
    let wallet: Wallet = world.view.by_id(&world.wallet(0).id).expect("the wallet");
    assert_eq!(wallet.available, 1_000_000 - held);
    // A second run of the job, and of another one, finds nothing to do.
    assert!(world.fulfil().is_empty());
    assert_eq!(world.checkout(), checkout);
    assert!(world.events().is_empty());
}

#[test]
fn the_orders_of_a_rush_go_first() {
    for (priority, is_rush) in [(Priority::Normal, false), (Priority::Rush, true)] {
        let mut world = World::with(&Checkout { priority, ..checkout() }, Some(&settings()));
        world.fulfil();
        for kind in PartKind::ALL {
            let job: Job = world.view.by_id(&world.order(kind).job_id).expect("its job");
            assert_eq!(job.rush, is_rush, "{kind:?}");
        }
    }
}

#[test]
fn a_checkout_is_completed_once_in_whatever_order_news_come() {
    use PartKind::{Carrier, Erp};
    for news in [[Erp, Carrier, Erp, Carrier], [Carrier, Erp, Carrier, Erp], [Carrier, Carrier, Erp, Erp]] {
        let mut world = World::sent();
        // Both have happened before anybody is told.
        world.change(Erp, OrderStatus::Confirmed);
        world.change(Carrier, OrderStatus::Confirmed);
        for kind in news {
            world.tell(kind).expect("it is followed");
        }
        assert_eq!(world.checkout().status, CheckoutStatus::Completed, "{news:?}");
        assert_eq!(world.events(), ["CheckoutCompleted"], "{news:?}");
    }
}

#[test]
fn a_refused_part_is_sent_again_with_the_next_number() {
    let mut world = World::sent();
    world.becomes(PartKind::Carrier, OrderStatus::Confirmed);
    world.becomes(PartKind::Erp, OrderStatus::Failed);
    assert_eq!(world.checkout().status, CheckoutStatus::NeedsAttention);
    let failure = world.part(PartKind::Erp).failure.expect("a reason");
    assert_eq!((&*failure.code, failure.message.as_deref()), ("provider.refused", Some("No.")));
    assert_eq!(world.checkout().failure_code(), Some("provider.refused"));
    let (first, parcel) = (world.order(PartKind::Erp), world.order(PartKind::Carrier));

    assert!(!world.again().expect("it is sent again"));
    assert!(world.again().expect("it is under way"), "a replay");
    assert_eq!((world.checkout().status, world.parts()[0]), (CheckoutStatus::Paid, PartStatus::Waiting));
    world.fulfil();
    let second = world.order(PartKind::Erp);
    assert_eq!(second.client_order_id, format!("{}:erp:2", checkout().id));
    let first: Order = world.view.by_id(&first.id).expect("the first");
    assert_eq!(first.replaced_by.as_ref(), Some(&second.id), "the first is not sent again beside it");
    assert_eq!(world.order(PartKind::Carrier).id, parcel.id, "what was placed stays");
    // Late news of the first change nothing.
    world.tell_of(first.id).expect("it is followed");
    assert_eq!(world.part(PartKind::Erp).order_id, Some(second.id));
    world.becomes(PartKind::Erp, OrderStatus::Confirmed);
    assert_eq!(world.checkout().status, CheckoutStatus::Completed);
    assert_eq!(world.events(), ["CheckoutNeedsAttention", "CheckoutResumed", "CheckoutCompleted"]);
    assert_eq!(world.checkout().orders().count(), 3);
}

#[test]
fn a_refused_order_that_an_operator_sends_again_is_not_doubled() {
    let mut world = World::sent();
    world.becomes(PartKind::Carrier, OrderStatus::Failed);
    world.again().expect("it is sent again");
    // Before the job runs.
    world.change(PartKind::Carrier, OrderStatus::Created);
    world.fulfil();
    assert_eq!(world.checkout().orders().count(), 2, "no other order");
    assert_eq!(world.part(PartKind::Carrier).status, PartStatus::Placed);
}

#[test]
fn what_may_be_placed_is_not_sent_again() {
    let mut world = World::sent();
    world.becomes(PartKind::Erp, OrderStatus::Confirmed);
    world.becomes(PartKind::Carrier, OrderStatus::NeedsAttention);
    assert_eq!(world.checkout().status, CheckoutStatus::NeedsAttention);
    assert!(matches!(world.again(), Err(CheckoutError::NothingToFulfil)));
    // An operator has it looked up: it is there.
    world.becomes(PartKind::Carrier, OrderStatus::Created);
    assert_eq!(world.checkout().status, CheckoutStatus::Paid);
    world.becomes(PartKind::Carrier, OrderStatus::Confirmed);
    assert_eq!(world.checkout().status, CheckoutStatus::Completed);
}

#[test]
fn too_little_money_for_the_parcel_waits_for_more() {
    let mut world = World::new();
    let poor = Wallet { available: 5, ..world.wallet(0) };
    world.view.update(&poor);
    world.fulfil();
    assert_eq!(world.checkout().status, CheckoutStatus::NeedsAttention);
    assert_eq!(world.parts(), [PartStatus::Placed, PartStatus::Failed], "the rest goes on");
    assert_eq!(world.part(PartKind::Carrier).failure.expect("a reason").code, "wallet.insufficient_funds");
    world.becomes(PartKind::Erp, OrderStatus::Confirmed);
    assert_eq!(world.events(), ["CheckoutNeedsAttention"]);

    world.again().expect("it is sent again");
    world.fulfil();
    assert_eq!(world.parts(), [PartStatus::Confirmed, PartStatus::Failed], "there is as little as before");
    world.view.update(&world.wallet(1_000_000));
    world.again().expect("it is sent again");
    world.fulfil();
    assert_eq!(world.parts(), [PartStatus::Confirmed, PartStatus::Placed]);
    assert_eq!(world.order(PartKind::Carrier).client_order_id, format!("{}:carrier", checkout().id));
}

#[test]
fn what_a_provider_can_not_take_is_named_and_the_rest_goes_on() {
    let german = ShippingAddress { country: "DE".into(), postcode: "10115".into(), city: "Berlin".into(), ..address() };
    let no_phone =
        |customer: Option<CheckoutCustomer>| customer.map(|customer| CheckoutCustomer { phone: None, ..customer });
    for (checkout, failed, code, named) in [
        (
            Checkout { shipping_address: Some(german), ..checkout() },
            vec![PartKind::Carrier],
            "checkout.not_acceptable",
            "shipment.consignee.country must be IN",
        ),
        (
            Checkout { customer: no_phone(checkout().customer), ..checkout() },
            vec![PartKind::Erp, PartKind::Carrier],
            "checkout.not_acceptable",
            "phone must be",
        ),
        (
            Checkout { currency: Currency::from_code("EUR").expect("euros"), ..checkout() },
            vec![PartKind::Carrier],
            "checkout.not_acceptable",
            "shipment.currency must be INR",
        ),
        (
            Checkout { items: vec![item("prd_3", 1)], ..checkout() },
            vec![PartKind::Carrier],
            "checkout.no_parcel",
            "sku-prd_3",
        ),
        (
            Checkout { items: vec![item("prd_1", 1_000)], ..checkout() },
            vec![PartKind::Carrier],
            "checkout.not_acceptable",
            "shipment.weightGrams",
        ),
        (
            Checkout { customer: None, shipping_address: None, ..checkout() },
            vec![PartKind::Erp, PartKind::Carrier],
            "checkout.erased",
            "erased",
        ),
    ] {
        let mut world = World::with(&checkout, Some(&settings()));
        world.view.put_read(&product("prd_3", None));
        world.fulfil();
        assert_eq!(world.checkout().status, CheckoutStatus::NeedsAttention, "{named}");
        for kind in PartKind::ALL {
            let part = world.part(kind);
            let Some(failure) = part.failure else {
                assert!(!failed.contains(&kind), "{named}: {kind:?} is accepted");
                continue;
            };
            let message = failure.message.expect("a message");
            assert!(failed.contains(&kind) && failure.code == code, "{kind:?}: {} {message}", failure.code);
            assert!(message.contains(named), "{message}");
            assert!(!message.contains("MG Road") && !message.contains("Rao"), "{message}");
        }
    }
}

#[test]
fn parts_go_by_the_settings_of_the_moment_at_which_they_are_sent() {
    // Changed between payment and fulfilment.
    let mut world = World::new();
    world.view.update(&FulfilmentSettings { erp: None, ..settings() });
    world.fulfil();
    assert_eq!(world.checkout().parts.len(), 1);
    // What failed and is not wanted any more is left out.
    world.becomes(PartKind::Carrier, OrderStatus::Failed);
    world.view.update(&FulfilmentSettings::nothing("usr_seller"));
    world.again().expect("it is sent again");
    world.fulfil();
    assert_eq!((world.parts(), world.checkout().status), (vec![PartStatus::Skipped], CheckoutStatus::Completed));
}

#[test]
fn a_checkout_cancelled_before_its_job_has_no_orders_to_cancel() {
    let mut world = World::new();
    assert_eq!(world.cancel().expect("nothing is there"), TakenBack::Nothing);
    let cancelled = Checkout { status: CheckoutStatus::Cancelled, ..world.checkout() };
    world.view.update(&cancelled);
    assert!(world.fulfil().is_empty());
    assert_eq!(world.checkout(), cancelled);
}

#[test]
fn what_nobody_has_tried_to_place_is_taken_back_without_asking_anybody() {
    let mut world = World::sent();
    assert_eq!(world.cancel().expect("both are asked for"), TakenBack::Asked);
    assert_eq!((world.parts(), world.returned()), (vec![PartStatus::Cancelled; 2], 0));
    for kind in [PartKind::Erp, PartKind::Carrier, PartKind::Erp] {
        world.tell(kind).expect("it is followed");
    }
    assert_eq!((world.checkout().status, world.returned()), (CheckoutStatus::Cancelled, 3));
    assert_eq!(world.events(), ["CheckoutCancellationRequested", "CheckoutCancelled"]);
}

#[test]
fn what_was_placed_is_taken_back_once_with_stock() {
    let mut world = World::sent();
    for kind in PartKind::ALL {
        world.becomes(kind, OrderStatus::Confirmed);
    }
    assert_eq!(world.cancel().expect("both are asked for"), TakenBack::Asked);
    assert_eq!(world.checkout().status, CheckoutStatus::Cancelling);
    assert_eq!(world.cancel().expect("a replay"), TakenBack::UnderWay);
    world.fulfil();
    world.becomes(PartKind::Erp, OrderStatus::Cancelled);
    assert_eq!((world.checkout().status, world.returned()), (CheckoutStatus::Cancelling, 0));
    for _ in 0..2 {
        world.becomes(PartKind::Carrier, OrderStatus::Cancelled);
        world.tell(PartKind::Erp).expect("it is followed");
    }
    let checkout = world.checkout();
    assert_eq!((checkout.status, world.returned()), (CheckoutStatus::Cancelled, 3));
    assert_eq!(checkout.cancellation.expect("one").status, CheckoutCancellationStatus::Done);
    assert_eq!(world.events(), ["CheckoutCompleted", "CheckoutCancellationRequested", "CheckoutCancelled"]);
    assert!(matches!(world.again(), Err(CheckoutError::NotFulfillable(_))));
}

#[test]
fn where_a_part_can_not_be_taken_back_nothing_is_asked_for() {
    // The ERP takes nothing back.
    let mut world = World::sent();
    let mut booked = world.order(PartKind::Erp);
    booked.status = OrderStatus::Confirmed;
    booked.reference = Some("SO-1".into());
    world.view.update(&booked);
    world.tell(PartKind::Erp).expect("it is followed");
    let before = world.checkout();
    assert!(matches!(world.cancel(), Err(CheckoutError::PartStays(PartKind::Erp))));
    assert_eq!(world.checkout(), before);
    assert!(world.order(PartKind::Carrier).cancellation.is_none(), "the parcel goes on");
    world.becomes(PartKind::Carrier, OrderStatus::Confirmed);
    assert!(matches!(world.cancel(), Err(CheckoutError::PartStays(PartKind::Erp))), "completed, it is the same");
}

#[test]
fn a_refused_cancellation_leaves_the_checkout_as_its_parts_are() {
    // The carrier's refusal comes before and after the checkout was completed.
    for was_completed in [false, true] {
        let mut world = World::with(&checkout(), Some(&FulfilmentSettings { erp: None, ..settings() }));
        world.fulfil();
        if was_completed {
            world.becomes(PartKind::Carrier, OrderStatus::Confirmed);
        }
        assert_eq!(world.cancel().expect("it is asked for"), TakenBack::Asked);
        let mut shipped = world.order(PartKind::Carrier);
        shipped.status = OrderStatus::Confirmed;
        let cancellation = shipped.cancellation.as_mut().expect("it was asked for");
        cancellation.status = CancellationStatus::Refused;
        cancellation.failure = Some(failure("Picked up."));
        world.view.update(&shipped);
        world.tell(PartKind::Carrier).expect("it is followed");
        world.tell(PartKind::Carrier).expect("it is followed");
        let checkout = world.checkout();
        assert_eq!((checkout.status, world.returned()), (CheckoutStatus::Completed, 0));
        assert_eq!(checkout.cancellation.as_ref().expect("one").status, CheckoutCancellationStatus::Refused);
        assert_eq!(world.part(PartKind::Carrier).failure.expect("a reason").message.as_deref(), Some("Picked up."));
        let mut events = world.events();
        events.retain(|kind| kind != "CheckoutCancellationRequested");
        events.sort_unstable();
        assert_eq!(events, ["CheckoutCancellationRefused", "CheckoutCompleted"], "{was_completed}");
        // It may be asked for again.
        assert_eq!(world.cancel().expect("it is asked for"), TakenBack::Asked);
    }
}

#[test]
fn an_order_cancelled_by_the_merchant_can_be_sent_again() {
    let mut world = World::sent();
    world.becomes(PartKind::Erp, OrderStatus::Confirmed);
    world.becomes(PartKind::Carrier, OrderStatus::Confirmed);
    world.becomes(PartKind::Carrier, OrderStatus::Cancelled);
    assert_eq!(world.checkout().status, CheckoutStatus::NeedsAttention);
    world.again().expect("it is sent again");
    world.fulfil();
    world.becomes(PartKind::Carrier, OrderStatus::Confirmed);
    assert_eq!(world.checkout().status, CheckoutStatus::Completed);
    let events = ["CheckoutCompleted", "CheckoutNeedsAttention", "CheckoutResumed", "CheckoutResumed"];
    assert_eq!(world.events(), events, "completed once");
}

#[test]
fn all_pieces_lie_flat_in_one_box() {
    let world = World::new();
    let product = |id: &str| world.view.by_id::<Product>(id);
    let carrier = settings().carrier.expect("a carrier");
    let request =
        compose::shipment(&checkout(), "k-1", &carrier, settings().pickup.as_ref(), product).expect("a request");
    // Two of 10 x 9 x 8 and one of 30 x 5 x 5.
    assert_eq!(request["shipment"]["dimensionsCm"], json!({ "length": 30, "width": 9, "height": 21 }));
    assert_eq!(request["shipment"]["weightGrams"], 900);
    assert_eq!(request["shipment"]["consignee"]["state"], "Karnataka", "the state of a postal code is known");
    let order = read_order(&request).expect("a carrier takes it");
    let shipment = order.detail.shipment().expect("a shipment");
    assert_eq!((&*shipment.consignee.phone, &*shipment.consignee.pincode), ("9876543210", "560001"));
}

#[test]
fn names_are_split_for_the_books() {
    for (name, expected) in
        [("Asha Rao", ("Asha", "Rao")), ("Eva Maria Muster", ("Eva Maria", "Muster")), ("Plato", ("-", "Plato"))]
    {
        let customer = checkout().customer.map(|customer| CheckoutCustomer { name: name.into(), ..customer });
        let request = compose::sale(&Checkout { customer, ..checkout() }, "k-1", "xapi").expect("a request");
        let order = read_order(&request).expect("an ERP takes it");
        let sale = order.detail.sale().expect("a sale");
        assert_eq!((&*sale.customer.first_name, &*sale.customer.last_name), expected);
        assert_eq!((&*sale.payment_id, sale.total_minor()), ("pay_1", Some(150_000)));
    }
}

#[test]
fn the_job_that_sends_again_is_like_the_first() {
    let mut world = World::sent();
    world.becomes(PartKind::Erp, OrderStatus::Failed);
    world.again().expect("it is sent again");
    let job_id = format!("job_{:032x}", world.asked - 2);
    let job: Job = world.view.by_id(&job_id).expect("a job");
    assert_eq!((&*job.kind, job.owner.as_deref()), (FULFIL_KIND, Some("usr_seller")));
    assert_eq!(job.payload.get_str("checkoutId").ok(), Some(&*checkout().id));
}
