use super::{
    Part, Sentence, Told, added, amended, deleted, legacy_kept, moved, plain, renamed, restored,
    say,
};
use crate::facts::FactChange;
use crate::fund::{FundEvent, FundRecord};
use crate::{LpId, RecordRef};

impl Told for FundRecord {
    fn called(&self) -> &str {
        &self.fund_name
    }

    fn tell(own: RecordRef, before: &Self, event: &FundEvent, changes: &[FactChange]) -> Sentence {
        match event {
            FundEvent::Registered { .. } => added(own),
            FundEvent::Renamed { fund_name } => renamed(&before.fund_name, fund_name),
            FundEvent::StatusMoved { .. } => moved(own, "status", changes),
            FundEvent::GpAssigned { .. } => moved(own, "gp_notion_id", changes),
            FundEvent::RoadshowDateSet { .. } => moved(own, "roadshow_date", changes),
            FundEvent::DetailsAmended { .. } => amended(own, changes),
            FundEvent::InterestRecorded { lp, interest, .. } => {
                let was = before.interests.get(lp).map(|standing| standing.interest.as_str());
                interested(own, *lp, was, interest.as_str())
            }
            FundEvent::InterestCleared { lp } => {
                say![RecordRef::from(*lp), " was taken out of the funnel of ", own]
            }
            FundEvent::LegacyKept { .. } => legacy_kept(own),
            FundEvent::Archived => deleted(own),
            FundEvent::Restored => restored(own),
        }
    }

    fn touched(event: &FundEvent) -> Vec<&'static str> {
        match event {
            FundEvent::Registered { details, .. } => {
                [vec!["fund_name"], details.names(), vec!["legacy"]].concat()
            }
            FundEvent::Renamed { .. } => vec!["fund_name"],
            FundEvent::StatusMoved { .. } => vec!["status"],
            FundEvent::GpAssigned { .. } => vec!["gp_notion_id"],
            FundEvent::RoadshowDateSet { .. } => vec!["roadshow_date"],
            FundEvent::DetailsAmended { changes } => changes.names(),
            FundEvent::InterestRecorded { contact, legacy, .. } => {
                let contact = contact.map(|_| ["last_contact_date", "latest_note_id"]);
                let legacy = legacy.iter().map(|_| "legacy");
                std::iter::once("interest")
                    .chain(contact.into_iter().flatten())
                    .chain(legacy)
                    .collect()
            }
            FundEvent::InterestCleared { .. } => {
                vec!["interest", "last_contact_date", "latest_note_id", "legacy"]
            }
            FundEvent::LegacyKept { .. } => vec!["legacy"],
            FundEvent::Archived | FundEvent::Restored => vec!["archived"],
        }
    }
}

fn interested(own: RecordRef, lp: LpId, was: Option<&str>, is: &str) -> Sentence {
    let lp = RecordRef::from(lp);
    let stage = |stage: &str| Part::Value(plain(&stage.into()));
    match was {
        None => say!["Interest of ", lp, " was recorded as ", stage(is), " for ", own],
        Some(was) if was == is => say!["Last contact with ", lp, " about ", own, " changed"],
        Some(was) => {
            say!["Interest of ", lp, " moved from ", stage(was), " to ", stage(is), " for ", own]
        }
    }
}
