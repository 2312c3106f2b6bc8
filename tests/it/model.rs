//! A machine of random requests beside the simplest model of what they mean: what readers get is what the model says,
//! from the live read models and from rebuilt ones.

mod lives;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{Days, NaiveDate};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::contract::Api;
use crate::verify::verify;
use lives::{Lives, Turn, all_steps};

/// The paths of all kinds, each with the field that names a record.
pub const KINDS: [(&str, &str); 8] = [
    ("lps", "name"),
    ("gps", "name"),
    ("distributors", "name"),
    ("people", "name"),
    ("funds", "fund_name"),
    ("notes", "name"),
    ("todos", "title"),
    ("roadshows", "name"),
];
const LPS: usize = 0;
const PEOPLE: usize = 3;
pub const FUNDS: usize = 4;
const NOTES: usize = 5;
const TODOS: usize = 6;
pub const ROADSHOWS: usize = 7;

/// Whose links are changed one by one: the owner, and what it is linked with, as paths name it.
const LINKS: [(usize, &str, usize); 8] = [
    (NOTES, "lps", LPS),
    (NOTES, "gps", 1),
    (NOTES, "distributors", 2),
    (NOTES, "participants", PEOPLE),
    (NOTES, "funds", FUNDS),
    (NOTES, "roadshows", ROADSHOWS),
    (PEOPLE, "lps", LPS),
    (PEOPLE, "gps", 1),
];

/// One request. Records are named by when they were made among those of their kind.
#[derive(Clone, Debug)]
pub enum Step {
    Register(usize, String),
    Rename(usize, usize, String),
    Remove(usize, usize),
    Link(usize, usize, usize),
    Unlink(usize, usize, usize),
    Interest(usize, usize, String),
    Status(usize, usize, String),
    /// A todo is due on this day, and again so many days later, with copies that recur as well or do not.
    Recur(usize, u64, Every),
    Complete(usize),
    /// A roadshow arrives on this day, or nobody knows when.
    Arrive(usize, Option<u64>),
    Reassign(usize, usize),
    /// Somebody sets the roadshow date of a fund by hand.
    Date(usize, Option<u64>),
    /// Something else happens to a record than that it is written.
    Turn(Turn),
}

/// How a todo recurs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Every {
    /// After a week, not a day.
    is_weekly: bool,
    /// Whether a copy recurs as well.
    repeat: bool,
}

impl Every {
    fn days(self) -> u64 {
        if self.is_weekly { 7 } else { 1 }
    }

    fn pattern(self) -> String {
        let cycle = if self.is_weekly { "weekly" } else { "daily" };
        json!({"type": cycle, "repeat": self.repeat}).to_string()
    }
}

/// A day of 2025 as the API writes it.
fn on(day: u64) -> String {
    let first = NaiveDate::from_ymd_opt(2025, 1, 1).unwrap();
    first.checked_add_days(Days::new(day)).unwrap().format("%Y-%m-%dT00:00:00").to_string()
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (kind, nth, link) = (0..KINDS.len(), 0..4_usize, 0..LINKS.len());
    let word = "[a-z]{1,6}";
    let step = prop_oneof![
        6 => (kind.clone(), word).prop_map(|(kind, word)| Step::Register(kind, word)),
        3 => (kind.clone(), nth.clone(), word).prop_map(|(kind, nth, word)| Step::Rename(kind, nth, word)),
        1 => (kind, nth.clone()).prop_map(|(kind, nth)| Step::Remove(kind, nth)),
        5 => (link.clone(), nth.clone(), nth.clone()).prop_map(|(link, a, b)| Step::Link(link, a, b)),
        2 => (link, nth.clone(), nth.clone()).prop_map(|(link, a, b)| Step::Unlink(link, a, b)),
        3 => (nth.clone(), nth.clone(), word).prop_map(|(fund, lp, word)| Step::Interest(fund, lp, word)),
        3 => (nth.clone(), nth.clone(), word).prop_map(|(trip, lp, word)| Step::Status(trip, lp, word)),
        3 => (nth.clone(), 0..300_u64, any::<bool>(), any::<bool>()).prop_map(|(nth, day, is_weekly, repeat)| {
            Step::Recur(nth, day, Every { is_weekly, repeat })
        }),
        // Those that follow are among them.
        4 => (0..8_usize).prop_map(Step::Complete),
        3 => (nth.clone(), prop::option::weighted(0.8, 0..300_u64)).prop_map(|(trip, day)| Step::Arrive(trip, day)),
        1 => (nth.clone(), nth.clone()).prop_map(|(trip, fund)| Step::Reassign(trip, fund)),
        2 => (nth, prop::option::weighted(0.8, 0..300_u64)).prop_map(|(fund, day)| Step::Date(fund, day)),
    ];
    prop::collection::vec(step, 1..70)
}

/// What has been made of each kind, in order: its id and its name, if it is still there.
#[derive(Default)]
pub struct Model {
    pub records: [Vec<(i64, Option<String>)>; KINDS.len()],
    links: BTreeSet<(usize, i64, i64)>,
    interests: BTreeMap<(i64, i64), String>,
    statuses: BTreeMap<(i64, i64), String>,
    /// Of each todo that was ever due or completed, what is to be seen of that.
    todos: BTreeMap<i64, Due>,
    /// Of each roadshow, the fund that it is for and when it arrives.
    trips: BTreeMap<i64, (i64, Option<u64>)>,
    /// The roadshow date of each fund that has one.
    dates: BTreeMap<i64, u64>,
    lives: Lives,
}

/// When a todo is due, and what of it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Due {
    day: Option<u64>,
    every: Option<Every>,
    is_completed: bool,
    /// The todo that it follows.
    parent: Option<i64>,
}

impl Due {
    /// The todo that follows when this one, of that id, is completed.
    fn next(self, id: i64) -> Option<Self> {
        let every = self.every.filter(|every| self.parent.is_none() || every.repeat)?;
        let day = Some(self.day? + every.days());
        Some(Self { day, every: self.every, is_completed: false, parent: Some(id) })
    }
}

impl Model {
    /// The id of a record that is still there.
    fn there(&self, kind: usize, nth: usize) -> Option<i64> {
        let (id, name) = self.records[kind].get(nth)?;
        name.is_some().then_some(*id)
    }

    fn is_there(&self, kind: usize, id: i64) -> bool {
        self.records[kind].iter().any(|(other, name)| *other == id && name.is_some())
    }

    pub async fn take(&mut self, api: &Api, step: Step) {
        match step {
            Step::Register(kind, word) => {
                let (path, field) = KINDS[kind];
                let fund = self.records[FUNDS][0].0;
                let id = api.made(path, json!({field: word, "fund_id": fund})).await;
                self.records[kind].push((id, Some(word)));
                if kind == ROADSHOWS {
                    self.trips.insert(id, (fund, None));
                }
            }
            Step::Rename(kind, nth, word) => {
                let Some(id) = self.there(kind, nth) else { return };
                let (path, field) = KINDS[kind];
                let answer = api.put(&format!("/{path}/{id}"), json!({field: word})).await;
                assert_eq!(answer.expect(200, "rename")[field], json!(word));
                self.records[kind][nth].1 = Some(word);
                if kind == ROADSHOWS {
                    self.announce(id);
                }
            }
            // Roadshows need the first fund.
            Step::Remove(FUNDS, 0) => {}
            Step::Remove(kind, nth) => {
                let Some(id) = self.there(kind, nth) else { return };
                api.delete(&format!("/{}/{id}", KINDS[kind].0)).await.expect(200, "remove");
                self.records[kind][nth].1 = None;
            }
            Step::Link(link, nth, other) | Step::Unlink(link, nth, other) => {
                let (owner, path, kind) = LINKS[link];
                let Some((from, to)) = self.there(owner, nth).zip(self.there(kind, other)) else {
                    return;
                };
                let uri = format!("/{}/{from}/{path}/{to}", KINDS[owner].0);
                if matches!(step, Step::Link(..)) {
                    api.post(&uri, json!({})).await.expect(200, "link");
                    self.links.insert((link, from, to));
                } else {
                    api.delete(&uri).await.expect(200, "unlink");
                    self.links.remove(&(link, from, to));
                }
            }
            Step::Interest(fund, lp, word) => {
                let Some((fund, lp)) = self.there(FUNDS, fund).zip(self.there(LPS, lp)) else {
                    return;
                };
                let uri = format!("/funds/{fund}/lps/{lp}/interest?interest={word}");
                api.put(&uri, json!({})).await.expect(200, "interest");
                self.interests.insert((fund, lp), word);
            }
            Step::Status(trip, lp, word) => {
                let Some((trip, lp)) = self.there(ROADSHOWS, trip).zip(self.there(LPS, lp)) else {
                    return;
                };
                let uri = format!("/roadshows/{trip}/lps/{lp}/status?status={word}");
                api.put(&uri, json!({})).await.expect(200, "status");
                self.statuses.insert((trip, lp), word);
            }
            Step::Recur(nth, day, every) => {
                let Some(id) = self.there(TODOS, nth) else { return };
                let body = json!({"due_date": on(day), "recurrence_pattern": every.pattern()});
                api.put(&format!("/todos/{id}"), body).await.expect(200, "recur");
                let todo = self.todos.entry(id).or_default();
                (todo.day, todo.every) = (Some(day), Some(every));
            }
            Step::Complete(nth) => self.complete(api, nth).await,
            Step::Arrive(trip, day) => {
                let Some(id) = self.there(ROADSHOWS, trip) else { return };
                let body = json!({"arrival": day.map(on)});
                api.put(&format!("/roadshows/{id}"), body).await.expect(200, "arrive");
                self.trips.get_mut(&id).unwrap().1 = day;
                self.announce(id);
            }
            Step::Reassign(trip, fund) => {
                let Some((id, fund)) = self.there(ROADSHOWS, trip).zip(self.there(FUNDS, fund))
                else {
                    return;
                };
                let body = json!({"fund_id": fund});
                api.put(&format!("/roadshows/{id}"), body).await.expect(200, "reassign");
                self.trips.get_mut(&id).unwrap().0 = fund;
                self.announce(id);
            }
            Step::Date(fund, day) => {
                let Some(id) = self.there(FUNDS, fund) else { return };
                let body = json!({"roadshow_date": day.map(on)});
                api.put(&format!("/funds/{id}"), body).await.expect(200, "date");
                match day {
                    Some(day) => _ = self.dates.insert(id, day),
                    None => _ = self.dates.remove(&id),
                }
            }
            Step::Turn(turn) => Box::pin(self.turn(api, turn)).await,
        }
    }

    /// Whatever is written of a roadshow, its arrival becomes the date of its fund.
    fn announce(&mut self, trip: i64) {
        let (fund, arrival) = self.trips[&trip];
        if let Some(day) = arrival {
            self.dates.insert(fund, day);
        }
    }

    /// Every completion counts, also of what was completed before.
    async fn complete(&mut self, api: &Api, nth: usize) {
        let Some(id) = self.there(TODOS, nth) else { return };
        let before = self.todos.get(&id).copied().unwrap_or_default();
        let body = json!({"status": "completed"});
        let row = api.put(&format!("/todos/{id}"), body).await.expect(200, "complete");
        self.todos.insert(id, Due { is_completed: true, ..before });
        let known: BTreeSet<i64> = self.records[TODOS].iter().map(|(id, _)| *id).collect();
        let new: Vec<i64> =
            api.ids("/todos").await.into_iter().filter(|id| !known.contains(id)).collect();
        let next = before.next(id);
        assert_eq!(new.len(), usize::from(next.is_some()), "what follows todo {id}: {row}");
        if let Some((next, new)) = next.zip(new.first()) {
            let title = self.records[TODOS][nth].1.clone();
            self.records[TODOS].push((*new, title));
            self.todos.insert(*new, next);
        }
    }

    /// Panics with the first answer that is not what the model says.
    async fn assert_answers(&self, api: &Api) {
        for (kind, (path, field)) in KINDS.into_iter().enumerate() {
            let rows = api.read(&format!("/{path}")).await;
            let found: BTreeMap<i64, Value> = rows
                .as_array()
                .unwrap()
                .iter()
                .map(|row| (row["id"].as_i64().unwrap(), row[field].clone()))
                .collect();
            let expected: BTreeMap<i64, Value> = self.records[kind]
                .iter()
                .filter_map(|(id, name)| Some((*id, json!(name.clone()?))))
                .collect();
            assert_eq!(found, expected, "{path}");
        }
        for (link, (owner, path, kind)) in LINKS.into_iter().enumerate() {
            for (id, _) in self.records[owner].iter().filter(|(_, name)| name.is_some()) {
                let found = api.ids(&format!("/{}/{id}/{path}", KINDS[owner].0)).await;
                let mut expected: Vec<i64> = self
                    .links
                    .iter()
                    .filter(|(of, from, to)| *of == link && from == id && self.is_there(kind, *to))
                    .map(|(.., to)| *to)
                    .collect();
                expected.sort_unstable();
                assert_eq!(found, expected, "{path} of {} {id}", KINDS[owner].0);
            }
        }
        self.assert_recordings(api).await;
        self.assert_dates(api).await;
        self.assert_board(api, FUNDS, "sales-funnel", "interest", &self.interests).await;
        self.assert_board(api, ROADSHOWS, "lp-status", "status", &self.statuses).await;
    }

    async fn assert_dates(&self, api: &Api) {
        for row in api.read("/todos").await.as_array().unwrap() {
            let id = row["id"].as_i64().unwrap();
            let due = self.todos.get(&id).copied().unwrap_or_default();
            let status = if due.is_completed { "completed" } else { "pending" };
            assert_eq!(
                (&row["due_date"], &row["status"], &row["parent_todo_id"]),
                (&json!(due.day.map(on)), &json!(status), &json!(due.parent)),
                "{row}"
            );
            assert_eq!(row["recurrence_pattern"], json!(due.every.map(Every::pattern)));
            assert_eq!(row["completed_at"].is_null(), !due.is_completed, "{row}");
        }
        for row in api.read("/funds").await.as_array().unwrap() {
            let date = self.dates.get(&row["id"].as_i64().unwrap());
            assert_eq!(row["roadshow_date"], json!(date.map(|day| on(*day))), "{row}");
        }
        for row in api.read("/roadshows").await.as_array().unwrap() {
            let (fund, arrival) = self.trips[&row["id"].as_i64().unwrap()];
            assert_eq!((&row["fund_id"], &row["arrival"]), (&json!(fund), &json!(arrival.map(on))));
        }
    }

    async fn assert_board(
        &self,
        api: &Api,
        owner: usize,
        board: &str,
        word: &str,
        words: &BTreeMap<(i64, i64), String>,
    ) {
        for (id, _) in self.records[owner].iter().filter(|(_, name)| name.is_some()) {
            let rows = api.read(&format!("/{}/{id}/{board}", KINDS[owner].0)).await;
            let found: BTreeMap<i64, Value> = rows
                .as_array()
                .unwrap()
                .iter()
                .map(|row| (row["lp_id"].as_i64().unwrap(), row[word].clone()))
                .collect();
            let expected: BTreeMap<i64, Value> = self.records[LPS]
                .iter()
                .filter(|(_, name)| name.is_some())
                .map(|(lp, _)| {
                    let word = words.get(&(*id, *lp)).map_or("inactive", String::as_str);
                    (*lp, json!(word))
                })
                .collect();
            assert_eq!(found, expected, "{board} of {id}");
        }
    }
}

#[test]
fn live_and_rebuilt_read_models_are_what_a_simple_model_says_whatever_is_asked() {
    let runtime = Arc::new(tokio::runtime::Runtime::new().unwrap());
    let config = Config { cases: 10, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&all_steps(), |steps| {
            runtime.block_on(async {
                let api = Api::new().await;
                let mut model = Model::default();
                let fund = api.made("funds", json!({"fund_name": "first"})).await;
                model.records[FUNDS].push((fund, Some("first".to_owned())));
                for step in steps {
                    model.take(&api, step).await;
                    model.remember(&api).await;
                }
                model.assert_answers(&api).await;
                let projectors = replay::find(projections::read::projectors(), &[]).unwrap();
                let stop = CancellationToken::new();
                let rebuild =
                    replay::Rebuild::admit(&api.db.connections, projectors, "a test", stop).await;
                rebuild.unwrap().run(|_| ()).await.unwrap();
                let mut checkpoints = api.backend.runner().checkpoints().clone();
                let swapped = checkpoints
                    .wait_for(|all| all.values().all(|checkpoint| checkpoint.revision > 0));
                swapped.await.unwrap();
                model.assert_answers(&api).await;
                let report = verify(&api.db).await;
                assert!(report.passed, "{report:?}");
                api.backend.stop().await;
                api.db.pool.close().await;
            });
            Ok(())
        })
        .unwrap();
}
