//! Filters of exports, and the field in which each collection holds what a filter names.

use bson::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::{
    model::{AUDIT_EVENTS, REQUEST_LOGS, RESPONSE_LOGS},
    proof::Scopes,
    query::{EVENTS, LEDGER},
};
use crate::platform::{clock::Rfc3339Time, error::FieldError, walk::TimeRange};

/// Longest value of a filter.
const TEXT_CHARS_MAX: usize = 128;

/// File format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ExportFormat {
    /// JSON, a value per line: what can be checked.
    #[default]
    Ndjson,
    /// A record per row, for spreadsheets; without salts and proofs.
    Csv,
}

/// Whole seals, or records that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportMode {
    /// Whole seals with all their records, without gaps.
    Chain,
    /// Records that match, each with its proof.
    Selection,
}

impl ExportMode {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Selection => "selection",
        }
    }
}

/// Filter of an export; all that is given has to hold. With nothing but times it is whole seals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExportFilter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// About what its owner calls so; calls only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_order_id: Option<String>,
    /// Provider; calls only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Operation; calls only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Answered with this shipment; calls only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awb: Option<String>,
    /// Following from this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// In these collections; all where none is named.
    #[serde(rename = "collection", skip_serializing_if = "Vec::is_empty")]
    pub collections: Vec<String>,
    /// From then on: of a chain by the time of its seals, of a selection by the time that the records' ids carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Rfc3339Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Rfc3339Time>,
}

impl ExportFilter {
    /// Whole seals, or records that match.
    #[must_use]
    pub fn mode(&self) -> ExportMode {
        let narrows = !self.collections.is_empty() || self.texts().next().is_some();
        if narrows { ExportMode::Selection } else { ExportMode::Chain }
    }

    /// Its faults; none where it can be exported.
    #[must_use]
    pub fn faults(&self) -> Vec<FieldError> {
        let mut faults = Vec::new();
        for (name, text) in self.texts() {
            if !(1..=TEXT_CHARS_MAX).contains(&text.chars().count()) {
                let message = format!("must have between 1 and {TEXT_CHARS_MAX} characters or entries");
                faults.push(FieldError::new(name, "length", message));
            }
        }
        for collection in &self.collections {
            if Scopes::standard().of_collection(collection).is_none() {
                let known: Vec<&str> = Scopes::standard().today().map(|scope| scope.collection()).collect();
                let message = format!("must be one of {}, or some of them with commas between", known.join(", "));
                faults.push(FieldError::new("collection", "unknown_value", message));
            } else if let Some((name, _)) = self.texts().find(|(name, _)| place_of(name, collection).is_none()) {
                let message = format!("{collection} can't be looked through by {name}: its records have none");
                faults.push(FieldError::new("collection", "not_applicable", message));
            }
        }
        if let (Some(from), Some(to)) = (self.from, self.to)
            && from.0 >= to.0
        {
            faults.push(FieldError::new("to", "range", "must be later than from"));
        }
        faults
    }

    /// Whether records of a collection can match.
    pub(super) fn reaches(&self, collection: &str) -> bool {
        let named = self.collections.is_empty() || self.collections.iter().any(|named| named == collection);
        named && self.texts().all(|(name, _)| place_of(name, collection).is_some())
    }

    /// The fields that are set, but for collections and times, by name.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("orderId", &self.order_id),
            ("userId", &self.user_id),
            ("clientOrderId", &self.client_order_id),
            ("provider", &self.provider),
            ("operation", &self.operation),
            ("awb", &self.awb),
            ("correlationId", &self.correlation_id),
        ];
        all.into_iter().filter_map(|(name, text)| text.as_deref().map(|text| (name, text)))
    }

    /// The same, of nothing later than `end`.
    pub(super) fn until(mut self, end: DateTime) -> Self {
        self.to = Some(self.to.map_or(Rfc3339Time(end), |to| to.min(Rfc3339Time(end))));
        self
    }

    pub(super) fn range(&self) -> TimeRange {
        TimeRange { from: self.from.map(|time| time.0), to: self.to.map(|time| time.0) }
    }
}

/// The field in which records of a collection hold what a filter names; none where they hold no such thing. A request is
/// found by an AWB through its answers.
pub(super) fn place_of(filter: &str, collection: &str) -> Option<&'static str> {
    let is_call = matches!(collection, REQUEST_LOGS | RESPONSE_LOGS);
    match (filter, collection) {
        ("orderId", EVENTS) => Some("subjectId"),
        ("orderId", AUDIT_EVENTS) => Some("resourceId"),
        ("orderId", LEDGER) => Some("referenceId"),
        ("orderId", _) => Some("orderId"),
        ("userId", _) => Some("userId"),
        ("correlationId", _) => Some(if is_call { "correlationId" } else { "actor.requestId" }),
        ("clientOrderId", _) if is_call => Some("clientOrderId"),
        ("provider", _) if is_call => Some("provider"),
        ("operation", _) if is_call => Some("operation"),
        ("awb", _) if is_call => Some("awb"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<String> {
        Some(text.into())
    }

    fn faults(filter: &ExportFilter) -> Vec<String> {
        filter.faults().iter().map(|fault| format!("{}:{}", fault.field, fault.code)).collect()
    }

    #[test]
    fn times_alone_choose_whole_seals() {
        let from = "2026-01-01T00:00:00Z".parse().ok();
        let chain = ExportFilter { from, ..ExportFilter::default() };
        assert_eq!((ExportFilter::default().mode(), chain.mode()), (ExportMode::Chain, ExportMode::Chain));
        let named = ExportFilter { collections: vec![EVENTS.into()], ..chain.clone() };
        let about = ExportFilter { order_id: text("ord_1"), ..chain };
        assert_eq!((named.mode(), about.mode()), (ExportMode::Selection, ExportMode::Selection));
        assert_eq!(
            serde_json::to_value(about).ok(),
            Some(serde_json::json!({ "orderId": "ord_1", "from": "2026-01-01T00:00:00.000Z" }))
        );
    }

    #[test]
    fn what_can_match_nothing_is_named() {
        assert_eq!(faults(&ExportFilter::default()), [""; 0]);
        let collections = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        for (filter, fault) in [
            (ExportFilter { order_id: text(""), ..ExportFilter::default() }, "orderId:length"),
            (ExportFilter { awb: Some("x".repeat(129)), ..ExportFilter::default() }, "awb:length"),
            (
                ExportFilter { collections: collections(&["users"]), ..ExportFilter::default() },
                "collection:unknown_value",
            ),
            (
                ExportFilter { awb: text("1"), collections: collections(&[EVENTS]), ..ExportFilter::default() },
                "collection:not_applicable",
            ),
        ] {
            assert_eq!(faults(&filter), [fault]);
        }
        let awb = ExportFilter { awb: text("1"), ..ExportFilter::default() };
        assert!(awb.reaches(REQUEST_LOGS) && awb.reaches(RESPONSE_LOGS) && !awb.reaches(LEDGER));
    }
}
