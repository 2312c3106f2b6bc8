//! Whether a text that a model wrote can be shown as it is.

use std::fmt;

/// Why a text cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// There is none.
    Empty,
    /// It has more letters than this.
    TooLong(usize),
    /// It links somewhere.
    Link,
    /// It has tags or marks of code.
    Markup,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Empty => f.write_str("is empty"),
            Unfit::TooLong(most) => write!(f, "has more than {most} characters"),
            Unfit::Link => f.write_str("contains a link"),
            Unfit::Markup => f.write_str("contains markup"),
        }
    }
}

/// The text on one line, if it is plain prose of at most `most` characters. A model that obeys what it reads can be made
/// to write a link that carries data away, or markup that a page would render: neither has a place in what is shown.
///
/// # Errors
/// [`Unfit`] says why not.
pub fn plain(text: &str, most: usize) -> Result<String, Unfit> {
    let visible: String =
        text.chars().map(|letter| if is_hidden(letter) { ' ' } else { letter }).collect();
    let text = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        return Err(Unfit::Empty);
    }
    if text.chars().count() > most {
        return Err(Unfit::TooLong(most));
    }
    if has_link(&text) {
        return Err(Unfit::Link);
    }
    if has_markup(&text) {
        return Err(Unfit::Markup);
    }
    Ok(text)
}

/// Control characters, and those that change the direction of a text or have no width.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn has_link(text: &str) -> bool {
    let lower = text.to_lowercase();
    ["://", "www.", "](", "][", "mailto:", "javascript:", "data:text"]
        .iter()
        .any(|mark| lower.contains(mark))
        || lower.split_whitespace().any(is_domain)
}

/// Whether a word reads like a host that an eager page would turn into a link.
fn is_domain(word: &str) -> bool {
    const ENDINGS: &[&str] = &[
        "ai", "app", "biz", "cn", "co", "com", "dev", "es", "info", "io", "me", "mx", "net", "org",
        "ru", "site", "top", "xyz",
    ];
    let host = word.split(['/', '?', '#', ':']).next().unwrap_or_default();
    let host = host.trim_matches(|letter: char| !letter.is_alphanumeric());
    let Some((name, ending)) = host.rsplit_once('.') else { return false };
    let is_name = name.len() > 1 && name.bytes().any(|byte| byte.is_ascii_alphabetic());
    is_name && ENDINGS.contains(&ending)
}

fn has_markup(text: &str) -> bool {
    let opens_tag = text.split('<').skip(1).any(|rest| {
        rest.starts_with(|next: char| {
            next.is_ascii_alphabetic() || matches!(next, '/' | '!' | '|' | '?')
        })
    });
    opens_tag || text.contains("```") || text.contains("{{")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_shown_on_one_line_and_all_else_is_not() {
        let check = |text: &str, expected: Result<&str, Unfit>| {
            assert_eq!(plain(text, 60), expected.map(str::to_owned), "{text}");
        };
        check(
            " They ask\nfor 5 < 10 %, e.g. by S.A. de C.V. ",
            Ok("They ask for 5 < 10 %, e.g. by S.A. de C.V."),
        );
        check("An R&D note of 3.5 [sic]", Ok("An R&D note of 3.5 [sic]"));
        check("a\u{202e}b\u{0}c", Ok("a b c"));
        check(" \n", Err(Unfit::Empty));
        check(&"x".repeat(61), Err(Unfit::TooLong(60)));
        check("See https://evil.example/?q=1", Err(Unfit::Link));
        check("See [here](//evil)", Err(Unfit::Link));
        check("Go to evil.com/x now", Err(Unfit::Link));
        check("Write to a@evil.com.", Err(Unfit::Link));
        check("<img src=x>", Err(Unfit::Markup));
        check("<|im_end|>", Err(Unfit::Markup));
        check("```sh", Err(Unfit::Markup));
    }
}
