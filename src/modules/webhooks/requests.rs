//! Requests of owners, and their rules.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::{Validate, ValidationError};

use super::{
    changes::EndpointChange,
    model::{DeliveryStatus, EndpointStatus},
    payload,
};
use crate::platform::{
    clock::Rfc3339Time,
    http::{
        checks::{fault, harmless, nullable_lines},
        cursor,
    },
    json::one_of,
    text::lines,
};

/// Types that a request may name: there are fewer.
const TYPES_MAX: u64 = 100;
const DESCRIPTION_CHARS_MAX: usize = 200;
/// Longest time for which a secret that was replaced goes on signing: a week.
const GRACE_HOURS_MAX: u32 = 168;
/// A day is enough to change a setting.
const GRACE_HOURS: u32 = 24;

/// `POST /webhook-endpoints`
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateEndpointRequest {
    /// Address to post to: https, in the public internet, on port 443 or one above 1023.
    #[schema(example = "https://shop.example.com/hooks/waybill", max_length = 2000)]
    pub(super) url: String,
    /// Types of events; left out or empty, all of them.
    #[serde(default)]
    #[validate(length(max = TYPES_MAX))]
    #[schema(value_type = Option<Vec<String>>, max_items = 100)]
    types: Option<Vec<EventType>>,
    /// A description of your choice.
    #[serde(default, deserialize_with = "lines")]
    #[validate(custom(function = "plain_words"))]
    #[schema(max_length = 200)]
    pub(super) description: Option<String>,
}

/// `PATCH /webhook-endpoints/{endpointId}`. What is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ChangeEndpointRequest {
    /// Address to post to.
    #[serde(default)]
    #[schema(max_length = 2000)]
    url: Option<String>,
    /// Types of events; empty, all of them.
    #[serde(default)]
    #[validate(length(max = TYPES_MAX))]
    #[schema(value_type = Option<Vec<String>>, max_items = 100)]
    types: Option<Vec<EventType>>,
    /// A description of your choice; `null` removes it.
    #[serde(default, deserialize_with = "nullable_lines")]
    #[validate(custom(function = "plain_words"))]
    #[schema(value_type = Option<String>, max_length = 200)]
    description: Option<Option<String>>,
    /// `disabled`: nothing is posted any more; what waits fails.
    #[serde(default)]
    status: Option<EndpointStatus>,
}

impl ChangeEndpointRequest {
    /// The change; the URL is as it was sent.
    pub(super) fn into_change(self) -> EndpointChange {
        let description = self.description.map(|description| description.filter(|text| !text.is_empty()));
        EndpointChange { url: self.url, types: self.types.map(distinct), description, status: self.status }
    }
}

impl CreateEndpointRequest {
    /// The types, each once, and the words.
    pub(super) fn types_and_words(self) -> (Vec<String>, Option<String>) {
        (distinct(self.types.unwrap_or_default()), self.description.filter(|text| !text.is_empty()))
    }
}

/// A type of events as it is called outside; one that is not known can't be read.
#[derive(Clone, Copy, Debug, Serialize)]
struct EventType(&'static str);

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        one_of(from, payload::known()).map(Self)
    }
}

fn distinct(types: Vec<EventType>) -> Vec<String> {
    let mut names: Vec<String> = types.into_iter().map(|kind| kind.0.to_owned()).collect();
    names.sort();
    names.dedup();
    names
}

/// `POST /webhook-endpoints/{endpointId}/rotate-secret`
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RotateSecretRequest {
    /// Hours for which the earlier secrets sign too.
    #[serde(default = "grace_hours")]
    #[validate(range(min = 0, max = GRACE_HOURS_MAX))]
    #[schema(default = 24, minimum = 0, maximum = 168)]
    pub(super) grace_hours: u32,
}

const fn grace_hours() -> u32 {
    GRACE_HOURS
}

/// `POST /webhook-endpoints/{endpointId}/replay`
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReplayRequest {
    /// Events from then on, at most 30 days ago.
    pub(super) from: Rfc3339Time,
    /// And before then; left out, until now.
    #[serde(default)]
    pub(super) to: Option<Rfc3339Time>,
    /// Only what could not be delivered to this endpoint.
    #[serde(default)]
    pub(super) only_failed: bool,
}

/// `GET /webhook-deliveries`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListDeliveriesQuery {
    /// Deliveries on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    pub(super) limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[validate(custom(function = "delivery_cursor"))]
    pub(super) cursor: Option<String>,
    /// Endpoint, `whe_...`.
    pub(super) endpoint_id: Option<String>,
    /// Status.
    pub(super) status: Option<DeliveryStatus>,
}

/// `GET /webhook-events`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListWebhookEventsQuery {
    /// Events on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    pub(super) limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[validate(custom(function = "event_cursor"))]
    pub(super) cursor: Option<String>,
    /// Events from then on, RFC 3339.
    #[param(value_type = Option<String>)]
    pub(super) from: Option<Rfc3339Time>,
}

/// Auditors don't read it, but operators of the database do.
fn plain_words(text: &str) -> Result<(), ValidationError> {
    if text.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(fault("length", format!("must have at most {DESCRIPTION_CHARS_MAX} characters")));
    }
    harmless(text)
}

fn delivery_cursor(text: &str) -> Result<(), ValidationError> {
    cursor::check_id("whd", text)
}

fn event_cursor(text: &str) -> Result<(), ValidationError> {
    cursor::check_id("evt", text)
}
