//! The read models: each file owns the tables of one, with its projector and its queries.

mod answer;
mod as_of;
pub(crate) mod audit;
pub(crate) mod fund;
pub(crate) mod life;
mod link;
mod reader;
mod recording;
mod records;
mod shelf;
mod standing;
mod stream;
mod tables;
mod todo;

use std::sync::Arc;

use crate::projector::Projector;

pub use answer::{Answer, Encoding};
pub use as_of::{Then, Time};
pub use life::roadshow_dates;
pub use reader::{Found, Health, ProjectorHealth, Query, ReadError, Reader, StoredRecord};
pub use recording::{Phase, StoredRecording};
pub use stream::Pieces;
pub use todo::TodoFilter;

/// The projectors of all relational read models.
pub fn projectors() -> Vec<Arc<dyn Projector>> {
    use domain::{distributor, gp, lp, note, person, roadshow};
    vec![
        Arc::new(records::RecordProjector::<lp::LpRecord>::new()),
        Arc::new(records::RecordProjector::<gp::GpRecord>::new()),
        Arc::new(records::RecordProjector::<distributor::DistributorRecord>::new()),
        Arc::new(records::RecordProjector::<person::PersonRecord>::new()),
        Arc::new(fund::FundProjector),
        Arc::new(records::RecordProjector::<note::NoteRecord>::new()),
        Arc::new(records::RecordProjector::<domain::todo::TodoRecord>::new()),
        Arc::new(records::RecordProjector::<roadshow::RoadshowRecord>::new()),
        Arc::new(recording::RecordingProjector),
        Arc::new(link::LinkProjector),
        Arc::new(standing::INTEREST),
        Arc::new(standing::LP_STATUS),
        Arc::new(crate::search::passage::PassageProjector),
        Arc::new(audit::AuditProjector),
    ]
}
