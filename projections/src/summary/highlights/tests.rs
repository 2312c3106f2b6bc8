//! Highlights, on meetings that were written after the patterns and that these were not changed for.

use super::*;
use crate::summary::line;

/// Lines that begin with `*` are action items, with `+` what one would want to find again.
const MEETINGS: [&str; 4] = [
    include_str!("meetings/pension_call.txt"),
    include_str!("meetings/family_office.txt"),
    include_str!("meetings/afore.txt"),
    include_str!("meetings/fondo_semilla.txt"),
];

fn transcript(meeting: &str) -> Vec<Line> {
    (0..)
        .step_by(5000)
        .zip(meeting.lines())
        .map(|(at, text)| line(at, at + 4500, &text[2..]))
        .collect()
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
        let found = highlights(&transcript(meeting)).items;
        for item in &found {
            println!("{:?} {:?} {}", item.owner, item.due, item.text);
        }
        score(found.iter().map(|item| item.text.as_str()), &marked(meeting, '*'))
    });
    let points = MEETINGS.map(|meeting| {
        let found = highlights(&transcript(meeting)).summary.key_points;
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
    let lines = transcript(MEETINGS[0]);
    let Summarised { summary, items, interest } = highlights(&lines);
    assert_eq!((&summary.author, interest), (&Author::Highlights, None));
    assert!(
        summary.to_text().starts_with("Highlights (not AI-written)\n- "),
        "{}",
        summary.to_text()
    );
    assert!((3..=10).contains(&summary.key_points.len()));
    assert!(summary.key_points.is_sorted_by_key(|point| point.start_ms));
    let points = summary.key_points.iter().map(|point| (&point.text, point.start_ms));
    let quotes = items.iter().map(|item| (item.quote.as_ref().unwrap(), item.start_ms));
    for (quote, start_ms) in points.chain(quotes) {
        let said = lines.iter().find(|said| Some(said.start_ms) == start_ms).unwrap();
        assert!(said.text.contains(quote), "{quote}");
    }
    assert_eq!(summary, highlights(&lines).summary);
}

#[test]
fn any_transcript_has_highlights_in_little_time() {
    let said = |text: String, count: u64| -> Vec<Line> {
        (0..count).map(|at| line(at, at, format!("{text} {at}."))).collect()
    };
    for text in ["", "the same words again and again", "\u{0}𝄞 ¿¡…", "INFORME — Ana will send"]
    {
        for count in [0, 1, 2, 1500] {
            let found = highlights(&said(text.to_owned(), count));
            assert!(
                found.summary.key_points.len() <= 10 && found.items.len() <= MOST_ITEMS,
                "{text}"
            );
        }
    }
    let endless = highlights(&said("palabra ".repeat(20_000), 2));
    assert!(
        endless.summary.key_points.iter().all(|point| point.text.chars().count() <= LONGEST + 1)
    );
}
