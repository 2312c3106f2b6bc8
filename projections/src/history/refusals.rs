//! Requests that were refused, and commands of reactors: who tried what, and why it did not happen.

use chrono::{DateTime, Utc};
use domain::{Kind, RecordRef};
use sqlx::{FromRow, PgConnection, QueryBuilder};
use uuid::Uuid;

use super::History;
use crate::database::{Database, DatabaseError};

/// A request that led to nothing.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Refusal {
    /// Its place among all refusals; also the cursor of what follows it. Set by the database.
    pub id: i64,
    /// When it was answered. Set by the database.
    pub refused_at: DateTime<Utc>,
    /// Who asked.
    pub actor: String,
    /// The method of the request; of what was no request, what it came from, such as `cli` or a reactor.
    pub method: String,
    /// Its path, without the query; of a reactor's command, that of what it is about.
    pub path: String,
    /// What the command is called, if the request came so far.
    pub command: Option<String>,
    /// The kind of record that the path names.
    pub kind: Option<String>,
    /// Which of that kind, if the path names one.
    pub record_id: Option<i64>,
    /// The status of the answer.
    pub status: i16,
    /// Why, as it was answered.
    pub why: String,
    /// Names the conversation it belongs to.
    pub correlation_id: Uuid,
    /// The command or event that caused it, if whoever asked said so.
    pub causation_id: Option<Uuid>,
    /// The network address it came from.
    pub client: Option<String>,
    /// The program it came from.
    pub user_agent: Option<String>,
}

impl Refusal {
    /// The record that it is about.
    pub fn record(&self) -> Option<RecordRef> {
        Some(Kind::parse(self.kind.as_deref()?)?.record(self.record_id?))
    }
}

/// Which refusals are wanted: those that pass every part that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusalFilter {
    /// Asked for by this actor.
    pub actor: Option<String>,
    /// About records of this kind.
    pub kind: Option<Kind>,
    /// About this record.
    pub record: Option<RecordRef>,
    /// Answered with this status.
    pub status: Option<i16>,
    /// Refused then or later.
    pub from: Option<DateTime<Utc>>,
    /// Refused before then.
    pub to: Option<DateTime<Utc>>,
    /// Of this conversation.
    pub correlation: Option<Uuid>,
}

/// Some refusals, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// The refusals.
    pub refusals: Vec<Refusal>,
    /// The cursor of the next page; `None` if there is none.
    pub next: Option<i64>,
}

/// The most characters that are kept of a text.
const KEPT: usize = 500;

fn kept(text: &str) -> String {
    text.chars().filter(|letter| *letter != '\0').take(KEPT).collect()
}

/// The path and the reason as they are kept of a refusal about a record that is erased, in SQL. Whoever asks for what is not there may
/// have said anything in its address; and what is wrong with a request names its fields and parameters, which anybody may call
/// as he likes.
const CUT_PATH: &str = "coalesce(substring(path from '^/[^/]*/[^/]*'), path)";
const CUT_WHY: &str =
    "case when status in (400, 422) then 'not kept after an erasure' else why end";

impl History {
    /// Keeps a refusal, of long texts the beginning, and no more than [`History::cut_refusals`] leaves. Its id and time are the
    /// database's.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn refuse(database: &Database, refusal: &Refusal) -> Result<(), DatabaseError> {
        database.check()?;
        let statement = format!(
            "insert into refusal (actor, method, path, command, kind, record_id, status, why, correlation_id, client,
                                  user_agent, causation_id)
             select actor, method, case when is_erased then {CUT_PATH} else path end, command, kind, record_id, status,
                    case when is_erased then {CUT_WHY} else why end, correlation_id, client, user_agent, causation_id
             from (values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
                           exists (select from stream_key where aggregate_type = $5 and aggregate_id = $6::text
                                       and destroyed_at is not null)))
                  as new (actor, method, path, command, kind, record_id, status, why, correlation_id, client,
                          user_agent, causation_id, is_erased)"
        );
        let question = sqlx::query(&statement)
            .bind(kept(&refusal.actor))
            .bind(kept(&refusal.method))
            .bind(kept(&refusal.path))
            .bind(refusal.command.as_deref().map(kept))
            .bind(&refusal.kind)
            .bind(refusal.record_id)
            .bind(refusal.status)
            .bind(kept(&refusal.why))
            .bind(refusal.correlation_id)
            .bind(refusal.client.as_deref().map(kept))
            .bind(refusal.user_agent.as_deref().map(kept))
            .bind(refusal.causation_id);
        database.ask(question.execute(&database.pool)).await?;
        Ok(())
    }

    /// Takes out of all refusals about erased records what may say something of these.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cut_refusals(db: &mut PgConnection) -> Result<(), sqlx::Error> {
        let statement = format!(
            "update refusal set path = {CUT_PATH}, why = {CUT_WHY}
             from stream_key where kind = aggregate_type and record_id = aggregate_id::bigint and destroyed_at is not null
                 and (path, why) is distinct from ({CUT_PATH}, {CUT_WHY})"
        );
        sqlx::query(&statement).execute(db).await?;
        Ok(())
    }

    /// Forgets what was refused more than this many days ago, in small bites. Tells how many that were.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn forget_refusals(database: &Database, days: u32) -> Result<u64, DatabaseError> {
        /// Nobody waits for long until so many are deleted.
        const BITE: i64 = 10_000;
        let mut forgotten = 0;
        loop {
            database.check()?;
            let question = sqlx::query(
                "delete from refusal where id in (
                     select id from refusal where refused_at < now() - make_interval(days => $1)
                     order by refused_at limit $2)",
            )
            .bind(i32::try_from(days).unwrap_or(i32::MAX))
            .bind(BITE);
            let bite = database.ask(question.execute(&database.pool)).await?.rows_affected();
            forgotten += bite;
            if bite == 0 {
                return Ok(forgotten);
            }
        }
    }

    /// What was refused, newest first: those before the cursor, at most so many.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn refusals(
        &self,
        filter: &RefusalFilter,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Refusals, DatabaseError> {
        if filter.actor.as_deref().is_some_and(|actor| actor.contains('\0')) {
            return Ok(Refusals::default());
        }
        let mut query = QueryBuilder::new("select * from refusal where id < ");
        query.push_bind(cursor.unwrap_or(i64::MAX));
        if let Some(actor) = &filter.actor {
            query.push(" and actor = ").push_bind(actor);
        }
        if let Some(kind) = filter.kind {
            query.push(" and kind = ").push_bind(kind.as_str());
        }
        if let Some(record) = filter.record {
            query.push(" and kind = ").push_bind(record.kind().as_str());
            query.push(" and record_id = ").push_bind(record.id());
        }
        if let Some(status) = filter.status {
            query.push(" and status = ").push_bind(status);
        }
        if let Some(from) = filter.from {
            query.push(" and refused_at >= ").push_bind(from);
        }
        if let Some(to) = filter.to {
            query.push(" and refused_at < ").push_bind(to);
        }
        if let Some(correlation) = filter.correlation {
            query.push(" and correlation_id = ").push_bind(correlation);
        }
        query.push(" order by id desc limit ");
        query.push_bind(i64::try_from(limit + 1).unwrap_or(i64::MAX));
        let question = query.build_query_as::<Refusal>().persistent(false);
        let mut refusals = self.database.ask(question.fetch_all(&self.database.pool)).await?;
        let has_more = refusals.len() > limit;
        refusals.truncate(limit);
        let next = refusals.last().map(|refusal| refusal.id).filter(|_| has_more);
        Ok(Refusals { refusals, next })
    }
}
