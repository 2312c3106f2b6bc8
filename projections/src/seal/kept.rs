//! The newest checkpoint that this installation has signed, in a file beside its key. Whoever makes the chain anew in the
//! database makes one that does not lead through it.

use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::Note;

/// The file is there and says nothing.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} cannot be read ({reason}); put it back from a backup, or move it away: then the seals are believed that the database \
     has", .path.display()
)]
pub struct KeptError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// The folder that it is kept in.
#[derive(Clone, Debug)]
pub struct Kept(PathBuf);

impl Kept {
    /// In the folder for keys.
    pub fn in_folder(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The file for a log: one installation may turn from one log to another.
    pub fn file(&self, log: Uuid) -> PathBuf {
        self.0.join(format!("sealed-{log}.txt"))
    }

    /// What is kept of a log, if anything is.
    ///
    /// # Errors
    /// When there is a file that is no checkpoint, or cannot be read.
    pub fn read(&self, log: Uuid) -> Result<Option<Note>, KeptError> {
        let path = self.file(log);
        let unreadable = |reason: String| KeptError { path: path.clone(), reason };
        match std::fs::read_to_string(&path) {
            Ok(text) => match text.parse() {
                Ok(note) => Ok(Some(note)),
                Err(error) => Err(unreadable(format!("{error}"))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(error.to_string())),
        }
    }

    /// Keeps this checkpoint in the place of the one before, at once and whole.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn replace(&self, log: Uuid, note: &Note) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
        file.write_all(note.to_string().as_bytes())?;
        // Else a machine that loses its power may have an empty one, which would stop the sealing.
        file.as_file().sync_all()?;
        file.persist(self.file(log)).map(|_| ()).map_err(|error| error.error)
    }
}
