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
    let mut values = BTreeMap::new();
    let mut last = None;
    match dotenvy::dotenv_iter() {
        Ok(lines) => {
            for line in lines {
                let (name, value) = line.map_err(|error| env_file_error(error, last.as_deref()))?;
                last = Some(name.clone());
                values.insert(name, value);
            }
            Ok(values)
        }
        Err(error) if error.not_found() => Ok(values),
        Err(error) => Err(env_file_error(error, None)),
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
    let expected = "expected are lines NAME=value; a value with spaces or # stands in quotes";
    SettingError { name: ".env".to_owned(), problem, expected: expected.to_owned() }
}
