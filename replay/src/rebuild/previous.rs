//! The generations before the live one: made live again, or dropped.

use std::sync::Arc;
use std::time::Duration;

use projections::database::Database;
use projections::follow::Target;
use projections::generation::{self, Generation, State};
use projections::projector::Projector;
use projections::runner::RUNNER_LOCK;
use projections::status;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use super::swap::{follow_and_swap, is_timeout};
use super::{RebuildError, hold, release};

/// Makes the previous generations of these read models the live ones again, after they have caught up with the log: all of
/// them at once, or none. Tells which these are, in the order of the read models.
///
/// # Errors
/// See [`RebuildError`].
pub async fn roll_back(
    database: &Database,
    projectors: &[Arc<dyn Projector>],
    stop: &CancellationToken,
) -> Result<Vec<i32>, RebuildError> {
    let mut control = database.options_for(&[]).connect().await?;
    let rolling = async {
        let mut targets = Vec::with_capacity(projectors.len());
        for projector in projectors {
            hold(&mut control, projector.name()).await?;
            targets.push(newest(&mut control, projector).await?);
        }
        follow_and_swap(database, &targets, stop).await?;
        Ok(targets.iter().map(|target| target.number).collect())
    };
    let rolled_back = rolling.await;
    release(control).await;
    rolled_back
}

/// What a read model can go back to.
async fn newest(
    control: &mut PgConnection,
    projector: &Arc<dyn Projector>,
) -> Result<Target, RebuildError> {
    let name = projector.name();
    let previous = kept(control, name).await?;
    let newest = previous.last().ok_or(RebuildError::NoPrevious(name))?;
    if newest.version != projector.version() {
        let (previous, version) = (newest.version, projector.version());
        return Err(RebuildError::OtherVersion { name, previous, version });
    }
    let (number, position) = (newest.number, newest.checkpoint.position);
    let end = status::head(control).await?;
    if position > end {
        return Err(RebuildError::Beyond { name, number, position, end });
    }
    Ok(Target { projector: projector.clone(), number, state: State::Previous })
}

/// Leaves out the read models that have no previous generation.
///
/// # Errors
/// When the database fails.
pub async fn retain_with_previous(
    database: &Database,
    projectors: &mut Vec<Arc<dyn Projector>>,
) -> Result<(), sqlx::Error> {
    let all = generation::all(&mut *database.pool.acquire().await?).await?;
    let has_one = |name: &str| {
        all.iter()
            .any(|generation| generation.projector == name && generation.state == State::Previous)
    };
    projectors.retain(|projector| has_one(projector.name()));
    Ok(())
}

/// Drops what is kept of earlier generations, and what a rebuild that was killed has left behind. Tells which.
///
/// # Errors
/// See [`RebuildError`].
pub async fn drop_old(
    database: &Database,
    projector: &Arc<dyn Projector>,
) -> Result<Vec<i32>, RebuildError> {
    let name = projector.name();
    let options = database.options_for(&[]).options([("lock_timeout", "5s")]);
    let mut control = options.connect().await?;
    hold(&mut control, name).await?;
    let dropping = async {
        let mut dropped = drop_left_over(&mut control, name).await?;
        let previous = kept(&mut control, name).await?;
        for old in &previous {
            let number = old.number;
            match drop_patiently(&mut control, old).await {
                Ok(true) => {}
                Ok(false) => return Err(RebuildError::InUse { name, number }),
                Err(error) if is_timeout(&error) => {
                    return Err(RebuildError::Read { name, number });
                }
                Err(error) => return Err(error.into()),
            }
        }
        dropped.extend(previous.into_iter().map(|generation| generation.number));
        Ok(dropped)
    };
    let dropped = dropping.await;
    release(control).await;
    dropped
}

/// Drops what was being built when a rebuild was killed: none runs while its lock is held here.
async fn drop_left_over(
    control: &mut PgConnection,
    name: &'static str,
) -> Result<Vec<i32>, RebuildError> {
    let mut left = generation::all(control).await?;
    left.retain(|generation| generation.projector == name && generation.state == State::Building);
    let mut dropped = Vec::with_capacity(left.len());
    for Generation { number, .. } in left {
        match generation::remove_unfinished(control, name, number).await {
            Ok(_) => dropped.push(number),
            Err(error) if is_timeout(&error) => return Err(RebuildError::Read { name, number }),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(dropped)
}

/// As [`drop_unused`], but waits a little: a server takes a moment to turn away from a generation that is no longer live.
async fn drop_patiently(control: &mut PgConnection, old: &Generation) -> Result<bool, sqlx::Error> {
    const PAUSE: Duration = Duration::from_millis(100);
    for _ in 0..30 {
        if drop_unused(control, old).await? {
            return Ok(true);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(false)
}

/// What is kept of the earlier generations of a read model, oldest first.
pub(super) async fn kept(
    control: &mut PgConnection,
    name: &str,
) -> Result<Vec<Generation>, sqlx::Error> {
    let mut all = generation::all(control).await?;
    all.retain(|generation| generation.projector == name && generation.state == State::Previous);
    Ok(all)
}

/// Drops a generation unless somebody follows it.
pub(super) async fn drop_unused(
    control: &mut PgConnection,
    old: &Generation,
) -> Result<bool, sqlx::Error> {
    let mut tx = control.begin().await?;
    // Whoever still reads is waited for, but not for long.
    sqlx::query("set local lock_timeout = '5s'").execute(&mut *tx).await?;
    let got: bool = sqlx::query_scalar("select pg_try_advisory_xact_lock($1, hashtext($2))")
        .bind(RUNNER_LOCK)
        .bind(old.schema())
        .fetch_one(&mut *tx)
        .await?;
    if got {
        generation::remove(&mut tx, old).await?;
    }
    tx.commit().await?;
    Ok(got)
}
