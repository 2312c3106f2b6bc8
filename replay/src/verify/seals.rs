//! The chain of seals, computed again from the log: every event is what it was when it was sealed.

use chrono::{DateTime, Utc};
use projections::database::Database;
use projections::seal::store::{self, Contents};
use projections::seal::{Chain, Checkpoint, PublicKey, Row, Rows, Seal};
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
    // Before the events: whatever a seal covers was there before it.
    let last = store::last(&mut seals).await?;
    let mut check = Check::new(log, witness);
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
    report: SealReport,
}

impl<'w> Check<'w> {
    fn new(log: Uuid, witness: &'w Witness) -> Self {
        Self {
            log,
            chain: Chain::of(log),
            witness,
            keys: vec![],
            missing: witness.checkpoints.iter().collect(),
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
        if self.keys.last() != Some(&seal.key) {
            self.keys.push(seal.key);
            if self.keys.len() > 1 {
                let key = PublicKey::of(self.log, seal.key);
                let what = format!("from seal {} on another key signs: {key}", seal.number);
                self.report.notices.push(Finding::new("seal_key", at, what));
            }
        }
        for known in self.witness.checkpoints.iter().filter(|known| known.number == seal.number) {
            if *known != checkpoint {
                let what = format!("seal {} is not the one of the given checkpoint", seal.number);
                self.report.error(Finding::new("checkpoint", at, what));
            }
        }
        self.missing.retain(|known| known.number != seal.number);
        self.report.seals += 1;
        self.report.position = self.report.position.max(seal.position);
        self.report.sealed_at = Some(seal.sealed_at);
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
        let Some(last) = self.keys.last() else { return };
        let Witness { own, others, .. } = self.witness;
        match own {
            Some(own) if own == last => {}
            _ if others.contains(last) => {}
            Some(_) => {
                let what = format!(
                    "the last seals are signed with {}, which is not the key of this installation; if another server \
                     seals this log, name its key with --key, and better give all of them one CRM_SEAL_KEY",
                    text(last)
                );
                self.report.error(Finding::new("seal_key", None, what));
            }
            None => {
                let what = "this installation has no key: who signed the seals is taken from the database itself";
                self.report.notices.push(Finding::new("seal_key", None, what));
            }
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
    }
}
