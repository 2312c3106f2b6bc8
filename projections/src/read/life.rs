//! The life of a record: everything that made it what readers see, oldest first.
//!
//! That is its own stream, and of a fund what roadshows did to it besides: whatever writes a roadshow as a whole copies its
//! arrival onto its fund. Such an entry stands in the life of the fund as it stands in the log, but for its event: that is
//! what it did to the fund.

use std::collections::BTreeMap;

use domain::fund::FundEvent;
use domain::{Event, FundId, Kind, Moment, RecordRef, Subject};
use sqlx::PgConnection;

use super::fund;
use crate::log::{Entry, LogReader, Stream};

/// Everything that has happened to a record up to a position, as far as it can be read.
pub(crate) async fn of(
    db: &mut PgConnection,
    log: &LogReader,
    record: RecordRef,
    up_to: Option<i64>,
) -> Result<Vec<Entry>, sqlx::Error> {
    let stream = Stream::from(record);
    let own = log.entries_of_stream(db, &stream, up_to).await?;
    let RecordRef::Fund(fund) = record else { return Ok(own) };
    let mut arrivals = arrivals(db, log, &[fund], up_to.unwrap_or(i64::MAX)).await?;
    Ok(together(own, arrivals.remove(&fund).unwrap_or_default()))
}

/// Likewise of a fund, if roadshows brought something to it; most have none, and are not loaded for it.
pub(crate) async fn of_visited(
    db: &mut PgConnection,
    log: &LogReader,
    fund: FundId,
    up_to: i64,
) -> Result<Option<Vec<Entry>>, sqlx::Error> {
    let Some(arrivals) = arrivals(db, log, &[fund], up_to).await?.remove(&fund) else {
        return Ok(None);
    };
    let stream = Stream::from(RecordRef::Fund(fund));
    let own = log.entries_of_stream(db, &stream, Some(up_to)).await?;
    Ok(Some(together(own, arrivals)))
}

/// Whether an entry of a life is of the record's own stream.
pub(crate) fn is_own(record: RecordRef, entry: &Entry) -> bool {
    entry.stream.kind == record.kind().as_str()
}

/// What roadshows did to each of these funds up to a position, oldest first.
pub(crate) async fn arrivals(
    db: &mut PgConnection,
    log: &LogReader,
    funds: &[FundId],
    up_to: i64,
) -> Result<BTreeMap<FundId, Vec<Entry>>, sqlx::Error> {
    let ids: Vec<String> = funds.iter().map(|fund| fund.0.to_string()).collect();
    let roadshows = fund::roadshows_of(db, &ids, up_to).await?;
    let mut all = BTreeMap::<FundId, Vec<Entry>>::new();
    if roadshows.is_empty() {
        return Ok(all);
    }
    let kind = Kind::Roadshow.as_str();
    let streams: Vec<(Stream, i64)> =
        roadshows.into_iter().map(|id| (Stream { kind: kind.to_owned(), id }, up_to)).collect();
    for (fund, arrival, mut entry) in fund::announced(log.entries_of_streams(db, &streams).await?) {
        if funds.contains(&fund) {
            let roadshow_date = Some(arrival);
            entry.event = Ok(Event::Fund(FundEvent::RoadshowDateSet { roadshow_date }));
            all.entry(fund).or_default().push(entry);
        }
    }
    all.values_mut().for_each(|entries| entries.sort_by_key(|entry| entry.position));
    Ok(all)
}

/// The roadshow date that readers see at a fund, and the one that they would see without what imported roadshows have announced behind
/// the fund's own last event.
///
/// # Errors
/// When the database fails.
pub async fn roadshow_dates(
    db: &mut PgConnection,
    log: &LogReader,
    fund: FundId,
) -> Result<[Option<Moment>; 2], sqlx::Error> {
    let record = RecordRef::Fund(fund);
    let life = of(db, log, record, None).await?;
    let last_own = life.iter().rposition(|entry| is_own(record, entry)).unwrap_or_default();
    let is_late = |(at, entry): &(usize, &Entry)| {
        let source = entry.envelope.source.as_deref();
        *at > last_own && source.is_some_and(|source| source.starts_with("import:"))
    };
    let shown = |entries: &mut dyn Iterator<Item = &Entry>| {
        let mut fund = Subject::new(Kind::Fund);
        entries.for_each(|entry| follow(&mut fund, entry));
        let Subject::Fund(fund) = fund else { return None };
        fund.record().and_then(|record| record.details.roadshow_date)
    };
    let kept = life.iter().enumerate().filter(|entry| !is_late(entry)).map(|(_, entry)| entry);
    Ok([shown(&mut life.iter()), shown(&mut { kept })])
}

/// A fund's own entries, which begin with its first, and those of what roadshows did to it that changed something.
pub(crate) fn together(own: Vec<Entry>, arrivals: Vec<Entry>) -> Vec<Entry> {
    if arrivals.is_empty() {
        return own;
    }
    let mut fund = Subject::new(Kind::Fund);
    let mut life = Vec::with_capacity(own.len() + arrivals.len());
    let (mut own, mut arrivals) = (own.into_iter().peekable(), arrivals.into_iter().peekable());
    loop {
        let next = own.peek().map_or(i64::MAX, |entry| entry.position);
        if let Some(arrival) = arrivals.next_if(|entry| entry.position < next) {
            if changes(&fund, &arrival) {
                follow(&mut fund, &arrival);
                life.push(arrival);
            }
        } else if let Some(entry) = own.next() {
            follow(&mut fund, &entry);
            life.push(entry);
        } else {
            return life;
        }
    }
}

fn follow(fund: &mut Subject, entry: &Entry) {
    if let Ok(event) = &entry.event {
        fund.apply(event);
    }
}

/// Whether the fund is there and shows another date.
fn changes(fund: &Subject, arrival: &Entry) -> bool {
    let (Subject::Fund(fund), Ok(Event::Fund(FundEvent::RoadshowDateSet { roadshow_date }))) =
        (fund, &arrival.event)
    else {
        return false;
    };
    fund.record().is_some_and(|record| record.details.roadshow_date != *roadshow_date)
}
