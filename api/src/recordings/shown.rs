//! The JSON of a recording. Times are seconds from its beginning.

use domain::RecordRef;
use domain::note::{Author, KeyPoint, SuggestedInterest, Summary};
use serde_json::{Value, json};

use super::{Standing, accepted_interest, todo_of};

/// Milliseconds as seconds.
#[allow(clippy::cast_precision_loss, reason = "milliseconds of a recording")]
pub(super) fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// The whole recording but for its transcript.
pub(super) fn recording(standing: &Standing) -> Value {
    let id = standing.stored.id;
    let recording = &standing.stored.recording;
    let transcript = recording.transcript.as_ref();
    let (state, why) = standing.state();
    json!({
        "id": id,
        "note_id": standing.stored.note,
        "name": recording.name,
        "attached_at": standing.stored.attached_at,
        "state": state,
        "why": why,
        "progress": standing.done(),
        "duration": standing.duration_ms().map(seconds),
        "language": standing.language(),
        "model": transcript.map(|it| &it.model),
        "media_type": recording.file.media_type,
        "size": recording.file.size,
        "sha256": recording.file.sha256,
        "audio_path": format!("/recordings/{id}/audio"),
        "transcript_path": transcript.map(|_| format!("/recordings/{id}/transcript")),
        "corrections": recording.corrections.len(),
        "summary": recording.summary.as_ref().map(|it| summary(it, recording.is_corrected_since)),
        "action_items": items(standing),
        "interest": recording.interest.as_ref().map(|it| interest(standing, it)),
    })
}

fn summary(summary: &Summary, is_corrected_since: bool) -> Value {
    let (author, label, model, prompt) = match &summary.author {
        Author::Model { model, prompt } => ("model", "Summary", Some(model), Some(prompt)),
        Author::Highlights | Author::HighlightsInstead { .. } => {
            ("highlights", Summary::HIGHLIGHTS, None, None)
        }
    };
    let points = summary
        .key_points
        .iter()
        .map(|KeyPoint { text, start_ms }| json!({"text": text, "start": start_ms.map(seconds)}));
    json!({"author": author, "label": label, "model": model, "prompt": prompt, "text": summary.text,
        "key_points": points.collect::<Vec<_>>(), "corrected_since": is_corrected_since})
}

fn items(standing: &Standing) -> Vec<Value> {
    let items = standing.stored.recording.items.iter().map(|(number, suggested)| {
        let (item, todo) = (&suggested.item, todo_of(suggested));
        json!({"number": number, "text": item.text, "owner": item.owner, "due": item.due,
            "due_date": standing.due(suggested), "quote": item.quote, "start": item.start_ms.map(seconds),
            "state": suggested.decision.in_a_word(), "todo_id": todo,
            "todo_deleted": todo.is_some_and(|todo| standing.deleted.contains(&todo.into()))})
    });
    items.collect()
}

fn interest(standing: &Standing, suggested: &SuggestedInterest) -> Value {
    let SuggestedInterest { suggestion, decision } = suggested;
    let accepted = accepted_interest(&standing.stored);
    let is_deleted =
        |record: Option<RecordRef>| record.is_some_and(|it| standing.deleted.contains(&it));
    json!({"interest": suggestion.interest, "fundraise": suggestion.fundraise,
        "quote": suggestion.quote, "start": suggestion.start_ms.map(seconds),
        "state": decision.in_a_word(), "fund_id": accepted.map(|it| it.fund),
        "lp_id": accepted.map(|it| it.lp), "accepted_as": accepted.map(|it| &it.interest),
        "fund_deleted": is_deleted(accepted.map(|it| it.fund.into())),
        "lp_deleted": is_deleted(accepted.map(|it| it.lp.into()))})
}
