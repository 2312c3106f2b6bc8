//! A server that speaks like a language model's, and answers as a test tells it.

use std::convert::Infallible;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt as _, stream};
use projections::llm::{Llm, LlmConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// The key that the server wants.
pub const KEY: &str = "sk-very-secret";

/// Which protocol it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's.
    OpenAi,
    /// Ollama's.
    Ollama,
}

/// How it answers a question.
#[derive(Clone, Debug)]
pub enum Reply {
    /// With this text, whole.
    Text(String),
    /// With this text, and then it has no more room.
    Truncated(String),
    /// With this text, and then the connection breaks; only in a stream.
    Broken(String),
    /// With this text, and then with nothing more; without a stream with nothing at all.
    Silent(String),
    /// With the first text, and with the other one once it is told to go on; only in a stream.
    Halting(&'static str, Arc<Notify>, &'static str),
    /// With this status and these words.
    Refused(u16, &'static str),
    /// With this body, whatever was asked.
    Body(&'static str),
    /// With the way to somewhere else.
    Redirect,
}

impl Reply {
    /// A whole answer of this object.
    pub fn json(answer: &Value) -> Self {
        Reply::Text(answer.to_string())
    }
}

/// A question as it came.
#[derive(Clone, Debug)]
pub struct Question {
    /// Where.
    pub path: String,
    /// With which key.
    pub authorization: Option<String>,
    /// What.
    pub body: Value,
}

impl Question {
    /// What the user's last message says.
    pub fn last_words(&self) -> &str {
        self.body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap()
    }
}

type Replying = dyn Fn(usize, &Question) -> Reply + Send + Sync;

/// The server, for as long as the test runs.
#[derive(Clone)]
pub struct ModelServer {
    url: String,
    dialect: Dialect,
    questions: Arc<Mutex<Vec<Question>>>,
    replying: Arc<Replying>,
    /// How many more questions for its version a proxy before it answers, since it still starts.
    starting: Arc<AtomicUsize>,
}

impl ModelServer {
    /// Starts one that answers the how manieth question (from 0) so.
    pub async fn start(
        dialect: Dialect,
        replying: impl Fn(usize, &Question) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (questions, starting) = (Arc::default(), Arc::default());
        let server = Self { url, dialect, questions, replying: Arc::new(replying), starting };
        let router = Router::new().fallback(take).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// Starts one that answers every question with this text.
    pub async fn saying(text: &str) -> Self {
        let text = text.to_owned();
        Self::start(Dialect::OpenAi, move |_, _| Reply::Text(text.clone())).await
    }

    /// So many questions for its version are answered by a proxy, in vain.
    pub fn still_starts(&self, times: usize) {
        self.starting.store(times, Relaxed);
    }

    /// What it was asked.
    pub fn questions(&self) -> Vec<Question> {
        self.questions.lock().unwrap().clone()
    }

    /// How it is reached.
    pub fn config(&self) -> LlmConfig {
        LlmConfig {
            url: self.url.clone(),
            model: "test-model".to_owned(),
            key: Some(KEY.to_owned()),
            context: 8192,
            patience: Duration::from_secs(30),
        }
    }

    /// The model behind it.
    pub fn llm(&self) -> Llm {
        Llm::new(&self.config()).unwrap()
    }

    fn answer(&self, reply: Reply, streams: bool) -> Response {
        match reply {
            Reply::Refused(status, said) => {
                let status = StatusCode::from_u16(status).unwrap();
                let retry = [(header::RETRY_AFTER, "7")];
                (status, retry, json!({"error": {"message": said}}).to_string()).into_response()
            }
            Reply::Body(body) => body.into_response(),
            Reply::Redirect => {
                (StatusCode::FOUND, [(header::LOCATION, "http://127.0.0.1:1/")]).into_response()
            }
            Reply::Silent(_) if !streams => {
                Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()).into_response()
            }
            Reply::Text(text)
            | Reply::Truncated(text)
            | Reply::Broken(text)
            | Reply::Silent(text)
                if !streams =>
            {
                self.whole(&text, "stop").into_response()
            }
            reply => self.streamed(&reply),
        }
    }

    fn whole(&self, text: &str, reason: &str) -> String {
        let message = json!({"role": "assistant", "content": text});
        match self.dialect {
            Dialect::OpenAi => {
                json!({"choices": [{"index": 0, "message": message, "finish_reason": reason}]})
            }
            Dialect::Ollama => json!({"message": message, "done": true, "done_reason": reason}),
        }
        .to_string()
    }

    fn streamed(&self, reply: &Reply) -> Response {
        if let Reply::Halting(first, go_on, rest) = reply {
            let (first, rest) = (self.pieces(first), self.pieces(rest));
            let rest = rest.into_iter().chain([self.piece("", Some("stop"))]).collect();
            let go_on = go_on.clone();
            let rest = stream::once(async move {
                go_on.notified().await;
                told(rest)
            })
            .flatten();
            return Body::from_stream(told(first).chain(rest)).into_response();
        }
        let (text, reason) = match reply {
            Reply::Truncated(text) => (text, Some("length")),
            Reply::Text(text) => (text, Some("stop")),
            Reply::Broken(text) | Reply::Silent(text) => (text, None),
            other => panic!("{other:?} is no stream"),
        };
        let mut pieces = self.pieces(text);
        pieces.extend(reason.map(|reason| self.piece("", Some(reason))));
        let told = told(pieces);
        match reply {
            Reply::Broken(_) => {
                let broken = stream::iter([Err(std::io::Error::other("broken"))]);
                Body::from_stream(told.chain(broken)).into_response()
            }
            Reply::Silent(_) => Body::from_stream(told.chain(stream::pending())).into_response(),
            _ => Body::from_stream(told).into_response(),
        }
    }

    /// A few letters at a time, so that no piece is a sentence.
    fn pieces(&self, text: &str) -> Vec<String> {
        let letters: Vec<char> = text.chars().collect();
        let text = |piece: &[char]| self.piece(&piece.iter().collect::<String>(), None);
        letters.chunks(3).map(text).collect()
    }

    fn piece(&self, text: &str, reason: Option<&str>) -> String {
        match self.dialect {
            Dialect::OpenAi => {
                let choice =
                    json!({"index": 0, "delta": {"content": text}, "finish_reason": reason});
                format!("data: {}\n\n", json!({"choices": [choice]}))
            }
            Dialect::Ollama => {
                let line = json!({"message": {"role": "assistant", "content": text}, "done": reason.is_some(), "done_reason": reason});
                format!("{line}\n")
            }
        }
    }
}

fn told(pieces: Vec<String>) -> impl Stream<Item = std::io::Result<Bytes>> {
    stream::iter(pieces).map(|piece| Ok(Bytes::from(piece)))
}

async fn take(
    State(server): State<ModelServer>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (chat, version) = match server.dialect {
        Dialect::OpenAi => ("/v1/chat/completions", None),
        Dialect::Ollama => ("/api/chat", Some("/api/version")),
    };
    if method == Method::GET && uri.path() == "/api/version" {
        let one_less = |times: usize| times.checked_sub(1);
        if server.starting.fetch_update(Relaxed, Relaxed, one_less).is_ok() {
            return StatusCode::BAD_GATEWAY.into_response();
        }
    }
    if method == Method::GET && Some(uri.path()) == version {
        return json!({"version": "0.6.2"}).to_string().into_response();
    }
    if method != Method::POST || uri.path() != chat {
        return StatusCode::NOT_FOUND.into_response();
    }
    let authorization =
        headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    if authorization.as_deref() != Some(&format!("Bearer {KEY}")) {
        // As careless as some servers are.
        let said = format!("Incorrect API key provided: {}", authorization.unwrap_or_default());
        return (StatusCode::UNAUTHORIZED, json!({"error": {"message": said}}).to_string())
            .into_response();
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    let streams = body["stream"] == true;
    let question = Question { path: uri.path().to_owned(), authorization, body };
    let number = {
        let mut questions = server.questions.lock().unwrap();
        questions.push(question.clone());
        questions.len() - 1
    };
    let reply = (server.replying)(number, &question);
    match (&reply, streams) {
        (Reply::Truncated(text), false) => server.whole(text, "length").into_response(),
        _ => server.answer(reply, streams),
    }
}
