//! What a value must look like.

use std::net::IpAddr;
use std::str::FromStr as _;

use axum::http::Uri;
use chrono::NaiveTime;
use sqlx::postgres::PgConnectOptions;

pub(super) fn is_postgres_url(text: &str) -> bool {
    let scheme = text.starts_with("postgres://") || text.starts_with("postgresql://");
    scheme && PgConnectOptions::from_str(text).is_ok()
}

pub(super) fn is_web_url(text: &str) -> bool {
    let Ok(uri) = Uri::from_str(text) else { return false };
    matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some_and(|host| !host.is_empty())
}

/// Without anything that may be secret: it is shown and logged.
pub(super) fn is_plain_url(text: &str) -> bool {
    is_web_url(text) && !text.contains(['@', '?', '#'])
}

/// An origin in the form in which browsers send it: no slash at the end, scheme and host in lower case.
pub(super) fn origin_form(text: &str) -> String {
    let text = text.trim();
    text.strip_suffix('/').unwrap_or(text).to_lowercase()
}

pub(super) fn is_origin(text: &str) -> bool {
    let authority = text.split_once("://").map(|(_, rest)| rest);
    is_web_url(text) && authority.is_some_and(|authority| !authority.contains(['/', '?', '#', '@']))
}

/// Whether a bucket can be called so.
pub fn is_bucket(text: &str) -> bool {
    (3..=63).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
}

pub(super) fn time_of_day(text: &str) -> Option<NaiveTime> {
    NaiveTime::parse_from_str(text, "%H:%M").ok()
}

pub(super) fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // Digits and dots alone are a mistyped address: no host name ends in a number.
    let ends_in_number = text
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    IpAddr::from_str(text).is_ok()
        || (text.len() <= 253 && text.split('.').all(is_label) && !ends_in_number)
}
