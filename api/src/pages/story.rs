//! One record from its first event on: what it was at any point.

use domain::{Kind, RecordRef, Subject};
use projections::log::Entry;

use crate::app::App;
use crate::body::parse_id;
use crate::problem::Problem;

/// The life of one record.
pub struct Story {
    /// Whose it is.
    pub own: RecordRef,
    /// What happened, oldest first; never empty.
    pub entries: Vec<Entry>,
}

/// The record that a path names: `lp` or `lps`, and an id.
pub fn record_of(kind: &str, id: &str) -> Result<RecordRef, Problem> {
    let singular = match kind {
        "people" => "person",
        kind => kind.strip_suffix('s').unwrap_or(kind),
    };
    let kind = Kind::parse(singular).ok_or(Problem::NoSuchPath)?;
    Ok(kind.record(parse_id(id).map_err(|_| Problem::NoSuchPath)?))
}

impl Story {
    /// Reads it.
    ///
    /// # Errors
    /// [`Problem::NotFound`] for a record to which nothing ever happened.
    pub async fn read(app: &App, own: RecordRef) -> Result<Self, Problem> {
        app.log.database().check()?;
        let entries = app.reader.life(own).await?;
        match entries.is_empty() {
            true => Err(Problem::NotFound(own.kind())),
            false => Ok(Self { own, entries }),
        }
    }

    /// The record after the event at this position, or the last before it.
    pub fn at(&self, position: i64) -> Subject {
        let mut subject = Subject::new(self.own.kind());
        for entry in self.entries.iter().take_while(|entry| entry.position <= position) {
            if let Ok(event) = &entry.event {
                subject.apply(event);
            }
        }
        subject
    }

    /// The record as it is.
    pub fn now(&self) -> Subject {
        self.at(i64::MAX)
    }

    /// How many of its entries lie at or before a position.
    pub fn count_at(&self, position: i64) -> usize {
        self.entries.partition_point(|entry| entry.position <= position)
    }

    /// The last entry at or before a position.
    pub fn entry_at(&self, position: i64) -> Option<&Entry> {
        self.entries[..self.count_at(position)].last()
    }
}
