//! The page of a recording, in a real browser: what is heard, read, corrected and decided there.

mod followed;
mod listed;
mod told;

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use domain::note::{
    ActionItem, Author, InterestSuggestion, KeyPoint, Note, NoteCommand, RecordingCommand,
    RecordingId, Summary, Transcript,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::browser::{Browser, LOOKS};
use crate::contract::{self, Api, request};
use crate::live::Served;
use crate::log::request as terms;
use crate::recorder::{OVERFLOW, sound};

/// A recording that was transcribed and summarised, on a served page.
struct Room {
    api: Api,
    served: Served,
    note: i64,
    lp: i64,
    fund: i64,
    recording: i64,
    folder: TempDir,
}

impl Room {
    async fn new() -> Self {
        let api = Api::new().await;
        let fund = api.made("funds", json!({"fund_name": "Fund III"})).await;
        let lp = api.made("lps", json!({"name": "Afore XXI"})).await;
        let note = api.made("notes", json!({"name": "Lunch with Ana", "date": "2025-01-31"})).await;
        for link in [format!("funds/{fund}"), format!("lps/{lp}")] {
            api.post(&format!("/notes/{note}/{link}"), json!({})).await.expect(200, "link");
        }
        let folder = TempDir::new().unwrap();
        let wav = std::fs::read(sound(&folder)).unwrap();
        let uri = format!("/notes/{note}/recordings?name=lunch.wav");
        let sent = request(Method::POST, &uri).body(Body::from(wav)).unwrap();
        let recording = contract::ask(&api.router, sent).await.expect(201, "a recording");
        let recording = recording["id"].as_i64().unwrap();
        let app = contract::app(&api.db, &api.backend, 64 << 20);
        let served = Served::start(app, Duration::from_secs(15)).await;
        Self { api, served, note, lp, fund, recording, folder }
    }

    /// What a worker would say of the recording.
    async fn does(&self, command: RecordingCommand) {
        let command = NoteCommand::Process { recording: RecordingId(self.recording), command };
        let log = &self.api.backend.log;
        log.execute::<Note>(self.note, command, &terms("Test")).await.unwrap();
        self.api.backend.settle().await.unwrap();
    }

    async fn is_transcribed(&self) {
        let segments: Vec<Value> =
            ["Pro future likes it.", "The fees are too high.", "I will send the deck."]
                .iter()
                .zip(0_u64..)
                .map(|(text, at)| {
                    json!({"start_ms": at * 2_000, "end_ms": (at + 1) * 2_000, "text": text,
                    "confidence": if at == 0 { 30 } else { 95 }})
                })
                .collect();
        let transcript = json!({"model": "tiny.en", "language": "en", "duration_ms": 10_000, "segments": segments,
            "gaps": [{"start_ms": 8_000, "end_ms": 9_000, "reason": "it is damaged"}]});
        let transcript: Transcript = serde_json::from_value(transcript).unwrap();
        self.does(RecordingCommand::KeepTranscript { round: 1, transcript }).await;
    }

    async fn is_summarised(&self) {
        let point = KeyPoint { text: "They like it".into(), start_ms: Some(2_500) };
        let author = Author::Model { model: "llama3.1".into(), prompt: "1".into() };
        let item = |text: &str| ActionItem {
            text: text.into(),
            owner: Some("Ana".into()),
            due: Some("2025-02-07".into()),
            quote: None,
            start_ms: Some(4_000),
        };
        self.does(RecordingCommand::KeepSummary {
            round: 1,
            summary: Summary { author, text: "A good lunch.".into(), key_points: vec![point] },
            items: vec![item("Send the deck"), item("Pay the bill")],
            interest: Some(InterestSuggestion {
                interest: Some("meeting".into()),
                fundraise: Some("Fund III".into()),
                quote: Some("likes it".into()),
                start_ms: Some(1_000),
            }),
        })
        .await;
    }

    fn url(&self) -> String {
        format!("{}/recordings/{}", self.served.url, self.recording)
    }
}

impl Room {
    /// What somebody else does with the recording.
    async fn asked(&self, what: &str) {
        let path = format!("/recordings/{}/{what}", self.recording);
        self.api.post(&path, json!({})).await.expect(200, what);
    }

    /// Somebody else corrects the line that begins at this second.
    async fn corrected(&self, second: u32, text: &str) {
        let start = f64::from(second);
        let segment = json!({"start": start, "end": start + 2.0, "text": text});
        let path = format!("/recordings/{}/transcript", self.recording);
        let body = json!({"segments": [segment]});
        let sent = contract::json_request(Method::PATCH, &path, &body);
        self.api.send(sent).await.expect(200, "corrected");
    }
}

impl Browser {
    /// Waits until what a selector finds says this.
    async fn until_says(&self, selector: &str, text: &str) {
        let says = format!(
            "document.querySelector({})?.textContent.includes({})",
            json!(selector),
            json!(text)
        );
        self.until(&format!("{selector} says {text}"), &says).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_is_heard_read_corrected_and_decided_on() {
    let room = Room::new().await;
    let browser = Browser::hearing(1200, &room.folder.path().join("sound.wav")).await;
    browser.open(&room.url()).await;
    assert!(browser.text("main").await.contains("There is no transcript yet."));
    // The page learns by itself what becomes of the recording.
    room.is_transcribed().await;
    browser
        .until("it is transcribed", "document.querySelectorAll('#transcript > li').length === 4")
        .await;
    assert!(browser.text("#transcript").await.contains("Could not be transcribed: it is damaged"));
    room.is_summarised().await;
    browser
        .until("it is summarised", "/A good lunch/.test(document.querySelector('aside').innerText)")
        .await;
    assert!(browser.text("aside").await.contains("Written by llama3.1"));
    looks_right(&browser, &room).await;
    plays_along(&browser).await;
    corrects(&browser, &room).await;
    decides(&browser, &room).await;
    is_kept_by_a_hold(&browser, &room).await;
    browser.close().await;
}

async fn looks_right(browser: &Browser, room: &Room) {
    for (scheme, width) in LOOKS {
        browser.metrics(width).await;
        browser.media("screen", scheme).await;
        browser.open(&room.url()).await;
        browser.until("times are local", "!document.querySelector('time[data-show]')").await;
        assert_eq!(browser.violations().await, Vec::<String>::new(), "{scheme} {width}");
        assert_eq!(browser.ask(OVERFLOW).await, json!(0), "wider than {width}");
        browser.shoot(&format!("recording-{scheme}-{width}")).await;
    }
    browser.metrics(1200).await;
    browser.open(&room.url()).await;
}

async fn plays_along(browser: &Browser) {
    browser.press("aside [data-seek]").await;
    browser
        .until(
            "the line that is heard is marked",
            "document.querySelector('#transcript > [aria-current]')?.dataset.start === '2000'",
        )
        .await;
    browser.press("#transcript > li:nth-child(3) p").await;
    browser
        .until("it goes where it is told", "document.getElementById('audio').currentTime >= 4")
        .await;
    browser.ask("document.getElementById('audio').pause()").await;
}

async fn corrects(browser: &Browser, room: &Room) {
    browser.press("#transcript > li:first-child [data-edit]").await;
    browser.writes("#transcript textarea", "Profuturo likes it.").await;
    assert_eq!(browser.violations().await, Vec::<String>::new(), "while a line is corrected");
    browser.press("#transcript form .primary").await;
    let corrected =
        "document.querySelector('#transcript .corrected')?.textContent === 'Profuturo likes it.'";
    browser.until("the line is corrected", corrected).await;
    let path = format!("/recordings/{}/transcript", room.recording);
    assert_eq!(room.api.read(&path).await["segments"][0]["text"], "Profuturo likes it.");
    browser.press("#transcript > li:first-child [data-edit]").await;
    browser.press("#transcript [data-heard]").await;
    browser
        .until("it is as it was heard", "!document.querySelector('#transcript .corrected')")
        .await;
}

async fn decides(browser: &Browser, room: &Room) {
    let due = browser.ask("return document.getElementById('item-1-due').value").await;
    assert_eq!(due, "2025-02-07");
    browser.press("form[data-send$='/action-items/1/accept'] button").await;
    browser
        .until(
            "the item is accepted",
            "/✓ Accepted/.test(document.querySelector('.suggestions').innerText)",
        )
        .await;
    browser.press("form[data-send$='/action-items/2/dismiss'] button").await;
    browser
        .until(
            "the item is dismissed",
            "/Dismissed/.test(document.querySelector('.suggestions').innerText)",
        )
        .await;
    let todos = room.api.read("/todos").await;
    let titles: Vec<&Value> = todos.as_array().unwrap().iter().map(|todo| &todo["title"]).collect();
    assert_eq!(titles, ["Send the deck"]);
    assert_eq!(todos[0]["due_date"], "2025-02-07T00:00:00");
    let quote = browser.text("section[aria-labelledby=interest-title] blockquote").await;
    assert_eq!(quote, "likes it");
    browser.press("form[data-send$='/interest/accept'] button").await;
    browser
        .until(
            "the interest is accepted",
            "!document.querySelector(\"form[data-send$='/interest/accept']\")",
        )
        .await;
    let funnel = room.api.read(&format!("/funds/{}/sales-funnel", room.fund)).await;
    let lp = funnel.as_array().unwrap().iter().find(|row| row["lp_id"] == room.lp).unwrap();
    assert_eq!(lp["interest"], "meeting");
    assert_eq!(browser.violations().await, Vec::<String>::new(), "after all was decided");
}

async fn is_kept_by_a_hold(browser: &Browser, room: &Room) {
    let hold = format!("/notes/{}/hold", room.note);
    room.api.put(&hold, json!({"reason": "case 7"})).await.expect(200, "held");
    browser.ask("window.confirm = (question) => (window.asked = question, true)").await;
    browser.press("form[data-method=DELETE] button").await;
    browser
        .until(
            "it is said why it stays",
            "/legal hold.*case 7/.test(document.getElementById('said').innerText)",
        )
        .await;
    let asked = browser.ask("return window.asked").await;
    assert!(asked.as_str().unwrap().contains("stay in the note's history"), "{asked}");
}
