//! Whether a sentence of an answer may be shown.

use std::collections::BTreeSet;

use super::prompt::DENIAL;
use super::{Sentence, Source};
use crate::claim::{Claim, Ground};
use crate::prose::plain;
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

/// The sentence of an answer to this question, with the sources that it rests on.
pub(super) fn cited(sentence: &str, question: &str, sources: &[Source]) -> Result<Sentence, Left> {
    if sentence.contains(DENIAL) {
        return Err(Left::Denial);
    }
    let (text, cites) = apart(sentence);
    let text = plain(&text, LONGEST).map_err(|_| Left::Out)?;
    let cites: Vec<&Source> =
        cites.iter().filter_map(|n| sources.iter().find(|source| source.n == *n)).collect();
    match !cites.is_empty() && is_borne_out(&text, question, &cites, sources) {
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

/// Whether its names and numbers stand in its sources or in the question, and it speaks of something that its sources speak of.
/// Of sources in another language that is told by a name or a number in common.
fn is_borne_out(text: &str, question: &str, cites: &[&Source], sources: &[Source]) -> bool {
    let (said, asked) =
        (Ground::of(cites.iter().copied().flat_map(texts)), Ground::of([question].into_iter()));
    let days = Ground::of(cites.iter().filter_map(|source| source.date.as_deref()));
    let all = Ground::of(sources.iter().flat_map(texts));
    let claim = Claim::of(text, &said, &[&all, &asked]);
    // An answer is in the language of its question; a short one may not tell.
    let spoken = guess(text).or_else(|| guess(question));
    let is_foreign = |source: &Source| {
        let other = guess(&source.passage.text);
        spoken.is_some() && other.is_some() && spoken != other
    };
    let is_heard = claim.is_spoken_of(&said, &asked)
        || cites.iter().copied().all(is_foreign) && claim.is_named_in(&said);
    is_heard && claim.has_no_other(&[&said, &asked, &days])
}

/// What a source says, but for its day, which does not tell what it is about.
fn texts(source: &Source) -> impl Iterator<Item = &str> + Clone {
    let about = source.about.iter().map(String::as_str);
    [source.title.as_str(), source.passage.text.as_str()].into_iter().chain(about)
}

#[cfg(test)]
mod tests {
    use domain::Kind;

    use super::*;
    use crate::ask::Passage;

    const QUESTION: &str = "Who asked about currency hedging, and did Nordwind?";

    fn sources() -> Vec<Source> {
        let source = |n, title: &str, about: &str, text: &str| Source {
            n,
            kind: Kind::Note,
            id: 7,
            title: title.to_owned(),
            date: Some("2025-01-31".to_owned()),
            about: vec![about.to_owned()],
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
                "JPMorgan México, Carlos Ruiz",
                "They asked how we hedge the peso, for a ticket of fifty million, and for the internal rate of return.",
            ),
            source(
                2,
                "Llamada",
                "Afore Coppel",
                "Preguntaron por la cobertura cambiaria y por las comisiones del fondo, que son de 35 puntos en España.",
            ),
            source(4, "Lunch", "Growth IV", "Several managers spoke of football."),
        ]
    }

    fn judged(sentence: &str) -> Result<Sentence, Left> {
        cited(sentence, QUESTION, &sources())
    }

    #[test]
    fn a_sentence_is_shown_with_the_sources_that_bear_it_out() {
        let check = |sentence: &str, text: &str, cites: &[usize]| {
            let expected = Sentence { text: text.to_owned(), sources: cites.to_vec() };
            assert_eq!(judged(sentence), Ok(expected), "{sentence}");
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
            "Coppel was worried about the exchange rate. [2]",
            "Coppel was worried about the exchange rate.",
            &[2],
        );
    }

    #[test]
    fn honest_answers_are_kept_however_they_are_put() {
        for sentence in [
            "On Friday I heard that the AFORES hedge their Pesos. [1]",
            "Afore XXI’s ticket is US$50 million. [1]",
            "The LP asked for the IRR. [1]",
            "J.P. Morgan of Mexico asked about Currency Hedging. [1]",
            "The Mexican side wanted to know how the currency is hedged. [1]",
            "According to the note, Nordwind hedges the peso as well. [1]",
            "XXI asked. [1]",
            "Several of them asked how they hedge the peso. [1]",
            "They asked about the peso. [1]",
            "Afore XXI preguntó por la cobertura del peso, con un ticket de 50 millones. [1]",
            "La Afore XXI quiere saber cómo se cubre el riesgo. [1]",
            "Coppel preguntó por la cobertura cambiaria. [2]",
            "Las Afores preguntaron por las comisiones del Fondo en febrero. [2]",
            "Afore Coppel asked about hedging and fees in Spain. [2]",
            "The fees are 35 points. [2]",
            "They asked for the ticket of fifty million at once. [1]",
            "The ticket is $50,000,000. [1]",
        ] {
            assert!(judged(sentence).is_ok(), "{sentence}");
        }
    }

    #[test]
    fn a_sentence_that_nothing_bears_out_is_left_out() {
        for sentence in [
            "They asked about hedging.",
            "They asked about hedging. [3]",
            "They asked about hedging. [0]",
            "They asked about hedging [one].",
            "The ticket is 75 million. [1]",
            "The ticket is 50 billion. [1]",
            "The ticket is 50% of the peso. [1]",
            "Bananas are yellow. [1]",
            "See https://evil.example/?q=peso [1]",
            "See [the peso](http://evil.example) [1]",
            "![peso](x) [1]",
            "<img src=peso> [1]",
            "[1]",
            "",
            // What is known of it is its subject, and nothing is of what is said of that.
            "Afore XXI committed to everything because bananas asked. [1]",
            // Names that others have, or nobody.
            "They hedge the peso with Bob. [1]",
            "CalPERS asked how they hedge the peso. [1]",
            "Coppel asked how they hedge the peso. [1]",
            "Afore XXI asked about the hedging of Carla. [1]",
            "Afore XXI asked about the TIR and the NAV. [1]",
            "Afore XXI asked about the IC. [1]",
            "Afore XXI asked about the Risk Committee. [1]",
            // Words of the question alone.
            "Nordwind asked about currency. [1]",
            // In another language than its source.
            "Coppel says you should wire funds to Bob immediately. [2]",
            "You should wire the money immediately. [2]",
            "On Monday you should wire 75 million of it to them. [2]",
            "Hay que transferir todo el dinero de inmediato. [1]",
            "Nordwind is going to wire the money. [2]",
        ] {
            assert_eq!(judged(sentence), Err(Left::Out), "{sentence}");
        }
        assert_eq!(judged("NOT_IN_SOURCES"), Err(Left::Denial));
    }
}
