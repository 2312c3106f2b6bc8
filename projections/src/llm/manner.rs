//! What a server has been found not to support.
//!
//! Servers differ in small things: some know no schemas, some no JSON at all, newer models call the limit of an answer
//! `max_completion_tokens` and take no temperature. Each says so by name in its refusal, so it is asked once too often, and
//! from then on in its own manner. Ollama is told that its models are not to think, which not every version and model takes.

use std::sync::Mutex;

use super::LlmError;
use super::wire::Dialect;

/// How the form of an answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// By its schema.
    Schema,
    /// As some JSON.
    Json,
    /// By the words of the question alone.
    Words,
}

/// How the length of an answer is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// By `max_tokens`.
    Tokens,
    /// By `max_completion_tokens`.
    CompletionTokens,
    /// Not at all.
    Unlimited,
}

/// What can be asked of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) form: Form,
    pub(super) limit: Limit,
    /// Whether `temperature` may be set.
    pub(super) temperature: bool,
    /// Whether `think` may be set; only Ollama knows it.
    pub(super) think: bool,
}

impl Manner {
    const BEST: Manner =
        Manner { form: Form::Schema, limit: Limit::Tokens, temperature: true, think: true };

    /// What is left to try after this was refused; `None` if the refusal is about something else.
    fn without(self, dialect: Dialect, refusal: &LlmError) -> Option<Manner> {
        let LlmError::Rejected { status: 400 | 422 | 501, said } = refusal else { return None };
        let said = said.to_lowercase();
        let names = |words: &[&str]| words.iter().any(|word| said.contains(word));
        if dialect == Dialect::Ollama {
            let is_learnt = names(&["think"]) && self.think;
            return is_learnt.then_some(Manner { think: false, ..self });
        }
        if names(&["max_tokens", "max_completion_tokens"])
            && names(&["support", "unknown", "unrecognized", "extra", "not permitted"])
        {
            let limit = match self.limit {
                Limit::Tokens => Limit::CompletionTokens,
                Limit::CompletionTokens => Limit::Unlimited,
                Limit::Unlimited => return None,
            };
            return Some(Manner { limit, ..self });
        }
        if names(&["temperature"]) && self.temperature {
            return Some(Manner { temperature: false, ..self });
        }
        if names(&["response_format", "json_schema", "json_object", "schema", "grammar"]) {
            let form = match self.form {
                Form::Schema => Form::Json,
                Form::Json => Form::Words,
                Form::Words => return None,
            };
            return Some(Manner { form, ..self });
        }
        None
    }
}

/// What is known of a server; shared by all who ask it.
#[derive(Debug)]
pub(super) struct Manners(Mutex<Manner>);

impl Default for Manners {
    fn default() -> Self {
        Self(Mutex::new(Manner::BEST))
    }
}

impl Manners {
    /// How to ask now.
    pub(super) fn now(&self) -> Manner {
        // A manner is copied in and out whole, so a panic elsewhere leaves none half written.
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether a refusal of a question in this manner taught another one. That ends: each manner asks for less.
    pub(super) fn learn(&self, dialect: Dialect, asked: Manner, refusal: &LlmError) -> bool {
        let Some(better) = asked.without(dialect, refusal) else { return false };
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = better;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_refuses_by_name_it_is_not_asked_for_again() {
        let refusal = |said: &str| LlmError::Rejected { status: 400, said: said.to_owned() };
        let check = |said: &str, expected: Option<Manner>| {
            assert_eq!(Manner::BEST.without(Dialect::OpenAi, &refusal(said)), expected, "{said}");
        };
        check(
            "response_format json_schema is unavailable",
            Some(Manner { form: Form::Json, ..Manner::BEST }),
        );
        check(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            Some(Manner { limit: Limit::CompletionTokens, ..Manner::BEST }),
        );
        check(
            "'temperature' does not support 0 with this model",
            Some(Manner { temperature: false, ..Manner::BEST }),
        );
        check("the model is overloaded", None);
        let key = LlmError::Rejected { status: 401, said: "schema".to_owned() };
        assert_eq!(Manner::BEST.without(Dialect::OpenAi, &key), None);
    }

    #[test]
    fn ollama_is_told_not_to_think_until_it_refuses_that() {
        let refusal = |said: &str| LlmError::Rejected { status: 400, said: said.to_owned() };
        let thinking = refusal(r#""llama3.1" does not support thinking"#);
        let unthinking = Manner { think: false, ..Manner::BEST };
        assert_eq!(Manner::BEST.without(Dialect::Ollama, &thinking), Some(unthinking));
        assert_eq!(unthinking.without(Dialect::Ollama, &thinking), None);
        assert_eq!(Manner::BEST.without(Dialect::Ollama, &refusal("no temperature")), None);
        assert_eq!(Manner::BEST.without(Dialect::OpenAi, &thinking), None);
    }

    #[test]
    fn a_server_that_refuses_everything_is_not_asked_for_ever() {
        for said in ["schema", "max_tokens is not supported", "temperature"] {
            let manners = Manners::default();
            let refusal = LlmError::Rejected { status: 400, said: said.to_owned() };
            let times = (0..10)
                .take_while(|_| manners.learn(Dialect::OpenAi, manners.now(), &refusal))
                .count();
            assert!((1..=2).contains(&times), "{said}: {times}");
        }
    }
}
