//! What was said, without what differs between two ways of writing the same.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// The words of a text in lower case and without accents; everything but letters and digits parts them.
pub(super) fn words(text: &str) -> Vec<String> {
    let bare: String = text.nfkd().filter(|it| !is_combining_mark(*it)).collect();
    let bare = bare.to_lowercase();
    let words = bare.split(|it: char| !it.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Whether two texts say the same, whatever their case, accents, punctuation and blanks.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let words = words(one);
    if words.is_empty() { one == other } else { words == self::words(other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_written_otherwise_say_the_same() {
        let check = |one: &str, other: &str, expected: bool| {
            assert_eq!(is_same(one, other), expected, "{one} / {other}");
        };
        check("Send the deck.", "  send  the Deck", true);
        check("Send the deck", "Send the deck to Ana", false);
        check("…", "…", true);
        check("…", "?", false);
    }

    #[test]
    fn words_are_the_same_however_they_are_written() {
        let expected = ["enviar", "el", "ppm", "a", "nunez"];
        assert_eq!(words("Enviar el PPM a Núñez."), expected);
        assert_eq!(words("  ¡enviar\tel ppm: a Nun\u{303}ez!"), expected);
        assert!(words("… ?").is_empty());
    }
}
