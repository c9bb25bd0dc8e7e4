//! Orders for a checkout: written as the merchant's own server would write it in a request for an order, and read by the same
//! rules. So what a provider can't take is refused here with the field to blame. Pure.

use serde_json::{Value, json};

use super::{parts::PartFailure, settings::CarrierSettings};
use crate::{
    modules::{
        catalog::{PieceDimensions, PieceParcel, Product},
        checkout::model::{Checkout, CheckoutCustomer, CheckoutItem, ShippingAddress},
        providers::Party,
    },
    platform::{
        clock::Rfc3339Time,
        india::pincodes::priced_state,
        text::{international, pincode},
    },
};

/// The longest name of an article in an ERP.
const ERP_NAME_CHARS_MAX: usize = 100;
/// First name where the customer has only one name.
const NO_FIRST_NAME: &str = "-";

/// Name and address of the receiver; an error once they are erased.
fn addressee(checkout: &Checkout) -> Result<(&CheckoutCustomer, &ShippingAddress), PartFailure> {
    let erased = || PartFailure::new("checkout.erased", "Name and address of the customer were erased.");
    checkout.customer.as_ref().zip(checkout.shipping_address.as_ref()).ok_or_else(erased)
}

/// A sale of what was bought, with the address of the parcel as that of the bill.
pub(super) fn sale(checkout: &Checkout, client_order_id: &str, provider: &str) -> Result<Value, PartFailure> {
    let (customer, address) = addressee(checkout)?;
    let (first_name, last_name) = customer.name.rsplit_once(' ').unwrap_or((NO_FIRST_NAME, &customer.name));
    // An ERP wants one.
    let receivers = address.phone.as_deref().and_then(international);
    let phone = customer.phone.clone().or(receivers).unwrap_or_default();
    let payment = &checkout.payment;
    let payment_id = payment.payment_id.as_ref().or(payment.transaction_id.as_ref()).unwrap_or(&checkout.id);
    let line = |item: &CheckoutItem| {
        let name: String = item.product_name.chars().take(ERP_NAME_CHARS_MAX).collect();
        json!({ "sku": item.sku, "name": name, "quantity": item.quantity, "unitPrice": item.unit_price })
    };
    Ok(json!({
        "clientOrderId": client_order_id,
        "provider": provider,
        "sale": {
            "currency": checkout.currency,
            "orderedAt": Rfc3339Time(checkout.created_at),
            "paymentId": payment_id,
            "customer": {
                "firstName": first_name.trim(), "lastName": last_name, "email": customer.email, "phone": phone,
            },
            "billingAddress": {
                "line1": address.line1, "line2": address.line2, "city": address.city, "postcode": address.postcode,
                "country": address.country,
            },
            "lines": checkout.items.iter().map(line).collect::<Vec<_>>(),
        },
    }))
}

/// A parcel with what was bought, from the merchant's warehouse. `product` finds products.
pub(super) fn shipment(
    checkout: &Checkout,
    client_order_id: &str,
    carrier: &CarrierSettings,
    pickup: Option<&Party>,
    product: impl Fn(&str) -> Option<Product>,
) -> Result<Value, PartFailure> {
    let (customer, address) = addressee(checkout)?;
    let pickup =
        pickup.ok_or_else(|| PartFailure::new("checkout.no_pickup", "There is no address to pick up from."))?;
    let parcel = parcel(checkout, product)?;
    // The state of a postal code is known.
    let known = || priced_state(&pincode(&address.postcode)).map(|state| state.name);
    let state = address.state.as_deref().or_else(known).unwrap_or_default();
    let item = |item: &CheckoutItem| json!({ "sku": item.sku, "name": item.product_name, "quantity": item.quantity, "unitPrice": item.unit_price });
    let PieceParcel { weight_grams, dimensions_cm } = parcel;
    Ok(json!({
        "clientOrderId": client_order_id,
        "provider": carrier.provider,
        "shipment": {
            "service": carrier.service,
            "paymentMode": "prepaid",
            "currency": checkout.currency,
            "weightGrams": weight_grams,
            "dimensionsCm": dimensions_cm,
            "consignee": {
                "name": address.name.as_ref().unwrap_or(&customer.name),
                "phone": address.phone.as_ref().or(customer.phone.as_ref()).map_or("", String::as_str),
                "email": customer.email,
                "line1": address.line1, "line2": address.line2, "city": address.city, "state": state,
                "pincode": address.postcode, "country": address.country,
            },
            "pickup": pickup,
            "items": checkout.items.iter().map(item).collect::<Vec<_>>(),
        },
    }))
}

/// All pieces in one box: weights are summed, and the pieces lie flat on each other, so the box is as long and as wide as the longest
/// and the widest, and as high as all together.
fn parcel(checkout: &Checkout, product: impl Fn(&str) -> Option<Product>) -> Result<PieceParcel, PartFailure> {
    let (mut weight_grams, mut length, mut width, mut height) = (0_i64, 0_i64, 0_i64, 0_i64);
    for (product_id, quantity) in checkout.quantities() {
        let Some(one) = product(product_id).and_then(|product| product.parcel) else {
            let sku = checkout.items.iter().find(|item| item.product_id == product_id).map_or("", |item| &item.sku);
            let message = format!("Product {sku} has no parcel: set its weight and dimensions, and send it again.");
            return Err(PartFailure::new("checkout.no_parcel", message));
        };
        let sides = one.dimensions_cm;
        let mut sides = [sides.length, sides.width, sides.height].map(i64::from);
        sides.sort_unstable();
        let [lowest, middle, longest] = sides;
        weight_grams = weight_grams.saturating_add(one.weight_grams.saturating_mul(quantity));
        height = height.saturating_add(lowest.saturating_mul(quantity));
        (length, width) = (length.max(longest), width.max(middle));
    }
    // What is too large for a carrier is refused with the rest.
    let side = |side: i64| i32::try_from(side).unwrap_or(i32::MAX);
    let dimensions_cm = PieceDimensions { length: side(length), width: side(width), height: side(height) };
    Ok(PieceParcel { weight_grams, dimensions_cm })
}
