//! What an order is about, in our own words: what is stored, and what adapters translate. Each kind of providers has one detail
//! object.

mod shipment;

use serde::{Deserialize, Serialize};

pub use shipment::{Dimensions, Item, Party, PaymentMode, Service, Shipment};

use super::Kind;

/// What an order is about; stored under its own name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Detail {
    /// For a carrier.
    Shipment(Shipment),
}

impl Detail {
    /// The kind of providers that take it.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Shipment(_) => Kind::Carrier,
        }
    }

    /// The same as a request for it is read today: what is stored may have been written before there was a normal form.
    #[must_use]
    pub fn normalized(&self) -> Self {
        match self {
            Self::Shipment(shipment) => Self::Shipment(shipment.normalized()),
        }
    }

    /// Bytes that it takes up beyond its own size, as far as they may be many.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Shipment(shipment) => {
                shipment.items.iter().map(|item| size_of::<Item>() + item.sku.len() + item.name.len()).sum()
            }
        }
    }

    /// What is to be carried; none where it is about something else.
    #[must_use]
    pub const fn shipment(&self) -> Option<&Shipment> {
        match self {
            Self::Shipment(shipment) => Some(shipment),
        }
    }
}
