//! What clients were promised holds: nothing of the released description is removed or narrowed without a word in CHANGELOG.md.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::TestApp;

/// The description of the last release. It is replaced at a release: `waybill openapi > tests/data/openapi.json`.
const RELEASED: &str = include_str!("../data/openapi.json");
const TYPESCRIPT: &str = include_str!("../../clients/typescript/src/schema.d.ts");
const CHANGELOG: &str = include_str!("../../CHANGELOG.md");

/// Both descriptions, and what was found.
struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    /// Pairs of schemas that have been compared, so that what refers to itself comes to an end.
    seen: BTreeSet<(String, String, bool)>,
    found: Vec<String>,
}

/// What a client that was written against `old` may meet in `new`.
fn narrowed(old: &Value, new: &Value) -> Vec<String> {
    let mut comparison = Comparison { old, new, seen: BTreeSet::new(), found: Vec::new() };
    for (path, item) in old["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let name = format!("{} {path}", method.to_uppercase());
            match new["paths"][path].get(method) {
                Some(now) => comparison.operation(&name, operation, now),
                None => comparison.found.push(format!("{name}: removed")),
            }
        }
    }
    comparison.found
}

fn by_name(parameters: &Value) -> impl Iterator<Item = (String, &Value)> {
    let name = |parameter: &Value| format!("{}:{}", parameter["in"], parameter["name"]).replace('"', "");
    parameters.as_array().into_iter().flatten().map(move |parameter| (name(parameter), parameter))
}

/// A schema's types; `null` among them where it may be null.
fn types(schema: &Value) -> BTreeSet<String> {
    let mut types: BTreeSet<String> = match &schema["type"] {
        Value::String(one) => [one.clone()].into(),
        Value::Array(several) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => BTreeSet::new(),
    };
    // An integer is a number.
    if types.remove("integer") {
        types.insert("number".into());
    }
    types
}

impl<'a> Comparison<'a> {
    fn operation(&mut self, name: &str, old: &'a Value, new: &'a Value) {
        let (before, now): (Vec<_>, Vec<_>) =
            (by_name(&old["parameters"]).collect(), by_name(&new["parameters"]).collect());
        for (parameter, described) in &before {
            let at = format!("{name} {parameter}");
            match now.iter().find(|(name, _)| name == parameter) {
                Some((_, now)) => self.schema(&at, &described["schema"], &now["schema"], true),
                None => self.found.push(format!("{at}: removed")),
            }
        }
        for (parameter, described) in &now {
            let was_required = before.iter().any(|(name, before)| name == parameter && before["required"] == true);
            if described["required"] == true && !was_required {
                self.found.push(format!("{name} {parameter}: required"));
            }
        }
        for (media, content) in old["requestBody"]["content"].as_object().into_iter().flatten() {
            match new["requestBody"]["content"].get(media) {
                Some(now) => self.schema(&format!("{name} body"), &content["schema"], &now["schema"], true),
                None => self.found.push(format!("{name} body: no {media}")),
            }
        }
        for (status, answer) in old["responses"].as_object().into_iter().flatten().filter(|(s, _)| s.starts_with('2')) {
            let Some(now) = new["responses"].get(status) else {
                self.found.push(format!("{name} {status}: removed"));
                continue;
            };
            for (media, content) in answer["content"].as_object().into_iter().flatten() {
                match now["content"].get(media) {
                    Some(now) => self.schema(&format!("{name} {status}"), &content["schema"], &now["schema"], false),
                    None => self.found.push(format!("{name} {status}: no {media}")),
                }
            }
        }
    }

    /// Compares what was taken (`taken`) or answered before with what is now.
    fn schema(&mut self, at: &str, old: &'a Value, new: &'a Value, taken: bool) {
        let names = |schema: &Value| schema["$ref"].as_str().unwrap_or_default().to_owned();
        let pair = (names(old), names(new), taken);
        let is_named = pair.0 != pair.1 || !pair.0.is_empty();
        if is_named && !self.seen.insert(pair) {
            return;
        }
        let follow = |whole: &'a Value, schema: &'a Value| match schema["$ref"].as_str() {
            Some(reference) => whole.pointer(reference.trim_start_matches('#')).expect("a reference leads somewhere"),
            None => schema,
        };
        let (old, new) = (follow(self.old, old), follow(self.new, new));
        let mut blame = |what: String| self.found.push(format!("{at}: {what}"));
        // Who asks may send what it sent; who reads meets nothing that it has not met.
        let (wide, narrow) = if taken { (types(old), types(new)) } else { (types(new), types(old)) };
        if !narrow.is_empty() && !wide.is_subset(&narrow) {
            blame(format!("type {:?}, was {:?}", types(new), types(old)));
        }
        let values = |schema: &Value| -> BTreeSet<String> {
            schema["enum"].as_array().into_iter().flatten().map(Value::to_string).collect()
        };
        let (was, is) = (values(old), values(new));
        if taken && !is.is_empty() {
            let gone: Vec<_> = was.difference(&is).collect();
            if !gone.is_empty() || was.is_empty() {
                blame(format!("no longer {gone:?}"));
            }
        }
        if taken {
            for (limit, is_upper) in [
                ("maxLength", true),
                ("maximum", true),
                ("maxItems", true),
                ("minLength", false),
                ("minimum", false),
                ("minItems", false),
            ] {
                let (was, is) = (old[limit].as_f64(), new[limit].as_f64());
                let Some(is) = is else { continue };
                if was.is_none_or(|was| if is_upper { is < was } else { is > was }) {
                    blame(format!("{limit} {is}, was {was:?}"));
                }
            }
            if new.get("pattern").is_some() && old.get("pattern") != new.get("pattern") {
                blame(format!("pattern {}", new["pattern"]));
            }
        }
        let required = |schema: &Value| -> BTreeSet<String> {
            schema["required"].as_array().into_iter().flatten().map(Value::to_string).collect()
        };
        let (was, is) = (required(old), required(new));
        let (more, less) = (is.difference(&was), was.difference(&is));
        match taken {
            true => more.for_each(|field| blame(format!("{field} is required"))),
            false => less.for_each(|field| blame(format!("{field} may be absent"))),
        }
        for (field, described) in old["properties"].as_object().into_iter().flatten() {
            let at = format!("{at}.{field}");
            match new["properties"].get(field) {
                Some(now) => self.schema(&at, described, now, taken),
                None => self.found.push(format!("{at}: removed")),
            }
        }
        if old.get("items").is_some() {
            self.schema(&format!("{at}[]"), &old["items"], &new["items"], taken);
        }
        for parts in ["oneOf", "allOf", "anyOf"] {
            let (was, is) = (old[parts].as_array(), new[parts].as_array());
            for (n, part) in was.into_iter().flatten().enumerate() {
                match is.and_then(|is| is.get(n)) {
                    Some(now) => self.schema(&format!("{at}/{n}"), part, now, taken),
                    None => self.found.push(format!("{at}/{n}: removed")),
                }
            }
        }
    }
}

#[tokio::test]
async fn what_was_released_holds_or_the_changelog_says_otherwise() {
    let app = TestApp::start().await;
    let now = app.request(reqwest::Method::GET, "/openapi.json", None, None).await.expect(200).body;
    let released: Value = serde_json::from_str(RELEASED).expect("JSON");
    let unsaid: Vec<_> =
        narrowed(&released, &now).into_iter().filter(|found| !CHANGELOG.contains(&format!("`{found}`"))).collect();
    assert!(unsaid.is_empty(), "keep it, or name it in CHANGELOG.md as in this list: {unsaid:#?}");
    let paths = now["paths"].as_object().expect("paths");
    let untyped: Vec<_> = paths.keys().filter(|path| !TYPESCRIPT.contains(&format!("\"{path}\": {{"))).collect();
    assert!(untyped.is_empty(), "`npm run generate` in clients/typescript makes types of {untyped:?}");
    app.finish().await;
}

#[test]
fn each_way_to_narrow_is_found_and_what_widens_is_not() {
    let old = json!({
        "paths": { "/a/{id}": { "post": {
            "parameters": [
                { "name": "id", "in": "path", "required": true, "schema": { "type": "string" } },
                { "name": "q", "in": "query", "schema": { "type": "string", "maxLength": 10 } },
            ],
            "requestBody": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/A" } } } },
            "responses": { "200": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/B" } } } } },
        } } },
        "components": { "schemas": {
            "A": { "type": "object", "required": ["x"], "properties": {
                "x": { "type": "string", "enum": ["one", "two"] },
                "y": { "type": ["integer", "null"], "minimum": 1 },
                "deeper": { "type": "array", "items": { "$ref": "#/components/schemas/A" } },
            } },
            "B": { "type": "object", "required": ["z"], "properties": { "z": { "type": "string" } } },
        } },
    });
    let change = |pointer: &str, to: Value| {
        let mut new = old.clone();
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        let parent = new.pointer_mut(parent).unwrap();
        let last = last.replace("~1", "/");
        match (to, parent) {
            (Value::Null, Value::Object(fields)) => drop(fields.remove(&last)),
            (Value::Null, Value::Array(entries)) => drop(entries.remove(last.parse().unwrap())),
            (to, Value::Array(entries)) if last == "-" => entries.push(to),
            (to, parent) => parent[last.as_str()] = to,
        }
        narrowed(&old, &new)
    };
    assert_eq!(narrowed(&old, &old), [""; 0]);
    let post = "/paths/~1a~1{id}/post";
    for (pointer, to, expected) in [
        ("/paths/~1a~1{id}", Value::Null, "POST /a/{id}: removed"),
        (&*format!("{post}/parameters/1"), Value::Null, "POST /a/{id} query:q: removed"),
        (&*format!("{post}/parameters/1/required"), json!(true), "POST /a/{id} query:q: required"),
        (
            &*format!("{post}/parameters/1/schema/maxLength"),
            json!(9),
            "POST /a/{id} query:q: maxLength 9, was Some(10.0)",
        ),
        (&*format!("{post}/responses/200"), Value::Null, "POST /a/{id} 200: removed"),
        ("/components/schemas/A/required/-", json!("y"), "POST /a/{id} body: \"y\" is required"),
        ("/components/schemas/A/properties/y", Value::Null, "POST /a/{id} body.y: removed"),
        ("/components/schemas/A/properties/y/minimum", json!(2), "POST /a/{id} body.y: minimum 2, was Some(1.0)"),
        (
            "/components/schemas/A/properties/y/type",
            json!("integer"),
            "POST /a/{id} body.y: type {\"number\"}, was {\"null\", \"number\"}",
        ),
        ("/components/schemas/A/properties/x/enum", json!(["one"]), "POST /a/{id} body.x: no longer [\"\\\"two\\\"\"]"),
        ("/components/schemas/A/properties/x/pattern", json!("^o"), "POST /a/{id} body.x: pattern \"^o\""),
        ("/components/schemas/B/properties/z", Value::Null, "POST /a/{id} 200.z: removed"),
        ("/components/schemas/B/required", json!([]), "POST /a/{id} 200: \"z\" may be absent"),
        (
            "/components/schemas/B/properties/z/type",
            json!(["string", "null"]),
            "POST /a/{id} 200.z: type {\"null\", \"string\"}, was {\"string\"}",
        ),
    ] {
        assert_eq!(change(pointer, to), [expected], "{pointer}");
    }
    for (pointer, to) in [
        ("/paths/~1b", json!({ "get": {} })),
        (&*format!("{post}/parameters/1/schema/maxLength"), json!(11)),
        (&*format!("{post}/responses/201"), json!({})),
        ("/components/schemas/A/properties/new", json!({ "type": "string" })),
        ("/components/schemas/A/properties/x/enum", json!(["one", "two", "three"])),
        ("/components/schemas/A/properties/y/minimum", Value::Null),
        ("/components/schemas/B/properties/new", json!({ "type": "string" })),
        ("/components/schemas/B/properties/z/maxLength", json!(3)),
    ] {
        assert_eq!(change(pointer, to), [""; 0], "{pointer}");
    }
}
