//! Which aggregates the log executes commands of, and what it has to know of each beside cqrs-es's view.

use cqrs_es::Aggregate;
use domain::note::{Note, NoteEvent};
use domain::todo::{Todo, TodoEvent};
use domain::{Change, Kind, Lifecycle, NoteId, Refusal, TodoId};

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
        })*
    };
}

executable! {
    domain::lp::Lp = Lp,
    domain::gp::Gp = Gp,
    domain::distributor::Distributor = Distributor,
    domain::person::Person = Person,
    domain::fund::Fund = Fund,
    domain::roadshow::Roadshow = Roadshow,
}

impl Executable for Todo {
    const KIND: Kind = Kind::Todo;

    fn notion_id(&self) -> Option<&str> {
        None
    }

    fn follow_up(&self, id: i64, events: &[TodoEvent]) -> Option<(TodoId, Vec<TodoEvent>)> {
        Todo::follow_up(self, TodoId(id), events).map(|(next, event)| (next, vec![event]))
    }
}

impl Executable for Note {
    const KIND: Kind = Kind::Note;

    fn notion_id(&self) -> Option<&str> {
        Lifecycle::notion_id(self)
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
