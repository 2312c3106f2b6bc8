//! Where the words of a question stand in a text, and how often: for what is shown, and for the order of hits.
//!
//! Postgres knows which passages have a word, but not where. Here a word of the text counts as the asked one if it begins
//! with its stem and is not much longer, which both languages' endings allow.

use std::ops::Range;

/// How much longer than its stem a word may be, in characters: as long as `-amientos`.
const ENDING: usize = 8;

/// The most places that are shown in one text.
const SHOWN: usize = 50;

/// A word that is looked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    /// What it begins with, folded; several where two languages stem it differently.
    stems: Vec<String>,
    /// How much it says that a text has it.
    pub(super) weight: f64,
}

impl Wanted {
    /// A word by its lexemes.
    pub(super) fn new(lexemes: &[String], weight: f64) -> Self {
        let stem = |lexeme: &String| {
            let stem: String = lexeme.chars().flat_map(folded).collect();
            // Stems are written with these where the words have a `y`, or nothing.
            let cut = stem.trim_end_matches(['e', 'i']);
            if cut.chars().count() >= 3 { cut.to_owned() } else { stem }
        };
        let mut stems: Vec<String> = lexemes.iter().map(stem).collect();
        stems.sort_unstable();
        // One that begins with another finds nothing that the other does not.
        stems.dedup_by(|later, earlier| later.starts_with(earlier.as_str()));
        stems.retain(|stem| !stem.is_empty());
        Self { stems, weight }
    }

    fn is(&self, word: &str) -> bool {
        let length = word.chars().count();
        self.stems.iter().any(|stem| {
            let most = stem.chars().count() + ENDING.min(stem.chars().count() + 1);
            word.starts_with(stem.as_str()) && length <= most
        })
    }
}

/// A letter without case and accents, as near to what Postgres makes of it as what is looked for needs.
pub(super) fn folded(c: char) -> impl Iterator<Item = char> {
    c.to_lowercase().filter(|c| !('\u{300}'..'\u{370}').contains(c)).map(|c| match c {
        'á' | 'à' | 'â' | 'ä' | 'ã' | 'å' => 'a',
        'é' | 'è' | 'ê' | 'ë' => 'e',
        'í' | 'ì' | 'î' | 'ï' => 'i',
        'ó' | 'ò' | 'ô' | 'ö' | 'õ' | 'ø' => 'o',
        'ú' | 'ù' | 'û' | 'ü' => 'u',
        'ñ' => 'n',
        'ç' => 'c',
        'ý' | 'ÿ' => 'y',
        c => c,
    })
}

/// A word of a text: where it stands, in characters, and itself, folded.
struct Word {
    at: Range<usize>,
    folded: String,
}

fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut is_inside = false;
    for (at, c) in text.chars().enumerate() {
        if !c.is_alphanumeric() && !('\u{300}'..'\u{370}').contains(&c) {
            is_inside = false;
            continue;
        }
        if !is_inside {
            words.push(Word { at: at..at, folded: String::new() });
            is_inside = true;
        }
        if let Some(word) = words.last_mut() {
            word.at.end = at + 1;
            word.folded.extend(folded(c));
        }
    }
    words
}

/// How well a text answers by its words, as BM25 has it: often is better than once, but not much, and of a short text more
/// than of a long one.
pub(super) fn relevance(text: &str, wanted: &[Wanted]) -> f64 {
    /// What the second time a word is there counts for.
    const SATURATION: f64 = 1.2;
    /// How much the length of a text matters, and what length is usual, in words.
    const BY_LENGTH: f64 = 0.3;
    const USUAL: f64 = 150.0;
    let words = words(text);
    #[allow(clippy::cast_precision_loss, reason = "texts are not that long")]
    let (length, count) = (words.len() as f64, |many: usize| many as f64);
    let damping = SATURATION * (1.0 - BY_LENGTH + BY_LENGTH * length / USUAL);
    let part = |wanted: &Wanted| {
        let times = count(words.iter().filter(|word| wanted.is(&word.folded)).count());
        wanted.weight * times * (SATURATION + 1.0) / (times + damping)
    };
    wanted.iter().map(part).sum()
}

/// Which share of what is looked for a text has, from 0 to 1: each word counts for as much as it says. So does one that no text
/// has, so that of a question in another language a name in common is a small share.
pub(super) fn coverage(text: &str, wanted: &[Wanted]) -> f64 {
    let words = words(text);
    let is_there = |wanted: &&Wanted| words.iter().any(|word| wanted.is(&word.folded));
    let weight = |of: &mut dyn Iterator<Item = &Wanted>| of.map(|it| it.weight).sum::<f64>();
    let all = weight(&mut wanted.iter());
    if all > 0.0 { weight(&mut wanted.iter().filter(is_there)) / all } else { 0.0 }
}

/// Where words that are looked for and quotations stand, in characters, in order and apart from each other.
pub(super) fn highlights(text: &str, wanted: &[Wanted], quoted: &[String]) -> Vec<[usize; 2]> {
    let words = words(text);
    let is_wanted = |word: &&Word| wanted.iter().any(|wanted| wanted.is(&word.folded));
    let mut found: Vec<Range<usize>> =
        words.iter().filter(is_wanted).map(|word| word.at.clone()).collect();
    for phrase in quoted {
        let phrase = self::words(phrase);
        found.extend(occurrences(&words, &phrase));
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
fn occurrences(words: &[Word], phrase: &[Word]) -> Vec<Range<usize>> {
    if phrase.is_empty() {
        return vec![];
    }
    let is_it =
        |window: &[Word]| window.iter().zip(phrase).all(|(one, other)| one.folded == other.folded);
    let span = |window: &[Word]| window[0].at.start..window[window.len() - 1].at.end;
    words.windows(phrase.len()).filter(|window| is_it(window)).map(span).collect()
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
            &["Hedging", "hedged", "hedge", "Hedgehog"],
        );
        check(
            "currency and Currencies, current",
            &["currenc", "currency"],
            &["currency", "Currencies"],
        );
        check(
            "Company companies companion",
            &["compani", "company"],
            &["Company", "companies", "companion"],
        );
        check(
            "la pensión, las pensiones 🙂 PENSIÓN",
            &["pension"],
            &["pensión", "pensiones", "PENSIÓN"],
        );
        check("a fundamental fund", &["fund", "funds"], &["fund"]);
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
            assert!((coverage(text, &wanted) - share).abs() < 1e-9, "{text}");
        };
        check("A fund, and more funds.", 0.1);
        check("Quetzal", 0.9);
        check("Quetzal's fund", 1.0);
        check("Neither.", 0.0);
        assert_eq!(coverage("A fund", &[]), 0.0);
    }

    #[test]
    fn a_text_that_speaks_of_it_more_is_more_relevant() {
        let wanted = wanted(&[&["hedg"], &["fee"]]);
        let relevance = |text: &str| super::relevance(text, &wanted);
        let once = format!("hedging {}", "word ".repeat(100));
        let often = format!("hedging hedging hedged {}", "word ".repeat(98));
        let both = format!("hedging fees {}", "word ".repeat(99));
        assert_eq!(relevance("nothing"), 0.0);
        assert!(relevance(&once) < relevance(&often));
        assert!(relevance(&often) < relevance(&both));
        assert!(relevance("hedging") > relevance(&once));
    }
}
