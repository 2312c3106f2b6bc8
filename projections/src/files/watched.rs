//! What has come of writing to a store, so that whoever asks how crm is hears that no files can be stored: else the first to
//! hear it would be whoever sends one.
//!
//! Each place is known by what came of the last write to it. Since hours may pass between two, [`Files::probe`](super::Files::probe)
//! tries at times.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use serde::Serialize;

use super::{Content, DOCUMENTS, Facts, FileError, Growth, Shown, Store};

/// A place where no files can be stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileTrouble {
    /// What would be there: `documents`, `images` or `recordings`; `files` in a bucket, which is one place.
    pub place: &'static str,
    /// When that was noticed.
    pub since: DateTime<Utc>,
    /// Why not, and what is to be done about it.
    pub error: String,
    /// The same for those who only use crm.
    #[serde(skip)]
    plain: &'static str,
    /// Whether there is no room.
    #[serde(skip)]
    is_full: bool,
}

impl FileTrouble {
    /// As it is told to those who only use crm: the whole may name folders and buckets.
    #[must_use]
    pub fn in_plain_words(self) -> Self {
        Self { error: self.plain.to_owned(), ..self }
    }
}

impl fmt::Display for FileTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be stored: {}", self.place, self.error)
    }
}

/// The places of a store that take no files.
#[derive(Debug, Default)]
struct Troubles(Mutex<BTreeMap<&'static str, FileTrouble>>);

impl Troubles {
    fn now(&self) -> MutexGuard<'_, BTreeMap<&'static str, FileTrouble>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what has come of writing to a place.
    fn note<T>(&self, place: &'static str, written: &Result<T, FileError>) {
        let mut troubles = self.now();
        match written {
            Ok(_) => _ = troubles.remove(place),
            Err(error) if error.is_of_store() => {
                let since = troubles.get(place).map_or_else(Utc::now, |known| known.since);
                let is_full = matches!(error, FileError::Full(_));
                let (plain, error) = (error.in_plain_words(), error.with_advice());
                let trouble = FileTrouble { place: called(place), since, error, plain, is_full };
                troubles.insert(place, trouble);
            }
            // It says something of the one file alone.
            Err(_) => {}
        }
    }
}

/// What people call that whose keys begin so.
fn called(place: &'static str) -> &'static str {
    match place {
        DOCUMENTS => "documents",
        "" => "files",
        name => name.trim_end_matches('/'),
    }
}

/// A store, and what came of the last writes to it.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    store: Arc<dyn Store>,
    troubles: Arc<Troubles>,
}

impl Watched {
    pub(super) fn new(store: impl Store + 'static) -> Self {
        Self { store: Arc::new(store), troubles: Arc::default() }
    }

    /// The same store for those who wait no longer than this.
    pub(super) fn patient(&self, patience: Duration) -> Self {
        let (store, troubles) = (self.store.with_patience(patience), self.troubles.clone());
        Self { store, troubles }
    }

    /// Where no files can be stored.
    pub(super) fn troubles(&self) -> Vec<FileTrouble> {
        self.troubles.now().values().cloned().collect()
    }

    /// What is stored in its places.
    pub(super) fn kept(&self) -> impl Iterator<Item = &'static str> {
        self.store.places().iter().copied().map(called)
    }

    /// Tries all places.
    pub(super) async fn probe(&self) {
        for place in self.store.places() {
            let is_full = self.troubles.now().get(place).is_some_and(|known| known.is_full);
            self.troubles.note(place, &self.store.probe(place, is_full).await);
        }
    }

    fn note<T>(&self, key: &str, written: Result<T, FileError>) -> Result<T, FileError> {
        if let Some(place) = self.store.places().iter().find(|place| key.starts_with(**place)) {
            self.troubles.note(place, &written);
        }
        written
    }
}

#[async_trait]
impl Store for Watched {
    fn with_patience(&self, patience: Duration) -> Arc<dyn Store> {
        Arc::new(self.patient(patience))
    }

    async fn put(&self, key: &str, content: Bytes) -> Result<(), FileError> {
        self.note(key, self.store.put(key, content).await)
    }

    async fn facts(&self, key: &str) -> Result<Option<Facts>, FileError> {
        self.store.facts(key).await
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<Content, FileError> {
        self.store.read(key, range).await
    }

    async fn remove(&self, key: &str) -> Result<(), FileError> {
        self.store.remove(key).await
    }

    async fn list(
        &self,
        prefix: &str,
    ) -> Result<BoxStream<'_, Result<Facts, FileError>>, FileError> {
        self.store.list(prefix).await
    }

    async fn grow(&self, key: &str, growth: &Growth, chunk: Bytes) -> Result<Growth, FileError> {
        self.note(key, self.store.grow(key, growth, chunk).await)
    }

    async fn complete(&self, key: &str, growth: &Growth) -> Result<(), FileError> {
        self.note(key, self.store.complete(key, growth).await)
    }

    async fn link(
        &self,
        key: &str,
        shown: &Shown,
        lifetime: Duration,
    ) -> Result<Option<String>, FileError> {
        self.store.link(key, shown, lifetime).await
    }

    async fn check(&self) -> Result<(), FileError> {
        self.store.check().await
    }

    fn places(&self) -> &'static [&'static str] {
        self.store.places()
    }

    async fn probe(&self, place: &'static str, whole: bool) -> Result<(), FileError> {
        self.store.probe(place, whole).await
    }

    async fn recognise(&self) -> Result<(), FileError> {
        self.store.recognise().await
    }

    fn is_known(&self, key: &str) -> bool {
        self.store.is_known(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_in_trouble_from_its_first_failed_write_to_the_next_that_is_none() {
        let troubles = Troubles::default();
        let full = || Err::<(), _>(FileError::Full("a: no space".into()));
        let told = || -> Vec<FileTrouble> { troubles.now().values().cloned().collect() };
        troubles.note("images/", &full());
        let first = told();
        assert_eq!((first[0].place, first[0].is_full), ("images", true));
        assert!(first[0].error.contains("make room"), "{}", first[0].error);
        // Neither another place nor a fault of one file says anything of it.
        troubles.note("recordings/", &Ok(()));
        troubles.note("images/", &Err::<(), _>(FileError::Missing("images/a".into())));
        assert_eq!(told(), first);
        troubles.note("images/", &Err::<(), _>(FileError::Denied("a: read-only".into())));
        let second = told();
        assert_eq!((second[0].since, second[0].is_full), (first[0].since, false));
        troubles.note("images/", &Ok(()));
        assert_eq!(told(), []);
    }
}
