//! What every vector engine must do, asked of each: the one in memory, Qdrant as a server of ours speaks it, and a real Qdrant
//! if QDRANT_URL is in the environment.

use std::sync::atomic::{AtomicI32, Ordering};

use chrono::{DateTime, Utc};
use domain::{Kind, RecordRef};
use projections::search::engine::memory::Memory;
use projections::search::engine::qdrant::{Address, Qdrant};
use projections::search::engine::{Engine, EngineError, Near, Place, Point, Set, TextDigest};
use projections::search::{Filter, Language, Part};

use crate::qdrant::Server;

/// The length of the vectors in these tests.
const DIMENSIONS: usize = 4;

/// An engine, and what must live as long as it.
struct Subject {
    engine: Box<dyn Engine>,
    _server: Option<Server>,
}

async fn in_memory() -> Option<Subject> {
    Some(Subject { engine: Box::new(Memory::default()), _server: None })
}

async fn protocol() -> Option<Subject> {
    let server = Server::start().await;
    server.state().key = Some("let-me-in".to_owned());
    let engine = Qdrant::new(&server.address(), "test").unwrap();
    Some(Subject { engine: Box::new(engine), _server: Some(server) })
}

async fn real() -> Option<Subject> {
    let url = std::env::var("QDRANT_URL").ok()?;
    let key = std::env::var("QDRANT_API_KEY").ok();
    let namespace = format!("test{}", std::process::id());
    let engine = Qdrant::new(&Address { url, key }, &namespace).unwrap();
    Some(Subject { engine: Box::new(engine), _server: None })
}

/// A set that no other test has, of a model of its own.
fn new_set() -> Set {
    static NUMBER: AtomicI32 = AtomicI32::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Set { id: number, model: number, dimensions: DIMENSIONS }
}

fn note(id: i64) -> RecordRef {
    Kind::Note.record(id)
}

fn place(record: RecordRef, ordinal: i32) -> Place {
    Place { record, part: Part::Text, ordinal }
}

/// A point in the direction of one axis, leaning a little towards the last one.
fn point(record: RecordRef, ordinal: i32, version: i64, axis: usize) -> Point {
    let mut vector = vec![0.0; DIMENSIONS];
    vector[axis] = 0.96;
    vector[DIMENSIONS - 1] = 0.28;
    let digest = TextDigest([axis as u8; 16]);
    let place = place(record, ordinal);
    Point {
        place,
        digest,
        version,
        vector,
        date: None,
        language: None,
        about: vec![],
        is_brief: false,
    }
}

fn axis(axis: usize) -> Vec<f32> {
    (0..DIMENSIONS).map(|other| f32::from(u8::from(other == axis))).collect()
}

async fn found(engine: &dyn Engine, set: &Set, asked: &[f32], filter: &Filter) -> Vec<Near> {
    engine.nearest(set.model, asked, filter, 10).await.unwrap()
}

async fn records(engine: &dyn Engine, set: &Set, filter: &Filter) -> Vec<RecordRef> {
    let mut records: Vec<RecordRef> =
        found(engine, set, &axis(0), filter).await.iter().map(|near| near.place.record).collect();
    records.sort();
    records
}

/// Place and version of all that is held.
async fn held(engine: &dyn Engine, set: &Set) -> Vec<(Place, i64)> {
    let list = engine.list(set).await.unwrap();
    assert_eq!(engine.count(set).await.unwrap(), list.len() as u64);
    list.into_iter().map(|held| (held.place, held.version)).collect()
}

async fn the_nearest_come_first_with_their_cosines(engine: &dyn Engine) {
    let set = new_set();
    assert!(!engine.prepare(&set).await.unwrap(), "it was not there");
    assert!(engine.prepare(&set).await.unwrap(), "it is there");
    let points = [point(note(1), 0, 1, 0), point(note(2), 0, 1, 1), point(note(3), 0, 1, 2)];
    engine.upsert(&set, &points).await.unwrap();
    engine.publish(&set).await.unwrap();
    let near = found(engine, &set, &[0.6, 0.8, 0.0, 0.0], &Filter::default()).await;
    let order: Vec<i64> = near.iter().map(|near| near.place.record.id()).collect();
    assert_eq!(order, [2, 1, 3]);
    let scores = [0.768, 0.576, 0.0];
    for (near, score) in near.iter().zip(scores) {
        assert!((near.score - score).abs() < 1e-5, "{near:?} {score}");
    }
    assert_eq!(near[0].digest, TextDigest([1; 16]));
    let two = engine.nearest(set.model, &axis(0), &Filter::default(), 2).await.unwrap();
    assert_eq!(two.len(), 2);
}

async fn filters_narrow_the_search(engine: &dyn Engine) {
    let set = new_set();
    let day = |text: &str| format!("{text}T00:00:00Z").parse::<DateTime<Utc>>().unwrap();
    let (lp, fund) = (Kind::Lp.record(7), Kind::Fund.record(7));
    let first = Point {
        date: Some(day("2025-01-31")),
        language: Some(Language::English),
        about: vec![lp, fund],
        ..point(note(1), 0, 1, 0)
    };
    let second = Point {
        date: Some(day("2025-02-01")),
        language: Some(Language::Spanish),
        about: vec![lp],
        ..point(note(2), 0, 1, 0)
    };
    engine.prepare(&set).await.unwrap();
    let card = Point { place: place(lp, 0), ..point(lp, 0, 1, 0) };
    let brief = Kind::Person.record(3);
    let short = Point { is_brief: true, about: vec![lp], ..point(brief, 0, 1, 0) };
    engine.upsert(&set, &[first, second, card, short]).await.unwrap();
    engine.publish(&set).await.unwrap();
    let none = Filter::default;
    for (filter, expected) in [
        (none(), vec![lp, note(1), note(2)]),
        (Filter { kinds: vec![Kind::Note], ..none() }, vec![note(1), note(2)]),
        (Filter { kinds: vec![Kind::Gp, Kind::Lp], ..none() }, vec![lp]),
        (Filter { kinds: vec![Kind::Gp], ..none() }, vec![]),
        (Filter { kinds: vec![Kind::Person], ..none() }, vec![brief]),
        (Filter { about: vec![lp], ..none() }, vec![lp, note(1), note(2)]),
        (Filter { about: vec![lp, fund], ..none() }, vec![note(1)]),
        (Filter { about: vec![Kind::Gp.record(7)], ..none() }, vec![]),
        (Filter { from: Some(day("2025-02-01")), ..none() }, vec![note(2)]),
        (Filter { to: Some(day("2025-02-01")), ..none() }, vec![note(1)]),
        (Filter { language: Some(Language::Spanish), ..none() }, vec![note(2)]),
    ] {
        let mut expected = expected;
        expected.sort();
        assert_eq!(records(engine, &set, &filter).await, expected, "{filter:?}");
    }
}

async fn a_write_takes_the_place_of_the_one_before_but_not_of_a_later_one(engine: &dyn Engine) {
    let set = new_set();
    engine.prepare(&set).await.unwrap();
    engine.upsert(&set, &[point(note(1), 0, 5, 0), point(note(1), 1, 5, 0)]).await.unwrap();
    engine.upsert(&set, &[point(note(1), 0, 6, 1)]).await.unwrap();
    engine.upsert(&set, &[point(note(1), 0, 4, 2), point(note(2), 0, 4, 2)]).await.unwrap();
    let expected = [(place(note(1), 0), 6), (place(note(1), 1), 5), (place(note(2), 0), 4)];
    assert_eq!(held(engine, &set).await, expected);
    engine.publish(&set).await.unwrap();
    let best = found(engine, &set, &axis(1), &Filter::default()).await.remove(0);
    assert_eq!((best.place, best.digest), (place(note(1), 0), TextDigest([1; 16])));
    // Whatever was not heard to be done is written again.
    engine.upsert(&set, &[point(note(1), 0, 6, 1)]).await.unwrap();
    assert_eq!(held(engine, &set).await, expected);
}

async fn older_points_of_a_record_are_deleted_and_no_others(engine: &dyn Engine) {
    let set = new_set();
    engine.prepare(&set).await.unwrap();
    let mut points: Vec<Point> = (0..6).map(|ordinal| point(note(1), ordinal, 3, 0)).collect();
    points.extend((0..3).map(|ordinal| point(note(2), ordinal, 3, 1)));
    points.extend((0..2).map(|ordinal| point(Kind::Lp.record(1), ordinal, 3, 1)));
    engine.upsert(&set, &points).await.unwrap();
    // The record has become shorter.
    engine.upsert(&set, &[point(note(1), 0, 4, 2), point(note(1), 1, 4, 2)]).await.unwrap();
    engine.delete_older(&set, &[(note(1), 4), (note(3), 9)]).await.unwrap();
    let left = held(engine, &set).await;
    let of_first: Vec<_> = left.iter().filter(|(place, _)| place.record == note(1)).collect();
    assert_eq!(of_first, [&(place(note(1), 0), 4), &(place(note(1), 1), 4)]);
    assert_eq!(left.len(), 7);
    // It has gone for good.
    engine.delete_older(&set, &[(note(1), 5), (note(2), 3)]).await.unwrap();
    let left = held(engine, &set).await;
    assert_eq!(left.len(), 5);
    engine.publish(&set).await.unwrap();
    let near = found(engine, &set, &axis(1), &Filter::default()).await;
    assert_eq!(near.len(), 5);
    assert!(near.iter().all(|near| (near.score - 0.96).abs() < 1e-5), "{near:?}");
}

async fn a_set_is_filled_beside_the_one_that_answers(engine: &dyn Engine) {
    let old = new_set();
    let new = Set { model: old.model, ..new_set() };
    let missing = engine.nearest(old.model, &axis(0), &Filter::default(), 1).await;
    assert!(matches!(missing, Err(EngineError::Missing(_))), "{missing:?}");
    engine.prepare(&old).await.unwrap();
    engine.upsert(&old, &[point(note(1), 0, 1, 0)]).await.unwrap();
    engine.publish(&old).await.unwrap();
    engine.prepare(&new).await.unwrap();
    engine.upsert(&new, &[point(note(2), 0, 1, 0)]).await.unwrap();
    assert_eq!(records(engine, &old, &Filter::default()).await, [note(1)]);
    engine.publish(&new).await.unwrap();
    assert_eq!(records(engine, &old, &Filter::default()).await, [note(2)]);
    engine.forget(&old).await.unwrap();
    engine.forget(&old).await.unwrap();
    assert_eq!(records(engine, &new, &Filter::default()).await, [note(2)]);
    assert!(matches!(engine.list(&old).await, Err(EngineError::Missing(_))));
    assert!(matches!(engine.count(&old).await, Err(EngineError::Missing(_))));
}

async fn what_is_not_there_is_said_to_be_missing(engine: &dyn Engine) {
    let set = new_set();
    let points = [point(note(1), 0, 1, 0)];
    for answer in [
        engine.upsert(&set, &points).await,
        engine.delete_older(&set, &[(note(1), 1)]).await,
        engine.publish(&set).await,
    ] {
        assert!(matches!(answer, Err(EngineError::Missing(_))), "{answer:?}");
    }
}

async fn vectors_of_another_length_are_refused(engine: &dyn Engine) {
    let set = new_set();
    engine.prepare(&set).await.unwrap();
    let long = Point { vector: vec![0.5; DIMENSIONS + 1], ..point(note(1), 0, 1, 0) };
    assert!(matches!(engine.upsert(&set, &[long]).await, Err(EngineError::Rejected(_))));
    engine.publish(&set).await.unwrap();
    let answer = engine.nearest(set.model, &[1.0], &Filter::default(), 1).await;
    assert!(matches!(answer, Err(EngineError::Rejected(_))), "{answer:?}");
}

async fn thousands_of_points_are_listed(engine: &dyn Engine) {
    let set = new_set();
    engine.prepare(&set).await.unwrap();
    let points: Vec<Point> = (0..2_345).map(|id| point(note(id), 0, id, 0)).collect();
    engine.upsert(&set, &points).await.unwrap();
    let expected: Vec<(Place, i64)> = (0..2_345).map(|id| (place(note(id), 0), id)).collect();
    assert_eq!(held(engine, &set).await, expected);
    let gone: Vec<(RecordRef, i64)> = (0..2_000).map(|id| (note(id), id + 1)).collect();
    engine.delete_older(&set, &gone).await.unwrap();
    assert_eq!(held(engine, &set).await, expected[2_000..]);
    engine.forget(&set).await.unwrap();
}

macro_rules! contract {
    ($($check:ident),* $(,)?) => {
        contract! { @of in_memory $($check)* }
        contract! { @of protocol $($check)* }
        contract! { @of real $($check)* }
    };
    (@of $subject:ident $($check:ident)*) => {
        mod $subject {
            $(
                #[tokio::test]
                async fn $check() {
                    if let Some(subject) = super::$subject().await {
                        super::$check(&*subject.engine).await;
                    }
                }
            )*
        }
    };
}

contract! {
    the_nearest_come_first_with_their_cosines,
    filters_narrow_the_search,
    a_write_takes_the_place_of_the_one_before_but_not_of_a_later_one,
    older_points_of_a_record_are_deleted_and_no_others,
    a_set_is_filled_beside_the_one_that_answers,
    what_is_not_there_is_said_to_be_missing,
    vectors_of_another_length_are_refused,
    thousands_of_points_are_listed,
}

/// Qdrant alone: what can go wrong between it and us.
mod faults {
    use super::*;

    async fn subject() -> (Server, Qdrant, Set) {
        let server = Server::start().await;
        let engine = Qdrant::new(&server.address(), "test").unwrap();
        let set = new_set();
        engine.prepare(&set).await.unwrap();
        (server, engine, set)
    }

    #[tokio::test]
    async fn a_write_that_was_not_heard_to_be_done_is_an_error() {
        let (server, engine, set) = subject().await;
        let points = [point(note(1), 0, 1, 0)];
        server.state().slow_writes = 1;
        assert_eq!(engine.upsert(&set, &points).await, Err(EngineError::Unfinished));
        server.state().slow_writes = 1;
        let older = [(note(1), 1)];
        assert_eq!(engine.delete_older(&set, &older).await, Err(EngineError::Unfinished));
        engine.upsert(&set, &points).await.unwrap();
        assert_eq!(held(&engine, &set).await, [(place(note(1), 0), 1)]);
    }

    #[tokio::test]
    async fn a_collection_whose_making_was_interrupted_gets_what_it_lacks() {
        let (server, engine, whole) = subject().await;
        let indexes = |server: &Server| -> Vec<usize> {
            server.state().collections.values().map(|it| it.indexed.len()).collect()
        };
        let all = indexes(&server)[0];
        server.state().collections.clear();
        for made in 0..all {
            let set = new_set();
            server.state().failed_writes = usize::MAX;
            assert!(engine.prepare(&set).await.is_err());
            server.state().failed_writes = 0;
            assert!(engine.prepare(&set).await.unwrap(), "it was there");
            assert_eq!(indexes(&server), vec![all; made + 1]);
        }
        // One of an earlier release, too.
        engine.prepare(&whole).await.unwrap();
        server.state().collections.values_mut().for_each(|it| {
            it.indexed.remove("brief");
        });
        assert!(engine.prepare(&whole).await.unwrap());
        assert!(indexes(&server).contains(&all));
    }

    #[tokio::test]
    async fn a_wrong_key_is_said_without_the_key() {
        let server = Server::start().await;
        server.state().key = Some("right".to_owned());
        let url = server.address().url;
        for key in [Some("wrong".to_owned()), None] {
            let engine = Qdrant::new(&Address { url: url.clone(), key }, "test").unwrap();
            let answer = engine.prepare(&new_set()).await;
            assert_eq!(answer, Err(EngineError::Refused));
        }
        let odd = Address { url, key: Some("not\na key".to_owned()) };
        assert_eq!(Qdrant::new(&odd, "test").err(), Some(EngineError::Refused));
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_not_available_and_is_found_again() {
        let (server, engine, set) = subject().await;
        engine.upsert(&set, &[point(note(1), 0, 1, 0)]).await.unwrap();
        engine.publish(&set).await.unwrap();
        server.stop();
        let answer = engine.nearest(set.model, &axis(0), &Filter::default(), 1).await;
        assert!(
            matches!(&answer, Err(EngineError::Unavailable(said)) if !said.contains("Error")),
            "{answer:?}"
        );
        let another = Qdrant::new(&server.address(), "test").unwrap();
        let said = "it cannot be reached (connection refused)".to_owned();
        assert_eq!(another.count(&set).await, Err(EngineError::Unavailable(said)));
        server.resume().await;
        assert_eq!(records(&engine, &set, &Filter::default()).await, [note(1)]);
    }

    #[tokio::test]
    async fn a_server_that_hangs_is_not_waited_for() {
        let (server, engine, set) = subject().await;
        engine.publish(&set).await.unwrap();
        server.hang(true);
        let started = std::time::Instant::now();
        let answer = engine.nearest(set.model, &axis(0), &Filter::default(), 1).await;
        assert!(matches!(answer, Err(EngineError::Unavailable(_))), "{answer:?}");
        assert!(started.elapsed().as_secs() < 10);
        server.hang(false);
        assert_eq!(records(&engine, &set, &Filter::default()).await, []);
    }

    #[tokio::test]
    async fn a_collection_that_something_else_made_is_left_alone() {
        let (server, engine, set) = subject().await;
        let longer = Set { dimensions: 5, ..set };
        let answer = engine.prepare(&longer).await;
        assert!(
            matches!(answer, Err(EngineError::Dimensions { theirs: 4, ours: 5, .. })),
            "{answer:?}"
        );
        assert_eq!(server.state().collections.len(), 1);
    }

    #[tokio::test]
    async fn installations_that_share_a_server_do_not_meet() {
        let (server, engine, set) = subject().await;
        let other = Qdrant::new(&server.address(), "other").unwrap();
        assert!(!other.prepare(&set).await.unwrap());
        engine.upsert(&set, &[point(note(1), 0, 1, 0)]).await.unwrap();
        assert_eq!(other.count(&set).await.unwrap(), 0);
    }
}
