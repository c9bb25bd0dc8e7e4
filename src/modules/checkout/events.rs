//! Events of checkouts.

use bson::doc;

use super::model::{Checkout, PaymentStatus};
use crate::{
    modules::events::{self, Actor, Event},
    platform::batch::View,
};

/// Records what happened to a checkout, which is to be written afterwards. It is told to the seller.
pub(super) fn record(view: &mut View, checkout: &mut Checkout, event_id: &str, kind: &str, actor: &Actor) {
    checkout.events += 1;
    let mut data = doc! {
        "clientOrderId": &checkout.client_order_id,
        "buyerId": &checkout.user_id,
        "status": checkout.status.as_str(),
        "method": checkout.payment.method.as_str(),
        "total": checkout.total,
        "currency": checkout.currency.code(),
        "failureCode": checkout.failure_code(),
        // Also where it was given back since.
        "paid": !matches!(checkout.payment.status, PaymentStatus::Pending | PaymentStatus::Failed),
    };
    data.extend(checkout.tenant_id.as_ref().map(|tenant_id| ("tenantId".to_owned(), tenant_id.into())));
    let event = Event {
        id: event_id.to_owned(),
        kind: kind.into(),
        subject_id: checkout.id.clone(),
        user_id: checkout.seller_id.clone(),
        seq: checkout.events,
        actor: actor.clone(),
        data,
        at: view.now(),
    };
    events::record(view, &event);
}
