//! Requests to change something that are refused or fail are kept: who tried what, and why it did not happen.
//!
//! What a request carried is not kept, nor what of it an answer quotes. That keeping one fails is no reason to fail the
//! answer, which is about something else.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use domain::note::RecordingId;
use domain::{Kind, RecordRef};
use http_body_util::{BodyExt as _, Limited};
use projections::database::Database;
use projections::history::{History, Refusal};
use projections::read::Reader;
use serde_json::Value;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use crate::app::App;
use crate::body::parse_id;
use crate::caller::{Attempted, Caller};
use crate::problem::Problem;
use crate::routes::ask;

/// How long an answer waits until it is kept that it is a refusal.
const PATIENCE: Duration = Duration::from_secs(1);

/// Marks an answer that is kept as a refusal already, if it is to be.
#[derive(Clone)]
struct Kept;

/// No answer that refuses is longer, in bytes.
const LONGEST: usize = 1 << 20;

/// A request to change something, on its way. Clones are the same attempt.
#[derive(Clone)]
pub struct Attempt {
    reader: Reader,
    database: Database,
    caller: Caller,
    attempted: Attempted,
    method: Method,
    path: String,
    correlation: Uuid,
}

impl Attempt {
    /// Notes who asks for what. `None` if nothing is to be changed.
    pub fn begin(app: &App, request: &mut Request, correlation: Uuid) -> Option<Self> {
        let method = request.method().clone();
        let is_question = request.uri().path() == ask::PATH;
        if is_question
            || ![Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(&method)
        {
            return None;
        }
        let attempted = Attempted::default();
        request.extensions_mut().insert(attempted.clone());
        let caller = Caller::of(request.headers(), request.extensions());
        let (database, path) = (app.log.database().clone(), request.uri().path().to_owned());
        let reader = app.reader.clone();
        let attempt = Self { reader, database, caller, attempted, method, path, correlation };
        request.extensions_mut().insert(attempt.clone());
        Some(attempt)
    }

    /// Keeps the answer's reason if it is a refusal. Whoever hangs up now is not asked: it is kept nevertheless.
    pub async fn answered(self, response: Response) -> Response {
        let status = response.status();
        let is_refusal = status.is_client_error() || status.is_server_error();
        if !is_refusal || response.extensions().get::<Kept>().is_some() {
            return response;
        }
        let keeping = self.keep(response).instrument(Span::current());
        match tokio::spawn(keeping).await {
            Ok(mut response) => {
                response.extensions_mut().insert(Kept);
                response
            }
            Err(error) => Problem::Internal(error.into()).into_response(),
        }
    }

    async fn keep(self, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let body = match Limited::new(body, LONGEST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                tracing::warn!(error, "a refusal has no body that can be read");
                return Response::from_parts(parts, Body::empty());
            }
        };
        let status = parts.status.as_u16();
        let keeping = async {
            let refusal = self.refusal(status, why(&body)).await;
            History::refuse(&self.database, &refusal).await
        };
        match tokio::time::timeout(PATIENCE, keeping).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, status, "a refusal is not kept"),
            Err(_) => tracing::warn!(status, "a refusal is not kept: it took too long"),
        }
        Response::from_parts(parts, Body::from(body))
    }

    /// The kind of record that the request is about, and the record.
    async fn about(&self) -> (Option<Kind>, Option<RecordRef>) {
        if let Some(record) = self.attempted.record() {
            return (Some(record.kind()), Some(record));
        }
        let Some(recording) = recording_named_by(&self.path) else { return named_by(&self.path) };
        // A recording belongs to a note; that it cannot be looked up now is no reason not to keep the rest.
        let stored = self.reader.recording(recording).await.ok().flatten();
        let note = stored.map(|stored| Kind::Note.record(stored.note.0));
        (note.map(|_| Kind::Note), note)
    }

    async fn refusal(&self, status: u16, why: String) -> Refusal {
        let (kind, record) = self.about().await;
        Refusal {
            id: 0,
            refused_at: chrono::DateTime::UNIX_EPOCH,
            actor: self.caller.actor().to_owned(),
            method: self.method.to_string(),
            path: self.path.clone(),
            command: self.attempted.command().map(str::to_owned),
            kind: kind.map(|kind| kind.as_str().to_owned()),
            record_id: record.map(RecordRef::id),
            status: i16::try_from(status).unwrap_or(i16::MAX),
            why,
            correlation_id: self.correlation,
            // Nobody can say by a request what caused it.
            causation_id: None,
            client: self.caller.address().map(str::to_owned),
            user_agent: self.caller.user_agent().map(str::to_owned),
        }
    }
}

/// The kind of record that a path is about by its first part, and which by its second.
fn named_by(path: &str) -> (Option<Kind>, Option<RecordRef>) {
    let mut parts = path.split('/').skip(1);
    let kind = parts.next().and_then(|plural| {
        Kind::ALL.iter().copied().find(|kind| crate::history::plural(*kind) == plural)
    });
    let id = parts.next().and_then(|id| parse_id(id).ok());
    (kind, kind.zip(id).map(|(kind, id)| kind.record(id)))
}

/// The recording that a path is about.
fn recording_named_by(path: &str) -> Option<RecordingId> {
    let mut parts = path.strip_prefix("/recordings/")?.split('/');
    parts.next().and_then(|id| parse_id(id).ok()).map(RecordingId)
}

/// The reason in an answer, without what it quotes of the request.
fn why(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    match &body["detail"] {
        Value::String(reason) => reason.clone(),
        Value::Array(faults) => faults.iter().map(fault).collect::<Vec<_>>().join("; "),
        _ => String::new(),
    }
}

fn fault(fault: &Value) -> String {
    let part = |part: &Value| match part {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let place: Vec<String> = fault["loc"].as_array().into_iter().flatten().map(part).collect();
    format!("{}: {}", place.join("."), fault["msg"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_names_what_it_is_about() {
        let check = |path: &str, kind: Option<Kind>, record: Option<RecordRef>| {
            assert_eq!(named_by(path), (kind, record), "{path}");
        };
        check("/lps", Some(Kind::Lp), None);
        check("/people/7", Some(Kind::Person), Some(Kind::Person.record(7)));
        check("/funds/2/lps/7/interest", Some(Kind::Fund), Some(Kind::Fund.record(2)));
        check("/projections/lp/rebuild", None, None);
        check("/", None, None);
        assert_eq!(recording_named_by("/recordings/5/transcript"), Some(RecordingId(5)));
        assert_eq!(recording_named_by("/recordings/x"), None);
        assert_eq!(recording_named_by("/notes/7/recordings"), None);
    }

    #[test]
    fn a_reason_quotes_nothing_that_was_sent() {
        let check =
            |body: Value, expected: &str| assert_eq!(why(body.to_string().as_bytes()), expected);
        check(json!({"detail": "LP not found"}), "LP not found");
        let fault = json!({"type": "x", "loc": ["body", "name"], "msg": "Field required", "input": "secret"});
        check(
            json!({"detail": [fault.clone(), fault]}),
            "body.name: Field required; body.name: Field required",
        );
        check(json!(null), "");
    }
}
