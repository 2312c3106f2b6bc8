//! What a record says, fact by fact: one flat map, so that histories, comparisons and undoing speak the same words.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{
    Contact, Holds, Lifecycle, Links, LpId, Record, RecordRef, Remembered, SourceValue, Verbatim,
};

/// The name of one fact: a field, and for what is said about another record, which.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FactName {
    /// The wire name of an attribute, `archived`, `links`, `affiliations`, `interest`, `status`, … or `legacy.` and the
    /// name of a column.
    pub field: String,
    /// The other record that the fact is about.
    pub about: Option<RecordRef>,
}

/// Everything a record says. What is empty is not in it.
pub type Facts = BTreeMap<FactName, Value>;

/// One fact that is not what it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FactChange {
    /// The field.
    pub field: String,
    /// The other record that the fact is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<RecordRef>,
    /// What it was; null if there was nothing.
    pub from: Value,
    /// What it is now; null if there is nothing.
    pub to: Value,
}

impl FactChange {
    /// The fact's name.
    pub fn name(&self) -> FactName {
        FactName { field: self.field.clone(), about: self.about }
    }
}

/// Every fact in which the two differ, by name.
pub fn differences(before: &Facts, after: &Facts) -> Vec<FactChange> {
    let change = |name: &FactName, from: Option<&Value>, to: Option<&Value>| FactChange {
        field: name.field.clone(),
        about: name.about,
        from: from.cloned().unwrap_or_default(),
        to: to.cloned().unwrap_or_default(),
    };
    let mut changes: Vec<FactChange> = before
        .iter()
        .filter(|(name, from)| after.get(name) != Some(from))
        .map(|(name, from)| change(name, Some(from), after.get(name)))
        .chain(
            after
                .iter()
                .filter(|(name, _)| !before.contains_key(name))
                .map(|(name, to)| change(name, None, Some(to))),
        )
        .collect();
    changes.sort_by(|one, other| (&one.field, one.about).cmp(&(&other.field, other.about)));
    changes
}

/// Facts that do not make a record, as when a name was taken away that every record must have.
#[derive(Debug, thiserror::Error)]
#[error("this cannot be undone alone: {0}")]
pub struct ImpossibleFacts(serde_json::Error);

/// The field that says that a record was removed from use.
pub const ARCHIVED: &str = "archived";

impl<R: Record> Lifecycle<R> {
    /// Everything it says.
    pub fn facts(&self) -> Facts {
        let Some(record) = self.record() else { return Facts::new() };
        let mut facts = Facts::new();
        if let Ok(Value::Object(attributes)) = serde_json::to_value(record) {
            let said = attributes.into_iter().filter(|(_, value)| !value.is_null());
            facts.extend(said.map(|(field, value)| (FactName { field, about: None }, value)));
        }
        record.tell_beside(&mut facts);
        if self.is_archived() {
            facts.insert(FactName { field: ARCHIVED.to_owned(), about: None }, json!(true));
        }
        facts
    }

    /// The record that says this; never registered if nothing is said.
    ///
    /// # Errors
    /// [`ImpossibleFacts`] when no record can say it.
    pub fn from_facts(mut facts: Facts) -> Result<Self, ImpossibleFacts> {
        if facts.is_empty() {
            return Ok(Lifecycle::Unregistered);
        }
        let archived = FactName { field: ARCHIVED.to_owned(), about: None };
        let archived = facts.remove(&archived).is_some();
        let mut attributes = Map::new();
        for (name, value) in &facts {
            if name.about.is_none() && R::fields().any(|field| field.name == name.field) {
                attributes.insert(name.field.clone(), value.clone());
            }
        }
        let mut record: R =
            serde_json::from_value(Value::Object(attributes)).map_err(ImpossibleFacts)?;
        record.learn_beside(&facts);
        Ok(if archived { Lifecycle::Archived(record) } else { Lifecycle::Active(record) })
    }
}

/// A part of a record that stands beside its attributes.
pub(crate) trait Beside {
    /// Adds what it says, under the name of the part.
    fn tell(&self, part: &str, facts: &mut Facts);
    /// Takes in those facts that are of this part.
    fn learn(&mut self, part: &str, facts: &Facts);
}

impl Beside for Links {
    fn tell(&self, part: &str, facts: &mut Facts) {
        facts.extend(
            self.iter().map(|to| {
                (FactName { field: part.to_owned(), about: Some(to) }, Value::Bool(true))
            }),
        );
    }

    fn learn(&mut self, part: &str, facts: &Facts) {
        self.add(facts.keys().filter(|name| name.field == part).filter_map(|name| name.about));
    }
}

/// One hold is told as a text, several as a list of texts.
impl Beside for Holds {
    fn tell(&self, part: &str, facts: &mut Facts) {
        let told = match self.reasons() {
            [] => return,
            [reason] => Value::from(reason.as_str()),
            several => json!(several),
        };
        facts.insert(FactName { field: part.to_owned(), about: None }, told);
    }

    fn learn(&mut self, part: &str, facts: &Facts) {
        let name = FactName { field: part.to_owned(), about: None };
        let told = match facts.get(&name) {
            Some(Value::Array(several)) => several.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        *self = Self(told.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    }
}

const LEGACY: &str = "legacy.";

/// Facts are there or not, so a column that was explicitly NULL needs a value of its own.
fn source_value(value: &SourceValue) -> Value {
    match value {
        SourceValue::Null => json!({"sql": "NULL"}),
        value => serde_json::to_value(value).unwrap_or_default(),
    }
}

fn learn_source(legacy: &mut Verbatim, field: &str, value: &Value) {
    let Some(column) = field.strip_prefix(LEGACY) else { return };
    let value = match value {
        value if *value == json!({"sql": "NULL"}) => SourceValue::Null,
        value => match serde_json::from_value(value.clone()) {
            Ok(value) => value,
            Err(_) => return,
        },
    };
    legacy.0.insert(column.to_owned(), value);
}

impl Beside for Verbatim {
    fn tell(&self, _: &str, facts: &mut Facts) {
        facts.extend(self.0.iter().map(|(column, value)| {
            (FactName { field: format!("{LEGACY}{column}"), about: None }, source_value(value))
        }));
    }

    fn learn(&mut self, _: &str, facts: &Facts) {
        for (name, value) in facts.iter().filter(|(name, _)| name.about.is_none()) {
            learn_source(self, &name.field, value);
        }
    }
}

/// How an LP stands to a fund or a roadshow: a stage, and what is remembered besides.
pub(crate) trait Standing {
    /// What the stage is called.
    const FIELD: &'static str;
    fn at(stage: String) -> Self;
    fn stage(&self) -> &str;
    fn remembered(&self) -> &Remembered;
    fn remembered_mut(&mut self) -> &mut Remembered;
}

impl<S: Standing> Beside for BTreeMap<LpId, S> {
    fn tell(&self, _: &str, facts: &mut Facts) {
        for (lp, standing) in self {
            let about = Some(RecordRef::Lp(*lp));
            let mut tell = |field: &str, value: Value| {
                facts.insert(FactName { field: field.to_owned(), about }, value);
            };
            tell(S::FIELD, standing.stage().into());
            let Remembered { contact: Contact { date, note }, legacy } = standing.remembered();
            if let Some(date) = date {
                tell("last_contact_date", json!(date));
            }
            if let Some(note) = note {
                tell("latest_note_id", json!(note));
            }
            for (column, value) in &legacy.0 {
                tell(&format!("{LEGACY}{column}"), source_value(value));
            }
        }
    }

    /// Without a stage an LP does not stand at all, whatever else is remembered.
    fn learn(&mut self, _: &str, facts: &Facts) {
        for (name, value) in facts.iter().filter(|(name, _)| name.field == S::FIELD) {
            let (Some(RecordRef::Lp(lp)), Some(stage)) = (name.about, value.as_str()) else {
                continue;
            };
            self.insert(lp, S::at(stage.to_owned()));
        }
        for (name, value) in facts {
            let Some(RecordRef::Lp(lp)) = name.about else { continue };
            let Some(standing) = self.get_mut(&lp) else { continue };
            let remembered = standing.remembered_mut();
            match name.field.as_str() {
                "last_contact_date" => remembered.contact.date = read(value),
                "latest_note_id" => remembered.contact.note = read(value),
                field => learn_source(&mut remembered.legacy, field, value),
            }
        }
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

macro_rules! standing {
    ($Standing:ident { $field:ident: $Stage:ty }) => {
        impl crate::facts::Standing for $Standing {
            const FIELD: &'static str = stringify!($field);
            fn at(stage: String) -> Self {
                Self { $field: stage.into(), remembered: crate::Remembered::default() }
            }
            fn stage(&self) -> &str {
                self.$field.as_str()
            }
            fn remembered(&self) -> &crate::Remembered {
                &self.remembered
            }
            fn remembered_mut(&mut self) -> &mut crate::Remembered {
                &mut self.remembered
            }
        }
    };
}
pub(crate) use standing;
