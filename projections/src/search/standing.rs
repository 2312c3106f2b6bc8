//! Whether what was found a while ago still stands: texts are changed, deleted and erased while somebody works on them.

use std::collections::HashSet;

use domain::RecordRef;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::about::names;
use super::answer::Search;
use super::lag::{Followed, changed_since, followed};
use crate::database::DatabaseError;

/// A passage of a record as it was shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The record.
    pub record: RecordRef,
    /// What it is called.
    pub title: &'a str,
    /// The day it is of.
    pub date: Option<&'a str>,
    /// The names of whom it is linked to.
    pub about: &'a [String],
    /// Which of its texts.
    pub part: &'a str,
    /// Which piece of that text.
    pub ordinal: i32,
    /// The piece.
    pub text: &'a str,
}

impl Search {
    /// Whether each of these would be shown as it was. Whom a record is linked to besides does not matter. What changed since
    /// while the texts are behind the log does not stand, nor does what is parked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn still_stand(&self, shown: &[Shown<'_>]) -> Result<Vec<bool>, DatabaseError> {
        let looking = async {
            let mut db = self.database.pool.acquire().await?;
            let mut tx = db.begin_with("begin isolation level repeatable read read only").await?;
            let standing = standing(&mut tx, shown).await?;
            tx.rollback().await?;
            Ok(standing)
        };
        self.database.ask(looking).await
    }
}

async fn standing(db: &mut PgConnection, shown: &[Shown<'_>]) -> Result<Vec<bool>, sqlx::Error> {
    let Followed { behind, parked: mut doubtful } = followed(db).await?;
    let records: Vec<RecordRef> = shown.iter().map(|it| it.record).collect();
    if let Some(position) = behind {
        doubtful.extend(changed_since(db, position, records.iter().copied()).await?);
    }
    let there = there(db, shown).await?;
    let names = names(db, &records, behind).await?;
    let stands = |(at, it): (usize, &Shown<'_>)| {
        let named = names.get(&it.record).map(Vec::as_slice).unwrap_or_default();
        there.contains(&at)
            && !doubtful.contains(&it.record)
            && it.about.iter().all(|name| named.contains(name))
    };
    Ok(shown.iter().enumerate().map(stands).collect())
}

/// The places of those whose passage, title and day the tables have.
async fn there(db: &mut PgConnection, shown: &[Shown<'_>]) -> Result<HashSet<usize>, sqlx::Error> {
    let rows = sqlx::query(
        "select place from unnest($1::text[], $2::bigint[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::text[])
             with ordinality as shown (kind, id, part, ordinal, text, title, day, place)
             join findable using (kind, id) join passage using (kind, id, part, ordinal)
         where not archived and passage.text = shown.text and findable.title = shown.title
             and to_char(on_date at time zone 'utc', 'YYYY-MM-DD') is not distinct from day",
    )
    .bind(shown.iter().map(|it| it.record.kind().as_str()).collect::<Vec<_>>())
    .bind(shown.iter().map(|it| it.record.id()).collect::<Vec<_>>())
    .bind(shown.iter().map(|it| it.part).collect::<Vec<_>>())
    .bind(shown.iter().map(|it| it.ordinal).collect::<Vec<_>>())
    .bind(shown.iter().map(|it| it.text).collect::<Vec<_>>())
    .bind(shown.iter().map(|it| it.title).collect::<Vec<_>>())
    .bind(shown.iter().map(|it| it.date).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    let place = |row: &sqlx::postgres::PgRow| {
        let place: i64 = row.try_get("place")?;
        Ok(usize::try_from(place - 1).unwrap_or(usize::MAX))
    };
    rows.iter().map(place).collect()
}
