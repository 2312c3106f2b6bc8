//! The images of Notion notes: copied into the file storage, under their plain names. The database remembers which of those that
//! notes name an import has had, and which it found nowhere: these are not lost.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use projections::files::{Files, IMAGES};
use serde_json::json;
use sqlx::PgPool;
use tokio::runtime::Handle;

use crate::convert::Cell;
use crate::error::ImportError;
use crate::named::image_name;
use crate::report::{Notice, Report, key_text};
use crate::source::Source;

const EXTENSIONS: &[&str] =
    &["png", "jpg", "jpeg", "gif", "webp", "svg", "bmp", "heic", "tif", "tiff"];

/// Where images go to, and the runtime to ask it on.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    /// The file storage.
    pub files: &'a Files,
    /// The database, which remembers which were there.
    pub pool: &'a PgPool,
    /// The runtime.
    pub runtime: &'a Handle,
}

/// An image that a note names.
struct Named {
    note: String,
    name: String,
    is_there: bool,
}

impl Destination<'_> {
    /// The length of the image of this name, if there is one.
    fn length(self, name: &str) -> Result<Option<u64>, ImportError> {
        let key = format!("{IMAGES}{name}");
        Ok(self.runtime.block_on(self.files.store().facts(&key))?.map(|facts| facts.size))
    }

    /// Remembers which images that notes name are there, and which are not and never were. Of a note that was erased meanwhile nothing
    /// is remembered.
    fn remember(self, named: &[Named]) -> Result<(), ImportError> {
        let notes: Vec<&str> = named.iter().map(|it| &*it.note).collect();
        let names: Vec<&str> = named.iter().map(|it| &*it.name).collect();
        let are_there: Vec<bool> = named.iter().map(|it| it.is_there).collect();
        // One that was there and is gone stays one that was there.
        let remembering = sqlx::query(
            "insert into import_image (name, is_there)
             select name, bool_or(is_there) from unnest($1::text[], $2::text[], $3::boolean[]) as named (note, name, is_there)
             where not exists (select from stream_key where aggregate_type = 'note' and aggregate_id = note and destroyed_at is not null)
             group by name
             on conflict (name) do update set is_there = true where excluded.is_there",
        )
        .bind(notes)
        .bind(names)
        .bind(are_there)
        .execute(self.pool);
        self.runtime.block_on(remembering)?;
        Ok(())
    }

    fn put(self, name: &str, content: Vec<u8>) -> Result<(), ImportError> {
        let key = format!("{IMAGES}{name}");
        Ok(self.runtime.block_on(self.files.store().put(&key, content.into()))?)
    }
}

/// Copies the images that notes name, and all others in `from`; what is there already stays.
///
/// # Errors
/// When a file cannot be read or written. What is merely missing goes into the report.
pub fn copy(
    source: &Source,
    from: &Path,
    to: Destination<'_>,
    report: &mut Report,
) -> Result<(), ImportError> {
    let mut found = images_in(from)?;
    let mut named = Vec::new();
    if source.layout("note").is_some_and(|note| note.at("image_paths").is_some()) {
        for (id, paths) in source.texts("note", "image_paths")? {
            for path in paths.split(',').map(str::trim).filter(|path| !path.is_empty()) {
                let is_there = find_named(from, to, path, &id, &mut found, report)?;
                if let (Some(name), Some(is_there)) = (image_name(path), is_there) {
                    named.push(Named { note: key_text(&[&id]), name: name.to_owned(), is_there });
                }
            }
        }
    }
    for (name, path) in found {
        report.images += u64::from(copy_one(&path, &name, to, report.dry_run)?);
    }
    match report.dry_run {
        true => Ok(()),
        false => to.remember(&named),
    }
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

/// Looks for an image that a note names: in the folder itself, or under the path that the note gives. Tells whether it is
/// anywhere; nothing of what is no image's name.
fn find_named(
    from: &Path,
    to: Destination<'_>,
    path: &str,
    id: &Cell,
    found: &mut BTreeMap<String, PathBuf>,
    report: &mut Report,
) -> Result<Option<bool>, ImportError> {
    let id = id.integer().map_or_else(|| json!(key_text(&[id])), |id| json!(id));
    let mut complain = |reason: &str| {
        let mut notice = Notice::of_row("note", id.clone(), reason);
        notice.column = Some("image_paths".to_owned());
        notice.value = Some(path.chars().take(200).collect());
        report.note(notice);
    };
    let relative = Path::new(path);
    let Some(name) = image_name(path) else {
        complain("not the name of an image in a folder");
        return Ok(None);
    };
    if path.contains('\0') {
        return Ok(None);
    }
    if found.contains_key(name) {
        return Ok(Some(true));
    }
    let regular = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|facts| facts.is_file());
    match [from.join(name), from.join(relative)].into_iter().find(regular) {
        Some(file) => _ = found.insert(name.to_owned(), file),
        None if to.length(name)?.is_some() => {}
        None => {
            complain("the image is not in the folder");
            return Ok(Some(false));
        }
    }
    Ok(Some(true))
}

/// Copies a file unless one of its length is there.
fn copy_one(
    from: &Path,
    name: &str,
    to: Destination<'_>,
    dry_run: bool,
) -> Result<bool, ImportError> {
    let length = fs::metadata(from).map_err(|source| at(from, source))?.len();
    if to.length(name)? == Some(length) {
        return Ok(false);
    }
    if !dry_run {
        to.put(name, fs::read(from).map_err(|source| at(from, source))?)?;
    }
    Ok(true)
}

fn at(path: &Path, source: std::io::Error) -> ImportError {
    ImportError::Image { path: path.to_owned(), source }
}
