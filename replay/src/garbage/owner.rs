//! Whose files a store holds.
//!
//! To a database that is a copy, or that was given a store by mistake, the files of another are files that nothing names.
//! Only the database that a mark in the store tells of may remove such files. It is set by whoever collects first and names
//! most of what is there, or by a person.

use projections::database::{Database, DatabaseError};
use projections::files::{FileError, Files, gather};

use crate::scrub::is_no_right;

/// Where the mark is: among the files, so that it stays with them when they are copied, or are on a disk of their own.
const MARK: &str = "recordings/crm-owner.txt";

/// How much of a mark is read, in bytes.
const MOST: u64 = 4096;

/// What follows the name of the database in a mark, for people.
const EXPLANATION: &str = "This database of crm removes from here what it does not name and is older than a day, also what \
    other databases have put here. Those remove nothing: `crm files adopt` makes one of them the owner.";

/// Who may remove what nothing names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This database.
    This,
    /// Another one, which is called so.
    Other(String),
    /// That is not known yet.
    Nobody,
}

/// What this database is called in a mark. A copy is called otherwise, unless it is at the original's address, or in the same
/// folder of another machine, and in a copy of the original's server.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn name(database: &Database) -> Result<String, DatabaseError> {
    let server = "select system_identifier::text from pg_control_system()";
    let asking = async {
        match sqlx::query_scalar(server).fetch_one(&database.pool).await {
            // Where that may not be asked, the address has to do.
            Err(error) if is_no_right(&error) => Ok("unknown".to_owned()),
            answer => answer,
        }
    };
    let server = database.ask(asking).await?;
    Ok(format!("{} (server {server})", database.address()))
}

/// Who may remove what nothing names in these files, for the database that is called so.
///
/// # Errors
/// When the store fails.
pub(super) async fn of(files: &Files, name: &str) -> Result<Owner, FileError> {
    let mark = match files.store().read(MARK, 0..MOST).await {
        Ok(content) => gather(content).await?,
        Err(FileError::Missing(_)) => return Ok(Owner::Nobody),
        Err(error) => return Err(error),
    };
    let mark = String::from_utf8_lossy(&mark);
    let owner = mark.lines().next().unwrap_or_default().trim();
    Ok(match owner {
        "" => Owner::Nobody,
        _ if owner == name => Owner::This,
        _ => Owner::Other(owner.to_owned()),
    })
}

/// Makes the database that is called so the one that may.
///
/// # Errors
/// When the store fails.
pub(super) async fn set(files: &Files, name: &str) -> Result<(), FileError> {
    files.store().put(MARK, format!("{name}\n{EXPLANATION}\n").into_bytes().into()).await
}
