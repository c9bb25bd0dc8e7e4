//! The states and union territories of India, however they are written, and their codes in a GSTIN.

use std::{collections::HashMap, sync::LazyLock};

/// Other territory, and centre jurisdiction: registrations that are not of one state.
const CODES_OF_NO_STATE: [u8; 2] = [97, 99];

/// Longer than any name of a state, as far as a slip in typing is looked for.
const NAME_CHARS_MAX: usize = 60;
/// Codes of states are no longer than this.
const CODE_CHARS_MAX: usize = 2;

/// A state or a union territory.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    /// In English, as on a map: `Jammu and Kashmir`.
    pub name: &'static str,
    /// First digits of a GSTIN of the state, `7` for `07`. More than one where borders changed.
    pub gst_codes: &'static [u8],
    /// Other names and spellings, and the codes of two letters.
    aliases: &'static [&'static str],
}

impl State {
    /// Whether a GSTIN with this code may have an address in the state. 97 and 99 fit every state.
    #[must_use]
    pub fn has_gst_code(&self, code: u8) -> bool {
        self.gst_codes.contains(&code) || CODES_OF_NO_STATE.contains(&code)
    }
}

const fn state(name: &'static str, gst_codes: &'static [u8], aliases: &'static [&'static str]) -> State {
    State { name, gst_codes, aliases }
}

/// All of them, by code. Source of the codes: the state list of the GST portal.
pub static STATES: [State; 36] = [
    state("Jammu and Kashmir", &[1], &["JK"]),
    state("Himachal Pradesh", &[2], &["HP"]),
    state("Punjab", &[3], &["PB"]),
    state("Chandigarh", &[4], &["CH"]),
    state("Uttarakhand", &[5], &["UK", "UT", "UA", "Uttaranchal", "Uttrakhand"]),
    state("Haryana", &[6], &["HR"]),
    state(
        "Delhi",
        &[7],
        &["DL", "New Delhi", "NCT of Delhi", "Delhi NCT", "Delhi NCR", "National Capital Territory of Delhi"],
    ),
    state("Rajasthan", &[8], &["RJ"]),
    state("Uttar Pradesh", &[9], &["UP"]),
    state("Bihar", &[10], &["BR"]),
    state("Sikkim", &[11], &["SK"]),
    state("Arunachal Pradesh", &[12], &["AR"]),
    state("Nagaland", &[13], &["NL"]),
    state("Manipur", &[14], &["MN"]),
    state("Mizoram", &[15], &["MZ"]),
    state("Tripura", &[16], &["TR"]),
    state("Meghalaya", &[17], &["ML"]),
    state("Assam", &[18], &["AS"]),
    state("West Bengal", &[19], &["WB"]),
    state("Jharkhand", &[20], &["JH"]),
    state("Odisha", &[21], &["OD", "OR", "Orissa"]),
    state("Chhattisgarh", &[22], &["CG", "CT", "Chattisgarh", "Chhatisgarh"]),
    state("Madhya Pradesh", &[23], &["MP"]),
    state("Gujarat", &[24], &["GJ"]),
    // Two territories until 2020: 25 was Daman and Diu.
    state(
        "Dadra and Nagar Haveli and Daman and Diu",
        &[25, 26],
        &["DH", "DN", "DD", "DNH", "DNHDD", "DNH and DD", "Dadra and Nagar Haveli", "Daman and Diu", "Daman", "Diu"],
    ),
    state("Maharashtra", &[27], &["MH", "Maharastra"]),
    state("Karnataka", &[29], &["KA"]),
    state("Goa", &[30], &["GA"]),
    state("Lakshadweep", &[31], &["LD"]),
    state("Kerala", &[32], &["KL"]),
    state("Tamil Nadu", &[33], &["TN"]),
    state("Puducherry", &[34], &["PY", "Pondicherry"]),
    state("Andaman and Nicobar Islands", &[35], &["AN", "Andaman and Nicobar", "A and N Islands", "Andaman"]),
    state("Telangana", &[36], &["TG", "TS", "Telengana"]),
    // 28 was the undivided state.
    state("Andhra Pradesh", &[28, 37], &["AP", "AD"]),
    state("Ladakh", &[38], &["LA"]),
];

static BY_KEY: LazyLock<HashMap<String, &'static State>> = LazyLock::new(|| keyed().collect());

fn keyed() -> impl Iterator<Item = (String, &'static State)> {
    let spellings = |state: &'static State| state.aliases.iter().copied().chain([state.name]).flat_map(keys);
    STATES.iter().flat_map(move |state| spellings(state).map(move |key| (key, state)))
}

/// The state with this name, in any case, with any blanks and punctuation, with `&` or `and` or neither; also by old
/// names and by codes of two letters: `J&K`, `Orissa`, `tamilnadu`, `MH`. `None` where it is none that we know.
#[must_use]
pub fn find(name: &str) -> Option<&'static State> {
    keys(name).iter().find_map(|key| BY_KEY.get(key)).copied()
}

/// The state whose name differs from this one by a slip in typing: by a third of its letters at most.
fn nearest(name: &str) -> Option<&'static State> {
    let [written, _] = keys(name);
    let length = written.chars().count();
    if length > NAME_CHARS_MAX {
        return None;
    }
    let slips = |key: &str| strsim::damerau_levenshtein(&written, key);
    // Short names are codes: another code is as near as the one that was meant.
    let names = BY_KEY.iter().filter(|(key, _)| key.len() > CODE_CHARS_MAX);
    let (slips, state) =
        names.map(|(key, state)| (slips(key), *state)).min_by_key(|(slips, state)| (*slips, state.name))?;
    (slips * 3 <= length).then_some(state)
}

/// The fault of a state that [`find`] does not know.
#[must_use]
pub fn unknown(name: &str) -> String {
    let known = "is no state or union territory of India";
    nearest(name).map_or_else(|| known.to_owned(), |nearest| format!("{known}; did you mean {}?", nearest.name))
}

/// Its letters in lower case; and the same without the word `and`, which `&` stands for.
fn keys(name: &str) -> [String; 2] {
    let spelled = name.to_lowercase().replace('&', " and ");
    let words: Vec<&str> = spelled.split(|c: char| !c.is_alphabetic()).collect();
    let without_and = words.iter().copied().filter(|word| *word != "and").collect();
    [words.concat(), without_and]
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn found(name: &str) -> Option<&'static str> {
        find(name).map(|state| state.name)
    }

    #[test]
    fn every_code_belongs_to_one_state() {
        for code in 1..=38 {
            assert_eq!(STATES.iter().filter(|state| state.has_gst_code(code)).count(), 1, "{code}");
        }
        for code in [97, 99] {
            assert!(STATES.iter().all(|state| state.has_gst_code(code)), "{code}");
        }
        for code in (0..=u8::MAX).filter(|code| !matches!(code, 1..=38 | 97 | 99)) {
            assert!(!STATES.iter().any(|state| state.has_gst_code(code)), "{code}");
        }
    }

    #[test]
    fn codes_are_those_of_the_tax() {
        let expected = [
            ("Jammu and Kashmir", &[1][..]),
            ("Delhi", &[7]),
            ("Uttar Pradesh", &[9]),
            ("Dadra and Nagar Haveli and Daman and Diu", &[25, 26]),
            ("Maharashtra", &[27]),
            ("Andhra Pradesh", &[28, 37]),
            ("Karnataka", &[29]),
            ("Telangana", &[36]),
            ("Ladakh", &[38]),
        ];
        for (name, codes) in expected {
            assert_eq!(find(name).map(|state| state.gst_codes), Some(codes), "{name}");
        }
    }

    #[test]
    fn no_spelling_stands_for_two_states() {
        let mut states: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for (key, state) in keyed() {
            assert!(!key.is_empty(), "{}", state.name);
            states.entry(key).or_default().insert(state.name);
        }
        for (key, names) in states {
            assert_eq!(names.len(), 1, "{key}: {names:?}");
        }
    }

    #[test]
    fn spellings_are_understood() {
        let spellings = [
            ("Orissa", "Odisha"),
            ("PONDICHERRY", "Puducherry"),
            ("N.C.T. of Delhi", "Delhi"),
            ("uttaranchal", "Uttarakhand"),
            ("J&K", "Jammu and Kashmir"),
            ("J & K", "Jammu and Kashmir"),
            ("J. and K.", "Jammu and Kashmir"),
            ("jk", "Jammu and Kashmir"),
            ("Jammu & Kashmir", "Jammu and Kashmir"),
            ("JAMMUANDKASHMIR", "Jammu and Kashmir"),
            ("Jammu-Kashmir", "Jammu and Kashmir"),
            ("TN", "Tamil Nadu"),
            ("Tamilnadu", "Tamil Nadu"),
            (" tamil  nadu. ", "Tamil Nadu"),
            ("U.P.", "Uttar Pradesh"),
            ("MH", "Maharashtra"),
            ("KA", "Karnataka"),
            ("Daman & Diu", "Dadra and Nagar Haveli and Daman and Diu"),
            ("Dadra & Nagar Haveli & Daman & Diu", "Dadra and Nagar Haveli and Daman and Diu"),
            ("Andaman & Nicobar", "Andaman and Nicobar Islands"),
        ];
        for (spelling, name) in spellings {
            assert_eq!(found(spelling), Some(name), "{spelling}");
        }
    }

    #[test]
    fn what_is_no_state_is_none() {
        for name in ["", "&", "and", "27", "Bavaria", "Bengal", "Pradesh", "XX", "महाराष्ट्र", "İstanbul"]
        {
            assert_eq!(found(name), None, "{name}");
        }
    }

    #[test]
    fn a_slip_in_typing_is_told_from_another_name() {
        let near = |name: &str| nearest(name).map(|state| state.name);
        for (slip, name) in [
            ("Karnatka", "Karnataka"),
            ("Kerela", "Kerala"),
            ("Gujrat", "Gujarat"),
            ("Andra Pardesh", "Andhra Pradesh"),
            ("Himanchal Pradesh", "Himachal Pradesh"),
            ("West Bangal", "West Bengal"),
            ("Jammu and Kasmir", "Jammu and Kashmir"),
            ("Dadra & Nagar Havelli", "Dadra and Nagar Haveli and Daman and Diu"),
            ("Pondichery", "Puducherry"),
            ("Aasam", "Assam"),
        ] {
            assert_eq!(near(slip), Some(name), "{slip}");
        }
        for other in ["", "XX", "Bavaria", "Assamese people", "Pradesh", &"Karnataka".repeat(100)] {
            assert_eq!(near(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_found_or_not(name in prop_oneof![any::<String>(), "[A-Z]{2}"]) {
            let state = find(&name);
            prop_assert!(state.is_none_or(|state| find(state.name) == Some(state)));
        }

        #[test]
        fn case_and_blanks_do_not_matter(state in 0..STATES.len(), upper: bool, gap in "[ .,-]{0,3}") {
            let name = STATES[state].name;
            let cased = if upper { name.to_uppercase() } else { name.to_lowercase() };
            let spaced = format!("{gap}{}{gap}", cased.replace(' ', &gap));
            prop_assert_eq!(found(&spaced), Some(name));
        }
    }
}
