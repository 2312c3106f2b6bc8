//! Where the words of a question stand in a text, and how often: for what is shown, and for the order of hits.
//!
//! Postgres knows which passages have a word, but not where. Here a word of the text counts as the asked one if either
//! language stems it to the same.

use std::collections::HashSet;
use std::ops::Range;

use super::spelling;
use super::words::{Compound, beside_words, compounds, has_stem, is_form};
use crate::prose::{cut, fold, fold_into, is_unparted, is_unseen};

/// How many letters of a stem all forms of a word begin with.
const SURE: usize = 3;

/// The most places that are shown in one text.
const SHOWN: usize = 50;

/// A word that is looked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    /// What it is stemmed to, folded; several where two languages do it differently.
    stems: Vec<String>,
    /// What all its forms begin with, so that few words of a text have to be stemmed.
    beginnings: Vec<String>,
    /// How much it says that a text has it.
    pub(super) weight: f64,
    /// For how much of its weight it counts where it stands: less than 1 if it is only what was probably meant.
    share: f64,
}

impl Wanted {
    /// A word by its lexemes.
    pub(super) fn new(lexemes: &[String], weight: f64) -> Self {
        let stems: Vec<String> = lexemes.iter().filter(|it| !it.is_empty()).cloned().collect();
        // A `y` may be an `i` in the stem, and an `e` be left out of it.
        let beginning = |stem: &String| {
            let first: String = stem.chars().take(SURE).collect();
            let cut = first.trim_end_matches(['e', 'i']);
            if cut.chars().count() > 1 { cut.to_owned() } else { first }
        };
        let mut beginnings: Vec<String> = stems.iter().map(beginning).collect();
        beginnings.sort_unstable();
        // One that begins with another finds nothing that the other does not.
        beginnings.dedup_by(|later, earlier| later.starts_with(earlier.as_str()));
        Self { stems, beginnings, weight, share: 1.0 }
    }

    /// Whether it may be a compound.
    fn is_compound(&self) -> bool {
        self.stems.iter().any(|stem| is_form(stem))
    }

    /// Whether it is looked for by this form of a compound.
    fn is_form(&self, form: &str) -> bool {
        self.stems.iter().any(|stem| stem == form)
    }

    /// Whether a word of a text, folded, is this one.
    pub(super) fn is(&self, word: &str) -> bool {
        self.beginnings.iter().any(|it| word.starts_with(it.as_str()))
            && has_stem(word, &self.stems)
    }

    /// The same word, counting for a part of its weight where it stands.
    pub(super) fn counting(self, share: f64) -> Self {
        Self { share, ..self }
    }

    /// Whether a word of a name, folded, is this one, mistyped.
    pub(super) fn is_like(&self, word: &str) -> bool {
        self.stems.iter().any(|stem| spelling::is_like(stem, word))
    }
}

/// The words of a text, folded.
struct Words {
    folded: String,
    /// Where each stands: in the text, in characters, and in what is folded, in bytes.
    places: Vec<(Range<usize>, Range<usize>)>,
}

/// What stands right before a character, as words are cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Word,
    /// The first character of those that are taken in pairs.
    One,
    /// A pair, and where its second character stands: in the text, in characters, and in what is folded, in bytes.
    Pair {
        at: usize,
        begin: usize,
    },
}

impl Words {
    fn of(text: &str) -> Self {
        let mut words = Self { folded: String::with_capacity(text.len()), places: Vec::new() };
        let mut before = Before::Nothing;
        for (at, c) in text.chars().enumerate() {
            let is_of_word = c.is_alphanumeric() || is_unseen(c);
            let start = words.folded.len();
            if is_of_word {
                fold_into(c, &mut words.folded);
            }
            let end = words.folded.len();
            let last = words.places.last_mut();
            if !is_of_word {
                before = Before::Nothing;
                continue;
            }
            // An accent by itself, of Latin or of a narrow syllable of Japanese.
            if start == end {
                if let (Some((within, _)), true) = (last, before != Before::Nothing) {
                    within.end = at + 1;
                }
                continue;
            }
            before = match (before, words.folded[start..].starts_with(is_unparted), last) {
                (Before::Word, false, Some((within, bytes))) => {
                    (within.end, bytes.end) = (at + 1, end);
                    Before::Word
                }
                (Before::One, true, Some((within, bytes))) => {
                    (within.end, bytes.end) = (at + 1, end);
                    Before::Pair { at, begin: start }
                }
                (Before::Pair { at: second, begin }, true, _) => {
                    words.places.push((second..at + 1, begin..end));
                    Before::Pair { at, begin: start }
                }
                (_, is_unparted, _) => {
                    words.places.push((at..at + 1, start..end));
                    if is_unparted { Before::One } else { Before::Word }
                }
            };
        }
        words
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|(_, bytes)| &self.folded[bytes.clone()])
    }
}

/// Words that are looked for in many texts.
pub(super) struct Sought<'a> {
    wanted: &'a [Wanted],
    /// Which first two bytes a word has that may be one of them, so that most words cost one look: a bit for each two.
    beginnings: Vec<u64>,
}

impl<'a> Sought<'a> {
    pub(super) fn of(wanted: &'a [Wanted]) -> Self {
        let mut beginnings = vec![0; (1 << 16) / 64];
        for beginning in wanted.iter().flat_map(|wanted| &wanted.beginnings) {
            let seconds = match *beginning.as_bytes() {
                [] => continue,
                [_] => 0..=u8::MAX,
                [_, second, ..] => second..=second,
            };
            for second in seconds {
                let at = usize::from(beginning.as_bytes()[0]) << 8 | usize::from(second);
                beginnings[at / 64] |= 1 << (at % 64);
            }
        }
        Self { wanted, beginnings }
    }

    /// Whether a word, folded, begins as any of them does.
    fn may_be(&self, word: &str) -> bool {
        let (first, second) = match *word.as_bytes() {
            [] => return false,
            [first] => (first, 0),
            [first, second, ..] => (first, second),
        };
        let at = usize::from(first) << 8 | usize::from(second);
        self.beginnings[at / 64] >> (at % 64) & 1 == 1
    }

    /// How often a text has each.
    pub(super) fn tally(&self, text: &str) -> Tally<'a> {
        let (mut times, mut length) = (vec![0; self.wanted.len()], 0);
        let folded = fold(text);
        for word in cut(&folded) {
            length += 1;
            if self.may_be(word) {
                for (times, wanted) in times.iter_mut().zip(self.wanted) {
                    *times += usize::from(wanted.is(word));
                }
            }
        }
        if self.wanted.iter().any(Wanted::is_compound) {
            let compounds: Vec<Compound> =
                compounds(text).into_iter().chain(beside_words(&folded)).collect();
            for (times, wanted) in times.iter_mut().zip(self.wanted) {
                let is_it = |it: &&Compound| it.forms.iter().any(|form| wanted.is_form(form));
                *times += compounds.iter().filter(is_it).count();
            }
        }
        Tally { wanted: self.wanted, times, length }
    }
}

/// How often a text has each word that is looked for.
pub(super) struct Tally<'a> {
    wanted: &'a [Wanted],
    times: Vec<usize>,
    /// How many words the text has.
    length: usize,
}

impl<'a> Tally<'a> {
    /// Takes these words, by their places among those that are looked for, as if the text had each of them once at least.
    pub(super) fn say(&mut self, places: &HashSet<usize>) {
        for at in places {
            if let Some(times) = self.times.get_mut(*at) {
                *times = 1.max(*times);
            }
        }
    }

    /// What each word counts for that the text has, and how often it has it.
    fn iter(&self) -> impl Iterator<Item = (f64, usize)> {
        let weight = |wanted: &Wanted| wanted.weight * wanted.share;
        self.wanted.iter().map(weight).zip(self.times.iter().copied())
    }

    /// How well the text answers by its words, as BM25 has it: often is better than once, but not much, and of a short text
    /// more than of a long one.
    pub(super) fn relevance(&self) -> f64 {
        /// What the second time a word is there counts for.
        const SATURATION: f64 = 1.2;
        /// How much the length of a text matters, and what length is usual, in words.
        const BY_LENGTH: f64 = 0.3;
        const USUAL: f64 = 150.0;
        #[allow(clippy::cast_precision_loss, reason = "texts are not that long")]
        let count = |many: usize| many as f64;
        let damping = SATURATION * (1.0 - BY_LENGTH + BY_LENGTH * count(self.length) / USUAL);
        let part = |(weight, times): (f64, usize)| {
            weight * count(times) * (SATURATION + 1.0) / (count(times) + damping)
        };
        self.iter().map(part).sum()
    }

    /// Of each word that is looked for, whether the text has it.
    pub(super) fn has(&self) -> impl Iterator<Item = bool> {
        self.times.iter().map(|times| *times > 0)
    }

    /// Which share of what is looked for the text has, from 0 to 1: each word counts for as much as it says. So does one that
    /// no text has, so that of a question in another language a name in common is a small share.
    pub(super) fn coverage(&self) -> f64 {
        let all: f64 = self.wanted.iter().map(|wanted| wanted.weight).sum();
        let there: f64 =
            self.iter().filter(|(_, times)| *times > 0).map(|(weight, _)| weight).sum();
        if all > 0.0 { there / all } else { 0.0 }
    }
}

/// Where words that are looked for and quotations stand, in characters, in order and apart from each other.
pub(super) fn highlights(text: &str, wanted: &[Wanted], quoted: &[String]) -> Vec<[usize; 2]> {
    let words = Words::of(text);
    let places = words.places.iter().map(|(within, _)| within);
    let is_wanted = |word: &str| wanted.iter().any(|wanted| wanted.is(word));
    let mut found: Vec<Range<usize>> = places
        .zip(words.iter())
        .filter(|(_, word)| is_wanted(word))
        .map(|(place, _)| place.clone())
        .collect();
    if wanted.iter().any(Wanted::is_compound) {
        let is_wanted = |it: &Compound| {
            it.forms.iter().any(|form| wanted.iter().any(|wanted| wanted.is_form(form)))
        };
        let chars = |bytes: usize| text[..bytes].chars().count();
        let all = compounds(text).into_iter().chain(beside_words(text));
        let places = all.filter(is_wanted).map(|it| it.place);
        found.extend(places.map(|place| chars(place.start)..chars(place.end)));
    }
    for phrase in quoted {
        found.extend(occurrences(&words, &Words::of(phrase)));
    }
    found.sort_by_key(|range| (range.start, range.end));
    let mut apart: Vec<[usize; 2]> = Vec::new();
    for Range { start, end } in found {
        match apart.last_mut() {
            Some(last) if start <= last[1] => last[1] = last[1].max(end),
            _ => apart.push([start, end]),
        }
    }
    apart.truncate(SHOWN);
    apart
}

/// Where the words of a phrase follow each other.
fn occurrences(words: &Words, phrase: &Words) -> Vec<Range<usize>> {
    let sought: Vec<&str> = phrase.iter().collect();
    if sought.is_empty() {
        return vec![];
    }
    let said: Vec<&str> = words.iter().collect();
    let span =
        |window: &[(Range<usize>, Range<usize>)]| window[0].0.start..window[window.len() - 1].0.end;
    said.windows(sought.len())
        .zip(words.places.windows(sought.len()))
        .filter(|(window, _)| *window == sought)
        .map(|(_, places)| span(places))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(lexemes: &[&[&str]]) -> Vec<Wanted> {
        let word = |lexemes: &&[&str]| {
            Wanted::new(&lexemes.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>(), 1.0)
        };
        lexemes.iter().map(word).collect()
    }

    fn shown(text: &str, wanted: &[Wanted], quoted: &[&str]) -> Vec<String> {
        let quoted: Vec<String> = quoted.iter().map(|it| (*it).to_owned()).collect();
        let cut = |[from, to]: [usize; 2]| text.chars().skip(from).take(to - from).collect();
        highlights(text, wanted, &quoted).into_iter().map(cut).collect()
    }

    #[test]
    fn words_are_shown_in_every_form_and_with_every_accent() {
        let check = |text: &str, lexemes: &[&str], expected: &[&str]| {
            assert_eq!(shown(text, &wanted(&[lexemes]), &[]), expected, "{text}");
        };
        check(
            "Hedging, hedged; a hedge. Hedgehog",
            &["hedg", "hedging"],
            &["Hedging", "hedged", "hedge"],
        );
        check(
            "currency and Currencies, current",
            &["currenc", "currency"],
            &["currency", "Currencies"],
        );
        check("Company companies companion", &["compani", "company"], &["Company", "companies"]);
        check(
            "la pensión, las pensiones 🙂 PENSIÓN",
            &["pension"],
            &["pensión", "pensiones", "PENSIÓN"],
        );
        check("Nu\u{301}n\u{303}ez nun", &["nunez"], &["Nu\u{301}n\u{303}ez"]);
        check("国民年金公団、第3年金基金", &["年金"], &["年金", "年金"]);
        check("국민연금공단은", &["연금"], &["연금"]);
        check("ﾎﾝﾀﾞｶ ﾆｯｾｲ", &["ンタ"], &["ﾝﾀﾞ"]);
        check("ﾎﾝﾀﾞｶ ﾆｯｾｲ", &["タカ"], &["ﾀﾞｶ"]);
        check("oil and P&Gs, AT & T's", &["at&t"], &["AT & T"]);
        check("a fundamental fund", &["fund", "funds"], &["fund"]);
        check("co-investment costs could", &["co"], &["co"]);
        check(
            "capability, capabilities, capable; capital",
            &["capabl"],
            &["capability", "capabilities", "capable"],
        );
        check("preferente, preferencia; prefieren", &["preferent"], &["preferente", "preferencia"]);
        check("it flies, they fly; flight", &["fli"], &["flies", "fly"]);
        check("Inversiones, inversión; invertir", &["inversion"], &["Inversiones", "inversión"]);
        check("nin\u{303}o", &["nin"], &["nin\u{303}o"]);
        check("", &["x"], &[]);
        check("nothing of it", &[], &[]);
    }

    #[test]
    fn a_quotation_is_shown_as_a_whole() {
        let text = "On currency  hedging: Currency Hedging costs.";
        assert_eq!(
            shown(text, &[], &["currency hedging"]),
            ["currency  hedging", "Currency Hedging"]
        );
        let words = wanted(&[&["cost"], &["hedg"]]);
        assert_eq!(shown(text, &words, &["hedging costs"]), ["hedging", "Hedging costs"]);
        assert_eq!(shown(text, &[], &["!"]), Vec::<String>::new());
    }

    #[test]
    fn a_text_has_the_larger_share_of_a_question_by_its_rarer_words() {
        let mut wanted = wanted(&[&["fund"], &["quetzal"]]);
        wanted[0].weight = 0.5;
        wanted[1].weight = 4.5;
        let check = |text: &str, share: f64| {
            assert!((Sought::of(&wanted).tally(text).coverage() - share).abs() < 1e-9, "{text}");
        };
        check("A fund, and more funds.", 0.1);
        check("Quetzal", 0.9);
        check("Quetzal's fund", 1.0);
        check("Neither.", 0.0);
        assert_eq!(Sought::of(&[]).tally("A fund").coverage(), 0.0);
        let mut linked = Sought::of(&wanted).tally("A fund");
        let before = linked.relevance();
        linked.say(&HashSet::from([1]));
        assert!((linked.coverage() - 1.0).abs() < 1e-9 && linked.relevance() > before);
    }

    #[test]
    fn a_text_that_speaks_of_it_more_is_more_relevant() {
        let wanted = wanted(&[&["hedg"], &["fee"]]);
        let relevance = |text: &str| Sought::of(&wanted).tally(text).relevance();
        let once = format!("hedging {}", "word ".repeat(100));
        let often = format!("hedging hedging hedged {}", "word ".repeat(98));
        let both = format!("hedging fees {}", "word ".repeat(99));
        assert_eq!(relevance("nothing"), 0.0);
        assert!(relevance(&once) < relevance(&often));
        assert!(relevance(&often) < relevance(&both));
        assert!(relevance("hedging") > relevance(&once));
    }
}
