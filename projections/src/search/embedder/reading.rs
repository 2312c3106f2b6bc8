//! Records as they stand in `findable` and `passage`, each piece of text with its heading.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::{Kind, RecordRef};
use sqlx::{PgConnection, Postgres, Transaction};

use super::super::engine::TextDigest;
use super::super::passage::{self, named, record_named};
use super::super::sets::{self, EMBEDDED, VectorSet};
use super::super::text::{Part, is_brief};
use crate::database::Database;

/// The kinds of records whose names stand in the headings of what is about them.
const ORGANISATIONS: [Kind; 4] = [Kind::Lp, Kind::Gp, Kind::Distributor, Kind::Fund];

/// The longest heading, in characters: it must leave room for the text.
const HEADING: usize = 200;

/// A record as it stands.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) record: RecordRef,
    /// Its last event.
    pub(super) position: i64,
    pub(super) date: Option<DateTime<Utc>>,
    pub(super) about: Vec<String>,
    /// Of an organisation: what tells whether its name is still the same.
    pub(super) title: Option<TextDigest>,
    /// None if it is archived or erased.
    pub(super) pieces: Vec<Piece>,
}

/// A piece of its text.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) part: String,
    pub(super) ordinal: i32,
    pub(super) language: Option<String>,
    /// Of the piece alone, as the read model has it.
    pub(super) digest: Vec<u8>,
    /// Heading and piece: what is embedded.
    pub(super) text: String,
    /// Of that.
    pub(super) embedding: TextDigest,
    pub(super) is_brief: bool,
}

/// Records that have changed.
pub(super) struct Changes {
    pub(super) records: Vec<Record>,
    /// How far the texts are.
    pub(super) position: i64,
}

/// kind, id, position, title, date, about, archived.
type Row = (String, i64, i64, String, Option<DateTime<Utc>>, Vec<String>, bool);

/// kind, id, part, ordinal, text, digest, language.
type PieceRow = (String, i64, String, i32, String, Vec<u8>, Option<String>);

const FINDABLE: &str = "select kind, id, position, title, on_date, about, archived from findable";

/// The records whose rows have changed behind a position, so many at least if there are, in the order in which they did.
pub(super) async fn changes(
    database: &Database,
    after: i64,
    least: i64,
) -> Result<Changes, sqlx::Error> {
    let mut tx = snapshot(database).await?;
    let position = sets::texts(&mut tx).await?.map_or(after, |texts| texts.position);
    let rows: Vec<Row> = sqlx::query_as(&format!(
        "{FINDABLE} where position > $1 order by position fetch first $2 rows with ties"
    ))
    .bind(after)
    .bind(least)
    .fetch_all(&mut *tx)
    .await?;
    let records = complete(&mut tx, rows).await?;
    tx.commit().await?;
    Ok(Changes { records, position })
}

/// These records, as far as they are there.
pub(super) async fn records(
    database: &Database,
    records: &[RecordRef],
) -> Result<Vec<Record>, sqlx::Error> {
    let mut tx = snapshot(database).await?;
    let records = seen(&mut tx, records).await?;
    tx.commit().await?;
    Ok(records)
}

/// These records as this connection sees them, as far as they are there.
pub(super) async fn seen(
    db: &mut PgConnection,
    records: &[RecordRef],
) -> Result<Vec<Record>, sqlx::Error> {
    let (kinds, ids) = keys(records);
    let rows: Vec<Row> = sqlx::query_as(&format!(
        "{FINDABLE} join unnest($1::text[], $2::bigint[]) as asked (kind, id) using (kind, id)"
    ))
    .bind(kinds)
    .bind(ids)
    .fetch_all(&mut *db)
    .await?;
    complete(db, rows).await
}

/// The records that are about this one.
pub(super) async fn about(
    database: &Database,
    record: RecordRef,
) -> Result<Vec<RecordRef>, sqlx::Error> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("select kind, id from findable where about @> array[$1] and not archived")
            .bind(named(record))
            .fetch_all(&database.pool)
            .await?;
    Ok(references(rows))
}

/// The records that the set's checkpoint has passed and that are not in it as they stand.
pub(super) async fn differing(
    database: &Database,
    set: &VectorSet,
) -> Result<Vec<RecordRef>, sqlx::Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select kind, id from findable f
         where position <= $2 and not exists (
             select from vector_record r
             where r.set_id = $1 and r.kind = f.kind and r.id = f.id and r.position = f.position)
         union all
         select distinct kind, id from vector_point p
         where set_id = $1 and not exists (select from findable f where f.kind = p.kind and f.id = p.id)",
    )
    .bind(set.set.id)
    .bind(set.position)
    .fetch_all(&database.pool)
    .await?;
    Ok(references(rows))
}

/// A transaction that sees the tables as they are at one moment.
async fn snapshot(database: &Database) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = database.pool.begin().await?;
    sqlx::query("set transaction isolation level repeatable read, read only")
        .execute(&mut *tx)
        .await?;
    Ok(tx)
}

/// Adds their pieces to rows, and the headings to these.
async fn complete(db: &mut PgConnection, rows: Vec<Row>) -> Result<Vec<Record>, sqlx::Error> {
    let mut records = Vec::with_capacity(rows.len());
    let names = names(db, &rows).await?;
    let mut pieces = pieces(db, &rows).await?;
    for (kind, id, position, title, date, about, archived) in rows {
        let Some(kind) = Kind::parse(&kind) else { continue };
        let record = kind.record(id);
        let heading = heading(&title, &about, &names, date);
        let of_this = pieces.remove(&record).unwrap_or_default();
        let pieces = of_this.into_iter().map(|row| piece(row, &heading)).collect();
        let title = ORGANISATIONS.contains(&kind).then(|| TextDigest(passage::digest(&title)));
        let pieces = if archived { vec![] } else { pieces };
        records.push(Record { record, position, date, about, title, pieces });
    }
    Ok(records)
}

/// The names of the organisations that rows are about.
async fn names(
    db: &mut PgConnection,
    rows: &[Row],
) -> Result<HashMap<String, String>, sqlx::Error> {
    let mut organisations: Vec<RecordRef> = rows
        .iter()
        .flat_map(|(_, _, _, _, _, about, _)| about)
        .filter_map(|name| record_named(name))
        .filter(|record| ORGANISATIONS.contains(&record.kind()))
        .collect();
    organisations.sort_unstable();
    organisations.dedup();
    let (kinds, ids) = keys(&organisations);
    let rows: Vec<(String, String)> = sqlx::query_as(
        "select kind || ':' || id, title from findable
         join unnest($1::text[], $2::bigint[]) as asked (kind, id) using (kind, id) where not archived",
    )
    .bind(kinds)
    .bind(ids)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().collect())
}

/// The pieces of rows, by record.
async fn pieces(
    db: &mut PgConnection,
    rows: &[Row],
) -> Result<HashMap<RecordRef, Vec<PieceRow>>, sqlx::Error> {
    let kinds: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
    let ids: Vec<i64> = rows.iter().map(|row| row.1).collect();
    let found: Vec<PieceRow> = sqlx::query_as(&format!(
        "select kind, id, part, ordinal, text, digest, lang from passage
         join unnest($1::text[], $2::bigint[]) as asked (kind, id) using (kind, id)
         where {EMBEDDED}"
    ))
    .bind(kinds)
    .bind(ids)
    .fetch_all(db)
    .await?;
    let mut pieces: HashMap<RecordRef, Vec<PieceRow>> = HashMap::new();
    for row in found {
        if let Some(kind) = Kind::parse(&row.0) {
            pieces.entry(kind.record(row.1)).or_default().push(row);
        }
    }
    Ok(pieces)
}

fn piece((_, _, part, ordinal, text, digest_of_text, language): PieceRow, heading: &str) -> Piece {
    let is_brief = Part::parse(&part).is_some_and(|part| is_brief(part, &text));
    // A card begins with the name, and has in words whatever else there is.
    let text = match part == "card" {
        true => text,
        false => format!("{heading}\n{text}"),
    };
    let embedding = TextDigest(passage::digest(&text));
    Piece { part, ordinal, language, digest: digest_of_text, text, embedding, is_brief }
}

/// What is put before a piece, so that it is found by what its text takes for granted: title, an organisation, date. With all
/// that a note is linked to, a short text would be more like others of the same funds than like what it says.
fn heading(
    title: &str,
    about: &[String],
    names: &HashMap<String, String>,
    date: Option<DateTime<Utc>>,
) -> String {
    let organisations = about.iter().filter_map(|name| names.get(name).map(String::as_str));
    let day = date.map(|date| date.format("%Y-%m-%d").to_string());
    let mut parts: Vec<&str> = vec![title];
    parts.extend(organisations.filter(|name| !title.contains(name)).take(1));
    parts.extend(day.as_deref());
    parts.retain(|part| !part.trim().is_empty());
    parts.join(" · ").chars().take(HEADING).collect()
}

/// Records as two columns.
pub(super) fn keys(records: &[RecordRef]) -> (Vec<&'static str>, Vec<i64>) {
    records.iter().map(|record| (record.kind().as_str(), record.id())).unzip()
}

fn references(rows: Vec<(String, i64)>) -> Vec<RecordRef> {
    let record = |(kind, id): (String, i64)| Some(Kind::parse(&kind)?.record(id));
    rows.into_iter().filter_map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_says_what_the_text_takes_for_granted() {
        let names = HashMap::from([
            ("lp:7".to_owned(), "Afore XXI".to_owned()),
            ("fund:1".to_owned(), "Growth IV".to_owned()),
        ]);
        let about: Vec<String> = ["lp:7", "person:3", "fund:1"].map(str::to_owned).to_vec();
        let date = Some("2025-01-31T09:30:00Z".parse().unwrap());
        let check = |title: &str, about: &[String], date, expected: &str| {
            assert_eq!(heading(title, about, &names, date), expected);
        };
        check("Update call", &about, date, "Update call · Afore XXI · 2025-01-31");
        check("Afore XXI: update", &about, None, "Afore XXI: update · Growth IV");
        check("", &[], None, "");
        check(&"é".repeat(500), &[], None, &"é".repeat(HEADING));
    }
}
