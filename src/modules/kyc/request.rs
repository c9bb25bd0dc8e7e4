//! Requests as merchants and reviewers write them, and their rules.

use std::collections::HashMap;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use validator::{Validate, ValidationError, ValidationErrors, ValidationErrorsKind};

use super::{
    draft::{DraftChange, FieldChange},
    identifiers::{Aadhaar, AccountNumber, Gstin, Holder, Ifsc, Pan, holds_identifier},
    model::{AadhaarRef, Address, BankAccount, KycState, Requirement, SealedNumber, field_place},
    review::ReviewAction,
};
use crate::platform::{
    clock::Rfc3339Time,
    error::FieldError,
    http::checks::{NOTHING_PERSONAL, ensure, fault, fault_of, harmless, nullable},
    ids::new_id,
    india::{pincodes, states},
    scrub::is_harmless,
    sealing::SealingKeys,
    text::{holds_unseen, lines, read_pincode, verbatim},
};

/// Longest name, address line and city.
const LINE_CHARS_MAX: usize = 120;
const REASON_CHARS_MAX: usize = 500;
/// Free text is stored as it is, and reasons for ever.
const NO_IDENTIFIERS: &str = "must hold no Aadhaar number and no PAN";
/// More can't be asked for at once.
const REQUIREMENTS_MAX: u64 = 20;

/// `PUT /kyc`. What is left out stays as it is, because numbers can't be read back; `null` empties a field.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SaveDraftRequest {
    /// The kind of applicant; the fourth letter of the PAN says the same.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Holder>)]
    business_type: Option<Option<Holder>>,
    /// Name as on the PAN card.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, example = "Asha Rao", max_length = 120)]
    legal_name: Option<Option<String>>,
    /// Income tax number.
    #[serde(default, deserialize_with = "nullable_number")]
    #[schema(value_type = Option<String>, example = "ABCPR1234F")]
    pan: Option<Option<SecretString>>,
    /// Goods and services tax number.
    #[serde(default, deserialize_with = "nullable_number")]
    #[schema(value_type = Option<String>, example = "29ABCPR1234F1Z5")]
    gstin: Option<Option<SecretString>>,
    /// Aadhaar number of an individual. Only the last four digits and a random reference are kept.
    #[serde(default, deserialize_with = "nullable_number")]
    #[schema(value_type = Option<String>, example = "9999 4105 7058")]
    aadhaar: Option<Option<SecretString>>,
    /// The bank account for payments.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<BankAccountRequest>)]
    bank_account: Option<Option<BankAccountRequest>>,
    /// Address of the business.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<AddressRequest>)]
    address: Option<Option<AddressRequest>>,
}

/// A bank account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BankAccountRequest {
    /// 9 to 18 digits.
    #[serde(deserialize_with = "verbatim")]
    #[schema(value_type = String, example = "123456789012")]
    account_number: SecretString,
    /// Bank and branch.
    #[serde(deserialize_with = "verbatim")]
    #[schema(example = "HDFC0000123")]
    ifsc: String,
}

/// A postal address in India.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddressRequest {
    /// House and street.
    #[schema(example = "12 MG Road", max_length = 120)]
    line1: String,
    /// More of it.
    #[schema(max_length = 120)]
    line2: Option<String>,
    /// City.
    #[schema(example = "Bengaluru", max_length = 120)]
    city: String,
    /// State or union territory, in any usual spelling.
    #[schema(example = "Karnataka")]
    state: String,
    /// Six digits; blanks don't count.
    #[serde(deserialize_with = "read_pincode")]
    #[schema(example = "560001")]
    pincode: String,
}

/// As [`nullable`], for a number, whose form says all that may be in it.
fn nullable_number<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    verbatim(from).map(Some)
}

/// A draft's changes, every one of them well-formed.
#[derive(Debug)]
pub struct WellFormed {
    business_type: FieldChange<Holder>,
    legal_name: FieldChange<String>,
    pan: FieldChange<Pan>,
    gstin: FieldChange<Gstin>,
    aadhaar: FieldChange<Aadhaar>,
    bank_account: FieldChange<(AccountNumber, Ifsc)>,
    address: FieldChange<Address>,
}

#[derive(Default)]
struct FieldErrorList(Vec<FieldError>);

impl FieldErrorList {
    fn read<T>(&mut self, field: &str, text: &str, parse: impl FnOnce(&str) -> Result<T, &'static str>) -> Option<T> {
        parse(text).map_err(|message| self.0.push(FieldError::new(field, "format", message))).ok()
    }

    fn set<T, U>(
        &mut self,
        field: &Option<Option<T>>,
        read: impl FnOnce(&mut Self, &T) -> Option<U>,
    ) -> FieldChange<U> {
        match field {
            None => FieldChange::Keep,
            Some(None) => FieldChange::Clear,
            // Nothing is written where anything is wrong.
            Some(Some(value)) => read(self, value).map_or(FieldChange::Keep, FieldChange::Set),
        }
    }

    fn gstin(&mut self, text: &str) -> Option<Gstin> {
        let Some(kind) = Gstin::other_kind(text) else { return self.read("gstin", text, Gstin::parse) };
        let message = format!("is the number of {kind}; only regular registrations are taken here");
        self.0.push(FieldError::new("gstin", "kyc.gstin_kind_not_supported", message));
        None
    }

    fn line(&mut self, field: &str, text: &str) -> Option<String> {
        self.read(field, text, |text| match text.chars().count() {
            0 => Err("must not be empty"),
            1..=LINE_CHARS_MAX if holds_unseen(text) => Err("must hold no control characters"),
            1..=LINE_CHARS_MAX if holds_identifier(text) => Err(NO_IDENTIFIERS),
            1..=LINE_CHARS_MAX => Ok(text.to_owned()),
            _ => Err("must have at most 120 characters"),
        })
    }
}

impl SaveDraftRequest {
    /// Reads every number; all that is wrong is named at once.
    ///
    /// # Errors
    /// A field error per field; none repeats a value.
    pub fn read(&self) -> Result<WellFormed, Vec<FieldError>> {
        let mut wrong = FieldErrorList::default();
        let draft = WellFormed {
            business_type: wrong.set(&self.business_type, |_, holder| Some(*holder)),
            legal_name: wrong.set(&self.legal_name, |wrong, name| wrong.line("legalName", name)),
            pan: wrong.set(&self.pan, |wrong, pan| wrong.read("pan", pan.expose_secret(), Pan::parse)),
            gstin: wrong.set(&self.gstin, |wrong, gstin| wrong.gstin(gstin.expose_secret())),
            aadhaar: wrong
                .set(&self.aadhaar, |wrong, number| wrong.read("aadhaar", number.expose_secret(), Aadhaar::parse)),
            bank_account: wrong.set(&self.bank_account, |wrong, account| account.read(wrong)),
            address: wrong.set(&self.address, |wrong, address| address.read(wrong)),
        };
        if wrong.0.is_empty() { Ok(draft) } else { Err(wrong.0) }
    }
}

/// So that what is malformed is named together with what is of a wrong type.
impl Validate for SaveDraftRequest {
    fn validate(&self) -> Result<(), ValidationErrors> {
        let Err(wrong) = self.read() else { return Ok(()) };
        let rule = |fault: FieldError| {
            let rule = ValidationError { code: fault.code, message: Some(fault.message), params: HashMap::new() };
            (fault.field.into(), ValidationErrorsKind::Field(vec![rule]))
        };
        Err(ValidationErrors(wrong.into_iter().map(rule).collect()))
    }
}

impl BankAccountRequest {
    fn read(&self, wrong: &mut FieldErrorList) -> Option<(AccountNumber, Ifsc)> {
        let number = self.account_number.expose_secret();
        let number = wrong.read("bankAccount.accountNumber", number, AccountNumber::parse);
        let ifsc = wrong.read("bankAccount.ifsc", &self.ifsc, Ifsc::parse);
        number.zip(ifsc)
    }
}

impl AddressRequest {
    fn read(&self, wrong: &mut FieldErrorList) -> Option<Address> {
        let line1 = wrong.line("address.line1", &self.line1);
        let line2 = self.line2.as_ref().map(|line| wrong.line("address.line2", line));
        let city = wrong.line("address.city", &self.city);
        let state = states::find(&self.state);
        if state.is_none() {
            wrong.0.push(FieldError::new("address.state", "format", states::unknown(&self.state)));
        }
        let pincode = wrong.read("address.pincode", &self.pincode, |code| {
            let well_formed = code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()) && !code.starts_with('0');
            well_formed.then(|| code.to_owned()).ok_or("must be six digits, the first not 0")
        });
        if let (Some(state), Some(pincode)) = (state, &pincode) {
            let mismatch = pincodes::check_state(pincode, state.name).err();
            wrong.0.extend(mismatch.map(|mismatch| mismatch.fault("address.pincode", "address.state")));
        }
        Some(Address {
            line1: line1?,
            line2: line2.flatten(),
            city: city?,
            state: state?.name.to_owned(),
            pincode: pincode?,
        })
    }
}

impl WellFormed {
    /// Seals what only reviewers may read; of an Aadhaar number nothing but its end goes on from here.
    #[must_use]
    pub fn seal(self, application_id: &str, keys: &SealingKeys) -> DraftChange {
        let sealed = |field: &str, masked: String, number: &str| SealedNumber {
            masked,
            sealed: keys.seal(&field_place(application_id, field), number.as_bytes()),
        };
        DraftChange {
            business_type: self.business_type,
            legal_name: self.legal_name,
            pan: self.pan.map(|pan| sealed("pan", pan.masked(), pan.as_str())),
            gstin: self.gstin.map(|gstin| sealed("gstin", gstin.masked(), gstin.as_str())),
            aadhaar: self
                .aadhaar
                .map(|number| AadhaarRef { last4: number.last4().to_owned(), reference: new_id("adr") }),
            bank_account: self.bank_account.map(|(number, ifsc)| BankAccount {
                number: sealed("accountNumber", number.masked(), number.as_str()),
                ifsc: ifsc.as_str().to_owned(),
            }),
            address: self.address,
        }
    }
}

/// `POST /kyc/applications/{userId}/decision`
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[validate(schema(function = "requirements_match"))]
pub struct DecisionRequest {
    /// The word.
    pub decision: ReviewAction,
    /// The reason; kept for ever, and shown to the merchant: no names, no numbers.
    #[serde(deserialize_with = "lines")]
    #[validate(custom(function = "reason"))]
    #[schema(min_length = 3, max_length = 500)]
    pub reason: String,
    /// Changes that the merchant has to make; with `clarify`, and only then.
    #[serde(default)]
    #[validate(length(max = REQUIREMENTS_MAX), nested)]
    pub requirements: Vec<RequirementRequest>,
    /// `submission` of what you have looked at. Send it: an application that was handed in again since is not decided then.
    pub submission: Option<i32>,
}

/// A change to ask for.
#[derive(Debug, Deserialize, Serialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequirementRequest {
    /// A field of `PUT /kyc`, or `documents.<kind>`.
    #[validate(custom(function = "requirement_field"))]
    #[schema(example = "documents.address_proof")]
    pub field: String,
    /// A code for programs.
    #[validate(custom(function = "requirement_code"))]
    #[schema(example = "document.illegible", max_length = 64)]
    pub code: String,
    /// A sentence for the merchant.
    #[serde(deserialize_with = "lines")]
    #[validate(custom(function = "reason"))]
    #[schema(min_length = 3, max_length = 500)]
    pub reason: String,
}

impl From<RequirementRequest> for Requirement {
    fn from(request: RequirementRequest) -> Self {
        Self { field: request.field, code: request.code, reason: request.reason }
    }
}

fn requirements_match(request: &DecisionRequest) -> Result<(), ValidationError> {
    let blame = |code, message| Err(fault_of("requirements", code, message));
    match (request.decision == ReviewAction::Clarify, request.requirements.is_empty()) {
        (true, true) => blame("required", "must name what the merchant has to change"),
        (false, false) => blame("not_applicable", "goes with `clarify` only"),
        _ => Ok(()),
    }
}

fn reason(text: &str) -> Result<(), ValidationError> {
    let characters = text.chars().count();
    if !(3..=REASON_CHARS_MAX).contains(&characters) {
        return Err(fault("length", "must have between 3 and 500 characters"));
    }
    if text.split('\n').any(holds_unseen) {
        return Err(fault("format", "must hold no control characters"));
    }
    ensure(!holds_identifier(text), "format", NOTHING_PERSONAL)?;
    harmless(text)
}

fn requirement_field(field: &str) -> Result<(), ValidationError> {
    const FIELDS: [&str; 11] = [
        "businessType",
        "legalName",
        "pan",
        "gstin",
        "aadhaar",
        "bankAccount",
        "address",
        "documents.pan_card",
        "documents.gst_certificate",
        "documents.cancelled_cheque",
        "documents.address_proof",
    ];
    if FIELDS.contains(&field) {
        Ok(())
    } else {
        Err(fault("unknown_value", "must be a field of PUT /kyc, or documents. and a kind of documents"))
    }
}

fn requirement_code(code: &str) -> Result<(), ValidationError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_');
    if (1..=64).contains(&code.len()) && code.bytes().all(allowed) && is_harmless(code) {
        Ok(())
    } else {
        Err(fault("format", "must be 1 to 64 of the characters a-z 0-9 . _, and no number of somebody"))
    }
}

/// `POST /kyc/applications/{userId}/erasure` and `POST /kyc/erasure`
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErasureRequest {
    /// The reason, and on whose request; kept for ever: no names, no numbers.
    #[serde(deserialize_with = "lines")]
    #[validate(custom(function = "reason"))]
    #[schema(min_length = 3, max_length = 500)]
    pub reason: String,
}

/// `GET /kyc/applications`
#[derive(Debug, Deserialize, Validate, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListApplicationsQuery {
    /// Applications on a page.
    #[validate(range(min = 1, max = 100))]
    #[param(default = 20, minimum = 1, maximum = 100)]
    pub limit: Option<usize>,
    /// `nextCursor` of the page before.
    pub cursor: Option<String>,
    /// State.
    pub state: Option<KycState>,
    /// Handed in from then on, RFC 3339.
    #[param(value_type = Option<String>)]
    pub from: Option<Rfc3339Time>,
    /// Handed in before then, RFC 3339.
    #[param(value_type = Option<String>)]
    pub to: Option<Rfc3339Time>,
}
