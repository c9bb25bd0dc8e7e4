//! Base URLs of outside services, checked at the start.

pub(super) fn check_base_url(name: &str, url: &str, wrong: &mut Vec<String>) {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        wrong.push(format!("{name} must start with http:// or https://"));
    }
    if url.contains(['@', '?', '#']) {
        wrong.push(format!("{name} must hold no credentials and no query: it is stored with every request"));
    }
}
