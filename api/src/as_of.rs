//! `?as_of=`: what readers got at an earlier position or time.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use chrono::{DateTime, Duration, Utc};
use domain::{Kind, Moment, RecordRef};
use projections::read::{Answer, Query, StoredRecord, Then, Time};
use replay::SceneError;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::answers::{PATIENCE, POSITION, answer, not_found, respond};
use crate::app::App;
use crate::body::{Parameters, parse_id};
use crate::problem::{Fault, Problem, title};

/// How a request wants to be answered: what it has already, and as of when it asks.
#[derive(Clone, Debug)]
pub struct Asked {
    headers: HeaderMap,
    as_of: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let as_of = Parameters::of(&parts.uri).once("as_of")?.map(str::to_owned);
        Ok(Self { headers: parts.headers.clone(), as_of })
    }
}

impl Asked {
    /// The position that is asked for, if it is not the present.
    ///
    /// # Errors
    /// [`Problem::Invalid`] for what is no position or time, or has not come yet.
    pub async fn position(&self, app: &App) -> Result<Option<i64>, Problem> {
        match &self.as_of {
            None => Ok(None),
            Some(text) => position(app, text, ["query", "as_of"]).await.map(Some),
        }
    }

    /// Answers a query as of then.
    ///
    /// # Errors
    /// As [`answer`]; a record that was not there says why.
    pub async fn answer(&self, app: &App, query: Query) -> Result<Response, Problem> {
        let Some(position) = self.position(app).await? else {
            return answer(app, &self.headers, query).await;
        };
        let mut response = match &query {
            Query::Show(record) => {
                let answer = Answer::of_record(record_then(app, *record, position).await?);
                respond(&self.headers, &answer, Some(record.kind())).await
            }
            query => {
                if let Some(record) = about(query) {
                    check_existed(app, record, position).await?;
                }
                match self.present(app, query, position).await? {
                    Some(response) => response,
                    None => {
                        let answer = scene(app, query, position).await?;
                        respond(&self.headers, &answer, None).await
                    }
                }
            }
        };
        response.headers_mut().insert(POSITION, HeaderValue::from(position));
        Ok(response)
    }

    /// Today's answer, if the read models stand at that position: what they have not taken in yet is waited for, and they may
    /// move on while they are asked.
    async fn present(
        &self,
        app: &App,
        query: &Query,
        position: i64,
    ) -> Result<Option<Response>, Problem> {
        let is_level = app.reader.reached(position, PATIENCE).await;
        if !is_level || app.reader.position() != position {
            return Ok(None);
        }
        let response = answer(app, &self.headers, query.clone()).await?;
        Ok((app.reader.position() == position).then_some(response))
    }
}

/// The position that a text means: a position, or a time in the past.
///
/// # Errors
/// [`Problem::Invalid`] at this place.
pub async fn position(app: &App, text: &str, place: [&'static str; 2]) -> Result<i64, Problem> {
    let fault = |kind, said: String| {
        Problem::invalid(Fault::new(kind, place.map(Value::from), said).with_input(text))
    };
    match wanted(text, Utc::now()) {
        Ok(Wanted::Position(position)) => match app.reader.head().await? {
            head if position > head => {
                let said = format!("The log ends at position {head}; ask for that or an earlier one");
                Err(fault("in_the_future", said))
            }
            _ => Ok(position),
        },
        Ok(Wanted::Time(time)) => Ok(app.reader.position_at(time).await?),
        Err(Unusable::Future) => {
            Err(fault("in_the_future", "This time has not come yet; ask for an earlier one".into()))
        }
        Err(Unusable::Text) => Err(fault(
            "as_of_parsing",
            "Should be a position, such as 1659, or a time, such as 2025-01-31 (the end of that day) or \
             2025-01-31T15:04:05-05:00; without an offset it is UTC"
                .into(),
        )),
    }
}

#[derive(Debug, PartialEq)]
enum Wanted {
    Position(i64),
    Time(DateTime<Utc>),
}

#[derive(Debug, PartialEq)]
enum Unusable {
    Text,
    Future,
}

fn wanted(text: &str, now: DateTime<Utc>) -> Result<Wanted, Unusable> {
    if let Ok(position) = parse_id(text) {
        return if position < 0 { Err(Unusable::Text) } else { Ok(Wanted::Position(position)) };
    }
    let text = text.trim();
    let time = instant(text).ok_or(Unusable::Text)?;
    if time > now {
        return Err(Unusable::Future);
    }
    // A date means all that was known when it was over, or is by now.
    let is_date = text.len() == "2025-01-31".len();
    Ok(Wanted::Time(match is_date {
        true => time + Duration::days(1) - Duration::microseconds(1),
        false => time,
    }))
}

/// The moment that a parameter means: a date begins at midnight, and without an offset it is UTC.
pub fn instant(text: &str) -> Option<DateTime<Utc>> {
    // A plus that was not escaped has come as a space.
    let unescaped = || {
        let (time, offset) = text.rsplit_once(' ')?;
        Moment::parse(&format!("{time}+{offset}")).ok()
    };
    Some(Moment::parse(text).ok().or_else(unescaped)?.instant())
}

/// A record as it was then.
///
/// # Errors
/// [`Problem::NotThen`], which says why it was not there, or [`Problem::NotFound`] if it never was.
pub async fn record_then(
    app: &App,
    record: RecordRef,
    position: i64,
) -> Result<StoredRecord, Problem> {
    let (what, id) = (title(record.kind()), record.id());
    match app.reader.record_then(record, position).await? {
        Then::There(stored) => Ok(stored),
        Then::Never => Err(not_found(app, record).await),
        Then::NotYet(added) => Err(not_yet(record, position, added)),
        Then::Deleted(deleted) => Err(Problem::NotThen(format!(
            "{what} {id} was deleted at position {position}: that happened {}",
            when(deleted)
        ))),
        Then::Erased(at) => Err(erased(record, at)),
    }
}

/// The record whose links, notes, tasks or board a query is about.
fn about(query: &Query) -> Option<RecordRef> {
    match query {
        Query::Show(of) | Query::Linked { of, .. } | Query::NotesOf(of) | Query::TasksOf(of) => {
            Some(*of)
        }
        Query::SalesFunnel(fund) => Some(Kind::Fund.record(fund.0)),
        Query::LpStatus(roadshow) => Some(Kind::Roadshow.record(roadshow.0)),
        Query::List(_) | Query::Search { .. } | Query::Todos(_) => None,
    }
}

/// Refuses to answer about a record that was added only after that position, or that was erased. Of one that is deleted or
/// unknown whoever asks gets what he gets today: nothing, or what is left.
async fn check_existed(app: &App, record: RecordRef, position: i64) -> Result<(), Problem> {
    match app.reader.record_then(record, position).await? {
        Then::NotYet(added) => Err(not_yet(record, position, added)),
        Then::Erased(at) => Err(erased(record, at)),
        Then::There(_) | Then::Deleted(_) | Then::Never => Ok(()),
    }
}

fn not_yet(record: RecordRef, position: i64, added: Time) -> Problem {
    let (what, id, when) = (title(record.kind()), record.id(), when(added));
    Problem::NotThen(format!(
        "{what} {id} did not exist yet at position {position}: it was added {when}"
    ))
}

fn erased(record: RecordRef, at: Time) -> Problem {
    let (what, id, when) = (title(record.kind()), record.id(), when(at));
    Problem::NotThen(format!(
        "{what} {id} was erased {when}; what it was before can no longer be read"
    ))
}

fn when(Time { position, recorded_at }: Time) -> String {
    let time = recorded_at.map(|at| at.format("%Y-%m-%d %H:%M:%S UTC").to_string());
    format!("on {} (position {position})", time.unwrap_or_default())
}

/// The answer of the read models as they stood then.
async fn scene(app: &App, query: &Query, position: i64) -> Result<Answer, Problem> {
    let asked = app.scenes.ask(position, |connection| {
        let query = query.clone();
        Box::pin(async move { query.find(connection).await })
    });
    let found = asked.await.map_err(|error| match error {
        SceneError::Unavailable(reason) => Problem::Unavailable(reason),
        SceneError::Busy => {
            Problem::Busy("Too many earlier states are being looked up; please try again")
        }
        SceneError::Erased => {
            Problem::Busy("Records were erased while this was looked up; please try again")
        }
        SceneError::Stopped => Problem::Unavailable("the server is stopping".to_owned()),
        error @ SceneError::Failed { .. } => Problem::Internal(error.into()),
    })?;
    let answer = app.reader.answer_with(found, String::new()).await?;
    // It is named by what it says: an erasure, or an event that somebody has skipped since, makes it another.
    let mut hasher = Sha256::new();
    answer.chunks.iter().for_each(|chunk| hasher.update(chunk));
    let tag = hex::encode(&hasher.finalize()[..16]);
    Ok(Answer::new(tag, answer.chunks.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_or_a_time_in_the_past_is_understood() {
        let now = Moment::parse("2025-01-31T15:00:00Z").unwrap().instant();
        let check = |text: &str, expected: Result<Wanted, Unusable>| {
            assert_eq!(wanted(text, now), expected, "{text}");
        };
        let time = |text: &str| Ok(Wanted::Time(Moment::parse(text).unwrap().instant()));
        check("0", Ok(Wanted::Position(0)));
        check("1659", Ok(Wanted::Position(1659)));
        check("-1", Err(Unusable::Text));
        check("yesterday", Err(Unusable::Text));
        check("", Err(Unusable::Text));
        check("2025-13-01", Err(Unusable::Text));
        check("2025-01-30", time("2025-01-30T23:59:59.999999Z"));
        check("2025-01-31", time("2025-01-31T23:59:59.999999Z"));
        check("2025-01-31T14:59:00", time("2025-01-31T14:59:00Z"));
        check("2025-01-31T09:59:00-05:00", time("2025-01-31T14:59:00Z"));
        check("2025-01-31T15:59:00+01:00", time("2025-01-31T14:59:00Z"));
        check("2025-01-31T15:59:00 01:00", time("2025-01-31T14:59:00Z"));
        check("2025-01-31T10:00:01-05:00", Err(Unusable::Future));
        check("2025-02-01", Err(Unusable::Future));
    }
}
