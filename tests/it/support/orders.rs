//! Orders to send.

use serde_json::{Value, json};
use waybill::modules::providers::{Declaration, ProviderKind};

use super::registry::extract;

/// A valid order of the kind that `provider` takes.
pub fn of(provider: &Declaration, client_order_id: &str) -> Value {
    let mut order = match provider.kind {
        ProviderKind::Carrier => order(client_order_id),
        ProviderKind::Erp => sale(client_order_id),
        ProviderKind::Registry => extract(client_order_id, "base"),
    };
    order["provider"] = json!(provider.name);
    order
}

pub fn order(client_order_id: &str) -> Value {
    json!({
        "clientOrderId": client_order_id, "provider": "parcelx",
        "shipment": {
            "service": "surface", "paymentMode": "prepaid", "currency": "INR", "codAmount": 0,
            "weightGrams": 450, "dimensionsCm": { "length": 20, "width": 15, "height": 8 },
            "consignee": {
                "name": "Asha Rao", "phone": "9876543210", "email": null, "line1": "12 MG Road", "line2": null,
                "city": "Bengaluru", "state": "Karnataka", "pincode": "560001", "country": "IN",
            },
            "pickup": {
                "name": "Kiran Stores", "phone": "9812345678", "line1": "Plot 7", "city": "New Delhi",
                "state": "Delhi", "pincode": "110020", "country": "IN",
            },
            "items": [{ "sku": "TS-BLK-M", "name": "T-shirt", "quantity": 2, "unitPrice": 49900 }],
        },
    })
}

/// A valid order of another kind: a sale, for an ERP.
pub fn sale(client_order_id: &str) -> Value {
    json!({
        "clientOrderId": client_order_id, "provider": "xapi",
        "sale": {
            "currency": "EUR", "orderedAt": "2026-11-29T10:00:00.000Z", "paymentId": "pay_1",
            "customer": {
                "gender": "female", "firstName": "Eva", "lastName": "Muster", "email": "eva@example.com",
                "phone": "+4930123456",
            },
            "billingAddress": {
                "line1": "Hauptstraße 4/1", "line2": null, "city": "Berlin", "postcode": "10115", "country": "DE",
            },
            "shippingAddress": null,
            "lines": [
                { "sku": "A-1", "name": "Buch", "quantity": 2, "unitPrice": 1999 },
                { "sku": "A-2", "name": "Heft", "quantity": 1, "unitPrice": 0 },
            ],
            "shippingCost": 490,
        },
    })
}
