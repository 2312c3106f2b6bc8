//! What readers got at an earlier position of the log.
//!
//! One record is folded in memory from its own stream, by the very code that fills its table. Whatever is made of many
//! records is asked of tables that somebody has filled up to the position, with the statements that ask the live ones.

use chrono::{DateTime, Utc};
use domain::{Kind, Lifecycle, RecordRef};
use sqlx::PgConnection;

use super::reader::{ReadError, Reader, StoredRecord};
use super::records::{Rows, Shown};
use super::tables::Tabled;
use super::{fund, life};
use crate::dead_letter::parked_at;
use crate::log::{Entry, LogReader, RECORDED_AT, Recorded, Stream};
use crate::projector::ProjectError;

/// A position and when the log stood there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// The position.
    pub position: i64,
    /// When the last event up to it was recorded; `None` before the first.
    pub recorded_at: Option<DateTime<Utc>>,
}

/// A record at an earlier position.
#[derive(Clone, Debug)]
pub enum Then {
    /// It was in use: what readers got.
    There(StoredRecord),
    /// It was added later.
    NotYet(Time),
    /// It was removed from use by then.
    Deleted(Time),
    /// It was erased, since then or before, and nobody can read any more what it was.
    Erased(Time),
    /// There has never been one.
    Never,
}

impl Then {
    /// What readers got, if the record was in use.
    pub fn there(self) -> Option<StoredRecord> {
        match self {
            Then::There(stored) => Some(stored),
            Then::NotYet(_) | Then::Deleted(_) | Then::Erased(_) | Then::Never => None,
        }
    }
}

impl Reader {
    /// The last position of the log, 0 if it is empty.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn head(&self) -> Result<i64, ReadError> {
        let asking = sqlx::query_scalar("select coalesce(max(position), 0) from events")
            .fetch_one(self.pool());
        Ok(self.database().ask(asking).await?)
    }

    /// The last position that was recorded at this time or before, 0 if nothing was. Events are recorded in the order of
    /// their positions, so a few look-ups by position find it.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn position_at(&self, time: DateTime<Utc>) -> Result<i64, ReadError> {
        let asking = async {
            let mut db = self.pool().acquire().await?;
            position_at(&mut db, time).await
        };
        Ok(self.database().ask(asking).await?)
    }

    /// When the log stood at a position.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn time_at(&self, position: i64) -> Result<Time, ReadError> {
        let statement = format!(
            "select {RECORDED_AT} from events where position <= $1 order by position desc limit 1"
        );
        let asking = sqlx::query_scalar(&statement).bind(position).fetch_optional(self.pool());
        Ok(Time { position, recorded_at: self.database().ask(asking).await? })
    }

    /// One record as readers got it when the log stood at a position.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn record_then(&self, record: RecordRef, position: i64) -> Result<Then, ReadError> {
        // Apart from the tags of today's rows, which another release may have written.
        let (log, code) = (self.log_id().simple(), env!("CARGO_PKG_VERSION"));
        self.folded(record, position, |Shown { version, position, .. }| {
            format!("{log}-then-{code}-{version:x}-{position:x}")
        })
        .await
    }

    /// One record as its events have it now, under the tag of the row that they make: for when its table is behind them.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn record_now(&self, record: RecordRef) -> Result<Then, ReadError> {
        self.check()?;
        self.folded(record, i64::MAX, |Shown { version, position, .. }| {
            self.tag_of(record.kind(), *version, *position)
        })
        .await
    }

    async fn folded(
        &self,
        record: RecordRef,
        position: i64,
        tag: impl FnOnce(&Shown) -> String,
    ) -> Result<Then, ReadError> {
        let asking = async {
            let mut db = self.pool().acquire().await?;
            let log = LogReader::new(self.database().keys().clone());
            let (events, parked) = events_until(&mut db, &log, record, position).await?;
            let shown = shown(record, &events);
            let there = match &shown {
                Ok(Some(row)) => !row.is_hidden,
                Ok(None) | Err(_) => false,
            };
            let absence =
                if there { None } else { Some(absence(&mut db, record, position).await?) };
            Ok((shown, parked, absence))
        };
        let (shown, parked, absence) = self.database().ask(asking).await?;
        let shown = shown.map_err(|error| ReadError::Internal(error.into()))?;
        match (absence, shown) {
            (Some(absence), _) => Ok(absence),
            (None, Some(shown)) => {
                let (version, tag) = (shown.version, tag(&shown));
                let json = self.with_files(record.kind(), shown.text).await?.into();
                Ok(Then::There(StoredRecord { version, tag, json, parked }))
            }
            (None, None) => Ok(Then::Never),
        }
    }

    /// Everything that has happened to a record, oldest first, as far as it can be read; to a fund also what roadshows announced.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn life(&self, record: RecordRef) -> Result<Vec<Entry>, ReadError> {
        let asking = async {
            let mut db = self.pool().acquire().await?;
            let log = LogReader::new(self.database().keys().clone());
            life::of(&mut db, &log, record, None).await
        };
        Ok(self.database().ask(asking).await?)
    }
}

fn stream(kind: Kind, id: i64) -> Stream {
    Stream { kind: kind.as_str().to_owned(), id: id.to_string() }
}

async fn position_at(db: &mut PgConnection, time: DateTime<Utc>) -> Result<i64, sqlx::Error> {
    // Up to `from` everything was recorded by then, and after `to` nothing.
    let (mut from, mut found) = (0_i64, 0_i64);
    let mut to: i64 = sqlx::query_scalar("select coalesce(max(position), 0) from events")
        .fetch_one(&mut *db)
        .await?;
    let statement = format!(
        "select position, {RECORDED_AT} from events where position > $1 and position <= $2
         order by position desc limit 1"
    );
    while from < to {
        let middle = from + (to - from + 1) / 2;
        let last: Option<(i64, DateTime<Utc>)> =
            sqlx::query_as(&statement).bind(from).bind(middle).fetch_optional(&mut *db).await?;
        match last {
            // Positions may have gaps.
            None => from = middle,
            Some((position, recorded_at)) if recorded_at <= time => {
                (from, found) = (middle, position);
            }
            Some((position, _)) => to = position - 1,
        }
    }
    Ok(found)
}

/// The events that the record's row was made of at a position, and from which event on something is not among them: its own stream,
/// or that of a roadshow for the fund, if it is parked there.
async fn events_until(
    db: &mut PgConnection,
    log: &LogReader,
    record: RecordRef,
    position: i64,
) -> Result<(Vec<Recorded>, Option<i64>), sqlx::Error> {
    let own = stream(record.kind(), record.id());
    let (mut events, mut parked) = followed(db, log, record.kind(), &own, position).await?;
    if let RecordRef::Fund(fund) = record {
        let roadshows = fund::roadshows_of(db, &[fund.0.to_string()], position).await?;
        for id in roadshows {
            let roadshow = Stream { kind: "roadshow".into(), id };
            let (brought, end) = followed(db, log, Kind::Fund, &roadshow, position).await?;
            events.extend(brought);
            if let Some(end) = end
                && fund::may_bring(db, &roadshow.id, fund, end, position).await?
            {
                parked = Some(parked.map_or(end, |parked| parked.min(end)));
            }
        }
    }
    events.sort_by_key(|recorded| recorded.position);
    Ok((events, parked))
}

/// The events of a stream that its projector follows: none of those that it skips, and none from the one on that it cannot
/// read or fold, which is told as well.
async fn followed(
    db: &mut PgConnection,
    log: &LogReader,
    projector: Kind,
    stream: &Stream,
    position: i64,
) -> Result<(Vec<Recorded>, Option<i64>), sqlx::Error> {
    let page = log.read_stream(db, stream, 0, position).await?;
    let statement = format!(
        "select array(select position from skipped_event
                      where projector = $1 and aggregate_type = $2 and aggregate_id = $3), {}",
        parked_at("$1", "$2", "$3")
    );
    let (skipped, parked): (Vec<i64>, Option<i64>) = sqlx::query_as(&statement)
        .bind(projector.as_str())
        .bind(&stream.kind)
        .bind(&stream.id)
        .fetch_one(db)
        .await?;
    let broken = page.broken.iter().map(|broken| broken.position);
    let broken = broken.filter(|position| !skipped.contains(position));
    let end = broken.chain(parked).min().filter(|end| *end <= position);
    let mut events = page.events;
    events.retain(|recorded| {
        end.is_none_or(|end| recorded.position < end) && !skipped.contains(&recorded.position)
    });
    Ok((events, end))
}

/// The row that these events make.
fn shown(record: RecordRef, events: &[Recorded]) -> Result<Option<Shown>, ProjectError> {
    use domain::{distributor, gp, lp, note, person, roadshow, todo};
    let id = record.id();
    match record.kind() {
        Kind::Lp => row::<lp::LpRecord>(id, events),
        Kind::Gp => row::<gp::GpRecord>(id, events),
        Kind::Distributor => row::<distributor::DistributorRecord>(id, events),
        Kind::Person => row::<person::PersonRecord>(id, events),
        Kind::Fund => fund::shown(id, events),
        Kind::Note => row::<note::NoteRecord>(id, events),
        Kind::Todo => row::<todo::TodoRecord>(id, events),
        Kind::Roadshow => row::<roadshow::RoadshowRecord>(id, events),
    }
}

fn row<R: Tabled>(id: i64, events: &[Recorded]) -> Result<Option<Shown>, ProjectError>
where
    Lifecycle<R>: cqrs_es::Aggregate + Clone,
{
    let mut rows = Rows::<R>::default();
    events.iter().for_each(|recorded| rows.apply(recorded));
    rows.shown(id)
}

/// Why a record was not there: by the names of its events, which are never sealed.
async fn absence(
    db: &mut PgConnection,
    record: RecordRef,
    position: i64,
) -> Result<Then, sqlx::Error> {
    let statement = format!(
        "select position, {RECORDED_AT}, sequence, event_type from events
         where aggregate_type = $1 and aggregate_id = $2
             and (sequence = 1 or event_type in ('Archived', 'Restored', 'Erased'))
         order by sequence"
    );
    let turns: Vec<(i64, DateTime<Utc>, i64, String)> = sqlx::query_as(&statement)
        .bind(record.kind().as_str())
        .bind(record.id().to_string())
        .fetch_all(db)
        .await?;
    let time = |(position, recorded_at, ..): &(i64, DateTime<Utc>, i64, String)| Time {
        position: *position,
        recorded_at: Some(*recorded_at),
    };
    let Some(first) = turns.first() else { return Ok(Then::Never) };
    if first.0 > position {
        return Ok(Then::NotYet(time(first)));
    }
    if let Some(erased) = turns.iter().find(|(.., name)| name == "Erased") {
        return Ok(Then::Erased(time(erased)));
    }
    let archived =
        turns.iter().rev().find(|(at, _, _, name)| *at <= position && name == "Archived");
    Ok(archived.map_or(Then::Never, |archived| Then::Deleted(time(archived))))
}
