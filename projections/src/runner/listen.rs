//! How the runner learns what others do: of appends, here and elsewhere, and of checkpoints that others move.

use domain::Kind;
use sqlx::postgres::PgListener;
use tokio::sync::watch;

use super::{POLL, Shared};
use crate::follow::{Checkpoints, PROJECTED};
use crate::generation::Generation;
use crate::log::APPENDED;
use crate::log::keys::ERASED;

impl Shared {
    /// Wakes the runner when this process appends.
    pub(super) async fn follow(&self, mut head: watch::Receiver<i64>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = head.changed() => match changed {
                    Ok(()) => self.wake(),
                    Err(_) => return,
                },
            }
        }
    }

    /// Wakes the runner when another process appends, and learns of checkpoints that another process moves.
    pub(super) async fn listen(&self) {
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = self.stop.cancelled() => return,
                result = self.listen_once() => {
                    // This connection always waits for news, so it is the first to learn that the database has gone.
                    match result {
                        Ok(()) => self.database.lost(),
                        Err(error) => {
                            let error = self.database.judge(error);
                            tracing::debug!(%error, "listening was interrupted");
                        }
                    }
                    self.wake();
                    tokio::time::sleep(POLL).await;
                },
            }
        }
    }

    async fn listen_once(&self) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.database.pool).await?;
        listener.listen_all([APPENDED, PROJECTED, ERASED]).await?;
        // Until now erasures may have gone unheard.
        self.database.keys().forget_all();
        self.database.states().forget_all();
        self.erasures.send_modify(|count| *count += 1);
        loop {
            match tokio::time::timeout(POLL, listener.try_recv()).await {
                Ok(Ok(Some(news))) if news.channel() == APPENDED => self.look_for_more(),
                Ok(Ok(Some(news))) if news.channel() == ERASED => self.forget(news.payload()),
                Ok(Ok(Some(news))) if news.payload() == self.follower.process() => {}
                Ok(Ok(Some(_))) => self.learn_checkpoints().await?,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                // Nothing heard: look anyway, in case a notification was lost.
                Err(_) => {
                    self.look_for_more();
                    self.learn_checkpoints().await?;
                }
            }
        }
    }

    fn look_for_more(&self) {
        self.announcer.send_modify(|count| *count += 1);
        self.wake();
    }

    /// Forgets a record that was erased, here or elsewhere, and its key.
    fn forget(&self, record: &str) {
        if let Some((kind, id)) = record.split_once(' ')
            && let Some(kind) = Kind::parse(kind)
        {
            self.database.keys().forget(kind, id);
            if let Ok(id) = id.parse() {
                self.database.states().forget(kind, id);
            }
        }
        self.erasures.send_modify(|count| *count += 1);
    }

    /// Takes over what the table says where it is further than what is known here.
    pub(super) async fn learn_checkpoints(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.database.pool.acquire().await?;
        self.learn(&mut connection).await?;
        Ok(())
    }

    /// Believes what the table says, even if it is less than was known: a crash may have undone the last pages. Tells
    /// how far everybody was thought to be.
    pub(super) fn believe(&self, stored: &[Generation]) -> Checkpoints {
        let before = self.follower.checkpoints().borrow().clone();
        self.follower.checkpoints().send_modify(|all| {
            for generation in stored {
                if let Some(known) = all.get_mut(generation.projector.as_str()) {
                    *known = generation.checkpoint;
                }
            }
        });
        before
    }
}
