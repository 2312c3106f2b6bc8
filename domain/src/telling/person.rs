use super::{
    Sentence, Told, about, added, amended, deleted, erased, held, hold_lifted, legacy_kept,
    renamed, restored,
};
use crate::RecordRef;
use crate::facts::FactChange;
use crate::person::{PersonEvent, PersonRecord};

impl Told for PersonRecord {
    fn called(&self) -> &str {
        &self.name
    }

    fn tell(
        own: RecordRef,
        before: &Self,
        event: &PersonEvent,
        changes: &[FactChange],
    ) -> Sentence {
        match event {
            PersonEvent::Registered { .. } => added(own),
            PersonEvent::Renamed { name } => renamed(&before.name, name),
            PersonEvent::DetailsAmended { .. } => amended(own, changes),
            PersonEvent::Affiliated { with } => {
                about([own.into(), " was recorded as belonging to ".into()], with, [])
            }
            PersonEvent::Disaffiliated { from } => {
                about([own.into(), " was recorded as no longer belonging to ".into()], from, [])
            }
            PersonEvent::LegacyKept { .. } => legacy_kept(own),
            PersonEvent::Held { reason } => held(own, reason),
            PersonEvent::HoldLifted { reason, of } => hold_lifted(own, reason, of.as_deref()),
            PersonEvent::Erased { reason } => erased(own, reason),
            PersonEvent::Archived => deleted(own),
            PersonEvent::Restored => restored(own),
        }
    }

    fn touched(event: &PersonEvent) -> Vec<&'static str> {
        match event {
            PersonEvent::Registered { details, .. } => {
                [vec!["name"], details.names(), vec!["legacy"]].concat()
            }
            PersonEvent::Renamed { .. } => vec!["name"],
            PersonEvent::DetailsAmended { changes } => changes.names(),
            PersonEvent::Affiliated { .. } | PersonEvent::Disaffiliated { .. } => {
                vec!["affiliations"]
            }
            PersonEvent::LegacyKept { .. } => vec!["legacy"],
            PersonEvent::Held { .. } | PersonEvent::HoldLifted { .. } => vec!["hold"],
            // Whatever it said; the fields of an erased record are not kept to be searched.
            PersonEvent::Erased { .. } => vec![],
            PersonEvent::Archived | PersonEvent::Restored => vec!["archived"],
        }
    }
}
