//! What of a record is searched: its texts, and what a hit shows and filters by.

use chrono::{DateTime, Utc};
use domain::distributor::DistributorRecord;
use domain::fund::FundRecord;
use domain::gp::GpRecord;
use domain::lp::LpRecord;
use domain::note::{NoteRecord, Recording, RecordingId};
use domain::person::PersonRecord;
use domain::roadshow::RoadshowRecord;
use domain::todo::TodoRecord;
use domain::{Kind, RecordRef, Subject};

use super::blocks;

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
    fn written(part: Part, text: String) -> Self {
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
        Subject::Lp(lp) => of_lp(lp.active().ok()?),
        Subject::Gp(gp) => of_gp(gp.active().ok()?),
        Subject::Distributor(distributor) => of_distributor(distributor.active().ok()?),
        Subject::Person(person) => of_person(person.active().ok()?),
        Subject::Fund(fund) => of_fund(fund.active().ok()?),
        Subject::Note(note) => of_note(note.active().ok()?),
        Subject::Todo(todo) => of_todo(todo.active().ok()?),
        Subject::Roadshow(roadshow) => of_roadshow(roadshow.active().ok()?),
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

/// The fields of a record as lines of text.
#[derive(Default)]
struct Card(Vec<String>);

impl Card {
    fn of(name: &str) -> Self {
        // Names of notes are written with underscores for blanks.
        Self(vec![name.replace('_', " ")])
    }

    /// A value that says by itself what it is.
    fn line(mut self, value: &Option<String>) -> Self {
        self.0.extend(value.iter().filter(|value| !is_blank(value)).cloned());
        self
    }

    /// A value that does not.
    fn field(mut self, label: &str, value: Option<&str>) -> Self {
        let value = value.filter(|value| !is_blank(value));
        self.0.extend(value.map(|value| format!("{label}: {value}")));
        self
    }

    fn fields<const N: usize>(self, fields: [(&str, &Option<String>); N]) -> Self {
        fields.into_iter().fold(self, |card, (label, value)| card.field(label, value.as_deref()))
    }

    fn source(self) -> Source {
        Source::written(Part::Card, self.0.join("\n"))
    }
}

/// Nothing that anybody reads: blanks, or the ids that an import left where names should be.
fn is_blank(value: &str) -> bool {
    let is_id =
        |word: &str| word.len() >= 32 && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    value.split([',', ' ']).filter(|word| !word.trim().is_empty()).all(is_id)
}

/// The values that are not blank, as one line.
fn detail<const N: usize>(values: [Option<&str>; N]) -> Option<String> {
    let values: Vec<&str> =
        values.into_iter().flatten().map(str::trim).filter(|value| !is_blank(value)).collect();
    (!values.is_empty()).then(|| values.join(" · "))
}

fn of_lp(lp: &LpRecord) -> Found {
    let it = &lp.details;
    let size = |label: &str, value: Option<f64>, unit: &str| {
        value.map(|value| format!("{label} US$ {value} {unit}"))
    };
    let card = Card::of(&lp.name)
        .line(&it.type_of_group)
        .line(&it.location)
        .line(&size("Assets", it.aum_billions, "bn"))
        .line(&size("Ticket from", it.investment_low, "mn"))
        .line(&size("Ticket up to", it.investment_high, "mn"))
        .fields([
            ("Priority", &it.priority),
            ("Advisor", &it.advisor),
            ("International alternatives", &it.intl_alts),
            ("International mutual funds", &it.intl_mf),
            ("Local alternatives", &it.local_alts),
            ("Local mutual funds", &it.local_mf),
        ])
        .line(&it.text);
    Found {
        title: lp.name.clone(),
        detail: detail([it.type_of_group.as_deref(), it.location.as_deref()]),
        sources: vec![card.source()],
        ..Found::default()
    }
}

fn of_gp(gp: &GpRecord) -> Found {
    let it = &gp.details;
    let card = Card::of(&gp.name)
        .line(&it.location)
        .line(&it.flagship_strategy)
        .line(&it.other_strategies)
        .fields([("Contact", &it.contact_level)])
        .line(&it.note);
    Found {
        title: gp.name.clone(),
        detail: detail([it.flagship_strategy.as_deref(), it.location.as_deref()]),
        about: gp.links.iter().chain(it.distributor_id.map(RecordRef::from)).collect(),
        sources: vec![card.source()],
        ..Found::default()
    }
}

fn of_distributor(distributor: &DistributorRecord) -> Found {
    let it = &distributor.details;
    let card = Card::of(&distributor.name)
        .line(&it.headquarter)
        .fields([("Mexico", &it.mexico)])
        .line(&it.text);
    Found {
        title: distributor.name.clone(),
        detail: detail([it.headquarter.as_deref()]),
        sources: vec![card.source()],
        ..Found::default()
    }
}

fn of_person(person: &PersonRecord) -> Found {
    let it = &person.details;
    let card = Card::of(&person.name)
        .line(&it.position)
        .line(&it.people_type)
        .line(&it.location)
        .line(&it.email)
        .line(&it.cell_phone)
        .line(&it.office_phone)
        .fields([("Role", &it.role)])
        .line(&it.personal_note);
    // An organisation as the legacy application noted it, in whatever case it was written.
    let kind = it.org_type.as_deref().map(str::to_lowercase).and_then(|kind| Kind::parse(&kind));
    let employer = kind.zip(it.org_id).map(|(kind, id)| kind.record(id));
    Found {
        title: person.name.clone(),
        detail: detail([it.position.as_deref(), it.location.as_deref()]),
        about: person.affiliations.iter().chain(employer).collect(),
        sources: vec![card.source()],
        ..Found::default()
    }
}

fn of_fund(fund: &FundRecord) -> Found {
    let it = &fund.details;
    let status = it.status.as_ref().map(|status| status.as_str());
    let card = Card::of(&fund.fund_name)
        .line(&it.asset_class)
        .line(&it.geography)
        .line(&it.sectors)
        .field("Status", status)
        .fields([
            ("Target IRR", &it.target_irr),
            ("Potential", &it.potential),
            ("Current LPs", &it.current_lps),
            ("Roadshows", &it.roadshows),
        ])
        .line(&it.note);
    Found {
        title: fund.fund_name.clone(),
        detail: detail([it.asset_class.as_deref(), it.geography.as_deref(), status]),
        date: it.launch.map(|launch| launch.instant()),
        about: fund.interests.keys().map(|lp| (*lp).into()).collect(),
        sources: vec![card.source()],
    }
}

fn of_todo(todo: &TodoRecord) -> Found {
    let it = &todo.details;
    let status = todo.status.as_str().replace('_', " ");
    let priority = it.priority.as_ref().map(|priority| priority.as_str());
    let card = Card::of(&todo.title)
        .line(&it.description)
        .fields([("Tags", &it.tags)])
        .field("Status", Some(&status))
        .field("Priority", priority);
    Found {
        title: todo.title.clone(),
        detail: detail([Some(&status), priority, it.tags.as_deref()]),
        date: it.due_date.or(it.created_at).map(|day| day.instant()),
        about: todo.links.iter().chain(it.note_id.map(RecordRef::from)).collect(),
        sources: vec![card.source()],
    }
}

fn of_roadshow(roadshow: &RoadshowRecord) -> Found {
    let it = &roadshow.details;
    let mut card = Card::of(&roadshow.name).line(&it.arrival_city).line(&it.second_city);
    for (label, logistics) in [
        ("Flight", &it.lv_flight),
        ("Hotel", &it.lv_hotel),
        ("Driver in Monterrey", &it.mty_driver),
        ("Driver in Mexico City", &it.cdmx_driver),
    ] {
        let said = logistics.as_ref().map(|logistics| logistics.as_str());
        card = card.field(label, said.filter(|said| *said != "None"));
    }
    Found {
        title: roadshow.name.clone(),
        detail: detail([it.arrival_city.as_deref(), it.second_city.as_deref()]),
        date: it.arrival.map(|arrival| arrival.instant()),
        about: std::iter::once(roadshow.fund_id.into())
            .chain(roadshow.statuses.keys().map(|lp| (*lp).into()))
            .collect(),
        sources: vec![card.line(&it.notes).source()],
    }
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
