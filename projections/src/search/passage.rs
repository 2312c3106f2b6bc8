//! The read model that is searched: a row per record, and its texts in pieces.
//!
//! A record's pieces are a function of the record, so the facts that they are made of stand beside them: an event that
//! changes a name or a link finds the rest there. Pieces are replaced as a whole, and only when a text changed.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Event, Kind, RecordRef, Subject};
use futures::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;

use super::stored::Stored;
use super::text::{self, Found, Source};
use super::{chunk, language};
use crate::copy::CopyIn;
use crate::log::Recorded;
use crate::projector::{Fold, ProjectError, Projector, Table, Tables};

/// The name of the read model.
pub const NAME: &str = "passage";

/// To be raised whenever other texts, or other pieces of them, come of the same events.
pub const VERSION: i32 = 1;

/// How many bytes of the SHA-256 of a passage name its text.
pub const DIGEST: usize = 16;

/// The most text of records in one statement, but for a single record that is larger.
const STATEMENT_BYTES: usize = 4 << 20;

/// Keeps the tables `findable` and `passage`.
pub struct PassageProjector;

impl Projector for PassageProjector {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> i32 {
        VERSION
    }

    fn tables(&self) -> Vec<Table> {
        // The longest names are folded in part: an index takes no more.
        let findable = "kind text not null collate \"C\", id bigint not null, position bigint not null,
             archived boolean not null, title text not null,
             folded_title text not null collate \"C\" generated always as (crm_fold(left(title, 500))) stored,
             detail text, on_date timestamptz, about text[] not null, lang text, facts text, heard text";
        let passage = "kind text not null collate \"C\", id bigint not null, part text not null collate \"C\",
             ordinal integer not null, text text not null, digest bytea not null, lang text, recording bigint, starts_ms bigint,
             words tsvector not null generated always as (crm_words(lang, text)) stored";
        let index = |on: &[&str]| on.iter().map(|on| (*on).to_owned()).collect();
        vec![
            Table {
                name: "findable",
                columns: findable.to_owned(),
                long: &["facts", "heard"],
                key: &["kind", "id"],
                indexes: index(&[
                    "(position)",
                    "using gin (folded_title gin_trgm_ops)",
                    "using hash (folded_title)",
                    "using gin (about)",
                ]),
            },
            Table {
                name: "passage",
                columns: passage.to_owned(),
                long: &["text", "words"],
                key: &["kind", "id", "part", "ordinal"],
                indexes: index(&["using gin (words)"]),
            },
        ]
    }

    fn follows(&self) -> &'static [Kind] {
        Kind::ALL
    }

    fn has_past(&self) -> bool {
        false
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::new(Rows::default())
    }
}

/// What names the text of a passage: the first bytes of its SHA-256.
pub fn digest(text: &str) -> [u8; DIGEST] {
    let whole: [u8; 32] = Sha256::digest(text).into();
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(&whole[..DIGEST]);
    digest
}

/// How the tables name a record, as in `lp:7`.
pub fn named(record: RecordRef) -> String {
    format!("{}:{}", record.kind(), record.id())
}

/// The record that the tables name so.
pub fn record_named(name: &str) -> Option<RecordRef> {
    let (kind, id) = name.split_once(':')?;
    Some(Kind::parse(kind)?.record(id.parse().ok()?))
}

/// Records on their way through a page of events.
#[derive(Default)]
struct Rows {
    rows: BTreeMap<RecordRef, Row>,
    changed: Option<i64>,
    size: usize,
}

struct Row {
    subject: Subject,
    position: i64,
    is_dirty: bool,
    /// Whether the table has it.
    is_stored: bool,
    /// What its texts were when it was loaded, see [`fingerprint`].
    loaded: Option<[u8; 32]>,
}

impl Row {
    fn new(kind: Kind) -> Self {
        let subject = Subject::new(kind);
        Self { subject, position: 0, is_dirty: false, is_stored: false, loaded: None }
    }

    /// Whether there is anything to write.
    fn is_there(&self) -> bool {
        self.is_dirty && (self.subject.is_there() || self.subject.is_erased())
    }
}

impl Fold for Rows {
    fn fold<'a>(
        &'a mut self,
        page: &'a [Recorded],
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            if tables != Tables::Empty {
                self.load(db, page).await?;
            }
            page.iter().for_each(|recorded| self.take(recorded));
            Ok(())
        })
    }

    fn write<'a>(
        &'a mut self,
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            let rows = std::mem::take(&mut self.rows);
            self.size = 0;
            let mut batch = Batch::default();
            for (record, row) in rows.into_iter().filter(|(_, row)| row.is_there()) {
                let is_new = tables != Tables::Filled && !row.is_stored;
                batch.add(record, row, is_new)?;
                if batch.size > STATEMENT_BYTES {
                    std::mem::take(&mut batch).write(db).await?;
                }
            }
            batch.write(db).await
        })
    }

    fn changed(&self) -> Option<i64> {
        self.changed
    }

    fn size(&self) -> usize {
        self.size
    }
}

/// The record that an event is one of, unless it can no longer be read or belongs to none.
fn own(recorded: &Recorded) -> Option<RecordRef> {
    let kind = match &recorded.event {
        Event::Lp(_) => Kind::Lp,
        Event::Gp(_) => Kind::Gp,
        Event::Distributor(_) => Kind::Distributor,
        Event::Person(_) => Kind::Person,
        Event::Fund(_) => Kind::Fund,
        Event::Note(_) => Kind::Note,
        Event::Todo(_) => Kind::Todo,
        Event::Roadshow(_) => Kind::Roadshow,
        Event::Import(_) | Event::Erased(_) => return None,
    };
    Some(kind.record(recorded.id))
}

impl Rows {
    fn take(&mut self, recorded: &Recorded) {
        let Some(record) = own(recorded) else { return };
        self.size += recorded.size;
        let row = self.rows.entry(record).or_insert_with(|| {
            self.size += size_of::<Row>();
            Row::new(record.kind())
        });
        row.subject.apply(&recorded.event);
        row.position = recorded.position;
        row.is_dirty = true;
        self.changed = Some(recorded.position);
    }

    /// Loads what the tables have of the page's records, but for those that are in memory or only begin in it.
    async fn load(&mut self, db: &mut PgConnection, page: &[Recorded]) -> Result<(), ProjectError> {
        let mut born = BTreeSet::new();
        let mut earlier = BTreeSet::new();
        for recorded in page {
            let Some(record) = own(recorded) else { continue };
            if recorded.sequence == 1 {
                born.insert(record);
            } else if !born.contains(&record) && !self.rows.contains_key(&record) {
                earlier.insert(record);
            }
        }
        if earlier.is_empty() {
            return Ok(());
        }
        let stored: Vec<StoredRow> = sqlx::query_as(
            "select kind, id, position, facts, heard from findable
                 join unnest($1::text[], $2::bigint[]) as wanted (kind, id) using (kind, id)",
        )
        .bind(earlier.iter().map(|record| record.kind().as_str()).collect::<Vec<_>>())
        .bind(earlier.iter().map(|record| record.id()).collect::<Vec<_>>())
        .fetch_all(db)
        .await?;
        for (kind, id, position, facts, heard) in stored {
            let Some(kind) = Kind::parse(&kind) else { continue };
            let stored = Stored { facts, heard };
            self.size += size_of::<Row>() + stored.size();
            let subject = stored.subject(kind)?;
            let loaded = text::of(&subject).map(|found| fingerprint(&found.sources));
            let row = Row { subject, position, is_dirty: false, is_stored: true, loaded };
            self.rows.insert(kind.record(id), row);
        }
        Ok(())
    }
}

/// A row of `findable`, as far as it is loaded.
type StoredRow = (String, i64, i64, Option<String>, Option<String>);

/// A hash of all that pieces are made of.
fn fingerprint(sources: &[Source]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for Source { part, text, recording, turns } in sources {
        hash.update(part.as_str());
        hash.update(recording.map_or(0, |id| id.0).to_be_bytes());
        hash.update(text.len().to_be_bytes());
        hash.update(text);
        hash.update(turns.len().to_be_bytes());
        for (at, ms) in turns {
            hash.update(at.to_be_bytes());
            hash.update(ms.to_be_bytes());
        }
    }
    hash.finalize().into()
}

/// Rows on their way into the tables.
#[derive(Default)]
struct Batch {
    /// Whether the table has the record already, and the record.
    findable: Vec<(bool, Findable)>,
    /// Those whose passages go.
    replaced: Vec<RecordRef>,
    /// Whether the record is new, and its passages.
    passages: Vec<(bool, Passage)>,
    size: usize,
}

struct Findable {
    record: RecordRef,
    position: i64,
    is_gone: bool,
    found: Found,
    lang: Option<&'static str>,
    stored: Stored,
}

impl Findable {
    fn about(&self) -> Vec<String> {
        self.found.about.iter().copied().map(named).collect()
    }
}

struct Passage {
    record: RecordRef,
    part: &'static str,
    ordinal: i32,
    text: String,
    digest: [u8; DIGEST],
    lang: Option<&'static str>,
    recording: Option<i64>,
    starts_ms: Option<i64>,
}

impl Batch {
    fn add(&mut self, record: RecordRef, row: Row, is_new: bool) -> Result<(), ProjectError> {
        let stored = Stored::of(&row.subject)?;
        let found = text::of(&row.subject);
        let texts = found.as_ref().map(|found| fingerprint(&found.sources));
        if is_new || texts != row.loaded {
            if !is_new {
                self.replaced.push(record);
            }
            let sources = found.as_ref().map(|found| found.sources.as_slice()).unwrap_or_default();
            for passage in passages(record, sources) {
                self.size += passage.text.len() + size_of::<Passage>();
                self.passages.push((is_new, passage));
            }
        }
        let is_gone = found.is_none();
        let mut found = found.unwrap_or_default();
        let lang = language_of(&found.sources);
        found.sources.clear();
        self.size += stored.size() + size_of::<Findable>();
        let findable = Findable { record, position: row.position, is_gone, found, lang, stored };
        self.findable.push((is_new, findable));
        Ok(())
    }

    async fn write(self, db: &mut PgConnection) -> Result<(), ProjectError> {
        delete_passages(db, &self.replaced).await?;
        let (new, known): (Vec<_>, Vec<_>) = self.findable.into_iter().partition(|(new, _)| *new);
        copy_findable(db, new.into_iter().map(|(_, it)| it).collect()).await?;
        upsert_findable(db, known.into_iter().map(|(_, it)| it).collect()).await?;
        let (new, known): (Vec<_>, Vec<_>) = self.passages.into_iter().partition(|(new, _)| *new);
        copy_passages(db, new.into_iter().map(|(_, it)| it).collect()).await?;
        insert_passages(db, known.into_iter().map(|(_, it)| it).collect()).await
    }
}

/// What the longest of the texts is written in.
fn language_of(sources: &[Source]) -> Option<&'static str> {
    let longest = sources.iter().max_by_key(|source| source.text.len())?;
    language::guess(&longest.text).map(language::Language::code)
}

/// The texts of a record in pieces. A piece that does not tell its language is in that of its whole text.
fn passages(record: RecordRef, sources: &[Source]) -> Vec<Passage> {
    let mut passages: Vec<Passage> = Vec::new();
    for source in sources {
        let whole = language::guess(&source.text);
        let part = source.part.as_str();
        // Recordings of one note follow each other.
        let before = passages.iter().filter(|passage| passage.part == part).count();
        for (ordinal, piece) in (before..).zip(chunk::pieces(&source.text)) {
            let turn = source.turns.partition_point(|(at, _)| *at <= piece.start);
            let turn = turn.checked_sub(1).and_then(|turn| source.turns.get(turn));
            let text = source.text[piece].to_owned();
            passages.push(Passage {
                record,
                part,
                ordinal: i32::try_from(ordinal).unwrap_or(i32::MAX),
                digest: digest(&text),
                lang: language::guess(&text).or(whole).map(language::Language::code),
                recording: source.recording.map(|id| id.0),
                starts_ms: turn.map(|(_, ms)| *ms),
                text,
            });
        }
    }
    passages
}

async fn delete_passages(db: &mut PgConnection, records: &[RecordRef]) -> Result<(), ProjectError> {
    if records.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "delete from passage using unnest($1::text[], $2::bigint[]) as gone (kind, id)
         where passage.kind = gone.kind and passage.id = gone.id",
    )
    .bind(records.iter().map(|record| record.kind().as_str()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.id()).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

async fn copy_findable(db: &mut PgConnection, rows: Vec<Findable>) -> Result<(), ProjectError> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = [
        "kind", "id", "position", "archived", "title", "detail", "on_date", "about", "lang",
        "facts", "heard",
    ];
    let mut copy = CopyIn::begin(db, "findable", &columns).await?;
    for row in rows {
        copy.text(row.record.kind().as_str())
            .int(row.record.id())
            .int(row.position)
            .flag(row.is_gone)
            .text(&row.found.title)
            .maybe(row.found.detail.as_deref(), CopyIn::text)
            .maybe(row.found.date, CopyIn::time)
            .texts(&row.about())
            .maybe(row.lang, CopyIn::text)
            .maybe(row.stored.facts.as_deref(), CopyIn::text)
            .maybe(row.stored.heard.as_deref(), CopyIn::text)
            .end_row()
            .await?;
    }
    copy.finish().await?;
    Ok(())
}

async fn upsert_findable(db: &mut PgConnection, rows: Vec<Findable>) -> Result<(), ProjectError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into findable (kind, id, position, archived, title, detail, on_date, about, lang, facts, heard)
         select kind, id, position, archived, title, detail, on_date, string_to_array(about, ','), lang, facts, heard
         from unnest($1::text[], $2::bigint[], $3::bigint[], $4::boolean[], $5::text[], $6::text[],
                     $7::timestamptz[], $8::text[], $9::text[], $10::text[], $11::text[])
                as new (kind, id, position, archived, title, detail, on_date, about, lang, facts, heard)
         on conflict (kind, id) do update set
             position = excluded.position, archived = excluded.archived, title = excluded.title,
             detail = excluded.detail, on_date = excluded.on_date, about = excluded.about, lang = excluded.lang,
             facts = excluded.facts, heard = excluded.heard",
    )
    .bind(rows.iter().map(|row| row.record.kind().as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.record.id()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.position).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.is_gone).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.found.title.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.found.detail.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.found.date).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.about().join(",")).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.lang).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.stored.facts.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.stored.heard.as_deref()).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

async fn copy_passages(db: &mut PgConnection, rows: Vec<Passage>) -> Result<(), ProjectError> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns =
        ["kind", "id", "part", "ordinal", "text", "digest", "lang", "recording", "starts_ms"];
    let mut copy = CopyIn::begin(db, "passage", &columns).await?;
    for row in rows {
        copy.text(row.record.kind().as_str())
            .int(row.record.id())
            .text(row.part)
            .small(row.ordinal)
            .text(&row.text)
            .bytes(&row.digest)
            .maybe(row.lang, CopyIn::text)
            .maybe(row.recording, CopyIn::int)
            .maybe(row.starts_ms, CopyIn::int)
            .end_row()
            .await?;
    }
    copy.finish().await?;
    Ok(())
}

async fn insert_passages(db: &mut PgConnection, rows: Vec<Passage>) -> Result<(), ProjectError> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into passage (kind, id, part, ordinal, text, digest, lang, recording, starts_ms)
         select * from unnest($1::text[], $2::bigint[], $3::text[], $4::integer[], $5::text[], $6::bytea[],
                              $7::text[], $8::bigint[], $9::bigint[])",
    )
    .bind(rows.iter().map(|row| row.record.kind().as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.record.id()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.part).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.ordinal).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.digest.as_slice()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.lang).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.recording).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.starts_ms).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use domain::note::RecordingId;

    use super::*;

    #[test]
    fn pieces_know_their_language_and_when_they_were_spoken() {
        let turn = |n: usize| format!("Turn {n} is about the fees and the hedging of the fund.");
        let mut source =
            Source { part: text::Part::Transcript, text: String::new(), turns: vec![] };
        for n in 0..100 {
            source.turns.push((source.text.len(), i64::try_from(n).unwrap() * 1_000));
            source.text.push_str(&turn(n));
            source.text.push('\n');
        }
        let passages = passages(Kind::Note.record(1), &[source.clone(), source]);
        assert!(passages.len() > 5);
        for (at, passage) in passages.iter().enumerate() {
            assert_eq!(passage.ordinal, i32::try_from(at).unwrap());
            assert_eq!((passage.part, passage.lang), ("transcript", Some("en")));
            assert_eq!(passage.recording, Some(4));
            let first = passage.text.split_whitespace().nth(1).unwrap();
            assert_eq!(passage.starts_ms, Some(first.parse::<i64>().unwrap() * 1_000));
            assert_eq!(passage.digest, digest(&passage.text));
        }
    }

    #[test]
    fn a_record_is_found_by_the_name_that_the_tables_give_it() {
        for kind in Kind::ALL {
            let record = kind.record(-7);
            assert_eq!(record_named(&named(record)), Some(record));
        }
        assert_eq!(record_named("lp"), None);
        assert_eq!(record_named("company:1"), None);
    }
}
