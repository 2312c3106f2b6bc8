//! The log with who, when and why beside each event: what histories show and what is sent to those who follow live.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use domain::Event;
use serde_json::{Map, Value};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::keys::KeyRing;
use super::reader::{LogReader, PAGE_BYTES, PageLimit, ReadLogError, Stream};

/// Who asked for an event, when, how, from where, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Names the event.
    pub event_id: Uuid,
    /// Names the command that led to it.
    pub command_id: Uuid,
    /// Names the conversation it belongs to.
    pub correlation_id: Uuid,
    /// The event or command that caused it.
    pub causation_id: Option<Uuid>,
    /// Who asked for it.
    pub actor: String,
    /// When it came into the log.
    pub recorded_at: DateTime<Utc>,
    /// When it happened, where that is known and differs.
    pub occurred_at: Option<DateTime<Utc>>,
    /// What the command is called.
    pub command: Option<String>,
    /// `api`, `import:<file>` or `reactor:<name>`.
    pub source: Option<String>,
    /// The network address it came from.
    pub client: Option<String>,
    /// The program it came from.
    pub user_agent: Option<String>,
    /// The trace that it is part of, in hexadecimal, as W3C Trace Context has it.
    pub trace_id: Option<String>,
}

/// An entry of the log with its envelope, also if today's code cannot read the event in it.
#[derive(Debug)]
pub struct Entry {
    /// Its place in the log.
    pub position: i64,
    /// The stream it belongs to.
    pub stream: Stream,
    /// Its place in its stream.
    pub sequence: i64,
    /// The name of the event's variant, as it is stored.
    pub event_type: String,
    /// What happened; or else why it cannot be read.
    pub event: Result<Event, String>,
    /// Who, when, why.
    pub envelope: Envelope,
}

/// Which entries are wanted: those of any of these kinds or streams. Empty: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Aggregate types.
    pub kinds: Vec<String>,
    /// Single streams.
    pub streams: Vec<Stream>,
}

impl Selection {
    /// Whether it leaves nothing out.
    pub fn is_everything(&self) -> bool {
        self.kinds.is_empty() && self.streams.is_empty()
    }

    /// Whether it has the entries of a stream.
    pub fn has(&self, stream: &Stream) -> bool {
        self.is_everything() || self.kinds.contains(&stream.kind) || self.streams.contains(stream)
    }
}

/// A piece of the log as it is followed.
#[derive(Debug, Default)]
pub struct Entries {
    /// What is wanted of it, in order.
    pub entries: Vec<Entry>,
    /// Up to here nothing that is wanted is left out: go on after it. `None` at the end of the log.
    pub end: Option<i64>,
}

/// How many positions are searched at once for what is wanted of them.
const SEARCHED: i64 = 5_000;

#[derive(FromRow)]
struct Row {
    position: i64,
    aggregate_type: String,
    aggregate_id: String,
    sequence: i64,
    event_type: String,
    event_version: String,
    payload: String,
    metadata: String,
    event_id: Uuid,
    command_id: Uuid,
    correlation_id: Uuid,
    causation_id: Option<Uuid>,
    actor: String,
    recorded_at: DateTime<Utc>,
    occurred_at: Option<DateTime<Utc>>,
}

#[derive(FromRow)]
struct Found {
    #[sqlx(flatten)]
    row: Row,
    /// How many there are, of which so many came as fit into a page.
    found: i64,
}

/// A column of times, in SQL, of which those that cannot be written down, such as infinity, are the farthest that can.
macro_rules! writable {
    ($column:literal) => {
        concat!(
            "case when ",
            $column,
            " is not null then least(greatest(",
            $column,
            ", '0001-01-01 00:00:00+00'),
                 '9999-12-31 23:59:59.999999+00') end"
        )
    };
}

/// When an event was recorded, in SQL. Whoever has changed that by hand must not keep others from reading the log.
pub(crate) const RECORDED_AT: &str = writable!("recorded_at");

/// The columns of a [`Row`].
const COLUMNS: &str = concat!(
    "position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text, metadata::text,
     event_id, command_id, correlation_id, causation_id, actor, ",
    writable!("recorded_at"),
    " as recorded_at, ",
    writable!("occurred_at"),
    " as occurred_at"
);

impl Row {
    fn envelope(self) -> Envelope {
        // An object of strings, of which each may be missing.
        let mut metadata: Map<String, Value> =
            serde_json::from_str(&self.metadata).unwrap_or_default();
        let mut text = |name: &str| match metadata.remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        Envelope {
            command: text("command"),
            source: text("source"),
            client: text("client"),
            user_agent: text("user_agent"),
            trace_id: text("trace_id"),
            event_id: self.event_id,
            command_id: self.command_id,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            actor: self.actor,
            recorded_at: self.recorded_at,
            occurred_at: self.occurred_at,
        }
    }
}

impl LogReader {
    /// The wanted entries that follow a position, oldest first, no more than a page of them. Where little is wanted, a
    /// page may be empty and still end further on: read on until there is no end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn entries_after(
        &self,
        connection: &mut PgConnection,
        position: i64,
        limit: PageLimit,
        wanted: &Selection,
    ) -> Result<Entries, sqlx::Error> {
        let searched = if wanted.is_everything() { limit.events } else { SEARCHED };
        // First how far, then what: positions are in the order of commits, so what is found up to there is complete.
        let end: Option<i64> = sqlx::query_scalar(
            "select max(position)
             from (select position from events where position > $1 order by position limit $2) as next",
        )
        .bind(position)
        .bind(searched)
        .fetch_one(&mut *connection)
        .await?;
        let Some(end) = end else { return Ok(Entries::default()) };
        let statement = format!(
            "select {COLUMNS}, found
             from (select *, sum(size) over (order by position) - size as before, count(*) over () as found
                   from (select *, pg_column_size(payload) as size from events
                         where position > $1 and position <= $2
                           and ($3 or aggregate_type = any ($4) or (aggregate_type, aggregate_id) in
                                (select * from unnest($5::text[], $6::text[])))
                         order by position limit $7) as next) as sized
             where before < $8 order by position"
        );
        let (kinds, ids): (Vec<_>, Vec<_>) =
            wanted.streams.iter().map(|stream| (&*stream.kind, &*stream.id)).unzip();
        let found: Vec<Found> = sqlx::query_as(&statement)
            .bind(position)
            .bind(end)
            .bind(wanted.is_everything())
            .bind(&wanted.kinds)
            .bind(kinds)
            .bind(ids)
            .bind(limit.events)
            .bind(PAGE_BYTES)
            .fetch_all(&mut *connection)
            .await?;
        let end = match found.last() {
            // There may be more of them before that position.
            Some(last) if last.found > length(&found) || last.found == limit.events => {
                last.row.position
            }
            _ => end,
        };
        let entries = self.entries(connection, found.into_iter().map(|found| found.row)).await?;
        Ok(Entries { entries, end: Some(end) })
    }

    /// The entries of one stream, oldest first; those up to a position, if there is one.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn entries_of_stream(
        &self,
        connection: &mut PgConnection,
        stream: &Stream,
        up_to: Option<i64>,
    ) -> Result<Vec<Entry>, sqlx::Error> {
        let statement = format!(
            "select {COLUMNS} from events
             where aggregate_type = $1 and aggregate_id = $2 and position <= $3 order by sequence"
        );
        let rows: Vec<Row> = sqlx::query_as(&statement)
            .bind(&stream.kind)
            .bind(&stream.id)
            .bind(up_to.unwrap_or(i64::MAX))
            .fetch_all(&mut *connection)
            .await?;
        self.entries(connection, rows).await
    }

    /// The entries of some streams, each up to a position, oldest first within each.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn entries_of_streams(
        &self,
        connection: &mut PgConnection,
        streams: &[(Stream, i64)],
    ) -> Result<Vec<Entry>, sqlx::Error> {
        let statement = format!(
            "select {COLUMNS} from unnest($1::text[], $2::text[], $3::bigint[]) as wanted (kind, id, up_to)
             join events on aggregate_type = wanted.kind and aggregate_id = wanted.id and position <= up_to
             order by aggregate_type, aggregate_id, sequence"
        );
        let rows: Vec<Row> = sqlx::query_as(&statement)
            .bind(streams.iter().map(|(stream, _)| stream.kind.as_str()).collect::<Vec<_>>())
            .bind(streams.iter().map(|(stream, _)| stream.id.as_str()).collect::<Vec<_>>())
            .bind(streams.iter().map(|(_, up_to)| *up_to).collect::<Vec<_>>())
            .fetch_all(&mut *connection)
            .await?;
        self.entries(connection, rows).await
    }

    /// The entries at these positions, oldest first, as far as there are any.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn entries_at(
        &self,
        connection: &mut PgConnection,
        positions: &[i64],
    ) -> Result<Vec<Entry>, sqlx::Error> {
        let statement =
            format!("select {COLUMNS} from events where position = any ($1) order by position");
        let rows: Vec<Row> =
            sqlx::query_as(&statement).bind(positions).fetch_all(&mut *connection).await?;
        self.entries(connection, rows).await
    }

    async fn entries(
        &self,
        connection: &mut PgConnection,
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<Vec<Entry>, sqlx::Error> {
        let rows: Vec<Row> = rows.into_iter().collect();
        let stored = rows
            .iter()
            .map(|row| (&*row.event_type, &*row.aggregate_type, &*row.aggregate_id, &*row.payload));
        let ring = self.ring(connection, stored).await?;
        rows.into_iter().map(|row| self.entry(row, &ring)).collect()
    }

    fn entry(&self, row: Row, ring: &KeyRing) -> Result<Entry, sqlx::Error> {
        let stored = (
            row.position,
            &*row.aggregate_type,
            &*row.aggregate_id,
            row.sequence,
            &*row.event_type,
            &*row.event_version,
            &*row.payload,
        );
        let event = match self.decode(&stored, ring).map_err(ReadLogError::about_event) {
            Ok(recorded) => Ok(recorded.event),
            Err(error) => Err(error?.1),
        };
        let stream = Stream { kind: row.aggregate_type.clone(), id: row.aggregate_id.clone() };
        let (position, sequence) = (row.position, row.sequence);
        let event_type = row.event_type.clone();
        Ok(Entry { position, stream, sequence, event_type, event, envelope: row.envelope() })
    }
}

/// Whether a record can be loaded with this metadata, of which histories show what they can.
///
/// # Errors
/// What is wrong with it.
pub fn check_metadata(metadata: &str) -> Result<(), String> {
    match serde_json::from_str::<HashMap<String, String>>(metadata) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("its metadata is no object of texts: {error}")),
    }
}

fn length(rows: &[Found]) -> i64 {
    i64::try_from(rows.len()).unwrap_or(i64::MAX)
}
