//! The images of Notion notes: copied beside the system's other data, under their plain names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::json;

use crate::convert::Cell;
use crate::error::ImportError;
use crate::report::{Notice, Report, key_text};
use crate::source::Source;

const EXTENSIONS: &[&str] =
    &["png", "jpg", "jpeg", "gif", "webp", "svg", "bmp", "heic", "tif", "tiff"];

/// Copies the images that notes name, and all others in `from`, into `to`; what is there already stays.
///
/// # Errors
/// When a file cannot be read or written. What is merely missing goes into the report.
pub fn copy(
    source: &Source,
    from: &Path,
    to: &Path,
    dry_run: bool,
    report: &mut Report,
) -> Result<(), ImportError> {
    let mut found = images_in(from)?;
    if source.layout("note").is_some_and(|note| note.at("image_paths").is_some()) {
        for (id, paths) in source.texts("note", "image_paths")? {
            for path in paths.split(',').map(str::trim).filter(|path| !path.is_empty()) {
                find_named(from, to, path, &id, &mut found, report);
            }
        }
    }
    if !dry_run {
        fs::create_dir_all(to).map_err(|source| at(to, source))?;
    }
    for (name, path) in found {
        report.images += u64::from(copy_one(&path, &to.join(name), dry_run)?);
    }
    Ok(())
}

/// The regular image files in the folder, by name.
fn images_in(folder: &Path) -> Result<BTreeMap<String, PathBuf>, ImportError> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|source| at(folder, source))? {
        let entry = entry.map_err(|source| at(folder, source))?;
        let path = entry.path();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let is_image = EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str());
        let regular = entry.file_type().map_err(|source| at(&path, source))?.is_file();
        if let (true, true, Ok(name)) = (is_image, regular, entry.file_name().into_string()) {
            found.insert(name, path);
        }
    }
    Ok(found)
}

/// Looks for an image that a note names: in the folder itself, or under the path that the note gives.
fn find_named(
    from: &Path,
    to: &Path,
    path: &str,
    id: &Cell,
    found: &mut BTreeMap<String, PathBuf>,
    report: &mut Report,
) {
    let id = id.integer().map_or_else(|| json!(key_text(&[id])), |id| json!(id));
    let mut complain = |reason: &str| {
        let mut notice = Notice::of_row("note", id.clone(), reason);
        notice.column = Some("image_paths".to_owned());
        notice.value = Some(path.chars().take(200).collect());
        report.note(notice);
    };
    let relative = Path::new(path);
    let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
    let name = relative.file_name().and_then(|name| name.to_str()).filter(|_| inside);
    let Some(name) = name else { return complain("not the name of an image in a folder") };
    if found.contains_key(name) || path.contains('\0') {
        return;
    }
    let regular = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|facts| facts.is_file());
    match [from.join(name), from.join(relative)].into_iter().find(regular) {
        Some(file) => _ = found.insert(name.to_owned(), file),
        None if regular(&to.join(name)) => {}
        None => complain("the image is not in the folder"),
    }
}

/// Copies a file unless one of its length is there. The copy appears whole or not at all.
fn copy_one(from: &Path, to: &Path, dry_run: bool) -> Result<bool, ImportError> {
    let length = fs::metadata(from).map_err(|source| at(from, source))?.len();
    if fs::metadata(to).is_ok_and(|facts| facts.len() == length) {
        return Ok(false);
    }
    if !dry_run {
        let part = to.with_extension("part");
        fs::copy(from, &part).map_err(|source| at(from, source))?;
        fs::rename(&part, to).map_err(|source| at(to, source))?;
    }
    Ok(true)
}

fn at(path: &Path, source: std::io::Error) -> ImportError {
    ImportError::Image { path: path.to_owned(), source }
}
