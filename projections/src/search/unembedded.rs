//! Which records meaning cannot speak for yet: they were written after what the answering set has, so that only their words can.

use std::collections::HashSet;

use domain::RecordRef;
use sqlx::PgConnection;

use super::lexical::record_of;

/// Who answered a question by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answerer {
    /// The number of the model, whose live set it was.
    pub(super) model: i32,
    /// The engine, as its table has it.
    pub(super) engine: &'static str,
}

/// Those of the records that the answering set does not have as they stand, or that its engine was not told of.
pub(super) async fn unembedded(
    db: &mut PgConnection,
    answerer: Answerer,
    records: impl Iterator<Item = RecordRef>,
) -> Result<HashSet<RecordRef>, sqlx::Error> {
    let (kinds, ids): (Vec<&str>, Vec<i64>) =
        records.map(|record| (record.kind().as_str(), record.id())).unzip();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    // What does not depend on a record is asked first: where all is embedded, which is nearly always, it is all that is.
    let rows = sqlx::query(
        "with answering as materialized (
             select s.id, s.position, e.revision as told from vector_set s
             left join vector_engine e on e.set_id = s.id and e.engine = $2
             where s.model = $1 and s.state = 'live')
         select kind, id from unnest($3::text[], $4::bigint[]) as found (kind, id)
         where exists (select from findable where position > (select position from answering))
             and exists (select from findable f where f.kind = found.kind and f.id = found.id
                 and f.position > (select position from answering))
         union
         select kind, id from unnest($3::text[], $4::bigint[]) as found (kind, id)
         where exists (select from vector_record where set_id = (select id from answering)
                 and revision > (select told from answering))
             and exists (select from vector_record r where r.set_id = (select id from answering)
                 and r.kind = found.kind and r.id = found.id and r.revision > (select told from answering))",
    )
    .bind(answerer.model)
    .bind(answerer.engine)
    .bind(kinds)
    .bind(ids)
    .fetch_all(db)
    .await?;
    rows.iter().map(record_of).collect()
}
