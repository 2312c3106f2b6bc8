//! The log into read models, page by page, exactly once, and what happens when that fails.
//!
//! A generation's checkpoint moves in the transaction that writes its tables, so a kill at any instant loses and doubles
//! nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Acquire as _, PgConnection};
use tokio::sync::watch;

use crate::database::Database;
use crate::dead_letter::{DeadLetters, Parked};
use crate::generation::{self, Checkpoint, State};
use crate::log::{LogReader, Page, PageLimit, Recorded};
use crate::projector::{self, ProjectError, Projector};
use crate::status;

/// The channel on which moved checkpoints are announced to other processes; the payload names the sender.
pub(crate) const PROJECTED: &str = "crm_projected";

/// The most events of one page.
pub const PAGE: PageLimit = PageLimit { events: 2_000 };

/// The longest that reading or folding one page may take before the database counts as lost.
const FOLD_PATIENCE: Duration = Duration::from_secs(60);

/// Where all projectors are.
pub type Checkpoints = BTreeMap<&'static str, Checkpoint>;

/// A generation that is to follow the log.
#[derive(Clone)]
pub struct Target {
    /// What folds.
    pub projector: Arc<dyn Projector>,
    /// Which of its generations.
    pub number: i32,
    /// What the generation is for. When that changes, it is no longer this process's business.
    pub state: State,
}

impl Target {
    /// The projector's name.
    pub fn name(&self) -> &'static str {
        self.projector.name()
    }

    /// The schema that its tables are in.
    pub fn schema(&self) -> String {
        generation::schema(self.name(), self.number)
    }
}

/// Follows the log with some generations.
pub struct Follower {
    pub(crate) database: Database,
    log: LogReader,
    dead_letters: Arc<DeadLetters>,
    process: String,
    checkpoints: watch::Sender<Checkpoints>,
}

/// A person's decision to leave an event out.
pub struct Decision<'a> {
    /// Why it may be left out.
    pub reason: &'a str,
    /// Who decided so.
    pub actor: &'a str,
}

/// What became of a parked stream.
#[derive(Clone, Debug)]
pub enum Treated {
    /// It was tried again, and is parked at this now, if it still is.
    Tried(Option<Parked>),
    /// Nothing was done: somebody else has taken it back, perhaps up to this.
    Elsewhere(Option<Parked>),
}

/// Why a generation does not go on.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The projector failed.
    #[error("projector {name}: {source}")]
    Project {
        /// Its name.
        name: &'static str,
        /// How.
        source: ProjectError,
    },
    /// The database no longer answers.
    #[error("the database was lost")]
    Lost,
    /// Somebody else has moved, swapped or dropped the generation.
    #[error("the generation of {0} was changed by another process")]
    Overtaken(&'static str),
}

impl FollowError {
    /// Whether trying again later may help by itself.
    pub fn is_passing(&self) -> bool {
        match self {
            FollowError::Database(error) => crate::database::is_passing(error),
            FollowError::Project { source, .. } => source.is_outage(),
            FollowError::Lost | FollowError::Overtaken(_) => true,
        }
    }

    /// What the database has said, if that is what is wrong.
    pub(crate) fn of_database(&self) -> Option<&sqlx::Error> {
        match self {
            FollowError::Database(error)
            | FollowError::Project { source: ProjectError::Database(error), .. } => Some(error),
            _ => None,
        }
    }
}

impl Follower {
    /// One that tells of its progress here. `process` names the sender of announcements.
    pub fn new(
        database: Database,
        dead_letters: Arc<DeadLetters>,
        process: String,
        checkpoints: watch::Sender<Checkpoints>,
    ) -> Self {
        let log = LogReader::new(database.keys().clone());
        Self { database, log, dead_letters, process, checkpoints }
    }

    /// What is parked.
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.dead_letters
    }

    /// Where the generations are known to be.
    pub fn checkpoints(&self) -> &watch::Sender<Checkpoints> {
        &self.checkpoints
    }

    /// Names this process in announcements.
    pub(crate) fn process(&self) -> &str {
        &self.process
    }

    /// The page of the log that follows a position.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn read(
        &self,
        connection: &mut PgConnection,
        after: i64,
    ) -> Result<Page, FollowError> {
        let reading = self.log.read_page(connection, after, PAGE);
        tokio::time::timeout(FOLD_PATIENCE, reading)
            .await
            .map_err(|_| self.silent())?
            .map_err(Into::into)
    }

    /// The log's last position.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log_end(&self, connection: &mut PgConnection) -> Result<i64, FollowError> {
        tokio::time::timeout(FOLD_PATIENCE, status::head(connection))
            .await
            .map_err(|_| self.silent())?
            .map_err(Into::into)
    }

    fn silent(&self) -> FollowError {
        self.database.lost();
        FollowError::Lost
    }

    /// Takes a page in, with whatever of it cannot be read or folded parked.
    ///
    /// # Errors
    /// When the database fails, or somebody else has moved a generation.
    pub async fn take(
        &self,
        connection: &mut PgConnection,
        targets: &[Target],
        from: i64,
        page: &Page,
        to: i64,
    ) -> Result<(), FollowError> {
        for broken in &page.broken {
            for target in targets {
                if is_followed(&*target.projector, &broken.stream.kind) {
                    self.dead_letters.park(connection, target, broken).await?;
                }
            }
        }
        self.fold_with_care(connection, targets, from, &page.events, to).await
    }

    /// Folds a page; if that fails, each projector by itself, in ever smaller parts, until the one event is found that
    /// cannot be folded. Its stream is parked, and everything else goes on.
    async fn fold_with_care(
        &self,
        connection: &mut PgConnection,
        targets: &[Target],
        from: i64,
        page: &[Recorded],
        to: i64,
    ) -> Result<(), FollowError> {
        match self.fold(connection, targets, from, page, to).await {
            Err(FollowError::Project { name, source }) if !source.is_outage() => {
                tracing::warn!(projector = name, error = %source, "a page cannot be folded; looking for the event");
            }
            result => return result,
        }
        for target in targets {
            let alone = std::slice::from_ref(target);
            let mut at = from;
            let mut parts = vec![page];
            while let Some(part) = parts.pop() {
                let Some(last) = part.last() else { continue };
                match self.fold(connection, alone, at, part, last.position).await {
                    Ok(()) => at = last.position,
                    Err(FollowError::Project { source, .. }) if !source.is_outage() => match part {
                        [only] => {
                            self.try_again_or_park(connection, target, at, only).await?;
                            at = only.position;
                        }
                        _ => {
                            let (first, second) = part.split_at(part.len() / 2);
                            parts.extend([second, first]);
                        }
                    },
                    Err(error) => return Err(error),
                }
            }
            if at < to {
                self.fold(connection, alone, at, &[], to).await?;
            }
        }
        Ok(())
    }

    /// Gives an event that could not be folded some more chances, then parks its stream.
    async fn try_again_or_park(
        &self,
        connection: &mut PgConnection,
        target: &Target,
        at: i64,
        event: &Recorded,
    ) -> Result<(), FollowError> {
        let (alone, page) = (std::slice::from_ref(target), std::slice::from_ref(event));
        let mut wait = Duration::from_millis(50);
        for _ in 0..3 {
            tokio::time::sleep(wait).await;
            wait *= 4;
            match self.fold(connection, alone, at, page, event.position).await {
                Err(FollowError::Project { source, .. }) if !source.is_outage() => {}
                result => return result,
            }
        }
        let error = match self.fold(connection, alone, at, page, event.position).await {
            Err(FollowError::Project { source, .. }) if !source.is_outage() => source.to_string(),
            result => return result,
        };
        let parked = Parked { stream: event.stream(), position: event.position, error };
        self.dead_letters.park(connection, target, &parked).await?;
        self.fold(connection, alone, at, &[], event.position).await
    }

    /// One transaction: the tables and the checkpoints, or nothing.
    async fn fold(
        &self,
        connection: &mut PgConnection,
        targets: &[Target],
        from: i64,
        page: &[Recorded],
        to: i64,
    ) -> Result<(), FollowError> {
        let mut tx = connection.begin().await?;
        let stored = lock_checkpoints(&mut tx, targets).await?;
        let overtaken = targets.iter().find(|target| {
            !stored.iter().any(|(name, state, at)| {
                name == target.name()
                    && *state == target.state
                    && at.position == from
                    && self.dead_letters.is_current(name, at.revision)
            })
        });
        if let Some(target) = overtaken {
            tx.rollback().await?;
            return Err(FollowError::Overtaken(target.name()));
        }
        let mut moved = Vec::with_capacity(targets.len());
        for target in targets {
            let name = target.name();
            let followed = self.dead_letters.without_parked(name, page);
            let page = followed.as_deref().unwrap_or(page);
            let folding = projector::project(&*target.projector, page, &mut tx);
            let last = tokio::time::timeout(FOLD_PATIENCE, folding)
                .await
                .map_err(|_| self.silent())?
                .map_err(|source| FollowError::Project { name, source })?;
            let before = stored.iter().find(|(stored, ..)| stored == name);
            let before = before.map(|(.., checkpoint)| *checkpoint).unwrap_or_default();
            let changed = last.unwrap_or(before.changed);
            moved.push((name, Checkpoint { position: to, changed, revision: before.revision }));
        }
        sqlx::query(MOVE)
            .bind(to)
            .bind(targets.iter().map(Target::name).collect::<Vec<_>>())
            .bind(targets.iter().map(|target| target.number).collect::<Vec<_>>())
            .bind(moved.iter().map(|(_, checkpoint)| checkpoint.changed).collect::<Vec<_>>())
            .bind(i64::try_from(page.len()).unwrap_or(i64::MAX))
            .bind(PROJECTED)
            .bind(&self.process)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        self.publish(moved.into_iter());
        Ok(())
    }

    /// Takes a generation from where it is to a position, in the caller's transaction, which is worth nothing after an
    /// error. Tells where it is then; its checkpoint is the caller's to move.
    ///
    /// # Errors
    /// When the database or the projector fails.
    pub async fn close_gap(
        &self,
        tx: &mut PgConnection,
        target: &Target,
        mut now: Checkpoint,
        goal: i64,
    ) -> Result<Checkpoint, FollowError> {
        let name = target.name();
        while now.position < goal {
            let page = self.read(tx, now.position).await?;
            let Some(end) = page.end.map(|end| end.min(goal)) else { break };
            for broken in page.broken.iter().filter(|broken| broken.position <= end) {
                if is_followed(&*target.projector, &broken.stream.kind) {
                    self.dead_letters.park(tx, target, broken).await?;
                }
            }
            let mut events = page.events;
            events.retain(|event| event.position <= end);
            let followed = self.dead_letters.without_parked(name, &events).unwrap_or(events);
            let changed = projector::project(&*target.projector, &followed, tx)
                .await
                .map_err(|source| FollowError::Project { name, source })?;
            now.position = end;
            now.changed = changed.unwrap_or(now.changed);
        }
        Ok(now)
    }

    /// Tells all processes to look where the generations are, when the caller's transaction commits.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn announce(&self, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query("select pg_notify($1, '')").bind(PROJECTED).execute(tx).await?;
        Ok(())
    }

    /// Tries a parked stream again, as far as it goes; with a decision, without the event that it is parked at, for good.
    /// What is parked was read earlier, and only under the lock of the checkpoint it counts: others may have taken the stream
    /// back meanwhile, and nothing may be folded twice.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn treat(
        &self,
        connection: &mut PgConnection,
        target: &Target,
        parked: &Parked,
        skip: Option<&Decision<'_>>,
    ) -> Result<Treated, FollowError> {
        let name = target.name();
        let mut tx = connection.begin().await?;
        let stored = lock_checkpoints(&mut tx, std::slice::from_ref(target)).await?;
        let Some((.., checkpoint)) = stored.first().filter(|(_, state, _)| *state == target.state)
        else {
            tx.rollback().await?;
            return Err(FollowError::Overtaken(name));
        };
        let now = self.dead_letters.standing(&mut tx, target, &parked.stream).await?;
        if now.as_ref().map(|now| now.position) != Some(parked.position) {
            tx.rollback().await?;
            return Ok(Treated::Elsewhere(now));
        }
        if let Some(decision) = skip {
            self.dead_letters.skip(&mut tx, target, parked, decision).await?;
        }
        let stuck = self.try_again(&mut tx, target, parked, checkpoint.position).await?;
        tx.commit().await?;
        Ok(Treated::Tried(stuck))
    }

    /// Takes a parked stream back as far as it goes, if that is any further. Tells what it is parked at then.
    async fn try_again(
        &self,
        tx: &mut PgConnection,
        target: &Target,
        parked: &Parked,
        to: i64,
    ) -> Result<Option<Parked>, FollowError> {
        let name = target.name();
        let mut tx = tx.begin().await?;
        let stuck = match target.projector.is_partitioned() {
            true => {
                let page =
                    self.log.read_stream(&mut tx, &parked.stream, parked.position, to).await?;
                let page = self.dead_letters.without_skipped(name, page);
                self.fold_until_stuck(&mut tx, target, &page).await?
            }
            // What other records have said since must not be overwritten by what this one said before.
            false => self.fold_anew(&mut tx, target, parked, to).await?,
        };
        if let Some(stuck) = stuck.as_ref().filter(|stuck| stuck.position == parked.position) {
            tx.rollback().await?;
            tracing::error!(projector = name, stream = %stuck.stream, error = stuck.error, "still parked");
            return Ok(Some(stuck.clone()));
        }
        self.dead_letters.release(&mut tx, target, &parked.stream).await?;
        if let Some(stuck) = &stuck {
            self.dead_letters.park(&mut tx, target, stuck).await?;
        }
        sqlx::query(
            "update generation set revision = 1 + (select max(revision) from generation where projector = $1)
             where projector = $1 and number = $2",
        )
        .bind(name)
        .bind(target.number)
        .execute(&mut *tx)
        .await?;
        self.announce(&mut tx).await?;
        tx.commit().await?;
        tracing::info!(projector = name, stream = %parked.stream, "a parked stream was taken back");
        Ok(stuck)
    }

    /// Folds what was read of a stream, event by event, up to the first that cannot be read or folded.
    async fn fold_until_stuck(
        &self,
        tx: &mut PgConnection,
        target: &Target,
        page: &Page,
    ) -> Result<Option<Parked>, FollowError> {
        let unreadable = page.broken.first();
        let end = unreadable.map_or(i64::MAX, |broken| broken.position);
        for event in page.events.iter().take_while(|event| event.position < end) {
            let mut one = tx.begin().await?;
            let folded =
                projector::project(&*target.projector, std::slice::from_ref(event), &mut one).await;
            match folded {
                Ok(_) => one.commit().await?,
                Err(source) if source.is_outage() => {
                    return Err(FollowError::Project { name: target.name(), source });
                }
                Err(source) => {
                    one.rollback().await?;
                    let (stream, position) = (event.stream(), event.position);
                    return Ok(Some(Parked { stream, position, error: source.to_string() }));
                }
            }
        }
        Ok(unreadable.cloned())
    }

    /// Folds a stream together with its relatives, each from its beginning, and replaces the rows that they are made of.
    /// Goes as far as the stream can be read and folded, and tells where it cannot.
    async fn fold_anew(
        &self,
        tx: &mut PgConnection,
        target: &Target,
        parked: &Parked,
        to: i64,
    ) -> Result<Option<Parked>, FollowError> {
        let name = target.name();
        // What else is parked, now that nobody follows.
        self.dead_letters.load(tx, std::slice::from_ref(target)).await?;
        let own = self.log.read_stream(tx, &parked.stream, 0, to).await?;
        let Page { events, broken, .. } = self.dead_letters.without_skipped(name, own);
        let unreadable = broken.into_iter().next();
        let end = unreadable.as_ref().map_or(i64::MAX, |broken| broken.position);
        let readable = events.into_iter().filter(|event| event.position < end);
        let (mut known, fresh): (Vec<_>, Vec<_>) =
            readable.partition(|event| event.position < parked.position);
        for stream in target.projector.relatives(tx, &parked.stream, to).await? {
            let events = self.log.read_stream(tx, &stream, 0, to).await?.events;
            known.extend(self.dead_letters.without_parked(name, &events).unwrap_or(events));
        }
        if self.replace(tx, target, &known, &fresh).await?.is_none() {
            return Ok(unreadable);
        }
        for count in 0..=fresh.len() {
            if let Some(error) = self.replace(tx, target, &known, &fresh[..count]).await? {
                let last = fresh[..count].last().map_or(parked.position, |event| event.position);
                return Ok(Some(Parked { position: last, error, ..parked.clone() }));
            }
        }
        Ok(unreadable)
    }

    /// Replaces the rows that these events are all there is of. Tells why, if that cannot be done; they are as they were
    /// then.
    async fn replace(
        &self,
        tx: &mut PgConnection,
        target: &Target,
        known: &[Recorded],
        fresh: &[Recorded],
    ) -> Result<Option<String>, FollowError> {
        let mut events = [known, fresh].concat();
        events.sort_by_key(|event| event.position);
        let mut one = tx.begin().await?;
        match projector::replace(&*target.projector, &events, &mut one).await {
            Ok(()) => one.commit().await.map(|()| None).map_err(Into::into),
            Err(source) if source.is_outage() => {
                Err(FollowError::Project { name: target.name(), source })
            }
            Err(source) => {
                one.rollback().await?;
                Ok(Some(source.to_string()))
            }
        }
    }

    /// Makes known where generations are, if that is further than what is known.
    pub fn publish(&self, news: impl Iterator<Item = (&'static str, Checkpoint)>) {
        self.checkpoints.send_if_modified(|all| {
            let mut further = false;
            for (name, checkpoint) in news {
                if let Some(known) = all.get_mut(name)
                    && (checkpoint.revision, checkpoint.position) > (known.revision, known.position)
                {
                    *known = checkpoint;
                    further = true;
                }
            }
            further
        });
    }
}

/// Whether a projector has to know of an event that cannot be read: one of a kind that it follows, or of no known kind.
pub fn is_followed(projector: &dyn Projector, kind: &str) -> bool {
    domain::Kind::parse(kind).is_none_or(|kind| projector.follows().contains(&kind))
}

/// The rate is that of the last minute, more or less: what is older counts ever less.
const MOVE: &str = "
    with moved as (
        update generation set position = $1, changed = new.changed, moved_at = now(),
            rate = $5 / 60.0 + rate * exp(greatest(-50, extract(epoch from moved_at - now())::double precision / 60))
        from unnest($2::text[], $3::integer[], $4::bigint[]) as new (projector, number, changed)
        where generation.projector = new.projector and generation.number = new.number)
    select pg_notify($6, $7)";

/// The checkpoints of some generations, which nobody else moves until the transaction ends.
async fn lock_checkpoints(
    connection: &mut PgConnection,
    targets: &[Target],
) -> Result<Vec<(String, State, Checkpoint)>, sqlx::Error> {
    let rows: Vec<(String, String, i64, i64, i64)> = sqlx::query_as(
        "select generation.projector, state, position, changed, revision
         from generation join unnest($1::text[], $2::integer[]) as wanted (projector, number)
             on generation.projector = wanted.projector and generation.number = wanted.number
         order by generation.projector collate \"C\" for update of generation",
    )
    .bind(targets.iter().map(Target::name).collect::<Vec<_>>())
    .bind(targets.iter().map(|target| target.number).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(name, state, position, changed, revision)| {
            (name, State::parse(&state), Checkpoint { position, changed, revision })
        })
        .collect())
}
