//! Lists and boards with 5,000 notes in the database: CPU per request of `crm` and Postgres together, against what the
//! legacy server needed; requests per second; memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::http::{Body, Client, Request};
use crate::import;
use crate::table::{Table, Target};
use crate::usage;
use crate::workbench::{Served, Workbench};

/// How long reading without a change is measured; long, since the kernel counts CPU in hundredths of a second.
const SECONDS: u64 = 3;

/// How many changes are measured.
const CHANGES: u32 = 500;

/// What a browser sends.
const BROWSER: &str = "gzip, deflate, br, zstd";

/// What may take up memory, in MB.
const MEMORY: f64 = 150.0;

/// Something to read, and how to change what it is made of.
struct Endpoint {
    name: &'static str,
    path: String,
    change: Change,
    /// CPU of the legacy server per request, measured on the same data.
    legacy: f64,
}

enum Change {
    /// A text attribute of the record at this path.
    Attribute { path: String, name: &'static str },
    /// A query parameter of the path that changes between two words.
    Words(String, [&'static str; 2]),
}

impl Change {
    fn request(&self, number: u32) -> (String, String) {
        match self {
            Change::Attribute { path, name } => {
                (path.clone(), json!({*name: format!("revision {number}")}).to_string())
            }
            Change::Words(path, words) => {
                (format!("{path}={}", words[number as usize % words.len()]), String::new())
            }
        }
    }
}

pub async fn run() -> anyhow::Result<()> {
    let bench = Workbench::open().await?;
    let file = import::legacy_file(&bench).await?;
    let server = bench.serve().await?;
    import::run_import(&bench, &file).await?;
    settle(&bench).await?;
    let mut memory = Table::new("memory of `crm serve`, MB");
    let mut client = Client::connect(server.address).await?;
    get(&mut client, "/notes").await?;
    memory.row_of_memory("after following the import and listing the notes", &server)?;
    let mut cpu = Table::new("CPU per request, ms");
    let mut rates = Table::new("requests per second");
    for endpoint in endpoints(&mut client).await? {
        measure(&bench, &server, &endpoint, &mut cpu, &mut rates).await?;
    }
    memory.row_of_memory("after everything below", &server)?;
    cpu.note(
        "CPU of crm and Postgres together, user and system, client not counted. Reference: the legacy server. A change is one \
         PUT before each GET; its own cost is measured by itself and taken off.",
    );
    rates.note("The client runs on the same two cores.");
    memory.print();
    cpu.print();
    rates.print();
    server.stop().await?;
    bench.close().await
}

impl Table {
    fn row_of_memory(&mut self, name: &str, server: &Served) -> anyhow::Result<()> {
        let (now, most) =
            (usage::memory(server.pid, "VmRSS")?, usage::memory(server.pid, "VmHWM")?);
        let figure = format!("{now:.0} (peak {most:.0})");
        self.row(name, figure, format!("{MEMORY:.0}"), now / MEMORY, Target::AtMost(1.0));
        Ok(())
    }
}

/// Waits until the read models hold everything.
async fn settle(bench: &Workbench) -> anyhow::Result<()> {
    loop {
        let level: bool = sqlx::query_scalar(
            "select (select min(position) from generation) >= (select max(position) from events)",
        )
        .fetch_one(&bench.database.pool)
        .await?;
        if level {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn get(client: &mut Client, path: &str) -> anyhow::Result<Vec<Value>> {
    let answer = client.send(&Request::get(path), Body::Kept).await?;
    ensure!(answer.status == 200, "GET {path} answers {}", answer.status);
    Ok(serde_json::from_slice(&answer.body)?)
}

/// The id of the record in the middle of a list.
async fn middle(client: &mut Client, path: &str) -> anyhow::Result<i64> {
    let list = get(client, path).await?;
    let record = list.get(list.len() / 2).with_context(|| format!("GET {path} is empty"))?;
    record["id"].as_i64().context("a record without an id")
}

async fn endpoints(client: &mut Client) -> anyhow::Result<Vec<Endpoint>> {
    let (lp, person) = (middle(client, "/lps").await?, middle(client, "/people").await?);
    let (note, todo) = (middle(client, "/notes").await?, middle(client, "/todos").await?);
    let (fund, roadshow) = (middle(client, "/funds").await?, middle(client, "/roadshows").await?);
    let attribute = |path: String, name| Change::Attribute { path, name };
    Ok(vec![
        Endpoint {
            name: "GET /notes",
            path: "/notes".into(),
            change: attribute(format!("/notes/{note}"), "summary"),
            legacy: 273.0,
        },
        Endpoint {
            name: "GET /lps",
            path: "/lps".into(),
            change: attribute(format!("/lps/{lp}"), "location"),
            legacy: 7.0,
        },
        Endpoint {
            name: "GET /people",
            path: "/people".into(),
            change: attribute(format!("/people/{person}"), "location"),
            legacy: 14.0,
        },
        Endpoint {
            name: "GET /todos",
            path: "/todos".into(),
            change: attribute(format!("/todos/{todo}"), "description"),
            legacy: 198.0,
        },
        Endpoint {
            name: "sales-funnel",
            path: format!("/funds/{fund}/sales-funnel"),
            change: Change::Words(
                format!("/funds/{fund}/lps/{lp}/interest?interest"),
                ["meeting", "interested"],
            ),
            legacy: 184.0,
        },
        Endpoint {
            name: "lp-status",
            path: format!("/roadshows/{roadshow}/lp-status"),
            change: Change::Words(
                format!("/roadshows/{roadshow}/lps/{lp}/status?status"),
                ["offered", "confirmed"],
            ),
            legacy: 245.0,
        },
    ])
}

async fn measure(
    bench: &Workbench,
    server: &Served,
    endpoint: &Endpoint,
    cpu: &mut Table,
    rates: &mut Table,
) -> anyhow::Result<()> {
    let Endpoint { name, path, legacy, .. } = endpoint;
    let plain = Request::get(path);
    let browser = Request::get(path).header("accept-encoding", BROWSER);
    let mut client = Client::connect(server.address).await?;
    let first = client.send(&plain, Body::Dropped).await?;
    let tag = first.etag.context("an answer without a tag")?;
    let packed = client.send(&browser, Body::Dropped).await?.size;
    let known = browser.clone().header("if-none-match", &tag);
    for (what, request, target) in [
        ("after a change", &plain, Target::AtMost(0.1)),
        ("after a change, compressed", &browser, Target::None),
    ] {
        let (puts, both) = changed(bench, server, endpoint, request).await?;
        let ours = both - puts;
        cpu.row(
            &format!("{name} {what}"),
            format!("{ours:.3}"),
            format!("{legacy}"),
            ours / legacy,
            target,
        );
        if !matches!(target, Target::None) {
            cpu.figure(&format!("{name}: the PUT itself"), format!("{puts:.3}"));
        }
    }
    for (what, request, target) in [
        ("unchanged", &plain, Target::AtMost(0.01)),
        ("unchanged, compressed", &browser, Target::None),
        ("unchanged, 304", &known, Target::AtMost(0.01)),
    ] {
        let (ours, one) = unchanged(bench, server, request, 1).await?;
        let (_, sixteen) = unchanged(bench, server, request, 16).await?;
        cpu.row(
            &format!("{name} {what}"),
            format!("{ours:.3}"),
            format!("{legacy}"),
            ours / legacy,
            target,
        );
        let size = match what {
            "unchanged" => first.size,
            "unchanged, compressed" => packed,
            _ => 0,
        };
        let name = format!("{name} {what} ({} kB)", size / 1000);
        rates.figure(&name, format!("{one:.0} at 1 connection, {sixteen:.0} at 16"));
    }
    Ok(())
}

/// CPU of crm and Postgres so far, in ms.
fn cpu_of(bench: &Workbench, server: &Served) -> anyhow::Result<f64> {
    let spent = usage::of_process(server.pid)? + usage::of_postgres(bench.postmaster)?;
    Ok(spent.as_secs_f64() * 1000.0)
}

/// CPU per PUT by itself, and per PUT with a GET after it.
async fn changed(
    bench: &Workbench,
    server: &Served,
    endpoint: &Endpoint,
    get: &Request<'_>,
) -> anyhow::Result<(f64, f64)> {
    let mut client = Client::connect(server.address).await?;
    let mut spent = [0.0; 2];
    for (reads, spent) in [false, true].into_iter().zip(&mut spent) {
        let before = cpu_of(bench, server)?;
        for number in 0..CHANGES {
            let (path, body) = endpoint.change.request(number + CHANGES * u32::from(reads));
            let answer =
                client.send(&Request::with_body("PUT", &path, body), Body::Dropped).await?;
            ensure!(answer.status == 200, "PUT {path} answers {}", answer.status);
            if reads {
                client.send(get, Body::Dropped).await?;
            }
        }
        *spent = (cpu_of(bench, server)? - before) / f64::from(CHANGES);
    }
    Ok(spent.into())
}

/// CPU per GET and GETs per second over some connections, all of them busy.
#[allow(clippy::cast_precision_loss, reason = "counts of some thousands")]
async fn unchanged(
    bench: &Workbench,
    server: &Served,
    request: &Request<'_>,
    connections: usize,
) -> anyhow::Result<(f64, f64)> {
    let done = Arc::new(AtomicU64::new(0));
    let before = cpu_of(bench, server)?;
    let start = Instant::now();
    let end = start + Duration::from_secs(SECONDS);
    let clients = (0..connections).map(|_| {
        let done = done.clone();
        async move {
            let mut client = Client::connect(server.address).await?;
            while Instant::now() < end {
                let answer = client.send(request, Body::Dropped).await?;
                ensure!(matches!(answer.status, 200 | 304), "GET answers {}", answer.status);
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        }
    });
    futures::future::try_join_all(clients).await?;
    let done = done.load(Ordering::Relaxed) as f64;
    let seconds = start.elapsed().as_secs_f64();
    Ok(((cpu_of(bench, server)? - before) / done, done / seconds))
}
