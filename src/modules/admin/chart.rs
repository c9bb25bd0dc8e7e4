//! Charts, drawn here: lines and bars that need no script and can be read out.

use std::collections::BTreeMap;

use minijinja::{Value, value::Rest};

use super::escape::escaped;

/// Of a chart's drawing.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 160.0;
/// Of a spark.
const SPARK_WIDTH: f64 = 120.0;
const SPARK_HEIGHT: f64 = 24.0;
/// Longer series are cut.
const POINTS_MAX: usize = 2_000;

/// A list of numbers as a small line; `unit` is read out with them.
pub(super) fn spark(values: Value, unit: Option<String>) -> Value {
    let unit = unit.map_or_else(String::new, |unit| format!(" {}", escaped(&unit)));
    let values = numbers(&values);
    let most = values.iter().copied().fold(0.0, f64::max);
    let points = points(&values, most, SPARK_WIDTH, SPARK_HEIGHT);
    Value::from_safe_string(format!(
        "<svg class=\"spark\" viewBox=\"0 0 {SPARK_WIDTH} {SPARK_HEIGHT}\" role=\"img\" aria-label=\"at most {}{unit}, now {}\">\
         <polyline points=\"{points}\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.5\"/></svg>",
        plain(most),
        plain(values.last().copied().unwrap_or_default()),
    ))
}

/// `chart(title, labels, name, values, name, values, ...)`: lines over the same labels, with what each comes to below.
pub(super) fn chart(title: String, labels: Value, series: Rest<Value>) -> Value {
    let labels: Vec<String> = labels.try_iter().into_iter().flatten().map(|label| label.to_string()).collect();
    let series: Vec<(String, Vec<f64>)> =
        series.chunks_exact(2).map(|pair| (pair[0].to_string(), numbers(&pair[1]))).collect();
    let most = series.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
    let mut svg = format!(
        "<figure class=\"chart\"><figcaption>{0}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"{0}, at most {1}\" preserveAspectRatio=\"none\">",
        escaped(&title),
        plain(most)
    );
    for part in 1..4 {
        let y = HEIGHT * f64::from(part) / 4.0;
        svg.push_str(&format!("<line class=\"grid\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{y}\" y2=\"{y}\"/>"));
    }
    for (index, (_, values)) in series.iter().enumerate() {
        let points = points(values, most, WIDTH, HEIGHT);
        svg.push_str(&format!("<polyline class=\"line line-{}\" points=\"{points}\"/>", index % 6));
    }
    svg.push_str("</svg><div class=\"axis\">");
    let ends = [labels.first(), labels.last()];
    for label in ends.into_iter().flatten() {
        svg.push_str(&format!("<span>{}</span>", escaped(&shortened(label))));
    }
    svg.push_str(&format!("</div><p class=\"legend\"><span>highest {}</span>", plain(most)));
    for (index, (name, values)) in series.iter().enumerate() {
        let last = values.last().copied().unwrap_or_default();
        svg.push_str(&format!("<span><i class=\"key key-{}\"></i>{} {}</span>", index % 6, escaped(name), plain(last)));
    }
    svg.push_str("</p></figure>");
    Value::from_safe_string(svg)
}

/// Rows of orders by day and provider, summed up by day.
pub(super) fn by_day(rows: Value) -> Value {
    const SUMS: [&str; 4] = ["created", "confirmed", "failed", "cancelled"];
    let mut days: BTreeMap<String, [i64; 4]> = BTreeMap::new();
    for row in rows.try_iter().into_iter().flatten() {
        let Ok(day) = row.get_attr("day") else { continue };
        let sums = days.entry(day.to_string()).or_default();
        for (sum, name) in sums.iter_mut().zip(SUMS) {
            let orders = row.get_attr("orders").and_then(|orders| orders.get_attr(name));
            *sum += orders.ok().and_then(|count| count.as_i64()).unwrap_or_default();
        }
    }
    let row = |(day, sums): (String, [i64; 4])| {
        let pairs = SUMS.iter().zip(sums).map(|(name, sum)| ((*name).to_owned(), Value::from(sum)));
        Value::from_pairs(pairs.chain([("day".to_owned(), Value::from(day))]))
    };
    days.into_iter().map(row).collect()
}

fn numbers(values: &Value) -> Vec<f64> {
    let values = values.try_iter().into_iter().flatten().take(POINTS_MAX);
    values.map(|value| value.to_string().parse::<f64>().unwrap_or_default().max(0.0)).collect()
}

fn points(values: &[f64], most: f64, width: f64, height: f64) -> String {
    let step = width / (values.len().max(2) - 1) as f64;
    let scale = if most > 0.0 { (height - 4.0) / most } else { 0.0 };
    let points = values
        .iter()
        .enumerate()
        .map(|(index, value)| format!("{:.1},{:.1}", step * index as f64, height - 2.0 - value * scale));
    points.collect::<Vec<_>>().join(" ")
}

/// A time of the API to the minute; what is none stays as it is.
fn shortened(label: &str) -> String {
    match (label.get(..10), label.get(11..16)) {
        (Some(day), Some(time)) if label.len() > 19 && label.as_bytes()[10] == b'T' => format!("{day} {time}"),
        _ => label.to_owned(),
    }
}

fn plain(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_says_what_it_shows_and_escapes_it() {
        let values = Value::from(vec![1, 4, 2]);
        let labels = Value::from(vec!["<a>", "b", "c"]);
        let rest = Rest(vec![Value::from("x<y"), values.clone()]);
        let svg = chart("Calls & errors".into(), labels, rest).to_string();
        assert!(svg.contains("Calls &amp; errors, at most 4") && svg.contains("&lt;a&gt;"), "{svg}");
        assert!(svg.contains("0.0,119.0 320.0,2.0 640.0,80.0") && !svg.contains("x<y"), "{svg}");
        assert!(spark(values, Some("a <minute>".into())).to_string().contains("at most 4 a &lt;minute&gt;, now 2"));
        assert!(spark(Value::from(()), None).to_string().contains("points=\"\""), "nothing at all");
    }
}
