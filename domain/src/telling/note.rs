use super::{
    Part, Sentence, Told, about, added, amended, deleted, erased, held, hold_lifted, legacy_kept,
    moved, renamed, restored, say,
};
use serde_json::Value;

use crate::RecordRef;
use crate::facts::{FactChange, FactName};
use crate::note::{ActionItem, Author, NoteEvent, NoteRecord, NumberedItem, RecordingId};

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
            NoteEvent::RecordingAttached { name, .. } => {
                say!["The recording ", Part::Value(name.clone()), " was added to ", own]
            }
            NoteEvent::RecordingRenamed { name, .. } => {
                let [the, former] = recording(before, event);
                say![the, former, " of ", own, " was renamed to ", Part::Value(name.clone())]
            }
            NoteEvent::TranscriptionAsked { .. } => asked(before, event, own, "transcript"),
            NoteEvent::Transcribed { .. } => happened(before, event, own, "was transcribed"),
            NoteEvent::TranscriptionFailed { reason, .. } => {
                failed(before, event, own, "transcribed", reason)
            }
            NoteEvent::TranscriptionCancelled { .. } => {
                happened(before, event, own, "is not to be transcribed any more")
            }
            NoteEvent::TranscriptCorrected { corrections, .. } => {
                let count = match corrections.len() {
                    1 => "one place".to_owned(),
                    count => format!("{count} places"),
                };
                let [the, name] = recording(before, event);
                say!["The transcript of ", the, name, " of ", own, " was corrected in ", count]
            }
            NoteEvent::SummaryAsked { .. } => asked(before, event, own, "summary"),
            NoteEvent::Summarised { summary, .. } => match &summary.author {
                Author::Model { .. } => happened(before, event, own, "was summarised"),
                Author::Highlights | Author::HighlightsInstead { .. } => {
                    happened(before, event, own, "got highlights")
                }
            },
            NoteEvent::SummaryFailed { reason, .. } => {
                failed(before, event, own, "summarised", reason)
            }
            NoteEvent::SummaryCancelled { .. } => {
                happened(before, event, own, "is not to be summarised any more")
            }
            NoteEvent::ActionItemsSuggested { items, .. } => suggestions(before, event, own, items),
            NoteEvent::ActionItemAccepted { item, todo, .. } => {
                let todo = RecordRef::from(todo.id);
                let rest = say![" of ", own, " was accepted; it became ", todo];
                Sentence([suggested(before, event, *item), rest.0].concat())
            }
            NoteEvent::ActionItemDismissed { item, .. } => {
                let rest = say![" of ", own, " was dismissed"];
                Sentence([suggested(before, event, *item), rest.0].concat())
            }
            NoteEvent::InterestSuggested { suggestion, .. } => {
                let [the, name] = recording(before, event);
                let Some(interest) = suggestion.interest.clone().map(Part::Value) else {
                    let fund = Part::Value(suggestion.in_words());
                    return say!["The fund ", fund, " was suggested from ", the, name, " of ", own];
                };
                say!["The interest ", interest, " was suggested from ", the, name, " of ", own]
            }
            NoteEvent::InterestAccepted { as_recorded, .. } => {
                let (lp, fund) =
                    (RecordRef::from(as_recorded.lp), RecordRef::from(as_recorded.fund));
                let interest = Part::Value(as_recorded.interest.clone());
                say![
                    "The interest that ",
                    own,
                    " suggests was accepted: ",
                    lp,
                    " is at ",
                    interest,
                    " for ",
                    fund
                ]
            }
            NoteEvent::InterestDismissed { .. } => {
                say!["The interest that ", own, " suggests was dismissed"]
            }
            NoteEvent::RecordingRemoved { .. } => happened(before, event, own, "was removed"),
            NoteEvent::Held { reason } => held(own, reason),
            NoteEvent::HoldLifted { reason, of } => hold_lifted(own, reason, of.as_deref()),
            NoteEvent::Erased { reason } => erased(own, reason),
            NoteEvent::Archived => deleted(own),
            NoteEvent::Restored => restored(own),
        }
    }

    /// The words that a model heard where people write others.
    fn else_said(&self, name: &FactName) -> Option<Value> {
        let (id, what) = name.field.strip_prefix("recordings.")?.split_once('.')?;
        let recording = self.recordings.get(RecordingId(id.parse().ok()?))?;
        recording.heard(what).map(Value::from)
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
            _about_a_recording => vec!["recordings"],
        }
    }
}

/// A recording, by the name of its file: words and name.
fn recording(before: &NoteRecord, event: &NoteEvent) -> [Part; 2] {
    let recording = event.recording().and_then(|id| before.recordings.get(id));
    match recording.map(|recording| recording.name.as_str()) {
        None | Some("") => ["a ".into(), "recording".into()],
        Some(name) => ["the recording ".into(), Part::Value(name.to_owned())],
    }
}

/// So many suggested action items are told by what they say.
const TOLD: usize = 3;

fn suggestions(
    before: &NoteRecord,
    event: &NoteEvent,
    own: RecordRef,
    items: &[NumberedItem],
) -> Sentence {
    let [the, name] = recording(before, event);
    let from = say![" suggested from ", the, name, " of ", own].0;
    if let [only] = items {
        let what = [vec!["the action item ".into()], quoted(&only.item)].concat();
        return Sentence([what, vec![" was".into()], from].concat());
    }
    let mut parts = say![format!("{} action items were", items.len())].0;
    parts.extend(from);
    for (at, NumberedItem { item, .. }) in items.iter().take(TOLD).enumerate() {
        parts.push(if at == 0 { ": ".into() } else { ", ".into() });
        parts.extend(quoted(item));
    }
    if let Some(more) = items.len().checked_sub(TOLD).filter(|more| *more > 0) {
        parts.push(format!(" and {more} more").into());
    }
    Sentence(parts)
}

/// What an action item says, which is a sentence itself.
fn quoted(item: &ActionItem) -> Vec<Part> {
    vec!["“".into(), Part::Value(item.text.clone()), "”".into()]
}

/// A suggested action item, by what it says.
fn suggested(before: &NoteRecord, event: &NoteEvent, number: u32) -> Vec<Part> {
    let recording = event.recording().and_then(|id| before.recordings.get(id));
    match recording.and_then(|recording| recording.items.get(&number)) {
        None => vec!["a suggested action item".into()],
        Some(it) => [vec!["the suggested action item ".into()], quoted(&it.item)].concat(),
    }
}

fn happened(
    before: &NoteRecord,
    event: &NoteEvent,
    own: RecordRef,
    what: &'static str,
) -> Sentence {
    let [the, name] = recording(before, event);
    say![the, name, " of ", own, " ", what]
}

fn failed(
    before: &NoteRecord,
    event: &NoteEvent,
    own: RecordRef,
    how: &'static str,
    reason: &str,
) -> Sentence {
    let reason = Part::Value(reason.to_owned());
    let [the, name] = recording(before, event);
    say![the, name, " of ", own, " cannot be ", how, ": ", reason]
}

fn asked(before: &NoteRecord, event: &NoteEvent, own: RecordRef, what: &'static str) -> Sentence {
    let [the, name] = recording(before, event);
    say!["Another ", what, " was asked for of ", the, name, " of ", own]
}
