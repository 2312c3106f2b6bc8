//! What nobody can follow any more.

use serde_json::json;

use super::{found, note, search, until, with_meaning};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_followed_is_not_found_by_its_old_text() {
    let (api, _embeddings, vectors) = with_meaning().await;
    let parked = note(&api, "Call", "They asked about currency hedging.").await;
    let other = note(&api, "Lunch", "They asked about currency hedging as well.").await;
    let both = [format!("note:{parked}"), format!("note:{other}")];
    let similar = async || {
        let page = api.read(&format!("/notes/{other}/similar")).await;
        page["hits"].as_array().unwrap().iter().any(|hit| hit["id"] == json!(parked))
    };
    until("both are found and alike", async || {
        let found = found(&api, "currency hedging", "&mode=semantic&kinds=note").await;
        both.iter().all(|note| found.contains(note)) && similar().await
    })
    .await;
    sqlx::query(
        "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                             command_id, correlation_id, actor)
         select 'note', $1, max(sequence) + 1, 'Unheard', '1', '{\"Unheard\": {}}', '{}', gen_random_uuid(), gen_random_uuid(), 'test'
         from events where aggregate_type = 'note' and aggregate_id = $1",
    )
    .bind(parked.to_string())
    .execute(&api.db.pool)
    .await
    .unwrap();
    // The texts move on behind the event.
    let later = note(&api, "Later", "Succession planning among partners.").await;
    until("the note is parked", async || {
        let parked: i64 =
            sqlx::query_scalar("select count(*) from dead_letter where projector = 'passage'")
                .fetch_one(&api.db.pool)
                .await
                .unwrap();
        parked == 1 && found(&api, "succession", "&mode=lexical").await == [format!("note:{later}")]
    })
    .await;
    for mode in ["lexical", "semantic", "hybrid"] {
        let page = search(&api, "currency hedging", &format!("&mode={mode}&kinds=note")).await;
        let hits = page["hits"].as_array().unwrap();
        assert!(hits.iter().all(|hit| hit["id"] != json!(parked)), "{page}");
        assert!(hits.iter().any(|hit| hit["id"] == json!(other)), "{page}");
    }
    assert!(!similar().await);
    vectors.stop().await;
}
