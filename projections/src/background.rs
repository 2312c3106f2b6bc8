//! Work that nobody waits for, kept out of the way of requests: on threads, and by Postgres processes, of low priority; rebuilds
//! keep to half of the cores as well.
//!
//! A low priority alone is not enough: where every core is busy with such work, some requests wait for the scheduler's next
//! tick (docs/performance.md).

#[cfg(target_os = "linux")]
mod cores;

use std::io;

use rustix::process::{Pid, setpriority_process};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};

use crate::database::Database;
#[cfg(target_os = "linux")]
use cores::leave_cores_to_others;

/// The priority of such work: it gets what others leave, and a little.
const NICE: i32 = 19;

/// Gives the calling thread a low priority, for good. Where the system knows no priorities of threads, nothing happens.
pub fn lower_this_thread() {
    if cfg!(target_os = "linux")
        && let Err(error) = setpriority_process(None, NICE)
    {
        tracing::debug!(error = %io::Error::from(error), "a thread keeps its priority");
    }
}

/// Likewise, and leaves half of the cores to others.
pub fn set_this_thread_aside() {
    lower_this_thread();
    leave_cores_to_others(None);
}

/// Connects; if the Postgres is our own, the process that serves this connection gets a low priority and leaves half of the cores
/// to others.
///
/// # Errors
/// When the database fails.
pub async fn connect_behind(
    database: &Database,
    options: &PgConnectOptions,
) -> Result<PgConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    // The number of a process on another machine would be that of a stranger on this one.
    if database.is_own_server() {
        let process: i32 =
            sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut connection).await?;
        if let Some(process) = Pid::from_raw(process) {
            if let Err(error) = setpriority_process(Some(process), NICE) {
                tracing::debug!(error = %io::Error::from(error), "a Postgres process keeps its priority");
            }
            leave_cores_to_others(Some(process));
        }
    }
    Ok(connection)
}

/// Other systems do not say which cores a process may use.
#[cfg(not(target_os = "linux"))]
fn leave_cores_to_others(_process: Option<Pid>) {}
