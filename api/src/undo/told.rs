//! What undoing would do, in words.

use axum::Json;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use domain::fund::FundEvent;
use domain::telling::Sentence;
use domain::{Event, FactChange, Kind, RecordRef, Subject};
use projections::history::Names;
use projections::undo::{Goal, Plan};
use serde_json::{Value, json};

use super::{spoken_of, told};
use crate::answers::POSITION;
use crate::app::App;
use crate::history;
use crate::problem::Problem;
use crate::writes;

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
pub(super) struct Told {
    record: Value,
    changes: Vec<Value>,
    sentences: Vec<String>,
    /// What it does to other records.
    besides: Vec<String>,
    stays: Vec<Value>,
    conflicts: Vec<Value>,
    /// Whether it would link to what is gone.
    pub(super) is_lacking: bool,
}

impl Told {
    pub(super) async fn of(app: &App, record: RecordRef, plan: &Plan) -> Result<Self, Problem> {
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

    pub(super) fn rehearsed(self, app: &App, plan: &Plan) -> Response {
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

    pub(super) fn contested(self, goal: Goal) -> Problem {
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
