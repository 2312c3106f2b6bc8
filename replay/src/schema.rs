//! The legacy schema: which tables there are, what their rows belong to, and how a file's columns map to attributes.
//!
//! Files of all generations are read by what they hold, never by a version number: they have none.

use domain::distributor::DistributorRecord;
use domain::fund::FundRecord;
use domain::gp::GpRecord;
use domain::lp::LpRecord;
use domain::note::NoteRecord;
use domain::person::PersonRecord;
use domain::roadshow::RoadshowRecord;
use domain::todo::TodoRecord;
use domain::{Field, FieldKind, Kind, Record};

/// A table of the legacy database.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What its rows are.
    pub rows: Rows,
}

/// What the rows of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Records of this kind, by `id`.
    Records(Kind),
    /// Parts of a record: its links, or its standing with LPs.
    Parts(Part),
}

/// How rows of a table belong to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The kind of record that owns them.
    pub owner: Kind,
    /// The column with the owner's id.
    pub owner_column: &'static str,
    /// The kind of record that they point to.
    pub target: Kind,
    /// The column with its id.
    pub target_column: &'static str,
    /// The column that says how the two stand; none for a plain link.
    pub standing: Option<&'static str>,
}

const fn records(name: &'static str, kind: Kind) -> Table {
    Table { name, rows: Rows::Records(kind) }
}

const fn link(
    name: &'static str,
    (owner, owner_column): (Kind, &'static str),
    (target, target_column): (Kind, &'static str),
) -> Table {
    let part = Part { owner, owner_column, target, target_column, standing: None };
    Table { name, rows: Rows::Parts(part) }
}

const fn standing(name: &'static str, owner: (Kind, &'static str), word: &'static str) -> Table {
    let part = Part {
        owner: owner.0,
        owner_column: owner.1,
        target: Kind::Lp,
        target_column: "lp_id",
        standing: Some(word),
    };
    Table { name, rows: Rows::Parts(part) }
}

/// Every table that any generation has.
pub const TABLES: &[Table] = &[
    records("lp", Kind::Lp),
    records("gp", Kind::Gp),
    records("distributor", Kind::Distributor),
    records("person", Kind::Person),
    records("note", Kind::Note),
    records("todo", Kind::Todo),
    records("fund", Kind::Fund),
    records("roadshow", Kind::Roadshow),
    standing("fundlpinterest", (Kind::Fund, "fund_id"), "interest"),
    standing("roadshowlpstatus", (Kind::Roadshow, "roadshow_id"), "status"),
    link("gplplink", (Kind::Gp, "gp_id"), (Kind::Lp, "lp_id")),
    link("lppersonlink", (Kind::Person, "person_id"), (Kind::Lp, "lp_id")),
    link("gppersonlink", (Kind::Person, "person_id"), (Kind::Gp, "gp_id")),
    link(
        "distributorpersonlink",
        (Kind::Person, "person_id"),
        (Kind::Distributor, "distributor_id"),
    ),
    link("notelplink", (Kind::Note, "note_id"), (Kind::Lp, "lp_id")),
    link("notegplink", (Kind::Note, "note_id"), (Kind::Gp, "gp_id")),
    link("notedistributorlink", (Kind::Note, "note_id"), (Kind::Distributor, "distributor_id")),
    link("notefundlink", (Kind::Note, "note_id"), (Kind::Fund, "fund_id")),
    link("noteroadshowlink", (Kind::Note, "note_id"), (Kind::Roadshow, "roadshow_id")),
    link("todolplink", (Kind::Todo, "todo_id"), (Kind::Lp, "lp_id")),
    link("todogplink", (Kind::Todo, "todo_id"), (Kind::Gp, "gp_id")),
    link("todopersonlink", (Kind::Todo, "todo_id"), (Kind::Person, "person_id")),
    link("todofundlink", (Kind::Todo, "todo_id"), (Kind::Fund, "fund_id")),
    link("todoroadshowlink", (Kind::Todo, "todo_id"), (Kind::Roadshow, "roadshow_id")),
    link("todonotelink", (Kind::Todo, "todo_id"), (Kind::Note, "note_id")),
];

/// The tables that even the oldest file has: without them it is no legacy database.
pub const CORE: &[&str] = &["lp", "gp", "person", "note", "todo"];

/// The order in which kinds are imported. Roadshows come before funds: a roadshow's arrival is copied onto its fund,
/// and the date that the fund's own row holds has the last word.
pub const ORDER: &[Kind] = &[
    Kind::Lp,
    Kind::Gp,
    Kind::Distributor,
    Kind::Person,
    Kind::Roadshow,
    Kind::Fund,
    Kind::Note,
    Kind::Todo,
];

/// Columns that hold an id of another record, beside the link tables.
pub const REFERENCES: &[(Kind, &str, Kind)] = &[
    (Kind::Gp, "distributor_id", Kind::Distributor),
    (Kind::Roadshow, "fund_id", Kind::Fund),
    (Kind::Todo, "note_id", Kind::Note),
    (Kind::Todo, "parent_todo_id", Kind::Todo),
    (Kind::Note, "lp_id", Kind::Lp),
    (Kind::Note, "gp_id", Kind::Gp),
];

/// The column of standings with the note that was the last to mention the LP, when it was stored.
pub const LATEST_NOTE: &str = "latest_note_id";

/// The table of that name.
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

/// The tables whose rows are parts of records of this kind.
pub fn parts_of(kind: Kind) -> impl Iterator<Item = (&'static Table, Part)> {
    TABLES.iter().filter_map(move |table| match table.rows {
        Rows::Parts(part) if part.owner == kind => Some((table, part)),
        _ => None,
    })
}

/// The attributes of a kind: first those in the record itself, which are never null, then its details.
pub fn attributes(kind: Kind) -> (&'static [Field], &'static [Field]) {
    fn of<R: Record>() -> (&'static [Field], &'static [Field]) {
        (R::OWN, R::DETAILS)
    }
    match kind {
        Kind::Lp => of::<LpRecord>(),
        Kind::Gp => of::<GpRecord>(),
        Kind::Distributor => of::<DistributorRecord>(),
        Kind::Person => of::<PersonRecord>(),
        Kind::Fund => of::<FundRecord>(),
        Kind::Note => of::<NoteRecord>(),
        Kind::Todo => of::<TodoRecord>(),
        Kind::Roadshow => of::<RoadshowRecord>(),
    }
}

/// What a column of a file is to the import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The id of the record, or of the owner or target of a part.
    Key,
    /// An attribute; one that is not a detail is never null.
    Attribute {
        /// What it holds.
        kind: FieldKind,
        /// Whether it stands in the record itself, where it is never null.
        own: bool,
    },
    /// Nothing that a record has: kept verbatim.
    Extra,
}

/// What the column of a table is.
pub fn role(table: &Table, column: &str) -> Role {
    match table.rows {
        Rows::Records(_) if column == "id" => Role::Key,
        Rows::Records(kind) => {
            let (own, details) = attributes(kind);
            let found =
                |fields: &[Field]| fields.iter().find(|field| field.name == column).copied();
            match (found(own), found(details)) {
                (Some(field), _) => Role::Attribute { kind: field.kind, own: true },
                (None, Some(field)) => Role::Attribute { kind: field.kind, own: false },
                (None, None) => Role::Extra,
            }
        }
        Rows::Parts(part) if column == part.owner_column || column == part.target_column => {
            Role::Key
        }
        Rows::Parts(part) => match (part.standing, column) {
            (Some(word), _) if word == column => {
                Role::Attribute { kind: FieldKind::Text, own: true }
            }
            (Some(_), "last_contact_date") => {
                Role::Attribute { kind: FieldKind::Moment, own: false }
            }
            (Some(_), LATEST_NOTE) => Role::Attribute { kind: FieldKind::Whole, own: false },
            _ => Role::Extra,
        },
    }
}

/// The kind of the record that a column refers to, beside the keys of parts.
fn target(table: &Table, column: &str) -> Option<Kind> {
    match table.rows {
        Rows::Records(kind) => {
            let found = REFERENCES.iter().find(|(of, name, _)| (*of, *name) == (kind, column));
            found.map(|(_, _, target)| *target)
        }
        Rows::Parts(part) => part.standing.filter(|_| column == LATEST_NOTE).map(|_| Kind::Note),
    }
}

/// A table as one file has it.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Which table.
    pub table: &'static Table,
    /// Its columns, in the file's order.
    pub columns: Vec<Column>,
    /// The statement that made it.
    pub sql: String,
    /// The positions of its columns, ordered by name: the order in which they are hashed.
    pub by_name: Vec<usize>,
}

/// A column as one file has it.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// The kind of the record whose id it holds; none for keys.
    pub target: Option<Kind>,
}

impl Layout {
    /// Describes a table with these columns.
    pub fn new(table: &'static Table, names: Vec<String>, sql: String) -> Self {
        let column = |name: String| {
            let (role, target) = (role(table, &name), target(table, &name));
            Column { name, role, target }
        };
        let columns: Vec<Column> = names.into_iter().map(column).collect();
        let mut by_name: Vec<usize> = (0..columns.len()).collect();
        by_name.sort_by(|&a, &b| columns[a].name.cmp(&columns[b].name));
        Self { table, columns, sql, by_name }
    }

    /// A table with a column for each of its attributes and nothing else.
    pub fn usual(table: &'static Table) -> Self {
        let names: Vec<&str> = match table.rows {
            Rows::Records(kind) => {
                let (own, details) = attributes(kind);
                let fields = own.iter().chain(details).map(|field| field.name);
                std::iter::once("id").chain(fields).collect()
            }
            Rows::Parts(part) => {
                let standing = part.standing.map(|word| [word, "last_contact_date", LATEST_NOTE]);
                let keys = [part.owner_column, part.target_column].into_iter();
                keys.chain(standing.into_iter().flatten()).collect()
            }
        };
        Self::new(table, names.into_iter().map(str::to_owned).collect(), String::new())
    }

    /// Where the column stands.
    pub fn at(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == column)
    }

    /// The columns of the primary key.
    pub fn key_columns(&self) -> Vec<&'static str> {
        match self.table.rows {
            Rows::Records(_) => vec!["id"],
            Rows::Parts(part) => vec![part.owner_column, part.target_column],
        }
    }
}

/// Names the generation of a file with these tables, for people.
pub fn generation(layouts: &[Layout]) -> String {
    let find = |name: &str| layouts.iter().find(|layout| layout.table.name == name);
    let has = |table: &str, column: &str| find(table).is_some_and(|l| l.at(column).is_some());
    let generation = match () {
        () if has("todo", "title") => "G4",
        () if find("fund").is_some() => "G3",
        () if find("distributor").is_some() => "G2",
        () => "G1",
    };
    let migrated_note = has("note", "lp_id") && has("note", "notion_id");
    let new_links_beside_old_todo = find("todolplink").is_some() && !has("todo", "title");
    match migrated_note || new_links_beside_old_todo {
        true => format!("{generation} hybrid"),
        false => generation.to_owned(),
    }
}
