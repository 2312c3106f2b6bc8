//! The environment and the `.env` file, before anybody asks what their values mean.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::SettingError;

/// The variables that are text, and so may be meant.
pub(super) fn text_only(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<String, String> {
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The lines of `.env`; none if there is no such file.
pub(super) fn read_env_file() -> Result<BTreeMap<String, String>, SettingError> {
    let folder = std::env::current_dir().map_err(|error| unreadable(&error))?;
    match folder.ancestors().map(|folder| folder.join(".env")).find(|path| path.is_file()) {
        Some(path) => parsed(&std::fs::read(path).map_err(|error| unreadable(&error))?),
        None => Ok(BTreeMap::new()),
    }
}

fn parsed(content: &[u8]) -> Result<BTreeMap<String, String>, SettingError> {
    // Some editors begin a file with a mark that nobody sees.
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut values = BTreeMap::new();
    let mut last = None;
    for line in dotenvy::from_read_iter(content) {
        let (name, value) = line.map_err(|error| env_file_error(error, last.as_deref()))?;
        last = Some(name.clone());
        values.insert(name, value);
    }
    Ok(values)
}

fn unreadable(error: &std::io::Error) -> SettingError {
    SettingError {
        name: ".env".to_owned(),
        problem: format!("cannot be read ({error})"),
        expected: "expected is a file that crm can read".to_owned(),
    }
}

/// A line that cannot be understood is told by the setting before it: its own text may be a secret.
fn env_file_error(error: dotenvy::Error, last: Option<&str>) -> SettingError {
    let problem = match (error, last) {
        (dotenvy::Error::LineParse(..), Some(last)) => {
            format!("cannot be understood after the line of {last}")
        }
        (dotenvy::Error::LineParse(..), None) => {
            "cannot be understood from its first setting on".to_owned()
        }
        (other, _) => format!("cannot be read ({other})"),
    };
    let expected = "expected are lines NAME=value; a value with spaces or # stands in quotes, one with $ in single quotes";
    SettingError { name: ".env".to_owned(), problem, expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_begin_with_a_mark_and_single_quotes_keep_a_value_as_it_is() {
        let values = parsed("\u{feff}A=1\nB='pa$$word'\n".as_bytes()).unwrap();
        assert_eq!((values["A"].as_str(), values["B"].as_str()), ("1", "pa$$word"));
    }
}
