//! The statements that append a group, and what they refuse.

use std::collections::HashMap;

use domain::RecordRef;
use sqlx::{Connection as _, PgConnection};

use super::{Append, Erasure, NewKey};
use crate::log::claims::{self, Claim};
use crate::log::keys::{ERASED, NewStreamKey};
use crate::log::{APPEND_LOCK, NewEvent};

/// Why a statement has written nothing.
pub(super) enum Refused {
    Database(sqlx::Error),
    NotionIdTaken(RecordRef),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Refused::Database(error)
    }
}

/// The constraint that was violated, if the error says that something is there already.
pub(super) fn constraint(error: &sqlx::Error) -> Option<&str> {
    let refused = error.as_database_error()?;
    if refused.code().as_deref() == Some("23505") { refused.constraint() } else { None }
}

/// Whether a key was refused since the database is no longer under the master key that it is wrapped under.
pub(super) fn lacks_master(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("23502") && error.table() == Some("stream_key")
    })
}

macro_rules! inserted {
    () => {
        "turn as materialized (select pg_advisory_xact_lock($1)),
    inserted as (
        insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                            event_id, command_id, correlation_id, causation_id, actor, occurred_at)
        select kind, stream, sequence, type, version, payload::json, metadata::json, event, command, correlation,
               causation, actor, occurred
        from turn, unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
            $8::text[], $9::uuid[], $10::uuid[], $11::uuid[], $12::uuid[], $13::text[], $14::timestamptz[])
            as new (kind, stream, sequence, type, version, payload, metadata, event, command, correlation,
                    causation, actor, occurred)
        returning position)"
    };
}

/// Takes its turn first, so that positions are drawn in the order of commits.
const INSERT_EVENTS: &str =
    concat!("with ", inserted!(), " select array_agg(position) from inserted");

/// Likewise, with keys. One that is wrapped under another master key than the present one has none, which the table refuses.
const INSERT_EVENTS_AND_KEYS: &str = concat!(
    "with ",
    inserted!(),
    ", locked as (
        insert into stream_key (aggregate_type, aggregate_id, wrapped, master_id)
        select kind, stream, wrapped, id
        from unnest($15::text[], $16::text[], $17::bytea[], $18::text[]) as new (kind, stream, wrapped, master)
            left join master_key on id = master)
    select array_agg(position) from inserted"
);

/// Appends all of it in one statement or one transaction. Returns the positions of all events in order.
pub(super) async fn insert(
    connection: &mut PgConnection,
    appends: &[Append],
) -> Result<Vec<i64>, Refused> {
    let events: Vec<&NewEvent> = appends.iter().flat_map(|append| &append.events).collect();
    let keyed: Vec<(&NewKey, bool)> = appends
        .iter()
        .filter_map(|append| Some((append.key.as_ref()?, !append.events.is_empty())))
        .collect();
    let stream_keys: Vec<&NewStreamKey> =
        appends.iter().flat_map(|append| &append.stream_keys).collect();
    let erasures: Vec<&Erasure> =
        appends.iter().filter_map(|append| append.erasure.as_ref()).collect();
    let claims: Vec<&Claim> = appends.iter().filter_map(|append| append.claim.as_ref()).collect();
    if keyed.is_empty() && erasures.is_empty() && claims.is_empty() {
        return Ok(insert_events(connection, &events, &stream_keys).await?);
    }
    let mut tx = connection.begin().await?;
    let positions = insert_events(&mut tx, &events, &stream_keys).await?;
    for erasure in erasures {
        erase(&mut tx, erasure).await?;
    }
    let mut position_of = HashMap::new();
    let mut end = 0;
    for append in appends {
        end += append.events.len();
        if let (Some(key), false) = (&append.key, append.events.is_empty()) {
            position_of.insert(key.key.as_str(), positions[end - 1]);
        }
    }
    if !keyed.is_empty() {
        insert_keys(&mut tx, &keyed, &position_of).await?;
    }
    // After the keys: a request that comes twice has lost to itself, not to another record.
    if !claims.is_empty()
        && let Some(owner) = claims::settle(&mut tx, &claims).await?
    {
        // At once, since the lock is held until then.
        tx.rollback().await?;
        return Err(Refused::NotionIdTaken(owner));
    }
    tx.commit().await?;
    Ok(positions)
}

async fn insert_keys(
    connection: &mut PgConnection,
    keyed: &[(&NewKey, bool)],
    position_of: &HashMap<&str, i64>,
) -> Result<(), sqlx::Error> {
    let keys: Vec<&NewKey> = keyed.iter().map(|(key, _)| *key).collect();
    sqlx::query(
        "insert into idempotency_key (key, request_hash, aggregate_type, aggregate_id, position, version)
         select * from unnest($1::text[], $2::bytea[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])",
    )
    .bind(keys.iter().map(|key| key.key.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.request_hash.as_slice()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.aggregate_type).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| position_of.get(key.key.as_str()).copied()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.version).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_events(
    connection: &mut PgConnection,
    events: &[&NewEvent],
    keys: &[&NewStreamKey],
) -> Result<Vec<i64>, sqlx::Error> {
    if events.is_empty() {
        return Ok(vec![]);
    }
    let statement = if keys.is_empty() { INSERT_EVENTS } else { INSERT_EVENTS_AND_KEYS };
    fn column<'a, T>(events: &[&'a NewEvent], value: impl Fn(&'a NewEvent) -> T) -> Vec<T> {
        events.iter().map(|event| value(event)).collect()
    }
    let mut query = sqlx::query_scalar(statement)
        .bind(APPEND_LOCK)
        .bind(column(events, |event| event.aggregate_type))
        .bind(column(events, |event| event.aggregate_id.as_str()))
        .bind(column(events, |event| event.sequence))
        .bind(column(events, |event| event.event_type.as_str()))
        .bind(column(events, |event| event.event_version.as_str()))
        .bind(column(events, |event| event.payload.as_str()))
        .bind(column(events, |event| event.metadata.as_str()))
        .bind(column(events, |event| event.event_id))
        .bind(column(events, |event| event.command_id))
        .bind(column(events, |event| event.correlation_id))
        .bind(column(events, |event| event.causation_id))
        .bind(column(events, |event| event.actor.as_str()))
        .bind(column(events, |event| event.occurred_at));
    if !keys.is_empty() {
        query = query
            .bind(keys.iter().map(|key| key.aggregate_type).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.aggregate_id.as_str()).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.wrapped.as_slice()).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.master_id.as_str()).collect::<Vec<_>>());
    }
    query.fetch_one(connection).await
}

/// Destroys a stream's key, and what other tables hold of its content: answers to requests, and errors that may quote it.
async fn erase(connection: &mut PgConnection, erasure: &Erasure) -> Result<(), sqlx::Error> {
    let Erasure { aggregate_type, aggregate_id, leftovers } = erasure;
    sqlx::query(
        "insert into stream_key (aggregate_type, aggregate_id, master_id, destroyed_at, leftovers)
         values ($1, $2, (select id from master_key), clock_timestamp(), $3)
         on conflict (aggregate_type, aggregate_id) do update
             set wrapped = null, destroyed_at = excluded.destroyed_at, leftovers = excluded.leftovers",
    )
    .bind(aggregate_type)
    .bind(aggregate_id)
    .bind(leftovers)
    .execute(&mut *connection)
    .await?;
    for statement in [
        // Where its events cannot be read, nobody knows which it has.
        "delete from notion_claim where kind = $1 and id = $2::bigint",
        // The hash of a request that gave a name is as good as the name to whoever has a list of names.
        "update idempotency_key set request_hash = '', status = 410, answer = '{\"detail\":\"The record was erased\"}'
         where aggregate_type = $1 and aggregate_id = $2",
        "update dead_letter set error = 'the record was erased' where aggregate_type = $1 and aggregate_id = $2",
        "update skipped_event set error = 'the record was erased' where aggregate_type = $1 and aggregate_id = $2",
    ] {
        sqlx::query(statement)
            .bind(aggregate_type)
            .bind(aggregate_id)
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query("select pg_notify($1, $2 || ' ' || $3)")
        .bind(ERASED)
        .bind(aggregate_type)
        .bind(aggregate_id)
        .execute(connection)
        .await?;
    Ok(())
}
