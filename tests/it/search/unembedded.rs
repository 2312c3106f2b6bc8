//! What was just written, before anybody has embedded it.

use serde_json::{Value, json};

use super::{note, search, until, with_meaning};

/// Texts that have it are not embedded until the server is told otherwise; the question does not have it.
const STUCK: &str = "glockenspiel";

#[tokio::test(flavor = "multi_thread")]
async fn a_new_note_is_on_the_first_page_before_it_is_embedded() {
    const QUESTION: &str = "Which LP wanted marimba insurance?";
    let (api, embeddings, vectors) = with_meaning().await;
    for n in 0..40 {
        note(&api, &format!("Call {n}"), &format!("Someone wanted insurance, chapter{n}.")).await;
    }
    let answers = async |question: &str, is_so: &dyn Fn(&Value) -> bool| {
        let page = search(&api, question, "").await;
        page["mode"] == "hybrid" && page["hits"].as_array().unwrap().iter().any(is_so)
    };
    until("all are embedded", async || {
        answers("chapter39", &|hit| hit["why"] == json!(["word", "meaning"])).await
    })
    .await;
    embeddings.state().fails_at = Some(STUCK.to_owned());
    let mut new = Vec::new();
    for n in 0..6 {
        new.push(note(&api, &format!("New {n}"), &format!("{STUCK} and marimba, part{n}.")).await);
    }
    let page = search(&api, QUESTION, "").await;
    assert_eq!((&page["mode"], &page["missing"]), (&json!("hybrid"), &Value::Null));
    let hits = page["hits"].as_array().unwrap();
    for id in &new {
        let hit = hits.iter().find(|hit| hit["id"] == json!(id));
        let hit = hit.unwrap_or_else(|| panic!("note {id} is not on the first page: {page}"));
        assert_eq!(hit["why"], json!(["word"]));
    }
    // Once meaning can speak for it, its words count by how much of the question they are.
    let word = |hit: &Value| hit["parts"]["word"].as_f64().unwrap();
    let before = hits.iter().find(|hit| hit["id"] == json!(new[0])).map(word).unwrap();
    embeddings.state().fails_at = None;
    until("the new notes are embedded", async || {
        answers("marimba", &|hit| {
            hit["id"] == json!(new[0]) && hit["why"] == json!(["word", "meaning"])
        })
        .await
    })
    .await;
    let page = search(&api, QUESTION, "&limit=100").await;
    let hits = page["hits"].as_array().unwrap();
    let after = hits.iter().find(|hit| hit["id"] == json!(new[0])).map(word).unwrap();
    assert!(after < before / 2.0, "{after} and {before}");
    vectors.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rare_word_of_a_new_note_puts_it_first_before_it_is_embedded() {
    let (api, embeddings, vectors) = with_meaning().await;
    for n in 0..12 {
        note(&api, &format!("Call {n}"), &format!("They spoke about the fund, chapter{n}.")).await;
    }
    until("all are embedded", async || {
        let page = search(&api, "chapter11", "").await;
        page["mode"] == "hybrid" && page["hits"][0]["why"] == json!(["word", "meaning"])
    })
    .await;
    embeddings.state().fails_at = Some(STUCK.to_owned());
    let new = note(&api, "New", &format!("{STUCK} and marmalade, the quixotrope.")).await;
    for question in ["marmalade", "marmelade", "quixotrope fund?"] {
        let page = search(&api, question, "").await;
        let first = &page["hits"][0];
        assert_eq!((&page["mode"], &first["id"]), (&json!("hybrid"), &json!(new)), "{question}");
        assert_eq!(first["why"], json!(["word"]));
    }
    vectors.stop().await;
}
