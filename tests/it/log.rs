//! The event log: its order, its promises under concurrency, and the way of an event into a read model.

use std::collections::HashSet;
use std::time::Duration;

use domain::gp::{Gp, GpCommand};
use domain::lp::{Lp, LpChanges, LpCommand, LpEvent};
use domain::person::{Person, PersonChanges, PersonCommand};
use domain::{Event, Kind, RecordRef, Refusal, Verbatim};
use projections::log::{
    AllKeys, CommandError, CommandRequest, EventLog, LogReader, PageLimit, Selection, Span, Stream,
    Sweep,
};
use projections::read::Query;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Database, tamper};

pub fn request(name: &'static str) -> CommandRequest {
    CommandRequest {
        name,
        actor: "test".into(),
        command_id: Uuid::new_v4(),
        correlation_id: Uuid::new_v4(),
        causation_id: None,
        source: "test".into(),
        client: None,
        user_agent: None,
        trace_id: None,
        if_match: None,
        idempotency: None,
    }
}

fn register(name: &str) -> LpCommand {
    LpCommand::Register {
        name: name.into(),
        details: LpChanges::default(),
        legacy: Verbatim::default(),
    }
}

fn revise(changes: Value) -> LpCommand {
    LpCommand::Revise { name: None, changes: serde_json::from_value(changes).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_can_be_read_as_soon_as_its_position_is_reached() {
    let db = Database::new().await;
    let backend = db.backend().await;
    let id = backend.log.fresh_id(Kind::Lp).await.unwrap();
    let receipt =
        backend.log.execute::<Lp>(id, register("Profuturo"), &request("Register")).await.unwrap();
    assert_eq!((receipt.id, receipt.version), (1, 1));
    assert!(backend.reader.reached(receipt.position.unwrap(), Duration::from_secs(5)).await);
    let stored = backend.reader.record(RecordRef::Lp(domain::LpId(id))).await.unwrap().unwrap();
    assert_eq!(stored.value().unwrap()["name"], json!("Profuturo"));
    let list = backend.reader.answer(&Query::List(Kind::Lp)).await.unwrap().unwrap();
    let list: Value = serde_json::from_slice(&list.chunks.concat()).unwrap();
    assert_eq!(list[0]["id"], json!(1));

    let revised = revise(json!({"location": "Lima"}));
    let receipt = backend.log.execute::<Lp>(id, revised.clone(), &request("Revise")).await.unwrap();
    assert!(backend.reader.reached(receipt.position.unwrap(), Duration::from_secs(5)).await);
    let list = backend.reader.answer(&Query::List(Kind::Lp)).await.unwrap().unwrap();
    let list: Value = serde_json::from_slice(&list.chunks.concat()).unwrap();
    assert_eq!(list[0]["location"], json!("Lima"));
    let again = backend.log.execute::<Lp>(id, revised, &request("Revise")).await.unwrap();
    assert_eq!((again.position, again.version), (None, 2));
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_revisions_of_one_record_are_all_kept() {
    let db = Database::new().await;
    let backend = db.backend().await;
    backend.log.execute::<Lp>(1, register("Profuturo"), &request("Register")).await.unwrap();
    let fields =
        ["advisor", "location", "type_of_group", "text", "intl_mf", "intl_alts", "local_mf"];
    let tasks = fields.map(|field| {
        let log = backend.log.clone();
        tokio::spawn(async move {
            log.execute::<Lp>(1, revise(json!({field: "x"})), &request("Revise")).await
        })
    });
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    backend.settle().await.unwrap();
    let stored = backend.reader.record(Kind::Lp.record(1)).await.unwrap().unwrap().value().unwrap();
    for field in fields {
        assert_eq!(stored[field], json!("x"), "{field}");
    }
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_opens_what_is_sealed_whether_all_keys_were_read_before_or_some_or_none() {
    let db = Database::new().await;
    let backend = db.backend().await;
    for id in 1..=5 {
        let register = PersonCommand::Register {
            name: format!("Ana {id}"),
            details: PersonChanges::default(),
            legacy: Verbatim::default(),
        };
        backend.log.execute::<Person>(id, register, &request("Register")).await.unwrap();
        let (name, changes) = (Some(format!("Ana Ruiz {id}")), PersonChanges::default());
        let rename = PersonCommand::Revise { name, changes };
        backend.log.execute::<Person>(id, rename, &request("Revise")).await.unwrap();
    }
    let erase = PersonCommand::Erase { reason: "asked for it".into() };
    backend.log.execute::<Person>(3, erase, &request("Erase")).await.unwrap();

    let database = &db.connections;
    let mut connection = database.pool.acquire().await.unwrap();
    let mut sweeping = database.pool.acquire().await.unwrap();
    let plain = LogReader::new(database.keys().clone());
    let limit = PageLimit { events: 100 };
    let expected = plain.read_after(&mut connection, 0, limit).await.unwrap();
    let expected: Vec<Event> = expected.into_iter().map(|recorded| recorded.event).collect();
    assert_eq!(expected.iter().filter(|event| **event == Event::Erased(Kind::Person)).count(), 2);
    assert_eq!(expected.len(), 11);
    for most in [0, 2, 200] {
        let all = AllKeys::up_to(most);
        let log = LogReader::new(database.keys().clone()).with_all_keys(all.into());
        let span = Span { after: 0, to: i64::MAX, without: &[] };
        let mut sweep = Sweep::begin(&mut sweeping, &span).await.unwrap();
        let mut events = Vec::new();
        while let Some(batch) = sweep.next().await.unwrap() {
            let ring = log.ring_for(&mut connection, batch.iter()).await.unwrap();
            events.extend(batch.iter().map(|it| log.decode_stored(it, &ring).unwrap().event));
        }
        assert_eq!(events, expected, "{most}");
    }
    backend.stop().await;
}

/// The last id that a sequence gave.
async fn last_id(db: &Database) -> i64 {
    sqlx::query_scalar("select last_value from lp_id").fetch_one(&db.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_finds_ids_drawn_ahead_and_a_lone_client_wastes_none() {
    let db = Database::new().await;
    let backend = db.backend().await;
    for expected in 1..=20 {
        assert_eq!(backend.log.fresh_id(Kind::Lp).await.unwrap(), expected);
    }
    assert_eq!(last_id(&db).await, 20);
    let mut seen = HashSet::new();
    for _ in 0..20 {
        let crowd = (0..40).map(|_| backend.log.fresh_id(Kind::Lp));
        for id in futures::future::try_join_all(crowd).await.unwrap() {
            assert!(id > 20 && seen.insert(id), "{id}");
        }
    }
    let last = last_id(&db).await;
    assert!(last < 20 + 2 * 800 + 512, "{last}");
    // What the crowd left is forgotten, not used later.
    tokio::time::sleep(Duration::from_millis(100)).await;
    for number in 1..=20 {
        assert_eq!(backend.log.fresh_id(Kind::Lp).await.unwrap(), last + number);
    }
    assert_eq!(last_id(&db).await, last + 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_gets_another_id_when_an_import_has_used_its() {
    let db = Database::new().await;
    let backend = db.backend().await;
    for id in [1, 2, 4] {
        backend.log.execute::<Lp>(id, register("imported"), &request("Register")).await.unwrap();
    }
    let new = async |name| backend.log.register::<Lp>(register(name), &request("Register")).await;
    assert_eq!(new("first").await.unwrap().id, 3);
    assert_eq!(new("second").await.unwrap().id, 5);
    let crowd = (0..40).map(|_| new("crowd"));
    let ids = futures::future::try_join_all(crowd).await.unwrap();
    assert_eq!(ids.into_iter().map(|receipt| receipt.id).collect::<HashSet<_>>().len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_command_records_nothing() {
    let db = Database::new().await;
    let backend = db.backend().await;
    let error =
        backend.log.execute::<Lp>(9, LpCommand::Archive, &request("Archive")).await.unwrap_err();
    assert!(matches!(error, CommandError::Refused(Refusal::NotRegistered)), "{error}");
    let count: i64 =
        sqlx::query_scalar("select count(*) from events").fetch_one(&db.pool).await.unwrap();
    assert_eq!(count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_has_passed_is_refused_and_not_retried() {
    let db = Database::new().await;
    let backend = db.backend().await;
    backend.log.execute::<Lp>(1, register("Profuturo"), &request("Register")).await.unwrap();
    let stale = CommandRequest { if_match: Some(7), ..request("Revise") };
    let error =
        backend.log.execute::<Lp>(1, revise(json!({"text": "x"})), &stale).await.unwrap_err();
    assert!(matches!(error, CommandError::VersionMismatch { current: 1 }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_makes_a_command_happen_once() {
    let db = Database::new().await;
    let backend = db.backend().await;
    let keyed = CommandRequest { idempotency: Some(("k".into(), [1; 32])), ..request("Register") };
    let first = backend.log.execute::<Lp>(1, register("A"), &keyed).await.unwrap();
    let again = backend.log.execute::<Lp>(2, register("A"), &keyed).await.unwrap();
    assert_eq!(again, first);
    let other = CommandRequest { idempotency: Some(("k".into(), [2; 32])), ..request("Register") };
    let error = backend.log.execute::<Lp>(3, register("B"), &other).await.unwrap_err();
    assert!(matches!(error, CommandError::KeyReused), "{error}");
    let count: i64 =
        sqlx::query_scalar("select count(*) from events").fetch_one(&db.pool).await.unwrap();
    assert_eq!(count, 1);
}

/// As if an earlier release had stored the priority under another name.
struct ImportanceToPriority;

impl cqrs_es::persist::EventUpcaster for ImportanceToPriority {
    fn can_upcast(&self, event_type: &str, event_version: &str) -> bool {
        (event_type, event_version) == ("Prioritised", "0")
    }

    fn upcast(
        &self,
        mut event: cqrs_es::persist::SerializedEvent,
    ) -> cqrs_es::persist::SerializedEvent {
        let importance = event.payload["Prioritised"]["importance"].take();
        event.payload = json!({"Prioritised": {"priority": importance}});
        event.event_version = "1".into();
        event
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_through_the_upcasters() {
    let db = Database::new().await;
    let backend = db.backend().await;
    backend.log.execute::<Lp>(1, register("Profuturo"), &request("Register")).await.unwrap();
    sqlx::query(
        r#"insert into events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                               command_id, correlation_id, actor)
           values ('lp', '1', 2, 'Prioritised', '0', '{"Prioritised":{"importance":"A"}}', '{}',
                   gen_random_uuid(), gen_random_uuid(), 'test')"#,
    )
    .execute(&db.pool)
    .await
    .unwrap();
    let mut connection = db.pool.acquire().await.unwrap();
    let limit = PageLimit { events: 10 };
    let reader =
        LogReader::new(crate::harness::keys()).with_upcasters(vec![Box::new(ImportanceToPriority)]);
    let log = reader.read_after(&mut connection, 0, limit).await.unwrap();
    let expected = Event::Lp(LpEvent::Prioritised { priority: Some("A".into()) });
    assert_eq!(log[1].event, expected);
    let error = LogReader::new(crate::harness::keys())
        .read_after(&mut connection, 0, limit)
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("position 2: event Prioritised of lp"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_change_one_record_at_once_are_all_served() {
    let db = Database::new().await;
    let backend = db.backend().await;
    backend.log.execute::<Lp>(1, register("Profuturo"), &request("Register")).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..150 {
        let log = backend.log.clone();
        writers.spawn(async move {
            log.execute::<Lp>(
                1,
                revise(json!({"priority": number.to_string()})),
                &request("Revise"),
            )
            .await
        });
    }
    for result in writers.join_all().await {
        result.unwrap();
    }
    let versions: i64 =
        sqlx::query_scalar("select max(sequence) from events where aggregate_id = '1'")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert_eq!(versions, 151);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_that_change_one_record_at_once_are_both_served() {
    let db = Database::new().await;
    let (first, second) = (db.backend().await, db.backend().await);
    first.log.execute::<Lp>(1, register("Profuturo"), &request("Register")).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..40 {
        let log = if number % 2 == 0 { first.log.clone() } else { second.log.clone() };
        writers.spawn(async move {
            log.execute::<Lp>(
                1,
                revise(json!({"priority": number.to_string()})),
                &request("Revise"),
            )
            .await
        });
    }
    for result in writers.join_all().await {
        result.unwrap();
    }
}

/// The places of a stream's events.
async fn sequences(db: &Database, kind: Kind, id: i64) -> Vec<i64> {
    sqlx::query_scalar(
        "select sequence from events where aggregate_type = $1 and aggregate_id = $2 order by sequence",
    )
    .bind(kind.as_str())
    .bind(id.to_string())
    .fetch_all(&db.pool)
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_a_long_stream_is_decided_on_as_its_stream_has_it_by_now() {
    let db = Database::new().await;
    let backend = db.backend().await;
    let connections = crate::harness::connect((*db.pool.connect_options()).clone(), 3);
    let other = EventLog::start(connections);
    let (one, rename) = (backend.log.clone(), |name: &str| PersonCommand::Revise {
        name: Some(name.to_owned()),
        changes: PersonChanges::default(),
    });
    let register = PersonCommand::Register {
        name: "Ana 0".into(),
        details: PersonChanges::default(),
        legacy: Verbatim::default(),
    };
    let request = request("Revise");
    one.execute::<Person>(1, register, &request).await.unwrap();
    // By turns, twice each, so that both remember it, and what the other did comes after what they remember.
    for number in 1..=80 {
        let log = if number / 2 % 2 == 0 { &one } else { &other };
        let receipt =
            log.execute::<Person>(1, rename(&format!("Ana {number}")), &request).await.unwrap();
        assert_eq!(receipt.version, number + 1);
    }
    for log in [&one, &other] {
        let unchanged = log.execute::<Person>(1, rename("Ana 80"), &request).await.unwrap();
        assert_eq!((unchanged.position, unchanged.version), (None, 81));
    }
    // A failover that loses what was written last: whoever remembers more has to learn that it is gone.
    for lost in ["sequence > 79", "sequence > 60"] {
        let statement = format!("delete from events where aggregate_type = 'person' and {lost}");
        tamper(&db.pool, &statement).await;
        let left = i64::try_from(sequences(&db, Kind::Person, 1).await.len()).unwrap();
        let receipt = one.execute::<Person>(1, rename("Ana again"), &request).await.unwrap();
        assert_eq!(receipt.version, left + 1);
    }
    // The other remembers an event in the place of which there is another one now.
    for number in 62..=81 {
        one.execute::<Person>(1, rename(&format!("Eva {number}")), &request).await.unwrap();
    }
    let unchanged = other.execute::<Person>(1, rename("Eva 81"), &request).await.unwrap();
    assert_eq!((unchanged.position, unchanged.version), (None, 81));
    assert_eq!(sequences(&db, Kind::Person, 1).await, (1..=81).collect::<Vec<_>>());
    backend.stop().await;
}

/// The positions of the entries that follow one another page by page, and how many pages it took.
async fn follow(db: &Database, events: i64, wanted: &Selection) -> (Vec<i64>, usize) {
    let reader = LogReader::new(crate::harness::keys());
    let mut connection = db.pool.acquire().await.unwrap();
    let (mut seen, mut after, mut pages) = (Vec::new(), 0, 0);
    let limit = PageLimit { events };
    loop {
        let page = reader.entries_after(&mut connection, after, limit, wanted).await.unwrap();
        let Some(end) = page.end else { return (seen, pages) };
        assert!(end > after && page.entries.len() as i64 <= events);
        (after, pages) = (end, pages + 1);
        seen.extend(page.entries.iter().map(|entry| entry.position));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_few_entries_gets_each_of_them_once_and_page_by_page() {
    let db = Database::new().await;
    let backend = db.backend().await;
    for id in 1..=30 {
        backend.log.execute::<Lp>(id, register("x"), &request("Register")).await.unwrap();
    }
    let gp = GpCommand::Register {
        name: "y".into(),
        details: Default::default(),
        legacy: Verbatim::default(),
    };
    backend.log.execute::<Gp>(7, gp, &request("Register")).await.unwrap();
    let stream = |id: i64| Stream { kind: "lp".into(), id: id.to_string() };
    let check = async |events: i64, wanted: Selection, expected: &[i64], pages: usize| {
        assert_eq!(follow(&db, events, &wanted).await, (expected.to_vec(), pages), "{wanted:?}");
    };
    let all: Vec<i64> = (1..=31).collect();
    check(10, Selection::default(), &all, 4).await;
    check(100, Selection::default(), &all, 1).await;
    let of = |kinds: &[&str], streams: &[i64]| Selection {
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        streams: streams.iter().map(|id| stream(*id)).collect(),
    };
    check(10, of(&["gp"], &[]), &[31], 1).await;
    check(10, of(&["lp"], &[]), &all[..30], 4).await;
    check(2, of(&["gp"], &[3, 29]), &[3, 29, 31], 2).await;
    check(10, of(&["note"], &[99]), &[], 1).await;
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_says_who_when_and_why_even_if_its_event_cannot_be_read() {
    let db = Database::new().await;
    let backend = db.backend().await;
    let cause = Uuid::new_v4();
    let request = CommandRequest {
        causation_id: Some(cause),
        client: Some("192.0.2.7".into()),
        trace_id: Some([7; 16]),
        ..request("Register")
    };
    backend.log.execute::<Lp>(1, register("x"), &request).await.unwrap();
    backend.log.execute::<Lp>(1, revise(json!({"location": "Lima"})), &request).await.unwrap();
    backend.stop().await;
    let forge = "update events set payload = '{\"Unheard\":1}', event_type = 'Unheard', metadata = '7' where position = 2";
    tamper(&db.pool, forge).await;

    let (reader, stream) =
        (LogReader::new(crate::harness::keys()), Stream { kind: "lp".into(), id: "1".into() });
    let mut connection = db.pool.acquire().await.unwrap();
    let entries = reader.entries_of_stream(&mut connection, &stream, None).await.unwrap();
    let [first, second] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((first.position, first.sequence, &*first.event_type), (1, 1, "Registered"));
    assert!(matches!(first.event, Ok(Event::Lp(LpEvent::Registered { .. }))));
    let told = &first.envelope;
    assert_eq!(
        (told.command_id, told.correlation_id),
        (request.command_id, request.correlation_id)
    );
    assert_eq!((told.causation_id, &*told.actor), (Some(cause), "test"));
    let of = |text: &'static str| Some(text.to_owned());
    assert_eq!((&told.command, &told.source), (&of("Register"), &of("test")));
    assert_eq!((&told.client, &told.user_agent), (&of("192.0.2.7"), &None));
    assert_eq!(told.trace_id, of("07070707070707070707070707070707"));
    let error = second.event.as_ref().unwrap_err();
    assert!(error.starts_with("event Unheard of lp"), "{error}");
    assert_eq!((&*second.event_type, &second.envelope.command), ("Unheard", &None));

    let until = reader.entries_of_stream(&mut connection, &stream, Some(1)).await.unwrap();
    assert_eq!(until.len(), 1);
    let at = reader.entries_at(&mut connection, &[2, 99, 1]).await.unwrap();
    assert_eq!(at.iter().map(|entry| entry.position).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(at[0].envelope, first.envelope);
}
