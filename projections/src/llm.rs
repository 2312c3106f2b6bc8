//! Asks a language model: any server that speaks OpenAI's chat protocol, and Ollama in its own.
//!
//! Ollama's OpenAI-compatible paths ignore how long the context is to be and silently cut what is longer, so crm finds out
//! once whether it talks to Ollama (`GET /api/version`) and then asks at `/api/chat`. Other servers differ in what they
//! support: what one refuses by name (schemas, `max_tokens`, `temperature`, `think`) it is not asked for again.
//!
//! Nothing here retries or waits: whoever asks decides by [`LlmError::is_transient`] whether to ask again. The key is
//! neither shown nor logged, and masked where a server quotes it.

mod error;
mod fence;
mod lines;
mod manner;
mod place;
mod thinking;
mod wire;
mod writing;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response};
use serde::Serialize;
use tokio::sync::OnceCell;

pub use error::LlmError;
pub use fence::{Fence, harmless};

use manner::Manners;
use place::Place;
use thinking::Thinking;
use wire::Dialect;
use writing::Writing;

/// Requests to the model, by outcome.
pub const ASKED: &str = "crm_llm_requests_total";
/// How long the model takes for an answer.
pub const ANSWER_SECONDS: &str = "crm_llm_request_duration_seconds";

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a server may take to say whether it is Ollama.
const RECOGNISE: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// The longest reason of a server that is passed on, in characters.
const LONGEST_REASON: usize = 200;

/// Where the model is and how it is asked.
#[derive(Clone)]
pub struct LlmConfig {
    /// Base URL of the server, with or without `/v1`.
    pub url: String,
    /// Name of the model there.
    pub model: String,
    /// Key for the server.
    pub key: Option<String>,
    /// How many tokens question and answer may have together.
    pub context: usize,
    /// How long an answer may take; of one that streams, each piece.
    pub patience: Duration,
}

/// One turn of a conversation.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    role: &'static str,
    content: String,
}

impl Message {
    /// What the model is to do.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: "system", content: content.into() }
    }

    /// What it is to do it with.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user", content: content.into() }
    }

    /// What it answered.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: "assistant", content: content.into() }
    }
}

/// The form of an answer: a JSON schema, as text, since the order of its fields is the order in which they are written.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// What the form is called.
    pub name: &'static str,
    /// The schema.
    pub json: &'static str,
}

/// What the model is asked.
#[derive(Clone, Debug)]
pub struct Chat {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The form of the answer; `None`: text.
    pub schema: Option<Schema>,
    /// How many tokens the answer may have, with what the model thinks before it.
    pub longest: u32,
}

/// A language model. Clones share connections and what was learnt of the server.
#[derive(Clone)]
pub struct Llm {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    place: Place,
    model: String,
    authorization: Option<HeaderValue>,
    context: usize,
    patience: Duration,
    dialect: OnceCell<Dialect>,
    manners: Manners,
}

impl fmt::Debug for Llm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { place, model, context, .. } = &*self.inner;
        f.debug_struct("Llm")
            .field("place", place)
            .field("model", model)
            .field("context", context)
            .finish_non_exhaustive()
    }
}

/// How many tokens a text has at most, roughly: a token of English has four bytes and more, of Spanish about three and a
/// half. It is better to split a text once too often than to have its end cut off.
pub fn tokens(text: &str) -> usize {
    text.len().div_ceil(3)
}

impl Llm {
    /// A model that nobody has asked yet; nothing is connected.
    ///
    /// # Errors
    /// When the key cannot stand in a header, or TLS cannot be set up.
    pub fn new(config: &LlmConfig) -> anyhow::Result<Self> {
        let authorization = config.key.as_ref().map(|key| bearer(key)).transpose()?;
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("crm/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let inner = Inner {
            client,
            place: Place::of(&config.url),
            model: config.model.clone(),
            authorization,
            context: config.context,
            patience: config.patience,
            dialect: OnceCell::new(),
            manners: Manners::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Name of the model.
    pub fn model(&self) -> &str {
        &self.inner.model
    }

    /// How many tokens question and answer may have together.
    pub fn context(&self) -> usize {
        self.inner.context
    }

    /// The model's whole answer.
    ///
    /// # Errors
    /// [`LlmError`] says what went wrong and what can be done.
    pub async fn answer(&self, chat: &Chat) -> Result<String, LlmError> {
        let begun = Instant::now();
        let answering = async {
            let (dialect, response) = self.inner.ask(chat, false).await?;
            let body = self.inner.whole(response).await?;
            dialect.answer(&body)?.complete()
        };
        let outcome = match tokio::time::timeout(self.inner.patience, answering).await {
            Ok(outcome) => {
                let text = outcome.map_err(|error| self.inner.masked(error));
                text.map(|text| Thinking::without(&text))
            }
            Err(_) => Err(self.inner.slow()),
        };
        count(begun, outcome.as_ref().err());
        outcome
    }

    /// The model's answer as it is written, in pieces. It ends with an error if it is not whole.
    ///
    /// # Errors
    /// When the answer does not begin.
    pub async fn stream(
        &self,
        chat: &Chat,
    ) -> Result<BoxStream<'static, Result<String, LlmError>>, LlmError> {
        let begun = Instant::now();
        let asked = tokio::time::timeout(self.inner.patience, self.inner.ask(chat, true)).await;
        let (dialect, response) = asked
            .unwrap_or_else(|_| Err(self.inner.slow()))
            .inspect_err(|error| count(begun, Some(error)))?;
        Ok(Writing::begun(self.clone(), dialect, response, begun).into_stream())
    }
}

fn bearer(key: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
        anyhow::anyhow!("LLM_API_KEY has characters that no key has; copy it again")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn count(begun: Instant, error: Option<&LlmError>) {
    let outcome = error.map_or("answered", LlmError::class);
    metrics::counter!(ASKED, "outcome" => outcome).increment(1);
    metrics::histogram!(ANSWER_SECONDS).record(begun.elapsed());
}

impl Inner {
    fn slow(&self) -> LlmError {
        LlmError::Slow(self.patience)
    }

    /// Sends the question and gives the answer's beginning, which is a success.
    async fn ask(&self, chat: &Chat, streams: bool) -> Result<(Dialect, Response), LlmError> {
        let dialect = *self.dialect.get_or_try_init(|| self.recognise()).await?;
        loop {
            let manner = self.manners.now();
            let body = dialect.question(chat, &self.model, self.context, streams, manner)?;
            let request = self
                .client
                .post(self.place.chat(dialect))
                .header("content-type", "application/json")
                .body(body);
            let response =
                self.authorised(request).send().await.map_err(|error| unreachable(&error))?;
            if response.status().is_success() {
                return Ok((dialect, response));
            }
            let error = self.refused(response).await;
            if !self.manners.learn(dialect, manner, &error) {
                return Err(error);
            }
        }
    }

    fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value.clone()),
            None => request,
        }
    }

    /// Which protocol the server speaks.
    async fn recognise(&self) -> Result<Dialect, LlmError> {
        let asking = async {
            let response = self.authorised(self.client.get(self.place.version())).send().await;
            let response = response.map_err(|error| unreachable(&error))?;
            let is_there = response.status().is_success();
            if LlmError::is_busy(response.status().as_u16()) {
                // A proxy says so while Ollama starts: who it is, it may say the next time.
                return Err(self.refused(response).await);
            }
            let body = self.whole(response).await.unwrap_or_default();
            Ok(if is_there && wire::is_ollama(&body) { Dialect::Ollama } else { Dialect::OpenAi })
        };
        tokio::time::timeout(RECOGNISE, asking).await.unwrap_or(Err(LlmError::Slow(RECOGNISE)))
    }

    /// The body of an answer.
    async fn whole(&self, mut response: Response) -> Result<Vec<u8>, LlmError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST {
                return Err(LlmError::Rubbish(format!("its answer has more than {LONGEST} bytes")));
            }
        }
        Ok(body)
    }

    /// What an answer that is no success means.
    async fn refused(&self, response: Response) -> LlmError {
        let status = response.status();
        let pause = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let body = self.whole(response).await.unwrap_or_default();
        let said = wire::complaint(&body);
        let error = LlmError::of_status(status.as_u16(), said, pause.map(Duration::from_secs));
        self.masked(error).about(&self.model)
    }

    /// The error without the key, which some servers quote, and not longer than a line.
    fn masked(&self, error: LlmError) -> LlmError {
        match error {
            LlmError::Rejected { status, said } => {
                LlmError::Rejected { status, said: self.shown(said) }
            }
            LlmError::Busy { status, said, pause } => {
                LlmError::Busy { status, said: self.shown(said), pause }
            }
            LlmError::Refused(said) => LlmError::Refused(self.shown(said)),
            error => error,
        }
    }

    /// What a server says, as it may be shown.
    fn shown(&self, mut said: String) -> String {
        let key = self
            .authorization
            .as_ref()
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            said = said.replace(key, "***");
        }
        said.chars().take(LONGEST_REASON).collect()
    }
}

fn unreachable(error: &reqwest::Error) -> LlmError {
    LlmError::Down(reason(error))
}

fn broken(error: &reqwest::Error) -> LlmError {
    LlmError::Down(format!("its answer broke off: {}", reason(error)))
}

/// The innermost cause: reqwest's own words add little but the address, which may hold a password.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        Some(_) => "no connection".to_owned(),
        None => cause.to_string(),
    }
}
