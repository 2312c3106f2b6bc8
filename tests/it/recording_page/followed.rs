//! The page follows what others do, and leaves alone what somebody writes or plays there meanwhile.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use projections::jobs::{SpeechModels, Tools, Workers};

use super::*;
use crate::llm_server::{Dialect, ModelServer, Reply};

/// A page of a recording with all that can be made of it, at rest.
pub(super) async fn at_rest() -> (Room, Browser) {
    let room = Room::new().await;
    room.is_transcribed().await;
    room.is_summarised().await;
    let browser = Browser::hearing(1200, &room.folder.path().join("sound.wav")).await;
    browser.open(&room.url()).await;
    (room, browser)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_at_rest_shows_what_others_do() {
    let (room, browser) = at_rest().await;
    let path = format!("/notes/{}", room.note);
    room.corrected(0, "Profuturo likes it.").await;
    browser.until_says("#line-0-2000 .corrected", "Profuturo likes it.").await;
    room.asked("action-items/1/accept").await;
    browser.until_says("#action-item-1", "✓ Accepted").await;
    room.asked("action-items/2/dismiss").await;
    browser.until_says("#action-item-2", "Dismissed.").await;
    room.asked("interest/accept").await;
    browser.until_says("#suggested-interest", "✓ Accepted: meeting").await;
    room.api.put(&path, json!({"name": "Dinner with Ana"})).await.expect(200, "renamed");
    browser.until_says("#lead", "Dinner with Ana").await;
    room.asked("transcribe").await;
    browser.until_says("#standing", "waits for its turn").await;
    browser
        .until("it can be stopped", "document.querySelector(\"form[data-send$='/cancel']\")")
        .await;
    let transcript: Transcript = serde_json::from_value(json!({"model": "base", "language": "en",
        "duration_ms": 10_000, "segments": [{"start_ms": 5_000, "end_ms": 9_000,
            "text": "A better model heard this.", "confidence": 95}]}))
    .unwrap();
    room.does(RecordingCommand::KeepTranscript { round: 2, transcript }).await;
    browser.until_says("#transcript", "A better model heard this.").await;
    // What people corrected stays.
    assert!(browser.text("#transcript").await.contains("Profuturo likes it."));
    let todo = room.api.read("/todos").await[0]["id"].clone();
    room.api.delete(&format!("/todos/{todo}")).await.expect(200, "deleted");
    browser.until_says("#action-item-1", "was deleted").await;
    assert_eq!(browser.violations().await, Vec::<String>::new());
    let before = room.api.backend.reader.position();
    room.api.delete(&path).await.expect(200, "the note is deleted");
    browser.until_says("#said", "is not there any more").await;
    assert_eq!(browser.text("#recording").await, "");
    assert_eq!(browser.violations().await, Vec::<String>::new());
    let back = room.api.post(&format!("{path}/revert"), json!({"to": before, "force": true})).await;
    back.expect(200, "the note is back");
    browser.until_says("#transcript", "A better model heard this.").await;
    assert!(!browser.text("main").await.contains("is not there any more"));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_or_played_stays_and_says_that_the_text_changed_meanwhile() {
    let (room, browser) = at_rest().await;
    // However slowly this goes on, it plays all the while, and the page does not scroll away from what is pressed next.
    browser.ask("document.getElementById('audio').loop = true").await;
    browser.press("#follow").await;
    browser.press("#line-2000-4000 p").await;
    browser.until("it plays", "!document.getElementById('audio').paused").await;
    browser.ask("window.played = document.getElementById('audio')").await;
    browser.press("#line-0-2000 [data-edit]").await;
    browser.writes("#line-0-2000 textarea", "Mine").await;
    room.corrected(2, "The fees are fine.").await;
    browser.until_says("#line-2000-4000 .corrected", "The fees are fine.").await;
    assert_eq!(browser.count("#transcript .meanwhile").await, 0, "its own line is as it was");
    room.corrected(0, "Theirs").await;
    browser.until_says("#line-0-2000 .meanwhile", "It says now: “Theirs”").await;
    let written = "return document.activeElement.value";
    assert_eq!(browser.ask(written).await, json!("Mine"), "and the cursor is in it");
    let plays = "return window.played.isConnected && !window.played.paused";
    assert_eq!(browser.ask(plays).await, json!(true));
    assert_eq!(browser.violations().await, Vec::<String>::new());
    // Who has been told may save at once.
    browser.press("#line-0-2000 form .primary").await;
    browser.until_says("#line-0-2000 .corrected", "Mine").await;

    browser.writes("#item-1", "Send Ana the deck").await;
    browser.ask("window.item = document.getElementById('item-1')").await;
    room.asked("action-items/2/dismiss").await;
    browser.until_says("#action-item-2", "Dismissed.").await;
    assert_eq!(browser.count("#action-item-1 .meanwhile").await, 0, "nobody has touched it");
    room.asked("action-items/1/accept").await;
    browser.until_says("#action-item-1 .meanwhile", "Somebody has changed this").await;
    assert_eq!(browser.ask("return window.item.value").await, json!("Send Ana the deck"));
    assert_eq!(browser.violations().await, Vec::<String>::new());
    browser.press("#action-item-1 .meanwhile button").await;
    browser.until_says("#action-item-1", "✓ Accepted").await;
    browser.close().await;
}

/// Counts the answers that the page has got since and has dealt with.
const SEES_FETCHES: &str = "window.fetched = 0; const ask = window.fetch;
    window.fetch = (...asked) => ask(...asked).finally(() => setTimeout(() => (window.fetched += 1)))";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_about_a_line_or_recording_that_goes_is_not_lost() {
    let (room, browser) = at_rest().await;
    browser.press("#line-4000-6000 [data-edit]").await;
    browser.writes("#line-4000-6000 textarea", "I will send the PPM.").await;
    room.asked("transcribe").await;
    let transcript =
        json!({"model": "base", "language": "en", "duration_ms": 10_000, "segments": []});
    let transcript: Transcript = serde_json::from_value(transcript).unwrap();
    room.does(RecordingCommand::KeepTranscript { round: 2, transcript }).await;
    browser.until_says("#line-4000-6000 .meanwhile", "not in the transcript any more").await;
    let written = "return document.querySelector('#line-4000-6000 textarea').value";
    assert_eq!(browser.ask(written).await, json!("I will send the PPM."));
    let path = format!("/recordings/{}", room.recording);
    let note = format!("/notes/{}", room.note);
    room.api.delete(&path).await.expect(200, "removed");
    browser.until_says("#said", "“I will send the PPM.”").await;
    assert_eq!(browser.text("#recording").await, "");
    // Whatever else happens to the note, that is still to be read.
    browser.ask(SEES_FETCHES).await;
    room.api.put(&note, json!({"name": "Dinner"})).await.expect(200, "renamed");
    browser.until("it has looked again", "window.fetched > 0").await;
    assert!(browser.text("#said").await.contains("“I will send the PPM.”"));
    browser.close().await;
}

/// A browser keeps six connections to a server at most, for all of its windows together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pages_can_be_open_and_each_shows_what_it_missed_when_it_is_looked_at() {
    let (room, browser) = at_rest().await;
    let first = browser.client.window().await.unwrap();
    for _ in 0..7 {
        let tab = browser.client.new_window(true).await.unwrap();
        browser.client.switch_to_window(tab.handle).await.unwrap();
        browser.open(&room.url()).await;
        browser.until("it is there", "document.getElementById('standing')").await;
    }
    room.corrected(0, "Profuturo likes it.").await;
    browser.until_says("#line-0-2000 .corrected", "Profuturo likes it.").await;
    browser.client.switch_to_window(first).await.unwrap();
    browser.until_says("#line-0-2000 .corrected", "Profuturo likes it.").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_was_cut_off_says_so_and_shows_what_it_missed() {
    let (room, browser) = at_rest().await;
    browser.cut_off(true).await;
    browser.press("form[data-send$='/action-items/2/dismiss'] button").await;
    browser.until_says("#said", "crm does not answer").await;
    browser.press("#line-0-2000 [data-edit]").await;
    browser.press("#line-0-2000 [data-cancel]").await;
    browser.until_says("#cut-off", "may be old").await;
    room.corrected(0, "Profuturo likes it.").await;
    browser.cut_off(false).await;
    browser.until_says("#line-0-2000 .corrected", "Profuturo likes it.").await;
    let is_over = "document.getElementById('cut-off').textContent === '' && document.getElementById('said').hidden";
    browser.until("and that is over", is_over).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_whose_todo_was_deleted_says_so_and_becomes_another() {
    let (room, browser) = at_rest().await;
    room.asked("action-items/1/accept").await;
    let todo = room.api.read("/todos").await[0]["id"].clone();
    room.api.delete(&format!("/todos/{todo}")).await.expect(200, "deleted");
    browser
        .until_says("#action-item-1", "✓ Accepted, but its todo “Send the deck” was deleted.")
        .await;
    browser.writes("#item-1", "Send the whole deck").await;
    browser.press("#action-item-1 form .primary").await;
    browser.until_says("#action-item-1", "✓ Accepted: todo “Send the whole deck”").await;
    let todos = room.api.read("/todos").await;
    assert_eq!(todos.as_array().unwrap().len(), 1, "{todos}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_the_language_model_is_tried_at_once_when_somebody_wants_it() {
    let room = Room::new().await;
    room.is_transcribed().await;
    let is_back = Arc::new(AtomicBool::new(false));
    let back = is_back.clone();
    let summary = json!({"summary": "They like it.", "key_points": [], "action_items": [],
        "fundraise": null, "interest": null, "interest_quote": null});
    let server = ModelServer::start(Dialect::OpenAi, move |_, _| match back.load(Relaxed) {
        true => Reply::json(&summary),
        false => Reply::Refused(503, "loading"),
    })
    .await;
    let tools = Tools {
        log: room.api.backend.log.clone(),
        files: room.api.db.files(),
        models: SpeechModels::new(None, "/nowhere".into()),
        llm: Some(server.llm()),
        chunk: Duration::from_secs(10),
        threads: 1,
    };
    let workers = Workers::start(tools, 1, room.api.backend.live.heads()).unwrap();
    let pool = &room.api.db.pool;
    let put_off = "update job set ready_at = now() + interval '1 hour'
        where stage = 'summarise' and outages > 0 and ready_at > now()";
    let is_put_off = async {
        while sqlx::query(put_off).execute(pool).await.unwrap().rows_affected() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_put_off)
        .await
        .expect("it waits for the model");
    let browser = Browser::hearing(1200, &room.folder.path().join("sound.wav")).await;
    browser.open(&room.url()).await;
    browser.until_says("#standing", "tries again at").await;
    assert_eq!(browser.violations().await, Vec::<String>::new());
    is_back.store(true, Relaxed);
    browser.press("form[data-send$='/retry'] button").await;
    browser.until_says("aside", "They like it.").await;
    assert_eq!(browser.count("form[data-send$='/retry']").await, 0);
    browser.close().await;
    workers.stop().await;
}
