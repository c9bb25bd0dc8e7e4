//! How alike two names are: what a merchant says, and what an authority or a bank has on record.

/// Characters of a name that are compared: the work grows with the square.
const COMPARED_MAX: usize = 200;

/// Said before a name, not part of it. `M/S` is `MS` by the time it gets here.
const TITLES: [&str; 8] = ["MR", "MRS", "MS", "DR", "SHRI", "SMT", "SRI", "KUMARI"];

/// How alike two names of persons or companies are, in percent, rounded down: 100 for the same name.
///
/// It is 100 less the share of characters that have to be changed, added, dropped or swapped with a neighbour, once case,
/// punctuation, titles, the order of words and the usual abbreviations of companies are out of the way. Whatever is
/// compared with a name without a letter or a digit is 0. Of either name the first 200 characters count, in that form.
#[must_use]
pub fn similarity_percent(a: &str, b: &str) -> u8 {
    let (a, b) = (comparable(a), comparable(b));
    if a.is_empty() || b.is_empty() {
        return 0;
    }
    let length = a.chars().count().max(b.chars().count());
    // In whole numbers: the crate's own share is a float, which may end just below the percent that it should be.
    let alike = length.saturating_sub(strsim::damerau_levenshtein(&a, &b));
    u8::try_from(alike * 100 / length).unwrap_or(100)
}

/// The words that matter, sorted, in upper case, with single blanks.
fn comparable(name: &str) -> String {
    let mut words = words(name);
    // Only before the name: `Kumari` is a surname too, and some are called so and nothing else.
    let titles = words.iter().take_while(|word| is_title(word)).count();
    words.drain(..titles.min(words.len().saturating_sub(1)));
    words.sort_unstable();
    words.join(" ").chars().take(COMPARED_MAX).collect()
}

fn is_title(word: &str) -> bool {
    TITLES.contains(&word)
}

fn words(name: &str) -> Vec<String> {
    let upper = name.to_uppercase().replace('&', " AND ");
    let spaced: String = upper.split_whitespace().flat_map(whole_messrs).collect();
    let cleaned: String = spaced.chars().filter_map(kept).collect();
    cleaned.split_whitespace().map(|word| spelled_out(word).to_owned()).collect()
}

/// The word and a blank, with `MS` for the `M/S` that it begins with, which would fall into two initials.
fn whole_messrs(word: &str) -> [&str; 3] {
    match word.strip_prefix("M/S") {
        Some(rest) if !rest.starts_with(char::is_alphanumeric) => ["MS ", rest, " "],
        _ => ["", word, " "],
    }
}

/// Letters and digits stay, what separates words becomes a blank, and what sits within a word goes: apostrophes, accents
/// that are characters of their own.
fn kept(c: char) -> Option<char> {
    match c {
        _ if c.is_alphanumeric() => Some(c),
        '\'' | '`' => None,
        _ if c.is_ascii() || c.is_whitespace() => Some(' '),
        // Hyphens and dashes.
        '\u{2010}'..='\u{2015}' => Some(' '),
        _ => None,
    }
}

fn spelled_out(word: &str) -> &str {
    match word {
        "PVT" => "PRIVATE",
        "LTD" => "LIMITED",
        "CO" => "COMPANY",
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// From which a name counts as the same, in most uses.
    const SAME: u8 = 85;

    #[test]
    fn the_same_name_written_otherwise_is_the_same() {
        let pairs = [
            ("Asha Rao", "RAO ASHA"),
            ("Asha Rao", "  asha   rao "),
            ("Asha Rao", "Mrs. Asha Rao"),
            ("Asha Rao", "SMT ASHA RAO"),
            ("Dr.Anil Kumar", "Anil Kumar"),
            ("Rao, Asha", "Asha Rao"),
            ("Kiran Stores Pvt Ltd", "KIRAN STORES PRIVATE LIMITED"),
            ("Kiran Stores Pvt. Ltd.", "Kiran Stores Pvt.Ltd"),
            ("M/s Kiran Stores", "Kiran Stores"),
            ("M/S.Kiran Stores", "MS KIRAN STORES"),
            ("Rao & Co", "RAO AND COMPANY"),
            ("Rao&Sons", "Rao and Sons"),
            ("Jean-Pierre D'Souza", "JEAN PIERRE DSOUZA"),
            ("Jean\u{2013}Pierre D\u{2019}Souza", "JEAN PIERRE DSOUZA"),
            ("Kumari", "KUMARI"),
            ("M/s", "Ms"),
            ("Jose\u{301} Lobo", "JOSE LOBO"),
            ("आशा राव", "राव आशा"),
        ];
        for (a, b) in pairs {
            assert_eq!(similarity_percent(a, b), 100, "{a} / {b}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_nearly_the_same() {
        let pairs = [
            ("Sandeep Sharma", "Sandip Sharma"),
            ("Lakshmi Narayanan", "Lakshmy Narayanan"),
            ("Kiran Stores Private Limited", "Kiran Store Private Limited"),
            ("Mohammed Iqbal", "Mohammed Iqbla"),
            ("A.K. Sharma", "AK Sharma"),
            ("Zoë Fernandes", "Zoe Fernandes"),
        ];
        for (a, b) in pairs {
            let percent = similarity_percent(a, b);
            assert!((SAME..100).contains(&percent), "{a} / {b}: {percent}");
        }
    }

    #[test]
    fn another_name_is_another() {
        let pairs = [
            ("Asha Rao", "ASHA R"),
            ("Asha Rao", "Asha"),
            ("Asha Rao", "Usha Raj"),
            ("Rahul Verma", "Sandeep Sharma"),
            ("Ravi Kumar", "Ravi Sharma"),
            ("Kiran Stores Pvt Ltd", "Kiran Stores"),
            ("Kiran Stores Pvt Ltd", "Mohan Traders Pvt Ltd"),
            ("Kiran Stores LLP", "Kiran Stores Ltd"),
            ("आशा राव", "Asha Rao"),
        ];
        for (a, b) in pairs {
            let percent = similarity_percent(a, b);
            assert!(percent < SAME, "{a} / {b}: {percent}");
        }
    }

    #[test]
    fn percents_are_exact_and_rounded_down() {
        // 3 of 20 differ, then 1 of 3.
        assert_eq!(similarity_percent("ABCDEFGHIJKLMNOPQRST", "ABCDEFGHIJKLMNOPQXYZ"), 85);
        assert_eq!(similarity_percent("ABC", "ABX"), 66);
        assert_eq!(similarity_percent("ABC", "ACB"), 66, "a swap is one change");
        assert_eq!(similarity_percent("ABC", "XYZ"), 0);
        assert_eq!(similarity_percent("Asha Rao", "ASHA R"), 75);
    }

    #[test]
    fn a_name_without_letters_is_like_nothing() {
        for (a, b) in [("", ""), ("", "Asha"), ("Asha", " .-' "), ("--", "--")] {
            assert_eq!(similarity_percent(a, b), 0, "{a:?} / {b:?}");
            assert_eq!(similarity_percent(b, a), 0, "{b:?} / {a:?}");
        }
    }

    #[test]
    fn a_surname_that_is_a_title_elsewhere_counts() {
        assert!(similarity_percent("Meena Kumari", "Meena") < SAME);
        assert_eq!(similarity_percent("Kumari Meena", "Meena"), 100);
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let long = "A".repeat(COMPARED_MAX);
        assert_eq!(similarity_percent(&long, &format!("{long}BCD")), 100);
        assert_eq!(similarity_percent(&"ABC ".repeat(100_000), &"ẞ".repeat(100_000)), 0);
        assert_eq!(comparable(&"ẞ&".repeat(100_000)).chars().count(), COMPARED_MAX);
    }

    /// Words as in names, so that random names have titles, abbreviations and letters in common.
    fn any_name() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[a-eA-E]{1,4}( (mr|pvt|co|&|[a-e]{1,3})){0,4}"]
    }

    proptest! {
        #[test]
        fn either_way_round_is_the_same(a in any_name(), b in any_name()) {
            let percent = similarity_percent(&a, &b);
            prop_assert!(percent <= 100);
            prop_assert_eq!(percent, similarity_percent(&b, &a));
        }

        #[test]
        fn a_name_is_like_itself(name in any_name()) {
            let expected = if name.contains(char::is_alphanumeric) || name.contains('&') { 100 } else { 0 };
            prop_assert_eq!(similarity_percent(&name, &name), expected);
        }

        #[test]
        fn only_the_same_words_are_the_same(a in "[A-E]{1,3}( [A-E]{1,3}){0,3}", b in "[A-E]{1,3}( [A-E]{1,3}){0,3}") {
            prop_assert_eq!(similarity_percent(&a, &b) == 100, comparable(&a) == comparable(&b));
        }

        #[test]
        fn the_order_of_words_does_not_matter(name in any_name()) {
            // A title is one only before the name.
            prop_assume!(!words(&name).iter().any(|word| is_title(word)));
            let backwards: Vec<&str> = name.split_whitespace().rev().collect();
            prop_assert_eq!(comparable(&name), comparable(&backwards.join(" ")));
        }
    }
}
