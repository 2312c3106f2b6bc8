//! The log as it is followed: the wanted entries after a position, those of a fund with what roadshows did to it.

use std::collections::BTreeSet;

use domain::{Event, FundId, Kind, RecordRef};
use sqlx::{Connection as _, PgConnection};

use crate::log::{Entries, Entry, LogReader, PageLimit, Selection, Stream};
use crate::read::{fund, life};

/// The wanted entries that follow a position, as [`LogReader::entries_after`] has them; who wants a fund is told besides which
/// events of roadshows changed the date that it shows.
///
/// # Errors
/// When the database fails.
pub async fn entries_after(
    db: &mut PgConnection,
    log: &LogReader,
    position: i64,
    limit: PageLimit,
    wanted: &Selection,
) -> Result<Entries, sqlx::Error> {
    let funds: Vec<FundId> = wanted.streams.iter().filter_map(fund_of).collect();
    if funds.is_empty() {
        return log.entries_after(db, position, limit, wanted).await;
    }
    // As of one moment: a roadshow that is taken up after it was asked which there are is not in the page either.
    let mut tx = db.begin_with("begin isolation level repeatable read read only").await?;
    let ids: Vec<String> = funds.iter().map(|fund| fund.0.to_string()).collect();
    let roadshows = fund::roadshows_of(&mut tx, &ids, i64::MAX).await?;
    let mut searched = wanted.clone();
    let kind = Kind::Roadshow.as_str();
    searched.streams.extend(roadshows.into_iter().map(|id| Stream { kind: kind.to_owned(), id }));
    let mut page = log.entries_after(&mut tx, position, limit, &searched).await?;
    let mut arrivals = BTreeSet::new();
    let announces = |entry: &&Entry| !wanted.has(&entry.stream) && announces_arrival(entry);
    if let Some(last) = page.entries.iter().rfind(announces) {
        let last = last.position;
        for fund in funds {
            let life = life::of_visited(&mut tx, log, fund, last).await?.unwrap_or_default();
            let brought = life.iter().filter(|entry| !life::is_own(RecordRef::Fund(fund), entry));
            arrivals.extend(brought.map(|entry| entry.position));
        }
    }
    page.entries.retain(|entry| wanted.has(&entry.stream) || arrivals.contains(&entry.position));
    tx.commit().await?;
    Ok(page)
}

/// Whether it may bring a date to a fund: most of what happens to a roadshow does not, and no fund's life is read for it.
fn announces_arrival(entry: &Entry) -> bool {
    matches!(&entry.event, Ok(Event::Roadshow(event)) if event.announces_arrival())
}

fn fund_of(stream: &Stream) -> Option<FundId> {
    (stream.kind == Kind::Fund.as_str()).then(|| stream.id.parse().ok().map(FundId))?
}
