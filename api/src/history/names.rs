//! The names of fields and events that histories can be asked for; whoever misspells one learns how it is spelt.

use domain::telling::{known, label};
use similar::get_close_matches;

/// The field of this name, also a part of `legacy` or `recordings`.
///
/// # Errors
/// With what there is instead, if there is none.
pub fn field(name: &str) -> Result<String, String> {
    let fields = known::all_fields();
    let is_part = name.starts_with("legacy.") || name.starts_with("recordings.");
    if is_part || fields.contains(&name) {
        return Ok(name.to_owned());
    }
    let called = fields.iter().find(|field| label(field).eq_ignore_ascii_case(name));
    Err(unknown("field", name, called.copied(), &fields))
}

/// The event of this name.
///
/// # Errors
/// With what there is instead, if there is none.
pub fn event(name: &str) -> Result<String, String> {
    let events = known::all_events();
    match events.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(unknown("event", name, None, &events)),
    }
}

/// That there is no such name, and which come near it; all that there are if none does.
fn unknown(what: &str, name: &str, meant: Option<&str>, known: &[&str]) -> String {
    let near: Vec<&str> = match meant {
        Some(meant) => vec![meant],
        None => alike(name, known),
    };
    let (words, names) =
        if near.is_empty() { ("there are", known) } else { ("similar are", &near[..]) };
    format!("There is no such {what}; {words} {}", names.join(", "))
}

/// The known names that come nearest, at most three: the same one if it differs in capitals alone.
fn alike<'n>(name: &str, known: &[&'n str]) -> Vec<&'n str> {
    /// How much two names have in common, from 0 to 1, to be taken for one another.
    const ALIKE: f32 = 0.65;
    let plain = |name: &str| name.to_lowercase().replace([' ', '-'], "_");
    let (name, small) = (plain(name), known.iter().map(|name| plain(name)).collect::<Vec<_>>());
    let found =
        |like: &str| known[small.iter().position(|small| small == like).unwrap_or_default()];
    if small.contains(&name) {
        return vec![found(&name)];
    }
    let small: Vec<&str> = small.iter().map(String::as_str).collect();
    get_close_matches(name.as_str(), &small, 3, ALIKE).into_iter().map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_misspells_a_name_learns_how_it_is_spelt() {
        let check = |answer: Result<String, String>, expected: &str| {
            let told = answer.unwrap_err();
            assert!(told.starts_with(expected), "{told}");
        };
        check(field("Priority"), "There is no such field; similar are priority");
        check(field("prioritty"), "There is no such field; similar are priority");
        check(field("AUM in US$ billions"), "There is no such field; similar are aum_billions");
        check(field("due date"), "There is no such field; similar are due_date");
        check(
            field("xyzzy"),
            "There is no such field; there are advisor, affiliations, ai_summary",
        );
        check(event("prioritised"), "There is no such event; similar are Prioritised");
        check(event("Rename"), "There is no such event; similar are Renamed");
        check(event("xyzzy"), "There is no such event; there are ActionItemAccepted");
    }

    #[test]
    fn what_histories_name_can_be_asked_for() {
        for name in ["priority", "legacy", "legacy.aum_billions", "recordings.5.state", "links"] {
            assert_eq!(field(name), Ok(name.to_owned()));
        }
        for name in ["Renamed", "RowKept", "Erased", "TranscriptCorrected"] {
            assert_eq!(event(name), Ok(name.to_owned()));
        }
    }
}
