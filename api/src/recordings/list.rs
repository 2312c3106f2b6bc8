//! The recordings of all notes: where each stands, of which meeting it is, and with whom that was.

use std::collections::HashMap;

use domain::note::RecordingId;
use domain::{LpId, NoteId, RecordRef};
use projections::history::Names;
use projections::jobs::{self, Present};
use projections::read::Phase;
use serde_json::{Value, json};

use super::shown::seconds;
use super::{READ_MODEL, Standing, standing};
use crate::app::App;
use crate::history::wanted::{Paging, Wanted};
use crate::problem::Problem;

/// The states that a recording can be in, and the phase in which it is then.
pub const STATES: &[(&str, Phase)] = &[
    ("stored", Phase::Waiting),
    ("waiting_for_model", Phase::Waiting),
    ("transcribing", Phase::Waiting),
    ("transcribed", Phase::Transcribed),
    ("summarised", Phase::Summarised),
    ("cancelled", Phase::Cancelled),
    ("failed", Phase::Failed),
];

/// A page of the list.
pub struct Listed {
    /// Where each stands.
    pub all: Vec<Standing>,
    /// The cursor of the next page, if there is one.
    pub next: Option<i64>,
    /// What notes and LPs are called.
    pub names: Names,
    lps: HashMap<NoteId, Vec<LpId>>,
}

/// So many are read at once at least, where only some of a phase are wanted.
const LEAST_READ: usize = 200;

/// The recordings that a request wants to see.
///
/// # Errors
/// [`Problem::Parameter`] when a parameter has no meaning; [`Problem::Busy`] while the read model is that of an earlier release,
/// which has no list.
pub async fn list(app: &App, wanted: &Wanted) -> Result<Listed, Problem> {
    const BUSY: &str = "Recordings are being read anew from the log, and there is no list of them yet; please try again";
    let known = STATES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let state = wanted.parsed("state", &format!("one of {known}"), |text| {
        STATES.iter().find(|(name, _)| *name == text)
    })?;
    let paging = wanted.paging()?;
    if !app.reader.is_followed(READ_MODEL) {
        return Err(Problem::Busy(BUSY));
    }
    let (all, next) = page(app, state.copied(), paging).await?;
    let notes: Vec<NoteId> = all.iter().map(|it| it.stored.note).collect();
    let lps = app.reader.lps_of(&notes).await?;
    let records = notes.into_iter().map(RecordRef::from);
    let records = records.chain(lps.values().flatten().copied().map(RecordRef::from));
    let names = Names::of(app.log.database(), records.collect::<Vec<_>>()).await?;
    Ok(Listed { all, next, names, lps })
}

/// A page of them. Which of those that wait are in which state, workers tell: of these several rounds may be needed.
async fn page(
    app: &App,
    state: Option<(&str, Phase)>,
    Paging { cursor, limit }: Paging,
) -> Result<(Vec<Standing>, Option<i64>), Problem> {
    let (mut found, mut before) = (Vec::new(), cursor);
    let phase = state.map(|(_, phase)| phase);
    let is_part = STATES.iter().filter(|(_, it)| Some(*it) == phase).count() > 1;
    let most = if is_part { limit.max(LEAST_READ) } else { limit };
    let among = match state {
        Some((state, _)) if is_part => among(app, state).await?,
        _ => None,
    };
    loop {
        let stored =
            app.reader.recordings_listed(phase, among.as_deref(), before, most + 1).await?;
        let is_last = stored.len() <= most;
        before = stored.last().map(|it| it.id.0);
        let standing = standing(app, stored).await?;
        let is_wanted = |it: &Standing| state.is_none_or(|(state, _)| it.state().0 == state);
        found.extend(standing.into_iter().filter(is_wanted));
        if found.len() > limit || is_last {
            break;
        }
    }
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|it| it.stored.id.0);
    Ok((found, next))
}

/// Those of the recordings that wait for a transcript among which are all that are in this state now, where these need not be
/// looked for among all that wait.
async fn among(app: &App, state: &str) -> Result<Option<Vec<RecordingId>>, Problem> {
    let database = app.log.database();
    let asking = async {
        let mut db = database.pool.acquire().await?;
        let workers = jobs::present_workers(&mut db).await?;
        Ok(match (state, workers) {
            ("transcribing", _) => Some(jobs::running(&mut db).await?),
            ("waiting_for_model", Present { any: false, .. })
            | ("stored", Present { any: true, transcribers: false }) => Some(vec![]),
            ("waiting_for_model", Present { transcribers: true, .. }) => {
                Some(jobs::lacking_model(&mut db).await?)
            }
            _ => None,
        })
    };
    Ok(database.ask(asking).await?)
}

impl Listed {
    /// The LPs that the meeting of a recording was about.
    pub fn lps(&self, standing: &Standing) -> &[LpId] {
        self.lps.get(&standing.stored.note).map(Vec::as_slice).unwrap_or_default()
    }

    /// The JSON that clients get.
    pub fn to_json(&self) -> Value {
        let all: Vec<Value> = self.all.iter().map(|it| self.entry(it)).collect();
        json!({"recordings": all, "next": self.next})
    }

    fn entry(&self, standing: &Standing) -> Value {
        let (state, why) = standing.state();
        let called =
            |record: RecordRef| json!({"id": record.id(), "name": self.names.name(record)});
        let lps: Vec<Value> = self.lps(standing).iter().map(|lp| called((*lp).into())).collect();
        json!({"id": standing.stored.id, "name": standing.stored.recording.name,
            "attached_at": standing.stored.attached_at, "state": state, "why": why,
            "progress": standing.done(), "duration": standing.duration_ms().map(seconds),
            "language": standing.language(), "note": called(standing.stored.note.into()), "lps": lps})
    }
}
