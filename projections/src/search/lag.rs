//! What a search must not show while the texts are behind the log: a record may have been changed, deleted or erased since.

use std::collections::HashSet;

use domain::RecordRef;
use sqlx::PgConnection;

use super::lexical::record_of;

/// How far the texts that a connection finds are, if the log goes on behind that.
pub(super) async fn lag(db: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(
        "select position from generation
         where format('read_%s_%s', projector, number) = (
             select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.oid = to_regclass('findable'))
         and position < (select max(position) from events)",
    )
    .fetch_optional(db)
    .await
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
