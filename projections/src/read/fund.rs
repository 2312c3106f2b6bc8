//! The table of funds: as any record, but a roadshow that is written copies its arrival onto its fund.

use std::collections::{BTreeMap, BTreeSet};

use domain::fund::FundRecord;
use domain::roadshow::RoadshowEvent;
use domain::{Event, Moment};
use futures::future::BoxFuture;
use sqlx::PgConnection;

use super::records::{Rows, earlier_ids};
use crate::log::Recorded;
use crate::projector::{ProjectError, Projector};

/// Keeps the tables `fund` and `fund_roadshow`.
pub(super) struct FundProjector;

/// What a roadshow has announced.
#[derive(Clone, Copy)]
struct Trip {
    fund_id: i64,
    arrival: Option<Moment>,
}

impl Projector for FundProjector {
    fn name(&self) -> &'static str {
        "fund"
    }

    fn project<'a>(
        &'a self,
        page: &'a [Recorded],
        db: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<Option<i64>, ProjectError>> {
        Box::pin(async move {
            let mut trips = load_trips(db, page).await?;
            let mut ids = earlier_ids::<FundRecord>(page);
            ids.extend(announced_funds(page, &trips));
            let mut funds = Rows::<FundRecord>::load(db, ids).await?;
            let mut moved = BTreeSet::new();
            for recorded in page {
                funds.apply(recorded);
                let Event::Roadshow(event) = &recorded.event else { continue };
                let Some(trip) = follow(&mut trips, recorded.id, event) else { continue };
                moved.insert(recorded.id);
                if let (true, Some(arrival)) = (event.announces_arrival(), trip.arrival) {
                    funds.amend(trip.fund_id, recorded.position, |fund| {
                        fund.details.roadshow_date = Some(arrival);
                    });
                }
            }
            save_trips(db, &trips, &moved).await?;
            funds.save(db).await
        })
    }
}

/// Keeps up with what the event says about the trip.
fn follow(trips: &mut BTreeMap<i64, Trip>, id: i64, event: &RoadshowEvent) -> Option<Trip> {
    match event {
        RoadshowEvent::Registered { fund_id, details, .. } => {
            let mut arrival = None;
            details.arrival.clone().apply(&mut arrival);
            trips.insert(id, Trip { fund_id: fund_id.0, arrival });
        }
        RoadshowEvent::FundAssigned { fund_id } => trips.get_mut(&id)?.fund_id = fund_id.0,
        RoadshowEvent::Rescheduled { arrival, .. } => {
            arrival.clone().apply(&mut trips.get_mut(&id)?.arrival);
        }
        _ => {}
    }
    trips.get(&id).copied()
}

/// Every fund that a roadshow event of the page may be about.
fn announced_funds(page: &[Recorded], trips: &BTreeMap<i64, Trip>) -> BTreeSet<i64> {
    let named = page.iter().filter_map(|recorded| match &recorded.event {
        Event::Roadshow(
            RoadshowEvent::Registered { fund_id, .. } | RoadshowEvent::FundAssigned { fund_id },
        ) => Some(fund_id.0),
        _ => None,
    });
    named.chain(trips.values().map(|trip| trip.fund_id)).collect()
}

async fn load_trips(
    db: &mut PgConnection,
    page: &[Recorded],
) -> Result<BTreeMap<i64, Trip>, ProjectError> {
    let ids: BTreeSet<i64> = page
        .iter()
        .filter(|recorded| matches!(recorded.event, Event::Roadshow(_)))
        .map(|recorded| recorded.id)
        .collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<(i64, i64, Option<String>)> = sqlx::query_as(
        "select roadshow_id, fund_id, arrival from fund_roadshow where roadshow_id = any($1)",
    )
    .bind(ids.into_iter().collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    let trip = |(id, fund_id, arrival): (i64, i64, Option<String>)| {
        (id, Trip { fund_id, arrival: arrival.and_then(|text| Moment::parse(&text).ok()) })
    };
    Ok(rows.into_iter().map(trip).collect())
}

async fn save_trips(
    db: &mut PgConnection,
    trips: &BTreeMap<i64, Trip>,
    moved: &BTreeSet<i64>,
) -> Result<(), ProjectError> {
    let moved: Vec<(i64, Trip)> =
        moved.iter().filter_map(|id| Some((*id, *trips.get(id)?))).collect();
    if moved.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into fund_roadshow (roadshow_id, fund_id, arrival)
         select * from unnest($1::bigint[], $2::bigint[], $3::text[])
         on conflict (roadshow_id) do update set fund_id = excluded.fund_id, arrival = excluded.arrival",
    )
    .bind(moved.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, trip)| trip.fund_id).collect::<Vec<_>>())
    .bind(moved.iter().map(|(_, trip)| trip.arrival.map(|at| at.to_string())).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}
