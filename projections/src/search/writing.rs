//! Records on their way into the tables `findable` and `passage`, in pieces.

use domain::{RecordRef, Subject};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;

use super::passage::{DIGEST, digest, named};
use super::stored::Stored;
use super::text::{self, Found, Source};
use super::{chunk, language, words};
use crate::copy::CopyIn;
use crate::projector::ProjectError;
use crate::tsvector::TsVector;

/// The most text of records in one statement, but for a single record that is larger.
const STATEMENT_BYTES: usize = 4 << 20;

/// A record that has changed.
pub(super) struct Changed {
    pub(super) record: RecordRef,
    pub(super) subject: Subject,
    pub(super) position: i64,
    /// What its texts were before, see [`fingerprint`].
    pub(super) loaded: Option<[u8; 32]>,
    /// Whether the tables do not have it yet.
    pub(super) is_new: bool,
}

/// A hash of all that pieces are made of.
pub(super) fn fingerprint(sources: &[Source]) -> [u8; 32] {
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
pub(super) struct Batch {
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
    words: TsVector,
    digest: [u8; DIGEST],
    lang: Option<&'static str>,
    recording: Option<i64>,
    starts_ms: Option<i64>,
}

impl Batch {
    /// Takes in a record.
    pub(super) fn add(&mut self, changed: Changed) -> Result<(), ProjectError> {
        let Changed { record, subject, position, loaded, is_new } = changed;
        let stored = Stored::of(&subject)?;
        let found = text::of(&subject);
        let texts = found.as_ref().map(|found| fingerprint(&found.sources));
        if is_new || texts != loaded {
            if !is_new {
                self.replaced.push(record);
            }
            let sources = found.as_ref().map(|found| found.sources.as_slice()).unwrap_or_default();
            for passage in passages(record, sources) {
                self.size += passage.text.len() + passage.words.size() + size_of::<Passage>();
                self.passages.push((is_new, passage));
            }
        }
        let is_gone = found.is_none();
        let mut found = found.unwrap_or_default();
        let lang = language_of(&found.sources);
        found.sources.clear();
        self.size += stored.size() + size_of::<Findable>();
        let findable = Findable { record, position, is_gone, found, lang, stored };
        self.findable.push((is_new, findable));
        Ok(())
    }

    /// Whether it is time to write it.
    pub(super) fn is_full(&self) -> bool {
        self.size > STATEMENT_BYTES
    }

    /// Writes all of it.
    pub(super) async fn write(self, db: &mut PgConnection) -> Result<(), ProjectError> {
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
        let pieces = chunk::pieces(&source.text);
        let is_whole = pieces.len() == 1;
        for (ordinal, piece) in (before..).zip(pieces) {
            let turn = source.turns.partition_point(|(at, _)| *at <= piece.start);
            let turn = turn.checked_sub(1).and_then(|turn| source.turns.get(turn));
            let text = source.text[piece].to_owned();
            let own = if is_whole { whole } else { language::guess(&text).or(whole) };
            passages.push(Passage {
                record,
                part,
                ordinal: i32::try_from(ordinal).unwrap_or(i32::MAX),
                digest: digest(&text),
                words: words::indexed(&text, own),
                lang: own.map(language::Language::code),
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
    let columns = [
        "kind",
        "id",
        "part",
        "ordinal",
        "text",
        "words",
        "digest",
        "lang",
        "recording",
        "starts_ms",
    ];
    let mut copy = CopyIn::begin(db, "passage", &columns).await?;
    for row in rows {
        copy.text(row.record.kind().as_str())
            .int(row.record.id())
            .text(row.part)
            .small(row.ordinal)
            .text(&row.text)
            .words(&row.words)
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
        "insert into passage (kind, id, part, ordinal, text, words, digest, lang, recording, starts_ms)
         select * from unnest($1::text[], $2::bigint[], $3::text[], $4::integer[], $5::text[], $6::tsvector[],
                              $7::bytea[], $8::text[], $9::bigint[], $10::bigint[])",
    )
    .bind(rows.iter().map(|row| row.record.kind().as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.record.id()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.part).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.ordinal).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &row.words).collect::<Vec<_>>())
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
    use domain::Kind;
    use domain::note::RecordingId;

    use super::*;

    #[test]
    fn pieces_know_their_language_and_when_they_were_spoken() {
        let turn = |n: usize| format!("Turn {n} is about the fees and the hedging of the fund.");
        let (part, recording) = (text::Part::Transcript, Some(RecordingId(4)));
        let mut source = Source { part, text: String::new(), recording, turns: vec![] };
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
}
