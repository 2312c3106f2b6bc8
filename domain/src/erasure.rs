//! Legal holds and erasure: what the records of people and notes have in common, whose streams hold personal data.
//!
//! The events are stored in plain, unlike all others of these streams, and outlive an erasure: **their reasons must not
//! name or describe anybody**. A case number is a good reason.

use cqrs_es::{Aggregate, DomainEvent as _};

use crate::{Event, Lifecycle, Refusal};

/// What a hold is known by whose event cannot be read.
const UNREADABLE: &str = "its reason cannot be read";

/// What is named to lift all holds at once.
pub const ALL_HOLDS: &str = "*";

/// The legal holds on a record by their reasons, each once, in the order in which they came. Each is lifted by itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holds(pub(crate) Vec<String>);

impl Holds {
    /// Why the record is held; empty if it is not.
    pub fn reasons(&self) -> &[String] {
        &self.0
    }

    /// Adds one, if it is not there yet.
    pub(crate) fn put(&mut self, reason: String) {
        if !self.0.contains(&reason) {
            self.0.push(reason);
        }
    }

    /// Ends the hold of this reason; where an event of an earlier release names none, all of them.
    pub(crate) fn lift(&mut self, of: Option<&str>) {
        self.0.retain(|reason| of.is_some_and(|of| of != reason));
    }

    /// All of them, for a person.
    fn told(&self) -> String {
        self.0.join("; ")
    }
}

/// A record that a legal hold can protect from erasure.
pub trait Holdable {
    /// What it is held by.
    fn holds(&self) -> &Holds;

    /// Likewise, to be changed.
    fn holds_mut(&mut self) -> &mut Holds;

    /// Refuses, while it is held, what would destroy any of it.
    fn check_not_held(&self) -> Result<(), Refusal> {
        match self.holds() {
            Holds(reasons) if reasons.is_empty() => Ok(()),
            holds => Err(Refusal::Held { reason: holds.told() }),
        }
    }
}

impl<R> Lifecycle<R> {
    /// Whether the record was erased: nothing is left of it but that it was there.
    pub fn is_erased(&self) -> bool {
        matches!(self, Lifecycle::Erased)
    }

    /// The record, in use or archived.
    fn there(&self) -> Result<&R, Refusal> {
        match self {
            Lifecycle::Active(record) | Lifecycle::Archived(record) => Ok(record),
            Lifecycle::Unregistered => Err(Refusal::NotRegistered),
            Lifecycle::Erased => Err(Refusal::Erased),
        }
    }

    /// The record that a hold is on. There is none when only the plain events of an erased stream are left to read.
    pub(crate) fn there_mut(&mut self) -> Option<&mut R> {
        match self {
            Lifecycle::Active(record) | Lifecycle::Archived(record) => Some(record),
            Lifecycle::Unregistered | Lifecycle::Erased => None,
        }
    }
}

impl<R: Holdable> Lifecycle<R> {
    /// Whether a hold for this reason is news.
    pub(crate) fn holds_anew(&self, reason: &str) -> Result<bool, Refusal> {
        check_reason(reason)?;
        Ok(!self.there()?.holds().reasons().iter().any(|known| known == reason))
    }

    /// Which holds are lifted, by their reasons. Where there are several, it has to be said.
    pub(crate) fn lifts(&self, reason: &str, of: Option<&str>) -> Result<Vec<String>, Refusal> {
        check_reason(reason)?;
        let holds = self.there()?.holds();
        match (of, holds.reasons()) {
            (_, []) => Ok(vec![]),
            // Unless one of them is called so.
            (Some(ALL_HOLDS), all) if !all.iter().any(|reason| reason == ALL_HOLDS) => {
                Ok(all.to_vec())
            }
            (None, [only]) => Ok(vec![only.clone()]),
            (None, _) => Err(Refusal::SeveralHolds { reasons: holds.told() }),
            (Some(of), reasons) if reasons.iter().any(|reason| reason == of) => {
                Ok(vec![of.to_owned()])
            }
            (Some(_), _) => Err(Refusal::NoSuchHold { reasons: holds.told() }),
        }
    }

    /// Whether there is anything left to erase. A hold forbids it.
    pub(crate) fn erases(&self, reason: &str) -> Result<bool, Refusal> {
        check_reason(reason)?;
        if self.is_erased() {
            return Ok(false);
        }
        self.there()?.check_not_held().map(|()| true)
    }
}

impl<R: Holdable + Default> Lifecycle<R>
where
    Self: Aggregate,
{
    /// The record as its plain events alone tell it, where others cannot be read: that it is there, by what it is held, and
    /// whether it was erased, which is all that holds and erasures are decided by. Of each event what it is called, and what
    /// it says, unless even that cannot be read: a hold is believed then, and that one was lifted is not.
    pub fn in_plain(
        events: impl IntoIterator<Item = (String, Option<<Self as Aggregate>::Event>)>,
    ) -> Self {
        let mut record = Lifecycle::Active(R::default());
        for (name, event) in events {
            match event {
                Some(event) if Event::is_plain(&event.event_type()) => record.apply(event),
                Some(_) => {}
                None if name == "Erased" => record = Lifecycle::Erased,
                None if name == "Held" => {
                    let there = record.there_mut();
                    there.into_iter().for_each(|it| it.holds_mut().put(UNREADABLE.to_owned()));
                }
                None => {}
            }
        }
        record
    }
}

fn check_reason(reason: &str) -> Result<(), Refusal> {
    if reason.trim().is_empty() { Err(Refusal::ReasonMissing) } else { Ok(()) }
}

impl crate::Kind {
    /// Whether its records hold personal data, so that their events are sealed and can be erased.
    pub const fn is_personal(self) -> bool {
        matches!(self, crate::Kind::Person | crate::Kind::Note)
    }
}
