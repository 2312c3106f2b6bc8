//! How each kind of record lies in its table: what stands beside the JSON text, for queries to select and sort by.

use cqrs_es::Aggregate;
use domain::{Event, Kind, Lifecycle, Moment, Record};

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

    /// The event, if it is one of this kind of record.
    fn own(event: &Event) -> Option<&<Lifecycle<Self> as Aggregate>::Event>;

    /// What a search by name looks at.
    fn name(&self) -> &str;

    /// Its id in Notion.
    fn notion_id(&self) -> Option<&str>;
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
    ($($Record:ty = $Kind:ident { name: $name:expr, $(texts: $texts:expr,)? $(wholes: $wholes:expr,)? })*) => {$(
        impl Tabled for $Record {
            $(const TEXTS: Columns<Self, String> = $texts;)?
            $(const WHOLES: Columns<Self, i64> = $wholes;)?

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
            fn notion_id(&self) -> Option<&str> {
                tabled!(@notion_id $Kind self)
            }
        }
    )*};
    (@notion_id Todo $record:ident) => { None };
    (@notion_id Roadshow $record:ident) => { None };
    (@notion_id $Kind:ident $record:ident) => { $record.details.notion_id.as_deref() };
}

tabled! {
    domain::lp::LpRecord = Lp { name: |lp| &lp.name, }
    domain::gp::GpRecord = Gp { name: |gp| &gp.name, }
    domain::distributor::DistributorRecord = Distributor { name: |distributor| &distributor.name, }
    domain::person::PersonRecord = Person { name: |person| &person.name, }
    domain::fund::FundRecord = Fund {
        name: |fund| &fund.fund_name,
        texts: &[("fund_name", |fund| Some(fund.fund_name.clone()))],
    }
    domain::note::NoteRecord = Note {
        name: |note| note.details.name.as_deref().unwrap_or_default(),
        texts: &[("date_key", |note| date_key(note.details.date))],
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
    }
    domain::roadshow::RoadshowRecord = Roadshow { name: |roadshow| &roadshow.name, }
}
