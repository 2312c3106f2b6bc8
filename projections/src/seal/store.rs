//! The tables `seal` and `seal_key`.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection, Row as _};
use uuid::Uuid;

use super::key::PublicKey;
use super::rows::Row;
use super::{Digest, Link, Seal, digest};
use crate::log::RECORDED_AT;

/// What a seal says of the single events that it covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// First and last position of each run without a gap.
    pub runs: Vec<i64>,
    /// The digests, one after the other.
    pub digests: Vec<u8>,
}

impl Contents {
    /// Adds the next event.
    pub fn push(&mut self, row: &Row) {
        match self.runs.last_mut() {
            Some(last) if *last + 1 == row.position => *last = row.position,
            _ => self.runs.extend([row.position, row.position]),
        }
        self.digests.extend_from_slice(&row.digest);
    }

    /// The events, as far as there are both positions and digests.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        let runs = self.runs.chunks_exact(2).flat_map(|run| run[0]..=run[1]);
        let digests = self.digests.chunks_exact(32).filter_map(|digest| digest.try_into().ok());
        runs.zip(digests).map(|(position, digest)| Row { position, digest })
    }

    /// Whether there is a digest to every position and a position to every digest, and so many of both.
    pub fn is_of(&self, events: i64) -> bool {
        let length = |run: &[i64]| run[1].saturating_sub(run[0]).saturating_add(1).max(0);
        let positions = self.runs.chunks_exact(2).map(length).fold(0, i64::saturating_add);
        let fits = self.runs.len().is_multiple_of(2) && self.digests.len().is_multiple_of(32);
        fits && positions == events && self.events() == events
    }

    /// How many events there are.
    pub fn events(&self) -> i64 {
        i64::try_from(self.digests.len() / 32).unwrap_or(i64::MAX)
    }

    /// Their digest as a batch.
    pub fn batch(&self) -> Digest {
        let mut batch = digest::Batch::begin();
        self.rows().for_each(|row| batch.take(row.position, &row.digest));
        batch.finish()
    }
}

const SEAL: &str =
    "number, after, position, events, total, batch, head, sealed_at, public_key, signature";

impl<'r> FromRow<'r, sqlx::postgres::PgRow> for Seal {
    fn from_row(row: &'r sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        fn bytes<const N: usize>(
            row: &sqlx::postgres::PgRow,
            column: &str,
        ) -> Result<[u8; N], sqlx::Error> {
            let bytes: &[u8] = row.try_get(column)?;
            bytes.try_into().map_err(|_| {
                sqlx::Error::Decode(format!("seal.{column} has {} bytes", bytes.len()).into())
            })
        }
        Ok(Self {
            number: row.try_get("number")?,
            after: row.try_get("after")?,
            position: row.try_get("position")?,
            events: row.try_get("events")?,
            total: row.try_get("total")?,
            batch: bytes(row, "batch")?,
            head: bytes(row, "head")?,
            sealed_at: row.try_get("sealed_at")?,
            key: bytes(row, "public_key")?,
            signature: bytes(row, "signature")?,
        })
    }
}

/// The log's id.
///
/// # Errors
/// When the database fails.
pub async fn log_id(db: &mut PgConnection) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar("select id from log_identity").fetch_one(db).await
}

/// The last seal.
///
/// # Errors
/// When the database fails.
pub async fn last(db: &mut PgConnection) -> Result<Option<Seal>, sqlx::Error> {
    sqlx::query_as(&format!(
        "select {SEAL} from seal join seal_key on id = key order by number desc limit 1"
    ))
    .fetch_optional(db)
    .await
}

/// The seals with numbers behind this one, so many at most.
///
/// # Errors
/// When the database fails.
pub async fn behind(
    db: &mut PgConnection,
    number: i64,
    most: i64,
) -> Result<Vec<Seal>, sqlx::Error> {
    sqlx::query_as(&format!(
        "select {SEAL} from seal join seal_key on id = key where number > $1 order by number limit $2"
    ))
    .bind(number)
    .bind(most)
    .fetch_all(db)
    .await
}

/// Likewise, as others get them: each with the end of the chain before it.
///
/// # Errors
/// When the database fails.
pub async fn links(
    db: &mut PgConnection,
    number: i64,
    most: i64,
) -> Result<Vec<Link>, sqlx::Error> {
    let log = log_id(db).await?;
    let earlier = behind(db, number.saturating_sub(1), 1).await?;
    let earlier = earlier.into_iter().find(|seal| seal.number == number).map(|seal| seal.head);
    let mut before = if number <= 0 { Some(digest::of_log(log)) } else { earlier };
    let mut links = Vec::new();
    for seal in behind(db, number, most).await? {
        links.push(Link::of(log, &seal, before.as_ref()));
        before = Some(seal.head);
    }
    Ok(links)
}

/// What a seal says of its single events.
///
/// # Errors
/// When the database fails.
pub async fn contents(db: &mut PgConnection, number: i64) -> Result<Contents, sqlx::Error> {
    let (runs, digests) = sqlx::query_as("select runs, digests from seal where number = $1")
        .bind(number)
        .fetch_one(db)
        .await?;
    Ok(Contents { runs, digests })
}

/// The keys that ever sealed the log, in the order in which they came.
///
/// # Errors
/// When the database fails.
pub async fn keys(db: &mut PgConnection) -> Result<Vec<(PublicKey, DateTime<Utc>)>, sqlx::Error> {
    let log = log_id(db).await?;
    let rows: Vec<(Vec<u8>, DateTime<Utc>)> =
        sqlx::query_as("select public_key, introduced_at from seal_key order by id")
            .fetch_all(db)
            .await?;
    rows.into_iter()
        .map(|(key, at)| match key.try_into() {
            Ok(key) => Ok((PublicKey::of(log, key), at)),
            Err(_) => Err(sqlx::Error::Decode("seal_key.public_key has not 32 bytes".into())),
        })
        .collect()
}

/// Notes a key, unless that was done before. Gives its number.
pub(super) async fn introduce(db: &mut PgConnection, key: &[u8; 32]) -> Result<i32, sqlx::Error> {
    sqlx::query("insert into seal_key (public_key) values ($1) on conflict do nothing")
        .bind(key.as_slice())
        .execute(&mut *db)
        .await?;
    sqlx::query_scalar("select id from seal_key where public_key = $1")
        .bind(key.as_slice())
        .fetch_one(db)
        .await
}

/// Adds a seal, if the chain still ends where it begins; tells whether it does.
pub(super) async fn add(
    db: &mut PgConnection,
    seal: &Seal,
    key: i32,
    before: &Digest,
    contents: &Contents,
) -> Result<bool, sqlx::Error> {
    let added = sqlx::query(
        "insert into seal (number, after, position, events, total, runs, digests, batch, head, sealed_at, key, signature)
         select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12
         where case when $1 = 1 then not exists (select from seal)
                    else (select head from seal order by number desc limit 1) = $13 end
         on conflict (number) do nothing",
    )
    .bind(seal.number)
    .bind(seal.after)
    .bind(seal.position)
    .bind(seal.events)
    .bind(seal.total)
    .bind(&contents.runs)
    .bind(&contents.digests)
    .bind(seal.batch.as_slice())
    .bind(seal.head.as_slice())
    .bind(seal.sealed_at)
    .bind(key)
    .bind(seal.signature.as_slice())
    .bind(before.as_slice())
    .execute(db)
    .await?;
    Ok(added.rows_affected() == 1)
}

/// How far the log is sealed.
#[derive(Clone, Debug, PartialEq, Serialize, FromRow)]
pub struct SealStatus {
    /// The number of the last seal.
    pub number: i64,
    /// The last position that it covers.
    pub position: i64,
    /// How many events there are up to there.
    pub events: i64,
    /// When it was made.
    pub sealed_at: DateTime<Utc>,
    /// For how long the oldest event behind it has been in the log, in seconds; 0 if there is none.
    pub lag_seconds: f64,
}

/// How far the log is sealed; `None` before the first seal.
///
/// # Errors
/// When the database fails.
pub async fn status(db: &mut PgConnection) -> Result<Option<SealStatus>, sqlx::Error> {
    let statement = format!(
        "select number, position, total as events, sealed_at,
             greatest(0, coalesce(extract(epoch from clock_timestamp() - (
                 select {RECORDED_AT} from events where events.position > seal.position
                 order by events.position limit 1))::double precision, 0)) as lag_seconds
         from seal order by number desc limit 1"
    );
    sqlx::query_as(&statement).fetch_optional(db).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_keep_positions_with_all_their_gaps() {
        let rows: Vec<Row> = [1, 2, 3, 7, 9, 10]
            .map(|position| Row { position, digest: [u8::try_from(position).unwrap(); 32] })
            .into();
        let mut contents = Contents::default();
        rows.iter().for_each(|row| contents.push(row));
        assert_eq!(contents.runs, [1, 3, 7, 7, 9, 10]);
        assert_eq!((contents.events(), contents.rows().collect::<Vec<_>>()), (6, rows));
    }
}
