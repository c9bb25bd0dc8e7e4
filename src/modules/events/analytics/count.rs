//! The sums that an event is added to. Pure.

use std::collections::BTreeMap;

use bson::{DateTime, Document, doc};

use crate::platform::{clock::Rfc3339Time, money::AMOUNT_MAX};

/// Types of events that are counted, and as what.
const COUNTED: &[(&str, &str)] = &[
    ("OrderCreated", "created"),
    ("OrderConfirmed", "confirmed"),
    ("OrderDelivered", "delivered"),
    ("OrderFailed", "failed"),
    ("OrderCancelled", "cancelled"),
    ("OrderNeedsAttention", "needsAttention"),
];
/// Types of events about checkouts, and what their number and amount are called.
const SOLD: &[(&str, &str, &str)] =
    &[("CheckoutPaid", "sales", "gross"), ("CheckoutCancelled", "takenBack", "refunds")];
/// Name in place of a provider in sums of checkouts.
pub(super) const CHECKOUTS: &str = "checkouts";
/// Fields of an event that are read for it.
pub(super) const FIELDS: &[&str] = &[
    "type",
    "userId",
    "at",
    "data.tenantId",
    "data.provider",
    "data.ageMs",
    "data.charged",
    "data.refunded",
    "data.currency",
    "data.total",
    "data.paid",
];
/// An order is not older than this when it is confirmed; what says so is no age.
const AGE_MS_MAX: i64 = 366 * 24 * 3_600_000;

/// Whether events of this type are counted.
pub(super) fn is_counted(kind: &str) -> bool {
    COUNTED.iter().any(|(known, _)| *known == kind) || SOLD.iter().any(|(known, ..)| *known == kind)
}

/// The day of a moment, in UTC.
pub(super) fn day_of(at: DateTime) -> String {
    Rfc3339Time(at).to_string().chars().take(10).collect()
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CountKey {
    pub(super) day: String,
    pub(super) tenant_id: Option<String>,
    pub(super) user_id: String,
    pub(super) provider: String,
}

/// Amounts that are added to one document of sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// By name of the field.
    pub(super) add: BTreeMap<String, i64>,
    /// The longest time from create to confirmation.
    pub(super) confirm_max_ms: Option<i64>,
}

/// Amounts of many events, by document of sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EventCounts(pub(super) BTreeMap<CountKey, Sums>);

fn whole(document: &Document, field: &str, most: i64) -> Option<i64> {
    let value = document.get(field)?;
    value.as_i64().or_else(|| value.as_i32().map(i64::from)).filter(|value| (0..=most).contains(value))
}

/// The event's currency, if it is well-formed.
fn currency_of(data: &Document) -> Option<&str> {
    let currency = data.get_str("currency").ok()?;
    (currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase())).then_some(currency)
}

impl EventCounts {
    /// Adds a checkout, or takes one back that was paid: one that never was has never been counted.
    fn add_checkout(&mut self, event: &Document, count: &str, amount: &str) -> Option<()> {
        let (user_id, at) = (event.get_str("userId").ok()?, event.get_datetime("at").ok()?);
        let data = event.get_document("data").ok()?;
        let (currency, total) = (currency_of(data)?, whole(data, "total", AMOUNT_MAX)?);
        if !data.get_bool("paid").ok()? {
            return None;
        }
        let tenant_id = data.get_str("tenantId").ok().map(str::to_owned);
        let place = CountKey { day: day_of(*at), tenant_id, user_id: user_id.into(), provider: CHECKOUTS.into() };
        let sums = self.0.entry(place).or_default();
        for (field, by) in [(count, 1), (amount, total)] {
            *sums.add.entry(format!("{field}.{currency}")).or_default() += by;
        }
        Some(())
    }

    /// Adds what an event counts for. One that can't be read counts for nothing.
    pub(super) fn add(&mut self, event: &Document) {
        let kind = event.get_str("type").unwrap_or_default();
        if let Some((_, count, amount)) = SOLD.iter().find(|(known, ..)| *known == kind) {
            return self.add_checkout(event, count, amount).unwrap_or_default();
        }
        let Some((_, name)) = COUNTED.iter().find(|(known, _)| *known == kind) else { return };
        let (Ok(user_id), Ok(at), Ok(data)) =
            (event.get_str("userId"), event.get_datetime("at"), event.get_document("data"))
        else {
            return;
        };
        let Ok(provider) = data.get_str("provider") else { return };
        let tenant_id = data.get_str("tenantId").ok().map(str::to_owned);
        let place = CountKey { day: day_of(*at), tenant_id, user_id: user_id.into(), provider: provider.into() };
        let sums = self.0.entry(place).or_default();
        let mut add = |field: String, by: i64| *sums.add.entry(field).or_default() += by;
        add((*name).to_owned(), 1);
        if let Some(currency) = currency_of(data) {
            for field in ["charged", "refunded"] {
                if let Some(amount) = whole(data, field, AMOUNT_MAX) {
                    add(format!("{field}.{currency}"), amount);
                }
            }
        }
        if *name == "confirmed"
            && let Some(age_ms) = whole(data, "ageMs", AGE_MS_MAX)
        {
            add("confirmTimes".into(), 1);
            add("confirmMs".into(), age_ms);
            sums.confirm_max_ms = sums.confirm_max_ms.max(Some(age_ms));
        }
    }
}

impl CountKey {
    pub(super) fn id(&self, generation: i64) -> String {
        let tenant_id = self.tenant_id.as_deref().unwrap_or("-");
        format!("{generation}/{}/{tenant_id}/{}/{}", self.day, self.user_id, self.provider)
    }

    pub(super) fn statement(&self, generation: i64, sums: &Sums) -> Document {
        let place = doc! {
            "generation": generation, "day": &self.day, "tenantId": &self.tenant_id, "userId": &self.user_id,
            "provider": &self.provider,
        };
        let add: Document = sums.add.iter().map(|(field, by)| (field.clone(), (*by).into())).collect();
        let mut update = doc! { "$setOnInsert": place, "$inc": add };
        if let Some(max_ms) = sums.confirm_max_ms {
            update.insert("$max", doc! { "confirmMaxMs": max_ms });
        }
        doc! { "q": { "_id": self.id(generation) }, "u": update, "upsert": true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: Document) -> Document {
        let mut all = doc! { "provider": "p" };
        all.extend(data);
        // A millisecond before midnight.
        let at = DateTime::from_millis(1_767_225_600_000 - 1);
        doc! { "type": kind, "userId": "usr_1", "at": at, "data": all }
    }

    #[test]
    fn events_are_added_up_by_day_tenant_merchant_and_provider() {
        let mut counts = EventCounts::default();
        counts.add(&event("OrderCreated", doc! { "tenantId": "ten_1" }));
        counts.add(&event("OrderCreated", doc! {}));
        counts.add(&event("OrderConfirmed", doc! { "charged": 5_i64, "currency": "INR", "ageMs": 700_i64 }));
        counts.add(&event("OrderConfirmed", doc! { "charged": 7_i32, "currency": "INR", "ageMs": 300_i64 }));
        counts.add(&event("OrderCancelled", doc! { "refunded": 5_i64, "currency": "INR", "ageMs": 9_000_i64 }));
        let (place, sums) = counts.0.pop_first().expect("a place");
        assert_eq!(place.id(3), "3/2025-12-31/-/usr_1/p");
        let added: Vec<_> = sums.add.iter().map(|(field, by)| (field.as_str(), *by)).collect();
        let expected = [
            ("cancelled", 1),
            ("charged.INR", 12),
            ("confirmMs", 1_000),
            ("confirmTimes", 2),
            ("confirmed", 2),
            ("created", 1),
            ("refunded.INR", 5),
        ];
        assert_eq!((added, sums.confirm_max_ms), (expected.to_vec(), Some(700)));
        let (place, sums) = counts.0.pop_first().expect("a place of the tenant's");
        assert_eq!((&*place.id(3), sums.add.len()), ("3/2025-12-31/ten_1/usr_1/p", 1));
        assert!(counts.0.is_empty());
    }

    #[test]
    fn a_checkout_that_is_taken_back_counts_only_where_it_was_paid() {
        let mut counts = EventCounts::default();
        let sold = |paid: bool, currency: &str| doc! { "total": 5_i64, "currency": currency, "paid": paid };
        for (kind, data) in [
            ("CheckoutCreated", sold(false, "INR")),
            ("CheckoutPaid", sold(true, "INR")),
            ("CheckoutPaid", sold(true, "INR")),
            ("CheckoutPaid", sold(true, "EUR")),
            ("CheckoutCancelled", sold(true, "INR")),
            ("CheckoutCancelled", sold(false, "INR")),
            ("CheckoutPaid", sold(true, "$IN")),
            ("CheckoutPaid", doc! { "total": -5_i64, "currency": "INR", "paid": true }),
            ("CheckoutPaid", doc! { "total": 5_i64, "currency": "INR" }),
        ] {
            counts.add(&event(kind, data));
        }
        let (place, sums) = counts.0.pop_first().expect("a place");
        assert_eq!(place.id(1), "1/2025-12-31/-/usr_1/checkouts");
        let added: Vec<_> = sums.add.iter().map(|(field, by)| (field.as_str(), *by)).collect();
        let expected = [
            ("gross.EUR", 5),
            ("gross.INR", 10),
            ("refunds.INR", 5),
            ("sales.EUR", 1),
            ("sales.INR", 2),
            ("takenBack.INR", 1),
        ];
        assert_eq!(added, expected);
        assert!(counts.0.is_empty());
    }

    #[test]
    fn what_cannot_be_read_counts_for_nothing_and_spoils_nothing() {
        let mut counts = EventCounts::default();
        for odd in [doc! {}, doc! { "type": "OrderCreated" }, event("TopupPaid", doc! {})] {
            counts.add(&odd);
        }
        let mut odd = event("OrderCreated", doc! {});
        odd.insert("data", "none");
        counts.add(&odd);
        assert!(counts.0.is_empty());
        // Names of fields and numbers that would break the update of everything else.
        for data in [
            doc! { "charged": 5_i64, "currency": "$IN" },
            doc! { "charged": i64::MAX, "currency": "INR" },
            doc! { "charged": -1_i64, "currency": "INR", "ageMs": i64::MAX },
            doc! { "charged": "5", "currency": 1, "ageMs": "x" },
        ] {
            counts.add(&event("OrderConfirmed", data));
        }
        let (_, sums) = counts.0.pop_first().expect("a place");
        assert_eq!(sums.add, BTreeMap::from([("confirmed".to_owned(), 4)]));
    }
}
