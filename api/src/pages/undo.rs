//! `/audit/{kind}/{id}/undo`: what undoing would change, then doing it. Undoing is a command like any other: the
//! record's rules may refuse it, and what it does is recorded.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::distributor::Distributor;
use domain::fund::Fund;
use domain::gp::Gp;
use domain::lp::Lp;
use domain::note::Note;
use domain::person::Person;
use domain::roadshow::Roadshow;
use domain::telling::label;
use domain::todo::Todo;
use domain::{FactChange, RecordRef, Refusal, Subject};
use maud::{Markup, html};
use projections::history::Names;
use projections::log::{CommandError, CommandRequest, Receipt};
use projections::undo::{Goal, Plan, plan};
use uuid::Uuid;

use super::answer;
use super::excerpt::{LISTED, beginning};
use super::filters::escaped;
use super::layout::{Here, Section, moment, page};
use super::record::{called, head};
use super::story::{Story, record_of};
use super::values::{Whole, change_list, changed, path, record_link};
use crate::answers::PATIENCE;
use crate::app::App;
use crate::as_of::position;
use crate::body::{Parameters, parse_id};
use crate::caller::Caller;
use crate::problem::{Fault, Problem};
use crate::undo::{announced, fields_in, follow_ups, missing, problem};

/// What is to be undone.
enum Wish {
    /// Everything after this position.
    To(i64),
    /// What the entry at this index of the story did.
    One(usize),
    /// What a command did, with the first of its entries.
    Command(Uuid, usize),
}

/// What would be done, and what stands against it.
struct Planned {
    story: Story,
    wish: Wish,
    /// The fields that alone are taken back of it.
    only: Option<BTreeSet<String>>,
    plan: Plan,
    /// Facts that others have changed since.
    conflicts: Vec<FactChange>,
    /// Records that it would link to and that are gone.
    missing: Vec<RecordRef>,
    /// The todos that followed on what is undone, and stay.
    follow_ups: Vec<RecordRef>,
}

impl Planned {
    fn is_contested(&self) -> bool {
        !(self.conflicts.is_empty() && self.missing.is_empty())
    }
}

/// Shows what would change.
pub async fn preview(
    State(app): State<App>,
    Path((kind, id)): Path<(String, String)>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Response {
    answer(&app, &headers, async {
        let planned = planned(&app, record_of(&kind, &id)?, &parameters).await?;
        shown(&app, &planned, None).await
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
        caller.attempts("Revert");
        let own = record_of(&kind, &id)?;
        caller.is_about(own);
        let planned = planned(&app, own, &parameters).await?;
        let seen: i64 = parameters.required("seen")?.parse().map_err(|_| nothing_named())?;
        let warning = if seen != planned.plan.version {
            Some("The record has changed since you looked. This is what undoing would do now")
        } else if planned.is_contested() && parameters.get("anyway") != Some("yes") {
            Some("Something stands against it")
        } else {
            None
        };
        if warning.is_some() {
            return shown(&app, &planned, warning).await;
        }
        let request = CommandRequest {
            if_match: Some(seen),
            causation_id: planned.plan.cause,
            ..caller.request("Revert")
        };
        let Plan { present, target, .. } = planned.plan;
        match revert(&app, own, present, target, &request).await {
            Ok(receipt) => {
                let position = receipt.position.unwrap_or_default();
                // It is done, whether readers see it in time or not.
                app.reader.reached(position, PATIENCE).await;
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
    let said = "Name what to undo: event=ID or POSITION of a change, command=ID for all that a command did, or to=POSITION to which to go back";
    Problem::invalid(Fault::new("undo", ["query".into()], said))
}

async fn planned(app: &App, own: RecordRef, parameters: &Parameters) -> Result<Planned, Problem> {
    parameters.expect(&["to", "event", "command", "fields", "seen", "anyway", "min_position"])?;
    let only = fields_in(parameters)?;
    let story = Story::read(app, own).await?;
    let named = (parameters.once("event")?, parameters.once("command")?, parameters.once("to")?);
    let (wish, goal) = match named {
        (Some(event), None, None) => {
            let goal = match (Uuid::try_parse(event), parse_id(event)) {
                (Ok(id), _) => Goal::Named(id),
                (_, Ok(position)) => Goal::Event(position),
                _ => return Err(nothing_named()),
            };
            let at = story.entries.iter().position(|entry| match goal {
                Goal::Named(id) => entry.envelope.event_id == id,
                Goal::Event(position) => entry.position == position,
                Goal::To(_) | Goal::Command(_) => false,
            });
            (Wish::One(at.ok_or(Problem::NotFound(own.kind()))?), goal)
        }
        (None, Some(command), None) => {
            let id = Uuid::try_parse(command).map_err(|_| nothing_named())?;
            let at = story.entries.iter().position(|entry| entry.envelope.command_id == id);
            (Wish::Command(id, at.ok_or(Problem::NotFound(own.kind()))?), Goal::Command(id))
        }
        (None, None, Some(to)) if only.is_none() => {
            let position = position(app, to, ["query", "to"]).await?;
            (Wish::To(position), Goal::To(position))
        }
        _ => return Err(nothing_named()),
    };
    let plan =
        plan(own, &story.entries, goal, only.as_ref()).map_err(|error| problem(error, own))?;
    let conflicts = plan.later.iter().map(|later| later.change.clone()).collect();
    let missing = missing(app, &plan).await?;
    let follow_ups = follow_ups(app, &plan).await?;
    Ok(Planned { story, wish, only, plan, conflicts, missing, follow_ups })
}

async fn shown(app: &App, planned: &Planned, warning: Option<&str>) -> Result<Response, Problem> {
    let Planned { story, plan, conflicts, missing, follow_ups, .. } = planned;
    let own = story.own;
    let mut spoken = changed(&plan.changes);
    spoken.extend(changed(conflicts));
    spoken.extend(changed(&plan.stays));
    spoken.extend(follow_ups);
    spoken.extend(missing);
    spoken.push(own);
    let announced = announced(app, own, plan).await?;
    let sentences = plan.steps.iter().map(|step| &step.sentence).chain(&announced);
    spoken.extend(sentences.clone().flat_map(|sentence| &sentence.0).filter_map(
        |part| match part {
            domain::telling::Part::Record(record) => Some(*record),
            _ => None,
        },
    ));
    let names = Names::of(app.log.database(), spoken).await?;
    let title = called(&names, &plan.present, own);
    let sentences: Vec<String> = sentences
        .map(|sentence| sentence.to_text(|record, begins| names.told(record, begins)))
        .collect();
    let body = html! {
        (head(story, &title, &plan.present))
        section aria-labelledby="undo" {
            h2 id="undo" { (wished(planned)) }
            @if let Some(warning) = warning { div.notice role="alert" { p { (warning) "." } } }
            (narrowing(planned))
            (standing_against(&names, planned))
            @if plan.events.is_empty() {
                p.empty {
                    @if plan.stays.is_empty() { "Nothing would change: the record already says so." }
                    @else { "Nothing would change: no undoing takes back what has happened since." }
                }
                p { a.button href=(path(own)) { "Back to the history" } }
            } @else {
                div.box {
                    h2 { "This would happen" }
                    ul { @for sentence in &sentences { li.said { (beginning(sentence, LISTED.value)) } } }
                    (change_list(&names, &plan.changes, Whole::Nowhere))
                    @if !(plan.stays.is_empty() && follow_ups.is_empty()) {
                        h2 { "This stays" }
                        @for todo in follow_ups {
                            p.said { "The follow-up " (record_link(&names, *todo)) " stays." }
                        }
                        @if !plan.stays.is_empty() {
                            (change_list(&names, &plan.stays, Whole::Nowhere))
                        }
                    }
                }
                (buttons(planned))
            }
        }
    };
    Ok(page(app, &format!("Undo · {title}"), Here::Within(Section::History), body).await)
}

impl Wish {
    /// The same as part of an address.
    fn in_address(&self, story: &Story) -> (&'static str, String) {
        match *self {
            Wish::To(position) => ("to", position.to_string()),
            Wish::One(at) => ("event", story.entries[at].envelope.event_id.to_string()),
            Wish::Command(id, _) => ("command", id.to_string()),
        }
    }
}

fn wished(Planned { story, wish, .. }: &Planned) -> Markup {
    match *wish {
        Wish::Command(_, at) => {
            let envelope = &story.entries[at].envelope;
            html! { "Undo all that " (envelope.actor) " did with one command, " (moment(envelope.recorded_at)) }
        }
        Wish::One(at) => {
            let entry = &story.entries[at];
            html! { "Undo change " (at + 1) " (" (entry.event_type) "), " (moment(entry.envelope.recorded_at)) }
        }
        Wish::To(position) => match story.entry_at(position) {
            Some(entry) => html! {
                "Make it again what it was after change " (story.count_at(position)) ", " (moment(entry.envelope.recorded_at))
            },
            None => html! { "Remove the record, as before it existed" },
        },
    }
}

/// Asks which of several fields that were touched are to be taken back; all, unless some are named.
fn narrowing(Planned { story, wish, only, plan, .. }: &Planned) -> Markup {
    if matches!(wish, Wish::To(_)) || plan.fields.len() < 2 {
        return html! {};
    }
    let (name, value) = wish.in_address(story);
    let is_meant = |field: &String| only.as_ref().is_none_or(|only| only.contains(field));
    html! {
        form.narrow method="get" action={(path(story.own)) "/undo"} {
            input type="hidden" name=(name) value=(value);
            fieldset.choices {
                legend { "Take back" }
                @for field in &plan.fields {
                    label.check { input type="checkbox" name="fields" value=(field) checked[is_meant(field)]; (label(field)) }
                }
            }
            button type="submit" { "Show what that would do" }
        }
    }
}

fn standing_against(names: &Names, Planned { conflicts, missing, wish, .. }: &Planned) -> Markup {
    let (title, said) = match wish {
        Wish::To(_) => (
            "Changed since",
            "Going back takes these later changes back as well, whoever made them:",
        ),
        Wish::One(_) | Wish::Command(..) => (
            "Changed again since",
            "What this change set is no longer what the record says. Undoing it takes these later changes back as well:",
        ),
    };
    html! {
        @if !conflicts.is_empty() {
            div.notice {
                h2 { (title) }
                p { (said) }
                (change_list(names, conflicts, Whole::Nowhere))
            }
        }
        @if !missing.is_empty() {
            div.notice {
                h2 { "No longer there" }
                p { "Undoing links the record to what was deleted meanwhile:" }
                ul { @for record in missing { li { (names.call(*record)) } } }
            }
        }
    }
}

fn buttons(planned: &Planned) -> Markup {
    let Planned { story, wish, only, plan, .. } = planned;
    let (name, value) = wish.in_address(story);
    let mut wish = format!("{name}={value}");
    for field in only.iter().flatten() {
        wish.push_str(&format!("&fields={}", escaped(field)));
    }
    let anyway = if planned.is_contested() { "&anyway=yes" } else { "" };
    let action = format!("{}/undo?{wish}&seen={}{anyway}", path(story.own), plan.version);
    html! {
        form.actions method="post" action=(action) {
            button.primary type="submit" { @if planned.is_contested() { "Go on anyway" } @else { "Undo" } }
            a.button href=(path(story.own)) { "Leave it as it is" }
        }
    }
}

macro_rules! reverts {
    ($($Kind:ident),* $(,)?) => {
        async fn revert(
            app: &App,
            own: RecordRef,
            now: Subject,
            then: Subject,
            request: &CommandRequest,
        ) -> Result<Receipt, CommandError> {
            match (now, then) {
                $((Subject::$Kind(now), Subject::$Kind(then)) => {
                    app.log.execute::<$Kind>(own.id(), now.reversion(then), request).await
                })*
                _ => Err(CommandError::Refused(Refusal::NotRegistered)),
            }
        }
    };
}

reverts!(Lp, Gp, Distributor, Person, Fund, Note, Todo, Roadshow);
