//! `make bench`: how fast the product is beside plain Postgres, both measured in the same run on the same server.
//!
//! `cargo bench -p tests --bench crm -- commands reads` runs the sections named, without names it runs all. Nothing here passes
//! or fails: a machine that others use gives other figures in every run, so the ratios are what counts.

mod as_of;
mod audit;
mod commands;
mod embedding;
mod http;
mod import;
mod pgbench;
mod reads;
mod rebuild;
mod sealing;
mod seals;
mod search;
mod size;
mod speech;
mod table;
mod usage;
mod vectors;
mod workbench;

use anyhow::bail;

/// `size` fills a disk with some gigabytes and takes half an hour, so it runs only when it is named.
const SECTIONS: [&str; 13] = [
    "commands",
    "sealing",
    "seals",
    "reads",
    "import",
    "rebuild",
    "audit",
    "as_of",
    "embedding",
    "vectors",
    "search",
    "speech",
    "size",
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // `cargo bench` adds arguments of its own.
    let named: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = named.iter().find(|name| !SECTIONS.contains(&name.as_str())) {
        bail!("there is no section `{unknown}`; there are {}", SECTIONS.join(", "));
    }
    let chosen = |name: &str| match named.is_empty() {
        true => name != "size",
        false => named.iter().any(|other| other == name),
    };
    for section in SECTIONS.into_iter().filter(|name| chosen(name)) {
        match section {
            "commands" => commands::run().await?,
            "sealing" => sealing::run().await?,
            "seals" => seals::run().await?,
            "reads" => reads::run().await?,
            "rebuild" => rebuild::run().await?,
            "audit" => audit::run().await?,
            "size" => size::run().await?,
            "as_of" => as_of::run().await?,
            "embedding" => embedding::run().await?,
            "vectors" => vectors::run().await?,
            "search" => search::run().await?,
            "speech" => speech::run().await?,
            _ => import::run().await?,
        }
    }
    Ok(())
}
