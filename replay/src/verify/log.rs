//! The log by itself: nothing is missing, everything can be read, what it refers to is there, and nobody can change it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use domain::{Event, Kind, RecordRef};
use futures::TryStreamExt as _;
use projections::database::{Database, is_passing};
use projections::follow::is_followed;
use projections::log::{
    self, KeyRing, LogReader, ReadLogError, Recorded, Span, StoredEvent, Stream, Sweep,
};
use projections::projector::Projector;
use projections::{read, status};
use serde::Serialize;
use sqlx::{ConnectOptions as _, PgConnection};

use super::{Finding, LISTED, VerifyError, guards};

/// What was found in the log.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LogReport {
    /// Events that were read.
    pub events: u64,
    /// Streams that they form.
    pub streams: u64,
    /// How much is wrong.
    pub errors: u64,
    /// What is wrong; a hundred of them at most.
    pub findings: Vec<Finding>,
    /// What is odd, but can be explained, such as a link to a record that an imported file did not have.
    pub notices: Vec<Finding>,
    /// How many of those there are.
    pub noticed: u64,
}

impl LogReport {
    pub(super) fn error(&mut self, finding: Finding) {
        self.errors += 1;
        if self.findings.len() < LISTED {
            self.findings.push(finding);
        }
    }

    fn notice(&mut self, finding: Finding) {
        self.noticed += 1;
        if self.notices.len() < LISTED {
            self.notices.push(finding);
        }
    }

    /// Whether a check came to its end. What Postgres refuses to look at is found wrong like anything else, and keeps nobody
    /// from looking at the rest.
    fn settle(
        &mut self,
        check: &'static str,
        outcome: Result<(), VerifyError>,
    ) -> Result<bool, VerifyError> {
        match outcome {
            Err(VerifyError::Database(error)) if is_refused(&error) => {
                let what = format!("this could not be checked to its end: {error}");
                self.error(Finding::new(check, None, what));
                Ok(false)
            }
            outcome => outcome.map(|()| true),
        }
    }
}

/// Whether Postgres will not answer a statement, however often it is asked.
fn is_refused(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some() && !is_passing(error)
}

/// Checks everything up to a position.
pub(super) async fn check(database: &Database, to: i64) -> Result<LogReport, VerifyError> {
    let mut report = LogReport::default();
    let mut connection = database.options_for(&[]).connect().await?;
    let skips = Skips::read(&mut connection).await?;
    let log = LogReader::new(database.keys().clone()).with_all_keys(Arc::default());
    let mut reading = Reading::new(log, skips);
    let swept = sweep(database, &mut connection, to, &mut reading, &mut report).await;
    report.streams = (reading.records.len() + reading.others.len()) as u64;
    // Of a part of the log nobody can tell what is missing in it.
    if report.settle("log", swept)? {
        let checked = check_keys(&mut connection, &reading.erased, to, &mut report).await;
        report.settle("key", checked)?;
        let checked = check_references(&mut connection, reading, &mut report).await;
        report.settle("reference", checked)?;
    }
    let checked = guards::check(&mut connection, &mut report).await;
    report.settle("protection", checked)?;
    let checked = check_metadata(&mut connection, to, &mut report).await;
    report.settle("metadata", checked)?;
    let checked = check_order(&mut connection, to, &mut report).await;
    report.settle("recorded_at", checked)?;
    let checked = check_causes(&mut connection, to, &mut report).await;
    report.settle("causation", checked)?;
    Ok(report)
}

/// Reads all of it, event by event.
async fn sweep(
    database: &Database,
    connection: &mut PgConnection,
    to: i64,
    reading: &mut Reading,
    report: &mut LogReport,
) -> Result<(), VerifyError> {
    let mut sweeping = database.options_for(&[]).connect().await?;
    let span = Span { after: 0, to, without: &[] };
    let mut sweep = Sweep::begin(&mut sweeping, &span).await?;
    while let Some(batch) = sweep.next().await? {
        let ring = reading.log.ring_for(connection, batch.iter()).await?;
        for stored in &batch {
            reading.take(stored, &ring, report)?;
        }
    }
    Ok(())
}

/// The events that people have told read models to skip, and by which.
struct Skips {
    projectors: Vec<Arc<dyn Projector>>,
    skipped: HashSet<(String, i64)>,
}

impl Skips {
    async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let all = status::skipped(connection).await?;
        let skipped = all.into_iter().map(|one| (one.projector, one.position)).collect();
        Ok(Self { projectors: read::projectors(), skipped })
    }

    /// Whether every read model that follows an event was told to skip it: then somebody has looked into it, for each.
    fn by_all(&self, stored: &StoredEvent) -> bool {
        let kind = stored.stream().kind;
        let mut following =
            self.projectors.iter().filter(|one| is_followed(&***one, &kind)).peekable();
        let is_skipped = |one: &Arc<dyn Projector>| {
            self.skipped.contains(&(one.name().to_owned(), stored.position))
        };
        following.peek().is_some() && following.all(is_skipped)
    }
}

/// What has been seen of the log so far.
struct Reading {
    log: LogReader,
    skips: Skips,
    /// The only thing that grows with the log: 33 bytes a record, in a table that is between 7/16 and 7/8 full.
    records: HashMap<RecordRef, Seen>,
    /// The last sequence of each stream that is no record's.
    others: HashMap<Stream, i64>,
    last: i64,
    /// References to records that were not there yet, with where and whose.
    dangling: HashMap<RecordRef, Vec<i64>>,
    /// Records that were erased, and records of which an event can no longer be read.
    erased: Erased,
}

/// What has been seen of a record.
#[derive(Default)]
struct Seen {
    /// The sequence of its last event.
    sequence: i64,
    is_registered: bool,
}

#[derive(Default)]
struct Erased {
    said: BTreeMap<RecordRef, i64>,
    seen: BTreeMap<RecordRef, i64>,
}

impl Reading {
    fn new(log: LogReader, skips: Skips) -> Self {
        Self {
            log,
            skips,
            records: HashMap::new(),
            others: HashMap::new(),
            last: 0,
            dangling: HashMap::new(),
            erased: Erased::default(),
        }
    }

    fn take(
        &mut self,
        stored: &StoredEvent,
        ring: &KeyRing,
        report: &mut LogReport,
    ) -> Result<(), VerifyError> {
        report.events += 1;
        if stored.position <= self.last {
            let what = format!("position {} comes after {}", stored.position, self.last);
            report.error(Finding::new("position", stored.position, what));
        }
        self.last = stored.position;
        let last = match record_of(stored) {
            Some(record) => &mut self.records.entry(record).or_default().sequence,
            None => self.others.entry(stored.stream()).or_default(),
        };
        if stored.sequence != *last + 1 {
            let what =
                format!("{}: event {} follows event {}", stored.stream(), stored.sequence, *last);
            report.error(Finding::new("sequence", stored.position, what));
        }
        *last = stored.sequence;
        match self.log.decode_stored(stored, ring) {
            Ok(recorded) => self.understand(stored, &recorded, report),
            Err(error) => {
                let check = match &error {
                    ReadLogError::Sealed { .. } => "sealed payload",
                    _ => "payload",
                };
                let (position, error) = error.about_event()?;
                let what = format!("{}: {error}", stored.stream());
                match self.skips.by_all(stored) {
                    true => {
                        let what = format!("{what}; all read models were told to skip it");
                        report.notice(Finding::new(check, position, what));
                    }
                    false => report.error(Finding::new(check, position, what)),
                }
            }
        }
        Ok(())
    }

    fn has_registered(&self, record: &RecordRef) -> bool {
        self.records.get(record).is_some_and(|seen| seen.is_registered)
    }

    fn understand(&mut self, stored: &StoredEvent, recorded: &Recorded, report: &mut LogReport) {
        let Recorded { position, event, .. } = recorded;
        let wrong = |what: String| {
            Finding::new("payload", *position, format!("{}: {what}", stored.stream()))
        };
        if let Some(kind) = stored.kind() {
            // Of an event that was erased the log still knows what it was.
            let begins = stored.event_type() == "Registered";
            if begins != (stored.sequence == 1) {
                let at = stored.sequence;
                report.error(wrong(format!("{} is its event {at}", stored.event_type())));
            }
            if begins {
                self.records.entry(kind.record(recorded.id)).or_default().is_registered = true;
            }
            let record = kind.record(recorded.id);
            if event.is_erasure() {
                self.erased.said.insert(record, *position);
            } else if matches!(event, Event::Erased(_)) {
                self.erased.seen.entry(record).or_insert(*position);
            }
        }
        for reference in event.references() {
            if !self.has_registered(&reference) {
                self.dangling.entry(reference).or_default().push(*position);
            }
        }
    }
}

/// The record that an event's stream belongs to, if its id is written as ids are.
fn record_of(stored: &StoredEvent) -> Option<RecordRef> {
    let text = std::str::from_utf8(&stored.aggregate_id).ok()?;
    let id: i64 = text.parse().ok()?;
    (id.to_string() == text).then_some(stored.kind()?.record(id))
}

/// A key is destroyed exactly when the log says so.
async fn check_keys(
    connection: &mut PgConnection,
    erased: &Erased,
    to: i64,
    report: &mut LogReport,
) -> Result<(), VerifyError> {
    for (record, position) in
        erased.seen.iter().filter(|(record, _)| !erased.said.contains_key(record))
    {
        // It may have been erased after this check began.
        let later: bool = sqlx::query_scalar(
            "select exists (select 1 from events where position > $1 and aggregate_type = $2
                 and aggregate_id = $3 and event_type = 'Erased')",
        )
        .bind(to)
        .bind(record.kind().as_str())
        .bind(record.id().to_string())
        .fetch_one(&mut *connection)
        .await?;
        if !later {
            let what = format!(
                "the key of {} {} was destroyed, and no event says that it was erased: restore table stream_key from a \
                 backup",
                record.kind(),
                record.id()
            );
            report.error(Finding::new("key", *position, what));
        }
    }
    let kept: Vec<(String, i64)> = sqlx::query_as(
        "select aggregate_type, aggregate_id::bigint from stream_key where wrapped is not null
             and (aggregate_type, aggregate_id) in (select * from unnest($1::text[], $2::text[]))",
    )
    .bind(erased.said.keys().map(|record| record.kind().as_str()).collect::<Vec<_>>())
    .bind(erased.said.keys().map(|record| record.id().to_string()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    for (kind, id) in kept {
        let record = Kind::parse(&kind).map(|kind| kind.record(id));
        let position = record.and_then(|record| erased.said.get(&record).copied());
        let what =
            format!("{kind} {id} was erased, and its key is still there: was a backup restored?");
        report.error(Finding::new("key", position, what));
    }
    Ok(())
}

/// A reference to a record that never came. A legacy file may have had one, and a roadshow may name any fund, as it always could;
/// beyond that the API allows none.
async fn check_references(
    connection: &mut PgConnection,
    mut reading: Reading,
    report: &mut LogReport,
) -> Result<(), VerifyError> {
    let mut dangling = std::mem::take(&mut reading.dangling);
    dangling.retain(|record, _| !reading.has_registered(record));
    let mut places: Vec<(i64, RecordRef)> = dangling
        .into_iter()
        .flat_map(|(record, at)| at.into_iter().map(move |position| (position, record)))
        .collect();
    places.sort_unstable();
    for part in places.chunks(10_000) {
        let positions: Vec<i64> = part.iter().map(|(position, _)| *position).collect();
        let allowed: Vec<i64> = sqlx::query_scalar(
            "select position from events where position = any($1) and (
                 metadata->>'source' like 'import:%'
                 or aggregate_type = 'roadshow' and event_type in ('Registered', 'FundAssigned'))",
        )
        .bind(&positions)
        .fetch_all(&mut *connection)
        .await?;
        let allowed: HashSet<i64> = allowed.into_iter().collect();
        for (position, record) in part {
            let what = format!(
                "{} {} is referred to and was never registered",
                record.kind(),
                record.id()
            );
            match allowed.contains(position) {
                true => report.notice(Finding::new("reference", *position, what)),
                false => report.error(Finding::new("reference", *position, what)),
            }
        }
    }
    Ok(())
}

/// Nobody can change a record with an event whose metadata cannot be read.
async fn check_metadata(
    connection: &mut PgConnection,
    to: i64,
    report: &mut LogReport,
) -> Result<(), VerifyError> {
    let mut rows = sqlx::query_as::<_, (i64, String, String, String)>(
        "select position, aggregate_type, aggregate_id, metadata::text from events
         where position <= $1 order by position",
    )
    .bind(to)
    .fetch(connection);
    while let Some((position, kind, id, metadata)) = rows.try_next().await? {
        if let Err(error) = log::check_metadata(&metadata) {
            report.error(Finding::new("metadata", position, format!("{kind} {id}: {error}")));
        }
    }
    Ok(())
}

/// How far a clock may be set back before the log counts as disturbed, in seconds.
const SET_BACK: f64 = 1.0;

/// Events recorded later stand later, but for what a clock is set back by the network. No clock shows infinity.
async fn check_order(
    connection: &mut PgConnection,
    to: i64,
    report: &mut LogReport,
) -> Result<(), VerifyError> {
    let back: Vec<(i64, Option<f64>)> = sqlx::query_as(
        "select position, case when isfinite(recorded_at) then extract(epoch from before - recorded_at)::double precision end
         from (select position, recorded_at, lag(recorded_at) over (order by position) as before
               from events where position <= $1) as timed
         where not isfinite(recorded_at) or before > recorded_at and isfinite(before) order by position",
    )
    .bind(to)
    .fetch_all(connection)
    .await?;
    for (position, seconds) in back {
        let Some(seconds) = seconds else {
            let what = "it was recorded at a time that no clock shows: infinity";
            report.error(Finding::new("recorded_at", position, what));
            continue;
        };
        let what = format!("it was recorded {seconds:.3} s before the one that stands before it");
        match seconds > SET_BACK {
            true => report.error(Finding::new("recorded_at", position, what)),
            false => report.notice(Finding::new("recorded_at", position, what)),
        }
    }
    Ok(())
}

/// A cause is an event or a command of the log, and no two events have one id.
async fn check_causes(
    connection: &mut PgConnection,
    to: i64,
    report: &mut LogReport,
) -> Result<(), VerifyError> {
    let unknown: Vec<i64> = sqlx::query_scalar(
        "select position from events as effect
         where position <= $1 and causation_id is not null
             and not exists (select 1 from events where event_id = effect.causation_id)
             and not exists (select 1 from events where command_id = effect.causation_id)
         order by position",
    )
    .bind(to)
    .fetch_all(&mut *connection)
    .await?;
    for position in unknown {
        report.error(Finding::new("causation", position, "its cause is not in the log"));
    }
    let twice: Vec<i64> = sqlx::query_scalar(
        "select max(position) from events where position <= $1
         group by event_id having count(*) > 1 order by 1",
    )
    .bind(to)
    .fetch_all(connection)
    .await?;
    for position in twice {
        report.error(Finding::new("event_id", position, "another event has the same id"));
    }
    Ok(())
}
