//! Servers that take a question and never answer it: one search finds out, and nobody waits after it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Method;
use projections::search::check;
use projections::search::engine::qdrant::Address;
use projections::search::vectors::VectorOptions;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::subject::Subject;
use crate::contract::{ask, request};

/// How long a search may take that waits for nobody.
const AT_ONCE: Duration = Duration::from_millis(500);

/// How long stopping may take that waits for nobody.
const SOON: Duration = Duration::from_secs(10);

/// A server that takes connections and says nothing on them.
struct Mute {
    address: SocketAddr,
    taken: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Mute {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (took, taken) = watch::channel(0);
        let task = tokio::spawn(async move {
            let mut connections = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.push(connection);
                took.send_replace(connections.len());
            }
        });
        Self { address, taken, task }
    }

    /// Where somebody would look for a Qdrant there.
    fn qdrant(&self, scheme: &str) -> Address {
        Address { url: format!("{scheme}://{}", self.address), key: None }
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Subject {
    /// What a question finds that was not asked before.
    async fn asked_anew(&self, number: usize) -> Value {
        self.api.read(&format!("/search?q=currency+hedging+matter{number}")).await
    }
}

/// How long the quickest of some takes: others have the machine too.
async fn quickest(mut asking: impl AsyncFnMut(usize)) -> Duration {
    let mut times = Vec::new();
    for number in 0..5 {
        let started = Instant::now();
        asking(number).await;
        times.push(started.elapsed());
    }
    times.into_iter().min().unwrap()
}

async fn assert_goes_by_word_at_once(subject: &Subject, note: i64, said: &str) {
    let first = Instant::now();
    let time = quickest(async |number| {
        let page = subject.asked_anew(number).await;
        assert_eq!((&page["mode"], &page["hits"][0]["id"]), (&json!("lexical"), &json!(note)));
        assert!(page["missing"].as_str().unwrap().contains(said), "{page}");
    })
    .await;
    assert!(time < AT_ONCE, "{time:?}; with the first {:?}", first.elapsed());
}

async fn until_it_goes_by_meaning(subject: &Subject) {
    subject
        .until("it goes by meaning again", async |it| it.asked_anew(99).await["mode"] == "hybrid")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qdrant_that_hangs_is_waited_for_once_and_answers_again_when_it_can() {
    let mut subject = Subject::in_qdrant().await;
    subject.restart_with(subject.embeddings.source("words")).await;
    let note = subject.note("Call", "They asked about currency hedging.").await;
    subject.finds("currency hedging", note).await;
    subject.settle().await;
    subject.qdrant.as_ref().unwrap().hang(true);
    assert_goes_by_word_at_once(&subject, note, "vector engine does not answer").await;
    let uri = format!("/notes/{note}/similar");
    let time = quickest(async |_| {
        let request = request(Method::GET, &uri).body(Body::empty()).unwrap();
        ask(&subject.api.router, request).await.expect(503, &uri);
    });
    let time = time.await;
    assert!(time < AT_ONCE, "{time:?}");
    subject.qdrant.as_ref().unwrap().hang(false);
    until_it_goes_by_meaning(&subject).await;
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embeddings_server_that_hangs_is_waited_for_once_and_answers_again_when_it_can() {
    let mut subject = Subject::in_memory().await;
    subject.restart_with(subject.embeddings.source("words")).await;
    let note = subject.note("Call", "They asked about currency hedging.").await;
    subject.finds("currency hedging", note).await;
    subject.settle().await;
    subject.embeddings.state().pause = Duration::from_secs(3600);
    assert_goes_by_word_at_once(&subject, note, "EMBED_URL does not answer: it took too long")
        .await;
    subject.embeddings.state().pause = Duration::ZERO;
    until_it_goes_by_meaning(&subject).await;
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_goes_on_as_the_one_before_was_searched_or_not_at_all() {
    let mut subject = Subject::in_qdrant().await;
    subject.restart_with(subject.embeddings.source("words")).await;
    for n in 0..12 {
        subject.note(&format!("Call {n}"), &format!("The currency hedging of chapter{n}.")).await;
    }
    subject.settle().await;
    let ids = |page: &Value| -> Vec<i64> {
        page["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_i64().unwrap()).collect()
    };
    let after = |page: &Value| format!("&limit=5&cursor={}", page["next"].as_str().unwrap());
    let is_hybrid = async |it: &Subject| it.search("&limit=5").await["mode"] == "hybrid";
    subject.until("it goes by meaning", is_hybrid).await;
    let by_meaning = subject.search("&limit=5").await;
    let qdrant = subject.qdrant.as_ref().unwrap();
    qdrant.hang(true);

    let uri = format!("/search?q=currency+hedging&kinds=note{}", after(&by_meaning));
    let refused =
        ask(&subject.api.router, request(Method::GET, &uri).body(Body::empty()).unwrap()).await;
    assert_eq!(refused.headers["retry-after"], "1");
    let said = refused.expect(503, &uri)["detail"].as_str().unwrap().to_owned();
    assert!(said.contains("does not answer") && said.contains("without `cursor`"), "{said}");

    // Pages by word stay so when meaning answers again.
    let mut by_word = subject.search("&limit=5").await;
    assert_eq!(by_word["mode"], "lexical");
    qdrant.hang(false);
    subject.until("it goes by meaning again", is_hybrid).await;
    let mut all = ids(&by_word);
    while by_word["next"].is_string() {
        by_word = subject.search(&after(&by_word)).await;
        assert_eq!(by_word["mode"], "lexical");
        assert!(by_word["missing"].as_str().unwrap().contains("by word alone"), "{by_word}");
        all.extend(ids(&by_word));
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 12);
    let next = subject.search(&after(&by_meaning)).await;
    assert_eq!((&next["mode"], ids(&next).len()), (&json!("hybrid"), 5));
    assert!(ids(&next).iter().all(|id| !ids(&by_meaning).contains(id)));
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qdrant_that_never_finishes_a_handshake_is_told_in_the_status() {
    let mut subject = Subject::in_qdrant().await;
    subject.note("Call", "They asked about currency hedging.").await;
    subject.settle().await;
    subject.stop().await;
    let mute = Mute::start().await;
    let options = VectorOptions { qdrant: Some(mute.qdrant("https")), ..subject.options() };
    let vectors = subject.another_with(options);
    subject
        .until("the status tells", async |it| {
            it.status().await[0].error.as_ref().is_some_and(|it| it.contains("does not answer"))
        })
        .await;
    vectors.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_does_not_wait_for_the_handshake_of_a_qdrant() {
    let subject = Subject::in_memory().await;
    let mut mute = Mute::start().await;
    let options = VectorOptions { qdrant: Some(mute.qdrant("https")), ..subject.options() };
    let vectors = subject.another_with(options);
    mute.taken.wait_for(|taken| *taken > 0).await.unwrap();
    tokio::time::timeout(SOON, vectors.stop()).await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_gives_a_qdrant_that_says_nothing_up_soon() {
    let mut subject = Subject::in_qdrant().await;
    subject.note("Call", "They asked about currency hedging.").await;
    subject.settle().await;
    let mute = Mute::start().await;
    let checked = async |scheme: &str| {
        let engine = subject.engine_at(Some(mute.qdrant(scheme))).await;
        let checking = check::check(&subject.api.db.connections, &engine);
        let reports = tokio::time::timeout(Duration::from_secs(20), checking).await;
        let reports = reports.expect(scheme).unwrap();
        let said = reports[0].differences.join("; ");
        assert!(reports.len() == 1 && said.contains("does not answer"), "{reports:#?}");
    };
    tokio::join!(checked("http"), checked("https"));
    subject.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_for_how_long_a_batch_is_waited_for_and_who_stops_does_not_wait() {
    let mut subject = Subject::in_memory().await;
    subject.note("Call", "They asked about currency hedging.").await;
    subject.settle().await;
    let is_late = async |it: &Subject| {
        it.status().await[0].error.as_ref().is_some_and(|it| it.contains("has not answered yet"))
    };
    subject.embeddings.state().pause = Duration::from_secs(8);
    subject.note("Later", "Succession planning among partners.").await;
    subject.until("the status tells", is_late).await;
    subject.settle().await;
    assert_eq!(subject.status().await[0].error, None);
    subject.embeddings.state().pause = Duration::from_secs(3600);
    subject.note("Last", "Management charges are their main worry.").await;
    subject.until("the status tells again", is_late).await;
    tokio::time::timeout(SOON, subject.stop()).await.expect("it stops");
}
