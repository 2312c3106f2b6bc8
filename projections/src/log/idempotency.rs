//! Answers of requests that carried an idempotency key.

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
    /// The type of the record that the command was for.
    pub aggregate_type: String,
    /// The id of that record.
    pub aggregate_id: String,
    /// The record's version after the command.
    pub version: i64,
}

impl EventLog {
    /// What is known of the key, if it was used.
    ///
    /// # Errors
    /// [`CommandError::Unavailable`] when the database cannot be reached.
    pub async fn recorded_answer(&self, key: &str) -> Result<Option<KeyRecord>, CommandError> {
        type Row = (Vec<u8>, Option<i16>, Option<Vec<u8>>, Option<i64>, String, String, i64);
        self.database.check()?;
        let row: Option<Row> = self.database.ask(sqlx::query_as(
            "select request_hash, status, answer, position, aggregate_type, aggregate_id, version
             from idempotency_key where key = $1",
        )
        .bind(key)
        .fetch_optional(&self.database.pool)).await?;
        Ok(row.map(|(hash, status, answer, position, aggregate_type, aggregate_id, version)| {
            let answer = status.zip(answer).map(|(status, body)| (status.unsigned_abs(), body));
            let request_hash = Some(hash).filter(|hash| !hash.is_empty());
            KeyRecord { request_hash, answer, position, aggregate_type, aggregate_id, version }
        }))
    }

    /// Records the answer to the request that used the key, unless one was put there: the record may have been erased.
    ///
    /// # Errors
    /// [`CommandError::Unavailable`] when the database cannot be reached.
    pub async fn record_answer(
        &self,
        key: &str,
        status: u16,
        body: &[u8],
    ) -> Result<(), CommandError> {
        self.database
            .ask(
                sqlx::query(
                    "update idempotency_key set status = $2, answer = $3
                     where key = $1 and status is null",
                )
                .bind(key)
                .bind(status.cast_signed())
                .bind(body)
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
