//! Lists and boards with 5,000 notes in the database: CPU per request of `crm` and Postgres together, against what the
//! legacy server needed; requests per second; memory.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use api::server::SEND_BUFFER;
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::http::{self, Body, Client, Request};
use crate::import;
use crate::table::{Table, Target};
use crate::usage;
use crate::workbench::{Served, Workbench};

/// How long reading without a change is measured; long, since the kernel counts CPU in hundredths of a second.
const SECONDS: u64 = 3;

/// How many changes are measured, and in how many turns: what grows with their number is then part of both sides.
const CHANGES: u32 = 500;
const TURNS: u32 = 5;

/// What a browser sends.
const BROWSER: &str = "gzip, deflate, br, zstd";

/// From how many bytes on an answer is mostly the socket's work, so that it is shown what that alone costs.
const BARE_FROM: usize = 10 << 20;

/// What may take up memory, in MB.
const MEMORY: f64 = 150.0;

/// Something to read, and how to change what it is made of.
struct Endpoint {
    name: String,
    path: String,
    change: Change,
    /// CPU of the legacy server per request, measured on the same data.
    legacy: f64,
}

/// Every PUT is about the next record, so that no stream grows long, which would make the later ones dearer.
enum Change {
    /// A text attribute of the records of a list.
    Attribute { list: &'static str, ids: Vec<i64>, name: &'static str },
    /// How the LPs stand to a fund or roadshow.
    Standing { owner: String, lps: Vec<i64>, word: &'static str },
}

impl Change {
    /// Path and body of a PUT that changes something; no two have the same number.
    fn request(&self, number: usize) -> (String, String) {
        match self {
            Change::Attribute { list, ids, name } => {
                let body = json!({*name: format!("revision {number}")});
                (format!("{list}/{}", ids[number % ids.len()]), body.to_string())
            }
            Change::Standing { owner, lps, word } => {
                let lp = lps[number % lps.len()];
                (format!("{owner}/lps/{lp}/{word}?{word}=revision-{number}"), String::new())
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
         PUT to another record before each GET; its own cost is measured in turns with both and taken off. A bare socket is a \
         thread that writes as many bytes from memory.",
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

/// The ids of a list, of which there is at least one.
async fn ids(client: &mut Client, path: &str) -> anyhow::Result<Vec<i64>> {
    let list = get(client, path).await?;
    ensure!(!list.is_empty(), "GET {path} is empty");
    let ids = list.iter().map(|record| record["id"].as_i64().context("a record without an id"));
    ids.collect()
}

async fn endpoints(client: &mut Client) -> anyhow::Result<Vec<Endpoint>> {
    let lists = [
        ("/notes", "summary", 273.0),
        ("/lps", "location", 7.0),
        ("/people", "location", 14.0),
        ("/todos", "description", 198.0),
    ];
    let mut endpoints = Vec::new();
    for (list, name, legacy) in lists {
        let change = Change::Attribute { list, ids: ids(client, list).await?, name };
        endpoints.push(Endpoint {
            name: format!("GET {list}"),
            path: list.to_owned(),
            change,
            legacy,
        });
    }
    let lps = ids(client, "/lps").await?;
    for (owners, board, word, legacy) in [
        ("/funds", "sales-funnel", "interest", 184.0),
        ("/roadshows", "lp-status", "status", 245.0),
    ] {
        let all = ids(client, owners).await?;
        let owner = format!("{owners}/{}", all[all.len() / 2]);
        let path = format!("{owner}/{board}");
        let change = Change::Standing { owner, lps: lps.clone(), word };
        endpoints.push(Endpoint { name: board.to_owned(), path, change, legacy });
    }
    Ok(endpoints)
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
        if size >= BARE_FROM {
            let bare = format!("{:.3}", bare_socket(size).await?);
            cpu.figure(&format!("{name}: {} kB through a bare socket", size / 1000), bare);
        }
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
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let mut client = Client::connect(server.address).await?;
    let mut spent = [0.0; 2];
    for _ in 0..TURNS {
        for (reads, spent) in [false, true].into_iter().zip(&mut spent) {
            let before = cpu_of(bench, server)?;
            for _ in 0..CHANGES / TURNS {
                let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                let (path, body) = endpoint.change.request(number);
                let put = Request::with_body("PUT", &path, body);
                let answer = client.send(&put, Body::Dropped).await?;
                ensure!(answer.status == 200, "PUT {path} answers {}", answer.status);
                if reads {
                    client.send(get, Body::Dropped).await?;
                }
            }
            *spent += (cpu_of(bench, server)? - before) / f64::from(CHANGES);
        }
    }
    Ok(spent.into())
}

/// CPU of sending as many bytes as an answer has from memory through a bare socket, in ms: what no server can spare.
#[allow(clippy::cast_precision_loss, reason = "counts of some thousands")]
async fn bare_socket(size: usize) -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let sender = std::thread::spawn(move || -> anyhow::Result<f64> {
        let (mut stream, _) = listener.accept()?;
        SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER)?;
        let (bytes, mut count, mut request) = (vec![b'x'; size], 0, [0]);
        let before = usage::of_this_thread()?;
        // Ends when the other side has had enough.
        while stream.read(&mut request)? > 0 {
            stream.write_all(&bytes)?;
            count += 1;
        }
        Ok((usage::of_this_thread()? - before).as_secs_f64() * 1000.0 / f64::from(count))
    });
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let mut buffer = vec![0; http::BUFFER];
    let end = Instant::now() + Duration::from_secs(SECONDS);
    while Instant::now() < end {
        stream.write_all(b"?").await?;
        let mut got = 0;
        while got < size {
            let read = stream.read(&mut buffer).await?;
            ensure!(read > 0, "the sender gave up");
            got += read;
        }
    }
    drop(stream);
    tokio::task::spawn_blocking(|| sender.join())
        .await?
        .map_err(|_| anyhow!("the sender panicked"))?
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
