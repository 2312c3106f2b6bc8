//! A record of any kind on its way through its stream.

use std::borrow::Cow;

use cqrs_es::Aggregate;
use serde_json::Value;

use crate::distributor::{Distributor, DistributorRecord};
use crate::facts::{FactChange, FactName, Facts, ImpossibleFacts, differences};
use crate::fund::{Fund, FundRecord};
use crate::gp::{Gp, GpRecord};
use crate::lp::{Lp, LpRecord};
use crate::note::{Note, NoteRecord};
use crate::person::{Person, PersonRecord};
use crate::roadshow::{Roadshow, RoadshowRecord};
use crate::telling::{Sentence, Told};
use crate::todo::{Todo, TodoRecord};
use crate::{Event, Kind, Lifecycle, RecordRef, Refusal};

/// A record of any kind as it stands.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is described by the module of its aggregate")]
pub enum Subject {
    Lp(Lp),
    Gp(Gp),
    Distributor(Distributor),
    Person(Person),
    Fund(Fund),
    Note(Note),
    Todo(Todo),
    Roadshow(Roadshow),
}

/// What one event did to a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The same in a user's words.
    pub sentence: Sentence,
    /// Every fact that is not what it was.
    pub changes: Vec<FactChange>,
}

macro_rules! subject {
    ($($Kind:ident = $Record:ident),* $(,)?) => {
        impl Subject {
            /// A record of this kind to which nothing has happened yet.
            pub fn new(kind: Kind) -> Self {
                match kind { $(Kind::$Kind => Subject::$Kind(Lifecycle::Unregistered)),* }
            }

            /// The record of this kind that says this.
            ///
            /// # Errors
            /// [`ImpossibleFacts`] when no record can say it.
            pub fn from_facts(kind: Kind, facts: Facts) -> Result<Self, ImpossibleFacts> {
                Ok(match kind { $(Kind::$Kind => Subject::$Kind(Lifecycle::from_facts(facts)?)),* })
            }

            /// Everything it says.
            pub fn facts(&self) -> Facts {
                match self { $(Subject::$Kind(stage) => stage.facts()),* }
            }

            /// What people call it; `None` if nothing has happened yet.
            pub fn called(&self) -> Option<&str> {
                match self { $(Subject::$Kind(stage) => stage.record().map(Told::called)),* }
            }

            /// Its id in Notion, while it is in use.
            pub fn notion_id(&self) -> Option<&str> {
                match self { $(Subject::$Kind(stage) => stage.notion_id()),* }
            }

            /// Whether it is in use or archived.
            pub fn is_there(&self) -> bool {
                match self { $(Subject::$Kind(stage) => stage.record().is_some()),* }
            }

            /// Whether it was removed from use.
            pub fn is_archived(&self) -> bool {
                match self { $(Subject::$Kind(stage) => stage.is_archived()),* }
            }

            /// What would make it the other, which is of the same kind.
            ///
            /// # Errors
            /// A [`Refusal`] when the rules do not allow it.
            pub fn revert(&self, to: &Self) -> Result<Vec<Event>, Refusal> {
                match (self, to) {
                    $((Subject::$Kind(now), Subject::$Kind(then)) => {
                        let events = now.decide(now.reversion(then.clone()))?;
                        Ok(events.into_iter().map(Event::$Kind).collect())
                    })*
                    _ => Err(Refusal::NotRegistered),
                }
            }

            /// Lets an event of its stream happen.
            pub fn apply(&mut self, event: &Event) {
                match (self, event) {
                    $((Subject::$Kind(stage), Event::$Kind(event)) => stage.apply(event.clone()),)*
                    // What it said can no longer be read.
                    (_, Event::Erased(_)) => {}
                    _ => debug_assert!(false, "an event of another stream"),
                }
            }

            /// Whether nothing is left of it but that it was there.
            pub fn is_erased(&self) -> bool {
                match self { $(Subject::$Kind(stage) => stage.is_erased()),* }
            }

            /// Puts what it says beside its facts where it has no such fact.
            fn fill(&self, name: &FactName, said: &mut Value) {
                let there = said.is_null().then(|| match self {
                    $(Subject::$Kind(stage) => stage.record()?.else_said(name),)*
                });
                if let Some(there) = there.flatten() {
                    *said = there;
                }
            }

            /// Lets an event of its stream happen and tells what that did; `own` is the record.
            pub fn step(&mut self, own: RecordRef, event: &Event) -> Step {
                let before = self.clone();
                self.apply(event);
                let mut changes = differences(&before.facts(), &self.facts());
                for change in &mut changes {
                    let name = change.name();
                    before.fill(&name, &mut change.from);
                    self.fill(&name, &mut change.to);
                }
                let sentence = match (&before, event) {
                    $((Subject::$Kind(stage), Event::$Kind(event)) => {
                        let record = stage.record().map(Cow::Borrowed).unwrap_or_default();
                        Told::tell(own, record.as_ref(), event, &changes)
                    })*
                    _ => Sentence::default(),
                };
                Step { sentence, changes }
            }
        }

        impl Event {
            /// The fields that it may change; `legacy` stands for all source values.
            pub fn touched(&self) -> Vec<&'static str> {
                match self {
                    $(Event::$Kind(event) => <$Record as Told>::touched(event),)*
                    Event::Import(_) | Event::Erased(_) => vec![],
                }
            }
        }
    };
}

subject! {
    Lp = LpRecord,
    Gp = GpRecord,
    Distributor = DistributorRecord,
    Person = PersonRecord,
    Fund = FundRecord,
    Note = NoteRecord,
    Todo = TodoRecord,
    Roadshow = RoadshowRecord,
}
