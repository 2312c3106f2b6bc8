//! Where sentences end. Citations such as `[1]` behind a full stop belong to the sentence before them.

/// Words whose full stop ends no sentence, in lower case.
const ABBREVIATIONS: &[&str] = &[
    "approx", "aprox", "art", "cf", "co", "corp", "dr", "dra", "e.g", "ej", "etc", "fig", "i.e",
    "inc", "ing", "ltd", "lic", "mr", "mrs", "ms", "núm", "p.ej", "prof", "sr", "sra", "st", "ud",
    "uds", "vs",
];

/// The sentences of a text, without the space around them.
pub fn sentences(text: &str) -> Vec<&str> {
    let (mut sentences, rest) = complete_sentences(text);
    let rest = text[rest..].trim();
    if !rest.is_empty() {
        sentences.push(rest);
    }
    sentences
}

/// The sentences of a text that goes on, and where the one begins that may not be complete.
pub fn complete_sentences(text: &str) -> (Vec<&str>, usize) {
    let (mut sentences, mut begin) = (Vec::new(), 0);
    for (at, letter) in text.char_indices() {
        if at < begin {
            continue;
        }
        let Some(next) = end_of_sentence(text, at, letter) else { continue };
        let sentence = text[begin..next].trim();
        if !sentence.is_empty() {
            sentences.push(sentence);
        }
        begin = next;
    }
    (sentences, begin)
}

/// Where the next sentence begins, if one ends with this letter and something follows it.
fn end_of_sentence(text: &str, at: usize, letter: char) -> Option<usize> {
    let is_line_end = letter == '\n';
    if !is_line_end && !matches!(letter, '.' | '!' | '?' | '…') {
        return None;
    }
    if letter == '.' && ends_abbreviation(&text[..at]) {
        return None;
    }
    let rest = &text[at + letter.len_utf8()..];
    let closed = rest.trim_start_matches(['.', '!', '?', '…', '"', '\'', '”', '’', '»', ')']);
    let (behind, cites) = behind_citations(closed);
    let next = behind.chars().next()?;
    let is_apart = is_line_end || cites || behind.len() < closed.len();
    let goes_on = !is_line_end && !cites && next.is_lowercase();
    // What may become a citation is waited for.
    let is_open = next == '[' && !behind.contains(']') && behind.len() < 12;
    (is_apart && !goes_on && !is_open).then(|| text.len() - behind.len())
}

/// What comes behind white space and citations, and whether there were citations.
fn behind_citations(text: &str) -> (&str, bool) {
    let (mut rest, mut cites) = (text.trim_start(), false);
    while let Some((inside, behind)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'))
    {
        if !is_citation(inside) {
            break;
        }
        // A full stop behind the citation belongs to it.
        (rest, cites) = (behind.trim_start_matches(['.', ',', ';']).trim_start(), true);
    }
    (rest, cites)
}

fn is_citation(inside: &str) -> bool {
    let is_number = |part: &str| {
        let part = part.trim();
        (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    inside.split([',', ';']).all(is_number)
}

fn ends_abbreviation(before: &str) -> bool {
    let word = before
        .rsplit(|letter: char| letter.is_whitespace() || letter == '(')
        .next()
        .unwrap_or_default();
    let is_initial = word.rsplit('.').next().is_some_and(|part| {
        let mut letters = part.chars();
        letters.next().is_some_and(char::is_alphabetic) && letters.next().is_none()
    });
    is_initial || ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_where_a_reader_sees_it() {
        let check = |text: &str, expected: &[&str]| assert_eq!(sentences(text), expected, "{text}");
        check("One. Two! ¿Tres? Four", &["One.", "Two!", "¿Tres?", "Four"]);
        check("They want 3.5 % net. Fine.", &["They want 3.5 % net.", "Fine."]);
        check(
            "Mr. Soto of Acme S.A. de C.V. came. Then left.",
            &["Mr. Soto of Acme S.A. de C.V. came.", "Then left."],
        );
        check("He said “no.” She left.", &["He said “no.”", "She left."]);
        check("a\nb\n\n", &["a", "b"]);
        check("It was e.g. small. it went on", &["It was e.g. small. it went on"]);
        check("  ", &[]);
    }

    #[test]
    fn citations_belong_to_the_sentence_before_them() {
        let check = |text: &str, expected: &[&str]| assert_eq!(sentences(text), expected, "{text}");
        check("It grew. [1] It fell [2][3]. End", &["It grew. [1]", "It fell [2][3].", "End"]);
        check("It grew.[1, 2]. then more", &["It grew.[1, 2].", "then more"]);
        check("It grew.\n[1]\nIt fell.", &["It grew.\n[1]", "It fell."]);
        check("It grew. [sic] Fine.", &["It grew.", "[sic] Fine."]);
    }

    #[test]
    fn of_a_text_that_goes_on_only_what_is_complete_counts() {
        let check = |text: &str, expected: &[&str], rest: &str| {
            let (sentences, from) = complete_sentences(text);
            assert_eq!((sentences, &text[from..]), (expected.to_vec(), rest), "{text}");
        };
        check("It grew.", &[], "It grew.");
        check("It grew. [", &[], "It grew. [");
        check("It grew. [1] ", &[], "It grew. [1] ");
        check("It grew. [1] I", &["It grew. [1]"], "I");
        check("", &[], "");
    }
}
