//! The table `vector_point`: what an engine is to hold.

use chrono::{DateTime, Utc};
use domain::{Kind, RecordRef};
use futures::TryStreamExt as _;
use sqlx::{FromRow, PgConnection, Row as _};

use super::engine::{Held, Place, Point, Set, TextDigest};
use super::passage::record_named;
use super::sets::EMBEDDED;
use super::{Language, Part};

/// Records that were written behind a revision, with the revision of each.
///
/// # Errors
/// When the database fails.
pub(super) async fn behind(
    db: &mut PgConnection,
    set: &Set,
    revision: i64,
    most: i64,
) -> Result<Vec<(RecordRef, i64)>, sqlx::Error> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "select kind, id, revision from vector_record where set_id = $1 and revision > $2 order by revision limit $3",
    )
    .bind(set.id)
    .bind(revision)
    .bind(most)
    .fetch_all(db)
    .await?;
    let record =
        |(kind, id, revision): (String, i64, i64)| Some((Kind::parse(&kind)?.record(id), revision));
    Ok(rows.into_iter().filter_map(record).collect())
}

/// The points of records, with their vectors.
///
/// # Errors
/// When the database fails.
pub(super) async fn of_records(
    db: &mut PgConnection,
    set: &Set,
    records: &[RecordRef],
) -> Result<Vec<Point>, sqlx::Error> {
    let (kinds, ids): (Vec<&str>, Vec<i64>) =
        records.iter().map(|record| (record.kind().as_str(), record.id())).unzip();
    sqlx::query_as(
        "select p.kind, p.id, p.part, p.ordinal, p.digest, r.revision, p.on_date, p.lang, p.about, p.brief, e.vector
         from unnest($2::text[], $3::bigint[]) as asked (kind, id)
         join vector_point p on p.set_id = $1 and p.kind = asked.kind and p.id = asked.id
         join vector_record r on r.set_id = $1 and r.kind = p.kind and r.id = p.id
         join embedding e on e.model = p.model and e.digest = p.embedding
         order by r.revision, p.part, p.ordinal",
    )
    .bind(set.id)
    .bind(kinds)
    .bind(ids)
    .fetch_all(db)
    .await
}

/// Records of which an engine is still to delete its points, by set, each with the revision up to which.
///
/// # Errors
/// When the database fails.
pub(super) async fn gone(
    db: &mut PgConnection,
    engine: &str,
    most: i64,
) -> Result<Vec<(Set, Vec<(RecordRef, i64)>)>, sqlx::Error> {
    let rows: Vec<(i32, i32, i32, String, i64, i64)> = sqlx::query_as(
        "select s.id, s.model, m.dimensions, g.kind, g.id, g.revision
         from vector_gone g join vector_set s on s.id = g.set_id join embedding_model m on m.id = s.model
         where g.engine = $1 order by s.id, g.revision limit $2",
    )
    .bind(engine)
    .bind(most)
    .fetch_all(db)
    .await?;
    let mut gone: Vec<(Set, Vec<(RecordRef, i64)>)> = Vec::new();
    for (id, model, dimensions, kind, record, revision) in rows {
        let Some(kind) = Kind::parse(&kind) else { continue };
        let one = (kind.record(record), revision);
        match gone.last_mut().filter(|(set, _)| set.id == id) {
            Some((_, records)) => records.push(one),
            None => {
                let dimensions = usize::try_from(dimensions).unwrap_or_default();
                gone.push((Set { id, model, dimensions }, vec![one]));
            }
        }
    }
    Ok(gone)
}

/// Notes that an engine has deleted its points of records.
///
/// # Errors
/// When the database fails.
pub(super) async fn told_gone(
    db: &mut PgConnection,
    engine: &str,
    set: &Set,
    records: &[(RecordRef, i64)],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "delete from vector_gone using unnest($3::text[], $4::bigint[], $5::bigint[]) as told (kind, id, revision)
         where set_id = $1 and engine = $2 and vector_gone.kind = told.kind and vector_gone.id = told.id
             and vector_gone.revision = told.revision",
    )
    .bind(set.id)
    .bind(engine)
    .bind(records.iter().map(|(record, _)| record.kind().as_str()).collect::<Vec<_>>())
    .bind(records.iter().map(|(record, _)| record.id()).collect::<Vec<_>>())
    .bind(records.iter().map(|(_, revision)| *revision).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

/// What there is to hold of a set, sorted by place.
///
/// # Errors
/// When the database fails.
pub(super) async fn all(db: &mut PgConnection, set: &Set) -> Result<Vec<Held>, sqlx::Error> {
    let mut all: Vec<Held> = sqlx::query_as(
        "select p.kind, p.id, p.part, p.ordinal, p.digest, r.revision
         from vector_point p join vector_record r using (set_id, kind, id) where p.set_id = $1",
    )
    .bind(set.id)
    .fetch_all(db)
    .await?;
    all.sort_unstable();
    Ok(all)
}

/// The records that have points in a set.
///
/// # Errors
/// When the database fails.
pub(super) async fn records(
    db: &mut PgConnection,
    set: &Set,
) -> Result<Vec<RecordRef>, sqlx::Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select distinct kind, id from vector_point where set_id = $1 order by 1, 2",
    )
    .bind(set.id)
    .fetch_all(db)
    .await?;
    let record = |(kind, id): (String, i64)| Some(Kind::parse(&kind)?.record(id));
    Ok(rows.into_iter().filter_map(record).collect())
}

/// The directions in which the texts of records point, one vector for each piece.
///
/// # Errors
/// When the database fails.
pub(super) async fn vectors(
    db: &mut PgConnection,
    model: i32,
    records: &[RecordRef],
) -> Result<Vec<Vec<f32>>, sqlx::Error> {
    let (kinds, ids): (Vec<&str>, Vec<i64>) =
        records.iter().map(|record| (record.kind().as_str(), record.id())).unzip();
    let vectors: Vec<Vec<u8>> = sqlx::query_scalar(
        "select e.vector from unnest($2::text[], $3::bigint[]) as asked (kind, id)
         join vector_set s on s.model = $1 and s.state = 'live'
         join vector_point p on p.set_id = s.id and p.kind = asked.kind and p.id = asked.id
         join embedding e on e.model = p.model and e.digest = p.embedding",
    )
    .bind(model)
    .bind(kinds)
    .bind(ids)
    .fetch_all(db)
    .await?;
    Ok(vectors.iter().map(|bytes| numbers(bytes)).collect())
}

/// Whether any of the records has a text that is to be embedded.
///
/// # Errors
/// When the database fails.
pub(super) async fn have_texts(
    db: &mut PgConnection,
    records: &[RecordRef],
) -> Result<bool, sqlx::Error> {
    let (kinds, ids): (Vec<&str>, Vec<i64>) =
        records.iter().map(|record| (record.kind().as_str(), record.id())).unzip();
    sqlx::query_scalar(&format!(
        "select exists (select from passage join unnest($1::text[], $2::bigint[]) as asked (kind, id) using (kind, id)
             where {EMBEDDED})"
    ))
    .bind(kinds)
    .bind(ids)
    .fetch_one(db)
    .await
}

/// The points of a set that have no vector, or one that is none: it would be near to nothing, or to all.
///
/// # Errors
/// When the database fails.
pub(super) async fn without_direction(
    db: &mut PgConnection,
    set: &Set,
) -> Result<Vec<Place>, sqlx::Error> {
    let mut rows = sqlx::query(
        "select p.kind, p.id, p.part, p.ordinal, e.vector from vector_point p
         left join embedding e on e.model = p.model and e.digest = p.embedding where p.set_id = $1",
    )
    .bind(set.id)
    .fetch(db);
    let mut found = Vec::new();
    while let Some(row) = rows.try_next().await? {
        let vector: Option<&[u8]> = row.try_get("vector")?;
        if !vector.is_some_and(|vector| is_direction(vector, set.dimensions)) {
            found.push(place(&row)?);
        }
    }
    Ok(found)
}

/// Whether these bytes are the direction of a text: as many numbers as its model gives, of length 1 all together.
pub(super) fn is_direction(bytes: &[u8], dimensions: usize) -> bool {
    let square: f32 = numbers(bytes).iter().map(|number| number * number).sum();
    bytes.len() == dimensions * 4 && (0.9..1.1).contains(&square)
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

fn place(row: &sqlx::postgres::PgRow) -> Result<Place, sqlx::Error> {
    let kind: &str = row.try_get("kind")?;
    let kind = Kind::parse(kind)
        .ok_or_else(|| sqlx::Error::Decode(format!("vector_point.kind is {kind}").into()))?;
    let part: &str = row.try_get("part")?;
    let part = Part::parse(part)
        .ok_or_else(|| sqlx::Error::Decode(format!("vector_point.part is {part}").into()))?;
    Ok(Place { record: kind.record(row.try_get("id")?), part, ordinal: row.try_get("ordinal")? })
}

fn digest(row: &sqlx::postgres::PgRow) -> Result<TextDigest, sqlx::Error> {
    let bytes: &[u8] = row.try_get("digest")?;
    TextDigest::of_bytes(bytes).ok_or_else(|| {
        sqlx::Error::Decode(format!("vector_point.digest has {} bytes", bytes.len()).into())
    })
}

impl<'r> FromRow<'r, sqlx::postgres::PgRow> for Held {
    fn from_row(row: &'r sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self { place: place(row)?, version: row.try_get("revision")?, digest: digest(row)? })
    }
}

impl<'r> FromRow<'r, sqlx::postgres::PgRow> for Point {
    fn from_row(row: &'r sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        let language: Option<&str> = row.try_get("lang")?;
        let about: Vec<String> = row.try_get("about")?;
        let vector: &[u8] = row.try_get("vector")?;
        Ok(Self {
            place: place(row)?,
            digest: digest(row)?,
            version: row.try_get("revision")?,
            vector: numbers(vector),
            date: row.try_get::<Option<DateTime<Utc>>, _>("on_date")?,
            language: language.and_then(Language::parse),
            about: about.iter().filter_map(|name| record_named(name)).collect(),
            is_brief: row.try_get("brief")?,
        })
    }
}
