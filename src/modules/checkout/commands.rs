//! Creating and cancelling checkouts, each in one transaction with stock, money, events and job.

use std::collections::BTreeMap;

use super::{
    error::{CheckoutError, Shortage},
    events::record,
    fulfilment::{TakenBack, take_back},
    model::{
        CartLine, Checkout, CheckoutCustomer, CheckoutItem, CheckoutStatus, Payment, PaymentMethod, PaymentStatus,
        Priority, ShippingAddress, sums,
    },
    reversal,
    transitions::{CheckoutCommand, next},
};
use crate::{
    modules::{
        catalog::{self, MovementKind, Product, ProductStatus, move_stock},
        events::Actor,
        kyc::{KycGate, Verified},
        orders::CancelOrderTemplate,
        providers::call_job::Author,
        queue::QueueConfig,
        wallet::{
            self, Account, LedgerEntry, LedgerKind, LedgerReference, LedgerRefusal,
            topups::{self, CheckoutToPay, PaymentSettings},
            wallet_key,
        },
    },
    platform::{
        batch::{Command, Key, View},
        error::FieldError,
        ids::{nth_id, readable_number, sibling_id},
        money::{AMOUNT_MAX, Currency, Money},
    },
};

/// A checkout as a command leaves it.
#[derive(Debug)]
pub struct CheckoutReply {
    /// As it stands.
    pub checkout: Checkout,
    /// Nothing changed: the request had been carried out before.
    pub replayed: bool,
}

/// Buys all of a cart or nothing, or finds that it was bought.
pub(super) struct CreateCheckout {
    pub(super) gate: KycGate,
    pub(super) user_id: String,
    /// Only products of this merchant, who asks.
    pub(super) only_of: Option<String>,
    pub(super) tenant_id: Option<String>,
    pub(super) client_order_id: String,
    pub(super) fingerprint: String,
    pub(super) lines: Vec<CartLine>,
    pub(super) customer: CheckoutCustomer,
    pub(super) shipping_address: ShippingAddress,
    pub(super) method: PaymentMethod,
    pub(super) payment_id: Option<String>,
    pub(super) priority: Priority,
    /// In which it is paid; by default that of the first product's own price.
    pub(super) currency: Option<Currency>,
    pub(super) actor: Actor,
    pub(super) correlation_id: String,
    pub(super) queue: QueueConfig,
    pub(super) checkout_id: String,
    pub(super) job_id: String,
    /// That it was created, and that it was paid or that its payment begins.
    pub(super) event_ids: [String; 2],
    /// How payments at the gateway begin, where it is paid so.
    pub(super) gateway: Option<PaymentSettings>,
}

/// A cart that can be bought, if there is enough of everything.
struct Cart {
    seller_id: String,
    /// In which they were put on sale.
    tenant_id: Option<String>,
    currency: Currency,
    total: i64,
    items: Vec<CheckoutItem>,
    /// Each product once, and how much of it is wanted.
    products: Vec<(Product, i64)>,
}

impl Command for CreateCheckout {
    type Reply = Result<CheckoutReply, CheckoutError>;

    fn reads(&self) -> Vec<Key> {
        let products = self.lines.iter().map(|line| Product::key(&line.product_id));
        [Checkout::key(&self.user_id, &self.client_order_id)].into_iter().chain(products).collect()
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        match view.find::<Checkout>(&Checkout::key(&self.user_id, &self.client_order_id)) {
            Some(checkout) if checkout.fingerprint == self.fingerprint => {
                return Ok(CheckoutReply { checkout, replayed: true });
            }
            Some(_) => return Err(CheckoutError::IdempotencyMismatch),
            None => {}
        }
        let cart = self.cart(view)?;
        let external_payment = self.payment_id.as_ref().map(|id| Checkout::external_payment_of(&cart.seller_id, id));
        // Whose products they are shows only now: what that leads to is looked for together, so that it is read together.
        let is_used = external_payment.as_ref().is_some_and(|payment| view.contains(&Checkout::payment_key(payment)));
        let verified = self.gate.verify(view, &cart.seller_id);
        let _ = self.method == PaymentMethod::Wallet && view.contains(&wallet_key(&self.user_id, cart.currency));
        let seller = verified.map_err(|_| CheckoutError::SellerNotVerified)?;
        if is_used {
            return Err(CheckoutError::PaymentUsed);
        }
        let short = cart.products.iter().filter(|(product, wanted)| product.stock < *wanted);
        let short = short.map(|(product, wanted)| Shortage {
            product_id: product.id.clone(),
            requested: *wanted,
            available: product.stock,
        });
        let short: Vec<_> = short.collect();
        if !short.is_empty() {
            return Err(CheckoutError::OutOfStock(short));
        }
        self.buy(view, cart, external_payment, seller)
    }

    fn bytes(&self) -> usize {
        self.lines.len() * 512
    }
}

impl CreateCheckout {
    /// The products and prices of the lines, as of now.
    fn cart(&self, view: &View) -> Result<Cart, CheckoutError> {
        let wanted = sums(self.lines.iter().map(|line| (line.product_id.as_str(), line.quantity)));
        let mut products: BTreeMap<&str, Product> = BTreeMap::new();
        for &product_id in wanted.keys() {
            let product = view.by_id::<Product>(product_id).filter(|product| {
                let is_offered = product.status == ProductStatus::Active;
                is_offered && self.only_of.as_ref().is_none_or(|seller| *seller == product.seller_id)
            });
            if let Some(product) = product {
                products.insert(product_id, product);
            }
        }
        let first = self.lines.iter().find_map(|line| products.get(line.product_id.as_str()));
        let currency = first.map(|first| self.currency.unwrap_or(first.price.currency));
        let mut faults = Vec::new();
        let (mut items, mut total) = (Vec::with_capacity(self.lines.len()), Some(0_i64));
        for (number, line) in self.lines.iter().enumerate() {
            let mut blame = |code: &'static str, message: &'static str| {
                faults.push(FieldError::new(format!("items[{number}].productId"), code, message));
            };
            let product = products.get(line.product_id.as_str());
            let (Some(product), Some(first), Some(currency)) = (product, first, currency) else {
                blame("not_found", "is no product that can be bought here");
                continue;
            };
            if product.seller_id != first.seller_id {
                blame("seller_differs", "is another merchant's than the first one; a cart has one merchant");
                continue;
            }
            let Some(unit_price) = product.price_in(currency) else {
                blame("currency_differs", "has no price in the currency of the cart; a cart has one currency");
                continue;
            };
            let line_total = unit_price.checked_mul(line.quantity);
            total = total.zip(line_total).and_then(|(sum, line)| sum.checked_add(line));
            items.push(CheckoutItem {
                product_id: product.id.clone(),
                sku: product.sku.clone(),
                product_name: product.name.clone(),
                quantity: line.quantity,
                unit_price,
            });
        }
        let (Some(first), Some(currency), true) = (first, currency, faults.is_empty()) else {
            return Err(CheckoutError::Cart(faults));
        };
        let (seller_id, tenant_id) = (first.seller_id.clone(), first.tenant_id.clone());
        let Some(total) = total.filter(|total| *total <= AMOUNT_MAX) else {
            let message = "come to more than can be paid at once";
            return Err(CheckoutError::Cart(vec![FieldError::new("items", "too_much", message)]));
        };
        let products = wanted.into_iter().filter_map(|(id, wanted)| Some((products.remove(id)?, wanted))).collect();
        Ok(Cart { seller_id, tenant_id, currency, total, items, products })
    }

    /// Takes money and stock. There is enough stock; whether there is enough money the ledger says before anything is changed.
    fn buy(
        &self,
        view: &mut View,
        cart: Cart,
        external_payment: Option<String>,
        seller: Verified,
    ) -> Result<CheckoutReply, CheckoutError> {
        let now = view.now();
        let money = Money::new(cart.total, cart.currency);
        let transaction_id = match self.method {
            PaymentMethod::Gateway if money.amount < 1 => return Err(LedgerRefusal::Amount.into()),
            PaymentMethod::Gateway | PaymentMethod::External => None,
            PaymentMethod::Wallet => {
                let entry = LedgerEntry {
                    transaction_id: &sibling_id("txn", &self.event_ids[1]),
                    kind: LedgerKind::Purchase,
                    reference: LedgerReference::new("checkout", &*self.checkout_id, "payment"),
                    client_reference: None,
                    reason: None,
                    actor: &self.actor,
                };
                Some(wallet::debit(view, &self.user_id, money, Account::merchant(&cart.seller_id), &entry)?.id)
            }
        };
        for ((mut product, wanted), n) in cart.products.into_iter().zip(0..) {
            let entry = catalog::StockEntry {
                movement_id: &nth_id("mov", &self.checkout_id, n),
                kind: MovementKind::Sale,
                delta: -wanted,
                reference: catalog::StockReference { kind_of_thing: "sale", id: self.checkout_id.clone() },
                reason: None,
                actor: &self.actor,
            };
            move_stock(view, &mut product, &entry).expect("there is enough: it was compared");
        }
        let mut checkout = Checkout {
            id: self.checkout_id.clone(),
            order_number: readable_number(&self.checkout_id),
            user_id: self.user_id.clone(),
            seller_id: cart.seller_id,
            tenant_id: self.tenant_id.clone().or(cart.tenant_id),
            client_order_id: self.client_order_id.clone(),
            fingerprint: self.fingerprint.clone(),
            status: CheckoutStatus::Pending,
            priority: self.priority,
            currency: cart.currency,
            total: cart.total,
            items: cart.items,
            customer: Some(self.customer.clone()),
            shipping_address: Some(self.shipping_address.clone()),
            erased_at: None,
            payment: Payment {
                method: self.method,
                status: PaymentStatus::Pending,
                payment_id: self.payment_id.clone(),
                transaction_id,
                refund_id: None,
                expires_at: None,
                gateway_payment: None,
                url: None,
            },
            external_payment,
            parts: Vec::new(),
            cancellation: None,
            completed_at: None,
            cancel_reason: None,
            events: 0,
            correlation_id: self.correlation_id.clone(),
            created_at: now,
            updated_at: now,
        };
        record(view, &mut checkout, &self.event_ids[0], "CheckoutCreated", &self.actor);
        let by = Author { actor: &self.actor, event_id: &self.event_ids[1] };
        if let Some(gateway) = &self.gateway {
            let bought = CheckoutToPay {
                checkout_id: &checkout.id,
                user_id: &checkout.user_id,
                money,
                rush: checkout.priority.is_rush(),
                correlation_id: &checkout.correlation_id,
            };
            let begun = topups::begin_for_checkout(view, &bought, gateway, by, seller);
            checkout.payment.expires_at = Some(begun.expires_at);
            checkout.payment.gateway_payment = Some(begun.id);
        } else {
            pay(view, &mut checkout, by, &self.job_id, &self.queue);
        }
        view.insert(&checkout);
        Ok(CheckoutReply { checkout, replayed: false })
    }
}

/// Takes a checkout back, with its stock and its money; where it has orders, once these are.
pub(super) struct CancelCheckout {
    pub(super) orders: Vec<CancelOrderTemplate>,
    pub(super) user_id: String,
    pub(super) client_order_id: String,
    pub(super) reason: Option<String>,
    pub(super) actor: Actor,
    pub(super) event_id: String,
    /// Where refunds are asked for.
    pub(super) payments: QueueConfig,
}

impl Command for CancelCheckout {
    type Reply = Result<CheckoutReply, CheckoutError>;

    fn reads(&self) -> Vec<Key> {
        vec![Checkout::key(&self.user_id, &self.client_order_id)]
    }

    fn decide(&self, view: &mut View) -> Self::Reply {
        let found = view.find::<Checkout>(&Checkout::key(&self.user_id, &self.client_order_id));
        let mut checkout = found.ok_or(CheckoutError::NotFound)?;
        if checkout.status == CheckoutStatus::Cancelled {
            return Ok(CheckoutReply { checkout, replayed: true });
        }
        let by = Author { actor: &self.actor, event_id: &self.event_id };
        match take_back(view, &mut checkout, &self.orders, by)? {
            TakenBack::Nothing => reversal::cancel(view, &mut checkout, &self.payments, by)?,
            TakenBack::UnderWay => return Ok(CheckoutReply { checkout, replayed: true }),
            TakenBack::Asked => {}
        }
        checkout.cancel_reason.clone_from(&self.reason);
        view.update(&checkout);
        Ok(CheckoutReply { checkout, replayed: false })
    }
}

/// A pending checkout is paid, and what follows is under way; it is to be written afterwards.
pub(super) fn pay(view: &mut View, checkout: &mut Checkout, by: Author<'_>, job_id: &str, queue: &QueueConfig) {
    let now = view.now();
    checkout.status = next(checkout.status, CheckoutCommand::Pay).expect("what is pending can be paid");
    checkout.payment.status = PaymentStatus::Paid;
    checkout.payment.url = None;
    checkout.payment.expires_at = None;
    checkout.updated_at = now;
    record(view, checkout, by.event_id, "CheckoutPaid", by.actor);
    view.insert(&checkout.fulfil_job(job_id, queue, &checkout.correlation_id, now));
}
