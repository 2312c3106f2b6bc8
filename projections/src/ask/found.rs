//! The passages that an answer is made of: those that share the most words with the question.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, Postgres, QueryBuilder};

use crate::database::{Database, DatabaseError};
use crate::search::Filter;
use crate::search::passage::named;

/// A passage as it stands in the tables at this moment.
#[derive(Clone, Debug, FromRow)]
pub struct Found {
    /// Kind of the record.
    pub kind: String,
    /// The record's id.
    pub id: i64,
    /// What the record is called.
    pub title: String,
    /// When it happened.
    pub on_date: Option<DateTime<Utc>>,
    /// Which of the record's texts the passage is of.
    pub part: String,
    /// The how manieth piece of it.
    pub ordinal: i32,
    /// The words.
    pub text: String,
    /// Of a transcript: when they were said, in milliseconds.
    pub starts_ms: Option<i64>,
}

/// The passages with the most words of the question, at most so many, best first. What was archived or erased has none.
///
/// # Errors
/// When the database cannot be read.
pub async fn passages(
    database: &Database,
    question: &str,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<Found>, DatabaseError> {
    // Postgres holds no such character, so no passage has it.
    let question = question.replace('\0', " ");
    let mut query = statement(&question, filter, limit);
    // Planned for these very words: how often each occurs decides how they are best found.
    let query = query.build_query_as().persistent(false);
    database.ask(query.fetch_all(&database.pool)).await
}

fn statement<'a>(question: &str, filter: &Filter, limit: usize) -> QueryBuilder<'a, Postgres> {
    let mut query = QueryBuilder::new(
        "with asked as (select string_agg(quote_literal(lexeme), ' | ')::tsquery as words from crm_asked(",
    );
    query.push_bind(question.to_owned());
    query.push(
        "), unnest(lexemes) as lexeme)
         select passage.kind, passage.id, title, on_date, part, ordinal, text, starts_ms
         from asked join passage on passage.words @@ asked.words
         join findable on findable.kind = passage.kind and findable.id = passage.id
         where not archived",
    );
    if !filter.kinds.is_empty() {
        let kinds: Vec<String> = filter.kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
        query.push(" and passage.kind = any(").push_bind(kinds).push(")");
    }
    for record in &filter.about {
        query.push(" and (about @> array[").push_bind(named(*record)).push("]");
        query.push(" or (passage.kind = ").push_bind(record.kind().as_str());
        query.push(" and passage.id = ").push_bind(record.id()).push("))");
    }
    if let Some(from) = filter.from {
        query.push(" and on_date >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        query.push(" and on_date < ").push_bind(to);
    }
    if let Some(language) = filter.language {
        query.push(" and passage.lang = ").push_bind(language.code());
    }
    query.push(" order by ts_rank(passage.words, asked.words) desc, on_date desc nulls last, passage.kind, passage.id, part, ordinal limit ");
    query.push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
    query
}
