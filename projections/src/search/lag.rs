//! What a search must not show: while the texts are behind the log a record may have been changed, deleted or erased since, and
//! of a stream that nobody can follow any more the texts are old for good.

use std::collections::HashSet;

use domain::RecordRef;
use sqlx::PgConnection;

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

/// How far the texts that a connection finds follow the log; nothing of both is known if it finds none.
pub(super) async fn followed(db: &mut PgConnection) -> Result<Followed, sqlx::Error> {
    let row: Option<(Option<i64>, Vec<String>)> = sqlx::query_as(
        "select case when position < (select max(position) from events) then position end,
             array(select aggregate_type || ':' || aggregate_id from dead_letter d
                 where d.projector = generation.projector and d.generation = generation.number)
         from generation
         where format('read_%s_%s', projector, number) = (
             select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.oid = to_regclass('findable'))",
    )
    .fetch_optional(db)
    .await?;
    let (behind, parked) = row.unwrap_or_default();
    let parked = parked.iter().filter_map(|name| record_named(name)).collect();
    Ok(Followed { behind, parked })
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
