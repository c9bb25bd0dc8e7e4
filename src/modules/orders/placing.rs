//! Creating an order in somebody's transaction: what is looked up before it, and the command that decides in it. The API's requests go
//! this way, and what a checkout has carried out.

use super::{
    commands::CreateOrder,
    error::OrderError,
    model::{Order, fingerprint},
    new_order::{NewOrder, OrderIds, OrderOrigin},
    request::CreateOrderRequest,
    service::OrderService,
};
use crate::{
    modules::{
        kyc::KycGate,
        providers::{Declaration, Detail, Party, PricedBy},
        queue::QueueConfig,
        wallet::{
            rates::{self, Card, PricedParcel, Quote},
            wallet_key,
        },
    },
    platform::{
        batch::Key,
        error::{AppError, ErrorKind, FieldError},
        http::read_json,
        ids::is_id,
        india::pincodes,
    },
};

/// Terms of orders with a provider: queue, rate card and account.
#[derive(Clone, Debug)]
pub struct PlacementTerms {
    gate: KycGate,
    provider: &'static Declaration,
    queue: QueueConfig,
    /// None where it costs nothing.
    card: Option<Card>,
    own_account: bool,
}

impl OrderService {
    /// Terms of the merchant's orders with this provider, looked up before the transaction.
    ///
    /// # Errors
    /// [`OrderError::NoRates`], [`OrderError::Database`].
    pub async fn terms(&self, provider: &'static Declaration, user_id: &str) -> Result<PlacementTerms, OrderError> {
        let at = self.providers.get(provider.name).ok_or(OrderError::NoRates)?;
        // Its contract with the provider is the merchant's own.
        let own_account = self.dispatch.has_own_account(provider.name, user_id);
        let card = match provider.priced_by {
            PricedBy::RateCard(_) if !own_account => {
                Some(self.rates.current(provider.name).await?.ok_or(OrderError::NoRates)?)
            }
            PricedBy::RateCard(_) | PricedBy::Nothing => None,
        };
        Ok(PlacementTerms { gate: self.gate, provider, queue: at.create.clone(), card, own_account })
    }
}

impl PlacementTerms {
    #[must_use]
    pub const fn provider(&self) -> &'static Declaration {
        self.provider
    }

    /// Keys that the create of this order reads.
    #[must_use]
    pub fn reads(&self, user_id: &str, client_order_id: &str) -> Vec<Key> {
        let wallet = self.card.as_ref().map(|card| wallet_key(user_id, card.currency()));
        [Order::key(user_id, client_order_id), self.gate.key(user_id)].into_iter().chain(wallet).collect()
    }

    /// The command that creates an order, or finds that the same request created it before.
    ///
    /// # Errors
    /// [`OrderError::NoRates`].
    pub fn order(&self, new: NewOrder, origin: OrderOrigin) -> Result<CreateOrder, OrderError> {
        let mut contradictions = address_faults(&new.detail);
        if origin.part_of.is_none() && is_of_checkout(&new.client_order_id) {
            let message = "is of a shape that only orders of checkouts have: chk_..., and a colon";
            contradictions.push(FieldError::new("clientOrderId", "reserved", message));
        }
        let OrderIds { order_id, job_id, event_id } = origin.ids;
        Ok(CreateOrder {
            gate: self.gate,
            quote: self.quote(&new.detail)?,
            user_id: origin.user_id,
            tenant_id: origin.tenant_id,
            client_order_id: new.client_order_id,
            provider: self.provider.name,
            fingerprint: fingerprint(self.provider.name, &new.detail),
            contradictions,
            detail: new.detail,
            part_of: origin.part_of,
            actor: origin.actor,
            correlation_id: origin.correlation_id,
            queue: self.queue.clone(),
            own_account: self.own_account,
            order_id,
            job_id,
            event_id,
        })
    }

    /// Price of the order; none where it costs nothing.
    fn quote(&self, detail: &Detail) -> Result<Option<Quote>, OrderError> {
        let Some(card) = &self.card else { return Ok(None) };
        let quote = match (card, detail) {
            (Card::Parcels(card), Detail::Shipment(shipment)) => rates::quote(card, &PricedParcel::from(shipment)).ok(),
            (Card::Fees(card), Detail::Extract(extract)) => card.quote(extract.kind.as_str()).ok(),
            (Card::Parcels(_) | Card::Fees(_), _) => None,
        };
        quote.map(Some).ok_or(OrderError::NoRates)
    }
}

/// Whether a merchant's id of an order has the shape of those that checkouts give theirs: nobody may take one of these before.
fn is_of_checkout(client_order_id: &str) -> bool {
    client_order_id.split_once(':').is_some_and(|(checkout_id, _)| is_id("chk", checkout_id))
}

/// Reads what somebody wants ordered, written as the body of `POST /orders/create`: by the same rules.
///
/// # Errors
/// 422 with the fields to blame.
pub fn read_order(request: &serde_json::Value) -> Result<NewOrder, AppError> {
    let request: CreateOrderRequest = read_json(request.to_string().as_bytes())?;
    request.into_order().ok_or_else(no_detail)
}

/// Validation has excluded it.
pub(super) fn no_detail() -> AppError {
    AppError::new(ErrorKind::Internal, "internal", "A validated request lacks its detail object.")
}

/// The contradiction within an address in India, if there is one.
#[must_use]
pub fn address_fault(address: &str, Party { pincode, state, .. }: &Party) -> Option<FieldError> {
    let mismatch = pincodes::check_state(pincode, state).err()?;
    Some(mismatch.fault(format!("{address}.pincode"), format!("{address}.state")))
}

/// Contradictions within a shipment's addresses. Not a rule of the request: an order that was taken before there was such a rule is
/// replayed all the same.
fn address_faults(detail: &Detail) -> Vec<FieldError> {
    let Detail::Shipment(shipment) = detail else { return Vec::new() };
    let parties = [("shipment.consignee", &shipment.consignee), ("shipment.pickup", &shipment.pickup)];
    parties.into_iter().filter_map(|(name, party)| address_fault(name, party)).collect()
}

#[cfg(test)]
impl PlacementTerms {
    /// By the rate card of a fresh installation, for anybody.
    pub(crate) fn of_a_test(provider: &'static Declaration) -> Self {
        let card = match provider.priced_by {
            PricedBy::RateCard(card) => Some(rates::parse_card(card).expect("a card")),
            PricedBy::Nothing => None,
        };
        let queue = QueueConfig::named(provider.create_queue);
        Self { gate: KycGate::new(false), provider, queue, card, own_account: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_checkouts_orders_are_told_from_others() {
        let body = "0".repeat(32);
        for (id, expected) in [
            (format!("chk_{body}:carrier"), true),
            (format!("chk_{body}:"), true),
            (format!("chk_{body}"), false),
            (format!("ord_{body}:carrier"), false),
            ("chk_1:carrier".into(), false),
            ("c-1".into(), false),
        ] {
            assert_eq!(is_of_checkout(&id), expected, "{id}");
        }
    }
}
