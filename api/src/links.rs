//! Links between two records that a path names, and the lists of ids that replace a record's links.

use std::collections::HashSet;

use axum::extract::State;
use axum::response::Response;
use domain::gp::{Gp, GpCommand};
use domain::note::{Note, NoteCommand};
use domain::person::{Person, PersonCommand};
use domain::{Kind, RecordRef};
use serde_json::json;

use crate::app::App;
use crate::body::Ids;
use crate::caller::Caller;
use crate::problem::{Fault, Problem, title};
use crate::resource::record_of;
use crate::writes::{Resource, check_exist, condition, execute, kind_of, missing, writable};

/// An aggregate that owns links which a path can name one by one.
pub trait Linking: Resource {
    /// The command that makes a link, with its name.
    fn link(to: RecordRef) -> (&'static str, Self::Command);

    /// The command that takes it away, with its name.
    fn unlink(from: RecordRef) -> (&'static str, Self::Command);
}

impl Linking for Note {
    fn link(to: RecordRef) -> (&'static str, NoteCommand) {
        ("Link", NoteCommand::Link { to: vec![to] })
    }

    fn unlink(from: RecordRef) -> (&'static str, NoteCommand) {
        ("Unlink", NoteCommand::Unlink { from: vec![from] })
    }
}

impl Linking for Gp {
    fn link(to: RecordRef) -> (&'static str, GpCommand) {
        ("Link", GpCommand::Link { to: vec![to] })
    }

    fn unlink(from: RecordRef) -> (&'static str, GpCommand) {
        ("Unlink", GpCommand::Unlink { from: vec![from] })
    }
}

impl Linking for Person {
    fn link(to: RecordRef) -> (&'static str, PersonCommand) {
        ("Affiliate", PersonCommand::Affiliate { with: vec![to] })
    }

    fn unlink(from: RecordRef) -> (&'static str, PersonCommand) {
        ("Disaffiliate", PersonCommand::Disaffiliate { from: vec![from] })
    }
}

/// How an owner of links is called in the middle of a sentence.
fn owner<A: Resource>() -> String {
    match kind_of::<A>() {
        kind @ (Kind::Lp | Kind::Gp) => title(kind).to_owned(),
        kind => title(kind).to_lowercase(),
    }
}

/// Links two records; both must exist.
pub async fn link<A: Linking, To: Resource>(
    State(app): State<App>,
    Ids([id, to]): Ids<2>,
    caller: Caller,
) -> Result<Response, Problem> {
    let to = record_of::<To>(to);
    let version = writable(&app, &caller, record_of::<A>(id)).await?;
    check_exist(&app, &caller, &[to]).await?;
    let (name, command) = A::link(to);
    let written = execute::<A>(&app, &caller, id, name, command, version).await?;
    let message = match written.changed {
        true => format!("{} linked to {}", title(to.kind()), owner::<A>()),
        false => "Link already exists".to_owned(),
    };
    Ok(written.answer(json!({"success": true, "message": message})))
}

/// Takes a link away; one that is not there is no error, whatever it would link.
pub async fn unlink<A: Linking, From: Resource>(
    State(app): State<App>,
    Ids([id, from]): Ids<2>,
    caller: Caller,
) -> Result<Response, Problem> {
    let from = record_of::<From>(from);
    let (name, command) = A::unlink(from);
    let message = format!("{} unlinked from {}", title(from.kind()), owner::<A>());
    let body = json!({"success": true, "message": message});
    let version = condition(&app, &caller, record_of::<A>(id)).await?;
    match execute::<A>(&app, &caller, id, name, command, version).await {
        Ok(written) => Ok(written.answer(body)),
        Err(Problem::NotFound(_)) => Ok(crate::writes::nothing_recorded(&app, body)),
        Err(problem) => Err(problem),
    }
}

/// The links that a request's lists ask for.
pub struct Wanted {
    /// The kinds whose links are replaced.
    pub kinds: Vec<Kind>,
    /// All links of these kinds.
    pub to: Vec<RecordRef>,
}

/// What lists of ids, each with its name and kind, ask for. An absent list leaves its kind alone. The records of a
/// repeated request's ids were there.
///
/// # Errors
/// [`Problem::Invalid`] with every id that belongs to no record.
pub async fn wanted(
    app: &App,
    caller: &Caller,
    lists: impl IntoIterator<Item = (&'static str, Kind, Option<Vec<i64>>)>,
) -> Result<Wanted, Problem> {
    let (mut wanted, mut places) = (Wanted { kinds: Vec::new(), to: Vec::new() }, Vec::new());
    for (name, kind, ids) in lists {
        let Some(ids) = ids else { continue };
        wanted.kinds.push(kind);
        for (index, id) in ids.into_iter().enumerate() {
            wanted.to.push(kind.record(id));
            places.push((name, index));
        }
    }
    if caller.earlier().is_some() {
        return Ok(wanted);
    }
    let missing: HashSet<RecordRef> = missing(app, &wanted.to).await?.into_iter().collect();
    let faults: Vec<Fault> = wanted
        .to
        .iter()
        .zip(places)
        .filter(|(record, _)| missing.contains(record))
        .map(|(record, (name, index))| {
            let msg = format!("{} not found", title(record.kind()));
            Fault::new("not_found", ["body".into(), name.into(), index.into()], msg)
                .with_input(record.id())
        })
        .collect();
    if faults.is_empty() { Ok(wanted) } else { Err(Problem::Invalid(faults)) }
}
