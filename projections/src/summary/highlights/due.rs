//! The words of a sentence that say until when, in English and Spanish.

use crate::prose::fold;

/// A word of a sentence and where it stands.
struct Word {
    folded: String,
    begin: usize,
    end: usize,
    is_capital: bool,
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
    "first", "thing", "para", "antes", "del", "de", "el", "la", "este", "esta", "proximo",
    "proxima", "fin", "finales", "final", "hasta", "a", "mid",
];

/// What a time may begin with: articles and prepositions alone say nothing.
const OPENS: &[&str] = &[
    "by", "before", "on", "until", "next", "this", "end", "early", "late", "first", "para",
    "antes", "el", "la", "este", "esta", "proximo", "proxima", "fin", "finales", "final", "hasta",
    "mid",
];

/// The due date in the words of the sentence; `None` if it names none.
pub(super) fn due(sentence: &str) -> Option<String> {
    let words = words(sentence);
    let at = (0..words.len()).find(|at| is_time(&words, *at))?;
    let mut first = at;
    while first > 0
        && (BEFORE.contains(&words[first - 1].folded.as_str()) || is_day(&words[first - 1].folded))
    {
        first -= 1;
    }
    while first < at
        && !OPENS.contains(&words[first].folded.as_str())
        && !is_day(&words[first].folded)
    {
        first += 1;
    }
    let mut last = at;
    while last + 1 < words.len() && goes_on(&words, last) {
        last += 1;
    }
    Some(sentence[words[first].begin..words[last].end].to_owned())
}

fn words(sentence: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut begin = None;
    let ends = sentence.char_indices().chain([(sentence.len(), ' ')]);
    for (at, letter) in ends {
        match (begin, letter.is_alphanumeric()) {
            (None, true) => begin = Some(at),
            (Some(from), false) => {
                let word = &sentence[from..at];
                let is_capital = word.starts_with(char::is_uppercase);
                words.push(Word { folded: fold(word), begin: from, end: at, is_capital });
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

/// The day of a month: `15`, `3rd`.
fn is_day(word: &str) -> bool {
    let digits = word.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    (1..=2).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && word.len() <= digits.len() + 2
}

/// Whether the word behind `last` still belongs to the time.
fn goes_on(words: &[Word], last: usize) -> bool {
    let next = words[last + 1].folded.as_str();
    let behind = words.get(last + 2).map(|word| word.folded.as_str());
    match next {
        "morning" | "afternoon" | "evening" | "noon" | "viene" => true,
        "que" => behind == Some("viene"),
        "de" => behind.is_some_and(|word| TIMES.contains(&word) || CAPITAL_TIMES.contains(&word)),
        next if is_day(next) => true,
        next => {
            words[last].folded == "de" && (TIMES.contains(&next) || CAPITAL_TIMES.contains(&next))
        }
    }
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
        check("It may take a while, week after week.", None);
        check("Lo vemos por la mañana.", None);
        check("", None);
    }
}
