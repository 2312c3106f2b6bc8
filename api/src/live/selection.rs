//! Which events somebody wants to follow, as they say it.

use domain::{Kind, import};
use projections::log::{Selection, Stream};

/// Why a filter cannot be used, with what is expected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No aggregate has this name.
    #[error(
        "{0:?} is no kind: expected is one of lp, gp, distributor, person, fund, note, todo, roadshow, import"
    )]
    Kind(String),
    /// It names no record.
    #[error("{0:?} is no record: expected is a kind and an id, such as lp/7")]
    Record(String),
}

/// An aggregate type.
///
/// # Errors
/// [`FilterError::Kind`].
pub fn kind(text: &str) -> Result<String, FilterError> {
    match Kind::parse(text) {
        Some(kind) => Ok(kind.as_str().to_owned()),
        None if text == import::STREAM_TYPE => Ok(text.to_owned()),
        None => Err(FilterError::Kind(text.to_owned())),
    }
}

/// A record, such as `lp/7`.
///
/// # Errors
/// [`FilterError::Record`].
pub fn record(text: &str) -> Result<Stream, FilterError> {
    let parts = text.split_once('/').and_then(|(kind, id)| {
        // In one form only: an id is compared as it is stored.
        let id: i64 = id.parse().ok().filter(|number: &i64| number.to_string() == id)?;
        Some(Stream { kind: Kind::parse(kind)?.as_str().to_owned(), id: id.to_string() })
    });
    parts.ok_or_else(|| FilterError::Record(text.to_owned()))
}

/// A record as [`record`] reads it.
pub fn named(stream: &Stream) -> String {
    format!("{}/{}", stream.kind, stream.id)
}

/// The events of these kinds and these records; of all if both are empty.
///
/// # Errors
/// The first that is wrong.
pub fn selection(kinds: &[String], records: &[String]) -> Result<Selection, FilterError> {
    Ok(Selection {
        kinds: kinds.iter().map(|text| kind(text)).collect::<Result<_, _>>()?,
        streams: records.iter().map(|text| record(text)).collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_named_by_kind_and_id() {
        let stream = Stream { kind: "lp".into(), id: "7".into() };
        assert_eq!((record("lp/7"), named(&stream).as_str()), (Ok(stream), "lp/7"));
        for text in ["lp", "lp/", "lp/x", "lp/07", "lp/7/8", "company/7", "Lp/7", "import/legacy"] {
            assert_eq!(record(text), Err(FilterError::Record(text.into())));
        }
        assert_eq!(kind("import"), Ok("import".to_owned()));
        assert_eq!(kind("lps"), Err(FilterError::Kind("lps".into())));
    }
}
