//! What the legacy server would answer for a file, read by other code than the product's: SQLite itself joins, filters
//! and sorts.

use std::path::Path;

use chrono::{DateTime, FixedOffset, NaiveDateTime, Timelike as _};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, ToSql};
use serde_json::{Map, Value, json};

/// How the legacy server ordered each list.
pub const LISTS: &[(&str, &str, &str)] = &[
    ("lps", "lp", "id"),
    ("gps", "gp", "id"),
    ("distributors", "distributor", "id"),
    ("people", "person", "id"),
    ("funds", "fund", "fund_name, id"),
    ("notes", "note", "date desc, id"),
    ("todos", "todo", "due_date, priority desc, id"),
    ("roadshows", "roadshow", "id"),
];

/// A list of records that are linked with one.
pub struct Relation {
    /// The path of the one's kind and the name of the list.
    pub path: (&'static str, &'static str),
    /// The link table with the one's and the others' column.
    pub link: (&'static str, &'static str, &'static str),
    /// The table of the others.
    pub others: &'static str,
    order: &'static str,
}

const fn relation(
    path: (&'static str, &'static str),
    link: (&'static str, &'static str, &'static str),
    others: &'static str,
) -> Relation {
    Relation { path, link, others, order: "id" }
}

const fn notes(
    path: (&'static str, &'static str),
    link: (&'static str, &'static str, &'static str),
) -> Relation {
    Relation { path, link, others: "note", order: "date desc, id" }
}

/// Every list of linked records; the last nine had no endpoint before.
pub const RELATIONS: &[Relation] = &[
    relation(("lps", "people"), ("lppersonlink", "lp_id", "person_id"), "person"),
    notes(("lps", "notes"), ("notelplink", "lp_id", "note_id")),
    relation(("gps", "people"), ("gppersonlink", "gp_id", "person_id"), "person"),
    notes(("gps", "notes"), ("notegplink", "gp_id", "note_id")),
    notes(("funds", "notes"), ("notefundlink", "fund_id", "note_id")),
    relation(("people", "lps"), ("lppersonlink", "person_id", "lp_id"), "lp"),
    relation(("people", "gps"), ("gppersonlink", "person_id", "gp_id"), "gp"),
    relation(("notes", "lps"), ("notelplink", "note_id", "lp_id"), "lp"),
    relation(("notes", "gps"), ("notegplink", "note_id", "gp_id"), "gp"),
    relation(("notes", "funds"), ("notefundlink", "note_id", "fund_id"), "fund"),
    relation(("todos", "lps"), ("todolplink", "todo_id", "lp_id"), "lp"),
    relation(("todos", "gps"), ("todogplink", "todo_id", "gp_id"), "gp"),
    relation(("todos", "people"), ("todopersonlink", "todo_id", "person_id"), "person"),
    relation(("todos", "funds"), ("todofundlink", "todo_id", "fund_id"), "fund"),
    relation(("todos", "roadshows"), ("todoroadshowlink", "todo_id", "roadshow_id"), "roadshow"),
    relation(("todos", "notes"), ("todonotelink", "todo_id", "note_id"), "note"),
    relation(("notes", "roadshows"), ("noteroadshowlink", "note_id", "roadshow_id"), "roadshow"),
    notes(("roadshows", "notes"), ("noteroadshowlink", "roadshow_id", "note_id")),
    relation(
        ("notes", "distributors"),
        ("notedistributorlink", "note_id", "distributor_id"),
        "distributor",
    ),
    notes(("distributors", "notes"), ("notedistributorlink", "distributor_id", "note_id")),
    relation(("gps", "lps"), ("gplplink", "gp_id", "lp_id"), "lp"),
    relation(("lps", "gps"), ("gplplink", "lp_id", "gp_id"), "gp"),
    relation(
        ("people", "distributors"),
        ("distributorpersonlink", "person_id", "distributor_id"),
        "distributor",
    ),
    relation(
        ("distributors", "people"),
        ("distributorpersonlink", "distributor_id", "person_id"),
        "person",
    ),
];

/// The table behind the first part of a path.
pub fn table(path: &str) -> &'static str {
    LISTS.iter().find(|(name, ..)| *name == path).unwrap().1
}

/// A legacy database.
pub struct Legacy(Connection);

impl Legacy {
    /// Opens one to read it.
    pub fn open(file: &Path) -> Self {
        Self(Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap())
    }

    /// The columns of a table with their declared types.
    pub fn columns(&self, table: &str) -> Vec<(String, String)> {
        let mut statement = self.0.prepare("select name, type from pragma_table_info(?1)").unwrap();
        let columns =
            statement.query_map([table], |row| Ok((row.get(0).unwrap(), row.get(1).unwrap())));
        columns.unwrap().map(Result::unwrap).collect()
    }

    /// Rows of a table as they were sent; `tail` says which, in which order.
    pub fn rows(&self, table: &str, tail: &str, parameters: &[&dyn ToSql]) -> Vec<Value> {
        let columns = self.columns(table);
        let mut statement =
            self.0.prepare(&format!("select {table}.* from {table} {tail}")).unwrap();
        let mut rows = statement.query(parameters).unwrap();
        let mut found = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let members = columns.iter().enumerate().map(|(at, (name, declared))| {
                (name.clone(), sent(name, declared, row.get_ref(at).unwrap()))
            });
            found.push(Value::Object(members.collect::<Map<_, _>>()));
        }
        found
    }

    /// A whole list.
    pub fn list(&self, path: &str) -> Vec<Value> {
        let (_, table, order) = LISTS.iter().find(|(name, ..)| *name == path).unwrap();
        self.rows(table, &format!("order by {order}"), &[])
    }

    /// The records linked with one.
    pub fn linked(&self, relation: &Relation, id: i64) -> Vec<Value> {
        let (link, own, other) = relation.link;
        let tail = format!(
            "where id in (select {other} from {link} where {own} = ?1) order by {}",
            relation.order
        );
        self.rows(relation.others, &tail, &[&id])
    }

    /// The todos that came out of the notes about an LP or GP.
    pub fn tasks(&self, path: &str, id: i64) -> Vec<Value> {
        let owner = table(path);
        let tail = format!(
            "where note_id in (select id from note join note{owner}link on note_id = id where {owner}_id = ?1)
             order by id"
        );
        self.rows("todo", &tail, &[&id])
    }

    /// The first ten records whose name contains a text.
    pub fn search(&self, path: &str, text: &str) -> Vec<Value> {
        let name = if path == "funds" { "fund_name" } else { "name" };
        let tail = format!("where lower({name}) like lower('%' || ?1 || '%') order by id limit 10");
        self.rows(table(path), &tail, &[&text])
    }

    /// The todos that pass filters, such as `("status", "pending")`.
    pub fn todos(&self, filters: &[(&str, &str)]) -> Vec<Value> {
        let conditions: Vec<String> = filters
            .iter()
            .enumerate()
            .map(|(at, (name, _))| {
                let at = at + 1;
                match *name {
                    "tag" => format!("tags like '%' || ?{at} || '%'"),
                    "due_before" => format!("due_date < ?{at}"),
                    "due_after" => format!("due_date > ?{at}"),
                    exact => format!("{exact} = ?{at}"),
                }
            })
            .collect();
        let values: Vec<&dyn ToSql> =
            filters.iter().map(|(_, value)| value as &dyn ToSql).collect();
        let tail =
            format!("where {} order by due_date, priority desc, id", conditions.join(" and "));
        self.rows("todo", &tail, &values)
    }

    /// How an LP stands to a fund or roadshow: the word, if there is one.
    pub fn standing(&self, owner: &str, id: i64, lp: i64) -> Option<String> {
        let (table, word) = standings(owner);
        let question = format!("select {word} from {table} where {owner}_id = ?1 and lp_id = ?2");
        self.0.query_row(&question, [id, lp], |row| row.get(0)).ok()
    }

    /// The newest notes that an LP has in common with a fund or roadshow: more than one if their dates are equal.
    pub fn newest_common_notes(&self, owner: &str, id: i64, lp: i64) -> Vec<(i64, Value)> {
        let tail = format!(
            "where id in (select note_id from note{owner}link where {owner}_id = ?1)
                 and id in (select note_id from notelplink where lp_id = ?2)"
        );
        let notes = self.rows("note", &tail, &[&id, &lp]);
        let newest = notes.iter().map(|note| wall(&note["date"])).max().flatten();
        notes
            .iter()
            .filter(|note| wall(&note["date"]) == newest)
            .map(|note| (note["id"].as_i64().unwrap(), note["date"].clone()))
            .collect()
    }
}

/// The table of standings to a kind of record, and its word.
fn standings(owner: &str) -> (&'static str, &'static str) {
    match owner {
        "fund" => ("fundlpinterest", "interest"),
        _ => ("roadshowlpstatus", "status"),
    }
}

/// A stored value as it was sent. What a column's type cannot hold is null, U+0000 is replaced, and so is in a name
/// whatever is no text.
fn sent(name: &str, declared: &str, value: ValueRef<'_>) -> Value {
    match (declared, value) {
        (_, ValueRef::Null) => Value::Null,
        ("VARCHAR", ValueRef::Text(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => text.replace('\0', "\u{fffd}").into(),
            Err(_) => unreadable(name, bytes),
        },
        ("VARCHAR", ValueRef::Blob(bytes)) => unreadable(name, bytes),
        ("FLOAT", ValueRef::Real(number)) if number.is_finite() => json!(number + 0.0),
        ("INTEGER", ValueRef::Integer(number)) => json!(number),
        ("FLOAT" | "INTEGER", ValueRef::Text(_) | ValueRef::Real(_)) => Value::Null,
        ("BOOLEAN", value) => json!(!matches!(value, ValueRef::Integer(0))),
        ("DATETIME", ValueRef::Text(text)) => {
            moment(std::str::from_utf8(text).unwrap()).map(Value::from).unwrap_or_default()
        }
        ("DATETIME", ValueRef::Integer(_)) => Value::Null,
        (declared, value) => panic!("{value:?} in a column declared {declared}"),
    }
}

/// Bytes that are no text: a name is needed anyway.
fn unreadable(name: &str, bytes: &[u8]) -> Value {
    match name {
        "name" => String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}").into(),
        _ => Value::Null,
    }
}

/// A stored date as it was sent, if it is one.
fn moment(stored: &str) -> Option<String> {
    let mut text = stored.replacen('T', " ", 1).replace('Z', "+00:00");
    if text.len() == 10 {
        text.push_str(" 00:00:00");
    }
    let zoned = DateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f%:z");
    let (wall, zone): (NaiveDateTime, Option<FixedOffset>) = match zoned {
        Ok(zoned) => (zoned.naive_local(), Some(*zoned.offset())),
        Err(_) => (NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f").ok()?, None),
    };
    let fraction = match wall.nanosecond() {
        0 => String::new(),
        nanos => format!(".{:06}", nanos / 1000),
    };
    let zone = match zone {
        None => String::new(),
        Some(zone) if zone.local_minus_utc() == 0 => "Z".into(),
        Some(zone) => zone.to_string(),
    };
    Some(format!("{}{fraction}{zone}", wall.format("%Y-%m-%dT%H:%M:%S")))
}

/// The wall time of a date as sent, as text that sorts by time.
pub fn wall(sent: &Value) -> Option<String> {
    let text = sent.as_str()?;
    let (clock, rest) = text.split_at(19);
    let fraction = rest.get(..7).filter(|fraction| fraction.starts_with('.')).unwrap_or(".000000");
    Some(format!("{clock}{fraction}"))
}

/// The list with records of equal wall time by id: how a date was spelled decides nothing.
pub fn untied(mut list: Vec<Value>, date: &str) -> Vec<Value> {
    for run in list.chunk_by_mut(|one, next| wall(&one[date]) == wall(&next[date])) {
        run.sort_by_key(|row| row["id"].as_i64());
    }
    list
}
