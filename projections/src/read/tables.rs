//! How each kind of record lies in its table: what stands beside the JSON text, for queries to select and sort by.

use cqrs_es::Aggregate;
use domain::{Event, Kind, Lifecycle, Moment, Record};

use crate::projector::Table;

/// Names of columns, each with how its value is found in a record.
pub(super) type Columns<R, T> = &'static [(&'static str, fn(&R) -> Option<T>)];

/// A record that has a table of its own, named after its kind.
pub(super) trait Tabled: Record
where
    Lifecycle<Self>: Aggregate + Clone,
{
    /// The columns beside those that all tables share; all are text or null.
    const TEXTS: Columns<Self, String> = &[];
    /// Likewise, as integers.
    const WHOLES: Columns<Self, i64> = &[];
    /// What the table is indexed on beside what all tables are.
    const INDEXES: &'static [&'static str];

    /// The event, if it is one of this kind of record.
    fn own(event: &Event) -> Option<&<Lifecycle<Self> as Aggregate>::Event>;

    /// What a search by name looks at.
    fn name(&self) -> &str;
}

/// The table of a kind of record. `record` is the JSON text that readers get, so that a list is answered without decoding a
/// value; what queries select or sort by stands beside it. `version` is the sequence of the record's last event,
/// `position` that of the last event that changed the row. Archived records stay, so that restoring one is an event like
/// any other; no query shows them.
pub(super) fn table_of<R: Tabled>() -> Table
where
    Lifecycle<R>: Aggregate + Clone,
{
    let mut columns = String::from(
        "id bigint not null, version bigint not null, position bigint not null, archived boolean not null,
         record json not null, folded_name text not null collate \"C\", notion_id text",
    );
    columns.extend(R::TEXTS.iter().map(|(name, _)| format!(", {name} text collate \"C\"")));
    columns.extend(R::WHOLES.iter().map(|(name, _)| format!(", {name} bigint")));
    // Lists are kept in memory and brought up to date by what changed since.
    let indexes = std::iter::once(&"(position)").chain(R::INDEXES);
    let indexes = indexes.map(|index| (*index).to_owned()).collect();
    Table {
        name: R::KIND.as_str(),
        columns,
        long: &["record"],
        is_whole: false,
        key: &["id"],
        indexes,
    }
}

/// Lower case as SQLite's `lower()` knows it: ASCII only, so that `é` and `É` stay different.
pub(super) fn fold(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// The columns that a list of this kind is sorted by, `null` where there is none.
pub(super) fn sort_columns(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Fund => ("fund_name", "null"),
        Kind::Note => ("date_key", "null"),
        Kind::Todo => ("due_key", "priority"),
        Kind::Lp | Kind::Gp | Kind::Distributor | Kind::Person | Kind::Roadshow => ("null", "null"),
    }
}

fn date_key(moment: Option<Moment>) -> Option<String> {
    moment.map(|moment| moment.legacy_text())
}

macro_rules! tabled {
    ($($Record:ty = $Kind:ident {
        name: $name:expr, $(texts: $texts:expr,)? $(wholes: $wholes:expr,)? indexes: $indexes:expr,
    })*) => {$(
        impl Tabled for $Record {
            $(const TEXTS: Columns<Self, String> = $texts;)?
            $(const WHOLES: Columns<Self, i64> = $wholes;)?
            const INDEXES: &'static [&'static str] = $indexes;

            fn own(event: &Event) -> Option<&<Lifecycle<Self> as Aggregate>::Event> {
                match event {
                    Event::$Kind(event) => Some(event),
                    _ => None,
                }
            }
            fn name(&self) -> &str {
                let name: fn(&Self) -> &str = $name;
                name(self)
            }
        }
    )*};
}

// notion_id is unique per kind at the API; legacy files hold duplicates. A hash index, since the text may be long.
const BY_NOTION_ID: &str = "using hash (notion_id) where notion_id is not null";
// What is still to be sorted into it, every search looks through: so, in kB, it is as little as can be.
const BY_PART_OF_NAME: &str =
    "using gin (folded_name gin_trgm_ops) with (gin_pending_list_limit = 64)";

tabled! {
    domain::lp::LpRecord = Lp { name: |lp| &lp.name, indexes: &[BY_NOTION_ID, BY_PART_OF_NAME], }
    domain::gp::GpRecord = Gp { name: |gp| &gp.name, indexes: &[BY_NOTION_ID, BY_PART_OF_NAME], }
    domain::distributor::DistributorRecord = Distributor {
        name: |distributor| &distributor.name,
        indexes: &[BY_NOTION_ID, BY_PART_OF_NAME],
    }
    domain::person::PersonRecord = Person {
        name: |person| &person.name,
        indexes: &[BY_NOTION_ID, BY_PART_OF_NAME],
    }
    domain::fund::FundRecord = Fund {
        name: |fund| &fund.fund_name,
        texts: &[("fund_name", |fund| Some(fund.fund_name.clone()))],
        indexes: &[BY_NOTION_ID, BY_PART_OF_NAME],
    }
    domain::note::NoteRecord = Note {
        name: |note| note.details.name.as_deref().unwrap_or_default(),
        // The date as text that sorts by time, as the legacy database sorted it.
        texts: &[("date_key", |note| date_key(note.details.date))],
        indexes: &[BY_NOTION_ID, "(date_key desc nulls last, id) where not archived"],
    }
    domain::todo::TodoRecord = Todo {
        name: |todo| &todo.title,
        texts: &[
            ("due_key", |todo| date_key(todo.details.due_date)),
            ("status", |todo| Some(todo.status.as_str().to_owned())),
            ("priority", |todo| todo.details.priority.as_ref().map(|p| p.as_str().to_owned())),
            ("folded_tags", |todo| todo.details.tags.as_deref().map(fold)),
        ],
        wholes: &[("note_id", |todo| todo.details.note_id.map(|note| note.0))],
        indexes: &[
            "(due_key nulls first, id) where not archived",
            "(note_id) where note_id is not null",
            "using gin (folded_tags gin_trgm_ops) with (gin_pending_list_limit = 64)",
        ],
    }
    domain::roadshow::RoadshowRecord = Roadshow { name: |roadshow| &roadshow.name, indexes: &[], }
}
