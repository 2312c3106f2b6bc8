//! What records go through beside being written: they come back, are taken back to what they were, are held and erased, and
//! notes have recordings.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use domain::note::{Author, RecordingCommand, RecordingId, Summary};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{KINDS, LINKS, Model, NOTES, PEOPLE, Step, steps};
use crate::contract::{Answer, Api, json_request};
use crate::recordings::{attach, keep, process};

/// The kinds that are taken back: all that the model knows of them are their names and links.
const REVERTED: [usize; 5] = [0, 1, 2, PEOPLE, NOTES];

/// One more request. Records and recordings are named by when they were made.
#[derive(Clone, Debug)]
pub enum Turn {
    /// Back from the archive, as it was.
    Restore(usize, usize),
    /// Back to what it was at one of the times at which it was another, or was.
    Revert(usize, usize, prop::sample::Index),
    Hold(usize, usize),
    Lift(usize, usize),
    Erase(usize, usize),
    Record(usize),
    /// A worker has heard this.
    Hear(usize, String),
    /// A worker has summarised it so.
    Summarise(usize, String),
    /// Somebody corrects what was heard.
    Correct(usize, String),
    Cancel(usize),
    Retry(usize),
}

/// How a recording stands, as readers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    AwaitsTranscript,
    AwaitsSummary,
    Done,
    TranscriptCancelled,
    SummaryCancelled,
}

/// A recording.
#[derive(Clone, Debug)]
struct Recorded {
    id: RecordingId,
    note: i64,
    round: u32,
    standing: Standing,
    heard: Option<String>,
    corrected: Option<String>,
}

/// What a record was from some position on.
#[derive(Clone, Debug, PartialEq)]
struct Was {
    position: i64,
    name: Option<String>,
    links: BTreeSet<(usize, i64)>,
    /// What is corrected in each recording.
    corrected: BTreeMap<RecordingId, Option<String>>,
}

/// What the model knows beside what stands in lists.
#[derive(Default)]
pub struct Lives {
    was: BTreeMap<(usize, i64), Vec<Was>>,
    held: BTreeSet<(usize, i64)>,
    erased: BTreeSet<(usize, i64)>,
    recordings: Vec<Recorded>,
}

/// Requests of all sorts, about few records, so that much happens to each.
pub fn all_steps() -> impl Strategy<Value = Vec<Step>> {
    let nth = || 0..3_usize;
    let erasable = || prop::sample::select(vec![PEOPLE, NOTES]);
    let any_kind = || prop_oneof![2 => Just(NOTES), 3 => 0..KINDS.len()];
    let word = || "[a-z]{1,6}";
    let turn = prop_oneof![
        6 => (any_kind(), nth()).prop_map(|(kind, nth)| Step::Remove(kind, nth)),
        8 => (any_kind(), nth()).prop_map(|(kind, nth)| Step::Turn(Turn::Restore(kind, nth))),
        8 => (prop::sample::select(REVERTED.to_vec()), nth(), any::<prop::sample::Index>())
            .prop_map(|(kind, nth, time)| Step::Turn(Turn::Revert(kind, nth, time))),
        2 => (erasable(), nth()).prop_map(|(kind, nth)| Step::Turn(Turn::Hold(kind, nth))),
        1 => (erasable(), nth()).prop_map(|(kind, nth)| Step::Turn(Turn::Lift(kind, nth))),
        2 => (erasable(), nth()).prop_map(|(kind, nth)| Step::Turn(Turn::Erase(kind, nth))),
        3 => nth().prop_map(|nth| Step::Turn(Turn::Record(nth))),
        5 => (nth(), word()).prop_map(|(nth, word)| Step::Turn(Turn::Hear(nth, word))),
        4 => (nth(), word()).prop_map(|(nth, word)| Step::Turn(Turn::Correct(nth, word))),
        3 => (nth(), word()).prop_map(|(nth, word)| Step::Turn(Turn::Summarise(nth, word))),
        2 => nth().prop_map(|nth| Step::Turn(Turn::Cancel(nth))),
        2 => nth().prop_map(|nth| Step::Turn(Turn::Retry(nth))),
    ];
    let turns = prop::collection::vec(turn, 1..60);
    let both = (steps(), turns).prop_map(|(steps, turns)| [steps, turns].concat()).prop_shuffle();
    both.prop_map(|steps| {
        let kinds = [NOTES, NOTES, NOTES, PEOPLE, PEOPLE, 0, 1];
        let made = kinds.map(|kind| Step::Register(kind, "first".to_owned()));
        let recorded = (0..3).map(|nth| Step::Turn(Turn::Record(nth)));
        made.into_iter().chain(recorded).chain(steps).collect()
    })
}

impl Model {
    /// The record by its place among those of its kind, there or not.
    fn made(&self, kind: usize, nth: usize) -> Option<i64> {
        self.records[kind].get(nth).map(|(id, _)| *id)
    }

    fn name(&mut self, kind: usize, id: i64) -> &mut Option<String> {
        let found = self.records[kind].iter_mut().find(|(other, _)| *other == id);
        &mut found.unwrap().1
    }

    /// Notes what all records are by now.
    pub(super) async fn remember(&mut self, api: &Api) {
        let head = sqlx::query_scalar("select coalesce(max(position), 0) from events");
        let position = head.fetch_one(&api.db.pool).await.unwrap();
        for kind in 0..KINDS.len() {
            for (id, name) in self.records[kind].clone() {
                let of_it = |(link, from, to): &(usize, i64, i64)| {
                    (LINKS[*link].0 == kind && *from == id).then_some((*link, *to))
                };
                let links = self.links.iter().filter_map(of_it).collect();
                let of_it = |it: &&Recorded| kind == NOTES && it.note == id;
                let of_it = self.lives.recordings.iter().filter(of_it);
                let corrected = of_it.map(|it| (it.id, it.corrected.clone())).collect();
                let was = self.lives.was.entry((kind, id)).or_default();
                let before = was.last().map_or(0, |it| it.position);
                let now = Was { position: before, name, links, corrected };
                if was.last() != Some(&now) {
                    was.push(Was { position, ..now });
                }
            }
        }
    }

    pub(super) async fn turn(&mut self, api: &Api, turn: Turn) {
        // What a worker does waits for no reader.
        api.backend.settle().await.unwrap();
        match turn {
            Turn::Restore(kind, nth) => self.restore(api, kind, nth).await,
            Turn::Revert(kind, nth, time) => self.revert(api, kind, nth, time).await,
            Turn::Hold(kind, nth) | Turn::Lift(kind, nth) => {
                let Some(id) = self.there(kind, nth) else { return };
                let path = format!("/{}/{id}/hold", KINDS[kind].0);
                let body = json!({"reason": "case 3"});
                if matches!(turn, Turn::Hold(..)) {
                    api.put(&path, body).await.expect(200, "hold");
                    self.lives.held.insert((kind, id));
                } else if self.lives.held.remove(&(kind, id)) {
                    let lifting = json_request(Method::DELETE, &path, &body);
                    api.send(lifting).await.expect(200, "lift");
                }
            }
            Turn::Erase(kind, nth) => self.erase(api, kind, nth).await,
            Turn::Record(nth) => {
                let Some(note) = self.there(NOTES, nth) else { return };
                let id = attach(&api.backend.log, note, "recordings/none").await;
                self.lives.recordings.push(Recorded {
                    id,
                    note,
                    round: 1,
                    standing: Standing::AwaitsTranscript,
                    heard: None,
                    corrected: None,
                });
            }
            Turn::Hear(nth, word) => {
                let Some(it) = self.recording(nth, Standing::AwaitsTranscript) else { return };
                let heard = format!("We like {word}.");
                process(&api.backend.log, it.note, it.id, keep(it.round, &[&heard])).await;
                (it.heard, it.standing) = (Some(heard), Standing::AwaitsSummary);
            }
            Turn::Summarise(nth, word) => {
                let Some(it) = self.recording(nth, Standing::AwaitsSummary) else { return };
                let author = Author::Model { model: "m".to_owned(), prompt: "1".to_owned() };
                let summary = Summary { author, text: word, key_points: vec![] };
                let (round, items, interest) = (it.round, vec![], None);
                let done = RecordingCommand::KeepSummary { round, summary, items, interest };
                process(&api.backend.log, it.note, it.id, done).await;
                it.standing = Standing::Done;
            }
            Turn::Correct(nth, word) => {
                let heard = self.lives.recordings.get(nth).filter(|it| it.heard.is_some());
                let Some(it) = heard.filter(|it| self.is_there(NOTES, it.note)) else { return };
                let path = format!("/recordings/{}/transcript", it.id);
                let segment = json!({"start": 0.0, "end": 1.5, "text": word});
                let correcting =
                    json_request(Method::PATCH, &path, &json!({"segments": [segment]}));
                api.send(correcting).await.expect(200, "correct");
                self.lives.recordings[nth].corrected = Some(word);
            }
            Turn::Cancel(nth) => {
                self.ask_of_recording(api, nth, "cancel", |it| match it.standing {
                    Standing::AwaitsTranscript => it.standing = Standing::TranscriptCancelled,
                    Standing::AwaitsSummary => it.standing = Standing::SummaryCancelled,
                    _ => {}
                })
                .await
            }
            Turn::Retry(nth) => {
                self.ask_of_recording(api, nth, "retry", |it| {
                    let again = match it.standing {
                        Standing::TranscriptCancelled => Standing::AwaitsTranscript,
                        Standing::SummaryCancelled => Standing::AwaitsSummary,
                        _ => return,
                    };
                    (it.standing, it.round) = (again, it.round + 1);
                })
                .await
            }
        }
    }

    /// The recording, if its note is there and it stands so.
    fn recording(&mut self, nth: usize, standing: Standing) -> Option<&mut Recorded> {
        let note = self.lives.recordings.get(nth)?.note;
        let is_there = self.is_there(NOTES, note);
        self.lives.recordings.get_mut(nth).filter(|it| is_there && it.standing == standing)
    }

    async fn ask_of_recording(
        &mut self,
        api: &Api,
        nth: usize,
        what: &str,
        change: impl Fn(&mut Recorded),
    ) {
        let Some(it) = self.lives.recordings.get(nth) else { return };
        let (path, is_there) =
            (format!("/recordings/{}/{what}", it.id), self.is_there(NOTES, it.note));
        let answer = api.post(&path, json!({})).await;
        let expected = match (is_there, it.standing) {
            (false, _) => 404,
            (true, Standing::Done) => 409,
            (true, _) => 200,
        };
        answer.expect(expected, &path);
        if is_there {
            change(&mut self.lives.recordings[nth]);
        }
    }

    /// Takes a record out of the archive, by taking it back to what it was when it was last there.
    async fn restore(&mut self, api: &Api, kind: usize, nth: usize) {
        let Some(id) = self.made(kind, nth) else { return };
        let is_gone = !self.is_there(kind, id) && !self.lives.erased.contains(&(kind, id));
        let times = self.lives.was.get(&(kind, id)).filter(|_| is_gone);
        let Some(last) = times.and_then(|it| it.iter().rposition(|was| was.name.is_some())) else {
            return;
        };
        let (was, gone) = (times.unwrap()[last].clone(), times.unwrap()[last + 1].position);
        if REVERTED.contains(&kind) {
            return self.take_back(api, kind, id, was).await;
        }
        // Much else has happened to it since it got its name, and may have to a fund since it went, but it went by one event.
        let path = format!("/{}/{id}/revert", KINDS[kind].0);
        api.post(&path, json!({"event": gone})).await.expect(200, "restore");
        *self.name(kind, id) = was.name;
    }

    async fn revert(&mut self, api: &Api, kind: usize, nth: usize, time: prop::sample::Index) {
        let Some(id) = self.made(kind, nth) else { return };
        let Some(times) = self.lives.was.get(&(kind, id)) else { return };
        let was = times[time.index(times.len())].clone();
        if self.lives.erased.contains(&(kind, id)) {
            let answer = self.ask_back(api, kind, id, was.position).await;
            answer.expect(410, "what was erased");
            return;
        }
        self.take_back(api, kind, id, was).await;
    }

    async fn ask_back(&self, api: &Api, kind: usize, id: i64, to: i64) -> Answer {
        let path = format!("/{}/{id}/revert", KINDS[kind].0);
        api.post(&path, json!({"to": to, "force": true})).await
    }

    async fn take_back(&mut self, api: &Api, kind: usize, id: i64, was: Was) {
        // What it was linked with must still be there to be linked with again.
        if !was.links.iter().all(|(link, to)| self.is_there(LINKS[*link].2, *to)) {
            return;
        }
        self.ask_back(api, kind, id, was.position).await.expect(200, "revert");
        self.links.retain(|(link, from, _)| !(LINKS[*link].0 == kind && *from == id));
        self.links.extend(was.links.iter().map(|(link, to)| (*link, id, *to)));
        // What was attached stays, and what a machine heard it did hear.
        for it in self.lives.recordings.iter_mut() {
            if let Some(corrected) = was.corrected.get(&it.id) {
                it.corrected.clone_from(corrected);
            }
        }
        *self.name(kind, id) = was.name;
    }

    async fn erase(&mut self, api: &Api, kind: usize, nth: usize) {
        let Some(id) = self.made(kind, nth) else { return };
        if self.lives.erased.contains(&(kind, id)) {
            return;
        }
        let is_held = self.lives.held.contains(&(kind, id));
        let path = format!("/{}/{id}/erase", KINDS[kind].0);
        let answer = api.post(&path, json!({"reason": "request 7"})).await;
        answer.expect(if is_held { 409 } else { 200 }, "erase");
        if is_held {
            return;
        }
        self.lives.erased.insert((kind, id));
        *self.name(kind, id) = None;
        if kind == NOTES {
            self.lives.recordings.retain(|it| it.note != id);
        }
    }

    pub(super) async fn assert_recordings(&self, api: &Api) {
        api.backend.settle().await.unwrap();
        for (note, name) in &self.records[NOTES] {
            let answer = api.get(&format!("/notes/{note}/recordings")).await;
            if name.is_none() {
                // Only writes tell what was erased from what never was.
                assert_eq!(answer.status, 404, "{}", answer.body);
                continue;
            }
            let found: BTreeMap<i64, Value> = answer
                .expect(200, "recordings")
                .as_array()
                .unwrap()
                .iter()
                .map(|it| (it["id"].as_i64().unwrap(), it["state"].clone()))
                .collect();
            let of_it = self.lives.recordings.iter().filter(|it| it.note == *note);
            let expected: BTreeMap<i64, Value> = of_it
                .map(|it| {
                    let state = match it.standing {
                        Standing::AwaitsTranscript => "stored",
                        Standing::AwaitsSummary | Standing::SummaryCancelled => "transcribed",
                        Standing::Done => "summarised",
                        Standing::TranscriptCancelled => "cancelled",
                    };
                    (it.id.0, json!(state))
                })
                .collect();
            assert_eq!(found, expected, "recordings of note {note}");
        }
        for it in self.lives.recordings.iter().filter(|it| self.is_there(NOTES, it.note)) {
            let Some(heard) = &it.heard else { continue };
            let transcript = api.read(&format!("/recordings/{}/transcript", it.id)).await;
            let text = it.corrected.as_ref().unwrap_or(heard);
            assert_eq!(transcript["segments"][0]["text"], json!(text), "recording {}", it.id);
        }
    }
}
