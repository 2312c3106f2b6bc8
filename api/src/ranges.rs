//! `Range` and `If-Range`: which part of a file a client wants.

use std::ops::Range;

use axum::http::{HeaderMap, header};

/// What is wanted of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it, as if no part had been asked for.
    All,
    /// These bytes.
    Part(Range<u64>),
    /// Something that it does not have.
    Nothing,
}

/// What a request wants of a file with this tag and of this length. Of several ranges at once nothing is made but the
/// whole, which every client must be able to take.
pub fn wanted(headers: &HeaderMap, tag: &str, size: u64) -> Wanted {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(range) = text(header::RANGE) else { return Wanted::All };
    // A weak tag or a date proves nothing about the bytes.
    if text(header::IF_RANGE).is_some_and(|known| known.trim() != format!("\"{tag}\"")) {
        return Wanted::All;
    }
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|it| it.trim().split_once('-'))
    else {
        return Wanted::All;
    };
    let number = |text: &str| match text.trim() {
        "" => Ok(None),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Some(text.parse::<u64>().unwrap_or(u64::MAX)))
        }
        _ => Err(()),
    };
    let part = match (number(first), number(last)) {
        (Ok(Some(first)), Ok(None)) => first..size,
        (Ok(Some(first)), Ok(Some(last))) if first <= last => {
            first..last.saturating_add(1).min(size)
        }
        (Ok(None), Ok(Some(count))) => size.saturating_sub(count)..size,
        _ => return Wanted::All,
    };
    if part.is_empty() { Wanted::Nothing } else { Wanted::Part(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_the_file_and_nonsense_is_ignored() {
        let check = |range: &str, if_range: Option<&str>, expected: Wanted| {
            let mut headers = HeaderMap::from_iter([(header::RANGE, range.parse().unwrap())]);
            if let Some(tag) = if_range {
                headers.insert(header::IF_RANGE, tag.parse().unwrap());
            }
            assert_eq!(wanted(&headers, "abc", 100), expected, "{range}");
        };
        check("bytes=0-9", None, Wanted::Part(0..10));
        check("bytes=0-", None, Wanted::Part(0..100));
        check("bytes=90-200", None, Wanted::Part(90..100));
        check("bytes=-10", None, Wanted::Part(90..100));
        check("bytes=-200", None, Wanted::Part(0..100));
        check("bytes=99-99", None, Wanted::Part(99..100));
        check("bytes=100-", None, Wanted::Nothing);
        check("bytes=-0", None, Wanted::Nothing);
        check("bytes=99999999999999999999999-", None, Wanted::Nothing);
        check("bytes=9-0", None, Wanted::All);
        check("bytes=0-1,5-6", None, Wanted::All);
        check("bytes=+1-2", None, Wanted::All);
        check("lines=1-2", None, Wanted::All);
        check("bytes=0-9", Some("\"abc\""), Wanted::Part(0..10));
        check("bytes=0-9", Some("\"other\""), Wanted::All);
        check("bytes=0-9", Some("W/\"abc\""), Wanted::All);
        check("bytes=0-9", Some("Wed, 21 Oct 2026 07:28:00 GMT"), Wanted::All);
    }
}
