//! Does anything slow down as the log grows? The same figures at one and at ten million events.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use cqrs_es::Aggregate as _;
use domain::lp::{Lp, LpChanges, LpCommand};
use domain::{Kind, Verbatim};
use projections::log::{LogReader, Stream};
use tests::{EVENTS_EACH, generate};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::commands::request;
use crate::table::{Table, Target, median};
use crate::usage;
use crate::workbench::Workbench;

/// The sizes of the log, in events.
const SIZES: [i64; 2] = [1_000_000, 10_000_000];

/// How often each single thing is measured.
const TIMES: usize = 300;

/// What a rebuild may take up, in MB.
const MEMORY: f64 = 400.0;

/// What was measured at one size.
struct Figures {
    append: f64,
    visible: f64,
    history: f64,
    rebuild: f64,
    memory: f64,
}

#[allow(clippy::cast_precision_loss, reason = "counts of some millions")]
pub async fn run() -> anyhow::Result<()> {
    let bench = Workbench::open().await?;
    let mut all = Vec::new();
    let mut there = 0;
    for size in SIZES {
        fill(&bench, there, size).await?;
        there = size;
        all.push(measure(&bench, size).await?);
    }
    let [small, large] = &all[..] else { anyhow::bail!("two sizes") };
    let mut table = Table::new("at 10,000,000 events (reference: at 1,000,000)");
    let mut row = |name: &str, of: fn(&Figures) -> f64, target| {
        let (large, small) = (of(large), of(small));
        table.row(name, format!("{large:.2}"), format!("{small:.2}"), large / small, target);
    };
    row("append of one command, ms", |f| f.append, Target::None);
    row("append until it can be read, ms", |f| f.visible, Target::None);
    row("history of one record, ms", |f| f.history, Target::None);
    row("rebuild of all read models, events/s", |f| f.rebuild, Target::None);
    for (figures, size) in all.iter().zip(SIZES) {
        let name = format!("memory of `crm rebuild --all` of {size} events, MB");
        let (memory, ratio) = (figures.memory, figures.memory / MEMORY);
        table.row(&name, format!("{memory:.0}"), format!("{MEMORY}"), ratio, Target::AtMost(1.0));
    }
    table.note(format!("Medians of {TIMES}; one rebuild each, its peak resident memory."));
    table.print();
    bench.close().await
}

/// Adds records with their events, in the order in which a team would make them: changes come long after.
pub async fn fill(bench: &Workbench, from: i64, to: i64) -> anyhow::Result<()> {
    // What was measured meanwhile has taken ids as well.
    let taken = "select case when is_called then last_value else 0 end from lp_id";
    let taken: i64 = sqlx::query_scalar(taken).fetch_one(&bench.database.pool).await?;
    let (first, last) = (taken + 1, taken + (to - from) / EVENTS_EACH);
    for sequence in 1..=EVENTS_EACH {
        sqlx::query(&generate(sequence))
            .bind(first)
            .bind(last)
            .bind(sequence)
            .execute(&bench.database.pool)
            .await?;
    }
    sqlx::query("select setval('lp_id', $1)").bind(last).execute(&bench.database.pool).await?;
    sqlx::query("vacuum analyze events").execute(&bench.database.pool).await?;
    Ok(())
}

async fn measure(bench: &Workbench, size: i64) -> anyhow::Result<Figures> {
    let (rebuild, memory) = rebuild(bench, size).await?;
    let backend = bench.backend(&bench.database).await?;
    while backend.settle().await.is_err() {}
    let (mut appends, mut visible, mut histories) = (vec![], vec![], vec![]);
    for number in 0..TIMES {
        let id = backend.log.fresh_id(Kind::Lp).await?;
        let command = LpCommand::Register {
            name: "Profuturo".into(),
            details: LpChanges::default(),
            legacy: Verbatim::default(),
        };
        let start = Instant::now();
        let receipt = backend.log.execute::<Lp>(id, command, &request()).await?;
        appends.push(start.elapsed().as_secs_f64() * 1000.0);
        let position = receipt.position.context("nothing was recorded")?;
        let patience = std::time::Duration::from_secs(10);
        ensure!(backend.reader.reached(position, patience).await, "not visible in 10 s");
        visible.push(start.elapsed().as_secs_f64() * 1000.0);
        let old = size / EVENTS_EACH / (i64::try_from(number)? + 2);
        let stream = Stream { kind: "lp".into(), id: old.to_string() };
        let start = Instant::now();
        let mut connection = bench.database.pool.acquire().await?;
        let page = LogReader::new(bench.database.keys().clone())
            .read_stream(&mut connection, &stream, 0, i64::MAX)
            .await?;
        let mut lp = Lp::default();
        for recorded in page.events {
            if let domain::Event::Lp(event) = recorded.event {
                lp.apply(event);
            }
        }
        ensure!(lp.record().is_some(), "LP {old} is not there");
        histories.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    backend.stop().await;
    let (append, visible, history) = (median(&appends), median(&visible), median(&histories));
    Ok(Figures { append, visible, history, rebuild, memory })
}

/// Events per second of a rebuild by a process of its own, and its peak memory in MB.
#[allow(clippy::cast_precision_loss, reason = "counts of some millions")]
async fn rebuild(bench: &Workbench, size: i64) -> anyhow::Result<(f64, f64)> {
    let mut command = bench.crm(["rebuild", "--all", "--json"])?;
    let mut process = command.stdout(Stdio::piped()).spawn()?;
    let pid = process.id().context("crm has ended")?;
    let mut lines = BufReader::new(process.stdout.take().context("no output")?).lines();
    let (mut most, mut seconds) = (0.0_f64, None);
    while let Some(line) = lines.next_line().await? {
        most = most.max(usage::memory(pid, "VmHWM").unwrap_or(0.0));
        let line: serde_json::Value = serde_json::from_str(&line)?;
        seconds = line["seconds"].as_f64().or(seconds);
    }
    ensure!(process.wait().await?.success(), "the rebuild failed");
    Ok((size as f64 / seconds.context("the rebuild does not tell the time")?, most))
}
