//! Import of legacy databases into the event log.
//!
//! A legacy SQLite file is read once, in one snapshot: [`source`] checks and reads it, [`unit`] gathers each record
//! with the rows it owns, [`convert`] turns values into attributes, [`decide`] has the aggregate decide, and
//! [`import()`] writes events and [`ledger`] marks in chunks. What attributes cannot hold is kept verbatim in the
//! events, so that [`reconstruct()`] can tell every row again from the log alone.

mod age;
mod as_of;
mod chunk;
mod convert;
mod decide;
mod error;
pub mod garbage;
mod history;
mod images;
mod import;
mod ledger;
mod load;
mod named;
mod parked;
mod reader;
mod rebuild;
mod reconstruct;
mod record;
mod report;
mod schema;
mod scrub;
mod source;
pub mod stored;
mod survey;
mod unit;
mod verify;

pub use as_of::{SceneError, Scenes};
pub use error::ImportError;
pub use import::{ImportOptions, import};
pub use load::Effort;
pub use parked::{Outcome, ParkedError, retry, skip};
pub use rebuild::{
    Rebuild, RebuildError, called_off, cancel, drop_old, find, retain_with_previous, roll_back,
};
pub use reconstruct::{SourceRow, SourceRows, reconstruct};
pub use report::{Notice, Progress, Report};
pub use scrub::{ScrubError, ScrubOptions, ScrubReport, scrub};
pub use source::check_file;
pub use verify::{
    ColumnDifference, Difference, Finding, LogReport, ModelReport, SealReport, VerifyError,
    VerifyOptions, VerifyReport, Witness, verify,
};
