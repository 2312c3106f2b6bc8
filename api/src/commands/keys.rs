//! `crm keys`: the keys of encrypted events, and the master key that they are wrapped under.

use anyhow::{Context as _, bail, ensure};
use projections::log::keys::Rewrapped;
use projections::log::{MasterKey, keys};
use serde_json::json;
use sqlx::Connection as _;

use crate::backend::Store;
use crate::commands::{self, Interruption, say};
use crate::settings::Settings;

/// The advisory lock of whoever replaces the master key.
const ROTATE_LOCK: i64 = 0x6372_6d5f_6b65_7901;

/// Options of `crm keys`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum What {
    /// Show how many keys there are, and which master key they are wrapped under
    Status {
        /// Print it as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Wrap all keys and the secrets of webhooks under a new master key, which takes the place of the present one; the server may go on running
    Rotate,
}

/// Does what the options say.
///
/// # Errors
/// When the database or a file fails; the present master key is still the right one then.
pub async fn run(settings: &Settings, args: &Args) -> anyhow::Result<()> {
    let mut interruption = Interruption::expect()?;
    let Some(store) = commands::open(settings, "keys", &mut interruption).await? else {
        return Ok(());
    };
    let result = match args.what {
        What::Status { json } => status(&store, json).await,
        What::Rotate => rotate(settings, &store).await,
    };
    let closed = store.close().await;
    result.and(closed)
}

async fn status(store: &Store, json: bool) -> anyhow::Result<()> {
    let mut connection = store.database.pool.acquire().await?;
    let count = keys::count(&mut connection).await?;
    let (master, source) = (store.database.keys().master_id(), source(store));
    say(&match json {
        true => json!({"master_key": master, "source": source, "keys": count}).to_string(),
        false => format!(
            "{} keys of people and notes, wrapped under the master key {master} ({source}).\n{} were destroyed by \
             erasures; traces of {} are still to be wiped off the disk.",
            count.present, count.destroyed, count.unscrubbed
        ),
    });
    Ok(())
}

fn source(store: &Store) -> String {
    match store.database.keys().file() {
        Some(file) => file.path().display().to_string(),
        None => "CRM_MASTER_KEY".to_owned(),
    }
}

/// A kill at any instant leaves the old key in its place, or the new one beside it, where every start looks for it.
async fn rotate(settings: &Settings, store: &Store) -> anyhow::Result<()> {
    let keys = store.database.keys();
    let next = match (&settings.new_master_key, keys.file()) {
        (None, Some(_)) => MasterKey::generate(),
        (Some(given), None) => {
            MasterKey::parse(given.expose()).context("CRM_NEW_MASTER_KEY is no master key")?
        }
        (None, None) => bail!(
            "the master key is that of CRM_MASTER_KEY, so crm cannot put another in its place: give the new one as \
             CRM_NEW_MASTER_KEY (`openssl rand -base64 32` makes one)"
        ),
        (Some(_), Some(file)) => bail!(
            "the master key is in `{}`, and crm makes the new one itself: leave CRM_NEW_MASTER_KEY unset",
            file.path().display()
        ),
    };
    // Held to the very end: a second rotation must not replace the file that waits to take its place.
    let mut control = store.database.pool.acquire().await?.detach();
    let got: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(ROTATE_LOCK)
        .fetch_one(&mut control)
        .await?;
    ensure!(got, "the master key is being replaced by another `crm keys rotate`; wait for it");
    let current = keys::current_master(&mut control).await?;
    ensure!(
        current.as_deref() == Some(keys.master_id().as_str()),
        "the master key was replaced a moment ago by another `crm keys rotate`"
    );
    if let Some(file) = keys.file() {
        file.prepare(&next)?;
    }
    let mut tx = store.database.pool.begin().await?;
    let Rewrapped { keys: count, secrets } = keys.rotate(&mut tx, &next).await?;
    tx.commit().await?;
    if let Some(file) = keys.file() {
        file.take_over()?;
    }
    control.close().await?;
    let id = next.id();
    say(&match keys.file() {
        Some(file) => format!(
            "{count} keys and the secrets of {secrets} webhooks are wrapped under the new master key {id} in `{}`. Back that file up now: whoever has neither \
             it nor a copy has lost all people and notes.",
            file.path().display()
        ),
        None => format!(
            "{count} keys and the secrets of {secrets} webhooks are wrapped under the new master key {id}. Set CRM_MASTER_KEY to it and start crm again: until \
             then a running server can neither take up people and notes nor sign for webhooks."
        ),
    });
    Ok(())
}
