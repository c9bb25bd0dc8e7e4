//! Requests as clients write them, and their rules.

mod checks;
mod extract;
mod sale;
mod shipment;

use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema,
        schema::{AdditionalProperties, Type},
    },
};
use validator::{Validate, ValidationError};

use super::{model::OrderStatus, new_order::NewOrder};
use crate::{
    modules::providers::{Declaration, Detail, ProviderKind, ProviderName, registry::PROVIDERS},
    platform::{
        clock::Rfc3339Time,
        http::checks::{client_id, fault_of},
        text::free_text,
    },
};
use checks::null_is_default;

pub use extract::ExtractRequest;
pub use sale::SaleRequest;
pub use shipment::{PartyRequest, ShipmentRequest};

/// `POST /orders/create`.
#[derive(Debug, Deserialize, Serialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[validate(schema(function = "detail_matches_provider"))]
pub struct CreateOrderRequest {
    /// Your id of the order: the same id is the same order, for ever.
    #[validate(custom(function = "client_id"))]
    pub client_order_id: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub provider: ProviderName,
    /// The parcel; required for a carrier.
    #[validate(nested)]
    pub shipment: Option<ShipmentRequest>,
    /// The sale; required for an ERP.
    #[validate(nested)]
    pub sale: Option<SaleRequest>,
    /// The extract; required for a register.
    #[validate(nested)]
    pub extract: Option<ExtractRequest>,
}

/// `POST /orders/cancel`.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CancelOrderRequest {
    /// The id under which the order was created.
    #[validate(custom(function = "client_id"))]
    pub client_order_id: String,
    /// The reason; for your own records.
    #[validate(length(max = 300), custom(function = "free_text"))]
    #[schema(max_length = 300)]
    pub reason: Option<String>,
}

/// `GET /orders`.
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListOrdersQuery {
    /// Orders on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    pub limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[validate(custom(function = "order_cursor"))]
    pub cursor: Option<String>,
    /// Your id.
    #[validate(custom(function = "client_id"))]
    pub client_order_id: Option<String>,
    /// Status.
    pub status: Option<OrderStatus>,
    /// Provider.
    pub provider: Option<ProviderName>,
    /// Created at or after (RFC 3339).
    pub from: Option<Rfc3339Time>,
    /// Created before (RFC 3339).
    pub to: Option<Rfc3339Time>,
}

impl CreateOrderRequest {
    /// The meaning of the request; `None` where the detail object is missing, which validation has excluded.
    pub(super) fn into_order(self) -> Option<NewOrder> {
        let provider = self.provider.declaration();
        let detail = match provider.kind {
            ProviderKind::Carrier => Detail::Shipment(self.shipment?.into()),
            ProviderKind::Erp => Detail::Sale(self.sale?.into()),
            ProviderKind::Registry => Detail::Extract(self.extract?.into()),
        };
        Some(NewOrder { client_order_id: self.client_order_id, provider, detail })
    }
}

fn order_cursor(cursor: &str) -> Result<(), ValidationError> {
    crate::platform::http::cursor::check_id("ord", cursor)
}

fn detail_matches_provider(request: &CreateOrderRequest) -> Result<(), ValidationError> {
    let kind = request.provider.declaration().kind;
    let details = [
        (ProviderKind::Carrier, request.shipment.is_some()),
        (ProviderKind::Erp, request.sale.is_some()),
        (ProviderKind::Registry, request.extract.is_some()),
    ];
    for (of, is_given) in details {
        match (of == kind, is_given) {
            (true, false) => return Err(fault_of(of.detail_name(), "required", "is required for this provider")),
            (false, true) => return Err(fault_of(of.detail_name(), "unexpected", "is not what this provider takes")),
            _ => {}
        }
    }
    Ok(())
}

/// One shape per provider: its name, and the detail object of its kind.
impl PartialSchema for CreateOrderRequest {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let id = || {
            text()
                .description(Some("Your id of the order: the same id is the same order, for ever."))
                .examples([json!("c-1001")])
                .min_length(Some(1))
                .max_length(Some(128))
        };
        let shape = |provider: &&Declaration| {
            let detail = provider.kind.detail_name();
            let schema = match provider.kind {
                ProviderKind::Carrier => ShipmentRequest::name(),
                ProviderKind::Erp => SaleRequest::name(),
                ProviderKind::Registry => ExtractRequest::name(),
            };
            let name = text().description(Some("Where it goes.")).enum_values(Some([provider.name]));
            let is_default = provider.name == ProviderName::default().as_str();
            let name = if is_default { name.default(Some(json!(provider.name))) } else { name };
            let object = ObjectBuilder::new()
                .title(Some(provider.title))
                .property("clientOrderId", id())
                .property("provider", name)
                .property(detail, Ref::from_schema_name(schema))
                .required("clientOrderId")
                .required(detail)
                .additional_properties(Some(AdditionalProperties::FreeForm(false)));
            if is_default { object } else { object.required("provider") }
        };
        PROVIDERS.iter().map(shape).fold(OneOfBuilder::new(), |all, one| all.item(one)).into()
    }
}

impl ToSchema for CreateOrderRequest {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((ShipmentRequest::name().into_owned(), ShipmentRequest::schema()));
        ShipmentRequest::schemas(schemas);
        schemas.push((SaleRequest::name().into_owned(), SaleRequest::schema()));
        SaleRequest::schemas(schemas);
        schemas.push((ExtractRequest::name().into_owned(), ExtractRequest::schema()));
        ExtractRequest::schemas(schemas);
    }
}
