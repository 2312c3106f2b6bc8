//! The stages every record goes through, and what all records have in common.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Facts, Field, Kind, Refusal, Verbatim};

/// Never registered, in use, archived or erased. Archiving keeps the record, so that it can be restored; erasing does not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Lifecycle<R> {
    /// Nothing has happened yet.
    #[default]
    Unregistered,
    /// In use.
    Active(R),
    /// Removed from every list; its history stays.
    Archived(R),
    /// Its content is destroyed for good. Only people and notes are ever erased.
    Erased,
}

impl<R> Lifecycle<R> {
    /// The record, while it is in use.
    ///
    /// # Errors
    /// [`Refusal::NotRegistered`], or [`Refusal::Erased`], otherwise.
    pub fn active(&self) -> Result<&R, Refusal> {
        match self {
            Lifecycle::Active(record) => Ok(record),
            Lifecycle::Unregistered | Lifecycle::Archived(_) => Err(Refusal::NotRegistered),
            Lifecycle::Erased => Err(Refusal::Erased),
        }
    }

    /// The record, in use or archived.
    pub fn record(&self) -> Option<&R> {
        match self {
            Lifecycle::Active(record) | Lifecycle::Archived(record) => Some(record),
            Lifecycle::Unregistered | Lifecycle::Erased => None,
        }
    }

    /// The id in Notion of a record that is in use.
    pub fn notion_id(&self) -> Option<&str>
    where
        R: Record,
    {
        match self {
            Lifecycle::Active(record) => record.notion_id(),
            _ => None,
        }
    }

    /// Whether the record was removed from use.
    pub fn is_archived(&self) -> bool {
        matches!(self, Lifecycle::Archived(_))
    }

    pub(crate) fn check_unregistered(&self) -> Result<(), Refusal> {
        match self {
            Lifecycle::Unregistered => Ok(()),
            Lifecycle::Active(_) | Lifecycle::Archived(_) => Err(Refusal::AlreadyRegistered),
            Lifecycle::Erased => Err(Refusal::Erased),
        }
    }

    pub(crate) fn check_archived(&self) -> Result<(), Refusal> {
        match self {
            Lifecycle::Archived(_) => Ok(()),
            Lifecycle::Unregistered | Lifecycle::Active(_) => Err(Refusal::NotArchived),
            Lifecycle::Erased => Err(Refusal::Erased),
        }
    }

    /// What makes the record what it was: `change` tells how one in use becomes another. To what it was before it was
    /// registered means to remove it from use.
    pub(crate) fn revert<E>(
        &self,
        to: &Self,
        change: impl FnOnce(&R, &R) -> Vec<E>,
        archived: E,
        restored: E,
    ) -> Result<Vec<E>, Refusal> {
        use Lifecycle::{Active, Archived, Unregistered};
        let (now, then) = match (self, to) {
            (Unregistered, _) => return Err(Refusal::NotRegistered),
            (Lifecycle::Erased, _) | (_, Lifecycle::Erased) => return Err(Refusal::Erased),
            (Active(_), Unregistered) => return Ok(vec![archived]),
            (Archived(_), Unregistered) => return Ok(vec![]),
            (Active(now) | Archived(now), Active(then) | Archived(then)) => (now, then),
        };
        let changes = change(now, then);
        let mut events = Vec::new();
        // Nothing but being restored happens to an archived record.
        if self.is_archived() && !(to.is_archived() && changes.is_empty()) {
            events.push(restored);
        }
        let is_touched = !self.is_archived() || !events.is_empty();
        events.extend(changes);
        if to.is_archived() && is_touched {
            events.push(archived);
        }
        Ok(events)
    }

    pub(crate) fn archive(&mut self) {
        if let Lifecycle::Active(record) = std::mem::take(self) {
            *self = Lifecycle::Archived(record);
        } else {
            debug_assert!(false, "only a record in use is archived");
        }
    }

    pub(crate) fn restore(&mut self) {
        if let Lifecycle::Archived(record) = std::mem::take(self) {
            *self = Lifecycle::Active(record);
        } else {
            debug_assert!(false, "only an archived record is restored");
        }
    }

    /// The record that an event changes. `decide` emits none for a record that is not in use.
    pub(crate) fn changed(&mut self) -> Option<&mut R> {
        match self {
            Lifecycle::Active(record) => Some(record),
            Lifecycle::Unregistered | Lifecycle::Archived(_) | Lifecycle::Erased => {
                debug_assert!(false, "an event on a record that is not in use");
                None
            }
        }
    }
}

/// What a record of every kind can tell. Its serialised form is the wire's, without the id.
pub trait Record: Clone + Default + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// Which kind it is.
    const KIND: Kind;
    /// The attributes that stand in the record itself.
    const OWN: &'static [Field];
    /// The attributes that stand in its details.
    const DETAILS: &'static [Field];
    /// The names of those that a client can never make null.
    const REQUIRED: &'static [&'static str];

    /// Its id in Notion; todos and roadshows have none.
    fn notion_id(&self) -> Option<&str>;

    /// Source values that the typed attributes cannot hold.
    fn legacy(&self) -> &Verbatim;

    /// Adds what it says beside its attributes: links, standings, source values.
    fn tell_beside(&self, facts: &mut Facts);

    /// Takes in what such facts say.
    fn learn_beside(&mut self, facts: &Facts);

    /// Every attribute on the wire but the id.
    fn fields() -> impl Iterator<Item = &'static Field> {
        Self::OWN.iter().chain(Self::DETAILS)
    }
}

/// The parts of an aggregate that are the same in all: the framework's traits over `decide` and `apply`.
macro_rules! aggregate {
    ($Aggregate:ident = $Record:ident, $Kind:ident, $Command:ident, $Event:ident, own: [$($own:ident: $ty:ty),*], details: $Details:ident, beside: [$($beside:ident),*], required: $required:expr) => {
        impl cqrs_es::Aggregate for $Aggregate {
            const TYPE: &'static str = crate::Kind::$Kind.as_str();
            type Command = $Command;
            type Event = $Event;
            type Error = crate::Refusal;
            type Services = ();

            async fn handle(
                &mut self,
                command: $Command,
                _: &(),
                sink: &cqrs_es::event_sink::EventSink<Self>,
            ) -> Result<(), crate::Refusal> {
                for event in self.decide(command)? {
                    sink.write(event, self).await;
                }
                Ok(())
            }

            fn apply(&mut self, event: $Event) {
                self.evolve(event);
            }
        }

        impl $Aggregate {
            /// The command that makes the record, as readers see it here, what it was.
            pub fn reversion(&self, to: Self) -> $Command {
                crate::lifecycle::aggregate!(@reversion $Kind $Command self to)
            }
        }

        impl cqrs_es::DomainEvent for $Event {
            fn event_type(&self) -> String {
                self.as_ref().to_owned()
            }
            fn event_version(&self) -> String {
                "1".to_owned()
            }
        }

        impl crate::Record for $Record {
            const KIND: crate::Kind = crate::Kind::$Kind;
            const OWN: &'static [crate::Field] = &[$(crate::Field {
                name: stringify!($own),
                kind: <$ty as crate::FieldType>::KIND,
            }),*];
            const DETAILS: &'static [crate::Field] = $Details::FIELDS;
            const REQUIRED: &'static [&'static str] = $required;
            fn notion_id(&self) -> Option<&str> {
                crate::lifecycle::aggregate!(@notion_id $Kind self)
            }
            fn legacy(&self) -> &crate::Verbatim {
                &self.legacy
            }
            fn tell_beside(&self, facts: &mut crate::Facts) {
                use crate::facts::Beside as _;
                $(self.$beside.tell(stringify!($beside), facts);)*
                self.legacy.tell("legacy", facts);
            }
            fn learn_beside(&mut self, facts: &crate::Facts) {
                use crate::facts::Beside as _;
                $(self.$beside.learn(stringify!($beside), facts);)*
                self.legacy.learn("legacy", facts);
            }
        }
    };
    (@reversion Fund $Command:ident $now:ident $to:ident) => {
        $Command::Revert {
            to: Box::new($to),
            shown_roadshow_date: $now.record().and_then(|now| now.details.roadshow_date),
        }
    };
    (@reversion $Kind:ident $Command:ident $now:ident $to:ident) => {
        $Command::Revert { to: Box::new($to) }
    };
    (@notion_id Todo $record:ident) => { None };
    (@notion_id Roadshow $record:ident) => { None };
    (@notion_id $Kind:ident $record:ident) => { $record.details.notion_id.as_deref() };
}
pub(crate) use aggregate;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::distributor::DistributorRecord;
    use crate::fund::FundRecord;
    use crate::gp::GpRecord;
    use crate::lp::LpRecord;
    use crate::note::NoteRecord;
    use crate::person::PersonRecord;
    use crate::roadshow::RoadshowRecord;
    use crate::todo::TodoRecord;

    #[test]
    fn each_stage_allows_its_own_steps_only() {
        use Lifecycle::{Active, Archived, Erased, Unregistered};
        use Refusal::{AlreadyRegistered, NotArchived, NotRegistered};
        type Step = Result<(), Refusal>;
        let check = |stage: Lifecycle<i64>, register: Step, change: Step, restore: Step| {
            assert_eq!(stage.check_unregistered(), register, "{stage:?}");
            assert_eq!(stage.active().map(|_| ()), change, "{stage:?}");
            assert_eq!(stage.check_archived(), restore, "{stage:?}");
        };
        check(Unregistered, Ok(()), Err(NotRegistered), Err(NotArchived));
        check(Active(1), Err(AlreadyRegistered), Ok(()), Err(NotArchived));
        check(Archived(1), Err(AlreadyRegistered), Err(NotRegistered), Ok(()));
        check(Erased, Err(Refusal::Erased), Err(Refusal::Erased), Err(Refusal::Erased));
    }

    #[test]
    fn an_archived_record_is_kept_and_restored_unchanged() {
        let mut stage = Lifecycle::Active(1);
        stage.archive();
        assert!(stage.is_archived());
        assert_eq!(stage.record(), Some(&1));
        stage.restore();
        assert_eq!(stage, Lifecycle::Active(1));
    }

    #[test]
    fn every_record_lists_exactly_the_fields_that_it_sends() {
        fn check<R: Record>(kind: Kind) {
            assert_eq!(R::KIND, kind);
            let sent = serde_json::to_value(R::default()).unwrap();
            let sent: BTreeSet<_> = sent.as_object().unwrap().keys().cloned().collect();
            let listed: Vec<_> = R::fields().map(|field| field.name.to_owned()).collect();
            assert_eq!(listed.len(), sent.len(), "{kind}");
            assert_eq!(BTreeSet::from_iter(listed), sent, "{kind}");
            for required in R::REQUIRED {
                assert!(sent.contains(*required), "{kind} has no {required}");
            }
        }
        check::<LpRecord>(Kind::Lp);
        check::<GpRecord>(Kind::Gp);
        check::<DistributorRecord>(Kind::Distributor);
        check::<PersonRecord>(Kind::Person);
        check::<FundRecord>(Kind::Fund);
        check::<NoteRecord>(Kind::Note);
        check::<TodoRecord>(Kind::Todo);
        check::<RoadshowRecord>(Kind::Roadshow);
    }
}
