//! One record, and a list, as they were at an earlier position of a log of a million events.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use domain::Kind;
use projections::read::{Query, Then};
use replay::Scenes;
use tests::EVENTS_EACH;

use crate::size::fill;
use crate::table::{Table, Target};
use crate::workbench::Workbench;

/// The size of the log, in events.
const SIZE: i64 = 1_000_000;

/// How often a record is asked for.
const TIMES: i64 = 500;

/// What the 95th of 100 may take, in ms.
const MOST: f64 = 200.0;

pub async fn run() -> anyhow::Result<()> {
    let bench = Workbench::open().await?;
    fill(&bench, 0, SIZE).await?;
    let backend = bench.backend(&bench.database).await?;
    while backend.settle().await.is_err() {}
    let mut table = Table::new("as of an earlier position, at 1,000,000 events");
    let mut taken = Vec::new();
    for number in 1..=TIMES {
        let record = Kind::Lp.record(number * (SIZE / EVENTS_EACH / TIMES));
        // All were registered in the first tenth of the log.
        let position = SIZE / 10 + number * (SIZE - SIZE / 10) / TIMES;
        let start = Instant::now();
        let then = backend.reader.record_then(record, position).await?;
        taken.push(start.elapsed().as_secs_f64() * 1000.0);
        ensure!(matches!(then, Then::There(_)), "{record} was not there at {position}");
    }
    let p95 = p95(&mut taken);
    table.row(
        "one record, p95, ms",
        format!("{p95:.2}"),
        format!("{MOST}"),
        p95 / MOST,
        Target::AtMost(1.0),
    );
    taken.clear();
    for number in 1..=TIMES {
        let time = backend.reader.time_at(number * (SIZE / TIMES)).await?;
        let start = Instant::now();
        backend.reader.position_at(time.recorded_at.context("no time")?).await?;
        taken.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    table.figure("the position of a time, p95, ms", format!("{:.2}", self::p95(&mut taken)));
    let erased = backend.runner().erased();
    let scenes = Scenes::start(bench.database.clone(), projections::read::projectors(), erased);
    for name in ["a list, the first time, s", "a list, once it is built, s"] {
        let start = Instant::now();
        let asked = scenes.ask(SIZE / 2, |connection| {
            Box::pin(async move { Query::List(Kind::Lp).find(connection).await })
        });
        let answer = backend.reader.answer_with(asked.await?, String::new()).await?;
        ensure!(!answer.is_empty(), "the list is empty");
        table.figure(name, format!("{:.2}", start.elapsed().as_secs_f64()));
    }
    table.print();
    scenes.stop().await;
    backend.stop().await;
    bench.close().await
}

fn p95(taken: &mut [f64]) -> f64 {
    taken.sort_by(f64::total_cmp);
    taken[taken.len() * 95 / 100]
}
