//! Search by meaning behind the texts: vectors follow them whatever happens, in both engines.

mod edited;
mod encrypted;
mod killed;
mod models;
mod silent;
mod subject;

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use domain::Kind;
use projections::search::check;
use projections::search::sets;
use projections::search::vectors::{Upkeep, VectorOptions, Vectors};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;

use crate::contract::Api;
use crate::harness::connect;
use crate::jobs::address;
use crate::qdrant::{Collection, Server as Qdrant};
use crate::server::Home;
use subject::{PATIENCE, Subject, found};

/// Texts come, change and go; search by meaning follows.
async fn vectors_follow(mut subject: Subject) {
    let lp = subject.api.made("lps", json!({"name": "Afore Azteca"})).await;
    let hedging = subject.note("Call", "They asked about currency hedging of the fund.").await;
    let fees = subject.note("Lunch", "Management charges are their main worry.").await;
    subject.finds("currency hedging", hedging).await;
    subject.finds("management charges worry", fees).await;
    subject.assert_right().await;

    let text = json!({"raw_notes": "Succession planning among partners was discussed."});
    subject.api.put(&format!("/notes/{hedging}"), text).await.expect(200, "an edit");
    subject.finds("succession planning partners", hedging).await;
    subject.assert_right().await;

    subject.api.delete(&format!("/notes/{fees}")).await.expect(200, "gone");
    let gone = Kind::Note.record(fees);
    subject
        .until("the note is gone", async |subject| {
            !subject.found("management charges worry").await.contains(&gone)
        })
        .await;
    subject.assert_right().await;

    // An organisation's name is part of what is said about it.
    subject.api.post(&format!("/notes/{hedging}/lps/{lp}"), json!({})).await.expect(200, "linked");
    subject.settle().await;
    assert_eq!(subject.embeddings.state().texts_with("Azteca · 2025-01-31\nSuccession"), 1);
    subject
        .api
        .put(&format!("/lps/{lp}"), json!({"name": "Afore Profuturo"}))
        .await
        .expect(200, "renamed");
    subject.settle().await;
    assert_eq!(subject.embeddings.state().texts_with("Profuturo · 2025-01-31\nSuccession"), 1);
    subject.assert_right().await;

    // What was asked before is known after a restart.
    let asked = subject.embeddings.state().texts_with("2025-01-31");
    subject.stop().await;
    subject.start();
    subject.finds("succession planning partners", hedging).await;
    subject.assert_right().await;
    assert_eq!(subject.embeddings.state().texts_with("2025-01-31"), asked);
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_in_memory_follow_the_texts() {
    vectors_follow(Subject::in_memory().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_in_qdrant_follow_the_texts() {
    vectors_follow(Subject::in_qdrant().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_erased_note_no_vector_is_left_even_where_nobody_embeds() {
    let mut subject = Subject::in_qdrant().await;
    let kept = subject.note("Kept", "Ordinary matters were discussed.").await;
    let first = subject.note("First", "Whispered confidences of the first kind.").await;
    let second = subject.note("Second", "Whispered confidences of the second kind.").await;
    subject.settle().await;
    let pool = subject.pool().clone();
    let points = async |note: i64| -> i64 {
        sqlx::query_scalar("select count(*) from vector_point where part = 'text' and id = $1")
            .bind(note)
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    assert_eq!(points(first).await, 1);
    let erase = async |api: &Api, note: i64| {
        let path = format!("/notes/{note}/erase");
        api.post(&path, json!({"reason": "case 17"})).await.expect(200, &path);
    };
    erase(&subject.api, first).await;
    subject.assert_right().await;
    assert_eq!((points(first).await, points(second).await, points(kept).await), (0, 1, 1));
    subject.vectors.take().unwrap().stop().await;
    erase(&subject.api, second).await;
    let options = replay::ScrubOptions {
        projectors: projections::read::projectors(),
        files: subject.api.db.files(),
        effort: replay::Effort::full(),
        stop: tokio_util::sync::CancellationToken::new(),
    };
    replay::scrub(&subject.api.db.connections, &options).await.unwrap().unwrap();
    assert_eq!(points(second).await, 0);
    let vectors: i64 = sqlx::query_scalar("select count(*) from embedding")
        .fetch_one(subject.pool())
        .await
        .unwrap();
    assert_eq!(vectors, 1, "that of the note that was kept");
    subject.start();
    subject.assert_right().await;
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_asks_for_no_vector_again_and_answers_all_the_while() {
    for mut subject in [Subject::in_memory().await, Subject::in_qdrant().await] {
        let note = subject.note("Call", "They asked about currency hedging.").await;
        subject.finds("currency hedging", note).await;
        subject.settle().await;
        let before = subject.status().await[0].set;
        let asked = subject.embeddings.state().texts_with("2025");
        let model = subject.meaning().model().unwrap();
        let mut db = subject.pool().acquire().await.unwrap();
        let begun = sets::begin_anew(&mut db, model).await.unwrap();
        let begun = begun.unwrap();
        assert_ne!(begun, before);
        subject
            .until("the new set answers", async |subject| {
                assert_eq!(subject.found("currency hedging").await, [Kind::Note.record(note)]);
                let status = subject.status().await;
                status.len() == 1 && status[0].set == begun && status[0].state == "live"
            })
            .await;
        assert_eq!(subject.embeddings.state().texts_with("2025"), asked);
        if let Some(qdrant) = &subject.qdrant {
            subject
                .until("the old collection is gone", async |_| {
                    qdrant.state().collections.len() == 1
                })
                .await;
        }
        subject.assert_right().await;
        subject.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vector_that_was_damaged_is_told_of_and_made_anew() {
    // Too short, no number, nowhere.
    let zeros = "decode(repeat('00', length(vector)), 'hex')";
    for damaged in ["substr(vector, 5)", "'\\x0000c07f'::bytea || substr(vector, 5)", zeros] {
        let mut subject = Subject::in_memory().await;
        let note = subject.note("Call", "They asked about currency hedging.").await;
        subject.settle().await;
        subject.stop().await;
        sqlx::query(&format!("update embedding set vector = {damaged}"))
            .execute(subject.pool())
            .await
            .unwrap();
        let engine = subject.engine().await;
        let reports = check::check(&subject.api.db.connections, &engine).await.unwrap();
        let told = reports.iter().flat_map(|report| &report.differences);
        assert!(told.clone().count() > 0 && told.clone().all(|it| it.contains("is damaged")));
        subject.start();
        let mut db = subject.pool().acquire().await.unwrap();
        let set = subject.status().await[0].set;
        let model: i32 = sqlx::query_scalar("select model from vector_set where id = $1")
            .bind(set)
            .fetch_one(&mut *db)
            .await
            .unwrap();
        sets::begin_anew(&mut db, model).await.unwrap().unwrap();
        subject.finds("currency hedging", note).await;
        subject.until("the new set answers", async |it| it.status().await[0].set != set).await;
        subject.assert_right().await;
        subject.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_with_anothers_vector_or_links_is_told_of() {
    let mut subject = Subject::in_memory().await;
    let note = subject.note("Call", "They asked about currency hedging.").await;
    let lunch = subject.note("Lunch", "Management charges are their main worry.").await;
    subject.settle().await;
    subject.stop().await;
    let engine = subject.engine().await;
    // As a command does, beside which nothing is followed.
    let options = PgConnectOptions::clone(&subject.pool().connect_options());
    let connections = connect(options, 4);
    let swapped = format!(
        "update vector_point p set embedding = o.embedding from vector_point o
         where p.kind = 'note' and p.id = {note} and p.part <> 'card'
             and o.kind = 'note' and o.id = {lunch} and o.part = p.part"
    );
    let refiled = format!(
        "update vector_point set about = '{{lp:1}}' where kind = 'note' and id = {lunch} and part <> 'card'"
    );
    for (change, record, told) in [
        (swapped, note, "has the vector of another text"),
        (refiled, lunch, "is filed under another date, language or record"),
    ] {
        let reports = check::check(&connections, &engine).await.unwrap();
        let before: Vec<String> = reports.into_iter().flat_map(|it| it.differences).collect();
        let changed = sqlx::query(&change).execute(subject.pool()).await.unwrap();
        assert_eq!(changed.rows_affected(), 1, "{change}");
        let reports = check::check(&connections, &engine).await.unwrap();
        let after: Vec<String> = reports.into_iter().flat_map(|it| it.differences).collect();
        let news: Vec<&String> = after.iter().filter(|it| !before.contains(it)).collect();
        assert_eq!(news, [&format!("note {record} text 0 {told}")], "{before:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_to_another_engine_and_back_embeds_nothing_again_nor_does_a_rebuild_of_the_texts() {
    let mut subject = Subject::in_memory().await;
    let note = subject.note("Call", "They asked about currency hedging.").await;
    let lunch = subject.note("Lunch", "Management charges are their main worry.").await;
    subject.finds("currency hedging", note).await;
    subject.finds("management charges", lunch).await;
    let asked = subject.embeddings.state().texts_with("2025-01-31");
    for qdrant in [Some(Qdrant::start().await), None] {
        subject.stop().await;
        subject.qdrant = qdrant;
        subject.start();
        subject.finds("currency hedging", note).await;
    }
    crate::rebuild::rebuild(&subject.api.db, &["passage"]).await.unwrap();
    let later = subject.note("Later", "Succession planning among partners.").await;
    subject.finds("succession planning partners", later).await;
    subject.finds("currency hedging", note).await;
    assert_eq!(subject.embeddings.state().texts_with("2025-01-31"), asked + 1);
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_gets_a_set_of_its_own() {
    let mut subject = Subject::in_memory().await;
    let note = subject.note("Call", "They asked about currency hedging.").await;
    subject.finds("currency hedging", note).await;
    let source = subject.embeddings.source("other-words");
    let options = VectorOptions::of(source);
    let heads = subject.api.backend.live.heads();
    let other = Vectors::start(subject.api.db.connections.clone(), options, heads);
    subject
        .until("the other model finds it", async |_| {
            found(other.meaning(), "currency hedging").await.ok()
                == Some(vec![Kind::Note.record(note)])
        })
        .await;
    assert_eq!(subject.found("currency hedging").await, [Kind::Note.record(note)]);
    // Until the new set has everything, that of the model before may answer.
    subject.until("there are two sets", async |it| it.status().await.len() == 2).await;
    other.stop().await;
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_on_a_database_find_what_one_of_them_embeds() {
    let mut subject = Subject::in_memory().await;
    let other = subject.another();
    let note = subject.note("Call", "They asked about currency hedging.").await;
    subject.finds("currency hedging", note).await;
    let expected = Some(vec![Kind::Note.record(note)]);
    let is_found =
        async |_: &Subject| found(other.meaning(), "currency hedging").await.ok() == expected;
    subject.until("the other server finds it", is_found).await;
    // When one stops, whichever it is, the other goes on.
    subject.stop().await;
    let later = subject.note("Later", "Succession planning among partners.").await;
    subject
        .until("the other server takes over", async |_| {
            let found = found(other.meaning(), "succession planning partners").await;
            found.is_ok_and(|found| found.first() == Some(&Kind::Note.record(later)))
        })
        .await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_search_by_meaning_says_what_is_missing() {
    let api = Api::new().await;
    let folder = api.db.dir.path();
    let source = projections::search::encoder::Source::Files {
        weights: folder.join("none.bin"),
        tokenizer: folder.join("none.json"),
    };
    let options = VectorOptions::of(source);
    let vectors = Vectors::start(api.db.connections.clone(), options, api.backend.live.heads());
    let started = Instant::now();
    while vectors.meaning().lacking().is_none() {
        assert!(started.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    let said = found(vectors.meaning(), "anything").await.unwrap_err().to_string();
    assert!(said.contains("crm models get embed"), "{said}");
    vectors.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embeddings_server_that_fails_loses_nothing() {
    let mut subject = Subject::in_memory().await;
    let first = subject.note("Call", "They asked about currency hedging.").await;
    subject.finds("currency hedging", first).await;
    for (failure, said) in [
        (StatusCode::SERVICE_UNAVAILABLE, "does not answer"),
        (StatusCode::UNAUTHORIZED, "EMBED_API_KEY"),
        (StatusCode::NOT_FOUND, "EMBED_NAME"),
    ] {
        subject.embeddings.state().fails = Some(failure);
        let text = format!("Succession planning of chapter{}.", failure.as_u16());
        let note = subject.note("Later", &text).await;
        subject
            .until("the status tells", async |subject| {
                let status = subject.status().await;
                status[0].error.as_ref().is_some_and(|error| error.contains(said))
            })
            .await;
        subject.embeddings.state().fails = None;
        subject.finds(&text, note).await;
    }
    subject.assert_right().await;
    assert_eq!(subject.status().await[0].error, None);
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn qdrant_is_told_in_the_end_whatever_it_does() {
    let mut subject = Subject::in_qdrant().await;
    let mut number = 0;
    let mut write = async |subject: &Subject| -> (String, i64) {
        number += 1;
        let text = format!("Matters of chapter{number} number{number} were discussed.");
        let note = subject.note(&format!("Note {number}"), &text).await;
        (text, note)
    };
    let (text, note) = write(&subject).await;
    subject.finds(&text, note).await;
    let qdrant = subject.qdrant.as_ref().unwrap();

    // Gone.
    qdrant.stop();
    let (text, note) = write(&subject).await;
    subject
        .until("the status tells", async |subject| subject.status().await[0].error.is_some())
        .await;
    qdrant.resume().await;
    subject.finds(&text, note).await;

    // Writes that fail, and writes of which nobody hears that they are done.
    qdrant.state().failed_writes = 3;
    let (text, note) = write(&subject).await;
    subject.finds(&text, note).await;
    qdrant.state().slow_writes = 3;
    let (text, note) = write(&subject).await;
    subject.finds(&text, note).await;
    subject.assert_right().await;

    // Another key.
    qdrant.state().key = Some("other".to_owned());
    let (text, note) = write(&subject).await;
    subject
        .until("the status tells", async |subject| {
            let status = subject.status().await;
            status[0].error.as_ref().is_some_and(|error| error.contains("QDRANT_API_KEY"))
        })
        .await;
    qdrant.state().key = None;
    subject.finds(&text, note).await;

    // Somebody drops the collection, and the alias with it.
    qdrant.state().collections.clear();
    qdrant.state().aliases.clear();
    let (text, note) = write(&subject).await;
    subject.finds(&text, note).await;
    subject.assert_right().await;
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_was_truncated_or_meddled_with_is_repaired() {
    let mut subject = Subject::in_qdrant().await;
    for number in 0..20 {
        subject.note("Call", &format!("Matters of chapter{number} were discussed.")).await;
    }
    subject.settle().await;
    subject.stop().await;
    {
        let mut state = subject.qdrant.as_ref().unwrap().state();
        let collection = state.collections.values_mut().next().unwrap();
        assert_eq!(collection.points.len(), 20, "a text each");
        let ids: Vec<String> = collection.points.keys().take(7).cloned().collect();
        for id in &ids[..5] {
            collection.points.remove(id);
        }
        let stale = collection.points.get_mut(&ids[5]).unwrap();
        stale.payload.insert("version".to_owned(), 0_i64.into());
        let strange = collection.points[&ids[6]].clone();
        let mut strange_payload = strange.clone();
        strange_payload.payload.insert("ordinal".to_owned(), 99_i64.into());
        let id = "00000000-0000-8000-8000-000000000000".to_owned();
        collection.points.insert(id, strange_payload);
    }
    let engine = subject.engine().await;
    let reports = check::check(&subject.api.db.connections, &engine).await.unwrap();
    // Five are missing, one is not the one it should be, one is too much.
    assert_eq!(reports[0].differences.len(), 5 + 2 + 1, "{reports:#?}");
    subject.start();
    subject
        .until("it is repaired", async |subject| {
            let reports = check::check(&subject.api.db.connections, &engine).await.unwrap();
            reports.iter().all(check::VectorReport::passed)
        })
        .await;
    subject.assert_right().await;
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_that_holds_as_many_points_is_repaired_while_the_server_runs() {
    let mut subject = Subject::in_qdrant().await;
    subject.stop().await;
    let often = Duration::from_millis(50);
    let upkeep = Upkeep { count: often, list: often };
    let options = VectorOptions { upkeep, ..subject.options() };
    let heads = subject.api.backend.live.heads();
    subject.vectors = Some(Vectors::start(subject.api.db.connections.clone(), options, heads));
    let note = subject.note("Call", "They asked about currency hedging.").await;
    subject.settle().await;
    let copy = |subject: &Subject| {
        let state = subject.qdrant.as_ref().unwrap().state();
        state.collections.values().next().unwrap().points.clone()
    };
    let old = copy(&subject);
    let text = json!({"raw_notes": "Succession planning among partners."});
    subject.api.put(&format!("/notes/{note}"), text).await.expect(200, "an edit");
    subject.assert_right().await;
    subject.qdrant.as_ref().unwrap().state().collections.values_mut().next().unwrap().points =
        old.clone();
    let engine = subject.engine().await;
    subject
        .until("it is repaired", async |subject| {
            let reports = check::check(&subject.api.db.connections, &engine).await.unwrap();
            reports.iter().all(check::VectorReport::passed)
        })
        .await;
    assert_eq!(copy(&subject).len(), old.len());
    subject.assert_right().await;
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_never_shows_what_it_holds_is_not_found_well() {
    let mut subject = Subject::in_qdrant().await;
    subject.note("Call", "They asked about currency hedging.").await;
    subject.settle().await;
    subject.stop().await;
    let engine = subject.engine().await;
    // As many as there may be looks and tries, each another.
    let refusals = (0..20).map(|number| format!("trouble {number}")).collect();
    subject.qdrant.as_ref().unwrap().state().refusals = refusals;
    let reports = check::check(&subject.api.db.connections, &engine).await.unwrap();
    assert!(reports.iter().all(|report| !report.passed()), "{reports:#?}");
    assert!(reports[0].differences[0].contains("trouble"), "{reports:#?}");
    // One look is enough.
    subject.qdrant.as_ref().unwrap().state().refusals.truncate(1);
    let reports = check::check(&subject.api.db.connections, &engine).await.unwrap();
    assert!(reports.iter().all(check::VectorReport::passed), "{reports:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_of_other_dimensions_is_left_alone_and_told() {
    let mut subject = Subject::in_qdrant().await;
    let note = subject.note("Call", "They asked about currency hedging.").await;
    subject.finds("currency hedging", note).await;
    subject.settle().await;
    subject.stop().await;
    let shorten = |collection: &mut Collection| collection.dimensions = 5;
    subject.qdrant.as_ref().unwrap().state().collections.values_mut().for_each(shorten);
    subject.start();
    let qdrant = subject.qdrant.as_ref().unwrap();
    subject
        .until("the status tells", async |subject| {
            let status = subject.status().await;
            status[0].error.as_ref().is_some_and(|error| error.contains("vectors of 5 numbers"))
        })
        .await;
    assert!(found(subject.meaning(), "currency hedging").await.is_err());
    let held = qdrant.state().collections.values().next().unwrap().points.len();
    assert_eq!(held, 1, "nothing of it was touched");
    // Whoever runs Qdrant removes what is in the way.
    qdrant.state().collections.clear();
    qdrant.state().aliases.clear();
    subject.finds("currency hedging", note).await;
    subject.assert_right().await;
    subject.stop().await;
}

#[tokio::test]
async fn nobody_is_promised_when_texts_are_embedded_that_nobody_embeds() {
    let mut subject = Subject::in_memory().await;
    subject.note("Call", "They asked about currency hedging of the fund.").await;
    subject.settle().await;
    assert!(subject.status().await.iter().all(|set| set.at_work));
    subject.stop().await;
    subject.note("Lunch", "Management charges are their main worry.").await;
    subject.api.backend.settle().await.unwrap();
    let [set] = &subject.status().await[..] else { panic!("one set") };
    assert!(set.rate > 0.0 && set.waiting > 0, "{set:?}");
    assert_eq!((set.at_work, set.eta_seconds), (false, None));
    let status = subject.api.read("/projections").await;
    assert_eq!(status["vectors_lack"], "there is no model in this test");

    let home = Home::new();
    let mut asking = home.crm(&["status"]);
    let said = asking.env("DATABASE_URL", address(&subject.api.db)).output().await.unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains(" to go, at which nobody is") && !said.contains("about"), "{said}");
    let lack = "NOT well: texts are not embedded; there is no embedding model";
    assert!(said.contains(lack) && said.contains("run `crm models get embed`"), "{said}");
}
