//! The page with all recordings.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_recordings_are_on_a_page_and_can_be_chosen_by_their_state() {
    let room = Room::new().await;
    room.is_transcribed().await;
    room.is_summarised().await;
    let uri = format!("/notes/{}/recordings?name=Second%20call", room.note);
    let wav = std::fs::read(room.folder.path().join("sound.wav")).unwrap();
    let sent = request(Method::POST, &uri).body(Body::from(wav)).unwrap();
    contract::ask(&room.api.router, sent).await.expect(201, "another");
    for width in [1200, 360] {
        let browser = Browser::hearing(width, &room.folder.path().join("sound.wav")).await;
        browser.metrics(width).await;
        browser.open(&format!("{}/recordings", room.served.url)).await;
        assert_eq!(browser.ask(OVERFLOW).await, json!(0), "wider than {width}");
        assert_eq!(browser.violations().await, Vec::<String>::new(), "{width}");
        assert_eq!(browser.count("tbody tr").await, 2);
        let first = browser.text("tbody tr:first-child").await;
        assert!(first.contains("Second call") && first.contains("Lunch with Ana"), "{first}");
        assert!(first.contains("Afore XXI") && first.contains("waits for its turn"), "{first}");
        browser.shoot(&format!("recordings-{width}")).await;
        // The way around leads here, and a choice stands in the address.
        assert_eq!(browser.text("header nav a[aria-current=page]").await, "Recordings");
        assert_eq!(browser.text("header .brand").await, "crm");
        browser.press("nav[aria-label='By state'] a[href$='state=summarised']").await;
        browser.until("one is left", "document.querySelectorAll('tbody tr').length === 1").await;
        let only = browser.text("tbody tr").await;
        assert!(only.contains("lunch.wav") && only.contains("0:10, English"), "{only}");
        browser.press("tbody tr a").await;
        browser.until("it is shown", "!!document.getElementById('standing')").await;
        assert_eq!(browser.text("header nav a[aria-current=true]").await, "Recordings");
        browser.close().await;
    }
}
