//! Records with long streams as they were after their last command, so that the next one loads only what came since.
//!
//! A state is what its events make of it, and events never change: as long as the log has the last of them, one that is
//! kept is never wrong, only behind.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::Kind;
use lru::LruCache;
use uuid::Uuid;

use super::cipher::StreamKey;

/// The most records that are kept: funds and roadshows, above all, whose streams have all that is known of each LP.
const KEPT: NonZeroUsize = NonZeroUsize::new(64).unwrap();

/// Shorter streams than this, in events, are loaded as fast as they are remembered.
const LONG: usize = 16;

/// A record after some event of its stream.
#[derive(Clone)]
pub(super) struct Remembered<A> {
    pub(super) aggregate: A,
    /// The place of that event.
    pub(super) sequence: usize,
    /// Its id: a log that was set back, by a backup or a failover, may have another one there by now.
    pub(super) event_id: Uuid,
    /// The files that its events gave to it, whether or not it still names them.
    pub(super) files: BTreeSet<String>,
    /// What its events are sealed under, if any is.
    pub(super) key: Option<Arc<StreamKey>>,
    /// Whether content of it is stored in plain, by an earlier release.
    pub(super) has_plain_content: bool,
}

/// What is kept. Clones share it.
#[derive(Clone)]
pub(crate) struct States(Arc<Mutex<Kept>>);

struct Kept {
    states: LruCache<(Kind, i64), Box<dyn Any + Send>>,
    /// How often something was forgotten.
    era: u64,
}

impl Default for States {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Kept { states: LruCache::new(KEPT), era: 0 })))
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("States(…)")
    }
}

impl States {
    /// Takes a record out, for a command that puts it back when all went well; and tells what era it is.
    pub(super) fn take<A: 'static>(&self, kind: Kind, id: i64) -> (Option<Remembered<A>>, u64) {
        let mut kept = self.lock();
        let state = kept.states.pop(&(kind, id)).and_then(|state| state.downcast().ok());
        (state.map(|state| *state), kept.era)
    }

    /// Whether it is worth while to keep a record after so many events.
    pub(super) fn wants(sequence: usize) -> bool {
        sequence >= LONG
    }

    /// Keeps a record, if its stream is long, and if nothing was forgotten since that era: that might have been it.
    pub(super) fn keep<A: Send + 'static>(
        &self,
        kind: Kind,
        id: i64,
        state: Remembered<A>,
        era: u64,
    ) {
        let mut kept = self.lock();
        if Self::wants(state.sequence) && kept.era == era {
            kept.states.put((kind, id), Box::new(state));
        }
    }

    /// Forgets a record that was erased.
    pub(crate) fn forget(&self, kind: Kind, id: i64) {
        let mut kept = self.lock();
        kept.era += 1;
        kept.states.pop(&(kind, id));
    }

    /// Forgets all: erasures may have gone unheard.
    pub(crate) fn forget_all(&self) {
        let mut kept = self.lock();
        kept.era += 1;
        kept.states.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(sequence: usize) -> Remembered<&'static str> {
        let event_id = Uuid::nil();
        Remembered {
            aggregate: "a record",
            sequence,
            event_id,
            files: BTreeSet::new(),
            key: None,
            has_plain_content: false,
        }
    }

    #[test]
    fn a_long_stream_is_kept_until_it_is_taken_or_forgotten() {
        let states = States::default();
        let sequence = |id| states.take::<&str>(Kind::Fund, id).0.map(|state| state.sequence);
        states.keep(Kind::Fund, 1, state(LONG), 0);
        assert_eq!(sequence(2), None);
        assert_eq!(sequence(1), Some(LONG));
        assert_eq!(sequence(1), None, "it was taken");
        states.keep(Kind::Fund, 1, state(LONG - 1), 0);
        assert_eq!(sequence(1), None, "it is loaded as fast");
        states.keep(Kind::Fund, 1, state(LONG), 0);
        states.forget(Kind::Fund, 1);
        assert_eq!(sequence(1), None);
    }

    #[test]
    fn what_was_forgotten_while_it_was_taken_is_not_kept() {
        let states = States::default();
        let (_, era) = states.take::<&str>(Kind::Fund, 1);
        states.forget(Kind::Fund, 1);
        states.keep(Kind::Fund, 1, state(LONG), era);
        let (none, era) = states.take::<&str>(Kind::Fund, 1);
        assert!(none.is_none());
        states.keep(Kind::Fund, 1, state(LONG), era);
        assert!(states.take::<&str>(Kind::Fund, 1).0.is_some());
    }

    #[test]
    fn those_that_were_used_last_are_kept() {
        let states = States::default();
        states.keep(Kind::Fund, 0, state(LONG), 0);
        for id in 1..=100 {
            let (used, era) = states.take::<&str>(Kind::Fund, 0);
            states.keep(Kind::Fund, 0, used.unwrap(), era);
            states.keep(Kind::Fund, id, state(LONG), era);
        }
        assert!(states.take::<&str>(Kind::Fund, 1).0.is_none());
        assert!(states.take::<&str>(Kind::Fund, 100).0.is_some());
    }
}
