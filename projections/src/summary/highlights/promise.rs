//! Sentences in which somebody promises or is asked to do something, in English and Spanish, by patterns of words: a
//! beginning that commits (`we'll`, `could you`, `hay que`) closely followed by something that one does (`send`,
//! `revisar`). They are suggestions and no more: people promise in many other words, and not all such words are promises.

mod patterns;

use crate::prose::{fold, is_stop_word};
use patterns::{
    BEFORE_A_DEED, BEGINNINGS, BEHIND_A_NAME, DEEDS, DEEDS_ES, DENIALS, FOR_WHOM, FUTURE, NOBODY,
};

/// What somebody is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    /// Who, if the sentence names somebody.
    pub(super) owner: Option<String>,
    /// Where in the sentence begins what is to be done: `send the deck`.
    pub(super) deed: usize,
}

/// How many words may stand between the beginning and the deed.
const REACH: usize = 4;

/// What a sentence promises or asks for; `None` if nothing.
pub(super) fn promise(sentence: &str) -> Option<Promise> {
    let (begins, words): (Vec<usize>, Vec<&str>) = words(sentence).into_iter().unzip();
    let folded: Vec<String> = words.iter().map(|word| fold(word)).collect();
    let folded: Vec<&str> = folded.iter().map(String::as_str).collect();
    let named = || named(&words, &folded);
    match committed(&folded).or_else(|| commits_alone(&folded)) {
        Some(deed) => {
            let owner = addressed(sentence).or_else(|| named().map(|(owner, _)| owner));
            Some(Promise { owner, deed: begins[deed] })
        }
        None => named().map(|(owner, deed)| Promise { owner: Some(owner), deed: begins[deed] }),
    }
}

/// The words of a sentence and where each begins.
fn words(sentence: &str) -> Vec<(usize, &str)> {
    let is_apart = |letter: char| !letter.is_alphanumeric();
    let mut end = 0;
    let pieces = sentence.split_inclusive(is_apart).map(|piece| {
        let begin = end;
        end += piece.len();
        (begin, piece.trim_end_matches(is_apart))
    });
    pieces.filter(|(_, word)| !word.is_empty()).collect()
}

/// Which word begins the deed that the sentence commits somebody to.
fn committed(words: &[&str]) -> Option<usize> {
    (0..words.len()).find_map(|at| {
        let length = BEGINNINGS.iter().find_map(|it| starts_with(&words[at..], it))?;
        let is_denied = at > 0 && DENIALS.contains(&words[at - 1]);
        let deed = leads_to_deed(&words[at + length..]).filter(|_| !is_denied)?;
        Some(at + length + deed)
    })
}

/// How many words the phrase has, if these words begin with it.
fn starts_with(words: &[&str], phrase: &str) -> Option<usize> {
    let phrase: Vec<&str> = phrase.split(' ').collect();
    words.starts_with(&phrase).then_some(phrase.len())
}

/// Which word begins a deed, if one follows soon and is not denied before.
fn leads_to_deed(rest: &[&str]) -> Option<usize> {
    let within = (0..rest.len().min(REACH + 1)).find(|at| is_deed(&rest[*at..]));
    within.filter(|at| !rest[..*at].iter().any(|word| DENIALS.contains(word)))
}

fn is_deed(rest: &[&str]) -> bool {
    let Some(first) = rest.first() else { return false };
    let english = DEEDS.iter().any(|deed| starts_with(rest, deed).is_some());
    english
        || (first.len() > 4
            && DEEDS_ES.iter().any(|stem| first.starts_with(stem))
            && is_verb_form(first))
}

/// Whether folded words, behind one that joins them to others, go on to something that is to be done: `call you`, `I will call
/// you`, `te llamo`.
pub(super) fn goes_on_to_deed(words: &[&str]) -> bool {
    let first = words.iter().position(|word| !BEFORE_A_DEED.contains(word));
    first.is_some_and(|at| is_deed(&words[at..]) || commits_alone(&words[..=at]).is_some())
}

/// Infinitives, with or without pronouns, and what `que` asks for.
fn is_verb_form(word: &str) -> bool {
    let bare = ["melo", "telo", "selo", "les", "los", "las", "nos", "le", "lo", "la", "me", "te"]
        .iter()
        .find_map(|pronoun| word.strip_suffix(pronoun).filter(|bare| bare.ends_with('r')))
        .unwrap_or(word);
    let infinitive = ["ar", "er", "ir"].iter().any(|ending| bare.ends_with(ending));
    let wished =
        ["en", "es", "emos", "an", "amos", "me", "nos"].iter().any(|ending| word.ends_with(ending));
    infinitive || wished
}

/// Which word commits without a beginning, as Spanish ones do: `enviaré`, `te mando`.
fn commits_alone(words: &[&str]) -> Option<usize> {
    (0..words.len()).find(|at| {
        let (at, word) = (*at, words[*at]);
        let is_denied =
            words[at.saturating_sub(3)..at].iter().any(|before| DENIALS.contains(before));
        let stem = DEEDS_ES.iter().find_map(|stem| word.strip_prefix(stem));
        let Some(ending) = stem.filter(|_| !is_denied) else { return false };
        let is_future = FUTURE.contains(&ending)
            || FUTURE
                .iter()
                .any(|future| ending.ends_with(future) && ending.len() <= future.len() + 2);
        let for_whom = at > 0 && FOR_WHOM.contains(&words[at - 1]);
        is_future || (for_whom && matches!(ending, "o" | "amos" | "imos" | "emos"))
    })
}

/// Somebody who will do something: `Ana will send`, `Luis García va a revisar`; and which word begins that.
fn named(words: &[&str], folded: &[&str]) -> Option<(String, usize)> {
    (1..words.len()).find_map(|at| {
        let length = BEHIND_A_NAME.iter().find_map(|phrase| starts_with(&folded[at..], phrase))?;
        let deed = leads_to_deed(&folded[at + length..])?;
        if !is_name(words[at - 1], folded[at - 1]) {
            return None;
        }
        let has_surname = at > 1 && is_name(words[at - 2], folded[at - 2]);
        let first = if has_surname { at - 2 } else { at - 1 };
        Some((words[first..at].join(" "), at + length + deed))
    })
}

/// Somebody who is asked by name: `Ana, could you …`.
fn addressed(sentence: &str) -> Option<String> {
    let (name, rest) = sentence.split_once(',')?;
    let name = name.trim().trim_start_matches(['¿', '¡', '"', '“']);
    let parts: Vec<&str> = name.split_whitespace().collect();
    let folded: Vec<String> = parts.iter().map(|part| fold(part)).collect();
    let is_person = (1..=2).contains(&parts.len())
        && parts.iter().zip(&folded).all(|(part, folded)| is_name(part, folded));
    let asks =
        ["you", "please", "can", "could", "would", "podr", "pued", "por favor", "me ", "tu "];
    let rest = fold(rest);
    let is_asked =
        asks.iter().any(|word| rest.trim_start().trim_start_matches('¿').starts_with(word));
    (is_person && is_asked).then(|| name.to_owned())
}

fn is_name(word: &str, folded: &str) -> bool {
    let is_capital = word.chars().next().is_some_and(char::is_uppercase)
        && word.chars().skip(1).any(char::is_lowercase);
    is_capital && !is_stop_word(folded) && !NOBODY.contains(&folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_or_a_request_is_one_with_its_owner() {
        let check = |sentence: &str, expected: Option<Option<&str>>| {
            let found = promise(sentence).map(|promise| promise.owner);
            assert_eq!(found, expected.map(|owner| owner.map(str::to_owned)), "{sentence}");
        };
        check("We'll send you the data room link.", Some(None));
        check("Ana will circulate the term sheet.", Some(Some("Ana")));
        check("Luis, could you set up the call?", Some(Some("Luis")));
        check("Let’s schedule a follow-up.", Some(None));
        check("We need to get back to them on fees.", Some(None));
        check("Les voy a enviar la presentación.", Some(None));
        check("Hay que revisar el contrato.", Some(None));
        check("Te mando el PPM.", Some(None));
        check("Le enviaremos los estados financieros.", Some(None));
        check("Marta va a coordinar la visita.", Some(Some("Marta")));
    }

    #[test]
    fn what_is_to_be_done_begins_with_its_verb() {
        let check = |sentence: &str, expected: &str| {
            let promise = promise(sentence).unwrap();
            assert_eq!(&sentence[promise.deed..], expected, "{sentence}");
        };
        check("As I said, I will send it.", "send it.");
        check("Después de la reunión, te mando el PPM.", "mando el PPM.");
        check("Mañana Marta va a coordinar la visita.", "coordinar la visita.");
        check("On fees, Ana will get back to you.", "get back to you.");
    }

    #[test]
    fn what_promises_nothing_is_none() {
        for sentence in [
            "The fund will return capital over time.",
            "We will not send anything.",
            "Can you hear me?",
            "We will see what the market does.",
            "They sent the deck last week.",
            "No vamos a compartir nombres.",
            "El fondo invierte en infraestructura.",
            "",
        ] {
            assert_eq!(promise(sentence), None, "{sentence}");
        }
    }
}
