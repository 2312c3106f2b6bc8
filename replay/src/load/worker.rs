//! A worker of a load: it folds the events of its share of the records, and writes the rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::Kind;
use projections::dead_letter::Parked;
use projections::generation;
use projections::log::{LogReader, ReadLogError, Recorded, StoredEvent};
use projections::projector::{Fold, Tables};
use sqlx::PgConnection;
use tokio::sync::{OnceCell, mpsc};

use super::{Batch, Effort, Filled, Filling, LoadError};

/// How much of what never changes again is written at once, in bytes.
const EARLY: usize = 4 << 20;

/// What all workers have in common.
pub(super) struct Shared {
    /// Whether the tables of each filling have their keys already.
    pub(super) keys: Vec<OnceCell<()>>,
    /// How often a worker had too much in memory.
    reliefs: AtomicUsize,
}

impl Shared {
    pub(super) fn new(fillings: &[Filling]) -> Self {
        let keys = fillings.iter().map(|_| OnceCell::new()).collect();
        Self { keys, reliefs: AtomicUsize::new(0) }
    }
}

/// Folds the events of its share of the records.
pub(super) struct Worker {
    index: u64,
    of: u64,
    /// What its rows may take in memory, in bytes.
    memory: usize,
    slots: Vec<Slot>,
    /// The kinds whose records are not shared, since a projector needs to see them all: the first worker has them.
    unshared: Vec<Kind>,
    shared: Arc<Shared>,
    /// Of how many of these it has heard.
    joined: usize,
    /// Hears of every slot whose last rows are written.
    written: mpsc::UnboundedSender<usize>,
    log: LogReader,
}

/// One filling in the hands of one worker.
struct Slot {
    filling: Filling,
    fold: Box<dyn Fold>,
    tables: Tables,
    filled: Filled,
}

impl Worker {
    pub(super) fn new(
        fillings: &[Filling],
        index: usize,
        Effort { workers, memory, .. }: Effort,
        shared: Arc<Shared>,
        written: mpsc::UnboundedSender<usize>,
        log: LogReader,
    ) -> Self {
        let whole = fillings.iter().filter(|filling| !filling.projector.is_partitioned());
        let unshared = whole.flat_map(|filling| filling.projector.follows()).copied().collect();
        let slots = fillings
            .iter()
            .map(|filling| Slot {
                filling: filling.clone(),
                fold: filling.projector.begin(),
                tables: Tables::Empty,
                filled: Filled::default(),
            })
            .collect();
        let (index, of, memory) = (index as u64, workers as u64, memory / workers);
        Self { index, of, memory, slots, unshared, shared, joined: 0, written, log }
    }

    pub(super) async fn run(
        mut self,
        mut connection: PgConnection,
        mut batches: mpsc::Receiver<Batch>,
    ) -> Result<Vec<Filled>, LoadError> {
        while let Some(batch) = batches.recv().await {
            let page = self.decode(&batch, &mut connection).await?;
            for slot in &mut self.slots {
                slot.take(&page, &mut connection).await?;
                if slot.filling.projector.is_append_only() && slot.fold.size() > EARLY {
                    slot.write(&mut connection).await?;
                }
            }
            self.keep_within_memory(&mut connection).await?;
        }
        // First those whose indexes take longest: of what was written all along, then the largest.
        let mut order: Vec<usize> = (0..self.slots.len()).collect();
        order.sort_by_key(|at| {
            let Slot { filling, fold, .. } = &self.slots[*at];
            std::cmp::Reverse((filling.projector.is_append_only(), fold.size()))
        });
        for at in order {
            self.slots[at].write(&mut connection).await?;
            // Nobody listens only after something has failed elsewhere.
            let _ = self.written.send(at);
        }
        Ok(self.slots.into_iter().map(|slot| slot.filled).collect())
    }

    /// Writes when it has too much in memory, and with others who do, since they could not go on without it for long.
    async fn keep_within_memory(&mut self, connection: &mut PgConnection) -> Result<(), LoadError> {
        let reliefs = self.shared.reliefs.load(Ordering::Relaxed);
        if self.size() > self.memory {
            self.joined = self.shared.reliefs.fetch_add(1, Ordering::Relaxed) + 1;
        } else if self.joined < reliefs {
            self.joined = reliefs;
            if self.size() > self.memory / 2 {
                self.relieve(connection).await?;
            }
        }
        while self.size() > self.memory {
            self.relieve(connection).await?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.slots.iter().map(|slot| slot.fold.size()).sum()
    }

    /// Writes what takes most memory. As more may come, those tables need their keys from now on.
    async fn relieve(&mut self, connection: &mut PgConnection) -> Result<(), LoadError> {
        let slots = self.slots.iter_mut().zip(self.shared.keys.iter());
        let Some((slot, keys)) = slots.max_by_key(|(slot, _)| slot.fold.size()) else {
            return Ok(());
        };
        slot.write(connection).await?;
        if slot.tables == Tables::Empty {
            let Filling { projector, schema, .. } = &slot.filling;
            keys.get_or_try_init(|| generation::add_keys(connection, &**projector, schema)).await?;
            slot.tables = Tables::Own;
        }
        Ok(())
    }

    /// Its own share of a batch, typed.
    async fn decode(
        &mut self,
        batch: &[StoredEvent],
        connection: &mut PgConnection,
    ) -> Result<Vec<Recorded>, LoadError> {
        let mut page = Vec::with_capacity(batch.len() / 2);
        let is_own = |stored: &&StoredEvent| self.share_of(stored, stored.kind()) == self.index;
        let own: Vec<&StoredEvent> = batch.iter().filter(is_own).collect();
        let ring = self.log.ring_for(connection, own.iter().copied()).await?;
        for stored in own {
            match self.log.decode_stored(stored, &ring).map_err(ReadLogError::about_event) {
                Ok(recorded) => page.push(recorded),
                Err(error) => {
                    let (position, error) = error?;
                    let broken = Parked { stream: stored.stream(), position, error };
                    for slot in &mut self.slots {
                        slot.park(&broken);
                    }
                }
            }
        }
        Ok(page)
    }

    /// Which worker a record belongs to.
    fn share_of(&self, stored: &StoredEvent, kind: Option<Kind>) -> u64 {
        match kind {
            Some(kind) if !self.unshared.contains(&kind) => {
                // FNV-1a: any hash will do that scatters short texts of digits.
                let hash =
                    stored.aggregate_id.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
                    });
                (hash >> 32) % self.of
            }
            _ => 0,
        }
    }
}

impl Slot {
    async fn take(
        &mut self,
        page: &[Recorded],
        connection: &mut PgConnection,
    ) -> Result<(), LoadError> {
        let is_wanted = |recorded: &Recorded| self.filling.takes(recorded);
        let chosen: Option<Vec<Recorded>> = match page.iter().all(is_wanted) {
            true => None,
            false => Some(page.iter().filter(|recorded| is_wanted(recorded)).cloned().collect()),
        };
        self.fold
            .fold(chosen.as_deref().unwrap_or(page), connection, self.tables)
            .await
            .map_err(|source| LoadError::Project { name: self.filling.projector.name(), source })
    }

    async fn write(&mut self, connection: &mut PgConnection) -> Result<(), LoadError> {
        let name = self.filling.projector.name();
        self.fold
            .write(connection, self.tables)
            .await
            .map_err(|source| LoadError::Project { name, source })?;
        self.filled.changed = self.fold.changed().unwrap_or(0);
        Ok(())
    }

    fn park(&mut self, broken: &Parked) {
        if self.filling.park(broken) {
            self.filled.parked.push(broken.clone());
        }
    }
}
