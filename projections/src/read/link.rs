//! The table of links between records, both ways.

use std::collections::{BTreeMap, BTreeSet};

use domain::gp::GpEvent;
use domain::note::NoteEvent;
use domain::person::PersonEvent;
use domain::todo::TodoEvent;
use domain::{Event, Kind, RecordRef};
use futures::future::BoxFuture;
use sqlx::PgConnection;

use super::reader::{ReadError, Reader};
use crate::copy::CopyIn;
use crate::log::Recorded;
use crate::projector::{Fold, ProjectError, Projector, Table, Tables};

/// Keeps the table `link`.
pub(super) struct LinkProjector;

impl Projector for LinkProjector {
    fn name(&self) -> &'static str {
        "link"
    }

    fn tables(&self) -> Vec<Table> {
        // Targets of imported links may not exist. Ids first: they lie at fixed places and decide most comparisons, which
        // is what building and searching an index is made of.
        vec![Table {
            name: "link",
            columns: "from_id bigint not null, to_id bigint not null,
                      from_kind text not null collate \"C\", to_kind text not null collate \"C\""
                .to_owned(),
            long: &[],
            is_whole: false,
            key: &["from_id", "from_kind", "to_kind", "to_id"],
            indexes: vec!["(to_id, to_kind, from_kind, from_id)".to_owned()],
        }]
    }

    fn follows(&self) -> &'static [Kind] {
        &[Kind::Note, Kind::Todo, Kind::Gp, Kind::Person]
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::new(Links::default())
    }
}

/// Links, and whether they are there after what was folded.
#[derive(Default)]
struct Links {
    links: BTreeMap<(RecordRef, RecordRef), bool>,
    /// Records that were erased: whatever they were linked to can no longer be read, and goes.
    erased: BTreeSet<RecordRef>,
    changed: Option<i64>,
}

impl Links {
    fn erase(&mut self, owner: RecordRef) {
        self.links.retain(|(from, _), _| *from != owner);
        self.erased.insert(owner);
    }
}

impl Fold for Links {
    fn fold<'a>(
        &'a mut self,
        page: &'a [Recorded],
        _: &'a mut PgConnection,
        _: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            for recorded in page {
                if let Some(kind) = erased_kind(&recorded.event) {
                    self.erase(kind.record(recorded.id));
                    self.changed = Some(recorded.position);
                }
                let Some((owner, targets, there)) = links_of(&recorded.event) else { continue };
                let owner = owner.record(recorded.id);
                self.links.extend(targets.iter().map(|target| ((owner, *target), there)));
                self.changed = Some(recorded.position);
            }
            Ok(())
        })
    }

    fn write<'a>(
        &'a mut self,
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            let erased = std::mem::take(&mut self.erased);
            if tables != Tables::Empty && !erased.is_empty() {
                write_erased(db, &erased).await?;
            }
            let (added, removed): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.links).into_iter().partition(|(_, there)| *there);
            if tables == Tables::Empty {
                return copy(db, added).await;
            }
            write(db, INSERT, added).await?;
            write(db, DELETE, removed).await
        })
    }

    fn changed(&self) -> Option<i64> {
        self.changed
    }

    fn size(&self) -> usize {
        // A tree's nodes are about two thirds full.
        self.links.len() * size_of::<(RecordRef, RecordRef, bool)>() * 3 / 2
    }
}

async fn copy(
    db: &mut PgConnection,
    links: Vec<((RecordRef, RecordRef), bool)>,
) -> Result<(), ProjectError> {
    if links.is_empty() {
        return Ok(());
    }
    let mut copy = CopyIn::begin(db, "link", &["from_kind", "from_id", "to_kind", "to_id"]).await?;
    for ((from, to), _) in links {
        copy.text(from.kind().as_str()).int(from.id());
        copy.text(to.kind().as_str()).int(to.id()).end_row().await?;
    }
    copy.finish().await?;
    Ok(())
}

/// Whose links the event changes, which, and whether they are there afterwards.
fn links_of(event: &Event) -> Option<(Kind, &[RecordRef], bool)> {
    match event {
        Event::Note(NoteEvent::Linked { to }) => Some((Kind::Note, to, true)),
        Event::Note(NoteEvent::Unlinked { from }) => Some((Kind::Note, from, false)),
        Event::Todo(TodoEvent::Linked { to }) => Some((Kind::Todo, to, true)),
        Event::Todo(TodoEvent::Unlinked { from }) => Some((Kind::Todo, from, false)),
        Event::Gp(GpEvent::Linked { to }) => Some((Kind::Gp, to, true)),
        Event::Gp(GpEvent::Unlinked { from }) => Some((Kind::Gp, from, false)),
        Event::Person(PersonEvent::Affiliated { with }) => Some((Kind::Person, with, true)),
        Event::Person(PersonEvent::Disaffiliated { from }) => Some((Kind::Person, from, false)),
        _ => None,
    }
}

fn erased_kind(event: &Event) -> Option<Kind> {
    match event {
        Event::Person(PersonEvent::Erased { .. }) => Some(Kind::Person),
        Event::Note(NoteEvent::Erased { .. }) => Some(Kind::Note),
        _ => None,
    }
}

async fn write_erased(
    db: &mut PgConnection,
    erased: &BTreeSet<RecordRef>,
) -> Result<(), ProjectError> {
    sqlx::query(
        "delete from link using unnest($1::text[], $2::bigint[]) as gone (kind, id)
         where from_kind = gone.kind and from_id = gone.id",
    )
    .bind(erased.iter().map(|owner| owner.kind().as_str()).collect::<Vec<_>>())
    .bind(erased.iter().map(|owner| owner.id()).collect::<Vec<_>>())
    .execute(db)
    .await?;
    Ok(())
}

const INSERT: &str = "
    insert into link (from_kind, from_id, to_kind, to_id)
    select * from unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[]) on conflict do nothing";

const DELETE: &str = "
    delete from link using unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[])
        as gone (from_kind, from_id, to_kind, to_id)
    where (link.from_kind, link.from_id, link.to_kind, link.to_id)
        = (gone.from_kind, gone.from_id, gone.to_kind, gone.to_id)";

async fn write(
    db: &mut PgConnection,
    statement: &str,
    links: Vec<((RecordRef, RecordRef), bool)>,
) -> Result<(), ProjectError> {
    if links.is_empty() {
        return Ok(());
    }
    sqlx::query(statement)
        .bind(links.iter().map(|((from, _), _)| from.kind().as_str()).collect::<Vec<_>>())
        .bind(links.iter().map(|((from, _), _)| from.id()).collect::<Vec<_>>())
        .bind(links.iter().map(|((_, to), _)| to.kind().as_str()).collect::<Vec<_>>())
        .bind(links.iter().map(|((_, to), _)| to.id()).collect::<Vec<_>>())
        .execute(db)
        .await?;
    Ok(())
}

impl Reader {
    /// What a record says that it is about, in the order of kinds and ids.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn linked_to(&self, owner: RecordRef) -> Result<Vec<RecordRef>, ReadError> {
        let question = sqlx::query_as(
            "select to_kind, to_id from link where from_kind = $1 and from_id = $2 order by to_kind, to_id",
        );
        let question = question.bind(owner.kind().as_str()).bind(owner.id());
        let rows: Vec<(String, i64)> = self.database().ask(question.fetch_all(self.pool())).await?;
        let records =
            rows.into_iter().filter_map(|(kind, id)| Some(Kind::parse(&kind)?.record(id)));
        Ok(records.collect())
    }
}

/// Records linked with one, whichever of the two owns the link, in the order of their ids. Archived ends are hidden.
/// `$1` and `$2` are the kind and id of the one.
pub(super) fn linked_records(of: Kind, kind: Kind) -> String {
    let (table, owner) = (kind.as_str(), of.as_str());
    format!(
        "select record::text from {table} where not archived
             and exists (select 1 from {owner} where id = $2 and not archived)
             and id in (
                 select to_id from link where from_kind = $1 and from_id = $2 and to_kind = '{table}'
                 union select from_id from link where to_kind = $1 and to_id = $2 and from_kind = '{table}')
         order by id"
    )
}

/// Notes about one record, newest first. `$1` and `$2` are its kind and id.
pub(super) fn notes_about(of: Kind) -> String {
    let owner = of.as_str();
    format!(
        "select record::text from note where not archived
             and exists (select 1 from {owner} where id = $2 and not archived)
             and id in (select from_id from link where to_kind = $1 and to_id = $2 and from_kind = 'note')
         order by date_key desc nulls last, id"
    )
}

/// Todos that were written down in notes about one record. `$1` and `$2` are its kind and id.
pub(super) fn tasks_of(of: Kind) -> String {
    let owner = of.as_str();
    format!(
        "select todo.record::text from todo join note on note.id = todo.note_id
         where not todo.archived and not note.archived
             and exists (select 1 from {owner} where id = $2 and not archived)
             and note.id in (select from_id from link where to_kind = $1 and to_id = $2 and from_kind = 'note')
         order by todo.id"
    )
}
