//! Whether a legacy file is older than the one that was imported last, so that it would take back what came since.
//!
//! SQLite counts in the header of a file the transactions that have changed it, and the changes of its tables. A copy has the
//! counts of its original, and whatever is done to a file, deleting rows as well, makes the first grow. So a file is older if its
//! tables have changed as often as those of the last one, its rows less often, and none of its ids is higher. Only that tells:
//! a file that was made anew from another (`.backup`, `VACUUM INTO`, a dump) counts from the beginning, and in write-ahead mode SQLite
//! does not count each change. Such files are taken for newer ones.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::Kind;
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::error::ImportError;

/// What a file says of how often it was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Transactions that have changed it.
    changes: u32,
    /// Changes of its tables.
    schema_changes: u32,
}

impl Clock {
    /// How long the header is.
    pub const HEADER: usize = 100;

    /// Reads it off the header; none if the file does not count each change.
    pub fn of_header(header: &[u8; Self::HEADER]) -> Option<Self> {
        const WRITE_AHEAD: u8 = 2;
        let number = |at: usize| {
            header[at..at + 4].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
        };
        (header[18] != WRITE_AHEAD)
            .then(|| Self { changes: number(24), schema_changes: number(40) })
    }
}

/// The highest id of each kind that a file uses.
type Highest = BTreeMap<Kind, i64>;

/// The file that was imported last.
#[derive(Debug)]
pub struct Last {
    name: String,
    imported_at: DateTime<Utc>,
    clock: Clock,
    highest: BTreeMap<String, i64>,
}

impl Last {
    /// What is known of it; none if nothing was imported yet, or its age could not be told.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(connection: &mut PgConnection) -> Result<Option<Self>, sqlx::Error> {
        type Stored = (String, DateTime<Utc>, i64, i64, Json<BTreeMap<String, i64>>);
        let stored: Option<Stored> = sqlx::query_as(
            "select name, imported_at, changes, schema_changes, highest from import_file",
        )
        .fetch_optional(connection)
        .await?;
        Ok(stored.and_then(|(name, imported_at, changes, schema_changes, highest)| {
            let (changes, schema_changes) =
                (changes.try_into().ok()?, schema_changes.try_into().ok()?);
            let clock = Clock { changes, schema_changes };
            Some(Self { name, imported_at, clock, highest: highest.0 })
        }))
    }

    /// Whether a file is older.
    pub fn is_newer_than(&self, clock: Option<Clock>, highest: &Highest) -> bool {
        let known = |kind: &Kind| self.highest.get(kind.as_str()).copied().unwrap_or_default();
        clock.is_some_and(|clock| {
            clock.schema_changes == self.clock.schema_changes && clock.changes < self.clock.changes
        }) && highest.iter().all(|(kind, id)| *id <= known(kind))
    }

    /// Refuses a file that is older, which would take back this.
    pub fn refuse(&self, clock: Option<Clock>, changes: &BTreeMap<String, u64>) -> ImportError {
        let counts: Vec<String> =
            changes.iter().map(|(table, count)| format!("{table} {count}")).collect();
        ImportError::Older {
            changes: clock.map_or(0, |clock| clock.changes),
            last: self.clock.changes,
            name: self.name.clone(),
            at: self.imported_at.format("%Y-%m-%d %H:%M UTC").to_string(),
            taken_back: counts.join(", "),
        }
    }
}

/// Remembers a file as the one that was imported last, and the highest ids that any had.
///
/// # Errors
/// When the database fails.
pub async fn remember(
    connection: &mut PgConnection,
    name: &str,
    clock: Option<Clock>,
    highest: &Highest,
) -> Result<(), sqlx::Error> {
    let Some(Clock { changes, schema_changes }) = clock else {
        sqlx::query("delete from import_file").execute(connection).await?;
        return Ok(());
    };
    let highest: BTreeMap<&str, i64> =
        highest.iter().map(|(kind, id)| (kind.as_str(), *id)).collect();
    sqlx::query(
        "insert into import_file (name, changes, schema_changes, highest) values ($1, $2, $3, $4)
         on conflict (is_only) do update set name = excluded.name, changes = excluded.changes,
             schema_changes = excluded.schema_changes, imported_at = now(),
             highest = (select coalesce(jsonb_object_agg(kind, id), '{}') from (
                 select kind, max(id::bigint) as id from (
                     select * from jsonb_each_text(import_file.highest)
                     union all select * from jsonb_each_text(excluded.highest)) as of_both (kind, id)
                 group by kind) as greatest)",
    )
    .bind(name)
    .bind(i64::from(changes))
    .bind(i64::from(schema_changes))
    // Of rows that were deleted since an older copy still has the ids.
    .bind(Json(highest))
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_older_by_its_own_count_alone() {
        let last = Last {
            name: "crm.db".into(),
            imported_at: DateTime::UNIX_EPOCH,
            clock: Clock { changes: 57, schema_changes: 30 },
            highest: BTreeMap::from([("lp".into(), 9)]),
        };
        let check = |clock: Option<(u32, u32)>, highest: i64, expected: bool| {
            let clock = clock.map(|(changes, schema_changes)| Clock { changes, schema_changes });
            let highest = BTreeMap::from([(Kind::Lp, highest)]);
            assert_eq!(last.is_newer_than(clock, &highest), expected, "{clock:?} {highest:?}");
        };
        check(Some((56, 30)), 9, true);
        check(Some((56, 30)), 3, true);
        check(Some((57, 30)), 9, false);
        // Rows were deleted: that is a change as well.
        check(Some((58, 30)), 3, false);
        // Made anew from another file.
        check(Some((1, 1)), 9, false);
        check(Some((56, 30)), 10, false);
        check(None, 9, false);
    }

    #[test]
    fn a_file_in_write_ahead_mode_does_not_count_each_change() {
        let mut header = [0; Clock::HEADER];
        (header[27], header[43], header[18]) = (7, 3, 1);
        assert_eq!(Clock::of_header(&header), Some(Clock { changes: 7, schema_changes: 3 }));
        header[18] = 2;
        assert_eq!(Clock::of_header(&header), None);
    }
}
