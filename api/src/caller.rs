//! Who sent a request, and under which conditions it is to be carried out.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};
use domain::RecordRef;
use projections::log::{CommandRequest, Receipt};
use uuid::Uuid;

use crate::traces;

/// Names a request; a client may choose it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The same by another name.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
/// A client that sends one may repeat its request: it is carried out once.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Who acts as long as nobody has to log in.
const NOBODY_IN_PARTICULAR: &str = "anonymous";

tokio::task_local! {
    static CORRELATION: Uuid;
}

/// Runs `work` as part of the request of this name.
pub async fn correlated<F: Future>(correlation: Uuid, work: F) -> F::Output {
    CORRELATION.scope(correlation, work).await
}

/// The name of the request that is being handled; nil outside one.
pub fn current_correlation() -> Uuid {
    CORRELATION.try_with(|id| *id).unwrap_or_default()
}

/// The name that a client chose for its request, else a new one.
pub fn correlation_of(headers: &HeaderMap) -> Uuid {
    [REQUEST_ID, CORRELATION_ID]
        .iter()
        .filter_map(|name| headers.get(name)?.to_str().ok())
        .find_map(|text| Uuid::try_parse(text.trim()).ok())
        .unwrap_or_else(Uuid::now_v7)
}

/// The key of a request that is carried out once, however often it is sent.
#[derive(Clone, Debug)]
pub struct IdempotencyKey {
    /// What the client calls it.
    pub key: String,
    /// The SHA-256 of the request.
    pub request_hash: [u8; 32],
    /// What the request led to when it came before, if that is recorded but its answer is not.
    pub earlier: Option<Receipt>,
}

/// The command that a request came to, and the record, for whoever tells of its failure. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Attempted {
    command: Arc<OnceLock<&'static str>>,
    record: Arc<OnceLock<RecordRef>>,
}

impl Attempted {
    /// The command's name, if the request came so far.
    pub fn command(&self) -> Option<&'static str> {
        self.command.get().copied()
    }

    /// The record, if the request came so far and its path does not name it.
    pub fn record(&self) -> Option<RecordRef> {
        self.record.get().copied()
    }
}

/// Who sent the request that is being handled.
#[derive(Clone, Debug)]
pub struct Caller {
    address: Option<String>,
    user_agent: Option<String>,
    trace_id: Option<[u8; 16]>,
    attempted: Attempted,
    /// The command or event that its commands follow from.
    pub cause: Option<Uuid>,
    /// The tags of which the record must have one.
    pub if_match: Option<String>,
    /// The tags of which the record must have none.
    pub if_none_match: Option<String>,
    /// The key, if it has one.
    pub idempotency: Option<IdempotencyKey>,
}

impl Caller {
    /// What the request led to when it came before: whether it may be carried out is not asked again.
    pub fn earlier(&self) -> Option<Receipt> {
        self.idempotency.as_ref()?.earlier
    }

    /// Who sent a request with these headers and extensions.
    pub fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let text = |name: HeaderName| {
            headers.get(name).map(|value| {
                // Neither the log nor a header of ours takes more than text.
                String::from_utf8_lossy(value.as_bytes()).chars().take(500).collect()
            })
        };
        let address = extensions.get::<ConnectInfo<SocketAddr>>();
        let tags = |name| {
            let value = headers.get(name)?;
            Some(String::from_utf8_lossy(HeaderValue::as_bytes(value)).into_owned())
        };
        Self {
            address: address.map(|ConnectInfo(address)| address.ip().to_string()),
            user_agent: text(header::USER_AGENT),
            trace_id: traces::trace_of(headers),
            attempted: extensions.get().cloned().unwrap_or_default(),
            cause: None,
            if_match: tags(header::IF_MATCH),
            if_none_match: tags(header::IF_NONE_MATCH),
            idempotency: extensions.get().cloned(),
        }
    }

    /// The same for another command of the request: its conditions and its key are about the one that was asked for.
    #[must_use]
    pub fn unconditional(&self) -> Self {
        Self { if_match: None, if_none_match: None, idempotency: None, ..self.clone() }
    }

    /// Whether the record must be in a certain state.
    pub fn is_conditional(&self) -> bool {
        self.if_match.is_some() || self.if_none_match.is_some()
    }

    /// Who acts.
    pub fn actor(&self) -> &'static str {
        NOBODY_IN_PARTICULAR
    }

    /// The network address it came from.
    pub fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// The program it came from.
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }

    /// Notes which command the request asks for, before anything can refuse it.
    pub fn attempts(&self, command: &'static str) {
        // Of several commands the first is what was asked for.
        self.attempted.command.get_or_init(|| command);
    }

    /// Notes which record the request is about, where its path does not say so.
    pub fn is_about(&self, record: RecordRef) {
        self.attempted.record.get_or_init(|| record);
    }

    /// The terms of a command that this request asks for.
    pub fn request(&self, name: &'static str) -> CommandRequest {
        self.attempts(name);
        CommandRequest {
            name,
            actor: self.actor().to_owned(),
            command_id: Uuid::now_v7(),
            correlation_id: current_correlation(),
            causation_id: self.cause,
            source: "api".to_owned(),
            client: self.address.clone(),
            user_agent: self.user_agent.clone(),
            trace_id: self.trace_id,
            if_match: None,
            idempotency: self.idempotency.as_ref().map(|key| (key.key.clone(), key.request_hash)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers, &parts.extensions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_name_its_request_by_a_uuid() {
        let id = "0198c0de-0000-7000-8000-000000000001";
        let check = |headers: &[(HeaderName, &str)], taken: bool| {
            let headers =
                headers.iter().map(|(name, text)| (name.clone(), text.parse().unwrap())).collect();
            assert_eq!(correlation_of(&headers).to_string() == id, taken, "{headers:?}");
        };
        check(&[(REQUEST_ID, id)], true);
        check(&[(CORRELATION_ID, id)], true);
        check(&[(REQUEST_ID, "7"), (CORRELATION_ID, id)], true);
        check(&[(REQUEST_ID, "7")], false);
        check(&[], false);
    }
}
