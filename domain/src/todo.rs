//! Todo: something to be done, once or again and again.

use serde::{Deserialize, Serialize};
use strum::{AsRefStr, VariantNames};

use crate::lifecycle::aggregate;
use crate::links::check_linkable;
use crate::recurrence::Recurrence;
use crate::{Change, Kind, Lifecycle, Links, Moment, NoteId, RecordRef, Refusal, TodoId, Verbatim};

vocabulary! {
    /// How far a todo is.
    #[derive(Default)]
    TodoStatus {
        #[default]
        Pending = "pending",
        InProgress = "in_progress",
        Completed = "completed",
        Cancelled = "cancelled",
    }
}

vocabulary! {
    /// How much a todo matters.
    Priority {
        Low = "low",
        Medium = "medium",
        High = "high",
        Urgent = "urgent",
    }
}

attributes! {
    TodoDetails / TodoChanges {
        description: String,
        priority: Priority,
        // Never null at the API; a legacy value may be no date at all.
        created_at: Moment,
        due_date: Moment,
        completed_at: Moment,
        recurrence_pattern: String,
        parent_todo_id: TodoId,
        tags: String,
        note_id: NoteId,
    }
}

/// A todo as it stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TodoRecord {
    /// What is to be done.
    pub title: String,
    /// How far it is.
    pub status: TodoStatus,
    /// Everything optional.
    #[serde(flatten)]
    pub details: TodoDetails,
    /// Whom and what it is about.
    #[serde(skip)]
    pub links: Links,
    /// Source values that the attributes cannot hold.
    #[serde(skip)]
    pub legacy: Verbatim,
}

/// The aggregate.
pub type Todo = Lifecycle<TodoRecord>;

/// What can be asked of a todo.
#[derive(Clone, Debug)]
pub enum TodoCommand {
    /// Takes the todo up.
    Register {
        /// What is to be done.
        title: String,
        /// How far it is.
        status: TodoStatus,
        /// Everything optional.
        details: TodoChanges,
        /// Source values that the attributes cannot hold.
        legacy: Verbatim,
    },
    /// PUT: what is absent stays, what changes nothing records nothing.
    Revise {
        /// What is to be done.
        title: Option<String>,
        /// How far it is; completing it is [`TodoCommand::Complete`].
        status: Option<TodoStatus>,
        /// The other changes.
        changes: TodoChanges,
    },
    /// PUT with status `completed`: every time it is sent counts.
    Complete {
        /// The other changes of the same request.
        title: Option<String>,
        /// The other changes of the same request.
        changes: TodoChanges,
        /// Now, in UTC.
        at: Moment,
        /// A fresh id for the next occurrence, used only if there is one; without it a todo that recurs is refused.
        next: Option<TodoId>,
    },
    /// Links the todo to records.
    Link {
        /// Whom and what it is about.
        to: Vec<RecordRef>,
    },
    /// Makes the links of some kinds exactly these.
    Relink {
        /// The kinds that are replaced; links of other kinds stay.
        kinds: Vec<Kind>,
        /// All links of these kinds.
        to: Vec<RecordRef>,
    },
    /// Replaces the source values that the attributes cannot hold.
    KeepLegacy {
        /// All of them.
        values: Verbatim,
    },
    /// Removes the todo from use.
    Archive,
    /// Takes it into use again.
    Restore,
    /// Makes the todo what it was, or would have been: everything that differs is changed, in ordinary events.
    Revert {
        /// What it was.
        to: Box<Todo>,
    },
}

// Variant and field names are the storage format: rename only with an upcaster.
/// What has happened to a todo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, AsRefStr, VariantNames)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "fields carry the names of the attributes")]
pub enum TodoEvent {
    /// It was taken up.
    Registered {
        title: String,
        status: TodoStatus,
        details: TodoChanges,
        #[serde(default, skip_serializing_if = "Verbatim::is_empty")]
        legacy: Verbatim,
    },
    /// It says something else.
    Retitled { title: String },
    /// It is further, or open again.
    StatusMoved { status: TodoStatus },
    /// It was done; `next` is the todo that follows if it recurs.
    Completed {
        at: Moment,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<TodoId>,
    },
    /// It matters more or less.
    Prioritised { priority: Option<Priority> },
    /// It is due on another day.
    Rescheduled { due_date: Option<Moment> },
    /// Other attributes changed.
    DetailsAmended { changes: TodoChanges },
    /// It is about these as well.
    Linked { to: Vec<RecordRef> },
    /// It is no longer about these.
    Unlinked { from: Vec<RecordRef> },
    /// The source values that the attributes cannot hold are now these.
    LegacyKept { values: Verbatim },
    /// It was removed from use.
    Archived,
    /// It was taken into use again.
    Restored,
}

impl Todo {
    /// The kinds of records that a todo is about.
    pub const LINKABLE: &'static [Kind] =
        &[Kind::Lp, Kind::Gp, Kind::Person, Kind::Fund, Kind::Roadshow, Kind::Note];

    /// What a command leads to.
    ///
    /// # Errors
    /// A [`Refusal`] when the rules do not allow it.
    pub fn decide(&self, command: TodoCommand) -> Result<Vec<TodoEvent>, Refusal> {
        use TodoCommand::{
            Archive, Complete, KeepLegacy, Link, Register, Relink, Restore, Revert, Revise,
        };
        match command {
            Register { title, status, details, legacy } => {
                self.check_unregistered()?;
                let details = details.against(&TodoDetails::default());
                Ok(vec![TodoEvent::Registered { title, status, details, legacy }])
            }
            Revise { title, status, changes } => Ok(self.active()?.revise(title, status, changes)),
            Complete { title, mut changes, at, next } => {
                let record = self.active()?;
                changes.completed_at = Change::Keep;
                let mut events = record.revise(title, None, changes);
                let next = match record.next_due() {
                    Some(_) => Some(next.ok_or(Refusal::NextIdMissing)?),
                    None => None,
                };
                events.push(TodoEvent::Completed { at, next });
                Ok(events)
            }
            Link { to } => self.active()?.relink(&to, vec![]),
            Relink { kinds, to } => {
                let record = self.active()?;
                record.relink(&to, record.links.surplus(&kinds, &to))
            }
            KeepLegacy { values } if self.active()?.legacy == values => Ok(vec![]),
            KeepLegacy { values } => Ok(vec![TodoEvent::LegacyKept { values }]),
            Archive => self.active().map(|_| vec![TodoEvent::Archived]),
            Restore => self.check_archived().map(|()| vec![TodoEvent::Restored]),
            Revert { to } => {
                self.revert(&to, TodoRecord::toward, TodoEvent::Archived, TodoEvent::Restored)
            }
        }
    }

    /// The todo that follows the completed one `id`, if it recurs: `self` is that todo before the events. Its content
    /// is copied as it stood before the request that completed it; links are not copied.
    pub fn follow_up(&self, id: TodoId, events: &[TodoEvent]) -> Option<(TodoId, TodoEvent)> {
        let record = self.record()?;
        let (at, next) = events.iter().find_map(|event| match event {
            TodoEvent::Completed { at, next } => Some((*at, (*next)?)),
            _ => None,
        })?;
        Some((next, record.next_occurrence(id, at)?))
    }

    fn evolve(&mut self, event: TodoEvent) {
        match event {
            TodoEvent::Registered { title, status, details, legacy } => {
                let (details, links) = (details.into(), Links::default());
                *self = Todo::Active(TodoRecord { title, status, details, links, legacy });
            }
            TodoEvent::Archived => self.archive(),
            TodoEvent::Restored => self.restore(),
            change => {
                if let Some(record) = self.changed() {
                    record.change(change);
                }
            }
        }
    }
}

impl TodoRecord {
    fn revise(
        &self,
        title: Option<String>,
        status: Option<TodoStatus>,
        changes: TodoChanges,
    ) -> Vec<TodoEvent> {
        let mut changes = changes.against(&self.details);
        let (priority, due_date) = (changes.priority.take(), changes.due_date.take());
        let mut events = Vec::new();
        if let Some(title) = title.filter(|title| *title != self.title) {
            events.push(TodoEvent::Retitled { title });
        }
        if let Some(status) = status.filter(|status| *status != self.status) {
            events.push(TodoEvent::StatusMoved { status });
        }
        if let Some(priority) = priority.into_option() {
            events.push(TodoEvent::Prioritised { priority });
        }
        if let Some(due_date) = due_date.into_option() {
            events.push(TodoEvent::Rescheduled { due_date });
        }
        if !changes.is_empty() {
            events.push(TodoEvent::DetailsAmended { changes });
        }
        events
    }

    fn relink(&self, to: &[RecordRef], from: Vec<RecordRef>) -> Result<Vec<TodoEvent>, Refusal> {
        check_linkable(Kind::Todo, Todo::LINKABLE, to)?;
        let to = self.links.missing(to.iter().copied());
        let mut events = Vec::new();
        if !from.is_empty() {
            events.push(TodoEvent::Unlinked { from });
        }
        if !to.is_empty() {
            events.push(TodoEvent::Linked { to });
        }
        Ok(events)
    }

    /// What makes this record the other.
    fn toward(&self, to: &Self) -> Vec<TodoEvent> {
        let changes = self.details.toward(&to.details);
        let mut events = self.revise(Some(to.title.clone()), Some(to.status.clone()), changes);
        let (from, linked) = (self.links.without(&to.links), to.links.without(&self.links));
        if !from.is_empty() {
            events.push(TodoEvent::Unlinked { from });
        }
        if !linked.is_empty() {
            events.push(TodoEvent::Linked { to: linked });
        }
        if self.legacy != to.legacy {
            events.push(TodoEvent::LegacyKept { values: to.legacy.clone() });
        }
        events
    }

    fn change(&mut self, event: TodoEvent) {
        match event {
            TodoEvent::Retitled { title } => self.title = title,
            TodoEvent::StatusMoved { status } => self.status = status,
            TodoEvent::Completed { at, .. } => {
                self.status = TodoStatus::Completed;
                self.details.completed_at = Some(at);
            }
            TodoEvent::Prioritised { priority } => self.details.priority = priority,
            TodoEvent::Rescheduled { due_date } => self.details.due_date = due_date,
            TodoEvent::DetailsAmended { changes } => self.details.amend(changes),
            TodoEvent::Linked { to } => self.links.add(to),
            TodoEvent::Unlinked { from } => self.links.remove(&from),
            TodoEvent::LegacyKept { values } => self.legacy = values,
            TodoEvent::Registered { .. } | TodoEvent::Archived | TodoEvent::Restored => {}
        }
    }

    /// When the todo is due again, if it recurs.
    fn next_due(&self) -> Option<Moment> {
        let pattern = Recurrence::parse(self.details.recurrence_pattern.as_deref()?)?;
        if self.details.parent_todo_id.is_some() && !pattern.repeat {
            return None;
        }
        pattern.after(self.details.due_date?)
    }

    fn next_occurrence(&self, parent: TodoId, now: Moment) -> Option<TodoEvent> {
        let changes = TodoChanges {
            description: self.details.description.clone().into(),
            priority: self.details.priority.clone().into(),
            created_at: Change::Set(now),
            due_date: Change::Set(self.next_due()?),
            recurrence_pattern: self.details.recurrence_pattern.clone().into(),
            parent_todo_id: Change::Set(parent),
            tags: self.details.tags.clone().into(),
            note_id: self.details.note_id.into(),
            completed_at: Change::Keep,
        };
        Some(TodoEvent::Registered {
            title: self.title.clone(),
            status: TodoStatus::Pending,
            details: changes.against(&TodoDetails::default()),
            legacy: Verbatim::default(),
        })
    }
}

aggregate!(Todo = TodoRecord, Todo, TodoCommand, TodoEvent,
    own: [title: String, status: TodoStatus], details: TodoDetails, beside: [links],
    required: &["title", "status", "created_at"]);

#[cfg(test)]
mod tests;
