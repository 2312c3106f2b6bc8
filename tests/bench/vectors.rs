//! Search by meaning: how long the scan in memory takes, what a chunk costs, and what a question costs with its embedding.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use domain::Kind;
use projections::search::encoder::Source;
use projections::search::engine::memory::Memory;
use projections::search::engine::{Engine as _, Place, Point, Set, TextDigest};
use projections::search::{Filter, Part};

use crate::table::{Table, Target};
use crate::usage;

pub const DIMENSIONS: usize = 384;
const QUESTIONS: usize = 200;

/// What a question may take with 20,000 chunks, embedded and answered, in milliseconds.
const QUESTION_P50: f64 = 40.0;
const QUESTION_P99: f64 = 100.0;

/// What a scan of 100,000 chunks may take, in milliseconds.
const SCAN: f64 = 10.0;

pub async fn run() -> anyhow::Result<()> {
    let mut table = Table::new("search by meaning, in memory, ms");
    let encoder = match models_folder() {
        Some(folder) => Some(source_in(&folder).open().await.context("the embedding model")?),
        None => None,
    };
    for chunks in [20_000_i64, 100_000] {
        let before = usage::memory(std::process::id(), "VmRSS")?;
        let (engine, set) = filled(chunks).await?;
        let bytes = (usage::memory(std::process::id(), "VmRSS")? - before) * 1e6 / chunks as f64;
        let mut scans = Vec::with_capacity(QUESTIONS);
        for seed in 0..QUESTIONS as u64 {
            let vector = direction(seed + 1_000_000);
            let started = Instant::now();
            engine.nearest(set.model, &vector, &Filter::default(), 100).await?;
            scans.push(started.elapsed());
        }
        let target = if chunks == 100_000 { Target::AtMost(1.0) } else { Target::None };
        show(&mut table, &format!("scan of {chunks} chunks, p50"), &mut scans, 50, SCAN, target);
        show(
            &mut table,
            &format!("scan of {chunks} chunks, p99"),
            &mut scans,
            99,
            SCAN,
            Target::None,
        );
        table.figure(&format!("memory per chunk of {chunks}, bytes"), format!("{bytes:.0}"));
        if let Some(encoder) = encoder.as_ref().filter(|_| chunks == 20_000) {
            let mut whole = Vec::with_capacity(QUESTIONS);
            for number in 0..QUESTIONS {
                let question =
                    format!("which pension funds asked about currency hedging in {number}?");
                let started = Instant::now();
                let vector = encoder.question(&question).await?;
                engine.nearest(set.model, &vector, &Filter::default(), 100).await?;
                whole.push(started.elapsed());
            }
            let at_most = Target::AtMost(1.0);
            show(
                &mut table,
                "question embedded and answered, p50",
                &mut whole,
                50,
                QUESTION_P50,
                at_most,
            );
            show(
                &mut table,
                "question embedded and answered, p99",
                &mut whole,
                99,
                QUESTION_P99,
                at_most,
            );
        }
    }
    if encoder.is_none() {
        table.note("questions were not embedded: the model is not on this machine (`crm models get embed`)");
    }
    table.print();
    Ok(())
}

/// The folder that has the model, where `crm models get` or the tests put it.
pub fn models_folder() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let user = rustix::process::geteuid().as_raw();
    let folders = [
        std::env::var_os("CRM_TEST_MODELS").map(PathBuf::from),
        Some(std::env::temp_dir().join(format!("crm-test-models-{user}"))),
        Some(PathBuf::from("/var/lib/crm")),
        home.map(|home| home.join(".local/share/crm")),
    ];
    let folders = folders.into_iter().flatten().map(|folder| folder.join("models"));
    folders.into_iter().find(|folder| match source_in(folder) {
        Source::Files { weights, tokenizer } => weights.exists() && tokenizer.exists(),
        Source::Server(_) | Source::Missing(_) => false,
    })
}

/// The model in such a folder.
pub fn source_in(folder: &Path) -> Source {
    Source::Files {
        weights: folder.join("e5-small-q4.bin"),
        tokenizer: folder.join("tokenizer.json"),
    }
}

pub fn show(
    table: &mut Table,
    name: &str,
    times: &mut [Duration],
    percent: usize,
    most: f64,
    target: Target,
) {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len() - 1);
    let time = times[at].as_secs_f64() * 1e3;
    table.row(name, format!("{time:.2}"), format!("{most:.0}"), time / most, target);
}

async fn filled(chunks: i64) -> anyhow::Result<(Memory, Set)> {
    let (engine, set) = (Memory::default(), Set { id: 1, model: 1, dimensions: DIMENSIONS });
    engine.prepare(&set).await?;
    for start in (0..chunks).step_by(1_000) {
        let points: Vec<Point> = (start..(start + 1_000).min(chunks)).map(point).collect();
        engine.upsert(&set, &points).await?;
    }
    engine.publish(&set).await?;
    Ok((engine, set))
}

fn point(number: i64) -> Point {
    let place = Place {
        record: Kind::Note.record(number / 4),
        part: Part::Text,
        ordinal: i32::try_from(number % 4).unwrap_or_default(),
    };
    Point {
        place,
        digest: TextDigest([0; 16]),
        version: 1,
        vector: direction(number.unsigned_abs()),
        date: None,
        language: None,
        about: vec![Kind::Lp.record(number % 400)],
        is_brief: false,
    }
}

/// A direction that is the same for a seed and random otherwise.
pub fn direction(seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    let mut vector: Vec<f32> = (0..DIMENSIONS).map(|_| next()).collect();
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|number| *number /= length);
    vector
}
