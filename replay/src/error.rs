//! Why an import did not take place, or stopped.

use std::path::PathBuf;

use projections::log::ReadLogError;

/// Why an import did not take place, or stopped. Every message says what to do about it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each message describes its variant and fields")]
pub enum ImportError {
    #[error("there is no file {}", .0.display())]
    NotFound(PathBuf),
    #[error("{} is not a file; name the legacy database itself, usually crm.db", .0.display())]
    NotAFile(PathBuf),
    #[error("{} is empty: it may not have been copied to its end; copy it again from its source", .0.display())]
    Empty(PathBuf),
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error(
        "{} is not an SQLite database, or it is encrypted; name the legacy database, usually crm.db", .0.display()
    )]
    NotSqlite(PathBuf),
    #[error(
        "the file is damaged or cut off ({0}); copy it again from its source, or take a backup such as crm.db.backup"
    )]
    Damaged(String),
    #[error("the file is in use; close the legacy application and run the import again")]
    InUse,
    #[error(
        "the legacy application was interrupted while it wrote the file; start and close it once so that it repairs \
         the file, then run the import again"
    )]
    Interrupted,
    #[error("this is not a legacy CRM database: it has no table {0}")]
    NotLegacy(String),
    #[error("this is not a legacy CRM database: its table {table} has no column {column}")]
    MalformedTable { table: String, column: String },
    #[error(
        "the file has tables that no legacy CRM database has: {}; nothing was imported, because their content would \
         be lost. Remove them from a copy of the file and import the copy", .0.join(", ")
    )]
    UnknownTables(Vec<String>),
    #[error(
        "this file is not a newer copy of the one imported before: {shared} of its records have ids that were \
         imported, but only {same} of them are the same records. Import it into a system of its own, with another \
         CRM_DATA_DIR or DATABASE_URL"
    )]
    OtherFile { shared: u64, same: u64 },
    #[error(
        "the file holds no rows at all, but {imported} records were imported before; it is not a newer copy of that \
         file. Check that it is the right file"
    )]
    NoRows { imported: u64 },
    #[error(
        "this file is older than the one imported last ({name}, on {at}): by SQLite's own count it was changed {changes} times, and \
         that one {last} times. It would take back what has come since, in so many records: {taken_back}. Import the newest copy; or, \
         if the older one is what is meant, run the import again with `--older`"
    )]
    Older { changes: u32, last: u32, name: String, at: String, taken_back: String },
    #[error("another import is running; wait until it has ended")]
    AlreadyRunning,
    #[error("{} is not a folder; --images takes the folder with the images of the notes", .0.display())]
    NoImagesFolder(PathBuf),
    #[error(
        "records were changed while the import wrote them; what was imported so far is complete, run it again for \
         the rest"
    )]
    ChangedMeanwhile,
    #[error("the file cannot be read: {0}")]
    Sqlite(rusqlite::Error),
    #[error("the database failed: {0}; run the import again, it goes on where it stopped")]
    Database(#[from] sqlx::Error),
    #[error("position {position} of the event log: {source}")]
    Log { position: i64, source: domain::DecodeError },
    #[error("position {position} of the event log: {source}")]
    Sealed { position: i64, source: projections::log::cipher::OpenError },
    #[error("{kind} {id} cannot be imported: {reason}")]
    Record { kind: domain::Kind, id: i64, reason: String },
    #[error(
        "a file cannot be stored or read: {0}; run the import again, it goes on where it stopped"
    )]
    Files(#[from] projections::files::FileError),
    #[error("{}: {source}", path.display())]
    Image { path: PathBuf, source: std::io::Error },
    #[error("the import stopped without a result: {0}")]
    Stopped(String),
}

impl From<ReadLogError> for ImportError {
    fn from(error: ReadLogError) -> Self {
        match error {
            ReadLogError::Database(error) => error.into(),
            ReadLogError::Decode { position, source } => ImportError::Log { position, source },
            ReadLogError::Sealed { position, source } => ImportError::Sealed { position, source },
        }
    }
}

impl From<rusqlite::Error> for ImportError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let Some(code) = error.sqlite_error() else { return ImportError::Sqlite(error) };
        match code.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => ImportError::InUse,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                ImportError::Damaged(error.to_string())
            }
            ErrorCode::ReadOnly => ImportError::Interrupted,
            _ => ImportError::Sqlite(error),
        }
    }
}
