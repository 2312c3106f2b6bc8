//! Recordings that are sent to a note: whole, or in parts by tus 1.0 (<https://tus.io/protocols/resumable-upload>).
//!
//! `projections::uploads` stores what comes; here are the words of the protocols, and what happens when a recording has
//! come wholly: its note is told by a command.

pub mod plain;
pub mod tus;

use std::time::Duration;

use axum::http::{Method, StatusCode};
use domain::note::{AudioFile, Note, NoteCommand, RecordingCommand, RecordingId};
use domain::{Kind, RecordRef, Refusal};
use projections::log::{CommandError, CommandRequest, EventLog};
use projections::uploads::{self, Announcement, Intake, Upload, UploadError};
use serde_json::Value;
use uuid::Uuid;

use crate::app::App;
use crate::body::Parameters;
use crate::caller::Caller;
use crate::problem::{Fault, Problem};
use crate::recordings::name;
use crate::writes::Written;

/// What a recording is called that came without a name.
const UNNAMED: &str = "Recording";

/// tus: the checksum does not fit. No registered status says so.
const CHECKSUM_MISMATCH: u16 = 460;

/// Whether a request's body is taken in as it comes, however long it takes and however large it is.
pub fn is_streamed(method: &Method, path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    matches!(
        (method, &parts[..]),
        (&Method::POST, ["notes", _, "recordings"])
            | (&Method::PATCH | &Method::POST, ["uploads", _])
    )
}

/// What the parameters of a request say of the recording that it sends, in whichever way.
///
/// # Errors
/// [`Problem::Invalid`] when the name is no line of text, or no model knows the language.
fn named(parameters: &Parameters) -> Result<Announcement, Problem> {
    Ok(Announcement {
        name: name::given("query", parameters.get("name").unwrap_or_default())?,
        language: language(parameters.get("language"), ["query".into(), "language".into()])?,
        ..Announcement::default()
    })
}

/// The code of the language that a request names; none if it leaves it to be found out.
///
/// # Errors
/// [`Problem::Invalid`] when no model knows it.
pub fn language(said: Option<&str>, place: [Value; 2]) -> Result<Option<String>, Problem> {
    let said = said.map(str::trim).filter(|said| !matches!(*said, "" | "auto"));
    let Some(said) = said else { return Ok(None) };
    let code = speech::language::code(said).ok_or_else(|| {
        let known = "Input should be a language that can be understood, such as en or es";
        let shown: String = said.chars().take(100).collect();
        Problem::invalid(Fault::new("language", place, known).with_input(shown))
    });
    code.map(|code| Some(code.to_owned()))
}

/// The status that says why an upload does not go on.
pub fn status(error: &UploadError) -> StatusCode {
    match error {
        UploadError::Gone => StatusCode::NOT_FOUND,
        UploadError::Elsewhere(_) | UploadError::Whole | UploadError::Begun => StatusCode::CONFLICT,
        UploadError::TooLarge(_) | UploadError::Excess(_) => StatusCode::PAYLOAD_TOO_LARGE,
        UploadError::Checksum => {
            StatusCode::from_u16(CHECKSUM_MISMATCH).unwrap_or(StatusCode::BAD_REQUEST)
        }
        UploadError::OtherContent { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        UploadError::NoRecording(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        UploadError::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
        UploadError::Files(_) | UploadError::Database(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Makes a recording of an upload that has come wholly, and tells its note. Doing it again changes nothing.
///
/// # Errors
/// When bytes are missing, the note does not take it, or storage or database fail.
pub async fn finish(app: &App, caller: &Caller, id: Uuid) -> Result<(Upload, Written), Problem> {
    let upload = app.intake.finish(id).await?;
    let note = Kind::Note.record(upload.note_id);
    let request = caller.request("AttachRecording");
    let receipt = attach(&app.log, &app.intake, &upload, &request).await;
    let receipt = receipt.map_err(|error| of_attaching(error, note))?;
    Ok((upload, Written::of::<Note>(app, receipt).await))
}

/// Why a note does not have its recording.
#[derive(Debug, thiserror::Error)]
enum AttachError {
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Command(#[from] CommandError),
}

fn of_attaching(error: AttachError, note: RecordRef) -> Problem {
    match error {
        AttachError::Upload(error) => error.into(),
        AttachError::Command(error) => Problem::of_command(error, note),
    }
}

async fn attach(
    log: &EventLog,
    intake: &Intake,
    upload: &Upload,
    request: &CommandRequest,
) -> Result<projections::log::Receipt, AttachError> {
    let whole = || Some((upload.recording_id?, upload.sha256.clone()?, upload.media_type.clone()?));
    let (recording, sha256, media_type) =
        whole().ok_or(UploadError::Elsewhere(upload.received()))?;
    let (key, size, sealed) = (upload.key(), upload.received(), upload.sealed);
    let file = AudioFile { key, size, media_type, sha256, sealed };
    let (name, language) = (upload.name.clone(), upload.language.clone());
    let name = name.unwrap_or_else(|| UNNAMED.to_owned());
    let command = RecordingCommand::Attach { file, name, language };
    let command = NoteCommand::Process { recording: RecordingId(recording), command };
    let receipt = log.execute::<Note>(upload.note_id, command, request).await?;
    let noted = intake.ask(async |db| uploads::attached(db, upload.id).await).await;
    noted.map_err(UploadError::from)?;
    Ok(receipt)
}

/// Attaches what has come wholly but was not attached: its server was killed, or the log could not be written then.
pub async fn attach_waiting(log: EventLog, intake: Intake) {
    const LOOK: Duration = Duration::from_secs(30);
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let waiting = match intake.ask(async |db| uploads::unattached(db).await).await {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::debug!(%error, "uploads are looked for later");
                continue;
            }
        };
        for upload in waiting {
            match attach_one(&log, &intake, upload.id).await {
                Ok(()) => tracing::info!(upload = %upload.id, "a recording is attached late"),
                Err(AttachError::Command(CommandError::Refused(
                    Refusal::NotRegistered | Refusal::Erased,
                ))) => {
                    tracing::debug!(upload = %upload.id, "its note is gone; the upload will expire")
                }
                Err(error) => {
                    tracing::warn!(upload = %upload.id, %error, "a recording is not attached yet")
                }
            }
        }
    }
}

async fn attach_one(log: &EventLog, intake: &Intake, id: Uuid) -> Result<(), AttachError> {
    let upload = intake.finish(id).await?;
    let request = CommandRequest {
        name: "AttachRecording",
        actor: "crm".to_owned(),
        command_id: Uuid::now_v7(),
        correlation_id: Uuid::now_v7(),
        causation_id: None,
        source: "upload".to_owned(),
        client: None,
        user_agent: None,
        trace_id: None,
        if_match: None,
        idempotency: None,
    };
    attach(log, intake, &upload, &request).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uploads_are_taken_in_as_they_come() {
        let check = |method: Method, path: &str, expected: bool| {
            assert_eq!(is_streamed(&method, path), expected, "{method} {path}");
        };
        check(Method::POST, "/notes/7/recordings", true);
        check(Method::GET, "/notes/7/recordings", false);
        check(Method::PATCH, "/uploads/0198c0de-0000-4000-8000-000000000001", true);
        check(Method::DELETE, "/uploads/0198c0de-0000-4000-8000-000000000001", false);
        check(Method::POST, "/notes", false);
        check(Method::PATCH, "/recordings/7/transcript", false);
    }
}
