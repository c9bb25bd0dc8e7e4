//! Kinds of providers.

/// Kinds of providers; each has a detail object of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// Carries parcels: `shipment`.
    Carrier,
    /// Keeps a merchant's books: `sale`.
    Erp,
    /// Gives extracts from a register: `extract`.
    Registry,
}

impl ProviderKind {
    /// As people write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Carrier => "carrier",
            Self::Erp => "erp",
            Self::Registry => "registry",
        }
    }

    pub const ALL: [Self; 3] = [Self::Carrier, Self::Erp, Self::Registry];

    /// The name of its detail object in requests, answers and the database.
    #[must_use]
    pub const fn detail_name(self) -> &'static str {
        match self {
            Self::Carrier => "shipment",
            Self::Erp => "sale",
            Self::Registry => "extract",
        }
    }

    /// Whether its providers are owed the price once they have delivered, not once they have accepted.
    #[must_use]
    pub const fn is_owed_on_delivery(self) -> bool {
        match self {
            Self::Carrier | Self::Erp => false,
            Self::Registry => true,
        }
    }
}
