//! Characters that show nothing, or change how others show. Two texts that look alike must be alike, and a label must say
//! what was read.

use std::borrow::Cow;

/// Joins what stands beside it, or keeps it apart: scripts of India, Arabic and emoji need both (U+200C, U+200D).
const fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Chooses between two shapes of the character before it.
const fn is_variation_selector(c: char) -> bool {
    matches!(c, '\u{fe00}'..='\u{fe0f}')
}

/// Control characters, and what Unicode calls default ignorable: overrides of the direction, zero-width blanks, soft
/// hyphens, fillers, tags. And what is no character at all.
fn is_unseen(c: char) -> bool {
    let ignorable = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fdd0}'..='\u{fdef}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}');
    c.is_control() || ignorable || (c as u32) & 0xfffe == 0xfffe
}

/// Whether `c` can't be seen after `before`. A joiner or a selector can be, once, behind what it has something to do with.
fn is_unseen_after(before: Option<char>, c: char) -> bool {
    if is_joiner(c) {
        before.is_none_or(|before| before.is_ascii() || before.is_whitespace() || is_joiner(before))
    } else if is_variation_selector(c) {
        before.is_none_or(|before| before.is_whitespace() || is_joiner(before) || is_variation_selector(before))
    } else {
        is_unseen(c)
    }
}

/// Whether something is in it that nobody can see.
#[must_use]
pub fn holds_unseen(text: &str) -> bool {
    // Most texts are plain.
    if text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return false;
    }
    let mut before = None;
    text.chars().any(|c| is_unseen_after(before.replace(c), c))
}

/// The same text without what nobody can see.
#[must_use]
pub fn without_unseen(text: &str) -> Cow<'_, str> {
    if !holds_unseen(text) {
        return text.into();
    }
    let mut before = None;
    let mut seen = String::with_capacity(text.len());
    for c in text.chars() {
        if !is_unseen_after(before, c) {
            seen.push(c);
            before = Some(c);
        }
    }
    seen.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_found() {
        let ranges = [
            0x00..=0x1f,
            0x7f..=0x9f,
            0x200e..=0x200f,
            0x2028..=0x202e,
            0x2060..=0x206f,
            0xfff9..=0xfffb,
            0xe0000..=0xe007f,
            0xe0100..=0xe01ef,
        ];
        let single = [
            0xad, 0x34f, 0x61c, 0x115f, 0x1160, 0x17b4, 0x180e, 0x200b, 0x2800, 0x3164, 0xfeff, 0xffa0, 0x1d173,
            0xfffe, 0x1ffff,
        ];
        for code in ranges.into_iter().flatten().chain(single) {
            let c = char::from_u32(code).expect("a character");
            for text in [format!("a{c}b"), format!("{c}ab"), format!("ab{c}"), format!("आ{c}शा")] {
                assert!(holds_unseen(&text), "U+{code:04X} in {text:?}");
                assert!(!without_unseen(&text).contains(c), "U+{code:04X}");
            }
        }
    }

    #[test]
    fn what_scripts_need_stays() {
        for text in [
            "Asha Rao, 12 MG Road #4 (rear)",
            "क्‍ष and क्‌ष",
            "ന്‍",
            "می‌خواهم",
            "👩‍👩‍👧",
            "❤️ 1️⃣",
            "Zoë O’Neil – 5 × 3 …",
            "नमस्ते",
            "Asha\u{a0}Rao",
            "東京",
        ] {
            assert!(!holds_unseen(text), "{text}");
            assert_eq!(without_unseen(text), text);
        }
    }

    #[test]
    fn a_joiner_that_joins_nothing_is_unseen() {
        for text in [
            "As\u{200d}ha",
            "As\u{200c}ha",
            "\u{200d}क",
            "क\u{200d}\u{200d}ष",
            "क \u{200c}ष",
            "\u{fe0f}a",
            "a\u{fe0f}\u{fe0e}",
        ] {
            assert!(holds_unseen(text), "{text:?}");
        }
    }
}
