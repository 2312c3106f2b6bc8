//! Whether what an answer may cite still stands.

use super::Source;
use crate::database::DatabaseError;
use crate::search::{Search, Shown};

/// Numbers of the sources that are not as they were found: their passage, their record's title or day is another or gone, or
/// somebody whom they are about is no longer named.
pub(super) async fn changed(
    search: &Search,
    sources: &[Source],
) -> Result<Vec<usize>, DatabaseError> {
    let shown: Vec<Shown<'_>> = sources.iter().map(Source::shown).collect();
    let stand = search.still_stand(&shown).await?;
    let changed = sources.iter().zip(stand).filter(|(_, stands)| !stands);
    Ok(changed.map(|(source, _)| source.n).collect())
}

impl Source {
    fn shown(&self) -> Shown<'_> {
        Shown {
            record: self.kind.record(self.id),
            title: &self.title,
            date: self.date.as_deref(),
            about: &self.about,
            part: &self.passage.part,
            ordinal: self.passage.ordinal,
            text: &self.passage.text,
        }
    }
}
