//! What a client sent for a record, attribute by attribute: required, defaulted, coerced.

use chrono::Utc;
use domain::{Field, Kind, Moment, Record};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::body::Members;
use crate::coerce::{coerce, type_fault};
use crate::json::Json;
use crate::problem::{Fault, Problem};

/// Whether a record is made or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// POST: what is required must be there, defaults stand in for what is absent or null.
    Register,
    /// PUT: what is absent stays.
    Revise,
}

/// What a client sent for a record, in the types of its attributes.
#[derive(Clone, Debug)]
pub struct Form {
    occasion: Occasion,
    sent: Map<String, Value>,
    /// Those that stand in the record itself, not among its details.
    own: &'static [Field],
}

impl Form {
    /// Reads the members of a body.
    ///
    /// # Errors
    /// [`Problem::Invalid`] with everything that is wrong.
    pub fn read<R: Record>(members: &Members, occasion: Occasion) -> Result<Self, Problem> {
        let (mut sent, mut faults) = (Map::new(), Vec::new());
        for field in R::fields() {
            let given = members.iter().find(|(name, _)| name == field.name).map(|(_, value)| value);
            match value_of::<R>(field, given, occasion) {
                Ok(Some(value)) => _ = sent.insert(field.name.to_owned(), value),
                Ok(None) => {}
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() {
            Ok(Self { occasion, sent, own: R::OWN })
        } else {
            Err(Problem::Invalid(faults))
        }
    }

    /// One attribute, if it was sent.
    ///
    /// # Errors
    /// [`Problem::Internal`] if it does not have the type of its attribute.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Problem> {
        self.sent.get(name).map(|value| typed(value.clone())).transpose()
    }

    /// An attribute that is required of every new record.
    ///
    /// # Errors
    /// [`Problem::Invalid`] if it was not sent.
    pub fn require<T: DeserializeOwned>(&self, name: &str) -> Result<T, Problem> {
        self.get(name)?
            .ok_or_else(|| Problem::invalid(Fault::missing(["body".into(), name.into()])))
    }

    /// A text attribute, if it was sent and is not null.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.sent.get(name).and_then(Value::as_str)
    }

    /// Replaces the value of one attribute.
    pub fn set(&mut self, name: &str, value: Value) {
        self.sent.insert(name.to_owned(), value);
    }

    /// The record's details, as the aggregate takes them.
    ///
    /// # Errors
    /// [`Problem::Internal`] if they do not have the types of the attributes.
    pub fn changes<C: DeserializeOwned>(&self) -> Result<C, Problem> {
        let mut details = self.sent.clone();
        details.retain(|name, _| self.own.iter().all(|field| field.name != name));
        typed(Value::Object(details))
    }

    /// Whether the record is made or changed.
    pub fn occasion(&self) -> Occasion {
        self.occasion
    }

    /// Everything that was sent.
    pub fn sent(&self) -> &Map<String, Value> {
        &self.sent
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| Problem::Internal(error.into()))
}

fn value_of<R: Record>(
    field: &Field,
    given: Option<&Json>,
    occasion: Occasion,
) -> Result<Option<Value>, Fault> {
    let value = match given {
        None => None,
        Some(Json::Null) => Some(Value::Null),
        Some(given) => {
            let coerced = coerce(field.kind, given, forgives_dates(R::KIND, field.name));
            let fault = |fault: Fault| {
                fault.at(["body".into(), field.name.into()]).with_input(given.shown())
            };
            Some(coerced.map_err(fault)?)
        }
    };
    let is_required = R::REQUIRED.contains(&field.name);
    match (value, occasion) {
        (Some(value), _) if !value.is_null() => Ok(Some(value)),
        (None, Occasion::Revise) => Ok(None),
        (Some(_), Occasion::Revise) if is_required => Err(null_fault(field)),
        (value, Occasion::Revise) => Ok(value),
        (value, Occasion::Register) => match default_of(R::KIND, field.name) {
            Some(default) => Ok(Some(default)),
            None if is_required && value.is_none() => {
                Err(Fault::missing(["body".into(), field.name.into()]))
            }
            None if is_required => Err(null_fault(field)),
            None => Ok(value),
        },
    }
}

/// Where a date that cannot be read counts as none.
fn forgives_dates(kind: Kind, field: &str) -> bool {
    match kind {
        Kind::Fund | Kind::Note => true,
        Kind::Todo => field == "due_date",
        _ => false,
    }
}

/// What stands in a new record when nothing or null was sent.
fn default_of(kind: Kind, field: &str) -> Option<Value> {
    Some(match (kind, field) {
        (Kind::Note, "raw_notes" | "summary") => "".into(),
        (Kind::Todo, "status") => "pending".into(),
        (Kind::Todo, "priority") => "medium".into(),
        (Kind::Todo, "created_at") => Moment::from(Utc::now().naive_utc()).to_string().into(),
        (Kind::Roadshow, "lv_flight" | "lv_hotel" | "mty_driver" | "cdmx_driver") => "None".into(),
        _ => return None,
    })
}

fn null_fault(field: &Field) -> Fault {
    type_fault(field.kind).at(["body".into(), field.name.into()])
}

#[cfg(test)]
mod tests {
    use domain::fund::{FundChanges, FundRecord};
    use domain::lp::{LpChanges, LpRecord};
    use domain::note::NoteRecord;
    use domain::roadshow::{RoadshowChanges, RoadshowRecord};
    use domain::todo::{TodoChanges, TodoRecord};
    use domain::{Change, Document};
    use serde_json::json;

    use super::*;

    fn read<R: Record>(text: &str, occasion: Occasion) -> Result<Value, Vec<String>> {
        let members = crate::json::parse(text).unwrap().into_members().unwrap();
        match Form::read::<R>(&members, occasion) {
            Ok(form) => Ok(Value::Object(form.sent)),
            Err(Problem::Invalid(faults)) => {
                Err(faults.iter().map(|fault| format!("{fault:?}")).collect())
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    fn revised<R: Record>(text: &str, expected: Value) {
        assert_eq!(read::<R>(text, Occasion::Revise), Ok(expected), "{text}");
    }

    fn refused<R: Record>(text: &str, kinds: &[&str]) {
        let faults = read::<R>(text, Occasion::Revise).expect_err(text);
        assert_eq!(faults.len(), kinds.len(), "{text}: {faults:?}");
        for (fault, kind) in faults.iter().zip(kinds) {
            assert!(fault.contains(&format!("{kind:?}")), "{text}: {fault}");
        }
    }

    #[test]
    fn dates_are_forgiven_where_they_always_were() {
        revised::<NoteRecord>(r#"{"date": ""}"#, json!({"date": null}));
        revised::<FundRecord>(r#"{"launch": "soon"}"#, json!({"launch": null}));
        revised::<TodoRecord>(r#"{"due_date": "soon"}"#, json!({"due_date": null}));
        refused::<TodoRecord>(r#"{"completed_at": "soon"}"#, &["datetime_parsing"]);
        refused::<RoadshowRecord>(r#"{"arrival": ""}"#, &["datetime_parsing"]);
        refused::<NoteRecord>(r#"{"date": 5}"#, &["datetime_type"]);
    }

    #[test]
    fn all_faults_of_a_body_are_told_at_once() {
        let text = r#"{"title": null, "description": [], "due_date": 1, "status": null, "created_at": "x", "id": "?"}"#;
        let kinds =
            ["string_type", "string_type", "string_type", "datetime_parsing", "datetime_type"];
        refused::<TodoRecord>(text, &kinds);
        let faults = read::<RoadshowRecord>("{}", Occasion::Register).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
    }

    #[test]
    fn defaults_stand_in_for_absent_and_null_in_a_new_record_only() {
        let register = |text: &str| read::<TodoRecord>(text, Occasion::Register).unwrap();
        for text in [
            r#"{"title": "x"}"#,
            r#"{"title": "x", "status": null, "priority": null, "created_at": null}"#,
        ] {
            let sent = register(text);
            assert_eq!((&sent["status"], &sent["priority"]), (&json!("pending"), &json!("medium")));
            assert!(Moment::parse(sent["created_at"].as_str().unwrap()).is_ok());
        }
        revised::<TodoRecord>(r#"{"priority": null}"#, json!({"priority": null}));
        refused::<RoadshowRecord>(r#"{"lv_hotel": null}"#, &["string_type"]);
        revised::<LpRecord>("{}", json!({}));
    }

    #[test]
    fn a_form_becomes_the_changes_of_its_aggregate() {
        let form = |members: &str| crate::json::parse(members).unwrap().into_members().unwrap();
        let lp = Form::read::<LpRecord>(
            &form(r#"{"advisor": null, "aum_billions": "2", "id": 7}"#),
            Occasion::Revise,
        );
        let changes: LpChanges = lp.unwrap().changes().unwrap();
        assert_eq!((changes.advisor, changes.aum_billions), (Change::Clear, Change::Set(2.0)));
        assert!(changes.location.is_keep());
        let roadshow =
            Form::read::<RoadshowRecord>(&form(r#"{"flight_images": "[]"}"#), Occasion::Revise);
        let changes: RoadshowChanges = roadshow.unwrap().changes().unwrap();
        assert_eq!(changes.flight_images, Change::Set(Document::Text("[]".into())));
        let fund = Form::read::<FundRecord>(
            &form(r#"{"status": "Hot", "days_to_rs": "3"}"#),
            Occasion::Revise,
        );
        let _: FundChanges = fund.unwrap().changes().unwrap();
        // A whole row as the front end sends it back.
        let row = r#"{"id": 1, "title": "x", "description": null, "status": "completed", "priority": "medium",
            "created_at": "2025-01-31T10:00:00.123000", "due_date": "", "completed_at": null,
            "recurrence_pattern": null, "parent_todo_id": null, "tags": "a,b", "note_id": 1}"#;
        let todo = Form::read::<TodoRecord>(&form(row), Occasion::Revise);
        let changes: TodoChanges = todo.unwrap().changes().unwrap();
        assert_eq!(changes.due_date, Change::Clear);
    }
}
