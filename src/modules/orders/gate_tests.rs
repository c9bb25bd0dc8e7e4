//! The gate of orders, decided over a view without a database.

use super::{
    commands::CreateOrder,
    commands_tests::{appended, create, created, decide, rich},
    flow_tests::NOW,
    model::Order,
};
use crate::{
    modules::{
        events::EVENTS,
        kyc::{Application, KycGate, KycState},
    },
    platform::batch::View,
};

/// A merchant whose application is in this state.
fn in_state(state: KycState) -> View {
    let mut view = rich();
    view.put_read(&Application { state, ..Application::new("usr_1", NOW) });
    view
}

#[test]
fn only_who_is_verified_creates_orders_and_others_leave_nothing() {
    let gated = |number| CreateOrder { gate: KycGate::new(true), ..create(number) };
    for state in KycState::ALL {
        let mut view = in_state(state);
        let expected = if state == KycState::Verified { "new" } else { "not verified" };
        assert_eq!(created(decide(&mut view, &gated(1))).0, expected, "{state:?}");
        let stored = view.find::<Order>(&Order::key("usr_1", "c-1001")).is_some();
        assert_eq!((stored, appended(&view, EVENTS).is_empty()), (expected == "new", expected != "new"), "{state:?}");
    }
    let mut view = rich();
    assert_eq!(created(decide(&mut view, &gated(1))).0, "not verified", "who has no application");
    // Where nobody has to be verified, a suspension still holds.
    for state in KycState::ALL {
        let expected = if state == KycState::Suspended { "not verified" } else { "new" };
        assert_eq!(created(decide(&mut in_state(state), &create(1))).0, expected, "{state:?}, not required");
    }
}

#[test]
fn an_acknowledged_order_is_replayed_for_an_unverified_merchant() {
    let mut view = in_state(KycState::Verified);
    let _ = decide(&mut view, &create(1));
    view.update(&Application { state: KycState::Suspended, ..Application::new("usr_1", NOW) });
    let again = CreateOrder { gate: KycGate::new(true), ..create(2) };
    assert_eq!(created(decide(&mut view, &again)), ("replay", "ord_1".into()));
}
