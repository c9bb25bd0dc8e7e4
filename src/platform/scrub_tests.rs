use super::*;

#[test]
fn free_text_keeps_its_sense_and_loses_personal_data() {
    for (text, kept) in [
        ("Pincode 560001 not serviceable", "Pincode 560001 not serviceable"),
        ("Invalid mobile 9876543210, <asha@example.com>", "Invalid mobile [number] [address]"),
        ("call +91-98765-43210 now", "call [number] now"),
        ("two\r\nlines \u{1b}[31mred", "two lines [31mred"),
    ] {
        assert_eq!(scrub(text), kept);
    }
    assert_eq!(scrub(&"x ".repeat(1000)).chars().count(), SCRUBBED_CHARS_MAX);
}

#[test]
fn identifiers_are_hidden_however_they_are_written() {
    for (text, kept) in [
        ("PAN ABCDE1234F is inactive", "PAN [number] is inactive"),
        ("pan=abcde1234f; try again", "[number] try again"),
        ("GSTIN 29ABCDE1234F1Z5, cancelled", "GSTIN [number] cancelled"),
        ("ABCDE\u{0}1234F", "[number]"),
        ("éABCDE1234Fé", "[number]"),
        ("Aadhaar 9999 4105 7058 is no PAN", "Aadhaar [number] is no PAN"),
        ("call 98765 43210", "call [number]"),
        ("call (+91) 98765 - 43210, now", "call [number] now"),
        ("98765\n43210 asha@example.com 98765\u{7} 43210", "[number] [address] [number]"),
        ("1234 asha@example.com 5678", "1234 [address] 5678"),
    ] {
        assert_eq!(scrub(text), kept);
        assert_eq!(scrub(kept), kept, "a second time changes nothing");
    }
}

#[test]
fn words_that_only_resemble_identifiers_stay() {
    for text in [
        "Pincode 560001 not serviceable",
        "Pincodes 560001 and 110001 differ",
        "between 10 - 20 kg, 3 parcels",
        "ABCD1234F ABCDE123F ABCDE12345 ABCDE 1234 F",
        "IFSC HDFC0ABC123 unknown",
        "- ... !",
        "",
    ] {
        assert_eq!(scrub(text), text);
    }
}

#[test]
fn keys_and_tokens_are_hidden_wherever_they_stand() {
    let token = "Zm9vYmFyLXF1dXgtMTIzNDU2Nzg5MC1hYmNkZWZnaGk";
    for (text, kept) in [
        ("password=hunter2 refused", "[secret] refused"),
        ("Password: hunter2, refused", "Password: [secret] refused"),
        ("\"apiKey\":\"a1\", x-api-key: b2", "[secret] x-api-key: [secret]"),
        ("authorization: Bearer abc.def", "authorization: [secret] [secret]"),
        ("Bearer short", "Bearer [secret]"),
        ("key sk_live_51H8xQ2eZvKYlo2C was revoked", "key [secret] was revoked"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "[secret]"),
        ("see https://h/p?x=1 or http://u:p@h/", "see [url] or [url]"),
        ("card 4111 1111 1111 1111, ref:4111 1111 11111111", "card [number] [number]"),
        ("Aadhaar:9999 4105 7058", "[number]"),
        ("\u{ff19}\u{ff19}\u{ff19}\u{ff19} \u{ff14}\u{ff11}\u{ff10}\u{ff15}", "[number]"),
        ("ABC\u{200b}DE1234F and \u{202e}txet", "[number] and txet"),
        (token, "[secret]"),
    ] {
        assert_eq!(scrub(text), kept, "{text}");
        assert_eq!(scrub(kept), kept, "a second time changes nothing");
        assert!(!is_harmless(text), "{text}");
    }
}

#[test]
fn words_that_only_resemble_keys_stay() {
    for text in [
        "Invalid access token",
        "The monkey is a keyword",
        "Pin: 560001 is not serviceable",
        "ORDER_CREATE_FAILED_IN_STEP_2",
        "Basic service between 10:30 and 18:00",
        "ratio 3:4, weight=0.5",
        "secretary: Asha",
    ] {
        assert_eq!(scrub(text), text);
        assert!(is_harmless(text), "{text}");
    }
    assert!(is_harmless(&"x ".repeat(SCRUBBED_CHARS_MAX)), "what is only long hides nothing");
}

#[test]
fn secrets_are_told_from_numbers() {
    for text in ["key sk_live_51H8xQ2eZvKYlo2C", "password=hunter2", "Kq7xB2mZ9wLp4RtVb8NyQa"] {
        assert!(holds_secrets(text), "{text}");
    }
    for text in ["", "Case 12345/2026 of 21-11-2026", "CNR DLHC01-012345-2026", "UTR 123456789012"] {
        assert!(!holds_secrets(text), "{text}");
    }
}

#[test]
fn names_and_times_are_told_from_what_only_passes_for_them() {
    for name in
        ["79123456789012", "ord_0198f0c2b1e07c3e8a41b5d0f3a2c4e6", "IDCH0011aabb", "a", "c-1001", "pay_0abcde1234f0"]
    {
        assert!(is_name(name), "{name}");
    }
    let long = "x".repeat(129);
    for other in
        ["", "two words", "a@b", "<b>", "ABCDE1234F", "x-29ABCDE1234F1Z5", "sk_live_51H8xQ2eZvKYlo2C", "é", &long]
    {
        assert!(!is_name(other), "{other}");
    }
    for time in ["2026-01-31", "2026-01-31 09:30:00", "2026-01-31T09:30", "31-01-2026 09:30:00", "31/01/2026"] {
        assert!(is_time(time), "{time}");
    }
    for other in ["2026-01", "9999 4105 7058", "999941057058", "2026-01-31 09:30:00 9999"] {
        assert!(!is_time(other), "{other}");
    }
}

#[test]
fn a_request_id_is_no_secret() {
    for id in [
        "rqs_0198f0c2b1e07c3e8a41b5d0f3a2c4e6",
        "7d444840-9dc0-11d1-b245-5ffdce74fad2",
        "abcde1234f7c3e8a41b5d0f3a2c4e6ff",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "V1StGXR8_Z5jdHi6B-myT",
        "checkout-42",
        "12345678-retry",
    ] {
        assert!(is_request_id(id), "{id}");
    }
    for other in [
        "short",
        "with space in it",
        "999941057058",
        "9999-4105-7058",
        "4111_1111_1111_1111",
        "ABCDE1234F",
        "pan-abcde1234f",
        "myABCPR1234F",
        "29ABCDE1234F1Z5",
        "sk_live_51H8xQ2eZvKYlo2C",
        "Zm9vYmFyLXF1dXgtMTIzNDU2Nzg5MC1hYmNkZWZnaGk",
        "eyJhbGciOiJIUzI1NiJ9-eyJzdWIiOiIxIn0",
    ] {
        assert!(!is_request_id(other), "{other}");
    }
}
