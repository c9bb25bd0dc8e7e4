//! Telephone numbers, and postal codes of India, in the spellings that people use.

/// Characters that may separate the digits of a telephone number.
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

/// Digits of an international number, its country's code included (ITU-T E.164); no country has shorter ones.
const INTERNATIONAL_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// A telephone number of any country as `+` and digits, which may be written with `00` in place of `+`, with separators, and
/// with the national prefix in brackets: `+49 30 123456`, `0049-30-123456`, `+49 (0)30 123456`. `None` where it is none.
#[must_use]
pub fn international(text: &str) -> Option<String> {
    let joined: String = text.replace("(0)", "").chars().filter(|c| !is_separator(*c)).collect();
    let digits = joined.strip_prefix('+').or_else(|| joined.strip_prefix("00"))?;
    let well_formed = INTERNATIONAL_DIGITS.contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0');
    well_formed.then(|| format!("+{digits}"))
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
    fn an_international_number_is_read_in_every_spelling() {
        for text in [
            "+4930123456",
            "+49 30 123456",
            "+49-30-123456",
            "+49 (30) 12 34 56",
            "+49 (0)30 123456",
            "+49 (0) 30/123456",
            "(+49) 30 123456",
            "004930123456",
            "00 49 30 123456",
            "+49\u{a0}30\u{2013}123456",
        ] {
            assert_eq!(international(text).as_deref(), Some("+4930123456"), "{text}");
        }
        for (text, number) in [("+39 06 1234567", "+39061234567"), ("+683 4000", "+6834000")] {
            assert_eq!(international(text).as_deref(), Some(number), "{text}");
        }
        assert_eq!(international("+123456789012345").as_deref(), Some("+123456789012345"));
    }

    #[test]
    fn what_is_no_international_number_is_none() {
        for text in [
            "",
            "+",
            "4930123456",
            "030 123456",
            "+0301234567",
            "++4930123456",
            "000493012345",
            "+49 30 12345x",
            "+49 30 123456 ext 7",
            "+４９30123456",
            "+123456",
            "+1234567890123456",
            "30+49123456",
        ] {
            assert_eq!(international(text), None, "{text}");
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
