//! Whether a sentence of an answer may be shown.

use std::collections::BTreeSet;

use super::prompt::DENIAL;
use super::{Sentence, Source};
use crate::prose::{numbers, plain, stems};
use crate::search::language::guess;

/// The longest sentence, in characters.
const LONGEST: usize = 600;

/// Why a sentence is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// It says that the sources do not answer.
    Denial,
    /// It cites nothing that there is, or says what its sources do not.
    Out,
}

/// The sentence with the sources that it rests on.
pub(super) fn cited(sentence: &str, sources: &[Source]) -> Result<Sentence, Left> {
    if sentence.contains(DENIAL) {
        return Err(Left::Denial);
    }
    let (text, cites) = apart(sentence);
    let text = plain(&text, LONGEST).map_err(|_| Left::Out)?;
    let cites: Vec<&Source> =
        cites.iter().filter_map(|n| sources.iter().find(|source| source.n == *n)).collect();
    let is_borne_out =
        !cites.is_empty() && has_no_other_number(&text, &cites) && shares_words(&text, &cites);
    match is_borne_out {
        true => Ok(Sentence { text, sources: cites.iter().map(|source| source.n).collect() }),
        false => Err(Left::Out),
    }
}

/// The sentence without its citations, and their numbers, each once.
fn apart(sentence: &str) -> (String, Vec<usize>) {
    // Marks of a list.
    let sentence = sentence.trim_start_matches(['-', '*', '•', '#', ' ']);
    let (mut text, mut cites) = (String::new(), Vec::new());
    let mut rest = sentence;
    while let Some((before, behind)) = rest.split_once('[') {
        text.push_str(before);
        match citation(behind) {
            Some((numbers, behind)) => {
                cites.extend(numbers);
                // What separates two citations belongs to neither.
                let next = behind.trim_start_matches([',', ';', ' ']);
                rest = if next.starts_with('[') { next } else { behind };
            }
            None => {
                text.push('[');
                rest = behind;
            }
        }
    }
    text.push_str(rest);
    let mut seen = BTreeSet::new();
    cites.retain(|n| seen.insert(*n));
    (tidy(&text), cites)
}

/// The numbers up to the closing bracket, if there are only numbers, and what comes behind it.
fn citation(text: &str) -> Option<(Vec<usize>, &str)> {
    let (inside, behind) = text.split_once(']')?;
    let numbers = inside.split([',', ';']).map(|part| part.trim().parse().ok());
    Some((numbers.collect::<Option<_>>()?, behind))
}

/// What is left when a citation before the full stop is gone: `fees .`
fn tidy(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    [" .", " ,", " ;", " !", " ?"]
        .iter()
        .fold(words, |text, loose| text.replace(loose, &loose[1..]))
}

fn texts<'a>(cites: &'a [&'a Source]) -> impl Iterator<Item = &'a str> {
    cites.iter().flat_map(|source| {
        let heading = [source.title.as_str(), source.date.as_deref().unwrap_or_default()];
        let about = source.about.iter().map(String::as_str);
        heading.into_iter().chain([source.passage.text.as_str()]).chain(about)
    })
}

fn has_no_other_number(text: &str, cites: &[&Source]) -> bool {
    let known: BTreeSet<String> = texts(cites).flat_map(numbers).collect();
    numbers(text).is_subset(&known)
}

/// Whether it speaks of something that its sources speak of. Between two languages that cannot be told by words.
fn shares_words(text: &str, cites: &[&Source]) -> bool {
    let spoken = guess(text);
    let is_foreign = |source: &&&Source| {
        let other = guess(&source.passage.text);
        spoken.is_some() && other.is_some() && spoken != other
    };
    let known: BTreeSet<String> = texts(cites).flat_map(stems).collect();
    cites.iter().any(|source| is_foreign(&source))
        || stems(text).iter().any(|stem| known.contains(stem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Passage;

    fn sources() -> Vec<Source> {
        let source = |n, title: &str, text: &str| Source {
            n,
            kind: "note".to_owned(),
            id: 7,
            title: title.to_owned(),
            date: Some("2025-01-31".to_owned()),
            about: vec![],
            passage: Passage {
                part: "text".to_owned(),
                ordinal: 0,
                text: text.to_owned(),
                starts_ms: None,
            },
            link: "/notes/7".to_owned(),
        };
        vec![
            source(
                1,
                "Call with Afore XXI",
                "They asked how we hedge the peso, for a ticket of fifty million.",
            ),
            source(
                2,
                "Llamada",
                "Preguntaron por la cobertura cambiaria y por las comisiones del fondo.",
            ),
        ]
    }

    #[test]
    fn a_sentence_is_shown_with_the_sources_that_bear_it_out() {
        let check = |sentence: &str, text: &str, cites: &[usize]| {
            let expected = Sentence { text: text.to_owned(), sources: cites.to_vec() };
            assert_eq!(cited(sentence, &sources()), Ok(expected), "{sentence}");
        };
        check("They asked about hedging. [1]", "They asked about hedging.", &[1]);
        check(
            "Afore XXI asked about hedging [1][1], [2].",
            "Afore XXI asked about hedging.",
            &[1, 2],
        );
        check("- The ticket is 50 million [1, 99].", "The ticket is 50 million.", &[1]);
        check(
            "The call was on 31 January 2025 about the peso [1].",
            "The call was on 31 January 2025 about the peso.",
            &[1],
        );
        check(
            "They were worried about the exchange rate. [2]",
            "They were worried about the exchange rate.",
            &[2],
        );
    }

    #[test]
    fn a_sentence_that_nothing_bears_out_is_left_out() {
        for sentence in [
            "They asked about hedging.",
            "They asked about hedging. [3]",
            "They asked about hedging. [0]",
            "They asked about hedging [one].",
            "The ticket is 75 million. [1]",
            "Bananas are yellow. [1]",
            "See https://evil.example/?q=peso [1]",
            "See [the peso](http://evil.example) [1]",
            "![peso](x) [1]",
            "<img src=peso> [1]",
            "[1]",
            "",
        ] {
            assert_eq!(cited(sentence, &sources()), Err(Left::Out), "{sentence}");
        }
        assert_eq!(cited("NOT_IN_SOURCES", &sources()), Err(Left::Denial));
    }
}
