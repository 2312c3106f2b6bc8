//! What of a record is searched: its texts, and what a hit shows and filters by.

use chrono::{DateTime, Utc};
use domain::note::{NoteRecord, Recording, RecordingId};
use domain::{RecordRef, Subject};

use super::blocks;
use super::card::{self, Card, detail};

/// Which of a record's texts a passage is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Its name and the fields that people read.
    Card,
    /// What a note says.
    Text,
    /// What a note is summed up to.
    Summary,
    /// What was said in a recording.
    Transcript,
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 4] = [Part::Card, Part::Text, Part::Summary, Part::Transcript];

    /// Its name in tables and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::Card => "card",
            Part::Text => "text",
            Part::Summary => "summary",
            Part::Transcript => "transcript",
        }
    }

    /// The part of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == name)
    }
}

/// From this length on, in characters, a card says something. Names and a few words are near to any short question.
const TELLING: usize = 200;

/// Whether a text is a card too short for its nearness to mean something.
pub(super) fn is_brief(part: Part, text: &str) -> bool {
    part == Part::Card && text.chars().nth(TELLING - 1).is_none()
}

/// A text of a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Source {
    pub(crate) part: Part,
    pub(crate) text: String,
    /// The recording that it is of, if it was spoken.
    pub(crate) recording: Option<RecordingId>,
    /// Where in the text turns of a conversation begin, in bytes, and when they were spoken, in milliseconds of the
    /// recording; in order. Empty if it was written.
    pub(crate) turns: Vec<(usize, i64)>,
}

impl Source {
    /// A text that somebody wrote.
    pub(super) fn written(part: Part, text: String) -> Self {
        Self { part, text, recording: None, turns: vec![] }
    }

    /// What was said in a recording, a line per turn.
    fn spoken(id: RecordingId, recording: &Recording) -> Self {
        let mut source = Self::written(Part::Transcript, String::new());
        source.recording = Some(id);
        for line in recording.lines() {
            source
                .turns
                .push((source.text.len(), i64::try_from(line.start_ms).unwrap_or(i64::MAX)));
            source.text.push_str(line.text.trim());
            source.text.push('\n');
        }
        source
    }
}

/// What can be found of a record that is in use.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Found {
    /// What people call it.
    pub(crate) title: String,
    /// What tells it from others of that name.
    pub(crate) detail: Option<String>,
    /// The day it is of.
    pub(crate) date: Option<DateTime<Utc>>,
    /// The records it is linked to, each once.
    pub(crate) about: Vec<RecordRef>,
    /// Its texts; none is blank.
    pub(crate) sources: Vec<Source>,
}

/// What can be found of a record; `None` if it is not in use.
pub(crate) fn of(subject: &Subject) -> Option<Found> {
    let mut found = match subject {
        Subject::Lp(lp) => card::of_lp(lp.active().ok()?),
        Subject::Gp(gp) => card::of_gp(gp.active().ok()?),
        Subject::Distributor(distributor) => card::of_distributor(distributor.active().ok()?),
        Subject::Person(person) => card::of_person(person.active().ok()?),
        Subject::Fund(fund) => card::of_fund(fund.active().ok()?),
        Subject::Note(note) => of_note(note.active().ok()?),
        Subject::Todo(todo) => card::of_todo(todo.active().ok()?),
        Subject::Roadshow(roadshow) => card::of_roadshow(roadshow.active().ok()?),
    };
    found.about.sort_unstable();
    found.about.dedup();
    found.title = storable(found.title);
    found.detail = found.detail.map(storable);
    for source in &mut found.sources {
        source.text = storable(std::mem::take(&mut source.text));
    }
    found.sources.retain(|source| !source.text.trim().is_empty());
    Some(found)
}

/// Postgres's texts cannot hold U+0000.
fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', " ") } else { text }
}

fn of_note(note: &NoteRecord) -> Found {
    let it = &note.details;
    let name = it.name.as_deref().unwrap_or_default();
    let card = Card::of(name).line(&it.contact_type).fields([
        ("Interest", &it.interest),
        ("Fundraise", &it.fundraise),
        ("Roadshows", &it.roadshows),
        ("International alternatives", &it.intl_alts),
        ("International mutual funds", &it.intl_mf),
        ("Local alternatives", &it.local_alts),
        ("Local mutual funds", &it.local_mf),
    ]);
    let text = text_of_note(note);
    let summary = summary_of_note(note, &text);
    let mut sources = vec![
        card.source(),
        Source::written(Part::Text, text),
        Source::written(Part::Summary, summary),
    ];
    sources.extend(note.recordings.iter().map(|(id, recording)| Source::spoken(id, recording)));
    Found {
        title: name.to_owned(),
        detail: detail([it.contact_type.as_deref()]),
        date: it.date.map(|date| date.instant()),
        about: note.links.iter().collect(),
        sources,
    }
}

/// What the note says. Those of Notion say it in blocks, which may stand in either of two fields.
fn text_of_note(note: &NoteRecord) -> String {
    let it = &note.details;
    let written = [&it.raw_notes, &it.content_text].into_iter().flatten();
    if let Some(text) = written.into_iter().find(|text| !text.trim().is_empty()) {
        return blocks::readable(text).into_owned();
    }
    it.content_json.as_deref().and_then(blocks::said_by_blocks).unwrap_or_default()
}

/// What the note is summed up to, unless that only repeats how it begins.
fn summary_of_note(note: &NoteRecord, text: &str) -> String {
    let it = &note.details;
    let mut summary: Vec<String> = Vec::new();
    for said in [&it.ai_summary, &it.summary].into_iter().flatten() {
        let said = blocks::readable(said.trim());
        let is_new =
            !text.trim_start().starts_with(&*said) && !summary.iter().any(|it| *it == said);
        if is_new && !said.starts_with("[{\"") {
            summary.push(said.into_owned());
        }
    }
    summary.join("\n\n")
}

#[cfg(test)]
mod tests {
    use domain::note::NoteEvent;
    use domain::{Event, Kind};
    use serde_json::{Value, json};

    use super::*;

    fn found(kind: Kind, events: Vec<(&str, Value)>) -> Found {
        let mut subject = Subject::new(kind);
        for (name, payload) in events {
            let event = Event::decode(kind.as_str(), name, &payload.to_string()).unwrap();
            subject.apply(&event);
        }
        of(&subject).unwrap()
    }

    fn note(details: Value) -> Found {
        found(Kind::Note, vec![("Registered", json!({"Registered": {"details": details}}))])
    }

    fn texts(found: &Found) -> Vec<(&'static str, &str)> {
        found.sources.iter().map(|it| (it.part.as_str(), it.text.as_str())).collect()
    }

    #[test]
    fn a_note_is_searched_by_its_name_its_text_and_its_summary() {
        let note = found(
            Kind::Note,
            vec![
                (
                    "Registered",
                    json!({"Registered": {"details": {"name": "2025_01_31_Call", "date": "2025-01-31",
                        "contact_type": "Video Call", "raw_notes": "They like it.", "summary": "Interested."}}}),
                ),
                ("Linked", json!({"Linked": {"to": [{"lp": 7}, {"person": 3}]}})),
            ],
        );
        assert_eq!(
            texts(&note),
            [
                ("card", "2025 01 31 Call\nVideo Call"),
                ("text", "They like it."),
                ("summary", "Interested.")
            ]
        );
        assert_eq!(
            (note.title.as_str(), note.detail.as_deref()),
            ("2025_01_31_Call", Some("Video Call"))
        );
        assert_eq!(note.date.unwrap().to_rfc3339(), "2025-01-31T00:00:00+00:00");
        assert_eq!(note.about, [Kind::Lp.record(7), Kind::Person.record(3)]);
    }

    #[test]
    fn blocks_of_notion_are_read_and_a_summary_that_repeats_the_text_is_not_searched_twice() {
        let blocks =
            r#"[{"type":"paragraph","paragraph":{"rich_text":[{"plain_text":"They like it."}]}}]"#;
        let check = |details: Value, expected: &[(&str, &str)]| {
            assert_eq!(texts(&note(details.clone()))[1..], *expected, "{details}");
        };
        let text = ("text", "They like it.");
        check(json!({"name": "x", "raw_notes": blocks, "content_json": blocks}), &[text]);
        check(json!({"name": "x", "content_json": blocks}), &[text]);
        check(json!({"name": "x", "raw_notes": " ", "content_text": "They like it."}), &[text]);
        check(json!({"name": "x", "raw_notes": "They like it.", "summary": "They like"}), &[text]);
        check(json!({"name": "x", "raw_notes": blocks, "summary": &blocks[..40]}), &[text]);
        check(
            json!({"name": "x", "raw_notes": "They like it.", "summary": "Keen", "ai_summary": "Keen"}),
            &[text, ("summary", "Keen")],
        );
        check(json!({"name": "x", "content_json": "null"}), &[]);
    }

    #[test]
    fn a_record_is_searched_by_what_people_read_of_it() {
        let lp = found(
            Kind::Lp,
            vec![(
                "Registered",
                json!({"Registered": {"name": "Afore XXI\u{0}", "details": {"location": "Monterrey", "priority": "A",
                    "advisor": "0b44a9d7-b51c-3c62-6266-40cda0e2c2f7, 0b44a9d7b51c3c62626640cda0e2c2f7", "aum_billions": 12.5}}}),
            )],
        );
        assert_eq!(
            texts(&lp),
            [("card", "Afore XXI \nMonterrey\nAssets US$ 12.5 bn\nPriority: A")]
        );
        assert_eq!(lp.detail.as_deref(), Some("Monterrey"));
        let todo = found(
            Kind::Todo,
            vec![(
                "Registered",
                json!({"Registered": {"title": "Send deck", "status": "in_progress",
                    "details": {"note_id": 4, "due_date": "2025-03-01", "tags": "urgent"}}}),
            )],
        );
        assert_eq!(texts(&todo), [("card", "Send deck\nTags: urgent\nStatus: in progress")]);
        assert_eq!(todo.about, [Kind::Note.record(4)]);
        let person = found(
            Kind::Person,
            vec![(
                "Registered",
                json!({"Registered": {"name": "Ana", "details": {"org_type": "LP", "org_id": 7}}}),
            )],
        );
        assert_eq!(person.about, [Kind::Lp.record(7)]);
    }

    #[test]
    fn nothing_is_found_of_what_is_archived_or_erased() {
        for gone in [NoteEvent::Archived, NoteEvent::Erased { reason: "asked".into() }] {
            let mut subject = Subject::new(Kind::Note);
            let registered = json!({"Registered": {"details": {"name": "x"}}});
            subject.apply(&Event::decode("note", "Registered", &registered.to_string()).unwrap());
            subject.apply(&Event::Note(gone));
            assert_eq!(of(&subject), None);
        }
    }
}
