//! The states of a postal code, by `data/pincodes.csv`.

use std::{collections::HashMap, sync::LazyLock};

use super::states::{self, State};
use crate::platform::error::FieldError;

const TABLE: &str = include_str!("../../../data/pincodes.csv");
const HEADER: &str = "prefix,states";
/// Digits of a postal code.
const DIGITS: usize = 6;

/// By beginning; the first state is the one that decides a price, and there is none for the army's post offices.
static BY_PREFIX: LazyLock<HashMap<&'static str, Vec<&'static State>>> = LazyLock::new(|| {
    let state = |name| states::find(name).unwrap_or_else(|| panic!("data/pincodes.csv: {name} is no state"));
    rows().map(|(prefix, names)| (prefix, names.map(state).collect())).collect()
});

fn rows() -> impl Iterator<Item = (&'static str, impl Iterator<Item = &'static str>)> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#') && *line != HEADER);
    lines.map(|line| {
        let (prefix, names) = line.split_once(',').unwrap_or((line, ""));
        (prefix, names.split('|').filter(|name| !name.is_empty()))
    })
}

/// States in which a postal code may be, the likeliest first; empty for the army's post offices, which are in no state.
/// `None` where no postal circle has such codes.
#[must_use]
pub fn states_of(pincode: &str) -> Option<&'static [&'static State]> {
    let prefixes = (1..=DIGITS).rev().filter_map(|digits| pincode.get(..digits));
    prefixes.filter_map(|prefix| BY_PREFIX.get(prefix)).next().map(Vec::as_slice)
}

/// The state by which a parcel to a postal code is priced, whatever the address says.
#[must_use]
pub fn priced_state(pincode: &str) -> Option<&'static State> {
    states_of(pincode)?.first().copied()
}

/// A contradiction within an address, with a sentence for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressMismatch {
    /// No place has this postal code.
    Pincode(String),
    /// This can't be the state of the postal code.
    State(String),
}

impl AddressMismatch {
    /// Blames a field of a request, in which the two have these names.
    #[must_use]
    pub fn fault(self, pincode: impl Into<String>, state: impl Into<String>) -> FieldError {
        match self {
            Self::Pincode(message) => FieldError::new(pincode, "no_place", message),
            Self::State(message) => FieldError::new(state, "pincode_differs", message),
        }
    }
}

/// Whether a state, as somebody wrote it, can be the one of a postal code.
///
/// # Errors
/// [`AddressMismatch`].
pub fn check_state(pincode: &str, state: &str) -> Result<(), AddressMismatch> {
    let Some(possible) = states_of(pincode) else {
        return Err(AddressMismatch::Pincode("belongs to no postal circle of India".into()));
    };
    let written = states::find(state);
    if possible.is_empty() || written.is_some_and(|written| possible.contains(&written)) {
        return Ok(());
    }
    let fault = match written {
        Some(_) => "can't be the state of this pincode".into(),
        None => states::unknown(state),
    };
    let names: Vec<_> = possible.iter().map(|state| state.name).collect();
    Err(AddressMismatch::State(format!("{fault} (the pincode belongs to {})", names.join(" or "))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_is_sound() {
        let prefixes: Vec<_> = rows().map(|(prefix, _)| prefix).collect();
        assert!(prefixes.is_sorted() && prefixes.len() == BY_PREFIX.len(), "sorted, each once");
        for prefix in prefixes {
            assert!((1..=DIGITS).contains(&prefix.len()) && prefix.bytes().all(|b| b.is_ascii_digit()), "{prefix}");
        }
        let named: BTreeSet<_> = BY_PREFIX.values().flatten().map(|state| state.name).collect();
        let all: BTreeSet<_> = states::STATES.iter().map(|state| state.name).collect();
        assert_eq!(named, all);
        // A longer beginning says which of the states it is, and refuses none that its shorter one takes.
        for (prefix, states) in BY_PREFIX.iter().filter(|(prefix, _)| prefix.len() > 3) {
            let shorter = states_of(&prefix[..3]).expect("a circle");
            assert!(shorter.iter().all(|state| states.contains(state)), "{prefix}");
        }
    }

    #[test]
    fn pincodes_are_where_they_are() {
        for (pincode, state) in [
            ("110020", "Delhi"),
            ("122001", "Haryana"),
            ("141001", "Punjab"),
            ("160017", "Chandigarh"),
            ("160055", "Punjab"),
            ("171001", "Himachal Pradesh"),
            ("180001", "Jammu and Kashmir"),
            ("190001", "Jammu and Kashmir"),
            ("194101", "Ladakh"),
            ("226001", "Uttar Pradesh"),
            ("244713", "Uttarakhand"),
            ("246701", "Uttar Pradesh"),
            ("247667", "Uttarakhand"),
            ("248001", "Uttarakhand"),
            ("262001", "Uttar Pradesh"),
            ("263139", "Uttarakhand"),
            ("302001", "Rajasthan"),
            ("380001", "Gujarat"),
            ("362520", "Dadra and Nagar Haveli and Daman and Diu"),
            ("396210", "Dadra and Nagar Haveli and Daman and Diu"),
            ("396445", "Gujarat"),
            ("400001", "Maharashtra"),
            ("403001", "Goa"),
            ("452001", "Madhya Pradesh"),
            ("492001", "Chhattisgarh"),
            ("500001", "Telangana"),
            ("520001", "Andhra Pradesh"),
            ("560001", "Karnataka"),
            ("600001", "Tamil Nadu"),
            ("605001", "Puducherry"),
            ("607001", "Tamil Nadu"),
            ("609602", "Puducherry"),
            ("673001", "Kerala"),
            ("673310", "Puducherry"),
            ("682555", "Lakshadweep"),
            ("700001", "West Bengal"),
            ("737101", "Sikkim"),
            ("744101", "Andaman and Nicobar Islands"),
            ("751001", "Odisha"),
            ("781001", "Assam"),
            ("790001", "Arunachal Pradesh"),
            ("793001", "Meghalaya"),
            ("795001", "Manipur"),
            ("796001", "Mizoram"),
            ("797001", "Nagaland"),
            ("799001", "Tripura"),
            ("800001", "Bihar"),
            ("813208", "Jharkhand"),
            ("814112", "Jharkhand"),
            ("823001", "Bihar"),
            ("834001", "Jharkhand"),
            ("855101", "Bihar"),
        ] {
            assert_eq!(priced_state(pincode).map(|state| state.name), Some(state), "{pincode}");
            assert_eq!(check_state(pincode, state), Ok(()), "{pincode}");
        }
    }

    #[test]
    fn a_shared_beginning_fits_each_of_its_states() {
        for (pincode, names) in [
            ("160055", &["Punjab", "Chandigarh"][..]),
            ("194101", &["Ladakh", "J&K", "Jammu & Kashmir"]),
            ("247667", &["Uttarakhand", "Uttaranchal", "UP"]),
            ("396230", &["Dadra & Nagar Haveli", "DNH and DD", "Daman & Diu", "Gujarat"]),
            ("500001", &["Telangana", "Telengana", "Andhra Pradesh"]),
            ("605001", &["Puducherry", "Pondicherry", "Tamilnadu"]),
            ("813208", &["Jharkhand", "Bihar"]),
            // The army's post offices are in no state.
            ("900056", &["56 APO", "Rajasthan"]),
        ] {
            for name in names {
                assert_eq!(check_state(pincode, name), Ok(()), "{pincode} {name}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_what_does() {
        let told = |pincode, state| match check_state(pincode, state).expect_err(state) {
            AddressMismatch::Pincode(message) => format!("pincode {message}"),
            AddressMismatch::State(message) => format!("state {message}"),
        };
        assert_eq!(told("781001", "Delhi"), "state can't be the state of this pincode (the pincode belongs to Assam)");
        assert_eq!(
            told("605001", "Kerala"),
            "state can't be the state of this pincode (the pincode belongs to Puducherry or Tamil Nadu)"
        );
        assert_eq!(
            told("560001", "Karnatka"),
            "state is no state or union territory of India; did you mean Karnataka? (the pincode belongs to Karnataka)"
        );
        assert_eq!(
            told("560001", "Bavaria"),
            "state is no state or union territory of India (the pincode belongs to Karnataka)"
        );
        for pincode in ["100001", "290001", "350001", "540001", "660001", "870001", "", "x"] {
            assert_eq!(told(pincode, "Delhi"), "pincode belongs to no postal circle of India", "{pincode}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_fits_or_is_told(pincode in any::<String>(), digits in "[1-9][0-9]{5}", state in any::<String>()) {
            prop_assert_eq!(states_of(&digits).is_none(), matches!(check_state(&digits, &state), Err(AddressMismatch::Pincode(_))));
            let _ = check_state(&pincode, &state);
        }
    }
}
