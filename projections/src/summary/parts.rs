//! A transcript of any length through a model of limited context: part by part, then the summaries of the parts.

use domain::note::{ActionItem, Author, InterestSuggestion, KeyPoint, Line, Summary};
use serde::Deserialize;

use super::check::{Draft, Kept, KeptInterest, SUMMARY, check, object, prose};
use super::evidence::Evidence;
use super::said::timed;
use super::{Summarised, SummaryError, prompt};
use crate::llm::{Chat, Llm, LlmError, tokens};

/// The most points, and the most items, of a whole recording.
const MOST: usize = 20;

/// However small the context is said to be, a part has room for so many tokens.
const LEAST: usize = 500;

/// Summarises by asking the model.
pub(super) async fn summarise(
    llm: &Llm,
    lines: &[Line],
    names: &[String],
) -> Result<Summarised, SummaryError> {
    let evidence = Evidence::of(lines, names);
    let room = room(llm);
    let lines = shortened(lines, room);
    let mut parts = Vec::new();
    for part in split(&lines, room) {
        parts.push(part_of(llm, part, &evidence).await?);
    }
    let text = match &parts[..] {
        [only] => only.summary.clone(),
        _ => {
            whole_of(llm, parts.iter().map(|part| part.summary.clone()).collect(), &evidence)
                .await?
        }
    };
    let fundraise = parts.iter().find_map(|part| part.fundraise.clone());
    // What was said last holds.
    let interest = parts.iter().rev().find_map(|part| part.interest.clone());
    let interest = suggested(interest, fundraise);
    let (key_points, items) = merged(parts);
    let author =
        Author::Model { model: llm.model().to_owned(), prompt: prompt::VERSION.to_owned() };
    Ok(Summarised { summary: Summary { author, text, key_points }, items, interest })
}

/// Which fund it is about is worth saying also where nobody said how far they are.
fn suggested(
    interest: Option<KeptInterest>,
    fundraise: Option<String>,
) -> Option<InterestSuggestion> {
    match interest {
        Some(KeptInterest { stage, quote, start_ms }) => Some(InterestSuggestion {
            interest: Some(stage),
            fundraise,
            quote: Some(quote),
            start_ms: Some(start_ms),
        }),
        None => fundraise.map(|fundraise| InterestSuggestion {
            interest: None,
            fundraise: Some(fundraise),
            quote: None,
            start_ms: None,
        }),
    }
}

/// How many tokens of a transcript one question has room for, beside both answers: a repair shows the first to the model
/// again.
fn room(llm: &Llm) -> usize {
    let answers = usize::try_from(prompt::answers(llm.context())).unwrap_or(usize::MAX);
    llm.context().saturating_sub(answers.saturating_add(prompt::OVERHEAD)).max(LEAST)
}

/// The lines, those that exceed the room cut at words.
fn shortened(lines: &[Line], room: usize) -> Vec<Line> {
    let cut = |line: &Line| {
        let mut pieces = vec![empty(line)];
        for word in line.text.split_whitespace().flat_map(|word| pieces_of(word, room)) {
            let last = pieces.len() - 1;
            if !pieces[last].text.is_empty() && tokens(&pieces[last].text) + tokens(word) + 8 > room
            {
                pieces.push(empty(line));
            }
            let last = pieces.len() - 1;
            let text = &mut pieces[last].text;
            text.push_str(if text.is_empty() { "" } else { " " });
            text.push_str(word);
        }
        pieces
    };
    lines.iter().flat_map(cut).collect()
}

fn empty(line: &Line) -> Line {
    Line { text: String::new(), ..*line }
}

/// A word that is longer than any room, in pieces.
fn pieces_of(word: &str, room: usize) -> Vec<&str> {
    let most = room; // A third of what would fit.
    let (mut pieces, mut rest) = (Vec::new(), word);
    while rest.len() > most {
        let end = (0..=most).rev().find(|at| rest.is_char_boundary(*at)).unwrap_or(0).max(1);
        let (piece, behind) = rest.split_at(end);
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}

/// Consecutive lines that fit into the room, of about the same size.
fn split(lines: &[Line], room: usize) -> Vec<&[Line]> {
    let cost = |line: &Line| tokens(&timed(line)) + 1;
    let total: usize = lines.iter().map(cost).sum();
    let share = total.div_ceil(total.div_ceil(room).max(1));
    let (mut parts, mut begin, mut size) = (Vec::new(), 0, 0);
    for (at, line) in lines.iter().enumerate() {
        let more = cost(line);
        if at > begin && (size + more > room || size >= share) {
            parts.push(&lines[begin..at]);
            (begin, size) = (at, 0);
        }
        size += more;
    }
    parts.push(&lines[begin..]);
    parts
}

/// What can be kept of the model's first answer about a part, or else of its second.
async fn part_of(llm: &Llm, part: &[Line], evidence: &Evidence) -> Result<Kept, SummaryError> {
    let judge = |answer: &str| match object::<Draft>(answer) {
        Ok(draft) => check(draft, evidence),
        Err(complaint) => (Kept::default(), vec![complaint]),
    };
    asked(llm, prompt::part(part), judge, |kept| !kept.summary.is_empty()).await
}

#[derive(Deserialize)]
struct Short {
    summary: String,
}

/// The summary of summaries, in several steps if they are too many.
async fn whole_of(
    llm: &Llm,
    mut summaries: Vec<String>,
    evidence: &Evidence,
) -> Result<String, SummaryError> {
    let judge = |answer: &str| {
        let mut complaints = Vec::new();
        let summary = match object::<Short>(answer) {
            Ok(short) => prose("summary", &short.summary, SUMMARY, evidence, &mut complaints),
            Err(complaint) => {
                complaints.push(complaint);
                None
            }
        };
        (summary.unwrap_or_default(), complaints)
    };
    while summaries.len() > 1 {
        let mut fewer = Vec::new();
        for group in grouped(&summaries, room(llm)) {
            fewer.push(match group {
                [only] => only.clone(),
                _ => asked(llm, prompt::whole(group), judge, |summary| !summary.is_empty()).await?,
            });
        }
        summaries = fewer;
    }
    Ok(summaries.pop().unwrap_or_default())
}

/// Consecutive summaries that fit into the room; at least two together, so that they become fewer.
fn grouped(summaries: &[String], room: usize) -> Vec<&[String]> {
    let (mut groups, mut begin, mut size) = (Vec::new(), 0, 0);
    for (at, summary) in summaries.iter().enumerate() {
        let more = tokens(summary) + 1;
        if at > begin + 1 && size + more > room {
            groups.push(&summaries[begin..at]);
            (begin, size) = (at, 0);
        }
        size += more;
    }
    groups.push(&summaries[begin..]);
    groups
}

/// Asks, and once more if something is wrong with the answer, telling what. Of two answers that can be used the second
/// counts; a second that fails costs nothing if the first can be used.
async fn asked<T>(
    llm: &Llm,
    chat: Chat,
    judge: impl Fn(&str) -> (T, Vec<String>),
    is_usable: impl Fn(&T) -> bool,
) -> Result<T, SummaryError> {
    let (first, complaints, answer) = match llm.answer(&chat).await {
        Ok(answer) => {
            let (kept, complaints) = judge(&answer);
            (Some(kept).filter(&is_usable), complaints, Some(answer))
        }
        Err(LlmError::Truncated) => {
            let complaint = "it was cut off since it is too long: think less, and be much shorter";
            (None, vec![complaint.to_owned()], None)
        }
        Err(error) => return Err(error.into()),
    };
    if complaints.is_empty()
        && let Some(first) = first
    {
        return Ok(first);
    }
    let second = llm.answer(&prompt::repair(chat, llm.context(), answer, &complaints)).await;
    match (second.map(|answer| judge(&answer)), first) {
        (Ok((second, _)), _) if is_usable(&second) => Ok(second),
        (_, Some(first)) => Ok(first),
        (Ok((_, complaints)), None) => {
            let why = complaints.first().cloned().unwrap_or_default();
            Err(SummaryError::Unusable { model: llm.model().to_owned(), why })
        }
        (Err(error), None) => Err(error.into()),
    }
}

/// The points and items of all parts in their order, each once; of too many, every part keeps its share.
fn merged(parts: Vec<Kept>) -> (Vec<KeyPoint>, Vec<ActionItem>) {
    let (points, items): (Vec<_>, Vec<_>) =
        parts.into_iter().map(|part| (part.key_points, part.action_items)).unzip();
    let mut points = shared(points, |point| (point.start_ms, point.text.clone()));
    let mut items = shared(items, |item| (item.start_ms, item.quote.clone(), item.text.clone()));
    points.sort_by_key(|point| point.start_ms);
    items.sort_by_key(|item| item.start_ms);
    (points, items)
}

/// At most [`MOST`] of these, taken by turns, without those of the same key.
fn shared<T, K: Ord>(parts: Vec<Vec<T>>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut turns: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
    let (mut kept, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
    loop {
        let mut is_over = true;
        for part in &mut turns {
            let Some(next) = part.next() else { continue };
            is_over = false;
            if kept.len() < MOST && seen.insert(key(&next)) {
                kept.push(next);
            }
        }
        if is_over || kept.len() == MOST {
            return kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::line;

    #[test]
    fn parts_hold_everything_in_order_and_fit() {
        let texts = [
            "word ".repeat(3),
            "x".repeat(4000),
            "wörter und mehr ".repeat(400),
            String::new(),
            "end".to_owned(),
        ];
        let lines: Vec<_> =
            texts.iter().enumerate().map(|(at, text)| line(at as u64, at as u64, text)).collect();
        for room in [LEAST, 700, 5000, 100_000] {
            let whole = shortened(&lines, room);
            let parts = split(&whole, room);
            let text = |all: &[Line]| -> String {
                all.iter().flat_map(|it| it.text.split_whitespace()).collect()
            };
            assert_eq!(parts.concat(), whole);
            assert_eq!(text(&whole), text(&lines), "room {room}");
            for part in &parts {
                let size: usize = part.iter().map(|it| tokens(&timed(it)) + 1).sum();
                assert!(size <= room + 16, "{size} > {room}");
            }
        }
        assert_eq!(split(&shortened(&lines, 100_000), 100_000).len(), 1);
    }

    #[test]
    fn summaries_become_fewer_with_every_step() {
        let summaries = vec!["x".repeat(5000); 7];
        let sizes: Vec<usize> =
            grouped(&summaries, LEAST).iter().map(|group| group.len()).collect();
        assert_eq!(sizes, [2, 2, 2, 1]);
        assert_eq!(grouped(&summaries, 100_000).len(), 1);
    }

    #[test]
    fn of_too_many_points_every_part_keeps_its_share() {
        let point = |part: u64, at: u64| KeyPoint {
            text: format!("{part} {at}"),
            start_ms: Some(part * 100 + at),
        };
        let part = |part: u64, count: u64| Kept {
            key_points: (0..count).map(|at| point(part, at)).collect(),
            ..Kept::default()
        };
        let (points, _) = merged(vec![part(0, 12), part(1, 12), part(2, 3), part(0, 12)]);
        assert_eq!(points.len(), MOST);
        let of = |name: &str| points.iter().filter(|point| point.text.starts_with(name)).count();
        assert_eq!(of("2"), 3);
        assert!(of("1") >= 8 && points.is_sorted_by_key(|point| point.start_ms));
    }

    #[test]
    fn what_was_said_in_one_sentence_may_be_several_things_to_do() {
        let item = |text: &str| ActionItem {
            text: text.to_owned(),
            owner: None,
            due: None,
            quote: Some("I will send the terms and book the room".to_owned()),
            start_ms: Some(1_000),
        };
        let part = |texts: &[&str]| Kept {
            action_items: texts.iter().map(|text| item(text)).collect(),
            ..Kept::default()
        };
        let (_, items) =
            merged(vec![part(&["Send the terms", "Book the room"]), part(&["Book the room"])]);
        let texts: Vec<&str> = items.iter().map(|item| item.text.as_str()).collect();
        assert_eq!(texts, ["Send the terms", "Book the room"]);
    }
}
