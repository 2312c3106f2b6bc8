//! Proves read models right: folds the whole log with the aggregates themselves and compares every row.

use std::collections::{BTreeMap, BTreeSet};

use cqrs_es::Aggregate;
use domain::{Event, Kind, Lifecycle, Moment, Record, RecordRef};
use projections::log::{LogReader, PageLimit, Recorded};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::looking_at_read_models;

type Rows = BTreeMap<i64, (i64, bool, Value)>;

/// Panics with the first difference between the read models and what the log says.
pub async fn assert_read_models_match_the_log(pool: &PgPool) {
    let pool = &looking_at_read_models(pool).await;
    let log = whole_log(pool).await;
    let positions: Vec<i64> = log.iter().map(|recorded| recorded.position).collect();
    assert!(positions.is_sorted(), "positions are in order");
    check::<domain::lp::LpRecord>(
        pool,
        &log,
        |e| match e {
            Event::Lp(e) => Some(e),
            _ => None,
        },
        |_| (),
    )
    .await;
    check::<domain::gp::GpRecord>(
        pool,
        &log,
        |e| match e {
            Event::Gp(e) => Some(e),
            _ => None,
        },
        |_| (),
    )
    .await;
    check::<domain::distributor::DistributorRecord>(
        pool,
        &log,
        |e| match e {
            Event::Distributor(e) => Some(e),
            _ => None,
        },
        |_| (),
    )
    .await;
    check::<domain::person::PersonRecord>(
        pool,
        &log,
        |e| match e {
            Event::Person(e) => Some(e),
            _ => None,
        },
        |_| (),
    )
    .await;
    check::<domain::note::NoteRecord>(
        pool,
        &log,
        |e| match e {
            Event::Note(e) => Some(e),
            _ => None,
        },
        |_| (),
    )
    .await;
    check::<domain::todo::TodoRecord>(
        pool,
        &log,
        |e| match e {
            Event::Todo(e) => Some(e),
            _ => None,
        },
        |_| (),
    )
    .await;
    check::<domain::roadshow::RoadshowRecord>(
        pool,
        &log,
        |e| match e {
            Event::Roadshow(e) => Some(e),
            _ => None,
        },
        |_| (),
    )
    .await;
    let dates = roadshow_dates(&log);
    check::<domain::fund::FundRecord>(
        pool,
        &log,
        |e| match e {
            Event::Fund(e) => Some(e),
            _ => None,
        },
        |rows| {
            for (id, date) in &dates {
                if let Some((.., record)) = rows.get_mut(id) {
                    record["roadshow_date"] = json!(date);
                }
            }
        },
    )
    .await;
    check_links(pool, &log).await;
    check_recordings(pool, &log).await;
    check_standings(pool, &log).await;
    pool.close().await;
}

/// The whole log, typed.
pub async fn whole_log(pool: &PgPool) -> Vec<Recorded> {
    let reader = LogReader::new(crate::harness::keys());
    let mut connection = pool.acquire().await.unwrap();
    let mut log: Vec<Recorded> = Vec::new();
    loop {
        let after = log.last().map_or(0, |recorded| recorded.position);
        let page =
            reader.read_after(&mut connection, after, PageLimit { events: 5_000 }).await.unwrap();
        if page.is_empty() {
            return log;
        }
        log.extend(page);
    }
}

async fn check<R: Record>(
    pool: &PgPool,
    log: &[Recorded],
    own: fn(&Event) -> Option<&<Lifecycle<R> as Aggregate>::Event>,
    amend: impl Fn(&mut Rows),
) where
    Lifecycle<R>: Aggregate,
{
    let mut states: BTreeMap<i64, (i64, Lifecycle<R>)> = BTreeMap::new();
    for recorded in log {
        let is_unreadable = recorded.event == Event::Erased(R::KIND);
        if own(&recorded.event).is_some() || is_unreadable {
            let (version, state) = states.entry(recorded.id).or_default();
            assert_eq!(
                *version + 1,
                recorded.sequence,
                "{} {}: no gap in the stream",
                R::KIND,
                recorded.id
            );
            *version = recorded.sequence;
            own(&recorded.event).into_iter().for_each(|event| state.apply(event.clone()));
        }
    }
    let mut expected: Rows = states
        .into_iter()
        .map(|(id, (version, state))| {
            if state.is_erased() {
                return (id, (version, true, Value::Null));
            }
            let mut record = serde_json::to_value(state.record().unwrap()).unwrap();
            record["id"] = json!(id);
            (id, (version, state.is_archived(), record))
        })
        .collect();
    amend(&mut expected);
    let rows: Vec<(i64, i64, bool, Value)> =
        sqlx::query_as(&format!("select id, version, archived, record from {}", R::KIND))
            .fetch_all(pool)
            .await
            .unwrap();
    let found: Rows = rows
        .into_iter()
        .map(|(id, version, archived, record)| (id, (version, archived, record)))
        .collect();
    for (id, row) in &expected {
        assert_eq!(found.get(id), Some(row), "{} {id}", R::KIND);
    }
    assert_eq!(found.len(), expected.len(), "{}: no row but from the log", R::KIND);
}

/// The roadshow date that each fund ends with, where a roadshow or the fund itself has set one: the last word counts.
fn roadshow_dates(log: &[Recorded]) -> BTreeMap<i64, Option<Moment>> {
    use domain::fund::FundEvent;
    let mut dates = BTreeMap::new();
    let mut trips: BTreeMap<i64, Lifecycle<domain::roadshow::RoadshowRecord>> = BTreeMap::new();
    for recorded in log {
        match &recorded.event {
            Event::Fund(FundEvent::Registered { details, .. }) => {
                let details: domain::fund::FundDetails = details.clone().into();
                dates.insert(recorded.id, details.roadshow_date);
            }
            Event::Fund(FundEvent::RoadshowDateSet { roadshow_date }) => {
                dates.insert(recorded.id, *roadshow_date);
            }
            Event::Roadshow(event) => {
                let trip = trips.entry(recorded.id).or_default();
                trip.apply(event.clone());
                let record = trip.record().unwrap();
                if let (true, Some(fund), Some(arrival)) =
                    (event.announces_arrival(), record.fund_id, record.details.arrival)
                {
                    // Only a fund that exists by then learns of it.
                    dates.entry(fund.0).and_modify(|date| *date = Some(arrival));
                }
            }
            _ => {}
        }
    }
    dates
}

async fn check_links(pool: &PgPool, log: &[Recorded]) {
    use domain::{gp::GpEvent, note::NoteEvent, person::PersonEvent, todo::TodoEvent};
    let mut expected: BTreeSet<(RecordRef, RecordRef)> = BTreeSet::new();
    for recorded in log {
        let (kind, targets, there) = match &recorded.event {
            Event::Note(NoteEvent::Linked { to }) => (Kind::Note, to, true),
            Event::Note(NoteEvent::Unlinked { from }) => (Kind::Note, from, false),
            Event::Todo(TodoEvent::Linked { to }) => (Kind::Todo, to, true),
            Event::Todo(TodoEvent::Unlinked { from }) => (Kind::Todo, from, false),
            Event::Gp(GpEvent::Linked { to }) => (Kind::Gp, to, true),
            Event::Gp(GpEvent::Unlinked { from }) => (Kind::Gp, from, false),
            Event::Person(PersonEvent::Affiliated { with }) => (Kind::Person, with, true),
            Event::Person(PersonEvent::Disaffiliated { from }) => (Kind::Person, from, false),
            _ => continue,
        };
        let owner = kind.record(recorded.id);
        for target in targets {
            if there {
                expected.insert((owner, *target));
            } else {
                expected.remove(&(owner, *target));
            }
        }
    }
    let rows: Vec<(String, i64, String, i64)> =
        sqlx::query_as("select from_kind, from_id, to_kind, to_id from link")
            .fetch_all(pool)
            .await
            .unwrap();
    let found: BTreeSet<_> = rows
        .into_iter()
        .map(|(from, from_id, to, to_id)| {
            (Kind::parse(&from).unwrap().record(from_id), Kind::parse(&to).unwrap().record(to_id))
        })
        .collect();
    assert_eq!(found, expected, "links");
}

async fn check_recordings(pool: &PgPool, log: &[Recorded]) {
    let mut notes: BTreeMap<i64, domain::note::Note> = BTreeMap::new();
    let mut attached = BTreeMap::new();
    for recorded in log {
        if let Event::Note(event) = &recorded.event {
            if let domain::note::NoteEvent::RecordingAttached { recording, .. } = event {
                attached.insert(*recording, recorded.position);
            }
            notes.entry(recorded.id).or_default().apply(event.clone());
        }
    }
    let mut expected: BTreeMap<i64, (i64, bool, Value)> = BTreeMap::new();
    for (note, state) in &notes {
        let recordings = state.record().into_iter().flat_map(|record| record.recordings.iter());
        for (id, recording) in recordings {
            let mut record = serde_json::to_value(recording).unwrap();
            record["attached"] = attached[&id].into();
            expected.insert(id.0, (*note, state.is_archived(), record));
        }
    }
    let rows: Vec<(i64, i64, bool, Value)> =
        sqlx::query_as("select id, note_id, hidden, record from recording")
            .fetch_all(pool)
            .await
            .unwrap();
    let found: BTreeMap<_, _> =
        rows.into_iter().map(|(id, note, hidden, record)| (id, (note, hidden, record))).collect();
    assert_eq!(found, expected, "recordings");
}

async fn check_standings(pool: &PgPool, log: &[Recorded]) {
    let mut funds: BTreeMap<i64, domain::fund::Fund> = BTreeMap::new();
    let mut roadshows: BTreeMap<i64, domain::roadshow::Roadshow> = BTreeMap::new();
    for recorded in log {
        match &recorded.event {
            Event::Fund(event) => funds.entry(recorded.id).or_default().apply(event.clone()),
            Event::Roadshow(event) => {
                roadshows.entry(recorded.id).or_default().apply(event.clone())
            }
            _ => {}
        }
    }
    type Standing = (i64, i64, String, Option<String>, Option<i64>);
    let mut interest: Vec<Standing> = Vec::new();
    for (id, fund) in &funds {
        for (lp, standing) in &fund.record().unwrap().interests {
            let contact = standing.remembered.contact;
            let date = contact.date.map(|date| date.to_string());
            let word = standing.interest.as_str().to_owned();
            interest.push((*id, lp.0, word, date, contact.note.map(|note| note.0)));
        }
    }
    let found: Vec<Standing> = sqlx::query_as(
        "select fund_id, lp_id, interest, contact_date, contact_note from interest order by fund_id, lp_id",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(found, interest, "interest");
    let mut statuses: Vec<Standing> = Vec::new();
    for (id, roadshow) in &roadshows {
        for (lp, standing) in &roadshow.record().unwrap().statuses {
            let contact = standing.remembered.contact;
            let date = contact.date.map(|date| date.to_string());
            let word = standing.status.as_str().to_owned();
            statuses.push((*id, lp.0, word, date, contact.note.map(|note| note.0)));
        }
    }
    let found: Vec<Standing> = sqlx::query_as(
        "select roadshow_id, lp_id, status, contact_date, contact_note from lp_status order by roadshow_id, lp_id",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(found, statuses, "statuses");
}
