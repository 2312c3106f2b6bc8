//! What stands on the page of a note beside its history: the recordings of the meeting, and the way to the recorder.

use domain::{NoteId, RecordRef, Subject};
use maud::{Markup, html};

use super::layout::moment;
use super::recording::{length, words};
use crate::app::App;
use crate::problem::Problem;
use crate::recordings::{self, Standing};

/// The recordings of a note that is in use; nothing for other records.
pub async fn recordings(app: &App, own: RecordRef, now: &Subject) -> Result<Markup, Problem> {
    let RecordRef::Note(note) = own else { return Ok(html! {}) };
    if now.is_archived() || now.is_erased() {
        return Ok(html! {});
    }
    let stored = app.reader.recordings_of(note).await?;
    Ok(section(note, &recordings::standing(app, stored).await?))
}

fn section(note: NoteId, all: &[Standing]) -> Markup {
    html! {
        section.box id="recordings" aria-labelledby="recordings-title" {
            div.bar {
                h2 id="recordings-title" { "Recordings" }
                p.actions { a.button href={"/notes/" (note) "/record"} { "Record" } }
            }
            @if all.is_empty() { p.quiet { "Nothing of this meeting is recorded." } }
            @else { ul { @for it in all { (entry(it)) } } }
        }
    }
}

fn entry(it: &Standing) -> Markup {
    let (state, why) = it.state();
    html! {
        li data-state=(state) {
            a href={"/recordings/" (it.stored.id)} { (it.stored.recording.name) }
            " " span.quiet {
                @if let Some(at) = it.stored.attached_at { "added " (moment(at)) ". " }
                @if let Some(transcript) = &it.stored.recording.transcript {
                    (length(transcript)) ". "
                }
                (words(state, why.is_some()))
            }
        }
    }
}
