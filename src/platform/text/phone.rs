//! Telephone numbers and postal codes of India, in the spellings that people use.

/// What stands between the digits of a telephone number.
fn is_separator(c: char) -> bool {
    (c.is_whitespace() && !c.is_control())
        || matches!(c, '-' | '.' | '/' | '(' | ')' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// The ten digits of a mobile number, which may be written with the prefix of the country or of a long-distance call and
/// with separators: `+91 98765 43210`, `0091-98765-43210`, `09876543210`. `None` where it is none.
#[must_use]
pub fn ten_digits(text: &str) -> Option<String> {
    let joined: String = text.chars().filter(|c| !is_separator(*c)).collect();
    let national = match joined.strip_prefix('+') {
        Some(international) => international.strip_prefix("91")?,
        None if joined.starts_with("0091") => &joined[4..],
        None if joined.len() == 12 => joined.strip_prefix("91")?,
        None => &joined,
    };
    // As in `+91 (0) 98765 43210`.
    let number = if national.len() == 11 { national.strip_prefix('0')? } else { national };
    let well_formed = number.len() == 10 && number.bytes().all(|b| b.is_ascii_digit()) && number.as_bytes()[0] >= b'6';
    well_formed.then(|| number.to_owned())
}

/// A postal code without the blanks that people write into it: `560 001`.
#[must_use]
pub fn pincode(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() || c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_in_every_spelling() {
        for text in [
            "9876543210",
            "98765 43210",
            "98765-43210",
            "987-654-3210",
            "(98765) 43210",
            "98765\u{a0}43210",
            "98765\u{2013}43210",
            "+919876543210",
            "+91 98765 43210",
            "+91-98765-43210",
            "+91.98765.43210",
            "(+91) 98765 43210",
            "+91 (0) 98765 43210",
            "91 98765 43210",
            "919876543210",
            "0091-9876543210",
            "0091 98765 43210",
            "09876543210",
            "0 98765 43210",
        ] {
            assert_eq!(ten_digits(text).as_deref(), Some("9876543210"), "{text}");
        }
        assert_eq!(ten_digits("9198765432").as_deref(), Some("9198765432"), "no prefix: it has ten digits");
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in [
            "",
            "987654321",
            "98765432100",
            "5876543210",
            "+1 987 654 3210",
            "+44 9876543210",
            "00919876543",
            "0019876543210",
            "९८७६५४३२१०",
            "98765 4321O",
            "98765,43210",
            "9876543210 x12",
            "9876543210/9812345678",
            "++919876543210",
            "9+19876543210",
        ] {
            assert_eq!(ten_digits(text), None, "{text}");
        }
    }

    #[test]
    fn a_postal_code_has_no_blanks() {
        for text in ["560001", "560 001", " 5 6 0 0 0 1", "560\u{a0}001"] {
            assert_eq!(pincode(text), "560001", "{text}");
        }
        assert_eq!(pincode("560001\n"), "560001\n", "control characters are no blanks");
    }
}
