//! Well-formed numbers, typing errors that are caught, and numbers that are never shown.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

const DIGITS: &str = "0123456789";
const DIGITS_AND_LETTERS: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

const GSTINS: [&str; 3] = ["27AAPFU0939F1ZV", "29AAGCB7383J1Z4", "09AAACR5055K1Z5"];
/// From the test data of the authority that issues them; nobody's.
const AADHAARS: [&str; 2] = ["999941057058", "999971658847"];

/// `text` with other characters at some places.
fn with(text: &str, changes: &[(usize, char)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, c) in changes {
        chars[*at] = *c;
    }
    chars.into_iter().collect()
}

fn swapped(text: &str, at: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    with(text, &[(at, chars[at + 1]), (at + 1, chars[at])])
}

/// Every text that differs from `text` in one character of `alphabet`.
fn one_off(text: &str, alphabet: &'static str) -> impl Iterator<Item = String> {
    let places = text.chars().enumerate().flat_map(move |(at, old)| alphabet.chars().map(move |new| (at, old, new)));
    places.filter(|(_, old, new)| old != new).map(move |(at, _, new)| with(text, &[(at, new)]))
}

/// Every text that has two different neighbours of `text` swapped.
fn swaps(text: &str) -> impl Iterator<Item = String> {
    (0..text.len() - 1).map(move |at| swapped(text, at)).filter(move |swap| swap != text)
}

/// Pairs of neighbours that may be swapped in a valid text of this length with nobody noticing, in order, at `at`. What
/// surrounds them has no say: it adds the same to either sum. So one surrounding per pair is all of them.
fn unnoticed_swaps(
    alphabet: &str,
    length: usize,
    at: usize,
    is_valid: impl Fn(&str) -> bool,
) -> BTreeSet<(char, char)> {
    // One place makes the rest valid; it touches neither of the pair.
    let balance = if at < length / 2 { length - 1 } else { 0 };
    let mut unnoticed = BTreeSet::new();
    for (a, b) in alphabet.chars().flat_map(|a| alphabet.chars().map(move |b| (a, b))).filter(|(a, b)| a != b) {
        let text = with(&"0".repeat(length), &[(at, a), (at + 1, b)]);
        let valid: Vec<String> =
            alphabet.chars().map(|c| with(&text, &[(balance, c)])).filter(|text| is_valid(text)).collect();
        assert_eq!(valid.len(), 1, "one character makes `{text}` valid");
        if is_valid(&swapped(&valid[0], at)) {
            unnoticed.insert((a.min(b), a.max(b)));
        }
    }
    unnoticed
}

fn has_valid_check(text: &str) -> bool {
    text.split_at_checked(14)
        .is_some_and(|(first14, check)| check_character(first14).is_some_and(|expected| check.chars().eq([expected])))
}

fn any_pan() -> impl Strategy<Value = String> {
    "[A-Z]{3}[ABCFGHJLPT][A-Z]([0-9]{3}[1-9]|[1-9][0-9]{2}0)[A-Z]"
}

fn any_gstin() -> impl Strategy<Value = String> {
    let codes: Vec<u8> = (1..=38).chain([97, 99]).collect();
    (select(codes), any_pan(), "[1-9A-Z]").prop_map(|(code, pan, entity)| {
        let first14 = format!("{code:02}{pan}{entity}Z");
        let check = check_character(&first14).expect("fourteen digits and letters");
        format!("{first14}{check}")
    })
}

fn any_aadhaar() -> impl Strategy<Value = String> {
    "[2-9][0-9]{10}".prop_map(|digits| {
        let check = verhoeff_check_digit(&digits).expect("digits");
        format!("{digits}{check}")
    })
}

fn any_ifsc() -> impl Strategy<Value = String> {
    "[A-Z]{4}0[A-Z0-9]{6}"
}

fn any_account() -> impl Strategy<Value = String> {
    "[0-9]{9,18}"
}

/// Anything at all, and what is one character away from an identifier.
fn any_text() -> impl Strategy<Value = String> {
    let identifier = prop_oneof![any_pan(), any_gstin(), any_aadhaar(), any_ifsc(), any_account()];
    let nearly = (identifier, any::<prop::sample::Index>(), any::<char>())
        .prop_map(|(text, at, c)| with(&text, &[(at.index(text.len()), c)]));
    prop_oneof![
        any::<String>(),
        nearly,
        vec(select(vec!['0', 'A', 'Z', 'é', '९', ' ', '-']), 0..20).prop_map(String::from_iter)
    ]
}

/// The error of each type on this text; `None` where it is well-formed.
fn errors(text: &str) -> [Option<&'static str>; 5] {
    [
        Pan::parse(text).err(),
        Gstin::parse(text).err(),
        Ifsc::parse(text).err(),
        AccountNumber::parse(text).err(),
        Aadhaar::parse(text).err(),
    ]
}

#[test]
fn a_pan_says_whose_it_is() {
    let pan = Pan::parse(" aapfu0939f ").expect("well-formed");
    assert_eq!((pan.as_str(), pan.holder(), pan.name_initial()), ("AAPFU0939F", Holder::Firm, 'U'));
    assert_eq!(pan.masked(), "XXXXXX939F");
    assert_eq!(format!("{pan:?}"), "Pan(XXXXXX939F)");
    for holder in Holder::ALL {
        let pan = Pan::parse(&format!("AAA{}U0939F", holder.letter())).expect("well-formed");
        assert_eq!(pan.holder(), holder);
        assert_eq!(serde_json::to_value(holder).expect("serializes"), holder.as_str());
    }
    let letters: String = Holder::ALL.map(Holder::letter).iter().collect();
    for letter in ('A'..='Z').filter(|letter| !letters.contains(*letter)) {
        let parsed = Pan::parse(&format!("AAA{letter}U0939F"));
        assert_eq!(parsed, Err("has a fourth letter that stands for no kind of holder"), "{letter}");
    }
}

#[test]
fn what_is_no_pan() {
    for text in ["", "AAPFU0939", "AAPFU0939FF", "AAPFU0939 F", "AAPF10939F", "AAPFU093OF", "AAPFU09391", "ÀAPFU939F"]
    {
        assert_eq!(Pan::parse(text), Err("must be 5 letters, 4 digits and a letter"), "{text}");
    }
}

#[test]
fn nobody_has_the_pan_number_0000() {
    assert_eq!(Pan::parse("AAPFU0000F"), Err("has 0000 for a number, which is given to nobody"));
    assert!(Pan::parse("AAPFU0001F").is_ok() && Pan::parse("AAPFU1000F").is_ok());
}

#[test]
fn other_kinds_of_registrations_are_told_by_their_form() {
    for (text, kind) in [
        ("29AAGCB7383J1D4", "(TDS)"),
        ("29BLRA12345G1DA", "(TDS)"),
        ("29aagcb7383j1c4", "(TCS)"),
        ("0717USA00001NR5", "non-resident"),
        ("0717UNO00157UNO", "United Nations"),
        ("0717IND00157ON1", "notified"),
        ("9917USA29002OSS", "(OIDAR)"),
    ] {
        assert!(Gstin::other_kind(text).is_some_and(|told| told.contains(kind)), "{text}");
    }
    for text in GSTINS.into_iter().chain(["", "29AAGCB7383J1Y4", "29AAGCB7383J1D", "0717USA00001NR55"]) {
        assert_eq!(Gstin::other_kind(text), None, "{text}");
    }
}

#[test]
fn a_gstin_says_where_and_whose_it_is() {
    for (text, code, pan) in
        [(GSTINS[0], 27, "AAPFU0939F"), (GSTINS[1], 29, "AAGCB7383J"), (GSTINS[2], 9, "AAACR5055K")]
    {
        let gstin = Gstin::parse(&format!("\t{} ", text.to_lowercase())).expect("well-formed");
        assert_eq!((gstin.as_str(), gstin.state_code()), (text, code));
        assert_eq!(Ok(gstin.pan()), Pan::parse(pan));
    }
    let gstin = Gstin::parse(GSTINS[0]).expect("well-formed");
    assert_eq!(gstin.masked(), "27XXXXXXXXXX1ZV");
    assert_eq!(format!("{gstin:?}"), "Gstin(27XXXXXXXXXX1ZV)");
}

#[test]
fn what_is_no_gstin() {
    let shape = "must be 2 digits, a PAN, a letter or a digit other than 0, Z and a check character";
    let cases = [
        ("", shape),
        ("27AAPFU0939F1Z", shape),
        ("27AAPFU0939F0ZV", shape),
        ("27AAPFU0939F1YV", shape),
        ("2 AAPFU0939F1ZV", shape),
        ("27AAPFU0939F1Z-", shape),
        ("27AAPFU0939Fé1Z", shape),
        ("00AAPFU0939F1ZV", "has an unknown state code"),
        ("39AAPFU0939F1ZV", "has an unknown state code"),
        ("98AAPFU0939F1ZV", "has an unknown state code"),
        ("27AAPZU0939F1ZV", "has no well-formed PAN in it"),
        ("27AAPFU0939F1ZW", "has a wrong check character"),
        ("97AAPFU0939F1ZV", "has a wrong check character"),
    ];
    for (text, error) in cases {
        assert_eq!(Gstin::parse(text), Err(error), "{text}");
    }
    for first14 in ["", "27AAPFU0939F1", "27AAPFU0939F1ZV", "27aapfu0939f1z", "27AAPFU0939F1é", "27AAPFU0939F1 "] {
        assert_eq!(check_character(first14), None, "{first14}");
    }
}

#[test]
fn of_an_aadhaar_number_the_end_is_kept() {
    for text in ["999941057058", " 9999 4105 7058 ", "9999-4105-7058", "9999 4105-7058"] {
        let aadhaar = Aadhaar::parse(text).expect("well-formed");
        assert_eq!((aadhaar.last4(), aadhaar.masked().as_str()), ("7058", "XXXX-XXXX-7058"), "{text}");
        assert_eq!(format!("{aadhaar:?}"), "Aadhaar(XXXX-XXXX-7058)");
    }
    assert!(AADHAARS.iter().all(|text| Aadhaar::parse(text).is_ok()));
}

#[test]
fn what_is_no_aadhaar_number() {
    let shape = "must be 12 digits, the first of them 2 to 9";
    let cases = [
        ("", shape),
        ("99994105705", shape),
        ("9999410570588", shape),
        ("99994105705800", shape),
        ("9999  4105 7058", shape),
        ("9999 41057058", shape),
        ("99 994105 7058", shape),
        ("9999.4105.7058", shape),
        ("9999 4105 705-", shape),
        ("९९९९४१०५७०५८", shape),
        ("000000000000", shape),
        ("199941057058", shape),
        ("999941057059", "has a wrong check digit"),
        ("9999-4105-7085", "has a wrong check digit"),
    ];
    for (text, error) in cases {
        assert_eq!(Aadhaar::parse(text).err(), Some(error), "{text}");
    }
}

#[test]
fn an_ifsc_names_a_bank_and_a_branch() {
    let ifsc = Ifsc::parse(" hdfc0001a34 ").expect("well-formed");
    assert_eq!(ifsc.as_str(), "HDFC0001A34");
    assert_eq!(format!("{ifsc:?}"), "Ifsc(HDFCXXXXXXX)");
    for text in ["", "HDFC000123", "HDFC00012345", "HDFCO001234", "HDF10001234", "HDFC0001 34", "HDFC00012é"] {
        assert_eq!(Ifsc::parse(text), Err("must be 4 letters, a 0 and 6 letters or digits"), "{text}");
    }
}

#[test]
fn an_account_number_is_9_to_18_digits() {
    let account = AccountNumber::parse(" 001234561234 ").expect("well-formed");
    assert_eq!((account.as_str(), account.masked().as_str()), ("001234561234", "XXXXXXXX1234"));
    assert_eq!(format!("{account:?}"), "AccountNumber(XXXXXXXX1234)");
    assert!(AccountNumber::parse("123456789").is_ok() && AccountNumber::parse(&"9".repeat(18)).is_ok());
    for text in ["", "12345678", "1234567890123456789", "1234 56789", "12345678A", "-123456789", "१२३४५६७८९"]
    {
        assert_eq!(AccountNumber::parse(text), Err("must be 9 to 18 digits"), "{text}");
    }
}

#[test]
fn verhoeff_knows_its_own() {
    for text in ["2363", "123451", "0", AADHAARS[0], AADHAARS[1]] {
        assert!(verhoeff_is_valid(text), "{text}");
    }
    for text in ["", " ", "2364", "236 3", "236e", "२३६३"] {
        assert!(!verhoeff_is_valid(text), "{text}");
    }
    assert_eq!(verhoeff_check_digit("236"), Some('3'));
    assert_eq!(verhoeff_check_digit("12345"), Some('1'));
    assert_eq!(["", "23 6", "é"].map(verhoeff_check_digit), [None; 3]);
}

/// Verhoeff misses no swap of two different neighbours, the check digit among them.
#[test]
fn verhoeff_notices_every_swap_at_every_place() {
    for at in 0..11 {
        assert_eq!(unnoticed_swaps(DIGITS, 12, at, verhoeff_is_valid), BTreeSet::new(), "{at}");
    }
}

/// The check character of a GSTIN is Luhn's to the base 36. Doubling, with quotient and remainder added, gives each of the
/// 36 values once, so no wrong character keeps the sum. A swap of `a` and `b` keeps it where doubling adds as much to the
/// one as to the other, modulo 36. To a value `v` it adds `v` below 18 and `v + 1` from there on; only 0 and 35 meet, both
/// at 0: `0` and `Z`, as `0` and `9` to the base 10.
#[test]
fn a_check_character_misses_only_the_swap_of_0_and_z() {
    // The factors are the same at every other place.
    for at in [0, 1, 6, 7, 12, 13] {
        let unnoticed = unnoticed_swaps(DIGITS_AND_LETTERS, 15, at, has_valid_check);
        assert_eq!(unnoticed, BTreeSet::from([('0', 'Z')]), "{at}");
    }
}

/// And these the form of a GSTIN gives away, wherever a `0` and a `Z` can be neighbours in one.
#[test]
fn a_swap_of_0_and_z_is_no_gstin() {
    for (at, gstin) in
        [(1, "20ZAPFU0939F1ZK"), (6, "27AAPFZ0939F1ZQ"), (10, "27AAPFU0930Z1ZZ"), (13, "27AAPFU0939FWZ0")]
    {
        let swap = swapped(gstin, at);
        assert!(swap != gstin && has_valid_check(&swap), "{gstin}");
        assert_eq!(Gstin::parse(gstin).map(|read| read.as_str().to_owned()).as_deref(), Ok(gstin));
        assert!(Gstin::parse(&swap).is_err(), "{gstin}");
    }
}

proptest! {
    #[test]
    fn an_error_of_one_character_or_one_swap_is_no_gstin(gstin in any_gstin()) {
        prop_assert!(Gstin::parse(&gstin).is_ok() && has_valid_check(&gstin));
        for wrong in one_off(&gstin, DIGITS_AND_LETTERS) {
            prop_assert!(!has_valid_check(&wrong) && Gstin::parse(&wrong).is_err(), "{wrong}");
        }
        for wrong in swaps(&gstin) {
            prop_assert!(Gstin::parse(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_error_of_one_digit_or_one_swap_is_no_aadhaar_number(aadhaar in any_aadhaar()) {
        prop_assert!(Aadhaar::parse(&aadhaar).is_ok());
        for wrong in one_off(&aadhaar, DIGITS).chain(swaps(&aadhaar)) {
            prop_assert!(!verhoeff_is_valid(&wrong) && Aadhaar::parse(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in any_text()) {
        errors(&text);
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        prop_assert_eq!(verhoeff_check_digit(&text).is_some(), digits);
        prop_assert!(digits || !verhoeff_is_valid(&text));
        let first14 = text.len() == 14 && text.chars().all(|c| DIGITS_AND_LETTERS.contains(c));
        prop_assert_eq!(check_character(&text).is_some(), first14);
    }

    /// A few characters may be in the sentence by chance.
    #[test]
    fn an_error_does_not_repeat_what_was_entered(text in any_text()) {
        let entered = text.trim();
        prop_assume!(entered.chars().count() > 5);
        prop_assert!(errors(&text).iter().flatten().all(|error| !error.contains(entered)));
    }

    #[test]
    fn what_was_read_reads_the_same(
        (pan, gstin, ifsc, account) in (any_pan(), any_gstin(), any_ifsc(), any_account()),
        blanks in "[ \t]{0,2}",
    ) {
        let around = |text: &str| format!("{blanks}{}{blanks}", text.to_lowercase());
        let read = Pan::parse(&around(&pan)).expect("well-formed");
        prop_assert_eq!(read.as_str(), &pan);
        prop_assert_eq!(Pan::parse(read.as_str()), Ok(read));
        let read = Gstin::parse(&around(&gstin)).expect("well-formed");
        prop_assert_eq!(read.as_str(), &gstin);
        prop_assert_eq!(Gstin::parse(read.as_str()), Ok(read));
        let read = Ifsc::parse(&around(&ifsc)).expect("well-formed");
        prop_assert_eq!(read.as_str(), &ifsc);
        prop_assert_eq!(Ifsc::parse(read.as_str()), Ok(read));
        let read = AccountNumber::parse(&around(&account)).expect("well-formed");
        prop_assert_eq!(read.as_str(), &account);
        prop_assert_eq!(AccountNumber::parse(read.as_str()), Ok(read));
    }

    #[test]
    fn no_more_is_shown_than_promised(
        (pan, gstin, ifsc, account, aadhaar) in (any_pan(), any_gstin(), any_ifsc(), any_account(), any_aadhaar()),
    ) {
        let read = Pan::parse(&pan).expect("well-formed");
        prop_assert_eq!(read.masked(), format!("XXXXXX{}", &pan[6..]));
        prop_assert_eq!(format!("{read:?}"), format!("Pan({})", read.masked()));
        let read = Gstin::parse(&gstin).expect("well-formed");
        prop_assert_eq!(read.masked(), format!("{}XXXXXXXXXX{}", &gstin[..2], &gstin[12..]));
        prop_assert_eq!(format!("{read:?}"), format!("Gstin({})", read.masked()));
        let read = Ifsc::parse(&ifsc).expect("well-formed");
        prop_assert_eq!(format!("{read:?}"), format!("Ifsc({}XXXXXXX)", &ifsc[..4]));
        let read = AccountNumber::parse(&account).expect("well-formed");
        let hidden = account.len() - 4;
        prop_assert_eq!(read.masked(), format!("{}{}", "X".repeat(hidden), &account[hidden..]));
        prop_assert_eq!(format!("{read:?}"), format!("AccountNumber({})", read.masked()));
        let read = Aadhaar::parse(&aadhaar).expect("well-formed");
        prop_assert_eq!(read.last4(), &aadhaar[8..]);
        prop_assert_eq!(read.masked(), format!("XXXX-XXXX-{}", &aadhaar[8..]));
        prop_assert_eq!(format!("{read:?}"), format!("Aadhaar({})", read.masked()));
    }
}
