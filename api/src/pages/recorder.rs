//! `/notes/{id}/record`: a recorder for the meeting that a note is about.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use domain::note::Note;
use maud::{Markup, html};

use super::answer;
use super::assets::{RECORDER, TUS};
use super::layout::{Here, Section, page_with};
use crate::answers::not_found;
use crate::app::App;
use crate::body::{Ids, Parameters};
use crate::resource::record_of;

/// Languages that a person can name, by ISO 639-1; any other is found out.
pub const LANGUAGES: [(&str, &str); 6] = [
    ("en", "English"),
    ("es", "Spanish"),
    ("pt", "Portuguese"),
    ("fr", "French"),
    ("de", "German"),
    ("it", "Italian"),
];

/// Shows the page.
pub async fn show(
    State(app): State<App>,
    Ids([note]): Ids<1>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Response {
    answer(&app, &headers, async {
        let position = app.reader.position();
        let record = record_of::<Note>(note);
        let Some(stored) = app.reader.record(record).await? else {
            return Err(not_found(&app, record).await);
        };
        let name = stored.value()?["name"].as_str().map(str::to_owned);
        let name =
            name.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| format!("Note {note}"));
        let body = html! {
            div.lead {
                div {
                    p.quiet { "Note " (note) ": " a href={"/audit/note/" (note)} { (name) } }
                    h1 { "Record the meeting" }
                }
            }
            @if let Some(audio) = parameters.get("removed") {
                @if audio == "kept" {
                    div.notice role="status" { p { "The recording was removed, but its audio is still in file storage, which does not let crm remove it at the moment. crm does so as soon as it can." } }
                } @else {
                    div.notice.good role="status" { p { "The recording was removed." } }
                }
            }
            (recorder(note, &name, position))
            (upload(note))
        };
        Ok(page_with(&app, "Record", Here::Within(Section::Recordings), &[&TUS, &RECORDER], body).await)
    })
    .await
}

/// What is recorded while the note is deleted is not lost, and whoever records hears of it: of all after `position`.
fn recorder(note: i64, name: &str, position: i64) -> Markup {
    html! {
        noscript { div.notice { p { "Recording needs scripts. A file can be uploaded without." } } }
        section.box.recorder id="recorder" data-note=(note) data-title=(name) data-feed={"/events?record=note/" (note)} data-position=(position) data-state="idle" aria-label="Recorder" {
            div.row {
                div { label for="recording-name" { "Name" } input id="recording-name" value=(name) maxlength="200"; }
                div { label for="language" { "Language spoken" } (languages("language", None)) }
                div { label for="microphone" { "Microphone" } select id="microphone" { option value="" { "The browser's choice" } } }
            }
            div.level {
                span.clock id="clock" role="timer" aria-label="Recorded so far" { "0:00:00" }
                meter id="level" min="0" max="1" low="0.15" high="0.95" optimum="0.6" value="0" aria-label="Level of the microphone" {}
            }
            div.actions {
                button.primary id="start" type="button" hidden { "Start recording" }
                button id="pause" type="button" hidden { "Pause" }
                button.danger id="stop" type="button" hidden { "Stop and save" }
            }
            p id="recorder-state" role="status" {}
            p.quiet id="recorder-kept" role="status" {}
            div.notice id="recorder-gone" role="alert" hidden {
                p { "This note was deleted meanwhile, so the recording cannot be saved to it. Nothing is lost: it stays in this browser, and can be kept as a file when you stop. It is saved if somebody restores the note before." }
                p.actions { a.button href={"/audit/note/" (note)} target="_blank" rel="noopener" { "See the note" } }
            }
            div.notice id="recorder-silent" role="status" hidden { p { "Nothing is heard. Is the microphone muted, or is it another one?" } }
            div.notice.good id="recorder-done" role="status" hidden {}
            ul.suggestions id="recorder-refused" aria-label="Recordings that cannot be saved" {}
        }
    }
}

fn upload(note: i64) -> Markup {
    html! {
        form.box id="choose" method="post" action={"/notes/" (note) "/recordings"} enctype="multipart/form-data" {
            h2 { "Upload a recording" }
            div.row {
                div { label for="file" { "Audio file" } input id="file" name="file" type="file" accept="audio/*,video/*" required; }
                button type="submit" { "Upload" }
            }
        }
    }
}

/// What a language is called, if it has a name here.
pub fn language(code: &str) -> &str {
    LANGUAGES.iter().find(|(it, _)| *it == code).map_or(code, |(_, name)| name)
}

/// A choice of languages.
pub fn languages(id: &str, chosen: Option<&str>) -> Markup {
    html! {
        select id=(id) name="language" {
            option value="" selected[chosen.is_none()] { "Find out" }
            @for (code, name) in LANGUAGES { option value=(code) selected[chosen == Some(code)] { (name) } }
        }
    }
}
