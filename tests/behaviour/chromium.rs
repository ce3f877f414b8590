//! A real Chromium, without a window.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::ChromeCapabilities;
use thirtyfour::prelude::*;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::world::within;

/// What a page must be for everybody to be able to use it. Answers what it is not.
const ACCESSIBILITY: &str = r"
const wrong = [], root = document.documentElement;
const check = (holds, what) => holds || wrong.push(what);
const one = (name) => document.querySelectorAll(name).length === 1;
check(root.lang === 'en', 'the language is not named');
check(one('h1') && one('main'), 'there is not one heading and one main landmark');
check(document.title.startsWith(document.querySelector('h1')?.textContent), 'the title does not begin with the heading');
check(root.scrollWidth <= root.clientWidth, `it scrolls sideways: ${root.scrollWidth} of ${root.clientWidth}`);
check(document.scripts.length === 0, 'there are scripts');
check(performance.getEntriesByType('resource').length === 0, 'something is loaded from elsewhere');
check(getComputedStyle(document.querySelector('main')).borderTopWidth !== '0px', 'the style is not applied');
check(document.querySelector('meta[name=viewport]'), 'phones show it too small');
const rgb = (text) => text.match(/[\d.]+/g).map(Number);
const luminance = (text) => rgb(text).slice(0, 3).map((part) => part / 255)
  .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
const behind = (element) => {
  const color = element ? getComputedStyle(element).backgroundColor : 'rgb(255, 255, 255)';
  return element && rgb(color)[3] === 0 ? behind(element.parentElement) : color;
};
for (const element of document.querySelectorAll('main, main *')) {
  const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const [one, other] = [luminance(getComputedStyle(element).color), luminance(behind(element))];
  const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  check(!hasText || contrast >= 4.5, `a contrast of ${contrast} in ${element.tagName}`);
}
for (const control of document.querySelectorAll('button, a')) {
  const { width, height } = control.getBoundingClientRect();
  check(width >= 44 && height >= 44, `${control.textContent} is ${width} by ${height}`);
  control.focus();
  check(document.activeElement === control, `${control.textContent} takes no focus`);
  control.blur();
}
return wrong;
";

pub(crate) type Look = (&'static str, u32, u32, &'static str);

/// How people look at pages: the look's name, the window's width and height, and the colours that they prefer.
const LOOKS: [Look; 3] = [("wide", 1_100, 800, "light"), ("phone", 320, 1_000, "light"), ("dark", 1_100, 800, "dark")];

pub(crate) struct Browser {
    pub(crate) driver: WebDriver,
    _chromedriver: Child,
    _profile: TempDir,
}

/// Where a program is, if it is installed.
fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

impl Browser {
    /// None, said aloud, where there is no Chromium. In CI that is a failure.
    pub(crate) async fn start() -> Option<Self> {
        let (Some(chromium), Some(chromedriver)) = (installed("chromium"), installed("chromedriver")) else {
            assert!(std::env::var_os("CI").is_none(), "CI needs chromium and chromedriver");
            say_that_it_is_skipped();
            return None;
        };
        let mut chromedriver = Command::new(chromedriver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let port = within(port(&mut chromedriver)).await;
        let profile = tempfile::tempdir().unwrap();
        let capabilities = capabilities(&chromium, profile.path());
        let driver = within(WebDriver::new(format!("http://127.0.0.1:{port}"), capabilities)).await.unwrap();
        Some(Self { driver, _chromedriver: chromedriver, _profile: profile })
    }

    pub(crate) async fn open(&self, url: &str) {
        within(self.driver.goto(url)).await.unwrap();
    }

    /// Presses what has this text, and waits for the page behind it.
    pub(crate) async fn press(&self, text: &str) {
        let found = format!("//button[normalize-space()='{text}'] | //a[normalize-space()='{text}']");
        let found = within(self.driver.find(By::XPath(found))).await.unwrap_or_else(|_| panic!("no {text}"));
        self.execute("window.isTheOldPage = true").await;
        found.click().await.unwrap();
        within(async { while !self.has_left().await {} }).await;
    }

    /// Whether the page is another one than before, and there. While it changes nothing can be asked of it.
    async fn has_left(&self) -> bool {
        let asked = "return document.readyState === 'complete' && !window.isTheOldPage";
        self.driver.execute(asked, vec![]).await.is_ok_and(|answer| answer.json() == &json!(true))
    }

    pub(crate) async fn heading(&self) -> String {
        within(self.driver.find(By::Css("h1"))).await.unwrap().text().await.unwrap()
    }

    pub(crate) async fn text(&self) -> String {
        self.driver.find(By::Css("main")).await.unwrap().text().await.unwrap()
    }

    pub(crate) async fn url(&self) -> url::Url {
        self.driver.current_url().await.unwrap()
    }

    pub(crate) async fn execute(&self, script: &str) -> Value {
        within(self.driver.execute(script, vec![])).await.unwrap().json().clone()
    }

    /// Takes pictures of one of our pages, and looks at it as those do who depend on its markup.
    pub(crate) async fn inspect(&self, name: &str) {
        self.inspect_as(name, &LOOKS).await;
    }

    /// The same, as it is looked at by these.
    pub(crate) async fn inspect_as(&self, name: &str, looks: &[Look]) {
        let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
        std::fs::create_dir_all(&pictures).unwrap();
        for (look, width, height, colours) in looks {
            let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
            self.emulate("Emulation.setDeviceMetricsOverride", metrics).await;
            let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": colours }] });
            self.emulate("Emulation.setEmulatedMedia", features).await;
            let picture = pictures.join(format!("{name}-{look}.png"));
            self.execute("scrollTo(0, 0)").await;
            self.driver.screenshot(&picture).await.unwrap();
            assert_eq!(self.execute(ACCESSIBILITY).await, json!([]), "{}", picture.display());
        }
        self.emulate("Emulation.clearDeviceMetricsOverride", json!({})).await;
    }

    async fn emulate(&self, command: &str, parameters: Value) {
        within(self.driver.cdp().send_raw(command, parameters)).await.unwrap();
    }

    pub(crate) async fn quit(self) {
        within(self.driver.quit()).await.unwrap();
    }
}

#[expect(clippy::print_stdout, reason = "a test that tests nothing says so")]
fn say_that_it_is_skipped() {
    println!("SKIPPED: there is no chromium and chromedriver (Debian: chromium, chromium-driver)");
}

/// The port that chromedriver has chosen.
async fn port(chromedriver: &mut Child) -> u16 {
    let mut lines = BufReader::new(chromedriver.stdout.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("chromedriver says its port");
        if let Some((_, port)) = line.trim_end_matches('.').split_once("successfully on port ") {
            return port.parse().unwrap();
        }
    }
}

fn capabilities(chromium: &Path, profile: &Path) -> ChromeCapabilities {
    let mut capabilities = DesiredCapabilities::chrome();
    capabilities.set_binary(chromium.to_str().unwrap()).unwrap();
    let arguments = [
        // Root has no sandbox of Chromium's.
        "--no-sandbox".to_owned(),
        "--headless=new".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        "--disable-quic".to_owned(),
        "--no-first-run".to_owned(),
        "--disable-background-networking".to_owned(),
        "--disable-component-update".to_owned(),
        "--disable-sync".to_owned(),
        "--window-size=1100,900".to_owned(),
        format!("--user-data-dir={}", profile.display()),
    ];
    for argument in &arguments {
        capabilities.add_arg(argument).unwrap();
    }
    // The certificates of the test and of the sandbox are nobody's.
    capabilities.accept_insecure_certs(true).unwrap();
    capabilities
}
