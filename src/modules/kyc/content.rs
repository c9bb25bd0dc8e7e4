//! Recognises documents by their content: names and headers can't be trusted.

pub const DOCUMENT_BYTES_MAX: usize = 5 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    Pdf,
    Png,
    Jpeg,
}

impl MediaType {
    /// As in HTTP.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
        }
    }

    /// The ending of a file's name.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Png => "png",
            Self::Jpeg => "jpg",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pdf, Self::Png, Self::Jpeg].into_iter().find(|known| known.as_str() == name)
    }

    /// The type of `content`, by its first and last bytes. Libraries for this look at the first few bytes only, and take a
    /// page of HTML behind them.
    ///
    /// Signatures: ISO 32000-2, section 7.5; PNG specification, sections 5.2 and 11.2; ITU T.81, annex B.
    #[must_use]
    pub fn of(content: &[u8]) -> Option<Self> {
        const PNG_START: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
        const PNG_END: &[u8] = b"\0\0\0\0IEND\xaeB`\x82";
        /// Readers accept trailing blanks and line ends, and so do we.
        const PDF_TAIL_BYTES: usize = 1024;
        /// Telephones put what they know of a picture behind it.
        const JPEG_TAIL_BYTES: usize = 256 * 1024;
        let end = |bytes: usize| &content[content.len().saturating_sub(bytes).max(4).min(content.len())..];
        if content.starts_with(b"%PDF-") && end(PDF_TAIL_BYTES).windows(5).any(|window| window == b"%%EOF") {
            Some(Self::Pdf)
        } else if content.starts_with(PNG_START) && content.ends_with(PNG_END) {
            Some(Self::Png)
        } else if content.starts_with(b"\xff\xd8\xff") && end(JPEG_TAIL_BYTES).windows(2).any(|end| end == b"\xff\xd9")
        {
            Some(Self::Jpeg)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\0\0\0\0\0\0\0\0IEND\xaeB`\x82";

    #[test]
    fn content_tells_the_type() {
        assert_eq!(MediaType::of(PNG), Some(MediaType::Png));
        assert_eq!(MediaType::of(b"%PDF-1.7\n...\n%%EOF\n"), Some(MediaType::Pdf));
        assert_eq!(MediaType::of(b"\xff\xd8\xff\xe0....\xff\xd9"), Some(MediaType::Jpeg));
        assert_eq!(MediaType::of(b"\xff\xd8\xff\xe0....\xff\xd9taken by a telephone"), Some(MediaType::Jpeg));
        for known in [MediaType::Pdf, MediaType::Png, MediaType::Jpeg] {
            assert_eq!(MediaType::from_name(known.as_str()), Some(known));
        }
    }

    #[test]
    fn what_only_pretends_is_refused() {
        for pretender in [
            b"<html><script>alert(1)</script></html>".as_slice(),
            b"\x89PNG\r\n\x1a\n<html><script>alert(1)</script></html>",
            b"%PDF-1.7 and nothing else",
            b"\xff\xd8\xff<script>alert(1)</script>",
            b"GIF89a;",
            b"PK\x03\x04",
            b"MZ",
            b"",
            b"\xff\xd8\xff\xd9",
            b"\xff\xd8\xff",
            &PNG[..PNG.len() - 1],
        ] {
            assert_eq!(MediaType::of(pretender), None, "{:?}", String::from_utf8_lossy(pretender));
        }
    }
}
