//! What the read model keeps of a record beside its texts, so that an event finds the rest of it: its facts, and of a note
//! what was heard in its recordings.

use domain::note::{Correction, NoteEvent};
use domain::{Event, FactName, Facts, Kind, Lifecycle, RecordRef, Subject};
use serde::de::Error as _;
use serde_json::Value;

use crate::projector::ProjectError;

/// A record as it is stored. Nothing is stored of one that was erased.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Stored {
    /// A JSON array of [`Fact`]s. As such it holds no U+0000, which Postgres could not.
    pub(super) facts: Option<String>,
    /// A JSON array of the events that bring a note's recordings back.
    pub(super) heard: Option<String>,
}

/// A fact as it is stored.
type Fact = (String, Option<RecordRef>, Value);

/// Fields that no text, title, date or link comes from.
const UNSEARCHED: &[&str] = &[
    "audio_path",
    "days_to_rs",
    "flight_images",
    "gp_notion_id",
    "hold",
    "image_paths",
    "last_contact_date",
    "latest_note_id",
    "notion_id",
    "recurrence_pattern",
    "roadshow_date",
    "transcription_path",
];

/// Likewise, what begins so. Facts about recordings do not say what was heard in them.
const UNSEARCHED_PARTS: [&str; 2] = ["legacy.", "recordings."];

/// Says nothing, so that even a record without a single fact is one that is there.
const REGISTERED: &str = "registered";

/// The fields that hold the same text in notes taken over from Notion; the second is then stored as null, which no fact is.
const TWICE: [&str; 2] = ["raw_notes", "content_json"];

impl Stored {
    /// What is to be stored of a record.
    pub(super) fn of(subject: &Subject) -> Result<Self, ProjectError> {
        if subject.is_erased() {
            return Ok(Self::default());
        }
        let heard = heard(subject);
        let json = |heard: &Vec<NoteEvent>| serde_json::to_string(heard).map_err(unreadable);
        let heard = (!heard.is_empty()).then(|| json(&heard)).transpose()?;
        Ok(Self { facts: Some(facts(subject)?), heard })
    }

    /// The record of this kind that this was stored of.
    pub(super) fn subject(&self, kind: Kind) -> Result<Subject, ProjectError> {
        let Some(facts) = &self.facts else {
            return Ok(match kind {
                Kind::Person => Subject::Person(Lifecycle::Erased),
                _ => Subject::Note(Lifecycle::Erased),
            });
        };
        let is_archived = archived_name();
        let mut facts = known(facts)?;
        // Nothing happens to a record that is archived, not even once more what was heard.
        let archived = self.heard.as_ref().and_then(|_| facts.remove(&is_archived));
        let mut subject = Subject::from_facts(kind, facts)
            .map_err(|error| unreadable(serde_json::Error::custom(error)))?;
        let heard = self.heard.as_deref().unwrap_or("[]");
        let heard: Vec<NoteEvent> = serde_json::from_str(heard).map_err(unreadable)?;
        heard.into_iter().for_each(|event| subject.apply(&Event::Note(event)));
        if archived.is_some() {
            subject.apply(&Event::Note(NoteEvent::Archived));
        }
        Ok(subject)
    }

    /// How much it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        [&self.facts, &self.heard].into_iter().flatten().map(String::len).sum()
    }
}

fn facts(subject: &Subject) -> Result<String, ProjectError> {
    let mut facts: Facts = subject.facts();
    facts.retain(|name, _| {
        !UNSEARCHED.contains(&name.field.as_str())
            && !UNSEARCHED_PARTS.iter().any(|part| name.field.starts_with(part))
    });
    let [first, second] = TWICE.map(named);
    if facts.contains_key(&first) && facts.get(&first) == facts.get(&second) {
        facts.insert(second, Value::Null);
    }
    let facts: Vec<Fact> =
        facts.into_iter().map(|(name, value)| (name.field, name.about, value)).collect();
    serde_json::to_string(&facts).map_err(unreadable)
}

fn known(facts: &str) -> Result<Facts, ProjectError> {
    let facts: Vec<Fact> = serde_json::from_str(facts).map_err(unreadable)?;
    let facts = facts.into_iter();
    let mut facts: Facts =
        facts.map(|(field, about, value)| (FactName { field, about }, value)).collect();
    let [first, second] = TWICE.map(named);
    if facts.get(&second) == Some(&Value::Null) {
        let text = facts.get(&first).cloned().unwrap_or_default();
        facts.insert(second, text);
    }
    facts.insert(named(REGISTERED), Value::Bool(true));
    Ok(facts)
}

fn named(field: &str) -> FactName {
    FactName { field: field.to_owned(), about: None }
}

fn archived_name() -> FactName {
    named(domain::ARCHIVED)
}

/// The events that make a note's recordings say what they say now.
fn heard(subject: &Subject) -> Vec<NoteEvent> {
    let Subject::Note(note) = subject else { return vec![] };
    let Some(note) = note.record() else { return vec![] };
    let mut events = Vec::new();
    for (recording, it) in note.recordings.iter() {
        let (file, name) = (domain::note::AudioFile::default(), String::new());
        events.push(NoteEvent::RecordingAttached { recording, file, name, language: None });
        if let Some(transcript) = it.transcript.clone() {
            // Which round it was changes with what is asked of the recording, and not what was heard.
            events.push(NoteEvent::Transcribed { recording, round: 1, transcript });
        }
        let corrections = it.corrections.iter().map(|((start_ms, end_ms), text)| Correction {
            start_ms: *start_ms,
            end_ms: *end_ms,
            text: Some(text.clone()),
        });
        let corrections: Vec<Correction> = corrections.collect();
        if !corrections.is_empty() {
            events.push(NoteEvent::TranscriptCorrected { recording, corrections });
        }
    }
    events
}

fn unreadable(source: serde_json::Error) -> ProjectError {
    ProjectError::Row { table: "findable", source }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::text;
    use super::*;

    fn subject(kind: Kind, payloads: Vec<Value>) -> Subject {
        let mut subject = Subject::new(kind);
        for payload in payloads {
            let name = payload.as_object().and_then(|it| it.keys().next().cloned());
            let name = name.unwrap_or_else(|| payload.as_str().unwrap_or_default().to_owned());
            subject.apply(&Event::decode(kind.as_str(), &name, &payload.to_string()).unwrap());
        }
        subject
    }

    fn reloaded(kind: Kind, subject: &Subject) -> Subject {
        Stored::of(subject).unwrap().subject(kind).unwrap()
    }

    #[test]
    fn what_is_stored_of_a_record_is_all_that_later_events_need() {
        let blocks = r#"[{"type":"paragraph","paragraph":{"rich_text":[{"plain_text":"They\u0000 like it."}]}}]"#;
        let check = |kind: Kind, payloads: Vec<Value>, then: Value| {
            let mut live = subject(kind, payloads);
            let mut stored = reloaded(kind, &live);
            assert_eq!(text::of(&stored), text::of(&live));
            assert_eq!(stored.is_archived(), live.is_archived());
            let name = then.as_object().and_then(|it| it.keys().next().cloned());
            let name = name.unwrap_or_else(|| then.as_str().unwrap_or_default().to_owned());
            let then = Event::decode(kind.as_str(), &name, &then.to_string()).unwrap();
            live.apply(&then);
            stored.apply(&then);
            assert_eq!(text::of(&stored), text::of(&live));
            assert_eq!(Stored::of(&stored).unwrap(), Stored::of(&live).unwrap());
        };
        let note = json!({"Registered": {"details": {"name": "x", "raw_notes": blocks, "content_json": blocks, "useful": true},
            "legacy": {"useful": 2}}});
        let linked = json!({"Linked": {"to": [{"lp": 7}]}});
        check(
            Kind::Note,
            vec![note.clone(), linked.clone()],
            json!({"TextRevised": {"raw_notes": null}}),
        );
        check(Kind::Note, vec![note, linked, json!("Archived")], json!("Restored"));
        check(
            Kind::Note,
            vec![json!({"Registered": {"details": {}}})],
            json!({"Renamed": {"name": "y"}}),
        );
        let fund = json!({"Registered": {"fund_name": "F", "details": {"status": "fundraising"}}});
        let interest = json!({"InterestRecorded": {"lp": 7, "interest": "meeting", "contact": {"date": "2025-01-31"}}});
        check(Kind::Fund, vec![fund, interest], json!({"InterestCleared": {"lp": 7}}));
        let lp = json!({"Registered": {"name": "", "details": {"aum_billions": 0.1}}});
        check(Kind::Lp, vec![lp], json!({"Renamed": {"name": "L"}}));
    }

    #[test]
    fn nothing_is_stored_of_what_was_erased() {
        let note = subject(
            Kind::Note,
            vec![
                json!({"Registered": {"details": {"name": "x"}}}),
                json!({"Erased": {"reason": "asked"}}),
            ],
        );
        assert_eq!(Stored::of(&note).unwrap(), Stored::default());
        assert!(reloaded(Kind::Note, &note).is_erased());
    }

    #[test]
    fn what_was_heard_is_there_again_with_what_people_corrected() {
        let attached = json!({"RecordingAttached": {"recording": 4, "name": "call.webm",
            "file": {"key": "k", "size": 1, "media_type": "audio/webm", "sha256": "00"}}});
        let segment = |n: u64, text: &str| json!({"start_ms": n * 1000, "end_ms": n * 1000 + 900, "text": text, "confidence": 90});
        let transcribed = json!({"Transcribed": {"recording": 4, "round": 1, "transcript": {"model": "base",
            "language": "en", "duration_ms": 2000, "segments": [segment(0, "Hedging"), segment(1, "a floor of XXI")]}}});
        let corrected = json!({"TranscriptCorrected": {"recording": 4, "corrections":
            [{"start_ms": 1000, "end_ms": 1900, "text": "Afore XXI"}]}});
        let registered = json!({"Registered": {"details": {"name": "x"}}});
        let transcript = |subject: &Subject| {
            let found = text::of(subject).unwrap();
            found.sources.into_iter().find(|it| it.part == text::Part::Transcript)
        };
        let live = subject(Kind::Note, vec![registered, attached, transcribed, corrected]);
        let mut stored = reloaded(Kind::Note, &live);
        let source = transcript(&stored).unwrap();
        assert_eq!(source.text, "Hedging\nAfore XXI\n");
        assert_eq!(source.turns, [(0, 0), (8, 1_000)]);
        assert_eq!(transcript(&live), Some(source));
        assert_eq!(Stored::of(&stored).unwrap(), Stored::of(&live).unwrap());
        stored.apply(&Event::Note(NoteEvent::Archived));
        let mut again = reloaded(Kind::Note, &stored);
        assert!(again.is_archived());
        again.apply(&Event::Note(NoteEvent::Restored));
        assert_eq!(transcript(&again), transcript(&live));
        again.apply(&Event::Note(NoteEvent::RecordingRemoved {
            recording: domain::note::RecordingId(4),
        }));
        assert_eq!(transcript(&again), None);
    }
}
