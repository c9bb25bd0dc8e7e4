//! Templates and what they can do with values. Everything is escaped; what makes markup itself escapes what it is given.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, Value, syntax::SyntaxConfig, value::Serde};

use super::{area::Area, escape::escaped, page::encoded};
use crate::platform::money::{Currency, Money};

/// Nothing runs or is loaded but our own style and script; nobody frames a page; forms go where they are from.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// Templates that every page extends or imports.
const COMMON: &[(&str, &str)] = &[
    ("layout.html", include_str!("templates/layout.html")),
    ("ui.html", include_str!("templates/ui.html")),
    ("sign-in.html", include_str!("templates/sign-in.html")),
    ("exchange.html", include_str!("templates/exchange.html")),
    ("confirm.html", include_str!("templates/confirm.html")),
    ("problem.html", include_str!("templates/problem.html")),
];

/// All templates.
///
/// # Panics
/// When one is not well-formed.
pub(super) fn environment(areas: &[Area]) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    // An answer without a field is a gap on the page, and no page less.
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    let blocks = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(blocks.expect("the usual delimiters"));
    environment.add_filter("json", pretty);
    environment.add_filter("time", time);
    environment.add_filter("q", |text: Value| shown(&text).map_or_else(String::new, |text| encoded(&text)));
    environment.add_filter("ref", reference);
    environment.add_filter("money", money);
    environment.add_filter("count", count);
    environment.add_filter("seconds", seconds);
    environment.add_filter("spark", super::chart::spark);
    environment.add_filter("by_day", super::chart::by_day);
    environment.add_function("chart", super::chart::chart);
    for (name, source) in COMMON.iter().chain(areas.iter().flat_map(|area| area.templates)) {
        environment.add_template(name, source).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
    environment
}

/// A page of this template. A link to what does not open becomes its words.
pub(super) fn page(
    environment: &Environment<'_>,
    template: &str,
    status: StatusCode,
    values: &serde_json::Value,
    opens: impl Fn(&str) -> bool,
) -> Response {
    let rendered = environment.get_template(template).and_then(|template| template.render(Serde(values)));
    match rendered {
        Ok(page) => hardened((status, Html(open_links(&page, opens))).into_response()),
        Err(error) => {
            tracing::error!(template, error = format!("{error:#}"), "a page of the console can't be rendered");
            hardened((StatusCode::INTERNAL_SERVER_ERROR, "This page can't be shown.").into_response())
        }
    }
}

/// The page with those of its links whose path opens; the others are their words. Links are the templates' own: whatever else is
/// shown is escaped.
fn open_links(page: &str, opens: impl Fn(&str) -> bool) -> String {
    let mut kept = String::with_capacity(page.len());
    let mut rest = page;
    while let Some((before, link)) = rest.split_once("<a ") {
        kept.push_str(before);
        let parts = link.split_once('>').and_then(|(attributes, rest)| Some((attributes, rest.split_once("</a>")?)));
        let Some((attributes, (inner, after))) = parts else {
            kept.push_str("<a ");
            rest = link;
            continue;
        };
        if attribute(attributes, "href").is_none_or(|href| opens(path_of(href).as_str())) {
            kept.push_str(&format!("<a {attributes}>{inner}</a>"));
        } else {
            let class = attribute(attributes, "class").map_or_else(String::new, |class| format!(" class=\"{class}\""));
            kept.push_str(&format!("<span{class}>{inner}</span>"));
        }
        rest = after;
    }
    kept.push_str(rest);
    kept
}

fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    attributes.split_once(&format!("{name}=\""))?.1.split('"').next()
}

fn path_of(href: &str) -> String {
    let path = href.split(['?', '#']).next().unwrap_or_default();
    path.replace("&#x2f;", "/").replace("&amp;", "&")
}

/// With what every answer to a browser says.
pub(super) fn hardened(mut response: Response) -> Response {
    let headers = response.headers_mut();
    // That of a file which somebody handed in is stricter: nothing in it runs.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    for (name, value) in [
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn shown(value: &Value) -> Option<String> {
    if value.is_none() || value.is_undefined() { None } else { Some(value.to_string()) }
}

/// As JSON for people: every number as it is.
fn pretty(value: Value) -> Result<String, Error> {
    serde_json::to_string_pretty(&value)
        .map_err(|error| Error::new(minijinja::ErrorKind::BadSerialization, error.to_string()))
}

/// A time of the API, in UTC.
fn time(value: Value) -> Value {
    let Some(text) = shown(&value) else { return Value::from_safe_string("<span class=\"none\">–</span>".into()) };
    let said = match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) if text.as_bytes().get(10) == Some(&b'T') => format!("{day} {time}"),
        _ => text.clone(),
    };
    Value::from_safe_string(format!("<time datetime=\"{0}\" title=\"{0}\">{1}</time>", escaped(&text), escaped(&said)))
}

/// Where the ids of each kind lead.
const LEADS: &[(&str, &str)] = &[
    ("ord", "/admin/orders/"),
    ("job", "/admin/jobs/"),
    ("req", "/admin/logs/"),
    ("aud", "/admin/audit/"),
    ("txn", "/admin/ledger/transactions/"),
    ("usr", "/admin/users/"),
    ("whd", "/admin/webhooks/deliveries/"),
    ("chk", "/admin/checkouts/"),
    ("prd", "/admin/products/"),
];

/// An id, with a link to what it names.
fn reference(value: Value) -> Value {
    let Some(text) = shown(&value) else { return Value::from_safe_string("<span class=\"none\">–</span>".into()) };
    let lead = text.split_once('_').and_then(|(prefix, _)| LEADS.iter().find(|(own, _)| *own == prefix));
    Value::from_safe_string(match lead {
        Some((_, lead)) => format!("<a class=\"id\" href=\"{lead}{}\">{}</a>", encoded(&text), escaped(&text)),
        None => format!("<span class=\"id\">{}</span>", escaped(&text)),
    })
}

/// An amount in minor units with its currency: `{amount, currency}`, or the amount and the currency as argument.
fn money(value: Value, currency: Option<String>) -> String {
    let amount = if value.is_integer() { value.clone() } else { value.get_attr("amount").unwrap_or_default() };
    let code = currency.or_else(|| value.get_attr("currency").ok().and_then(|code| shown(&code)));
    match (amount.as_i64(), code.as_deref().and_then(Currency::from_code)) {
        (Some(amount), Some(currency)) => {
            let decimal = Money::new(amount, currency).to_decimal();
            let (sign, digits) = decimal.strip_prefix('-').map_or(("", &*decimal), |digits| ("−", digits));
            let (whole, rest) = digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
            let rest = rest.map_or_else(String::new, |rest| format!(".{rest}"));
            format!("{sign}{}{rest}\u{a0}{}", grouped(whole), currency.code())
        }
        (Some(amount), None) => amount.to_string(),
        _ => "–".into(),
    }
}

fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A whole number for people.
fn count(value: Value) -> String {
    match shown(&value) {
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => grouped(&text),
        Some(text) => text,
        None => "–".into(),
    }
}

/// A length of time, of seconds.
pub(super) fn seconds(value: Value) -> String {
    let Some(seconds) = shown(&value).and_then(|text| text.parse::<f64>().ok()) else { return "–".into() };
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1_000.0),
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3_600.0 => format!("{:.0} min {:.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
        s if s < 86_400.0 => format!("{:.0} h {:.0} min", (s / 3_600.0).floor(), (s % 3_600.0 / 60.0).floor()),
        s => format!("{:.0} d {:.0} h", (s / 86_400.0).floor(), (s % 86_400.0 / 3_600.0).floor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::admin::areas;

    fn render(source: &str, values: serde_json::Value) -> String {
        environment(&areas::all()).render_str(source, Serde(values)).expect("it renders")
    }

    #[test]
    fn a_link_that_does_not_open_becomes_its_words() {
        let page = "<a class=\"id\" href=\"/admin/users/usr_1?x=#y\">usr_1</a> <a href=\"&#x2f;admin/logs\"><b>All</b></a> \
                    <article>a</article> <a name=\"x\">here</a> <a ";
        let kept = open_links(page, |path| path != "/admin/users/usr_1");
        assert_eq!(
            kept,
            page.replacen(
                "<a class=\"id\" href=\"/admin/users/usr_1?x=#y\">usr_1</a>",
                "<span class=\"id\">usr_1</span>",
                1
            )
        );
        let none = open_links(page, |_| false);
        assert!(
            none.contains("<span><b>All</b></span>") && !none.contains("href") && none.contains("<article>"),
            "{none}"
        );
    }

    #[test]
    fn numbers_are_shown_exactly_and_texts_as_text() {
        let values = serde_json::json!({
            "big": 9_223_372_036_854_775_807_i64, "least": i64::MIN, "name": "<script>alert('x')</script>",
            "id": "ord_<b>", "at": "2026-11-30T14:31:02.123Z", "odd": "\"><img>", "none": null,
            "body": { "n": 9_007_199_254_740_993_i64, "x": "</pre><script>" }, "money": { "amount": -123_456_789, "currency": "INR" },
        });
        for (source, expected) in [
            ("{{ big }} {{ least }}", "9223372036854775807 -9223372036854775808"),
            ("{{ name }}", "&lt;script&gt;alert(&#x27;x&#x27;)&lt;&#x2f;script&gt;"),
            ("{{ money|money }}", "−1\u{202f}234\u{202f}567.89\u{a0}INR"),
            ("{{ 5|money('JPY') }}", "5\u{a0}JPY"),
            ("{{ big|count }}", "9\u{202f}223\u{202f}372\u{202f}036\u{202f}854\u{202f}775\u{202f}807"),
            ("{{ none|ref }}{{ none|time }}", "<span class=\"none\">–</span><span class=\"none\">–</span>"),
            ("{{ 93784|seconds }} {{ 0.02|seconds }}", "1 d 2 h 20 ms"),
            ("{{ a.b.c.d }}", ""),
        ] {
            assert_eq!(render(source, values.clone()), expected, "{source}");
        }
        let all = render("{{ body|json }}{{ id|ref }}{{ odd|ref }}{{ odd|time }}{{ at|time }}", values);
        assert!(all.contains("9007199254740993") && all.contains("2026-11-30 14:31:02"), "{all}");
        for markup in ["<script", "<img", "<b>", "</pre>"] {
            assert!(!all.contains(markup), "{markup} in {all}");
        }
    }
}
