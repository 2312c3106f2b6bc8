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

/// Sentences that were said on a Wednesday, what they say of the time, and which day is read from that.
const SAID: [(&str, Option<&str>, Option<&str>); 43] = [
    ("I will send the deck after Friday.", Some("after Friday"), None),
    ("I will send it two weeks from Friday.", Some("two weeks from Friday"), None),
    ("I will send it a week before Friday.", Some("a week before Friday"), None),
    (
        "We will revert not before the end of the month.",
        Some("not before the end of the month"),
        None,
    ),
    ("I will send it after the 15th of March.", Some("after the 15th of March"), None),
    ("Let's meet the week after next week.", Some("the week after next week"), None),
    ("Let's meet Friday after next.", Some("Friday after next"), None),
    ("I will send it in the middle of next week.", Some("the middle of next week"), None),
    ("I will send it within the next week.", Some("within the next week"), None),
    ("I will send it every Monday.", Some("every Monday"), None),
    ("I will send it around Friday.", Some("around Friday"), None),
    ("I will send it Monday or Tuesday.", Some("Monday or Tuesday"), None),
    ("I will send it after our call on Thursday.", Some("after our call on Thursday"), None),
    ("I will send it before next week.", Some("before next week"), None),
    ("Te mando el PPM después del viernes.", Some("después del viernes"), None),
    ("Te mando el PPM desde el lunes.", Some("desde el lunes"), None),
    ("Te mando el PPM a partir del lunes.", Some("a partir del lunes"), None),
    ("Te mando el PPM cada lunes.", Some("cada lunes"), None),
    ("Te mando el PPM no antes del viernes.", Some("no antes del viernes"), None),
    ("As I said on Monday, I will send the PPM.", None, None),
    ("I will send the deck we discussed on Monday.", None, None),
    (
        "I will send the deck we discussed on Monday by Friday.",
        Some("by Friday"),
        Some("2025-11-14"),
    ),
    ("We will send it on Monday.", Some("on Monday"), Some("2025-11-17")),
    ("Te mando la presentación de la que hablamos el lunes.", None, None),
    ("After our call on Thursday I will send it.", None, None),
    ("Monday works, I'll send the PPM.", None, None),
    ("By Friday we will send the deck.", Some("By Friday"), Some("2025-11-14")),
    ("Tomorrow I'll send it.", Some("Tomorrow"), Some("2025-11-13")),
    ("Next week, Ana will send it.", Some("Next week"), Some("2025-11-21")),
    ("Mañana Marta va a enviar el PPM.", Some("Mañana"), Some("2025-11-13")),
    ("I will send the deck by Friday.", Some("by Friday"), Some("2025-11-14")),
    ("I will send it no later than Friday.", Some("no later than Friday"), Some("2025-11-14")),
    ("I will send it this week on Friday.", Some("this week on Friday"), Some("2025-11-14")),
    ("I will send it next week.", Some("next week"), Some("2025-11-21")),
    ("I will send it Friday of next week.", Some("Friday of next week"), Some("2025-11-21")),
    ("I will send it the day after tomorrow.", Some("the day after tomorrow"), Some("2025-11-14")),
    (
        "I will send it after the call and call you on Friday.",
        Some("on Friday"),
        Some("2025-11-14"),
    ),
    (
        "We will revert before the end of the month, I think.",
        Some("before the end of the month"),
        Some("2025-11-30"),
    ),
    ("I will send it on 15 January 2027.", Some("on 15 January 2027"), Some("2027-01-15")),
    ("Les comparto el PPM el próximo lunes.", Some("el próximo lunes"), Some("2025-11-17")),
    ("Te lo mando pasado mañana.", Some("pasado mañana"), Some("2025-11-14")),
    (
        "Te mando el PPM el jueves de la próxima semana.",
        Some("el jueves de la próxima semana"),
        Some("2025-11-20"),
    ),
    ("Te mando el PPM antes del 15 de marzo.", Some("antes del 15 de marzo"), Some("2026-03-15")),
];

#[test]
fn no_day_is_read_from_a_promise_that_does_not_say_it() {
    for (sentence, words, day) in SAID {
        let items = highlights(&[line(0, 4500, sentence)]).items;
        let [item] = &items[..] else { panic!("{sentence}: {items:?}") };
        assert_eq!(item.due.as_deref(), words, "{sentence}");
        let said_on = "2025-11-12".parse().ok();
        let read = item.due.as_deref().and_then(|it| domain::note::due(it, said_on));
        let read = read.map(|moment| moment.date().to_string());
        assert_eq!(read.as_deref(), day, "{sentence}");
    }
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
