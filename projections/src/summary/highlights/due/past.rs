//! Whether a day is the one on which something happened, and so not one by which something is due: `the deck we discussed on
//! Monday`, `lo que vimos el lunes`. What can be read both ways is taken for what happened: no day is better than a wrong one.

use std::ops::RangeInclusive;

use super::super::promise::goes_on_to_deed;
use super::{DEADLINES, Word};

/// Verbs that say by themselves that something happened.
const PRETERITES: &[&str] = &[
    "spoke",
    "saw",
    "went",
    "gave",
    "wrote",
    "came",
    "took",
    "began",
    "had",
    "was",
    "were",
    "did",
    "vimos",
    "dijimos",
    "hicimos",
    "tuvimos",
    "fuimos",
    "estuvimos",
    "conocimos",
    "dimos",
    "dije",
    "dijo",
    "hice",
    "hizo",
    "tuvo",
    "estuvo",
    "fue",
    "fueron",
    "viste",
    "hablaste",
    "enviaste",
    "mandaste",
    "pediste",
    "dijiste",
    "comentaste",
    "mencionaste",
    "compartiste",
    "presentaste",
];

/// The same of any Spanish verb: `enviaron`, `pidieron`, `dijeron`.
const PRETERITE_ENDINGS: &[&str] = &["aron", "ieron", "jeron"];

/// English verbs that say what happened, and how something is or will be: `we signed it`, `the signed copy`, `it will be signed`.
const PARTICIPLES: &[&str] = &[
    "discussed",
    "sent",
    "met",
    "said",
    "told",
    "visited",
    "received",
    "agreed",
    "reviewed",
    "mentioned",
    "presented",
    "shared",
    "raised",
    "asked",
    "talked",
    "called",
    "signed",
    "emailed",
    "forwarded",
    "requested",
    "covered",
    "showed",
    "shown",
    "seen",
    "spoken",
    "written",
    "given",
    "got",
    "made",
    "held",
    "heard",
    "circulated",
    "prepared",
    "attended",
    "decided",
    "proposed",
    "submitted",
    "updated",
    "introduced",
    "announced",
    "pitched",
];

/// Spanish verbs whose past is written as their present is, without accents: behind a word such as `que` they say what happened.
const ALSO_PRESENT: &[&str] = &[
    "hablamos",
    "enviamos",
    "discutimos",
    "comentamos",
    "mandamos",
    "revisamos",
    "acordamos",
    "quedamos",
    "presentamos",
    "visitamos",
    "recibimos",
    "mencionamos",
    "compartimos",
    "platicamos",
    "conversamos",
    "firmamos",
    "reunimos",
    "llamamos",
    "tratamos",
    "analizamos",
    "pedimos",
    "envio",
    "mando",
    "comento",
    "menciono",
    "presento",
    "pidio",
    "hablo",
    "llamo",
    "compartio",
    "recibio",
];

/// What begins a clause in which [`ALSO_PRESENT`] say what happened.
const RELATIVES: &[&str] =
    &["que", "como", "cuando", "donde", "quien", "quienes", "cual", "cuales"];

/// What may stand between such a word and its verb.
const BEFORE_A_VERB: &[&str] = &[
    "nos", "les", "le", "te", "me", "lo", "la", "los", "las", "se", "os", "ya", "tambien",
    "ustedes", "nosotros", "ellos", "ella", "el", "usted", "no",
];

/// Spanish participles of what one does with words: what is `discutido` is not made so until a day.
const SPOKEN: &[&str] =
    &["discutid", "comentad", "acordad", "mencionad", "platicad", "hablad", "conversad"];

/// With a participle behind them they say what happened.
const HAVE: &[&str] = &["he", "ha", "hemos", "han", "has", "habia", "habias", "habiamos", "habian"];

/// The endings of Spanish participles.
const PARTICIPLE_ENDINGS: &[&str] = &["ado", "ido", "cho", "sto", "rto", "ito"];

/// Before one of [`PARTICIPLES`] they say that it happened.
const SUBJECTS: &[&str] = &[
    "i", "we", "they", "he", "she", "who", "which", "that", "what", "as", "have", "has", "had",
    "ve", "was", "were", "been", "d",
];

/// Before one of [`PARTICIPLES`] they say that it is no verb of the past: `the signed copy`, `it will be sent`.
const NO_SUBJECTS: &[&str] = &[
    "the", "a", "an", "this", "these", "those", "your", "our", "their", "his", "her", "my", "its",
    "all", "some", "any", "no", "be", "being", "is", "are", "get", "gets", "with", "of", "to",
    "in", "for", "and", "or", "it", "them", "him", "us", "me", "not",
];

/// They may stand before a verb and change nothing of it.
const ADVERBS: &[&str] = &[
    "just",
    "already",
    "also",
    "both",
    "all",
    "recently",
    "newly",
    "briefly",
    "only",
    "first",
    "ever",
    "previously",
    "earlier",
    "last",
];

/// With them somebody has something done, which is to come: `get the copies signed`.
const CAUSATIVES: &[&str] = &["get", "have", "need", "want"];

/// What follows a participle that says more of the word before it: `the points raised in the call`.
const BEHIND_A_PARTICIPLE: &[&str] = &[
    "on", "in", "at", "with", "by", "during", "to", "last", "for", "from", "this", "over", "about",
    "earlier",
];

/// Behind these stands when something else happens, which may be yet to come.
const AFTER: &[&str] = &["after", "despues", "tras"];

/// They join what is to be done to something else, or to what happened.
const JOINS: &[&str] = &["and", "or", "but", "y", "e", "o", "pero"];

/// They say that a time is to come, whatever happened.
const TO_COME: &[&str] =
    &["tomorrow", "next", "coming", "proximo", "proxima", "viene", "entrante", "siguiente"];

/// Whether a time says when something happened: before it, and behind the word at `from`, a verb of the past comes in the
/// same clause. The first of the words is what is to be done.
pub(super) fn is_when_it_happened(
    words: &[Word],
    from: usize,
    time: RangeInclusive<usize>,
) -> bool {
    let first = *time.start();
    if is_to_come(words, time) {
        return false;
    }
    let mut happened = false;
    for at in (from.max(1)..first).rev().take_while(|at| !words[at + 1].is_apart) {
        let word = words[at].folded.as_str();
        if AFTER.contains(&word) {
            return false;
        }
        if !happened && JOINS.contains(&word) && is_before_deed(words, at) {
            return false;
        }
        happened |= is_past(words, at, first);
    }
    happened
}

/// Whether what follows a time that a sentence begins with says what happened then: `El lunes hablamos y te mando el PPM`.
pub(super) fn has_happened(words: &[Word], time: RangeInclusive<usize>) -> bool {
    let (last, end) = (*time.end(), words.len());
    let is_one =
        |at: usize| is_past(words, at, end) || ALSO_PRESENT.contains(&words[at].folded.as_str());
    !is_to_come(words, time) && (last + 1..end).any(is_one)
}

/// Whether a time cannot have been.
fn is_to_come(words: &[Word], time: RangeInclusive<usize>) -> bool {
    let first = *time.start();
    DEADLINES.contains(&words[first].folded.as_str())
        || time.into_iter().any(|at| match words[at].folded.as_str() {
            // `esta mañana` is this morning.
            "manana" => at == 0 || words[at - 1].folded != "esta",
            word => TO_COME.contains(&word),
        })
}

/// Whether something that is to be done follows the word.
fn is_before_deed(words: &[Word], at: usize) -> bool {
    let rest: Vec<&str> = words[at + 1..].iter().map(|word| word.folded.as_str()).collect();
    goes_on_to_deed(&rest)
}

/// Whether the word is a verb of the past; the time begins at `time`.
fn is_past(words: &[Word], at: usize, time: usize) -> bool {
    let word = words[at].folded.as_str();
    let of_many = || {
        // `Aaron` is a name.
        let is_verb = word.len() > 5 && !words[at].is_capital;
        is_verb && PRETERITE_ENDINGS.iter().any(|ending| word.ends_with(ending))
    };
    PRETERITES.contains(&word)
        || of_many()
        || is_perfect(words, at)
        || is_spoken(words, at)
        || ALSO_PRESENT.contains(&word) && is_in_relative_clause(words, at)
        || PARTICIPLES.contains(&word) && is_verb(words, at, time)
}

/// `hemos enviado`
fn is_perfect(words: &[Word], at: usize) -> bool {
    let next = words.get(at + 1).map_or("", |word| word.folded.as_str());
    HAVE.contains(&words[at].folded.as_str())
        && next.len() > 4
        && PARTICIPLE_ENDINGS.iter().any(|ending| next.ends_with(ending))
}

/// `los temas discutidos`, but not `será discutido`.
fn is_spoken(words: &[Word], at: usize) -> bool {
    let is_one = |stem: &&str| {
        let ending = words[at].folded.strip_prefix(*stem);
        ending.is_some_and(|it| ["o", "a", "os", "as"].contains(&it))
    };
    let before = at.checked_sub(1).map_or("", |at| words[at].folded.as_str());
    SPOKEN.iter().any(is_one) && !before.starts_with("ser")
}

fn is_in_relative_clause(words: &[Word], at: usize) -> bool {
    let mut before = words[..at].iter().rev();
    let is_between = |it: &&Word| it.is_capital || BEFORE_A_VERB.contains(&it.folded.as_str());
    before
        .find(|it| !is_between(it) || RELATIVES.contains(&it.folded.as_str()))
        .is_some_and(|it| RELATIVES.contains(&it.folded.as_str()))
}

/// Whether one of [`PARTICIPLES`] says what happened.
fn is_verb(words: &[Word], at: usize, time: usize) -> bool {
    let before = (0..at).rev().find(|at| !ADVERBS.contains(&words[*at].folded.as_str()));
    // Behind what is to be done there is its object: `send signed copies`.
    let Some(before) = before.filter(|before| *before > 0) else { return false };
    let subject = &words[before];
    match subject.folded.as_str() {
        it if SUBJECTS.contains(&it) => true,
        it if NO_SUBJECTS.contains(&it) => false,
        _ if is_caused(&words[..before]) => false,
        "you" => before > 1,
        _ => {
            let next = words.get(at + 1).map_or("", |word| word.folded.as_str());
            let says_more = at + 1 == time || BEHIND_A_PARTICIPLE.contains(&next);
            says_more || subject.is_capital && before > 1
        }
    }
}

/// Whether somebody has something done: `get the copies`, but not `get you the copies`.
fn is_caused(words: &[Word]) -> bool {
    let is_one = |at: &usize| {
        let is_given = words.get(at + 1).is_some_and(|it| it.folded == "you");
        CAUSATIVES.contains(&words[*at].folded.as_str()) && !is_given
    };
    (0..words.len()).any(|at| is_one(&at))
}

#[cfg(test)]
mod tests {
    use super::super::{due, due_first};

    fn check(sentence: &str, expected: Option<&str>) {
        assert_eq!(due(sentence).as_deref(), expected, "{sentence}");
    }

    #[test]
    fn the_day_on_which_something_happened_is_none_by_which_it_is_due() {
        for sentence in [
            "send the deck we discussed on Monday.",
            "send the deck that we briefly discussed with Ana and Luis on Monday.",
            "share what Ana said on Tuesday.",
            "check the numbers you sent me on Friday.",
            "send you the list Ana asked for on Monday",
            "follow up on the points raised in the call on Monday.",
            "send the minutes of the call we had on Thursday.",
            "write to the people we met this week",
            "call the LP we saw on 3 June.",
            "share what we spoke about today",
            "send the notes of the fund they visited in March.",
            "forward the deck as discussed on Monday.",
            "send what has been agreed on Monday.",
            "mando la presentación de la que hablamos el lunes.",
            "mando lo que vimos el lunes.",
            "mando el PPM que les enviamos el viernes.",
            "revisar lo que discutimos el jueves.",
            "enviar el contrato que nos mandaron el martes.",
            "enviar los puntos que Ana comentó el lunes.",
            "enviar lo que hemos visto el lunes.",
            "enviar los temas discutidos el lunes.",
            "enviar el acta como quedamos el lunes.",
            "enviar lo que vimos esta mañana.",
        ] {
            check(sentence, None);
        }
    }

    #[test]
    fn a_day_to_come_is_due_whatever_happened_before() {
        check("send it on Monday.", Some("on Monday"));
        check("send the deck we discussed by Friday.", Some("by Friday"));
        check("send the deck we discussed tomorrow.", Some("tomorrow"));
        check("send the deck we discussed next week.", Some("next week"));
        check("send the deck we discussed on Monday by Friday.", Some("by Friday"));
        check("send what we discussed, on Friday.", Some("on Friday"));
        check("send what we discussed and call you on Friday.", Some("on Friday"));
        check("send what we discussed and I will call you on Friday.", Some("on Friday"));
        check("send the updated deck on Monday.", Some("on Monday"));
        check("send signed copies on Monday.", Some("on Monday"));
        check("send you updated numbers on Monday.", Some("on Monday"));
        check("send Ana signed copies on Monday.", Some("on Monday"));
        check("get it sent on Monday.", Some("on Monday"));
        check("get the copies signed on Monday.", Some("on Monday"));
        check("check that it will be sent on Monday.", Some("on Monday"));
        check(
            "send it after they have signed on Friday.",
            Some("after they have signed on Friday"),
        );
        check("enviamos el PPM el lunes.", Some("el lunes"));
        check("mando el PPM el lunes.", Some("el lunes"));
        check("mando lo que vimos antes del viernes.", Some("antes del viernes"));
        check("mando lo que vimos mañana.", Some("mañana"));
        check("mando lo que vimos el lunes antes del viernes.", Some("antes del viernes"));
        check("check whether they had questions and send it on Monday.", Some("on Monday"));
        check("get back to you, as agreed, on Monday.", Some("on Monday"));
        check("mando lo que vimos y te llamo el viernes.", Some("el viernes"));
        check("enviar el contrato firmado el viernes.", Some("el viernes"));
        check("revisar lo que será discutido el lunes.", Some("el lunes"));
        check("llamar a Aaron el lunes.", Some("el lunes"));
    }

    #[test]
    fn a_sentence_may_begin_with_the_day_on_which_something_happened() {
        let check = |before: &str, expected: Option<&str>| {
            assert_eq!(due_first(before).as_deref(), expected, "{before}");
        };
        check("El lunes hablamos y te", None);
        check("Today Ana spoke and will", None);
        check("El lunes te", Some("El lunes"));
        check("Today Ana will", Some("Today"));
        check("Mañana hablamos y te", Some("Mañana"));
    }
}
