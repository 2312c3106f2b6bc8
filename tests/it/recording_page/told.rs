//! What the page says of a recording and what became of it, in so many words and no more.

use super::*;

impl Room {
    /// Highlights of which one is an action item as well.
    async fn has_highlights(&self) {
        let said = |text: &str, at: u64| KeyPoint { text: text.into(), start_ms: Some(at) };
        self.does(RecordingCommand::KeepSummary {
            round: 1,
            summary: Summary {
                author: Author::Highlights,
                text: String::new(),
                key_points: vec![
                    said("The fees are too high.", 2_000),
                    said("I will send the deck.", 4_000),
                ],
            },
            items: vec![ActionItem {
                text: "I will send the deck.".into(),
                owner: None,
                due: None,
                quote: Some("I will send the deck.".into()),
                start_ms: Some(4_000),
            }],
            interest: None,
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentence_that_is_highlight_action_item_and_todo_stands_there_once() {
    let room = Room::new().await;
    room.is_transcribed().await;
    room.has_highlights().await;
    let browser = Browser::hearing(1200, &room.folder.path().join("sound.wav")).await;
    browser.open(&room.url()).await;
    let sentence = "I will send the deck.";
    let aside = browser.text("aside").await;
    assert!(aside.contains("The fees are too high."), "{aside}");
    // Where it is to be decided on, it is what is written in the field.
    assert_eq!(browser.ask("return document.getElementById('item-1').value").await, sentence);
    assert_eq!(aside.matches(sentence).count(), 0, "{aside}");
    browser.press("#action-item-1 form .primary").await;
    browser.until_says("#action-item-1", "✓ Accepted").await;
    let aside = browser.text("aside").await;
    assert_eq!(aside.matches(sentence).count(), 1, "{aside}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_is_renamed_and_a_summary_made_anew_from_the_page() {
    let (room, browser) = followed::at_rest().await;
    assert!(browser.text("#lead").await.contains("Added "), "since when it is there");
    assert_eq!(browser.count("#outdated").await, 0);
    browser.press("#rename summary").await;
    browser.writes("#rename input", "Lunch").await;
    browser.press("#rename button").await;
    browser.until_says("#lead h1", "Lunch").await;
    room.corrected(0, "Profuturo likes it.").await;
    browser.until_says("#outdated", "corrected after this was made").await;
    assert_eq!(browser.violations().await, Vec::<String>::new());
    browser.shoot("recording-outdated").await;
    browser.press("#outdated button").await;
    browser.until_says("#standing", "Its summary is being made").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_in_which_nobody_speaks_offers_nothing_to_follow_or_save() {
    let room = Room::new().await;
    let silent = json!({"model": "base", "language": "", "duration_ms": 10_000, "segments": []});
    let transcript: Transcript = serde_json::from_value(silent).unwrap();
    room.does(RecordingCommand::KeepTranscript { round: 1, transcript }).await;
    let browser = Browser::hearing(1200, &room.folder.path().join("sound.wav")).await;
    browser.open(&room.url()).await;
    assert!(browser.text("main").await.contains("Nobody says anything in it."));
    assert_eq!(browser.count("#follow, a[download]").await, 0);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interest_says_where_the_lp_stands_now_and_what_was_deleted_since() {
    let (room, browser) = followed::at_rest().await;
    let interest = format!("/funds/{}/lps/{}/interest?interest=interested", room.fund, room.lp);
    assert!(
        browser
            .text("#suggested-interest")
            .await
            .contains("Afore XXI is not in the funnel of Fund III yet")
    );
    room.api.put(&interest, json!({})).await.expect(200, "interested");
    browser.until_says("#suggested-interest", "Afore XXI is at interested for Fund III").await;
    browser.shows("#suggested-interest").await;
    browser.shoot("recording-interest").await;
    room.asked("interest/accept").await;
    browser.until_says("#suggested-interest", "✓ Accepted: meeting").await;
    room.api.delete(&format!("/funds/{}", room.fund)).await.expect(200, "deleted");
    browser.until_says("#suggested-interest", "Fund III, which was deleted since").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interest_is_accepted_though_the_note_is_linked_to_nobody() {
    let room = Room::new().await;
    for link in [format!("funds/{}", room.fund), format!("lps/{}", room.lp)] {
        room.api.delete(&format!("/notes/{}/{link}", room.note)).await.expect(200, "unlinked");
    }
    room.is_transcribed().await;
    room.is_summarised().await;
    let browser = Browser::hearing(1200, &room.folder.path().join("sound.wav")).await;
    browser.metrics(360).await;
    browser.open(&room.url()).await;
    assert_eq!(browser.ask(OVERFLOW).await, json!(0));
    assert_eq!(browser.violations().await, Vec::<String>::new());
    for (field, name) in [("fund_id", "Fund III"), ("lp_id", "Afore XXI")] {
        let chosen = format!("return document.getElementById('{field}').value");
        assert_eq!(browser.ask(&chosen).await, json!(""), "nobody has chosen {field} yet");
        let choose = format!(
            "const field = document.getElementById('{field}');
             field.value = [...field.options].find((it) => it.text === '{name}').value;"
        );
        browser.ask(&choose).await;
    }
    browser.shows("#suggested-interest").await;
    browser.shoot("recording-unlinked").await;
    browser.press("form[data-send$='/interest/accept'] button").await;
    browser
        .until_says("#suggested-interest", "✓ Accepted: meeting, of Afore XXI in Fund III")
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_removes_a_recording_is_told_that_it_is_done() {
    let (_room, browser) = followed::at_rest().await;
    browser.ask("window.confirm = () => true").await;
    browser.press("form[data-method=DELETE] button").await;
    browser.until_says("main [role=status]", "The recording was removed.").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_is_half_typed_stays_whatever_happens_meanwhile() {
    let room = Room::new().await;
    room.is_transcribed().await;
    room.has_highlights().await;
    let browser = Browser::hearing(1200, &room.folder.path().join("sound.wav")).await;
    browser.open(&room.url()).await;
    let day = browser.client.find(fantoccini::Locator::Id("item-1-due")).await.unwrap();
    day.send_keys("0202").await.unwrap();
    room.corrected(2, "The fees are fine.").await;
    browser.until_says("#line-2000-4000 .corrected", "The fees are fine.").await;
    // Without what would move the cursor to the first part of the day.
    browser.types("2025").await;
    let typed = "return document.getElementById('item-1-due').value";
    assert_eq!(browser.ask(typed).await, json!("2025-02-02"));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_whose_day_is_emptied_becomes_a_todo_without_one() {
    let (room, browser) = followed::at_rest().await;
    let day = browser.client.find(fantoccini::Locator::Id("item-1-due")).await.unwrap();
    assert_eq!(day.prop("value").await.unwrap().as_deref(), Some("2025-02-07"));
    day.clear().await.unwrap();
    browser.press("#action-item-1 form .primary").await;
    browser.until_says("#action-item-1", "✓ Accepted").await;
    let todo = &room.api.read("/todos").await[0];
    assert_eq!((&todo["title"], &todo["due_date"]), (&json!("Send the deck"), &Value::Null));
    let description = todo["description"].as_str().unwrap();
    assert!(!description.contains("Due"), "{description}");
    browser.close().await;
}
