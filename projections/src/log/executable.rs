//! Which aggregates the log executes commands of, and what it has to know of each beside cqrs-es's view.

use cqrs_es::Aggregate;
use domain::note::{Note, NoteCommand, NoteEvent};
use domain::person::{Person, PersonCommand, PersonEvent};
use domain::todo::{Todo, TodoEvent};
use domain::{Change, Event, Kind, Lifecycle, NoteId, Refusal, TodoId};

use crate::files::RECORDINGS;

/// An aggregate whose commands the log executes.
pub trait Executable: Aggregate<Error = Refusal, Services = ()> + Clone + 'static
where
    Self::Command: Clone + Send,
{
    /// Which kind of record it is.
    const KIND: Kind;

    /// Its id in Notion, while it is in use.
    fn notion_id(&self) -> Option<&str>;

    /// A new todo that these events call for, and how it begins; `self` is the record `id` before them. It is
    /// appended together with them or not at all.
    fn follow_up(&self, _id: i64, _events: &[Self::Event]) -> Option<(TodoId, Vec<TodoEvent>)> {
        None
    }

    /// An event of the log, if it is one of such a record; else `None`.
    fn event_of(event: Event) -> Option<Self::Event>;

    /// Whether no more than the plain events of its stream is needed to decide a command.
    fn is_decided_in_plain(_command: &Self::Command) -> bool {
        false
    }

    /// The record as the plain events of its stream tell it, if any are: of each event what it is called, and what it says,
    /// unless it cannot be read.
    fn in_plain(_events: Vec<(String, Option<Self::Event>)>) -> Option<Self> {
        None
    }

    /// The names of the files that an event gives to the record, which an erasure has to remove as well.
    fn files_of(_event: &Self::Event) -> Vec<String> {
        Vec::new()
    }
}

macro_rules! executable {
    ($($Aggregate:ty = $Kind:ident),* $(,)?) => {
        $(impl Executable for $Aggregate {
            const KIND: Kind = Kind::$Kind;

            fn notion_id(&self) -> Option<&str> {
                Lifecycle::notion_id(self)
            }

            fn event_of(event: Event) -> Option<Self::Event> {
                if let Event::$Kind(event) = event { Some(event) } else { None }
            }
        })*
    };
}

executable! {
    domain::lp::Lp = Lp,
    domain::gp::Gp = Gp,
    domain::distributor::Distributor = Distributor,
    domain::fund::Fund = Fund,
    domain::roadshow::Roadshow = Roadshow,
}

impl Executable for Todo {
    const KIND: Kind = Kind::Todo;

    fn notion_id(&self) -> Option<&str> {
        None
    }

    fn event_of(event: Event) -> Option<TodoEvent> {
        if let Event::Todo(event) = event { Some(event) } else { None }
    }

    fn follow_up(&self, id: i64, events: &[TodoEvent]) -> Option<(TodoId, Vec<TodoEvent>)> {
        Todo::follow_up(self, TodoId(id), events).map(|(next, event)| (next, vec![event]))
    }
}

impl Executable for Person {
    const KIND: Kind = Kind::Person;

    fn notion_id(&self) -> Option<&str> {
        Lifecycle::notion_id(self)
    }

    fn event_of(event: Event) -> Option<PersonEvent> {
        if let Event::Person(event) = event { Some(event) } else { None }
    }

    fn is_decided_in_plain(command: &PersonCommand) -> bool {
        command.is_decided_in_plain()
    }

    fn in_plain(events: Vec<(String, Option<PersonEvent>)>) -> Option<Self> {
        Some(Lifecycle::in_plain(events))
    }
}

impl Executable for Note {
    const KIND: Kind = Kind::Note;

    fn notion_id(&self) -> Option<&str> {
        Lifecycle::notion_id(self)
    }

    fn event_of(event: Event) -> Option<NoteEvent> {
        if let Event::Note(event) = event { Some(event) } else { None }
    }

    fn is_decided_in_plain(command: &NoteCommand) -> bool {
        command.is_decided_in_plain()
    }

    fn in_plain(events: Vec<(String, Option<NoteEvent>)>) -> Option<Self> {
        Some(Lifecycle::in_plain(events))
    }

    fn follow_up(&self, id: i64, events: &[NoteEvent]) -> Option<(TodoId, Vec<TodoEvent>)> {
        Note::follow_up(self, NoteId(id), events)
    }

    fn files_of(event: &NoteEvent) -> Vec<String> {
        match event {
            NoteEvent::Registered { details: changes, .. }
            | NoteEvent::DetailsAmended { changes } => {
                let Change::Set(paths) = &changes.image_paths else { return vec![] };
                // What a person calls an image is no recording, whatever it is called.
                let is_image = |path: &&str| !path.is_empty() && !path.starts_with(RECORDINGS);
                paths.split(',').map(str::trim).filter(is_image).map(str::to_owned).collect()
            }
            NoteEvent::RecordingAttached { file, .. } => vec![file.key.clone()],
            _ => vec![],
        }
    }
}
