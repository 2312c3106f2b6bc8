//! Why nothing is undone, and what can be done instead.

use domain::note::NoteEvent;
use domain::person::PersonEvent;
use domain::{Event, Kind, RecordRef};
use projections::undo::UndoError;

use crate::problem::{Fault, Problem, capitalised, title};

/// Why nothing was planned, as an answer.
pub fn problem(error: UndoError, record: RecordRef) -> Problem {
    match error {
        UndoError::NoSuchEvent => {
            let said = format!("This is no event of {} {}", title(record.kind()), record.id());
            Problem::invalid(Fault::field("event", "not_found", said))
        }
        UndoError::NoSuchCommand => {
            let said =
                format!("This command changed nothing of {} {}", title(record.kind()), record.id());
            Problem::invalid(Fault::field("command", "not_found", said))
        }
        error @ UndoError::NotChanged { .. } => {
            Problem::invalid(Fault::field("fields", "not_changed", capitalised(&error.to_string())))
        }
        UndoError::Final(event) => {
            let said = match way(record, &event) {
                Some(way) => format!("This kind of change cannot be undone; {way}"),
                // Nothing else of a record is kept up by itself.
                None => {
                    "This cannot be undone: the note says there what its recordings have it say"
                        .to_owned()
                }
            };
            Problem::Conflict(said.into())
        }
        UndoError::Refused(refusal) => Problem::of_command(refusal.into(), record),
        error @ (UndoError::Unreadable { .. } | UndoError::Impossible(_)) => {
            Problem::Conflict(error.to_string().into())
        }
    }
}

/// What can be done instead of undoing an event.
fn way(record: RecordRef, event: &Event) -> Option<String> {
    let hold = || {
        let records = if record.kind() == Kind::Person { "people" } else { "notes" };
        format!("/{records}/{}/hold, with a reason", record.id())
    };
    let event = match event {
        Event::Person(PersonEvent::Held { .. }) | Event::Note(NoteEvent::Held { .. }) => {
            return Some(format!("a hold ends by DELETE {}", hold()));
        }
        Event::Person(PersonEvent::HoldLifted { .. })
        | Event::Note(NoteEvent::HoldLifted { .. }) => {
            return Some(format!("a hold begins anew by PUT {}", hold()));
        }
        Event::Note(event) => event,
        _ => return None,
    };
    let at = format!("/recordings/{}", event.recording()?);
    Some(match event {
        NoteEvent::RecordingAttached { .. } => {
            format!("a recording is removed for good by DELETE {at}")
        }
        NoteEvent::RecordingRemoved { .. } => {
            "the recording was removed for good, and can only be uploaded again".to_owned()
        }
        NoteEvent::TranscriptionAsked { .. } | NoteEvent::SummaryAsked { .. } => {
            format!("what is under way is stopped by POST {at}/cancel")
        }
        NoteEvent::Transcribed { .. } => {
            format!("it is transcribed again by POST {at}/transcribe")
        }
        NoteEvent::Summarised { .. } => format!("it is summarised again by POST {at}/summarise"),
        NoteEvent::TranscriptionFailed { .. }
        | NoteEvent::TranscriptionCancelled { .. }
        | NoteEvent::SummaryFailed { .. }
        | NoteEvent::SummaryCancelled { .. } => format!("it is tried again by POST {at}/retry"),
        NoteEvent::ActionItemsSuggested { .. } => {
            format!("what is suggested is put away by POST {at}/action-items/NUMBER/dismiss")
        }
        NoteEvent::ActionItemAccepted { todo, .. } => {
            format!("the todo that it became is deleted by DELETE /todos/{}", todo.id.0)
        }
        NoteEvent::ActionItemDismissed { item, .. } => {
            format!("it becomes a todo all the same by POST {at}/action-items/{item}/accept")
        }
        NoteEvent::InterestSuggested { .. } => {
            format!("what is suggested is put away by POST {at}/interest/dismiss")
        }
        NoteEvent::InterestAccepted { as_recorded, .. } => {
            format!("the interest is a change of fund {}, and undone there", as_recorded.fund.0)
        }
        NoteEvent::InterestDismissed { .. } => {
            format!("it is recorded all the same by POST {at}/interest/accept")
        }
        _ => return None,
    })
}
