//! What a legacy row remembered of an LP besides how it stood: its last contact, and what no attribute can hold.

use serde::{Deserialize, Serialize};

use crate::{Moment, NoteId, Verbatim};

/// A remembered last contact. The live one is computed from the notes; this one is kept because it was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contact {
    /// When it was.
    pub date: Option<Moment>,
    /// The note that tells of it; it may not exist.
    pub note: Option<NoteId>,
}

/// What a legacy row remembered of an LP's standing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remembered {
    /// The last contact.
    pub contact: Contact,
    /// Source values that the rest cannot hold.
    pub legacy: Verbatim,
}

impl Remembered {
    /// Only what really differs from what is known.
    pub fn against(self, known: Option<&Self>) -> (Option<Contact>, Option<Verbatim>) {
        let nothing = Self::default();
        let known = known.unwrap_or(&nothing);
        (
            Some(self.contact).filter(|contact| *contact != known.contact),
            Some(self.legacy).filter(|legacy| *legacy != known.legacy),
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
        let check = |new: &Remembered, known: Option<&Remembered>, expected: (Option<_>, _)| {
            let (contact, legacy) = new.clone().against(known);
            assert_eq!((contact, legacy.clone()), expected, "{new:?} against {known:?}");
            let mut amended = known.cloned().unwrap_or_default();
            amended.amend(contact, legacy);
            assert_eq!(amended, *new, "{new:?} after {known:?}");
        };
        check(&some, Some(&some), (None, None));
        check(&some, None, (Some(contact), Some(legacy.clone())));
        check(&nothing, None, (None, None));
        check(&nothing, Some(&some), (Some(Contact::default()), Some(Verbatim::default())));
        let other_contact = Remembered { contact: Contact::default(), legacy };
        check(&other_contact, Some(&some), (Some(Contact::default()), None));
    }
}
