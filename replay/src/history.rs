//! The events that records have in the log already.

use std::collections::HashMap;

use domain::{Event, Kind};
use projections::log::{Keys, LogReader};
use sqlx::PgPool;

use crate::error::ImportError;

/// A record's events and its version.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The events, in order.
    pub events: Vec<Event>,
    /// The sequence of the last one.
    pub version: i64,
    /// The first event that cannot be read, by its position, and why: then nobody knows what state the record is in.
    pub unreadable: Option<(i64, String)>,
}

/// How much of the log is loaded at once, as stored, where long texts are compressed; one stream may be larger.
const BATCH_BYTES: i64 = 4 << 20;

/// Divides these records, in this order, so that the streams of each part fit into memory together.
///
/// # Errors
/// When the database fails.
pub async fn batches(pool: &PgPool, kind: Kind, ids: &[i64]) -> Result<Vec<Vec<i64>>, ImportError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<String> = ids.iter().map(i64::to_string).collect();
    let sizes: Vec<(String, i64)> = sqlx::query_as(
        "select aggregate_id, sum(pg_column_size(payload)) from events
         where aggregate_type = $1 and aggregate_id = any($2) group by aggregate_id",
    )
    .bind(kind.as_str())
    .bind(&keys)
    .fetch_all(pool)
    .await?;
    let sizes: HashMap<String, i64> = sizes.into_iter().collect();
    let sized = keys.iter().map(|key| sizes.get(key).copied().unwrap_or_default());
    Ok(divide(ids.iter().copied().zip(sized), BATCH_BYTES))
}

fn divide(sized: impl Iterator<Item = (i64, i64)>, limit: i64) -> Vec<Vec<i64>> {
    let (mut batches, mut batch, mut bytes) = (Vec::new(), Vec::new(), 0);
    for (id, size) in sized {
        if !batch.is_empty() && bytes + size > limit {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        batch.push(id);
        bytes += size;
    }
    batches.extend(Some(batch).filter(|batch| !batch.is_empty()));
    batches
}

/// Loads the streams of these records.
///
/// # Errors
/// When the database fails.
pub async fn load(
    pool: &PgPool,
    keys: &Keys,
    kind: Kind,
    ids: &[i64],
) -> Result<HashMap<i64, History>, ImportError> {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    let mut connection = pool.acquire().await?;
    let read = LogReader::new(keys.clone()).read_streams(&mut connection, kind, &ids).await?;
    let mut histories: HashMap<i64, History> = HashMap::new();
    for recorded in read.events {
        let history = histories.entry(recorded.id).or_default();
        history.version = recorded.sequence;
        history.events.push(recorded.event);
    }
    for broken in read.broken {
        let Ok(id) = broken.stream.id.parse() else { continue };
        let history = histories.entry(id).or_default();
        history.unreadable.get_or_insert((broken.position, broken.error));
    }
    Ok(histories)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_that_are_large_together_are_loaded_one_after_the_other() {
        let check = |sizes: &[i64], expected: &[&[i64]]| {
            let sized = (1..).zip(sizes.iter().copied());
            assert_eq!(divide(sized, 10), expected, "{sizes:?}");
        };
        check(&[], &[]);
        check(&[1, 2, 3], &[&[1, 2, 3]]);
        check(&[6, 4, 1], &[&[1, 2], &[3]]);
        check(&[99, 1, 99, 0], &[&[1], &[2], &[3], &[4]]);
    }
}
