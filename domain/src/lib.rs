//! The rules of the fundraising CRM, free of I/O.
//!
//! One file per aggregate: its events, commands, state, `decide` (command → events or refusal) and `apply`
//! (event → state). Nothing here knows Postgres, HTTP or the clock: what a decision needs is in its command.

#[macro_use]
mod attributes;
#[macro_use]
mod vocabulary;

mod change;
mod contact;
mod document;
mod erasure;
mod event;
mod facts;
mod ids;
mod lifecycle;
mod links;
mod moment;
mod recurrence;
mod refusal;
mod subject;
mod verbatim;

pub mod distributor;
pub mod fund;
pub mod gp;
pub mod import;
pub mod lp;
pub mod note;
pub mod person;
pub mod roadshow;
pub mod telling;
pub mod todo;

pub use attributes::{Field, FieldKind, FieldType};
pub use change::Change;
pub use contact::{Contact, Remembered};
pub use document::Document;
pub use erasure::{ALL_HOLDS, Holds};
pub use event::{DecodeError, Event, upcasters};
pub use facts::{ARCHIVED, FactChange, FactName, Facts, ImpossibleFacts, differences};
pub use ids::{
    DistributorId, FundId, GpId, Kind, LpId, NoteId, PersonId, RecordRef, RoadshowId, TodoId,
};
pub use lifecycle::{Lifecycle, Record};
pub use links::Links;
pub use moment::{Moment, MomentError};
pub use refusal::Refusal;
pub use subject::{Step, Subject};
pub use verbatim::{SourceValue, Verbatim};
