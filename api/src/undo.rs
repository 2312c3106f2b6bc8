//! Comparing a record with what it was, and taking it back to that.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use domain::fund::FundEvent;
use domain::note::NoteEvent;
use domain::person::PersonEvent;
use domain::telling::{Part, Sentence};
use domain::{Event, FactChange, Kind, RecordRef, Subject, differences};
use projections::history::Names;
use projections::log::{CommandError, CommandRequest, EventLog};
use projections::read::Time;
use projections::undo::{Goal, Plan, UndoError, plan, stood};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answers::POSITION;
use crate::app::App;
use crate::as_of::position;
use crate::body::{Body, Ids, Parameters, Shape, parse_id};
use crate::caller::Caller;
use crate::history;
use crate::json::Json as Sent;
use crate::problem::{Fault, Problem, capitalised, title};
use crate::resource::record_of;
use crate::writes::{self, Outcome, Resource, Written, condition};

/// What a record said at two positions, and every fact in which they differ.
pub async fn compare<A: Resource>(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.expect(&["from", "to", "min_position"])?;
    parameters.once("from")?;
    let from = parameters.required("from")?;
    let from = position(&app, &from, ["query", "from"]).await?;
    let to = match parameters.once("to")? {
        Some(to) => position(&app, to, ["query", "to"]).await?,
        None => app.reader.head().await?,
    };
    let record = record_of::<A>(id);
    let life = app.reader.life(record).await?;
    if life.is_empty() {
        return Err(Problem::NotFound(record.kind()));
    }
    let stand = |position| stood(record, &life, position).map_err(|it| problem(it, record));
    if stand(i64::MAX)?.is_erased() {
        return Err(Problem::Erased(record.kind()));
    }
    let (before, after) = (stand(from)?, stand(to)?);
    let changes = differences(&before.facts(), &after.facts());
    let names = Names::of(app.log.database(), spoken_of(record, &changes, [])).await?;
    let side = async |position, subject: &Subject| {
        let Time { recorded_at, .. } = app.reader.time_at(position).await?;
        let recorded_at = recorded_at.map(history::time);
        Ok::<_, Problem>(
            json!({"position": position, "recorded_at": recorded_at, "state": state(subject)}),
        )
    };
    let body = json!({
        "record": history::record(record, &names),
        "from": side(from, &before).await?,
        "to": side(to, &after).await?,
        "changes": told(&changes, &names),
    });
    Ok(([(POSITION, HeaderValue::from(to))], Json(body)).into_response())
}

fn state(subject: &Subject) -> &'static str {
    match (subject.is_there(), subject.is_archived()) {
        (false, _) => "absent",
        (true, true) => "archived",
        (true, false) => "active",
    }
}

/// The record, and all that these changes and sentences speak of.
fn spoken_of<'a>(
    record: RecordRef,
    changes: impl IntoIterator<Item = &'a FactChange>,
    sentences: impl IntoIterator<Item = &'a Sentence>,
) -> Vec<RecordRef> {
    let changed = changes.into_iter().filter_map(|change| change.about);
    let said = sentences.into_iter().flat_map(|sentence| &sentence.0);
    let said = said.filter_map(|part| match part {
        Part::Record(record) => Some(*record),
        Part::Text(_) | Part::Value(_) => None,
    });
    [record].into_iter().chain(changed).chain(said).collect()
}

fn told(changes: &[FactChange], names: &Names) -> Vec<Value> {
    changes.iter().map(|change| history::change(change, names)).collect()
}

/// Takes a record back to what it was, or one event or command back.
pub async fn revert<A: Resource>(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    uri: Uri,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let parameters = Parameters::of(&uri);
    let is_rehearsal = is_rehearsal(&parameters)?;
    if !is_rehearsal {
        caller.attempts("Revert");
    }
    let Wish { goal, fields, seen, is_forced } = wish(&app, &parameters, body).await?;
    let record = record_of::<A>(id);
    if let Some(earlier) = caller.earlier() {
        return Ok(done(&app, Written::of::<A>(&app, earlier).await).await);
    }
    let tables: Vec<&'static str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    for _ in 0..EventLog::ATTEMPTS {
        // What a plan speaks of has the names that it was given last.
        app.level(&tables).await?;
        let life = app.reader.life(record).await?;
        let plan =
            plan(record, &life, goal, fields.as_ref()).map_err(|error| problem(error, record))?;
        check_version(&app, &caller, record, &plan).await?;
        let told = Told::of(&app, record, &plan).await?;
        if is_rehearsal {
            check_notion_id(&app, record, &plan).await?;
            return Ok(told.rehearsed(&app, &plan));
        }
        if !is_forced && (told.is_lacking || is_news(&caller, goal, seen, &plan)) {
            return Err(told.contested(goal));
        }
        let Plan { version, present, target, cause, .. } = plan;
        let (Some(present), Some(target)) = (A::of(present), A::of(target)) else {
            return Err(Problem::NotFound(record.kind()));
        };
        let request = CommandRequest {
            if_match: Some(version),
            causation_id: cause,
            ..caller.request("Revert")
        };
        match app.log.execute::<A>(id, present.revert(target), &request).await {
            Ok(receipt) => {
                return Ok(done(&app, Written::of::<A>(&app, receipt).await).await);
            }
            // What was planned was planned for another state.
            Err(CommandError::VersionMismatch { .. }) if caller.if_match.is_none() => {}
            Err(error) => return Err(Problem::of_command(error, record)),
        }
    }
    Err(Problem::of_command(CommandError::Conflict, record))
}

/// Whether a plan takes something back that the caller has not said to know: of one event or command, whatever changed the same since;
/// of all that came after a position, what is newer than what the caller has seen.
fn is_news(caller: &Caller, goal: Goal, seen: Option<i64>, plan: &Plan) -> bool {
    match goal {
        // The tag is that of the record as it stands; `*` is any, so that it says nothing.
        Goal::To(_) if caller.if_match.as_deref().is_some_and(|tags| !tags.contains('*')) => false,
        Goal::To(_) => plan.later.iter().any(|later| seen.is_none_or(|seen| later.position > seen)),
        _ => !plan.later.is_empty(),
    }
}

/// The row, or that there is none any more.
async fn done(app: &App, written: Written) -> Response {
    match written.outcome(app).await {
        Outcome::Seen(row) => written.seen_row(row),
        Outcome::Recorded(row) => written.recorded_row(row),
        Outcome::Gone => written.answer(json!({"status": "deleted"})),
        Outcome::Unknown => {
            let id = written.record.id();
            written.provisional(json!({"id": id}))
        }
    }
}

struct Wish {
    goal: Goal,
    /// Of one event or command: the fields that alone are taken back.
    fields: Option<BTreeSet<String>>,
    /// Up to where in the log the caller knows the record.
    seen: Option<i64>,
    is_forced: bool,
}

fn is_rehearsal(parameters: &Parameters) -> Result<bool, Problem> {
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
async fn wish(app: &App, parameters: &Parameters, body: Body) -> Result<Wish, Problem> {
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

/// `If-Match` is about what readers see, a plan about what is in the log: both must be the same state.
async fn check_version(
    app: &App,
    caller: &Caller,
    record: RecordRef,
    plan: &Plan,
) -> Result<(), Problem> {
    // A deleted record has no tag that could match.
    if plan.present.is_archived() {
        return match caller.if_match {
            Some(_) => Err(Problem::Outdated),
            None => Ok(()),
        };
    }
    match condition(app, caller, record).await? {
        Some(version) if version != plan.version => Err(Problem::Outdated),
        _ => Ok(()),
    }
}

/// Makes sure that nobody else has the Notion id that the record would get back, as readers see it. When a plan is carried out,
/// the log decides.
async fn check_notion_id(app: &App, record: RecordRef, plan: &Plan) -> Result<(), Problem> {
    let (now, then) = (plan.present.notion_id(), plan.target.notion_id());
    let Some(notion_id) = then.filter(|_| now != then) else { return Ok(()) };
    match app.reader.notion_id_owner(record.kind(), notion_id).await? {
        Some(owner) => {
            let owner = record.kind().record(owner);
            Err(Problem::notion_id_taken(notion_id, owner))
        }
        None => Ok(()),
    }
}

/// The records that a plan would link to and that are gone.
///
/// # Errors
/// When the read models do not answer.
pub async fn missing(app: &App, plan: &Plan) -> Result<Vec<RecordRef>, Problem> {
    let brought: Vec<RecordRef> = plan.events.iter().flat_map(domain::Event::references).collect();
    writes::missing(app, &brought).await
}

/// The todos that followed on what is undone and are still there.
///
/// # Errors
/// When the read models do not answer.
pub async fn follow_ups(app: &App, plan: &Plan) -> Result<Vec<RecordRef>, Problem> {
    let gone = writes::missing(app, &plan.follow_ups).await?;
    Ok(plan.follow_ups.iter().filter(|todo| !gone.contains(todo)).copied().collect())
}

/// What a plan does to funds besides, as their histories will tell it: the arrival that a roadshow announces becomes the date
/// of its fund.
///
/// # Errors
/// When the log cannot be read.
pub async fn announced(
    app: &App,
    roadshow: RecordRef,
    plan: &Plan,
) -> Result<Vec<Sentence>, Problem> {
    let mut told = Vec::new();
    for (fund, arrival) in plan.announced() {
        let fund = RecordRef::Fund(fund);
        let mut subject = Subject::new(Kind::Fund);
        let life = app.reader.life(fund).await?;
        life.iter().flat_map(|entry| &entry.event).for_each(|event| subject.apply(event));
        let event = FundEvent::RoadshowDateSet { roadshow_date: Some(arrival) };
        let mut step = subject.step(fund, &Event::Fund(event));
        if !step.changes.is_empty() {
            step.sentence.0.extend([", the arrival of ".into(), roadshow.into()]);
            told.push(step.sentence);
        }
    }
    Ok(told)
}

/// What stays although it came of what is undone: what no undoing takes back, and the todos that followed.
async fn staying(app: &App, plan: &Plan) -> Result<Vec<FactChange>, Problem> {
    let follow_ups = follow_ups(app, plan).await?.into_iter().map(|todo| FactChange {
        field: "follow_up".to_owned(),
        about: Some(todo),
        from: Value::Null,
        to: true.into(),
    });
    Ok(plan.stays.iter().cloned().chain(follow_ups).collect())
}

/// A plan in words.
struct Told {
    record: Value,
    changes: Vec<Value>,
    sentences: Vec<String>,
    /// What it does to other records.
    besides: Vec<String>,
    stays: Vec<Value>,
    conflicts: Vec<Value>,
    /// Whether it would link to what is gone.
    is_lacking: bool,
}

impl Told {
    async fn of(app: &App, record: RecordRef, plan: &Plan) -> Result<Self, Problem> {
        let later = plan.later.iter().map(|later| &later.change);
        let announced = announced(app, record, plan).await?;
        let sentences = plan.steps.iter().map(|step| &step.sentence);
        let stays = staying(app, plan).await?;
        let changes = plan.changes.iter().chain(&stays).chain(later);
        let spoken_of = spoken_of(record, changes, sentences.clone().chain(&announced));
        let names = Names::of(app.log.database(), spoken_of).await?;
        let missing = missing(app, plan).await?;
        let mut conflicts: Vec<Value> = plan
            .later
            .iter()
            .map(|later| {
                let mut told = history::change(&later.change, &names);
                told["position"] = later.position.into();
                told["recorded_at"] = history::time(later.recorded_at).into();
                told["actor"] = later.actor.as_str().into();
                told
            })
            .collect();
        let is_lacking = !missing.is_empty();
        let text = |sentence: &Sentence| sentence.to_text(|of, begins| names.told(of, begins));
        conflicts.extend(missing.into_iter().map(|gone| {
            json!({"missing": history::record(gone, &names),
                "reason": format!("{} no longer exists", names.call(gone))})
        }));
        Ok(Self {
            record: history::record(record, &names),
            changes: told(&plan.changes, &names),
            sentences: sentences.map(text).collect(),
            besides: announced.iter().map(text).collect(),
            stays: told(&stays, &names),
            conflicts,
            is_lacking,
        })
    }

    fn rehearsed(self, app: &App, plan: &Plan) -> Response {
        let body = json!({
            "dry_run": true,
            "record": self.record,
            "version": plan.version,
            "changes": self.changes,
            "sentences": self.sentences,
            "besides": self.besides,
            "stays": self.stays,
            "conflicts": self.conflicts,
            "fields": plan.fields,
        });
        ([(POSITION, HeaderValue::from(app.reader.position()))], Json(body)).into_response()
    }

    fn contested(self, goal: Goal) -> Problem {
        let said = match goal {
            _ if self.is_lacking => {
                "What is to be undone needs what no longer exists, or was changed again since; with \"force\": true it is \
                 undone all the same"
            }
            Goal::To(_) => {
                "Going back takes these later changes back as well. Say that you know them, by If-Match with the record's tag \
                 or by \"seen\" with a position from which on there are none, or go on with \"force\": true"
            }
            Goal::Event(_) | Goal::Named(_) | Goal::Command(_) => {
                "What is to be undone was changed again since; with \"force\": true it is undone all the same"
            }
        };
        Problem::Contested { detail: said, conflicts: self.conflicts }
    }
}

/// Why nothing was planned, as an answer.
pub fn problem(error: UndoError, record: RecordRef) -> Problem {
    match error {
        UndoError::NoSuchEvent => {
            let said = format!("This is no event of {} {}", title(record.kind()), record.id());
            Problem::invalid(Fault::field("event", "not_found", said))
        }
        UndoError::NoSuchCommand => {
            let said =
                format!("This command changed nothing of {} {}", title(record.kind()), record.id());
            Problem::invalid(Fault::field("command", "not_found", said))
        }
        error @ UndoError::NotChanged { .. } => {
            Problem::invalid(Fault::field("fields", "not_changed", capitalised(&error.to_string())))
        }
        UndoError::Final(event) => {
            let said = match way(record, &event) {
                Some(way) => format!("This kind of change cannot be undone; {way}"),
                // Nothing else of a record is kept up by itself.
                None => {
                    "This cannot be undone: the note says there what its recordings have it say"
                        .to_owned()
                }
            };
            Problem::Conflict(said.into())
        }
        UndoError::Refused(refusal) => Problem::of_command(refusal.into(), record),
        error @ (UndoError::Unreadable { .. } | UndoError::Impossible(_)) => {
            Problem::Conflict(error.to_string().into())
        }
    }
}

/// What can be done instead of undoing an event.
fn way(record: RecordRef, event: &Event) -> Option<String> {
    let hold = || {
        let records = if record.kind() == Kind::Person { "people" } else { "notes" };
        format!("/{records}/{}/hold, with a reason", record.id())
    };
    let event = match event {
        Event::Person(PersonEvent::Held { .. }) | Event::Note(NoteEvent::Held { .. }) => {
            return Some(format!("a hold ends by DELETE {}", hold()));
        }
        Event::Person(PersonEvent::HoldLifted { .. })
        | Event::Note(NoteEvent::HoldLifted { .. }) => {
            return Some(format!("a hold begins anew by PUT {}", hold()));
        }
        Event::Note(event) => event,
        _ => return None,
    };
    let at = format!("/recordings/{}", event.recording()?);
    Some(match event {
        NoteEvent::RecordingAttached { .. } => {
            format!("a recording is removed for good by DELETE {at}")
        }
        NoteEvent::RecordingRemoved { .. } => {
            "the recording was removed for good, and can only be uploaded again".to_owned()
        }
        NoteEvent::TranscriptionAsked { .. } | NoteEvent::SummaryAsked { .. } => {
            format!("what is under way is stopped by POST {at}/cancel")
        }
        NoteEvent::Transcribed { .. } => {
            format!("it is transcribed again by POST {at}/transcribe")
        }
        NoteEvent::Summarised { .. } => format!("it is summarised again by POST {at}/summarise"),
        NoteEvent::TranscriptionFailed { .. }
        | NoteEvent::TranscriptionCancelled { .. }
        | NoteEvent::SummaryFailed { .. }
        | NoteEvent::SummaryCancelled { .. } => format!("it is tried again by POST {at}/retry"),
        NoteEvent::ActionItemsSuggested { .. } => {
            format!("what is suggested is put away by POST {at}/action-items/NUMBER/dismiss")
        }
        NoteEvent::ActionItemAccepted { todo, .. } => {
            format!("the todo that it became is deleted by DELETE /todos/{}", todo.id.0)
        }
        NoteEvent::ActionItemDismissed { item, .. } => {
            format!("it becomes a todo all the same by POST {at}/action-items/{item}/accept")
        }
        NoteEvent::InterestSuggested { .. } => {
            format!("what is suggested is put away by POST {at}/interest/dismiss")
        }
        NoteEvent::InterestAccepted { as_recorded, .. } => {
            format!("the interest is a change of fund {}, and undone there", as_recorded.fund.0)
        }
        NoteEvent::InterestDismissed { .. } => {
            format!("it is recorded all the same by POST {at}/interest/accept")
        }
        _ => return None,
    })
}
