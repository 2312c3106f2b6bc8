//! Signs of life, from a thread and through a connection of their own. However busy the process is, and however many
//! of its connections are waited for, a lease whose work goes on is renewed.

use std::io;
use std::sync::Arc;

use tokio::runtime::{self, Handle};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::lease::{HEARTBEAT, LEASE, Lease};
use super::worker::Leash;
use crate::database::{Database, DatabaseError};
use crate::line::Line;

/// The thread from which the leases of a process are renewed. It ends when this is dropped.
pub(super) struct Heart {
    database: Database,
    line: Arc<Mutex<Line>>,
    thread: Handle,
    _beats: DropGuard,
}

/// A lease that is renewed until this is dropped.
pub(super) struct Beating(AbortHandle);

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Heart {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has none to give.
    pub(super) fn start(database: Database) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = runtime.handle().clone();
        let ended = CancellationToken::new();
        let beats = ended.clone().drop_guard();
        std::thread::Builder::new()
            .name("crm-heart".to_owned())
            .spawn(move || runtime.block_on(ended.cancelled()))?;
        Ok(Self { database, line: Arc::default(), thread, _beats: beats })
    }

    /// Renews the lease from now on, and cuts the leash when it is lost or the process stops.
    pub(super) fn beat(&self, lease: Lease, leash: Arc<Leash>, stop: CancellationToken) -> Beating {
        let beats = Beats { database: self.database.clone(), line: self.line.clone(), lease };
        Beating(self.thread.spawn(beats.run(leash, stop)).abort_handle())
    }
}

struct Beats {
    database: Database,
    line: Arc<Mutex<Line>>,
    lease: Lease,
}

impl Beats {
    async fn run(self, leash: Arc<Leash>, stop: CancellationToken) {
        let mut alive = Instant::now();
        loop {
            // Then somebody else may have it.
            let end = alive + LEASE;
            match tokio::time::timeout_at(end, self.renew(leash.heard())).await {
                Ok(Ok(true)) => alive = Instant::now(),
                Ok(Ok(false)) | Err(_) => return leash.cut(),
                Ok(Err(_)) if Instant::now() > end => return leash.cut(),
                Ok(Err(_)) => {}
            }
            if stop.is_cancelled() {
                leash.cut();
            }
            tokio::select! {
                () = stop.cancelled(), if !leash.is_cut() => {}
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
        }
    }

    async fn renew(&self, done_ms: Option<u64>) -> Result<bool, DatabaseError> {
        let mut line = self.line.lock().await;
        let options = |database: &Database| (*database.pool.connect_options()).clone();
        let Ok(mut open) = line.take(&self.database, options).await else {
            // Postgres may be short of connections, while one of the pool's is free.
            let asking = async {
                let mut connection = self.database.pool.acquire().await?;
                self.lease.renew(&mut connection, done_ms).await
            };
            return self.database.ask(asking).await;
        };
        let renewed = self.database.ask(self.lease.renew(&mut open.connection, done_ms)).await?;
        line.keep(open);
        Ok(renewed)
    }
}
