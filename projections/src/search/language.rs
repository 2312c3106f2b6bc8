//! English or Spanish: a guess by the commonest words, which is enough to choose a stemmer.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

/// A language that texts are stemmed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    /// English.
    English,
    /// Spanish.
    Spanish,
}

impl Language {
    /// Its ISO 639-1 code, as tables and requests have it.
    pub fn code(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Spanish => "es",
        }
    }

    /// The language with this code.
    pub fn parse(code: &str) -> Option<Self> {
        match code {
            "en" => Some(Language::English),
            "es" => Some(Language::Spanish),
            _ => None,
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// How much of a text is looked at, in words: more does not change the answer.
const LOOKED_AT: usize = 400;

/// Words that one language uses all the time and the other hardly ever.
const ENGLISH: &[&str] = &[
    "about", "after", "all", "also", "an", "and", "any", "are", "as", "asked", "at", "be", "been",
    "but", "by", "can", "could", "did", "do", "does", "for", "from", "had", "has", "have", "he",
    "her", "his", "how", "if", "in", "into", "is", "it", "its", "more", "not", "of", "on", "or",
    "our", "said", "she", "should", "so", "than", "that", "the", "their", "them", "there", "these",
    "they", "this", "to", "was", "we", "were", "what", "when", "where", "which", "who", "why",
    "will", "with", "would", "you",
];
const SPANISH: &[&str] = &[
    "al", "algo", "ante", "antes", "así", "aún", "como", "cómo", "con", "cuál", "cuáles", "cuando",
    "cuándo", "cuánto", "de", "del", "desde", "donde", "dónde", "el", "ella", "ellos", "en",
    "entre", "era", "es", "esa", "ese", "eso", "esta", "está", "están", "este", "esto", "fue",
    "fueron", "ha", "hasta", "hay", "la", "las", "le", "les", "lo", "los", "más", "mucho", "muy",
    "ni", "nos", "para", "pero", "por", "porque", "que", "qué", "quien", "quién", "quiénes", "se",
    "ser", "sin", "sobre", "son", "su", "sus", "también", "tiene", "tienen", "todo", "todos", "un",
    "una", "unas", "unos", "y", "ya",
];

/// Which of the two each of these words belongs to.
static COMMON: LazyLock<HashMap<&str, Language>> = LazyLock::new(|| {
    let english = ENGLISH.iter().map(|word| (*word, Language::English));
    let spanish = SPANISH.iter().map(|word| (*word, Language::Spanish));
    spanish.chain(english).collect()
});

/// What a text is written in; `None` if it does not say: a name, a number, or a little of both.
pub fn guess(text: &str) -> Option<Language> {
    let (mut english, mut spanish) = (0, 0);
    let mut lower = String::new();
    let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
    for word in words.take(LOOKED_AT) {
        lower.clear();
        if word.is_ascii() {
            lower.push_str(word);
            lower.make_ascii_lowercase();
        } else {
            lower.extend(word.chars().flat_map(char::to_lowercase));
        }
        match COMMON.get(lower.as_str()) {
            Some(Language::English) => english += 2,
            Some(Language::Spanish) => spanish += 2,
            None if is_formed_in_spanish(&lower) => spanish += 1,
            None if is_formed_in_english(&lower) => english += 1,
            None => {}
        }
    }
    if text.contains(['¿', '¡']) {
        spanish += 2;
    }
    // A Spanish note with the English terms of the trade is Spanish, and the other way round.
    match () {
        () if english > spanish && english * 2 >= spanish * 3 => Some(Language::English),
        () if spanish > english && spanish * 2 >= english * 3 => Some(Language::Spanish),
        () => None,
    }
}

/// What a word of one language looks like and hardly one of the other.
fn is_formed_in_spanish(word: &str) -> bool {
    word.contains('ñ')
        || [
            "ción", "sión", "ciones", "siones", "dad", "dades", "miento", "mente", "aron", "ieron",
            "ando", "iendo",
        ]
        .iter()
        .any(|ending| word.len() > ending.len() + 2 && word.ends_with(ending))
}

fn is_formed_in_english(word: &str) -> bool {
    ["ing", "tion", "tions", "ness", "ship", "ght", "ity", "ies", "ould"]
        .iter()
        .any(|ending| word.len() > ending.len() + 1 && word.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_tells_its_language_and_a_name_does_not() {
        let check = |text: &str, expected: Option<Language>| {
            assert_eq!(guess(text), expected, "{text}");
        };
        check("Which pension funds asked about currency hedging?", Some(Language::English));
        check("They are worried about the fees.", Some(Language::English));
        check("currency hedging", Some(Language::English));
        check("¿Qué afores preguntaron por la cobertura cambiaria?", Some(Language::Spanish));
        check("cobertura de divisas", Some(Language::Spanish));
        check(
            "Les preocupan las comisiones del private equity y el J-curve.",
            Some(Language::Spanish),
        );
        check("inversión", Some(Language::Spanish));
        for text in ["", "Afore XXI Banorte", "Monterrey 2025", "\u{0}", "🙂🙂", "東京"] {
            check(text, None);
        }
    }

    #[test]
    fn no_common_word_is_of_both_languages() {
        assert_eq!(COMMON.len(), ENGLISH.len() + SPANISH.len());
    }

    #[test]
    fn a_language_is_known_by_its_code() {
        for language in [Language::English, Language::Spanish] {
            assert_eq!(Language::parse(language.code()), Some(language));
        }
        assert_eq!(Language::parse("fr"), None);
    }
}
