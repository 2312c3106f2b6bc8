//! The table of funds: as any record, but a roadshow that is written copies its arrival onto its fund.

use std::collections::{BTreeMap, BTreeSet};

use domain::fund::FundRecord;
use domain::roadshow::RoadshowEvent;
use domain::{Event, FundId, Kind, Moment};
use futures::future::BoxFuture;
use sqlx::PgConnection;

use super::records::{Rows, Shown, earlier_ids};
use super::tables::table_of;
use crate::copy::CopyIn;
use crate::dead_letter;
use crate::log::{Entry, Recorded, Stream};
use crate::projector::{Fold, ProjectError, Projector, Table, Tables};

/// Keeps the tables `fund` and `fund_roadshow`.
pub(super) struct FundProjector;

/// What a roadshow has announced.
#[derive(Clone, Copy)]
struct Trip {
    /// None where a legacy file names none.
    fund_id: Option<i64>,
    arrival: Option<Moment>,
}

impl Projector for FundProjector {
    fn name(&self) -> &'static str {
        "fund"
    }

    fn version(&self) -> i32 {
        3
    }

    fn tables(&self) -> Vec<Table> {
        // What a roadshow last announced, so that its arrival can be copied onto its fund.
        let trips = Table {
            name: "fund_roadshow",
            columns: "roadshow_id bigint not null, fund_id bigint, arrival text".to_owned(),
            long: &[],
            is_whole: false,
            key: &["roadshow_id"],
            indexes: vec![],
        };
        vec![table_of::<FundRecord>(), trips]
    }

    fn follows(&self) -> &'static [Kind] {
        &[Kind::Fund, Kind::Roadshow]
    }

    /// A roadshow's event changes its fund's row.
    fn is_partitioned(&self) -> bool {
        false
    }

    /// The row of a fund is made of its own events and those of all roadshows that were ever for it.
    fn relatives<'a>(
        &'a self,
        db: &'a mut PgConnection,
        stream: &'a Stream,
        to: i64,
    ) -> BoxFuture<'a, Result<Vec<Stream>, sqlx::Error>> {
        Box::pin(async move {
            let funds = match Kind::parse(&stream.kind) {
                Some(Kind::Roadshow) => funds_of(db, &stream.id, to).await?,
                _ => vec![stream.id.clone()],
            };
            let roadshows = roadshows_of(db, &funds, to).await?;
            let of = |kind: Kind, id| Stream { kind: kind.as_str().to_owned(), id };
            let funds = funds.into_iter().map(|id| of(Kind::Fund, id));
            let roadshows = roadshows.into_iter().map(|id| of(Kind::Roadshow, id));
            Ok(funds.chain(roadshows).filter(|relative| relative != stream).collect())
        })
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::new(Funds::default())
    }
}

#[derive(Default)]
struct Funds {
    funds: Rows<FundRecord>,
    trips: BTreeMap<i64, Trip>,
    moved: BTreeSet<i64>,
}

impl Fold for Funds {
    fn fold<'a>(
        &'a mut self,
        page: &'a [Recorded],
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            if tables != Tables::Empty {
                self.load_trips(db, page).await?;
                let mut ids = earlier_ids::<FundRecord>(page);
                ids.extend(announced_funds(page, &self.trips));
                self.funds.load(db, ids).await?;
            }
            page.iter().for_each(|recorded| self.take(recorded));
            Ok(())
        })
    }

    fn write<'a>(
        &'a mut self,
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            let trips = std::mem::take(&mut self.trips);
            let moved = std::mem::take(&mut self.moved);
            save_trips(db, &trips, &moved, tables).await?;
            self.funds.save(db, tables).await
        })
    }

    fn changed(&self) -> Option<i64> {
        self.funds.changed()
    }

    fn size(&self) -> usize {
        self.funds.size() + self.trips.len() * size_of::<(i64, Trip)>() * 2
    }
}

/// Keeps up with what the event says about the trip.
fn follow(trips: &mut BTreeMap<i64, Trip>, id: i64, event: &RoadshowEvent) -> Option<Trip> {
    match event {
        RoadshowEvent::Registered { details, .. } => {
            let mut arrival = None;
            details.arrival.clone().apply(&mut arrival);
            trips.insert(id, Trip { fund_id: named_fund(event), arrival });
        }
        RoadshowEvent::FundAssigned { .. } => trips.get_mut(&id)?.fund_id = named_fund(event),
        RoadshowEvent::Rescheduled { arrival, .. } => {
            arrival.clone().apply(&mut trips.get_mut(&id)?.arrival);
        }
        _ => {}
    }
    trips.get(&id).copied()
}

/// The fund that the event puts a roadshow to.
fn named_fund(event: &RoadshowEvent) -> Option<i64> {
    event.fund().map(|fund| fund.0)
}

/// Every fund that a roadshow event of the page may be about.
fn announced_funds(page: &[Recorded], trips: &BTreeMap<i64, Trip>) -> BTreeSet<i64> {
    let named = page.iter().filter_map(|recorded| match &recorded.event {
        Event::Roadshow(event) => named_fund(event),
        _ => None,
    });
    named.chain(trips.values().filter_map(|trip| trip.fund_id)).collect()
}

/// The row of one fund after these events, which are its own and those of the roadshows that were ever for it, in order.
pub(super) fn shown(id: i64, events: &[Recorded]) -> Result<Option<Shown>, ProjectError> {
    let mut funds = Funds::default();
    events.iter().for_each(|recorded| funds.take(recorded));
    funds.funds.shown(id)
}

/// What these entries of roadshows, oldest first within each stream, announce as the date of which fund: as much of them as can
/// be read.
pub(super) fn announced(entries: Vec<Entry>) -> Vec<(FundId, Moment, Entry)> {
    let (mut trips, mut broken) = (BTreeMap::new(), BTreeSet::new());
    let mut all = Vec::new();
    for entry in entries {
        let Ok(id) = entry.stream.id.parse() else { continue };
        let Ok(Event::Roadshow(event)) = &entry.event else {
            broken.insert(id);
            continue;
        };
        let trip = follow(&mut trips, id, event);
        let trip = trip.filter(|_| event.announces_arrival() && !broken.contains(&id));
        if let Some(Trip { fund_id: Some(fund_id), arrival: Some(arrival) }) = trip {
            all.push((FundId(fund_id), arrival, entry));
        }
    }
    all
}

/// The fund that an announcement names, as the index `events_roadshow_of_fund` has it. Postgres's operators for JSON refuse texts with
/// U+0000, which legacy files have.
const FUND_NAMED: &str = r#"substring(payload::text from '"fund_id": *(-?[0-9]+)')"#;

/// The roadshows that were ever for one of these funds, also those that are for another by now.
pub(crate) async fn roadshows_of(
    db: &mut PgConnection,
    funds: &[String],
    up_to: i64,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(&format!(
        "select distinct aggregate_id from events
         where aggregate_type = 'roadshow' and event_type in ('Registered', 'FundAssigned')
             and {FUND_NAMED} = any($1) and position <= $2"
    ))
    .bind(funds)
    .bind(up_to)
    .fetch_all(db)
    .await
}

/// SQL for the event from which on a fund's row misses what happened: of its own stream, or of a roadshow that was for it then or
/// came to it later. `projector` is this one's name.
pub(super) fn parked_at(projector: &str, fund: &str) -> String {
    let brings = brings("letter.aggregate_id", fund, "letter.position", None);
    let (own, roadshow) = (Kind::Fund, Kind::Roadshow);
    dead_letter::parked_of(
        projector,
        &format!(
            "letter.aggregate_type = '{own}' and letter.aggregate_id = {fund}
             or letter.aggregate_type = '{roadshow}' and {brings}"
        ),
    )
}

/// Whether a fund may have something of what happened to a roadshow from a position on, up to another one.
pub(super) async fn may_bring(
    db: &mut PgConnection,
    roadshow: &str,
    fund: FundId,
    position: i64,
    up_to: i64,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(&format!("select {}", brings("$1", "$2", "$3", Some("$4"))))
        .bind(roadshow)
        .bind(fund.0.to_string())
        .bind(position)
        .bind(up_to)
        .fetch_one(db)
        .await
}

/// The same as SQL: the last event before the position that says for whom the roadshow is, or one that comes later, names this fund.
fn brings(roadshow: &str, fund: &str, position: &str, up_to: Option<&str>) -> String {
    let until = up_to.map_or(String::new(), |up_to| format!("and named.position <= {up_to}"));
    let of_roadshow = format!(
        "aggregate_type = 'roadshow' and aggregate_id = {roadshow}
             and event_type in ('Registered', 'FundAssigned')"
    );
    format!(
        "exists (select from events named where {of_roadshow} and {FUND_NAMED} = {fund} {until}
             and (named.position >= {position} or named.position =
                  (select max(last.position) from events last where {of_roadshow} and last.position < {position})))"
    )
}

/// The funds that a roadshow was ever for.
async fn funds_of(
    db: &mut PgConnection,
    roadshow: &str,
    up_to: i64,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(&format!(
        "select distinct fund from events, lateral (select {FUND_NAMED} as fund) as named
         where aggregate_type = 'roadshow' and event_type in ('Registered', 'FundAssigned')
             and aggregate_id = $1 and position <= $2 and fund is not null"
    ))
    .bind(roadshow)
    .bind(up_to)
    .fetch_all(db)
    .await
}

impl Funds {
    fn take(&mut self, recorded: &Recorded) {
        self.funds.apply(recorded);
        let Event::Roadshow(event) = &recorded.event else { return };
        let Some(trip) = follow(&mut self.trips, recorded.id, event) else { return };
        self.moved.insert(recorded.id);
        if let (true, Some(fund), Some(arrival)) =
            (event.announces_arrival(), trip.fund_id, trip.arrival)
        {
            self.funds.amend(fund, recorded.position, |fund| {
                fund.details.roadshow_date = Some(arrival);
            });
        }
    }

    async fn load_trips(
        &mut self,
        db: &mut PgConnection,
        page: &[Recorded],
    ) -> Result<(), ProjectError> {
        let ids: BTreeSet<i64> = page
            .iter()
            .filter(|recorded| matches!(recorded.event, Event::Roadshow(_)))
            .map(|recorded| recorded.id)
            .filter(|id| !self.trips.contains_key(id))
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        let rows: Vec<(i64, Option<i64>, Option<String>)> = sqlx::query_as(
            "select roadshow_id, fund_id, arrival from fund_roadshow where roadshow_id = any($1)",
        )
        .bind(ids.into_iter().collect::<Vec<_>>())
        .fetch_all(db)
        .await?;
        self.trips.extend(rows.into_iter().map(|(id, fund_id, arrival)| {
            (id, Trip { fund_id, arrival: arrival.and_then(|text| Moment::parse(&text).ok()) })
        }));
        Ok(())
    }
}

async fn save_trips(
    db: &mut PgConnection,
    trips: &BTreeMap<i64, Trip>,
    moved: &BTreeSet<i64>,
    tables: Tables,
) -> Result<(), ProjectError> {
    let moved: Vec<(i64, Trip)> =
        moved.iter().filter_map(|id| Some((*id, *trips.get(id)?))).collect();
    if moved.is_empty() {
        return Ok(());
    }
    let arrival = |trip: &Trip| trip.arrival.map(|at| at.to_string());
    if tables == Tables::Empty {
        let columns = ["roadshow_id", "fund_id", "arrival"];
        let mut copy = CopyIn::begin(db, "fund_roadshow", &columns).await?;
        for (id, trip) in &moved {
            copy.int(*id)
                .maybe(trip.fund_id, CopyIn::int)
                .maybe(arrival(trip).as_deref(), CopyIn::text);
            copy.end_row().await?;
        }
        copy.finish().await?;
        return Ok(());
    }
    sqlx::query(
        "insert into fund_roadshow (roadshow_id, fund_id, arrival)
         select * from unnest($1::bigint[], $2::bigint[], $3::text[])
         on conflict (roadshow_id) do update set fund_id = excluded.fund_id, arrival = excluded.arrival",
    )
    .bind(moved.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, trip)| trip.fund_id).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, trip)| arrival(trip)).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}
