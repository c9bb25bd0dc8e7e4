use serde::Deserialize;
use validator::Validate;

use super::*;
use crate::platform::error::FieldError;

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

fn first_error(body: &str) -> (u16, String, String) {
    let error = parse_json::<Outer>(body.as_bytes())
        .and_then(|value| value.validate().map_err(|e| AppError::invalid(field_errors(&e))))
        .expect_err(body);
    let field = error.fields.first().cloned().unwrap_or_else(|| FieldError::new("", "", ""));
    (error.kind.status().as_u16(), field.field, field.code.into_owned())
}

#[test]
fn every_way_to_be_wrong_names_its_field() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for (body, status, field, code) in [
        ("", 400, "", ""),
        ("{", 400, "", ""),
        ("{} x", 422, "innerPart", "required"),
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
    let error = parse_json::<Outer>(br#"{"innerPart":{"unitPrice":"secret-value"}}"#).expect_err("wrong type");
    assert!(!format!("{error:?}").contains("secret-value"), "{error:?}");
}

#[test]
fn request_ids_of_clients_are_taken_only_when_harmless() {
    assert!(is_request_id("01-abc_DEF"));
    assert!(!is_request_id("short"));
    assert!(!is_request_id("with space in it"));
    assert!(!is_request_id(&"x".repeat(65)));
}
