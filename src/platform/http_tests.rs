use serde::Deserialize;
use validator::Validate;

use super::*;
use crate::platform::{clock::Rfc3339Time, error::FieldError, money::Currency};

#[derive(Debug, Deserialize, serde::Serialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Outer {
    #[validate(nested)]
    inner_part: Inner,
    #[serde(default)]
    #[validate(nested, length(max = 2))]
    items: Vec<Inner>,
}

#[derive(Debug, Deserialize, serde::Serialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Inner {
    #[validate(range(min = 1, max = 9))]
    unit_price: i64,
}

#[derive(Debug, Deserialize, serde::Serialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[validate(schema(function = "ends_are_in_order"))]
struct Wide {
    from: i64,
    to: i64,
    currency: Currency,
    since: Option<Rfc3339Time>,
    #[validate(length(min = 1, max = 5))]
    name: String,
    good: bool,
    #[serde(deserialize_with = "crate::platform::text::verbatim")]
    password: String,
}

fn ends_are_in_order(wide: &Wide) -> Result<(), validator::ValidationError> {
    if wide.from <= wide.to { Ok(()) } else { Err(validator::ValidationError::new("order")) }
}

/// `field:code` of all that is wrong.
fn blamed<T>(read: Result<T, AppError>) -> Vec<String> {
    let fields = read.err().map(|error| error.fields).unwrap_or_default();
    fields.iter().map(|fault| format!("{}:{}", fault.field, fault.code)).collect()
}

#[test]
fn all_faults_are_found_at_once() {
    let good = serde_json::json!({
        "from": 1, "to": 2, "currency": "INR", "since": "2026-01-31T12:00:00Z", "name": "Asha", "good": true, "password": " x\u{202e} ",
    });
    let read = read_json::<Wide>(good.to_string().as_bytes()).expect("nothing is wrong");
    assert_eq!(read.password, " x\u{202e} ", "taken as it was sent");
    for (changes, expected) in [
        (r#"{"from":"1","to":0}"#, &["from:type"][..]),
        (r#"{"from":3}"#, &[":order"]),
        // A rule about several fields says nothing where one of them is made up.
        (r#"{"from":3,"good":1}"#, &["good:type"]),
        (r#"{"currency":"ZZZ","name":""}"#, &["currency:format", "name:length"]),
        (r#"{"currency":5,"since":"now","name":[]}"#, &["currency:type", "name:type", "since:format"]),
        (r#"{"currency":null,"since":5,"from":2.5}"#, &["currency:type", "from:type", "since:type"]),
        (r#"{"name":"Asha Rao\u202e"}"#, &["name:length"]),
        (r#"{"name":"As\u202eha"}"#, &["name:characters"]),
        (r#"{"name":"  Asha\u00a0"}"#, &[]),
        (r#"{"a":1,"b":2,"from":{}}"#, &["a:unknown", "b:unknown", "from:type"]),
        (
            r#"{"from":null,"to":"","good":"true","password":7}"#,
            &["from:type", "good:type", "password:type", "to:type"],
        ),
    ] {
        let mut body = good.clone();
        let changes: serde_json::Map<String, serde_json::Value> = serde_json::from_str(changes).expect("JSON");
        body.as_object_mut().expect("an object").extend(changes);
        assert_eq!(blamed(read_json::<Wide>(body.to_string().as_bytes())), expected, "{body}");
    }
    let all =
        ["currency:required", "from:required", "good:required", "name:required", "password:required", "to:required"];
    assert_eq!(blamed(read_json::<Wide>(b"{}")), all);
    assert_eq!(blamed(read_json::<Wide>(br#"{"from":1,"from":2,"to":"x"}"#)).len(), 6, "and what is given twice");
    // What is made up for an object has no faults of its own.
    assert_eq!(
        blamed(read_json::<Outer>(br#"{"innerPart":5,"items":[7,{"unitPrice":10}]}"#)),
        ["innerPart:type", "items[0]:type", "items[1].unitPrice:range"]
    );
    let many = format!(r#"{{"innerPart":{{"unitPrice":1}},"items":[{}0]}}"#, "0,".repeat(10_000));
    assert_eq!(blamed(read_json::<Outer>(many.as_bytes())).len(), 100);
    let deep = format!(r#"{{"innerPart":{}1{},"items":5}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(blamed(read_json::<Outer>(deep.as_bytes())), ["innerPart:type", "items:type"]);
}

#[test]
fn faults_are_told_in_words_for_people() {
    let told = |body: &str| {
        let error = read_json::<Wide>(body.as_bytes()).expect_err(body);
        error.fields.into_iter().map(|fault| format!("{} {}", fault.field, fault.message)).collect::<Vec<_>>()
    };
    assert_eq!(
        told(
            r#"{"from":"x","to":99999999999999999999,"currency":"X","since":"now","name":"","good":"yes","password":{}}"#
        ),
        [
            "currency must be a currency code of ISO 4217, such as INR",
            "from must be a whole number",
            "good must be true or false",
            "name must have between 1 and 5 characters",
            "password must be text",
            "since must be an RFC 3339 time such as 2026-01-31T12:00:00Z",
            "to must be a number that is not so large",
        ]
    );
    let error = read_json::<Outer>(br#"{"innerPart":[],"items":{}}"#).expect_err("two are wrong");
    let told: Vec<_> = error.fields.iter().map(|fault| &*fault.message).collect();
    assert_eq!(told, ["must be an object", "must be a list"]);
    let error = read_json::<Outer>(
        br#"{"innerPart":{"unitPrice":1},"items":[{"unitPrice":1},{"unitPrice":1},{"unitPrice":1}]}"#,
    );
    assert_eq!(error.expect_err("too many").fields[0].message, "must have at most 2 entries");
}

fn first_error(body: &str) -> (u16, String, String) {
    let error = read_json::<Outer>(body.as_bytes()).expect_err(body);
    let field = error.fields.first().cloned().unwrap_or_else(|| FieldError::new("", "", ""));
    (error.kind.status().as_u16(), field.field, field.code.into_owned())
}

#[test]
fn every_way_to_be_wrong_names_its_field() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for (body, status, field, code) in [
        ("", 400, "", ""),
        ("{", 400, "", ""),
        ("{} x", 400, "", ""),
        (r#"{"innerPart":{"unitPrice":1}} x"#, 400, "", ""),
        (deep.as_str(), 422, "", "type"),
        (r#"[{"unitPrice":1}]"#, 422, "", "type"),
        (r#"{"innerPart":[1]}"#, 422, "innerPart", "type"),
        (r#"{"innerPart":null}"#, 422, "innerPart", "type"),
        (r#"[{"unitPrice":1}]"#, 422, "", "type"),
        (r#"{"innerPart":[1]}"#, 422, "innerPart", "type"),
        (r#"{"innerPart":{"unitPrice":1},"items":[[1]]}"#, 422, "items[0]", "type"),
        (r#"{"innerPart":{}}"#, 422, "innerPart.unitPrice", "required"),
        (r#"{"innerPart":{"unitPrice":"5"}}"#, 422, "innerPart.unitPrice", "type"),
        (r#"{"innerPart":{"unitPrice":1.0}}"#, 422, "innerPart.unitPrice", "type"),
        (r#"{"innerPart":{"unitPrice":1e3}}"#, 422, "innerPart.unitPrice", "type"),
        (r#"{"innerPart":{"unitPrice":{"$gt":0}}}"#, 422, "innerPart.unitPrice", "type"),
        (r#"{"innerPart":{"unitPrice":9223372036854775808}}"#, 422, "innerPart.unitPrice", "type"),
        (r#"{"innerPart":{"unitPrice":1,"unitPrice":2}}"#, 422, "innerPart.unitPrice", "duplicate"),
        (r#"{"innerPart":{"unitPrice":1,"x":2}}"#, 422, "innerPart.x", "unknown"),
        (r#"{"innerPart":{"unitPrice":10}}"#, 422, "innerPart.unitPrice", "range"),
        (
            r#"{"innerPart":{"unitPrice":1},"items":[{"unitPrice":1},{"unitPrice":0}]}"#,
            422,
            "items[1].unitPrice",
            "range",
        ),
        (r#"{"innerPart":{"unitPrice":1},"items":[{"unitPrice":true}]}"#, 422, "items[0].unitPrice", "type"),
    ] {
        assert_eq!(first_error(body), (status, field.to_owned(), code.to_owned()), "{body}");
    }
}

#[test]
fn an_offending_value_is_never_repeated() {
    let error = read_json::<Outer>(br#"{"innerPart":{"unitPrice":"secret-value"}}"#).expect_err("wrong type");
    assert!(!format!("{error:?}").contains("secret-value"), "{error:?}");
}

#[test]
fn request_ids_of_clients_are_taken_only_when_harmless() {
    assert!(is_request_id("01-abc_DEF"));
    assert!(!is_request_id("short"));
    assert!(!is_request_id("with space in it"));
    assert!(!is_request_id(&"x".repeat(65)));
}
