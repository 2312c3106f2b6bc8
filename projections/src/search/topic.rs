//! What a question asks about somebody: `Tlaxcalteca forest fires` names an organisation, and the rest is what was said with it.
//!
//! The name draws the vector of a question towards itself, and of an organisation with many notes all are near to it. So the rest is
//! looked for once more, by meaning, among what is linked to whoever is named.

use std::collections::BTreeSet;

use domain::RecordRef;

use super::asked::Asked;
use super::highlight::{Sought, Wanted};
use super::lexical::Titled;
use super::spelling;
use super::words::{asked, is_telling};
use crate::prose::fold;

/// The most records that a name may stand for. What more are called is no name but a kind of thing.
const MOST: usize = 3;

/// How many letters a word has that may be somebody's name.
const LETTERS: usize = 3;

/// How many letters a word has that is no number, initials or short form of a name.
const LONG: usize = 6;

/// A question taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    /// Who is named.
    pub(super) about: Vec<RecordRef>,
    /// The question without the name.
    pub(super) rest: String,
}

impl Topic {
    /// What is asked about which of these, if the question names one and says something else too. `is_usual` tells of a word whether
    /// it is one that anybody uses: such words do not name anybody by themselves unless they are written so.
    pub(super) fn of(
        asked: &Asked,
        named: &[Titled],
        is_usual: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        let pieces = pieces(&asked.text);
        let meant = |word: &str| -> String {
            let corrected = asked.corrections.iter().find(|it| it.typed == word);
            corrected.map_or(word, |it| &it.word).to_owned()
        };
        let in_name = |name: &str| -> BTreeSet<usize> {
            let name = spelling::words(name);
            let has = |word: &str| name.contains(&word) || name.contains(&&*meant(word));
            let places = pieces.iter().enumerate().filter(|(_, (_, word))| has(word));
            places.map(|(at, _)| at).collect()
        };
        let letters = |places: &BTreeSet<usize>| {
            places.iter().map(|at| pieces[*at].1.chars().count()).sum::<usize>()
        };
        let found: Vec<(RecordRef, BTreeSet<usize>)> =
            named.iter().map(|(record, name)| (*record, in_name(name))).collect();
        let best = found.iter().map(|(_, places)| places).max_by_key(|places| letters(places))?;
        let tells_who = |at: &usize| {
            let (piece, word) = &pieces[*at];
            word.chars().count() >= LETTERS && (is_capital(piece, *at, &pieces) || !is_usual(word))
        };
        if !best.iter().any(tells_who) {
            return None;
        }
        let mut about: Vec<RecordRef> =
            found.iter().filter(|(_, places)| places == best).map(|(record, _)| *record).collect();
        about.sort_unstable();
        about.dedup();
        let others = pieces.iter().enumerate().filter(|(at, _)| !best.contains(at));
        let rest: String = others.map(|(_, (piece, _))| *piece).collect();
        let rest = rest.trim().to_owned();
        let is_subject = |word: &str| {
            let letters = word.chars().filter(|c| c.is_alphabetic()).count();
            letters >= LONG || (letters > LETTERS && is_usual(word))
        };
        let says_more = is_telling(&rest)
            && spelling::words(&fold(&rest)).into_iter().any(|it| is_telling(it) && is_subject(it));
        (about.len() <= MOST && says_more).then_some(Self { about, rest })
    }

    /// Whether the rest only describes who is meant (`sovereign wealth Abu Dhabi`): their card has half of its words at least.
    pub(super) fn is_description(&self, card: &str) -> bool {
        let words = asked(&self.rest);
        let wanted: Vec<Wanted> = words.iter().map(|lexemes| Wanted::new(lexemes, 1.0)).collect();
        let sought = Sought::of(&wanted);
        let had = sought.tally(card).has().filter(|has| *has).count();
        had * 2 >= wanted.len()
    }
}

/// A text in pieces of a word and what follows it, each with its word, folded.
pub(super) fn pieces(text: &str) -> Vec<(&str, String)> {
    let is_sign = |c: char| !c.is_alphanumeric();
    let pieces = text.split_inclusive(is_sign);
    pieces.map(|piece| (piece, fold(piece.trim_end_matches(is_sign)))).collect()
}

/// Whether a word is written as a name is, where that says something: not where a sentence begins, nor where all words are.
fn is_capital(piece: &str, at: usize, pieces: &[(&str, String)]) -> bool {
    let begins_so = |piece: &str| piece.starts_with(char::is_uppercase);
    let others =
        pieces.iter().enumerate().filter(|(other, (_, word))| *other != at && !word.is_empty());
    let has_small = others.clone().any(|(_, (piece, _))| piece.starts_with(char::is_lowercase));
    begins_so(piece) && has_small && at > 0
}

#[cfg(test)]
mod tests {
    use domain::Kind;

    use super::*;
    use crate::search::asked::Correction;

    const USUAL: [&str; 11] = [
        "fund",
        "fees",
        "taxes",
        "fires",
        "crypto",
        "horizonte",
        "leverage",
        "what",
        "say",
        "about",
        "infrastructure",
    ];

    fn of(question: &str, names: &[&str]) -> Option<(usize, String)> {
        let named: Vec<Titled> =
            (1..).zip(names).map(|(id, name)| (Kind::Lp.record(id), (*name).to_owned())).collect();
        let topic = Topic::of(&Asked::of(question), &named, |word| USUAL.contains(&word))?;
        Some((topic.about.len(), topic.rest))
    }

    #[test]
    fn a_question_is_whom_it_names_and_what_it_says_beside_that() {
        let check = |question: &str, names: &[&str], about: usize, rest: &str| {
            assert_eq!(of(question, names), Some((about, rest.to_owned())), "{question}");
        };
        check("tlaxcalteca forest fires", &["grupo tlaxcalteca"], 1, "forest fires");
        check(
            "What did Grupo Tlaxcalteca say about forest fires?",
            &["grupo tlaxcalteca", "grupo norte"],
            1,
            "What did say about forest fires?",
        );
        check("fees of Horizonte", &["afore horizonte", "horizonte ii"], 2, "fees of");
        check("Zurbarán, crypto", &["zurbaran capital"], 1, "crypto");
    }

    #[test]
    fn what_names_nobody_or_nothing_else_or_too_many_has_no_topic() {
        assert_eq!(of("grupo tlaxcalteca", &["grupo tlaxcalteca"]), None);
        assert_eq!(of("the Tlaxcalteca", &["grupo tlaxcalteca"]), None);
        assert_eq!(of("horizonte taxes", &["afore horizonte"]), None);
        assert_eq!(of("infrastructure fees", &["andes infrastructure ii"]), None);
        assert_eq!(of("fees of the quillayute", &[]), None);
        for rest in ["MJ", "8", "VI", "Opps", "DL IV"] {
            assert_eq!(of(&format!("Quillayute {rest}"), &["quillayute trust"]), None, "{rest}");
        }
        assert_eq!(of("zurich fees", &["zurich a", "zurich b", "zurich c", "zurich d"]), None);
    }

    #[test]
    fn what_the_card_says_as_well_is_no_topic() {
        let card = "Abu Rashid Investment Authority\nAbu Dhabi\nSovereign";
        let check = |rest: &str, expected: bool| {
            let topic = Topic { about: vec![], rest: rest.to_owned() };
            assert_eq!(topic.is_description(card), expected, "{rest}");
        };
        check("sovereign wealth", true);
        check("the sovereigns", true);
        check("sovereign wealth limits", false);
        check("hedging", false);
    }

    #[test]
    fn a_mistyped_name_is_one() {
        let named = [(Kind::Lp.record(1), "quillayute trust".to_owned())];
        let correction = Correction { typed: "quilayute".into(), word: "quillayute".into() };
        let asked = Asked { corrections: vec![correction], ..Asked::of("quilayute leverage") };
        let topic = Topic::of(&asked, &named, |word| word == "leverage").unwrap();
        assert_eq!((topic.about.len(), topic.rest.as_str()), (1, "leverage"));
    }
}
