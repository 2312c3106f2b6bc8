use super::{
    Part, Sentence, Told, added, amended, deleted, legacy_kept, moved, plain, renamed, restored,
    say,
};
use crate::facts::FactChange;
use crate::roadshow::{RoadshowEvent, RoadshowRecord};
use crate::{LpId, RecordRef};

impl Told for RoadshowRecord {
    fn called(&self) -> &str {
        &self.name
    }

    fn tell(
        own: RecordRef,
        before: &Self,
        event: &RoadshowEvent,
        changes: &[FactChange],
    ) -> Sentence {
        match event {
            RoadshowEvent::Registered { .. } => match event.fund() {
                Some(fund) => say![own, " was added for ", RecordRef::from(fund)],
                None => added(own),
            },
            RoadshowEvent::Renamed { name } => renamed(&before.name, name),
            RoadshowEvent::FundAssigned { .. } => moved(own, "fund_id", changes),
            RoadshowEvent::TakenBack { name: Some(name), changes } if changes.is_empty() => {
                renamed(&before.name, name)
            }
            RoadshowEvent::Rescheduled { .. }
            | RoadshowEvent::DetailsAmended { .. }
            | RoadshowEvent::TakenBack { .. } => amended(own, changes),
            RoadshowEvent::ArrivalReaffirmed { arrival } => {
                let arrival = Part::Value(plain(&arrival.to_string().into()));
                say![
                    "The arrival of ",
                    own,
                    ", ",
                    arrival,
                    ", counts as its fund's roadshow date again"
                ]
            }
            RoadshowEvent::StatusRecorded { lp, status, .. } => {
                let was = before.statuses.get(lp).map(|standing| standing.status.as_str());
                standing(own, *lp, was, status.as_str())
            }
            RoadshowEvent::StatusCleared { lp } => {
                say!["Status of ", RecordRef::from(*lp), " was cleared for ", own]
            }
            RoadshowEvent::LegacyKept { .. } => legacy_kept(own),
            RoadshowEvent::Archived => deleted(own),
            RoadshowEvent::Restored => restored(own),
        }
    }

    fn touched(event: &RoadshowEvent) -> Vec<&'static str> {
        match event {
            RoadshowEvent::Registered { details, .. } => {
                [vec!["name", "fund_id"], details.names(), vec!["legacy"]].concat()
            }
            RoadshowEvent::Renamed { .. } => vec!["name"],
            RoadshowEvent::FundAssigned { .. } => vec!["fund_id"],
            RoadshowEvent::Rescheduled { arrival, second_arrival, departure } => {
                let legs = [
                    ("arrival", arrival),
                    ("second_arrival", second_arrival),
                    ("departure", departure),
                ];
                legs.iter().filter(|(_, leg)| !leg.is_keep()).map(|(name, _)| *name).collect()
            }
            RoadshowEvent::ArrivalReaffirmed { .. } => vec![],
            RoadshowEvent::DetailsAmended { changes } => changes.names(),
            RoadshowEvent::TakenBack { name, changes } => {
                name.iter().map(|_| "name").chain(changes.names()).collect()
            }
            RoadshowEvent::StatusRecorded { contact, legacy, .. } => {
                let contact = contact.map(|_| ["last_contact_date", "latest_note_id"]);
                let legacy = legacy.iter().map(|_| "legacy");
                std::iter::once("status")
                    .chain(contact.into_iter().flatten())
                    .chain(legacy)
                    .collect()
            }
            RoadshowEvent::StatusCleared { .. } => {
                vec!["status", "last_contact_date", "latest_note_id", "legacy"]
            }
            RoadshowEvent::LegacyKept { .. } => vec!["legacy"],
            RoadshowEvent::Archived | RoadshowEvent::Restored => vec!["archived"],
        }
    }
}

fn standing(own: RecordRef, lp: LpId, was: Option<&str>, is: &str) -> Sentence {
    let lp = RecordRef::from(lp);
    let status = |status: &str| Part::Value(plain(&status.into()));
    match was {
        None => say!["Status of ", lp, " was recorded as ", status(is), " for ", own],
        Some(was) if was == is => say!["Last contact with ", lp, " about ", own, " changed"],
        Some(was) => {
            say!["Status of ", lp, " moved from ", status(was), " to ", status(is), " for ", own]
        }
    }
}
