//! The permanent account number of the income tax department.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{fits, masked, tidied};

const SHAPE: &str = "must be 5 letters, 4 digits and a letter";
const NO_SERIAL: &str = "has 0000 for a number, which is given to nobody";
const NO_HOLDER: &str = "has a fourth letter that stands for no kind of holder";

/// The kind of person or body that a [`Pan`] was issued to: its fourth letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// `P`: a natural person.
    Individual,
    /// `C`: a company.
    Company,
    /// `H`: a Hindu undivided family.
    Huf,
    /// `F`: a firm or a limited liability partnership.
    Firm,
    /// `A`: an association of persons.
    Association,
    /// `T`: a trust.
    Trust,
    /// `B`: a body of individuals.
    BodyOfIndividuals,
    /// `L`: a local authority.
    LocalAuthority,
    /// `J`: an artificial juridical person.
    JuridicalPerson,
    /// `G`: an agency of government.
    Government,
}

impl Holder {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Individual,
        Self::Company,
        Self::Huf,
        Self::Firm,
        Self::Association,
        Self::Trust,
        Self::BodyOfIndividuals,
        Self::LocalAuthority,
        Self::JuridicalPerson,
        Self::Government,
    ];

    /// As stored and answered.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Individual => "individual",
            Self::Company => "company",
            Self::Huf => "huf",
            Self::Firm => "firm",
            Self::Association => "association",
            Self::Trust => "trust",
            Self::BodyOfIndividuals => "body_of_individuals",
            Self::LocalAuthority => "local_authority",
            Self::JuridicalPerson => "juridical_person",
            Self::Government => "government",
        }
    }

    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Individual => 'P',
            Self::Company => 'C',
            Self::Huf => 'H',
            Self::Firm => 'F',
            Self::Association => 'A',
            Self::Trust => 'T',
            Self::BodyOfIndividuals => 'B',
            Self::LocalAuthority => 'L',
            Self::JuridicalPerson => 'J',
            Self::Government => 'G',
        }
    }
}

/// A well-formed PAN: `AAPFU0939F`. It has no check digit that is published, so a typing error may go unnoticed.
#[derive(Clone, PartialEq, Eq)]
pub struct Pan {
    text: String,
    holder: Holder,
    name_initial: char,
}

impl Pan {
    /// Reads a PAN in any case, with blanks around it.
    ///
    /// # Errors
    ///
    /// Why it is none, as the rest of a sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = tidied(text);
        if !fits(&text, "AAAAA9999A") {
            return Err(SHAPE);
        }
        if &text[5..9] == "0000" {
            return Err(NO_SERIAL);
        }
        let [.., fourth, fifth] = text.as_bytes()[..5] else { return Err(SHAPE) };
        let holder = Holder::ALL.into_iter().find(|holder| holder.letter() == char::from(fourth)).ok_or(NO_HOLDER)?;
        Ok(Self { text, holder, name_initial: char::from(fifth) })
    }

    /// All ten characters. Secret: for comparing and for sealing.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The last four characters: `XXXXXX939F`.
    #[must_use]
    pub fn masked(&self) -> String {
        masked(&self.text, 0, 4)
    }

    #[must_use]
    pub const fn holder(&self) -> Holder {
        self.holder
    }

    /// The fifth letter: the initial of an individual's surname, or of another holder's name.
    #[must_use]
    pub const fn name_initial(&self) -> char {
        self.name_initial
    }
}

/// Masked.
impl fmt::Debug for Pan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pan({})", self.masked())
    }
}
