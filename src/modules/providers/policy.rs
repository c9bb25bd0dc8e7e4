//! What may be stored of calls, as the adapters themselves declare it: nothing is written down twice.

use super::{Operation, idcheck, parcelx, paygate};
use crate::platform::exchange::Redaction;

/// What may be stored of one operation of one provider.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// As in logs.
    pub provider: &'static str,
    /// As in logs.
    pub operation: &'static str,
    /// The allow-lists.
    pub redaction: &'static Redaction,
}

/// The policies of all adapters.
#[must_use]
pub fn policies() -> Vec<Policy> {
    let carrier = Operation::ALL.map(|operation| Policy {
        provider: parcelx::NAME,
        operation: operation.as_str(),
        redaction: parcelx::redaction(operation),
    });
    let payments = paygate::REDACTIONS.iter().map(|(operation, redaction)| Policy {
        provider: paygate::NAME,
        operation,
        redaction,
    });
    let checks = idcheck::CheckKind::ALL.map(|kind| Policy {
        provider: idcheck::NAME,
        operation: kind.operation(),
        redaction: idcheck::REDACTION,
    });
    carrier.into_iter().chain(payments).chain(checks).collect()
}

#[cfg(test)]
mod tests {
    use bson::{Bson, RawDocumentBuf, doc};
    use secrecy::SecretString;

    use super::*;
    use crate::modules::audit::proof::{Record, Scopes, commitment_key, commitments};

    /// A body with text at `path`, twice where it goes through an array, and where that is.
    fn worded(path: &str, at: &str) -> (Bson, Vec<String>) {
        let (step, rest) = path.split_once('.').map_or((path, None), |(step, rest)| (step, Some(rest)));
        let name = step.trim_end_matches("[]");
        let below = |at: String| match rest {
            Some(rest) => worded(rest, &at),
            None => ("Delivered to Asha Rao".into(), vec![at]),
        };
        let (value, places) = if name == step {
            below(format!("{at}.{name}"))
        } else {
            let (first, mut places) = below(format!("{at}.{name}.0"));
            let (second, more) = below(format!("{at}.{name}.1"));
            places.extend(more);
            (vec![first, second].into(), places)
        };
        (doc! { name: value }.into(), places)
    }

    /// A provider may write a name wherever it writes words: what is sealed has to be such that it can be erased.
    #[test]
    fn all_free_text_is_personal() {
        let key = commitment_key(&SecretString::from("a secret"));
        for Policy { provider, operation, redaction } in policies() {
            for (path, collection) in redaction.free_text.iter().flat_map(|path| {
                ["provider_request_logs", "provider_response_logs"].map(|collection| (*path, collection))
            }) {
                let (body, places) = worded(path, "body");
                let document = RawDocumentBuf::try_from(&doc! { "_id": "req_1", "body": body }).expect("BSON");
                let scope = Scopes::standard().of_collection(collection).expect("sealed");
                let found = commitments(&Record { scope, id: "req_1", document: &document }, &key);
                for place in places {
                    let covers = |path: &String| {
                        place.strip_prefix(&**path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                    };
                    assert!(
                        found.keys().any(covers),
                        "{provider} {operation}: {path} is free text, so {collection} needs a rule in audit/proof/scope.rs \
                         by which body.{path} is personal: {place}"
                    );
                }
            }
        }
    }
}
