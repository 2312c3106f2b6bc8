//! `crm seal`: how far the log is sealed, checkpoints to be kept elsewhere, and whether a log still fits one.

mod archive;
mod check;
mod renewal;

use std::io::{BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use projections::seal::note::Note;
use projections::seal::{Link, store};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use uuid::Uuid;

use crate::backend::{self, Store};
use crate::commands::{self, Interruption, say};
use crate::settings::Settings;

/// What to do with seals.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Action {
    /// Show how far the log is sealed, and the public keys
    Status {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Write the seals as JSON lines, each with its signed checkpoint, to be kept where nobody who has the database can write
    Export {
        /// The newest only
        #[arg(long, conflicts_with = "after")]
        latest: bool,
        /// Those behind the seal of this number
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: i64,
        /// The file, which must not be there yet; with --latest it may be, if it holds a checkpoint that the log continues.
        /// Standard output if none is named
        #[arg(value_name = "FILE", conflicts_with = "s3")]
        file: Option<PathBuf>,
        #[command(flatten)]
        to: archive::Args,
    },
    /// Check an exported checkpoint, and that a log of today continues it; needs no database. Exits with 1 if not
    Check(check::Args),
}

/// Does what the arguments say.
///
/// # Errors
/// When the database does not answer, a file cannot be used, or a checkpoint does not hold.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    if let Action::Check(args) = &args.action {
        return check::run(args).await;
    }
    let mut interruption = Interruption::expect()?;
    let Some(store) = commands::open(settings, "seal", &mut interruption).await? else {
        return Ok(());
    };
    let result = tokio::select! {
        result = act(settings, &store, &args.action) => result,
        () = interruption.next() => Err(anyhow::anyhow!("called off; what was written so far is right, but not all")),
    };
    let closed = store.close().await;
    result.and(closed)
}

async fn act(settings: &Settings, store: &Store, action: &Action) -> anyhow::Result<()> {
    match action {
        Action::Status { json } => show(settings, store, *json).await,
        Action::Export { latest, after, file, to } => {
            let mut pages = Pages::begin(store, *latest, *after).await?;
            if to.is_wanted() {
                return archive::export(settings, to, &mut pages).await;
            }
            match file {
                Some(path) if *latest && path.exists() => {
                    renewal::check(&mut pages.connection, path).await?;
                    renewal::replace(&mut pages, path).await
                }
                Some(path) => export(&mut pages, &mut made(path)?).await,
                None => export(&mut pages, &mut std::io::stdout()).await,
            }
        }
        Action::Check(args) => check::run(args).await,
    }
}

/// A file that was not there.
fn made(path: &Path) -> anyhow::Result<std::fs::File> {
    let shown = path.display();
    std::fs::File::create_new(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => anyhow::anyhow!(
            "{shown} is there already, and what was exported is not overwritten: name a new file, or export with --latest, \
             which replaces a checkpoint that the log continues"
        ),
        _ => anyhow::anyhow!("{shown} cannot be made: {error}"),
    })
}

async fn show(settings: &Settings, store: &Store, json: bool) -> anyhow::Result<()> {
    let mut connection = store.database.pool.acquire().await?;
    let status = store::status(&mut connection).await?;
    let keys = store::keys(&mut connection).await?;
    let own = backend::known_seal_key(settings)?;
    let doubt = backend::seal_trust(settings)?.doubt(&mut connection).await?;
    let doubt = doubt.map(|doubt| doubt.to_string());
    if json {
        let keys: Vec<_> = keys
            .iter()
            .map(|(key, at)| serde_json::json!({"key": key.to_string(), "introduced_at": at}))
            .collect();
        say(&serde_json::json!({"seal": status, "doubt": doubt, "keys": keys}).to_string());
        return Ok(());
    }
    match status {
        Some(seal) => say(&format!(
            "Sealed up to position {} at {}: {} events, {} seals.",
            seal.position,
            seal.sealed_at.format("%Y-%m-%d %H:%M:%S UTC"),
            seal.events,
            seal.number
        )),
        None => say("Nothing is sealed yet; `crm serve` does it."),
    }
    if let Some(doubt) = doubt {
        say(&format!("NOT well: {doubt}"));
    }
    for (key, at) in keys {
        let whose = if own == Some(key.key) { ", the key of this installation" } else { "" };
        say(&format!("{key}  (since {}{whose})", at.format("%Y-%m-%d %H:%M UTC")));
    }
    Ok(())
}

/// How many seals are asked for at once.
const PAGE: i64 = 1_000;

/// The seals that are to be exported, page by page.
struct Pages {
    connection: PoolConnection<Postgres>,
    log: Uuid,
    after: i64,
}

impl Pages {
    /// Those behind the seal of this number, or the newest only.
    async fn begin(store: &Store, latest: bool, mut after: i64) -> anyhow::Result<Self> {
        let mut connection = store.database.pool.acquire().await?;
        let log = store::log_id(&mut connection).await?;
        if latest {
            let last = store::last(&mut connection).await?.context("nothing is sealed yet")?;
            after = last.number - 1;
        }
        Ok(Self { connection, log, after })
    }

    /// The next ones; none when there are no more.
    async fn next(&mut self) -> anyhow::Result<Vec<Link>> {
        let links = store::links(&mut self.connection, self.after, PAGE).await?;
        self.after = links.last().map_or(self.after, |last| last.number);
        Ok(links)
    }
}

async fn export(pages: &mut Pages, to: &mut (dyn std::io::Write + Send)) -> anyhow::Result<()> {
    let mut to = BufWriter::new(to);
    loop {
        let links = pages.next().await?;
        if links.is_empty() {
            return to.flush().context("the export cannot be written");
        }
        to.write_all(&lines(&links)?)?;
    }
}

/// Seals as JSON lines.
fn lines(links: &[Link]) -> anyhow::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for link in links {
        serde_json::to_writer(&mut lines, link)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// The text of a file that somebody named.
///
/// # Errors
/// When it cannot be read; the text names it.
pub fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// What `GET /seals/latest` answers; the checkpoint alone is signed.
#[derive(serde::Deserialize)]
struct Latest {
    checkpoint: String,
    #[serde(rename = "seal")]
    _seal: serde::de::IgnoredAny,
}

/// The checkpoint in a text: a signed note, the last line of an export, or an answer of `/seals/latest`.
///
/// # Errors
/// When there is none.
pub fn last_note(text: &str) -> anyhow::Result<Note> {
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    if let Ok(link) = serde_json::from_str::<Link>(last) {
        return Ok(link.note()?);
    }
    match serde_json::from_str::<Latest>(text) {
        Ok(latest) => Ok(latest.checkpoint.parse()?),
        Err(_) => Ok(text.parse()?),
    }
}
