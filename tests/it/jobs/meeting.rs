//! A meeting from the note's page through a microphone and Whisper to a todo, with nothing but clicks.

use super::*;
use crate::browser::Browser;
use crate::contract;
use crate::live::Served;

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_that_is_recorded_in_a_browser_becomes_a_todo() {
    let api = Api::new().await;
    let note = api.made("notes", json!({"name": "Lunch with Ana"})).await;
    let folder = tempfile::tempdir().unwrap();
    let wav = folder.path().join("said.wav");
    speech(&wav, "Thank you for the meeting. We will send you the presentation by Friday.");
    let workers = work(&api, with_tiny().await);
    let app = contract::app(&api.db, &api.backend, 64 << 20);
    let served = Served::start(app, Duration::from_secs(15)).await;
    let browser = Browser::hearing(1200, &wav).await;

    browser.open(&format!("{}/audit/note/{note}", served.url)).await;
    let nothing = browser.text("#recordings").await;
    assert!(nothing.contains("Nothing of this meeting is recorded"), "{nothing}");
    browser.press("#recordings a[href$='/record']").await;
    browser.until("it can record", "!document.getElementById('start')?.hidden").await;
    browser.press("#start").await;
    // What is said is said again and again; it is heard twice then.
    let enough = "document.getElementById('clock').textContent >= '0:00:16'";
    browser.until("enough is recorded", enough).await;
    browser.press("#stop").await;
    browser.until("it is saved", "!document.getElementById('recorder-done').hidden").await;
    browser.press("#recorder-done a").await;
    let suggested = "document.querySelector(\"form[data-send$='/accept'] button\")";
    browser.until("an item is suggested", suggested).await;

    let recording = api.read(&format!("/notes/{note}/recordings")).await[0].clone();
    assert_eq!(recording["state"], json!("summarised"));
    let item = recording["action_items"][0].clone();
    browser.press("form[data-send$='/accept'] button").await;
    let accepted = "/✓ Accepted/.test(document.querySelector('.suggestions').innerText)";
    browser.until("the item is accepted", accepted).await;
    let todos = api.read("/todos").await;
    assert_eq!((&todos[0]["title"], &todos[0]["note_id"]), (&item["text"], &json!(note)));
    assert!(item["text"].as_str().unwrap().to_lowercase().contains("presentation"), "{item}");

    browser.open(&format!("{}/audit/note/{note}", served.url)).await;
    let told = browser.text("#recordings").await;
    assert!(told.contains("It is transcribed and summarised."), "{told}");
    assert_eq!(browser.violations().await, Vec::<String>::new());
    browser.press("#recordings li a").await;
    browser.until("the recording is shown", "document.getElementById('transcript')").await;
    browser.close().await;
    workers.stop().await;
}
