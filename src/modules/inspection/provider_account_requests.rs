//! Requests about accounts at providers, and their rules.

use secrecy::{ExposeSecret, SecretString};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use utoipa::{IntoParams, ToSchema};
use validator::{Validate, ValidationError, ValidationErrors, ValidationErrorsKind};

use crate::{
    modules::{
        kyc::identifiers::no_secrets,
        providers::{
            AccountChange, AccountLimits, AccountSecrets, AccountStatus, CredentialField, ProviderName,
            ProviderSettings, ValueChange, accounts,
            registry::{self, PROVIDERS},
        },
    },
    platform::{
        error::FieldError,
        http::{
            FAULTS_MAX,
            checks::{fault, nullable, nullable_lines},
        },
        ids::is_id,
        sealing::Sealed,
        text::{holds_unseen, lines, verbatim},
    },
};

const LABEL_CHARS_MAX: usize = 120;
const COMMENT_CHARS_MAX: usize = 500;

/// `POST /provider-accounts`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct CreateAccountRequest {
    /// The provider.
    #[schema(value_type = ProviderName)]
    pub provider: String,
    /// A name of your choice.
    #[schema(example = "Warehouse Delhi", min_length = 1, max_length = 120)]
    pub label: String,
    /// Credentials under the provider's names. They are never shown again.
    #[serde(deserialize_with = "verbatim")]
    #[schema(value_type = BTreeMap<String, String>, example = json!({ "accessKey": "...", "secretKey": "..." }))]
    pub credentials: SentCredentials,
    /// A note for people.
    #[serde(default, deserialize_with = "lines")]
    #[schema(max_length = 500)]
    pub comment: Option<String>,
    /// A merchant: then it is used for this merchant's orders only.
    #[schema(example = "usr_0198f0c2b1e07c3e8a41b5d0f3a2c4e6")]
    pub owner_user_id: Option<String>,
    /// Limits on calls with the account; what is left out is as the provider has it for all its accounts.
    pub limits: Option<LimitsRequest>,
}

/// Limits of an account, over all workers.
#[derive(Debug, Default, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LimitsRequest {
    /// Calls at once.
    #[serde(default, deserialize_with = "nullable")]
    #[validate(range(min = 1, max = 1000))]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    concurrency: Option<Option<i64>>,
    /// Calls in any second.
    #[serde(default, deserialize_with = "nullable")]
    #[validate(range(min = 1, max = 1000))]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    rate_per_second: Option<Option<i64>>,
    /// Orders in progress.
    #[serde(default, deserialize_with = "nullable")]
    #[validate(range(min = 1, max = 1_000_000))]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    open_orders: Option<Option<i64>>,
}

/// `PUT /provider-accounts/{accountId}`. What is left out stays as it is; `null` takes a comment or a limit away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ChangeAccountRequest {
    /// A name of your choice.
    #[schema(example = "Warehouse Delhi", min_length = 1, max_length = 120)]
    label: Option<String>,
    /// A note for people.
    #[serde(default, deserialize_with = "nullable_lines")]
    #[schema(value_type = Option<String>, max_length = 500)]
    comment: Option<Option<String>>,
    /// Limits on calls with the account.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<LimitsRequest>)]
    limits: Option<Option<LimitsRequest>>,
    /// All credentials, in place of those before.
    #[serde(default, deserialize_with = "verbatim")]
    #[schema(value_type = Option<BTreeMap<String, String>>, example = json!({ "accessKey": "...", "secretKey": "..." }))]
    pub credentials: Option<SentCredentials>,
}

/// `GET /provider-accounts`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListAccountsQuery {
    /// Accounts on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    pub limit: Option<usize>,
    /// `nextCursor` of the page before.
    #[validate(custom(function = "account_cursor"))]
    pub cursor: Option<String>,
    /// Provider.
    pub provider: Option<ProviderName>,
    /// Status.
    #[param(inline)]
    pub status: Option<AccountStatus>,
}

/// Credentials as they were sent, those that are given twice too.
#[derive(Debug)]
pub(super) struct SentCredentials(Vec<(String, SecretString)>);

impl<'de> Deserialize<'de> for SentCredentials {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(String, SecretString)>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        from.deserialize_map(Collect).map(Self)
    }
}

impl From<SentCredentials> for AccountSecrets {
    fn from(SentCredentials(sent): SentCredentials) -> Self {
        sent.into_iter().collect()
    }
}

impl SentCredentials {
    /// Values that can't be a credential, whatever their name.
    fn malformed(&self) -> Vec<FieldError> {
        let wrong = |(name, value): &(String, SecretString)| {
            let (code, message) = not_a_credential(value.expose_secret())?;
            Some(FieldError::new(path_of(name), code, message))
        };
        self.0.iter().filter_map(wrong).collect()
    }

    /// Credentials that don't suit the provider: unknown names, and values by which its calls can't be signed.
    fn faults(&self, provider: &str) -> Vec<FieldError> {
        let Some(provider) = registry::find(provider) else { return Vec::new() };
        let fields: Vec<&str> = provider.credential_fields.iter().map(|CredentialField { name, .. }| *name).collect();
        let mut wrong = Vec::new();
        for (at, (name, _)) in self.0.iter().enumerate() {
            if !fields.contains(&name.as_str()) {
                wrong.push(FieldError::new(path_of(name), "unknown", "is not a field here"));
            } else if self.0[..at].iter().any(|(before, _)| before == name) {
                wrong.push(FieldError::new(path_of(name), "duplicate", "is given twice"));
            }
        }
        let missing = fields.iter().filter(|field| self.0.iter().all(|(name, _)| name != *field));
        wrong.extend(missing.map(|field| FieldError::new(path_of(field), "required", "is required")));
        let secrets = || self.0.iter().cloned().collect();
        // What no call can be signed by would be found out by an order.
        let is_whole = wrong.is_empty() && self.malformed().is_empty();
        if is_whole && (provider.adapter)(&ProviderSettings::default()).sign(&secrets()).is_none() {
            let message = "can't sign a call: a user name must hold no colon, and nothing be empty";
            wrong.push(FieldError::new(path_of(fields[0]), "unusable", message));
        }
        wrong.truncate(FAULTS_MAX);
        wrong
    }
}

fn path_of(credential: &str) -> String {
    const NAME_CHARS_MAX: usize = 128;
    format!("credentials.{}", credential.chars().take(NAME_CHARS_MAX).collect::<String>())
}

fn not_a_credential(value: &str) -> Option<(&'static str, &'static str)> {
    match value.chars().count() {
        1..=accounts::CREDENTIAL_CHARS_MAX if value.trim().is_empty() => Some(("blank", "must not be blank")),
        1..=accounts::CREDENTIAL_CHARS_MAX if holds_unseen(value) => {
            Some(("characters", "must not hold control characters or others that nobody can see"))
        }
        1..=accounts::CREDENTIAL_CHARS_MAX => None,
        _ => Some(("length", "must have between 1 and 512 characters")),
    }
}

impl ChangeAccountRequest {
    /// Faults of the request for an account at this provider.
    pub(super) fn faults(&self, provider: &str) -> Vec<FieldError> {
        self.credentials.as_ref().map(|credentials| credentials.faults(provider)).unwrap_or_default()
    }

    /// The change, with its credentials sealed.
    pub(super) fn into_change(self, seal: impl FnOnce(AccountSecrets) -> Sealed) -> AccountChange {
        let none = || LimitsRequest { concurrency: Some(None), rate_per_second: Some(None), open_orders: Some(None) };
        let limits = self.limits.map(|limits| limits.unwrap_or_else(none)).unwrap_or_default();
        let limit =
            |given: Option<Option<i64>>| given.map_or(ValueChange::Keep, |limit| ValueChange::Set(stored(limit)));
        AccountChange {
            label: self.label,
            comment: self
                .comment
                .map_or(ValueChange::Keep, |comment| ValueChange::Set(comment.filter(|comment| !comment.is_empty()))),
            concurrency: limit(limits.concurrency),
            rate_per_second: limit(limits.rate_per_second),
            open_orders: limit(limits.open_orders),
            credentials: self.credentials.map(|credentials| seal(credentials.into())),
            status: None,
        }
    }
}

impl From<LimitsRequest> for AccountLimits {
    fn from(request: LimitsRequest) -> Self {
        Self {
            concurrency: stored(request.concurrency.flatten()),
            rate_per_second: stored(request.rate_per_second.flatten()),
            open_orders: stored(request.open_orders.flatten()),
        }
    }
}

/// A limit that has kept its rule.
fn stored(limit: Option<i64>) -> Option<u32> {
    limit.and_then(|limit| u32::try_from(limit).ok())
}

fn account_cursor(cursor: &str) -> Result<(), ValidationError> {
    if accounts::is_account_id(cursor) {
        Ok(())
    } else {
        Err(fault("format", "must be the nextCursor of the page before"))
    }
}

fn known_provider(name: &str) -> Result<(), ValidationError> {
    if registry::find(name).is_some() {
        return Ok(());
    }
    let names: Vec<&str> = PROVIDERS.iter().map(|provider| provider.name).collect();
    Err(fault("unknown_value", format!("must be {}", names.join(" or "))))
}

fn merchant_id(id: &str) -> Result<(), ValidationError> {
    if is_id("usr", id) { Ok(()) } else { Err(fault("format", "must be the id of a merchant, usr_...")) }
}

/// Words for other people, of so many characters. They are read by many, and are no place for what is secret.
fn words(text: &str, min: usize, max: usize) -> Result<(), ValidationError> {
    if !(min..=max).contains(&text.chars().count()) {
        let message = if min > 0 {
            format!("must have between {min} and {max} characters")
        } else {
            format!("must have at most {max} characters")
        };
        return Err(fault("length", message));
    }
    no_secrets(text)
}

fn label(text: &str) -> Result<(), ValidationError> {
    words(text, 1, LABEL_CHARS_MAX)
}

fn comment(text: &str) -> Result<(), ValidationError> {
    words(text, 0, COMMENT_CHARS_MAX)
}

/// Collects what is wrong, field by field. Written out because what credentials have to be depends on the provider.
#[derive(Default)]
struct Rules(ValidationErrors);

impl Rules {
    fn check(&mut self, field: &'static str, rule: Result<(), ValidationError>) {
        if let Err(error) = rule {
            self.0.add(field, error);
        }
    }

    fn nested(&mut self, field: &'static str, rules: Result<(), ValidationErrors>) {
        if let Err(errors) = rules {
            self.0.errors_mut().insert(field.into(), ValidationErrorsKind::Struct(Box::new(errors)));
        }
    }

    /// Faults with paths of their own, as they are: names of credentials are the provider's.
    fn add(&mut self, object: &'static str, faults: Vec<FieldError>) {
        let prefix = format!("{object}.");
        let mut errors = ValidationErrors::new();
        for FieldError { field, code, message } in faults {
            let mut error = ValidationError { code, message: Some(message), params: Default::default() };
            error.add_param("field".into(), &field.strip_prefix(&prefix).unwrap_or(&field));
            errors.add("__all__", error);
        }
        if !errors.is_empty() {
            self.nested(object, Err(errors));
        }
    }

    fn end(self) -> Result<(), ValidationErrors> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

impl Validate for CreateAccountRequest {
    fn validate(&self) -> Result<(), ValidationErrors> {
        let mut rules = Rules::default();
        rules.check("provider", known_provider(&self.provider));
        rules.check("label", label(&self.label));
        rules.check("comment", self.comment.as_deref().map_or(Ok(()), comment));
        rules.check("owner_user_id", self.owner_user_id.as_deref().map_or(Ok(()), merchant_id));
        rules.nested("limits", self.limits.as_ref().map_or(Ok(()), Validate::validate));
        let mut faults = self.credentials.malformed();
        faults.extend(self.credentials.faults(&self.provider));
        rules.add("credentials", faults);
        rules.end()
    }
}

impl Validate for ChangeAccountRequest {
    fn validate(&self) -> Result<(), ValidationErrors> {
        let mut rules = Rules::default();
        rules.check("label", self.label.as_deref().map_or(Ok(()), label));
        rules.check("comment", self.comment.as_ref().and_then(Option::as_deref).map_or(Ok(()), comment));
        rules.nested("limits", self.limits.as_ref().and_then(Option::as_ref).map_or(Ok(()), Validate::validate));
        rules.add("credentials", self.credentials.as_ref().map(SentCredentials::malformed).unwrap_or_default());
        rules.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::platform::http::read_json;

    fn blamed<T: serde::de::DeserializeOwned + Validate>(body: &Value) -> Vec<String> {
        match read_json::<T>(body.to_string().as_bytes()) {
            Ok(_) => Vec::new(),
            Err(error) => error.fields.iter().map(|fault| format!("{}:{}", fault.field, fault.code)).collect(),
        }
    }

    fn of(provider: &str, credentials: &Value) -> Vec<String> {
        let body = json!({ "provider": provider, "label": "One", "credentials": credentials });
        blamed::<CreateAccountRequest>(&body)
    }

    #[test]
    fn credentials_are_named_as_each_provider_names_them() {
        for provider in PROVIDERS {
            let fields: Vec<&str> = provider.credential_fields.iter().map(|field| field.name).collect();
            let all =
                |value: &str| -> Value { fields.iter().map(|field| ((*field).to_owned(), json!(value))).collect() };
            let path = |field: &str| format!("credentials.{field}");
            let every = |code: &str| {
                let mut every: Vec<_> = fields.iter().map(|field| format!("{}:{code}", path(field))).collect();
                every.sort();
                every
            };
            let (name, mut good) = (provider.name, all(" p\u{20ac} "));
            // Only a user's name can't hold every character.
            good[fields[fields.len() - 1]] = json!(" p:\u{20ac} ");
            assert!(of(name, &good).is_empty(), "{name}");
            assert_eq!(of(name, &json!({})), every("required"), "{name}");
            assert_eq!(of(name, &all("")), every("length"), "{name}");
            assert_eq!(of(name, &all(" \u{a0} ")), every("blank"), "{name}");
            assert_eq!(of(name, &all(&"\u{20ac}".repeat(513))), every("length"), "{name}");
            assert_eq!(of(name, &all("a\r\nHost: b")), every("characters"), "{name}");
            let (mut number, mut more, mut other) = (good.clone(), good.clone(), good.clone());
            number[fields[0]] = json!(7);
            assert_eq!(of(name, &number), [format!("{}:type", path(fields[0]))], "{name}");
            more["of_nobody"] = json!("x");
            assert_eq!(of(name, &more), ["credentials.of_nobody:unknown"], "{name}");
            let taken = other.as_object_mut().and_then(|other| other.remove(fields[0])).expect("it was there");
            other["of_nobody"] = taken;
            let mut expected = ["credentials.of_nobody:unknown".to_owned(), format!("{}:required", path(fields[0]))];
            expected.sort();
            assert_eq!(of(name, &other), expected, "{name}");
            assert_eq!(of(name, &json!("user:pass")), ["credentials:type"], "{name}");
            assert_eq!(of("paygate", &good), ["provider:unknown_value"]);
            let first = fields[0];
            let rest = good.to_string();
            let twice = format!(
                r#"{{"provider":"{name}","label":"One","credentials":{{"{first}":"a",{}}}"#,
                rest.strip_prefix('{').expect("an object")
            );
            let faults = read_json::<CreateAccountRequest>(twice.as_bytes()).expect_err("given twice").fields;
            assert_eq!((&*faults[0].field, &*faults[0].code), (&*path(first), "duplicate"), "{name}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once_and_no_credential_is() {
        let body = json!({
            "provider": PROVIDERS[0].name, "label": " ", "comment": "PAN ABCPR1234F", "ownerUserId": "me", "secret": 1,
            "credentials": { "hidden": "hidden-user\u{0}", "pin": "hidden-pin" },
            "limits": { "concurrency": 0, "ratePerSecond": 1001, "openOrders": -1, "perDay": 1 },
        });
        let error = read_json::<CreateAccountRequest>(body.to_string().as_bytes()).expect_err("all wrong");
        let mut fields: Vec<_> = error.fields.iter().map(|fault| fault.field.as_str()).collect();
        fields.dedup();
        let missing: Vec<_> =
            PROVIDERS[0].credential_fields.iter().map(|field| format!("credentials.{}", field.name)).collect();
        let mut expected: Vec<&str> = missing.iter().map(String::as_str).collect();
        expected.extend([
            "comment",
            "credentials.hidden",
            "credentials.pin",
            "label",
            "limits.concurrency",
            "limits.openOrders",
            "limits.perDay",
            "limits.ratePerSecond",
            "ownerUserId",
            "secret",
        ]);
        expected.sort_unstable();
        assert_eq!(fields, expected);
        assert!(!format!("{error:?}").contains("hidden-"), "{error:?}");
    }

    #[test]
    fn what_is_left_out_stays_and_null_takes_away() {
        let change = |body: Value| {
            let request: ChangeAccountRequest = read_json(body.to_string().as_bytes()).expect("well-formed");
            request.into_change(|_| unreachable!("no credentials were sent"))
        };
        let kept = change(json!({}));
        assert!(kept.label.is_none() && kept.comment == ValueChange::Keep && kept.concurrency == ValueChange::Keep);
        let one = change(json!({ "comment": null, "limits": { "concurrency": 2, "openOrders": null } }));
        assert_eq!((one.comment, one.concurrency), (ValueChange::Set(None), ValueChange::Set(Some(2))));
        assert_eq!((one.rate_per_second, one.open_orders), (ValueChange::Keep, ValueChange::Set(None)));
        let none = change(json!({ "limits": null, "comment": "two\nlines" }));
        assert_eq!(
            (none.rate_per_second, none.comment),
            (ValueChange::Set(None), ValueChange::Set(Some("two\nlines".into())))
        );
        assert_eq!(blamed::<ChangeAccountRequest>(&json!({ "provider": "another" })), ["provider:unknown"]);
    }
}
