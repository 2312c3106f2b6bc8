//! Whether a name has all the words of a question, but for typing errors and signs.

use super::sound;
use crate::prose::cut;

/// A word of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said<'a> {
    /// Folded, without signs.
    pub(super) word: &'a str,
    /// Whether some text has it as it is typed, so that it is no error.
    pub(super) is_known: bool,
}

/// The words of what is folded.
pub(super) fn words(folded: &str) -> Vec<&str> {
    cut(folded).collect()
}

/// The most initials that are written as one word.
const INITIALS: usize = 3;

/// How many typing errors there are in a question that has nothing but words of this name; `None` if it has others. Of the
/// name's words two in a row may be written as one; what somebody is still typing is the beginning of a word, and no error; and
/// of a person's name letters beside a word are initials, of several names in a row also without signs (`JB Delacroix`).
pub(super) fn errors(said: &[Said<'_>], name: &[&str], is_person: bool) -> Option<usize> {
    if said.is_empty() {
        return None;
    }
    let joined: Vec<String> = name.windows(2).map(|two| two.concat()).collect();
    let words: Vec<&str> = name.iter().copied().chain(joined.iter().map(String::as_str)).collect();
    let has_initials = is_person && said.iter().any(|said| is_long(said.word));
    let (mut errors, mut shortened) = (0, 0);
    for Said { word, is_known } in said {
        let length = word.chars().count();
        let begins = |most: usize| {
            let mut rests = words.iter().filter_map(|other| other.strip_prefix(word));
            rests.any(|rest| rest.chars().count() <= most)
        };
        let is_number =
            number(word).is_some_and(|it| words.iter().any(|word| number(word) == Some(it)));
        let is_initials = has_initials && (1..=INITIALS).contains(&length) && {
            let begin = |names: &[&str]| {
                names.iter().zip(word.chars()).all(|(name, initial)| name.starts_with(initial))
            };
            name.windows(length).any(begin)
        };
        if words.contains(word) || is_number || is_initials {
            continue;
        }
        if is_long(word) && !is_known && begins(usize::MAX) {
            continue;
        }
        // Of a name of several words a text may have the stem of one as a word of its own.
        if is_long(word) && *is_known && said.len() > 1 && begins(1) {
            shortened += 1;
            continue;
        }
        let most = if *is_known { 0 } else { forgiven(length, said.len()) };
        errors += words.iter().filter_map(|other| mistakes(word, other, most)).min()?;
    }
    (shortened <= 1).then_some(errors + shortened)
}

/// Roman numbers up to nine.
const ROMAN: [&str; 10] = ["", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix"];

/// The number that a word is, as funds are numbered: in figures, or Roman up to 39.
pub(super) fn number(word: &str) -> Option<usize> {
    if word.len() <= 2 && word.bytes().all(|byte| byte.is_ascii_digit()) {
        return word.parse().ok().filter(|number| (1..40).contains(number));
    }
    let tens = word.len() - word.trim_start_matches('x').len();
    let ones = ROMAN.iter().position(|it| *it == &word[tens..])?;
    Some(tens * 10 + ones).filter(|number| (1..40).contains(number))
}

/// The other way to write a [`number`] that a word is.
pub(super) fn written_otherwise(word: &str, number: usize) -> String {
    match word.starts_with(|first: char| first.is_ascii_digit()) {
        true => format!("{}{}", "x".repeat(number / 10), ROMAN[number % 10]),
        false => number.to_string(),
    }
}

/// Whether a word has so many letters that it may be the beginning of another.
fn is_long(word: &str) -> bool {
    word.chars().nth(3).is_some()
}

/// Whether a word that no text has is this word of a name, mistyped.
pub(super) fn is_like(typed: &str, word: &str) -> bool {
    mistakes(typed, word, forgiven(typed.chars().count(), 2)).is_some()
}

/// How many typing errors make one word of the other, if that is not more than `most`; what is only written otherwise than it sounds
/// is one.
fn mistakes(typed: &str, word: &str, most: usize) -> Option<usize> {
    distance(typed, word, most).or_else(|| (most > 0 && sound::is_same(typed, word)).then_some(1))
}

/// How many errors there may be in a word of this length. A short one says too little by itself.
pub(super) fn forgiven(length: usize, words: usize) -> usize {
    match length {
        0..=2 => 0,
        3..=4 => usize::from(words > 1),
        5..=7 => 1,
        _ => 2,
    }
}

/// How many letters must be added, left out, replaced or swapped with the next to make one word of the other, if that is not
/// more than `most`.
pub(super) fn distance(one: &str, other: &str, most: usize) -> Option<usize> {
    let lengths = one.chars().count().abs_diff(other.chars().count());
    // A question is compared with many names: most differ in length already.
    let distance = if lengths > most { lengths } else { strsim::osa_distance(one, other) };
    (distance <= most).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(question: &str, is_known: bool, name: &str) -> Option<usize> {
        let said: Vec<Said<'_>> =
            words(question).into_iter().map(|word| Said { word, is_known }).collect();
        errors(&said, &words(name), true)
    }

    #[test]
    fn a_name_is_known_by_its_words_whatever_is_mistyped() {
        let check = |question: &str, name: &str, expected: Option<usize>| {
            assert_eq!(of(question, false, name), expected, "{question} {name}");
        };
        check("aforre xxi", "afore xxi banorte", Some(1));
        check("banotre", "afore xxi banorte", Some(1));
        check("afore xx1 banorte", "afore xxi banorte", Some(1));
        check("pensionisste", "pensionissste", Some(1));
        check("pensioniste", "pensionissste", Some(2));
        check("penaloza trevino", "penaloza & trevino, s.c.", Some(0));
        check("xx1", "afore xxi", None);
        check("afore inbursa", "afore xxi banorte", None);
        check("fund", "bund", None);
        check("granite bund", "granite fund", Some(1));
        check("weiling tan", "wei-ling tan", Some(0));
        check("j. m. ibanez", "jose maria ibanez de la torre", Some(0));
        check("j. x. ibanez", "jose maria ibanez de la torre", None);
        check("jm ibanez", "jose maria ibanez de la torre", Some(0));
        check("ibanez jm", "jose maria ibanez de la torre", Some(0));
        check("mj ibanez", "jose maria ibanez de la torre", None);
        check("infra", "andes infrastructure ii", Some(0));
        check("inf", "andes infrastructure ii", None);
        check("j", "jose", None);
        check("", "afore", None);
    }

    #[test]
    fn a_word_that_texts_have_is_no_typing_error() {
        assert_eq!(of("found", true, "fund"), None);
        assert_eq!(of("found", false, "fund"), Some(1));
        assert_eq!(of("wind", true, "windows capital"), None);
        assert_eq!(of("cost", true, "joao costa"), None);
        assert_eq!(of("granit peak", true, "granite peak"), Some(1));
        assert_eq!(of("port cost", true, "porto costa"), None);
    }

    #[test]
    fn funds_are_numbered_in_figures_or_roman() {
        let check =
            |word: &str, expected: Option<usize>| assert_eq!(number(word), expected, "{word}");
        for (word, expected) in
            [("i", 1), ("iv", 4), ("ix", 9), ("x", 10), ("xxi", 21), ("7", 7), ("12", 12)]
        {
            check(word, Some(expected));
        }
        assert_eq!(
            (written_otherwise("24", 24), written_otherwise("xix", 19)),
            ("xxiv".into(), "19".into())
        );
        for word in ["", "0", "40", "xxxx", "iiii", "vx", "fund", "2024", "xi2", "mix"] {
            check(word, None);
        }
        assert_eq!(of("northmoor fund 4", true, "northmoor buyout fund iv"), Some(0));
        assert_eq!(of("northmoor fund 4", true, "northmoor buyout fund iii"), None);
        assert_eq!(of("afore 21", true, "afore xxi banorte"), Some(0));
    }

    #[test]
    fn only_people_have_initials() {
        let said = ["granite", "fund", "i"].map(|word| Said { word, is_known: true });
        assert_eq!(errors(&said, &["granite", "fund", "iv"], false), None);
        assert_eq!(errors(&said, &["granite", "fund", "ines"], true), Some(0));
        assert_eq!(of("fund", true, "growth fund"), Some(0));
    }
}
