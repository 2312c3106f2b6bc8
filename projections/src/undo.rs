//! Undoing: what would take a record back to what it was, or take back one event or command and leave what came after, and which later
//! changes stand against that. Nothing here is recorded: the aggregate's own `Revert` does that.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use chrono::{DateTime, Utc};
use domain::todo::TodoEvent;
use domain::{
    ARCHIVED, Event, FactChange, FactName, Facts, FundId, ImpossibleFacts, Moment, RecordRef,
    Refusal, Step, Subject, differences,
};
use serde_json::Value;
use uuid::Uuid;

use crate::log::Entry;
use crate::read::life::is_own;

/// What is to be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Everything after this position.
    To(i64),
    /// One event, by its position.
    Event(i64),
    /// One event, by its name.
    Named(Uuid),
    /// All that one command did, by its id.
    Command(Uuid),
}

/// A change that came after what is to be undone, and about the same fact; or after the position to which to go
/// back, and about any.
#[derive(Clone, Debug)]
pub struct LaterChange {
    /// Where it is in the log.
    pub position: i64,
    /// When it was recorded.
    pub recorded_at: DateTime<Utc>,
    /// Who asked for it.
    pub actor: String,
    /// What it changed.
    pub change: FactChange,
}

/// What would be done.
#[derive(Debug)]
pub struct Plan {
    /// The version of the record that this is about.
    pub version: i64,
    /// The record as it stands.
    pub present: Subject,
    /// What it is taken back to.
    pub target: Subject,
    /// What would be recorded.
    pub events: Vec<Event>,
    /// The same in words, and all that changes by it.
    pub steps: Vec<Step>,
    /// What differs afterwards.
    pub changes: Vec<FactChange>,
    /// What differs from the goal all the same, since no undoing takes it back: a hold, what a machine heard.
    pub stays: Vec<FactChange>,
    /// The todos that came of what is undone: those that followed when it was completed. They stay.
    pub follow_ups: Vec<RecordRef>,
    /// What stands against it.
    pub later: Vec<LaterChange>,
    /// The event that is undone, the last of several, or the last that is not.
    pub cause: Option<Uuid>,
    /// Every field that what is undone has changed, also those that its undoing is narrowed not to take back.
    pub fields: BTreeSet<String>,
}

impl Plan {
    /// What carrying it out announces to funds besides: the arrival of the roadshow that is taken back.
    pub fn announced(&self) -> BTreeMap<FundId, Moment> {
        let mut then = self.present.clone();
        let mut announced = BTreeMap::new();
        for event in &self.events {
            then.apply(event);
            let (Subject::Roadshow(roadshow), Event::Roadshow(event)) = (&then, event) else {
                continue;
            };
            let Some(record) = roadshow.record().filter(|_| event.announces_arrival()) else {
                continue;
            };
            announced.extend(record.fund_id.zip(record.details.arrival));
        }
        announced
    }
}

/// Why there is nothing that would undo it.
#[derive(Debug, thiserror::Error)]
pub enum UndoError {
    /// An event of the record cannot be read, so that nobody knows what it was.
    #[error("the event at position {position} cannot be read: {error}")]
    Unreadable {
        /// Where it is.
        position: i64,
        /// What is wrong with it.
        error: String,
    },
    /// The event is none of the record's.
    #[error("this is no event of the record")]
    NoSuchEvent,
    /// The command did nothing to the record.
    #[error("this is no command that changed the record")]
    NoSuchCommand,
    /// What is undone did not change that field, so that there is nothing to narrow its undoing to.
    #[error("this did not change {field:?}; it changed {}", .changed.iter().cloned().collect::<Vec<_>>().join(", "))]
    NotChanged {
        /// The field.
        field: String,
        /// Those that it did change.
        changed: BTreeSet<String>,
    },
    /// What this event did stands, and no undoing takes it back.
    #[error("this kind of change cannot be undone")]
    Final(Box<Event>),
    /// What would be left is no record.
    #[error(transparent)]
    Impossible(#[from] ImpossibleFacts),
    /// The rules do not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A record at every step of its life that matters here.
struct Stages {
    before: Subject,
    after: Subject,
    present: Subject,
}

/// What would undo something of a record that has lived like this; of one event or command perhaps only what it did to some fields.
///
/// # Errors
/// See [`UndoError`].
pub fn plan(
    record: RecordRef,
    life: &[Entry],
    goal: Goal,
    only: Option<&BTreeSet<String>>,
) -> Result<Plan, UndoError> {
    let Some(last) = life.iter().rfind(|entry| is_own(record, entry)) else {
        return Err(Refusal::NotRegistered.into());
    };
    let undoing = undoing(record, life, goal)?;
    let at = undoing.start;
    let Stages { before, after, present } = stages(record, life, &undoing)?;
    if present.is_erased() {
        return Err(Refusal::Erased.into());
    }
    let now = present.facts();
    let did = match goal {
        Goal::To(_) => vec![],
        _ => differences(&before.facts(), &after.facts()),
    };
    let fields: BTreeSet<String> = did.iter().map(|change| change.field.clone()).collect();
    if let Some(field) = only.into_iter().flatten().find(|field| !fields.contains(*field)) {
        return Err(UndoError::NotChanged { field: field.clone(), changed: fields });
    }
    // Undoing that a record was added takes all of it away; or, narrowed, what it said of some fields at first.
    let is_whole_life = at == 0 && only.is_none();
    let (target, undone) = match goal {
        Goal::To(_) => (before.clone(), differences(&before.facts(), &now)),
        // Whoever never was says nothing, and what he said stays in the archive.
        _ if is_whole_life => (Subject::new(record.kind()), vec![]),
        _ => {
            let is_meant =
                |change: &FactChange| only.is_none_or(|only| only.contains(&change.field));
            let undone: Vec<FactChange> = did.into_iter().filter(is_meant).collect();
            (Subject::from_facts(record.kind(), taken_back(now.clone(), &undone))?, undone)
        }
    };
    let events = present.revert(&target)?;
    let mut then = present.clone();
    let steps = events.iter().map(|event| then.step(record, event)).collect();
    let changes = differences(&now, &then.facts());
    let stays = if target.is_there() { standing(&then.facts(), &undone) } else { vec![] };
    if !matches!(goal, Goal::To(_)) && events.is_empty() && !stays.is_empty() {
        let undone = life[undoing.clone()].iter().flat_map(|entry| &entry.event);
        // Of a command that did several things, what no undoing takes back.
        if let Some(event) = undone.clone().find(|it| it.is_final()).or(undone.clone().next()) {
            return Err(UndoError::Final(Box::new(event.clone())));
        }
    }
    let follow_ups = if events.is_empty() { vec![] } else { follow_ups(&life[undoing.clone()]) };
    let later = match goal {
        // What takes nothing back has nothing against it.
        _ if events.is_empty() => vec![],
        // Whatever came after the position goes, whoever did it.
        Goal::To(_) => later_changes(record, &life[at..], &before, |_| true)?,
        _ if is_whole_life => {
            later_changes(record, &life[undoing.end..], &after, |name| name.field != ARCHIVED)?
        }
        _ => {
            let contested = contested(&now, &undone, &changes);
            later_changes(record, &life[undoing.end..], &after, |name| contested.contains(name))?
        }
    };
    let cause = match goal {
        Goal::To(_) => at.checked_sub(1),
        _ => undoing.end.checked_sub(1),
    };
    let cause = cause.map(|at| life[at].envelope.event_id);
    let version = last.sequence;
    Ok(Plan {
        version,
        present,
        target,
        events,
        steps,
        changes,
        stays,
        follow_ups,
        later,
        cause,
        fields,
    })
}

/// A record as it stood at a position.
///
/// # Errors
/// [`UndoError::Unreadable`].
pub fn stood(record: RecordRef, life: &[Entry], position: i64) -> Result<Subject, UndoError> {
    let at = life.partition_point(|entry| entry.position <= position);
    Ok(stages(record, &life[..at], &(at..at))?.before)
}

/// The places of what is to be undone.
fn undoing(record: RecordRef, life: &[Entry], goal: Goal) -> Result<Range<usize>, UndoError> {
    let one = |is_it: &dyn Fn(&Entry) -> bool| {
        let at = life.iter().position(is_it).ok_or(UndoError::NoSuchEvent)?;
        Ok(at..at + 1)
    };
    match goal {
        // What comes before stays as it is.
        Goal::To(position) => {
            Ok(life.partition_point(|entry| entry.position <= position)..life.len())
        }
        Goal::Event(position) => one(&|entry| entry.position == position),
        Goal::Named(id) => one(&|entry| entry.envelope.event_id == id),
        Goal::Command(id) => {
            // What a command did to a record stands in a row.
            let is_it = |entry: &Entry| entry.envelope.command_id == id && is_own(record, entry);
            let from = life.iter().position(is_it).ok_or(UndoError::NoSuchCommand)?;
            let events = life[from..].iter().take_while(|entry| is_it(entry)).count();
            Ok(from..from + events)
        }
    }
}

fn event(entry: &Entry) -> Result<&Event, UndoError> {
    entry
        .event
        .as_ref()
        .map_err(|error| UndoError::Unreadable { position: entry.position, error: error.clone() })
}

/// The record before and after the entries at these places, and now.
fn stages(record: RecordRef, life: &[Entry], of: &Range<usize>) -> Result<Stages, UndoError> {
    let mut subject = Subject::new(record.kind());
    let mut advance = |entries: &[Entry]| {
        for entry in entries {
            subject.apply(event(entry)?);
        }
        Ok::<_, UndoError>(subject.clone())
    };
    let before = advance(&life[..of.start])?;
    let after = advance(&life[of.clone()])?;
    let present = advance(&life[of.end..])?;
    Ok(Stages { before, after, present })
}

/// Facts without some changes.
fn taken_back(mut facts: Facts, undone: &[FactChange]) -> Facts {
    for change in undone {
        match change.from.is_null() {
            true => facts.remove(&change.name()),
            false => facts.insert(change.name(), change.from.clone()),
        };
    }
    facts
}

fn said(facts: &Facts, name: &FactName) -> Value {
    facts.get(name).cloned().unwrap_or_default()
}

/// Those of the changes that these facts still show.
fn standing(facts: &Facts, undone: &[FactChange]) -> Vec<FactChange> {
    undone.iter().filter(|change| said(facts, &change.name()) == change.to).cloned().collect()
}

/// The todos that these entries began.
fn follow_ups(entries: &[Entry]) -> Vec<RecordRef> {
    let next = |entry: &Entry| match &entry.event {
        Ok(Event::Todo(TodoEvent::Completed { next, .. })) => next.map(RecordRef::from),
        _ => None,
    };
    entries.iter().filter_map(next).collect()
}

/// What goes although the event that is undone did not put it there: what has become something else since, and what can
/// only be said as long as the rest is, such as the last contact with an LP that is in no funnel any more.
fn contested(now: &Facts, undone: &[FactChange], changes: &[FactChange]) -> Vec<FactName> {
    let moved = undone.iter().filter(|change| {
        let is = said(now, &change.name());
        is != change.to && is != change.from
    });
    let beside =
        changes.iter().filter(|change| !undone.iter().any(|it| it.name() == change.name()));
    moved.chain(beside).map(FactChange::name).collect()
}

/// Every change by these entries, which follow on a state, that is about such facts.
fn later_changes(
    record: RecordRef,
    entries: &[Entry],
    after: &Subject,
    is_contested: impl Fn(&FactName) -> bool,
) -> Result<Vec<LaterChange>, UndoError> {
    let mut subject = after.clone();
    let mut later = Vec::new();
    for entry in entries {
        let step = subject.step(record, event(entry)?);
        let contested = step.changes.into_iter().filter(|change| is_contested(&change.name()));
        later.extend(contested.map(|change| LaterChange {
            position: entry.position,
            recorded_at: entry.envelope.recorded_at,
            actor: entry.envelope.actor.clone(),
            change,
        }));
    }
    Ok(later)
}
