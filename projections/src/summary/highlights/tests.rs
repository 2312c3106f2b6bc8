//! Highlights, on meetings that were written after the patterns and that these were not changed for.

use super::*;
use crate::summary::Utterance;

/// Lines that begin with `*` are action items, with `+` what one would want to find again.
const MEETINGS: [&str; 4] = [
    include_str!("meetings/pension_call.txt"),
    include_str!("meetings/family_office.txt"),
    include_str!("meetings/afore.txt"),
    include_str!("meetings/fondo_semilla.txt"),
];

fn transcript(meeting: &str) -> Transcript {
    let utterance = |(at, line): (usize, &str)| {
        let start_ms = at as u64 * 5000;
        Line { start_ms, end_ms: start_ms + 4500, text: line[2..].to_owned() }
    };
    Transcript { utterances: meeting.lines().enumerate().map(utterance).collect() }
}

/// Lines that are marked so.
fn marked(meeting: &str, mark: char) -> Vec<&str> {
    meeting.lines().filter(|line| line.starts_with(mark)).map(|line| &line[2..]).collect()
}

/// How many of the found are right, how many were found, and how many there are.
fn score<'a>(found: impl Iterator<Item = &'a str>, right: &[&str]) -> [usize; 3] {
    let found: Vec<&str> = found.collect();
    let hits = found.iter().filter(|text| right.iter().any(|line| line.contains(*text))).count();
    [hits, found.len(), right.len()]
}

fn sum(all: impl Iterator<Item = [usize; 3]>) -> [usize; 3] {
    all.fold([0; 3], |sum, next| [0, 1, 2].map(|at| sum[at] + next[at]))
}

#[test]
fn on_unseen_meetings_most_of_what_is_suggested_is_right() {
    let items = MEETINGS.map(|meeting| {
        let found = highlights(&transcript(meeting)).action_items;
        for item in &found {
            println!("{:?} {:?} {}", item.owner, item.due, item.text);
        }
        score(found.iter().map(|item| item.text.as_str()), &marked(meeting, '*'))
    });
    let points = MEETINGS.map(|meeting| {
        let found = highlights(&transcript(meeting)).key_points;
        for point in &found {
            println!("+ {}", point.text);
        }
        score(found.iter().map(|point| point.text.as_str()), &marked(meeting, '+'))
    });
    println!("action items (right, found, there are): {items:?}; highlights: {points:?}");
    let [right, found, there] = sum(items.into_iter());
    println!("action items {right} of {found} right, {right} of {there} found");
    let [telling, chosen, _] = sum(points.into_iter());
    println!("highlights {telling} of {chosen} telling");
    assert!(right * 10 >= found * 6, "{right} of {found} action items are some");
    assert!(right * 10 >= there * 4, "{right} of {there} action items are found");
    assert!(telling * 10 >= chosen * 5, "{telling} of {chosen} highlights tell something");
}

#[test]
fn highlights_are_labelled_quotes_with_their_times_in_order() {
    let transcript = transcript(MEETINGS[0]);
    let summary = highlights(&transcript);
    assert_eq!(summary.author, Author::Highlights);
    assert!(
        summary.summary.starts_with("Highlights (not AI-written)\n00:00:"),
        "{}",
        summary.summary
    );
    assert!((3..=10).contains(&summary.key_points.len()));
    assert!(summary.key_points.is_sorted_by_key(|point| point.start_ms));
    for point in &summary.key_points {
        let said =
            transcript.utterances.iter().find(|said| said.start_ms == point.start_ms).unwrap();
        assert!(said.text.contains(&point.quote), "{point:?}");
    }
    assert_eq!(summary, highlights(&transcript));
}

#[test]
fn any_transcript_has_highlights_in_little_time() {
    let said = |text: String, count: usize| {
        let utterance = |at: usize| Line {
            start_ms: at as u64,
            end_ms: at as u64,
            text: format!("{text} {at}."),
        };
        Transcript { utterances: (0..count).map(utterance).collect() }
    };
    for text in ["", "the same words again and again", "\u{0}𝄞 ¿¡…", "INFORME — Ana will send"]
    {
        for count in [0, 1, 2, 1500] {
            let summary = highlights(&said(text.to_owned(), count));
            assert!(
                summary.key_points.len() <= 10 && summary.action_items.len() <= MOST_ITEMS,
                "{text}"
            );
        }
    }
    let endless = highlights(&said("palabra ".repeat(20_000), 2));
    assert!(endless.key_points.iter().all(|point| point.quote.chars().count() <= LONGEST + 1));
}
