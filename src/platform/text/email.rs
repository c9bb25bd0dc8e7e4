//! The one form in which an e-mail address is stored, compared and written to.

use super::holds_unseen;

/// The longest address that can be delivered to (RFC 5321, path of 256 with its brackets), and its longest part before `@`.
const ADDRESS_BYTES_MAX: usize = 254;
const LOCAL_BYTES_MAX: usize = 64;

/// The normal form of an address: in small letters, and the domain as the domain name system has it (IDNA). Before `@`
/// only ASCII is taken: nothing says which other letters a mail server takes for the same, and who may sign in with one
/// account must not get into another. `None` where it is no address.
#[must_use]
pub fn normal_email(text: &str) -> Option<String> {
    if holds_unseen(text) {
        return None;
    }
    let (local, domain) = text.trim().rsplit_once('@')?;
    let in_word = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    let is_local =
        local.len() <= LOCAL_BYTES_MAX && local.split('.').all(|word| !word.is_empty() && word.bytes().all(in_word));
    let domain = idna::domain_to_ascii_strict(domain).ok()?;
    let address = format!("{}@{domain}", local.to_ascii_lowercase());
    (is_local && !domain.ends_with('.') && address.len() <= ADDRESS_BYTES_MAX).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mailbox_has_one_form() {
        for (text, normal) in [
            ("kate@example.com", "kate@example.com"),
            (" Kate@Example.COM ", "kate@example.com"),
            ("kate@ｅｘａｍｐｌｅ.com", "kate@example.com"),
            ("kate@example。com", "kate@example.com"),
            ("kate@example．com", "kate@example.com"),
            ("kate@example\u{ff61}com", "kate@example.com"),
            ("kate@\u{212a}ite.com", "kate@kite.com"),
            ("kate@EXÄMPLE.com", "kate@xn--exmple-cua.com"),
            ("kate@exa\u{308}mple.com", "kate@xn--exmple-cua.com"),
            ("kate@xn--exmple-cua.com", "kate@xn--exmple-cua.com"),
            ("kate@उदाहरण.भारत", "kate@xn--p1b6ci4b4b3a.xn--h2brj9c"),
            ("Kate.O'Neil+orders@mail.example.co.in", "kate.o'neil+orders@mail.example.co.in"),
            ("root@localhost", "root@localhost"),
        ] {
            assert_eq!(normal_email(text).as_deref(), Some(normal), "{text}");
            assert_eq!(normal_email(normal).as_deref(), Some(normal), "a second time changes nothing");
        }
    }

    #[test]
    fn what_is_no_address_has_none() {
        let long = format!("{}@example.com", "x".repeat(65));
        let longer = format!("a@{}com", "b1234567.".repeat(28));
        for text in [
            "",
            "kate",
            "@example.com",
            "kate@",
            "kate@@example.com",
            "kate@example@com",
            "\u{212a}ate@example.com",
            "käte@example.com",
            "ｋate@example.com",
            "ka\u{ad}te@example.com",
            "kate@exa\u{ad}mple.com",
            "kate@example.com\u{200b}",
            "kate@example.com\n",
            "kate\u{ff20}example.com",
            "ka te@example.com",
            "\"kate\"@example.com",
            "kate(work)@example.com",
            ".kate@example.com",
            "kate.@example.com",
            "ka..te@example.com",
            "kate@.example.com",
            "kate@example..com",
            "kate@example.com.",
            "kate@-example.com",
            "kate@example-.com",
            "kate@exa_mple.com",
            "kate@exa mple.com",
            "kate@[127.0.0.1]",
            "kate@xn--zzzzzzzz999.com",
            &long,
            &longer,
        ] {
            assert_eq!(normal_email(text), None, "{text}");
        }
    }
}
