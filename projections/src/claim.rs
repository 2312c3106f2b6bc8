//! Whether texts bear a sentence out, as far as words tell: its names, its numbers, and what it speaks of.
//!
//! Words of two languages cannot be compared, but names and numbers can. Nothing here understands what is said: a sentence that
//! turns round what its source says has the words of it.

mod initials;
mod neutral;

use std::collections::BTreeSet;
use std::fmt;

use crate::prose::{Number, Numbers, fold, is_stop_word, is_unseen, sentences, stem, words};
use initials::{acronym, acronyms, acronyms_of, phrases, terms_of};
use neutral::{is_money, is_mute, translations};

/// One in so many of the words of a sentence must be of its sources or of the question.
const ONE_IN: usize = 3;

/// From so many letters on, what two words begin with tells that they are forms of one.
const FORM: usize = 4;

/// Likewise of names, which `Carlos` and `Carla` are two of.
const FORM_OF_NAME: usize = 5;

/// What texts say, as sentences are compared with it.
pub(crate) struct Ground {
    words: BTreeSet<String>,
    /// Of the words that say something.
    stems: BTreeSet<String>,
    /// Words that begin with a capital somewhere, those that do so inside a sentence, and those that do not somewhere.
    capitals: BTreeSet<String>,
    names: BTreeSet<String>,
    small: BTreeSet<String>,
    numbers: Numbers,
    /// All of it without what separates words, for names that are written in one word or in two.
    joined: String,
    /// The first letters of all words, and of those that say something.
    initials: [String; 2],
    /// Those of two words that stand side by side, both with a capital.
    pairs: BTreeSet<String>,
    /// What is written as an acronym.
    acronyms: BTreeSet<String>,
}

impl Ground {
    /// Of these texts.
    pub(crate) fn of<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> Self {
        let cut: Vec<String> = texts.clone().flat_map(words).collect();
        let telling = || cut.iter().filter(|word| !is_stop_word(word));
        let (capitals, small): (Vec<&str>, Vec<&str>) =
            texts.clone().flat_map(raw_words).partition(|word| is_capital(word));
        let initials = |word: &String| word.chars().next();
        Self {
            stems: telling().map(|word| stem(word).to_owned()).collect(),
            capitals: capitals.into_iter().map(fold).collect(),
            small: small.into_iter().map(fold).collect(),
            names: texts
                .clone()
                .flat_map(inside)
                .filter(|word| is_capital(word))
                .map(fold)
                .collect(),
            joined: cut.concat(),
            initials: [
                cut.iter().filter_map(initials).collect(),
                telling().filter_map(initials).collect(),
            ],
            pairs: texts.clone().flat_map(phrases).flat_map(|it| it.pairs()).collect(),
            acronyms: texts.clone().flat_map(acronyms).collect(),
            numbers: texts.map(Numbers::of).collect(),
            words: cut.into_iter().collect(),
        }
    }

    /// Whether this name, folded, stands in them: in another form, as initials, in one word with others, or translated too.
    fn has_name(&self, name: &Name) -> bool {
        let Name { folded, acronym, .. } = name;
        let is_joined = folded.chars().count() >= FORM_OF_NAME && self.joined.contains(folded);
        let is_initials = acronym.as_ref().is_some_and(|acronym| self.spells_out(acronym));
        // A word like others, written as a title.
        let least = |word: &String| if self.small.contains(word) { FORM } else { FORM_OF_NAME };
        is_joined
            || is_initials
            || self.has_initials_of(name)
            || self.words.iter().any(|word| are_forms(word, folded, least(word)))
            || translations(folded).any(|other| self.words.contains(other))
    }

    /// Whether words that these are the initials of stand there. Of two letters that is so in any longer text: the words are names,
    /// or a term.
    fn spells_out(&self, acronym: &str) -> bool {
        match acronym.chars().count() {
            0..=2 => {
                self.pairs.contains(acronym)
                    || terms_of(acronym).any(|term| self.joined.contains(&term.concat()))
            }
            _ => self.initials.iter().any(|initials| initials.contains(acronym)),
        }
    }

    /// Whether the words that the name is one of stand there as an acronym. One of two letters may be that of other words, unless
    /// they are a term, or one of them is there as well.
    fn has_initials_of(&self, name: &Name) -> bool {
        name.phrases.iter().any(|words| {
            let initials: String = words.iter().filter_map(|word| word.chars().next()).collect();
            let is_known = words.len() > 2 || words.iter().any(|word| self.has_word(word));
            is_known && self.acronyms.contains(&initials)
                || acronyms_of(words).any(|acronym| self.acronyms.contains(acronym))
        })
    }

    fn has_word(&self, word: &str) -> bool {
        self.words.contains(word) || self.stems.iter().any(|it| are_forms(it, stem(word), FORM))
    }
}

/// Whether two words are forms of one: a plural of the other, or with a beginning of so many letters in common that one of them
/// goes on for no more than an ending.
fn are_forms(one: &str, other: &str, least: usize) -> bool {
    /// The longest ending that makes another form of a stem.
    const ENDING: usize = 4;
    let plural = |word: &str, of: &str| matches!(word.strip_prefix(of), Some("s" | "es"));
    let begins = |word: &str, of: &str| {
        let rest = word.strip_prefix(of).map(|rest| rest.chars().count());
        of.chars().count() >= least && rest.is_some_and(|rest| rest <= ENDING)
    };
    one == other
        || plural(one, other)
        || plural(other, one)
        || begins(one, stem(other))
        || begins(other, stem(one))
}

/// A name in a sentence.
struct Name {
    written: String,
    folded: String,
    /// If it may be one.
    acronym: Option<String>,
    /// The names of several words that it may be one of.
    phrases: Vec<Vec<String>>,
}

/// What a sentence has and others do not, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stray<'a> {
    Name(&'a str),
    Number(&'a str),
}

impl fmt::Display for Stray<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stray::Name(name) => write!(f, "the name {name}"),
            Stray::Number(number) => write!(f, "the number {number}"),
        }
    }
}

/// What a sentence says.
pub(crate) struct Claim {
    names: Vec<Name>,
    numbers: Numbers,
    /// Words that say something and are no names, folded, each once.
    words: BTreeSet<String>,
}

impl Claim {
    /// Of a sentence that cites these sources. Its first word has a capital anyway: it is a name if they write it with one too, or
    /// other texts do inside a sentence.
    pub(crate) fn of(sentence: &str, sources: &Ground, others: &[&Ground]) -> Self {
        let (mut names, mut said) = (Vec::new(), BTreeSet::new());
        let numbers = Numbers::of(sentence);
        let phrases = phrases(sentence);
        for (place, word) in raw_words(sentence).enumerate() {
            let folded = fold(word);
            let is_number = word.starts_with(char::is_numeric) || numbers.has_word(&folded);
            if is_number || is_stop_word(&folded) || is_mute(&folded) {
                continue;
            }
            let has_inner_capital = word.chars().skip(1).any(char::is_uppercase);
            let is_written_so = || {
                sources.capitals.contains(&folded)
                    || others.iter().any(|text| text.names.contains(&folded))
            };
            let is_name = has_inner_capital || is_capital(word) && (place > 0 || is_written_so());
            if is_name && !is_money(&folded) {
                let phrases = phrases.iter().flat_map(|it| it.around(place)).collect();
                let acronym = acronym(word);
                names.push(Name { written: word.to_owned(), folded, acronym, phrases });
            } else {
                said.insert(folded);
            }
        }
        // Initials of people stand for names that are beside them.
        names.retain(|name| name.folded.chars().nth(1).is_some());
        said.retain(|word| word.chars().nth(1).is_some());
        Self { names, numbers, words: said }
    }

    /// Whether all of its names and numbers are known from these texts.
    pub(crate) fn has_no_other(&self, texts: &[&Ground]) -> bool {
        self.stray(texts).is_none()
    }

    /// The first of its names and numbers that none of these texts has.
    pub(crate) fn stray(&self, texts: &[&Ground]) -> Option<Stray<'_>> {
        let has_name = |name: &&Name| texts.iter().any(|text| text.has_name(name));
        let has_number = |number: &&Number| texts.iter().any(|text| text.numbers.bear_out(number));
        let name = self.names.iter().find(|name| !has_name(name));
        let number = || self.numbers.telling().find(|number| !has_number(number));
        let name = name.map(|name| Stray::Name(&name.written));
        name.or_else(|| number().map(|number| Stray::Number(number.as_written())))
    }

    /// Whether a name or a number of it stands in these texts.
    pub(crate) fn is_named_in(&self, sources: &Ground) -> bool {
        self.names.iter().any(|name| sources.has_name(name))
            || self.numbers.telling().any(|number| sources.numbers.bear_out(number))
    }

    /// Whether it speaks of something that the sources speak of, and of little that neither they nor the question do.
    pub(crate) fn is_spoken_of(&self, sources: &Ground, question: &Ground) -> bool {
        let is_in_sources = |word: &String| sources.has_word(word);
        let is_known = |word: &&String| is_in_sources(word) || question.has_word(word);
        let known = self.words.iter().filter(is_known).count();
        let has_grounds = match self.words.is_empty() {
            true => self.is_named_in(sources),
            false => self.words.iter().any(is_in_sources),
        };
        has_grounds && known * ONE_IN >= self.words.len()
    }
}

/// The words of a text as they are written.
fn raw_words(text: &str) -> impl Iterator<Item = &str> {
    let separates = |letter: char| !letter.is_alphanumeric() && !is_unseen(letter);
    text.split(separates).filter(|word| !word.is_empty())
}

/// The words of a text but for those that begin a sentence. A title is none.
fn inside(text: &str) -> Vec<&str> {
    let sentences = sentences(text);
    let is_title = sentences.len() == 1 && !text.trim_end().ends_with(['.', '!', '?']);
    let first = usize::from(!is_title);
    sentences.into_iter().flat_map(|sentence| raw_words(sentence).skip(first)).collect()
}

fn is_capital(word: &str) -> bool {
    word.starts_with(char::is_uppercase)
}
