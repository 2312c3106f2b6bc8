//! `crm seal export --s3`: seals in a bucket that keeps them from being changed or removed, whoever has its keys.

use anyhow::{Context as _, bail};
use chrono::{DateTime, Days, Utc};
use clap::ValueEnum;
use projections::files::{Bucket, Lock, LockMode};
use projections::seal::Link;
use uuid::Uuid;

use super::{Pages, lines};
use crate::backend;
use crate::commands::say;
use crate::settings::{Settings, is_bucket};

/// Where to, and for how long.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Write to a bucket with object lock instead, under seals/<log>/<position>-<first seal>-<last seal>.jsonl
    #[arg(long)]
    s3: bool,
    /// The bucket, reached as S3_BUCKET is; not named: S3_BUCKET itself
    #[arg(long, value_name = "NAME", requires = "s3", value_parser = bucket_name)]
    bucket: Option<String>,
    /// For how many days nobody shall be able to change or remove it; not named: as the bucket does by itself
    #[arg(long, value_name = "N", requires = "s3", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    lock_days: Option<u32>,
    /// Who may end the lock earlier
    #[arg(long, value_enum, requires = "lock_days", default_value_t = Mode::Governance)]
    mode: Mode,
}

/// How firm a lock is.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// Those whom the bucket's owner gave leave to (s3:BypassGovernanceRetention)
    Governance,
    /// Nobody, not even the bucket's owner
    Compliance,
}

/// How many seals one file has at most; some 10 MB.
const MOST: usize = 10_000;

impl Args {
    /// Whether a bucket is meant.
    pub fn is_wanted(&self) -> bool {
        self.s3
    }

    fn lock(&self, now: DateTime<Utc>) -> Option<Lock> {
        let until = now.checked_add_days(Days::new(self.lock_days?.into()))?;
        let mode = match self.mode {
            Mode::Governance => LockMode::Governance,
            Mode::Compliance => LockMode::Compliance,
        };
        Some(Lock { mode, until })
    }
}

/// Writes the seals, and says where they are.
///
/// # Errors
/// When the bucket has no object lock, shows none on what was written, or fails; the database as well.
pub async fn export(settings: &Settings, args: &Args, pages: &mut Pages) -> anyhow::Result<()> {
    let name = args.bucket.as_ref().or(settings.s3_bucket.as_ref());
    let name = name.context("name the bucket by --bucket, or set S3_BUCKET")?;
    let bucket = backend::bucket(settings, name).await;
    let lock = args.lock(Utc::now());
    if !bucket.locks_by_itself().await? && lock.is_none() {
        bail!(
            "the bucket {name} has no default retention: say by --lock-days for how long to lock"
        );
    }
    let (log, mut waiting) = (pages.log, Vec::new());
    loop {
        let links = pages.next().await?;
        let is_last = links.is_empty();
        waiting.extend(links);
        if waiting.len() >= MOST || is_last && !waiting.is_empty() {
            let (key, lock) = put(&bucket, log, &waiting, lock).await?;
            let until = lock.until.format("%Y-%m-%d %H:%M:%S UTC");
            let mode = match lock.mode {
                LockMode::Governance => "governance",
                LockMode::Compliance => "compliance",
            };
            say(&format!(
                "s3://{name}/{key}: {} seals, locked until {until} ({mode})",
                waiting.len()
            ));
            waiting.clear();
        }
        if is_last {
            return Ok(());
        }
    }
}

async fn put(
    bucket: &Bucket,
    log: Uuid,
    links: &[Link],
    lock: Option<Lock>,
) -> anyhow::Result<(String, Lock)> {
    let (Some(first), Some(last)) = (links.first(), links.last()) else { bail!("no seals") };
    let key = key(log, first, last);
    let lock = bucket.put_locked(&key, lines(links)?.into(), lock).await?;
    Ok((key, lock))
}

/// Sorted by name they are in the order of the log.
fn key(log: Uuid, first: &Link, last: &Link) -> String {
    format!("seals/{log}/{:019}-{}-{}.jsonl", last.position, first.number, last.number)
}

fn bucket_name(text: &str) -> Result<String, &'static str> {
    match is_bucket(text) {
        true => Ok(text.to_owned()),
        false => Err("no name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens"),
    }
}
