use super::{Sentence, Told, added, amended, deleted, legacy_kept, renamed, restored};
use crate::RecordRef;
use crate::distributor::{DistributorEvent, DistributorRecord};
use crate::facts::FactChange;

impl Told for DistributorRecord {
    fn called(&self) -> &str {
        &self.name
    }

    fn tell(
        own: RecordRef,
        before: &Self,
        event: &DistributorEvent,
        changes: &[FactChange],
    ) -> Sentence {
        match event {
            DistributorEvent::Registered { .. } => added(own),
            DistributorEvent::Renamed { name } => renamed(&before.name, name),
            DistributorEvent::DetailsAmended { .. } => amended(own, changes),
            DistributorEvent::LegacyKept { .. } => legacy_kept(own),
            DistributorEvent::Archived => deleted(own),
            DistributorEvent::Restored => restored(own),
        }
    }

    fn touched(event: &DistributorEvent) -> Vec<&'static str> {
        match event {
            DistributorEvent::Registered { details, .. } => {
                [vec!["name"], details.names(), vec!["legacy"]].concat()
            }
            DistributorEvent::Renamed { .. } => vec!["name"],
            DistributorEvent::DetailsAmended { changes } => changes.names(),
            DistributorEvent::LegacyKept { .. } => vec!["legacy"],
            DistributorEvent::Archived | DistributorEvent::Restored => vec!["archived"],
        }
    }
}
