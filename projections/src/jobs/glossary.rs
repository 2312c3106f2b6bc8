//! Names that may be said in a meeting: Whisper writes them right if it is told them.

use domain::NoteId;
use sqlx::PgPool;

/// The most names; the prompt has no room for more.
const MOST: i64 = 60;

/// The names of whom and what a note is about, and its title: what may be told of it though nobody said it.
pub(super) async fn with_title(pool: &PgPool, note: NoteId) -> Result<Vec<String>, sqlx::Error> {
    let mut names = of(pool, note).await?;
    let title = "select record->>'name' from note where id = $1 and not archived";
    let title: Option<Option<String>> =
        sqlx::query_scalar(title).bind(note.0).fetch_optional(pool).await?;
    names.extend(title.flatten());
    Ok(names)
}

/// The names of whom and what a note is about, the likeliest to be said first: who was there, the organisations and funds,
/// and the people who belong to these.
pub(super) async fn of(pool: &PgPool, note: NoteId) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "with about as (select to_kind as kind, to_id as id from link
                        where from_kind = 'note' and from_id = $1),
         named (place, id, name) as (
             select 1, id, record->>'name' from person
                 where not archived and id in (select id from about where kind = 'person')
             union all select 2, id, record->>'name' from lp
                 where not archived and id in (select id from about where kind = 'lp')
             union all select 3, id, record->>'name' from gp
                 where not archived and id in (select id from about where kind = 'gp')
             union all select 4, id, record->>'fund_name' from fund
                 where not archived and id in (select id from about where kind = 'fund')
             union all select 5, id, record->>'name' from distributor
                 where not archived and id in (select id from about where kind = 'distributor')
             union all select 6, id, record->>'name' from person
                 where not archived and id in (
                     select from_id from link join about on to_kind = kind and to_id = about.id
                     where from_kind = 'person'))
         select name from named where trim(name) <> ''
         group by name order by min(place), min(id) limit $2",
    )
    .bind(note.0)
    .bind(MOST)
    .fetch_all(pool)
    .await
}
