//! What a person makes of what was suggested: an action item becomes a todo, an interest what the fund knows of an LP.

use axum::extract::State;
use axum::response::Response;
use chrono::Utc;
use domain::fund::{Fund, FundCommand, Interest};
use domain::lp::Lp;
use domain::note::{
    AcceptedInterest, AcceptedTodo, Note, NoteCommand, RecordingCommand, SuggestedItem,
};
use domain::todo::Todo;
use domain::{FundId, Kind, LpId, Moment, NoteId, RecordRef, Refusal, TodoId};
use projections::log::CommandError;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::OwnedMutexGuard;

use super::{READ_MODEL, known, known_members, process, shown};
use crate::app::App;
use crate::body::{Body, Ids, Shape, parse_id};
use crate::caller::Caller;
use crate::coerce::null_character;
use crate::json::Json as Sent;
use crate::problem::{Fault, Problem};
use crate::recordings::{name, standing_of, todo_of};
use crate::resource::record_of;
use crate::writes::{check_exist, condition, contact, missing, send};

/// The advisory lock of whoever accepts the interest of a recording.
const INTEREST_LOCK: i32 = 0x6372_6d69;
/// How long it is waited for: not as long as an answer of the database.
const LONGEST_TURN: &str = "5s";

/// A turn among the requests of this process, and among the servers.
type Turn = (OwnedMutexGuard<()>, PgConnection);

/// How often another id is drawn for a todo because an import was faster to use it.
const ATTEMPTS: usize = 5;

/// The todo's id is drawn before; if the item has a todo already, it goes unused.
pub(super) async fn accept_item(
    State(app): State<App>,
    Ids([id, number]): Ids<2>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    caller.attempts("AcceptActionItem");
    app.level(&["note", "link", "person"]).await?;
    let now = standing_of(&app, known(&app, id).await?).await?;
    let stored = now.stored.clone();
    let item = item_number(number)?;
    let suggested = stored.recording.items.get(&item);
    let suggested =
        suggested.ok_or_else(|| Problem::NoRecording(Refusal::NoSuchSuggestion.to_string()))?;
    let deleted = deleted_todo(&app, suggested).await?;
    let said = Said::read(body)?;
    let owner = said.owner.unwrap_or_else(|| suggested.item.owner.clone());
    let todo = AcceptedTodo {
        id: TodoId(0),
        title: said.title.unwrap_or_else(|| suggested.item.text.clone()),
        is_undated: said.due_date == Some(None),
        due_date: said.due_date.unwrap_or_else(|| now.due_if_accepted(&suggested.item)),
        about: about(&app, stored.note, owner.as_deref()).await?,
        owner,
        at: Moment::from(Utc::now().naive_utc()),
    };
    let note = stored.note.0;
    let version = condition(&app, &caller, stored.note.into()).await?;
    for _ in 0..ATTEMPTS {
        let fresh = app.log.fresh_id(Kind::Todo).await;
        let fresh = fresh.map_err(|error| Problem::of_command(error, record_of::<Note>(note)))?;
        let todo = AcceptedTodo { id: TodoId(fresh), ..todo.clone() };
        let command = RecordingCommand::AcceptItem { item, todo, deleted };
        let command = NoteCommand::Process { recording: stored.id, command };
        match send::<Note>(&app, &caller, note, "AcceptActionItem", command, version).await {
            // An import was faster to use that id.
            Err(CommandError::Refused(Refusal::NextIdMissing)) => {}
            Ok(written) => return Ok(shown(&app, (stored, written)).await),
            Err(error) => return Err(Problem::of_command(error, record_of::<Note>(note))),
        }
    }
    Err(Problem::Conflict("no id was free for the todo; please try again".into()))
}

/// The todo that the item became before, if it is deleted.
async fn deleted_todo(app: &App, suggested: &SuggestedItem) -> Result<Option<TodoId>, Problem> {
    let Some(todo) = todo_of(suggested) else { return Ok(None) };
    Ok((!missing(app, &[todo.into()]).await?.is_empty()).then_some(todo))
}

fn item_number(number: i64) -> Result<u32, Problem> {
    u32::try_from(number).map_err(|_| Problem::NoRecording(Refusal::NoSuchSuggestion.to_string()))
}

/// Whom and what a todo is about beside its note: of each kind whom the note is about, where that is one alone, and its owner.
///
/// People who write a todo down choose these themselves. Of several organisations only a person knows which one is meant.
async fn about(app: &App, note: NoteId, owner: Option<&str>) -> Result<Vec<RecordRef>, Problem> {
    let linked = app.reader.linked_to(note.into()).await?;
    let gone = missing(app, &linked).await?;
    let linked: Vec<_> = linked.into_iter().filter(|record| !gone.contains(record)).collect();
    let of_kind = |kind| linked.iter().copied().filter(move |record| record.kind() == kind);
    let kinds = Todo::LINKABLE.iter().filter(|kind| **kind != Kind::Note);
    let mut about: Vec<_> = kinds
        .filter_map(|kind| {
            let mut all = of_kind(*kind);
            all.next().filter(|_| all.next().is_none())
        })
        .collect();
    let Some(owner) = owner else { return Ok(about) };
    let called = app.reader.people_called(owner).await?;
    let mut called: Vec<RecordRef> = called.into_iter().map(RecordRef::from).collect();
    // Somebody who was there is meant rather than a namesake.
    if called.iter().any(|person| linked.contains(person)) {
        called.retain(|person| linked.contains(person));
    }
    if let [person] = called[..]
        && !about.contains(&person)
    {
        about.push(person);
    }
    Ok(about)
}

/// What a person says of the todo that an action item becomes; of what they do not say, what was suggested counts.
#[derive(Default)]
struct Said {
    title: Option<String>,
    due_date: Option<Option<Moment>>,
    owner: Option<Option<String>>,
}

impl Said {
    fn read(body: Body) -> Result<Self, Problem> {
        let mut said = Self::default();
        if matches!(body, Body::Nothing) {
            return Ok(said);
        }
        let members = body.into_members(Shape::Model)?;
        known_members(&members, &["title", "due_date", "owner"])?;
        for (name, value) in members {
            match (name.as_str(), value) {
                ("title", Sent::Null) => {}
                ("due_date", Sent::Null) => said.due_date = Some(None),
                ("owner", Sent::Null) => said.owner = Some(None),
                ("title", Sent::Text(text)) if text.contains('\0') => {
                    let place = ["body".into(), "title".into()];
                    return Err(Problem::invalid(null_character().at(place)));
                }
                ("title", Sent::Text(text)) if !text.trim().is_empty() => {
                    said.title = Some(text.trim().to_owned());
                }
                ("owner", Sent::Text(text)) => {
                    said.owner = Some(Some(name::line("body", "owner", &text)?));
                }
                ("due_date", Sent::Text(text)) => said.due_date = Some(Some(due_date(&text)?)),
                (_, other) => {
                    let fault = Fault::new(
                        "string_type",
                        ["body".into(), name.into()],
                        "Input should be a text that says something",
                    );
                    return Err(Problem::invalid(fault.with_input(other.shown())));
                }
            }
        }
        Ok(said)
    }
}

fn due_date(text: &str) -> Result<Moment, Problem> {
    Moment::parse_wall(text.trim()).map_err(|error| {
        let fault = Fault::field("due_date", "date", error.to_string());
        Problem::invalid(fault.with_input(text))
    })
}

pub(super) async fn dismiss_item(
    State(app): State<App>,
    Ids([id, number]): Ids<2>,
    caller: Caller,
) -> Result<Response, Problem> {
    caller.attempts("DismissActionItem");
    let command = RecordingCommand::DismissItem { item: item_number(number)? };
    Ok(shown(&app, process(&app, &caller, id, "DismissActionItem", command).await?).await)
}

/// The fund is told first: if crm dies in between, accepting again changes nothing there and ends the rest.
pub(super) async fn accept_interest(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    mut caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    // Before the fund hears of it.
    caller.attempts("AcceptInterest");
    known(&app, id).await?;
    let _turn = turn(&app, id).await?;
    let stored = known(&app, id).await?;
    let suggested = stored.recording.interest.as_ref();
    let suggested =
        suggested.ok_or_else(|| Problem::NoRecording(Refusal::NoSuchSuggestion.to_string()))?;
    let members = match body {
        Body::Nothing => vec![],
        body => body.into_members(Shape::Model)?,
    };
    known_members(&members, &["fund_id", "lp_id", "interest"])?;
    app.level(&["link"]).await?;
    let linked = app.reader.linked_to(stored.note.into()).await?;
    let fund = one_of(&members, "fund_id", &linked, Kind::Fund);
    let lp = one_of(&members, "lp_id", &linked, Kind::Lp);
    let (fund, lp) = match (fund, lp) {
        (Ok(fund), Ok(lp)) => (FundId(fund), LpId(lp)),
        (fund, lp) => {
            return Err(Problem::Invalid([fund.err(), lp.err()].into_iter().flatten().collect()));
        }
    };
    let interest = stage(&members, suggested.suggestion.interest.as_deref())?;
    let contact = contact(&app, fund.into(), lp).await?;
    check_exist(&app, &caller, &[record_of::<Fund>(fund.0), record_of::<Lp>(lp.0)]).await?;
    condition(&app, &caller, stored.note.into()).await?;
    let as_recorded = AcceptedInterest { fund, lp, interest };
    let refused = |refusal| Problem::of_command(CommandError::Refused(refusal), stored.note.into());
    // Else the fund would hear of what is refused.
    stored.recording.is_accepted_as(&as_recorded).map_err(refused)?;
    let record = FundCommand::RecordInterest {
        lp,
        interest: Interest::from(as_recorded.interest.as_str()),
        contact,
        legacy: None,
    };
    let telling = caller.unconditional().request("RecordInterest");
    let told = app.log.execute::<Fund>(fund.0, record, &telling).await;
    let told = told.map_err(|error| Problem::of_command(error, fund.into()))?;
    // Only what the log has is a cause.
    caller.cause = told.position.map(|_| telling.command_id);
    // The conditions were met, and the fund has heard of it.
    (caller.if_match, caller.if_none_match) = (None, None);
    let command = RecordingCommand::AcceptInterest { as_recorded };
    Ok(shown(&app, process(&app, &caller, id, "AcceptInterest", command).await?).await)
}

/// Takes turns at the interest of a recording, among all servers: who comes second knows what became of the first.
///
/// The lock goes with its connection, which is none of the pool's: those who wait could have all of these, and who has the
/// turn needs some. A process has one at a time.
async fn turn(app: &App, recording: i64) -> Result<Turn, Problem> {
    const BUSY: &str = "This interest is being accepted at the moment; please try again";
    let own = app.turns.take("suggested interests".to_owned()).await;
    let database = app.log.database();
    database.check()?;
    let options = database.options_for(&[]).options([("lock_timeout", LONGEST_TURN)]);
    let taking = async {
        let mut db = options.connect().await?;
        let lock = sqlx::query("select pg_advisory_lock($1, hashtext($2))");
        match lock.bind(INTEREST_LOCK).bind(recording.to_string()).execute(&mut db).await {
            Err(error) if is_timeout(&error) => return Ok(None),
            taken => taken?,
        };
        let end = sqlx::query_scalar("select coalesce(max(position), 0) from events");
        Ok(Some((end.fetch_one(&mut db).await?, db)))
    };
    let (end, db) = database.ask(taking).await?.ok_or(Problem::Busy(BUSY))?;
    app.level_with(end, &[READ_MODEL]).await?;
    Ok((own, db))
}

fn is_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}

pub(super) async fn dismiss_interest(
    State(app): State<App>,
    Ids([id]): Ids<1>,
    caller: Caller,
) -> Result<Response, Problem> {
    let command = RecordingCommand::DismissInterest;
    Ok(shown(&app, process(&app, &caller, id, "DismissInterest", command).await?).await)
}

/// The id that the body names, else that of the only linked record of the kind.
fn one_of(
    members: &[(String, Sent)],
    name: &'static str,
    linked: &[RecordRef],
    kind: Kind,
) -> Result<i64, Fault> {
    let place = || ["body".into(), name.into()];
    match members.iter().find(|(it, _)| it == name).map(|(_, value)| value) {
        Some(Sent::Number(text) | Sent::Text(text)) => {
            parse_id(text).map_err(|fault| fault.at(place()).with_input(text.clone()))
        }
        Some(Sent::Null) | None => {
            let mut of_kind = linked.iter().filter(|record| record.kind() == kind);
            let (number, plural) = match (of_kind.next(), of_kind.next()) {
                (Some(only), None) => return Ok(only.id()),
                (Some(_), _) => ("several", "s"),
                (None, _) => ("no", ""),
            };
            let noun = if kind == Kind::Lp { "LP" } else { kind.as_str() };
            let message = format!(
                "The note is linked to {number} {noun}{plural}: say which one it is ({name})"
            );
            Err(Fault::new("missing", place(), message))
        }
        Some(other) => {
            let fault = Fault::new("int_type", place(), "Input should be a valid integer");
            Err(fault.with_input(other.shown()))
        }
    }
}

/// The stage of the funnel that the body names, else the suggested one if it is one.
fn stage(members: &[(String, Sent)], suggested: Option<&str>) -> Result<String, Problem> {
    let said = members.iter().find(|(name, _)| name == "interest").map(|(_, value)| value);
    let known = suggested.filter(|suggested| Interest::KNOWN.contains(suggested));
    let message = || format!("Say which stage of the funnel: {}", Interest::KNOWN.join(", "));
    match said {
        // The funnel has no place for any other.
        Some(Sent::Text(text)) if Interest::KNOWN.contains(&text.trim()) => {
            Ok(text.trim().to_owned())
        }
        Some(Sent::Text(text)) => {
            let fault = Fault::field("interest", "enum", message());
            Err(Problem::invalid(fault.with_input(text.clone())))
        }
        Some(Sent::Null) | None => known
            .map(str::to_owned)
            .ok_or_else(|| Problem::invalid(Fault::field("interest", "missing", message()))),
        Some(other) => {
            let fault = Fault::field("interest", "string_type", message());
            Err(Problem::invalid(fault.with_input(other.shown())))
        }
    }
}
