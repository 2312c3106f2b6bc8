//! `/notes/{id}/recordings` by POST and `/uploads/{id}`: recordings on their way.

use axum::body::{Body, BodyDataStream};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::note::Note;
use futures::TryStreamExt as _;
use projections::uploads::{Announcement, Checksum, Upload, UploadError, declare};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use crate::app::App;
use crate::body::{Ids, Parameters};
use crate::caller::{Caller, correlated, current_correlation};
use crate::describe::{Content, Routes, UPLOADS, delete, head, options, patch, post};
use crate::once;
use crate::problem::Problem;
use crate::resource::record_of;
use crate::uploads::finish;
use crate::uploads::plain::{self, Coming};
use crate::uploads::tus::{self, meant_method, must_speak_tus, speaks_tus};
use crate::writes::{Written, writable};

/// How often a request is begun anew because the same one was faster on another server.
const ATTEMPTS: usize = 3;

/// The routes of uploads.
pub fn routes() -> Routes {
    let attached = json!({"id": 1, "note_id": 1, "name": "call.webm", "size": 1048576,
        "media_type": "audio/webm", "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"});
    Routes::tagged(UPLOADS)
        .at(
            "/notes/{note_id}/recordings",
            [
                post(
                    "Adds a recording to a note: the body is the recording, or a form with it as its file, or with \
                     Tus-Resumable there is none yet and the answer's Location takes it in parts",
                    Content::Example(attached),
                    create,
                )
                .takes(Content::Binary)
                .succeeds("201")
                .tells("Location", "The recording; by tus, where its parts are sent")
                .tells("Upload-Offset", "By tus: how many bytes are there")
                .or("415", "It is plainly no recording, or is compressed.")
                .query("name", false, "What the recording is called")
                .query("language", false, "The language spoken in it, such as es; else it is found out")
                .header("Tus-Resumable", "1.0.0 to send it in parts")
                .header("Upload-Length", "By tus: its length in bytes")
                .header("Upload-Defer-Length", "By tus: 1 while its length is not known")
                .header("Upload-Metadata", "By tus: filename, language and sha256, each in base64; goes before `name` and `language`")
                .header("Repr-Digest", "Its SHA-256, which is then checked: sha-256=:, the sum in base64, and a colon")
                .header("Content-Digest", "Likewise, where the body is the recording and no form")
                .header("If-Match", "Take it only if the note's tag is still this")
                .header("Idempotency-Key", "Take it once for this key; by tus its offset does that"),
                options("What uploads by tus can do here", Content::Nothing, abilities).succeeds("204"),
            ],
        )
        .at(
            "/uploads/{upload}",
            [
                head("Where an upload stands (tus)", Content::Nothing, stand)
                    .tells("Upload-Offset", "How many bytes are there")
                    .or("415", "All of it has come, and it is plainly no recording."),
                patch("Goes on with an upload (tus)", Content::Nothing, append)
                    .succeeds("204")
                    .tells("Upload-Offset", "How many bytes are there now")
                    .or("415", "The body is not marked as a part of an upload, or is plainly no recording.")
                    .or("460", "The body is not what its checksum says.")
                    .takes(Content::Binary)
                    .header("Upload-Offset", "Where the body begins, in bytes")
                    .header("Upload-Length", "The whole length, if it was not known before")
                    .header("Upload-Checksum", "sha1 or sha256 and the sum of the body in base64")
                    .strict(),
                post("Another method, for clients that can send only POST (tus)", Content::Nothing, overridden)
                    .succeeds("204")
                    .tells("Upload-Offset", "How many bytes are there now")
                    .or("405", "No method is named that it could be.")
                    .or("415", "The body is not marked as a part of an upload, or is plainly no recording.")
                    .or("460", "The body is not what its checksum says.")
                    .header("X-HTTP-Method-Override", "PATCH or DELETE"),
                delete("Gives an upload up (tus)", Content::Nothing, discard).succeeds("204"),
                options("What uploads by tus can do here", Content::Nothing, abilities).succeeds("204"),
            ],
        )
}

async fn abilities(State(app): State<App>) -> Response {
    tus::abilities(app.intake.limit())
}

async fn create(
    State(app): State<App>,
    Ids([note]): Ids<1>,
    parameters: Parameters,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let by_tus = match speaks_tus(&headers) {
        Ok(by_tus) => by_tus,
        Err(answer) => return Ok(*answer),
    };
    parameters.expect(&["name", "language"])?;
    if by_tus {
        writable(&app, &caller, record_of::<Note>(note)).await?;
        let announced = tus::announcement(&headers, &parameters)?;
        return begin(app, caller, note, announced, &headers, body).await;
    }
    let (announced, coming) = plain::recording(&headers, &parameters, body).await?;
    let key = once::key_of(&headers)?;
    let is_keyed = key.is_some();
    let upload = match key {
        None => {
            writable(&app, &caller, record_of::<Note>(note)).await?;
            app.intake.begin(note, &announced, None).await?
        }
        Some(key) => {
            let _turn = app.turns.take(once::turn(&key)).await;
            match begin_once(&app, &caller, note, &announced, &key).await? {
                Keyed::Fresh(upload) => upload,
                Keyed::Earlier(earlier) => {
                    return repeated(&app, &caller, earlier, (note, announced), coming).await;
                }
            }
        }
    };
    let arriving = in_a_task(arrive(app.clone(), caller, upload.clone(), coming));
    let taken_over = |problem: &Problem| {
        matches!(problem, Problem::Upload(UploadError::Gone | UploadError::Interrupted))
    };
    let mut answer = match joined(arriving).await {
        // The same request has come once more, here or to another server, and sends all of it again.
        Err(problem) if is_keyed && taken_over(&problem) && !is_kept(&app, upload.id).await => {
            Problem::from(UploadError::Begun).into_response()
        }
        answer => answer.unwrap_or_else(IntoResponse::into_response),
    };
    if !answer.status().is_success() && is_kept(&app, upload.id).await {
        // All of it has come, and it becomes a recording by itself or when it is asked for here.
        answer.headers_mut().extend(location(&upload));
    }
    Ok(answer)
}

/// What there is under an idempotency key.
enum Keyed {
    /// An upload that has just begun.
    Fresh(Upload),
    /// One that came wholly before.
    Earlier(Upload),
}

/// Begins an upload under an idempotency key, unless it has come before. The turn that the request has is one of this
/// process: where the same request is just beginning on another server, it is the one that is repeated.
async fn begin_once(
    app: &App,
    caller: &Caller,
    note: i64,
    announced: &Announcement,
    key: &str,
) -> Result<Keyed, Problem> {
    for _ in 0..ATTEMPTS {
        if let Some(earlier) = app.intake.earlier(key).await? {
            return Ok(Keyed::Earlier(earlier));
        }
        if app.log.recorded_answer(key).await.map_err(once::problem)?.is_some() {
            return Err(Problem::key_reused());
        }
        writable(app, caller, record_of::<Note>(note)).await?;
        match app.intake.begin(note, announced, Some(key)).await {
            Err(UploadError::Begun) => {}
            begun => return Ok(Keyed::Fresh(begun?)),
        }
    }
    Err(UploadError::Begun.into())
}

/// Whether an upload is still there as far as anybody knows.
async fn is_kept(app: &App, id: Uuid) -> bool {
    !matches!(app.intake.settled(id).await, Err(UploadError::Gone))
}

/// Answers a request whose key was used before: nothing happens twice.
async fn repeated(
    app: &App,
    caller: &Caller,
    earlier: Upload,
    (note, announced): (i64, Announcement),
    coming: Coming,
) -> Result<Response, Problem> {
    let is_like = earlier.note_id == note
        && (&earlier.name, &earlier.language) == (&announced.name, &announced.language);
    if !is_like || !app.intake.has(&earlier, coming.bytes).await? {
        return Err(Problem::key_reused());
    }
    // Its conditions were met then.
    let (upload, written) = finish(app, &caller.unconditional(), earlier.id).await?;
    Ok(attached(&upload, written))
}

/// Takes in a recording that comes in one request.
async fn arrive(
    app: App,
    caller: Caller,
    upload: Upload,
    coming: Coming,
) -> Result<Response, Problem> {
    let Coming { bytes, surplus } = coming;
    let taken = match app.intake.append(upload.id, 0, bytes, None).await {
        Ok(taken) => taken,
        Err(error) => {
            // Nobody knows how far it came, so nobody can go on with it.
            app.intake.abandon(upload.id, &error).await;
            return Err(match error {
                UploadError::Interrupted if surplus.is_there() => plain::several(),
                error => error.into(),
            });
        }
    };
    if taken.received() == 0 {
        app.intake.discard(upload.id).await?;
        return Err(plain::empty());
    }
    close(&app, upload.id, taken.received()).await?;
    let (upload, written) = finish(&app, &caller, upload.id).await?;
    Ok(attached(&upload, written))
}

/// Begins an upload by tus; what its request brings along is the beginning of it.
async fn begin(
    app: App,
    caller: Caller,
    note: i64,
    announced: Announcement,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let checksum = tus::checksum(headers)?;
    let mut upload = app.intake.begin(note, &announced, None).await?;
    if tus::is_appended(headers) {
        let coming = body.into_data_stream();
        let taking = take(app.clone(), caller, upload.id, 0, coming, checksum);
        match joined(in_a_task(taking)).await {
            Ok(taken) => upload = taken,
            // As far as it came the upload is there, unless it was refused for good.
            Err(problem) => match app.intake.settled(upload.id).await {
                Err(UploadError::Gone) => return Err(problem),
                standing => {
                    tracing::info!(?problem, upload = %upload.id, "the beginning of an upload is not taken");
                    upload = standing.unwrap_or(upload);
                }
            },
        }
    }
    let mut headers = tus::standing(&upload);
    headers.extend(location(&upload));
    Ok((StatusCode::CREATED, headers).into_response())
}

async fn stand(
    State(app): State<App>,
    upload: Result<Path<Uuid>, PathRejection>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Err(answer) = must_speak_tus(&headers) {
        return Ok(*answer);
    }
    let mut upload = app.intake.settled(id_of(upload)?).await?;
    if upload.has_all() && upload.attached_at.is_none() {
        // To its sender an upload is done when all of it has come: so it must be.
        upload = finish(&app, &caller, upload.id).await?.0;
    }
    Ok((StatusCode::OK, tus::standing(&upload)).into_response())
}

async fn append(
    State(app): State<App>,
    upload: Result<Path<Uuid>, PathRejection>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if let Err(answer) = must_speak_tus(&headers) {
        return Ok(*answer);
    }
    let (id, offset) = (id_of(upload)?, tus::offset(&headers)?);
    if let Some(size) = tus::number(&headers, tus::LENGTH)? {
        // A length that comes with a wrong offset is as wrong as that, and would hold for good.
        let upload = app.intake.settled(id).await?;
        if upload.received() != offset || upload.sha256.is_some() {
            return Err(UploadError::Elsewhere(upload.received()).into());
        }
        close(&app, id, size).await?;
    }
    let checksum = tus::checksum(&headers)?;
    let taking = take(app, caller, id, offset, body.into_data_stream(), checksum);
    let upload = joined(in_a_task(taking)).await?;
    Ok((StatusCode::NO_CONTENT, tus::standing(&upload)).into_response())
}

async fn discard(
    State(app): State<App>,
    upload: Result<Path<Uuid>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if let Err(answer) = must_speak_tus(&headers) {
        return Ok(*answer);
    }
    let upload = app.intake.settled(id_of(upload)?).await?;
    if upload.attached_at.is_some() {
        return Err(Problem::Conflict("It is a recording of the note now; delete that".into()));
    }
    app.intake.discard(upload.id).await?;
    Ok((StatusCode::NO_CONTENT, [(tus::RESUMABLE, "1.0.0")]).into_response())
}

async fn overridden(
    State(app): State<App>,
    upload: Result<Path<Uuid>, PathRejection>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    match meant_method(&headers) {
        Some("PATCH") => append(State(app), upload, caller, headers, body).await,
        Some("DELETE") => discard(State(app), upload, headers).await,
        _ => Ok(StatusCode::METHOD_NOT_ALLOWED.into_response()),
    }
}

/// Takes in what is sent, and finishes the upload if that was the end of it.
async fn take(
    app: App,
    caller: Caller,
    id: Uuid,
    offset: u64,
    body: BodyDataStream,
    checksum: Option<Checksum>,
) -> Result<Upload, Problem> {
    let coming = body.into_stream();
    let upload = app.intake.append(id, offset, coming, checksum).await?;
    match upload.has_all() {
        true => Ok(finish(&app, &caller, id).await?.0),
        false => Ok(upload),
    }
}

/// Says how long an upload is, now that its sender knows.
async fn close(app: &App, id: Uuid, size: u64) -> Result<(), Problem> {
    if size > app.intake.limit() {
        return Err(UploadError::TooLarge(app.intake.limit()).into());
    }
    if size == 0 {
        return Err(plain::empty());
    }
    match app.intake.ask(async |db| declare(db, id, size).await).await? {
        true => Ok(()),
        false => {
            let upload = app.intake.settled(id).await?;
            Err(UploadError::Excess(upload.size().unwrap_or(upload.received())).into())
        }
    }
}

/// Runs to its end even if the client hangs up: what has come by then is to be stored.
fn in_a_task<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> JoinHandle<Result<T, Problem>> {
    tokio::spawn(correlated(current_correlation(), work).instrument(Span::current()))
}

async fn joined<T>(task: JoinHandle<Result<T, Problem>>) -> Result<T, Problem> {
    match task.await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Problem::Internal(error.into())),
    }
}

fn id_of(path: Result<Path<Uuid>, PathRejection>) -> Result<Uuid, Problem> {
    // What is no UUID names no upload of ours.
    path.map(|Path(id)| id).map_err(|_| UploadError::Gone.into())
}

fn location(upload: &Upload) -> HeaderMap {
    let location = HeaderValue::from_str(&format!("/uploads/{}", upload.id));
    location.into_iter().map(|value| (header::LOCATION, value)).collect()
}

fn attached(upload: &Upload, written: Written) -> Response {
    let body: Value = json!({"id": upload.recording_id, "note_id": upload.note_id, "name": upload.name,
        "size": upload.received(), "media_type": upload.media_type, "sha256": upload.sha256});
    let mut answer = written.answer(body);
    let place = upload.recording_id.map(|id| HeaderValue::from_str(&format!("/recordings/{id}")));
    if let Some(Ok(place)) = place {
        *answer.status_mut() = StatusCode::CREATED;
        answer.headers_mut().insert(header::LOCATION, place);
    }
    answer
}
