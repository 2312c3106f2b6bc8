//! Records of which an event cannot be read: what is damaged can be erased like anything else, as far as no hold is on it.

use super::*;

/// Changes one byte of the sealed payload of a record's event.
async fn damage(api: &Api, kind: &str, id: i64, sequence: i64) {
    let statement = format!(
        "update events set payload = overlay(payload::text placing
             case when substr(payload::text, 60, 1) = 'A' then 'B' else 'A' end from 60 for 1)::json
         where aggregate_type = '{kind}' and aggregate_id = '{id}' and sequence = {sequence}"
    );
    tamper(&api.db.pool, &statement).await;
}

async fn answer<T>(api: &Api, question: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    sqlx::query_scalar(question).fetch_one(&api.db.pool).await.unwrap()
}

fn reason() -> Value {
    json!({"reason": "case 17"})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_erased_all_the_same_and_nothing_of_it_is_left() {
    let api = Api::new().await;
    let other = api.made("people", json!({"name": "Ana Ruiz"})).await;
    let (id, noted) = (api.made("people", person()).await, api.made("notes", note()).await);
    api.put(&format!("/people/{id}"), json!({"role": "CFO"})).await.expect(200, "revised");
    let images = api.db.dir.path().join("images");
    std::fs::create_dir_all(&images).unwrap();
    std::fs::write(images.join("zyxwv.png"), "zyxwv").unwrap();
    api.put(&format!("/notes/{noted}"), json!({"name": "Call"})).await.expect(200, "renamed");
    api.post(&format!("/notes/{noted}/participants/{id}"), json!({})).await.expect(200, "linked");
    // Of the person nothing can be folded any more; of the note the beginning can.
    damage(&api, "person", id, 1).await;
    damage(&api, "note", noted, 2).await;
    crate::rebuild::rebuild(&api.db, &[]).await.unwrap();
    assert_eq!(
        answer::<i64>(&api, "select count(distinct aggregate_type) from dead_letter").await,
        2
    );
    for (path, event) in
        [(format!("/people/{id}"), "Registered"), (format!("/notes/{noted}"), "Renamed")]
    {
        let refused = api.put(&path, json!({"name": "Eva"})).await.expect(409, &path);
        let said = refused["detail"].as_str().unwrap();
        assert!(said.contains(&format!("as it is damaged, the {event} event of")), "{said}");
        assert!(said.contains("A backup may have it as it was; the "), "{said}");
        assert!(said.contains("can be held and erased all the same"), "{said}");
        let (hold, erase) = (format!("{path}/hold"), format!("{path}/erase"));
        api.put(&hold, reason()).await.expect(200, "held");
        let refused = api.post(&erase, reason()).await.expect(409, "held");
        assert!(refused["detail"].as_str().unwrap().contains("(case 17)"), "{refused}");
        api.delete(&format!("{hold}?reason=settled")).await.expect(200, "lifted");
        api.post(&erase, reason()).await.expect(200, "erased");
        let events = api.events().await;
        api.post(&erase, reason()).await.expect(200, "twice is as good");
        assert_eq!(api.events().await, events);
        api.get(&path).await.expect(404, "at once");
        api.put(&path, json!({"name": "Eva"})).await.expect(410, "too late");
    }
    assert_eq!(api.ids("/people").await, [other]);
    let keys = "select array_agg(aggregate_type order by aggregate_type) from stream_key where wrapped is null";
    assert_eq!(answer::<Vec<String>>(&api, keys).await, ["note", "person"]);
    assert_eq!(answer::<i64>(&api, "select count(*) from notion_claim").await, 0);
    scrub(&api.db).await.unwrap();
    assert!(!images.join("zyxwv.png").exists(), "the event that named it could be read");
    assert_nowhere(dumped(&api.db.pool).await.as_bytes(), "the database");
    assert_eq!(answer::<i64>(&api, "select count(*) from dead_letter").await, 0);
    let report = verify(&api.db).await;
    assert!(report.passed, "{report:?}");
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_cannot_be_read_is_a_hold_until_one_that_can_is_lifted() {
    let api = Api::new().await;
    let id = api.made("people", person()).await;
    let (erase, hold) = (format!("/people/{id}/erase"), format!("/people/{id}/hold"));
    api.put(&hold, reason()).await.expect(200, "held");
    let lift = format!("{hold}?reason=settled");
    for damaged in ["Held", "HoldLifted"] {
        let statement = format!(
            r#"update events set payload = '{{"{damaged}":{{"reasom":""}}}}' where event_type = '{damaged}'"#
        );
        api.post(&erase, reason()).await.expect(409, "held");
        if damaged == "HoldLifted" {
            api.delete(&lift).await.expect(200, "lifted");
        }
        tamper(&api.db.pool, &statement).await;
        let refused = api.post(&erase, reason()).await.expect(409, damaged);
        assert!(refused["detail"].as_str().unwrap().contains("a legal hold"), "{refused}");
    }
    api.delete(&lift).await.expect(200, "lifted");
    api.post(&erase, reason()).await.expect(200, "erased");
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_release_is_no_reason_not_to_erase_and_one_in_plain_of_an_earlier_is() {
    let api = Api::new().await;
    let append = async |note: i64, event_type: &str, payload: &str| {
        let statement = format!(
            "insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                                 command_id, correlation_id, actor)
             select 'note', '{note}', max(sequence) + 1, '{event_type}', '1', '{payload}', '{{}}', gen_random_uuid(),
                    gen_random_uuid(), 'test'
             from events where aggregate_type = 'note' and aggregate_id = '{note}'"
        );
        sqlx::query(&statement).execute(&api.db.pool).await.unwrap();
    };
    let noted = api.made("notes", note()).await;
    append(noted, "Unheard", r#"{"Unheard":{}}"#).await;
    let path = format!("/notes/{noted}");
    let refused = api.delete(&path).await.expect(409, "unheard of");
    let said = refused["detail"].as_str().unwrap();
    assert!(
        said.contains("start the release that recorded it, or a newer one; the note can"),
        "{said}"
    );
    api.post(&format!("{path}/erase"), reason()).await.expect(200, "erased");
    api.get(&path).await.expect(404, "at once");
    let exposed = api.made("notes", note()).await;
    append(exposed, "Renamed", r#"{"Renamed":{"name":7}}"#).await;
    let refused = api.post(&format!("/notes/{exposed}/erase"), reason()).await.expect(409, "plain");
    assert!(refused["detail"].as_str().unwrap().contains("import the legacy"), "{refused}");
    api.backend.stop().await;
}
