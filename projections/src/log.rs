//! The event log: one table, one order.
//!
//! Appends take turns under an advisory lock, so that position order is commit order and a reader that follows
//! `position` misses nothing. [`appender`] writes the commands of all requests in groups; [`bulk_append`] is the
//! import's way in, under the same lock. Nothing else inserts.

pub mod appender;
mod aside;
pub mod cipher;
mod claims;
mod envelope;
mod executable;
mod execute;
mod idempotency;
mod ids;
mod in_plain;
pub mod keys;
pub mod master;
mod reader;
mod repository;
mod request;
mod states;
mod sweep;
mod turns;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::{Event, Kind};
use sqlx::PgTransaction;
use uuid::Uuid;

use crate::copy::CopyIn;

use cipher::{Place, StreamKey};
use keys::{Known, NewStreamKey};

pub use aside::{Aside, AsideError};
pub use claims::Claim;
pub(crate) use envelope::RECORDED_AT;
pub use envelope::{Entries, Entry, Envelope, Selection, check_metadata};
pub use executable::Executable;
pub use execute::{COMMANDS, EventLog};
pub use idempotency::{Answer, KeyRecord, take_key};
pub use keys::{AllKeys, KeyRing, Keys, KeysError};
pub use master::{MasterFile, MasterKey};
pub use reader::{LogReader, Page, PageLimit, ReadLogError, Recorded, Stream};
pub use request::{CommandError, CommandRequest, Receipt, Unread};
pub(crate) use states::States;
pub use sweep::{Span, StoredEvent, Sweep};
pub use turns::Turns;

/// The advisory lock that appends take turns under.
pub const APPEND_LOCK: i64 = 0x6372_6d5f_6c6f_6701;

/// The channel on which every append is announced.
pub const APPENDED: &str = "crm_appended";

/// An event on its way into the log.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The type of its stream.
    pub aggregate_type: &'static str,
    /// The stream's id among those of its type.
    pub aggregate_id: String,
    /// Its place in the stream, from 1.
    pub sequence: i64,
    /// The variant's name.
    pub event_type: String,
    /// The version of its stored form.
    pub event_version: String,
    /// The event as JSON text.
    pub payload: String,
    /// A JSON object of strings: who, how, from where.
    pub metadata: String,
    /// Names this event.
    pub event_id: Uuid,
    /// Names the command that led to it.
    pub command_id: Uuid,
    /// Names the conversation it belongs to.
    pub correlation_id: Uuid,
    /// The event or command that caused it.
    pub causation_id: Option<Uuid>,
    /// Who asked for it.
    pub actor: String,
    /// When it happened, if that is known and not simply now.
    pub occurred_at: Option<DateTime<Utc>>,
}

/// Appends many events in one go: takes its turn, copies them in, records what they claim and announces them, all in the
/// caller's transaction. Returns the last position, 0 when there were none.
///
/// # Errors
/// Whatever Postgres says; a stream version that exists already is a unique violation of `events_stream_version`, a key
/// that somebody else has made meanwhile one of `stream_key_pkey`.
pub async fn bulk_append(
    tx: &mut PgTransaction<'_>,
    keys: &Keys,
    events: &[NewEvent],
    claims: &[Claim],
) -> Result<i64, sqlx::Error> {
    if events.is_empty() {
        return Ok(0);
    }
    let ring = bulk_keys(tx, keys, events).await?;
    sqlx::query("select pg_advisory_xact_lock($1)").bind(APPEND_LOCK).execute(&mut **tx).await?;
    let columns = [
        "aggregate_type",
        "aggregate_id",
        "sequence",
        "event_type",
        "event_version",
        "payload",
        "metadata",
        "event_id",
        "command_id",
        "correlation_id",
        "causation_id",
        "actor",
        "occurred_at",
    ];
    let mut copy = CopyIn::begin(tx, "events", &columns).await?;
    for event in events {
        copy.text(event.aggregate_type)
            .text(&event.aggregate_id)
            .int(event.sequence)
            .text(&event.event_type)
            .text(&event.event_version)
            .text(&event.sealed(ring.key_of(event)))
            .text(&event.metadata)
            .uuid(event.event_id)
            .uuid(event.command_id)
            .uuid(event.correlation_id)
            .maybe(event.causation_id, CopyIn::uuid)
            .text(&event.actor)
            .maybe(event.occurred_at, CopyIn::time)
            .end_row()
            .await?;
    }
    copy.finish().await?;
    claims::accept(tx, &claims.iter().collect::<Vec<_>>()).await?;
    sqlx::query_scalar(
        "select coalesce((select max(position) from events), 0) from (select pg_notify($1, '')) as announced",
    )
    .bind(APPENDED)
    .fetch_one(&mut **tx)
    .await
}

impl NewEvent {
    /// The payload as it is to be stored: sealed, if its stream has a key.
    pub(crate) fn sealed(&self, key: Option<&StreamKey>) -> Cow<'_, str> {
        let place = Place {
            aggregate_type: self.aggregate_type,
            aggregate_id: &self.aggregate_id,
            sequence: self.sequence,
            event_type: &self.event_type,
        };
        match key {
            Some(key) => Cow::Owned(key.seal(place, &self.payload)),
            None => Cow::Borrowed(&self.payload),
        }
    }

    /// The kind of its stream, if it must not be stored in plain.
    pub(crate) fn personal(&self) -> Option<Kind> {
        keys::personal(self.aggregate_type).filter(|_| !Event::is_plain(&self.event_type))
    }
}

/// The keys that a bulk append seals under.
struct BulkKeys<'a>(HashMap<(Kind, &'a str), Arc<StreamKey>>);

impl<'a> BulkKeys<'a> {
    fn key_of(&self, event: &'a NewEvent) -> Option<&StreamKey> {
        self.0.get(&(event.personal()?, event.aggregate_id.as_str())).map(|key| &**key)
    }
}

/// Finds the keys of the streams that these events continue, and makes those of the streams that have none.
async fn bulk_keys<'a>(
    tx: &mut PgTransaction<'_>,
    keys: &Keys,
    events: &'a [NewEvent],
) -> Result<BulkKeys<'a>, sqlx::Error> {
    let streams: BTreeSet<(Kind, &str)> = events
        .iter()
        .filter_map(|event| Some((event.personal()?, event.aggregate_id.as_str())))
        .collect();
    if streams.is_empty() {
        return Ok(BulkKeys(HashMap::new()));
    }
    // A rotation of the master key waits, or has been waited for.
    sqlx::query("lock table stream_key in row exclusive mode").execute(&mut **tx).await?;
    // A stream that begins here has no key yet, or else somebody else has begun it, and its version is taken.
    let begun: HashSet<(&str, &str)> = events
        .iter()
        .filter(|event| event.sequence == 1)
        .map(|event| (event.aggregate_type, event.aggregate_id.as_str()))
        .collect();
    let continued = streams.iter().filter(|(kind, id)| !begun.contains(&(kind.as_str(), *id)));
    let ring = keys.passing_ring(tx, continued.copied(), None).await?;
    let current: Option<String> =
        sqlx::query_scalar("select id from master_key").fetch_optional(&mut **tx).await?;
    if !current.is_some_and(|id| keys.turn_to(&id)) {
        return Err(sqlx::Error::Protocol(MASTER_REPLACED.to_owned()));
    }
    let mut found = HashMap::with_capacity(streams.len());
    let mut made: Vec<NewStreamKey> = Vec::new();
    for (kind, id) in streams {
        let key = match ring.get(kind, id) {
            Some(Known::Key(key)) => key.clone(),
            Some(Known::Shut(master)) => {
                let error = cipher::OpenError::Wrapped(master.clone());
                return Err(sqlx::Error::Protocol(format!("{kind} {id}: {error}")));
            }
            // Of a stream that was erased meanwhile the version is taken, so that nothing is appended to it.
            Some(Known::Destroyed) => Arc::new(StreamKey::generate()),
            None => {
                made.push(keys.make(kind, id));
                made[made.len() - 1].key.clone()
            }
        };
        found.insert((kind, id), key);
    }
    if !made.is_empty() {
        let columns = ["aggregate_type", "aggregate_id", "wrapped", "master_id"];
        let mut copy = CopyIn::begin(tx, "stream_key", &columns).await?;
        for key in &made {
            copy.text(key.aggregate_type).text(&key.aggregate_id).bytes(&key.wrapped);
            copy.text(&key.master_id).end_row().await?;
        }
        copy.finish().await?;
    }
    Ok(BulkKeys(found))
}

/// What is said when another process has put another master key in place of the one that a setting gave.
pub(crate) const MASTER_REPLACED: &str =
    "the master key of this database was replaced: start crm again with the new CRM_MASTER_KEY";
