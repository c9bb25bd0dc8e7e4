//! The orders of a day, as a file: a merchant's own, a manager's those of the tenant's members.

use super::{letter_data::away, report_file::ReportFile};
use crate::{
    modules::{
        auth::User,
        events::HandlerError,
        orders::{Order, OrderFilter, OrderStore},
    },
    platform::{
        cells::{decimal, number, text, time},
        identity::Role,
        walk::TimeRange,
    },
};

/// Orders read at a time.
const AT_ONCE: usize = 500;
const COLUMNS: [&str; 9] =
    ["orderNumber", "clientOrderId", "provider", "status", "createdAt", "chargeMinor", "charge", "currency", "userId"];

/// The orders that were created then, latest first.
pub(super) async fn write(orders: &OrderStore, user: &User, created: TimeRange) -> Result<ReportFile, HandlerError> {
    let filter = OrderFilter { created, ..OrderFilter::default() };
    let mut file = ReportFile::new(COLUMNS)?;
    let tenant_id = user.tenant_id.as_deref().filter(|_| user.role == Role::Manager);
    if tenant_id.is_none() && user.role != Role::Merchant {
        return Ok(file);
    }
    let mut before: Option<String> = None;
    loop {
        let page = match tenant_id {
            Some(tenant_id) => orders.list_of_tenant(tenant_id, &filter, before.as_deref(), AT_ONCE).await,
            None => orders.list(&user.id, &filter, before.as_deref(), AT_ONCE).await,
        };
        let page = page.map_err(|error| away(&error))?;
        for order in &page.shown {
            add(&mut file, order)?;
        }
        before = page.next;
        if before.is_none() || file.is_cut() {
            return Ok(file);
        }
    }
}

fn add(file: &mut ReportFile, order: &Order) -> Result<(), HandlerError> {
    let charge = order.charge;
    file.add([
        text(&order.order_number),
        text(&order.client_order_id),
        text(&order.provider),
        order.status.as_str().into(),
        time(order.created_at),
        charge.map_or_else(|| "".into(), |charge| number(charge.amount)),
        charge.map_or_else(|| "".into(), |charge| decimal(charge.amount, charge.currency)),
        charge.map_or("", |charge| charge.currency.code()).into(),
        text(&order.user_id),
    ])
}
