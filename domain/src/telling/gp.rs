use super::{
    Sentence, Told, about, added, amended, deleted, legacy_kept, moved, renamed, restored,
};
use crate::RecordRef;
use crate::facts::FactChange;
use crate::gp::{GpEvent, GpRecord};

impl Told for GpRecord {
    fn called(&self) -> &str {
        &self.name
    }

    fn tell(own: RecordRef, before: &Self, event: &GpEvent, changes: &[FactChange]) -> Sentence {
        match event {
            GpEvent::Registered { .. } => added(own),
            GpEvent::Renamed { name } => renamed(&before.name, name),
            GpEvent::DistributorAssigned { .. } => moved(own, "distributor_id", changes),
            GpEvent::DetailsAmended { .. } => amended(own, changes),
            GpEvent::Linked { to } => about(
                ["A relationship of ".into(), own.into(), " with ".into()],
                to,
                [" was recorded".into()],
            ),
            GpEvent::Unlinked { from } => about(
                ["The relationship of ".into(), own.into(), " with ".into()],
                from,
                [" ended".into()],
            ),
            GpEvent::LegacyKept { .. } => legacy_kept(own),
            GpEvent::Archived => deleted(own),
            GpEvent::Restored => restored(own),
        }
    }

    fn touched(event: &GpEvent) -> Vec<&'static str> {
        match event {
            GpEvent::Registered { details, .. } => {
                [vec!["name"], details.names(), vec!["legacy"]].concat()
            }
            GpEvent::Renamed { .. } => vec!["name"],
            GpEvent::DistributorAssigned { .. } => vec!["distributor_id"],
            GpEvent::DetailsAmended { changes } => changes.names(),
            GpEvent::Linked { .. } | GpEvent::Unlinked { .. } => vec!["links"],
            GpEvent::LegacyKept { .. } => vec!["legacy"],
            GpEvent::Archived | GpEvent::Restored => vec!["archived"],
        }
    }
}
