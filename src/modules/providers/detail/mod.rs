//! The content of an order in our own terms: stored as it is, and translated by adapters. Each kind of providers has one detail
//! object.

mod extract;
mod sale;
mod shipment;

use serde::{Deserialize, Serialize};

pub use extract::{Extract, ExtractType};
pub use sale::{Gender, Sale, SaleAddress, SaleCustomer, SaleLine};
pub use shipment::{ParcelDimensions, Party, PaymentMode, Service, Shipment, ShipmentItem};

use super::ProviderKind;

/// The content of an order; stored under the name of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Detail {
    Shipment(Shipment),
    Sale(Sale),
    Extract(Extract),
}

impl Detail {
    /// The kind of providers that take it.
    #[must_use]
    pub const fn kind(&self) -> ProviderKind {
        match self {
            Self::Shipment(_) => ProviderKind::Carrier,
            Self::Sale(_) => ProviderKind::Erp,
            Self::Extract(_) => ProviderKind::Registry,
        }
    }

    /// The same as a request for it is read today: what is stored may have been written before there was a normal form.
    #[must_use]
    pub fn normalized(&self) -> Self {
        match self {
            Self::Shipment(shipment) => Self::Shipment(shipment.normalized()),
            Self::Sale(sale) => Self::Sale(sale.normalized()),
            Self::Extract(_) => self.clone(),
        }
    }

    /// Bytes that it takes up beyond its own size, as far as they may be many.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Shipment(shipment) => {
                shipment.items.iter().map(|item| size_of::<ShipmentItem>() + item.sku.len() + item.name.len()).sum()
            }
            Self::Sale(sale) => {
                sale.lines.iter().map(|line| size_of::<SaleLine>() + line.sku.len() + line.name.len()).sum()
            }
            Self::Extract(_) => 0,
        }
    }

    /// The shipment, if it is one.
    #[must_use]
    pub const fn shipment(&self) -> Option<&Shipment> {
        match self {
            Self::Shipment(shipment) => Some(shipment),
            Self::Sale(_) | Self::Extract(_) => None,
        }
    }

    /// The sale, if it is one.
    #[must_use]
    pub const fn sale(&self) -> Option<&Sale> {
        match self {
            Self::Sale(sale) => Some(sale),
            Self::Shipment(_) | Self::Extract(_) => None,
        }
    }

    /// The extract, if it is one.
    #[must_use]
    pub const fn extract(&self) -> Option<&Extract> {
        match self {
            Self::Extract(extract) => Some(extract),
            Self::Shipment(_) | Self::Sale(_) => None,
        }
    }
}
