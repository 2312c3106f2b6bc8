//! The union of all events, and how a stored one becomes typed again.

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde_json::{Map, Value};

use crate::distributor::DistributorEvent;
use crate::fund::FundEvent;
use crate::gp::GpEvent;
use crate::import::{self, ImportEvent};
use crate::lp::LpEvent;
use crate::note::NoteEvent;
use crate::person::PersonEvent;
use crate::roadshow::RoadshowEvent;
use crate::todo::TodoEvent;
use crate::{Kind, RecordRef};

/// An event of any stream.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is described by the module of its aggregate")]
pub enum Event {
    Lp(LpEvent),
    Gp(GpEvent),
    Distributor(DistributorEvent),
    Person(PersonEvent),
    Fund(FundEvent),
    Note(NoteEvent),
    Todo(TodoEvent),
    Roadshow(RoadshowEvent),
    Import(ImportEvent),
    /// An event of a stream whose key was destroyed: that it happened is all there is to know. Nothing folds it.
    Erased(Kind),
}

/// A stored event that today's code cannot read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No aggregate has this type.
    #[error("unknown aggregate type {0:?} in the event log")]
    UnknownType(String),
    /// The payload does not fit the aggregate's events.
    #[error("event {event_type} of {aggregate_type}: {source}")]
    Payload {
        /// Whose event it is.
        aggregate_type: String,
        /// Which event it says it is.
        event_type: String,
        /// What does not fit.
        source: serde_json::Error,
    },
}

impl Event {
    /// Reads the stored payload of a stream of this type.
    ///
    /// # Errors
    /// [`DecodeError`] if the type is unknown or the payload does not fit.
    pub fn decode(
        aggregate_type: &str,
        event_type: &str,
        payload: &str,
    ) -> Result<Self, DecodeError> {
        use serde_json::from_str;
        let event = match Kind::parse(aggregate_type) {
            Some(Kind::Lp) => from_str(payload).map(Event::Lp),
            Some(Kind::Gp) => from_str(payload).map(Event::Gp),
            Some(Kind::Distributor) => from_str(payload).map(Event::Distributor),
            Some(Kind::Person) => from_str(payload).map(Event::Person),
            Some(Kind::Fund) => from_str(payload).map(Event::Fund),
            Some(Kind::Note) => from_str(payload).map(Event::Note),
            Some(Kind::Todo) => from_str(payload).map(Event::Todo),
            Some(Kind::Roadshow) => from_str(payload).map(Event::Roadshow),
            None if aggregate_type == import::STREAM_TYPE => from_str(payload).map(Event::Import),
            None => return Err(DecodeError::UnknownType(aggregate_type.to_owned())),
        };
        event.map_err(|source| unreadable(aggregate_type, event_type, source))
    }

    /// The name of its variant, as the log has it; of one that was erased the log alone knows it.
    pub fn name(&self) -> &str {
        match self {
            Event::Lp(event) => event.as_ref(),
            Event::Gp(event) => event.as_ref(),
            Event::Distributor(event) => event.as_ref(),
            Event::Person(event) => event.as_ref(),
            Event::Fund(event) => event.as_ref(),
            Event::Note(event) => event.as_ref(),
            Event::Todo(event) => event.as_ref(),
            Event::Roadshow(event) => event.as_ref(),
            Event::Import(event) => event.as_ref(),
            Event::Erased(_) => "(erased)",
        }
    }

    /// What it says, without its name: the fields of its variant; an empty object if it has none.
    ///
    /// # Errors
    /// When it has no form in JSON, which is a defect.
    pub fn content(&self) -> serde_json::Result<Value> {
        use serde_json::to_value;
        let stored = match self {
            Event::Lp(event) => to_value(event),
            Event::Gp(event) => to_value(event),
            Event::Distributor(event) => to_value(event),
            Event::Person(event) => to_value(event),
            Event::Fund(event) => to_value(event),
            Event::Note(event) => to_value(event),
            Event::Todo(event) => to_value(event),
            Event::Roadshow(event) => to_value(event),
            Event::Import(event) => to_value(event),
            Event::Erased(_) => Ok(Value::Null),
        }?;
        let content = match stored {
            Value::Object(variant) => variant.into_iter().next().map(|(_, content)| content),
            _ => None,
        };
        Ok(content.unwrap_or_else(|| Value::Object(Map::new())))
    }

    /// The events that are stored in plain although their stream is sealed: what is recorded of a hold or an erasure must
    /// outlive the stream's key.
    pub const PLAIN: [&str; 3] = ["Held", "HoldLifted", "Erased"];

    /// Whether an event of this type is one of those.
    pub fn is_plain(event_type: &str) -> bool {
        Self::PLAIN.contains(&event_type)
    }

    /// Whether it says that its record was erased.
    pub fn is_erasure(&self) -> bool {
        matches!(
            self,
            Event::Person(PersonEvent::Erased { .. }) | Event::Note(NoteEvent::Erased { .. })
        )
    }

    /// Whether no undoing takes back what it did: a hold begins and ends by its own commands, what a machine heard or wrote it
    /// did hear and write, and what was removed or erased for good is gone. See the `toward` of each record.
    pub fn is_final(&self) -> bool {
        match self {
            Event::Person(
                PersonEvent::Held { .. }
                | PersonEvent::HoldLifted { .. }
                | PersonEvent::Erased { .. },
            )
            | Event::Note(
                NoteEvent::Held { .. } | NoteEvent::HoldLifted { .. } | NoteEvent::Erased { .. },
            )
            | Event::Erased(_) => true,
            Event::Note(NoteEvent::TranscriptCorrected { .. }) => false,
            Event::Note(event) => event.recording().is_some(),
            _ => false,
        }
    }

    /// The other records that it brings its own record into a relation with.
    pub fn references(&self) -> Vec<RecordRef> {
        match self {
            Event::Note(NoteEvent::Linked { to })
            | Event::Todo(TodoEvent::Linked { to })
            | Event::Gp(GpEvent::Linked { to })
            | Event::Person(PersonEvent::Affiliated { with: to }) => to.clone(),
            Event::Fund(FundEvent::InterestRecorded { lp, .. })
            | Event::Roadshow(RoadshowEvent::StatusRecorded { lp, .. }) => vec![(*lp).into()],
            Event::Roadshow(event) => event.fund().into_iter().map(RecordRef::from).collect(),
            Event::Note(NoteEvent::ActionItemAccepted { todo, .. }) => vec![todo.id.into()],
            Event::Note(NoteEvent::InterestAccepted { as_recorded, .. }) => {
                vec![as_recorded.lp.into(), as_recorded.fund.into()]
            }
            _ => vec![],
        }
    }

    /// Reads an event as the log holds it, perhaps in the form of an earlier release.
    ///
    /// # Errors
    /// As [`Event::decode`].
    pub fn decode_stored(
        upcasters: &[Box<dyn EventUpcaster>],
        aggregate_type: &str,
        stream: &str,
        sequence: i64,
        event_type: &str,
        event_version: &str,
        payload: &str,
    ) -> Result<Self, DecodeError> {
        if !upcasters.iter().any(|up| up.can_upcast(event_type, event_version)) {
            return Self::decode(aggregate_type, event_type, payload);
        }
        let event = SerializedEvent::new(
            stream.to_owned(),
            usize::try_from(sequence).unwrap_or_default(),
            aggregate_type.to_owned(),
            event_type.to_owned(),
            event_version.to_owned(),
            serde_json::from_str(payload)
                .map_err(|source| unreadable(aggregate_type, event_type, source))?,
            Value::Object(Map::new()),
        );
        let event = upcasters.iter().fold(event, |event, upcaster| {
            match upcaster.can_upcast(&event.event_type, &event.event_version) {
                true => upcaster.upcast(event),
                false => event,
            }
        });
        Self::decode(&event.aggregate_type, &event.event_type, &event.payload.to_string())
    }
}

fn unreadable(aggregate_type: &str, event_type: &str, source: serde_json::Error) -> DecodeError {
    DecodeError::Payload {
        aggregate_type: aggregate_type.to_owned(),
        event_type: event_type.to_owned(),
        source,
    }
}

/// Turns events as earlier releases stored them into today's form, oldest first. Loading an aggregate and reading
/// the log both apply them. Aggregates share names of events, so an upcaster must look at the aggregate type too. This
/// is the first release, so there is nothing to turn yet.
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stored_event_belongs_to_the_aggregate_that_recorded_it() {
        let check = |aggregate_type: &str, expected: Event| {
            assert_eq!(
                Event::decode(aggregate_type, "Archived", "\"Archived\"").unwrap(),
                expected
            );
        };
        check("lp", Event::Lp(LpEvent::Archived));
        check("gp", Event::Gp(GpEvent::Archived));
        check("distributor", Event::Distributor(DistributorEvent::Archived));
        check("person", Event::Person(PersonEvent::Archived));
        check("fund", Event::Fund(FundEvent::Archived));
        check("note", Event::Note(NoteEvent::Archived));
        check("todo", Event::Todo(TodoEvent::Archived));
        check("roadshow", Event::Roadshow(RoadshowEvent::Archived));
        let released = json!({"RowReleased": {"table": "notelplink", "key": "1,2"}});
        assert_eq!(
            Event::decode("import", "RowReleased", &released.to_string()).unwrap(),
            Event::Import(ImportEvent::RowReleased {
                table: "notelplink".into(),
                key: "1,2".into()
            })
        );
    }

    #[test]
    fn an_event_tells_its_name_and_which_other_records_it_is_about() {
        let check = |kind: &str, payload: Value, name: &str, references: Vec<RecordRef>| {
            let event = Event::decode(kind, name, &payload.to_string()).unwrap();
            assert_eq!((event.name(), event.references()), (name, references));
        };
        let linked = json!({"Linked": {"to": [{"lp": 7}, {"fund": 2}]}});
        check("note", linked, "Linked", vec![Kind::Lp.record(7), Kind::Fund.record(2)]);
        let interest = json!({"InterestRecorded": {"lp": 7, "interest": "meeting"}});
        check("fund", interest, "InterestRecorded", vec![Kind::Lp.record(7)]);
        check(
            "roadshow",
            json!({"FundAssigned": {"fund_id": 2}}),
            "FundAssigned",
            vec![Kind::Fund.record(2)],
        );
        check("lp", json!("Archived"), "Archived", vec![]);
    }

    #[test]
    fn the_content_of_an_event_is_what_stands_beside_its_name() {
        let check = |payload: Value, expected: Value| {
            let event = Event::decode("lp", "", &payload.to_string()).unwrap();
            assert_eq!(event.content().unwrap(), expected);
        };
        check(json!({"Renamed": {"name": "X"}}), json!({"name": "X"}));
        check(json!("Archived"), json!({}));
    }

    #[test]
    fn an_event_that_cannot_be_read_says_why() {
        let check = |aggregate_type: &str, payload: &str, expected: &str| {
            let error = Event::decode(aggregate_type, "Renamed", payload).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        let renamed = r#"{"Renamed": {"name": "X"}}"#;
        check("company", renamed, "unknown aggregate type \"company\"");
        check("Lp", renamed, "unknown aggregate type \"Lp\"");
        check("todo", renamed, "event Renamed of todo: unknown variant `Renamed`");
        check("lp", r#"{"Renamed": {}}"#, "event Renamed of lp: missing field `name`");
        check("lp", "{", "event Renamed of lp: EOF");
    }

    /// As if an LP's name had once been stored as its title.
    struct TitleBecameName;

    impl EventUpcaster for TitleBecameName {
        fn can_upcast(&self, event_type: &str, event_version: &str) -> bool {
            (event_type, event_version) == ("Renamed", "0")
        }

        fn upcast(&self, mut event: SerializedEvent) -> SerializedEvent {
            if event.aggregate_type == "lp" {
                event.payload = json!({"Renamed": {"name": event.payload["Renamed"]["title"]}});
                event.event_version = "1".to_owned();
            }
            event
        }
    }

    #[test]
    fn an_event_of_an_earlier_release_is_read_as_todays() {
        let upcasters: [Box<dyn EventUpcaster>; 1] = [Box::new(TitleBecameName)];
        let read = |aggregate_type: &str, version: &str, payload: &str| {
            Event::decode_stored(&upcasters, aggregate_type, "7", 2, "Renamed", version, payload)
        };
        let check = |aggregate_type: &str, version: &str, payload: Value, expected: Event| {
            let event = read(aggregate_type, version, &payload.to_string());
            assert_eq!(event.unwrap(), expected);
        };
        let renamed = || Event::Lp(LpEvent::Renamed { name: "X".into() });
        check("lp", "0", json!({"Renamed": {"title": "X"}}), renamed());
        check("lp", "1", json!({"Renamed": {"name": "X"}}), renamed());
        let gp = Event::Gp(GpEvent::Renamed { name: "X".into() });
        check("gp", "0", json!({"Renamed": {"name": "X"}}), gp);
        let error = read("lp", "0", "{").unwrap_err().to_string();
        assert!(error.starts_with("event Renamed of lp: EOF"), "{error}");
    }
}
