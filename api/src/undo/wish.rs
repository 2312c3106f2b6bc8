//! What somebody wants undone, from the address and the body of the request.

use std::collections::BTreeSet;

use projections::undo::Goal;
use uuid::Uuid;

use crate::app::App;
use crate::as_of::position;
use crate::body::{Body, Parameters, Shape, parse_id};
use crate::json::Json as Sent;
use crate::problem::{Fault, Problem};

/// What is wanted.
pub(super) struct Wish {
    pub(super) goal: Goal,
    /// Of one event or command: the fields that alone are taken back.
    pub(super) fields: Option<BTreeSet<String>>,
    /// Up to where in the log the caller knows the record.
    pub(super) seen: Option<i64>,
    pub(super) is_forced: bool,
}

/// Whether it is only to be told what would be done.
pub(super) fn is_rehearsal(parameters: &Parameters) -> Result<bool, Problem> {
    parameters.expect(&["dry_run", "fields"])?;
    match parameters.once("dry_run")? {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1" | "") => Ok(true),
        Some(other) => {
            let place = ["query".into(), "dry_run".into()];
            let fault = Fault::new("bool_parsing", place, "Should be true or false");
            Err(Problem::invalid(fault.with_input(other)))
        }
    }
}

/// The fields that an address names to which an undoing is narrowed.
///
/// # Errors
/// When it names the parameter and no field.
pub fn fields_in(parameters: &Parameters) -> Result<Option<BTreeSet<String>>, Problem> {
    if parameters.is_blank("fields") {
        let place = ["query".into(), "fields".into()];
        return Err(Problem::invalid(Fault::new("fields", place, NO_FIELDS).with_input("")));
    }
    let fields: BTreeSet<String> = parameters.list("fields").map(str::to_owned).collect();
    Ok((!fields.is_empty()).then_some(fields))
}

const NO_COMMAND: &str = "Should be a command's id";

const NO_FIELDS: &str = "Name at least one field, or leave it out to take back all of it";

/// What the body asks for: `to`, `event` or `command`, and perhaps `fields`, `seen` and `force`; `fields` may be in the address instead.
pub(super) async fn wish(app: &App, parameters: &Parameters, body: Body) -> Result<Wish, Problem> {
    let (mut goals, mut seen, mut is_forced, mut faults) = (Vec::new(), None, false, Vec::new());
    let mut fields = fields_in(parameters)?;
    let reached = async |text: &str, name| match position(app, text, ["body", name]).await {
        Ok(position) => Ok(Ok(position)),
        Err(Problem::Invalid(found)) => Ok(Err(found)),
        Err(problem) => Err(problem),
    };
    for (name, value) in body.into_members(Shape::Model)? {
        let shown = value.clone().shown();
        let text = match &value {
            Sent::Text(text) | Sent::Number(text) => Some(text.as_str()),
            _ => None,
        };
        let fault = |kind, said| Fault::field(&name, kind, said).with_input(shown.clone());
        match (name.as_str(), text, &value) {
            ("to", Some(text), _) => match reached(text, "to").await? {
                Ok(position) => goals.push(Goal::To(position)),
                Err(found) => faults.extend(found),
            },
            ("event", Some(text), _) => match (Uuid::try_parse(text), parse_id(text)) {
                (Ok(id), _) => goals.push(Goal::Named(id)),
                (_, Ok(position)) => goals.push(Goal::Event(position)),
                _ => faults.push(fault("event_parsing", "Should be an event's id or position")),
            },
            ("command", Some(text), _) => match Uuid::try_parse(text) {
                Ok(id) => goals.push(Goal::Command(id)),
                Err(_) => faults.push(fault("uuid_parsing", NO_COMMAND)),
            },
            ("command", ..) => faults.push(fault("uuid_parsing", NO_COMMAND)),
            ("to" | "event", ..) => {
                faults.push(fault("event_parsing", "Should be a position, or an event's id"));
            }
            ("fields", _, Sent::List(named)) if fields.is_none() && !named.is_empty() => {
                let texts = named.iter().map(|name| match name {
                    Sent::Text(text) => Some(text.clone()),
                    _ => None,
                });
                match texts.collect::<Option<BTreeSet<String>>>() {
                    Some(texts) => fields = Some(texts),
                    None => faults.push(fault("fields", "Should be names of fields")),
                }
            }
            ("fields", _, Sent::List(named)) if named.is_empty() => {
                faults.push(fault("fields", NO_FIELDS));
            }
            ("fields", _, Sent::List(_)) => {
                faults.push(fault("fields", "They are in the address already"));
            }
            ("fields", ..) => faults.push(fault("fields", "Should be a list of names of fields")),
            ("seen", Some(text), _) if parse_id(text).is_ok() => match reached(text, "seen").await?
            {
                Ok(position) => seen = Some(position),
                Err(found) => faults.extend(found),
            },
            ("seen", ..) => faults.push(fault("int_parsing", "Should be a position")),
            ("force", _, Sent::Flag(flag)) => is_forced = *flag,
            ("force", ..) => faults.push(fault("bool_parsing", "Should be true or false")),
            _ => {
                let said = "There are to, event, command, fields, seen and force";
                faults.push(fault("extra_forbidden", said));
            }
        }
    }
    match (&goals[..], faults.is_empty()) {
        (_, false) => Err(Problem::Invalid(faults)),
        ([Goal::To(_)], true) if fields.is_some() => {
            let said =
                "`fields` are some of what one event or command changed: they do not go with `to`";
            Err(Problem::invalid(Fault::new("fields", ["body".into()], said)))
        }
        ([goal], true) => Ok(Wish { goal: *goal, fields, seen, is_forced }),
        (_, true) => {
            let said = "Name one of `to`, the position to go back to, `event`, the one to take back, and `command`, all of which is \
                        taken back";
            Err(Problem::invalid(Fault::new("goal", ["body".into()], said)))
        }
    }
}
