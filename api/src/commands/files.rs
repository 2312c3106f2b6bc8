//! `crm files`: what is stored beside the log.

use std::fmt::Write as _;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use projections::files::MarkedFolder;
use replay::garbage::{self, Garbage};
use replay::stored::{self, Fault, Stored};
use serde_json::json;

use crate::backend::{self, Store};
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
    /// Read every file that the log names, recordings, documents and images: all are to be there and to be what was stored
    Check {
        /// Leave out the images of notes, as where the legacy database was imported without their folder
        #[arg(long)]
        no_images: bool,
        /// Print the outcome as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Take the files as they are for those of this database, after they were moved by hand, the database was, or they are lost for
    /// good: see docs/operations.md first
    Adopt,
}

/// Does what the options say.
///
/// # Errors
/// When the database or the file storage fails; when an event cannot be read: then nothing is removed; and when a check finds
/// something wrong.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    let mut interruption = Interruption::expect()?;
    let Some(store) = commands::open(settings, "files", &mut interruption).await? else {
        return Ok(());
    };
    let result = match args.what {
        What::Gc { dry_run, json } => collect(settings, &store, dry_run, json).await,
        What::Check { no_images, json } => {
            tokio::select! {
                result = check(&store, !no_images, json) => result,
                () = interruption.next() => Err(anyhow::anyhow!("the check was called off")),
            }
        }
        What::Adopt => adopt(settings, &store).await,
    };
    let closed = store.close().await;
    result.and(closed)
}

async fn collect(
    settings: &Settings,
    store: &Store,
    dry_run: bool,
    json: bool,
) -> anyhow::Result<()> {
    let trust = backend::seal_trust(settings)?;
    let Store { database, files, .. } = store;
    let found = garbage::collect(database, files, &trust, garbage::GRACE, dry_run).await;
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
        mebibytes(*bytes)
    )
}

async fn adopt(settings: &Settings, store: &Store) -> anyhow::Result<()> {
    let adopted = match settings.s3_bucket {
        // A bucket is never an empty place where a disk should be.
        Some(_) => Vec::new(),
        None => {
            let folder = MarkedFolder::new(settings.data_dir.clone(), store.database.clone());
            folder.adopt().await.context("the folder is not adopted")?
        }
    };
    for folder in &adopted {
        say(&format!("{} is now the folder of this database's files.", folder.display()));
    }
    let owned = garbage::own(&store.database, &store.files).await;
    let (this, before) = owned.context("the files have no new owner")?;
    match &before {
        Some(owner) => say(&format!(
            "The files belong to the database {this} now, which will remove what it does not name; they belonged to {owner}."
        )),
        None if adopted.is_empty() => {
            say("The files are known to be those of this database: there is nothing to adopt.");
        }
        None => {}
    }
    if !adopted.is_empty() {
        say("`crm files check` tells which of them are missing there.");
    }
    Ok(())
}

async fn check(store: &Store, images: bool, json: bool) -> anyhow::Result<()> {
    let bar = progress_bar();
    let tell = |now: &Stored| advance(&bar, now);
    let found = stored::check(&store.database, &store.files, images, tell).await;
    bar.finish_and_clear();
    let found = found.context("the files are not checked")?;
    let passed = found.is_whole();
    let mut report = serde_json::to_value(&found)?;
    report["passed"] = passed.into();
    say(&if json { report.to_string() } else { checked(&found) });
    anyhow::ensure!(passed, "the check found something wrong");
    Ok(())
}

/// A bar on a terminal, nothing elsewhere.
fn progress_bar() -> ProgressBar {
    const LINE: &str = "{bar:30} {pos}/{len} files, {msg} · {eta} to go";
    let style = ProgressStyle::with_template(LINE).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style)
}

fn advance(bar: &ProgressBar, now: &Stored) {
    bar.set_length(now.of);
    bar.set_position(now.files);
    bar.set_message(format!("{:.1} MiB, {} faults", mebibytes(now.bytes), now.faults.len()));
}

fn checked(found: &Stored) -> String {
    let Stored { files, bytes, faults, never_there, no_images, unreadable, .. } = found;
    // Writing to a String cannot fail.
    let mut text = String::new();
    for Fault { key, of, what } in faults {
        let _ = writeln!(text, "{key} ({of}): {what}");
    }
    for Fault { key, of, .. } in never_there {
        let _ = writeln!(text, "{key} ({of}): it was not there when it was imported either");
    }
    if *no_images > 0 {
        let _ = writeln!(
            text,
            "none of the {no_images} images that notes name is there: if the legacy database was imported without their folder, \
             import it again with `--images FOLDER`, or check with `--no-images`"
        );
    }
    for position in unreadable {
        let _ = writeln!(
            text,
            "the event at position {position} cannot be read, so nobody knows which files it names; `crm verify` says more"
        );
    }
    let outcome = match faults.len() {
        0 if *no_images > 0 || !never_there.is_empty() => {
            "all others are there and whole".to_owned()
        }
        0 => "all there and whole".to_owned(),
        many => format!(
            "{many} NOT what was stored: bring them back from a backup of the folder or bucket, under the same names"
        ),
    };
    let _ = write!(text, "{files} files, {:.1} MiB: {outcome}.", mebibytes(*bytes));
    text
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}
