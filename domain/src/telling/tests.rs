//! Every event of every aggregate in words, with what it changes.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use strum::VariantNames as _;

use crate::facts::FactChange;
use crate::telling::known::{self, fields};
use crate::telling::{Sentence, capitalised, plain, renamed};
use crate::{Event, Kind, RecordRef, Refusal, Subject};

/// Checks what each event in turn is told as, and that `names` is exactly which events there are.
fn check(kind: Kind, names: &[&str], steps: &[(Value, &str)]) {
    let mut subject = Subject::new(kind);
    let mut seen = BTreeSet::new();
    for (payload, expected) in steps {
        let event = Event::decode(kind.as_str(), "", &payload.to_string()).unwrap();
        seen.insert(event.name().to_owned());
        for field in event.touched() {
            assert!(fields(kind).contains(&field), "nobody knows {field} of {payload}");
        }
        let step = subject.step(kind.record(7), &event);
        let sentence = step.sentence.to_text(called);
        let changes: Vec<String> = step.changes.iter().map(shown).collect();
        let told = format!("{sentence} [{}]", changes.join("; "));
        assert_eq!(told, *expected, "{payload}");
        for change in &step.changes {
            let field = change.field.split('.').next().unwrap();
            let is_named = event.is_erasure() || event.touched().contains(&field);
            assert!(is_named, "{payload} does not name {field}");
        }
    }
    assert_eq!(known::events(kind), seen.iter().collect::<Vec<_>>());
    assert_eq!(seen, names.iter().map(|name| (*name).to_owned()).collect(), "untold events");
}

/// A record without a name.
fn called(record: RecordRef, begins: bool) -> String {
    if begins { capitalised(&record.to_string()) } else { record.to_string() }
}

fn shown(change: &FactChange) -> String {
    let FactChange { field, about, from, to } = change;
    let about = about.map(|record| format!(" of {record}")).unwrap_or_default();
    format!("{field}{about}: {} → {}", plain(from), plain(to))
}

#[test]
fn a_name_stands_at_the_beginning_of_a_sentence_as_it_is_written() {
    let check = |sentence: Sentence, expected: &str| {
        assert_eq!(sentence.to_text(|_, _| "eFront".to_owned()), expected);
    };
    check(renamed("iCapital de México", "eFront"), "iCapital de México was renamed to eFront");
    check(renamed("", "eFront"), "A record without a name was renamed to eFront");
    check(crate::telling::deleted(Kind::Gp.record(7)), "eFront was deleted");
    check(crate::telling::say!["the recording ", Kind::Note.record(7)], "The recording eFront");
}

#[test]
fn values_of_blanks_alone_are_told_in_words() {
    let check = |text: &str, expected: &str| assert_eq!(plain(&text.into()), expected, "{text:?}");
    check("", "an empty text");
    check(" ", "one space");
    check("  ", "two spaces");
    check("     ", "5 spaces");
    check("\n", "one blank character");
    check(" \t\u{a0}", "three blank characters");
    check(" a ", " a ");
    let sentence = renamed("eFront", "  ").to_text(called);
    assert_eq!(sentence, "eFront was renamed to two spaces");
    let last = |kind: Kind, payloads: [Value; 3]| {
        let mut subject = Subject::new(kind);
        let told = payloads.map(|payload| {
            let event = Event::decode(kind.as_str(), "", &payload.to_string()).unwrap();
            subject.step(kind.record(7), &event).sentence.to_text(called)
        });
        told.last().cloned().unwrap()
    };
    let added = json!({"Registered": {"fund_name": "III", "details": {}}});
    let stage = |stage: &str| json!({"InterestRecorded": {"lp": 2, "interest": stage}});
    assert_eq!(
        last(Kind::Fund, [added, stage(""), stage("meeting")]),
        "Interest of lp 2 moved from an empty text to meeting for fund 7"
    );
    let added = json!({"Registered": {"name": "May", "fund_id": 4, "details": {}}});
    let status = |status: &str| json!({"StatusRecorded": {"lp": 2, "status": status}});
    assert_eq!(
        last(Kind::Roadshow, [added, status("offered"), status("")]),
        "Status of lp 2 moved from offered to an empty text for roadshow 7"
    );
}

#[test]
fn the_history_of_an_lp() {
    check(
        Kind::Lp,
        crate::lp::LpEvent::VARIANTS,
        &[
            (
                json!({"Registered": {"name": "Profuturo", "details": {"investment_low": 10.0}}}),
                "Lp 7 was added [investment_low: nothing → 10; name: nothing → Profuturo]",
            ),
            (
                json!({"Renamed": {"name": "Profuturo AFP"}}),
                "Profuturo was renamed to Profuturo AFP [name: Profuturo → Profuturo AFP]",
            ),
            (
                json!({"TicketResized": {"low": 5.0, "high": 25.5}}),
                "Ticket of lp 7 moved from at least 10 US$ millions to 5–25.5 US$ millions \
             [investment_high: nothing → 25.5; investment_low: 10 → 5]",
            ),
            (
                json!({"Prioritised": {"priority": "A"}}),
                "Priority of lp 7 was set to A [priority: nothing → A]",
            ),
            (
                json!({"Prioritised": {"priority": "B"}}),
                "Priority of lp 7 moved from A to B [priority: A → B]",
            ),
            (
                json!({"Prioritised": {"priority": null}}),
                "Priority of lp 7 was cleared; it was B [priority: B → nothing]",
            ),
            (
                json!({"DetailsAmended": {"changes": {"location": "Lima"}}}),
                "Location of lp 7 was set to Lima [location: nothing → Lima]",
            ),
            (
                json!({"DetailsAmended": {"changes": {"location": "Quito", "advisor": "Mercer"}}}),
                "Advisor and location of lp 7 changed [advisor: nothing → Mercer; location: Lima → Quito]",
            ),
            (
                json!({"DetailsAmended": {"changes": {"location": null, "advisor": null,
                "aum_billions": 1.5, "type_of_group": "", "notion_id": "n"}}}),
                "Advisor, AUM in US$ billions, location and 2 more fields of lp 7 changed \
             [advisor: Mercer → nothing; aum_billions: nothing → 1.5; location: Quito → nothing; \
             notion_id: nothing → n; type_of_group: nothing → an empty text]",
            ),
            (
                json!({"DetailsAmended": {"changes": {"text": "Two\nlines"}}}),
                "Text of lp 7 was written [text: nothing → Two\nlines]",
            ),
            (
                json!({"LegacyKept": {"values": {"aum_billions": "12,5", "text": null}}}),
                "Values of lp 7 that no field can hold were kept as they stood in the source \
             [legacy.aum_billions: nothing → 12,5; legacy.text: nothing → {\"sql\":\"NULL\"}]",
            ),
            (json!("Archived"), "Lp 7 was deleted [archived: nothing → yes]"),
            (json!("Restored"), "Lp 7 was restored [archived: yes → nothing]"),
        ],
    );
}

#[test]
fn the_history_of_a_gp() {
    check(
        Kind::Gp,
        crate::gp::GpEvent::VARIANTS,
        &[
            (
                json!({"Registered": {"name": "Ardent", "details": {}}}),
                "Gp 7 was added [name: nothing → Ardent]",
            ),
            (
                json!({"Renamed": {"name": ""}}),
                "Ardent was renamed to a record without a name [name: Ardent → an empty text]",
            ),
            (
                json!({"DistributorAssigned": {"distributor": 3}}),
                "Distributor of gp 7 was set to distributor 3 [distributor_id: nothing → 3]",
            ),
            (
                json!({"DetailsAmended": {"changes": {"contact_level": "CEO"}}}),
                "Contact level of gp 7 was set to CEO [contact_level: nothing → CEO]",
            ),
            (
                json!({"Linked": {"to": [{"lp": 1}, {"lp": 2}, {"lp": 3}]}}),
                "A relationship of gp 7 with lp 1, lp 2 and lp 3 was recorded \
             [links of lp 1: nothing → yes; links of lp 2: nothing → yes; links of lp 3: nothing → yes]",
            ),
            (
                json!({"Unlinked": {"from": [{"lp": 2}]}}),
                "The relationship of gp 7 with lp 2 ended [links of lp 2: yes → nothing]",
            ),
            (
                json!({"LegacyKept": {"values": {}}}),
                "Values of gp 7 that no field can hold were kept as they stood in the source []",
            ),
            (json!("Archived"), "Gp 7 was deleted [archived: nothing → yes]"),
            (json!("Restored"), "Gp 7 was restored [archived: yes → nothing]"),
        ],
    );
}

#[test]
fn the_history_of_a_distributor() {
    check(
        Kind::Distributor,
        crate::distributor::DistributorEvent::VARIANTS,
        &[
            (
                json!({"Registered": {"name": "Sur", "details": {"mexico": "yes"},
                "legacy": {"text": 7}}}),
                "Distributor 7 was added [legacy.text: nothing → 7; mexico: nothing → yes; name: nothing → Sur]",
            ),
            (json!({"Renamed": {"name": "Norte"}}), "Sur was renamed to Norte [name: Sur → Norte]"),
            (
                json!({"DetailsAmended": {"changes": {"headquarter": "Lima"}}}),
                "Headquarter of distributor 7 was set to Lima [headquarter: nothing → Lima]",
            ),
            (
                json!({"LegacyKept": {"values": {}}}),
                "Values of distributor 7 that no field can hold were kept as they stood in the source \
             [legacy.text: 7 → nothing]",
            ),
            (json!("Archived"), "Distributor 7 was deleted [archived: nothing → yes]"),
            (json!("Restored"), "Distributor 7 was restored [archived: yes → nothing]"),
        ],
    );
}

#[test]
fn the_history_of_a_person() {
    check(
        Kind::Person,
        crate::person::PersonEvent::VARIANTS,
        &[
            (
                json!({"Registered": {"name": "Ana", "details": {"email": "a@example.com"}}}),
                "Person 7 was added [email: nothing → a@example.com; name: nothing → Ana]",
            ),
            (json!({"Renamed": {"name": "Eva"}}), "Ana was renamed to Eva [name: Ana → Eva]"),
            (
                json!({"DetailsAmended": {"changes": {"email": "e@example.com"}}}),
                "Email of person 7 moved from a@example.com to e@example.com \
             [email: a@example.com → e@example.com]",
            ),
            (
                json!({"Affiliated": {"with": [{"lp": 1}, {"gp": 2}]}}),
                "Person 7 was recorded as belonging to lp 1 and gp 2 \
             [affiliations of lp 1: nothing → yes; affiliations of gp 2: nothing → yes]",
            ),
            (
                json!({"Disaffiliated": {"from": [{"lp": 1}]}}),
                "Person 7 was recorded as no longer belonging to lp 1 [affiliations of lp 1: yes → nothing]",
            ),
            (
                json!({"LegacyKept": {"values": {}}}),
                "Values of person 7 that no field can hold were kept as they stood in the source []",
            ),
            (
                json!({"Held": {"reason": "case 7"}}),
                "Person 7 was put under a legal hold: case 7 [hold: nothing → case 7]",
            ),
            (
                json!({"HoldLifted": {"reason": "case 7 closed"}}),
                "The legal hold on person 7 was lifted: case 7 closed [hold: case 7 → nothing]",
            ),
            (
                json!({"Held": {"reason": "case 7"}}),
                "Person 7 was put under a legal hold: case 7 [hold: nothing → case 7]",
            ),
            (
                json!({"Held": {"reason": "case 8"}}),
                "Person 7 was put under a legal hold: case 8 [hold: case 7 → [\"case 7\",\"case 8\"]]",
            ),
            (
                json!({"HoldLifted": {"reason": "settled", "of": "case 7"}}),
                "The legal hold on person 7 for case 7 was lifted: settled [hold: [\"case 7\",\"case 8\"] → case 8]",
            ),
            (
                json!({"HoldLifted": {"reason": "settled"}}),
                "The legal hold on person 7 was lifted: settled [hold: case 8 → nothing]",
            ),
            (json!("Archived"), "Person 7 was deleted [archived: nothing → yes]"),
            (json!("Restored"), "Person 7 was restored [archived: yes → nothing]"),
            (
                json!({"Erased": {"reason": "request 12"}}),
                "Person 7 was erased for good: request 12 [affiliations of gp 2: yes → nothing; email: e@example.com → nothing; name: Eva → nothing]",
            ),
        ],
    );
}

#[test]
fn the_history_of_a_fund() {
    check(
        Kind::Fund,
        crate::fund::FundEvent::VARIANTS,
        &[
            (
                json!({"Registered": {"fund_name": "III", "details": {"status": "premarketing"}}}),
                "Fund 7 was added [fund_name: nothing → III; status: nothing → premarketing]",
            ),
            (
                json!({"Renamed": {"fund_name": "IV"}}),
                "III was renamed to IV [fund_name: III → IV]",
            ),
            (
                json!({"StatusMoved": {"status": "fundraising"}}),
                "Status of fund 7 moved from premarketing to fundraising [status: premarketing → fundraising]",
            ),
            (
                json!({"GpAssigned": {"gp_notion_id": "gp-1"}}),
                "GP (Notion id) of fund 7 was set to gp-1 [gp_notion_id: nothing → gp-1]",
            ),
            (
                json!({"RoadshowDateSet": {"roadshow_date": "2025-03-01"}}),
                "Roadshow date of fund 7 was set to 2025-03-01 [roadshow_date: nothing → 2025-03-01]",
            ),
            (
                json!({"DetailsAmended": {"changes": {"closed": true}}}),
                "Closed of fund 7 was set to yes [closed: nothing → yes]",
            ),
            (
                json!({"InterestRecorded": {"lp": 2, "interest": "meeting"}}),
                "Interest of lp 2 was recorded as meeting for fund 7 [interest of lp 2: nothing → meeting]",
            ),
            (
                json!({"InterestRecorded": {"lp": 2, "interest": "due_diligence",
                "contact": {"date": "2025-01-31T10:00:00", "note": 9}}}),
                "Interest of lp 2 moved from meeting to due_diligence for fund 7 \
             [interest of lp 2: meeting → due_diligence; \
             last_contact_date of lp 2: nothing → 2025-01-31T10:00:00; latest_note_id of lp 2: nothing → 9]",
            ),
            (
                json!({"InterestRecorded": {"lp": 2, "interest": "due_diligence",
                "legacy": {"interest": 1}}}),
                "Last contact with lp 2 about fund 7 changed [legacy.interest of lp 2: nothing → 1]",
            ),
            (
                json!({"InterestCleared": {"lp": 2}}),
                "Lp 2 was taken out of the funnel of fund 7 \
             [interest of lp 2: due_diligence → nothing; \
             last_contact_date of lp 2: 2025-01-31T10:00:00 → nothing; latest_note_id of lp 2: 9 → nothing; \
             legacy.interest of lp 2: 1 → nothing]",
            ),
            (
                json!({"LegacyKept": {"values": {}}}),
                "Values of fund 7 that no field can hold were kept as they stood in the source []",
            ),
            (json!("Archived"), "Fund 7 was deleted [archived: nothing → yes]"),
            (json!("Restored"), "Fund 7 was restored [archived: yes → nothing]"),
        ],
    );
}

#[test]
fn the_history_of_a_note() {
    check(
        Kind::Note,
        crate::note::NoteEvent::VARIANTS,
        &[
            (
                json!({"Registered": {"details": {"name": "Call", "raw_notes": "They like it."}}}),
                "Note 7 was added [name: nothing → Call; raw_notes: nothing → They like it.]",
            ),
            (
                json!({"Renamed": {"name": "Visit"}}),
                "Call was renamed to Visit [name: Call → Visit]",
            ),
            (
                json!({"Dated": {"date": "2025-02-01T15:30:00"}}),
                "Date of note 7 was set to 2025-02-01T15:30:00 [date: nothing → 2025-02-01T15:30:00]",
            ),
            (
                json!({"TextRevised": {"raw_notes": "They love it."}}),
                "Text of note 7 moved from They like it. to They love it. \
             [raw_notes: They like it. → They love it.]",
            ),
            (
                json!({"UsefulnessMarked": {"useful": true}}),
                "Note 7 was marked as useful [useful: nothing → yes]",
            ),
            (
                json!({"UsefulnessMarked": {"useful": false}}),
                "Note 7 was marked as not useful [useful: yes → no]",
            ),
            (
                json!({"UsefulnessMarked": {"useful": null}}),
                "Note 7 is no longer marked as useful or not [useful: no → nothing]",
            ),
            (
                json!({"DetailsAmended": {"changes": {"pin": "1"}}}),
                "Pin of note 7 was set to 1 [pin: nothing → 1]",
            ),
            (
                json!({"Linked": {"to": [{"lp": 1}, {"person": 2}]}}),
                "Note 7 was linked to lp 1 and person 2 \
             [links of lp 1: nothing → yes; links of person 2: nothing → yes]",
            ),
            (
                json!({"Unlinked": {"from": [{"lp": 1}]}}),
                "Note 7 is no longer linked to lp 1 [links of lp 1: yes → nothing]",
            ),
            (
                json!({"RecordingAttached": {"recording": 5, "name": "call.webm", "file":
                {"key": "k", "size": 7, "media_type": "audio/webm", "sha256": "ab"}}}),
                "The recording call.webm was added to note 7 \
             [recordings.5.name: nothing → call.webm; recordings.5.state: nothing → to be transcribed]",
            ),
            (
                json!({"Transcribed": {"recording": 5, "round": 1, "transcript": {"model": "base",
                "language": "", "duration_ms": 9000, "segments": []}}}),
                "The recording call.webm of note 7 was transcribed \
             [recordings.5.model: nothing → base; \
             recordings.5.state: to be transcribed → to be summarised]",
            ),
            (
                json!({"TranscriptionFailed": {"recording": 5, "round": 1, "reason": "no speech"}}),
                "The recording call.webm of note 7 cannot be transcribed: no speech \
             [recordings.5.state: to be summarised → transcription failed: no speech]",
            ),
            (
                json!({"TranscriptionAsked": {"recording": 5, "round": 2, "language": "es"}}),
                "Another transcript was asked for of the recording call.webm of note 7 \
             [recordings.5.state: transcription failed: no speech → to be transcribed]",
            ),
            (
                json!({"TranscriptionCancelled": {"recording": 5}}),
                "The recording call.webm of note 7 is not to be transcribed any more \
             [recordings.5.state: to be transcribed → transcription cancelled]",
            ),
            (
                json!({"Transcribed": {"recording": 5, "round": 2, "transcript": {"model": "base",
                "language": "es", "duration_ms": 9000, "segments":
                [{"start_ms": 0, "end_ms": 900, "text": "Ola", "confidence": 90}]}}}),
                "The recording call.webm of note 7 was transcribed \
             [recordings.5.language: nothing → es; \
             recordings.5.state: transcription cancelled → to be summarised]",
            ),
            (
                json!({"TranscriptCorrected": {"recording": 5, "corrections":
                [{"start_ms": 0, "end_ms": 900, "text": "Hola"}]}}),
                "The transcript of the recording call.webm of note 7 was corrected in one place \
             [recordings.5.corrected.0-900: Ola → Hola]",
            ),
            (
                json!({"TranscriptCorrected": {"recording": 5, "corrections":
                [{"start_ms": 0, "end_ms": 900, "text": null}]}}),
                "The transcript of the recording call.webm of note 7 was corrected in one place \
             [recordings.5.corrected.0-900: Hola → Ola]",
            ),
            (
                json!({"TranscriptCorrected": {"recording": 5, "corrections":
                [{"start_ms": 0, "end_ms": 900, "text": "Hola"}]}}),
                "The transcript of the recording call.webm of note 7 was corrected in one place \
             [recordings.5.corrected.0-900: Ola → Hola]",
            ),
            (
                json!({"SummaryFailed": {"recording": 5, "round": 2, "reason": "rubbish"}}),
                "The recording call.webm of note 7 cannot be summarised: rubbish \
             [recordings.5.state: to be summarised → summary failed: rubbish]",
            ),
            (
                json!({"SummaryAsked": {"recording": 5, "round": 3}}),
                "Another summary was asked for of the recording call.webm of note 7 \
             [recordings.5.state: summary failed: rubbish → to be summarised]",
            ),
            (
                json!({"SummaryCancelled": {"recording": 5}}),
                "The recording call.webm of note 7 is not to be summarised any more \
             [recordings.5.state: to be summarised → summary cancelled]",
            ),
            (
                json!({"Summarised": {"recording": 5, "round": 3, "summary":
                {"author": {"model": {"model": "m", "prompt": "1"}}, "text": "They met."}}}),
                "The recording call.webm of note 7 was summarised \
             [recordings.5.state: summary cancelled → summarised; recordings.5.summary: nothing → They met.]",
            ),
            (
                json!({"ActionItemsSuggested": {"recording": 5, "items":
                [{"number": 1, "item": {"text": "Call"}}, {"number": 2, "item": {"text": "Write"}}]}}),
                "2 action items were suggested from the recording call.webm of note 7: “Call”, “Write” \
             [recordings.5.action_item.1: nothing → Call (open); \
             recordings.5.action_item.2: nothing → Write (open)]",
            ),
            (
                json!({"ActionItemAccepted": {"recording": 5, "item": 1, "todo":
                {"id": 9, "title": "Call Ana", "at": "2025-02-03T09:00:00"}}}),
                "The suggested action item “Call” of note 7 was accepted; it became todo 9 \
             [recordings.5.action_item.1: Call (open) → Call (accepted as todo 9)]",
            ),
            (
                json!({"ActionItemAccepted": {"recording": 5, "item": 1, "todo":
                {"id": 10, "title": "Call Ana", "at": "2025-02-04T09:00:00"}}}),
                "The suggested action item “Call” of note 7 was accepted; it became todo 10 \
             [recordings.5.action_item.1: Call (accepted as todo 9) → Call (accepted as todo 10)]",
            ),
            (
                json!({"ActionItemDismissed": {"recording": 5, "item": 2}}),
                "The suggested action item “Write” of note 7 was dismissed \
             [recordings.5.action_item.2: Write (open) → Write (dismissed)]",
            ),
            (
                json!({"InterestSuggested": {"recording": 5, "suggestion": {"interest": "meeting"}}}),
                "The interest meeting was suggested from the recording call.webm of note 7 \
             [recordings.5.interest: nothing → meeting (open)]",
            ),
            (
                json!({"InterestDismissed": {"recording": 5}}),
                "The interest that note 7 suggests was dismissed \
             [recordings.5.interest: meeting (open) → meeting (dismissed)]",
            ),
            (
                json!({"InterestAccepted": {"recording": 5, "as_recorded":
                {"fund": 2, "lp": 1, "interest": "meeting"}}}),
                "The interest that note 7 suggests was accepted: lp 1 is at meeting for fund 2 \
             [recordings.5.interest: meeting (dismissed) → meeting (accepted)]",
            ),
            (
                json!({"RecordingRenamed": {"recording": 5, "name": "Lunch"}}),
                "The recording call.webm of note 7 was renamed to Lunch \
             [recordings.5.name: call.webm → Lunch]",
            ),
            (
                json!({"RecordingRemoved": {"recording": 5}}),
                "The recording Lunch of note 7 was removed \
             [recordings.5.action_item.1: Call (accepted as todo 10) → nothing; \
             recordings.5.action_item.2: Write (dismissed) → nothing; \
             recordings.5.corrected.0-900: Hola → nothing; \
             recordings.5.interest: meeting (accepted) → nothing; recordings.5.language: es → nothing; \
             recordings.5.model: base → nothing; recordings.5.name: Lunch → nothing; \
             recordings.5.state: summarised → nothing; recordings.5.summary: They met. → nothing]",
            ),
            (
                json!({"LegacyKept": {"values": {}}}),
                "Values of note 7 that no field can hold were kept as they stood in the source []",
            ),
            (
                json!({"Held": {"reason": "case 7"}}),
                "Note 7 was put under a legal hold: case 7 [hold: nothing → case 7]",
            ),
            (
                json!({"HoldLifted": {"reason": "case 7 closed"}}),
                "The legal hold on note 7 was lifted: case 7 closed [hold: case 7 → nothing]",
            ),
            (
                json!({"Held": {"reason": "case 7"}}),
                "Note 7 was put under a legal hold: case 7 [hold: nothing → case 7]",
            ),
            (
                json!({"Held": {"reason": "case 8"}}),
                "Note 7 was put under a legal hold: case 8 [hold: case 7 → [\"case 7\",\"case 8\"]]",
            ),
            (
                json!({"HoldLifted": {"reason": "settled", "of": "case 7"}}),
                "The legal hold on note 7 for case 7 was lifted: settled [hold: [\"case 7\",\"case 8\"] → case 8]",
            ),
            (
                json!({"HoldLifted": {"reason": "settled"}}),
                "The legal hold on note 7 was lifted: settled [hold: case 8 → nothing]",
            ),
            (json!("Archived"), "Note 7 was deleted [archived: nothing → yes]"),
            (json!("Restored"), "Note 7 was restored [archived: yes → nothing]"),
            (
                json!({"Erased": {"reason": "request 12"}}),
                "Note 7 was erased for good: request 12 [date: 2025-02-01T15:30:00 → nothing; links of person 2: yes → nothing; name: Visit → nothing; pin: 1 → nothing; raw_notes: They love it. → nothing]",
            ),
        ],
    );
}

#[test]
fn suggested_action_items_are_told_by_what_they_say_unless_they_are_many() {
    let check = |texts: &[&str], expected: &str| {
        let items = (1_u32..)
            .zip(texts)
            .map(|(number, text)| json!({"number": number, "item": {"text": text}}));
        let items: Vec<Value> = items.collect();
        let mut subject = Subject::new(Kind::Note);
        let mut sentence = String::new();
        for payload in [
            json!({"Registered": {"details": {"name": "Call"}}}),
            json!({"RecordingAttached": {"recording": 5, "name": "call.webm", "file":
                {"key": "k", "size": 7, "media_type": "audio/webm", "sha256": "ab"}}}),
            json!({"ActionItemsSuggested": {"recording": 5, "items": items}}),
        ] {
            let event = Event::decode(Kind::Note.as_str(), "", &payload.to_string()).unwrap();
            sentence = subject.step(Kind::Note.record(7), &event).sentence.to_text(called);
        }
        assert_eq!(sentence, expected);
    };
    let from = "suggested from the recording call.webm of note 7";
    check(&["Call"], &format!("The action item “Call” was {from}"));
    let three = format!("3 action items were {from}: “Call”, “Write”, “Send”");
    check(&["Call", "Write", "Send"], &three);
    let five = format!("5 action items were {from}: “Call”, “Write”, “Send” and 2 more");
    check(&["Call", "Write", "Send", "Meet", "Ask"], &five);
}

#[test]
fn the_history_of_a_todo() {
    check(
        Kind::Todo,
        crate::todo::TodoEvent::VARIANTS,
        &[
            (
                json!({"Registered": {"title": "Call", "status": "pending",
                "details": {"parent_todo_id": 5}}}),
                "Todo 7 was added; it follows todo 5 \
             [parent_todo_id: nothing → 5; status: nothing → pending; title: nothing → Call]",
            ),
            (
                json!({"Retitled": {"title": "Visit"}}),
                "Call was renamed to Visit [title: Call → Visit]",
            ),
            (
                json!({"StatusMoved": {"status": "in_progress"}}),
                "Status of todo 7 moved from pending to in_progress [status: pending → in_progress]",
            ),
            (
                json!({"Completed": {"at": "2025-01-31T10:00:00", "next": 8}}),
                "Todo 7 was completed; it is due again as todo 8 \
             [completed_at: nothing → 2025-01-31T10:00:00; status: in_progress → completed]",
            ),
            (
                json!({"Completed": {"at": "2025-02-01T10:00:00"}}),
                "Todo 7 was completed [completed_at: 2025-01-31T10:00:00 → 2025-02-01T10:00:00]",
            ),
            (
                json!({"Prioritised": {"priority": "high"}}),
                "Priority of todo 7 was set to high [priority: nothing → high]",
            ),
            (
                json!({"Rescheduled": {"due_date": "2025-03-01"}}),
                "Due date of todo 7 was set to 2025-03-01 [due_date: nothing → 2025-03-01]",
            ),
            (
                json!({"DetailsAmended": {"changes": {"tags": "ir"}}}),
                "Tags of todo 7 was set to ir [tags: nothing → ir]",
            ),
            (
                json!({"Linked": {"to": [{"fund": 1}]}}),
                "Todo 7 was linked to fund 1 [links of fund 1: nothing → yes]",
            ),
            (
                json!({"Unlinked": {"from": [{"fund": 1}]}}),
                "Todo 7 is no longer linked to fund 1 [links of fund 1: yes → nothing]",
            ),
            (
                json!({"LegacyKept": {"values": {}}}),
                "Values of todo 7 that no field can hold were kept as they stood in the source []",
            ),
            (json!("Archived"), "Todo 7 was deleted [archived: nothing → yes]"),
            (json!("Restored"), "Todo 7 was restored [archived: yes → nothing]"),
        ],
    );
}

#[test]
fn the_history_of_a_roadshow() {
    check(
        Kind::Roadshow,
        crate::roadshow::RoadshowEvent::VARIANTS,
        &[
            (
                json!({"Registered": {"name": "May", "fund_id": 4, "details": {}}}),
                "Roadshow 7 was added for fund 4 [fund_id: nothing → 4; name: nothing → May]",
            ),
            (json!({"Renamed": {"name": "June"}}), "May was renamed to June [name: May → June]"),
            (
                json!({"FundAssigned": {"fund_id": 5}}),
                "Fund of roadshow 7 moved from fund 4 to fund 5 [fund_id: 4 → 5]",
            ),
            (
                json!({"Rescheduled": {"arrival": "2025-06-20", "departure": "2025-06-24T18:00:00"}}),
                "Arrival and departure of roadshow 7 changed \
             [arrival: nothing → 2025-06-20; departure: nothing → 2025-06-24T18:00:00]",
            ),
            (
                json!({"ArrivalReaffirmed": {"arrival": "2025-06-20"}}),
                "The arrival of roadshow 7, 2025-06-20, counts as its fund's roadshow date again []",
            ),
            (
                json!({"DetailsAmended": {"changes": {"lv_hotel": "Done"}}}),
                "Hotel (LV) of roadshow 7 was set to Done [lv_hotel: nothing → Done]",
            ),
            (json!({"TakenBack": {"name": "May"}}), "June was renamed to May [name: June → May]"),
            (
                json!({"TakenBack": {"changes": {"lv_hotel": null}}}),
                "Hotel (LV) of roadshow 7 was cleared; it was Done [lv_hotel: Done → nothing]",
            ),
            (
                json!({"StatusRecorded": {"lp": 2, "status": "offered"}}),
                "Status of lp 2 was recorded as offered for roadshow 7 [status of lp 2: nothing → offered]",
            ),
            (
                json!({"StatusRecorded": {"lp": 2, "status": "confirmed"}}),
                "Status of lp 2 moved from offered to confirmed for roadshow 7 \
             [status of lp 2: offered → confirmed]",
            ),
            (
                json!({"StatusRecorded": {"lp": 2, "status": "confirmed",
                "contact": {"date": null, "note": 3}}}),
                "Last contact with lp 2 about roadshow 7 changed [latest_note_id of lp 2: nothing → 3]",
            ),
            (
                json!({"StatusCleared": {"lp": 2}}),
                "Status of lp 2 was cleared for roadshow 7 \
             [latest_note_id of lp 2: 3 → nothing; status of lp 2: confirmed → nothing]",
            ),
            (
                json!({"LegacyKept": {"values": {}}}),
                "Values of roadshow 7 that no field can hold were kept as they stood in the source []",
            ),
            (json!("Archived"), "Roadshow 7 was deleted [archived: nothing → yes]"),
            (json!("Restored"), "Roadshow 7 was restored [archived: yes → nothing]"),
        ],
    );
}

#[test]
fn a_record_can_be_made_of_what_it_says() {
    let streams: [(Kind, Vec<Value>); 3] = [
        (
            Kind::Fund,
            vec![
                json!({"Registered": {"fund_name": "III", "details": {"target_mn": 0.1, "closed": false},
                "legacy": {"sectors": {"blob": "00ff"}, "launch": null}}}),
                json!({"InterestRecorded": {"lp": 2, "interest": "", "contact": {"date": null, "note": 9},
                "legacy": {"fund_id": null}}}),
                json!({"InterestRecorded": {"lp": 3, "interest": "meeting"}}),
                json!("Archived"),
            ],
        ),
        (
            Kind::Roadshow,
            vec![
                json!({"Registered": {"name": "May", "fund_id": 4, "details": {"flight_images":
                {"sha256": "ab", "size": 7, "media_type": "text/html"}}}}),
                json!({"StatusRecorded": {"lp": 2, "status": "offered"}}),
            ],
        ),
        (
            Kind::Note,
            vec![
                json!({"Registered": {"details": {"date": "2025-01-31T10:00:00.5"}}}),
                json!({"Linked": {"to": [{"lp": 1}, {"person": 2}]}}),
            ],
        ),
    ];
    for (kind, stream) in streams {
        let mut subject = Subject::new(kind);
        for payload in stream {
            let before = subject.clone();
            subject.apply(&Event::decode(kind.as_str(), "", &payload.to_string()).unwrap());
            let said = Subject::from_facts(kind, subject.facts()).unwrap();
            assert_eq!(said, subject, "{payload}");
            assert_ne!(before.facts(), subject.facts(), "{payload}");
        }
    }
    let nothing = crate::Facts::new();
    assert!(!Subject::from_facts(Kind::Lp, nothing).unwrap().is_there());
}

#[test]
fn a_required_fact_cannot_be_missing() {
    let mut subject = Subject::new(Kind::Roadshow);
    let event = json!({"Registered": {"name": "May", "fund_id": 4, "details": {}}});
    subject.apply(&Event::decode("roadshow", "", &event.to_string()).unwrap());
    let mut facts = subject.facts();
    facts.retain(|name, _| name.field != "name");
    let error = Subject::from_facts(Kind::Roadshow, facts).unwrap_err().to_string();
    assert_eq!(error, "this cannot be undone alone: missing field `name`");
}

#[test]
fn a_record_is_taken_back_to_every_state_that_it_was_in() {
    let interest = |lp: i64, stage: &str| {
        json!({"InterestRecorded": {"lp": lp, "interest": stage,
        "contact": {"date": null, "note": lp}, "legacy": {"fund_id": lp}}})
    };
    let status = |lp: i64, status: &str| json!({"StatusRecorded": {"lp": lp, "status": status}});
    let registered = |details: Value| json!({"Registered": {"name": "X", "details": details}});
    let streams: [(Kind, Vec<Value>); 8] = [
        (
            Kind::Lp,
            vec![
                registered(json!({"location": "Lima"})),
                json!({"Renamed": {"name": "Y"}}),
                json!({"TicketResized": {"low": 5.0}}),
                json!({"LegacyKept": {"values": {"text": null}}}),
                json!("Archived"),
                json!("Restored"),
                json!({"DetailsAmended": {"changes": {"location": null}}}),
            ],
        ),
        (
            Kind::Gp,
            vec![
                registered(json!({})),
                json!({"Linked": {"to": [{"lp": 1}, {"lp": 2}]}}),
                json!({"Unlinked": {"from": [{"lp": 1}]}}),
                json!({"DistributorAssigned": {"distributor": 3}}),
            ],
        ),
        (Kind::Distributor, vec![registered(json!({})), json!("Archived")]),
        (
            Kind::Person,
            vec![
                registered(json!({"email": "a@example.com"})),
                json!({"Affiliated": {"with": [{"lp": 1}]}}),
                json!({"Disaffiliated": {"from": [{"lp": 1}]}}),
            ],
        ),
        (
            Kind::Fund,
            vec![
                json!({"Registered": {"fund_name": "III", "details": {"roadshow_date": "2025-01-01"}}}),
                interest(1, "meeting"),
                interest(2, "offered"),
                interest(1, "commitment"),
                json!({"RoadshowDateSet": {"roadshow_date": null}}),
                json!({"InterestCleared": {"lp": 2}}),
            ],
        ),
        (
            Kind::Note,
            vec![
                json!({"Registered": {"details": {"raw_notes": "A"}}}),
                json!({"TextRevised": {"raw_notes": "B", "summary": "C"}}),
                json!({"Linked": {"to": [{"lp": 1}]}}),
                json!("Archived"),
            ],
        ),
        (
            Kind::Todo,
            vec![
                json!({"Registered": {"title": "T", "status": "pending", "details": {}}}),
                json!({"Completed": {"at": "2025-01-31T10:00:00", "next": 8}}),
                json!({"Linked": {"to": [{"fund": 1}]}}),
            ],
        ),
        (
            Kind::Roadshow,
            vec![
                json!({"Registered": {"name": "May", "fund_id": 4, "details": {}}}),
                status(1, "offered"),
                json!({"Rescheduled": {"arrival": "2025-06-20"}}),
                json!({"FundAssigned": {"fund_id": 5}}),
                json!({"StatusCleared": {"lp": 1}}),
            ],
        ),
    ];
    for (kind, stream) in streams {
        let mut states = vec![Subject::new(kind)];
        for payload in &stream {
            let mut next = states[states.len() - 1].clone();
            next.apply(&Event::decode(kind.as_str(), "", &payload.to_string()).unwrap());
            states.push(next);
        }
        for (now, then) in
            states.iter().skip(1).flat_map(|now| states.iter().map(move |t| (now, t)))
        {
            let mut back = now.clone();
            for event in now.revert(then).unwrap() {
                back.apply(&event);
            }
            match then.is_there() {
                true => assert_eq!(back, *then, "from {now:?}"),
                false => assert!(back.is_archived(), "from {now:?}"),
            }
            assert_eq!(back.revert(then).unwrap(), [], "from {back:?}");
        }
        assert_eq!(states[0].revert(&states[1]).unwrap_err(), Refusal::NotRegistered);
    }
}

#[test]
fn facts_about_recordings_are_labelled_as_people_speak_of_them() {
    let check = |field: &str, expected: &str| assert_eq!(crate::telling::label(field), expected);
    check("recordings.5.corrected.61000-63000", "Recording 5: said at 1:01");
    check("recordings.5.action_item.1", "Recording 5: action item 1");
    check("recordings.5.state", "Recording 5: state");
}
