//! Whom and what records are about, by name.

use std::collections::HashMap;

use domain::{Kind, RecordRef};
use sqlx::{Connection as _, PgConnection, Row as _};

use super::answer::Search;
use super::lag::{changed_since, lag};
use super::lexical::record_of;
use super::names::NAMED;
use crate::database::DatabaseError;

/// How many names of each record are told: of every kind one, then of every kind the next.
const MOST: i64 = 12;

/// The longest name, in characters; the rest is cut off.
const LONGEST: i32 = 80;

impl Search {
    /// The names of the organisations, people, funds and roadshows that each of these records is linked to, at most 12 of each.
    /// What is archived, and what changed since while the texts are behind the log, is not named.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn names_about(
        &self,
        records: &[RecordRef],
    ) -> Result<HashMap<RecordRef, Vec<String>>, DatabaseError> {
        if records.is_empty() {
            return Ok(HashMap::new());
        }
        let looking = async {
            let mut db = self.database.pool.acquire().await?;
            let mut tx = db.begin_with("begin isolation level repeatable read read only").await?;
            let behind = lag(&mut tx).await?;
            let names = names(&mut tx, records, behind).await?;
            tx.rollback().await?;
            Ok(names)
        };
        self.database.ask(looking).await
    }
}

/// The names that each of these records is linked to, from texts that are at this position if they are behind the log.
pub(super) async fn names(
    db: &mut PgConnection,
    records: &[RecordRef],
    behind: Option<i64>,
) -> Result<HashMap<RecordRef, Vec<String>>, sqlx::Error> {
    let mut linked = linked(db, records).await?;
    if let Some(position) = behind {
        let named = linked.iter().map(|link| link.to);
        let changed = changed_since(db, position, named).await?;
        linked.retain(|link| !changed.contains(&link.to));
    }
    let mut names: HashMap<RecordRef, Vec<String>> = HashMap::new();
    for link in linked {
        names.entry(link.of).or_default().push(link.name);
    }
    Ok(names)
}

/// That a record is about another one.
struct Link {
    of: RecordRef,
    to: RecordRef,
    name: String,
}

async fn linked(db: &mut PgConnection, records: &[RecordRef]) -> Result<Vec<Link>, sqlx::Error> {
    let rows = sqlx::query(
        "select linked.kind, linked.id, linked.name, wanted.place
         from unnest($1::text[], $2::bigint[]) with ordinality as wanted (kind, id, place)
             join findable as found on found.kind = wanted.kind and found.id = wanted.id,
             lateral (
                 select named.kind, named.id, left(named.title, $4) as name, link.place,
                     row_number() over (partition by named.kind order by link.place) as turn
                 from unnest(found.about) with ordinality as link (name, place)
                     join findable as named on named.kind = split_part(link.name, ':', 1)
                         and named.id = split_part(link.name, ':', 2)::bigint
                 where named.kind = any($3) and not named.archived and named.title <> ''
                 order by turn, link.place limit $5) as linked
         order by wanted.place, linked.turn, linked.place",
    )
    .bind(records.iter().map(|record| record.kind().as_str()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.id()).collect::<Vec<_>>())
    .bind(NAMED.map(Kind::as_str).as_slice())
    .bind(LONGEST)
    .bind(MOST)
    .fetch_all(db)
    .await?;
    let mut links = Vec::with_capacity(rows.len());
    for row in &rows {
        let place = usize::try_from(row.try_get::<i64, _>("place")?).unwrap_or_default();
        let Some(of) = place.checked_sub(1).and_then(|at| records.get(at)) else { continue };
        links.push(Link { of: *of, to: record_of(row)?, name: row.try_get("name")? });
    }
    Ok(links)
}
