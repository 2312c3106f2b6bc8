//! Entries of the log, told: each stream is folded from its beginning, and what is wanted of it is put into words.

use std::collections::{BTreeMap, BTreeSet};

use domain::import::{self, ImportEvent};
use domain::telling::{Part, Sentence};
use domain::{Event, FundId, Kind, RecordRef, Subject};
use sqlx::PgPool;

use super::HistoryEntry;
use crate::log::{Entry, LogReader, Stream};
use crate::read::life;

/// Tells the chosen ones of a record's entries, oldest first. `entries` begins with the record's first.
pub(super) fn stream(
    record: RecordRef,
    entries: Vec<Entry>,
    chosen: &BTreeSet<i64>,
) -> Vec<HistoryEntry> {
    let mut subject = Subject::new(record.kind());
    let mut unreadable: Option<i64> = None;
    let mut told = Vec::with_capacity(chosen.len());
    for entry in entries {
        let is_chosen = chosen.contains(&entry.position);
        match &entry.event {
            Ok(Event::Erased(_)) if is_chosen => told.push(erased(record, entry)),
            Ok(event) if is_chosen => {
                let step = subject.step(record, event);
                let is_final = event.is_final();
                // What a roadshow did to its fund is still an entry of the roadshow.
                let of = record_of(&entry.stream.kind, &entry.stream.id);
                let mut one = HistoryEntry { is_final, ..bare(of, entry) };
                (one.sentence, one.changes) = (step.sentence, step.changes);
                if let Some(other) = of.filter(|of| *of != record) {
                    one.sentence.0.extend([", the arrival of ".into(), other.into()]);
                }
                one.note = unreadable.map(|position| {
                    format!(
                        "The entry at position {position} cannot be read, so what changed here may be told incompletely"
                    )
                });
                told.push(one);
            }
            Ok(event) => subject.apply(event),
            Err(_) => {
                unreadable.get_or_insert(entry.position);
                if is_chosen {
                    told.push(broken(record, entry));
                }
            }
        }
    }
    told
}

/// Tells the entries at these positions, newest first.
pub(super) async fn positions(
    log: &LogReader,
    pool: &PgPool,
    chosen: &BTreeSet<i64>,
) -> Result<Vec<HistoryEntry>, sqlx::Error> {
    let wanted: Vec<i64> = chosen.iter().copied().collect();
    let mut connection = pool.acquire().await?;
    let at: Vec<(i64, String, String)> = sqlx::query_as(
        "select position, aggregate_type, aggregate_id from events where position = any ($1) order by position",
    )
    .bind(&wanted)
    .fetch_all(&mut *connection)
    .await?;
    let mut streams: BTreeMap<(String, String), i64> = BTreeMap::new();
    let mut of_imports = Vec::new();
    for (position, kind, id) in at {
        match record_of(&kind, &id) {
            Some(_) => _ = streams.insert((kind, id), position),
            None => of_imports.push(position),
        }
    }
    let streams: Vec<(Stream, i64)> =
        streams.into_iter().map(|((kind, id), up_to)| (Stream { kind, id }, up_to)).collect();
    let mut told = Vec::with_capacity(wanted.len());
    if !of_imports.is_empty() {
        let entries = log.entries_at(&mut connection, &of_imports).await?;
        told.extend(entries.into_iter().map(imported));
    }
    if !streams.is_empty() {
        let entries = log.entries_of_streams(&mut connection, &streams).await?;
        let all = by_record(entries);
        let dated: Vec<FundId> =
            all.iter().filter_map(|(of, entries)| dated(*of, entries, chosen)).collect();
        let mut arrivals = match (dated.is_empty(), chosen.last()) {
            (false, Some(last)) => life::arrivals(&mut connection, log, &dated, *last).await?,
            _ => BTreeMap::new(),
        };
        for (record, entries) in all {
            // What a roadshow did is told as of the roadshow here.
            let own = entries.iter().map(|entry| entry.position);
            let chosen = own.filter(|position| chosen.contains(position)).collect();
            let entries = match record {
                RecordRef::Fund(fund) => {
                    life::together(entries, arrivals.remove(&fund).unwrap_or_default())
                }
                _ => entries,
            };
            told.extend(stream(record, entries, &chosen));
        }
    }
    told.sort_by_key(|entry| std::cmp::Reverse(entry.position));
    Ok(told)
}

/// Entries that stand stream by stream, each with its record.
fn by_record(entries: Vec<Entry>) -> Vec<(RecordRef, Vec<Entry>)> {
    let mut all: Vec<(RecordRef, Vec<Entry>)> = Vec::new();
    for entry in entries {
        let Some(record) = record_of(&entry.stream.kind, &entry.stream.id) else { continue };
        match all.last_mut() {
            Some((last, entries)) if *last == record => entries.push(entry),
            _ => all.push((record, vec![entry])),
        }
    }
    all
}

/// The fund, if one of its entries that are chosen is about the date that roadshows announce as well.
fn dated(record: RecordRef, entries: &[Entry], chosen: &BTreeSet<i64>) -> Option<FundId> {
    let RecordRef::Fund(fund) = record else { return None };
    let mut chosen = entries.iter().skip(1).filter(|entry| chosen.contains(&entry.position));
    let about_date = |event: &Event| event.touched().contains(&"roadshow_date");
    chosen.any(|entry| entry.event.as_ref().is_ok_and(about_date)).then_some(fund)
}

fn record_of(kind: &str, id: &str) -> Option<RecordRef> {
    Some(Kind::parse(kind)?.record(id.parse().ok()?))
}

fn erased(record: RecordRef, entry: Entry) -> HistoryEntry {
    let sentence = words(["What happened to ".into(), record.into(), " here was erased".into()]);
    let note = "It was erased for good; a later entry says by whom, when and why".to_owned();
    HistoryEntry { sentence, note: Some(note), ..bare(Some(record), entry) }
}

fn broken(record: RecordRef, entry: Entry) -> HistoryEntry {
    let said = [Part::from("Something happened to "), record.into(), " that cannot be read".into()];
    unreadable(Some(record), entry, said)
}

fn unreadable<const N: usize>(
    record: Option<RecordRef>,
    entry: Entry,
    said: [Part; N],
) -> HistoryEntry {
    let note =
        entry.event.as_ref().err().map(|error| format!("This release cannot read it: {error}"));
    HistoryEntry { sentence: words(said), note, ..bare(record, entry) }
}

/// An entry of no record: of the stream of imports, or of one that today's code does not know.
fn imported(entry: Entry) -> HistoryEntry {
    let sentence = match &entry.event {
        Ok(Event::Import(ImportEvent::RowKept { table, key, .. })) => words([
            format!("Row {key} of {table} in the {} database", import::STREAM_ID).into(),
            " belongs to no record and was kept as it stood".into(),
        ]),
        Ok(Event::Import(ImportEvent::RowReleased { table, key })) => words([
            format!("Row {key} of {table} in the {} database", import::STREAM_ID).into(),
            " is gone or belongs to a record now, and is no longer kept".into(),
        ]),
        _ => return unreadable(None, entry, ["Something happened that cannot be read".into()]),
    };
    HistoryEntry { sentence, ..bare(None, entry) }
}

fn words<const N: usize>(parts: [Part; N]) -> Sentence {
    parts.into_iter().collect()
}

/// An entry of which nothing is said yet.
fn bare(record: Option<RecordRef>, entry: Entry) -> HistoryEntry {
    let who = entry.envelope;
    HistoryEntry {
        position: entry.position,
        record,
        sequence: entry.sequence,
        event_id: who.event_id,
        event: entry.event_type,
        recorded_at: who.recorded_at,
        occurred_at: who.occurred_at,
        actor: who.actor,
        source: who.source,
        client: who.client,
        user_agent: who.user_agent,
        command: who.command,
        command_id: who.command_id,
        correlation_id: who.correlation_id,
        causation_id: who.causation_id,
        sentence: Sentence::default(),
        changes: Vec::new(),
        is_final: false,
        note: None,
    }
}
