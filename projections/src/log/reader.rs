//! The log read in position order, typed.

use std::fmt;

use std::borrow::Cow;
use std::sync::Arc;

use cqrs_es::persist::EventUpcaster;
use domain::{DecodeError, Event, Kind, RecordRef, import};
use sqlx::PgConnection;

use super::cipher::{OpenError, Place};
use super::keys::{self, AllKeys, KeyRing, Keys};
use super::sweep::StoredEvent;
use crate::dead_letter::Parked;

/// One entry of the log.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its place in the log.
    pub position: i64,
    /// The id of its stream; 0 for the stream of imports.
    pub id: i64,
    /// Its place in its stream.
    pub sequence: i64,
    /// What happened.
    pub event: Event,
    /// The length of its payload, in bytes.
    pub size: usize,
}

impl Recorded {
    /// The stream it belongs to.
    pub fn stream(&self) -> Stream {
        let kind = match &self.event {
            Event::Lp(_) => Kind::Lp,
            Event::Gp(_) => Kind::Gp,
            Event::Distributor(_) => Kind::Distributor,
            Event::Person(_) => Kind::Person,
            Event::Fund(_) => Kind::Fund,
            Event::Note(_) => Kind::Note,
            Event::Todo(_) => Kind::Todo,
            Event::Roadshow(_) => Kind::Roadshow,
            Event::Erased(kind) => *kind,
            Event::Import(_) => {
                let (kind, id) = (import::STREAM_TYPE.to_owned(), import::STREAM_ID.to_owned());
                return Stream { kind, id };
            }
        };
        Stream { kind: kind.as_str().to_owned(), id: self.id.to_string() }
    }
}

/// Names a stream of events.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    /// Its aggregate type.
    pub kind: String,
    /// Its id among those.
    pub id: String,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

impl From<RecordRef> for Stream {
    fn from(record: RecordRef) -> Self {
        Self { kind: record.kind().as_str().to_owned(), id: record.id().to_string() }
    }
}

/// How much one page of the log holds at most, but for a single event that is larger.
#[derive(Clone, Copy, Debug)]
pub struct PageLimit {
    /// Events.
    pub events: i64,
}

/// The type of the event that says that a record was erased.
pub(super) const ERASURE: &str = "Erased";

/// The most bytes of payload in one page, as stored, where long texts are compressed.
pub(super) const PAGE_BYTES: i64 = 4 << 20;

/// A piece of the log.
#[derive(Debug, Default)]
pub struct Page {
    /// What could be read, in order.
    pub events: Vec<Recorded>,
    /// What could not: the stream, the position, and why.
    pub broken: Vec<Parked>,
    /// The last position, of either.
    pub end: Option<i64>,
}

/// Why a page could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadLogError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// An event cannot be read by today's code.
    #[error("position {position}: {source}")]
    Decode {
        /// Where it stands.
        position: i64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// An event is sealed and does not open although its key was not destroyed.
    #[error("position {position}: {source}")]
    Sealed {
        /// Where it stands.
        position: i64,
        /// What is wrong with it.
        source: OpenError,
    },
}

impl ReadLogError {
    /// What is wrong with which event; or else the error of the database.
    ///
    /// # Errors
    /// When it is not about an event.
    pub fn about_event(self) -> Result<(i64, String), sqlx::Error> {
        match self {
            ReadLogError::Database(error) => Err(error),
            ReadLogError::Decode { position, source } => Ok((position, source.to_string())),
            ReadLogError::Sealed { position, source } => Ok((position, source.to_string())),
        }
    }
}

/// Reads the log, opens what is sealed, and turns stored events into today's form.
pub struct LogReader {
    keys: Keys,
    all: Option<Arc<AllKeys>>,
    upcasters: Vec<Box<dyn EventUpcaster>>,
}

pub(super) type Row<T = String> = (i64, T, T, i64, T, T, T);

/// What tells whether a stored event is sealed, and under which key: its type, its stream's type and id, its payload.
type StoredText<'a> = (&'a str, &'a str, &'a str, &'a str);

fn stored_text((_, kind, id, _, name, _, payload): &Row) -> StoredText<'_> {
    (name, kind, id, payload)
}

async fn fetch(
    connection: &mut PgConnection,
    position: i64,
    limit: PageLimit,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "select position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text
         from (select *, sum(size) over (order by position) - size as before
               from (select *, pg_column_size(payload) as size from events
                     where position > $1 order by position limit $2) as next) as sized
         where before < $3 order by position",
    )
    .bind(position)
    .bind(limit.events)
    .bind(PAGE_BYTES)
    .fetch_all(connection)
    .await
}

impl LogReader {
    /// A reader that opens what is sealed with these keys.
    pub fn new(keys: Keys) -> Self {
        Self { keys, all: None, upcasters: domain::upcasters() }
    }

    /// Applies these upcasters instead of the usual ones.
    #[must_use]
    pub fn with_upcasters(self, upcasters: Vec<Box<dyn EventUpcaster>>) -> Self {
        Self { upcasters, ..self }
    }

    /// Takes keys from these, as far as they go, in [`LogReader::ring_for`].
    #[must_use]
    pub fn with_all_keys(self, all: Arc<AllKeys>) -> Self {
        Self { all: Some(all), ..self }
    }

    /// The entries that follow a position, oldest first.
    ///
    /// # Errors
    /// When the database fails or an event cannot be decoded; the error names its position.
    pub async fn read_after(
        &self,
        connection: &mut PgConnection,
        position: i64,
        limit: PageLimit,
    ) -> Result<Vec<Recorded>, ReadLogError> {
        let rows = fetch(connection, position, limit).await?;
        let ring = self.ring(connection, rows.iter().map(stored_text)).await?;
        rows.iter().map(|row| self.decode(row, &ring)).collect()
    }

    /// Likewise, with what cannot be decoded set apart.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read_page(
        &self,
        connection: &mut PgConnection,
        position: i64,
        limit: PageLimit,
    ) -> Result<Page, sqlx::Error> {
        let rows = fetch(connection, position, limit).await?;
        self.page(connection, rows).await
    }

    /// The events of one stream from a position to another, both included.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read_stream(
        &self,
        connection: &mut PgConnection,
        stream: &Stream,
        from: i64,
        to: i64,
    ) -> Result<Page, sqlx::Error> {
        let rows = sqlx::query_as(
            "select position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text
             from events where aggregate_type = $1 and aggregate_id = $2 and position between $3 and $4
             order by position",
        )
        .bind(&stream.kind)
        .bind(&stream.id)
        .bind(from)
        .bind(to)
        .fetch_all(&mut *connection)
        .await?;
        self.page(connection, rows).await
    }

    /// All events of some streams of one kind, stream by stream, with what cannot be decoded set apart.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read_streams(
        &self,
        connection: &mut PgConnection,
        kind: Kind,
        ids: &[String],
    ) -> Result<Page, sqlx::Error> {
        let rows = sqlx::query_as(
            "select position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text
             from events where aggregate_type = $1 and aggregate_id = any($2) order by aggregate_id, sequence",
        )
        .bind(kind.as_str())
        .bind(ids)
        .fetch_all(&mut *connection)
        .await?;
        self.page(connection, rows).await
    }

    /// The keys that these rows are sealed under. An erasure among them is heard of here as well.
    pub(super) async fn ring<'a>(
        &self,
        connection: &mut PgConnection,
        rows: impl Iterator<Item = StoredText<'a>> + Clone,
    ) -> Result<KeyRing, sqlx::Error> {
        for (_, kind, id, _) in rows.clone().filter(|(name, ..)| *name == ERASURE) {
            if let Some(kind) = keys::personal(kind) {
                self.keys.forget(kind, id);
            }
        }
        let streams =
            rows.filter_map(|(_, kind, id, payload)| keys::locked(kind, id, payload.as_bytes()));
        self.keys.ring(connection, streams).await
    }

    /// The keys that these events are sealed under: as the database has them now, or had them when all were read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn ring_for(
        &self,
        connection: &mut PgConnection,
        events: impl Iterator<Item = &StoredEvent>,
    ) -> Result<KeyRing, sqlx::Error> {
        let streams = events.filter_map(StoredEvent::locked);
        self.keys.passing_ring(connection, streams, self.all.as_deref()).await
    }

    async fn page(
        &self,
        connection: &mut PgConnection,
        rows: Vec<Row>,
    ) -> Result<Page, sqlx::Error> {
        let ring = self.ring(connection, rows.iter().map(stored_text)).await?;
        let mut page = Page { end: rows.last().map(|row| row.0), ..Page::default() };
        for row in rows {
            match self.decode(&row, &ring).map_err(ReadLogError::about_event) {
                Ok(recorded) => page.events.push(recorded),
                Err(error) => {
                    let (position, error) = error?;
                    let stream = Stream { kind: row.1, id: row.2 };
                    page.broken.push(Parked { stream, position, error });
                }
            }
        }
        Ok(page)
    }

    pub(super) fn decode<T: AsRef<str>>(
        &self,
        row: &Row<T>,
        ring: &KeyRing,
    ) -> Result<Recorded, ReadLogError> {
        let (position, of, stream, sequence, name, version, payload) = row;
        let (stream, payload) = (stream.as_ref(), payload.as_ref());
        // Only the import's stream is not named by a number.
        let id = stream.parse().unwrap_or(0);
        let mut payload = Cow::Borrowed(payload);
        if let Some((kind, _)) = keys::locked(of.as_ref(), stream, payload.as_bytes()) {
            let place = Place {
                aggregate_type: of.as_ref(),
                aggregate_id: stream,
                sequence: *sequence,
                event_type: name.as_ref(),
            };
            let opened = ring
                .open(kind, place, &payload)
                .map_err(|source| ReadLogError::Sealed { position: *position, source })?;
            let Some(opened) = opened else {
                let (position, sequence, event) = (*position, *sequence, Event::Erased(kind));
                return Ok(Recorded { position, id, sequence, event, size: 0 });
            };
            payload = Cow::Owned(opened);
        }
        let event = Event::decode_stored(
            &self.upcasters,
            of.as_ref(),
            stream,
            *sequence,
            name.as_ref(),
            version.as_ref(),
            &payload,
        )
        .map_err(|source| ReadLogError::Decode { position: *position, source })?;
        Ok(Recorded { position: *position, id, sequence: *sequence, event, size: payload.len() })
    }
}
