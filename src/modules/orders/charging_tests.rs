//! Holds, captures and refunds of an order on its way.

use super::{
    charging::{self, HoldAction, due, is_settled},
    flow_tests::{NOW, order},
    model::{Billing, Order, OrderStatus},
};
use crate::{
    modules::{
        events::Actor,
        providers::ProviderKind,
        wallet::{
            Account, Hold, HoldState, LedgerEntry, LedgerKind, LedgerReference, LedgerRefusal, LedgerTransaction,
            credit,
            rates::{Pricing, Quote, Zone},
            wallet_key,
        },
    },
    platform::{
        batch::View,
        money::{Currency, Money},
    },
};

/// The quote of these tests' orders: freight, and a fee for cash on delivery.
pub(super) fn quote() -> Quote {
    let pricing = Pricing {
        rate_card: "parcelx-1".into(),
        zone: Some(Zone::C),
        chargeable_weight_grams: 500,
        slabs: 1,
        freight: 5_000,
        cod_fee: 900,
    };
    Quote { total: Money::new(5_900, Currency::INR), pricing }
}

fn actor() -> Actor {
    Actor::worker("wrk_1", "rqs_1")
}

/// A view with an order whose price is held, and so much left in the wallet.
fn held(left: i64) -> (View, Order) {
    let mut view = View::new(NOW);
    let mut order = order();
    view.put_absent(wallet_key(&order.user_id, Currency::INR));
    let actor = actor();
    let entry = LedgerEntry {
        transaction_id: "txn_0",
        kind: LedgerKind::Recharge,
        reference: LedgerReference::new("test", "recharge", "credit"),
        client_reference: None,
        reason: None,
        actor: &actor,
    };
    let money = Money::new(5_900 + left, Currency::INR);
    credit(&mut view, &order.user_id, money, Account::SettlementCash, &entry).expect("a credit");
    charging::hold(&mut view, &mut order, &quote(), "evt_1", &actor).expect("held");
    (view, order)
}

fn available(view: &View, order: &Order) -> i64 {
    let wallet = view.find::<crate::modules::wallet::Wallet>(&wallet_key(&order.user_id, Currency::INR));
    wallet.expect("a wallet").available
}

fn hold_of(view: &View, order: &Order) -> Hold {
    view.by_id(&order.billing.as_ref().expect("billing").hold_id).expect("a hold")
}

#[test]
fn every_status_has_a_due_that_some_hold_settles() {
    for status in OrderStatus::ALL {
        let states = [HoldState::Open, HoldState::Captured, HoldState::Released, HoldState::Refunded];
        assert!(states.iter().any(|state| is_settled(due(status, ProviderKind::Carrier), *state)), "{status:?}");
    }
    let keeps = OrderStatus::ALL
        .into_iter()
        .filter(|status| due(*status, ProviderKind::Carrier) == HoldAction::Keep)
        .collect::<Vec<_>>();
    assert_eq!(keeps, [OrderStatus::Created, OrderStatus::NeedsAttention]);
    let gives_back = OrderStatus::ALL
        .into_iter()
        .filter(|status| due(*status, ProviderKind::Carrier) == HoldAction::GiveBack)
        .collect::<Vec<_>>();
    assert_eq!(gives_back, [OrderStatus::Cancelled, OrderStatus::Failed]);
    let captures = |kind| {
        OrderStatus::ALL.into_iter().filter(|status| due(*status, kind) == HoldAction::Capture).collect::<Vec<_>>()
    };
    assert_eq!(
        captures(ProviderKind::Carrier),
        [OrderStatus::Confirmed, OrderStatus::InProgress, OrderStatus::Delivered]
    );
    assert_eq!(captures(ProviderKind::Registry), [OrderStatus::Delivered]);
}

#[test]
fn a_new_order_holds_its_price_under_its_own_name() {
    let (view, order) = held(100);
    let hold = hold_of(&view, &order);
    assert_eq!((hold.amount, hold.state, hold.reference_id.as_str()), (5_900, HoldState::Open, order.id.as_str()));
    assert_eq!(order.charge, Some(quote().total));
    assert_eq!(available(&view, &order), 100);
}

#[test]
fn the_provider_is_owed_the_freight_and_we_earn_the_fee() {
    let (mut view, mut order) = held(0);
    order.status = OrderStatus::Confirmed;
    charging::settle(&mut view, &order, "evt_2", &actor());
    let booked = view.by_id::<LedgerTransaction>("txn_2").expect("booked");
    assert_eq!(booked.sum_of(&Account::Payable(order.provider.clone())), 5_000);
    assert_eq!(booked.sum_of(&Account::Revenue), 900);
    assert_eq!(booked.reference(), ("order", order.id.as_str(), "capture"));
    assert_eq!(hold_of(&view, &order).state, HoldState::Captured);
}

#[test]
fn settling_twice_is_settling_once() {
    for (status, state, left) in [
        (OrderStatus::Confirmed, HoldState::Captured, 0),
        (OrderStatus::Failed, HoldState::Released, 5_900),
        (OrderStatus::Cancelled, HoldState::Released, 5_900),
        (OrderStatus::NeedsAttention, HoldState::Open, 0),
    ] {
        let (mut view, mut order) = held(0);
        order.status = status;
        for event in ["evt_2", "evt_3", "evt_4"] {
            charging::settle(&mut view, &order, event, &actor());
        }
        assert_eq!((hold_of(&view, &order).state, available(&view, &order)), (state, left), "{status:?}");
    }
}

#[test]
fn what_was_captured_is_refunded_in_full_and_once() {
    let (mut view, mut order) = held(0);
    order.status = OrderStatus::Confirmed;
    charging::settle(&mut view, &order, "evt_2", &actor());
    order.status = OrderStatus::Cancelled;
    charging::settle(&mut view, &order, "evt_3", &actor());
    charging::settle(&mut view, &order, "evt_4", &actor());
    assert_eq!((hold_of(&view, &order).state, available(&view, &order)), (HoldState::Refunded, 5_900));
    let refund = view.by_id::<LedgerTransaction>("txn_3").expect("booked");
    assert_eq!(refund.sum_of(&Account::Payable(order.provider.clone())), -5_000);
}

#[test]
fn sent_again_after_a_release_it_holds_again() {
    let (mut view, mut order) = held(0);
    order.status = OrderStatus::Failed;
    charging::settle(&mut view, &order, "evt_2", &actor());
    order.status = OrderStatus::Created;
    charging::hold_again(&mut view, &mut order, "evt_3", &actor()).expect("held again");
    let hold = hold_of(&view, &order);
    assert_eq!(hold.reference_id, format!("{}#2", order.id));
    assert_eq!((hold.id.as_str(), hold.state, available(&view, &order)), ("hld_3", HoldState::Open, 0));
    // The first hold still stands open for nothing; only a released one is replaced.
    charging::hold_again(&mut view, &mut order, "evt_4", &actor()).expect("nothing to do");
    assert_eq!(order.billing.as_ref().map(|billing| billing.holds), Some(2));
}

#[test]
fn sent_again_without_the_money_it_is_refused() {
    let (mut view, mut order) = held(0);
    order.status = OrderStatus::Failed;
    charging::settle(&mut view, &order, "evt_2", &actor());
    let actor = actor();
    let entry = LedgerEntry {
        transaction_id: "txn_spent",
        kind: LedgerKind::Adjustment,
        reference: LedgerReference::new("test", "spent", "debit"),
        client_reference: None,
        reason: None,
        actor: &actor,
    };
    let money = Money::new(1, Currency::INR);
    crate::modules::wallet::debit(&mut view, &order.user_id, money, Account::Adjustments, &entry).expect("spent");
    order.status = OrderStatus::Created;
    let refused = charging::hold_again(&mut view, &mut order, "evt_3", &actor);
    let available = Money::new(5_899, Currency::INR);
    assert_eq!(refused, Err(LedgerRefusal::Insufficient { needed: quote().total, available }));
    assert_eq!(order.billing.as_ref().map(|billing| billing.holds), Some(1));
}

#[test]
fn an_order_from_before_there_were_wallets_costs_nothing() {
    let mut view = View::new(NOW);
    let mut order = Order { status: OrderStatus::Cancelled, ..order() };
    order.billing = None::<Billing>;
    charging::settle(&mut view, &order, "evt_1", &actor());
    charging::hold_again(&mut view, &mut order, "evt_2", &actor()).expect("nothing to do");
    assert!(charging::hold_key(&order).is_none());
}
