//! What sealing costs: commands on people and notes, whose events are sealed, beside the same commands on LPs, whose events
//! are not, with as much in them. Both take turns, so that a busy minute of the machine hits both alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::lp::{Lp, LpChanges, LpCommand};
use domain::note::{Note, NoteChanges, NoteCommand};
use domain::person::{Person, PersonChanges, PersonCommand};
use domain::{Change, Verbatim};
use projections::log::{EventLog, Executable};

use crate::commands::request;
use crate::table::{Table, Target, median};
use crate::workbench::Workbench;

/// How often each is measured, and for how long.
const ROUNDS: usize = 9;
const LENGTH: Duration = Duration::from_millis(700);

const CLIENTS: [usize; 3] = [1, 16, 256];

/// What is done.
#[derive(Clone, Copy)]
enum Work {
    /// New records with some short attributes.
    Register,
    /// New records with a text of 4 KiB.
    RegisterText,
    /// Each client renames a record of its own, which is loaded, and opened, before.
    Rename,
}

const ALL: [(&str, Work); 3] = [
    ("register a person", Work::Register),
    ("register a note of 4 KiB", Work::RegisterText),
    ("rename a person", Work::Rename),
];

pub async fn run() -> anyhow::Result<()> {
    let bench = Workbench::open().await?;
    let mut table = Table::new("sealed commands per second");
    for (name, work) in ALL {
        for clients in CLIENTS {
            let (mut plain, mut sealed, mut ratios) = (vec![], vec![], vec![]);
            for round in 0..=ROUNDS {
                empty(&bench).await?;
                let one = plain_rate(&bench, work, clients).await?;
                empty(&bench).await?;
                let other = sealed_rate(&bench, work, clients).await?;
                // The first warms up.
                if round > 0 {
                    plain.push(one);
                    sealed.push(other);
                    ratios.push(other / one);
                }
            }
            let (sealed, plain) =
                (format!("{:.0}", median(&sealed)), format!("{:.0}", median(&plain)));
            let target = Target::AtLeast(0.95);
            table.row(&format!("{name}, {clients}"), sealed, plain, median(&ratios), target);
        }
    }
    table.note(format!(
        "By number of clients. Reference: the same on LPs, whose events are not sealed. Medians of {ROUNDS} measurements of \
         {} ms in turns; no read model follows.",
        LENGTH.as_millis()
    ));
    table.print();
    bench.close().await
}

async fn empty(bench: &Workbench) -> anyhow::Result<()> {
    bench.forget(&["stream_key"]).await
}

async fn plain_rate(bench: &Workbench, work: Work, clients: usize) -> anyhow::Result<f64> {
    let legacy = Verbatim::default;
    let details = match work {
        Work::RegisterText => LpChanges { text: Change::Set(text()), ..LpChanges::default() },
        _ => LpChanges {
            location: Change::Set("Ciudad de México".into()),
            priority: Change::Set("A".into()),
            advisor: Change::Set("Stratum".into()),
            type_of_group: Change::Set("Pension fund".into()),
            ..LpChanges::default()
        },
    };
    let register =
        LpCommand::Register { name: "Profuturo Pensiones".into(), details, legacy: legacy() };
    let rename = |name| LpCommand::Revise { name: Some(name), changes: LpChanges::default() };
    rate::<Lp>(bench, work, clients, register, rename).await
}

async fn sealed_rate(bench: &Workbench, work: Work, clients: usize) -> anyhow::Result<f64> {
    if let Work::RegisterText = work {
        let details = NoteChanges {
            name: Change::Set("Profuturo Pensiones".into()),
            raw_notes: Change::Set(text()),
            ..NoteChanges::default()
        };
        let register = NoteCommand::Register { details, legacy: Verbatim::default() };
        return rate::<Note>(bench, work, clients, register, |_| NoteCommand::Archive).await;
    }
    let details = PersonChanges {
        location: Change::Set("Ciudad de México".into()),
        role: Change::Set("A".into()),
        position: Change::Set("Stratum".into()),
        people_type: Change::Set("Pension fund".into()),
        ..PersonChanges::default()
    };
    let name = "Profuturo Pensiones".into();
    let register = PersonCommand::Register { name, details, legacy: Verbatim::default() };
    let rename =
        |name| PersonCommand::Revise { name: Some(name), changes: PersonChanges::default() };
    rate::<Person>(bench, work, clients, register, rename).await
}

/// Prose more or less: words repeat, sentences do not.
fn text() -> String {
    let words = ["fund", "meeting", "pension", "interest", "Mexico", "allocation", "next", "year"];
    let mut seed = 7_usize;
    let mut text = String::with_capacity(4096);
    while text.len() < 4096 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.push_str(words[(seed >> 33) % words.len()]);
        text.push_str(&format!(" {} ", (seed >> 40) % 997));
    }
    text
}

/// Commands per second.
async fn rate<A: Executable>(
    bench: &Workbench,
    work: Work,
    clients: usize,
    register: A::Command,
    rename: fn(String) -> A::Command,
) -> anyhow::Result<f64>
where
    A::Command: Clone + Send + Sync,
{
    let database = bench.connect();
    let log = EventLog::start(database.clone());
    let mut ids = Vec::new();
    if let Work::Rename = work {
        for _ in 0..clients {
            ids.push(log.register::<A>(register.clone(), &request()).await?.id);
        }
    }
    let done = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut tasks = Vec::new();
    for client in 0..clients {
        let (log, done, register) = (log.clone(), done.clone(), register.clone());
        let id = ids.get(client).copied();
        tasks.push(tokio::spawn(async move {
            let mut number = 0_u64;
            while start.elapsed() < LENGTH {
                number += 1;
                match id {
                    Some(id) => {
                        let command = rename(format!("Profuturo {number}"));
                        log.execute::<A>(id, command, &request()).await?;
                    }
                    None => _ = log.register::<A>(register.clone(), &request()).await?,
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    database.pool.close().await;
    #[allow(clippy::cast_precision_loss, reason = "counts of some thousands")]
    Ok(done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}
