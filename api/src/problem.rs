//! What a handler answers when it cannot do what was asked: always JSON with `detail`.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::{Kind, RecordRef, Refusal};
use projections::ask::AskError;
use projections::database::{DatabaseError, Shortage};
use projections::files::FileError;
use projections::llm::LlmError;
use projections::log::{CommandError, Unread};
use projections::read::ReadError;
use projections::search::SearchError;
use projections::uploads::{LOST, UploadError};
use serde_json::{Map, Value, json};

use crate::answers::PARKED;
use crate::uploads;

/// What people call a kind of record.
pub fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Lp => "LP",
        Kind::Gp => "GP",
        Kind::Distributor => "Distributor",
        Kind::Person => "Person",
        Kind::Fund => "Fund",
        Kind::Note => "Note",
        Kind::Todo => "Todo",
        Kind::Roadshow => "Roadshow",
    }
}

/// One thing that is wrong with a request, as the legacy server's validation put it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    kind: &'static str,
    loc: Vec<Value>,
    msg: Cow<'static, str>,
    input: Value,
    context: Option<Box<Value>>,
}

impl Fault {
    /// A fault of this type at this place, such as `["body", "name"]`.
    pub fn new(
        kind: &'static str,
        loc: impl IntoIterator<Item = Value>,
        msg: impl Into<Cow<'static, str>>,
    ) -> Self {
        let loc = loc.into_iter().collect();
        Self { kind, loc, msg: msg.into(), input: Value::Null, context: None }
    }

    /// A fault of a field of the body.
    pub fn field(name: &str, kind: &'static str, msg: impl Into<Cow<'static, str>>) -> Self {
        Self::new(kind, ["body".into(), name.into()], msg)
    }

    /// Something required is not there.
    pub fn missing(loc: impl IntoIterator<Item = Value>) -> Self {
        Self::new("missing", loc, "Field required")
    }

    /// With what was sent.
    pub fn with_input(self, input: impl Into<Value>) -> Self {
        Self { input: input.into(), ..self }
    }

    /// With details for programs.
    pub fn with_context(self, context: Value) -> Self {
        Self { context: Some(Box::new(context)), ..self }
    }

    /// The same fault at another place.
    pub fn at(self, loc: impl IntoIterator<Item = Value>) -> Self {
        Self { loc: loc.into_iter().collect(), ..self }
    }

    /// Which type of fault it is.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    fn render(&self) -> Value {
        /// The types that the legacy server's validation knows; it sends a link to their explanation along.
        const EXPLAINED: &[&str] = &[
            "missing",
            "int_parsing",
            "int_type",
            "int_from_float",
            "list_type",
            "model_attributes_type",
            "dict_type",
        ];
        let mut fault = Map::new();
        fault.insert("type".into(), self.kind.into());
        fault.insert("loc".into(), Value::Array(self.loc.clone()));
        fault.insert("msg".into(), self.msg.clone().into());
        fault.insert("input".into(), self.input.clone());
        if let Some(context) = &self.context {
            fault.insert("ctx".into(), Value::clone(context));
        }
        if EXPLAINED.contains(&self.kind) {
            let url = format!("https://errors.pydantic.dev/2.5/v/{}", self.kind);
            fault.insert("url".into(), url.into());
        }
        Value::Object(fault)
    }
}

/// The most faults that one answer lists.
const MOST_FAULTS: usize = 100;

/// What is wrong, fault by fault; of very many the last entry says how many more there are. A list with a million bad ids
/// is not worth an answer of a hundred megabytes.
fn told(faults: &[Fault]) -> Value {
    let more = faults.len().saturating_sub(MOST_FAULTS);
    let rest = (more > 0)
        .then(|| Fault::new("more", ["body".into()], format!("{more} more faults are not listed")));
    faults.iter().take(MOST_FAULTS).chain(&rest).map(Fault::render).collect()
}

/// Why a request led to nothing, or to nothing good.
#[derive(Debug)]
pub enum Problem {
    /// No route has this path.
    NoSuchPath,
    /// There is no such record.
    NotFound(Kind),
    /// Readers do not see the record, since an event of it, at this position, cannot be read or applied.
    Parked(RecordRef, i64),
    /// The record was erased.
    Erased(Kind),
    /// The record was not there at the position that was asked for; why.
    NotThen(String),
    /// There is no such recording, or it lacks what was asked for; which.
    NoRecording(String),
    /// There is no such read model.
    NoSuchProjection,
    /// There is no command, event or conversation of this id.
    NoSuchCause,
    /// A parameter is unknown or has no meaning; the text says which, and what is known.
    Parameter(String),
    /// Nobody is told of events under this id.
    NoSuchWebhook,
    /// What the body is said to be cannot be taken; what can.
    Unsupported(String),
    /// The body cannot even be decoded.
    Unreadable,
    /// The request is not as it must be.
    Invalid(Vec<Fault>),
    /// The record is not as the request's `If-Match` has it.
    Outdated,
    /// The record is as the request's `If-None-Match` does not want it.
    AsNamed,
    /// Others changed the record at the same time, or it is in a state that does not allow this.
    Conflict(Cow<'static, str>),
    /// What is recorded of the record cannot be read.
    CannotBeRead(CommandError),
    /// What is to be undone has been changed again since, or needs what no longer exists.
    Contested {
        /// What to do about it.
        detail: &'static str,
        /// What stands against it.
        conflicts: Vec<Value>,
    },
    /// The request comes from a place that may not send it.
    Forbidden(&'static str),
    /// The body is larger than the limit, in bytes.
    TooLarge(usize),
    /// It took longer than it may.
    TimedOut,
    /// The database cannot be reached.
    Unavailable(String),
    /// Too many ask for the same work; the text says which.
    Busy(&'static str),
    /// The log has a recording whose file is not in the file storage.
    RecordingLost,
    /// The file storage does not take or give a file.
    Files(FileError),
    /// An upload does not go on.
    Upload(UploadError),
    /// Something that this needs is not set up; the text says what, and by which settings.
    NotSetUp(&'static str),
    /// The language model gives no answer.
    LanguageModel(LlmError),
    /// It cannot be searched by meaning; the text says what is missing.
    NoMeaning(String),
    /// A defect.
    Internal(anyhow::Error),
}

impl Problem {
    /// One fault.
    pub fn invalid(fault: Fault) -> Self {
        Problem::Invalid(vec![fault])
    }

    /// What became of a command on this record.
    pub fn of_command(error: CommandError, record: RecordRef) -> Self {
        match error {
            CommandError::Refused(Refusal::NotRegistered) => Problem::NotFound(record.kind()),
            CommandError::Refused(Refusal::Erased) => Problem::Erased(record.kind()),
            CommandError::Refused(Refusal::ReasonMissing) => {
                Problem::invalid(Fault::field("reason", "missing", "Say why"))
            }
            CommandError::Refused(refusal @ Refusal::CannotLink { .. }) => {
                Problem::invalid(Fault::new("link", ["body".into()], refusal.to_string()))
            }
            CommandError::Refused(Refusal::NoSuchRecording) => Problem::recording_not_found(),
            CommandError::Refused(refusal @ Refusal::NoSuchSuggestion) => {
                Problem::NoRecording(refusal.to_string())
            }
            CommandError::Refused(refusal) => Problem::Conflict(refusal.to_string().into()),
            CommandError::Conflict => Problem::Conflict(
                "Someone else keeps changing this record; please try again".into(),
            ),
            CommandError::VersionMismatch { .. } => Problem::Outdated,
            CommandError::NotionIdTaken { notion_id, owner } => {
                Problem::notion_id_taken(&notion_id, owner)
            }
            CommandError::KeyReused => Problem::key_reused(),
            error @ CommandError::Unreadable { .. } => Problem::CannotBeRead(error),
            CommandError::Unavailable(reason) => Problem::Unavailable(reason),
            CommandError::Internal(error) => Problem::Internal(error),
        }
    }

    /// Another record of the kind has this Notion id.
    pub fn notion_id_taken(notion_id: &str, owner: RecordRef) -> Self {
        let (kind, id) = (owner.kind(), owner.id());
        let msg = format!("Another record has this notion_id: {kind} {id}");
        Problem::invalid(Fault::field("notion_id", "unique", msg).with_input(notion_id))
    }

    /// There is no recording of this id, or its note is deleted.
    pub fn recording_not_found() -> Self {
        Problem::NoRecording("Recording not found".to_owned())
    }

    /// An idempotency key came back with another request.
    pub fn key_reused() -> Self {
        Problem::invalid(Fault::new(
            "idempotency_key_reused",
            ["header".into(), "idempotency-key".into()],
            "This key was used for another request",
        ))
    }

    /// Logs what whoever runs crm should know of.
    pub fn note(&self) {
        if let Problem::LanguageModel(error) = self {
            // Its reason is for the one who asked: a server may quote the question in it.
            tracing::warn!(class = error.class(), "the language model gives no answer");
        }
    }

    /// The status of its answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Problem::NoSuchPath
            | Problem::NotFound(_)
            | Problem::Parked(..)
            | Problem::NotThen(_)
            | Problem::NoRecording(_)
            | Problem::RecordingLost
            | Problem::NoSuchProjection
            | Problem::NoSuchWebhook
            | Problem::NoSuchCause => StatusCode::NOT_FOUND,
            Problem::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Problem::Erased(_) => StatusCode::GONE,
            Problem::Unreadable | Problem::Parameter(_) => StatusCode::BAD_REQUEST,
            Problem::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Problem::Outdated | Problem::AsNamed => StatusCode::PRECONDITION_FAILED,
            Problem::Conflict(_) | Problem::CannotBeRead(_) | Problem::Contested { .. } => {
                StatusCode::CONFLICT
            }
            Problem::Forbidden(_) => StatusCode::FORBIDDEN,
            Problem::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Problem::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Problem::Unavailable(_)
            | Problem::Busy(_)
            | Problem::NotSetUp(_)
            | Problem::NoMeaning(_) => StatusCode::SERVICE_UNAVAILABLE,
            Problem::Files(error) => match error {
                FileError::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
                FileError::Denied(_) => StatusCode::BAD_GATEWAY,
                error if error.is_outage() => StatusCode::SERVICE_UNAVAILABLE,
                FileError::Missing(_) => StatusCode::NOT_FOUND,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
            Problem::Upload(error) => uploads::status(error),
            Problem::LanguageModel(error) => match error {
                LlmError::Slow(_) => StatusCode::GATEWAY_TIMEOUT,
                LlmError::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::BAD_GATEWAY,
            },
            Problem::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The body of its answer.
    pub fn body(&self) -> Value {
        let detail: Value = match self {
            Problem::NoSuchPath => "Not Found".into(),
            Problem::NotFound(kind) => format!("{} not found", title(*kind)).into(),
            Problem::Parked(record, position) => {
                let (kind, id) = (title(record.kind()), record.id());
                format!(
                    "{kind} not found: the event of {kind} {id} at position {position} cannot be read or applied, so that \
                     nothing from there on is shown. Whoever runs crm sees why by `crm projections parked`, and has it tried \
                     again by `crm projections retry`"
                )
                .into()
            }
            Problem::Erased(kind) => {
                format!("{} was erased; nothing can be done with it any more", title(*kind)).into()
            }
            Problem::NotThen(why) | Problem::NoRecording(why) => why.as_str().into(),
            Problem::NoSuchProjection => "Projection not found".into(),
            Problem::NoSuchCause => {
                "No command, event or conversation of this id is in the log or among the refusals"
                    .into()
            }
            Problem::Parameter(what) => what.as_str().into(),
            Problem::NoSuchWebhook => "Webhook not found".into(),
            Problem::Unsupported(what) => what.as_str().into(),
            Problem::Unreadable => "There was an error parsing the body".into(),
            Problem::Invalid(faults) => told(faults),
            Problem::Outdated => "The record has changed since you read it".into(),
            Problem::AsNamed => {
                "If-None-Match names the record as it stands (* names any that is there), so nothing was changed".into()
            }
            Problem::Conflict(reason) => reason.to_string().into(),
            Problem::CannotBeRead(error) => {
                let correlation = crate::caller::current_correlation();
                tracing::error!(%correlation, %error, "a command on what cannot be read");
                format!("Nothing was changed: {error}. {}", advice(error)).into()
            }
            Problem::Contested { detail, conflicts } => {
                return json!({"detail": detail, "conflicts": conflicts});
            }
            Problem::Forbidden(reason) => (*reason).into(),
            Problem::TooLarge(limit) => format!("The body is larger than {limit} bytes").into(),
            Problem::TimedOut => "The request took too long".into(),
            // The whole reason is for the log: it may name hosts and users.
            Problem::Unavailable(reason) => {
                let shortage = Shortage::told_by(reason).map(|it| format!(": {}", it.as_str()));
                let shortage = shortage.unwrap_or_default();
                format!("The database is not available{shortage}; please try again").into()
            }
            Problem::RecordingLost => capitalised(LOST).into(),
            Problem::Files(error) => return files_body(error),
            Problem::Upload(error) => error.to_string().into(),
            Problem::NotSetUp(what) | Problem::Busy(what) => (*what).into(),
            Problem::LanguageModel(error) => error.to_string().into(),
            Problem::NoMeaning(missing) => {
                format!("There is no search by meaning at the moment: {missing}").into()
            }
            Problem::Internal(error) => {
                let correlation = crate::caller::current_correlation();
                tracing::error!(%correlation, error = format!("{error:#}"), "request failed");
                return json!({"detail": "Internal Server Error", "correlation_id": correlation});
            }
        };
        json!({ "detail": detail })
    }
}

/// What can be done about a record of which an event cannot be read.
fn advice(error: &CommandError) -> String {
    let CommandError::Unreadable { record, why, .. } = error else { return String::new() };
    let remedy = match why {
        Unread::Unknown => {
            "Whoever runs crm should start the release that recorded it, or a newer one; "
        }
        Unread::Damaged => "A backup may have it as it was; ",
        Unread::Locked => "",
    };
    let kind = record.kind();
    let erasable = match kind.is_personal() {
        true => format!("the {kind} can be held and erased all the same; "),
        false => String::new(),
    };
    capitalised(&format!("{remedy}{erasable}`crm verify --log` names all such events"))
}

/// What a client is told of file storage; the rest is for the log.
fn files_body(error: &FileError) -> Value {
    tracing::error!(correlation = %crate::caller::current_correlation(), %error, "a file is not stored or read");
    let again = matches!(error, FileError::Unavailable(_)).then_some("; please try again");
    let told = capitalised(error.in_plain_words());
    json!({ "detail": format!("{told}{}", again.unwrap_or_default()) })
}

/// With a capital letter.
pub(crate) fn capitalised(told: &str) -> String {
    let (first, rest) = told.split_at(1);
    format!("{}{rest}", first.to_uppercase())
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        Problem::Files(error)
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Files(error) => error.into(),
            UploadError::Database(error) => error.into(),
            error => Problem::Upload(error),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(reason) => Problem::Unavailable(reason),
            ReadError::Files(error) => Problem::Files(error),
            ReadError::Internal(error) => Problem::Internal(error),
        }
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(reason) => Problem::Unavailable(reason),
            DatabaseError::Failed(error) => Problem::Internal(error.into()),
        }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Llm(error) => error.into(),
            AskError::Database(error) => error.into(),
        }
    }
}

impl From<LlmError> for Problem {
    fn from(error: LlmError) -> Self {
        Problem::LanguageModel(error)
    }
}

impl From<SearchError> for Problem {
    fn from(error: SearchError) -> Self {
        match error {
            SearchError::Missing(missing) => Problem::NoMeaning(missing),
            SearchError::Database(error) => error.into(),
        }
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Self {
        Problem::Internal(error)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(self.body())).into_response();
        if let Problem::Unavailable(reason) = &self {
            tracing::warn!(%reason, "the database is not available");
        }
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Problem::Parked(_, position) = &self {
            response.headers_mut().insert(PARKED, HeaderValue::from(*position));
        }
        self.note();
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_is_wrong_in_the_words_of_the_contract() {
        let check = |problem: Problem, status: u16, body: Value| {
            assert_eq!(problem.status(), status, "{body}");
            assert_eq!(problem.body(), body);
        };
        check(Problem::NoSuchPath, 404, json!({"detail": "Not Found"}));
        let parked = Problem::Parked(Kind::Lp.record(7), 12).into_response();
        assert_eq!((parked.status().as_u16(), &parked.headers()[PARKED]), (404, &12.into()));
        check(Problem::NotFound(Kind::Lp), 404, json!({"detail": "LP not found"}));
        let missing = Fault::missing(["query".into(), "interest".into()]);
        check(
            Problem::invalid(missing),
            422,
            json!({"detail": [{"type": "missing", "loc": ["query", "interest"], "msg": "Field required",
                "input": null, "url": "https://errors.pydantic.dev/2.5/v/missing"}]}),
        );
        let many = |count| {
            let faults = (0..count).map(|at| Fault::missing(["body".into(), at.into()])).collect();
            Problem::Invalid(faults).body()["detail"].take()
        };
        assert_eq!(many(MOST_FAULTS).as_array().unwrap().len(), MOST_FAULTS);
        assert_eq!(many(MOST_FAULTS)[MOST_FAULTS - 1]["type"], "missing");
        assert_eq!(
            many(MOST_FAULTS + 7)[MOST_FAULTS],
            json!({"type": "more", "loc": ["body"], "msg": "7 more faults are not listed", "input": null})
        );
        let lost = "the database is not available: it stopped answering";
        let detail = "The database is not available; please try again";
        check(Problem::Unavailable(lost.into()), 503, json!({"detail": detail}));
        let full = "its disk is full (error returned from database: could not extend file)";
        let detail = "The database is not available: its disk is full; please try again";
        check(Problem::Unavailable(full.into()), 503, json!({"detail": detail}));
        let refused = CommandError::Refused(Refusal::NotRegistered);
        let problem = Problem::of_command(refused, Kind::Todo.record(1));
        check(problem, 404, json!({"detail": "Todo not found"}));
    }
}
