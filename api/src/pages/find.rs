//! The changes that a page shows: found in the log, told by folding the streams they belong to.

use std::collections::{BTreeMap, HashMap};

use domain::{Event, Kind, RecordRef, Subject};
use projections::history::{HistoryEntry, Selection};
use projections::log::{Entry, LogReader, Stream};

use crate::app::App;
use crate::problem::Problem;

/// How many changes a page has.
pub const PAGE: usize = 50;

/// Some changes, newest first, and whether there are older ones.
pub struct Found {
    /// Told.
    pub entries: Vec<HistoryEntry>,
    /// There is more before the last.
    pub more: bool,
}

/// The newest changes that are wanted and lie before a position.
///
/// # Errors
/// When the database fails.
pub async fn newest(app: &App, wanted: &Selection, before: Option<i64>) -> Result<Found, Problem> {
    let mut positions = positions(app, wanted, before).await?;
    let more = positions.len() > PAGE;
    positions.truncate(PAGE);
    Ok(Found { entries: told(app, &positions).await?, more })
}

async fn positions(
    app: &App,
    wanted: &Selection,
    before: Option<i64>,
) -> Result<Vec<i64>, Problem> {
    let database = app.log.database();
    database.check()?;
    let (kind, id) = match wanted.record {
        Some(record) => (Some(record.kind()), Some(record.id().to_string())),
        None => (wanted.kind, None),
    };
    let question = sqlx::query_scalar(
        "select position from events
         where position < $1 and ($2::text is null or aggregate_type = $2) and ($3::text is null or aggregate_id = $3)
           and ($4::text is null or actor = $4) and ($5::text is null or event_type = $5)
           and ($6::timestamptz is null or recorded_at >= $6) and ($7::timestamptz is null or recorded_at < $7)
           and ($8::text is null or metadata ->> 'source' = $8) and ($9::uuid is null or correlation_id = $9)
         order by position desc limit $10",
    )
    .bind(before.unwrap_or(i64::MAX))
    .bind(kind.map(Kind::as_str))
    .bind(id)
    .bind(&wanted.actor)
    .bind(&wanted.event)
    .bind(wanted.from)
    .bind(wanted.to)
    .bind(&wanted.source)
    .bind(wanted.correlation)
    .bind(i64::try_from(PAGE + 1).unwrap_or(i64::MAX));
    Ok(database.ask(question.fetch_all(&database.pool)).await?)
}

/// What happened at these positions, newest first.
///
/// # Errors
/// When the database fails.
pub async fn told(app: &App, positions: &[i64]) -> Result<Vec<HistoryEntry>, Problem> {
    let database = app.log.database();
    let reader = LogReader::new(database.keys().clone());
    let asking = async {
        let mut connection = database.pool.acquire().await?;
        let shown = reader.entries_at(&mut connection, positions).await?;
        let mut last: BTreeMap<(String, String), i64> = BTreeMap::new();
        for entry in &shown {
            last.insert((entry.stream.kind.clone(), entry.stream.id.clone()), entry.position);
        }
        let mut told = HashMap::new();
        for ((kind, id), up_to) in last {
            let stream = Stream { kind, id };
            let Some(own) = owner(&stream) else { continue };
            let entries = reader.entries_of_stream(&mut connection, &stream, Some(up_to)).await?;
            told.extend(
                tell(own, entries, positions).into_iter().map(|entry| (entry.position, entry)),
            );
        }
        Ok((shown, told))
    };
    let (shown, mut told) = database.ask(asking).await?;
    let mut entries: Vec<HistoryEntry> = shown
        .into_iter()
        .map(|entry| told.remove(&entry.position).unwrap_or_else(|| bare(None, entry)))
        .collect();
    entries.reverse();
    Ok(entries)
}

fn owner(stream: &Stream) -> Option<RecordRef> {
    Some(Kind::parse(&stream.kind)?.record(stream.id.parse().ok()?))
}

fn tell(own: RecordRef, entries: Vec<Entry>, positions: &[i64]) -> Vec<HistoryEntry> {
    let mut subject = Subject::new(own.kind());
    let mut told = Vec::new();
    for entry in entries {
        let is_shown = positions.contains(&entry.position);
        let step = match &entry.event {
            Ok(event) if is_shown => Some(subject.step(own, event)),
            Ok(event) => {
                subject.apply(event);
                None
            }
            Err(_) => None,
        };
        if is_shown {
            let mut entry = bare(Some(own), entry);
            if let Some(step) = step {
                (entry.sentence, entry.changes) = (step.sentence, step.changes);
            }
            told.push(entry);
        }
    }
    told
}

fn bare(record: Option<RecordRef>, entry: Entry) -> HistoryEntry {
    let envelope = entry.envelope;
    let note = match (&entry.event, record) {
        (Err(error), _) => Some(format!("This event cannot be read: {error}")),
        (Ok(Event::Erased(_)), _) => {
            Some("What was recorded here was erased and can never be read again".to_owned())
        }
        (Ok(_), None) => Some("A row of an imported file was kept as it was".to_owned()),
        (Ok(_), Some(_)) => None,
    };
    HistoryEntry {
        position: entry.position,
        record,
        sequence: entry.sequence,
        event_id: envelope.event_id,
        event: entry.event_type,
        recorded_at: envelope.recorded_at,
        occurred_at: envelope.occurred_at,
        actor: envelope.actor,
        source: envelope.source,
        client: envelope.client,
        user_agent: envelope.user_agent,
        command: envelope.command,
        command_id: envelope.command_id,
        correlation_id: envelope.correlation_id,
        causation_id: envelope.causation_id,
        sentence: Default::default(),
        changes: Vec::new(),
        note,
    }
}
