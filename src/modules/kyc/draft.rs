//! Drafts of applications: which fields may be changed when, which are missing, which contradict each other. Pure.

use bson::DateTime;
use secrecy::{ExposeSecret, SecretString};

use super::{
    identifiers::{Gstin, Holder, Pan},
    model::{
        AadhaarRef, Address, Application, BankAccount, CheckStatus, DocumentEntry, DocumentKind, KycState,
        SealedNumber, field_place,
    },
    transitions::{KycCommand, next},
};
use crate::{
    modules::providers::checks::CheckKind,
    platform::{
        error::FieldError,
        india::states,
        sealing::{OpenError, SealingKeys},
    },
};

pub const DOCUMENTS_MAX: usize = 10;

/// A change of one field.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum FieldChange<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

impl<T> FieldChange<T> {
    /// Whether it leaves the field alone.
    #[must_use]
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// The same change of another representation.
    #[must_use]
    pub fn map<U>(self, to: impl FnOnce(T) -> U) -> FieldChange<U> {
        match self {
            Self::Keep => FieldChange::Keep,
            Self::Clear => FieldChange::Clear,
            Self::Set(value) => FieldChange::Set(to(value)),
        }
    }

    /// Keeps where nothing would change.
    fn unless(&self, old: Option<&T>, same: impl FnOnce(&T, &T) -> Result<bool, OpenError>) -> Result<Self, OpenError>
    where
        T: Clone,
    {
        let repeats = match (self, old) {
            (Self::Keep, _) | (Self::Clear, None) => true,
            (Self::Clear, Some(_)) | (Self::Set(_), None) => false,
            (Self::Set(new), Some(old)) => same(old, new)?,
        };
        Ok(if repeats { Self::Keep } else { self.clone() })
    }

    fn apply(&self, field: &mut Option<T>)
    where
        T: Clone,
    {
        match self {
            Self::Keep => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value.clone()),
        }
    }
}

/// Changes of an application's fields, well-formed and sealed.
#[derive(Clone, Debug, Default)]
pub struct DraftChange {
    pub business_type: FieldChange<Holder>,
    /// Name as on the PAN card.
    pub legal_name: FieldChange<String>,
    /// Income tax number.
    pub pan: FieldChange<SealedNumber>,
    /// Goods and services tax number.
    pub gstin: FieldChange<SealedNumber>,
    pub aadhaar: FieldChange<AadhaarRef>,
    /// The bank account for payments.
    pub bank_account: FieldChange<BankAccount>,
    pub address: FieldChange<Address>,
}

impl DraftChange {
    #[must_use]
    pub fn fields(&self) -> Vec<&'static str> {
        let touched = [
            ("businessType", !self.business_type.is_keep()),
            ("legalName", !self.legal_name.is_keep()),
            ("pan", !self.pan.is_keep()),
            ("gstin", !self.gstin.is_keep()),
            ("aadhaar", !self.aadhaar.is_keep()),
            ("bankAccount", !self.bank_account.is_keep()),
            ("address", !self.address.is_keep()),
        ];
        touched.into_iter().filter(|(_, touched)| *touched).map(|(name, _)| name).collect()
    }

    /// Leaves out what would change nothing, so that repeating a request is no change. Of an Aadhaar number only the last
    /// four digits can be compared.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn without_repetition(&self, application: &Application, keys: &SealingKeys) -> Result<Self, OpenError> {
        let id = &application.id;
        let same_number = |field: &str, old: &SealedNumber, new: &SealedNumber| {
            let place = field_place(id, field);
            Ok(keys.open(&place, &old.sealed)? == keys.open(&place, &new.sealed)?)
        };
        let account = application.bank_account.as_ref();
        Ok(Self {
            business_type: self.business_type.unless(application.business_type.as_ref(), |old, new| Ok(old == new))?,
            legal_name: self.legal_name.unless(application.legal_name.as_ref(), |old, new| Ok(old == new))?,
            pan: self.pan.unless(application.pan.as_ref(), |old, new| same_number("pan", old, new))?,
            gstin: self.gstin.unless(application.gstin.as_ref(), |old, new| same_number("gstin", old, new))?,
            aadhaar: self.aadhaar.unless(application.aadhaar.as_ref(), |old, new| Ok(old.last4 == new.last4))?,
            bank_account: self.bank_account.unless(account, |old, new| {
                Ok(old.ifsc == new.ifsc && same_number("accountNumber", &old.number, &new.number)?)
            })?,
            address: self.address.unless(application.address.as_ref(), |old, new| Ok(old == new))?,
        })
    }

    /// Writes it into an application, and forgets checks of what is no longer there.
    pub fn apply(&self, application: &mut Application, now: DateTime) {
        self.business_type.apply(&mut application.business_type);
        self.legal_name.apply(&mut application.legal_name);
        self.pan.apply(&mut application.pan);
        self.gstin.apply(&mut application.gstin);
        self.aadhaar.apply(&mut application.aadhaar);
        self.bank_account.apply(&mut application.bank_account);
        self.address.apply(&mut application.address);
        // The name was sent with what has no answer yet; what has one is compared with the new name.
        let asked_with_name = |status| !matches!(status, CheckStatus::Passed | CheckStatus::NameMismatch);
        let renamed = !self.legal_name.is_keep();
        application.checks.retain(|check| self.keeps(check.kind) && !(renamed && asked_with_name(check.status)));
        application.updated_at = now;
    }

    const fn keeps(&self, kind: CheckKind) -> bool {
        match kind {
            CheckKind::Pan => self.pan.is_keep(),
            CheckKind::Gstin => self.gstin.is_keep(),
            CheckKind::BankAccount => self.bank_account.is_keep(),
        }
    }
}

/// Fields of `fields` that may not be changed now, each with a sentence. While something is to be clarified, that is
/// everything but what was asked for, and what hangs together with it.
#[must_use]
pub fn locked_fields(application: &Application, fields: &[&str]) -> Vec<FieldError> {
    let locked = |field: &str| match application.state {
        KycState::NeedsClarification => !application.requirements.iter().any(|asked| goes_with(field, &asked.field)),
        state => next(state, KycCommand::Save).is_none(),
    };
    let message = "is locked: it was handed in, and nobody asked to change it";
    fields.iter().filter(|field| locked(field)).map(|field| FieldError::new(*field, "locked", message)).collect()
}

/// Whether a change of `field` may answer what was asked of `asked`: who somebody is, is one thing in several fields.
fn goes_with(field: &str, asked: &str) -> bool {
    const IDENTITY: [&str; 5] = ["businessType", "legalName", "pan", "gstin", "aadhaar"];
    let top = asked.split('.').next().unwrap_or_default();
    field == asked
        || field == top
        || (IDENTITY.contains(&field) && IDENTITY.contains(&top))
        // A registration is of one state, the address's, and comes with the PAN.
        || (field == "gstin" && top == "address")
        || (field == "address" && ["pan", "gstin"].contains(&top))
}

const fn proves(kind: DocumentKind) -> &'static str {
    match kind {
        DocumentKind::PanCard => "pan",
        DocumentKind::GstCertificate => "gstin",
        DocumentKind::CancelledCheque => "bankAccount",
        DocumentKind::AddressProof => "address",
    }
}

/// Whether a document of `kind` may be added or removed now.
#[must_use]
pub fn documents_are_open(application: &Application, kind: DocumentKind, removes: bool) -> bool {
    let asked = |field: &str| application.requirements.iter().any(|asked| asked.field == field);
    match application.state {
        // More may be shown than was asked for, but nothing that was shown goes away unasked: what proves a field may go
        // with it.
        KycState::NeedsClarification => !removes || asked(&kind.field()) || asked(proves(kind)),
        state => next(state, KycCommand::Save).is_some(),
    }
}

/// Whether one more document of `kind` finds room. While something is to be clarified, the first of its kind always does:
/// ten others may be locked.
#[must_use]
pub fn has_room(application: &Application, kind: DocumentKind) -> bool {
    let is_first = || !application.documents.iter().any(|document| document.kind == kind);
    application.documents.len() < DOCUMENTS_MAX || (application.state == KycState::NeedsClarification && is_first())
}

/// Whether the same content was added before, as the same.
#[must_use]
pub fn same_document<'a>(application: &'a Application, kind: DocumentKind, sha256: &str) -> Option<&'a DocumentEntry> {
    application.documents.iter().find(|document| document.kind == kind && document.sha256 == sha256)
}

/// The numbers of an application, opened.
pub struct Numbers {
    /// Income tax number.
    pub pan: Option<SecretString>,
    /// Goods and services tax number.
    pub gstin: Option<SecretString>,
    pub account_number: Option<SecretString>,
}

/// Opens the numbers of an application.
///
/// # Errors
/// [`OpenError`].
pub fn open_numbers(application: &Application, keys: &SealingKeys) -> Result<Numbers, OpenError> {
    let open = |field: &str, number: Option<&SealedNumber>| {
        number.map(|number| keys.open_text(&field_place(&application.id, field), &number.sealed)).transpose()
    };
    Ok(Numbers {
        pan: open("pan", application.pan.as_ref())?,
        gstin: open("gstin", application.gstin.as_ref())?,
        account_number: open("accountNumber", application.bank_account.as_ref().map(|account| &account.number))?,
    })
}

/// Everything that is missing or contradicts, at once; empty where the application can be handed in.
#[must_use]
pub fn defects(application: &Application, numbers: &Numbers) -> Vec<FieldError> {
    let mut defects = missing(application);
    let pan = numbers.pan.as_ref().and_then(|pan| Pan::parse(pan.expose_secret()).ok());
    let gstin = numbers.gstin.as_ref().and_then(|gstin| Gstin::parse(gstin.expose_secret()).ok());
    if let (Some(pan), Some(holder)) = (&pan, application.business_type)
        && pan.holder() != holder
    {
        defects.push(FieldError::new(
            "pan",
            "business_type_differs",
            format!("is not the PAN of this business type: its fourth letter must be {}", holder.letter()),
        ));
    }
    if let Some(gstin) = &gstin {
        if pan.as_ref().is_some_and(|pan| gstin.pan() != *pan) {
            defects.push(FieldError::new("gstin", "pan_differs", "contains another PAN than the one given"));
        }
        let state = application.address.as_ref().and_then(|address| states::find(&address.state));
        if state.is_some_and(|state| !state.has_gst_code(gstin.state_code())) {
            defects.push(FieldError::new("gstin", "state_differs", "is registered in another state than the address"));
        }
    }
    defects
}

fn missing(application: &Application) -> Vec<FieldError> {
    let individual = application.business_type == Some(Holder::Individual);
    let has_gstin = application.gstin.is_some();
    let mut needed = vec![
        ("businessType".to_owned(), application.business_type.is_some()),
        ("legalName".to_owned(), application.legal_name.is_some()),
        ("pan".to_owned(), application.pan.is_some()),
        ("bankAccount".to_owned(), application.bank_account.is_some()),
        ("address".to_owned(), application.address.is_some()),
    ];
    if application.business_type.is_some() {
        // An individual may be below the turnover from which a registration is due; a business that ships is not.
        needed.push(if individual {
            ("aadhaar".to_owned(), application.aadhaar.is_some())
        } else {
            ("gstin".to_owned(), has_gstin)
        });
    }
    let has = |kind| application.documents.iter().any(|document| document.kind == kind);
    let documents = DocumentKind::ALL.into_iter().filter(|kind| *kind != DocumentKind::GstCertificate || has_gstin);
    needed.extend(documents.map(|kind| (kind.field(), has(kind))));
    let missing = needed.into_iter().filter(|(_, there)| !there);
    let mut missing: Vec<_> = missing.map(|(field, _)| FieldError::new(field, "required", "is required")).collect();
    if !individual && application.business_type.is_some() && application.aadhaar.is_some() {
        missing.push(FieldError::new("aadhaar", "not_applicable", "is for individuals only; clear it with null"));
    }
    missing
}
