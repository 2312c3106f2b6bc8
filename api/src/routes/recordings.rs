//! `/recordings`: where each stands, its transcript, and what is to be done with it.

mod suggestions;
mod watch;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use domain::NoteId;
use domain::note::{Note, NoteCommand, RecordingCommand, RecordingId};
use projections::read::StoredRecording;
use projections::uploads::{UploadError, upload_of};
use serde_json::{Value, json};

use self::suggestions::{accept_interest, accept_item, dismiss_interest, dismiss_item};
use self::watch::watch;
use crate::app::App;
use crate::body::{Body, Ids, Parameters, Shape};
use crate::caller::Caller;
use crate::describe::{Content, Endpoint, Routes, delete, get, patch, post};
use crate::history::wanted::{RECORDINGS, Wanted};
use crate::json::Json as Sent;
use crate::problem::{Fault, Problem};
use crate::recordings::transcript::{self, Format};
use crate::recordings::{self, READ_MODEL, Standing, list, name};
use crate::resource::record_of;
use crate::uploads;
use crate::writes::{Written, check_shown, condition, execute};

/// The routes of recordings.
pub fn routes() -> Routes {
    let accepted = json!({"title": "Send the deck", "due_date": "2025-02-07", "owner": "Ana Ruiz"});
    let interest = json!({"fund_id": 1, "lp_id": 1, "interest": "meeting"});
    Routes::tagged("Recordings")
        .at("/notes/{note_id}/recordings", [get(
            "The recordings of a note",
            Content::Example(Value::Array(vec![example()])),
            list,
        )])
        .at("/recordings", [get(
            "The recordings of all notes, the newest first",
            Content::Example(json!({"recordings": [listed_example()], "next": 5})),
            list_all,
        )
        .query("state", false, "Only those that are in this state: stored, waiting_for_model, transcribing, transcribed, summarised, cancelled or failed")
        .query("limit", false, "How many at most, 1 to 500; usually 50")
        .query("cursor", false, "Goes on after an earlier page: its `next`")
        .tells("Link", "Where the next page is, as `rel=\"next\"`")
        .strict()])
        .at("/recordings/{recording_id}", [
            get(
                "Where a recording stands; with `Accept: text/event-stream` also whenever that changes, as long as something is under way",
                Content::Example(example()),
                show,
            ),
            patch("Gives a recording another name", Content::Example(example()), rename)
                .takes(Content::Example(json!({"name": "Lunch with Ana"}))),
            delete(
                "Removes a recording, and its audio for good, of which `audio` says `kept` while file storage refuses that; a legal hold on the note forbids it (409)",
                Content::Example(json!({"status": "deleted"})),
                remove,
            ),
        ])
        .at("/recordings/{recording_id}/transcript", [
            get(
                "Its transcript as it was corrected; by `Accept` also text/vtt, application/x-subrip or text/plain",
                Content::Example(transcript_example()),
                read_transcript,
            )
            .query("format", false, "json, vtt, srt or txt; goes before `Accept`")
            .tells("Content-Disposition", "Its name as a file")
            .strict(),
            patch(
                "Corrects segments, gaps and marks no_words, each named by its times; null goes back to what the model heard",
                Content::Example(transcript_example()),
                correct,
            )
            .takes(Content::Example(json!({"segments": [{"start": 0.0, "end": 2.5, "text": "Hello"}]}))),
        ])
        .at("/recordings/{recording_id}/transcribe", [doing("Has it transcribed again", transcribe)
            .query("language", false, "The spoken language, such as en or es; not set: it is detected")
            .query("model", false, "A model of the server, such as base or whisper-base; not set: the server's own")])
        .at("/recordings/{recording_id}/summarise", [doing("Has it summarised again, as corrected", summarise)])
        .at("/recordings/{recording_id}/retry", [doing("Tries again what failed or was cancelled, and a summary that highlights stand in for; at once what waits for its next attempt", retry)])
        .at("/recordings/{recording_id}/cancel", [doing("Stops what is under way", cancel)])
        .at("/recordings/{recording_id}/action-items/{number}/accept", [
            doing("Makes a todo of a suggested action item, also of one that was dismissed, or whose todo was deleted", accept_item).takes(Content::Example(accepted)),
        ])
        .at("/recordings/{recording_id}/action-items/{number}/dismiss", [
            doing("Puts a suggested action item away", dismiss_item),
        ])
        .at("/recordings/{recording_id}/interest/accept", [
            doing("Records the suggested interest of an LP in a fund", accept_interest)
                .takes(Content::Example(interest)),
        ])
        .at("/recordings/{recording_id}/interest/dismiss", [
            doing("Puts the suggested interest away", dismiss_interest),
        ])
}

fn doing<H: axum::handler::Handler<T, App>, T: 'static>(
    summary: &'static str,
    handler: H,
) -> Endpoint {
    post(summary, Content::Example(example()), handler)
}

fn example() -> Value {
    json!({"id": 5, "note_id": 7, "name": "call.webm", "attached_at": "2025-01-31T15:04:05.123456Z", "state": "summarised", "why": null, "progress": 1.0,
        "duration": 1830.5, "language": "en", "model": "whisper-base-ba8ad06f2b54", "media_type": "audio/webm",
        "size": 4700000, "sha256": "9f86d0…", "audio_path": "/recordings/5/audio",
        "transcript_path": "/recordings/5/transcript", "corrections": 0,
        "summary": {"author": "model", "label": "Summary", "model": "llama3.1", "prompt": "1",
            "text": "They like the fund.", "key_points": [{"text": "Size", "start": 62.0}], "corrected_since": false},
        "action_items": [{"number": 1, "text": "Send the deck", "owner": "Ana", "due": "Friday",
            "due_date": "2025-02-07T00:00:00", "quote": "I will send it", "start": 93.5, "state": "open", "todo_id": null,
            "todo_deleted": false}],
        "interest": {"interest": "meeting", "fundraise": "Fund III", "quote": "let us meet in May",
            "start": 120.0, "state": "open", "fund_id": null,
            "lp_id": null, "accepted_as": null, "fund_deleted": false, "lp_deleted": false}})
}

fn listed_example() -> Value {
    json!({"id": 5, "name": "call.webm", "attached_at": "2025-01-31T15:04:05.123456Z", "state": "summarised",
        "why": null, "progress": 1.0, "duration": 1830.5, "language": "en",
        "note": {"id": 7, "name": "Call"}, "lps": [{"id": 1, "name": "Profuturo"}]})
}

fn transcript_example() -> Value {
    json!({"recording_id": 5, "note_id": 7, "language": "en", "model": "whisper-base-ba8ad06f2b54",
        "duration": 1830.5, "segments": [{"start": 0.0, "end": 2.5, "text": "Hello", "confidence": 0.93,
            "corrected": false}], "gaps": [], "marks": [{"start": 60.0, "end": 75.0, "kind": "silence"}]})
}

async fn list(
    State(app): State<App>,
    Ids([note]): Ids<1>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    parameters.expect(&["min_position"])?;
    check_shown(&app, record_of::<Note>(note)).await?;
    let stored = app.reader.recordings_of(NoteId(note)).await?;
    let all = recordings::standing(&app, stored).await?;
    Ok(Json(all.iter().map(Standing::to_json).collect()))
}

/// The page for people is at the same path: whoever asks for `text/html` is answered before it comes here.
async fn list_all(State(app): State<App>, uri: Uri) -> Result<Response, Problem> {
    let listed = list::list(&app, &Wanted::of(&uri, RECORDINGS)?).await?;
    Ok(super::history::paged(&uri, listed.to_json(), listed.next))
}

async fn show(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    parameters.expect(&["min_position"])?;
    let now = recordings::find(&app, RecordingId(id)).await?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    match accept.is_some_and(|accept| accept.contains("text/event-stream")) {
        true => Ok(Sse::new(watch(app, now)).keep_alive(KeepAlive::default()).into_response()),
        false => Ok(Json(now.to_json()).into_response()),
    }
}

async fn read_transcript(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    parameters.expect(&["format", "min_position"])?;
    let format = Format::wanted(parameters.get("format"), &headers)?;
    let stored = recordings::stored(&app, RecordingId(id)).await?;
    let note = app.reader.record(stored.note.into()).await?;
    let note = note.map(|note| note.value()).transpose()?.unwrap_or_default();
    transcript::answer(&stored, &note, format)
}

async fn rename(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    caller.attempts("RenameRecording");
    let members = body.into_members(Shape::Model)?;
    known_members(&members, &["name"])?;
    let name = match members.into_iter().find(|(name, _)| name == "name") {
        None => return Err(Problem::invalid(Fault::missing(["body".into(), "name".into()]))),
        Some((_, Sent::Text(text))) => name::line("body", "name", &text)?,
        Some(_) => name::line("body", "name", "")?,
    };
    let command = RecordingCommand::Rename { name };
    Ok(shown(&app, process(&app, &caller, id, "RenameRecording", command).await?).await)
}

/// Refuses members of any other name: whoever misspells one must not be taken to have said nothing.
fn known_members(members: &[(String, Sent)], names: &[&str]) -> Result<(), Problem> {
    let unknown = members.iter().filter(|(name, _)| !names.contains(&name.as_str()));
    let faults: Vec<Fault> = unknown
        .map(|(name, value)| {
            let said = format!("There is no such field; there are {}", names.join(", "));
            let place = ["body".into(), name.as_str().into()];
            Fault::new("extra_forbidden", place, said).with_input(value.shown())
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(Problem::Invalid(faults)) }
}

/// Carries out a command on a recording of a note, whose tag `If-Match` is about.
async fn process(
    app: &App,
    caller: &Caller,
    id: i64,
    name: &'static str,
    command: RecordingCommand,
) -> Result<(StoredRecording, Written), Problem> {
    caller.attempts(name);
    let stored = known(app, id).await?;
    let version = condition(app, caller, stored.note.into()).await?;
    let command = NoteCommand::Process { recording: stored.id, command };
    let written = execute::<Note>(app, caller, stored.note.0, name, command, version).await?;
    Ok((stored, written))
}

/// The recording as it stands after all writes that were answered before; while this release is yet to build the read
/// model, as that has it. Whether the recording allows what is asked of it, its note decides.
async fn known(app: &App, id: i64) -> Result<StoredRecording, Problem> {
    app.level(&[READ_MODEL]).await?;
    recordings::stored(app, RecordingId(id)).await
}

/// Answers a write with the recording as readers see it now.
async fn shown(app: &App, (stored, written): (StoredRecording, Written)) -> Response {
    let now = match recordings::find(app, stored.id).await {
        Ok(standing) => standing.to_json(),
        // It is recorded, so the client must not send it again, whatever keeps readers from seeing it now.
        Err(_) => json!({"id": stored.id, "note_id": stored.note}),
    };
    written.answer(now)
}

async fn remove(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
) -> Result<Response, Problem> {
    let command = RecordingCommand::Remove;
    let (stored, written) = process(&app, &caller, id, "RemoveRecording", command).await?;
    let Some(upload) = upload_of(&stored.recording.file.key) else {
        return Ok(written.answer(json!({"status": "deleted"})));
    };
    let Err(error) = app.intake.remove_recording(upload).await else {
        return Ok(written.answer(json!({"status": "deleted"})));
    };
    tracing::warn!(recording = id, %error, "the file of a removed recording is removed with the garbage");
    // The recording is gone for everybody, and nobody must take its audio for destroyed.
    let why = match &error {
        UploadError::Files(error) => error.in_plain_words(),
        _ => "the database does not answer",
    };
    let why = format!("{why}; crm removes it, as all that no event names, as soon as it can");
    Ok(written.answer(json!({"status": "deleted", "audio": "kept", "why": why})))
}

async fn correct(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    caller.attempts("CorrectTranscript");
    let corrections = transcript::corrections(body.into_members(Shape::Model)?)?;
    let command = RecordingCommand::Correct { corrections };
    let (stored, written) = process(&app, &caller, id, "CorrectTranscript", command).await?;
    let now = app.reader.recording(stored.id).await.ok().flatten().unwrap_or(stored);
    Ok(written.answer(transcript::to_json(&now)))
}

async fn transcribe(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Response, Problem> {
    caller.attempts("AskTranscription");
    parameters.expect(&["language", "model"])?;
    let place = ["query".into(), "language".into()];
    let language = uploads::language(parameters.get("language"), place)?;
    let model = plain(&parameters, "model", 64)?;
    let command = RecordingCommand::AskTranscription { language, model };
    Ok(shown(&app, process(&app, &caller, id, "AskTranscription", command).await?).await)
}

/// A parameter that is a short name.
fn plain(
    parameters: &Parameters,
    name: &'static str,
    longest: usize,
) -> Result<Option<String>, Problem> {
    let Some(text) = parameters.get(name).map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    match text.len() <= longest && text.chars().all(is_plain) {
        true => Ok(Some(text.to_owned())),
        false => {
            let message = format!("Input should be letters, digits, - _ or ., at most {longest}");
            let fault = Fault::new("name", ["query".into(), name.into()], message);
            Err(Problem::invalid(fault.with_input(text.chars().take(100).collect::<String>())))
        }
    }
}

async fn summarise(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
) -> Result<Response, Problem> {
    let command = RecordingCommand::AskSummary;
    let done = process(&app, &caller, id, "AskSummary", command).await?;
    recordings::hurry(&app, done.0.id).await;
    Ok(shown(&app, done).await)
}

async fn retry(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
) -> Result<Response, Problem> {
    let done = process(&app, &caller, id, "Retry", RecordingCommand::Retry).await?;
    recordings::hurry(&app, done.0.id).await;
    Ok(shown(&app, done).await)
}

async fn cancel(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
) -> Result<Response, Problem> {
    Ok(shown(&app, process(&app, &caller, id, "Cancel", RecordingCommand::Cancel).await?).await)
}
