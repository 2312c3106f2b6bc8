//! Words as they are compared: cut, in lower case and without accents.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// A text in lower case and without accents.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        // Most of any text is ASCII, which need not be looked at letter by letter.
        let plain = rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
        let begin = folded.len();
        folded.push_str(&rest[..plain]);
        folded[begin..].make_ascii_lowercase();
        let mut chars = rest[plain..].chars();
        let Some(c) = chars.next() else { return folded };
        fold_into(c, &mut folded);
        rest = chars.as_str();
    }
}

/// Adds a character in lower case and without accents, with ligatures and wide letters as the plain ones.
pub(crate) fn fold_into(c: char, folded: &mut String) {
    if c.is_ascii() {
        folded.push(c.to_ascii_lowercase());
        return;
    }
    for c in c.to_lowercase().filter(|c| !is_unseen(*c)) {
        match c {
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'ø' => folded.push('o'),
            'đ' | 'ð' => folded.push('d'),
            'ł' => folded.push('l'),
            'ı' => folded.push('i'),
            'þ' => folded.push_str("th"),
            '’' | '‘' => folded.push('\''),
            c if !c.is_alphanumeric() => folded.push(c),
            c => {
                let before = folded.len();
                decompose_compatible(c, |part| {
                    if !is_combining_mark(part) {
                        folded.push(part);
                    }
                });
                // A fraction would fall apart.
                if !folded[before..].chars().all(char::is_alphanumeric) {
                    folded.truncate(before);
                    folded.push(c);
                }
            }
        }
    }
}

/// Whether a character is part of a word without being seen as one: an accent that follows its letter, or a mark of where a word
/// may be broken or joined.
pub(crate) fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{300}'..='\u{36f}' | '\u{ad}' | '\u{200c}' | '\u{200d}' | '\u{2060}' | '\u{feff}'
    )
}

/// The words of what is folded.
pub fn cut(folded: &str) -> impl Iterator<Item = &str> {
    folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_folded_as_people_read_them() {
        let check = |text: &str, expected: &str| assert_eq!(fold(text), expected, "{text}");
        check("Núñez ÁÉÍÓÚ Größe Łódź Æsop naïve", "nunez aeiou grosse lodz aesop naive");
        check("Nu\u{301}n\u{303}ez", "nunez");
        check("in\u{ad}vest\u{200d}ment \u{feff}x", "investment x");
        check("proﬁt ＡＦＯＲＥ", "profit afore");
        check("investor’s 1½", "investor's 1½");
        check("年金 Ω", "年金 ω");
    }
}
