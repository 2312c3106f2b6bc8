//! Whether the files that the log names are in the file storage, and are what was stored: nobody else notices that one is lost
//! or damaged before somebody asks for it.

use std::collections::HashSet;
use std::time::Duration;

use domain::NoteId;
use projections::database::{Database, DatabaseError};
use projections::files::{FileError, Files, IMAGES};
use projections::log::Stream;
use projections::uploads::{self, CipherError};
use serde::Serialize;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::named::{MOST_NAMED, Named, image_name};

/// How far a check is, or what it has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stored {
    /// How many files were looked at.
    pub files: u64,
    /// How many there are to look at.
    pub of: u64,
    /// How many bytes these have by the log.
    pub bytes: u64,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// Images that notes name and that were not there when an import looked for them either. Nothing is lost of them.
    pub never_there: Vec<Fault>,
    /// How many other images of notes there are to be, where none of them is there: the import may not have been given their folder.
    pub no_images: u64,
    /// Positions of events that cannot be read: which files they name is not known.
    pub unreadable: Vec<i64>,
}

impl Stored {
    /// Whether everything is there and whole.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty() && self.no_images == 0 && self.unreadable.is_empty()
    }
}

/// A file that is not what was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What file storage calls it.
    pub key: String,
    /// Whose it is.
    pub of: String,
    /// What is wrong with it.
    pub what: String,
}

/// Why the files were not looked at.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The file storage does not answer, or refuses crm.
    #[error(transparent)]
    Files(#[from] FileError),
}

impl From<sqlx::Error> for CheckError {
    fn from(error: sqlx::Error) -> Self {
        CheckError::Database(DatabaseError::Failed(error))
    }
}

/// What is wrong with a file that is not there.
const MISSING: &str = "it is missing";

/// How often a file is looked at while the storage does not answer, and how long is waited in between.
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// The longest name that a folder may have for a file, in bytes.
const LONGEST_NAME: usize = 255;

/// A file that is to be there.
struct Wanted {
    key: String,
    of: String,
    /// Its SHA-256, and its length, where the log has them.
    content: Option<(String, Option<u64>)>,
    /// The note under whose key it is sealed.
    sealed: Option<NoteId>,
}

/// Reads every file that the log names, images of notes only if they are wanted, one after the other, and tells how far that is
/// after each.
///
/// # Errors
/// See [`CheckError`].
pub async fn check(
    database: &Database,
    files: &Files,
    with_images: bool,
    mut tell: impl FnMut(&Stored),
) -> Result<Stored, CheckError> {
    files.store().check().await?;
    let mut db = database.options_for(&[]).connect().await?;
    let named = Named::read(database, &mut db).await?;
    // It may take hours, in which a connection that says nothing is lost.
    db.close().await?;
    let unreadable = named.unreadable.clone();
    let is_image = |key: &str| key.starts_with(IMAGES);
    let mut wanted = wanted(named);
    wanted.retain(|file| with_images || !is_image(&file.key));
    let images = wanted.iter().filter(|file| is_image(&file.key)).count() as u64;
    let mut found = Stored { of: wanted.len() as u64, unreadable, ..Stored::default() };
    for file in wanted {
        if let Some(what) = look(database, files, &file).await? {
            found.faults.push(Fault { key: file.key, of: file.of, what });
        }
        found.files += 1;
        found.bytes += file.content.and_then(|(_, size)| size).unwrap_or_default();
        tell(&found);
    }
    if !found.faults.is_empty() {
        // What was removed or erased meanwhile is rightly gone.
        let mut db = database.options_for(&[]).connect().await?;
        let still = self::wanted(Named::read(database, &mut db).await?);
        db.close().await?;
        let still: HashSet<String> = still.into_iter().map(|file| file.key).collect();
        found.faults.retain(|fault| still.contains(&fault.key));
    }
    let is_missing_image = |it: &Fault| is_image(&it.key) && it.what == MISSING;
    if found.faults.iter().any(is_missing_image) {
        let unseen = unseen_images(database).await?;
        let is_unseen = |it: &mut Fault| is_missing_image(it) && unseen.contains(&it.key);
        found.never_there = found.faults.extract_if(.., is_unseen).collect();
    }
    let images = images - found.never_there.len() as u64;
    let missing = found.faults.iter().filter(|it| is_missing_image(it)).count();
    if images > 1 && missing as u64 == images {
        found.faults.retain(|fault| !is_image(&fault.key));
        found.no_images = images;
    }
    Ok(found)
}

/// The images that imports have looked for and found nowhere.
async fn unseen_images(database: &Database) -> Result<HashSet<String>, CheckError> {
    let statement = "select $1 || name from import_image where not is_there";
    let asking = sqlx::query_scalar(statement).bind(IMAGES).fetch_all(&database.pool);
    Ok(database.ask(asking).await?.into_iter().collect())
}

/// What the log names, each file once.
fn wanted(named: Named) -> Vec<Wanted> {
    let Named { recordings, documents, images, .. } = named;
    let recordings = recordings.into_iter().map(|(id, (note, file))| Wanted {
        of: format!("recording {id} of note {}", note.0),
        sealed: file.sealed.then_some(note),
        content: Some((file.sha256, Some(file.size))),
        key: file.key,
    });
    let documents = documents.into_iter().map(|(key, document)| {
        let of: Vec<String> = document.of.iter().take(MOST_NAMED).map(Stream::to_string).collect();
        let others = if document.of.len() > MOST_NAMED { " and others" } else { "" };
        Wanted {
            key,
            of: format!("a document of {}{others}", of.join(", ")),
            content: Some((document.sha256, document.size)),
            sealed: None,
        }
    });
    let images = images.iter().flat_map(|(note, paths)| {
        let names = paths.split(',').filter_map(|path| image_name(path.trim()));
        // What is longer is no name of a file, whatever somebody has written there.
        names.filter(|name| name.len() <= LONGEST_NAME).map(|name| Wanted {
            key: format!("{IMAGES}{name}"),
            of: format!("an image of note {}", note.0),
            content: None,
            sealed: None,
        })
    });
    let mut seen = HashSet::new();
    let all = recordings.chain(documents).chain(images);
    all.filter(|file| seen.insert(file.key.clone())).collect()
}

/// What is wrong with a file, if anything is.
async fn look(
    database: &Database,
    files: &Files,
    file: &Wanted,
) -> Result<Option<String>, CheckError> {
    let mut compared = compare(database, files, file).await;
    for _ in 1..ATTEMPTS {
        if !matches!(&compared, Err(CheckError::Files(error)) if error.is_outage()) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        compared = compare(database, files, file).await;
    }
    match compared {
        Ok(what) => Ok(what),
        Err(CheckError::Files(error)) if error.is_outage() => Err(error.into()),
        Err(CheckError::Files(FileError::Missing(_))) => Ok(Some(MISSING.to_owned())),
        // What a person called an image may be the name of nothing that can be stored.
        Err(CheckError::Files(FileError::NoKey(_))) if file.content.is_none() => Ok(None),
        Err(CheckError::Files(error)) => Ok(Some(format!("it cannot be read: {error}"))),
        Err(error) => Err(error),
    }
}

/// How a file differs from what was stored.
async fn compare(
    database: &Database,
    files: &Files,
    file: &Wanted,
) -> Result<Option<String>, CheckError> {
    let Some(there) = files.store().facts(&file.key).await? else {
        return Ok(Some(MISSING.to_owned()));
    };
    let Some((sha256, size)) = &file.content else { return Ok(None) };
    if let Some(size) = size.filter(|size| there.size != *size) {
        return Ok(Some(format!("it has {} bytes and not {size}", there.size)));
    }
    let cipher = match file.sealed {
        None => None,
        Some(note) => match uploads::cipher(database, note.0, &file.key).await {
            Ok(Some(cipher)) => Some(cipher),
            Ok(None) => {
                return Ok(Some("it is sealed, and the key of its note is not there".to_owned()));
            }
            Err(CipherError::File(error)) => return Ok(Some(error.to_string())),
            Err(CipherError::Database(error)) => return Err(error.into()),
        },
    };
    let found = files.sha256(&file.key, cipher).await?;
    let is_other = !found.eq_ignore_ascii_case(sha256);
    Ok(is_other.then(|| format!("its SHA-256 is {found} and not {sha256}")))
}
