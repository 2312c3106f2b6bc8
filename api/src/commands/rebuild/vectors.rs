//! `crm rebuild vectors`: a new set of vectors beside the one that answers, from the texts and the vectors that are known.
//!
//! Whoever embeds does it: a server that runs, or else this process.

use std::time::Duration;

use anyhow::{Context as _, bail};
use projections::search::sets;
use projections::search::vector_status::{self, VectorStatus};
use projections::search::vectors::Vectors;
use serde_json::json;

use crate::backend::{Backend, Store};
use crate::commands::{Interruption, say};
use crate::settings::Settings;
use crate::vectors;

/// How often to look how far it is.
const LOOK: Duration = Duration::from_millis(500);

/// How often to look whether the model is loaded.
const SOON: Duration = Duration::from_millis(50);

/// Has a new set built, and waits until it answers.
///
/// # Errors
/// When there is no model, or the build is called off; the old set goes on answering then.
pub async fn rebuild(
    settings: &Settings,
    store: &Store,
    interruption: Interruption,
    json: bool,
) -> anyhow::Result<()> {
    let backend = Backend::start(store.database.clone(), store.files.clone()).await?;
    let meant = vectors::options(settings);
    let vectors = Vectors::start(store.database.clone(), meant, backend.live.heads());
    let result = build(store, &vectors, interruption, json).await;
    vectors.stop().await;
    backend.stop().await;
    result
}

async fn build(
    store: &Store,
    vectors: &Vectors,
    mut interruption: Interruption,
    json: bool,
) -> anyhow::Result<()> {
    let model = tokio::select! {
        model = model(vectors) => model?,
        () = interruption.next() => bail!("nothing was rebuilt"),
    };
    let mut db = store.database.pool.acquire().await?;
    let set = sets::begin_anew(&mut db, model).await?.context(
        "the first vectors of this model are still being made: there is nothing to rebuild",
    )?;
    let started = std::time::Instant::now();
    let bar = super::progress_bar(json);
    loop {
        tokio::select! {
            () = interruption.next() => {
                sets::give_up(&mut db, set).await?;
                bail!("the new vectors are given up; the old ones go on answering");
            }
            () = tokio::time::sleep(LOOK) => {}
        }
        let all = vector_status::status(&mut db).await?;
        let Some(status) = all.iter().find(|status| status.set == set) else {
            bail!("the new vectors were given up; the old ones go on answering");
        };
        if status.state == "live" {
            break;
        }
        if let Some(missing) = vectors.meaning().lacking() {
            sets::give_up(&mut db, set).await?;
            bail!("the vectors cannot be rebuilt: {missing}");
        }
        show(status, &bar, json);
    }
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    match json {
        true => {
            say(&json!({"outcome": "done", "phase": "done", "rebuilt": ["vectors"], "seconds": seconds}).to_string());
        }
        false => say(&format!("Rebuilt in {seconds:.1} s: vectors")),
    }
    Ok(())
}

/// The model, once it is loaded.
async fn model(vectors: &Vectors) -> anyhow::Result<i32> {
    loop {
        if let Some(missing) = vectors.meaning().lacking() {
            bail!("the vectors cannot be rebuilt: {missing}");
        }
        if let Some(model) = vectors.meaning().model() {
            return Ok(model);
        }
        tokio::time::sleep(SOON).await;
    }
}

fn show(status: &VectorStatus, bar: &indicatif::ProgressBar, json: bool) {
    let VectorStatus { points, waiting, rate, eta_seconds, .. } = status;
    if json {
        say(&json!({"phase": "embedding", "done": points, "total": points + waiting, "rate": rate,
            "eta_seconds": eta_seconds})
        .to_string());
    } else {
        bar.set_length((points + waiting).unsigned_abs());
        bar.set_position(points.unsigned_abs());
        bar.set_prefix("embedding");
        bar.set_message(super::pace(*rate, *eta_seconds));
    }
}

/// Calls a build off, wherever it runs.
///
/// # Errors
/// When there is none.
pub async fn cancel(store: &Store) -> anyhow::Result<()> {
    let mut db = store.database.pool.acquire().await?;
    match sets::give_up_all(&mut db).await? {
        0 => bail!("no vectors are being rebuilt"),
        _ => {
            say("vectors: the rebuild was called off");
            Ok(())
        }
    }
}
