//! Parts of a new order: the request, its origin and its ids.

use crate::{
    modules::{
        events::Actor,
        providers::{Declaration, Detail},
    },
    platform::ids::new_id,
};

/// A create request after validation.
#[derive(Debug)]
pub struct NewOrder {
    /// The merchant's id.
    pub client_order_id: String,
    pub provider: &'static Declaration,
    pub detail: Detail,
}

/// In whose name an order is created, and what it is to be called.
#[derive(Clone, Debug)]
pub struct OrderOrigin {
    pub user_id: String,
    pub tenant_id: Option<String>,
    pub actor: Actor,
    /// `X-Request-Id` of what it follows from.
    pub correlation_id: String,
    /// The checkout that it carries out.
    pub part_of: Option<PartOf>,
    pub ids: OrderIds,
}

/// The checkout that an order carries out.
#[derive(Clone, Debug)]
pub struct PartOf {
    /// `chk_...`
    pub checkout_id: String,
    /// An earlier order that came to nothing: this one takes its place, and it is not sent again.
    pub replaces: Option<String>,
    /// It goes first.
    pub is_rush: bool,
}

/// Ids of an order, of its job and of the event that says that it is there.
#[derive(Clone, Debug)]
pub struct OrderIds {
    pub(super) order_id: String,
    pub(super) job_id: String,
    pub(super) event_id: String,
}

impl OrderIds {
    #[must_use]
    pub fn fresh() -> Self {
        Self { order_id: new_id("ord"), job_id: new_id("job"), event_id: new_id("evt") }
    }
}
