//! Operations of the API, from the description in this binary.

use utoipa::openapi::{
    PathItem, RefOr,
    path::{Operation as Described, ParameterIn},
};

use crate::commands::openapi;

/// Operations that are named where there is no such path.
const NEAR_MAX: usize = 6;
/// Less similar paths are not what anybody meant.
const NEAR_MIN: f64 = 0.55;

struct ApiOperation {
    method: &'static str,
    /// With its parameters in braces.
    path: String,
    summary: String,
    query: Vec<String>,
}

pub(super) struct ApiOperations(Vec<ApiOperation>);

impl ApiOperations {
    pub(super) async fn load() -> Result<Self, String> {
        let described = openapi::describe().await?;
        let mut operations = Vec::new();
        for (path, item) in described.paths.paths {
            operations.extend(of_item(item).map(|(method, operation)| ApiOperation::new(method, &path, &operation)));
        }
        Ok(Self(operations))
    }

    /// A line each.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|one| format!("{:<6} {:<55} {}", one.method, one.path, one.summary))
    }

    /// Says what is wrong with a call, and what may have been meant.
    pub(super) fn check(&self, method: &str, path: &str, query: &[&str]) -> Result<(), String> {
        let mut fitting: Vec<&ApiOperation> = self.0.iter().filter(|one| one.fits(path)).collect();
        // `/orders/create` is nobody's id.
        let fewest = fitting.iter().map(|one| one.holes()).min();
        fitting.retain(|one| Some(one.holes()) == fewest);
        if fitting.is_empty() {
            return Err(format!(
                "the API has no path {path}.{} `waybill api --list` prints all of them",
                self.near(path)
            ));
        }
        let Some(operation) = fitting.iter().find(|one| one.method == method) else {
            let methods: Vec<_> = fitting.iter().map(|one| one.method.to_lowercase()).collect();
            return Err(format!("{path} takes no {method}; it takes {}", methods.join(", ")));
        };
        match query.iter().find(|name| !operation.query.iter().any(|known| known == *name)) {
            None => Ok(()),
            Some(unknown) if operation.query.is_empty() => Err(format!("{path} has no parameters, {unknown} neither")),
            Some(unknown) => Err(format!("{path} has no parameter {unknown}; it has {}", operation.query.join(", "))),
        }
    }

    /// In a sentence; empty where nothing is near.
    fn near(&self, path: &str) -> String {
        let mut near: Vec<(f64, String)> = self.0.iter().map(|one| (one.likeness(path), one.line())).collect();
        near.retain(|(likeness, _)| *likeness >= NEAR_MIN);
        near.sort_by(|one, other| other.0.total_cmp(&one.0));
        let lines: Vec<String> = near.into_iter().take(NEAR_MAX).map(|(_, line)| line).collect();
        if lines.is_empty() { String::new() } else { format!(" Near it:\n  {}\n", lines.join("\n  ")) }
    }
}

fn of_item(item: PathItem) -> impl Iterator<Item = (&'static str, Described)> {
    let all =
        [("GET", item.get), ("POST", item.post), ("PUT", item.put), ("PATCH", item.patch), ("DELETE", item.delete)];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation?)))
}

impl ApiOperation {
    fn new(method: &'static str, path: &str, described: &Described) -> Self {
        let summary = described.summary.clone().unwrap_or_default().replace('\n', " ");
        let first = summary.split_inclusive(". ").next().unwrap_or_default().trim().to_owned();
        let in_query = described.parameters.iter().flatten().filter_map(|parameter| match parameter {
            RefOr::T(it) if it.parameter_in == ParameterIn::Query => Some(it.name.clone()),
            _ => None,
        });
        Self { method, path: path.to_owned(), summary: first, query: in_query.collect() }
    }

    fn line(&self) -> String {
        format!("{} {}", self.method.to_lowercase(), self.path)
    }

    fn holes(&self) -> usize {
        self.path.matches('{').count()
    }

    fn fits(&self, path: &str) -> bool {
        let (mine, theirs): (Vec<_>, Vec<_>) = (self.path.split('/').collect(), path.split('/').collect());
        let fits = |(mine, theirs): (&&str, &&str)| mine == theirs || (mine.starts_with('{') && !theirs.is_empty());
        mine.len() == theirs.len() && mine.iter().zip(&theirs).all(fits)
    }

    /// How like it a path is, with whatever stands for a parameter.
    fn likeness(&self, path: &str) -> f64 {
        let theirs: Vec<&str> = path.split('/').collect();
        let filled = self.path.split('/').enumerate().map(|(at, mine)| match theirs.get(at) {
            Some(theirs) if mine.starts_with('{') => theirs,
            _ => mine,
        });
        strsim::normalized_damerau_levenshtein(&filled.collect::<Vec<_>>().join("/"), path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations() -> ApiOperations {
        let one = |method, path: &str, query: &[&str]| ApiOperation {
            method,
            path: path.to_owned(),
            summary: String::new(),
            query: query.iter().map(ToString::to_string).collect(),
        };
        ApiOperations(vec![
            one("GET", "/orders", &["status", "cursor"]),
            one("POST", "/orders/create", &[]),
            one("GET", "/orders/{orderId}", &[]),
            one("GET", "/orders/{orderId}/timeline", &[]),
            one("GET", "/wallet", &[]),
        ])
    }

    #[test]
    fn what_the_api_does_not_have_is_not_sent() {
        let operations = operations();
        let check = |method, path, query: &[&str]| operations.check(method, path, query).err().unwrap_or_default();
        assert_eq!(check("GET", "/orders", &["status"]), "");
        assert_eq!(check("POST", "/orders/create", &[]), "");
        assert_eq!(check("GET", "/orders/ord_1/timeline", &[]), "");
        assert_eq!(check("GET", "/orders", &["state"]), "/orders has no parameter state; it has status, cursor");
        assert_eq!(check("GET", "/wallet", &["at"]), "/wallet has no parameters, at neither");
        assert_eq!(check("GET", "/orders/create", &[]), "/orders/create takes no GET; it takes post");
        assert_eq!(check("DELETE", "/orders/ord_1", &[]), "/orders/ord_1 takes no DELETE; it takes get");
        assert!(check("GET", "/orders/", &[]).starts_with("the API has no path /orders/."));
    }

    #[test]
    fn near_paths_are_named_the_nearest_first() {
        let near = operations().near("/orders/ord_1/timelin");
        assert!(near.starts_with(" Near it:\n  get /orders/{orderId}/timeline\n"), "{near}");
        assert_eq!(operations().near("/zzzzzzzzzzzzzzzzzzzzzzzzz"), "");
    }
}
