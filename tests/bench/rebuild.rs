//! Rebuilds and catching up, against `COPY … TO STDOUT` of the same events; how soon a commit can be read; and what readers
//! notice of a rebuild.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use domain::lp::{Lp, LpChanges, LpCommand};
use domain::{Event, Kind, Verbatim};
use projections::dead_letter::DeadLetters;
use projections::follow::{Follower, Target};
use projections::generation::{self, Checkpoint, State};
use projections::log::{
    AllKeys, LogReader, NewEvent, Page, PageLimit, Recorded, Span, Sweep, bulk_append,
};
use projections::read;
use replay::Rebuild;
use serde_json::json;
use sqlx::ConnectOptions as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::commands::request;
use crate::http::{Body, Client, Request};
use crate::import;
use crate::table::{Table, Target as Goal, median};
use crate::workbench::Workbench;

const ROUNDS: usize = 3;

/// How often the imported log is repeated under other ids: 42,000 events each time.
const COPIES: i64 = 7;

/// How many events are read and appended at a time while they are repeated.
const BATCH: i64 = 5_000;

/// How many events are folded one by one; more would take minutes.
const ONE_BY_ONE: i64 = 3_000;

/// Commands per second while commits are watched becoming visible, and for how many seconds.
const PACE: u32 = 500;
const WATCHED: u32 = 10;

pub async fn run() -> anyhow::Result<()> {
    let bench = Workbench::open().await?;
    let file = import::legacy_file(&bench).await?;
    import::run_import(&bench, &file).await?;
    let events = multiply(&bench).await?;
    throughput(&bench, events).await?;
    reads_meanwhile(&bench).await?;
    bench.close().await?;
    visibility().await
}

/// Repeats what was imported under other ids, which the read models then follow. It is sealed anew, under keys of those.
async fn multiply(bench: &Workbench) -> anyhow::Result<i64> {
    let database = &bench.database;
    let log = LogReader::new(database.keys().clone());
    let mut connection = database.options_for(&[]).connect().await?;
    let last: i64 =
        sqlx::query_scalar("select max(position) from events").fetch_one(&database.pool).await?;
    for copy in 1..COPIES {
        let mut from = 0;
        while from < last {
            let page = log.read_page(&mut connection, from, PageLimit { events: BATCH }).await?;
            let own = page.events.iter().filter(|recorded| recorded.position <= last);
            let copies = own.filter_map(|recorded| copied(recorded, copy).transpose());
            let copies = copies.collect::<anyhow::Result<Vec<_>>>()?;
            let mut tx = database.pool.begin().await?;
            bulk_append(&mut tx, database.keys(), &copies, &[]).await?;
            tx.commit().await?;
            from = page.end.context("the log is too short")?;
        }
    }
    sqlx::query("vacuum analyze events").execute(&database.pool).await?;
    Ok(sqlx::query_scalar("select count(*) from events").fetch_one(&database.pool).await?)
}

/// The same event of another record; `None` if it belongs to none.
fn copied(recorded: &Recorded, copy: i64) -> anyhow::Result<Option<NewEvent>> {
    let Some(kind) = Kind::parse(&recorded.stream().kind) else { return Ok(None) };
    let name = recorded.event.name().to_owned();
    let with_content = json!({ name.as_str(): recorded.event.content()? }).to_string();
    // One that says nothing is stored as its name.
    let payload = match Event::decode(kind.as_str(), &name, &with_content) {
        Ok(_) => with_content,
        Err(_) => json!(name).to_string(),
    };
    Ok(Some(NewEvent {
        aggregate_type: kind.as_str(),
        aggregate_id: (recorded.id + copy * 10_000_000).to_string(),
        sequence: recorded.sequence,
        event_type: name,
        event_version: "1".to_owned(),
        payload,
        metadata: json!({ "command": "Import", "source": "import:again.db" }).to_string(),
        event_id: Uuid::new_v4(),
        command_id: Uuid::new_v4(),
        correlation_id: Uuid::new_v4(),
        causation_id: None,
        actor: "import".to_owned(),
        occurred_at: None,
    }))
}

#[allow(clippy::cast_precision_loss, reason = "counts of some hundred thousands")]
async fn throughput(bench: &Workbench, events: i64) -> anyhow::Result<()> {
    let backend = bench.backend(&bench.database).await?;
    backend.settle().await?;
    backend.stop().await;
    let (mut copies, mut decodes, mut relational, mut rebuilds) = (vec![], vec![], vec![], vec![]);
    let (mut decode_ratios, mut relational_ratios, mut rebuild_ratios) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let copied = events as f64 / copy_out(bench).await?;
        let decoded = events as f64 / decode(bench).await?;
        let related = events as f64 / rebuild(bench, is_relational).await?;
        let rebuilt = events as f64 / rebuild(bench, |_| true).await?;
        decode_ratios.push(decoded / copied);
        relational_ratios.push(related / copied);
        rebuild_ratios.push(rebuilt / copied);
        copies.push(copied);
        decodes.push(decoded);
        relational.push(related);
        rebuilds.push(rebuilt);
    }
    let one_by_one = ONE_BY_ONE as f64 / one_by_one(bench).await?;
    let mut table = Table::new("events per second");
    let (copy, rebuilt) = (median(&copies), median(&rebuilds));
    let reference = format!("{copy:.0}");
    let row = |table: &mut Table, name: &str, rate: f64, ratio: f64, goal: Goal| {
        table.row(name, format!("{rate:.0}"), reference.clone(), ratio, goal);
    };
    row(
        &mut table,
        "read and decode",
        median(&decodes),
        median(&decode_ratios),
        Goal::AtLeast(0.8),
    );
    let (name, rate) = ("rebuild but for audit and passage", median(&relational));
    row(&mut table, name, rate, median(&relational_ratios), Goal::AtLeast(0.3));
    let name = "rebuild of all read models";
    row(&mut table, name, rebuilt, median(&rebuild_ratios), Goal::None);
    row(&mut table, "event by event", one_by_one, one_by_one / copy, Goal::None);
    let (figure, reference) = (format!("{rebuilt:.0}"), format!("{one_by_one:.0}"));
    table.row(
        "rebuild against event by event",
        figure,
        reference,
        rebuilt / one_by_one,
        Goal::AtLeast(20.0),
    );
    table.note(format!(
        "{events} events. Reference: psql \\copy (select … order by position) to /dev/null. A rebuild is `crm rebuild` \
         from begin to swap; `audit` and `passage` index the words of all texts. Event by event: the same projectors, each event a transaction, first {ONE_BY_ONE} events. \
         Medians of {ROUNDS} rounds."
    ));
    table.print();
    Ok(())
}

/// Copies the log out, as psql does. Tells the seconds.
async fn copy_out(bench: &Workbench) -> anyhow::Result<f64> {
    let columns =
        "position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload";
    let command = format!("\\copy (select {columns} from events order by position) to '/dev/null'");
    let start = Instant::now();
    import::psql(bench, &command).await?;
    Ok(start.elapsed().as_secs_f64())
}

/// Reads the log as a rebuild does, and decodes every event, on as many threads. Tells the seconds.
async fn decode(bench: &Workbench) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut connection = bench.database.options_for(&[]).connect().await?;
    let all_keys = Arc::<AllKeys>::default();
    let span = Span { after: 0, to: i64::MAX, without: &[] };
    let mut sweep = Sweep::begin(&mut connection, &span).await?;
    let mut workers = tokio::task::JoinSet::new();
    let mut ways = Vec::new();
    for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
        let (way, mut batches) = mpsc::channel::<Vec<projections::log::StoredEvent>>(4);
        ways.push(way);
        let (database, all_keys) = (bench.database.clone(), all_keys.clone());
        workers.spawn(async move {
            let log = LogReader::new(database.keys().clone()).with_all_keys(all_keys);
            let mut connection = database.options_for(&[]).connect().await?;
            while let Some(batch) = batches.recv().await {
                let ring = log.ring_for(&mut connection, batch.iter()).await?;
                for stored in &batch {
                    std::hint::black_box(log.decode_stored(stored, &ring)?);
                }
            }
            anyhow::Ok(())
        });
    }
    let mut turn = 0;
    while let Some(batch) = sweep.next().await? {
        ways[turn % ways.len()].send(batch).await?;
        turn += 1;
    }
    drop(ways);
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Whether a read model has rows of records, links and funnels, and not the words of all texts.
fn is_relational(name: &str) -> bool {
    !["audit", "passage"].contains(&name)
}

async fn rebuild(bench: &Workbench, is_wanted: impl Fn(&str) -> bool) -> anyhow::Result<f64> {
    let mut projectors = replay::find(read::projectors(), &[])?;
    projectors.retain(|projector| is_wanted(projector.name()));
    let start = Instant::now();
    let rebuild =
        Rebuild::admit(&bench.database, projectors, "a benchmark", CancellationToken::new());
    rebuild.await?.run(|_| ()).await?;
    Ok(start.elapsed().as_secs_f64())
}

/// All projectors, event by event. Tells the seconds.
async fn one_by_one(bench: &Workbench) -> anyhow::Result<f64> {
    let mut connection = bench.database.options_for(&[]).connect().await?;
    let mut targets = Vec::new();
    for projector in replay::find(read::projectors(), &[])? {
        let number = generation::begin(&mut connection, &*projector).await?;
        let target = Target { projector, number, state: State::Building };
        generation::finish_tables(&mut connection, &*target.projector, &target.schema()).await?;
        targets.push(target);
    }
    let schemas: Vec<String> = targets.iter().map(Target::schema).collect();
    let options = bench.database.options_for(&schemas);
    let mut connection = options.options([("synchronous_commit", "off")]).connect().await?;
    let names = targets.iter().map(|target| (target.name(), Checkpoint::default())).collect();
    let (checkpoints, _) = watch::channel(names);
    let letters = Arc::new(DeadLetters::default());
    letters.load(&mut connection, &targets).await?;
    let follower = Follower::new(bench.database.clone(), letters, "bench".into(), checkpoints);
    let log = LogReader::new(bench.database.keys().clone());
    let start = Instant::now();
    let mut from = 0;
    for _ in 0..ONE_BY_ONE {
        let page: Page = log.read_page(&mut connection, from, PageLimit { events: 1 }).await?;
        let end = page.end.context("the log is too short")?;
        follower.take(&mut connection, &targets, from, &page, end).await?;
        from = end;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// What readers notice of a rebuild in the server that answers them.
async fn reads_meanwhile(bench: &Workbench) -> anyhow::Result<()> {
    let server = bench.serve().await?;
    let mut client = Client::connect(server.address).await?;
    // Warm.
    read_for(&mut client, Duration::from_secs(2), || false).await?;
    let quiet = read_for(&mut client, Duration::from_secs(5), || false).await?;
    let mut other = Client::connect(server.address).await?;
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watched = done.clone();
    let names: Vec<&str> = read::projectors().iter().map(|projector| projector.name()).collect();
    let rebuilding = tokio::spawn(async move {
        for name in names {
            let path = format!("/projections/{name}/rebuild");
            let answer = other
                .send(&Request::with_body("POST", &path, String::new()), Body::Dropped)
                .await?;
            ensure!(answer.status == 202, "POST {path} answers {}", answer.status);
            loop {
                let status =
                    other.send(&Request::get(&format!("/projections/{name}")), Body::Kept).await?;
                let status: serde_json::Value = serde_json::from_slice(&status.body)?;
                if !status["rebuild"]["finished_at"].is_null() {
                    ensure!(status["rebuild"]["phase"] == "done", "{status}");
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        watched.store(true, std::sync::atomic::Ordering::Release);
        anyhow::Ok(())
    });
    let is_done = || done.load(std::sync::atomic::Ordering::Acquire);
    let busy = read_for(&mut client, Duration::from_secs(300), is_done).await?;
    rebuilding.await??;
    let mut table = Table::new("GET /lps/search and /lps/{id}, ms");
    for (name, share, goal) in [("median", 0.5, Goal::None), ("p99", 0.99, Goal::AtMost(2.0))] {
        let (during, without) = (percentile(&busy, share), percentile(&quiet, share));
        let (figure, reference) = (format!("{during:.2}"), format!("{without:.2}"));
        table.row(&format!("{name} during a rebuild"), figure, reference, during / without, goal);
    }
    table.note("Every read model is rebuilt in turn by the server that answers. Reference: the same without a rebuild.");
    table.print();
    server.stop().await
}

/// Reads, one request at a time, with a pause as people make. Tells how long each took, in ms.
async fn read_for(
    client: &mut Client,
    time: Duration,
    enough: impl Fn() -> bool,
) -> anyhow::Result<Vec<f64>> {
    let end = Instant::now() + time;
    let mut times = Vec::new();
    let mut number = 0;
    while Instant::now() < end && !enough() {
        number += 1;
        let path = match number % 2 {
            0 => "/lps/search?q=pens".to_owned(),
            _ => format!("/lps/{}", number % 50 + 1),
        };
        let start = Instant::now();
        let answer = client.send(&Request::get(&path), Body::Dropped).await?;
        ensure!(matches!(answer.status, 200 | 404), "GET {path} answers {}", answer.status);
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(times)
}

/// How soon after its commit a command can be read, in this very process.
async fn visibility() -> anyhow::Result<()> {
    let bench = Workbench::open().await?;
    let backend = Arc::new(bench.backend(&bench.database).await?);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PACE);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..PACE * WATCHED {
        ticks.tick().await;
        let backend = backend.clone();
        tasks.spawn(async move {
            let id = backend.log.fresh_id(Kind::Lp).await?;
            let command = LpCommand::Register {
                name: "Profuturo".into(),
                details: LpChanges::default(),
                legacy: Verbatim::default(),
            };
            let receipt = backend.log.execute::<Lp>(id, command, &request()).await?;
            let committed = Instant::now();
            let position = receipt.position.context("nothing was recorded")?;
            ensure!(
                backend.reader.reached(position, Duration::from_secs(10)).await,
                "not visible in 10 s"
            );
            anyhow::Ok(committed.elapsed().as_secs_f64() * 1000.0)
        });
    }
    let mut times = Vec::new();
    while let Some(time) = tasks.join_next().await {
        times.push(time??);
    }
    let mut table = Table::new("commit to visible, ms");
    for (name, share, most) in [("p50", 0.5, 2.0), ("p99", 0.99, 15.0)] {
        let time = percentile(&times, share);
        table.row(name, format!("{time:.2}"), format!("{most}"), time / most, Goal::AtMost(1.0));
    }
    table.note(format!(
        "{PACE} commands per second for {WATCHED} s, in process. Reference: the target."
    ));
    table.print();
    Arc::into_inner(backend).context("somebody still waits")?.stop().await;
    bench.close().await
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index into some thousands"
)]
fn percentile(times: &[f64], share: f64) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    let at = (times.len() as f64 * share) as usize;
    times.get(at.min(times.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
