//! `/images`: the pictures that came with imported notes.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use projections::files::{FileError, IMAGES};

use crate::app::App;
use crate::describe::{Content, Routes, SERVER, get};
use crate::problem::Problem;

/// The route of images.
pub fn routes() -> Routes {
    Routes::tagged(SERVER)
        .at("/images/{file}", [get("A picture of an imported note", Content::Picture, show)])
}

async fn show(
    State(app): State<App>,
    file: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    // What is no UTF-8 is no name of ours.
    let Path(file) = file.map_err(|_| Problem::NoSuchPath)?;
    if !is_plain(&file) {
        return Err(Problem::NoSuchPath);
    }
    let content = match app.files.whole(&format!("{IMAGES}{file}")).await {
        Err(FileError::Missing(_) | FileError::NoKey(_)) => return Err(Problem::NoSuchPath),
        content => content?,
    };
    // An SVG may hold scripts; nothing that is served from here may run one.
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type(&file))),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    Ok((headers, content).into_response())
}

/// A name that leads nowhere but into the folder.
fn is_plain(file: &str) -> bool {
    !file.is_empty() && !file.starts_with('.') && !file.contains(['/', '\\', '\0', ':'])
}

fn media_type(file: &str) -> &'static str {
    let extension = file.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("gif") => "image/gif",
        Some("webp") => "image/webp",
        Some("svg") => "image/svg+xml",
        Some("bmp") => "image/bmp",
        Some("tif" | "tiff") => "image/tiff",
        Some("avif") => "image/avif",
        Some("heic") => "image/heic",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_looked_up() {
        for name in ["a.png", "3f2a_b1.jpeg", "foto de Lima.webp"] {
            assert!(is_plain(name), "{name}");
        }
        for name in ["", ".", "..", ".env", "../crm.db", "a/b.png", "a\\b.png", "c:a.png"] {
            assert!(!is_plain(name), "{name}");
        }
        assert_eq!(media_type("A.PNG"), "image/png");
        assert_eq!(media_type("x"), "application/octet-stream");
    }
}
