//! The two protocols: what a question and an answer look like.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::manner::{Form, Limit, Manner};
use super::{Chat, LlmError, Message};

/// How much of a server's reason is read, in characters: more than is passed on, so that no key in it is cut in two.
const LONGEST_REASON: usize = 2000;

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// OpenAI's chat completions.
    OpenAi,
    /// Ollama's own.
    Ollama,
}

/// A piece of an answer, or all of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) text: String,
    /// In which words the model refuses to answer, if it does.
    pub(super) refusal: String,
    /// How the answer ends here, if it does.
    pub(super) end: Option<End>,
}

/// How an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With its last word.
    Complete,
    /// Where it had no more room.
    Truncated,
    /// Otherwise: what the server calls it.
    Other(String),
}

impl End {
    fn named(reason: &str) -> Self {
        match reason {
            "stop" | "eos" | "eos_token" | "end_turn" | "stop_sequence" => End::Complete,
            "length" | "max_tokens" | "model_length" => End::Truncated,
            other => End::Other(other.chars().take(40).collect()),
        }
    }

    /// Whether the answer can be used.
    pub(super) fn verdict(&self) -> Result<(), LlmError> {
        match self {
            End::Complete => Ok(()),
            End::Truncated => Err(LlmError::Truncated),
            End::Other(reason) if reason == "content_filter" => Err(LlmError::Rejected {
                status: 200,
                said: "its content filter stopped the answer".to_owned(),
            }),
            End::Other(reason) => {
                Err(LlmError::Rubbish(format!("its answer ended with {reason:?}")))
            }
        }
    }
}

impl Piece {
    /// The text, if this is a whole answer.
    pub(super) fn complete(self) -> Result<String, LlmError> {
        match self.end {
            Some(_) if !self.refusal.is_empty() => Err(refused(&self.refusal)),
            Some(end) => end.verdict().map(|()| self.text),
            None => {
                Err(LlmError::Rubbish("it does not say whether its answer is whole".to_owned()))
            }
        }
    }
}

#[derive(Serialize)]
struct OpenAiQuestion<'a> {
    model: &'a str,
    messages: &'a [Message],
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<NamedSchema<'a>>,
}

#[derive(Serialize)]
struct NamedSchema<'a> {
    name: &'a str,
    strict: bool,
    schema: &'a RawValue,
}

#[derive(Serialize)]
struct OllamaQuestion<'a> {
    model: &'a str,
    messages: &'a [Message],
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a RawValue>,
    // What a model thinks counts as part of its answer, whose length is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<bool>,
    options: OllamaOptions,
}

#[derive(Serialize)]
struct OllamaOptions {
    num_ctx: usize,
    num_predict: u32,
    temperature: u8,
}

#[derive(Deserialize)]
struct OpenAiAnswer {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(alias = "delta")]
    message: Option<Said>,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Said {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct OllamaAnswer {
    #[serde(default)]
    message: Said,
    done: bool,
    done_reason: Option<String>,
}

impl Dialect {
    /// The body of a question.
    pub(super) fn question(
        self,
        chat: &Chat,
        model: &str,
        context: usize,
        stream: bool,
        manner: Manner,
    ) -> Result<String, LlmError> {
        let messages = &chat.messages[..];
        // A schema is a constant of ours: what is wrong with it shows in the first test that uses it.
        let schema: Option<&RawValue> = chat
            .schema
            .map(|schema| serde_json::from_str(schema.json))
            .transpose()
            .map_err(unwritable)?;
        let body = match self {
            Dialect::Ollama => {
                let options =
                    OllamaOptions { num_ctx: context, num_predict: chat.longest, temperature: 0 };
                serde_json::to_string(&OllamaQuestion {
                    model,
                    messages,
                    stream,
                    format: schema,
                    think: manner.think.then_some(false),
                    options,
                })
            }
            Dialect::OpenAi => {
                let named = chat.schema.zip(schema).map(|(it, schema)| NamedSchema {
                    name: it.name,
                    strict: true,
                    schema,
                });
                let limited = |limit| (manner.limit == limit).then_some(chat.longest);
                serde_json::to_string(&OpenAiQuestion {
                    model,
                    messages,
                    stream,
                    temperature: manner.temperature.then_some(0),
                    max_tokens: limited(Limit::Tokens),
                    max_completion_tokens: limited(Limit::CompletionTokens),
                    response_format: named.and_then(|schema| response_format(schema, manner.form)),
                })
            }
        };
        body.map_err(unwritable)
    }

    /// A whole answer.
    pub(super) fn answer(self, body: &[u8]) -> Result<Piece, LlmError> {
        if let Some(said) = failure(body) {
            return Err(LlmError::Rejected { status: 200, said });
        }
        match self {
            Dialect::OpenAi => open_ai(body),
            Dialect::Ollama => ollama(body),
        }
    }

    /// A piece of an answer from a line of its stream, if there is one in it.
    pub(super) fn piece(self, line: &str) -> Result<Option<Piece>, LlmError> {
        let json = match (self, line.strip_prefix("data:")) {
            (Dialect::OpenAi, Some(data)) => data.trim(),
            (Dialect::OpenAi, None) if is_aside(line) => return Ok(None),
            // What is no event is no answer either, unless it tells of a failure.
            _ => line.trim(),
        };
        if json.is_empty() {
            return Ok(None);
        }
        if json == "[DONE]" {
            return Err(LlmError::Rubbish("its answer ended without a finish_reason".to_owned()));
        }
        let piece = self.answer(json.as_bytes())?;
        let says_something =
            !piece.text.is_empty() || !piece.refusal.is_empty() || piece.end.is_some();
        Ok(says_something.then_some(piece))
    }
}

/// Comments, names and ids of server-sent events, which say nothing here.
fn is_aside(line: &str) -> bool {
    [":", "event:", "id:", "retry:"].iter().any(|field| line.starts_with(field))
}

fn response_format(schema: NamedSchema<'_>, form: Form) -> Option<ResponseFormat<'_>> {
    match form {
        Form::Schema => Some(ResponseFormat { r#type: "json_schema", json_schema: Some(schema) }),
        Form::Json => Some(ResponseFormat { r#type: "json_object", json_schema: None }),
        Form::Words => None,
    }
}

fn unwritable(error: serde_json::Error) -> LlmError {
    LlmError::Rubbish(format!("the question cannot be written as JSON: {error}"))
}

fn open_ai(body: &[u8]) -> Result<Piece, LlmError> {
    let answer: OpenAiAnswer = serde_json::from_slice(body).map_err(|_| unknown(body))?;
    // The last piece of some servers has no choices but counts tokens.
    let Some(choice) = answer.choices.into_iter().next() else {
        return Ok(Piece { text: String::new(), refusal: String::new(), end: None });
    };
    let said = choice.message.unwrap_or_default();
    let (text, refusal) = (said.content.unwrap_or_default(), said.refusal.unwrap_or_default());
    Ok(Piece { text, refusal, end: choice.finish_reason.as_deref().map(End::named) })
}

fn ollama(body: &[u8]) -> Result<Piece, LlmError> {
    let answer: OllamaAnswer = serde_json::from_slice(body).map_err(|_| unknown(body))?;
    let text = answer.message.content.unwrap_or_default();
    // Older versions give no reason.
    let end = answer.done.then(|| answer.done_reason.as_deref().map_or(End::Complete, End::named));
    Ok(Piece { text, refusal: String::new(), end })
}

/// What is said of a body that is no answer: not what it holds, which may be anything.
fn unknown(body: &[u8]) -> LlmError {
    let kind = match serde_json::from_slice::<Value>(body) {
        Ok(_) => "its JSON is no answer of a chat",
        Err(_) if body.trim_ascii_start().starts_with(b"<") => "it answers a web page",
        Err(_) if body.is_empty() => "it answers nothing",
        Err(_) => "its answer is no JSON",
    };
    LlmError::Rubbish(kind.to_owned())
}

/// Whether `/api/version` answered as Ollama does.
pub(super) fn is_ollama(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok_and(|answer| answer["version"].is_string())
}

/// The reason in a refusal; of what is no JSON nothing.
pub(super) fn complaint(body: &[u8]) -> String {
    failure(body).unwrap_or_else(|| "no reason given".to_owned())
}

/// The failure that a body tells of.
fn failure(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let error =
        ["error", "detail"].iter().map(|name| &answer[*name]).find(|error| !error.is_null())?;
    let said =
        [&error["message"], error].into_iter().find_map(Value::as_str).unwrap_or("no reason given");
    Some(line(said))
}

/// That the model refuses, in its own words.
pub(super) fn refused(refusal: &str) -> LlmError {
    LlmError::Refused(line(refusal.trim()))
}

/// What was said, in one line that is not too long.
fn line(said: &str) -> String {
    let letters = said.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    letters.take(LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests;
