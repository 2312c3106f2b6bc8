//! `make eval`: how well the product's search finds what is asked for, on the labelled set beside this file.
//!
//! The set goes into a fresh database through the API, and every query through `GET /search` in each mode: what is
//! measured is the product as its users have it. `README.md` says how the set was made and what the figures mean.
//!
//! `cargo bench -p tests --bench eval -- --rankings FILE` also writes what each query found, a line of JSON each. The
//! model of meaning is fetched by `crm models get embed`, unless `EMBED_MODEL` or `EMBED_URL` names another.

mod measures;
mod product;
mod report;
mod set;
mod weights;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::product::{Mode, Product};
use crate::report::Run;
use crate::set::Set;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let rankings = wanted_file()?;
    let set = Set::read()?;
    let product = Product::start().await?;
    let notes = product.load(&set).await?;
    let mut runs = Vec::new();
    for mode in [Mode::Lexical, Mode::Semantic, Mode::Hybrid] {
        match product.missing(mode).await? {
            Some(missing) => report::skipped(mode, &missing),
            None => {
                product.wait_until_found_by(mode).await?;
                runs.push(ask_all(&product, mode, &set, &notes).await?);
            }
        }
    }
    product.stop().await?;
    if let Some(path) = rankings {
        write_rankings(&path, &set, &runs)?;
    }
    report::print(&set, &runs);
    Ok(())
}

/// The file after `--rankings`; `cargo bench` adds a `--bench` of its own.
fn wanted_file() -> anyhow::Result<Option<PathBuf>> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let path = match arguments.next().as_deref() {
        None => return Ok(None),
        Some("--rankings") => arguments.next().context("`--rankings` needs the name of a file")?,
        Some(other) => bail!("there is no `{other}`; there is `--rankings FILE`"),
    };
    // Cargo runs a benchmark in the folder of its crate, but people name files from where they are.
    Ok(Some(std::env::var_os("PWD").map_or_else(PathBuf::new, PathBuf::from).join(path)))
}

async fn ask_all(
    product: &Product,
    mode: Mode,
    set: &Set,
    notes: &product::Notes,
) -> anyhow::Result<Run> {
    let mut found = Vec::with_capacity(set.queries.len());
    for query in &set.queries {
        let answer = product.search(&query.text, mode, notes).await;
        found.push(answer.with_context(|| format!("query {}: `{}`", query.id, query.text))?);
    }
    Ok(Run { mode, found })
}

fn write_rankings(path: &PathBuf, set: &Set, runs: &[Run]) -> anyhow::Result<()> {
    let mut file = std::fs::File::create(path)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    for run in runs {
        for (query, found) in set.queries.iter().zip(&run.found) {
            let line =
                serde_json::json!({"mode": run.mode.word(), "query": query.id, "found": found});
            writeln!(file, "{line}")?;
        }
    }
    Ok(())
}
