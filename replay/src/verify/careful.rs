//! A likeness of a read model from a log that cannot be folded into it as a whole: page by page, and event by event where
//! that fails, as live projection does. What cannot be folded takes its own stream out, and no other.

use projections::database::Database;
use projections::dead_letter::Parked;
use projections::generation;
use projections::log::{LogReader, PageLimit, Recorded};
use projections::projector::{self, ProjectError};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use super::VerifyError;
use crate::load::Filling;

/// The most events of one page.
const PAGE: PageLimit = PageLimit { events: 2_000 };

/// Fills tables that have been made, and are empty and without keys. Tells which streams cannot be followed.
pub(super) async fn fill(
    database: &Database,
    mut filling: Filling,
) -> Result<Vec<Parked>, VerifyError> {
    let schemas = [filling.schema.clone()];
    let options = database.options_for(&schemas).options([("synchronous_commit", "off")]);
    let mut db = options.connect().await?;
    generation::finish_tables(&mut db, &*filling.projector, &filling.schema).await?;
    let log = LogReader::new(database.keys().clone());
    let (mut at, mut found) = (0, Vec::new());
    while at < filling.to {
        let page = log.read_page(&mut db, at, PAGE).await?;
        let Some(end) = page.end else { break };
        found.extend(page.broken.into_iter().filter(|broken| filling.park(broken)));
        found.extend(fold(&mut db, &mut filling, &page.events).await?);
        at = end;
    }
    db.close().await?;
    Ok(found)
}

/// Folds a page in ever smaller parts, until each event that cannot be folded is found.
async fn fold(
    db: &mut PgConnection,
    filling: &mut Filling,
    page: &[Recorded],
) -> Result<Vec<Parked>, sqlx::Error> {
    let (mut parts, mut found) = (vec![page], Vec::new());
    while let Some(part) = parts.pop() {
        let chosen: Vec<Recorded> =
            part.iter().filter(|recorded| filling.takes(recorded)).cloned().collect();
        match (project(db, filling, &chosen).await, part) {
            (Ok(()), _) => {}
            (Err(error), _) if error.is_outage() => {
                return Err(sqlx::Error::Io(std::io::Error::other(error)));
            }
            (Err(error), [only]) => {
                let (stream, position) = (only.stream(), only.position);
                let parked = Parked { stream, position, error: error.to_string() };
                filling.park(&parked);
                found.push(parked);
            }
            (Err(_), _) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
    }
    Ok(found)
}

/// All of it, or nothing.
async fn project(
    db: &mut PgConnection,
    filling: &Filling,
    events: &[Recorded],
) -> Result<(), ProjectError> {
    if events.is_empty() {
        return Ok(());
    }
    let mut tx = db.begin().await?;
    projector::project(&*filling.projector, events, &mut tx).await?;
    tx.commit().await?;
    Ok(())
}
