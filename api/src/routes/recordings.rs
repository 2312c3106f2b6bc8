//! `/recordings`: where each stands, its transcript, and what a person makes of what was suggested.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use domain::fund::{Fund, FundCommand, Interest};
use domain::lp::Lp;
use domain::note::{
    AcceptedInterest, AcceptedTodo, Note, NoteCommand, RecordingCommand, RecordingId,
};
use domain::{FundId, Kind, LpId, Moment, NoteId, RecordRef, Refusal, TodoId};
use futures::Stream;
use projections::log::CommandError;
use projections::read::StoredRecording;
use projections::uploads::upload_of;
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;

use crate::app::App;
use crate::body::{Body, Ids, Parameters, Shape, parse_id};
use crate::caller::Caller;
use crate::coerce::null_character;
use crate::describe::{Content, Endpoint, Routes, delete, get, patch, post};
use crate::json::Json as Sent;
use crate::problem::{Fault, Problem};
use crate::recordings::transcript::{self, Format};
use crate::recordings::{self, Standing};
use crate::resource::record_of;
use crate::writes::{Written, check_exist, execute, send};

/// How often a watched recording is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How often another id is drawn for a todo because an import was faster to use it.
const ATTEMPTS: usize = 5;

/// The routes of recordings.
pub fn routes() -> Routes {
    let accepted = json!({"title": "Send the deck", "due_date": "2025-02-07"});
    let interest = json!({"fund_id": 1, "lp_id": 1, "interest": "meeting"});
    Routes::tagged("Recordings")
        .at("/notes/{note_id}/recordings", [get(
            "The recordings of a note",
            Content::Example(Value::Array(vec![example()])),
            list,
        )])
        .at("/recordings/{recording_id}", [
            get(
                "Where a recording stands; with `Accept: text/event-stream` also whenever that changes",
                Content::Example(example()),
                show,
            ),
            delete(
                "Removes a recording for good",
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
            .query("format", false, "json, vtt, srt or txt; goes before `Accept`"),
            patch(
                "Corrects segments, each named by its times; null goes back to what the model heard",
                Content::Example(transcript_example()),
                correct,
            )
            .takes(Content::Example(json!({"segments": [{"start": 0.0, "end": 2.5, "text": "Hello"}]}))),
        ])
        .at("/recordings/{recording_id}/transcribe", [doing("Has it transcribed again", transcribe)
            .query("language", false, "The spoken language, such as en or es; not set: it is detected")
            .query("model", false, "A model of the server, such as base; not set: the server's own")])
        .at("/recordings/{recording_id}/summarise", [doing("Has it summarised again, as corrected", summarise)])
        .at("/recordings/{recording_id}/retry", [doing("Tries again what failed or was cancelled", retry)])
        .at("/recordings/{recording_id}/cancel", [doing("Stops what is under way", cancel)])
        .at("/recordings/{recording_id}/action-items/{number}/accept", [
            doing("Makes a todo of a suggested action item", accept_item).takes(Content::Example(accepted)),
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
    json!({"id": 5, "note_id": 7, "name": "call.webm", "state": "summarised", "why": null, "progress": 1.0,
        "duration": 1830.5, "language": "en", "model": "whisper-base-ba8ad06f2b54", "media_type": "audio/webm",
        "size": 4700000, "sha256": "9f86d0…", "audio_path": "/recordings/5/audio",
        "transcript_path": "/recordings/5/transcript", "corrections": 0,
        "summary": {"author": "model", "label": "Summary", "model": "llama3.1", "prompt": "1",
            "text": "They like the fund.", "key_points": [{"text": "Size", "start": 62.0}]},
        "action_items": [{"number": 1, "text": "Send the deck", "owner": "Ana", "due": "Friday",
            "quote": "I will send it", "start": 93.5, "state": "open", "todo_id": null}],
        "interest": {"interest": "meeting", "fundraise": "Fund III", "state": "open", "fund_id": null,
            "lp_id": null, "accepted_as": null}})
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
    caller: Caller,
) -> Result<Json<Value>, Problem> {
    parameters.expect(&["min_position"])?;
    check_exist(&app, &caller, &[record_of::<Note>(note)]).await?;
    let stored = app.reader.recordings_of(NoteId(note)).await?;
    let all = recordings::standing(&app, stored).await?;
    Ok(Json(all.iter().map(Standing::to_json).collect()))
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

/// Tells where a recording stands, now and whenever that is different, until nothing more is to come, it is removed, or
/// the client goes away.
fn watch(app: App, first: Standing) -> impl Stream<Item = Result<Event, Infallible>> {
    let (sender, events) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        let (id, mut now, mut told) = (first.stored.id, first, String::new());
        loop {
            let text = now.to_json().to_string();
            if text != told {
                let event = Event::default().event("recording").data(&text);
                if sender.send(Ok(event)).await.is_err() {
                    return;
                }
                told = text;
            }
            if !now.is_under_way() {
                return;
            }
            tokio::select! {
                () = sender.closed() => return,
                () = app.rebuilds.dismissal().cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            match recordings::find(&app, id).await {
                Ok(next) => now = next,
                Err(Problem::NoRecording(_)) => return,
                // While the database is away there is no news.
                Err(_) => {}
            }
        }
    });
    ReceiverStream::new(events)
}

async fn read_transcript(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    parameters.expect(&["format", "min_position"])?;
    let format = Format::wanted(parameters.get("format"), &headers)?;
    let stored = app.reader.recording(RecordingId(id)).await?;
    transcript::answer(&stored.ok_or_else(Problem::recording_not_found)?, format)
}

/// Carries out a command on a recording of a note.
async fn process(
    app: &App,
    caller: &Caller,
    id: i64,
    name: &'static str,
    command: RecordingCommand,
) -> Result<(StoredRecording, Written), Problem> {
    let stored = known(app, id).await?;
    let command = NoteCommand::Process { recording: stored.id, command };
    let written = execute::<Note>(app, caller, stored.note.0, name, command, None).await?;
    Ok((stored, written))
}

/// The recording as it stands after all writes that were answered before.
async fn known(app: &App, id: i64) -> Result<StoredRecording, Problem> {
    app.level().await?;
    let stored = app.reader.recording(RecordingId(id)).await?;
    stored.ok_or_else(Problem::recording_not_found)
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
    if let Some(upload) = upload_of(&stored.recording.file.key)
        && let Err(error) = app.intake.discard(upload).await
    {
        tracing::warn!(recording = id, %error, "the file of a removed recording is removed with the garbage");
    }
    Ok(written.answer(json!({"status": "deleted"})))
}

async fn correct(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
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
    parameters.expect(&["language", "model"])?;
    let language = plain(&parameters, "language", 8)?;
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
    Ok(shown(&app, process(&app, &caller, id, "AskSummary", command).await?).await)
}

async fn retry(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
) -> Result<Response, Problem> {
    Ok(shown(&app, process(&app, &caller, id, "Retry", RecordingCommand::Retry).await?).await)
}

async fn cancel(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
) -> Result<Response, Problem> {
    Ok(shown(&app, process(&app, &caller, id, "Cancel", RecordingCommand::Cancel).await?).await)
}

/// The todo's id is drawn before; if the item has a todo already, it goes unused.
async fn accept_item(
    State(app): State<App>,
    Ids([id, number]): Ids<2>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let stored = known(&app, id).await?;
    let item = item_number(number)?;
    let suggested = stored.recording.items.get(&item).map(|suggested| &suggested.item);
    let suggested =
        suggested.ok_or_else(|| Problem::NoRecording(Refusal::NoSuchSuggestion.to_string()))?;
    let said = Said::read(body)?;
    let spoken = suggested.due.as_deref().and_then(|due| Moment::parse_wall(due).ok());
    let todo = AcceptedTodo {
        id: TodoId(0),
        title: said.title.unwrap_or_else(|| suggested.text.clone()),
        due_date: said.due_date.or(spoken),
        at: Moment::from(Utc::now().naive_utc()),
    };
    let note = stored.note.0;
    for _ in 0..ATTEMPTS {
        let fresh = app.log.fresh_id(Kind::Todo).await;
        let fresh = fresh.map_err(|error| Problem::of_command(error, record_of::<Note>(note)))?;
        let todo = AcceptedTodo { id: TodoId(fresh), ..todo.clone() };
        let command = RecordingCommand::AcceptItem { item, todo };
        let command = NoteCommand::Process { recording: stored.id, command };
        match send::<Note>(&app, &caller, note, "AcceptActionItem", command, None).await {
            // An import was faster to use that id.
            Err(CommandError::Refused(Refusal::NextIdMissing)) => {}
            Ok(written) => return Ok(shown(&app, (stored, written)).await),
            Err(error) => return Err(Problem::of_command(error, record_of::<Note>(note))),
        }
    }
    Err(Problem::Conflict("no id was free for the todo; please try again".into()))
}

fn item_number(number: i64) -> Result<u32, Problem> {
    u32::try_from(number).map_err(|_| Problem::NoRecording(Refusal::NoSuchSuggestion.to_string()))
}

/// What a person says of the todo that an action item becomes.
#[derive(Default)]
struct Said {
    title: Option<String>,
    due_date: Option<Moment>,
}

impl Said {
    fn read(body: Body) -> Result<Self, Problem> {
        let mut said = Self::default();
        if matches!(body, Body::Nothing) {
            return Ok(said);
        }
        for (name, value) in body.into_members(Shape::Model)? {
            match (name.as_str(), value) {
                ("title" | "due_date", Sent::Null) => {}
                ("title", Sent::Text(text)) if text.contains('\0') => {
                    let place = ["body".into(), "title".into()];
                    return Err(Problem::invalid(null_character().at(place)));
                }
                ("title", Sent::Text(text)) if !text.trim().is_empty() => {
                    said.title = Some(text.trim().to_owned());
                }
                ("due_date", Sent::Text(text)) => {
                    let moment = Moment::parse_wall(text.trim()).map_err(|error| {
                        let fault = Fault::field("due_date", "date", error.to_string());
                        Problem::invalid(fault.with_input(text.clone()))
                    })?;
                    said.due_date = Some(moment);
                }
                ("title" | "due_date", other) => {
                    let fault = Fault::new(
                        "string_type",
                        ["body".into(), name.into()],
                        "Input should be a text that says something",
                    );
                    return Err(Problem::invalid(fault.with_input(other.shown())));
                }
                _ => {}
            }
        }
        Ok(said)
    }
}

async fn dismiss_item(
    State(app): State<App>,
    Ids([id, number]): Ids<2>,
    caller: Caller,
) -> Result<Response, Problem> {
    let command = RecordingCommand::DismissItem { item: item_number(number)? };
    Ok(shown(&app, process(&app, &caller, id, "DismissActionItem", command).await?).await)
}

/// The fund is told first: if crm dies in between, accepting again changes nothing there and ends the rest.
async fn accept_interest(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let stored = known(&app, id).await?;
    let suggested = stored.recording.interest.as_ref();
    let suggested =
        suggested.ok_or_else(|| Problem::NoRecording(Refusal::NoSuchSuggestion.to_string()))?;
    let members = match body {
        Body::Nothing => vec![],
        body => body.into_members(Shape::Model)?,
    };
    let linked = app.reader.linked_to(stored.note.into()).await?;
    let fund = FundId(one_of(&members, "fund_id", &linked, Kind::Fund)?);
    let lp = LpId(one_of(&members, "lp_id", &linked, Kind::Lp)?);
    let interest = stage(&members, &suggested.suggestion.interest)?;
    check_exist(&app, &caller, &[record_of::<Fund>(fund.0), record_of::<Lp>(lp.0)]).await?;
    let contact = app.reader.newest_common_note(fund.into(), lp).await?;
    let record = FundCommand::RecordInterest {
        lp,
        interest: Interest::from(interest.as_str()),
        contact,
        legacy: None,
    };
    let own = caller.unconditional();
    execute::<Fund>(&app, &own, fund.0, "RecordInterest", record, None).await?;
    let as_recorded = AcceptedInterest { fund, lp, interest };
    let command = RecordingCommand::AcceptInterest { as_recorded };
    Ok(shown(&app, process(&app, &caller, id, "AcceptInterest", command).await?).await)
}

async fn dismiss_interest(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
) -> Result<Response, Problem> {
    let command = RecordingCommand::DismissInterest;
    Ok(shown(&app, process(&app, &caller, id, "DismissInterest", command).await?).await)
}

/// The id that the body names, else that of the only linked record of the kind.
fn one_of(
    members: &[(String, Sent)],
    name: &'static str,
    linked: &[RecordRef],
    kind: Kind,
) -> Result<i64, Problem> {
    let place = || ["body".into(), name.into()];
    match members.iter().find(|(it, _)| it == name).map(|(_, value)| value) {
        Some(Sent::Number(text) | Sent::Text(text)) => parse_id(text)
            .map_err(|fault| Problem::invalid(fault.at(place()).with_input(text.clone()))),
        Some(Sent::Null) | None => {
            let mut of_kind = linked.iter().filter(|record| record.kind() == kind);
            match (of_kind.next(), of_kind.next()) {
                (Some(only), None) => Ok(only.id()),
                (first, _) => {
                    let number = if first.is_some() { "several" } else { "no" };
                    let message =
                        format!("The note is about {number} records of kind {kind}: say which");
                    Err(Problem::invalid(Fault::new("missing", place(), message)))
                }
            }
        }
        Some(other) => {
            let fault = Fault::new("int_type", place(), "Input should be a valid integer");
            Err(Problem::invalid(fault.with_input(other.shown())))
        }
    }
}

/// The stage of the funnel that the body names, else the suggested one if it is one.
fn stage(members: &[(String, Sent)], suggested: &str) -> Result<String, Problem> {
    let said = members.iter().find_map(|(name, value)| match value {
        Sent::Text(text) if name == "interest" && !text.contains('\0') => Some(text.clone()),
        _ => None,
    });
    match said {
        Some(said) if !said.trim().is_empty() => Ok(said.trim().to_owned()),
        _ if Interest::KNOWN.contains(&suggested) => Ok(suggested.to_owned()),
        _ => {
            let message = format!("Say which stage of the funnel: {}", Interest::KNOWN.join(", "));
            Err(Problem::invalid(Fault::field("interest", "missing", message)))
        }
    }
}
