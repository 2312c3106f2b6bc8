//! Takes in what is sent, chunk by chunk: whatever its size, a request holds one chunk in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::checksum::{Checking, Checksum};
use super::{Announcement, CipherError, Upload};
use crate::database::{Database, DatabaseError};
use crate::files::{CHUNK, FileCipher, FileError, Files, Growth, gather, media_type, mistaken};
use crate::log::Turns;

/// A sender that is silent for so long has gone.
const SILENCE: Duration = Duration::from_secs(60);

/// How much of a file tells what it is, in bytes.
const LOOKED_AT: usize = 64 << 10;
const BEGINNING: u64 = LOOKED_AT as u64;

/// The most uploads whose running hashes are kept in memory; others are read again when they are whole.
const MOST_HASHES: usize = 4096;

/// Why an upload does not go on. What was received before stays received, unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// There is no such upload, or not any more.
    #[error("there is no such upload; it may have expired")]
    Gone,
    /// It does not stand where the sender thinks.
    #[error("the upload stands at {0} bytes")]
    Elsewhere(u64),
    /// It is longer than may be stored, in bytes.
    #[error("a recording may have {0} bytes at most, and this one has more")]
    TooLarge(u64),
    /// The same request has come once more, perhaps to another server.
    #[error("a request with this Idempotency-Key is under way; please send it again")]
    Begun,
    /// All of it has come: it is not its sender's to give up any more.
    #[error(
        "all of it has come, and it becomes a recording of its note; HEAD tells when it is one, which can be deleted"
    )]
    Whole,
    /// More came than was announced.
    #[error(
        "more came than the {0} bytes that were announced, and nothing beyond these was taken: send no more, or give this upload \
         up (DELETE) and begin another with the right Upload-Length, or with Upload-Defer-Length: 1"
    )]
    Excess(u64),
    /// It does not have the checksum that came with it; what came with this request was thrown away.
    #[error("what came does not have its checksum")]
    Checksum,
    /// The whole file does not have the SHA-256 that was promised; all of it was thrown away.
    #[error("the file's SHA-256 is {found}, not {promised}; upload it again")]
    OtherContent {
        /// What the sender said.
        promised: String,
        /// What came.
        found: String,
    },
    /// It is plainly something else; all of it was thrown away.
    #[error("This is {0}, and no recording: choose the file with the sound")]
    NoRecording(&'static str),
    /// The sender broke off or fell silent, another request took over, or the server stops.
    #[error("the request ended early; go on from where the upload stands")]
    Interrupted,
    /// The file storage failed.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<CipherError> for UploadError {
    fn from(error: CipherError) -> Self {
        match error {
            CipherError::File(error) => error.into(),
            CipherError::Database(error) => error.into(),
        }
    }
}

/// Takes in uploads. Clones share what is running.
#[derive(Clone, Debug)]
pub struct Intake {
    database: Database,
    files: Files,
    limit: u64,
    seals: bool,
    turns: Turns<Uuid>,
    running: Arc<Mutex<Running>>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Running {
    /// Ends the request that sends to an upload, by the number of that request.
    requests: HashMap<Uuid, (u64, CancellationToken)>,
    count: u64,
    /// The hash of what has been received of an upload, and of how many bytes that is.
    hashes: HashMap<Uuid, (u64, Sha256)>,
}

/// One request's part of an upload, on its way in.
struct Passage {
    upload: Upload,
    growth: Growth,
    hash: Option<Sha256>,
    cipher: Option<FileCipher>,
    /// Whether nothing counts before all of the request has come and has its checksum.
    checked: Option<Checking>,
}

impl Intake {
    /// Takes in recordings of up to `limit` bytes until `stop`, and seals them under the keys of their notes.
    pub fn new(database: Database, files: Files, limit: u64, stop: CancellationToken) -> Self {
        let (turns, running) = (Turns::default(), Arc::default());
        Self { database, files, limit, seals: true, turns, running, stop }
    }

    /// Stores recordings as they come, for those who let a bucket encipher and hand them out.
    #[must_use]
    pub fn without_seals(self) -> Self {
        Self { seals: false, ..self }
    }

    /// The most bytes of a recording.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The database and the files that it works on.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Where files are stored.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Asks the database about uploads.
    ///
    /// # Errors
    /// When it fails.
    pub async fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, DatabaseError> {
        self.database.check()?;
        let asking = async {
            let mut connection = self.database.pool.acquire().await?;
            question(&mut connection).await
        };
        self.database.ask(asking).await
    }

    /// Begins an upload, of which nobody else may be under this idempotency key: see [`Self::earlier`].
    ///
    /// # Errors
    /// [`UploadError::TooLarge`], [`UploadError::Begun`], or when the database fails.
    pub async fn begin(
        &self,
        note: i64,
        announced: &Announcement,
        key: Option<&str>,
    ) -> Result<Upload, UploadError> {
        if announced.size.is_some_and(|size| size > self.limit) {
            return Err(UploadError::TooLarge(self.limit));
        }
        // The name of the file is only known later; whether the note has a key does not depend on it.
        let sealed = self.seals && super::cipher(&self.database, note, "").await?.is_some();
        let begun = self.ask(async |db| super::begin(db, note, announced, sealed, key).await);
        begun.await?.ok_or(UploadError::Begun)
    }

    /// The upload under this idempotency key that has come wholly, if there is one. One that has not is given up: whoever
    /// repeats a request sends all of it again.
    ///
    /// # Errors
    /// When the database or the file storage fails.
    pub async fn earlier(&self, key: &str) -> Result<Option<Upload>, UploadError> {
        let Some(id) = self.ask(async |db| super::of_request(db, key).await).await? else {
            return Ok(None);
        };
        match self.discard(id).await {
            Ok(()) => Ok(None),
            Err(UploadError::Whole) => self.finish(id).await.map(Some),
            Err(UploadError::Gone) => {
                // It has expired, and is not collected yet.
                if self.ask(async |db| super::give_up(db, id).await).await? {
                    self.remove(id).await?;
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether what comes is what an upload has, byte by byte. Nothing of it is stored.
    ///
    /// # Errors
    /// [`UploadError::Interrupted`] when the sender breaks off or the server stops.
    pub async fn has<E>(
        &self,
        upload: &Upload,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<bool, UploadError> {
        let mut body = std::pin::pin!(body);
        let (mut hash, mut size) = (Sha256::new(), 0);
        while size <= upload.received() {
            let next = tokio::select! {
                () = self.stop.cancelled() => return Err(UploadError::Interrupted),
                next = tokio::time::timeout(SILENCE, body.next()) => next,
            };
            match next {
                Ok(Some(Ok(data))) => {
                    size += data.len() as u64;
                    hash.update(&data);
                }
                Ok(None) => {
                    let sum = hex::encode(hash.finalize());
                    return Ok(upload.sha256.as_ref() == Some(&sum));
                }
                Ok(Some(Err(_))) | Err(_) => return Err(UploadError::Interrupted),
            }
        }
        Ok(false)
    }

    /// Where an upload stands once whatever still sends to it has come to its end: whoever asks has lost the connection
    /// by which it was sent.
    ///
    /// # Errors
    /// [`UploadError::Gone`], or when the database fails.
    pub async fn settled(&self, id: Uuid) -> Result<Upload, UploadError> {
        self.end_request(id);
        let _turn = self.turns.take(id).await;
        let upload = self.find(id).await?;
        // Of a note that was erased meanwhile nothing is taken in, though what there was is still to be wiped.
        self.cipher_of(&upload).await?;
        Ok(upload)
    }

    async fn find(&self, id: Uuid) -> Result<Upload, UploadError> {
        self.ask(async |db| super::find(db, id).await).await?.ok_or(UploadError::Gone)
    }

    /// Takes in what follows the first `offset` bytes. With a checksum, nothing of it counts unless all of it has that.
    ///
    /// Whatever was received when the sender breaks off is stored. Run it in a task of its own, which does not end with
    /// the connection.
    ///
    /// # Errors
    /// See [`UploadError`].
    pub async fn append<E>(
        &self,
        id: Uuid,
        offset: u64,
        body: impl Stream<Item = Result<Bytes, E>>,
        checksum: Option<Checksum>,
    ) -> Result<Upload, UploadError> {
        let (number, ended) = self.begin_request(id);
        let turn = self.turns.take(id).await;
        let taken = self.take(id, offset, body, checksum, &ended).await;
        self.forget_request(id, number);
        drop(turn);
        taken
    }

    async fn take<E>(
        &self,
        id: Uuid,
        offset: u64,
        body: impl Stream<Item = Result<Bytes, E>>,
        checksum: Option<Checksum>,
        ended: &CancellationToken,
    ) -> Result<Upload, UploadError> {
        let upload = self.find(id).await?;
        if upload.received() != offset || upload.sha256.is_some() {
            return Err(UploadError::Elsewhere(upload.received()));
        }
        let (hash, cipher) = (self.hash_of(&upload), self.cipher_of(&upload).await?);
        let checked = checksum.map(Checking::of);
        let growth = upload.growth.0.clone();
        let mut passage = Passage { growth, upload, hash, cipher, checked };
        let end = self.pump(&mut passage, std::pin::pin!(body), ended).await;
        if let Some(checked) = passage.checked.take() {
            end?;
            if !checked.holds() {
                return Err(UploadError::Checksum);
            }
            self.note_growth(&mut passage).await?;
            return Ok(passage.upload);
        }
        end.map(|()| passage.upload)
    }

    /// Stores what comes, until it ends.
    async fn pump<E>(
        &self,
        passage: &mut Passage,
        mut body: std::pin::Pin<&mut impl Stream<Item = Result<Bytes, E>>>,
        ended: &CancellationToken,
    ) -> Result<(), UploadError> {
        let mut chunk = BytesMut::new();
        let end = loop {
            let next = tokio::select! {
                () = ended.cancelled() => break Err(UploadError::Interrupted),
                () = self.stop.cancelled() => break Err(UploadError::Interrupted),
                next = tokio::time::timeout(SILENCE, body.next()) => next,
            };
            let mut data = match next {
                Ok(Some(Ok(data))) => data,
                Ok(None) => break Ok(()),
                Ok(Some(Err(_))) | Err(_) => break Err(UploadError::Interrupted),
            };
            let so_far = passage.growth.size + chunk.len() as u64;
            if let Err(error) = self.admit(&passage.upload, so_far + data.len() as u64) {
                break Err(error);
            }
            while data.has_remaining() {
                if chunk.capacity() == 0 {
                    chunk.reserve(CHUNK);
                }
                let some = data.split_to(data.len().min(CHUNK - chunk.len()));
                chunk.extend_from_slice(&some);
                if chunk.len() == CHUNK {
                    self.store(passage, std::mem::take(&mut chunk)).await?;
                }
            }
        };
        if !chunk.is_empty() {
            self.store(passage, chunk).await?;
        }
        end
    }

    /// Whether an upload may have so many bytes.
    fn admit(&self, upload: &Upload, size: u64) -> Result<(), UploadError> {
        match upload.size() {
            Some(announced) if size > announced => Err(UploadError::Excess(announced)),
            _ if size > self.limit => Err(UploadError::TooLarge(self.limit)),
            _ => Ok(()),
        }
    }

    async fn store(&self, passage: &mut Passage, mut chunk: BytesMut) -> Result<(), UploadError> {
        // Whoever goes on at another server may have been faster: a part of this would take the place of a longer one.
        if !self.ask(async |db| super::stands(db, &passage.upload).await).await? {
            return Err(self.overtaken(passage.upload.id).await);
        }
        // What may have been damaged on the way is looked at when it is whole.
        if passage.growth.size == 0
            && passage.checked.is_none()
            && let Some(what) = mistaken(&chunk[..chunk.len().min(LOOKED_AT)], false)
        {
            self.remove(passage.upload.id).await?;
            return Err(UploadError::NoRecording(what));
        }
        if let Some(hash) = &mut passage.hash {
            hash.update(&chunk);
        }
        if let Some(checked) = &mut passage.checked {
            checked.update(&chunk);
        }
        if let Some(cipher) = &passage.cipher {
            cipher.apply(passage.growth.size, &mut chunk);
        }
        let (key, store) = (passage.upload.key(), self.files.store());
        passage.growth = store.grow(&key, &passage.growth, chunk.freeze()).await?;
        if passage.checked.is_none() {
            self.note_growth(passage).await?;
        }
        Ok(())
    }

    /// What enciphers an upload, if it is to be.
    async fn cipher_of(&self, upload: &Upload) -> Result<Option<FileCipher>, UploadError> {
        if !upload.sealed {
            return Ok(None);
        }
        let cipher = super::cipher(&self.database, upload.note_id, &upload.key()).await?;
        // Without its key it is of no use to anybody: its note was erased.
        cipher.map(Some).ok_or(UploadError::Gone)
    }

    /// Why an upload no longer stands where it did: another server has received the same, or it was given up.
    async fn overtaken(&self, id: Uuid) -> UploadError {
        match self.find(id).await {
            Ok(now) => UploadError::Elsewhere(now.received()),
            Err(error) => error,
        }
    }

    async fn note_growth(&self, passage: &mut Passage) -> Result<(), UploadError> {
        let Passage { upload, growth, hash, .. } = passage;
        if !self.ask(async |db| super::grown(db, upload, growth).await).await? {
            return Err(self.overtaken(upload.id).await);
        }
        upload.received = growth.size.cast_signed();
        upload.growth.0 = growth.clone();
        if let Some(hash) = hash {
            let mut running = self.running();
            if running.hashes.len() >= MOST_HASHES && !running.hashes.contains_key(&upload.id) {
                running.hashes.clear();
            }
            running.hashes.insert(upload.id, (growth.size, hash.clone()));
        }
        Ok(())
    }

    /// Makes a file of an upload that has all its bytes, and finds out what it is. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`UploadError::Elsewhere`] when bytes are missing, [`UploadError::OtherContent`], [`UploadError::NoRecording`], or when
    /// storage or database fail.
    pub async fn finish(&self, id: Uuid) -> Result<Upload, UploadError> {
        let _turn = self.turns.take(id).await;
        let upload = self.find(id).await?;
        if upload.sha256.is_some() {
            return Ok(upload);
        }
        if !upload.has_all() {
            return Err(UploadError::Elsewhere(upload.received()));
        }
        let (key, store, cipher) =
            (upload.key(), self.files.store(), self.cipher_of(&upload).await?);
        store.complete(&key, &upload.growth.0).await?;
        self.check_length(&upload).await?;
        let sha256 = match self.hash_of(&upload) {
            Some(hash) => hex::encode(hash.finalize()),
            None => self.files.sha256(&key, cipher.clone()).await?,
        };
        if let Some(promised) =
            upload.promised_sha256.clone().filter(|promised| *promised != sha256)
        {
            self.remove(id).await?;
            return Err(UploadError::OtherContent { promised, found: sha256 });
        }
        let beginning = gather(self.files.read(&key, 0..BEGINNING, cipher).await?).await?;
        if let Some(what) = mistaken(&beginning, true) {
            self.remove(id).await?;
            return Err(UploadError::NoRecording(what));
        }
        let kind = media_type(&beginning);
        let whole = self.ask(async |db| super::whole(db, id, &sha256, kind).await).await?;
        self.running().hashes.remove(&id);
        whole.ok_or(UploadError::Gone)
    }

    /// The hash is that of what came: it does not tell whether all of that is stored.
    async fn check_length(&self, upload: &Upload) -> Result<(), FileError> {
        let (key, size) = (upload.key(), upload.received());
        let stored = self.files.store().facts(&key).await?.map_or(0, |file| file.size);
        match stored == size {
            true => Ok(()),
            false => {
                let what = format!("{stored} bytes are stored of the {size} that came");
                Err(FileError::Damaged { key, what })
            }
        }
    }

    /// Gives an upload up that is not whole.
    ///
    /// # Errors
    /// [`UploadError::Whole`] when all of it has come, [`UploadError::Gone`], or when storage or database fail; then what
    /// is left of it goes with the garbage.
    pub async fn discard(&self, id: Uuid) -> Result<(), UploadError> {
        self.end_request(id);
        let _turn = self.turns.take(id).await;
        self.find(id).await?;
        match self.ask(async |db| super::give_up(db, id).await).await? {
            true => self.remove(id).await,
            false => Err(UploadError::Whole),
        }
    }

    /// Gives an upload up that its sender cannot go on with, since it came in one request and that has failed with this
    /// error. What cannot be removed now goes with the garbage.
    pub async fn abandon(&self, id: Uuid, why: &UploadError) {
        let _turn = self.turns.take(id).await;
        let removed = match self.ask(async |db| super::give_up(db, id).await).await {
            // A store that does not answer would not be waited for again.
            Ok(true) if !matches!(why, UploadError::Files(FileError::Unavailable(_))) => {
                self.remove(id).await
            }
            given_up => given_up.map(|_| ()).map_err(UploadError::from),
        };
        if let Err(error) = removed {
            tracing::warn!(upload = %id, %error, "what came of an upload is removed with the garbage");
        }
    }

    /// Removes the file of a recording that its note no longer has.
    ///
    /// # Errors
    /// When storage or database fail; then it is still there.
    pub async fn remove_recording(&self, id: Uuid) -> Result<(), UploadError> {
        let _turn = self.turns.take(id).await;
        self.remove(id).await
    }

    async fn remove(&self, id: Uuid) -> Result<(), UploadError> {
        self.running().hashes.remove(&id);
        self.files.store().remove(&super::key(id)).await?;
        Ok(self.ask(async |db| super::forget(db, id).await).await?)
    }

    /// The hash of what has been received, if it was received by this process.
    fn hash_of(&self, upload: &Upload) -> Option<Sha256> {
        if upload.received() == 0 {
            return Some(Sha256::new());
        }
        let running = self.running();
        let (size, hash) = running.hashes.get(&upload.id)?;
        (*size == upload.received()).then(|| hash.clone())
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes way for a request: one that still runs has lost its sender, who is here again.
    fn begin_request(&self, id: Uuid) -> (u64, CancellationToken) {
        let (mut running, ended) = (self.running(), CancellationToken::new());
        running.count += 1;
        let number = running.count;
        if let Some((_, earlier)) = running.requests.insert(id, (number, ended.clone())) {
            earlier.cancel();
        }
        (number, ended)
    }

    fn end_request(&self, id: Uuid) {
        if let Some((_, request)) = self.running().requests.get(&id) {
            request.cancel();
        }
    }

    fn forget_request(&self, id: Uuid, number: u64) {
        let mut running = self.running();
        if running.requests.get(&id).is_some_and(|(current, _)| *current == number) {
            running.requests.remove(&id);
        }
    }
}
