//! Why a file could not be stored or read, by what is to be done about it.

use std::io;
use std::path::Path;
use std::time::Duration;

/// Why a file could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is no such file.
    #[error("there is no stored file {0}")]
    Missing(String),
    /// The name cannot be that of a stored file.
    #[error("{0:?} cannot be the name of a stored file")]
    NoKey(String),
    /// There is no room; what was stored before is still there.
    #[error("the file storage is full: {0}")]
    Full(String),
    /// The store refuses crm; somebody has to change settings or rights.
    #[error("the file storage refuses crm: {0}")]
    Denied(String),
    /// The store does not answer, or not in time; it may later.
    #[error("the file storage does not answer: {0}")]
    Unavailable(String),
    /// The folder is not the one in which the files were put: they are away, and nothing may be put there. The text says what to do.
    #[error("{0}")]
    OtherFolder(String),
    /// What is stored is not what was stored.
    #[error("stored file {key} is damaged: {what}")]
    Damaged {
        /// Which file.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// The store gives the file, and it cannot be copied to where it is worked on. The text says what to do.
    #[error("the folder for temporary files, {folder}, {what}")]
    NoCopy {
        /// Where to.
        folder: String,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// Anything else.
    #[error("the file storage failed: {0}")]
    Failed(String),
}

impl FileError {
    /// Whether the store is away and may come back: nothing is known of its files until then.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(self, FileError::Unavailable(_) | FileError::OtherFolder(_))
    }

    /// Whether it says something of the store, and not of one file alone.
    #[must_use]
    pub(super) fn is_of_store(&self) -> bool {
        !matches!(
            self,
            FileError::Missing(_)
                | FileError::NoKey(_)
                | FileError::Damaged { .. }
                | FileError::NoCopy { .. }
        )
    }

    /// The whole of it and what to do, for whoever runs crm.
    #[must_use]
    pub fn with_advice(&self) -> String {
        let advice = match self {
            FileError::Full(_) => "make room there: nothing that was stored is lost",
            FileError::Denied(_) => {
                "is it mounted read-only, or has crm's user lost the right to write there? For a bucket, check S3_BUCKET and its keys"
            }
            FileError::Unavailable(_) => "is it running, mounted and to be reached from here?",
            FileError::Failed(_) => "look at the disk, and into the system's log",
            // These say it themselves, or are about one file.
            _ => return self.to_string(),
        };
        format!("{self}; {advice}")
    }

    /// What people are told who only use crm. The whole is for the log, since it may name buckets and folders.
    #[must_use]
    pub fn in_plain_words(&self) -> &'static str {
        match self {
            FileError::Full(_) => {
                "the file storage is full: nothing that was stored is lost; whoever runs crm should make room"
            }
            FileError::Denied(_) => {
                "the file storage refuses crm: whoever runs crm should look into its log, and check the rights of CRM_DATA_DIR, or \
                 S3_BUCKET and its keys"
            }
            FileError::Unavailable(_) => "the file storage does not answer",
            FileError::OtherFolder(_) => {
                "the folder of files is not the one that this database knows, so nothing is read from it or stored there: whoever runs \
                 crm should look into its log, and whether the disk is mounted"
            }
            FileError::Missing(_) => "the file is not in the file storage",
            FileError::Damaged { .. } => "the stored file is damaged",
            FileError::NoCopy { .. } => {
                "files cannot be copied to the folder for temporary files (TMPDIR): whoever runs crm should look into its log"
            }
            FileError::NoKey(_) | FileError::Failed(_) => "the file storage failed",
        }
    }

    /// The store has said nothing about this file for so long.
    pub(super) fn silent(key: &str, patience: Duration) -> Self {
        FileError::Unavailable(format!("{key}: it was silent for {patience:?}"))
    }

    /// What the system's answer means for a copy in the folder for temporary files.
    pub(super) fn of_copying(error: &io::Error, folder: &Path) -> Self {
        use io::ErrorKind::{
            NotADirectory, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem,
            StorageFull,
        };
        let what = match error.kind() {
            StorageFull | QuotaExceeded => {
                "is full: make room there, or set TMPDIR to a folder with more room".to_owned()
            }
            PermissionDenied | ReadOnlyFilesystem => {
                "cannot be written by crm's user: allow it, or set TMPDIR to a folder that can"
                    .to_owned()
            }
            NotFound | NotADirectory => {
                "is not there: make it, or set TMPDIR to a folder that is".to_owned()
            }
            _ => format!("fails ({error}): look at its disk, or set TMPDIR to another folder"),
        };
        FileError::NoCopy { folder: folder.display().to_string(), what }
    }

    /// What the system's answer means for a file of this name.
    pub(super) fn of_system(error: &io::Error, key: &str) -> Self {
        use io::ErrorKind::{
            FileTooLarge, HostUnreachable, NetworkUnreachable, NotConnected, NotFound,
            PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StaleNetworkFileHandle,
            StorageFull, TimedOut,
        };
        let said = format!("{key}: {error}");
        match error.kind() {
            NotFound => FileError::Missing(key.to_owned()),
            StorageFull | QuotaExceeded | FileTooLarge => FileError::Full(said),
            PermissionDenied | ReadOnlyFilesystem => FileError::Denied(said),
            // A folder on another machine.
            HostUnreachable
            | NetworkUnreachable
            | NotConnected
            | StaleNetworkFileHandle
            | TimedOut => FileError::Unavailable(said),
            _ => FileError::Failed(said),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_becomes_what_can_be_done() {
        let check = |code: i32, expected: &str| {
            let error = FileError::of_system(&io::Error::from_raw_os_error(code), "images/a.png");
            let text = error.to_string();
            assert!(text.starts_with(expected) && text.contains("images/a.png"), "{text}");
        };
        check(28, "the file storage is full");
        check(122, "the file storage is full");
        check(13, "the file storage refuses crm");
        check(30, "the file storage refuses crm");
        check(2, "there is no stored file");
        check(116, "the file storage does not answer");
        check(107, "the file storage does not answer");
        check(5, "the file storage failed");
    }

    #[test]
    fn a_copy_that_cannot_be_made_is_no_matter_of_the_store() {
        let check = |code: i32, expected: &str| {
            let error = io::Error::from_raw_os_error(code);
            let error = FileError::of_copying(&error, Path::new("/tmp/crm"));
            let text = error.to_string();
            assert!(text.starts_with("the folder for temporary files, /tmp/crm, "), "{text}");
            assert!(text.contains(expected) && text.contains("TMPDIR"), "{text}");
            assert!(!error.is_of_store());
        };
        check(28, "is full: make room there");
        check(122, "is full: make room there");
        check(13, "cannot be written");
        check(30, "cannot be written");
        check(2, "is not there: make it");
        check(20, "is not there: make it");
        check(5, "Input/output error");
    }
}
