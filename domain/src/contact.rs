//! What is remembered of an LP besides how it stands: its last contact, and what no attribute of a legacy row can hold.

use serde::{Deserialize, Serialize};

use crate::{Moment, NoteId, Verbatim};

/// A remembered last contact: what was the newest note in common when the standing was recorded. It outlives the note.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    /// When it was.
    pub date: Option<Moment>,
    /// The note that tells of it; it may not exist.
    pub note: Option<NoteId>,
}

/// What is remembered of an LP's standing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remembered {
    /// The last contact.
    pub contact: Contact,
    /// Source values of a legacy row that the rest cannot hold.
    pub legacy: Verbatim,
}

impl Remembered {
    /// Only what really differs from what is remembered; `None` leaves it as it is.
    pub fn differing(
        &self,
        contact: Option<Contact>,
        legacy: Option<Verbatim>,
    ) -> (Option<Contact>, Option<Verbatim>) {
        (
            contact.filter(|contact| *contact != self.contact),
            legacy.filter(|legacy| *legacy != self.legacy),
        )
    }

    /// Puts what differs into effect.
    pub fn amend(&mut self, contact: Option<Contact>, legacy: Option<Verbatim>) {
        if let Some(contact) = contact {
            self.contact = contact;
        }
        if let Some(legacy) = legacy {
            self.legacy = legacy;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceValue;

    #[test]
    fn only_what_is_remembered_differently_remains() {
        let contact = Contact { date: None, note: Some(NoteId(1)) };
        let legacy = Verbatim([("fund_id".to_owned(), SourceValue::Null)].into());
        let some = Remembered { contact, legacy: legacy.clone() };
        let nothing = Remembered::default();
        let check = |known: &Remembered, new: &Remembered, expected: (Option<_>, _)| {
            let told = (Some(new.contact), Some(new.legacy.clone()));
            let (contact, legacy) = known.differing(told.0, told.1);
            assert_eq!((contact, legacy.clone()), expected, "{new:?} after {known:?}");
            let mut amended = known.clone();
            amended.amend(contact, legacy);
            assert_eq!(amended, *new, "{new:?} after {known:?}");
            assert_eq!(known.differing(None, None), (None, None), "{known:?}");
        };
        check(&some, &some, (None, None));
        check(&nothing, &some, (Some(contact), Some(legacy.clone())));
        check(&nothing, &nothing, (None, None));
        check(&some, &nothing, (Some(Contact::default()), Some(Verbatim::default())));
        let other_contact = Remembered { contact: Contact::default(), legacy };
        check(&some, &other_contact, (Some(Contact::default()), None));
    }
}
