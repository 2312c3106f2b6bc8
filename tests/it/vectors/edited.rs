//! A note that is edited without a pause, and looked for all the while.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::subject::Subject;

/// When the versions of a note were sent and acknowledged, by a clock that ticks with each.
#[derive(Default)]
struct Versions {
    clock: u64,
    sent: BTreeMap<usize, u64>,
    acknowledged: BTreeMap<usize, u64>,
}

impl Versions {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn send(&mut self, version: usize) {
        let now = self.tick();
        self.sent.insert(version, now);
    }

    fn acknowledge(&mut self, version: usize) {
        let now = self.tick();
        self.acknowledged.insert(version, now);
    }

    /// Whether another version was sent after this one was acknowledged, and acknowledged itself by then.
    fn is_outdated(&self, version: usize, by: u64) -> bool {
        let Some(end) = self.acknowledged.get(&version) else { return false };
        self.acknowledged.iter().any(|(other, at)| *at <= by && self.sent[other] > *end)
    }
}

/// A note is edited by several at once, more than 100 times a second where nothing else runs, and never found by a text that was
/// replaced.
async fn edited_all_the_time(mut subject: Subject) {
    subject.restart_with(subject.embeddings.source("words")).await;
    let note = subject.note("Busy", "version 0000").await;
    const EDITS: usize = 300;
    let next = AtomicUsize::new(1);
    let mut versions = Versions::default();
    versions.send(0);
    versions.acknowledge(0);
    let versions = Mutex::new(versions);
    let edit = async || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= EDITS {
                break;
            }
            let text = json!({"raw_notes": format!("version {number:04}")});
            versions.lock().unwrap().send(number);
            subject.api.put(&format!("/notes/{note}"), text).await.expect(200, "an edit");
            versions.lock().unwrap().acknowledge(number);
        }
    };
    let search = async |mode: &str| {
        while next.load(Ordering::Relaxed) < EDITS {
            let asked = versions.lock().unwrap().tick();
            let page = subject.api.read(&format!("/search?q=version&kinds=note&mode={mode}")).await;
            let Some(text) = page["hits"][0]["passage"]["text"].as_str() else { continue };
            let found = text.strip_prefix("version ").unwrap().trim().parse().unwrap();
            assert!(!versions.lock().unwrap().is_outdated(found, asked), "{mode}: {found}");
        }
    };
    tokio::join!(edit(), edit(), edit(), edit(), search("lexical"), search("hybrid"));
    let last = json!({"raw_notes": format!("version {EDITS:04}")});
    subject.api.put(&format!("/notes/{note}"), last).await.expect(200, "the last edit");
    subject.finds(&format!("version {EDITS:04}"), note).await;
    let page = subject.api.read("/search?q=version&kinds=note").await;
    let text = page["hits"][0]["passage"]["text"].as_str().unwrap();
    assert_eq!(text.trim(), format!("version {EDITS:04}"));
    subject.assert_right().await;
    let points: i64 = sqlx::query_scalar("select count(*) from vector_point where part = 'text'")
        .fetch_one(subject.pool())
        .await
        .unwrap();
    assert_eq!(points, 1);
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_note_that_is_edited_all_the_time_the_last_text_is_embedded() {
    edited_all_the_time(Subject::in_memory().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_note_that_is_edited_all_the_time_qdrant_holds_the_last_text() {
    edited_all_the_time(Subject::in_qdrant().await).await;
}
