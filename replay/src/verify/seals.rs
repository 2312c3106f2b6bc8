//! The chain of seals, computed again from the log: every event is what it was when it was sealed.

use chrono::{DateTime, Utc};
use projections::database::Database;
use projections::seal::store::{self, Contents};
use projections::seal::{Chain, Checkpoint, Kept, PublicKey, Row, Rows, Seal};
use serde::Serialize;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use uuid::Uuid;

use super::{Finding, LISTED, VerifyError};

/// What those who check know beside what stands in the database.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// The public half of the key that this installation seals with.
    pub own: Option<[u8; 32]>,
    /// Others that are known to have sealed the log.
    pub others: Vec<[u8; 32]>,
    /// Checkpoints that were kept elsewhere; their signatures have been looked at.
    pub checkpoints: Vec<Checkpoint>,
    /// Where this installation keeps the newest checkpoint that it has signed itself.
    pub kept: Option<Kept>,
}

/// What was found in the seals.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SealReport {
    /// Seals that were looked at.
    pub seals: i64,
    /// Events that they cover.
    pub events: i64,
    /// The log is sealed up to here.
    pub position: i64,
    /// When the last seal was made.
    pub sealed_at: Option<DateTime<Utc>>,
    /// Events behind the last seal, of which nothing can be said yet.
    pub unsealed: i64,
    /// The keys that signed, in the order in which they first did.
    pub keys: Vec<String>,
    /// How much is wrong.
    pub errors: u64,
    /// What is wrong, the first of it first; a hundred at most.
    pub findings: Vec<Finding>,
    /// What is worth knowing, such as a change of keys.
    pub notices: Vec<Finding>,
}

impl SealReport {
    fn error(&mut self, finding: Finding) {
        self.errors += 1;
        if self.findings.len() < LISTED {
            self.findings.push(finding);
        }
    }

    /// The first position at which the log is not what it was.
    pub fn first_bad(&self) -> Option<i64> {
        self.findings.iter().filter_map(|finding| finding.position).min()
    }
}

/// How many seals are asked for at once, without their contents.
const PAGE: i64 = 256;

/// Checks all seals there are now, and the part of the log that they cover.
pub(super) async fn check(
    database: &Database,
    witness: &Witness,
) -> Result<SealReport, VerifyError> {
    let mut seals = database.options_for(&[]).connect().await?;
    let mut events = database.options_for(&[]).connect().await?;
    let log = store::log_id(&mut seals).await?;
    // Before the seals: whatever is kept was stored before.
    let kept = witness.kept.as_ref().map(|kept| kept.read(log)).transpose()?.flatten();
    let kept = kept.map(|note| note.unchecked().clone());
    // Before the events: whatever a seal covers was there before it.
    let last = store::last(&mut seals).await?;
    let mut check = Check::new(log, witness, kept);
    if let Some(last) = &last {
        let reach: i64 = sqlx::query_scalar("select max(position) from seal where number <= $1")
            .bind(last.number)
            .fetch_one(&mut seals)
            .await?;
        let mut log = Log::open(&mut events, reach).await?;
        check.follow(&mut seals, last.number, &mut log).await?;
        check.finish(&mut log).await?;
    }
    check.judge_keys();
    check.judge_checkpoints();
    let mut report = check.report;
    report.unsealed = sqlx::query_scalar("select count(*) from events where position > $1")
        .bind(report.position)
        .fetch_one(&mut seals)
        .await?;
    seals.close().await?;
    Ok(report)
}

/// The events in order, the next of them known.
struct Log<'c> {
    rows: Rows<'c>,
    next: Option<Row>,
}

impl<'c> Log<'c> {
    async fn open(connection: &'c mut PgConnection, to: i64) -> Result<Self, VerifyError> {
        let mut rows = Rows::up_to(connection, to).await?;
        let next = rows.next().await?;
        Ok(Self { rows, next })
    }

    /// Takes the next event if it stands at this position or before.
    async fn take(&mut self, to: i64) -> Result<Option<Row>, VerifyError> {
        match self.next {
            Some(row) if row.position <= to => {
                self.next = self.rows.next().await?;
                Ok(Some(row))
            }
            _ => Ok(None),
        }
    }
}

struct Check<'w> {
    log: Uuid,
    chain: Chain,
    witness: &'w Witness,
    keys: Vec<[u8; 32]>,
    /// Checkpoints that no seal has been found for so far.
    missing: Vec<&'w Checkpoint>,
    /// What this installation signed last, until its seal is found.
    kept: Option<Checkpoint>,
    /// Up to this seal, the chain is one that was seen elsewhere, whoever has signed the seals before.
    vouched: i64,
    /// Seals in a row by a key that nobody has named.
    strange: Vec<Run>,
    report: SealReport,
}

/// Seals in a row by one key.
struct Run {
    key: [u8; 32],
    first: i64,
    last: i64,
    at: i64,
}

impl<'w> Check<'w> {
    fn new(log: Uuid, witness: &'w Witness, kept: Option<Checkpoint>) -> Self {
        Self {
            log,
            chain: Chain::of(log),
            witness,
            keys: vec![],
            missing: witness.checkpoints.iter().collect(),
            kept,
            vouched: 0,
            strange: vec![],
            report: SealReport::default(),
        }
    }

    async fn follow(
        &mut self,
        seals: &mut PgConnection,
        last: i64,
        log: &mut Log<'_>,
    ) -> Result<(), VerifyError> {
        let mut done = i64::MIN;
        loop {
            let page = store::behind(seals, done, PAGE).await?;
            let Some(end) = page.last() else { return Ok(()) };
            done = end.number;
            for seal in page.iter().filter(|seal| seal.number <= last) {
                let contents = store::contents(seals, seal.number).await?;
                self.seal(seal, &contents);
                self.batch(seal, &contents, log).await?;
            }
            if done >= last {
                return Ok(());
            }
        }
    }

    /// Whether a seal is one that the sealer made, and follows from the one before.
    fn seal(&mut self, seal: &Seal, contents: &Contents) {
        let checkpoint = seal.checkpoint(self.log);
        let at = seal.after + 1;
        let mut wrong = |what: String| self.report.error(Finding::new("seal", at, what));
        if let Err(error) = self.chain.follow(&seal.header(), &seal.batch, &checkpoint) {
            wrong(error.to_string());
            // What follows may be right in itself.
            self.chain = Chain::at(&checkpoint);
        }
        if !contents.is_of(seal.events) || contents.batch() != seal.batch {
            wrong(format!(
                "seal {}: its list of events is not the one that was sealed",
                seal.number
            ));
        }
        if !seal.is_signed(self.log) {
            wrong(format!("seal {}: its signature is not that of the key it names", seal.number));
        }
        self.see_key(seal, at);
        self.compare(&checkpoint, at);
        self.report.seals += 1;
        self.report.position = self.report.position.max(seal.position);
        self.report.sealed_at = Some(seal.sealed_at);
    }

    fn see_key(&mut self, seal: &Seal, at: i64) {
        let is_change = self.keys.last() != Some(&seal.key);
        if is_change {
            self.keys.push(seal.key);
            if self.keys.len() > 1 {
                let key = PublicKey::of(self.log, seal.key);
                let what = format!("from seal {} on another key signs: {key}", seal.number);
                self.report.notices.push(Finding::new("seal_key", at, what));
            }
        }
        let Witness { own, others, .. } = self.witness;
        if own.is_none_or(|own| own == seal.key) || others.contains(&seal.key) {
            return;
        }
        match self.strange.last_mut().filter(|_| !is_change) {
            Some(run) => run.last = seal.number,
            None => {
                let (key, number) = (seal.key, seal.number);
                self.strange.push(Run { key, first: number, last: number, at });
            }
        }
    }

    /// Holds a seal to the checkpoints that were kept of it.
    fn compare(&mut self, checkpoint: &Checkpoint, at: i64) {
        let number = checkpoint.number;
        for known in self.witness.checkpoints.iter().filter(|known| known.number == number) {
            if known == checkpoint {
                self.vouched = number;
                continue;
            }
            let what = format!("seal {number} is not the one of the given checkpoint");
            self.report.error(Finding::new("checkpoint", at, what));
        }
        self.missing.retain(|known| known.number != number);
        if let Some(kept) = self.kept.take_if(|kept| kept.number == number) {
            match kept == *checkpoint {
                true => self.vouched = number,
                false => {
                    let what = format!(
                        "seal {number} is not the one that this installation has made: the chain was made anew"
                    );
                    self.report.error(Finding::new("checkpoint", at, what));
                }
            }
        }
    }

    /// Compares the events of a batch with what was sealed. Both are in order, so one pass names each that differs.
    async fn batch(
        &mut self,
        seal: &Seal,
        contents: &Contents,
        log: &mut Log<'_>,
    ) -> Result<(), VerifyError> {
        for sealed in contents.rows() {
            while let Some(extra) = log.take(sealed.position - 1).await? {
                self.inserted(extra);
            }
            match log.take(sealed.position).await? {
                Some(row) => {
                    self.report.events += 1;
                    if row.digest != sealed.digest {
                        let what = "it is not what it was when it was sealed";
                        self.report.error(Finding::new("event", row.position, what));
                    }
                }
                None => {
                    let what = "it was sealed, and is not in the log any more";
                    self.report.error(Finding::new("event", sealed.position, what));
                }
            }
        }
        while let Some(extra) = log.take(seal.position).await? {
            self.inserted(extra);
        }
        Ok(())
    }

    /// Events that no seal covers, though later ones are sealed: seals are missing at the end of a chain that goes on.
    async fn finish(&mut self, log: &mut Log<'_>) -> Result<(), VerifyError> {
        while let Some(extra) = log.take(i64::MAX).await? {
            self.inserted(extra);
        }
        Ok(())
    }

    fn inserted(&mut self, row: Row) {
        let what = "it was not there when this part of the log was sealed";
        self.report.error(Finding::new("event", row.position, what));
    }

    fn judge_keys(&mut self) {
        let text = |key: &[u8; 32]| PublicKey::of(self.log, *key).to_string();
        self.report.keys = self.keys.iter().map(text).collect();
        for Run { key, first, last, at } in std::mem::take(&mut self.strange) {
            // A checkpoint that was seen elsewhere stands for all before it, as for what a key of before has signed.
            let first = first.max(self.vouched + 1);
            if first > last {
                continue;
            }
            let what = format!(
                "seals {first} to {last} are signed with {}, which is not the key of this installation: either somebody else has \
                 sealed this log anew, or it is a key of another server or of before; then name it with --key or in \
                 CRM_SEAL_KNOWN_KEYS",
                text(&key)
            );
            self.report.error(Finding::new("seal_key", at, what));
        }
        let Witness { own, others, .. } = self.witness;
        if own.is_none() && self.keys.last().is_some_and(|last| !others.contains(last)) {
            let what = "this installation has no key: who signed the seals is taken from the database itself";
            self.report.notices.push(Finding::new("seal_key", None, what));
        }
    }

    fn judge_checkpoints(&mut self) {
        for known in std::mem::take(&mut self.missing) {
            let what = match known.origin == projections::seal::key::origin(self.log) {
                true => format!(
                    "the given checkpoint is of seal {} at position {}, and this log has no such seal: it was cut off, or put \
                     back from a backup",
                    known.number, known.position
                ),
                false => format!("the given checkpoint is of another log, {}", known.origin),
            };
            self.report.error(Finding::new("checkpoint", None, what));
        }
        if let Some(kept) = self.kept.take() {
            let what = format!(
                "this installation has made a seal {} at position {}, and this log has no such seal: it was cut off, or put back \
                 from a backup",
                kept.number, kept.position
            );
            self.report.error(Finding::new("checkpoint", None, what));
        }
    }
}
