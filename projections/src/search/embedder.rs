//! The task that keeps the vectors of all texts in Postgres: one across all processes for each model.
//!
//! It follows the rows of `findable` in the order of positions. What it takes in is the state of a record, not its
//! history: of a note that is edited a hundred times a second it sees whichever text is there when its turn comes. A
//! record's points, its place in the set and the set's checkpoint commit together, on the very connection that holds the
//! lock, so that nobody who has lost the lock can still write.

mod reading;
mod writing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use domain::RecordRef;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::encoder::{EncodeError, Encoder};
use super::engine::TextDigest;
use super::points;
use super::sets::{self, State, Texts, VectorSet};
use super::turn::{self, Patience};
use crate::database::{self, Database};
use reading::Record;

/// The first half of the advisory lock of whoever embeds; the second is the model's number.
pub(super) const EMBED_LOCK: i32 = 0x6372_6d76;

/// How many records are taken in at a time. A page is one commit, and what a crash loses.
const PAGE: i64 = 32;

/// How many texts are embedded at a time, some seconds on one core. Each batch is kept at once; stopping waits a moment for it.
const BATCH: usize = 16;

/// After what time a batch is long in coming.
const LONG: Duration = Duration::from_secs(5);

/// How often to look for changes that nobody announced, and how soon again while the texts are behind the log.
const LOOK: Duration = Duration::from_millis(500);
const SOON: Duration = Duration::from_millis(50);

/// How often to look for records whose rows changed without a new position, as when a parked stream is followed again.
const RECONCILE: Duration = Duration::from_secs(60);

/// Why texts are not embedded at present.
#[derive(Debug, thiserror::Error)]
pub(super) enum EmbedError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("it was told to stop")]
    Stopped,
}

/// What the task works with.
pub(super) struct Embedder {
    pub(super) database: Database,
    pub(super) encoder: Arc<dyn Encoder>,
    pub(super) model: i32,
    /// The engine outside this database that must hold a set before it may take the live one's place.
    pub(super) engine: Option<&'static str>,
    /// Whether it fills new sets; else it only keeps the live one level with the texts.
    pub(super) begins: bool,
    /// Where the log ends.
    pub(super) tail: watch::Receiver<i64>,
    /// Grows whenever something was written.
    pub(super) written: watch::Sender<u64>,
    pub(super) stop: CancellationToken,
}

/// The points of a set that have another vector than that of their heading and text in this schema, or are filed differently;
/// nothing while the set is behind the texts. Tells of each what is odd.
///
/// # Errors
/// When the database fails.
pub(super) async fn odd_points(
    database: &Database,
    schema: &str,
    set: &VectorSet,
) -> Result<Vec<String>, sqlx::Error> {
    // One of its own: it may take a while, and a command has no read model in its search path.
    let mut db = database.options_for(&[schema.to_owned()]).connect().await?;
    let texts = sets::texts(&mut db).await?;
    let is_level = |it: &Texts| it.chunks() == set.chunks && it.position <= set.position;
    if !texts.as_ref().is_some_and(is_level) {
        return Ok(vec![]);
    }
    let mut odd = Vec::new();
    for some in points::records(&mut db, &set.set).await?.chunks(PAGE as usize) {
        let records = reading::seen(&mut db, some).await?;
        odd.extend(writing::odd_points(&mut db, set, &records).await?);
    }
    db.close().await?;
    Ok(odd)
}

impl Embedder {
    /// Works until told to stop.
    pub(super) async fn run(mut self) {
        let mut patience = Patience::new(&self.stop);
        while !self.stop.is_cancelled() {
            let mut got_on = false;
            let Err(error) = self.run_connected(&mut got_on).await else { return };
            if self.stop.is_cancelled() {
                return;
            }
            let text = error.to_string();
            match &error {
                EmbedError::Database(error) if database::is_passing(error) => {
                    tracing::debug!(%error, "the embedder waits for the database");
                }
                _ if !patience.is_news(&text) => {}
                _ => tracing::warn!(%error, "texts are not embedded at present; crm keeps trying"),
            }
            self.note_error(Some(&text)).await;
            patience.wait(got_on).await;
        }
    }

    /// Leaves word for `crm status`. That this fails is no news: what it would tell of is the same failure.
    async fn note_error(&self, error: Option<&str>) {
        let noting = sqlx::query(
            "update vector_set set error = $2 where model = $1 and error is distinct from $2",
        )
        .bind(self.model)
        .bind(error)
        .execute(&self.database.pool);
        let _ = self.database.ask(noting).await;
    }

    /// Embeds for as long as the connection lives, once nobody else does. Tells whether it got on at all.
    async fn run_connected(&mut self, got_on: &mut bool) -> Result<(), EmbedError> {
        let mut writer = self.database.options_for(&[]).connect().await?;
        if !turn::take(&mut writer, EMBED_LOCK, self.model, &self.stop).await? {
            return Ok(());
        }
        let mut reconciled: Option<Instant> = None;
        loop {
            self.tail.mark_unchanged();
            let is_due = reconciled.is_none_or(|at| at.elapsed() > RECONCILE);
            let rest = self.step(&mut writer, is_due).await?;
            *got_on = true;
            if is_due {
                reconciled = Some(Instant::now());
            }
            if self.stop.is_cancelled() {
                break;
            }
            match rest {
                Rest::More => {}
                Rest::Behind => turn::pause(&self.stop, SOON).await,
                Rest::None => tokio::select! {
                    () = self.stop.cancelled() => {}
                    Ok(()) = self.tail.changed() => {}
                    () = tokio::time::sleep(LOOK) => {}
                },
            }
        }
        Ok(turn::end(writer).await?)
    }

    /// One page of each set that is followed.
    async fn step(&self, writer: &mut PgConnection, reconcile: bool) -> Result<Rest, EmbedError> {
        let mut reader = self.database.pool.acquire().await?;
        let Some(texts) = sets::texts(&mut reader).await? else { return Ok(Rest::None) };
        drop(reader);
        let mut rest = Rest::None;
        for set in self.followed(writer, &texts).await? {
            if reconcile {
                self.reconcile(writer, &set).await?;
            }
            let page = self.page(writer, &set).await?;
            if page.is_level && set.state == State::Building {
                self.swap_if_told(writer, &set).await?;
            }
            rest = rest.max(page.rest(*self.tail.borrow()));
        }
        if reconcile {
            sets::delete_orphans(writer, self.model).await?;
            sets::outlive_others(writer, self.model).await?;
            self.note_error(None).await;
        }
        Ok(rest)
    }

    /// The sets to be filled from these texts: the live one and the one beside it, which is begun if the live one is of texts
    /// that were cut differently.
    async fn followed(
        &self,
        writer: &mut PgConnection,
        texts: &Texts,
    ) -> Result<Vec<VectorSet>, EmbedError> {
        let chunks = texts.chunks();
        let all = sets::of_model(writer, self.model).await?;
        if !self.begins {
            let is_kept = |set: &VectorSet| set.state == State::Live && set.chunks == chunks;
            return Ok(all.into_iter().filter(is_kept).collect());
        }
        let outdated = |set: &&VectorSet| set.state == State::Building && set.chunks != chunks;
        if let Some(set) = all.iter().find(outdated) {
            sets::give_up(writer, set.set.id).await?;
        }
        let of_these = |set: &VectorSet| set.state != State::Retired && set.chunks == chunks;
        if all.iter().any(of_these) {
            return Ok(all.into_iter().filter(of_these).collect());
        }
        sets::begin(writer, self.model, &chunks).await?;
        let all = sets::of_model(writer, self.model).await?;
        Ok(all.into_iter().filter(of_these).collect())
    }

    /// Takes in the next records whose rows have changed.
    async fn page(&self, writer: &mut PgConnection, set: &VectorSet) -> Result<Page, EmbedError> {
        let changes = reading::changes(&self.database, set.position, PAGE).await?;
        let Some(last) = changes.records.iter().map(|record| record.position).max() else {
            if changes.position > set.position {
                writing::move_on(writer, set, changes.position).await?;
            }
            return Ok(Page { is_level: true, is_full: false, position: changes.position });
        };
        let renamed = writing::renamed(writer, set, &changes.records).await?;
        for organisation in renamed {
            for some in reading::about(&self.database, organisation).await?.chunks(PAGE as usize) {
                self.take_in(writer, set, some).await?;
            }
        }
        let is_full = changes.records.len() as i64 >= PAGE;
        self.embed_and_write(writer, set, changes.records, &[], Some(last)).await?;
        Ok(Page { is_level: !is_full, is_full, position: last })
    }

    /// Takes in these records as they are now, wherever the checkpoint is.
    async fn take_in(
        &self,
        writer: &mut PgConnection,
        set: &VectorSet,
        records: &[RecordRef],
    ) -> Result<(), EmbedError> {
        let found = reading::records(&self.database, records).await?;
        let is_there = |one: &&RecordRef| found.iter().any(|record| record.record == **one);
        let gone: Vec<RecordRef> = records.iter().filter(|one| !is_there(one)).copied().collect();
        self.embed_and_write(writer, set, found, &gone, None).await
    }

    /// Takes in what the checkpoint has passed without its being in the set, or being in it differently.
    async fn reconcile(
        &self,
        writer: &mut PgConnection,
        set: &VectorSet,
    ) -> Result<(), EmbedError> {
        let odd = reading::differing(&self.database, set).await?;
        if !odd.is_empty() {
            tracing::info!(records = odd.len(), "vectors of records that were missed are computed");
        }
        for some in odd.chunks(PAGE as usize) {
            self.take_in(writer, set, some).await?;
        }
        Ok(())
    }

    async fn embed_and_write(
        &self,
        writer: &mut PgConnection,
        set: &VectorSet,
        records: Vec<Record>,
        gone: &[RecordRef],
        checkpoint: Option<i64>,
    ) -> Result<(), EmbedError> {
        let embedded = self.embed(writer, &records).await?;
        writing::write(writer, set, &records, gone, checkpoint, &embedded).await?;
        self.written.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Embeds those texts of the records that have no vector yet.
    async fn embed(
        &self,
        writer: &mut PgConnection,
        records: &[Record],
    ) -> Result<Effort, EmbedError> {
        let pieces = records.iter().flat_map(|record| &record.pieces);
        let digests: Vec<TextDigest> = pieces.clone().map(|piece| piece.embedding).collect();
        let missing = writing::missing(writer, self.model, &digests).await?;
        let mut texts: Vec<(TextDigest, &str)> = pieces
            .filter(|piece| missing.contains(&piece.embedding))
            .map(|piece| (piece.embedding, piece.text.as_str()))
            .collect();
        texts.sort_unstable();
        texts.dedup_by_key(|(digest, _)| *digest);
        let mut effort = Effort::default();
        for batch in texts.chunks(BATCH) {
            if self.stop.is_cancelled() {
                return Err(EmbedError::Stopped);
            }
            let started = Instant::now();
            let asked = batch.iter().map(|(_, text)| (*text).to_owned()).collect();
            let vectors = self.vectors(asked).await?;
            writing::keep(writer, self.model, batch, &vectors).await?;
            effort.texts += batch.len() as i64;
            effort.seconds += started.elapsed().as_secs_f64();
        }
        Ok(effort)
    }

    /// The vectors of a batch. While they are long in coming, the status says so.
    async fn vectors(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>, EncodeError> {
        let (count, since) = (texts.len(), Utc::now());
        let mut asking = self.encoder.passages(texts);
        if let Ok(vectors) = tokio::time::timeout(LONG, &mut asking).await {
            return vectors;
        }
        let since = since.format("%H:%M:%S");
        self.note_error(Some(&format!(
            "the model was asked for the vectors of {count} texts at {since} UTC and has not answered yet"
        )))
        .await;
        let vectors = asking.await?;
        self.note_error(None).await;
        Ok(vectors)
    }

    /// Swaps a set in that has everything, once the engine outside has it too.
    async fn swap_if_told(
        &self,
        writer: &mut PgConnection,
        set: &VectorSet,
    ) -> Result<(), EmbedError> {
        if !writing::is_told(writer, set, self.engine).await? {
            return Ok(());
        }
        sets::swap(writer, &set.set).await?;
        tracing::info!(set = set.set.id, "a new set of vectors answers");
        self.written.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// What embedding took.
#[derive(Clone, Copy, Debug, Default)]
struct Effort {
    texts: i64,
    seconds: f64,
}

/// What a page has shown.
struct Page {
    /// Whether the set has everything that there is.
    is_level: bool,
    is_full: bool,
    /// How far the texts are.
    position: i64,
}

impl Page {
    fn rest(&self, head: i64) -> Rest {
        match () {
            () if self.is_full => Rest::More,
            () if self.position < head => Rest::Behind,
            () => Rest::None,
        }
    }
}

/// What is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rest {
    /// Nothing.
    None,
    /// The texts are about to come.
    Behind,
    /// Texts are waiting.
    More,
}
