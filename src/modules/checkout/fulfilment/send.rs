//! Sending the parts of a checkout: their orders, and what links them, in the transaction that ends the job. Pure.

use super::{
    compose,
    parts::{Part, PartFailure, PartKind, PartStatus},
    settings::FulfilmentSettings,
    settle::{EventIds, settle},
};
use crate::{
    modules::{
        auth::user_key,
        catalog::Product,
        checkout::model::{CHECKOUTS, Checkout, CheckoutStatus},
        events::Actor,
        orders::{ORDERS, Order, OrderError, OrderIds, OrderOrigin, OrderService, PartOf, PlacementTerms, read_order},
        queue::{Concluded, Conclusion, Job, JobEnd},
    },
    platform::{
        batch::{Command, Key, View},
        error::AppError,
        ids::new_id,
    },
};

/// The end of an attempt: every part that waits for it has its order, or says why not.
pub(in crate::modules::checkout) struct Fulfil {
    checkout_id: String,
    seller_id: String,
    worker_id: String,
    /// Terms of orders with each provider, or why there are none.
    terms: Vec<(&'static str, Result<PlacementTerms, PartFailure>)>,
    /// Of the order of each part.
    order_ids: [OrderIds; PartKind::ALL.len()],
    event_ids: EventIds,
}

impl Fulfil {
    /// With what is looked up before the transaction.
    pub(in crate::modules::checkout) async fn prepare(
        orders: &OrderService,
        checkout_id: &str,
        seller_id: &str,
        worker_id: String,
    ) -> mongodb::error::Result<Self> {
        let mut terms = Vec::new();
        for at in orders.providers.all() {
            if !PartKind::ALL.iter().any(|kind| kind.of_providers() == at.declaration.kind) {
                continue;
            }
            let found = match orders.terms(at.declaration, seller_id).await {
                Err(OrderError::Database(error)) => return Err(error),
                found => found.map_err(|error| AppError::from(error).into()),
            };
            terms.push((at.declaration.name, found));
        }
        Ok(Self {
            checkout_id: checkout_id.to_owned(),
            seller_id: seller_id.to_owned(),
            worker_id,
            terms,
            order_ids: std::array::from_fn(|_| OrderIds::fresh()),
            event_ids: std::array::from_fn(|_| new_id("evt")),
        })
    }

    fn terms(&self, provider: &str) -> Result<&PlacementTerms, PartFailure> {
        let gone = || PartFailure::new("checkout.no_provider", format!("{provider} takes no orders here."));
        let (_, terms) = self.terms.iter().find(|(name, _)| *name == provider).ok_or_else(gone)?;
        terms.as_ref().map_err(Clone::clone)
    }

    /// Sends what waits; gives the queues that have new work. Orders and events belong to the request `correlation_id`.
    fn fulfil(&self, view: &mut View, correlation_id: &str) -> Vec<&'static str> {
        let actor = Actor::worker(&self.worker_id, correlation_id);
        let Some(mut checkout) = view.by_id::<Checkout>(&self.checkout_id) else { return Vec::new() };
        let settings = view.by_id(&checkout.seller_id).unwrap_or_else(|| FulfilmentSettings::nothing(&self.seller_id));
        let is_first = checkout.status == CheckoutStatus::Paid && checkout.parts.is_empty();
        if is_first {
            let part = |kind: PartKind| Some(Part::new(kind, settings.provider(kind)?));
            checkout.parts = PartKind::ALL.into_iter().filter_map(part).collect();
        }
        // One that was cancelled meanwhile stays so, and what was sent is not sent again.
        let may_go_on = matches!(checkout.status, CheckoutStatus::Paid | CheckoutStatus::NeedsAttention);
        if !may_go_on || !(is_first || checkout.parts.iter().any(|part| part.status == PartStatus::Waiting)) {
            return Vec::new();
        }
        self.look_ahead(view, &checkout, &settings);
        let mut wake = Vec::new();
        let mut parts = std::mem::take(&mut checkout.parts);
        for (part, ids) in parts.iter_mut().zip(&self.order_ids).filter(|(part, _)| part.status == PartStatus::Waiting)
        {
            match self.send(view, (&checkout, &settings), part, ids, &actor) {
                Ok(queue) => wake.extend(queue),
                Err(failure) => part.fail(failure),
            }
        }
        checkout.parts = parts;
        settle(view, &mut checkout, &self.event_ids, &actor);
        view.update(&checkout);
        wake
    }

    /// Looks for what will be needed, so that it is read together.
    fn look_ahead(&self, view: &View, checkout: &Checkout, settings: &FulfilmentSettings) {
        let waiting = || checkout.parts.iter().filter(|part| part.status == PartStatus::Waiting);
        let mut keys: Vec<Key> = waiting().map(|_| user_key(&checkout.seller_id)).take(1).collect();
        for part in waiting() {
            keys.extend(part.last_order().map(|id| Key::id(ORDERS, id)));
            if let Some(terms) = settings.provider(part.kind).and_then(|provider| self.terms(provider).ok()) {
                keys.extend(terms.reads(&checkout.seller_id, &part.client_order_id(&checkout.id)));
            }
            if part.kind == PartKind::Carrier {
                keys.extend(checkout.quantities().keys().map(|product_id| Product::key(product_id)));
            }
        }
        for key in keys {
            let _ = view.contains(&key);
        }
    }

    /// Makes the order of a part that waits; gives the queue that has new work.
    fn send(
        &self,
        view: &mut View,
        (checkout, settings): (&Checkout, &FulfilmentSettings),
        part: &mut Part,
        ids: &OrderIds,
        actor: &Actor,
    ) -> Result<Option<&'static str>, PartFailure> {
        let last = part.last_order().and_then(|id| view.by_id::<Order>(id));
        // Somebody may have had its last order sent again since.
        if last.as_ref().is_some_and(|order| part.follow(order)) {
            return Ok(None);
        }
        let Some(provider) = settings.provider(part.kind) else {
            part.status = PartStatus::Skipped;
            part.failure = None;
            return Ok(None);
        };
        provider.clone_into(&mut part.provider);
        let terms = self.terms(provider)?;
        let client_order_id = part.client_order_id(&checkout.id);
        let request = match (part.kind, &settings.carrier) {
            (PartKind::Carrier, Some(carrier)) => {
                let product = |id: &str| view.by_id::<Product>(id);
                compose::shipment(checkout, &client_order_id, carrier, settings.pickup.as_ref(), product)?
            }
            _ => compose::sale(checkout, &client_order_id, provider)?,
        };
        let origin = OrderOrigin {
            user_id: checkout.seller_id.clone(),
            tenant_id: view.text(&user_key(&checkout.seller_id), "tenantId").map(str::to_owned),
            actor: actor.clone(),
            correlation_id: actor.request_id.clone().unwrap_or_default(),
            part_of: Some(PartOf {
                checkout_id: checkout.id.clone(),
                replaces: last.map(|order| order.id),
                is_rush: checkout.priority.is_rush(),
            }),
            ids: ids.clone(),
        };
        let command = terms.order(read_order(&request)?, origin).map_err(AppError::from)?;
        let reply = match command.decide(view) {
            Ok(reply) if !reply.replayed => reply,
            // An order of the merchant's own, from before such ids were kept free. It is not this part's.
            Ok(_) | Err(OrderError::IdempotencyMismatch) => {
                part.next_number += 1;
                return Err(PartFailure::new("checkout.id_taken", "Another order has its id; send it again."));
            }
            Err(error) => return Err(AppError::from(error).into()),
        };
        part.next_number += 1;
        part.orders.push(reply.order.id.clone());
        part.follow(&reply.order);
        Ok(reply.wake)
    }
}

#[cfg(test)]
impl Fulfil {
    /// For a merchant with a verified business, with every provider.
    pub(super) fn of_a_test(checkout_id: &str) -> Self {
        let providers = crate::modules::providers::registry::PROVIDERS.iter();
        Self {
            checkout_id: checkout_id.to_owned(),
            seller_id: "usr_seller".into(),
            worker_id: "wrk_1".into(),
            terms: providers.map(|provider| (provider.name, Ok(PlacementTerms::of_a_test(provider)))).collect(),
            order_ids: std::array::from_fn(|_| OrderIds::fresh()),
            event_ids: std::array::from_fn(|_| new_id("evt")),
        }
    }

    /// Decides; gives the queues that have new work.
    pub(super) fn run(&self, view: &mut View) -> Vec<&'static str> {
        self.fulfil(view, "rqs_1")
    }
}

impl Conclusion for Fulfil {
    fn reads(&self) -> Vec<Key> {
        vec![Key::id(CHECKOUTS, &*self.checkout_id), FulfilmentSettings::key(&self.seller_id)]
    }

    fn conclude(&self, view: &mut View, job: &Job) -> Concluded {
        let wake = self.fulfil(view, &job.correlation_id);
        Concluded { wake, ..JobEnd::Done { result: None }.into() }
    }
}
