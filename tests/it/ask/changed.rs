//! What is changed, deleted or erased while an answer is written does not stand in it.

use std::sync::Arc;

use axum::body::BodyDataStream;
use axum::http::Method;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tower::ServiceExt as _;

use super::{asked, question};
use crate::contract::{Api, json_request};
use crate::llm_server::{Dialect, ModelServer, Reply};
use crate::search::until;

const QUESTION: &str = "Who asked about hedging the peso?";

/// Of the note that is changed.
const FIRST: &str = "They hedge the peso. [1] The ticket is";

/// Of that note, of both, and of the other one.
const REST: &str = " 50 million. [1] Afore XXI asked about hedging the peso. [1][2] Afore XXI asked about hedging. [2]";

/// A model that halts in its answer until it is told to go on.
async fn halting() -> (ModelServer, Arc<Notify>) {
    let go_on = Arc::<Notify>::default();
    let halt = go_on.clone();
    let reply = move |_, _: &_| Reply::Halting(FIRST, halt.clone(), REST);
    (ModelServer::start(Dialect::OpenAi, reply).await, go_on)
}

/// The product with notes about an organisation that only one of them names.
async fn with_notes(server: &ModelServer) -> Api {
    let api = super::with_notes(server).await;
    for note in api.ids("/notes").await {
        api.post(&format!("/notes/{note}/lps/1"), json!({})).await.expect(200, "link");
    }
    api
}

/// The note that is the first source.
async fn first_note(api: &Api) -> i64 {
    let page = api.read("/search?q=ticket&kinds=note").await;
    page["hits"][0]["id"].as_i64().unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Delete,
    Erase,
    Edit,
    Rename,
    DeleteLp,
}

impl Change {
    async fn make(self, api: &Api) {
        let note = format!("/notes/{}", first_note(api).await);
        let answer = match self {
            Change::Delete => api.delete(&note).await,
            Change::Erase => api.post(&format!("{note}/erase"), json!({"reason": "case 17"})).await,
            Change::Edit => api.put(&note, json!({"raw_notes": "Nothing of that."})).await,
            Change::Rename => api.put(&note, json!({"name": "Call"})).await,
            Change::DeleteLp => api.delete("/lps/1").await,
        };
        answer.expect(200, &format!("{self:?}"));
    }
}

/// The answer to a question while which this was changed.
async fn answered(change: Change) -> Value {
    let (server, go_on) = halting().await;
    let api = with_notes(&server).await;
    let changing = async {
        until("the model is asked", async || !server.questions().is_empty()).await;
        change.make(&api).await;
        go_on.notify_one();
    };
    let body = json!({"question": QUESTION, "kinds": ["note"]});
    let (answer, ()) = tokio::join!(asked(&api, body), changing);
    answer.expect(200, "ask")
}

#[tokio::test]
async fn an_answer_has_nothing_of_what_was_changed_while_it_was_written() {
    for change in [Change::Delete, Change::Erase, Change::Edit, Change::Rename] {
        let answer = answered(change).await;
        assert_eq!(
            answer["answer"], "Afore XXI asked about hedging. [2]",
            "{change:?}: {answer:#}"
        );
        assert_eq!((&answer["outcome"], &answer["left_out"]), (&json!("answered"), &json!(3)));
        assert_eq!(answer["changed"], json!([1]));
        let sources = answer["sources"].as_array().unwrap();
        assert_eq!(sources.iter().map(|source| &source["n"]).collect::<Vec<_>>(), [2]);
        assert!(!answer.to_string().contains("50 million"), "{change:?}: {answer:#}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains("changed or removed while the answer was written"), "{message}");
    }
}

#[tokio::test]
async fn an_answer_of_whose_sources_none_stands_is_refused() {
    // Both notes are about it.
    let answer = answered(Change::DeleteLp).await;
    assert_eq!(
        (&answer["outcome"], &answer["answer"], &answer["sources"], &answer["changed"]),
        (&json!("not_supported"), &json!(""), &json!([]), &json!([1, 2])),
        "{answer:#}"
    );
    assert!(!answer.to_string().contains("Afore"), "{answer:#}");
}

/// Reads a stream until this stands in it, or to its end.
async fn read_to(body: &mut BodyDataStream, what: &str) -> String {
    let mut text = String::new();
    while !text.contains(what) {
        let Some(piece) = body.next().await else { break };
        text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
    text
}

#[tokio::test]
async fn no_sentence_of_a_stream_cites_what_was_changed_before_it() {
    for change in [Change::Delete, Change::Erase, Change::Edit] {
        let (server, go_on) = halting().await;
        let api = with_notes(&server).await;
        let mut request = json_request(Method::POST, "/ask", &question(QUESTION));
        request.headers_mut().insert("accept", "text/event-stream".parse().unwrap());
        let response = api.router.clone().oneshot(request).await.unwrap();
        let mut body = response.into_body().into_data_stream();
        let before = read_to(&mut body, "event: sentence").await;
        assert!(before.contains("They hedge the peso."), "{before}");
        change.make(&api).await;
        go_on.notify_one();
        let after = read_to(&mut body, "event: none").await;
        let told = after.lines().filter_map(|line| line.strip_prefix("data: "));
        let told: Vec<Value> = told.map(|data| serde_json::from_str(data).unwrap()).collect();
        assert_eq!(told[0], json!({"text": "Afore XXI asked about hedging.", "sources": [2]}));
        assert_eq!(told.len(), 2, "{after}");
        let (done, left_out) = (&told[1], json!(2));
        assert_eq!((&done["changed"], &done["left_out"]), (&json!([1]), &left_out), "{change:?}");
    }
}
