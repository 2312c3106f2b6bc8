//! The table `vector_set`: which sets of points there are of a model, and how far each is.

use sqlx::{FromRow, PgConnection};

use super::engine::Set;

/// Raised whenever other headings are put before the texts, others of them are embedded, or points say more of them.
const HEADINGS: i32 = 4;

/// Which rows of `passage` are embedded. The card of a note says what stands in the heading of each of its texts, and so
/// short a text would be nearer to every short question than those.
pub(super) const EMBEDDED: &str = "not (kind = 'note' and part = 'card')";

/// What a set is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is filled beside the live one.
    Building,
    /// It answers.
    Live,
    /// Another one has taken its place; it is to be forgotten.
    Retired,
}

impl State {
    fn parse(text: &str) -> Self {
        match text {
            "live" => Self::Live,
            "building" => Self::Building,
            _ => Self::Retired,
        }
    }
}

/// A set, and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSet {
    /// What engines know of it.
    pub set: Set,
    /// Which way of cutting texts it is made of.
    pub chunks: String,
    /// What it is for.
    pub state: State,
    /// Records up to this position of the log are in it.
    pub position: i64,
}

/// id, model, dimensions, chunks, state, position.
type Row = (i32, i32, i32, String, String, i64);

fn of_row((id, model, dimensions, chunks, state, position): Row) -> VectorSet {
    let dimensions = usize::try_from(dimensions).unwrap_or_default();
    let set = Set { id, model, dimensions };
    VectorSet { set, chunks, state: State::parse(&state), position }
}

/// The number of a model, which gets one when it is first seen.
///
/// # Errors
/// When the database fails.
pub async fn model(
    db: &mut PgConnection,
    name: &str,
    dimensions: usize,
) -> Result<i32, sqlx::Error> {
    let dimensions =
        i32::try_from(dimensions).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(
        "insert into embedding_model (name, dimensions) values ($1, $2) on conflict do nothing",
    )
    .bind(name)
    .bind(dimensions)
    .execute(&mut *db)
    .await?;
    sqlx::query_scalar("select id from embedding_model where name = $1")
        .bind(name)
        .fetch_one(db)
        .await
}

/// All sets of a model, the live one first.
///
/// # Errors
/// When the database fails.
pub async fn of_model(db: &mut PgConnection, model: i32) -> Result<Vec<VectorSet>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(
        "select s.id, s.model, m.dimensions, s.chunks, s.state, s.position
         from vector_set s join embedding_model m on m.id = s.model
         where s.model = $1 order by s.state <> 'live', s.state <> 'building', s.id",
    )
    .bind(model)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(of_row).collect())
}

/// Begins a set. It answers once it has everything.
///
/// # Errors
/// When the database fails, or one is being built already.
pub async fn begin(db: &mut PgConnection, model: i32, chunks: &str) -> Result<(), sqlx::Error> {
    sqlx::query("insert into vector_set (model, chunks) values ($1, $2)")
        .bind(model)
        .bind(chunks)
        .execute(db)
        .await?;
    Ok(())
}

/// Asks for a new set of a model beside the live one. `None` if there is no live one, else its id.
///
/// # Errors
/// When the database fails.
pub async fn begin_anew(db: &mut PgConnection, model: i32) -> Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar(
        "insert into vector_set (model, chunks)
         select model, chunks from vector_set where state = 'live' and model = $1
         on conflict (model) where state = 'building' do update set heard_at = vector_set.heard_at
         returning id",
    )
    .bind(model)
    .fetch_optional(db)
    .await
}

/// Gives a set up that has not been swapped in.
///
/// # Errors
/// When the database fails.
pub async fn give_up(db: &mut PgConnection, set: i32) -> Result<(), sqlx::Error> {
    sqlx::query("update vector_set set state = 'retired' where id = $1 and state = 'building'")
        .bind(set)
        .execute(db)
        .await?;
    Ok(())
}

/// Gives all sets up that were to take the place of a live one; tells how many there were.
///
/// # Errors
/// When the database fails.
pub async fn give_up_all(db: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let given = sqlx::query(
        "update vector_set set state = 'retired' where state = 'building' and exists (
             select from vector_set live where live.model = vector_set.model and live.state = 'live')",
    )
    .execute(db)
    .await?;
    Ok(given.rows_affected())
}

/// Puts a set in the place of the live one.
///
/// # Errors
/// When the database fails.
pub async fn swap(db: &mut PgConnection, set: &Set) -> Result<(), sqlx::Error> {
    // In two statements: the index of live sets is looked at row by row.
    let mut tx = sqlx::Connection::begin(db).await?;
    sqlx::query("update vector_set set state = 'retired' where model = $1 and state = 'live'")
        .bind(set.model)
        .execute(&mut *tx)
        .await?;
    sqlx::query("update vector_set set state = 'live', live_at = now() where id = $1")
        .bind(set.id)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

/// The retired sets that an engine is to forget: of this model if another one answers, and of models of which none does. What
/// an engine outside was told, only that engine can forget.
///
/// # Errors
/// When the database fails.
pub async fn retired(
    db: &mut PgConnection,
    model: i32,
    engine: &str,
) -> Result<Vec<Set>, sqlx::Error> {
    let rows: Vec<(i32, i32, i32)> = sqlx::query_as(
        "select s.id, s.model, m.dimensions from vector_set s join embedding_model m on m.id = s.model
         where s.state = 'retired'
             and (s.model = $1) = exists (select from vector_set l where l.model = s.model and l.state = 'live')
             and (exists (select from vector_engine e where e.set_id = s.id and e.engine = $2)
                 or not exists (select from vector_engine e where e.set_id = s.id and e.engine <> 'memory'))",
    )
    .bind(model)
    .bind(engine)
    .fetch_all(db)
    .await?;
    let set = |(id, model, dimensions)| Set {
        id,
        model,
        dimensions: usize::try_from(dimensions).unwrap_or_default(),
    };
    Ok(rows.into_iter().map(set).collect())
}

/// Deletes a set that this engine has forgotten, unless another one has it. Vectors that nothing uses any more go with the next
/// look of who writes them.
///
/// # Errors
/// When the database fails.
pub async fn delete_set(db: &mut PgConnection, set: &Set, engine: &str) -> Result<(), sqlx::Error> {
    sqlx::query("delete from vector_engine where set_id = $1 and engine = $2")
        .bind(set.id)
        .bind(engine)
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "delete from vector_set where id = $1 and state = 'retired'
             and not exists (select from vector_engine e where e.set_id = vector_set.id and e.engine <> 'memory')",
    )
    .bind(set.id)
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes the vectors of a model that no point uses. Only for whoever writes the model's points: another's might just have
/// been computed.
///
/// # Errors
/// When the database fails.
pub async fn delete_orphans(db: &mut PgConnection, model: i32) -> Result<(), sqlx::Error> {
    sqlx::query(
        "delete from embedding where model = $1 and not exists (
             select from vector_point p where p.model = embedding.model and p.embedding = embedding.digest)",
    )
    .bind(model)
    .execute(db)
    .await?;
    Ok(())
}

/// Says that this model's sets are being filled, and gives up those of other models that no server has filled for a day: going
/// back within it costs nothing. Nothing is kept of what was given up but its name, until engines have forgotten it.
///
/// # Errors
/// When the database fails.
pub async fn outlive_others(db: &mut PgConnection, model: i32) -> Result<(), sqlx::Error> {
    for statement in [
        "update vector_set set heard_at = now() where model = $1",
        "update vector_set set state = 'retired'
         where model <> $1 and state <> 'retired' and heard_at < now() - interval '1 day'",
    ] {
        sqlx::query(statement).bind(model).execute(&mut *db).await?;
    }
    for table in ["vector_record", "vector_point"] {
        let statement = format!(
            "delete from {table} using vector_set s where s.id = set_id and s.state = 'retired'"
        );
        sqlx::query(&statement).execute(&mut *db).await?;
    }
    sqlx::query(
        "delete from embedding where model <> $1 and not exists (
             select from vector_set s where s.model = embedding.model and s.state <> 'retired')",
    )
    .bind(model)
    .execute(db)
    .await?;
    Ok(())
}

/// The live sets that an engine outside is to hold: those of the model that was last heard of. What was told of a set that nobody fills
/// any more may be only a part, or of another engine. While models take turns, only a set that the engine was told all of is to be held.
///
/// # Errors
/// When the database fails.
pub(super) async fn to_be_held(
    db: &mut PgConnection,
    engine: &str,
) -> Result<Vec<i32>, sqlx::Error> {
    // Whoever fills a set says so each minute.
    sqlx::query_scalar(
        "with heard as (
             select model, max(heard_at) as at from vector_set where state <> 'retired' group by model),
         fed as (
             select model from heard where at > (select max(at) from heard) - interval '2 minutes')
         select s.id from vector_set s join fed using (model)
         where s.state = 'live' and ((select count(*) from fed) = 1 or exists (
             select from vector_engine e where e.set_id = s.id and e.engine = $1 and not exists (
                 select from vector_record r where r.set_id = s.id and r.revision > e.revision)))",
    )
    .bind(engine)
    .fetch_all(db)
    .await
}

/// A model whose texts are all embedded.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub(super) struct Whole {
    pub(super) id: i32,
    pub(super) name: String,
    pub(super) dimensions: i32,
}

/// Another model than this one with a live set of the present texts, filled last, as long as this one has no live set.
///
/// # Errors
/// When the database fails.
pub(super) async fn before(
    db: &mut PgConnection,
    model: i32,
) -> Result<Option<Whole>, sqlx::Error> {
    let Some(texts) = texts(db).await? else { return Ok(None) };
    sqlx::query_as(
        "select m.id, m.name, m.dimensions from vector_set s join embedding_model m on m.id = s.model
         where s.state = 'live' and s.model <> $1 and s.chunks = $2
             and not exists (select from vector_set own where own.model = $1 and own.state = 'live')
         order by s.heard_at desc limit 1",
    )
    .bind(model)
    .bind(texts.chunks())
    .fetch_optional(db)
    .await
}

/// Whether some set of a model answers.
///
/// # Errors
/// When the database fails.
pub(super) async fn is_live(db: &mut PgConnection, model: i32) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from vector_set where model = $1 and state = 'live')")
        .bind(model)
        .fetch_one(db)
        .await
}

/// Which texts there are to embed.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Texts {
    /// The version of what cuts them.
    version: i32,
    /// Up to which position of the log they are there.
    pub position: i64,
}

impl Texts {
    /// Which way of cutting texts, and of putting headings before them, this is.
    pub fn chunks(&self) -> String {
        format!("{}.{HEADINGS}", self.version)
    }
}

/// The texts that a connection finds; `None` if it finds none yet.
///
/// # Errors
/// When the database fails.
pub async fn texts(db: &mut PgConnection) -> Result<Option<Texts>, sqlx::Error> {
    sqlx::query_as(
        "select version, position from generation
         where format('read_%s_%s', projector, number) = (
             select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.oid = to_regclass('findable'))",
    )
    .fetch_optional(db)
    .await
}
