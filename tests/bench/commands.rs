//! Commands at 1, 16 and 256 clients: over HTTP, through the framework alone, and appends alone, against single-row
//! inserts of the same size by pgbench at 16.
//!
//! The clients run in this process, on the same cores as what they measure; so does pgbench.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cqrs_es::DomainEvent as _;
use domain::lp::{Lp, LpChanges, LpCommand, LpEvent};
use domain::{Kind, Verbatim};
use projections::log::appender::Append;
use projections::log::{CommandRequest, EventLog, NewEvent};
use uuid::Uuid;

use crate::http::{Body, Client, Request};
use crate::pgbench::Inserts;
use crate::table::{Table, Target, median};
use crate::workbench::{Served, Workbench};

/// Every figure is measured this often, in turns with all others, each time right after its reference: a busy minute
/// of the machine hits all alike.
const ROUNDS: usize = 5;

/// How long one measurement takes.
const SECONDS: u64 = 1;
const LENGTH: Duration = Duration::from_secs(SECONDS);

const CLIENTS: [u32; 3] = [1, 16, 256];

/// pgbench has a connection per client; the embedded server has 60.
const MOST_CONNECTIONS: u32 = 50;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Append,
    /// The id is drawn right before the command, as the API does for a new record.
    FreshId,
    /// The caller names the id, so that the stream is loaded first.
    NamedId,
    Http,
}

/// What is measured at every number of clients.
struct Series {
    name: &'static str,
    way: Way,
    /// Whether the read models follow.
    projected: bool,
    /// Rates, and ratios to the reference of the same minute, by number of clients.
    figures: [Figure; CLIENTS.len()],
}

/// One row of the table.
struct Figure {
    target: Target,
    rates: Vec<f64>,
    ratios: Vec<f64>,
}

pub async fn run() -> anyhow::Result<()> {
    let bench = Workbench::open().await?;
    let backend = bench.backend(&bench.database).await?;
    register_as(&backend.log, 0).await?;
    backend.settle().await?;
    backend.stop().await;
    let inserts = Inserts::like_last_event(&bench).await?;
    let mut all = series();
    let mut reference: Vec<f64> = Vec::new();
    let mut others = [1, MOST_CONNECTIONS].map(|clients| (clients, Figure::new(Target::None)));
    for _ in 0..ROUNDS {
        for series in &mut all {
            let sixteen = inserts.run(&bench, 16, SECONDS).await?;
            reference.push(sixteen);
            for (clients, figure) in CLIENTS.into_iter().zip(&mut series.figures) {
                empty(&bench).await?;
                figure
                    .record(measure(&bench, series.way, series.projected, clients).await?, sixteen);
            }
        }
        for (clients, figure) in &mut others {
            let sixteen = reference.last().copied().unwrap_or(f64::NAN);
            figure.record(inserts.run(&bench, *clients, SECONDS).await?, sixteen);
        }
    }
    print(&reference, &others, &all, inserts.size());
    bench.close().await
}

fn series() -> Vec<Series> {
    use Target::{AtLeast, None};
    [
        ("append", Way::Append, false, [None, None, AtLeast(2.5)]),
        ("framework, fresh id", Way::FreshId, false, [None, AtLeast(0.75), AtLeast(1.2)]),
        ("framework, named id", Way::NamedId, false, [None; 3]),
        ("append, projected", Way::Append, true, [None; 3]),
        ("framework, projected", Way::FreshId, true, [None; 3]),
        ("POST /lps", Way::Http, true, [None; 3]),
    ]
    .into_iter()
    .map(|(name, way, projected, targets)| Series {
        name,
        way,
        projected,
        figures: targets.map(Figure::new),
    })
    .collect()
}

impl Figure {
    fn new(target: Target) -> Self {
        Self { target, rates: Vec::new(), ratios: Vec::new() }
    }

    fn record(&mut self, rate: f64, reference: f64) {
        self.rates.push(rate);
        self.ratios.push(rate / reference);
    }

    fn print(&self, table: &mut Table, name: &str, reference: f64) {
        let (rate, ratio) = (median(&self.rates), median(&self.ratios));
        table.row(name, format!("{rate:.0}"), format!("{reference:.0}"), ratio, self.target);
    }
}

/// One measurement: commands per second.
async fn measure(
    bench: &Workbench,
    way: Way,
    projected: bool,
    clients: u32,
) -> anyhow::Result<f64> {
    if way == Way::Http {
        let server = bench.serve().await?;
        let rate = posts(&server, clients).await?;
        server.stop().await?;
        return Ok(rate);
    }
    let database = bench.connect();
    let rate = if projected {
        let backend = bench.backend(&database).await?;
        let rate = rate_of(way, clients, &backend.log, LENGTH).await?;
        backend.stop().await;
        rate
    } else {
        rate_of(way, clients, &EventLog::start(database.clone()), LENGTH).await?
    };
    database.pool.close().await;
    Ok(rate)
}

/// Forgets everything, so that no measurement pays for the size of the one before.
async fn empty(bench: &Workbench) -> anyhow::Result<()> {
    sqlx::query(
        "update generation set position = (select coalesce(pg_sequence_last_value(
             pg_get_serial_sequence('events', 'position')), 0))",
    )
    .execute(&bench.database.pool)
    .await?;
    bench.forget(&["read_lp_1.lp"]).await
}

/// Runs the clients until the time is up. Tells the commands per second.
pub async fn rate_of(
    way: Way,
    clients: u32,
    log: &EventLog,
    length: Duration,
) -> anyhow::Result<f64> {
    // Ids that no sequence gives.
    static NAMED: AtomicI64 = AtomicI64::new(1_000_000_000);
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let end = start + length;
    let mut tasks = Vec::new();
    for _ in 0..clients {
        let (log, done) = (log.clone(), done.clone());
        tasks.push(tokio::spawn(async move {
            while Instant::now() < end {
                match way {
                    Way::Append => append(&log, NAMED.fetch_add(1, Ordering::Relaxed)).await?,
                    Way::NamedId => {
                        register_as(&log, NAMED.fetch_add(1, Ordering::Relaxed)).await?
                    }
                    Way::FreshId | Way::Http => {
                        log.register::<Lp>(registration(), &request()).await?;
                    }
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(per_second(done.load(Ordering::Relaxed), start))
}

#[allow(clippy::cast_precision_loss, reason = "counts of some thousands")]
fn per_second(count: u64, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}

fn registration() -> LpCommand {
    LpCommand::Register {
        name: "Profuturo Pensiones".into(),
        details: details(),
        legacy: Verbatim::default(),
    }
}

async fn register_as(log: &EventLog, id: i64) -> anyhow::Result<()> {
    log.execute::<Lp>(id, registration(), &request()).await?;
    Ok(())
}

async fn append(log: &EventLog, id: i64) -> anyhow::Result<()> {
    let request = request();
    let event = LpEvent::Registered {
        name: "Profuturo Pensiones".into(),
        details: details(),
        legacy: Verbatim::default(),
    };
    let event = NewEvent {
        aggregate_type: Kind::Lp.as_str(),
        aggregate_id: id.to_string(),
        sequence: 1,
        event_type: event.event_type(),
        event_version: event.event_version(),
        payload: serde_json::to_string(&event)?,
        metadata: "{\"client\":\"127.0.0.1\",\"command\":\"Register\",\"source\":\"api\",\"user_agent\":\"bench\"}".to_owned(),
        event_id: Uuid::now_v7(),
        command_id: request.command_id,
        correlation_id: request.correlation_id,
        causation_id: None,
        actor: request.actor,
        occurred_at: None,
    };
    log.appender().append(Append { events: vec![event], ..Append::default() }).await?;
    Ok(())
}

fn details() -> LpChanges {
    LpChanges {
        location: domain::Change::Set("Ciudad de México".into()),
        priority: domain::Change::Set("A".into()),
        advisor: domain::Change::Set("Stratum".into()),
        type_of_group: domain::Change::Set("Pension fund".into()),
        investment_low: domain::Change::Set(25.0),
        investment_high: domain::Change::Set(150.0),
        ..LpChanges::default()
    }
}

/// A request as the API makes it.
pub fn request() -> CommandRequest {
    CommandRequest {
        name: "Register",
        actor: "anonymous".into(),
        command_id: Uuid::new_v4(),
        correlation_id: Uuid::new_v4(),
        causation_id: None,
        source: "api".into(),
        client: Some("127.0.0.1".into()),
        user_agent: Some("bench".into()),
        trace_id: None,
        if_match: None,
        idempotency: None,
    }
}

/// The same record, over HTTP.
async fn posts(server: &Served, clients: u32) -> anyhow::Result<f64> {
    let body = serde_json::json!({
        "name": "Profuturo Pensiones", "location": "Ciudad de México", "priority": "A", "advisor": "Stratum",
        "type_of_group": "Pension fund", "investment_low": 25.0, "investment_high": 150.0,
    })
    .to_string();
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(Client::connect(server.address).await?);
    }
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let end = start + Duration::from_secs(SECONDS);
    let mut tasks = Vec::new();
    for mut client in connections {
        let (body, done) = (body.clone(), done.clone());
        tasks.push(tokio::spawn(async move {
            let request = Request::with_body("POST", "/lps", body).header("user-agent", "bench");
            while Instant::now() < end {
                let answer = client.send(&request, Body::Dropped).await?;
                anyhow::ensure!(answer.status == 200, "POST /lps answers {}", answer.status);
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(per_second(done.load(Ordering::Relaxed), start))
}

fn print(reference: &[f64], others: &[(u32, Figure)], all: &[Series], size: usize) {
    let mut table = Table::new("commands per second");
    let sixteen = median(reference);
    for (clients, figure) in others {
        figure.print(&mut table, &format!("pgbench -M prepared -c {clients}"), sixteen);
    }
    for series in all {
        for (clients, figure) in CLIENTS.into_iter().zip(&series.figures) {
            figure.print(&mut table, &format!("{}, {clients}", series.name), sixteen);
        }
    }
    table.note(format!(
        "By number of clients. Reference: pgbench -c 16, rows of {size} bytes of text. Medians of {ROUNDS} measurements of \
         {SECONDS} s; a ratio is that to the reference measured right before."
    ));
    table.print();
}
