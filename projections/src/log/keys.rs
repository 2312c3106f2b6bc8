//! The keys of sealed streams: made with a stream's first sealed event, kept wrapped in `stream_key`, destroyed by an erasure.
//!
//! A key is written in the transaction of the event that it was made for, and destroyed in the transaction that says so, so
//! that neither is ever without the other. Here keys are kept unwrapped, a bounded number of them, until they are dropped.

mod all;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use domain::Kind;
use serde::Serialize;
use sqlx::{PgConnection, PgTransaction};

use super::cipher::{OpenError, Place, StreamKey, is_sealed};
use super::master::{MasterFile, MasterKey, MasterKeyError};
use crate::webhooks;

pub use all::AllKeys;

/// The channel on which erasures are announced; the payload is the kind and the id.
pub const ERASED: &str = "crm_erased";

/// The most keys kept in memory; then all are forgotten. A key is 32 bytes and what finds it.
const KEPT: usize = 20_000;

/// All that seals and opens payloads. Clones share it.
#[derive(Clone, Debug)]
pub struct Keys(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// All that were met, the present one last: what was read a moment ago may still be wrapped under the one before.
    masters: RwLock<Vec<Arc<MasterKey>>>,
    /// Where the master key comes from; `None` if it was given by a setting.
    file: Option<MasterFile>,
    cache: Mutex<Cache>,
    /// How often a key was forgotten.
    era: AtomicU64,
}

#[derive(Debug, Default)]
struct Cache {
    keys: HashMap<Kind, HashMap<String, Arc<StreamKey>>>,
    size: usize,
}

/// A key on its way into the database, beside the first event that is sealed under it.
#[derive(Clone, Debug)]
pub struct NewStreamKey {
    /// The type of its stream.
    pub aggregate_type: &'static str,
    /// The stream's id.
    pub aggregate_id: String,
    /// The key itself, for later.
    pub key: Arc<StreamKey>,
    /// The key as it is stored.
    pub wrapped: Vec<u8>,
    /// The master key that it is wrapped under.
    pub master_id: String,
}

/// What is known of a stream's key.
#[derive(Clone, Debug)]
pub(super) enum Known {
    Key(Arc<StreamKey>),
    Destroyed,
    /// It does not open under the master key that crm has.
    Shut(String),
}

/// The keys of some streams, as far as there are any.
#[derive(Debug, Default)]
pub struct KeyRing(HashMap<Kind, HashMap<String, Known>>);

impl KeyRing {
    pub(super) fn get(&self, kind: Kind, id: &str) -> Option<&Known> {
        self.0.get(&kind)?.get(id)
    }

    fn put(&mut self, kind: Kind, id: String, known: Known) {
        self.0.entry(kind).or_default().insert(id, known);
    }

    /// The payload that was sealed at this place; `None` if its key was destroyed.
    ///
    /// # Errors
    /// When it does not open although its key was not destroyed.
    pub(super) fn open(
        &self,
        kind: Kind,
        place: Place<'_>,
        sealed: &str,
    ) -> Result<Option<String>, OpenError> {
        match self.get(kind, place.aggregate_id) {
            Some(Known::Key(key)) => key.open(place, sealed).map(Some),
            Some(Known::Destroyed) => Ok(None),
            Some(Known::Shut(master)) => Err(OpenError::Wrapped(master.clone())),
            None => Err(OpenError::NoKey),
        }
    }
}

impl Keys {
    /// With a master key that a setting gave.
    pub fn new(master: MasterKey) -> Self {
        Self::over(master, None)
    }

    fn over(master: MasterKey, file: Option<MasterFile>) -> Self {
        let masters = RwLock::new(vec![Arc::new(master)]);
        Self(Arc::new(Shared { masters, file, cache: Mutex::default(), era: AtomicU64::new(0) }))
    }

    /// The keys of a database that is up to date, under the master key that a setting gives or that the file holds. A
    /// database that has none yet gets one: a first start makes the file.
    ///
    /// # Errors
    /// When there is no master key that fits, or the database fails.
    pub async fn open(
        db: &mut PgConnection,
        given: Option<MasterKey>,
        file: MasterFile,
    ) -> Result<Self, KeysError> {
        let wanted = current_master(db).await?;
        let keys = match (given, wanted) {
            (Some(given), _) => Self::new(given),
            (None, Some(wanted)) => Self::over(file.fitting(&wanted)?, Some(file)),
            (None, None) => {
                let path = file.path().display().to_string();
                tracing::warn!(
                    path,
                    "people and notes are encrypted under the master key in this file: back it up, without it they are lost"
                );
                Self::over(file.make()?, Some(file))
            }
        };
        keys.claim(db).await?;
        Ok(keys)
    }

    /// Makes sure that the database is under this master key; one that is under none is from now on.
    ///
    /// # Errors
    /// When it is under another one, or fails.
    pub async fn claim(&self, db: &mut PgConnection) -> Result<(), KeysError> {
        let master = self.master();
        if current_master(db).await?.is_none() {
            sqlx::query("insert into master_key (id) values ($1) on conflict do nothing")
                .bind(master.id())
                .execute(&mut *db)
                .await?;
        }
        match current_master(db).await? {
            Some(id) if id == master.id() => Ok(()),
            wanted => Err(self.other_than(wanted.unwrap_or_default())),
        }
    }

    fn other_than(&self, wanted: String) -> KeysError {
        let found = self.master().id().to_owned();
        MasterKeyError::Other { wanted, found, origin: self.origin() }.into()
    }

    fn origin(&self) -> String {
        match &self.0.file {
            Some(file) => format!("the one in `{}`", file.path().display()),
            None => "that of CRM_MASTER_KEY".to_owned(),
        }
    }

    /// The file that the master key is in; `None` if a setting gave it.
    pub fn file(&self) -> Option<&MasterFile> {
        self.0.file.as_ref()
    }

    /// Names the master key.
    pub fn master_id(&self) -> String {
        self.master().id().to_owned()
    }

    /// The master key that new keys are wrapped under.
    fn master(&self) -> Arc<MasterKey> {
        let masters = self.0.masters.read().unwrap_or_else(PoisonError::into_inner);
        masters.last().expect("there is one from the start on").clone()
    }

    fn known_master(&self, id: &str) -> Option<Arc<MasterKey>> {
        let masters = self.0.masters.read().unwrap_or_else(PoisonError::into_inner);
        masters.iter().find(|master| master.id() == id).cloned()
    }

    /// The master key of this name, if it can be found.
    pub(crate) fn find_master(&self, id: &str) -> Option<Arc<MasterKey>> {
        self.turn_to(id);
        self.known_master(id)
    }

    /// The master key that the database is under, which stays in its place until the transaction ends.
    ///
    /// # Errors
    /// When crm has another one, or the database fails.
    pub(crate) async fn hold_master(
        &self,
        tx: &mut PgTransaction<'_>,
    ) -> Result<Arc<MasterKey>, KeysError> {
        let id: String =
            sqlx::query_scalar("select id from master_key for share").fetch_one(&mut **tx).await?;
        self.find_master(&id).ok_or_else(|| self.other_than(id))
    }

    /// Turns to the master key that was put in place of the one at hand, if it can be found. Tells whether it is at hand.
    pub(super) fn turn_to(&self, id: &str) -> bool {
        if self.known_master(id).is_some() {
            return true;
        }
        let Some(file) = &self.0.file else { return false };
        match file.find(id) {
            Ok(Some(key)) => {
                self.0.masters.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(key));
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%error, "the master key was not read again");
                false
            }
        }
    }

    /// As [`Keys::turn_to`], to the one that the database is under by now.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn renew_master(&self, db: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let current = current_master(db).await?;
        Ok(current.is_some_and(|id| self.turn_to(&id)))
    }

    /// A new key for a stream that has none yet.
    pub(super) fn make(&self, kind: Kind, id: &str) -> NewStreamKey {
        let (key, master) = (Arc::new(StreamKey::generate()), self.master());
        NewStreamKey {
            aggregate_type: kind.as_str(),
            aggregate_id: id.to_owned(),
            wrapped: master.wrap(kind.as_str(), id, &key),
            key,
            master_id: master.id().to_owned(),
        }
    }

    /// Keeps a key that is in the database by now.
    pub(super) fn remember(&self, kind: Kind, id: &str, key: Arc<StreamKey>) {
        let mut cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.size >= KEPT {
            self.0.era.fetch_add(1, Ordering::SeqCst);
            *cache = Cache::default();
        }
        let old = cache.keys.entry(kind).or_default().insert(id.to_owned(), key);
        cache.size += usize::from(old.is_none());
    }

    /// Tells whether something may have been erased: another number than before says that. Whoever keeps what was opened
    /// asks before the reading and before the use.
    pub fn era(&self) -> u64 {
        self.0.era.load(Ordering::SeqCst)
    }

    /// Forgets the key of a stream that was erased. Only what was there makes a new era: whoever reads the erasure again
    /// learns nothing by it.
    pub(crate) fn forget(&self, kind: Kind, id: &str) {
        let mut cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = cache.keys.get_mut(&kind).and_then(|keys| keys.remove(id));
        cache.size -= usize::from(gone.is_some());
        self.0.era.fetch_add(u64::from(gone.is_some()), Ordering::SeqCst);
    }

    /// Forgets all keys: erasures may have gone unheard.
    pub(crate) fn forget_all(&self) {
        self.0.era.fetch_add(1, Ordering::SeqCst);
        *self.0.cache.lock().unwrap_or_else(PoisonError::into_inner) = Cache::default();
    }

    /// The key of a stream, if it is in memory.
    pub(super) fn kept(&self, kind: Kind, id: &str) -> Option<Arc<StreamKey>> {
        let cache = self.0.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.keys.get(&kind)?.get(id).cloned()
    }

    /// The keys of these streams, from memory as far as they are there.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn ring<'a>(
        &self,
        db: &mut PgConnection,
        streams: impl Iterator<Item = (Kind, &'a str)>,
    ) -> Result<KeyRing, sqlx::Error> {
        let mut ring = KeyRing::default();
        let mut missing: Vec<(Kind, &str)> = Vec::new();
        for (kind, id) in streams {
            if ring.get(kind, id).is_none() {
                match self.kept(kind, id) {
                    Some(key) => ring.put(kind, id.to_owned(), Known::Key(key)),
                    None => missing.push((kind, id)),
                }
            }
        }
        self.load(db, missing, &mut ring).await?;
        for (kind, id, known) in ring.iter() {
            if let Known::Key(key) = known {
                self.remember(kind, id, key.clone());
            }
        }
        Ok(ring)
    }

    /// The keys of these streams, for those who read very much: nothing is kept. Those that were not read before are looked up.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn passing_ring<'a>(
        &self,
        db: &mut PgConnection,
        streams: impl Iterator<Item = (Kind, &'a str)>,
        all: Option<&AllKeys>,
    ) -> Result<KeyRing, sqlx::Error> {
        let mut ring = KeyRing::default();
        let mut missing = streams.collect();
        if let Some(all) = all {
            missing = all.hand_out(db, self, missing, &mut ring).await?;
        }
        self.load(db, missing, &mut ring).await?;
        Ok(ring)
    }

    async fn load(
        &self,
        db: &mut PgConnection,
        mut streams: Vec<(Kind, &str)>,
        ring: &mut KeyRing,
    ) -> Result<(), sqlx::Error> {
        if streams.is_empty() {
            return Ok(());
        }
        streams.sort_unstable();
        streams.dedup();
        let rows: Vec<(String, String, Option<Vec<u8>>, String)> = sqlx::query_as(
            // One by one by the primary key: a plan of the planner's own may read the whole table for each page.
            "select stream_key.aggregate_type, stream_key.aggregate_id, wrapped, master_id
             from unnest($1::text[], $2::text[]) as wanted (kind, id) cross join lateral
                 (select * from stream_key where aggregate_type = wanted.kind and aggregate_id = wanted.id limit 1)
                 as stream_key",
        )
        .bind(streams.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>())
        .bind(streams.iter().map(|(_, id)| *id).collect::<Vec<_>>())
        .fetch_all(db)
        .await?;
        for (kind, id, wrapped, master_id) in rows {
            let Some(kind) = Kind::parse(&kind) else { continue };
            let known = match wrapped {
                None => Known::Destroyed,
                Some(wrapped) => self.unwrap(kind, &id, &wrapped, master_id),
            };
            ring.put(kind, id, known);
        }
        Ok(())
    }

    fn unwrap(&self, kind: Kind, id: &str, wrapped: &[u8], master_id: String) -> Known {
        match self
            .find_master(&master_id)
            .and_then(|master| master.unwrap(kind.as_str(), id, wrapped))
        {
            Some(key) => Known::Key(Arc::new(key)),
            None => Known::Shut(master_id),
        }
    }

    /// Wraps all keys and the secrets of webhooks under another master key, in one transaction. What others seal meanwhile
    /// waits for it. Tells how many there are.
    ///
    /// # Errors
    /// When a key does not open under the present master key, or the database fails; nothing has changed then.
    pub async fn rotate(
        &self,
        db: &mut PgTransaction<'_>,
        next: &MasterKey,
    ) -> Result<Rewrapped, KeysError> {
        // Whoever writes a secret waits here, and then wraps it under the next one.
        sqlx::query("select id from master_key for update").execute(&mut **db).await?;
        // Whoever writes a key waits, and then finds that its master key is the present one no more.
        sqlx::query("lock table stream_key in share row exclusive mode").execute(&mut **db).await?;
        let rows: Vec<(String, String, Vec<u8>)> = sqlx::query_as(
            "select aggregate_type, aggregate_id, wrapped from stream_key where wrapped is not null",
        )
        .fetch_all(&mut **db)
        .await?;
        let master = self.master();
        let secrets = webhooks::rewrap(db, &master, next).await?;
        let mut wrapped = Vec::with_capacity(rows.len());
        for (kind, id, old) in &rows {
            let key = master.unwrap(kind, id, old).ok_or_else(|| KeysError::Shut {
                kind: kind.clone(),
                id: id.clone(),
                master: master.id().to_owned(),
            })?;
            wrapped.push(next.wrap(kind, id, &key));
        }
        sqlx::query(
            "update stream_key set wrapped = new.wrapped, master_id = $4
             from unnest($1::text[], $2::text[], $3::bytea[]) as new (kind, id, wrapped)
             where aggregate_type = new.kind and aggregate_id = new.id",
        )
        .bind(rows.iter().map(|(kind, ..)| kind.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, id, _)| id.as_str()).collect::<Vec<_>>())
        .bind(&wrapped)
        .bind(next.id())
        .execute(&mut **db)
        .await?;
        sqlx::query("update master_key set id = $1, since = now()")
            .bind(next.id())
            .execute(&mut **db)
            .await?;
        Ok(Rewrapped { keys: rows.len() as u64, secrets })
    }
}

/// What is wrapped under a new master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrapped {
    /// Keys of people and notes.
    pub keys: u64,
    /// Webhooks with secrets.
    pub secrets: u64,
}

impl KeyRing {
    fn iter(&self) -> impl Iterator<Item = (Kind, &str, &Known)> {
        self.0
            .iter()
            .flat_map(|(kind, keys)| keys.iter().map(|(id, known)| (*kind, id.as_str(), known)))
    }
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// There is no master key that fits.
    #[error(transparent)]
    Master(#[from] MasterKeyError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A key was altered, or wrapped under another master key.
    #[error(
        "the key of {kind} {id} does not open under the master key {master}; nothing was changed. Restore its row in table \
         stream_key (or webhook) from a backup, or give crm the master key that it is wrapped under"
    )]
    Shut {
        /// The type of its stream, or `webhook`.
        kind: String,
        /// The id of the stream or the webhook.
        id: String,
        /// The master key that crm has.
        master: String,
    },
}

/// The master key that the database is under.
///
/// # Errors
/// When the database fails.
pub async fn current_master(db: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select id from master_key").fetch_optional(db).await
}

/// How many keys there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct KeyCount {
    /// Keys in use.
    pub present: i64,
    /// Keys that an erasure destroyed.
    pub destroyed: i64,
    /// Erasures whose traces on the disk are still to be wiped.
    pub unscrubbed: i64,
}

/// Counts the keys.
///
/// # Errors
/// When the database fails.
pub async fn count(db: &mut PgConnection) -> Result<KeyCount, sqlx::Error> {
    sqlx::query_as(
        "select count(wrapped) as present, count(destroyed_at) as destroyed,
             count(*) filter (where destroyed_at is not null and scrubbed_at is null) as unscrubbed
         from stream_key",
    )
    .fetch_one(db)
    .await
}

/// The kind of a stream whose events are sealed.
pub(super) fn personal(kind: &str) -> Option<Kind> {
    Kind::parse(kind).filter(|kind| kind.is_personal())
}

/// The stream whose key it takes to read this payload, if it takes one.
pub(super) fn locked<'a>(kind: &str, id: &'a str, payload: &[u8]) -> Option<(Kind, &'a str)> {
    Some((personal(kind).filter(|_| is_sealed(payload))?, id))
}
