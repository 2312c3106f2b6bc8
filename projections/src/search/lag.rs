//! What a search must not show: while the texts are behind the log a record may have been changed, deleted or erased since, and
//! of a stream that nobody can follow any more the texts are old for good.

use std::collections::HashSet;

use domain::RecordRef;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row as _};

use super::lexical::record_of;
use super::passage::record_named;

/// How far the texts that a connection finds follow the log.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Up to which position, if the log goes on behind that.
    pub(super) behind: Option<i64>,
    /// The records whose streams are parked: their texts stay as they were, while the position moves on.
    pub(super) parked: HashSet<RecordRef>,
}

/// Asks for the columns `behind` and `parked`, of which [`Followed`] is made.
pub(super) const FOLLOWED: &str = "
    select case when position < (select max(position) from events) then position end as behind,
        array(select aggregate_type || ':' || aggregate_id from dead_letter d
            where d.projector = generation.projector and d.generation = generation.number) as parked
    from generation
    where format('read_%s_%s', projector, number) = (
        select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.oid = to_regclass('findable'))";

impl FromRow<'_, PgRow> for Followed {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let parked: Option<Vec<String>> = row.try_get("parked")?;
        let parked = parked.iter().flatten().filter_map(|name| record_named(name)).collect();
        Ok(Self { behind: row.try_get("behind")?, parked })
    }
}

/// How far the texts that a connection finds follow the log; nothing of both is known if it finds none.
pub(super) async fn followed(db: &mut PgConnection) -> Result<Followed, sqlx::Error> {
    Ok(sqlx::query_as(FOLLOWED).fetch_optional(db).await?.unwrap_or_default())
}

/// How far the texts that a connection finds are, if the log goes on behind that.
pub(super) async fn lag(db: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    Ok(followed(db).await?.behind)
}

/// Those of the records that have events behind a position.
pub(super) async fn changed_since(
    db: &mut PgConnection,
    position: i64,
    records: impl Iterator<Item = RecordRef>,
) -> Result<HashSet<RecordRef>, sqlx::Error> {
    let (kinds, ids): (Vec<&str>, Vec<i64>) =
        records.map(|record| (record.kind().as_str(), record.id())).unzip();
    let rows = sqlx::query(
        "select kind, id from unnest($1::text[], $2::bigint[]) as found (kind, id)
         where $3 < (select position from events
             where aggregate_type = kind and aggregate_id = id::text order by sequence desc limit 1)",
    )
    .bind(kinds)
    .bind(ids)
    .bind(position)
    .fetch_all(db)
    .await?;
    rows.iter().map(record_of).collect()
}
