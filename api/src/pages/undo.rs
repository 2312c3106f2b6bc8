//! `/audit/{kind}/{id}/undo`: what undoing would change, then doing it. Undoing is a command like any other: the
//! record's rules may refuse it, and what it does is recorded.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::distributor::{Distributor, DistributorCommand};
use domain::fund::{Fund, FundCommand};
use domain::gp::{Gp, GpCommand};
use domain::lp::{Lp, LpCommand};
use domain::note::{Note, NoteCommand};
use domain::person::{Person, PersonCommand};
use domain::roadshow::{Roadshow, RoadshowCommand};
use domain::todo::{Todo, TodoCommand};
use domain::{Event, FactChange, Facts, RecordRef, Subject, differences};
use maud::{Markup, html};
use projections::history::Names;
use projections::log::{CommandError, CommandRequest, Receipt};
use uuid::Uuid;

use super::answer;
use super::layout::{Here, moment, page};
use super::record::{called, head};
use super::story::{Story, record_of};
use super::values::{change_list, changed, path};
use crate::app::App;
use crate::body::Parameters;
use crate::caller::Caller;
use crate::problem::{Fault, Problem};

/// What is to be undone.
enum Wish {
    /// Everything after this position.
    To(i64),
    /// What the entry at this index of the story did.
    One(usize),
}

/// What would be done.
struct Plan {
    story: Story,
    wish: Wish,
    now: Subject,
    then: Subject,
    changes: Vec<FactChange>,
    events: Vec<Event>,
    /// Facts of the one change that others have changed since.
    conflicts: Vec<FactChange>,
    /// The last change that was there when this was planned.
    seen: i64,
}

/// Shows what would change.
pub async fn preview(
    State(app): State<App>,
    Path((kind, id)): Path<(String, String)>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Response {
    answer(&app, &headers, async {
        let plan = plan(&app, record_of(&kind, &id)?, &parameters).await?;
        shown(&app, &plan, None).await
    })
    .await
}

/// Does it, unless the record has changed since the preview.
pub async fn confirm(
    State(app): State<App>,
    Path((kind, id)): Path<(String, String)>,
    parameters: Parameters,
    headers: HeaderMap,
    caller: Caller,
) -> Response {
    answer(&app, &headers, async {
        let own = record_of(&kind, &id)?;
        let plan = plan(&app, own, &parameters).await?;
        let seen: i64 = parameters.required("seen")?.parse().map_err(|_| nothing_named())?;
        if seen != plan.seen {
            return shown(
                &app,
                &plan,
                Some("The record has changed since you looked. This is what undoing would do now"),
            )
            .await;
        }
        if !plan.conflicts.is_empty() && parameters.get("anyway") != Some("yes") {
            return shown(&app, &plan, Some("Others have changed the same fields since")).await;
        }
        let cause = match plan.wish {
            Wish::One(at) => Some(plan.story.entries[at].envelope.event_id),
            Wish::To(_) => None,
        };
        let request = CommandRequest {
            if_match: Some(seen),
            causation_id: cause,
            ..caller.request("Revert")
        };
        match revert(&app, own, plan.then, &request).await {
            Ok(receipt) => {
                app.level().await?;
                let position = receipt.position.unwrap_or_default();
                let to = format!("{}?done=undone#p{position}", path(own));
                let to =
                    HeaderValue::from_str(&to).map_err(|error| Problem::Internal(error.into()))?;
                Ok((StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response())
            }
            Err(error) => Err(Problem::of_command(error, own)),
        }
    })
    .await
}

fn nothing_named() -> Problem {
    let said = "Name what to undo: event=ID of a change, or to=POSITION to which to go back";
    Problem::invalid(Fault::new("undo", ["query".into()], said))
}

async fn plan(app: &App, own: RecordRef, parameters: &Parameters) -> Result<Plan, Problem> {
    parameters.expect(&["to", "event", "seen", "anyway", "min_position"])?;
    let story = Story::read(app, own).await?;
    let wish = match (parameters.get("event"), parameters.get("to")) {
        (Some(event), None) => {
            let event = Uuid::try_parse(event).map_err(|_| nothing_named())?;
            let at = story.entries.iter().position(|entry| entry.envelope.event_id == event);
            Wish::One(at.ok_or(Problem::NotFound(own.kind()))?)
        }
        (None, Some(to)) => Wish::To(story.position("to", to)?),
        _ => return Err(nothing_named()),
    };
    let now = story.now();
    let (then, conflicts) = match wish {
        Wish::To(position) => (story.at(position), vec![]),
        Wish::One(at) => without(&story, &now, at)?,
    };
    let events =
        now.revert(&then).map_err(|refusal| Problem::Conflict(refusal.to_string().into()))?;
    let mut after = now.clone();
    events.iter().for_each(|event| after.apply(event));
    let changes = differences(&now.facts(), &after.facts());
    let seen = story.entries[story.entries.len() - 1].sequence;
    Ok(Plan { story, wish, now, then, changes, events, conflicts, seen })
}

/// The record as it is but for what one change did, and what of that others have changed since.
fn without(story: &Story, now: &Subject, at: usize) -> Result<(Subject, Vec<FactChange>), Problem> {
    let position = story.entries[at].position;
    let (before, after) = (story.at(position - 1).facts(), story.at(position).facts());
    let mut facts: Facts = now.facts();
    let mut conflicts = Vec::new();
    for change in differences(&before, &after) {
        let current = facts.get(&change.name()).cloned().unwrap_or_default();
        if current != change.to {
            conflicts.push(FactChange { from: change.to.clone(), to: current, ..change.clone() });
        }
        match change.from.is_null() {
            true => facts.remove(&change.name()),
            false => facts.insert(change.name(), change.from),
        };
    }
    // The first change undone leaves nothing but what came later: that is no record, so it is removed from use.
    let kind = story.own.kind();
    let then =
        if before.is_empty() { Ok(Subject::new(kind)) } else { Subject::from_facts(kind, facts) };
    Ok((then.map_err(|error| Problem::Conflict(error.to_string().into()))?, conflicts))
}

async fn shown(app: &App, plan: &Plan, warning: Option<&str>) -> Result<Response, Problem> {
    let own = plan.story.own;
    let mut spoken = changed(&plan.changes);
    spoken.extend(changed(&plan.conflicts));
    spoken.push(own);
    let mut subject = plan.now.clone();
    let steps: Vec<_> = plan.events.iter().map(|event| subject.step(own, event).sentence).collect();
    spoken.extend(steps.iter().flat_map(|sentence| sentence.0.iter()).filter_map(
        |part| match part {
            domain::telling::Part::Record(record) => Some(*record),
            _ => None,
        },
    ));
    let names = Names::of(app.log.database(), spoken).await?;
    let title = called(&names, &plan.now, own);
    let sentences: Vec<String> =
        steps.iter().map(|step| step.to_text(|record| names.call(record))).collect();
    let body = html! {
        (head(&plan.story, &title, &plan.now))
        section aria-labelledby="undo" {
            h2 id="undo" { (wished(plan)) }
            @if let Some(warning) = warning { div.notice role="alert" { p { (warning) "." } } }
            (conflicts(&names, plan))
            @if plan.events.is_empty() {
                p.empty { "Nothing would change: the record already says so." }
                p { a.button href=(path(own)) { "Back to the history" } }
            } @else {
                div.box {
                    h2 { "This would happen" }
                    ul { @for sentence in &sentences { li.said { (sentence) } } }
                    (change_list(&names, &plan.changes))
                }
                (buttons(plan))
            }
        }
    };
    Ok(page(app, &format!("Undo · {title}"), Here::Elsewhere, body).await)
}

fn wished(plan: &Plan) -> Markup {
    match plan.wish {
        Wish::One(at) => {
            let entry = &plan.story.entries[at];
            html! { "Undo change " (entry.sequence) " (" (entry.event_type) "), " (moment(entry.envelope.recorded_at)) }
        }
        Wish::To(position) => match plan.story.entry_at(position) {
            Some(entry) => html! {
                "Make it again what it was after change " (entry.sequence) ", " (moment(entry.envelope.recorded_at))
            },
            None => html! { "Remove the record, as before it existed" },
        },
    }
}

fn conflicts(names: &Names, plan: &Plan) -> Markup {
    html! {
        @if !plan.conflicts.is_empty() {
            div.notice {
                h2 { "Changed again since" }
                p { "What this change set is no longer what the record says. Undoing it takes these later changes back as well:" }
                (change_list(names, &plan.conflicts))
            }
        }
    }
}

fn buttons(plan: &Plan) -> Markup {
    let wish = match plan.wish {
        Wish::One(at) => format!("event={}", plan.story.entries[at].envelope.event_id),
        Wish::To(position) => format!("to={position}"),
    };
    let anyway = if plan.conflicts.is_empty() { "" } else { "&anyway=yes" };
    let action = format!("{}/undo?{wish}&seen={}{anyway}", path(plan.story.own), plan.seen);
    html! {
        form.actions method="post" action=(action) {
            button.primary type="submit" { @if plan.conflicts.is_empty() { "Undo" } @else { "Go on anyway" } }
            a.button href=(path(plan.story.own)) { "Leave it as it is" }
        }
    }
}

macro_rules! reverts {
    ($($Kind:ident / $Command:ident),* $(,)?) => {
        async fn revert(app: &App, own: RecordRef, then: Subject, request: &CommandRequest) -> Result<Receipt, CommandError> {
            match then {
                $(Subject::$Kind(then) => {
                    let command = $Command::Revert { to: Box::new(then) };
                    app.log.execute::<$Kind>(own.id(), command, request).await
                })*
            }
        }
    };
}

reverts! {
    Lp / LpCommand,
    Gp / GpCommand,
    Distributor / DistributorCommand,
    Person / PersonCommand,
    Fund / FundCommand,
    Note / NoteCommand,
    Todo / TodoCommand,
    Roadshow / RoadshowCommand,
}
