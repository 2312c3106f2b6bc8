//! What every handler works with.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use projections::files::Files;
use projections::llm::Llm;
use projections::log::{EventLog, Turns};
use projections::read::Reader;
use projections::seal::Trust;
use projections::search::Search;
use projections::uploads::Intake;

use replay::Scenes;

use crate::answers::PATIENCE;
use crate::erasures::Erasures;
use crate::file_keeper::FileKeeper;
use crate::live::Live;
use crate::origins::Origins;
use crate::problem::Problem;
use crate::rebuilds::Rebuilds;
use crate::webhooks::Webhooks;

/// What every handler works with. Clones are cheap, and there are many for each request.
#[derive(Clone)]
pub struct App(Arc<Parts>);

impl From<Parts> for App {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What an [`App`] is put together of.
#[derive(Clone)]
pub struct Parts {
    /// The write side.
    pub log: EventLog,
    /// The read side.
    pub reader: Reader,
    /// What finds records by what they say.
    pub search: Search,
    /// Storage for what is too large for the log.
    pub files: Files,
    /// What looks after it.
    pub keeper: FileKeeper,
    /// What depends on the installation.
    pub limits: Limits,
    /// Which browsers may call.
    pub origins: Origins,
    /// Takes in recordings.
    pub intake: Intake,
    /// Makes requests of this process take turns where the database alone cannot.
    pub turns: Turns<String>,
    /// Rebuilds of read models.
    pub rebuilds: Rebuilds,
    /// Read models as they stood at earlier positions.
    pub scenes: Scenes,
    /// The log for those who follow it.
    pub live: Live,
    /// What wipes the traces of erased records off the disk.
    pub erasures: Erasures,
    /// Sends events to whoever asked for them.
    pub webhooks: Webhooks,
    /// The language model, if there is one.
    pub llm: Option<Llm>,
    /// What this installation knows of who seals the log.
    pub trust: Trust,
}

/// What a request may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest body, in bytes.
    pub body: usize,
    /// Longest time until the answer begins, once the body is there; and the longest pause of the body.
    pub time: Duration,
}

impl App {
    /// Waits until readers see, in these read models, everything that this process has written. Tells whether they do: not
    /// while a read model is behind, and not while this release is yet to build it. What a write is judged by must not be
    /// older than the writes that were answered before it; the log knows then.
    pub async fn is_level(&self, read_models: &[&'static str]) -> bool {
        let head = *self.log.head().borrow();
        self.reader.are_level(read_models, head, PATIENCE).await
    }

    /// Likewise, for what the log cannot tell. A read model that this release is yet to build is taken as it stands: it may be
    /// long until there is anything newer, and no write should fail for it.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when it takes too long: better to try again than to be told that something is not there.
    pub async fn level(&self, read_models: &[&'static str]) -> Result<(), Problem> {
        let head = *self.log.head().borrow();
        self.level_with(head, read_models).await
    }

    /// Likewise, up to a position that another server may have written.
    ///
    /// # Errors
    /// As [`level`](Self::level).
    pub async fn level_with(
        &self,
        position: i64,
        read_models: &[&'static str],
    ) -> Result<(), Problem> {
        let own = read_models.iter().copied().filter(|name| self.reader.is_followed(name));
        let own: Vec<&'static str> = own.collect();
        match self.reader.are_level(&own, position, PATIENCE).await {
            true => Ok(()),
            false => Err(Problem::Unavailable("the read models are behind".to_owned())),
        }
    }
}
