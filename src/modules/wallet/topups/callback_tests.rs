//! Callbacks, decided over a view without a database.

use super::{
    callback::{CallbackRecorded, TakeCallback},
    commands_tests::{decide, event_types},
    flow_tests::{MONEY, NOW, disputed, in_status, payment, topup},
    model::{CallbackOutcome, PaymentCallback, Topup, TopupStatus},
    payee::Payees,
};
use crate::{
    modules::{
        events::Actor,
        providers::payments::{Callback, CallbackKind, GatewayPayment, GatewayPaymentStatus},
        wallet::{Account, LedgerKind, LedgerTransaction, Wallet},
    },
    platform::{
        batch::{Key, View},
        money::{Currency, Money},
    },
};

fn tell(number: u32, kind: CallbackKind) -> TakeCallback {
    let status = match kind {
        CallbackKind::Paid => GatewayPaymentStatus::Paid,
        CallbackKind::Failed => GatewayPaymentStatus::Failed,
        CallbackKind::Unknown => GatewayPaymentStatus::Unknown,
    };
    TakeCallback {
        provider: "paygate",
        callback: Callback {
            event_id: format!("pev_{number}"),
            kind,
            reference: "top_1".into(),
            payment: GatewayPayment { payment_url: None, ..payment(status) },
        },
        actor: Actor::worker("paygate", "rqs_callback"),
        correlation_id: "rqs_callback".into(),
        callback_id: format!("cbk_{number}"),
        event_id: format!("evt_{number}"),
        payees: Payees::none(),
    }
}

fn tell_over(number: u32, kind: CallbackKind, amount: Money) -> TakeCallback {
    let mut told = tell(number, kind);
    told.callback.payment.amount = amount;
    told
}

fn view_of(topup: &Topup) -> View {
    let mut view = View::new(NOW);
    view.put_read(topup);
    view
}

fn stored(view: &View) -> Topup {
    view.by_id("top_1").expect("the top-up")
}

fn balance(view: &View) -> Option<i64> {
    let key = Key::id("wallets", Wallet::id_of("usr_1", Currency::INR));
    view.find::<Wallet>(&key).map(|wallet| wallet.available)
}

#[test]
fn a_paid_payment_is_credited_with_its_record_and_its_event() {
    let mut view = view_of(&in_status(TopupStatus::Pending));
    assert_eq!(decide(&mut view, &tell(1, CallbackKind::Paid)), CallbackRecorded::New(CallbackOutcome::Credited));
    let booked = view.find::<LedgerTransaction>(&Topup::reference("top_1").key()).expect("a booking");
    assert_eq!((booked.kind, &*booked.user_id), (LedgerKind::Recharge, "usr_1"));
    let lines: Vec<_> = booked.lines.iter().map(|line| (line.account.clone(), line.amount)).collect();
    assert_eq!(lines, [(Account::Available, 50_000), (Account::SettlementCash, -50_000)]);
    let topup = stored(&view);
    assert_eq!((topup.status, topup.transaction_id, topup.updated_at), (TopupStatus::Paid, Some(booked.id), NOW));
    assert_eq!((balance(&view), event_types(&view)), (Some(50_000), vec!["TopupPaid".to_owned()]));
    let record = view.by_id::<PaymentCallback>("cbk_1").expect("a record");
    assert_eq!(
        (&*record.provider, &*record.event_id, &*record.topup_id, &*record.kind, &*record.status, record.amount),
        ("paygate", "pev_1", "top_1", "payment.paid", "paid", 50_000)
    );
    assert_eq!((record.currency, record.outcome, record.received_at), (MONEY.currency, CallbackOutcome::Credited, NOW));
}

#[test]
fn the_same_event_is_taken_once() {
    let mut view = view_of(&in_status(TopupStatus::Pending));
    let first = tell(1, CallbackKind::Paid);
    assert_eq!(decide(&mut view, &first), CallbackRecorded::New(CallbackOutcome::Credited));
    let again = TakeCallback { callback_id: "cbk_2".into(), ..tell(1, CallbackKind::Paid) };
    assert_eq!(decide(&mut view, &again), CallbackRecorded::Replay);
    assert_eq!(decide(&mut view, &tell(3, CallbackKind::Paid)), CallbackRecorded::New(CallbackOutcome::Ignored));
    assert_eq!((balance(&view), event_types(&view).len()), (Some(50_000), 1));
}

#[test]
fn what_a_callback_means_in_every_status() {
    use CallbackKind as K;
    use CallbackOutcome as O;
    use TopupStatus as S;
    for (status, kind, outcome, after) in [
        (S::Created, K::Paid, O::Credited, S::Paid),
        (S::Pending, K::Paid, O::Credited, S::Paid),
        (S::Failed, K::Paid, O::Credited, S::Paid),
        (S::Expired, K::Paid, O::Credited, S::Paid),
        (S::NeedsAttention, K::Paid, O::Credited, S::Paid),
        (S::Paid, K::Paid, O::Ignored, S::Paid),
        (S::Created, K::Failed, O::Failed, S::Failed),
        (S::Pending, K::Failed, O::Failed, S::Failed),
        (S::NeedsAttention, K::Failed, O::Failed, S::Failed),
        (S::Failed, K::Failed, O::Ignored, S::Failed),
        (S::Expired, K::Failed, O::Ignored, S::Expired),
        (S::Paid, K::Failed, O::Ignored, S::Paid),
        (S::Created, K::Unknown, O::Ignored, S::Created),
        (S::Pending, K::Unknown, O::Ignored, S::Pending),
    ] {
        let mut view = view_of(&in_status(status));
        assert_eq!(decide(&mut view, &tell(1, kind)), CallbackRecorded::New(outcome), "{status:?} {kind:?}");
        let topup = stored(&view);
        assert_eq!(topup.status, after, "{status:?} {kind:?}");
        assert_eq!(balance(&view), (outcome == O::Credited).then_some(50_000), "{status:?} {kind:?}");
        assert_eq!(event_types(&view).len(), usize::from(outcome != O::Ignored), "{status:?} {kind:?}");
        assert!(view.by_id::<PaymentCallback>("cbk_1").is_some(), "every event is written down");
        if outcome == O::Ignored {
            assert_eq!(topup, in_status(status));
        } else {
            assert_eq!(topup.payment_id.as_deref(), Some("pay_1"), "{status:?} {kind:?}");
        }
    }
}

#[test]
fn another_amount_or_currency_is_credited_to_nobody() {
    let usd = Currency::from_code("USD").expect("a currency");
    for amount in [Money::new(49_999, Currency::INR), Money::new(500_000, Currency::INR), Money::new(50_000, usd)] {
        let statuses = TopupStatus::ALL.into_iter().filter(|status| *status != TopupStatus::Paid);
        for before in statuses.map(in_status) {
            let mut view = view_of(&before);
            let told = tell_over(1, CallbackKind::Paid, amount);
            assert_eq!(decide(&mut view, &told), CallbackRecorded::New(CallbackOutcome::AmountDiffers));
            let topup = stored(&view);
            assert_eq!((topup.status, topup.disputed), (TopupStatus::NeedsAttention, true));
            assert_eq!(topup.failure.expect("a failure").code, "topups.amount_differs");
            assert_eq!((balance(&view), event_types(&view)), (None, vec!["TopupNeedsAttention".to_owned()]));
            let record = view.by_id::<PaymentCallback>("cbk_1").expect("a record");
            assert_eq!(Money::new(record.amount, record.currency), amount);
            // A person may book it by hand from here on.
            for told in [tell(2, CallbackKind::Paid), tell(3, CallbackKind::Failed)] {
                assert_eq!(decide(&mut view, &told), CallbackRecorded::New(CallbackOutcome::Disputed));
            }
            assert_eq!(balance(&view), None);
        }
        let mut view = view_of(&topup());
        let told = tell_over(1, CallbackKind::Failed, amount);
        assert_eq!(decide(&mut view, &told), CallbackRecorded::New(CallbackOutcome::AmountDiffers));
        assert_eq!(stored(&view), topup(), "no money came: nothing is to be settled");
    }
    let mut view = view_of(&disputed());
    assert_eq!(decide(&mut view, &tell(1, CallbackKind::Paid)), CallbackRecorded::New(CallbackOutcome::Disputed));
}

#[test]
fn another_payment_for_a_paid_top_up_is_disputed() {
    let mut view = view_of(&in_status(TopupStatus::Pending));
    assert_eq!(decide(&mut view, &tell(1, CallbackKind::Paid)), CallbackRecorded::New(CallbackOutcome::Credited));
    assert_eq!(
        decide(&mut view, &tell(2, CallbackKind::Paid)),
        CallbackRecorded::New(CallbackOutcome::Ignored),
        "the same one"
    );
    let mut second = tell(3, CallbackKind::Paid);
    second.callback.payment.payment_id = "pay_2".into();
    assert_eq!(decide(&mut view, &second), CallbackRecorded::New(CallbackOutcome::PaidTwice));
    let topup = stored(&view);
    assert_eq!((topup.status, topup.disputed), (TopupStatus::NeedsAttention, true));
    assert_eq!(
        (topup.failure.expect("a failure").code.as_str(), topup.transaction_id.is_some()),
        ("topups.paid_twice", true)
    );
    assert_eq!(
        (balance(&view), event_types(&view)),
        (Some(50_000), vec!["TopupPaid".into(), "TopupNeedsAttention".into()])
    );
    assert_eq!(decide(&mut view, &tell(4, CallbackKind::Paid)), CallbackRecorded::New(CallbackOutcome::Disputed));
}

#[test]
fn a_wallet_that_is_full_takes_nothing_and_a_person_has_to_look() {
    let mut view = view_of(&in_status(TopupStatus::Pending));
    let full = Wallet {
        id: Wallet::id_of("usr_1", Currency::INR),
        user_id: "usr_1".into(),
        currency: Currency::INR,
        available: i64::MAX,
        version: 1,
        last_at: NOW,
        created_at: NOW,
    };
    view.put_read(&full);
    assert_eq!(decide(&mut view, &tell(1, CallbackKind::Paid)), CallbackRecorded::New(CallbackOutcome::NotCredited));
    let topup = stored(&view);
    assert_eq!((topup.status, topup.disputed), (TopupStatus::NeedsAttention, true));
    assert_eq!(topup.failure.expect("a failure").code, "topups.not_credited");
    assert_eq!(balance(&view), Some(i64::MAX));
}

#[test]
fn money_that_was_booked_before_is_not_booked_again() {
    let mut view = view_of(&in_status(TopupStatus::Pending));
    assert_eq!(decide(&mut view, &tell(1, CallbackKind::Paid)), CallbackRecorded::New(CallbackOutcome::Credited));
    // As if the top-up had forgotten it: the ledger has not.
    view.update(&in_status(TopupStatus::Pending));
    assert_eq!(decide(&mut view, &tell(2, CallbackKind::Paid)), CallbackRecorded::New(CallbackOutcome::Credited));
    assert_eq!(balance(&view), Some(50_000));
}

#[test]
fn a_payment_that_is_none_of_ours_leaves_nothing() {
    let mut told = tell(1, CallbackKind::Paid);
    told.callback.reference = "top_of_nobody".into();
    let mut view = View::new(NOW);
    assert_eq!(decide(&mut view, &told), CallbackRecorded::UnknownPayment);
    assert_eq!((view.by_id::<Topup>("top_of_nobody"), event_types(&view).len()), (None, 0));
    let mut view = view_of(&Topup { provider: "another".into(), ..topup() });
    assert_eq!(decide(&mut view, &tell(1, CallbackKind::Paid)), CallbackRecorded::UnknownPayment);
}
