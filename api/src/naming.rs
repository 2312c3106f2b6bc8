//! Records and changes on the wire, by what people call them.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, SecondsFormat, Utc};
use domain::telling::{Part, Sentence, label};
use domain::{FactChange, Kind, RecordRef};
use serde_json::{Value, json};

use crate::app::App;
use crate::problem::Problem;

/// What some records are called now.
pub struct Names(HashMap<RecordRef, String>);

impl Names {
    /// Looks up a record and all that these changes and sentences speak of.
    ///
    /// # Errors
    /// When the read models do not answer.
    pub async fn of<'a>(
        app: &App,
        record: RecordRef,
        changes: impl IntoIterator<Item = &'a FactChange>,
        sentences: impl IntoIterator<Item = &'a Sentence>,
    ) -> Result<Self, Problem> {
        let mut wanted = BTreeSet::from([record]);
        wanted.extend(changes.into_iter().filter_map(|change| change.about));
        wanted.extend(sentences.into_iter().flat_map(|it| &it.0).filter_map(|part| match part {
            Part::Record(record) => Some(*record),
            Part::Text(_) | Part::Value(_) => None,
        }));
        let wanted: Vec<RecordRef> = wanted.into_iter().collect();
        Ok(Self(app.reader.called(&wanted).await?))
    }

    /// The bare name, if there is one.
    pub fn name(&self, record: RecordRef) -> Option<&str> {
        self.0.get(&record).map(String::as_str)
    }

    /// The record as a sentence calls it.
    pub fn call(&self, record: RecordRef) -> String {
        let noun = match record.kind() {
            Kind::Lp => "LP",
            Kind::Gp => "GP",
            kind => kind.as_str(),
        };
        match (record.kind(), self.name(record)) {
            (_, None) => format!("{noun} {}", record.id()),
            (Kind::Note | Kind::Todo, Some(name)) => format!("{noun} “{name}”"),
            (_, Some(name)) => name.to_owned(),
        }
    }
}

/// A time, to the microsecond, as the log has it.
pub fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A record by kind, id and what it is called now.
pub fn record(record: RecordRef, names: &Names) -> Value {
    json!({"kind": record.kind(), "id": record.id(), "name": names.name(record)})
}

/// A change of one fact, with the field as people call it.
pub fn change(change: &FactChange, names: &Names) -> Value {
    let mut told = json!({"field": change.field, "label": label(&change.field)});
    if let Some(about) = change.about {
        told["about"] = record(about, names);
    }
    told["from"] = change.from.clone();
    told["to"] = change.to.clone();
    told
}
