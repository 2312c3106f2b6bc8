//! `crm files`: what is stored beside the log.

use anyhow::Context as _;
use replay::garbage::{self, Garbage};
use serde_json::json;

use crate::backend::Store;
use crate::commands::{self, Interruption, say};
use crate::settings::Settings;

/// Options of `crm files`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum What {
    /// Remove files older than a day that no event names, and uploads that were given up; the server does it every day
    Gc {
        /// Only tell what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Print the outcome as one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Does what the options say.
///
/// # Errors
/// When the database or the file storage fails, or an event cannot be read: then nothing is removed.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    let mut interruption = Interruption::expect()?;
    let Some(store) = commands::open(settings, "files", &mut interruption).await? else {
        return Ok(());
    };
    let What::Gc { dry_run, json } = args.what;
    let result = collect(&store, dry_run, json).await;
    let closed = store.close().await;
    result.and(closed)
}

async fn collect(store: &Store, dry_run: bool, json: bool) -> anyhow::Result<()> {
    let found = garbage::collect(&store.database, &store.files, garbage::GRACE, dry_run).await;
    let found = found.context("the file storage is not tidied up")?;
    say(&match json {
        true => json!({"dry_run": dry_run, "garbage": found}).to_string(),
        false => told(&found, dry_run),
    });
    Ok(())
}

fn told(found: &Garbage, dry_run: bool) -> String {
    let Garbage { uploads, recordings, documents, bytes } = found;
    let done = if dry_run { "Would remove" } else { "Removed" };
    format!(
        "{done} {uploads} uploads that were given up, {recordings} recordings that no note has and {documents} documents \
         that no event names: {:.1} MiB of files.",
        *bytes as f64 / (1 << 20) as f64
    )
}
