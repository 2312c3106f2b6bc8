//! What records are called now.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::telling::{Part, capitalised};
use domain::{Kind, RecordRef};

use super::HistoryEntry;
use crate::database::{Database, DatabaseError};

/// What some records are called now, also those that are archived. Whatever has no name goes by its kind and id.
#[derive(Clone, Debug, Default)]
pub struct Names(HashMap<RecordRef, String>);

/// The longest name in a sentence, in characters.
const LONGEST: usize = 80;

impl Names {
    /// Looks these records up, in one query per kind.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn of(
        database: &Database,
        records: impl IntoIterator<Item = RecordRef>,
    ) -> Result<Self, DatabaseError> {
        let mut wanted: BTreeMap<Kind, BTreeSet<i64>> = BTreeMap::new();
        for record in records {
            wanted.entry(record.kind()).or_default().insert(record.id());
        }
        let mut names = HashMap::new();
        for (kind, ids) in wanted {
            let field = field(kind);
            let statement =
                format!("select id, record ->> '{field}' from {kind} where id = any ($1)");
            let question = sqlx::query_as(&statement).bind(ids.into_iter().collect::<Vec<i64>>());
            let rows: Vec<(i64, Option<String>)> =
                database.ask(question.fetch_all(&database.pool)).await?;
            names.extend(rows.into_iter().filter_map(|(id, name)| {
                let name = name.filter(|name| !name.trim().is_empty())?;
                Some((kind.record(id), name))
            }));
        }
        Ok(Self(names))
    }

    /// Takes in all records of a kind that are in use.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn add_all(
        &mut self,
        database: &Database,
        kind: Kind,
    ) -> Result<Vec<RecordRef>, DatabaseError> {
        let statement =
            format!("select id from {kind} where not archived order by folded_name, id");
        let question = sqlx::query_scalar(&statement).fetch_all(&database.pool);
        let ids: Vec<i64> = database.ask(question).await?;
        let all: Vec<RecordRef> = ids.into_iter().map(|id| kind.record(id)).collect();
        self.0.extend(Self::of(database, all.iter().copied()).await?.0);
        Ok(all)
    }

    /// Looks up all that these entries speak of.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub async fn of_entries(
        database: &Database,
        entries: &[HistoryEntry],
    ) -> Result<Self, DatabaseError> {
        let spoken_of: BTreeSet<RecordRef> = entries.iter().flat_map(spoken_of).collect();
        Self::of(database, spoken_of).await
    }

    /// The record as a sentence calls it: a note as note “…”, a todo as todo “…”, all others by name alone.
    pub fn call(&self, record: RecordRef) -> String {
        let Some(name) = self.name(record) else {
            return format!("{} {}", noun(record.kind()), record.id());
        };
        let name = shortened(name);
        match record.kind() {
            Kind::Note | Kind::Todo => format!("{} “{name}”", noun(record.kind())),
            _ => name,
        }
    }

    /// The record as a sentence begins with it: a capital is for the words before a name, never for the name.
    pub fn begin(&self, record: RecordRef) -> String {
        match (self.name(record), record.kind()) {
            (None, _) | (Some(_), Kind::Note | Kind::Todo) => capitalised(&self.call(record)),
            _ => self.call(record),
        }
    }

    /// The record in a sentence, at its beginning or not.
    pub fn told(&self, record: RecordRef, begins: bool) -> String {
        if begins { self.begin(record) } else { self.call(record) }
    }

    /// The bare name, if there is one.
    pub fn name(&self, record: RecordRef) -> Option<&str> {
        self.0.get(&record).map(String::as_str)
    }
}

/// The records that an entry speaks of.
fn spoken_of(entry: &HistoryEntry) -> impl Iterator<Item = RecordRef> + '_ {
    let said = entry.sentence.0.iter().filter_map(|part| match part {
        Part::Record(record) => Some(*record),
        Part::Text(_) | Part::Value(_) => None,
    });
    let changed = entry.changes.iter().filter_map(|change| change.about);
    entry.record.into_iter().chain(said).chain(changed)
}

/// The field that holds what a record is called.
fn field(kind: Kind) -> &'static str {
    match kind {
        Kind::Fund => "fund_name",
        Kind::Todo => "title",
        Kind::Lp | Kind::Gp | Kind::Distributor | Kind::Person | Kind::Note | Kind::Roadshow => {
            "name"
        }
    }
}

fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Lp => "LP",
        Kind::Gp => "GP",
        kind => kind.as_str(),
    }
}

fn shortened(name: &str) -> String {
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_called_by_name_and_those_without_one_by_kind_and_id() {
        let names = Names(HashMap::from([
            (Kind::Lp.record(7), "Afore XXI".to_owned()),
            (Kind::Note.record(1), "Lunch".to_owned()),
            (Kind::Todo.record(2), "x".repeat(100)),
        ]));
        let check = |record: RecordRef, expected: &str| assert_eq!(names.call(record), expected);
        check(Kind::Lp.record(7), "Afore XXI");
        check(Kind::Lp.record(8), "LP 8");
        check(Kind::Person.record(8), "person 8");
        check(Kind::Note.record(1), "note “Lunch”");
        check(Kind::Todo.record(2), &format!("todo “{}…”", "x".repeat(80)));
    }

    #[test]
    fn a_sentence_begins_with_a_name_as_it_is_written() {
        let names = Names(HashMap::from([
            (Kind::Gp.record(1), "iCapital".to_owned()),
            (Kind::Note.record(1), "eFront".to_owned()),
        ]));
        let check = |record: RecordRef, expected: &str| assert_eq!(names.begin(record), expected);
        check(Kind::Gp.record(1), "iCapital");
        check(Kind::Note.record(1), "Note “eFront”");
        check(Kind::Person.record(8), "Person 8");
    }
}
