//! Style and scripts, in the executable. Their names carry their hashes, so a browser may keep them for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use crate::problem::Problem;

/// A file as it is served.
pub struct Asset {
    /// Where it is.
    pub path: String,
    media_type: &'static str,
    content: &'static [u8],
}

impl Asset {
    fn new(name: &str, extension: &str, content: &'static [u8]) -> Self {
        let hash = hex::encode(Sha256::digest(content));
        let media_type = match extension {
            "css" => "text/css; charset=utf-8",
            _ => "text/javascript; charset=utf-8",
        };
        Self {
            path: format!("/audit/assets/{name}-{}.{extension}", &hash[..16]),
            media_type,
            content,
        }
    }
}

/// How pages look.
pub static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("audit", "css", include_bytes!("assets/audit.css")));
/// What they do beyond plain HTML.
pub static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("audit", "js", include_bytes!("assets/audit.js")));
/// How pages of recordings look.
pub static RECORDINGS: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("recordings", "css", include_bytes!("assets/recordings.css")));
/// Sends recordings in parts.
pub static TUS: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("tus", "js", include_bytes!("assets/tus.js")));
/// Records.
pub static RECORDER: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("recorder", "js", include_bytes!("assets/recorder.js")));
/// Plays a recording along its transcript.
pub static RECORDING: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("recording", "js", include_bytes!("assets/recording.js")));
/// Lets a part of a page become another, node by node.
pub static IDIOMORPH: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("idiomorph", "js", include_bytes!("assets/idiomorph.min.js")));
/// Replaces parts of a page without loading it anew.
pub static HTMX: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("htmx", "js", include_bytes!("assets/htmx.min.js")));

/// Answers with the file of this name.
pub async fn show(file: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let Path(file) = file.map_err(|_| Problem::NoSuchPath)?;
    let is_asked = |asset: &&&LazyLock<Asset>| asset.path.ends_with(&format!("/{file}"));
    let asset = [&STYLE, &SCRIPT, &HTMX, &IDIOMORPH, &RECORDINGS, &TUS, &RECORDER, &RECORDING];
    let asset = asset.iter().find(is_asked).ok_or(Problem::NoSuchPath)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    Ok((headers, asset.content).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendored_scripts_are_the_ones_that_the_readme_names() {
        let readme = include_str!("assets/README.md");
        for asset in [&HTMX, &IDIOMORPH] {
            assert!(readme.contains(&hex::encode(Sha256::digest(asset.content))), "{}", asset.path);
        }
    }
}
