//! A real browser: headless Chromium, driven by its own driver over WebDriver.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::error::{CmdError, ErrorStatus};
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What keeps an element from being used while a page draws it anew or moves it.
const PASSING: [ErrorStatus; 4] = [
    ErrorStatus::NoSuchElement,
    ErrorStatus::StaleElementReference,
    ErrorStatus::ElementClickIntercepted,
    ErrorStatus::ElementNotInteractable,
];

/// The schemes and widths that every page must look right in.
pub const LOOKS: [(&str, u32); 4] =
    [("light", 1200), ("dark", 1200), ("light", 360), ("dark", 360)];

/// A browser with a profile of its own; gone with this value.
pub struct Browser {
    /// The session.
    pub client: Client,
    driver: Child,
    // What Chromium writes, gone after it.
    _profile: TempDir,
}

/// A command of the DevTools protocol, which WebDriver has no word for.
#[derive(Debug)]
struct Tools(Value);

impl WebDriverCompatibleCommand for Tools {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.0.to_string()))
    }
}

fn program(names: &[&str]) -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)))
        .find(|file| file.is_file());
    let found = found.unwrap_or_else(|| {
        panic!(
            "the pages are tested in a real browser, and there is no {} on this machine: run `make setup`, or \
             `apt-get install chromium chromium-driver`",
            names.join(" or ")
        )
    });
    found.display().to_string()
}

impl Browser {
    /// Starts one whose windows have this width, in CSS pixels.
    pub async fn start(width: u32) -> Self {
        Self::start_with(width, &[]).await
    }

    /// Likewise, with a microphone that hears this file over and over, and that pages may use.
    pub async fn hearing(width: u32, wav: &Path) -> Self {
        let file = format!("--use-file-for-fake-audio-capture={}", wav.display());
        let fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];
        let autoplay = "--autoplay-policy=no-user-gesture-required";
        Self::start_with(width, &[fake[0], fake[1], autoplay, &file]).await
    }

    async fn start_with(width: u32, more: &[&str]) -> Self {
        let chromium = program(&["chromium", "chromium-browser", "google-chrome"]);
        let profile = TempDir::new().unwrap();
        let mut driver = Command::new(program(&["chromedriver"]))
            .arg("--port=0")
            .env("HOME", profile.path())
            .env("TMPDIR", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    return port.trim_end_matches('.').to_owned();
                }
            }
            panic!("chromedriver ended before it listened");
        };
        let port = tokio::time::timeout(PATIENCE, port).await.expect("chromedriver starts");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let mut args = vec![
            "--headless=new".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--lang=en-GB".to_owned(),
            format!("--window-size={width},900"),
            format!("--user-data-dir={}", profile.path().join("profile").display()),
        ];
        // Chromium's own sandbox needs user namespaces, which root and most containers do not have; it opens only our pages.
        args.push("--no-sandbox".to_owned());
        args.extend(more.iter().map(|arg| (*arg).to_owned()));
        let options = json!({"binary": chromium, "args": args});
        let capabilities = [("goog:chromeOptions".to_owned(), options)].into_iter().collect();
        let client = ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a session of the browser");
        let browser = Self { client, driver, _profile: profile };
        browser.metrics(width).await;
        browser
    }

    /// Ends it well.
    pub async fn close(mut self) {
        let _ = self.client.clone().close().await;
        let _ = self.driver.kill().await;
    }

    async fn tools(&self, command: &str, parameters: Value) -> Value {
        let command = Tools(json!({"cmd": command, "params": parameters}));
        self.client.issue_cmd(command).await.unwrap()
    }

    /// Makes the page this wide; a window cannot be narrower than 500 pixels.
    pub async fn metrics(&self, width: u32) {
        let metrics =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.tools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Cuts the page off from the network, or lets it back.
    pub async fn cut_off(&self, offline: bool) {
        let network = json!({"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1});
        self.tools("Network.enable", json!({})).await;
        self.tools("Network.emulateNetworkConditions", network).await;
    }

    /// Shows pages as for this medium and scheme: `screen` or `print`, `light` or `dark`.
    pub async fn media(&self, medium: &str, scheme: &str) {
        let scheme = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.tools("Emulation.setEmulatedMedia", json!({"media": medium, "features": scheme}))
            .await;
    }

    /// Loads a page.
    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// What a script returns.
    pub async fn ask(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap()
    }

    /// The text of the first element that a selector finds, as it is shown.
    pub async fn text(&self, selector: &str) -> String {
        let script = "return document.querySelector(arguments[0])?.innerText ?? ''";
        let text = self.client.execute(script, vec![json!(selector)]).await.unwrap();
        text.as_str().unwrap_or_default().to_owned()
    }

    /// How many elements a selector finds.
    pub async fn count(&self, selector: &str) -> u64 {
        let script = "return document.querySelectorAll(arguments[0]).length";
        self.client.execute(script, vec![json!(selector)]).await.unwrap().as_u64().unwrap()
    }

    /// Brings what a selector finds into the window, at once: pages scroll smoothly, and what still moves cannot be pressed.
    pub async fn shows(&self, selector: &str) {
        let show = "document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})";
        self.client.execute(show, vec![json!(selector)]).await.unwrap();
    }

    /// Presses what a selector finds.
    pub async fn press(&self, selector: &str) {
        let press = async |element: Element| {
            self.shows(selector).await;
            element.click().await
        };
        self.with(selector, press).await;
    }

    /// Writes a text where a selector finds a field, in place of what is written there.
    pub async fn writes(&self, selector: &str, text: &str) {
        let write = async |field: Element| {
            field.clear().await?;
            field.send_keys(text).await
        };
        self.with(selector, write).await;
    }

    /// Does something with what a selector finds, once it is there. A page may draw it anew or move it at that very moment: then
    /// again, with what is there instead.
    async fn with(&self, selector: &str, action: impl AsyncFn(Element) -> Result<(), CmdError>) {
        let act = async || action(self.client.find(Locator::Css(selector)).await?).await;
        let done = async {
            loop {
                match act().await {
                    Ok(()) => return,
                    Err(CmdError::Standard(fault)) if PASSING.contains(&fault.error) => {
                        tokio::task::yield_now().await;
                    }
                    Err(fault) => panic!("{selector}: {fault}"),
                }
            }
        };
        if tokio::time::timeout(PATIENCE, done).await.is_err() {
            let text = self.text("main").await;
            panic!("in vain wanted to use {selector}. The page says: {text}");
        }
    }

    /// Types into whatever has the focus, as it stands there.
    pub async fn types(&self, text: &str) {
        for letter in text.chars() {
            let key = json!({"type": "char", "text": letter.to_string()});
            self.tools("Input.dispatchKeyEvent", key).await;
        }
    }

    /// Waits until a script says that something is so.
    pub async fn until(&self, what: &str, script: &str) {
        let script = format!("return Boolean({script})");
        let so = async {
            // While one page gives way to another there may be nobody to answer.
            while self.client.execute(&script, vec![]).await.ok() != Some(Value::Bool(true)) {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, so).await.is_err() {
            let text = self.text("main").await;
            panic!("in vain waited for: {what}. The page says: {text}");
        }
    }

    /// A picture of the whole page in a file, if a folder for pictures is named in `CRM_TEST_SHOTS`.
    pub async fn shoot(&self, name: &str) {
        let Some(folder) = std::env::var_os("CRM_TEST_SHOTS") else { return };
        let file = Path::new(&folder).join(format!("{name}.png"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(file, self.client.screenshot().await.unwrap()).unwrap();
    }

    /// What axe finds wrong on the page as it is shown.
    pub async fn violations(&self) -> Vec<String> {
        const AXE: &str = include_str!("../assets/axe.min.js");
        // The page's policy holds for the page, not for who drives the browser.
        self.client.execute(AXE, vec![]).await.unwrap();
        let run = "const done = arguments[0];
            axe.run(document, {resultTypes: ['violations']}).then(found => done(found.violations.map(violation =>
                violation.id + ': ' + violation.nodes.map(node => node.target + ' ' + node.failureSummary).join('; '))))";
        let found = self.client.execute_async(run, vec![]).await.unwrap();
        found.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    /// How a property of an element comes out.
    pub async fn computed(&self, selector: &str, property: &str) -> String {
        let script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]";
        let value =
            self.client.execute(script, vec![json!(selector), json!(property)]).await.unwrap();
        value.as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium would outlive its driver, so the whole group ends.
        if let Some(id) =
            self.driver.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()))
        {
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}
