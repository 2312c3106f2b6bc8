//! What can go wrong between crm and a language model, by what can be done about it.

use std::time::Duration;

/// Why there is no answer. The text says what to do, and holds neither the key nor what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LlmError {
    /// No server, or one that breaks off.
    #[error(
        "the language model's server cannot be reached ({0}): is LLM_URL right, and does the server run?"
    )]
    Down(String),
    /// The server is there and has no time, or fails by itself.
    #[error(
        "the language model's server cannot answer now (status {status}: {said}): try again later, or see to what it says"
    )]
    Busy {
        /// HTTP status.
        status: u16,
        /// The server's reason, shortened.
        said: String,
        /// How long it asks to be left alone.
        pause: Option<Duration>,
    },
    /// It took too long.
    #[error("the language model took longer than {} s: raise LLM_TIMEOUT_S, or use a faster model", .0.as_secs_f32())]
    Slow(Duration),
    /// The server is there, and the model is not, or not yet.
    #[error(
        "the language model's server does not have {model} ({said}): fetch it there, as with `ollama pull {model}`, or set \
         LLM_MODEL to one that it has"
    )]
    NoModel {
        /// What it was asked for.
        model: String,
        /// The server's words, shortened.
        said: String,
    },
    /// The server does not take the question.
    #[error("the language model's server refuses (status {status}: {said}): look at {}", advice(*status))]
    Rejected {
        /// HTTP status.
        status: u16,
        /// The server's reason, shortened.
        said: String,
    },
    /// The model itself does not want to.
    #[error("the language model refuses to answer: “{0}”")]
    Refused(String),
    /// What came is no answer.
    #[error(
        "the language model's server does not answer as it should ({0}): is LLM_URL the address of its API?"
    )]
    Rubbish(String),
    /// The answer stops where it had no more room.
    #[error(
        "the language model's answer, with what it thought before it, does not fit: raise LLM_CONTEXT_TOKENS if the model can \
         take more, since an answer may have a quarter of them, or set LLM_MODEL to one that thinks less"
    )]
    Truncated,
}

/// The status of a server that does not do what is asked.
const NOT_IMPLEMENTED: u16 = 501;

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => "LLM_API_KEY",
        404 => "LLM_MODEL and LLM_URL",
        300..=399 => "LLM_URL, which redirects",
        413 => "LLM_CONTEXT_TOKENS",
        _ => "LLM_MODEL, LLM_URL and LLM_CONTEXT_TOKENS",
    }
}

impl LlmError {
    pub(super) fn of_status(status: u16, said: String, pause: Option<Duration>) -> Self {
        match Self::is_busy(status) || status == NOT_IMPLEMENTED {
            true => LlmError::Busy { status, said, pause },
            false => LlmError::Rejected { status, said },
        }
    }

    /// Whether a status says that the same may be answered another time: all that the server takes on itself, but that it
    /// does not do such a thing at all.
    pub(super) fn is_busy(status: u16) -> bool {
        matches!(status, 408 | 425 | 429 | 500..=599) && status != NOT_IMPLEMENTED
    }

    /// A server that has other models says so by the status that a wrong path has, and names the one that it lacks.
    pub(super) fn about(self, model: &str) -> Self {
        match self {
            LlmError::Rejected { status: 404, said } if said.contains(model) => {
                LlmError::NoModel { model: model.to_owned(), said }
            }
            other => other,
        }
    }

    /// Whether the same question may be answered later, with nothing changed.
    pub fn is_transient(&self) -> bool {
        match self {
            LlmError::Down(_) | LlmError::Busy { .. } | LlmError::Slow(_) => true,
            // What stands between crm and the server may have answered in its place.
            LlmError::Rubbish(_) => true,
            LlmError::NoModel { .. }
            | LlmError::Rejected { .. }
            | LlmError::Refused(_)
            | LlmError::Truncated => false,
        }
    }

    /// One word, for metrics.
    pub fn class(&self) -> &'static str {
        match self {
            LlmError::Down(_) => "down",
            LlmError::Busy { .. } => "busy",
            LlmError::Slow(_) => "slow",
            LlmError::NoModel { .. } => "no_model",
            LlmError::Rejected { .. } => "rejected",
            LlmError::Refused(_) => "refused",
            LlmError::Rubbish(_) => "rubbish",
            LlmError::Truncated => "truncated",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_whether_to_try_again_and_what_to_look_at() {
        let check = |status: u16, transient: bool, text: &str| {
            let error = LlmError::of_status(status, "no".to_owned(), None);
            assert_eq!(error.is_transient(), transient, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        };
        check(429, true, "try again later");
        check(502, true, "try again later");
        check(401, false, "LLM_API_KEY");
        check(404, false, "LLM_MODEL and LLM_URL");
        check(301, false, "redirects");
        check(400, false, "LLM_CONTEXT_TOKENS");
    }

    #[test]
    fn a_404_that_names_the_model_says_where_to_fetch_it_and_another_may_be_a_wrong_address() {
        let told = |status: u16, said: &str| {
            LlmError::of_status(status, said.to_owned(), None).about("llama3.1").to_string()
        };
        let missing = told(404, "model 'llama3.1' not found");
        assert!(missing.contains("`ollama pull llama3.1`") && missing.contains("LLM_MODEL"));
        assert!(told(404, "404 page not found").contains("look at LLM_MODEL and LLM_URL"));
        assert!(told(400, "llama3.1 has no tools").contains("refuses (status 400"));
    }
}
