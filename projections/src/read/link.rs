//! The table of links between records, both ways.

use std::collections::BTreeMap;

use domain::gp::GpEvent;
use domain::note::NoteEvent;
use domain::person::PersonEvent;
use domain::todo::TodoEvent;
use domain::{Event, Kind, RecordRef};
use futures::future::BoxFuture;
use sqlx::PgConnection;

use crate::log::Recorded;
use crate::projector::{ProjectError, Projector};

/// Keeps the table `link`.
pub(super) struct LinkProjector;

impl Projector for LinkProjector {
    fn name(&self) -> &'static str {
        "link"
    }

    fn project<'a>(
        &'a self,
        page: &'a [Recorded],
        db: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<Option<i64>, ProjectError>> {
        Box::pin(async move {
            let mut links: BTreeMap<(RecordRef, RecordRef), bool> = BTreeMap::new();
            let mut changed = None;
            for recorded in page {
                let Some((owner, targets, there)) = links_of(&recorded.event) else { continue };
                let owner = owner.record(recorded.id);
                links.extend(targets.iter().map(|target| ((owner, *target), there)));
                changed = Some(recorded.position);
            }
            let (added, removed): (Vec<_>, Vec<_>) =
                links.into_iter().partition(|(_, there)| *there);
            write(db, INSERT, added).await?;
            write(db, DELETE, removed).await?;
            Ok(changed)
        })
    }
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
