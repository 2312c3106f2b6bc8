//! Goes through the file once, record by record, and hands what differs from the last import to the writer.

mod rows;
mod tell;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use chrono::Utc;
use domain::{FundId, Kind, Moment};
use projections::files::Files;
use projections::log::{Claim, Keys, LogReader};
use sqlx::PgPool;
use tokio::runtime::Handle;

use crate::chunk::Chunks;
use crate::convert::{Cell, DOCUMENT_TYPE};
use crate::decide::{Decision, decide, keep_date, left_out};
use crate::error::ImportError;
use crate::history::{self, History};
use crate::images::{self, Destination};
use crate::ledger::{Entry, Ledger, Mark};
use crate::report::{Notice, Report, shown};
use crate::schema::{self, Layout, Part};
use crate::source::{Cursor, Source, Values};
use crate::survey::Survey;
use crate::unit::{Content, Hash, OldTodo, Unit, identity_columns};

pub use rows::{BESIDE_LINK, SCHEMA_TABLE};
pub use tell::Extras;

/// Goes through the file on a blocking thread.
pub struct Reader {
    /// What earlier imports saw.
    pub ledger: Ledger,
    /// What is in the file.
    pub survey: Survey,
    /// Where events go.
    pub chunks: Chunks,
    /// Where histories come from.
    pub pool: PgPool,
    /// What opens the sealed part of it.
    pub stream_keys: Keys,
    /// Where large documents go; nowhere in a dry run.
    pub files: Files,
    /// The folder that images come from.
    pub images: Option<PathBuf>,
    /// The runtime that the database and the files are asked on.
    pub runtime: Handle,
    /// What is told in the end.
    pub report: Report,
    /// Keys of rows that belong to no record, to tell equal ones apart.
    pub keys: HashSet<(&'static str, String)>,
    /// The funds imported before to which this run has announced a roadshow's arrival.
    pub announced: HashSet<i64>,
    /// The values that were kept of columns that no record has, by table and column.
    pub extras: BTreeMap<(&'static str, String), Extras>,
}

/// A record that differs from the last import, waiting for its history.
struct Pending<'s> {
    id: i64,
    /// None if the file no longer has it.
    unit: Option<(Unit<'s>, Hash)>,
}

/// Records of one kind that wait for their histories, which are loaded together.
struct Waiting<'s> {
    kind: Kind,
    records: Vec<Pending<'s>>,
    bytes: usize,
}

impl Waiting<'_> {
    fn is_full(&self) -> bool {
        self.records.len() >= 500 || self.bytes >= 8 << 20
    }
}

impl Reader {
    /// Reads everything.
    ///
    /// # Errors
    /// When the file, the database or the file storage fails, or the writer is gone.
    pub fn read(mut self, source: &Source) -> Result<Report, ImportError> {
        for layout in &source.layouts {
            self.keep_schema(layout)?;
        }
        for &kind in schema::ORDER {
            self.read_kind(source, kind)?;
        }
        self.release_rows()?;
        self.tell_extras();
        self.chunks.flush()?;
        if let Some(from) = self.images.take() {
            self.chunks.enter("images");
            let to = Destination { files: &self.files, pool: &self.pool, runtime: &self.runtime };
            images::copy(source, &from, to, &mut self.report)?;
            self.chunks.flush()?;
        }
        self.report.events = self.chunks.events();
        Ok(self.report)
    }

    fn read_kind(&mut self, source: &Source, kind: Kind) -> Result<(), ImportError> {
        self.chunks.enter(kind.as_str());
        let parts: Vec<(&Layout, Part)> = schema::parts_of(kind)
            .filter_map(|(table, part)| Some((source.layout(table.name)?, part)))
            .collect();
        let mut statements = parts
            .iter()
            .map(|(layout, part)| source.rows(layout, &[part.owner_column, part.target_column]))
            .collect::<Result<Vec<_>, _>>()?;
        let mut cursors = parts
            .iter()
            .zip(&mut statements)
            .map(|(&(layout, part), statement)| Ok((part, Cursor::new(layout, statement)?)))
            .collect::<Result<Vec<_>, ImportError>>()?;
        let mut waiting = Waiting { kind, records: Vec::new(), bytes: 0 };
        if let Some(layout) = source.layout(kind.as_str()) {
            let mut statement = source.rows(layout, &["id"])?;
            let mut records = Cursor::new(layout, &mut statement)?;
            let mut last = None;
            while let Some(row) = records.take()? {
                let id = layout.at("id").and_then(|at| row[at].integer());
                match id.filter(|_| id != last) {
                    None => self.keep_row(layout, &row, "has no id of its own")?,
                    Some(id) => {
                        last = Some(id);
                        let parts = self.parts_of(id, &mut cursors)?;
                        if self.ledger.foreign.contains(&(kind, id)) {
                            self.refuse(layout, (kind, id), &row)?;
                        } else {
                            let unit = Unit { kind, id, layout, row, parts };
                            self.take_unit(source, unit, &mut waiting)?;
                        }
                    }
                }
                self.chunks.flush_if_large()?;
            }
        }
        for (_, cursor) in &mut cursors {
            while let Some(row) = cursor.take()? {
                self.keep_stray(cursor.layout, kind, &row)?;
            }
        }
        self.bury(source, &mut waiting)?;
        self.settle(source, &mut waiting)
    }

    /// Takes the rows of this owner off the cursors; what stands before them belongs to no record.
    fn parts_of<'s>(
        &mut self,
        id: i64,
        cursors: &mut [(Part, Cursor<'s>)],
    ) -> Result<Vec<(&'s Layout, Part, Values)>, ImportError> {
        let mut parts = Vec::new();
        for (part, cursor) in cursors {
            let layout = cursor.layout;
            let at = |column: &str| layout.at(column).unwrap_or_default();
            let (owner_at, target_at) = (at(part.owner_column), at(part.target_column));
            let mut last = None;
            while let Some(row) = cursor.peek() {
                let (owner, target) = (row[owner_at].integer(), row[target_at].integer());
                if owner.is_some_and(|owner| owner > id) {
                    break;
                }
                let Some(row) = cursor.take()? else { break };
                if owner != Some(id) {
                    self.keep_stray(layout, part.owner, &row)?;
                } else if let Some(end) = self.foreign_end(*part, id, target) {
                    self.keep_row(
                        layout,
                        &row,
                        &format!("the id of {end} is another record's in crm"),
                    )?;
                } else if target.is_none() || target == last {
                    self.keep_row(layout, &row, "is no link between two records, or a second one")?;
                } else {
                    last = target;
                    self.keep_extras(layout, *part, &row)?;
                    parts.push((layout, *part, row));
                }
            }
        }
        Ok(parts)
    }

    fn take_unit<'s>(
        &mut self,
        source: &Source,
        unit: Unit<'s>,
        waiting: &mut Waiting<'s>,
    ) -> Result<(), ImportError> {
        self.chunks.count_rows(1 + unit.parts.len() as u64);
        let (key, hash) = ((unit.kind, unit.id), unit.hash());
        if let Some(entry) = self.ledger.records.get_mut(&key) {
            entry.seen = true;
            if entry.hash == Some(hash) && entry.announced.is_none() {
                self.report.unchanged += 1;
                return self.tell_again(source, &unit);
            }
            waiting.bytes += unit.size();
            waiting.records.push(Pending { id: unit.id, unit: Some((unit, hash)) });
            return if waiting.is_full() { self.settle(source, waiting) } else { Ok(()) };
        }
        self.report.new += 1;
        let content = unit.content(self.old_todo(source, &unit, true)?, &self.ledger.foreign);
        self.append(&unit, hash, &content, History::default(), None).map(|_| ())
    }

    /// Tells what is odd about a record whose rows are as they were at the last import.
    fn tell_again(&mut self, source: &Source, unit: &Unit<'_>) -> Result<(), ImportError> {
        let content = unit.content(self.old_todo(source, unit, false)?, &self.ledger.foreign);
        self.tell(unit, &content, true);
        Ok(())
    }

    /// The end of a link or standing that is none of the file's records but has the same id as one.
    fn foreign_end(&self, part: Part, owner: i64, target: Option<i64>) -> Option<String> {
        let ends = [Some((part.owner, owner)), target.map(|id| (part.target, id))];
        let foreign = ends.into_iter().flatten().find(|end| self.ledger.foreign.contains(end))?;
        Some(format!("{} {}", foreign.0, foreign.1))
    }

    /// A record of the file whose id is that of another one: its row is kept, beside that record.
    fn refuse(
        &mut self,
        layout: &Layout,
        key: (Kind, i64),
        row: &Values,
    ) -> Result<(), ImportError> {
        const TAKEN: &str = "its id is in use by a record that was made in crm, so it is not shown there: its values are kept in the \
            log (`/audit?kind=import`), and who wants it in crm makes it there anew, under an id of its own";
        let [name, fallback] = identity_columns(layout);
        let cell = |column: Option<&str>| column.and_then(|c| layout.at(c)).map(|at| &row[at]);
        let called =
            [name, fallback].into_iter().filter_map(cell).find(|cell| **cell != Cell::Null);
        self.report.conflicts += 1;
        let notice = Notice::of_conflict(key, TAKEN);
        self.report.note(Notice { value: called.and_then(shown), ..notice });
        self.chunks.count_rows(1);
        let name = self.free_key(layout, key.1.to_string());
        self.keep(layout, name, row);
        self.chunks.flush_if_large()
    }

    /// Has the records decided that wait for their histories.
    fn settle(&mut self, source: &Source, waiting: &mut Waiting<'_>) -> Result<(), ImportError> {
        let records = std::mem::take(&mut waiting.records);
        waiting.bytes = 0;
        let ids: Vec<i64> = records.iter().map(|pending| pending.id).collect();
        let mut records = records.into_iter();
        let sizing = history::batches(&self.pool, waiting.kind, &ids);
        for batch in self.runtime.block_on(sizing)? {
            let loading = history::load(&self.pool, &self.stream_keys, waiting.kind, &batch);
            let mut histories = self.runtime.block_on(loading)?;
            for pending in records.by_ref().take(batch.len()) {
                let history = histories.remove(&pending.id).unwrap_or_default();
                self.settle_one(source, waiting.kind, pending, history)?;
            }
        }
        Ok(())
    }

    fn settle_one(
        &mut self,
        source: &Source,
        kind: Kind,
        pending: Pending<'_>,
        history: History,
    ) -> Result<(), ImportError> {
        let key = (kind, pending.id);
        let Some(entry) = self.ledger.records.get(&key).cloned() else { return Ok(()) };
        if let Some((position, error)) = history.unreadable {
            self.conflict(
                key,
                &format!(
                    "its event at position {position} of the log cannot be read by this release of crm ({error}); what the file \
                     says of it was left out. Import the file again with the release that recorded it, or a newer one; \
                     `crm verify --log` names all such events"
                ),
            );
            return self.chunks.flush_if_large();
        }
        match pending.unit {
            None => self.remove(key, &entry, history)?,
            Some((unit, hash)) => self.amend(source, &unit, hash, &entry, history)?,
        }
        self.chunks.flush_if_large()
    }

    /// A record that is in the file and was imported before.
    fn amend(
        &mut self,
        source: &Source,
        unit: &Unit<'_>,
        hash: Hash,
        entry: &Entry,
        history: History,
    ) -> Result<(), ImportError> {
        let same_rows = entry.hash == Some(hash);
        if same_rows && history.version > entry.version {
            // Only a roadshow's arrival has reached it, and the team has worked on it since.
            self.report.conflicts += u64::from(self.keep_date(unit.id, entry, history)?);
            self.report.unchanged += 1;
            self.forget_announced((unit.kind, unit.id), entry);
            return self.tell_again(source, unit);
        }
        let content = unit.content(self.old_todo(source, unit, false)?, &self.ledger.foreign);
        let appended = self.append(unit, hash, &content, history, Some(entry))?;
        match appended {
            true if same_rows => self.report.unchanged += 1,
            true => self.report.changed += 1,
            false => {}
        }
        Ok(())
    }

    /// Appends what makes the record say what the file says. False if it was changed in crm since the last import.
    fn append(
        &mut self,
        unit: &Unit<'_>,
        hash: Hash,
        content: &Content,
        history: History,
        entry: Option<&Entry>,
    ) -> Result<bool, ImportError> {
        let (key, version) = ((unit.kind, unit.id), history.version);
        let announced = entry.and_then(|entry| entry.announced);
        let moved_on = entry.is_some_and(|entry| version > entry.version);
        let worked_on = moved_on.then(|| history.clone());
        let decision =
            decide(unit.kind, history.events, Some(content), announced).map_err(|e| {
                ImportError::Record { kind: unit.kind, id: unit.id, reason: e.to_string() }
            })?;
        if let Some(history) = worked_on.filter(|_| !decision.drafts.is_empty()) {
            self.conflict(
                key,
                "changed in crm since the last import; the file's version was left out",
            );
            for left_out in left_out(unit.kind, &history.events, &decision.drafts) {
                self.report.note(Notice::of_left_out(key, &left_out));
            }
            if let Some(entry) = entry.filter(|entry| entry.announced.is_some()) {
                self.keep_date(unit.id, entry, history)?;
                self.forget_announced(key, entry);
            }
            return Ok(false);
        }
        if decision.is_erased {
            // Not even a hash of what the file says of it is kept.
            self.conflict(key, "was erased in crm; the file's row was left out");
            return Ok(false);
        }
        self.tell(unit, content, entry.is_some_and(|entry| entry.hash == Some(hash)));
        if !self.report.dry_run && !decision.drafts.is_empty() {
            for file in &content.files {
                self.runtime.block_on(self.files.put(file, DOCUMENT_TYPE))?;
            }
        }
        let occurred_at = content.occurred_at.filter(|_| version == 0);
        let announcements = decision.announced.clone();
        let version = self.push_all(key, version, decision, occurred_at);
        for (fund, arrival) in announcements {
            self.announce(fund.0, arrival);
        }
        let identity = unit.identity();
        let mark = Mark { hash: Some(hash), version, identity, announced: None };
        self.chunks.mark(unit.kind.as_str(), unit.id.to_string(), mark);
        Ok(true)
    }

    fn push_all(
        &mut self,
        key: (Kind, i64),
        mut version: i64,
        decision: Decision,
        occurred_at: Option<chrono::DateTime<Utc>>,
    ) -> i64 {
        let [before, after] = &decision.notion_id;
        let record = key.0.record(key.1);
        self.chunks.claim(Claim::between(record, before.as_deref(), after.as_deref()));
        for draft in decision.drafts {
            version += 1;
            self.chunks.push(key, version, draft, occurred_at);
        }
        version
    }

    /// Remembers, across a crash as well, that a roadshow's arrival is now shown at a fund that was imported before:
    /// the fund's row has the last word.
    fn announce(&mut self, fund: i64, arrival: Moment) {
        let key = (Kind::Fund, fund);
        let Some(entry) = self.ledger.records.get_mut(&key).filter(|e| e.hash.is_some()) else {
            return;
        };
        entry.announced = Some(arrival);
        self.announced.insert(fund);
        let Entry { hash, version, identity, announced, .. } = *entry;
        let mark = Mark { hash, version, identity, announced };
        self.chunks.mark(Kind::Fund.as_str(), fund.to_string(), mark);
    }

    /// Remembers what an entry says, but for what a roadshow has announced: that was answered.
    fn forget_announced(&mut self, key: (Kind, i64), entry: &Entry) {
        let Entry { hash, version, identity, .. } = *entry;
        let mark = Mark { hash, version, identity, announced: None };
        self.chunks.mark(key.0.as_str(), key.1.to_string(), mark);
    }

    /// Lets a fund that the team has worked on keep its roadshow date, where a roadshow of the file has announced another one; tells
    /// whether that was so.
    fn keep_date(
        &mut self,
        fund: i64,
        entry: &Entry,
        history: History,
    ) -> Result<bool, ImportError> {
        let Some(announced) = entry.announced else { return Ok(false) };
        let (pool, log) = (self.pool.clone(), LogReader::new(self.stream_keys.clone()));
        let [shown, kept] = self.runtime.block_on(async move {
            let mut db = pool.acquire().await?;
            projections::read::roadshow_dates(&mut db, &log, FundId(fund)).await
        })?;
        // What this run has decided may still be on its way to the log.
        let is_told_now = self.announced.contains(&fund);
        if kept == Some(announced) || (shown == kept && !is_told_now) {
            return Ok(false);
        }
        let key = (Kind::Fund, fund);
        let decision = keep_date(history.events, kept, announced).map_err(|error| {
            ImportError::Record { kind: key.0, id: key.1, reason: error.to_string() }
        })?;
        if decision.drafts.is_empty() {
            return Ok(false);
        }
        let reason = format!(
            "changed in crm since the last import; its roadshow date stays as it is there, and {announced}, the arrival that a roadshow of \
             the file has, was left out"
        );
        self.report.note(Notice::of_conflict(key, &reason));
        self.push_all(key, history.version, decision, None);
        Ok(true)
    }

    /// Records that were imported before and are no longer in the file.
    fn bury<'s>(&mut self, source: &Source, waiting: &mut Waiting<'s>) -> Result<(), ImportError> {
        let kind = waiting.kind;
        let is_gone = |entry: &Entry| !entry.seen && entry.hash.is_some();
        let gone: BTreeSet<i64> = self
            .ledger
            .records
            .iter()
            .filter(|((k, _), entry)| *k == kind && is_gone(entry))
            .map(|((_, id), _)| *id)
            .collect();
        for id in gone {
            waiting.records.push(Pending { id, unit: None });
            if waiting.is_full() {
                self.settle(source, waiting)?;
            }
        }
        Ok(())
    }

    fn remove(
        &mut self,
        key: (Kind, i64),
        entry: &Entry,
        history: History,
    ) -> Result<(), ImportError> {
        let (kind, id) = key;
        let version = history.version;
        let decision = decide(kind, history.events, None, None)
            .map_err(|e| ImportError::Record { kind, id, reason: e.to_string() })?;
        if version > entry.version && !decision.drafts.is_empty() {
            self.conflict(
                key,
                "gone from the file, but changed in crm since the last import; it was left in use",
            );
            return Ok(());
        }
        self.report.deleted += 1;
        let version = self.push_all(key, version, decision, None);
        let mark = Mark { hash: None, version, identity: entry.identity, announced: None };
        self.chunks.mark(kind.as_str(), id.to_string(), mark);
        Ok(())
    }

    fn conflict(&mut self, (kind, id): (Kind, i64), reason: &str) {
        self.report.conflicts += 1;
        self.report.note(Notice::of_conflict((kind, id), reason));
    }

    /// What an old todo lacks; none if it is a new one.
    fn old_todo(
        &self,
        source: &Source,
        unit: &Unit<'_>,
        is_new: bool,
    ) -> Result<Option<OldTodo>, ImportError> {
        if unit.kind != Kind::Todo || unit.layout.at("title").is_some() {
            return Ok(None);
        }
        if !is_new {
            return Ok(Some(OldTodo { created: None }));
        }
        let date = match unit.cell("note_id").integer() {
            Some(note) => source.value("note", "date", note)?,
            None => Cell::Null,
        };
        let date = match date {
            Cell::Text(text) => std::str::from_utf8(&text).ok().and_then(|t| Moment::parse(t).ok()),
            _ => None,
        };
        let now = || (Moment::from(Utc::now().naive_utc()), false);
        Ok(Some(OldTodo { created: Some(date.map_or_else(now, |date| (date, true))) }))
    }
}
