//! Names and types of files, which others have chosen: what browsers and file systems are given.

use crate::platform::text::{normal, without_unseen};

const NAME_CHARS_MAX: usize = 120;
/// Characters of a file extension that are kept when a long name is cut.
const ENDING_CHARS_MAX: usize = 10;
/// The content type that browsers neither run nor show.
const UNKNOWN: &str = "application/octet-stream";
/// Types that files may have, and how names of such files may end; the first ending is added where a name has none of them.
const TYPES: [(&str, &[&str]); 5] = [
    ("application/pdf", &["pdf"]),
    ("application/zip", &["zip"]),
    ("application/xml", &["xml"]),
    ("application/pkcs7-signature", &["sig", "p7s"]),
    (UNKNOWN, &["bin"]),
];
/// Other names of these types.
const ALIASES: [(&str, &str); 4] = [
    ("application/x-zip-compressed", "application/zip"),
    ("text/xml", "application/xml"),
    ("application/x-pkcs7-signature", "application/pkcs7-signature"),
    ("application/pgp-signature", "application/pkcs7-signature"),
];
/// Names that stand for devices on some systems.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// The type as it is known here; what is not known is a row of bytes.
#[must_use]
pub fn harmless_type(said: &str) -> &'static str {
    let essence = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let meant = ALIASES.iter().find(|(alias, _)| *alias == essence).map_or(&*essence, |(_, meant)| *meant);
    TYPES.iter().map(|(known, _)| *known).find(|known| *known == meant).unwrap_or(UNKNOWN)
}

/// A name that is only a name, whatever was said: no path, nothing that systems read otherwise, and an ending that tells the type.
#[must_use]
pub fn harmless_name(said: &str, content_type: &str) -> String {
    let seen = without_unseen(said);
    let last = seen.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().map(|c| if is_special(c) { '_' } else { c }).collect();
    let name = normal(&kept).trim_matches(|c: char| c == '.' || c.is_whitespace()).to_owned();
    let endings =
        TYPES.iter().find(|(known, _)| *known == content_type).map_or(&["bin"] as &[_], |(_, endings)| endings);
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_lowercase());
    let name = match ending {
        Some(ending) if endings.contains(&&*ending) => name,
        _ if name.is_empty() => format!("file.{}", endings[0]),
        _ => format!("{name}.{}", endings[0]),
    };
    let stem = name.split('.').next().unwrap_or_default().trim().to_lowercase();
    let numbered = |device: &str| stem.strip_prefix(device).is_some_and(|n| n.chars().count() == 1);
    let is_device = DEVICES.contains(&&*stem) || numbered("com") || numbered("lpt");
    shortened(if is_device { format!("_{name}") } else { name })
}

/// Characters that mean something in a shell, a path or a header.
fn is_special(c: char) -> bool {
    c.is_control() || matches!(c, '"' | '<' | '>' | ':' | '|' | '?' | '*' | '\'' | '`' | '$' | '%' | ';' | '&')
}

/// Cut in the middle, so that the ending stays.
fn shortened(name: String) -> String {
    let count = name.chars().count();
    if count <= NAME_CHARS_MAX {
        return name;
    }
    let ending: String = name.chars().skip(count - ENDING_CHARS_MAX).collect();
    let start: String = name.chars().take(NAME_CHARS_MAX - ENDING_CHARS_MAX).collect();
    start + &ending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_one_that_is_known_or_a_row_of_bytes() {
        for (said, known) in [
            ("application/pdf", "application/pdf"),
            (" Application/PDF; charset=x", "application/pdf"),
            ("text/xml", "application/xml"),
            ("application/x-pkcs7-signature", "application/pkcs7-signature"),
            ("text/html", UNKNOWN),
            ("image/svg+xml", UNKNOWN),
            ("application/xhtml+xml", UNKNOWN),
            ("text/html\r\nX-A: b", UNKNOWN),
            ("", UNKNOWN),
        ] {
            assert_eq!(harmless_type(said), known, "{said}");
        }
    }

    #[test]
    fn a_name_is_only_a_name() {
        for (said, name) in [
            ("Выписка из ЕГРН.pdf", "Выписка из ЕГРН.pdf"),
            ("extract.PDF", "extract.PDF"),
            ("../../etc/passwd", "passwd.pdf"),
            ("..\\..\\windows\\win.ini", "win.ini.pdf"),
            ("extract.pdf/", "file.pdf"),
            ("C:evil.pdf", "C_evil.pdf"),
            ("a\r\nSet-Cookie: b.pdf", "aSet-Cookie_ b.pdf"),
            ("a\"; filename=b.exe", "a__ filename=b.exe.pdf"),
            ("invoice.pdf.exe", "invoice.pdf.exe.pdf"),
            ("annexe\u{202e}fdp.exe", "annexefdp.exe.pdf"),
            ("\u{0}\u{7}", "file.pdf"),
            ("...", "file.pdf"),
            (".htaccess", "htaccess.pdf"),
            ("  trailing.pdf . ", "trailing.pdf"),
            ("CON.pdf", "_CON.pdf"),
            ("com1", "_com1.pdf"),
            ("$(rm -rf ~).pdf", "_(rm -rf ~).pdf"),
            ("", "file.pdf"),
        ] {
            assert_eq!(harmless_name(said, "application/pdf"), name, "{said:?}");
        }
        assert_eq!(harmless_name("page.html", UNKNOWN), "page.html.bin");
        assert_eq!(harmless_name("extract.pdf.sig", "application/pkcs7-signature"), "extract.pdf.sig");
        assert_eq!(harmless_name("extract.pdf", "a type that nobody knows"), "extract.pdf.bin");
    }

    #[test]
    fn a_long_name_keeps_its_ending() {
        let name = harmless_name(&"Я".repeat(400), "application/pdf");
        assert!(name.chars().count() == NAME_CHARS_MAX && name.ends_with(".pdf"), "{name}");
    }
}
