//! The words that texts and names have, as they are written, and which of them somebody meant who mistyped one.
//!
//! They are kept in memory, record by record, and follow the tables: the words of a text go with the text. A question is only
//! corrected by words that stand in the tables when it is asked, so that nothing comes back of what was edited, deleted or
//! erased. `words` has them, `shape` tells most of them apart.

mod shape;
mod words;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use self::words::{Reach, Words};
use super::acronyms;
use super::asked::Asked;
use super::turn::{Patience, pause};
use crate::database::{Database, DatabaseError};

/// How long a question waits for words that are still to be read.
const WAIT: Duration = Duration::from_millis(250);

/// How soon it is looked again when the tables are behind the log, or have just changed.
const SOON: Duration = Duration::from_millis(500);

/// How often it is looked whether something has changed that nobody told of.
const LOOK: Duration = Duration::from_secs(60);

/// The words of all texts. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Vocabulary(Arc<Mutex<Words>>);

/// A question as it is understood.
#[derive(Clone, Debug)]
pub(super) struct Understood {
    pub(super) asked: Asked,
    /// If that is right only as long as no record has changed behind a position: that position.
    pub(super) as_of: Option<i64>,
}

impl Understood {
    /// As it is, whatever changes.
    fn plainly(asked: Asked) -> Self {
        Self { asked, as_of: None }
    }
}

impl Vocabulary {
    /// The question with what was probably meant by words that no text and no name has, and with what its acronyms stand for, as far as
    /// that is in memory: whoever uses it looks whether it is still right, and asks for it anew if it is not.
    pub(super) async fn understood(
        &self,
        database: &Database,
        asked: &Asked,
    ) -> Result<Understood, DatabaseError> {
        let (typed, acronyms) = (asked.unquoted(), acronyms::written(&asked.text));
        let understanding = async {
            let words = self.0.lock().await;
            let is_plain = acronyms.iter().all(|word| words.is_mere_word(word))
                && !typed.iter().any(|word| words.is_strange(word, typed.len()));
            if is_plain {
                let written = words.written(asked, false);
                return Some(Understood::plainly(Asked { written, ..asked.clone() }));
            }
            let as_of = Some(words.position(database)?);
            Some(Understood { asked: words.understood(asked), as_of })
        };
        match tokio::time::timeout(WAIT, understanding).await {
            Ok(Some(understood)) => Ok(understood),
            Ok(None) => self.understood_now(database, asked).await,
            Err(_) => Ok(Understood::plainly(asked.clone())),
        }
    }

    /// The same once the words are up with the texts. As it is while it is not known for sure what still stands there.
    pub(super) async fn understood_now(
        &self,
        database: &Database,
        asked: &Asked,
    ) -> Result<Understood, DatabaseError> {
        let understanding = async {
            let mut words = self.0.lock().await;
            let understood = match words.catch_up(database).await? {
                Reach::Behind => {
                    let written = words.written(asked, false);
                    Asked { written, ..asked.clone() }
                }
                Reach::Level => words.understood(asked),
            };
            Ok(Understood::plainly(understood))
        };
        let understood = tokio::time::timeout(WAIT, understanding).await;
        understood.unwrap_or_else(|_| Ok(Understood::plainly(asked.clone())))
    }

    /// Follows the tables until it is stopped, so that a question finds little to read, and so that the words of what was erased go at
    /// once. `tail` tells where the log ends.
    pub(super) async fn keep(
        self,
        database: Database,
        tail: watch::Receiver<i64>,
        stop: CancellationToken,
    ) {
        stop.run_until_cancelled(self.follow(&database, tail, &stop)).await;
    }

    async fn follow(
        &self,
        database: &Database,
        mut tail: watch::Receiver<i64>,
        stop: &CancellationToken,
    ) {
        let mut patience = Patience::new(stop);
        loop {
            tail.mark_unchanged();
            match self.refresh(database).await {
                Ok(Reach::Behind) => pause(stop, SOON).await,
                Ok(Reach::Level) => {
                    tokio::select! {
                        Ok(()) = tail.changed() => pause(stop, SOON).await,
                        () = tokio::time::sleep(LOOK) => {}
                    }
                }
                Err(error) => {
                    if patience.is_news(&error.to_string()) {
                        tracing::warn!(%error, "typing errors are not corrected at present");
                    }
                    patience.wait(false).await;
                }
            }
        }
    }

    async fn refresh(&self, database: &Database) -> Result<Reach, DatabaseError> {
        let is_outdated = self.0.lock().await.is_outdated(database);
        if is_outdated {
            // Beside what is there, so that no question waits for it.
            let mut renewed = Words::default();
            renewed.catch_up(database).await?;
            *self.0.lock().await = renewed;
        }
        // Page by page, so that questions come in between.
        loop {
            let mut words = self.0.lock().await;
            let reach = words.advance(database).await?;
            if let Some(reach) = reach {
                return Ok(reach);
            }
        }
    }
}
