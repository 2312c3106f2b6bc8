//! The tables of vectors, written by whoever holds the lock.

use std::collections::HashSet;

use domain::RecordRef;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Connection as _, PgConnection, Postgres, Row as _};

use super::super::engine::TextDigest;
use super::super::points;
use super::super::sets::VectorSet;
use super::Effort;
use super::reading::{Piece, Record, keys};

/// Which of these texts have no vector yet, or one that was damaged.
pub(super) async fn missing(
    db: &mut PgConnection,
    model: i32,
    digests: &[TextDigest],
) -> Result<HashSet<TextDigest>, sqlx::Error> {
    let asked: Vec<&[u8]> = digests.iter().map(|digest| &digest.0[..]).collect();
    let kept: Vec<(Vec<u8>, Vec<u8>, i32)> = sqlx::query_as(
        "select digest, vector, dimensions from embedding e join embedding_model m on m.id = e.model
         where e.model = $1 and digest = any ($2)",
    )
    .bind(model)
    .bind(asked)
    .fetch_all(db)
    .await?;
    let mut missing: HashSet<TextDigest> = digests.iter().copied().collect();
    for (digest, vector, dimensions) in kept {
        if points::is_direction(&vector, usize::try_from(dimensions).unwrap_or_default())
            && let Some(digest) = TextDigest::of_bytes(&digest)
        {
            missing.remove(&digest);
        }
    }
    Ok(missing)
}

/// Keeps vectors of texts.
pub(super) async fn keep(
    db: &mut PgConnection,
    model: i32,
    texts: &[(TextDigest, &str)],
    vectors: &[Vec<f32>],
) -> Result<(), sqlx::Error> {
    let digests: Vec<&[u8]> = texts.iter().map(|(digest, _)| &digest.0[..]).collect();
    let vectors: Vec<Vec<u8>> = vectors.iter().map(|vector| bytes(vector)).collect();
    sqlx::query(
        "insert into embedding (model, digest, vector)
         select $1, digest, vector from unnest($2::bytea[], $3::bytea[]) as new (digest, vector)
         on conflict (model, digest) do update set vector = excluded.vector",
    )
    .bind(model)
    .bind(digests)
    .bind(vectors)
    .execute(db)
    .await?;
    Ok(())
}

fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Those of the records that are organisations which had another name when the set took them in.
pub(super) async fn renamed(
    db: &mut PgConnection,
    set: &VectorSet,
    records: &[Record],
) -> Result<Vec<RecordRef>, sqlx::Error> {
    let named: Vec<(&Record, &TextDigest)> =
        records.iter().filter_map(|record| Some((record, record.title.as_ref()?))).collect();
    if named.is_empty() {
        return Ok(vec![]);
    }
    let of_records: Vec<RecordRef> = named.iter().map(|(record, _)| record.record).collect();
    let (kinds, ids) = keys(&of_records);
    let titles: Vec<&[u8]> = named.iter().map(|(_, title)| &title.0[..]).collect();
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select kind, id from vector_record
         join unnest($2::text[], $3::bigint[], $4::bytea[]) as now (kind, id, title) using (kind, id)
         where set_id = $1 and vector_record.title is distinct from now.title",
    )
    .bind(set.set.id)
    .bind(kinds)
    .bind(ids)
    .bind(titles)
    .fetch_all(db)
    .await?;
    let is_of = |record: &RecordRef| {
        rows.iter().any(|(kind, id)| record.kind().as_str() == kind && record.id() == *id)
    };
    Ok(of_records.into_iter().filter(is_of).collect())
}

/// Replaces the points of these records, and moves the checkpoint, in one transaction.
pub(super) async fn write(
    db: &mut PgConnection,
    set: &VectorSet,
    records: &[Record],
    gone: &[RecordRef],
    checkpoint: Option<i64>,
    effort: &Effort,
) -> Result<(), sqlx::Error> {
    let mut tx = db.begin().await?;
    let mut all: Vec<RecordRef> = records.iter().map(|record| record.record).collect();
    all.extend_from_slice(gone);
    let before = delete_points(&mut tx, set, &all).await?;
    insert_points(&mut tx, set, records).await?;
    note_records(&mut tx, set, records, gone).await?;
    let silent = records.iter().filter(|record| record.pieces.is_empty());
    let silent = silent.map(|record| (record.record, record.position));
    let silent: Vec<(RecordRef, i64)> =
        silent.chain(gone.iter().map(|record| (*record, i64::MAX))).collect();
    leave_word(&mut tx, set, &silent).await?;
    let silent: Vec<RecordRef> = silent.into_iter().map(|(record, _)| record).collect();
    forget_elsewhere(&mut tx, set, &silent).await?;
    delete_unused(&mut tx, set.set.model, &before).await?;
    let pieces: usize = records.iter().map(|record| record.pieces.len()).sum();
    sqlx::query(
        "update vector_set set position = greatest(position, $2), done = done + $3, embedded = embedded + $4,
             seconds = seconds + $5, heard_at = now(), error = null
         where id = $1",
    )
    .bind(set.set.id)
    .bind(checkpoint.unwrap_or(set.position))
    .bind(i64::try_from(pieces).unwrap_or(i64::MAX))
    .bind(effort.texts)
    .bind(effort.seconds)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}

/// Deletes the points of records; gives the vectors that they had.
async fn delete_points(
    db: &mut PgConnection,
    set: &VectorSet,
    records: &[RecordRef],
) -> Result<Vec<Vec<u8>>, sqlx::Error> {
    let (kinds, ids) = keys(records);
    sqlx::query_scalar(
        "delete from vector_point using unnest($2::text[], $3::bigint[]) as old (kind, id)
         where set_id = $1 and vector_point.kind = old.kind and vector_point.id = old.id
         returning embedding",
    )
    .bind(set.set.id)
    .bind(kinds)
    .bind(ids)
    .fetch_all(db)
    .await
}

async fn insert_points(
    db: &mut PgConnection,
    set: &VectorSet,
    records: &[Record],
) -> Result<(), sqlx::Error> {
    let columns = Columns::of(records);
    if columns.is_empty() {
        return Ok(());
    }
    let statement = format!(
        "insert into vector_point (set_id, model, kind, id, part, ordinal, digest, embedding, on_date, lang, about, brief)
         select $1, $2, kind, id, part, ordinal, digest, embedding, on_date, lang, string_to_array(about, ' '), brief
         from {NEW}"
    );
    columns.bind(&statement, set).execute(db).await?;
    Ok(())
}

/// The points of these records whose pieces have the same text and are embedded or filed differently. Tells of each what
/// differs.
pub(super) async fn odd_points(
    db: &mut PgConnection,
    set: &VectorSet,
    records: &[Record],
) -> Result<Vec<String>, sqlx::Error> {
    let columns = Columns::of(records);
    if columns.is_empty() {
        return Ok(vec![]);
    }
    let statement = format!(
        "select case when p.embedding <> new.embedding then format('%s %s %s %s has the vector of another text', kind, id, part, ordinal)
             else format('%s %s %s %s is filed under another date, language or record', kind, id, part, ordinal) end
         from {NEW} join vector_point p using (kind, id, part, ordinal)
         where p.set_id = $1 and p.model = $2 and p.digest = new.digest
             and (p.embedding, p.on_date, p.lang, p.about, p.brief) is distinct from
                 (new.embedding, new.on_date, new.lang, string_to_array(new.about, ' '), new.brief)"
    );
    let rows = columns.bind(&statement, set).fetch_all(db).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// The rows of a statement with these [`Columns`].
const NEW: &str =
    "unnest($3::text[], $4::bigint[], $5::text[], $6::integer[], $7::bytea[], $8::bytea[],
         $9::timestamptz[], $10::text[], $11::text[], $12::boolean[])
         as new (kind, id, part, ordinal, digest, embedding, on_date, lang, about, brief)";

/// The points that records should have.
struct Columns<'r> {
    kinds: Vec<&'static str>,
    ids: Vec<i64>,
    abouts: Vec<String>,
    pieces: Vec<(&'r Record, &'r Piece)>,
}

impl<'r> Columns<'r> {
    fn of(records: &'r [Record]) -> Self {
        let with_pieces = |record: &'r Record| record.pieces.iter().map(move |it| (record, it));
        let pieces: Vec<(&Record, &Piece)> = records.iter().flat_map(with_pieces).collect();
        let (kinds, ids) =
            keys(&pieces.iter().map(|(record, _)| record.record).collect::<Vec<_>>());
        let abouts = pieces.iter().map(|(record, _)| record.about.join(" ")).collect();
        Self { kinds, ids, abouts, pieces }
    }

    fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// A statement about a set, its model, and [`NEW`].
    fn bind<'q>(&'q self, statement: &'q str, set: &VectorSet) -> Query<'q, Postgres, PgArguments> {
        let pieces = || self.pieces.iter();
        sqlx::query(statement)
            .bind(set.set.id)
            .bind(set.set.model)
            .bind(&self.kinds)
            .bind(&self.ids)
            .bind(pieces().map(|(_, piece)| piece.part.as_str()).collect::<Vec<_>>())
            .bind(pieces().map(|(_, piece)| piece.ordinal).collect::<Vec<_>>())
            .bind(pieces().map(|(_, piece)| &piece.digest[..]).collect::<Vec<_>>())
            .bind(pieces().map(|(_, piece)| &piece.embedding.0[..]).collect::<Vec<_>>())
            .bind(pieces().map(|(record, _)| record.date).collect::<Vec<_>>())
            .bind(pieces().map(|(_, piece)| piece.language.as_deref()).collect::<Vec<_>>())
            .bind(&self.abouts)
            .bind(pieces().map(|(_, piece)| piece.is_brief).collect::<Vec<_>>())
    }
}

/// Notes that records were taken in, each with the next revision.
async fn note_records(
    db: &mut PgConnection,
    set: &VectorSet,
    records: &[Record],
    gone: &[RecordRef],
) -> Result<(), sqlx::Error> {
    let mut all: Vec<RecordRef> = records.iter().map(|record| record.record).collect();
    all.extend_from_slice(gone);
    let (kinds, ids) = keys(&all);
    let mut positions: Vec<i64> = records.iter().map(|record| record.position).collect();
    positions.resize(all.len(), 0);
    let mut titles: Vec<Option<&[u8]>> =
        records.iter().map(|record| record.title.as_ref().map(|title| &title.0[..])).collect();
    titles.resize(all.len(), None);
    sqlx::query(
        "insert into vector_record (set_id, kind, id, position, title)
         select $1, kind, id, position, title
         from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bytea[]) as new (kind, id, position, title)
         on conflict (set_id, kind, id) do update
         set position = excluded.position, title = excluded.title, revision = nextval('vector_revision')",
    )
    .bind(set.set.id)
    .bind(kinds)
    .bind(ids)
    .bind(positions)
    .bind(titles)
    .execute(db)
    .await?;
    Ok(())
}

/// Leaves word for engines outside that they are to delete what has no text left, by the positions beside it, from the sets of
/// other models that did not hear of that: nobody fills them at present.
async fn leave_word(
    db: &mut PgConnection,
    set: &VectorSet,
    silent: &[(RecordRef, i64)],
) -> Result<(), sqlx::Error> {
    if silent.is_empty() {
        return Ok(());
    }
    let (records, positions): (Vec<RecordRef>, Vec<i64>) = silent.iter().copied().unzip();
    let (kinds, ids) = keys(&records);
    sqlx::query(
        "insert into vector_gone (set_id, engine, kind, id)
         select s.id, e.engine, r.kind, r.id
         from unnest($2::text[], $3::bigint[], $4::bigint[]) as gone (kind, id, position)
         join vector_record r on r.kind = gone.kind and r.id = gone.id and r.position < gone.position
         join vector_set s on s.id = r.set_id and s.model <> $1
         join vector_engine e on e.set_id = s.id and e.engine <> 'memory'
         on conflict (set_id, engine, kind, id) do update set revision = excluded.revision",
    )
    .bind(set.set.model)
    .bind(kinds)
    .bind(ids)
    .bind(positions)
    .execute(db)
    .await?;
    Ok(())
}

/// What has no text left has none in sets that nobody fills at present either.
async fn forget_elsewhere(
    db: &mut PgConnection,
    set: &VectorSet,
    records: &[RecordRef],
) -> Result<(), sqlx::Error> {
    if records.is_empty() {
        return Ok(());
    }
    let (kinds, ids) = keys(records);
    sqlx::query(
        "with gone as (
             delete from vector_point using unnest($2::text[], $3::bigint[]) as old (kind, id)
             where set_id <> $1 and vector_point.kind = old.kind and vector_point.id = old.id
             returning vector_point.model, embedding, set_id, vector_point.kind, vector_point.id, part, ordinal)
         delete from embedding using gone
         where embedding.model = gone.model and embedding.digest = gone.embedding and not exists (
             select from vector_point p where p.model = gone.model and p.embedding = gone.embedding
                 and (p.set_id, p.kind, p.id, p.part, p.ordinal) not in (
                     select g.set_id, g.kind, g.id, g.part, g.ordinal from gone g))",
    )
    .bind(set.set.id)
    .bind(kinds)
    .bind(ids)
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes those of these vectors that no point uses any more.
async fn delete_unused(
    db: &mut PgConnection,
    model: i32,
    digests: &[Vec<u8>],
) -> Result<(), sqlx::Error> {
    if digests.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "delete from embedding where model = $1 and digest = any($2) and not exists (
             select from vector_point p where p.model = embedding.model and p.embedding = embedding.digest)",
    )
    .bind(model)
    .bind(digests)
    .execute(db)
    .await?;
    Ok(())
}

/// Moves the checkpoint over what changed no text.
pub(super) async fn move_on(
    db: &mut PgConnection,
    set: &VectorSet,
    position: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("update vector_set set position = $2, heard_at = now() where id = $1")
        .bind(set.set.id)
        .bind(position)
        .execute(db)
        .await?;
    Ok(())
}

/// Whether the engine outside this database has been told everything of a set; so has one that is filled from here.
pub(super) async fn is_told(
    db: &mut PgConnection,
    set: &VectorSet,
    engine: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let Some(engine) = engine else { return Ok(true) };
    sqlx::query_scalar(
        "select coalesce((select max(revision) from vector_record where set_id = $1), 0)
             <= coalesce((select revision from vector_engine where set_id = $1 and engine = $2), -1)",
    )
    .bind(set.set.id)
    .bind(engine)
    .fetch_one(db)
    .await
}
