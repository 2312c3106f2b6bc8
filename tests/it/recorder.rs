//! The recorder, in a real browser whose microphone hears a file.

mod leftovers;

use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use serde_json::json;
use tempfile::TempDir;

use crate::browser::{Browser, LOOKS};
use crate::contract::{self, Api, request};
use crate::files::noise;
use crate::live::Served;

/// How far a page reaches beyond its window on the right, in pixels.
pub const OVERFLOW: &str =
    "return document.documentElement.scrollWidth - document.documentElement.clientWidth";

/// A note with a recorder, and a browser that hears something.
struct Meeting {
    api: Api,
    served: Served,
    browser: Browser,
    note: i64,
    _folder: TempDir,
}

impl Meeting {
    async fn new() -> Self {
        let api = Api::new().await;
        let note = api.made("notes", json!({"name": "Lunch with Ana", "date": "2025-01-31"})).await;
        let app = contract::app(&api.db, &api.backend, 64 << 20);
        let served = Served::start(app, Duration::from_secs(15)).await;
        let folder = TempDir::new().unwrap();
        let browser = Browser::hearing(1200, &sound(&folder)).await;
        Self { api, served, browser, note, _folder: folder }
    }

    async fn open(&self) {
        self.browser.open(&format!("{}/notes/{}/record", self.served.url, self.note)).await;
        self.browser.until("it can record", "!document.getElementById('start').hidden").await;
    }

    async fn until_saved(&self) -> String {
        self.browser.until("it is saved", "!document.getElementById('recorder-done').hidden").await;
        let link = "return new URL(document.querySelector('#recorder-done a').href).pathname";
        self.browser.ask(link).await.as_str().unwrap().to_owned()
    }

    async fn until_sent(&self) {
        self.browser
            .until(
                "a part is on the server",
                "/on the server/.test(document.getElementById('recorder-kept').textContent)",
            )
            .await;
    }

    /// How many parts of recordings the browser keeps.
    async fn kept(&self) -> i64 {
        let kept = "const done = arguments[0]; const open = indexedDB.open('crm-recorder', 1);
            open.onsuccess = () => { const all = open.result.transaction('parts').objectStore('parts').count();
                all.onsuccess = () => { open.result.close(); done(all.result); } }";
        let kept = self.browser.client.execute_async(kept, vec![]).await.unwrap();
        kept.as_i64().unwrap()
    }

    async fn attached(&self) -> i64 {
        let count = "select count(*) from events where event_type = 'RecordingAttached'";
        sqlx::query_scalar(count).fetch_one(&self.api.db.pool).await.unwrap()
    }
}

/// Ten seconds of noise, as a microphone would hear it.
pub fn sound(folder: &TempDir) -> PathBuf {
    let samples = noise(10 * 16_000 * 2, 5);
    let mut wav = Vec::new();
    wav.extend_from_slice(b"RIFF");
    wav.extend_from_slice(&(36 + samples.len() as u32).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend_from_slice(&16_000_u32.to_le_bytes());
    wav.extend_from_slice(&32_000_u32.to_le_bytes());
    wav.extend_from_slice(b"\x02\0\x10\0data");
    wav.extend_from_slice(&(samples.len() as u32).to_le_bytes());
    wav.extend_from_slice(&samples);
    let file = folder.path().join("sound.wav");
    std::fs::write(&file, wav).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_meeting_is_recorded_though_the_line_breaks() {
    let meeting = Meeting::new().await;
    let browser = &meeting.browser;
    for (scheme, width) in LOOKS {
        browser.metrics(width).await;
        browser.media("screen", scheme).await;
        meeting.open().await;
        assert_eq!(browser.violations().await, Vec::<String>::new(), "{scheme} {width}");
        assert_eq!(browser.ask(OVERFLOW).await, json!(0), "wider than {width}");
        browser.shoot(&format!("recorder-{scheme}-{width}")).await;
    }
    browser.press("#start").await;
    browser.until("it hears something", "document.getElementById('level').value > 0.3").await;
    meeting.until_sent().await;
    assert_eq!(browser.violations().await, Vec::<String>::new(), "while it records");
    assert_eq!(browser.ask(OVERFLOW).await, json!(0), "while it records");
    browser.shoot("recorder-recording").await;
    browser.cut_off(true).await;
    browser
        .until(
            "it says that the line is gone",
            "/Nothing is lost/.test(document.getElementById('recorder-kept').textContent)",
        )
        .await;
    browser.press("#pause").await;
    assert_eq!(browser.text("#pause").await, "Go on");
    browser.press("#pause").await;
    browser.cut_off(false).await;
    meeting.until_sent().await;
    browser.press("#stop").await;
    let recording = meeting.until_saved().await;
    assert_eq!(meeting.attached().await, 1);
    let audio = meeting.api.get(&format!("{recording}/audio")).await;
    assert_eq!((audio.status, audio.header("content-type")), (200, Some("audio/webm")));
    assert_eq!(
        audio.header("content-disposition"),
        Some("inline; filename*=UTF-8''Lunch%20with%20Ana.webm")
    );
    let clusters = audio.bytes.windows(4).filter(|it| it == b"\x1f\x43\xb6\x75").count();
    assert!(clusters > 0, "it is a recording of a browser");
    assert_eq!(meeting.kept().await, 0, "what is on the server need not be kept in the browser");
    browser
        .until("nothing is heard after the end", "document.getElementById('level').value === 0")
        .await;
    meeting.browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_closes_costs_only_the_last_seconds() {
    let meeting = Meeting::new().await;
    meeting.open().await;
    meeting.browser.press("#start").await;
    meeting.until_sent().await;
    meeting.browser.cut_off(true).await;
    let kept = "/Nothing is lost/.test(document.getElementById('recorder-kept').textContent)";
    meeting.browser.until("more is recorded than sent", kept).await;
    meeting.browser.cut_off(false).await;
    // As if the window had been closed and the page opened again later.
    meeting.open().await;
    let recording = meeting.until_saved().await;
    assert_eq!(meeting.attached().await, 1);
    assert_eq!(meeting.api.get(&format!("{recording}/audio")).await.status, 200);
    meeting.browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_has_is_saved_from_any_notes_page_though_the_browser_has_lost_it() {
    let meeting = Meeting::new().await;
    let browser = &meeting.browser;
    meeting.open().await;
    browser.press("#start").await;
    meeting.until_sent().await;
    // The window closes, and the machine crashes before what the browser kept is on the disk.
    browser.open(&format!("{}/audit", meeting.served.url)).await;
    let lose = "const done = arguments[0]; const open = indexedDB.open('crm-recorder', 1);
        open.onsuccess = () => { const all = open.result.transaction('parts', 'readwrite').objectStore('parts').clear();
            all.onsuccess = () => { open.result.close(); done(true); }; }";
    assert_eq!(browser.client.execute_async(lose, vec![]).await.unwrap(), json!(true));
    let other = meeting.api.made("notes", json!({"name": "Another call"})).await;
    browser.open(&format!("{}/notes/{other}/record", meeting.served.url)).await;
    let recording = meeting.until_saved().await;
    assert_eq!(meeting.api.get(&format!("{recording}/audio")).await.status, 200);
    let notes: Vec<String> = sqlx::query_scalar(
        "select aggregate_id from events where event_type = 'RecordingAttached'",
    )
    .fetch_all(&meeting.api.db.pool)
    .await
    .unwrap();
    assert_eq!(notes, [meeting.note.to_string()], "it is the note's that it was recorded for");
    meeting.browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_stays_in_the_browser_until_somebody_decides() {
    let meeting = Meeting::new().await;
    let (api, browser, note) = (&meeting.api, &meeting.browser, meeting.note);
    let other = api.made("notes", json!({"name": "Another call"})).await;
    let other = format!("{}/notes/{other}/record", meeting.served.url);
    let refused = "document.querySelectorAll('#recorder-refused button').length === 2";
    let (retry, discard) = ("#recorder-refused button", "#recorder-refused button:last-child");
    let record = async || {
        meeting.open().await;
        browser.press("#start").await;
        meeting.until_sent().await;
        let position = api.delete(&format!("/notes/{note}")).await.position();
        // No script may read what a link leads to.
        let make = "const make = URL.createObjectURL; URL.createObjectURL = (it) => make(window.offered = it)";
        browser.ask(make).await;
        browser.press("#stop").await;
        browser.until("it is refused", refused).await;
        position
    };
    let bring_back = async |deleted: i64| {
        let back = json!({"to": deleted - 1, "seen": deleted});
        api.post(&format!("/notes/{note}/revert"), back).await.expect(200, "the note");
    };
    let deleted = record().await;
    let said = browser.text("#recorder-refused p").await;
    assert!(said.contains("Lunch with Ana") && said.contains("cannot be saved"), "{said}");
    let file = "const done = arguments[0];
        window.offered.arrayBuffer().then((it) => done(new Uint8Array(it).slice(0, 4).join()))";
    let file = browser.client.execute_async(file, vec![]).await.unwrap();
    assert_eq!(file, json!("26,69,223,163"), "a file in WebM");
    assert_eq!(browser.violations().await, Vec::<String>::new());
    browser.shoot("recorder-refused").await;
    // On other pages it is shown, and not sent again by itself.
    browser.open(&other).await;
    browser.until("it is still there", refused).await;
    assert_eq!(browser.text("#recorder-state").await, "");
    bring_back(deleted).await;
    browser.press(retry).await;
    let recording = meeting.until_saved().await;
    assert_eq!(api.get(&format!("{recording}/audio")).await.status, 200);
    assert_eq!((browser.count("#recorder-refused li").await, meeting.kept().await), (0, 0));
    record().await;
    browser.press(discard).await;
    assert_eq!(browser.text(discard).await, "Discard it for good");
    assert!(meeting.kept().await > 0, "asked once more");
    browser.press(discard).await;
    browser.until("it is gone", "!document.querySelector('#recorder-refused li')").await;
    browser.open(&other).await;
    browser.until("it can record", "!document.getElementById('start').hidden").await;
    assert_eq!((browser.count("#recorder-refused li").await, meeting.kept().await), (0, 0));
    assert_eq!(meeting.attached().await, 1);
    meeting.browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_uploaded_with_a_script_and_without() {
    let meeting = Meeting::new().await;
    meeting.open().await;
    let content = std::fs::read(meeting._folder.path().join("sound.wav")).unwrap();
    let file = meeting.browser.client.find(fantoccini::Locator::Id("file")).await.unwrap();
    file.send_keys(&meeting._folder.path().join("sound.wav").display().to_string()).await.unwrap();
    meeting.browser.press("#choose button").await;
    let recording = meeting.until_saved().await;
    assert_eq!(meeting.api.get(&format!("{recording}/audio")).await.bytes, content);
    // What a browser sends that runs no scripts.
    let mut form =
        b"--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n"
            .to_vec();
    form.extend_from_slice(&content);
    form.extend_from_slice(b"\r\n--x--\r\n");
    let action = "return new URL(document.getElementById('choose').action).pathname";
    let action = meeting.browser.ask(action).await.as_str().unwrap().to_owned();
    let sent = request(axum::http::Method::POST, &action)
        .header("content-type", "multipart/form-data; boundary=x")
        .body(Body::from(form))
        .unwrap();
    assert_eq!(contract::ask(&meeting.api.router, sent).await.status, 201);
    meeting.browser.close().await;
}
