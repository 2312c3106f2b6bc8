//! `/ask`: answers from what was found, each sentence with its sources.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use domain::{Kind, RecordRef};
use futures::{Stream, StreamExt as _};
use projections::ask::{
    self, AskError, End, LONGEST_QUESTION, MOST_SOURCES, Outcome, Passage, Sentence, Source, Told,
    Whole,
};
use projections::search::asked::Asked;
use projections::search::{Filter, Hit, Language, Mode, Wanted};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answers::{POSITION, READ_MODEL};
use crate::app::App;
use crate::body::Body;
use crate::describe::{Content, Routes, post};
use crate::history::plural;
use crate::history::wanted::{END, end_of_span};
use crate::problem::{Fault, Problem};

/// Where questions are asked: a POST that changes nothing.
pub const PATH: &str = "/ask";

/// Some proxies gather an answer before they pass it on, unless told not to.
const NO_BUFFERING: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// How often a stream shows that it is alive while the model thinks.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What to do when there is no model.
const NO_MODEL: &str = "There is no language model to answer: set LLM_URL and LLM_MODEL (and LLM_API_KEY if the server wants \
                        a key), then start crm again. GET /search finds passages without one";

/// The routes of questions.
pub fn routes() -> Routes {
    let passage = json!({"part": "text", "ordinal": 0, "text": "They asked how the fund hedges the peso.", "starts_ms": null});
    let answer = json!({
        "outcome": "answered", "message": "Answered from the sources below.",
        "answer": "Afore XXI asked how the fund hedges the peso. [1]",
        "sentences": [{"text": "Afore XXI asked how the fund hedges the peso.", "sources": [1]}],
        "sources": [{"n": 1, "kind": "note", "id": 12, "title": "Call with Afore XXI", "date": "2025-01-31",
            "about": ["Afore XXI"], "passage": passage, "link": "/notes/12"}],
        "left_out": 0, "changed": [], "complete": true, "model": "llama3.1", "mode": "hybrid", "missing": null});
    let question = json!({"question": "Which pension funds asked about currency hedging?", "kinds": ["note"], "lp": null,
        "gp": null, "fund": null, "person": null, "from": "2025-01-01", "to": null, "lang": null, "limit": 8});
    Routes::tagged("Search").at(
        PATH,
        [post(
            "Answers a question from what was found, every sentence with its sources. With Accept: text/event-stream as it \
             is written: sources, then each sentence, then done",
            Content::Example(answer),
            answer_it,
        )
        .takes(Content::Example(question))],
    )
}

/// What a person asks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    question: String,
    kinds: Option<Vec<String>>,
    lp: Option<i64>,
    gp: Option<i64>,
    fund: Option<i64>,
    person: Option<i64>,
    from: Option<String>,
    to: Option<String>,
    lang: Option<String>,
    limit: Option<usize>,
}

impl Question {
    fn read(body: Body) -> Result<Self, Problem> {
        let asked: Self = body.into_wish()?;
        let length = asked.question.trim().chars().count();
        if !(1..=LONGEST_QUESTION).contains(&length) {
            let said = format!("A question has 1 to {LONGEST_QUESTION} characters");
            return Err(Problem::invalid(Fault::field("question", "value_error", said)));
        }
        Ok(asked)
    }

    fn limit(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(8) {
            limit if (1..=MOST_SOURCES).contains(&limit) => Ok(limit),
            _ => Err(wrong("limit", &format!("a number from 1 to {MOST_SOURCES}"))),
        }
    }

    fn filter(&self) -> Result<Filter, Problem> {
        let kind = |name: &String| {
            let known =
                || Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
            Kind::parse(name).ok_or_else(|| wrong("kinds", &format!("of {}", known())))
        };
        let about = [
            (Kind::Lp, self.lp),
            (Kind::Gp, self.gp),
            (Kind::Fund, self.fund),
            (Kind::Person, self.person),
        ];
        let language =
            |code: &String| Language::parse(code).ok_or_else(|| wrong("lang", "en or es"));
        Ok(Filter {
            kinds: self.kinds.iter().flatten().map(kind).collect::<Result<_, _>>()?,
            about: about.into_iter().filter_map(|(kind, id)| Some(kind.record(id?))).collect(),
            from: self.from.as_deref().map(|text| moment("from", text)).transpose()?,
            to: self.to.as_deref().map(end).transpose()?,
            language: self.lang.as_ref().map(language).transpose()?,
        })
    }
}

fn wrong(name: &str, expected: &str) -> Problem {
    Problem::invalid(Fault::field(name, "value_error", format!("expected is {expected}")))
}

/// A time, or a date, which begins at midnight (UTC), as in searches.
fn moment(name: &str, text: &str) -> Result<DateTime<Utc>, Problem> {
    let time = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
    let date = || Some(text.parse::<NaiveDate>().ok()?.and_time(NaiveTime::MIN).and_utc());
    let expected = "a date such as 2025-01-31, or a time such as 2025-01-31T15:04:05Z";
    time().or_else(date).ok_or_else(|| wrong(name, expected))
}

/// A time, or a date, which counts to its end (UTC), as in searches.
fn end(text: &str) -> Result<DateTime<Utc>, Problem> {
    end_of_span(text).ok_or_else(|| wrong("to", END))
}

async fn answer_it(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let question = Question::read(body)?;
    let (filter, limit) = (question.filter()?, question.limit()?);
    let llm = app.llm.as_ref().ok_or(Problem::NotSetUp(NO_MODEL))?;
    app.reader.check()?;
    let position = app.reader.position();
    let asked = Asked::of(&question.question);
    let wanted = Wanted { asked, filter, mode: Mode::Hybrid, after: None, limit };
    let found = app.search.find(&wanted).await?;
    let is_behind = found.is_behind;
    let how = How { model: llm.model().to_owned(), mode: found.mode, missing: found.missing };
    let sources = sources(&app, found.hits).await?;
    let told = ask::ask(llm, &app.search, question.question.trim(), sources);
    let response = match wants_events(&headers) {
        true => {
            let until = app.rebuilds.dismissal().clone().cancelled_owned();
            let events = events(told, how).take_until(until);
            let events = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT));
            ([NO_BUFFERING], events).into_response()
        }
        false => Json(whole(&Whole::of(told).await?, &how)).into_response(),
    };
    let mut response = ([(POSITION, position.to_string())], response).into_response();
    if is_behind {
        response.headers_mut().insert(READ_MODEL, HeaderValue::from_static("behind"));
    }
    Ok(response)
}

fn wants_events(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/event-stream"))
}

/// The passages of hits, each of which shows one of its own.
async fn sources(app: &App, hits: Vec<Hit>) -> Result<Vec<Source>, Problem> {
    let records: Vec<RecordRef> = hits.iter().map(|hit| hit.record).collect();
    let about = app.search.names_about(&records).await?;
    Ok(hits.into_iter().filter_map(|hit| source(hit, &about)).collect())
}

fn source(hit: Hit, about: &HashMap<RecordRef, Vec<String>>) -> Option<Source> {
    let passage = hit.passage?;
    let record = hit.record;
    Some(Source {
        n: 0,
        kind: record.kind(),
        id: record.id(),
        title: hit.title,
        date: hit.date.map(|date| date.format("%Y-%m-%d").to_string()),
        about: about.get(&record).cloned().unwrap_or_default(),
        link: format!("/{}/{}", plural(record.kind()), record.id()),
        passage: Passage {
            part: passage.part.as_str().to_owned(),
            ordinal: passage.ordinal,
            text: passage.text,
            starts_ms: passage.starts_ms,
        },
    })
}

/// A sentence with its citations, as people read it.
fn cited(sentence: &Sentence) -> String {
    let cites: String = sentence.sources.iter().map(|n| format!("[{n}]")).collect();
    format!("{} {cites}", sentence.text)
}

/// How an answer came about.
struct How {
    /// The language model.
    model: String,
    mode: Mode,
    /// Why it was not searched by meaning, or which texts were not.
    missing: Option<String>,
}

fn ending(end: &End, how: &How) -> Value {
    let How { model, mode, missing } = how;
    let mut message = end.as_sentence();
    if let (Outcome::NothingFound, Some(missing)) = (end.outcome, missing) {
        message.push_str(&format!(" Not everything could be looked through: {missing}."));
    }
    json!({"outcome": end.outcome, "message": message, "left_out": end.left_out, "changed": end.changed,
        "complete": end.complete, "model": model, "mode": mode.as_str(), "missing": missing})
}

/// The answer as one object.
fn whole(whole: &Whole, how: &How) -> Value {
    let Whole { sources, sentences, end } = whole;
    let mut answer = ending(end, how);
    answer["answer"] = sentences.iter().map(cited).collect::<Vec<_>>().join(" ").into();
    answer["sentences"] = json!(sentences);
    answer["sources"] = json!(sources);
    answer
}

/// The answer as it is written.
fn events(
    told: impl Stream<Item = Result<Told, AskError>>,
    how: How,
) -> impl Stream<Item = Result<Event, Infallible>> {
    told.map(move |told| {
        let (name, data) = match told {
            Ok(Told::Sources(sources)) => ("sources", json!(sources)),
            Ok(Told::Sentence(sentence)) => ("sentence", json!(sentence)),
            Ok(Told::End(end)) => ("done", ending(&end, &how)),
            Err(error) => {
                let problem = Problem::from(error);
                problem.note();
                ("error", problem.body())
            }
        };
        Ok(Event::default().event(name).data(data.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: Value) -> Value {
        let asked = Question::read(Body::Text(body.to_string()));
        let problem = asked.and_then(|asked| asked.limit().and(asked.filter()));
        let problem = problem.expect_err("this question cannot be understood");
        assert_eq!(problem.status(), 422);
        problem.body()["detail"][0]["msg"].take()
    }

    #[test]
    fn a_question_is_narrowed_by_what_it_names() {
        let body = json!({"question": " hedging? ", "kinds": ["note", "lp"], "lp": 7, "fund": 2, "from": "2025-01-31",
            "to": "2025-02-01", "lang": "es"});
        let asked = Question::read(Body::Text(body.to_string())).unwrap();
        let filter = asked.filter().unwrap();
        assert_eq!(filter.kinds, [Kind::Note, Kind::Lp]);
        assert_eq!(filter.about, [Kind::Lp.record(7), Kind::Fund.record(2)]);
        let days = [filter.from, filter.to].map(|time| time.unwrap().to_rfc3339());
        assert_eq!(days, ["2025-01-31T00:00:00+00:00", "2025-02-02T00:00:00+00:00"]);
        assert_eq!((filter.language, asked.limit().unwrap()), (Some(Language::Spanish), 8));
    }

    #[test]
    fn what_cannot_be_understood_is_refused_in_words() {
        let check = |body: Value, expected: &str| {
            let said = refused(body);
            assert!(said.as_str().unwrap().contains(expected), "{said}");
        };
        check(json!({"question": "  "}), "1 to 1000 characters");
        check(json!({"question": "x".repeat(1001)}), "1 to 1000 characters");
        check(json!({"question": "q", "more": 1}), "unknown field");
        check(json!({}), "Field required");
        check(json!({"question": "q", "kinds": ["deal"]}), "of lp, gp");
        check(json!({"question": "q", "from": "soon"}), "a date such as");
        check(json!({"question": "q", "lang": "fr"}), "en or es");
        check(json!({"question": "q", "limit": 0}), "from 1 to 12");
    }
}
