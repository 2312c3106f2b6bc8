//! The way back: the rows of the legacy tables as the log tells them, value by value.
//!
//! It shows that the import lost nothing, and is the basis of an export.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cqrs_es::Aggregate;
use domain::distributor::Distributor;
use domain::fund::Fund;
use domain::gp::Gp;
use domain::import::ImportEvent;
use domain::lp::Lp;
use domain::note::Note;
use domain::person::Person;
use domain::roadshow::Roadshow;
use domain::todo::Todo;
use domain::{Event, Kind, Record, RecordRef, SourceValue, Verbatim};
use projections::files::Files;
use projections::log::{Keys, LogReader, PageLimit, Recorded};
use serde_json::{Map, Value as Json, json};
use sqlx::PgPool;

use crate::convert::{Canonical, canonical};
use crate::error::ImportError;
use crate::reader::{BESIDE_LINK, SCHEMA_TABLE};
use crate::record::Imported;
use crate::schema::{self, Layout, Part, Role, Rows};
use crate::unit::{INFERRED, Standing};

/// A row: column → value.
pub type SourceRow = BTreeMap<String, SourceValue>;

/// All rows: table → rows.
pub type SourceRows = BTreeMap<String, Vec<SourceRow>>;

/// Tells from the log alone what the legacy tables would hold. Changes made in crm are part of it.
///
/// # Errors
/// When the log or a stored file cannot be read.
pub async fn reconstruct(
    pool: &PgPool,
    keys: &Keys,
    files: &Files,
) -> Result<SourceRows, ImportError> {
    let log = Log::read(pool, keys).await?;
    let mut tables = SourceRows::new();
    for layout in log.layouts() {
        let rows = match layout.table.rows {
            Rows::Records(kind) => log.record_rows(&layout, kind, files).await?,
            Rows::Parts(part) => log.part_rows(&layout, part),
        };
        tables.insert(layout.table.name.to_owned(), rows);
    }
    for ((table, _), values) in log.kept {
        if table != SCHEMA_TABLE {
            tables.entry(table).or_default().push(values.0);
        }
    }
    Ok(tables)
}

/// A record in use, as its events tell it.
struct Told {
    attributes: Map<String, Json>,
    legacy: Verbatim,
    links: Vec<RecordRef>,
    standings: Vec<Standing>,
}

/// What all events of the log amount to.
#[derive(Default)]
struct Log {
    records: BTreeMap<(Kind, i64), Told>,
    kept: BTreeMap<(String, String), Verbatim>,
}

impl Log {
    async fn read(pool: &PgPool, keys: &Keys) -> Result<Self, ImportError> {
        let mut states: HashMap<(Kind, i64), State> = HashMap::new();
        let mut log = Log::default();
        let mut connection = pool.acquire().await?;
        let (reader, mut position) = (LogReader::new(keys.clone()), 0);
        loop {
            let limit = PageLimit { events: 500 };
            let page = reader.read_after(&mut connection, position, limit).await?;
            let Some(last) = page.last() else { break };
            position = last.position;
            for Recorded { id, event, .. } in page {
                if let Some(kind) = kind_of(&event) {
                    states.entry((kind, id)).or_insert_with(|| State::of(kind)).apply(event);
                } else if let Event::Import(event) = event {
                    log.keep(event);
                }
            }
        }
        let told = states.into_iter().filter_map(|(key, state)| Some((key, state.told()?)));
        log.records = told.collect();
        Ok(log)
    }

    fn keep(&mut self, event: ImportEvent) {
        match event {
            ImportEvent::RowKept { table, key, values } => {
                self.kept.insert((table, key), values);
            }
            ImportEvent::RowReleased { table, key } => {
                self.kept.remove(&(table, key));
            }
        }
    }

    /// The tables as the last imported file had them; if there was none, as their attributes would have it.
    fn layouts(&self) -> Vec<Layout> {
        let imported: Vec<Layout> = schema::TABLES
            .iter()
            .filter_map(|table| {
                let key = (SCHEMA_TABLE.to_owned(), table.name.to_owned());
                let described = &self.kept.get(&key)?.0;
                let text = |name: &str| match described.get(name) {
                    Some(SourceValue::Text(text)) => text.as_str(),
                    _ => "",
                };
                let columns = serde_json::from_str(text("columns")).ok()?;
                Some(Layout::new(table, columns, text("sql").to_owned()))
            })
            .collect();
        match imported.is_empty() {
            true => schema::TABLES.iter().map(Layout::usual).collect(),
            false => imported,
        }
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (i64, &Told)> {
        let range = (kind, i64::MIN)..=(kind, i64::MAX);
        self.records.range(range).map(|((_, id), told)| (*id, told))
    }

    async fn record_rows(
        &self,
        layout: &Layout,
        kind: Kind,
        files: &Files,
    ) -> Result<Vec<SourceRow>, ImportError> {
        let mut rows = Vec::new();
        for (id, told) in self.of_kind(kind) {
            let mut row = told_row(layout, &told.attributes, &told.legacy);
            row.insert("id".to_owned(), Canonical::Value(SourceValue::Integer(id)));
            let mut whole = SourceRow::new();
            for (column, value) in row {
                whole.insert(column, fetch(value, files).await?);
            }
            rows.push(whole);
        }
        Ok(rows)
    }

    fn part_rows(&self, layout: &Layout, part: Part) -> Vec<SourceRow> {
        let table = layout.table.name;
        let kept: BTreeSet<&str> =
            self.kept.keys().filter(|(t, _)| t == table).map(|(_, key)| key.as_str()).collect();
        let mut rows = Vec::new();
        for (id, told) in self.of_kind(part.owner) {
            let keys = |target: i64| {
                [(part.owner_column, id), (part.target_column, target)]
                    .map(|(column, id)| (column.to_owned(), SourceValue::Integer(id)))
            };
            for link in told.links.iter().filter(|link| link.kind() == part.target) {
                let key = format!("{id},{}{BESIDE_LINK}", link.id());
                if part.standing.is_some() || told.is_inferred(*link) || kept.contains(key.as_str())
                {
                    continue;
                }
                let row = plain(told_row(layout, &Map::new(), &Verbatim::default()));
                rows.push(row.into_iter().chain(keys(link.id())).collect());
            }
            let standings = told.standings.iter().filter(|_| part.standing.is_some());
            for standing in standings {
                let word = part.standing.unwrap_or_default();
                let attributes = standing_attributes(word, standing);
                let row = plain(told_row(layout, &attributes, &standing.remembered.legacy));
                rows.push(row.into_iter().chain(keys(standing.lp.0)).collect());
            }
        }
        rows
    }
}

impl Told {
    /// Whether no link row states this link.
    fn is_inferred(&self, link: RecordRef) -> bool {
        let Some(SourceValue::Text(inferred)) = self.legacy.0.get(INFERRED) else { return false };
        let name = format!("{}:{}", link.kind(), link.id());
        inferred.split(',').any(|one| one == name)
    }
}

fn standing_attributes(word: &str, standing: &Standing) -> Map<String, Json> {
    let mut attributes = Map::new();
    attributes.insert(word.to_owned(), json!(standing.word));
    attributes.insert("last_contact_date".to_owned(), json!(standing.remembered.contact.date));
    attributes.insert("latest_note_id".to_owned(), json!(standing.remembered.contact.note));
    attributes
}

fn told_row(
    layout: &Layout,
    attributes: &Map<String, Json>,
    legacy: &Verbatim,
) -> BTreeMap<String, Canonical> {
    let value = |column: &schema::Column| match (legacy.0.get(&column.name), column.role) {
        (Some(value), _) => Canonical::Value(value.clone()),
        (None, Role::Attribute { kind, .. }) => {
            canonical(kind, attributes.get(&column.name).unwrap_or(&Json::Null))
        }
        (None, Role::Key | Role::Extra) => Canonical::Value(SourceValue::Null),
    };
    layout.columns.iter().map(|column| (column.name.clone(), value(column))).collect()
}

/// A row of a table that has no documents.
fn plain(row: BTreeMap<String, Canonical>) -> SourceRow {
    let value = |value| match value {
        Canonical::Value(value) => value,
        Canonical::File(_) => SourceValue::Null,
    };
    row.into_iter().map(|(column, stored)| (column, value(stored))).collect()
}

async fn fetch(value: Canonical, files: &Files) -> Result<SourceValue, ImportError> {
    match value {
        Canonical::Value(value) => Ok(value),
        Canonical::File(sha256) => {
            let bytes = files.get(&sha256).await?;
            Ok((&crate::convert::Cell::Text(bytes)).into())
        }
    }
}

fn told<A: Imported>(aggregate: &A) -> Option<Told> {
    let record = aggregate.stage().active().ok()?;
    let Ok(Json::Object(attributes)) = serde_json::to_value(record) else { return None };
    let (links, standings) = (A::links(record), A::standings(record));
    Some(Told { attributes, legacy: record.legacy().clone(), links, standings })
}

macro_rules! states {
    ($($Kind:ident),*) => {
        /// A record of any kind.
        enum State { $($Kind($Kind)),* }

        /// The kind of record that the event is about, if any.
        fn kind_of(event: &Event) -> Option<Kind> {
            match event {
                $(Event::$Kind(_) => Some(Kind::$Kind),)*
                Event::Import(_) | Event::Erased(_) => None,
            }
        }

        impl State {
            fn of(kind: Kind) -> Self {
                match kind { $(Kind::$Kind => State::$Kind($Kind::default())),* }
            }

            fn apply(&mut self, event: Event) {
                match (self, event) {
                    $((State::$Kind(state), Event::$Kind(event)) => state.apply(event),)*
                    _ => {}
                }
            }

            fn told(&self) -> Option<Told> {
                match self { $(State::$Kind(state) => told(state)),* }
            }
        }
    };
}

states!(Lp, Gp, Distributor, Person, Fund, Note, Todo, Roadshow);
