//! Answers of requests that carried an idempotency key.

use sqlx::PgConnection;

use super::{CommandError, EventLog};

/// What is known of an idempotency key.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// SHA-256 of the request that used it; `None` once the record was erased.
    pub request_hash: Option<Vec<u8>>,
    /// Status and body of the answer; `None` if the server died before it was recorded.
    pub answer: Option<(u16, Vec<u8>)>,
    /// The last position of the command; `None` if it recorded nothing.
    pub position: Option<i64>,
    /// The position that the answer told.
    pub answered_position: Option<i64>,
    /// The type of the record that the command was for, or of what else was written.
    pub aggregate_type: String,
    /// The id of that record.
    pub aggregate_id: String,
    /// The record's version after the command.
    pub version: i64,
}

/// What a request was answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: &'a [u8],
    /// The position that it told, if any.
    pub position: Option<i64>,
}

/// Takes a key for a write without events, in the write's transaction: what was written, and its id. Tells whether the
/// key was free.
///
/// # Errors
/// When the database fails.
pub async fn take_key(
    transaction: &mut PgConnection,
    key: &str,
    request_hash: &[u8],
    (kind, id): (&str, &str),
) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query(
        "insert into idempotency_key (key, request_hash, aggregate_type, aggregate_id, version)
         values ($1, $2, $3, $4, 0) on conflict (key) do nothing",
    )
    .bind(key)
    .bind(request_hash)
    .bind(kind)
    .bind(id)
    .execute(transaction)
    .await?;
    Ok(taken.rows_affected() > 0)
}

impl EventLog {
    /// What is known of the key, if it was used.
    ///
    /// # Errors
    /// [`CommandError::Unavailable`] when the database cannot be reached.
    pub async fn recorded_answer(&self, key: &str) -> Result<Option<KeyRecord>, CommandError> {
        type Row =
            (Vec<u8>, Option<i16>, Option<Vec<u8>>, Option<i64>, Option<i64>, String, String, i64);
        self.database.check()?;
        let row: Option<Row> = self.database.ask(sqlx::query_as(
            "select request_hash, status, answer, position, answered_position, aggregate_type, aggregate_id, version
             from idempotency_key where key = $1",
        )
        .bind(key)
        .fetch_optional(&self.database.pool)).await?;
        let record =
            |(hash, status, answer, position, answered, kind, id, version): Row| KeyRecord {
                request_hash: Some(hash).filter(|hash| !hash.is_empty()),
                answer: status.zip(answer).map(|(status, body)| (status.unsigned_abs(), body)),
                position,
                answered_position: answered,
                aggregate_type: kind,
                aggregate_id: id,
                version,
            };
        Ok(row.map(record))
    }

    /// Records the answer to the request that used the key, unless one was put there: the record may have been erased.
    ///
    /// # Errors
    /// [`CommandError::Unavailable`] when the database cannot be reached.
    pub async fn record_answer(&self, key: &str, answer: Answer<'_>) -> Result<(), CommandError> {
        self.database
            .ask(
                sqlx::query(
                    "update idempotency_key set status = $2, answer = $3, answered_position = $4
                     where key = $1 and status is null",
                )
                .bind(key)
                .bind(answer.status.cast_signed())
                .bind(answer.body)
                .bind(answer.position)
                .execute(&self.database.pool),
            )
            .await?;
        Ok(())
    }

    /// Records the answer to a request that neither an event nor a row tells of: it alone says that it was carried out.
    ///
    /// # Errors
    /// [`CommandError::Unavailable`] when the database cannot be reached.
    pub async fn record_lone_answer(
        &self,
        key: &str,
        request_hash: &[u8],
        answer: Answer<'_>,
    ) -> Result<(), CommandError> {
        self.database
            .ask(
                sqlx::query(
                    "insert into idempotency_key
                         (key, request_hash, aggregate_type, aggregate_id, version, status, answer, answered_position)
                     values ($1, $2, '', '', 0, $3, $4, $5) on conflict (key) do nothing",
                )
                .bind(key)
                .bind(request_hash)
                .bind(answer.status.cast_signed())
                .bind(answer.body)
                .bind(answer.position)
                .execute(&self.database.pool),
            )
            .await?;
        Ok(())
    }

    /// Forgets keys older than two days; they are promised for one. Returns how many.
    ///
    /// # Errors
    /// [`CommandError::Unavailable`] when the database cannot be reached.
    pub async fn forget_old_keys(&self) -> Result<u64, CommandError> {
        let done = self
            .database
            .ask(
                sqlx::query(
                    "delete from idempotency_key where recorded_at < now() - interval '2 days'",
                )
                .execute(&self.database.pool),
            )
            .await?;
        Ok(done.rows_affected())
    }
}
