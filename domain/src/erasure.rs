//! Legal holds and erasure: what the records of people and notes have in common, whose streams hold personal data.
//!
//! The events are stored in plain, unlike all others of these streams, and outlive an erasure: **their reasons must not
//! name or describe anybody**. A case number is a good reason.

use crate::{Lifecycle, Refusal};

/// A record that a legal hold can protect from erasure.
pub trait Holdable {
    /// Why it is held, while it is.
    fn hold(&self) -> Option<&str>;

    /// Refuses, while it is held, what would destroy any of it.
    fn check_not_held(&self) -> Result<(), Refusal> {
        match self.hold() {
            Some(hold) => Err(Refusal::Held { reason: hold.to_owned() }),
            None => Ok(()),
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
        Ok(self.there()?.hold() != Some(reason))
    }

    /// Whether there is a hold to be lifted.
    pub(crate) fn lifts(&self, reason: &str) -> Result<bool, Refusal> {
        check_reason(reason)?;
        Ok(self.there()?.hold().is_some())
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

fn check_reason(reason: &str) -> Result<(), Refusal> {
    if reason.trim().is_empty() { Err(Refusal::ReasonMissing) } else { Ok(()) }
}

impl crate::Kind {
    /// Whether its records hold personal data, so that their events are sealed and can be erased.
    pub const fn is_personal(self) -> bool {
        matches!(self, crate::Kind::Person | crate::Kind::Note)
    }
}
