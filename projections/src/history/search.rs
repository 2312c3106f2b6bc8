//! Which positions of the log pass a selection: asked of the read model `audit`.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::{History, Selection, touched_name};
use crate::read::audit::{self, named};

impl History {
    /// The newest positions before the cursor that pass, at most so many, newest first; and the streams that are not
    /// searched.
    pub(super) async fn find(
        &self,
        selection: &Selection,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<i64>, Vec<String>), sqlx::Error> {
        let mut connection = self.database.pool.acquire().await?;
        let missing = audit::missing(&mut connection).await?;
        // Texts that Postgres cannot hold are in none of its rows.
        if selection.texts().any(|text| text.contains('\0')) {
            return Ok((vec![], missing));
        }
        let from = match selection.from {
            Some(time) => first_since(&mut connection, time).await?,
            None => 0,
        };
        let to = match selection.to {
            Some(time) => first_since(&mut connection, time).await?,
            None => i64::MAX,
        };
        let to = cursor.map_or(to, |cursor| to.min(cursor));
        let mut query = statement(selection, from, to, limit);
        // Planned for these very values: how often a field or a word occurs decides how it is best found.
        let query = query.build_query_scalar().persistent(false);
        Ok((query.fetch_all(&mut *connection).await?, missing))
    }
}

impl Selection {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let texts = [&self.actor, &self.event, &self.field, &self.source, &self.text];
        texts.into_iter().flatten().map(String::as_str)
    }
}

fn statement(
    selection: &Selection,
    from: i64,
    to: i64,
    limit: usize,
) -> QueryBuilder<'_, Postgres> {
    let mut query = QueryBuilder::new("select position from audit where position < ");
    query.push_bind(to);
    if from > 0 {
        query.push(" and position >= ").push_bind(from);
    }
    if let Some(actor) = &selection.actor {
        query.push(" and actor = ").push_bind(actor);
    }
    if let Some(kind) = selection.kind {
        query.push(" and kind = ").push_bind(kind.as_str());
    }
    if let Some(record) = selection.record {
        query.push(" and ((kind = ").push_bind(record.kind().as_str());
        query.push(" and id = ").push_bind(record.id()).push(")");
        if selection.related {
            query.push(" or about @> ").push_bind(vec![named(record)]);
        }
        query.push(")");
    }
    if let Some(event) = &selection.event {
        query.push(" and event = ").push_bind(event);
    }
    if let Some(field) = &selection.field {
        query.push(" and fields @> ").push_bind(vec![touched_name(field).to_owned()]);
    }
    if let Some(source) = &selection.source {
        query.push(" and source = ").push_bind(source);
    }
    if let Some(correlation) = selection.correlation {
        query.push(" and correlation_id = ").push_bind(correlation);
    }
    if let Some(text) = &selection.text {
        query.push(" and words @@ plainto_tsquery('simple', ").push_bind(text).push(")");
    }
    query.push(" order by position desc limit ");
    query.push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    query
}

/// The first position that was recorded then or later. Positions are in the order of time, so no index on the time is
/// needed: some twenty rows are looked at.
async fn first_since(
    connection: &mut PgConnection,
    time: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    let last: Option<i64> =
        sqlx::query_scalar("select max(position) from audit").fetch_one(&mut *connection).await?;
    let (mut low, mut high) = (0, last.map_or(0, |last| last + 1));
    // Everything before `low` is earlier, and what stands at `high` or after is not.
    while low < high {
        let middle = low + (high - low) / 2;
        let (position, recorded_at): (i64, DateTime<Utc>) = sqlx::query_as(
            "select position, recorded_at from audit where position >= $1 order by position limit 1",
        )
        .bind(middle)
        .fetch_one(&mut *connection)
        .await?;
        if recorded_at < time {
            low = position + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
