//! Names of recordings, and of who is to do something: one line, and not a long one, wherever they come from.

use crate::problem::{Fault, Problem};

/// The longest name, in characters.
const LONGEST: usize = 200;

/// A name that somebody wrote, in this field of this part of a request.
///
/// # Errors
/// [`Problem::Invalid`] when it says nothing, is more than one line or too long.
pub fn line(part: &str, field: &str, text: &str) -> Result<String, Problem> {
    let text = text.trim();
    let fault = |kind, message| {
        Err(Problem::invalid(Fault::new(kind, [part.into(), field.into()], message)))
    };
    match text {
        "" => fault("string_type", "Input should be a text that says something".to_owned()),
        text if text.contains(is_no_part_of_a_line) => fault(
            "string_control_character",
            format!("The {field} should be one line, without tabs and other control characters"),
        ),
        text if text.chars().count() > LONGEST => fault(
            "string_too_long",
            format!("The {field} should have at most {LONGEST} characters"),
        ),
        text => Ok(text.to_owned()),
    }
}

/// The name that somebody gives a recording with its upload; none if it is blank.
///
/// # Errors
/// [`Problem::Invalid`] when it is more than one line or too long.
pub fn given(part: &str, text: &str) -> Result<Option<String>, Problem> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    line(part, "name", text).map(Some)
}

/// The name of a file as that of its recording, made one line and cut: who sends a file need not have named it, and no upload
/// fails for its name.
pub fn of_file(text: &str) -> Option<String> {
    let plain: String =
        text.chars().map(|it| if is_no_part_of_a_line(it) { ' ' } else { it }).collect();
    let kept: String = plain.trim().chars().take(LONGEST).collect();
    let kept = kept.trim_end();
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// Control characters; Unicode has two more that end a line.
fn is_no_part_of_a_line(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_somebody_gives_is_one_line() {
        assert_eq!(given("query", " Lunch with Ana ").unwrap().as_deref(), Some("Lunch with Ana"));
        assert_eq!(given("query", &"ñ".repeat(LONGEST)).unwrap(), Some("ñ".repeat(LONGEST)));
        assert_eq!(given("query", " \n").unwrap(), None);
        for (name, kind) in [
            ("a\nb".to_owned(), "string_control_character"),
            ("a\tb".to_owned(), "string_control_character"),
            ("a\u{2028}b".to_owned(), "string_control_character"),
            ("a\u{2029}b".to_owned(), "string_control_character"),
            ("x".repeat(LONGEST + 1), "string_too_long"),
        ] {
            let Err(Problem::Invalid(faults)) = given("query", &name) else { panic!("{name:?}") };
            assert_eq!(faults[0].kind(), kind, "{name:?}");
        }
        assert!(matches!(line("body", "owner", " "), Err(Problem::Invalid(_))));
    }

    #[test]
    fn the_name_of_a_file_is_made_one_line() {
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(of_file(name).as_deref(), expected, "{name:?}");
        };
        check(" call.webm ", Some("call.webm"));
        check("Lunch\nwith\u{2028}Ana\u{0}.webm\n", Some("Lunch with Ana .webm"));
        check("\n \u{2029}", None);
        check(&"ñ".repeat(LONGEST + 1), Some(&"ñ".repeat(LONGEST)));
    }
}
