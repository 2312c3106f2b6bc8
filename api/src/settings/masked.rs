//! Values as they may be shown.

use std::fmt;

use super::known::Setting;

/// A value that is never shown: `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Secret {
        Secret(value.into())
    }

    /// The value itself, for the one place that needs it. Not for logs, errors or answers.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A value as it may be shown.
pub(super) fn shown(setting: &Setting, value: &str) -> String {
    match setting.name {
        _ if setting.secret => "***".to_owned(),
        "DATABASE_URL" => without_password(value),
        name if name.ends_with("_URL") || name.ends_with("_ENDPOINT") => {
            without_query(&without_password(value))
        }
        _ => value.to_owned(),
    }
}

/// Masks what follows the path of a URL: where no parameter is expected, it may be a key.
fn without_query(url: &str) -> String {
    match url.find(['?', '#']) {
        Some(at) => format!("{}***", &url[..=at]),
        None => url.to_owned(),
    }
}

/// Masks the password of a URL, wherever it stands: `user:password@host` and `?password=`. Works on text, since a URL that
/// is wrong must be shown as well; then it hides too much rather than too little.
pub(super) fn without_password(url: &str) -> String {
    let start = url.find("://").map_or(0, |at| at + 3);
    let mut masked = match url[start..].rfind('@') {
        Some(at) => {
            let user = url[start..start + at].split(':').next().unwrap_or_default();
            let password = if user.len() == at { "" } else { ":***" };
            format!("{}{user}{password}{}", &url[..start], &url[start + at..])
        }
        None => url.to_owned(),
    };
    // Also `sslpassword=`.
    let mut from = 0;
    while let Some(at) = masked[from..].find("password=").map(|at| from + at + "password=".len()) {
        let end = masked[at..].find('&').map_or(masked.len(), |length| at + length);
        masked.replace_range(at..end, "***");
        from = at;
    }
    masked
}
