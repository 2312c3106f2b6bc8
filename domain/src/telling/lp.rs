use super::{
    Part, Sentence, Told, added, amended, deleted, legacy_kept, moved, plain, renamed, restored,
    say,
};
use crate::facts::FactChange;
use crate::lp::{LpEvent, LpRecord};
use crate::{Change, RecordRef};

impl Told for LpRecord {
    fn called(&self) -> &str {
        &self.name
    }

    fn tell(own: RecordRef, before: &Self, event: &LpEvent, changes: &[FactChange]) -> Sentence {
        match event {
            LpEvent::Registered { .. } => added(own),
            LpEvent::Renamed { name } => renamed(&before.name, name),
            LpEvent::TicketResized { low, high } => resized(own, before, low, high),
            LpEvent::Prioritised { .. } => moved(own, "priority", changes),
            LpEvent::DetailsAmended { .. } => amended(own, changes),
            LpEvent::LegacyKept { .. } => legacy_kept(own),
            LpEvent::Archived => deleted(own),
            LpEvent::Restored => restored(own),
        }
    }

    fn touched(event: &LpEvent) -> Vec<&'static str> {
        match event {
            LpEvent::Registered { details, .. } => {
                [vec!["name"], details.names(), vec!["legacy"]].concat()
            }
            LpEvent::Renamed { .. } => vec!["name"],
            LpEvent::TicketResized { .. } => vec!["investment_low", "investment_high"],
            LpEvent::Prioritised { .. } => vec!["priority"],
            LpEvent::DetailsAmended { changes } => changes.names(),
            LpEvent::LegacyKept { .. } => vec!["legacy"],
            LpEvent::Archived | LpEvent::Restored => vec!["archived"],
        }
    }
}

fn resized(own: RecordRef, before: &LpRecord, low: &Change<f64>, high: &Change<f64>) -> Sentence {
    let (from_low, from_high) = (before.details.investment_low, before.details.investment_high);
    let (mut to_low, mut to_high) = (from_low, from_high);
    low.clone().apply(&mut to_low);
    high.clone().apply(&mut to_high);
    let range = |low: Option<f64>, high: Option<f64>| {
        let amount = |amount: f64| plain(&amount.into());
        Part::Value(match (low, high) {
            (Some(low), Some(high)) => format!("{}–{} US$ millions", amount(low), amount(high)),
            (Some(low), None) => format!("at least {} US$ millions", amount(low)),
            (None, Some(high)) => format!("at most {} US$ millions", amount(high)),
            (None, None) => "unknown".to_owned(),
        })
    };
    say![
        "Ticket of ",
        own,
        " moved from ",
        range(from_low, from_high),
        " to ",
        range(to_low, to_high)
    ]
}
