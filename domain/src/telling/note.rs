use super::{
    Sentence, Told, about, added, amended, deleted, erased, held, hold_lifted, legacy_kept, moved,
    renamed, restored, say,
};
use crate::RecordRef;
use crate::facts::FactChange;
use crate::note::{NoteEvent, NoteRecord};

impl Told for NoteRecord {
    fn called(&self) -> &str {
        self.details.name.as_deref().unwrap_or_default()
    }

    fn tell(own: RecordRef, before: &Self, event: &NoteEvent, changes: &[FactChange]) -> Sentence {
        match event {
            NoteEvent::Registered { .. } => added(own),
            NoteEvent::Renamed { name } => {
                renamed(before.called(), name.as_deref().unwrap_or_default())
            }
            NoteEvent::Dated { .. } => moved(own, "date", changes),
            NoteEvent::UsefulnessMarked { useful } => match useful {
                Some(true) => say![own, " was marked as useful"],
                Some(false) => say![own, " was marked as not useful"],
                None => say![own, " is no longer marked as useful or not"],
            },
            NoteEvent::TextRevised { .. } | NoteEvent::DetailsAmended { .. } => {
                amended(own, changes)
            }
            NoteEvent::Linked { to } => about([own.into(), " was linked to ".into()], to, []),
            NoteEvent::Unlinked { from } => {
                about([own.into(), " is no longer linked to ".into()], from, [])
            }
            NoteEvent::LegacyKept { .. } => legacy_kept(own),
            NoteEvent::Held { reason } => held(own, reason),
            NoteEvent::HoldLifted { reason } => hold_lifted(own, reason),
            NoteEvent::Erased { reason } => erased(own, reason),
            NoteEvent::Archived => deleted(own),
            NoteEvent::Restored => restored(own),
        }
    }

    fn touched(event: &NoteEvent) -> Vec<&'static str> {
        match event {
            NoteEvent::Registered { details, .. } => [details.names(), vec!["legacy"]].concat(),
            NoteEvent::Renamed { .. } => vec!["name"],
            NoteEvent::Dated { .. } => vec!["date"],
            NoteEvent::TextRevised { raw_notes, summary } => {
                let texts = [("raw_notes", raw_notes), ("summary", summary)];
                texts.iter().filter(|(_, text)| !text.is_keep()).map(|(name, _)| *name).collect()
            }
            NoteEvent::UsefulnessMarked { .. } => vec!["useful"],
            NoteEvent::DetailsAmended { changes } => changes.names(),
            NoteEvent::Linked { .. } | NoteEvent::Unlinked { .. } => vec!["links"],
            NoteEvent::LegacyKept { .. } => vec!["legacy"],
            NoteEvent::Held { .. } | NoteEvent::HoldLifted { .. } => vec!["hold"],
            // Whatever it said; the fields of an erased record are not kept to be searched.
            NoteEvent::Erased { .. } => vec![],
            NoteEvent::Archived | NoteEvent::Restored => vec!["archived"],
        }
    }
}
