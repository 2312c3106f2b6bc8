//! A server that speaks OpenAI's embeddings API, as Ollama, vLLM, llama.cpp, text-embeddings-inference and others do.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::{EncodeError, Encoder, length, normalise};
use crate::llm::reason;

/// How long a server may take for one question: a search waits for it.
const QUESTION: Duration = Duration::from_secs(2);

/// How long it may take to be reached at all.
const CONNECTION: Duration = Duration::from_secs(5);

/// How long it may take for a batch of passages: some do them one after the other, on a CPU.
const PASSAGES: Duration = Duration::from_secs(120);

/// How many texts one request has.
const BATCH: usize = 32;

/// What a server is asked to find out how long its vectors are.
const PROBE: &str = "currency hedging";

/// Where the server is, and what it is asked for.
#[derive(Clone)]
pub struct Server {
    /// `http://host:11434/v1`, or the whole address of `/embeddings`.
    pub url: String,
    /// What it calls the model.
    pub model: String,
    /// The key, if it asks for one.
    pub key: Option<String>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("url", &self.url).field("model", &self.model).finish()
    }
}

/// A server that has answered.
pub struct Remote {
    server: Server,
    client: Client,
    address: Url,
    name: String,
    dimensions: usize,
    prefixes: Prefixes,
}

/// What models of some families want before a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefixes {
    question: &'static str,
    passage: &'static str,
}

impl Prefixes {
    /// By the model's name: E5 and Nomic's are trained with prefixes, others get none.
    fn of(model: &str) -> Self {
        let model = model.to_lowercase();
        match () {
            () if model.contains("instruct") => Self { question: "", passage: "" },
            () if model.contains("e5-") => Self { question: "query: ", passage: "passage: " },
            () if model.contains("nomic-embed-text") => {
                Self { question: "search_query: ", passage: "search_document: " }
            }
            () => Self { question: "", passage: "" },
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Embedding>,
}

#[derive(Deserialize)]
struct Embedding {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vec<f32>,
}

impl Remote {
    /// Asks the server once, to learn the length of its vectors.
    ///
    /// # Errors
    /// See [`EncodeError`].
    pub async fn open(server: Server) -> Result<Self, EncodeError> {
        let wrong = |error: String| EncodeError::Wrong(error);
        let client = Client::builder()
            .connect_timeout(CONNECTION)
            .build()
            .map_err(|e| wrong(e.to_string()))?;
        let address = address(&server.url).map_err(|error| wrong(error.to_string()))?;
        let prefixes = Prefixes::of(&server.model);
        let mut remote =
            Self { server, client, address, name: String::new(), dimensions: 0, prefixes };
        remote.dimensions = remote.ask(&[PROBE.to_owned()], PASSAGES).await?[0].len();
        let Prefixes { question, passage } = prefixes;
        remote.name = format!("{}:{}:{question}/{passage}", remote.server.model, remote.dimensions);
        Ok(remote)
    }

    /// The model in the name of a [`Remote`] with vectors of this length; `None` if it is not one's name.
    pub(in crate::search) fn model_in(name: &str, dimensions: i32) -> Option<&str> {
        name.rsplit_once(&format!(":{dimensions}:")).map(|(model, _)| model)
    }

    async fn ask(&self, texts: &[String], within: Duration) -> Result<Vec<Vec<f32>>, EncodeError> {
        let body = json!({"model": self.server.model, "input": texts, "encoding_format": "float"});
        let mut request = self.client.post(self.address.clone()).timeout(within).json(&body);
        if let Some(key) = &self.server.key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.map_err(unavailable)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(EncodeError::Refused),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(EncodeError::Unavailable(format!("it answers {status}")));
            }
            status => return Err(EncodeError::Wrong(format!("it answers {status}"))),
        }
        let text = response.text().await.map_err(unavailable)?;
        let answer: Answer =
            serde_json::from_str(&text).map_err(|error| EncodeError::Wrong(error.to_string()))?;
        in_order(answer, texts.len(), self.dimensions)
    }

    fn prefixed(prefix: &str, text: &str) -> String {
        format!("{prefix}{text}")
    }
}

/// The vectors in the order of the texts, each of length 1.
fn in_order(answer: Answer, texts: usize, dimensions: usize) -> Result<Vec<Vec<f32>>, EncodeError> {
    let mut vectors = vec![Vec::new(); texts];
    for (at, mut embedding) in answer.data.into_iter().enumerate() {
        let at = embedding.index.unwrap_or(at);
        let fits = dimensions == 0 || embedding.embedding.len() == dimensions;
        if let Some(place) = vectors.get_mut(at).filter(|_| fits) {
            normalise(&mut embedding.embedding);
            *place = embedding.embedding;
        }
    }
    // Whatever is not of length 1 now has no direction: it is empty, or of zeros, or of what is no number.
    match vectors.iter().all(|vector| (length(vector) - 1.0).abs() < 0.01) {
        true => Ok(vectors),
        false => Err(EncodeError::Wrong(
            "vectors are missing, of different lengths or without a direction, as of zeros alone"
                .to_owned(),
        )),
    }
}

fn unavailable(error: reqwest::Error) -> EncodeError {
    EncodeError::Unavailable(match () {
        () if error.is_timeout() => "it took too long".to_owned(),
        () if error.is_connect() => format!("it cannot be reached ({})", reason(&error)),
        () => reason(&error),
    })
}

/// The address to ask: what the setting says, completed.
fn address(url: &str) -> Result<Url, String> {
    let mut address: Url = url.parse().map_err(|error| format!("{error}"))?;
    let path = address.path().trim_end_matches('/').to_owned();
    if path.is_empty() {
        address.set_path("/v1/embeddings");
    } else if !path.ends_with("/embeddings") {
        address.set_path(&format!("{path}/embeddings"));
    }
    Ok(address)
}

impl Encoder for Remote {
    fn name(&self) -> &str {
        &self.name
    }

    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn question<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<Vec<f32>, EncodeError>> {
        async move {
            let text = Self::prefixed(self.prefixes.question, text);
            Ok(self.ask(&[text], QUESTION).await?.remove(0))
        }
        .boxed()
    }

    fn passages(&self, texts: Vec<String>) -> BoxFuture<'_, Result<Vec<Vec<f32>>, EncodeError>> {
        async move {
            let prefix = self.prefixes.passage;
            let texts: Vec<String> =
                texts.iter().map(|text| Self::prefixed(prefix, text)).collect();
            let mut vectors = Vec::with_capacity(texts.len());
            for batch in texts.chunks(BATCH) {
                vectors.append(&mut self.ask(batch, PASSAGES).await?);
            }
            Ok(vectors)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_completed() {
        let check = |url: &str, expected: &str| {
            assert_eq!(address(url).unwrap().as_str(), expected);
        };
        check("http://localhost:11434", "http://localhost:11434/v1/embeddings");
        check("http://localhost:11434/v1/", "http://localhost:11434/v1/embeddings");
        check("https://host/api/embeddings", "https://host/api/embeddings");
        assert!(address("nonsense").is_err());
    }

    #[test]
    fn models_that_want_prefixes_get_them() {
        let check = |model: &str, question: &str| {
            assert_eq!(Prefixes::of(model).question, question, "{model}");
        };
        check("intfloat/multilingual-e5-small", "query: ");
        check("multilingual-e5-large-instruct", "");
        check("nomic-embed-text:latest", "search_query: ");
        check("text-embedding-3-small", "");
    }

    #[test]
    fn vectors_are_put_in_order_and_missing_ones_are_noticed() {
        let of = |index, embedding: &[f32]| Embedding { index, embedding: embedding.to_vec() };
        let both = Answer { data: vec![of(Some(1), &[0.0, 2.0]), of(Some(0), &[3.0, 0.0])] };
        assert_eq!(in_order(both, 2, 2), Ok(vec![vec![1.0, 0.0], vec![0.0, 1.0]]));
        let unnumbered = Answer { data: vec![of(None, &[1.0]), of(None, &[-2.0])] };
        assert_eq!(in_order(unnumbered, 2, 0), Ok(vec![vec![1.0], vec![-1.0]]));
        for data in [
            vec![],
            vec![of(Some(0), &[1.0])],
            vec![of(Some(0), &[1.0, 0.0]), of(Some(1), &[1.0])],
            vec![of(Some(0), &[1.0, 0.0]), of(Some(7), &[1.0, 0.0])],
            vec![of(None, &[1.0, f32::NAN]), of(None, &[1.0, 0.0])],
            vec![of(None, &[0.0, 0.0]), of(None, &[1.0, 0.0])],
            vec![of(None, &[1e-30, 0.0]), of(None, &[1.0, 0.0])],
            vec![of(None, &[1e30, 0.0]), of(None, &[1.0, 0.0])],
        ] {
            assert!(in_order(Answer { data }, 2, 2).is_err());
        }
    }
}
