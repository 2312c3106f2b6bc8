//! The log read in position order, typed.

use std::fmt;

use cqrs_es::persist::EventUpcaster;
use domain::{DecodeError, Event, Kind, import};
use sqlx::PgConnection;

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
    /// The length of its payload as it was stored, in bytes.
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

/// How much one page of the log holds at most, but for a single event that is larger.
#[derive(Clone, Copy, Debug)]
pub struct PageLimit {
    /// Events.
    pub events: i64,
}

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
}

/// Reads the log and turns stored events into today's form.
pub struct LogReader {
    upcasters: Vec<Box<dyn EventUpcaster>>,
}

impl Default for LogReader {
    fn default() -> Self {
        Self::with_upcasters(domain::upcasters())
    }
}

pub(super) type Row<T = String> = (i64, T, T, i64, T, T, T);

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
    /// A reader that applies these upcasters.
    pub fn with_upcasters(upcasters: Vec<Box<dyn EventUpcaster>>) -> Self {
        Self { upcasters }
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
        rows.iter().map(|row| self.decode(row)).collect()
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
        Ok(self.page(fetch(connection, position, limit).await?))
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
        .fetch_all(connection)
        .await?;
        Ok(self.page(rows))
    }

    fn page(&self, rows: Vec<Row>) -> Page {
        let mut page = Page { end: rows.last().map(|row| row.0), ..Page::default() };
        for row in rows {
            match self.decode(&row) {
                Ok(recorded) => page.events.push(recorded),
                Err(ReadLogError::Decode { position, source }) => page.broken.push(Parked {
                    stream: Stream { kind: row.1, id: row.2 },
                    position,
                    error: source.to_string(),
                }),
                // Decoding asks nothing of the database.
                Err(ReadLogError::Database(_)) => {}
            }
        }
        page
    }

    pub(super) fn decode<T: AsRef<str>>(&self, row: &Row<T>) -> Result<Recorded, ReadLogError> {
        let (position, of, stream, sequence, name, version, payload) = row;
        let (stream, payload) = (stream.as_ref(), payload.as_ref());
        let event = Event::decode_stored(
            &self.upcasters,
            of.as_ref(),
            stream,
            *sequence,
            name.as_ref(),
            version.as_ref(),
            payload,
        )
        .map_err(|source| ReadLogError::Decode { position: *position, source })?;
        // Only the import's stream is not named by a number.
        let id = stream.parse().unwrap_or(0);
        Ok(Recorded { position: *position, id, sequence: *sequence, event, size: payload.len() })
    }
}
