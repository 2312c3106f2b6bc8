//! Words as they are compared: cut, in lower case and without accents.

use unicode_normalization::char::{compose, decompose_compatible, is_combining_mark};

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
            // What follows the first letter of a Korean syllable, where it has fallen apart into its letters.
            '\u{1160}'..='\u{11ff}' => {
                let whole = folded.chars().next_back().and_then(|before| compose(before, c));
                if whole.is_some() {
                    folded.pop();
                }
                folded.push(whole.unwrap_or(c));
            }
            // It would fall apart here.
            c if !c.is_alphanumeric() || matches!(c, '\u{ac00}'..='\u{d7a3}') => folded.push(c),
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
        '\u{300}'
            ..='\u{36f}'
                | '\u{3099}'
                | '\u{309a}'
                | '\u{ad}'
                | '\u{200c}'
                | '\u{200d}'
                | '\u{2060}'
                | '\u{feff}'
    )
}

/// The words of what is folded. Of scripts that do not part words every two characters in a row are one, so that what is looked
/// for is found wherever it stands.
pub fn cut(folded: &str) -> impl Iterator<Item = &str> {
    let runs = folded.split(|c: char| !c.is_alphanumeric()).filter(|run| !run.is_empty());
    runs.flat_map(|run| Parts { rest: run, unparted: 0 })
}

/// Whether a character is of a script that does not part words, or adds to them what other languages part: Chinese, Japanese, Korean.
pub(crate) fn is_unparted(c: char) -> bool {
    matches!(
        c,
        '\u{3005}'..='\u{3007}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
            | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}'
    )
}

/// The words of letters and digits in a row.
struct Parts<'a> {
    rest: &'a str,
    /// How many bytes of the rest are taken in pairs, where that is under way.
    unparted: usize,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        // Most words are, and need not be looked at letter by letter.
        if self.unparted == 0 && self.rest.is_ascii() {
            let word = std::mem::take(&mut self.rest);
            return (!word.is_empty()).then_some(word);
        }
        if self.unparted == 0 {
            let is_unparted = self.rest.chars().next().map(is_unparted)?;
            let end = self.rest.find(|c| self::is_unparted(c) != is_unparted);
            let end = end.unwrap_or(self.rest.len());
            if !is_unparted {
                let (word, after) = self.rest.split_at(end);
                self.rest = after;
                return Some(word);
            }
            self.unparted = end;
        }
        let run = &self.rest[..self.unparted];
        let mut places = run.char_indices().map(|(at, _)| at).skip(1);
        match (places.next(), places.next()) {
            // The second character begins the next pair.
            (Some(second), Some(third)) => {
                (self.rest, self.unparted) = (&self.rest[second..], self.unparted - second);
                Some(&run[..third])
            }
            _ => {
                (self.rest, self.unparted) = (&self.rest[self.unparted..], 0);
                Some(run)
            }
        }
    }
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
        check("年金 Ω 국민", "年金 ω 국민");
        check("\u{1100}\u{116e}\u{11a8}\u{1106}\u{1175}\u{11ab} \u{30ab}\u{3099}", "국민 カ");
    }

    #[test]
    fn scripts_that_do_not_part_words_are_cut_into_pairs() {
        let check = |text: &str, expected: &[&str]| {
            assert_eq!(cut(text).collect::<Vec<_>>(), expected, "{text}");
        };
        check("年金", &["年金"]);
        check("国民年金公団。投資", &["国民", "民年", "年金", "金公", "公団", "投資"]);
        check("第3基金 ny金", &["第", "3", "基金", "ny", "金"]);
        check("국민연금공단은 bonos", &["국민", "민연", "연금", "금공", "공단", "단은", "bonos"]);
        check("пенсионный ταμείο", &["пенсионный", "ταμείο"]);
        check("", &[]);
        // As long as it takes, a text without any sign is read once.
        assert_eq!(cut(&"年".repeat(1_000_000)).count(), 999_999);
    }
}
