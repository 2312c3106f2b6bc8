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
use super::text;
use super::writing::{Batch, Changed, fingerprint};
use crate::log::Recorded;
use crate::projector::{Fold, ProjectError, Projector, Table, Tables};

/// The name of the read model.
pub const NAME: &str = "passage";

/// To be raised whenever other texts, or other pieces of them, come of the same events, or they are stored otherwise.
pub const VERSION: i32 = 10;

/// How many bytes of the SHA-256 of a passage name its text.
pub const DIGEST: usize = 16;

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
             words tsvector not null";
        let index = |on: &[&str]| on.iter().map(|on| (*on).to_owned()).collect();
        // What is still to be sorted into them, every question looks through: so, in kB, it is as little as can be.
        let gin = |on: &str| format!("using gin ({on}) with (gin_pending_list_limit = 64)");
        // No index of `findable` leaves the archived out: Postgres would take it for a list of all others and compare each name.
        vec![
            Table {
                name: "findable",
                columns: findable.to_owned(),
                long: &["facts", "heard"],
                is_whole: false,
                key: &["kind", "id"],
                indexes: index(&[
                    "(position)",
                    &gin("folded_title gin_trgm_ops"),
                    "using hash (folded_title)",
                    &gin("about"),
                    "(on_date)",
                ]),
            },
            Table {
                name: "passage",
                columns: passage.to_owned(),
                long: &["text", "words"],
                is_whole: true,
                key: &["kind", "id", "part", "ordinal"],
                // Cards apart from what else is said: the best of both are looked for, however many there are of one.
                indexes: index(&[
                    &format!("{} where part <> 'card'", gin("words")),
                    &format!("{} where part = 'card'", gin("words")),
                ]),
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
                let Row { subject, position, loaded, .. } = row;
                let changed = Changed { record, subject, position, loaded, is_new };
                batch.add(changed)?;
                if batch.is_full() {
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
            // One by one by the primary key, whatever the planner thinks of a table that has just been filled.
            "select findable.kind, findable.id, position, facts, heard
             from unnest($1::text[], $2::bigint[]) as wanted (kind, id) cross join lateral
                 (select * from findable where kind = wanted.kind and id = wanted.id limit 1) as findable",
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

#[cfg(test)]
mod tests {
    use super::*;

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
