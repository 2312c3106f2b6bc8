//! The union of all events, and how a stored one becomes typed again.

use cqrs_es::persist::EventUpcaster;

use crate::Kind;
use crate::distributor::DistributorEvent;
use crate::fund::FundEvent;
use crate::gp::GpEvent;
use crate::import::{self, ImportEvent};
use crate::lp::LpEvent;
use crate::note::NoteEvent;
use crate::person::PersonEvent;
use crate::roadshow::RoadshowEvent;
use crate::todo::TodoEvent;

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
        event.map_err(|source| DecodeError::Payload {
            aggregate_type: aggregate_type.to_owned(),
            event_type: event_type.to_owned(),
            source,
        })
    }
}

/// Turns events as earlier releases stored them into today's form, oldest first. Loading an aggregate and reading
/// the log both apply them. This is the first release, so there is nothing to turn yet.
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    Vec::new()
}
