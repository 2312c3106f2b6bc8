//! The words of a sentence that say until when, in English and Spanish. What says which day is meant, as `after` or `two weeks
//! from` do, is one of these words: without it they would say another day.

mod past;

use crate::prose::fold;

/// A word of a sentence and where it stands.
struct Word {
    folded: String,
    begin: usize,
    end: usize,
    is_capital: bool,
    /// Whether a comma or the like stands before it.
    is_apart: bool,
}

/// These are a time by themselves.
const TIMES: &[&str] = &[
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "tomorrow",
    "tonight",
    "today",
    "lunes",
    "martes",
    "miercoles",
    "jueves",
    "viernes",
    "sabado",
    "domingo",
    "manana",
    "hoy",
    "january",
    "february",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "enero",
    "febrero",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "octubre",
    "noviembre",
    "diciembre",
];

/// Months that are also something else; they count with a capital letter.
const CAPITAL_TIMES: &[&str] = &["march", "may", "marzo"];

/// These are a time only behind a word that says which.
const PERIODS: &[&str] = &[
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "weekend",
    "morning",
    "afternoon",
    "dia",
    "semana",
    "mes",
    "trimestre",
    "ano",
];

/// Which day, week or month.
const WHICH: &[&str] = &[
    "next", "this", "end", "coming", "proximo", "proxima", "este", "esta", "fin", "finales",
    "final",
];

/// What may stand before a time as a part of it.
const BEFORE: &[&str] = &[
    "by", "before", "on", "until", "next", "this", "end", "of", "the", "early", "late", "coming",
    "first", "thing", "para", "antes", "del", "de", "el", "la", "los", "este", "esta", "proximo",
    "proxima", "fin", "finales", "final", "hasta", "a", "mid",
];

/// What a time may begin with: articles and prepositions alone say nothing.
const OPENS: &[&str] = &[
    "by", "before", "on", "until", "next", "this", "end", "early", "late", "first", "para",
    "antes", "el", "la", "este", "esta", "proximo", "proxima", "fin", "finales", "final", "hasta",
    "mid",
];

/// They make another time of the one that they stand before.
const CHANGES: &[&str] = &[
    "after",
    "from",
    "since",
    "past",
    "last",
    "beyond",
    "not",
    "no",
    "every",
    "each",
    "around",
    "about",
    "roughly",
    "within",
    "than",
    "later",
    "between",
    "except",
    "instead",
    "despues",
    "desde",
    "tras",
    "cada",
    "todos",
    "hacia",
    "alrededor",
    "dentro",
    "entre",
    "pasado",
    "pasada",
    "ultimo",
    "ultima",
    "excepto",
];

/// So do a length or a part, if one of [`OF_A_TIME`] follows: `two weeks from`, `the middle of`.
const LENGTHS: &[&str] = &[
    "day",
    "days",
    "week",
    "weeks",
    "month",
    "months",
    "year",
    "years",
    "start",
    "beginning",
    "middle",
    "half",
    "dia",
    "dias",
    "semana",
    "semanas",
    "mes",
    "meses",
    "ano",
    "anos",
    "partir",
    "principios",
    "inicios",
    "comienzos",
    "mediados",
    "mitad",
];

/// What joins a length or a part to a time.
const OF_A_TIME: &[&str] =
    &["from", "before", "after", "past", "of", "on", "antes", "despues", "desde", "de", "del"];

/// How many of a length, or which.
const COUNTS: &[&str] = &[
    "a", "an", "the", "one", "two", "three", "four", "five", "six", "el", "la", "un", "una", "dos",
    "tres", "cuatro", "cinco", "seis",
];

/// What may stand between a time and another that says more of it, or that may be meant as well.
const LINKS: &[&str] = &[
    "of", "de", "del", "the", "el", "la", "in", "on", "or", "o", "u", "and", "y", "next", "this",
    "coming", "end", "proximo", "proxima", "este", "esta", "after", "before",
];

/// The most of these in a row.
const MOST_LINKS: usize = 4;

/// Periods that say more of a time even without a word that says which.
const CALENDAR: &[&str] = &["week", "month", "quarter", "semana", "mes", "trimestre"];

/// With one of these a time is one by which something is due, whatever else happens.
const DEADLINES: &[&str] = &["by", "before", "until", "para", "antes", "hasta", "no"];

/// Behind these stands when something else happens: `after our call on Thursday`.
const OCCASIONS: &[&str] = &["after", "since", "when", "despues", "tras", "desde", "cuando"];

/// The most words that say who does something, behind a time: `Mañana Luis García va a enviar`.
const WHO: usize = 4;

/// The due date in the words of a sentence from what is to be done; `None` if it names none. The day on which something
/// happened is none.
pub(super) fn due(sentence: &str) -> Option<String> {
    let words = words(sentence);
    let (first, last) = time_to_come(&words)?;
    let first = occasion(&words, first).unwrap_or(first);
    Some(sentence[words[first].begin..words[last].end].to_owned())
}

/// The due date that a sentence begins with, of what stands before the deed: nothing but who does it may stand in between. Otherwise it may
/// be when something else was or will be.
pub(super) fn due_first(before: &str) -> Option<String> {
    let words = words(before);
    let (first, last) = time(&words, 0)?;
    let who = &words[last + 1..];
    let is_near = who.len() <= WHO && who.iter().skip(1).all(|word| !word.is_apart);
    (first == 0 && is_near && !past::has_happened(&words, first..=last))
        .then(|| before[words[first].begin..words[last].end].to_owned())
}

/// Where the first time begins and ends that is not the one at which something happened.
fn time_to_come(words: &[Word]) -> Option<(usize, usize)> {
    let mut from = 0;
    loop {
        let (first, last) = time(words, from)?;
        if !past::is_when_it_happened(words, from, first..=last) {
            return Some((first, last));
        }
        from = last + 1;
    }
}

/// Where the first time begins and ends, of those that are named behind so many words.
fn time(words: &[Word], from: usize) -> Option<(usize, usize)> {
    let at = (from..words.len()).find(|at| is_time(words, *at))?;
    let mut last = at;
    while let Some(next) = goes_on(words, last) {
        last = next;
    }
    Some((begin(words, at), last))
}

fn words(sentence: &str) -> Vec<Word> {
    const APART: [char; 8] = [',', ';', ':', '.', '?', '!', '(', '—'];
    let mut words: Vec<Word> = Vec::new();
    let mut begin = None;
    let ends = sentence.char_indices().chain([(sentence.len(), ' ')]);
    for (at, letter) in ends {
        match (begin, letter.is_alphanumeric()) {
            (None, true) => begin = Some(at),
            (Some(from), false) => {
                let word = &sentence[from..at];
                let before = words.last().map_or(0, |last| last.end);
                words.push(Word {
                    folded: fold(word),
                    begin: from,
                    end: at,
                    is_capital: word.starts_with(char::is_uppercase),
                    is_apart: sentence[before..from].contains(APART),
                });
                begin = None;
            }
            _ => {}
        }
    }
    words
}

fn is_time(words: &[Word], at: usize) -> bool {
    let word = &words[at];
    let before = at.checked_sub(1).map(|at| words[at].folded.as_str());
    let is_coming = words.get(at + 2).is_some_and(|word| word.folded == "viene");
    let which = || {
        is_coming
            || words[at.saturating_sub(3)..at]
                .iter()
                .any(|word| WHICH.contains(&word.folded.as_str()))
    };
    match word.folded.as_str() {
        // `la mañana` is the morning.
        "manana" => before != Some("la"),
        name if TIMES.contains(&name) => true,
        name if CAPITAL_TIMES.contains(&name) => {
            at > 0 && (word.is_capital || before == Some("de"))
        }
        name if PERIODS.contains(&name) => which(),
        _ => false,
    }
}

/// Where the words begin that belong to the time.
fn begin(words: &[Word], at: usize) -> usize {
    let mut first = at;
    while first > 0 && !words[first].is_apart && belongs(words, first - 1, BEFORE) {
        first -= 1;
    }
    while first < at && !belongs(words, first, OPENS) {
        first += 1;
    }
    first
}

/// Whether a word before a time is a part of it: one of the list, or one that makes another time of it.
fn belongs(words: &[Word], at: usize, list: &[&str]) -> bool {
    let word = words[at].folded.as_str();
    let is_count = COUNTS.contains(&word) || word.bytes().all(|byte| byte.is_ascii_digit());
    list.contains(&word)
        || CHANGES.contains(&word)
        || is_length(words, at)
        || is_count && is_length(words, at + 1)
        || is_day_of(words, at)
}

/// Whether this is a length of time or a part, from which or of which a time follows.
fn is_length(words: &[Word], at: usize) -> bool {
    let [word, next, ..] = &words[at..] else { return false };
    // `el día de mañana` is tomorrow.
    let is_tomorrow = word.folded == "dia" && next.folded == "de";
    LENGTHS.contains(&word.folded.as_str())
        && OF_A_TIME.contains(&next.folded.as_str())
        && !is_tomorrow
}

/// Whether this is the day of a month, rather than any number: `15th`, `15 de marzo`.
fn is_day_of(words: &[Word], at: usize) -> bool {
    let next = words.get(at + 1).map_or("", |word| word.folded.as_str());
    let is_ordinal = words[at].folded.ends_with(|letter: char| letter.is_ascii_alphabetic());
    is_day(&words[at].folded) && (is_ordinal || ["of", "de"].contains(&next) || is_name(next))
}

/// Whether this is the name of a day or month.
fn is_name(word: &str) -> bool {
    TIMES.contains(&word) || CAPITAL_TIMES.contains(&word)
}

/// The day of a month: `15`, `3rd`; `3pm` is none.
fn is_day(word: &str) -> bool {
    let digits = word.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    (1..=2).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && word.len() <= digits.len() + 2
        && !word.ends_with('m')
}

fn is_year(word: &str) -> bool {
    word.len() == 4 && word.starts_with("20") && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Where the words begin that say when something else happens, if the time is that of it.
fn occasion(words: &[Word], first: usize) -> Option<usize> {
    if DEADLINES.contains(&words[first].folded.as_str()) {
        return None;
    }
    (0..first)
        .rev()
        .take_while(|at| {
            !words[at + 1].is_apart && !["and", "y"].contains(&words[*at].folded.as_str())
        })
        .find(|at| OCCASIONS.contains(&words[*at].folded.as_str()))
}

/// The word behind `last` up to which the time goes on; `None` if it ends there.
fn goes_on(words: &[Word], last: usize) -> Option<usize> {
    let folded = |at: usize| words.get(at).map_or("", |word| word.folded.as_str());
    let (next, behind) = (folded(last + 1), folded(last + 2));
    match next {
        "morning" | "afternoon" | "evening" | "noon" | "viene" | "pasado" | "pasada" => {
            Some(last + 1)
        }
        "que" if behind == "viene" => Some(last + 2),
        // `the Friday after next`
        "after" | "or" if behind == "next" => Some(last + 2),
        "of" | "de" if is_year(behind) => Some(last + 2),
        next if is_year(next) || is_name(folded(last)) && is_day(next) => Some(last + 1),
        _ => further(words, last),
    }
}

/// Another time behind it that says more of it, or may be meant as well: `of next week`, `or Tuesday`.
fn further(words: &[Word], last: usize) -> Option<usize> {
    let folded = |at: usize| words[at].folded.as_str();
    let at = (last + 1..words.len())
        .take(MOST_LINKS + 1)
        .take_while(|at| !words[*at].is_apart)
        .find(|at| !LINKS.contains(&folded(*at)))?;
    let is_linked = at > last + 1;
    let is_more = match folded(at) {
        it if CALENDAR.contains(&it) => true,
        it if is_day(it) => is_linked && ["the", "el"].contains(&folded(at - 1)),
        _ => is_time(words, at) && (is_linked || is_day(folded(last))),
    };
    is_more.then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_due_date_is_found_in_the_words_of_the_sentence() {
        let check = |sentence: &str, expected: Option<&str>| {
            assert_eq!(due(sentence).as_deref(), expected, "{sentence}");
        };
        check("I'll send the deck by Friday.", Some("by Friday"));
        check(
            "We will revert before the end of the month, I think.",
            Some("before the end of the month"),
        );
        check("Let's speak next week.", Some("next week"));
        check("Ana will send it on June 15th.", Some("on June 15th"));
        check("Te lo mando mañana.", Some("mañana"));
        check("Les comparto el PPM el próximo lunes.", Some("el próximo lunes"));
        check("Lo revisamos antes del 15 de marzo.", Some("antes del 15 de marzo"));
        check("Quedamos la semana que viene", Some("la semana que viene"));
        check("Send version 2 by Friday at 3pm.", Some("by Friday"));
        check("On Friday, 14 November 2025, at noon.", Some("On Friday, 14 November 2025"));
        check("Lo vemos el 3 de mayo de 2026.", Some("el 3 de mayo de 2026"));
        check("It may take a while, week after week.", None);
        check("Lo vemos por la mañana.", None);
        check("", None);
    }
}
