use super::{
    Sentence, Told, about, added, amended, deleted, legacy_kept, moved, renamed, restored, say,
};
use crate::RecordRef;
use crate::facts::FactChange;
use crate::todo::{TodoEvent, TodoRecord};

impl Told for TodoRecord {
    fn called(&self) -> &str {
        &self.title
    }

    fn tell(own: RecordRef, before: &Self, event: &TodoEvent, changes: &[FactChange]) -> Sentence {
        match event {
            TodoEvent::Registered { .. } => match before_it(changes) {
                Some(parent) => say![own, " was added; it follows ", parent],
                None => added(own),
            },
            TodoEvent::Retitled { title } => renamed(&before.title, title),
            TodoEvent::StatusMoved { .. } => moved(own, "status", changes),
            TodoEvent::Completed { next: Some(next), .. } => {
                say![own, " was completed; it is due again as ", RecordRef::from(*next)]
            }
            TodoEvent::Completed { next: None, .. } => say![own, " was completed"],
            TodoEvent::Prioritised { .. } => moved(own, "priority", changes),
            TodoEvent::Rescheduled { .. } => moved(own, "due_date", changes),
            TodoEvent::DetailsAmended { .. } => amended(own, changes),
            TodoEvent::Linked { to } => about([own.into(), " was linked to ".into()], to, []),
            TodoEvent::Unlinked { from } => {
                about([own.into(), " is no longer linked to ".into()], from, [])
            }
            TodoEvent::LegacyKept { .. } => legacy_kept(own),
            TodoEvent::Archived => deleted(own),
            TodoEvent::Restored => restored(own),
        }
    }

    fn touched(event: &TodoEvent) -> Vec<&'static str> {
        match event {
            TodoEvent::Registered { details, .. } => {
                [vec!["title", "status"], details.names(), vec!["legacy"]].concat()
            }
            TodoEvent::Retitled { .. } => vec!["title"],
            TodoEvent::StatusMoved { .. } => vec!["status"],
            TodoEvent::Completed { .. } => vec!["status", "completed_at"],
            TodoEvent::Prioritised { .. } => vec!["priority"],
            TodoEvent::Rescheduled { .. } => vec!["due_date"],
            TodoEvent::DetailsAmended { changes } => changes.names(),
            TodoEvent::Linked { .. } | TodoEvent::Unlinked { .. } => vec!["links"],
            TodoEvent::LegacyKept { .. } => vec!["legacy"],
            TodoEvent::Archived | TodoEvent::Restored => vec!["archived"],
        }
    }
}

/// The todo that it is the next occurrence of.
fn before_it(changes: &[FactChange]) -> Option<RecordRef> {
    let parent = changes.iter().find(|change| change.field == "parent_todo_id")?;
    parent.to.as_i64().map(|id| crate::TodoId(id).into())
}
