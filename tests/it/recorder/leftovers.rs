//! What a closed window has left in the browser says whose it is, and a note that is deleted while it is recorded for is noticed.

use super::*;

impl Meeting {
    /// Leaves the beginning of a recording of this meeting in the browser, and some of it on the server.
    async fn leave(&self) {
        self.open().await;
        self.browser.press("#start").await;
        self.until_sent().await;
        self.browser.open(&format!("{}/audit", self.served.url)).await;
    }

    /// Opens the recorder of another meeting.
    async fn open_another(&self) -> i64 {
        let other = self.api.made("notes", json!({"name": "Another call"})).await;
        self.browser.open(&format!("{}/notes/{other}/record", self.served.url)).await;
        other
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_meeting_left_is_saved_and_said_to_be_of_that() {
    let meeting = Meeting::new().await;
    let browser = &meeting.browser;
    meeting.leave().await;
    meeting.open_another().await;
    meeting.until_saved().await;
    let done = browser.text("#recorder-done").await;
    assert!(done.contains("“Lunch with Ana.webm” of “Lunch with Ana” is saved"), "{done}");
    let link = "return document.querySelector('#recorder-done a.of')?.pathname";
    assert_eq!(browser.ask(link).await, json!(format!("/audit/note/{}", meeting.note)));
    assert_eq!(browser.text("#recorder-state").await, "", "it is not this page's");
    // The next one is this page's again.
    browser.press("#start").await;
    meeting.until_sent().await;
    browser.press("#stop").await;
    meeting.until_saved().await;
    assert_eq!(browser.text("#recorder-done").await, "The recording is saved. Open it.");
    meeting.browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_of_a_deleted_note_can_be_kept_or_discarded() {
    let meeting = Meeting::new().await;
    let browser = &meeting.browser;
    meeting.leave().await;
    meeting.api.delete(&format!("/notes/{}", meeting.note)).await.expect(200, "deleted");
    meeting.open_another().await;
    let refused = "document.querySelectorAll('#recorder-refused button').length === 2";
    browser.until("it is refused", refused).await;
    let said = browser.text("#recorder-refused p").await;
    assert!(said.contains("“Lunch with Ana.webm” of “Lunch with Ana”"), "{said}");
    assert!(said.contains("that note was deleted"), "{said}");
    assert_eq!(browser.text("#recorder-state").await, "", "nothing is wrong with this page's");
    assert_eq!(browser.count("#recorder-refused a[download]").await, 1);
    browser.shoot("recorder-leftover").await;
    meeting.browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_records_is_told_that_the_note_is_deleted_and_keeps_what_was_recorded() {
    let meeting = Meeting::new().await;
    let (api, browser, note) = (&meeting.api, &meeting.browser, meeting.note);
    meeting.open().await;
    browser.press("#start").await;
    meeting.until_sent().await;
    let shown = "!document.getElementById('recorder-gone').hidden";
    assert_eq!(browser.ask(&format!("return {shown}")).await, json!(false));
    let deleted = api.delete(&format!("/notes/{note}")).await.position();
    browser.until("it is told", shown).await;
    assert_eq!(browser.violations().await, Vec::<String>::new());
    browser.shoot("recorder-gone").await;
    // Who brings it back has nothing to fear.
    let back = json!({"to": deleted - 1, "seen": deleted});
    api.post(&format!("/notes/{note}/revert"), back).await.expect(200, "the note is back");
    browser.until("and that it is back", &format!("!({shown})")).await;
    api.delete(&format!("/notes/{note}")).await.expect(200, "deleted again");
    browser.until("it is told again", shown).await;
    browser.press("#stop").await;
    browser
        .until("it can be kept", "document.querySelector('#recorder-refused a[download]')")
        .await;
    assert!(browser.text("#recorder-refused p").await.contains("that note was deleted"));
    assert!(meeting.kept().await > 0);
    meeting.browser.close().await;
}
