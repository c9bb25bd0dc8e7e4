//! A headless Chromium, driven like a person would; and what is looked at on each page besides its words.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use fantoccini::{Client, ClientBuilder, Locator, wd::WebDriverCompatibleCommand};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{eventually, unique};

const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(40);
const HOW_TO: &str = "run scripts/setup --with-tests, which installs it";
/// What axe-core finds that counts.
const GRAVE: [&str; 2] = ["serious", "critical"];

/// How a page is looked at.
const LOOKS: [&str; 3] = ["light", "dark", "phone"];
/// A phone's screen, as pages count it; a point has two by two pixels.
const PHONE: (u32, u32) = (390, 844);

/// The browser. Its profile is gone with it.
pub struct Chromium {
    pub page: Client,
    axe: String,
    driver: Child,
    profile: PathBuf,
    /// Where pictures of the pages go; none are taken unless somebody wants them.
    shots: Option<PathBuf>,
    seen: Mutex<BTreeSet<String>>,
    /// What is wrong with the pages that were looked at.
    wrong: Mutex<Vec<String>>,
    /// What the time went for.
    spent: Mutex<BTreeMap<&'static str, Duration>>,
}

/// A command that chromedriver has beyond the standard.
#[derive(Debug)]
struct Chrome(&'static str, Value);

impl WebDriverCompatibleCommand for Chrome {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.0))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.1.to_string()))
    }
}

fn program(names: &[&str]) -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).flat_map(|at| names.iter().map(move |name| at.join(name)));
    found.into_iter().find(|at| at.is_file()).unwrap_or_else(|| panic!("there is no {}: {HOW_TO}", names[0]))
}

/// axe-core as `scripts/setup` keeps it.
fn axe() -> String {
    let home = std::env::var("WAYBILL_HOME").unwrap_or_else(|_| ".waybill".into());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(home).join("axe-core/axe.min.js");
    std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("there is no {}: {HOW_TO}", file.display()))
}

impl Chromium {
    pub async fn open() -> Self {
        let (chromium, driver) =
            (program(&["chromium", "chromium-browser", "google-chrome"]), program(&["chromedriver"]));
        let axe = axe();
        let profile = std::env::temp_dir().join(unique("waybill-browser"));
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = lines.next_line().await.unwrap().expect("chromedriver says on which port it listens");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        // Somebody has to read what it goes on to say.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let wanted = json!({
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": {
                "binary": chromium,
                "args": [
                    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--no-proxy-server",
                    "--force-prefers-reduced-motion", "--window-size=1280,900", format!("--user-data-dir={}", profile.display()),
                ],
            },
        });
        let wanted = wanted.as_object().unwrap().clone();
        let page = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("Chromium starts");
        let shots = std::env::var_os("CONSOLE_PICTURES").map(PathBuf::from);
        shots.iter().for_each(|shots| std::fs::create_dir_all(shots).unwrap());
        let this = Self {
            page,
            axe,
            driver,
            profile,
            shots,
            seen: Mutex::default(),
            wrong: Mutex::default(),
            spent: Mutex::default(),
        };
        // Half a megabyte: sent once, and there on every page.
        this.chrome("Page.addScriptToEvaluateOnNewDocument", json!({ "source": this.axe })).await;
        this
    }

    /// Says what was wrong with any page.
    pub async fn close(mut self) {
        let _ = self.page.clone().close().await;
        let _ = self.driver.kill().await;
        let _ = std::fs::remove_dir_all(&self.profile);
        println!("{} pages were looked at; {:.1?}", self.seen.lock().unwrap().len(), self.spent.lock().unwrap());
        let wrong = self.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    pub async fn go(&self, url: &str) {
        self.timed("pages", self.page.goto(url)).await.expect(url);
    }

    async fn timed<T>(&self, what: &'static str, done: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = done.await;
        *self.spent.lock().unwrap().entry(what).or_default() += began.elapsed();
        done
    }

    /// The path of the page, with its query.
    pub async fn path(&self) -> String {
        let url = self.page.current_url().await.unwrap();
        format!("{}{}", url.path(), url.query().map(|query| format!("?{query}")).unwrap_or_default())
    }

    /// What there is to read on the page.
    pub async fn text(&self) -> String {
        let said = self.page.execute("return document.body ? document.body.innerText : ''", vec![]).await;
        said.ok().and_then(|said| said.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Waits until the page says this.
    pub async fn sees(&self, words: &str) {
        let last = Mutex::new(String::new());
        let says = async || {
            let text = self.text().await;
            let says = text.contains(words);
            *last.lock().unwrap() = text;
            says
        };
        let began = Instant::now();
        while !says().await {
            if began.elapsed() > PATIENCE {
                panic!("{} does not say {words:?} but:\n{}", self.path().await, last.lock().unwrap());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub async fn has(&self, css: &str) -> bool {
        !self.page.find_all(Locator::Css(css)).await.unwrap().is_empty()
    }

    async fn element(&self, locator: Locator<'_>) -> fantoccini::elements::Element {
        match self.page.wait().at_most(PATIENCE).every(POLL).for_element(locator).await {
            Ok(element) => element,
            Err(error) => panic!("{}: {locator:?}: {error}\n{}", self.path().await, self.text().await),
        }
    }

    pub async fn fill(&self, css: &str, text: &str) {
        let element = self.element(Locator::Css(css)).await;
        element.clear().await.unwrap();
        element.send_keys(text).await.unwrap();
    }

    pub async fn click(&self, css: &str) {
        self.press(Locator::Css(css)).await;
    }

    /// Clicks the first button or link with these words.
    pub async fn click_words(&self, words: &str) {
        let path = format!("//*[self::button or self::a or self::summary][contains(normalize-space(.), \"{words}\")]");
        self.press(Locator::XPath(&path)).await;
    }

    async fn press(&self, locator: Locator<'_>) {
        // The page may be drawn anew between finding something and clicking it.
        let press = async || {
            let element = self.element(locator).await;
            let _ = self.page.execute("arguments[0].scrollIntoView({block: 'center'})", vec![json!(element)]).await;
            element.click().await.is_ok()
        };
        eventually(&format!("{locator:?} can be pressed"), PATIENCE, press).await;
    }

    async fn chrome(&self, command: &str, parameters: Value) -> Value {
        let asked = json!({ "cmd": command, "params": parameters });
        self.page
            .issue_cmd(Chrome("goog/cdp/execute", asked))
            .await
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// What the browser complained about since the last call.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.page.issue_cmd(Chrome("se/log", json!({ "type": "browser" }))).await.unwrap();
        let entries = entries.as_array().cloned().unwrap_or_default();
        let grave = entries.iter().filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")));
        grave.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Grave faults of accessibility, as axe-core finds them: all, or those of this rule.
    async fn faults(&self, only: Option<&str>) -> Vec<String> {
        // Nothing on a page comes from elsewhere: there is nothing to fetch for it.
        let mut options =
            json!({ "resultTypes": ["violations"], "preload": false, "iframes": false, "selectors": false });
        if let Some(rule) = only {
            options["runOnly"] = json!([rule]);
        }
        let run = format!(
            "const done = arguments[arguments.length - 1];
             if (!window.axe) done('axe is not there');
             else axe.run(document, {options}).then(found => done(found.violations), why => done(String(why)));"
        );
        let found = self.page.execute_async(&run, vec![]).await.unwrap();
        let found = found.as_array().unwrap_or_else(|| panic!("axe did not run: {found}"));
        let grave = found.iter().filter(|fault| GRAVE.iter().any(|grave| fault["impact"] == *grave));
        grave
            .map(|fault| {
                let nodes = fault["nodes"].as_array().into_iter().flatten();
                let nodes: Vec<_> = nodes.map(|node| node["html"].as_str().unwrap_or_default()).take(3).collect();
                format!("{}: {} {nodes:?}", fault["id"], fault["help"])
            })
            .collect()
    }

    /// Looks at the page in both themes and on a phone: no grave fault, nothing wider than the screen, no complaint of the
    /// browser; a picture of each where they are wanted. What is wrong is told by [`Chromium::close`], all at once.
    pub async fn look(&self, name: &str) {
        assert!(self.seen.lock().unwrap().insert(name.to_owned()), "{name} was looked at before");
        let mut wrong = Vec::new();
        for look in LOOKS {
            let theme = if look == "dark" { "dark" } else { "light" };
            let features = json!([{ "name": "prefers-color-scheme", "value": theme }]);
            self.chrome("Emulation.setEmulatedMedia", json!({ "features": features })).await;
            if look == "phone" {
                self.become_phone().await;
            }
            // Another theme has other colours; on a phone it is the same page, with its menu closed.
            let faults = match look {
                "light" => self.timed("axe", self.faults(None)).await,
                "dark" => self.timed("axe", self.faults(Some("color-contrast"))).await,
                _ => Vec::new(),
            };
            wrong.extend(faults.into_iter().map(|fault| format!("{name}, {look}: {fault}")));
            wrong.extend(self.width_fault(look == "phone").await.map(|fault| format!("{name}, {look}: {fault}")));
            let Some(shots) = &self.shots else { continue };
            let wanted = json!({ "format": "png", "optimizeForSpeed": true });
            let shot = self.timed("pictures", self.chrome("Page.captureScreenshot", wanted)).await;
            let png = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
            std::fs::write(shots.join(format!("{name}-{look}.png")), png).unwrap();
        }
        self.chrome("Emulation.clearDeviceMetricsOverride", json!({})).await;
        self.chrome("Emulation.setTouchEmulationEnabled", json!({ "enabled": false })).await;
        wrong.extend(self.complaints().await.into_iter().map(|complaint| format!("{name}: {complaint}")));
        self.wrong.lock().unwrap().extend(wrong);
    }

    /// As wide as a phone, with its fingers, and with what pages say to phones (`meta viewport`) heeded.
    async fn become_phone(&self) {
        let (width, height) = PHONE;
        let metrics = json!({
            "width": width, "height": height, "screenWidth": width, "screenHeight": height, "deviceScaleFactor": 2, "mobile": true,
            "screenOrientation": { "type": "portraitPrimary", "angle": 0 },
        });
        self.chrome("Emulation.setDeviceMetricsOverride", metrics).await;
        self.chrome("Emulation.setTouchEmulationEnabled", json!({ "enabled": true })).await;
    }

    /// Whether the page scrolls sideways, or a phone makes it smaller because it does not fit.
    async fn width_fault(&self, on_phone: bool) -> Option<String> {
        let measure = "return [document.documentElement.scrollWidth, window.innerWidth]";
        let widths = self.page.execute(measure, vec![]).await.unwrap();
        let (scrolls, inner) = (widths[0].as_u64().unwrap(), widths[1].as_u64().unwrap());
        if scrolls > inner {
            return Some(format!("the page is {scrolls} wide in a window of {inner}"));
        }
        (on_phone && inner != u64::from(PHONE.0)).then(|| format!("a phone shows {inner} points"))
    }
}
