//! When the model changes, and when texts are not embedded yet: no answer is made of a part without saying so.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Method;
use domain::Kind;
use projections::search::Search;
use projections::search::check;
use projections::search::encoder::Source;
use projections::search::vectors::{VectorOptions, Vectors};
use serde_json::{Value, json};

use super::subject::{PATIENCE, Subject};
use crate::contract::{app, ask, request};
use crate::embeddings::Embeddings;
use crate::qdrant::{Collection, Server as Qdrant};
use crate::server::{Home, Server};

/// A word that a server can be told to fail at: the texts that have it are not embedded until it is told otherwise.
const HEAVY: &str = "cumbersome";

impl Subject {
    /// As a server that was started with this model.
    pub(super) async fn restart_with(&mut self, source: Source) {
        self.stop().await;
        let options = VectorOptions { source, ..self.options() };
        let heads = self.api.backend.live.heads();
        let vectors = Vectors::start(self.api.db.connections.clone(), options, heads);
        let search = Search::new(self.api.db.connections.clone(), vectors.meaning().clone());
        let app = app(&self.api.db, &self.api.backend, 64 << 20);
        self.api.router = api::server::router(api::app::Parts { search, ..app });
        self.vectors = Some(vectors);
    }

    pub(super) async fn search(&self, rest: &str) -> Value {
        self.api.read(&format!("/search?q=currency+hedging&kinds=note{rest}")).await
    }

    async fn states(&self) -> Vec<(String, String)> {
        let sets = self.status().await.into_iter();
        sets.map(|set| (set.model.split(':').next().unwrap().to_owned(), set.state)).collect()
    }
}

fn states(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(model, state)| ((*model).to_owned(), (*state).to_owned())).collect()
}

/// A question of a whole set stays one of a whole set, also of what is written meanwhile, until the new one is whole.
async fn model_changes(mut subject: Subject) {
    let hedging = subject.note("Call", "They asked about currency hedging.").await;
    subject.note("Lunch", &format!("The {HEAVY} matters of the fund.")).await;
    subject.finds("currency hedging", hedging).await;
    subject.settle().await;

    subject.embeddings.state().fails_at = Some(HEAVY.to_owned());
    subject.restart_with(subject.embeddings.source("other-words")).await;
    subject.finds("currency hedging", hedging).await;
    let both = states(&[("words", "live"), ("other-words", "building")]);
    subject.until("the new set is begun", async |it| it.states().await == both).await;
    let page = subject.search("").await;
    assert_eq!((&page["mode"], &page["missing"]), (&json!("hybrid"), &Value::Null));
    assert_eq!(page["hits"][0]["why"], json!(["word", "meaning"]));
    let like = format!("/notes/{hedging}/similar");
    assert_eq!(subject.api.read(&like).await["hits"].as_array().unwrap().len(), 1);

    let later = subject.note("Later", "Succession planning among partners.").await;
    subject.finds("succession planning partners", later).await;
    assert_eq!(subject.states().await, both, "all of this was by the old set");

    subject.embeddings.state().fails_at = None;
    subject
        .until("the new set answers", async |it| {
            it.states().await.contains(&("other-words".to_owned(), "live".to_owned()))
        })
        .await;
    subject.finds("succession planning partners", later).await;
    // The old model is let go: nobody asks it any more.
    let number = std::sync::atomic::AtomicUsize::new(0);
    subject
        .until("the old model is no longer asked", async |it| {
            let asked = it.embeddings.state().models["words"];
            let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            it.found(&format!("hedging {number}")).await;
            it.embeddings.state().models["words"] == asked
        })
        .await;
    subject.finds("currency hedging", hedging).await;
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_new_model_embeds_all_texts_the_one_before_answers() {
    model_changes(Subject::in_memory().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_new_model_embeds_all_texts_the_one_before_answers_from_qdrant() {
    model_changes(Subject::in_qdrant().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn until_the_texts_are_embedded_a_search_says_so_and_goes_by_word() {
    let mut subject = Subject::in_memory().await;
    let hedging = subject.note("Call", "They asked about currency hedging.").await;
    subject.note("Lunch", &format!("The {HEAVY} matters of the fund.")).await;
    subject.finds("currency hedging", hedging).await;
    subject.settle().await;

    // The model before cannot be had there.
    let other = Embeddings::start().await;
    other.state().model = Some("other-words".to_owned());
    other.state().fails_at = Some(HEAVY.to_owned());
    subject.restart_with(other.source("other-words")).await;
    subject
        .until("it says so", async |it| {
            let missing = it.search("").await["missing"].clone();
            missing.as_str().is_some_and(|missing| missing.contains("0 of 2 so far"))
        })
        .await;
    let page = subject.search("").await;
    assert_eq!((&page["mode"], &page["hits"][0]["why"]), (&json!("lexical"), &json!(["word"])));
    for uri in ["/search?q=hedging&mode=semantic".to_owned(), format!("/notes/{hedging}/similar")] {
        let answer =
            ask(&subject.api.router, request(Method::GET, &uri).body(Body::empty()).unwrap());
        let said = answer.await.expect(503, &uri)["detail"].to_string();
        assert!(said.contains("being embedded"), "{said}");
    }
    other.state().fails_at = None;
    subject
        .until("all are embedded", async |it| {
            let page = it.search("").await;
            page["mode"] == "hybrid" && page["missing"].is_null()
        })
        .await;
    assert_eq!(subject.found("currency hedging").await[0], Kind::Note.record(hedging));
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_that_is_far_behind_answers_and_says_what_it_lacks() {
    let mut subject = Subject::in_memory().await;
    subject.restart_with(subject.embeddings.source("words")).await;
    let hedging = subject.note("Call", "They asked about currency hedging.").await;
    subject.finds("currency hedging", hedging).await;
    subject.settle().await;
    subject.embeddings.state().fails_at = Some(HEAVY.to_owned());
    let heavy = subject.note("Lunch", &format!("The {HEAVY} matters.")).await;
    let like = subject.api.read(&format!("/notes/{heavy}/similar")).await;
    assert_eq!(like["hits"], json!([]));
    let missing = like["missing"].as_str().unwrap_or_default();
    assert!(missing.contains("not embedded yet"), "{like}");
    for number in 1..110 {
        subject.note("Lunch", &format!("The {HEAVY} matters of chapter{number}.")).await;
    }
    for mode in ["hybrid", "semantic"] {
        subject
            .until("it says so", async |it| {
                let page = it.search(&format!("&mode={mode}")).await;
                let missing = page["missing"].as_str().unwrap_or_default().to_owned();
                page["mode"] == mode
                    && missing.contains("110 of 111 texts are not found by meaning")
            })
            .await;
    }
    assert_eq!(subject.search("").await["hits"][0]["why"], json!(["word", "meaning"]));
    subject.embeddings.state().fails_at = None;
    subject.settle().await;
    subject.until("nothing is missing", async |it| it.search("").await["missing"].is_null()).await;
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_qdrant_is_gone_or_hangs_a_search_says_so_and_goes_by_word() {
    let mut subject = Subject::in_qdrant().await;
    subject.restart_with(subject.embeddings.source("words")).await;
    let hedging = subject.note("Call", "They asked about currency hedging.").await;
    subject.finds("currency hedging", hedging).await;
    let qdrant = subject.qdrant.as_ref().unwrap();
    let goes_by_word = async || {
        let page = subject.search("").await;
        assert_eq!(page["mode"], json!("lexical"), "{page}");
        assert!(page["missing"].as_str().is_some_and(|missing| !missing.is_empty()), "{page}");
        assert_eq!(page["hits"][0]["id"], json!(hedging));
    };
    qdrant.hang(true);
    goes_by_word().await;
    qdrant.hang(false);
    subject.finds("currency hedging", hedging).await;
    qdrant.stop();
    goes_by_word().await;
    qdrant.resume().await;
    subject
        .until("it goes by meaning again", async |it| it.search("").await["mode"] == "hybrid")
        .await;
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_wants_an_engine_to_hold_what_it_is_told_of_and_not_the_vectors_of_a_model_before()
{
    let mut subject = Subject::in_memory().await;
    let note = subject.note("Call", "They asked about currency hedging.").await;
    subject.finds("currency hedging", note).await;
    subject.settle().await;
    // Qdrant comes with a model, on a server where the one before cannot be had.
    subject.stop().await;
    subject.qdrant = Some(Qdrant::start().await);
    let other = Embeddings::start().await;
    other.state().model = Some("other-words".to_owned());
    subject.restart_with(other.source("other-words")).await;
    subject
        .until("both models have a live set", async |it| {
            it.states().await == states(&[("words", "live"), ("other-words", "live")])
        })
        .await;
    subject.finds("currency hedging", note).await;
    subject.stop().await;
    let check = async |subject: &Subject| -> Vec<(String, bool)> {
        let engine = subject.engine().await;
        let reports = check::check(&subject.api.db.connections, &engine).await.unwrap();
        reports.iter().map(|report| (report.engine.clone(), report.passed())).collect()
    };
    let reports = |of_new: bool| [("none".to_owned(), true), ("qdrant".to_owned(), of_new)];
    assert_eq!(check(&subject).await, reports(true));
    let lose = |collection: &mut Collection| collection.points.clear();
    subject.qdrant.as_ref().unwrap().state().collections.values_mut().for_each(lose);
    assert_eq!(check(&subject).await, reports(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_model_that_nobody_uses_any_more_qdrant_keeps_nothing() {
    let mut subject = Subject::in_qdrant().await;
    let kept = subject.note("Kept", "They asked about currency hedging.").await;
    let erased = subject.note("Erased", "Whispered confidences of the fund.").await;
    let deleted = subject.note("Deleted", "Management charges of the fund.").await;
    subject.finds("currency hedging", kept).await;
    subject.settle().await;
    subject.restart_with(subject.embeddings.source("other-words")).await;
    let is_live = ("other-words".to_owned(), "live".to_owned());
    subject.until("the new set answers", async |it| it.states().await.contains(&is_live)).await;
    // Without the bridge from the model before.
    subject.restart_with(subject.embeddings.source("other-words")).await;
    subject.finds("currency hedging", kept).await;
    let path = format!("/notes/{erased}/erase");
    subject.api.post(&path, json!({"reason": "asked"})).await.expect(200, "erase");
    subject.api.delete(&format!("/notes/{deleted}")).await.expect(200, "delete");
    let held = |subject: &Subject| -> Vec<usize> {
        let state = subject.qdrant.as_ref().unwrap().state();
        state.collections.values().map(|collection| collection.points.len()).collect()
    };
    subject.until("both collections have what was kept alone", async |it| held(it) == [1, 1]).await;

    sqlx::query(
        "update vector_set set heard_at = now() - interval '2 days'
         from embedding_model m where m.id = model and m.name like 'words%'",
    )
    .execute(subject.pool())
    .await
    .unwrap();
    subject.restart_with(subject.embeddings.source("other-words")).await;
    subject.until("the old collection is gone", async |it| held(it) == [1]).await;
    subject
        .until("nothing is known of the old model's vectors", async |it| {
            let left: (i64, i64) = sqlx::query_as(
                "select (select count(*) from vector_set), (select count(*) from embedding)",
            )
            .fetch_one(it.pool())
            .await
            .unwrap();
            left == (1, 1)
        })
        .await;
    subject.finds("currency hedging", kept).await;
    subject.stop().await;
}

/// How the sets of a server stand: the model of each, its state, and whether it has everything.
async fn sets(server: &Server) -> Vec<(String, String, bool)> {
    let answer = reqwest::get(format!("{}/projections", server.url)).await.unwrap();
    let all: Value = answer.json().await.unwrap();
    let set = |set: &Value| {
        let is_whole = set["position"] == all["head"] && set["untold"] == 0;
        let model = set["model"].as_str().unwrap().split(':').next().unwrap().to_owned();
        (model, set["state"].as_str().unwrap().to_owned(), is_whole)
    };
    all["vectors"].as_array().unwrap().iter().map(set).collect()
}

async fn until_live(server: &Server, model: &str) {
    let started = Instant::now();
    while !sets(server).await.contains(&(model.to_owned(), "live".to_owned(), true)) {
        assert!(started.elapsed() < PATIENCE, "{:?}", sets(server).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_while_a_new_model_embeds_goes_on_where_it_was() {
    const NOTES: usize = 400;
    const KILLS: usize = 4;
    let (home, embeddings) = (Home::new(), Embeddings::start().await);
    let url = embeddings.url();
    let with = |model: &'static str| [("EMBED_URL", url.clone()), ("EMBED_NAME", model.to_owned())];
    let start = async |model: &'static str| {
        let settings = with(model);
        let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
        Server::start_with(&home, &[], &settings).await
    };
    let server = start("words").await;
    let client = reqwest::Client::new();
    for number in 0..NOTES {
        let text = format!("Currency hedging was chapter{number} of the meeting.");
        let note = json!({"name": format!("Call {number}"), "raw_notes": text});
        client.post(format!("{}/notes", server.url)).json(&note).send().await.unwrap();
    }
    until_live(&server, "words").await;
    server.kill().await;

    embeddings.state().asked.clear();
    // So slow that a kill comes before the next texts are answered for.
    embeddings.state().pause = Duration::from_millis(150);
    let embedded = || embeddings.state().texts_with("chapter");
    for kill in 0..KILLS {
        let before = embedded();
        let server = start("other-words").await;
        let started = Instant::now();
        while embedded() == before {
            assert!(started.elapsed() < PATIENCE, "nothing is embedded before kill {kill}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // What answers meanwhile is whole, or it says what it is not.
        let page = format!("{}/search?q=currency+hedging&kinds=note&limit=50", server.url);
        let page: Value = reqwest::get(page).await.unwrap().json().await.unwrap();
        let hits = page["hits"].as_array().unwrap();
        assert!(hits.len() == 50 || !page["missing"].is_null(), "{page}");
        server.kill().await;
        assert!(embedded() < NOTES, "nothing was left to be done after kill {kill}");
    }
    embeddings.state().pause = Duration::ZERO;
    let server = start("other-words").await;
    until_live(&server, "other-words").await;
    let settings = with("other-words");
    let mut verify = home.crm(&["verify", "vectors", "--json"]);
    let verified = verify.envs(settings).output().await.unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    // Of what was asked for, a kill costs no more than what was on its way.
    let chapters = embedded();
    assert!((NOTES..=NOTES + KILLS * 32).contains(&chapters), "{chapters} texts were embedded");
    assert!(server.stop().await);
}
