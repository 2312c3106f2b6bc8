//! What earlier imports saw: the hash of every unit and the version of its stream.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::{Kind, Moment, import};
use sqlx::PgConnection;

use crate::error::ImportError;
use crate::unit::Hash;

/// What an earlier import saw of a record.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Hash of its rows; none once they were gone.
    pub hash: Option<Hash>,
    /// The version of its stream after the import.
    pub version: i64,
    /// What it was called.
    pub identity: Hash,
    /// The arrival that a roadshow has announced for it since.
    pub announced: Option<Moment>,
    /// Whether this run has met it.
    pub seen: bool,
}

/// What an earlier import saw of a row that belongs to no record.
#[derive(Clone, Debug)]
pub struct RowEntry {
    /// Its hash.
    pub hash: Hash,
    /// Whether this run has met it.
    pub seen: bool,
}

/// Records that no import made: what the file says about their ids is about other records.
pub type Foreign = HashSet<(Kind, i64)>;

/// All that earlier imports saw.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Records.
    pub records: HashMap<(Kind, i64), Entry>,
    /// Rows that belong to none, by table and key.
    pub rows: BTreeMap<(String, String), RowEntry>,
    /// Records that no import made.
    pub foreign: Foreign,
    /// The version of the stream of such rows.
    pub rows_version: i64,
}

/// An entry on its way into the ledger.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Hash of the rows.
    pub hash: Option<Hash>,
    /// The version of the stream.
    pub version: i64,
    /// What the record is called.
    pub identity: Hash,
    /// See [`Entry::announced`].
    pub announced: Option<Moment>,
}

/// Marks by kind and key: within one transaction the last one counts.
pub type Marks = BTreeMap<(String, String), Mark>;

/// What the kind of a row that belongs to no record begins with.
const ROW: &str = "row:";

/// The kind under which a row that belongs to no record is marked.
pub fn row_kind(table: &str) -> String {
    format!("{ROW}{table}")
}

type Stored = (String, String, Option<Vec<u8>>, i64, Vec<u8>, Option<String>);

impl Ledger {
    /// Reads the ledger, and which records no import made.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(connection: &mut PgConnection) -> Result<Self, ImportError> {
        let mut ledger = Ledger::default();
        let stored: Vec<Stored> =
            sqlx::query_as("select kind, key, hash, version, identity, announced from import_unit")
                .fetch_all(&mut *connection)
                .await?;
        for entry in stored {
            ledger.add(entry);
        }
        ledger.foreign = foreign(connection).await?;
        ledger.rows_version = sqlx::query_scalar(
            "select coalesce(max(sequence), 0) from events where aggregate_type = $1 and aggregate_id = $2",
        )
        .bind(import::STREAM_TYPE)
        .bind(import::STREAM_ID)
        .fetch_one(connection)
        .await?;
        Ok(ledger)
    }

    fn add(&mut self, (kind, key, hash, version, identity, announced): Stored) {
        let hash = hash.and_then(|hash| Hash::try_from(hash).ok());
        if let Some(table) = kind.strip_prefix(ROW) {
            if let Some(hash) = hash {
                self.rows.insert((table.to_owned(), key), RowEntry { hash, seen: false });
            }
            return;
        }
        let (Some(kind), Ok(id)) = (Kind::parse(&kind), key.parse()) else { return };
        let identity = Hash::try_from(identity).unwrap_or_default();
        let announced = announced.and_then(|date| Moment::parse(&date).ok());
        self.records.insert((kind, id), Entry { hash, version, identity, announced, seen: false });
    }

    /// How many records of the last file are not known to be gone.
    pub fn present(&self) -> u64 {
        self.records.values().filter(|entry| entry.hash.is_some()).count() as u64
    }

    /// Notes that the row was met and tells what an earlier import saw of it.
    pub fn meet_row(&mut self, table: &str, key: &str) -> Option<Hash> {
        let entry = self.rows.get_mut(&(table.to_owned(), key.to_owned()))?;
        entry.seen = true;
        Some(entry.hash)
    }
}

/// The records that no import made.
///
/// # Errors
/// When the database fails.
pub async fn foreign(connection: &mut PgConnection) -> Result<Foreign, sqlx::Error> {
    let found: Vec<(String, String)> = sqlx::query_as(
        "select aggregate_type, aggregate_id from events
         where sequence = 1 and not exists
             (select from import_unit where kind = aggregate_type and key = aggregate_id)",
    )
    .fetch_all(connection)
    .await?;
    let record = |(kind, id): (String, String)| Some((Kind::parse(&kind)?, id.parse().ok()?));
    Ok(found.into_iter().filter_map(record).collect())
}

/// Writes marks.
///
/// # Errors
/// When the database fails.
pub async fn record(connection: &mut PgConnection, marks: &Marks) -> Result<(), sqlx::Error> {
    if marks.is_empty() {
        return Ok(());
    }
    let (mut kinds, mut keys, mut hashes) = (vec![], vec![], vec![]);
    let (mut versions, mut identities, mut announced) = (vec![], vec![], vec![]);
    for ((kind, key), mark) in marks {
        kinds.push(kind.as_str());
        keys.push(key.as_str());
        hashes.push(mark.hash.map(|hash| hash.to_vec()));
        versions.push(mark.version);
        identities.push(mark.identity.to_vec());
        announced.push(mark.announced.map(|date| date.to_string()));
    }
    sqlx::query(
        "insert into import_unit (kind, key, hash, version, identity, announced)
         select * from unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bytea[], $6::text[])
         on conflict (kind, key) do update set hash = excluded.hash, version = excluded.version,
             identity = excluded.identity, announced = excluded.announced",
    )
    .bind(kinds)
    .bind(keys)
    .bind(hashes)
    .bind(versions)
    .bind(identities)
    .bind(announced)
    .execute(connection)
    .await?;
    Ok(())
}
