//! How the sets of vectors stand, as the database has it.

use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use super::embedder::EMBED_LOCK;
use super::sets::EMBEDDED;

/// A set of vectors.
#[derive(Clone, Debug, PartialEq, Serialize, FromRow)]
pub struct VectorStatus {
    /// Its number.
    pub set: i32,
    /// What made its vectors.
    pub model: String,
    /// `live` if it answers, `building` if it is to take the place of the one that does.
    pub state: String,
    /// The engine outside the database that is told of it; `memory` if each server holds it.
    pub engine: String,
    /// Records up to this position of the log are in it.
    pub position: i64,
    /// How many positions it is behind the texts that can be searched by word.
    pub lag: i64,
    /// The pieces of text in it.
    pub points: i64,
    /// The pieces of text that are still to be taken in.
    pub waiting: i64,
    /// Whether some process takes them in.
    pub at_work: bool,
    /// Pieces embedded per second while there was something to embed.
    pub rate: f64,
    /// How much longer taking them in will take, in seconds, if each has to be embedded; `None` if that is not known yet, or
    /// nobody gets on with it.
    pub eta_seconds: Option<f64>,
    /// The records that the engine outside has not been told of.
    pub untold: i64,
    /// Why it does not get on.
    pub error: Option<String>,
}

/// The sets that answer or are being filled, by number.
///
/// # Errors
/// When the database fails.
pub async fn status(db: &mut PgConnection) -> Result<Vec<VectorStatus>, sqlx::Error> {
    // The texts are those of the live generation, whichever of them this connection looks at.
    let texts: Option<(String, i64)> = sqlx::query_as(
        "select format('read_%s_%s', projector, number), position from generation
         where projector = 'passage' and state = 'live'
             and to_regclass(format('read_%s_%s.findable', projector, number)) is not null",
    )
    .fetch_optional(&mut *db)
    .await?;
    let (waiting, head) = match texts {
        Some((schema, position)) => {
            let waiting = format!(
                "(select count(*) from {schema}.findable f join {schema}.passage t using (kind, id)
                  where f.position > s.position and {EMBEDDED})"
            );
            (waiting, position)
        }
        None => ("0::bigint".to_owned(), 0),
    };
    sqlx::query_as(&format!(
        "select *, case when waiting = 0 then 0 when at_work and error is null and rate > 0 then waiting / rate end as eta_seconds
         from (
             select s.id as set, m.name as model, s.state, coalesce(e.engine, 'memory') as engine, s.position,
                 greatest(0, $1 - s.position) as lag,
                 (select count(*) from vector_point p where p.set_id = s.id) as points, {waiting} as waiting,
                 exists (select from pg_locks where locktype = 'advisory' and objsubid = 2 and granted
                     and classid = $2::int::oid and objid = s.model::oid
                     and database = (select oid from pg_database where datname = current_database())) as at_work,
                 coalesce(s.embedded / nullif(s.seconds, 0), 0)::double precision as rate,
                 case when e.engine is null then 0 else (
                     select count(*) from vector_record r where r.set_id = s.id and r.revision > e.revision) end as untold,
                 coalesce(s.error, e.error, own.error) as error
             from vector_set s join embedding_model m on m.id = s.model
             left join vector_engine e on e.set_id = s.id and e.engine <> 'memory'
             left join vector_engine own on own.set_id = s.id and own.engine = 'memory' and e.engine is null
             where s.state <> 'retired') as stands
         order by set"
    ))
    .bind(head)
    .bind(EMBED_LOCK)
    .fetch_all(db)
    .await
}
