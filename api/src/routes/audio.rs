//! `/recordings/{id}/audio`: the recording itself, whole or in part.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::note::{AudioFile, Recording, RecordingId};
use domain::{Kind, NoteId};
use projections::files::{FileCipher, FileError, Shown, verified};
use projections::uploads;
use serde_json::json;

use crate::answers::{self, Comparison, names_tag};
use crate::app::App;
use crate::body::{Ids, Parameters};
use crate::describe::{Content, Endpoint, Routes, UPLOADS, get, head};
use crate::problem::Problem;
use crate::ranges::{Wanted, wanted};
use crate::recordings;

/// How long a link to the bucket may be used. A player asks for more of the file as it plays.
const LINK_LIFETIME: Duration = Duration::from_secs(6 * 3600);

/// The routes of what was recorded.
pub fn routes() -> Routes {
    let whole = get("The recording itself; answers Range", Content::Audio, show)
        .query(
            "presigned",
            false,
            "Answer with a redirect to the bucket, where files are in one and recordings are not sealed",
        )
        .header("Range", "A part of it, such as bytes=0-65535")
        .header("If-Range", "All of it unless its tag is this");
    let about = head("How long it is, and what", Content::Nothing, show);
    let answers = |endpoint: Endpoint| {
        endpoint
            .tells("ETag", "Its SHA-256")
            .tells("Accept-Ranges", "Parts are asked for in bytes")
            .tells("Content-Disposition", "Its name as a file")
            .or("206", "A part of it.")
            .or("304", "The tag is still this.")
            .or("307", "It is in the bucket, at the address in Location.")
            .or("416", "It has no such part; Content-Range says how long it is.")
    };
    Routes::tagged(UPLOADS).at("/recordings/{recording_id}/audio", [answers(whole), answers(about)])
}

async fn show(
    State(app): State<App>,
    Ids([recording]): Ids<1>,
    parameters: Parameters,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = recordings::stored(&app, RecordingId(recording)).await?;
    let (note, Recording { file, name, .. }) = (found.note, found.recording);
    // What the bucket holds of one that is sealed is of use to nobody.
    if !file.sealed && parameters.get("presigned").is_some_and(|asked| asked != "false") {
        check_there(&app, &file).await?;
        let shown =
            Shown { media_type: file.media_type.clone(), disposition: disposition(&file, &name) };
        if let Some(link) = app.files.store().link(&file.key, &shown, LINK_LIFETIME).await? {
            return Ok(redirect(&link));
        }
    }
    let mut answer = part(&app, note, &file, &method, &headers).await?;
    if answer.status() != StatusCode::RANGE_NOT_SATISFIABLE {
        answer.headers_mut().extend(presentation(&file, &name));
    }
    Ok(answer)
}

/// Refuses to speak of a file that the storage does not have.
async fn check_there(app: &App, file: &AudioFile) -> Result<(), Problem> {
    let there = app.files.facts(&file.key).await?;
    there.map(|_| ()).ok_or_else(|| lost(file))
}

fn lost(file: &AudioFile) -> Problem {
    tracing::error!(key = file.key, "a recording is lost");
    Problem::RecordingLost
}

/// The part of the file that is asked for.
async fn part(
    app: &App,
    note: NoteId,
    file: &AudioFile,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok());
    if known.into_iter().any(|tags| names_tag(tags, &file.sha256, Comparison::Weak)) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    // A range means something to GET alone.
    let asked = match *method {
        Method::HEAD => Wanted::All,
        _ => wanted(headers, &file.sha256, file.size),
    };
    let is_part = matches!(asked, Wanted::Part(_));
    let range = match asked {
        Wanted::All => 0..file.size,
        Wanted::Part(range) => range,
        Wanted::Nothing => {
            let all = [(header::CONTENT_RANGE, format!("bytes */{}", file.size))];
            let detail = format!("The recording has {} bytes: ask for some of these", file.size);
            let body = Json(json!({ "detail": detail }));
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, all, body).into_response());
        }
    };
    let mut answer = match *method {
        Method::HEAD => {
            check_there(app, file).await?;
            Body::empty().into_response()
        }
        _ => {
            let cipher = cipher(app, note, file).await?;
            let content = app.files.read(&file.key, range.clone(), cipher).await;
            let content = content.map_err(|error| match error {
                FileError::Missing(_) => lost(file),
                error => error.into(),
            })?;
            let is_whole = range == (0..file.size);
            Body::from_stream(match is_whole {
                // Of a part nobody can tell whether it is as it was stored.
                true => verified(content, file.key.clone(), file.sha256.clone()),
                false => content,
            })
            .into_response()
        }
    };
    let length = range.end - range.start;
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    // Also if the part is all of it: some players play only what is sent in parts.
    if is_part {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {}-{}/{}", range.start, range.end - 1, file.size);
        if let Ok(range) = HeaderValue::from_str(&range) {
            answer.headers_mut().insert(header::CONTENT_RANGE, range);
        }
    }
    Ok(answer)
}

/// What deciphers the file, if it is sealed.
async fn cipher(app: &App, note: NoteId, file: &AudioFile) -> Result<Option<FileCipher>, Problem> {
    if !file.sealed {
        return Ok(None);
    }
    let cipher = uploads::cipher(app.intake.database(), note.0, &file.key).await;
    let cipher = cipher.map_err(|error| Problem::Upload(error.into()))?;
    cipher.map(Some).ok_or(Problem::Erased(Kind::Note))
}

/// What is said of the file whichever part of it is sent.
fn presentation(file: &AudioFile, name: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut set = |name, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, &file.media_type);
    set(header::ETAG, &format!("\"{}\"", file.sha256));
    set(header::ACCEPT_RANGES, "bytes");
    // It never changes, but it may be removed, and then nobody may go on hearing it.
    set(header::CACHE_CONTROL, "private, no-cache");
    set(header::CONTENT_DISPOSITION, &disposition(file, name));
    // Whatever it is, nothing that is served from here may run a script.
    set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; media-src 'self'; sandbox");
    headers
}

/// What browsers can play is played; anything else is only ever saved.
fn disposition(file: &AudioFile, name: &str) -> String {
    let plays = file.media_type.starts_with("audio/") || file.media_type.starts_with("video/");
    let kind = if plays { "inline" } else { "attachment" };
    answers::disposition(kind, &saved_as(&file.media_type, name))
}

/// The name of a recording as a file: what a person called it may have no ending.
fn saved_as(media_type: &str, name: &str) -> String {
    let is_ended = name.rsplit_once('.').is_some_and(|(_, end)| {
        (2..=4).contains(&end.len()) && end.bytes().all(|it| it.is_ascii_alphanumeric())
    });
    let ending = match media_type {
        _ if is_ended => "",
        "audio/webm" | "video/webm" => ".webm",
        "audio/x-matroska" | "video/x-matroska" => ".mkv",
        "audio/mp4" => ".m4a",
        "video/mp4" => ".mp4",
        "audio/ogg" => ".ogg",
        "audio/wav" => ".wav",
        "audio/mpeg" => ".mp3",
        "audio/flac" => ".flac",
        _ => "",
    };
    format!("{name}{ending}")
}

fn redirect(link: &str) -> Response {
    let headers = [(header::LOCATION, link), (header::CACHE_CONTROL, "no-store")];
    (StatusCode::TEMPORARY_REDIRECT, headers).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_plays_is_shown_and_its_name_is_escaped() {
        let check = |media_type: &str, name: &str, expected: &str| {
            let file = AudioFile { media_type: media_type.to_owned(), ..AudioFile::default() };
            assert_eq!(disposition(&file, name), expected);
        };
        check(
            "audio/webm",
            "Reunión \"1\".webm",
            "inline; filename*=UTF-8''Reuni%C3%B3n%20%221%22.webm",
        );
        check("application/octet-stream", "a.html", "attachment; filename*=UTF-8''a.html");
        check("audio/webm", "Lunch 31.1", "inline; filename*=UTF-8''Lunch%2031.1.webm");
    }
}
