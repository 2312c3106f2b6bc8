//! An embeddings server for tests: a text's vector is made of its words, so that texts with the same words are near.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use projections::search::encoder::{Server, Source};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The length of its vectors.
pub const DIMENSIONS: usize = 64;

/// A running server, which stops when it is dropped.
pub struct Embeddings {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

/// What it has been asked, and how it is to behave.
#[derive(Default)]
pub struct State {
    /// How often it was asked for each text, with the prefix that it came with.
    pub asked: BTreeMap<String, usize>,
    /// Answers nothing but this, if it is set.
    pub fails: Option<StatusCode>,
    /// Fails whenever it is asked for a text that has this in it.
    pub fails_at: Option<String>,
    /// The only model that it has; all, if it is not set.
    pub model: Option<String>,
    /// How often each model was asked for.
    pub models: BTreeMap<String, usize>,
    /// How long it takes for an answer.
    pub pause: Duration,
    /// The key that it asks for.
    pub key: Option<String>,
}

impl State {
    /// How many texts it was asked for that have this in them.
    pub fn texts_with(&self, what: &str) -> usize {
        self.asked.iter().filter(|(text, _)| text.contains(what)).map(|(_, times)| times).sum()
    }
}

impl Embeddings {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let router = Router::new().route("/v1/embeddings", post(embed)).with_state(state.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, state, task }
    }

    /// Its address, as EMBED_URL has it.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// How the product reaches it.
    pub fn source(&self, model: &str) -> Source {
        let key = self.state().key.clone();
        Source::Server(Server { url: self.url(), model: model.to_owned(), key })
    }

    /// What it has seen.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Embeddings {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn embed(
    Shared(state): Shared<Arc<Mutex<State>>>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> Result<Json<Value>, StatusCode> {
    let pause = state.lock().unwrap().pause;
    tokio::time::sleep(pause).await;
    let mut state = state.lock().unwrap();
    if let Some(failure) = state.fails {
        return Err(failure);
    }
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    let wanted = state.key.as_ref().map(|key| format!("Bearer {key}"));
    if wanted.is_some() && wanted.as_deref() != given {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let texts = request["input"].as_array().ok_or(StatusCode::BAD_REQUEST)?;
    let model = request["model"].as_str().ok_or(StatusCode::BAD_REQUEST)?;
    if state.model.as_deref().is_some_and(|only| only != model) {
        return Err(StatusCode::NOT_FOUND);
    }
    *state.models.entry(model.to_owned()).or_default() += 1;
    let fails = |what: &str| texts.iter().filter_map(Value::as_str).any(|it| it.contains(what));
    if state.fails_at.as_deref().is_some_and(fails) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let mut data = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let text = text.as_str().ok_or(StatusCode::BAD_REQUEST)?;
        *state.asked.entry(text.to_owned()).or_default() += 1;
        data.push(json!({"index": index, "embedding": vector(text)}));
    }
    Ok(Json(json!({"object": "list", "data": data, "model": request["model"]})))
}

/// Each word points in one of the directions, by its letters.
fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0.01; DIMENSIONS];
    for word in
        text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 3)
    {
        let hash =
            word.bytes().fold(5381_usize, |hash, byte| hash.wrapping_mul(33) ^ usize::from(byte));
        vector[hash % DIMENSIONS] += 1.0;
    }
    vector
}
