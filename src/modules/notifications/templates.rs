//! Templates of letters: built-in ones, and files that replace them.

use std::{collections::BTreeMap, fs, path::Path};

use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use serde_json::{Value, json};

use super::letters::{LETTERS, Letter};

/// Start of a template's first line.
const SUBJECT: &str = "Subject:";
/// Longer subjects are cut by those who show them.
const SUBJECT_CHARS_MAX: usize = 200;
/// A template over this size is a mistake.
const TEMPLATE_BYTES_MAX: u64 = 256 * 1024;

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("templates/", $name)))),*]
    };
}

/// Built-in templates, by the names of their files.
const BUILT_IN: &[(&str, &str)] = built_in![
    "layout.html",
    "footer.txt",
    "buyer-footer.txt",
    "buyer-layout.html",
    "order-failed.txt",
    "order-failed.html",
    "order-needs-attention.txt",
    "order-needs-attention.html",
    "kyc-verified.txt",
    "kyc-verified.html",
    "kyc-rejected.txt",
    "kyc-rejected.html",
    "kyc-needs-clarification.txt",
    "kyc-needs-clarification.html",
    "webhook-disabled.txt",
    "webhook-disabled.html",
    "topup-paid.txt",
    "topup-paid.html",
    "topup-failed.txt",
    "topup-failed.html",
    "welcome.txt",
    "welcome.html",
    "verify-email.txt",
    "verify-email.html",
    "password-reset.txt",
    "password-reset.html",
    "password-changed.txt",
    "password-changed.html",
    "alert.txt",
    "alert.html",
    "checkout-paid.txt",
    "checkout-paid.html",
    "checkout-completed.txt",
    "checkout-completed.html",
    "checkout-cancelled.txt",
    "checkout-cancelled.html",
    "checkout-payment-failed.txt",
    "checkout-payment-failed.html",
    "sale.txt",
    "sale.html",
    "stock-low.txt",
    "stock-low.html",
    "daily-orders.txt",
    "daily-orders.html",
    "daily-stock.txt",
    "daily-stock.html",
];

/// The templates of all letters; each has been tried.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    /// One line.
    pub(super) subject: String,
    pub(super) text: String,
    /// The same, prettier.
    pub(super) html: String,
}

impl Templates {
    /// Those that are built in, but for the ones that `folder` has a file for; files of other names are there to be included.
    /// Every letter is tried with values as they may be.
    ///
    /// # Errors
    /// Names the file, and the line where there is one.
    pub fn load(folder: Option<&Path>) -> Result<Self, String> {
        let mut sources: BTreeMap<String, String> =
            BUILT_IN.iter().map(|(name, source)| ((*name).to_owned(), (*source).to_owned())).collect();
        if let Some(folder) = folder {
            sources.extend(read_folder(folder)?);
        }
        let place = |name: &str| folder.filter(|folder| folder.join(name).is_file()).map(|folder| folder.join(name));
        let told = |error: &Error, letter: &str| {
            let name = error.name().unwrap_or(letter);
            let file = place(name).map_or_else(|| name.to_owned(), |path| path.display().to_string());
            let line = error.line().map_or_else(String::new, |line| format!(":{line}"));
            let what = error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
            format!("{file}{line}: {what}")
        };
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(
            |name| {
                if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None }
            },
        );
        let lines = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
        environment.set_syntax(lines.map_err(|error| error.to_string())?);
        for (name, source) in sources {
            environment.add_template_owned(name.clone(), source).map_err(|error| told(&error, &name))?;
        }
        let templates = Self { environment };
        for letter in LETTERS {
            for sample in letter.about.samples() {
                templates.try_out(letter, &sample).map_err(|fault| match fault {
                    RenderError::Template(error) => told(&error, letter.template),
                    RenderError::NoSubject => {
                        let name = format!("{}.txt", letter.template);
                        let file = place(&name).map_or(name, |path| path.display().to_string());
                        format!("{file}:1: the first line must be `{SUBJECT} ...`")
                    }
                })?;
            }
        }
        Ok(templates)
    }

    fn try_out(&self, letter: &Letter, sample: &Value) -> Result<(), RenderError> {
        [json!("https://waybill.example/unsubscribe?token=x"), Value::Null].into_iter().try_for_each(|unsubscribe| {
            let common = json!({
                "name": "Asha Rao", "publicUrl": "https://waybill.example", "language": "en", "unsubscribe": unsubscribe,
            });
            self.rendered(letter, &merged(common, sample.clone())).map(drop)
        })
    }

    /// A letter with these values.
    ///
    /// # Errors
    /// In words for operators: they name places in templates and no value.
    pub(super) fn render(&self, letter: &Letter, values: &Value) -> Result<Rendered, String> {
        self.rendered(letter, values).map_err(|fault| match fault {
            RenderError::NoSubject => format!("{}.txt has no subject.", letter.template),
            RenderError::Template(error) => {
                let name = error.name().unwrap_or(letter.template);
                format!("{name}:{} can't be rendered: {}.", error.line().unwrap_or_default(), error.kind())
            }
        })
    }

    fn rendered(&self, letter: &Letter, values: &Value) -> Result<Rendered, RenderError> {
        let render = |extension: &str| {
            let template = self.environment.get_template(&format!("{}.{extension}", letter.template))?;
            template.render(Serde(values))
        };
        let text = render("txt")?;
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let subject = first.strip_prefix(SUBJECT).ok_or(RenderError::NoSubject)?;
        let subject: String = subject.split_whitespace().collect::<Vec<_>>().join(" ");
        if subject.is_empty() {
            return Err(RenderError::NoSubject);
        }
        let subject = subject.chars().filter(|c| !c.is_control()).take(SUBJECT_CHARS_MAX).collect();
        Ok(Rendered { subject, text: rest.trim_start().to_owned(), html: render("html")? })
    }
}

/// Why a letter could not be written.
enum RenderError {
    Template(Error),
    NoSubject,
}

impl From<Error> for RenderError {
    fn from(error: Error) -> Self {
        Self::Template(error)
    }
}

/// The fields of both objects.
pub(super) fn merged(common: Value, own: Value) -> Value {
    match (common, own) {
        (Value::Object(mut common), Value::Object(own)) => {
            common.extend(own);
            Value::Object(common)
        }
        (common, _) => common,
    }
}

/// The templates in a folder, by the names of their files.
fn read_folder(folder: &Path) -> Result<Vec<(String, String)>, String> {
    let failed = |error: std::io::Error| format!("MAIL_TEMPLATES: {}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_template = path.extension().is_some_and(|extension| extension == "txt" || extension == "html");
        let name = path.file_name().and_then(|name| name.to_str());
        let (true, Some(name)) = (is_template && path.is_file(), name) else { continue };
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        let bytes = fs::metadata(&path).map_err(told)?.len();
        if bytes > TEMPLATE_BYTES_MAX {
            return Err(format!("{}: a template has at most {TEMPLATE_BYTES_MAX} bytes", path.display()));
        }
        found.push((name.to_owned(), fs::read_to_string(&path).map_err(told)?));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(name: &str) -> &'static Letter {
        LETTERS.iter().find(|letter| letter.name == name).expect("a letter")
    }

    fn values(name: &str, own: Value) -> Value {
        merged(
            json!({ "name": name, "publicUrl": "https://waybill.example", "language": "en", "unsubscribe": null }),
            own,
        )
    }

    fn folder(name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("waybill-templates-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        for (file, source) in files {
            fs::write(folder.join(file), source).expect("a file");
        }
        folder
    }

    #[test]
    fn every_built_in_template_belongs_to_a_letter() {
        let used = LETTERS.iter().flat_map(|letter| ["txt", "html"].map(|kind| format!("{}.{kind}", letter.template)));
        let mut used: Vec<_> = used
            .chain(["layout.html", "footer.txt", "buyer-layout.html", "buyer-footer.txt"].map(str::to_owned))
            .collect();
        let mut there: Vec<_> = BUILT_IN.iter().map(|(name, _)| (*name).to_owned()).collect();
        used.sort();
        there.sort();
        assert_eq!(used, there);
        Templates::load(None).expect("they all render");
    }

    #[test]
    fn a_name_cannot_become_markup_nor_a_header() {
        let templates = Templates::load(None).expect("templates");
        let [mut order, _] = letter("order-failed-mail").about.samples();
        order["clientOrderId"] = json!("<img src=x onerror=alert(1)>\r\nBcc: all@example.com");
        let said = templates.render(letter("order-failed-mail"), &values("<script>alert('x')</script>", order));
        let said = said.expect("it renders");
        assert!(!said.html.contains("<script>") && !said.html.contains("<img"), "{}", said.html);
        assert!(said.html.contains("&lt;script&gt;"), "{}", said.html);
        assert!(said.text.contains("<script>"), "text has no markup to escape");
        assert!(!said.subject.contains(['\r', '\n']), "{:?}", said.subject);
    }

    #[test]
    fn files_replace_templates_and_bad_ones_are_named_with_their_line() {
        let good = folder(
            "good",
            &[("topup-paid.txt", "Subject: Paid, {{ name }}\n\n{% include 'sign.txt' %}"), ("sign.txt", "Yours\n")],
        );
        let templates = Templates::load(Some(&good)).expect("they render");
        let [topup, _] = letter("topup-paid-mail").about.samples();
        let said = templates.render(letter("topup-paid-mail"), &values("Asha", topup)).expect("it renders");
        assert_eq!((said.subject.as_str(), said.text.as_str()), ("Paid, Asha", "Yours\n"));
        for (name, source, complaint) in [
            ("unknown", "Subject: a\n\n\n{{ amuont }}\n", "topup-paid.txt:4: "),
            ("syntax", "Subject: a\n{% if %}\n", "topup-paid.txt:2: "),
            ("subject", "Dear {{ name }}\n", "topup-paid.txt:1: the first line must be"),
            ("empty", "Subject: \n\n", "topup-paid.txt:1: the first line must be"),
            ("include", "Subject: a\n\n{% include 'none.txt' %}\n", "topup-paid.txt:3: "),
        ] {
            let bad = folder(name, &[("topup-paid.txt", source)]);
            let said = Templates::load(Some(&bad)).expect_err(name);
            assert!(said.contains(complaint) && said.starts_with(&bad.display().to_string()), "{name}: {said}");
            fs::remove_dir_all(bad).expect("removed");
        }
        fs::remove_dir_all(&good).expect("removed");
        assert!(Templates::load(Some(&good)).expect_err("gone").starts_with("MAIL_TEMPLATES: "));
    }
}
