//! Aadhaar numbers in free text. The law lets few keep them, people write them everywhere, and nobody looks for them there.

use unicode_normalization::UnicodeNormalization;

const DIGITS: usize = 12;
/// So many characters may stand between two groups of digits of one number.
const GAP_CHARS_MAX: usize = 3;
/// After one of these a number that is written in one piece is a parcel's or a transfer's.
const LABELS: [&str; 9] = ["awb", "waybill", "tracking", "utr", "rrn", "neft", "rtgs", "imps", "upi"];

/// The zeros of all scripts that write numbers with ten digits. Those that NFKC makes ASCII of are not needed.
const ZEROS: [u32; 61] = [
    0x0030, 0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66, 0x0de6,
    0x0e50, 0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40,
    0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136,
    0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0,
    0x11f50, 0x16a60, 0x16ac0, 0x16b50, 0x1e140, 0x1e2f0, 0x1e4f0, 0x1e950,
];

/// Verhoeff's multiplication: the dihedral group of the pentagon.
const PRODUCT: [[u8; 10]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
    [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
    [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
    [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
    [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
    [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
    [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
    [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
    [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
];

/// Verhoeff's permutation of a digit, by its distance from the end.
const PERMUTED: [[u8; 10]; 8] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
    [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
    [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
    [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
    [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
    [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
    [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
];

/// The product of all permuted digits, the last of them first; 0 for a number that ends in its check digit.
pub fn verhoeff_sum(digits_from_the_end: impl Iterator<Item = u8>) -> u8 {
    let permuted = digits_from_the_end.zip(PERMUTED.iter().cycle()).map(|(digit, row)| row[usize::from(digit)]);
    permuted.fold(0, |sum, digit| PRODUCT[usize::from(sum)][usize::from(digit)])
}

/// Digits that stand together.
struct DigitGroup {
    digits: Vec<u8>,
    /// Characters between them and the group before.
    before: String,
}

impl DigitGroup {
    /// Whether it may go on with the number of the group before.
    fn goes_on(&self) -> bool {
        self.before.chars().count() <= GAP_CHARS_MAX && !self.before.contains(char::is_alphanumeric)
    }
}

/// Whether somewhere in `text` there is what could be an Aadhaar number: in the digits of any script, with any separators.
/// A telephone number with the prefix of the country, a date, two postal codes, or a number that is called one of a parcel or
/// a transfer is taken for that.
#[must_use]
pub fn holds_identity_number(text: &str) -> bool {
    // Twelve digits take twelve bytes at least.
    if text.len() < DIGITS || (text.is_ascii() && text.bytes().filter(u8::is_ascii_digit).count() < DIGITS) {
        return false;
    }
    let groups = groups(text);
    (0..groups.len()).any(|first| {
        let (mut digits, mut end) = (groups[first].digits.len(), first + 1);
        while digits < DIGITS
            && let Some(next) = groups.get(end).filter(|next| next.goes_on())
        {
            digits += next.digits.len();
            end += 1;
        }
        digits == DIGITS && is_identity_number(&groups[first..end])
    })
}

fn groups(text: &str) -> Vec<DigitGroup> {
    let mut groups: Vec<DigitGroup> = Vec::new();
    let mut between = String::new();
    let mut in_group = false;
    for c in text.nfkc() {
        match (digit(c), groups.last_mut()) {
            (Some(digit), Some(group)) if in_group => group.digits.push(digit),
            (Some(digit), _) => groups.push(DigitGroup { digits: vec![digit], before: std::mem::take(&mut between) }),
            (None, _) => between.push(c),
        }
        in_group = digit(c).is_some();
    }
    groups
}

fn digit(c: char) -> Option<u8> {
    let at = ZEROS.partition_point(|zero| *zero <= u32::from(c)).checked_sub(1)?;
    u8::try_from(u32::from(c) - ZEROS[at]).ok().filter(|digit| *digit < 10)
}

/// Of twelve digits, in one group or in several.
fn is_identity_number(groups: &[DigitGroup]) -> bool {
    let digits: Vec<u8> = groups.iter().flat_map(|group| &group.digits).copied().collect();
    digits[0] >= 2 && verhoeff_sum(digits.iter().rev().copied()) == 0 && !is_other_number(groups, &digits)
}

fn is_other_number(groups: &[DigitGroup], digits: &[u8]) -> bool {
    let lengths: Vec<usize> = groups.iter().map(|group| group.digits.len()).collect();
    let before = &groups[0].before;
    if digits[..2] == [9, 1] && digits[2] >= 6 && (lengths[..] != [4, 4, 4] || before.ends_with('+')) {
        return true;
    }
    match lengths[..] {
        // As it is printed on the card.
        [4, 4, 4] => false,
        [DIGITS] => {
            let before = before.to_lowercase();
            let mut words = before.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
            [words.next_back(), words.next_back()].iter().flatten().any(|word| LABELS.contains(word))
        }
        // Postal codes begin with 1 to 8.
        [6, 6] => [digits[0], digits[6]].iter().all(|digit| (1..=8).contains(digit)),
        // Thousands of an amount.
        [3, 3, 3, 3] if groups[1..].iter().all(|group| group.before == ",") => true,
        // Numbers beside each other, such as those of a house and a street, a telephone or a date and a time, are not one.
        _ => {
            let even = lengths.windows(2).all(|pair| pair[0] == pair[1]);
            let gap = &groups[1].before;
            let one_separator = gap.chars().count() == 1 && groups[1..].iter().all(|group| group.before == *gap);
            !even && (!one_separator || [",", ";", ":"].contains(&gap.as_str()) || holds_mobile(groups))
        }
    }
}

/// Whether a group, or two of five digits, are a mobile number.
fn holds_mobile(groups: &[DigitGroup]) -> bool {
    let begins = |group: &DigitGroup, length| group.digits.len() == length && group.digits[0] >= 6;
    groups.iter().any(|group| begins(group, 10))
        || groups.windows(2).any(|pair| begins(&pair[0], 5) && pair[1].digits.len() == 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `number` with the zero of another script.
    fn in_script(zero: u32, number: &str) -> String {
        let digit = |c: char| c.to_digit(10).and_then(|digit| char::from_u32(zero + digit)).unwrap_or(c);
        number.chars().map(digit).collect()
    }

    #[test]
    fn a_number_is_found_however_it_is_written() {
        for text in [
            "999941057058",
            "9999 4105 7058",
            "9999-4105-7058",
            "9999.4105.7058",
            "9999/4105/7058",
            "9999,4105,7058",
            "9999_4105_7058",
            "9999\u{a0}4105\u{a0}7058",
            "9999\u{2009}4105\u{3000}7058",
            "9999\u{2013}4105\u{2014}7058",
            "9999\u{2011}4105\u{2212}7058",
            "9999\u{b7}4105\u{2022}7058",
            "9999 - 4105 - 7058",
            "9999  4105  7058",
            "9999\n4105\n7058",
            "(9999) (4105) (7058)",
            "9 9 9 9 4 1 0 5 7 0 5 8",
            "99-99-41-05-70-58",
            "999.941.057.058",
            "999941 057058",
            "99994105-7058",
            "9999 41057058",
            "Asha Rao 9999 4105 7058",
            "Asha999941057058Rao",
            "id: 9999-4105-7058.",
            "Flat 12 9999 4105 7058",
            "Flat 1201, 9999 4105 7058, 560001",
            "9999\u{200d}4105\u{200c}7058",
            "①9999 4105 7058 9999 4105 7058",
            "⑨⑨⑨⑨ ④①⓪⑤ ⑦⓪⑤⑧",
            "⁹⁹⁹⁹⁴¹⁰⁵⁷⁰⁵⁸",
            "𝟗𝟗𝟗𝟗𝟒𝟏𝟎𝟓𝟕𝟎𝟓𝟖",
            "order no. 999941057058",
        ] {
            assert!(holds_identity_number(text), "{text}");
        }
        for zero in ZEROS.into_iter().chain([0xff10]) {
            for number in ["999941057058", "9999 4105 7058"] {
                let text = in_script(zero, number);
                assert!(holds_identity_number(&text), "{text}");
            }
        }
        assert!(holds_identity_number(&format!("9999 {} {}", in_script(0x966, "4105"), in_script(0xff10, "7058"))));
    }

    #[test]
    fn what_has_twelve_digits_and_is_none_stays() {
        for text in [
            "",
            "999941057059",
            "199941057058",
            "09999 4105 7058 1",
            "9999410570581",
            "9999 and 4105 and 7058",
            "9999x4105x7058",
            "99994105 a 7058",
            "12 MG Road, Bengaluru 560001",
            "29ABCPR1234F1Z5",
        ] {
            assert!(!holds_identity_number(text), "{text}");
        }
        // Each of these ends in a right check digit.
        for number in [
            "+919876543218",
            "919876543218",
            "91 98765 43218",
            "+91-98765-43218",
            "+9198 7654 3218",
            "2026-11-29 12:34",
            "AWB 791234567890",
            "UTR no. 412345678901",
            "560001, 110020",
            "Flat 45, 1234, 560001",
            "Rs 234,567,890,123",
            "gate 22 9876543210",
            "98765 43210 22",
        ] {
            let right = |text: &str| {
                let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).map(|b| b - b'0').collect();
                assert_eq!(digits.len(), DIGITS, "{text}");
                verhoeff_sum(digits.iter().rev().copied()) == 0
            };
            let body = &number[..number.len() - 1];
            let valid = (0..10).map(|last| format!("{body}{last}")).find(|text| right(text)).expect("one of ten is");
            assert!(!holds_identity_number(&valid), "{valid}");
        }
    }
}
