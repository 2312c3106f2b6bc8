//! What a value must look like.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr as _;

use axum::http::Uri;
use chrono::NaiveTime;
use reqwest::Url;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

pub(super) fn is_postgres_url(text: &str) -> bool {
    let scheme = text.starts_with("postgres://") || text.starts_with("postgresql://");
    // A user or password that is cut off at a sign of its own leaves its @ to what follows.
    let is_cut = Url::parse(text).is_ok_and(|url| {
        url.path().contains('@') || url.fragment().is_some_and(|fragment| fragment.contains('@'))
    });
    scheme && !is_cut && PgConnectOptions::from_str(text).is_ok()
}

/// What is wrong with a URL that is not a Postgres server's.
pub(super) fn postgres_url_form(text: &str) -> &'static str {
    let parsed = Url::parse(text).ok();
    let mode = parsed.as_ref().and_then(|url| {
        url.query_pairs().find(|(name, _)| ["sslmode", "ssl-mode"].contains(&name.as_ref()))
    });
    match mode {
        Some((_, mode)) if PgSslMode::from_str(&mode).is_err() => {
            "a URL whose sslmode is one of disable, allow, prefer, require, verify-ca and verify-full"
        }
        _ => {
            "a URL like postgres://user:password@host:5432/database, in which @ / # ? % of a password are percent-encoded \
             (%40 %2F %23 %3F %25)"
        }
    }
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

/// Whether this can be the name of a region: it becomes a part of host names.
pub fn is_region(text: &str) -> bool {
    let is_known = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(is_known)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a bucket can be called so.
pub fn is_bucket(text: &str) -> bool {
    (3..=63).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
}

pub(super) fn time_of_day(text: &str) -> Option<NaiveTime> {
    NaiveTime::parse_from_str(text, "%H:%M").ok()
}

/// A word alone must be a level: it would be taken for a part of the program, of which alone everything is then logged.
pub(super) fn is_log_filter(text: &str) -> bool {
    let says_what =
        |part: &str| part.contains(['=', '[']) || part.trim().parse::<LevelFilter>().is_ok();
    EnvFilter::try_new(text).is_ok()
        && text.split(',').filter(|part| !part.trim().is_empty()).all(says_what)
}

/// The host as it is bound to: an IPv6 address may stand in brackets, as in a URL.
pub(super) fn bare_host(text: &str) -> &str {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.filter(|inner| Ipv6Addr::from_str(inner).is_ok()).unwrap_or(text)
}

pub(super) fn is_host(text: &str) -> bool {
    let text = bare_host(text);
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
