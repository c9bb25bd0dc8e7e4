//! Stored types of applications.

use bson::DateTime;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::identifiers::Holder;
use crate::{
    modules::{audit::Call, providers::checks::CheckKind},
    platform::{
        batch::{Entity, Key},
        ids::sibling_id,
        sealing::Sealed,
    },
};

/// Applications, one per user.
pub const APPLICATIONS: &str = "kyc_applications";
pub const DOCUMENTS: &str = "kyc_documents";

/// State of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KycState {
    /// There is none.
    NotStarted,
    /// Being filled in.
    Draft,
    /// Handed in; automatic checks are running.
    Submitted,
    /// A person has to decide.
    UnderReview,
    /// The merchant has to change or add something.
    NeedsClarification,
    /// The merchant is known.
    Verified,
    /// Refused.
    Rejected,
    /// Was verified; no new business.
    Suspended,
}

impl KycState {
    /// Every state, in the order of the table in docs/kyc.md.
    pub const ALL: [Self; 8] = [
        Self::NotStarted,
        Self::Draft,
        Self::Submitted,
        Self::UnderReview,
        Self::NeedsClarification,
        Self::Verified,
        Self::Rejected,
        Self::Suspended,
    ];

    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Draft => "draft",
            Self::Submitted => "submitted",
            Self::UnderReview => "under_review",
            Self::NeedsClarification => "needs_clarification",
            Self::Verified => "verified",
            Self::Rejected => "rejected",
            Self::Suspended => "suspended",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// The merchant's next step, in a sentence.
    #[must_use]
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::NotStarted => "Fill in your application with PUT /kyc.",
            Self::Draft => "Complete your application, add its documents, and hand it in with POST /kyc/submit.",
            Self::Submitted => "Nothing; your details are being checked.",
            Self::UnderReview => "Nothing; a person is looking at your application.",
            Self::NeedsClarification => {
                "Change what GET /kyc lists under `requirements`, and hand it in again with POST /kyc/submit."
            }
            Self::Verified => "Nothing; you are verified.",
            Self::Rejected => "Your application was refused; ask support about it.",
            Self::Suspended => "Your account is suspended; ask support about it.",
        }
    }
}

/// A number that only a reviewer may read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SealedNumber {
    /// The masked form for everybody else.
    pub masked: String,
    pub sealed: Sealed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AadhaarRef {
    /// The last four digits.
    pub last4: String,
    /// Random; stands for the number where it was checked.
    pub reference: String,
}

/// The bank account for payments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BankAccount {
    pub number: SealedNumber,
    /// Bank and branch; public.
    pub ifsc: String,
}

/// A postal address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Address {
    /// House and street.
    pub line1: String,
    /// More of it.
    pub line2: Option<String>,
    /// City.
    pub city: String,
    /// State, as on the map.
    pub state: String,
    /// Six digits.
    pub pincode: String,
}

/// A kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    /// The PAN card.
    PanCard,
    /// The certificate of registration for GST.
    GstCertificate,
    /// A cheque that can't be used any more.
    CancelledCheque,
    /// A bill, a lease, ...
    AddressProof,
}

impl DocumentKind {
    pub const ALL: [Self; 4] = [Self::PanCard, Self::GstCertificate, Self::CancelledCheque, Self::AddressProof];

    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PanCard => "pan_card",
            Self::GstCertificate => "gst_certificate",
            Self::CancelledCheque => "cancelled_cheque",
            Self::AddressProof => "address_proof",
        }
    }

    /// Its name where requirements and errors name fields.
    #[must_use]
    pub fn field(self) -> String {
        format!("documents.{}", self.as_str())
    }
}

/// A document without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentEntry {
    /// `doc_...`, the id of its content too.
    pub id: String,
    pub kind: DocumentKind,
    /// `application/pdf`, `image/png`, `image/jpeg`: told by its content.
    pub media_type: String,
    /// Length of the content.
    pub bytes: i64,
    /// Of the content, in hex: the same upload again is not another document.
    pub sha256: String,
    pub uploaded_at: DateTime,
}

/// The content of a document; never read by decisions.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentContent {
    /// `doc_...`
    #[serde(rename = "_id")]
    pub id: String,
    pub user_id: String,
    pub content: Sealed,
}

/// A change that the merchant has to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Requirement {
    /// The field, as in `PUT /kyc`, or `documents.<kind>`.
    #[schema(example = "bankAccount")]
    pub field: String,
    /// A code for programs.
    #[schema(example = "bank.account_blocked")]
    pub code: String,
    /// A sentence.
    pub reason: String,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// Not made yet.
    Pending,
    /// Good, and under the applicant's name.
    Passed,
    /// Good, but under a name that is not similar enough.
    NameMismatch,
    /// No good.
    Failed,
    /// An answer that nobody can judge by rule.
    Inconclusive,
    /// The verification provider could not be asked.
    Unavailable,
}

/// A check at the verification provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    pub kind: CheckKind,
    /// `chk_...`, our reference at the provider: it does the same check once.
    pub reference: String,
    pub status: CheckStatus,
    /// 0 to 100: how similar the name there is to the applicant's.
    pub name_similarity_percent: Option<i32>,
    pub name_found: Option<String>,
    /// The transfer of a penny drop.
    pub transfer: Option<String>,
    /// `bank.account_blocked`, ...
    pub code: Option<String>,
    pub message: Option<String>,
    pub checked_at: Option<DateTime>,
}

impl Check {
    /// A check that is still to be made.
    #[must_use]
    pub fn pending(kind: CheckKind, reference: &str) -> Self {
        Self {
            kind,
            reference: reference.to_owned(),
            status: CheckStatus::Pending,
            name_similarity_percent: None,
            name_found: None,
            transfer: None,
            code: None,
            message: None,
            checked_at: None,
        }
    }
}

/// A reviewer's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReviewDecision {
    /// `approve`, `reject`, ...
    pub decision: String,
    pub by: String,
    pub reason: String,
    pub at: DateTime,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// `kyc_` and the body of the user's id.
    #[serde(rename = "_id")]
    pub id: String,
    pub user_id: String,
    pub state: KycState,
    pub business_type: Option<Holder>,
    /// Name as on the PAN card.
    pub legal_name: Option<String>,
    /// Income tax number.
    pub pan: Option<SealedNumber>,
    /// Goods and services tax number; it contains the PAN.
    pub gstin: Option<SealedNumber>,
    pub aadhaar: Option<AadhaarRef>,
    /// The bank account for payments.
    pub bank_account: Option<BankAccount>,
    pub address: Option<Address>,
    /// Documents, oldest first.
    pub documents: Vec<DocumentEntry>,
    pub requirements: Vec<Requirement>,
    /// The checker: `idcheck`, or `manual`.
    pub provider: Option<String>,
    /// Checks of what stands in the application now.
    pub checks: Vec<Check>,
    /// Number of submissions.
    pub submission: i32,
    /// Events of it so far.
    #[serde(default)]
    pub events: i64,
    /// The job of the latest submission.
    pub job_id: Option<String>,
    /// The call whose answer is not written down yet.
    pub open_call: Option<Call>,
    /// The latest call.
    pub provider_request_ref_id: Option<String>,
    pub provider_response_ref_id: Option<String>,
    /// Papers of the last submission: keyed hashes of its numbers.
    pub papers: Vec<String>,
    /// Another account had handed in one of them by then: a person decides.
    pub papers_shared: bool,
    /// A reviewer has asked for a document, and not decided since.
    pub paper_was_asked_for: bool,
    pub first_approval: Option<ReviewDecision>,
    pub decision: Option<ReviewDecision>,
    /// When it was handed in last.
    pub submitted_at: Option<DateTime>,
    pub erased_at: Option<DateTime>,
    pub created_at: DateTime,
    /// Last change.
    pub updated_at: DateTime,
}

impl Application {
    #[must_use]
    pub fn id_of(user_id: &str) -> String {
        sibling_id("kyc", user_id)
    }

    #[must_use]
    pub fn key(user_id: &str) -> Key {
        Key::id(APPLICATIONS, Self::id_of(user_id))
    }

    /// One that nobody has written anything into.
    #[must_use]
    pub fn new(user_id: &str, now: DateTime) -> Self {
        Self {
            id: Self::id_of(user_id),
            user_id: user_id.to_owned(),
            state: KycState::NotStarted,
            business_type: None,
            legal_name: None,
            pan: None,
            gstin: None,
            aadhaar: None,
            bank_account: None,
            address: None,
            documents: Vec::new(),
            requirements: Vec::new(),
            provider: None,
            checks: Vec::new(),
            submission: 0,
            events: 0,
            job_id: None,
            open_call: None,
            provider_request_ref_id: None,
            provider_response_ref_id: None,
            papers: Vec::new(),
            papers_shared: false,
            paper_was_asked_for: false,
            first_approval: None,
            decision: None,
            submitted_at: None,
            erased_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    #[must_use]
    pub fn check(&self, kind: CheckKind) -> Option<&Check> {
        self.checks.iter().find(|check| check.kind == kind)
    }
}

impl Entity for Application {
    const COLLECTION: &'static str = APPLICATIONS;

    fn id(&self) -> &str {
        &self.id
    }
}

#[must_use]
pub fn field_place(application_id: &str, field: &str) -> String {
    format!("{APPLICATIONS}/{application_id}/{field}")
}

/// Where the content of a document is sealed.
#[must_use]
pub fn document_place(document_id: &str) -> String {
    format!("{DOCUMENTS}/{document_id}/content")
}
