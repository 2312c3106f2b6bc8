//! The tables of records: one row per record, holding the JSON that readers get.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use cqrs_es::Aggregate;
use domain::{Kind, Lifecycle};
use futures::future::BoxFuture;
use serde::Serialize;
use sqlx::PgConnection;

use super::tables::{Tabled, fold, table_of};
use crate::copy::CopyIn;
use crate::log::Recorded;
use crate::projector::{Fold, ProjectError, Projector, Table, Tables};

/// Keeps the table of one kind of record.
pub(super) struct RecordProjector<R>(PhantomData<fn() -> R>);

impl<R> RecordProjector<R> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<R: Tabled> Projector for RecordProjector<R>
where
    Lifecycle<R>: Aggregate + Clone,
{
    fn name(&self) -> &'static str {
        R::KIND.as_str()
    }

    fn version(&self) -> i32 {
        2
    }

    fn tables(&self) -> Vec<Table> {
        vec![table_of::<R>()]
    }

    fn follows(&self) -> &'static [Kind] {
        std::slice::from_ref(&R::KIND)
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::new(Rows::<R>::default())
    }
}

impl<R: Tabled> Fold for Rows<R>
where
    Lifecycle<R>: Aggregate + Clone,
{
    fn fold<'a>(
        &'a mut self,
        page: &'a [Recorded],
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(async move {
            if tables != Tables::Empty {
                self.load(db, earlier_ids::<R>(page)).await?;
            }
            for recorded in page {
                self.apply(recorded);
            }
            Ok(())
        })
    }

    fn write<'a>(
        &'a mut self,
        db: &'a mut PgConnection,
        tables: Tables,
    ) -> BoxFuture<'a, Result<(), ProjectError>> {
        Box::pin(self.save(db, tables))
    }

    fn changed(&self) -> Option<i64> {
        self.changed
    }

    fn size(&self) -> usize {
        self.size
    }
}

/// The records that the page changes and that were registered before it.
pub(super) fn earlier_ids<R: Tabled>(page: &[Recorded]) -> BTreeSet<i64>
where
    Lifecycle<R>: Aggregate + Clone,
{
    let mut born = BTreeSet::new();
    let mut earlier = BTreeSet::new();
    for recorded in page.iter().filter(|recorded| R::own(&recorded.event).is_some()) {
        if recorded.sequence == 1 {
            born.insert(recorded.id);
        } else if !born.contains(&recorded.id) {
            earlier.insert(recorded.id);
        }
    }
    earlier
}

/// Rows of one table on their way through a page of events.
pub(super) struct Rows<R> {
    rows: BTreeMap<i64, Row<R>>,
    changed: Option<i64>,
    size: usize,
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), changed: None, size: 0 }
    }
}

struct Row<R> {
    version: i64,
    position: i64,
    state: Lifecycle<R>,
    dirty: bool,
    /// Whether the table has it.
    is_stored: bool,
}

impl<R: Tabled> Row<R>
where
    Lifecycle<R>: Aggregate + Clone,
{
    /// Whether there is anything to write.
    fn is_there(&self) -> bool {
        self.state.record().is_some() || self.state.is_erased()
    }

    /// Whether it is shown to nobody.
    fn is_hidden(&self) -> bool {
        self.state.is_archived() || self.state.is_erased()
    }

    fn notion_id(&self) -> Option<&str> {
        self.state.record().and_then(R::notion_id)
    }

    fn folded_name(&self) -> String {
        self.state.record().map(|record| fold(record.name())).unwrap_or_default()
    }
}

/// A row as it stands in its table.
pub(super) struct Shown {
    /// The sequence of the record's last event.
    pub(super) version: i64,
    /// The last position that changed the row.
    pub(super) position: i64,
    /// Whether it is shown to nobody.
    pub(super) is_hidden: bool,
    /// The JSON text that readers get.
    pub(super) text: String,
}

/// What readers get.
#[derive(Serialize)]
struct Wire<'a, R> {
    id: i64,
    #[serde(flatten)]
    record: &'a R,
}

impl<R: Tabled> Rows<R>
where
    Lifecycle<R>: Aggregate + Clone,
{
    /// Loads the rows of these records, but for those that are in memory.
    pub(super) async fn load(
        &mut self,
        db: &mut PgConnection,
        mut ids: BTreeSet<i64>,
    ) -> Result<(), ProjectError> {
        ids.retain(|id| !self.rows.contains_key(id));
        if ids.is_empty() {
            return Ok(());
        }
        let table = R::KIND.as_str();
        let stored: Vec<(i64, i64, i64, bool, String)> = sqlx::query_as(&format!(
            "select id, version, position, archived, record::text from {table} where id = any($1)"
        ))
        .bind(ids.into_iter().collect::<Vec<_>>())
        .fetch_all(db)
        .await?;
        for (id, version, position, archived, record) in stored {
            self.size += size_of::<Row<R>>() + record.len();
            let record: Option<R> = serde_json::from_str(&record)
                .map_err(|source| ProjectError::Row { table, source })?;
            let state = match record {
                Some(record) if archived => Lifecycle::Archived(record),
                Some(record) => Lifecycle::Active(record),
                None => Lifecycle::Erased,
            };
            self.rows.insert(id, Row { version, position, state, dirty: false, is_stored: true });
        }
        Ok(())
    }

    /// Applies the event if it is one of this kind of record.
    pub(super) fn apply(&mut self, recorded: &Recorded) {
        let Some(event) = R::own(&recorded.event) else { return };
        self.size += recorded.size;
        let row = self.rows.entry(recorded.id).or_insert_with(|| {
            self.size += size_of::<Row<R>>();
            Row {
                version: 0,
                position: 0,
                state: Lifecycle::default(),
                dirty: false,
                is_stored: false,
            }
        });
        row.state.apply(event.clone());
        row.version = recorded.sequence;
        row.position = recorded.position;
        row.dirty = true;
        self.changed = Some(recorded.position);
    }

    /// Changes a record for a reason that lies outside its own stream.
    pub(super) fn amend(&mut self, id: i64, position: i64, change: impl FnOnce(&mut R)) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        if let Lifecycle::Active(record) | Lifecycle::Archived(record) = &mut row.state {
            change(record);
            row.position = position;
            row.dirty = true;
            self.changed = Some(position);
        }
    }

    /// The row of a record as its table would have it; `None` if there would be none.
    pub(super) fn shown(&self, id: i64) -> Result<Option<Shown>, ProjectError> {
        let Some(row) = self.rows.get(&id).filter(|row| row.is_there()) else { return Ok(None) };
        Ok(Some(Shown {
            version: row.version,
            position: row.position,
            is_hidden: row.is_hidden(),
            text: wire(id, row.state.record())?,
        }))
    }

    /// Writes what changed and forgets all rows.
    pub(super) async fn save(
        &mut self,
        db: &mut PgConnection,
        tables: Tables,
    ) -> Result<(), ProjectError> {
        let rows = std::mem::take(&mut self.rows);
        self.size = 0;
        if tables == Tables::Filled {
            return upsert(db, &rows).await;
        }
        let (stored, new): (BTreeMap<_, _>, BTreeMap<_, _>) =
            rows.into_iter().partition(|(_, row)| row.is_stored);
        copy(db, &new).await?;
        upsert(db, &stored).await
    }
}

/// Copies all rows into a table that holds none of them yet.
async fn copy<R: Tabled>(
    db: &mut PgConnection,
    rows: &BTreeMap<i64, Row<R>>,
) -> Result<(), ProjectError>
where
    Lifecycle<R>: Aggregate + Clone,
{
    if rows.is_empty() {
        return Ok(());
    }
    let table = R::KIND.as_str();
    let mut copy = CopyIn::begin(db, table, &columns::<R>()).await?;
    for (id, row) in rows {
        if !row.is_there() {
            continue;
        }
        let record = row.state.record();
        copy.int(*id)
            .int(row.version)
            .int(row.position)
            .flag(row.is_hidden())
            .text(&wire(*id, record)?)
            .text(&row.folded_name())
            .maybe(row.notion_id(), CopyIn::text);
        for (_, text) in R::TEXTS {
            copy.maybe(record.and_then(text).as_deref(), CopyIn::text);
        }
        for (_, whole) in R::WHOLES {
            copy.maybe(record.and_then(whole), CopyIn::int);
        }
        copy.end_row().await?;
    }
    copy.finish().await?;
    Ok(())
}

/// Writes what changed, in one statement unless it is very large.
async fn upsert<R: Tabled>(
    db: &mut PgConnection,
    rows: &BTreeMap<i64, Row<R>>,
) -> Result<(), ProjectError>
where
    Lifecycle<R>: Aggregate + Clone,
{
    let mut batch = Vec::new();
    let mut size = 0;
    for (id, row) in rows.iter().filter(|(_, row)| row.dirty && row.is_there()) {
        let text = wire(*id, row.state.record())?;
        size += text.len();
        batch.push(Dirty { id: *id, row, text });
        if size > STATEMENT_BYTES {
            write(db, &batch).await?;
            batch.clear();
            size = 0;
        }
    }
    match batch.is_empty() {
        true => Ok(()),
        false => write(db, &batch).await,
    }
}

/// The JSON text that readers get; `null` for a record that was erased, of which the row says only that it was there.
fn wire<R: Tabled>(id: i64, record: Option<&R>) -> Result<String, ProjectError>
where
    Lifecycle<R>: Aggregate + Clone,
{
    serde_json::to_string(&record.map(|record| Wire { id, record }))
        .map_err(|source| ProjectError::Row { table: R::KIND.as_str(), source })
}

/// The most text of records in one statement, but for a single record that is larger.
const STATEMENT_BYTES: usize = 4 << 20;

/// A row on its way into its table.
struct Dirty<'a, R> {
    id: i64,
    row: &'a Row<R>,
    text: String,
}

async fn write<R: Tabled>(db: &mut PgConnection, batch: &[Dirty<'_, R>]) -> Result<(), ProjectError>
where
    Lifecycle<R>: Aggregate + Clone,
{
    let statement = upsert_statement::<R>();
    let mut query = sqlx::query(&statement)
        .bind(batch.iter().map(|dirty| dirty.id).collect::<Vec<_>>())
        .bind(batch.iter().map(|dirty| dirty.row.version).collect::<Vec<_>>())
        .bind(batch.iter().map(|dirty| dirty.row.position).collect::<Vec<_>>())
        .bind(batch.iter().map(|dirty| dirty.row.is_hidden()).collect::<Vec<_>>())
        .bind(batch.iter().map(|dirty| dirty.text.as_str()).collect::<Vec<_>>())
        .bind(batch.iter().map(|dirty| dirty.row.folded_name()).collect::<Vec<_>>())
        .bind(batch.iter().map(|dirty| dirty.row.notion_id()).collect::<Vec<_>>());
    for (_, text) in R::TEXTS {
        query = query.bind(
            batch.iter().map(|dirty| dirty.row.state.record().and_then(text)).collect::<Vec<_>>(),
        );
    }
    for (_, whole) in R::WHOLES {
        query = query.bind(
            batch.iter().map(|dirty| dirty.row.state.record().and_then(whole)).collect::<Vec<_>>(),
        );
    }
    query.execute(db).await?;
    Ok(())
}

/// The columns of the table, in the order in which they are written.
fn columns<R: Tabled>() -> Vec<&'static str>
where
    Lifecycle<R>: Aggregate + Clone,
{
    let mut columns =
        vec!["id", "version", "position", "archived", "record", "folded_name", "notion_id"];
    columns.extend(R::TEXTS.iter().map(|(column, _)| *column));
    columns.extend(R::WHOLES.iter().map(|(column, _)| *column));
    columns
}

fn upsert_statement<R: Tabled>() -> String
where
    Lifecycle<R>: Aggregate + Clone,
{
    let table = R::KIND.as_str();
    let columns = columns::<R>();
    let mut types = vec!["bigint", "bigint", "bigint", "boolean", "text", "text", "text"];
    types.extend(R::TEXTS.iter().map(|_| "text"));
    types.extend(R::WHOLES.iter().map(|_| "bigint"));
    let arrays: Vec<String> =
        types.iter().enumerate().map(|(at, kind)| format!("${}::{kind}[]", at + 1)).collect();
    let values: Vec<String> = columns
        .iter()
        .map(
            |column| {
                if *column == "record" { "record::json".to_owned() } else { (*column).to_owned() }
            },
        )
        .collect();
    let updates: Vec<String> =
        columns[1..].iter().map(|column| format!("{column} = excluded.{column}")).collect();
    let (columns, arrays) = (columns.join(", "), arrays.join(", "));
    format!(
        "insert into {table} ({columns}) select {} from unnest({arrays}) as new ({columns})
         on conflict (id) do update set {}",
        values.join(", "),
        updates.join(", ")
    )
}
