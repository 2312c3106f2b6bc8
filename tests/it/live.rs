//! `/events`: whoever follows sees every change once and in order, whatever happens on the way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::app::Parts;
use api::live::Look;
use api::live::cloud_event::CloudEvent;
use domain::Verbatim;
use domain::lp::{Lp, LpChanges, LpCommand};
use futures::StreamExt as _;
use projections::log::{EventLog, Selection};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::contract;
use crate::crash::write_while;
use crate::harness::{Database, tamper};
use crate::log::request;
use crate::server::{Home, Server};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A block of a stream, as a browser takes it apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    id: Option<String>,
    data: Option<String>,
    comment: bool,
}

/// Somebody who listens to a stream.
pub struct Listener {
    answer: Response,
    text: String,
    blocks: VecDeque<Block>,
}

impl Listener {
    /// Begins to listen.
    pub async fn start(url: &str, last: Option<i64>) -> Option<Self> {
        let mut request = Client::new().get(url);
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let answer = request.send().await.ok()?;
        assert_eq!(answer.status(), 200, "{url}");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Some(Self { answer, text: String::new(), blocks: VecDeque::new() })
    }

    /// The next block; `None` when the stream ends, well or not.
    async fn block(&mut self) -> Option<Block> {
        while self.blocks.is_empty() {
            let piece =
                tokio::time::timeout(PATIENCE, self.answer.chunk()).await.unwrap().ok()??;
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut read = Block::default();
                for line in block.lines() {
                    match line.split_once(": ").unwrap_or((line, "")) {
                        ("", _) => read.comment = true,
                        ("id", id) => read.id = Some(id.to_owned()),
                        ("data", data) => read.data = Some(data.to_owned()),
                        ("retry", _) => {}
                        other => panic!("{other:?}"),
                    }
                }
                self.blocks.push_back(read);
                self.text = rest.to_owned();
            }
        }
        self.blocks.pop_front()
    }

    /// The next event with its position; `None` when the stream ends.
    pub async fn event(&mut self) -> Option<(i64, Value)> {
        loop {
            let block = self.block().await?;
            let id: i64 = block.id.unwrap().parse().unwrap();
            if let Some(data) = block.data {
                let event: Value = serde_json::from_str(&data).unwrap();
                assert_eq!(event["position"], json!(id.to_string()));
                return Some((id, event));
            }
        }
    }

    async fn positions(&mut self, count: usize) -> Vec<i64> {
        let mut positions = Vec::new();
        while positions.len() < count {
            positions.push(self.event().await.unwrap().0);
        }
        positions
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_before_a_slow_follower_comes_to_it_is_not_told_any_more() {
    let api = contract::Api::new().await;
    for name in ["Ana", "Quetzalli", "Eva"] {
        api.made("people", json!({"name": name})).await;
    }
    let mut feed = api.backend.live.feed(Selection::default(), 0);
    let mut next = async || loop {
        match feed.look().await.unwrap() {
            Look::Entry(entry) => {
                let event = CloudEvent::new(&api.backend.live.source, &entry);
                return Some(event.to_json().unwrap());
            }
            Look::Further => {}
            Look::Level => return None,
        }
    };
    assert!(next().await.unwrap().contains("Ana"));
    // The others are read, and wait to be taken.
    api.post("/people/2/erase", json!({"reason": "case 17"})).await.expect(200, "erased");
    let erased = next().await.unwrap();
    assert!(
        erased.contains("\"subject\":\"person/2\"") && !erased.contains("Quetzalli"),
        "{erased}"
    );
    assert!(next().await.unwrap().contains("Eva"), "nothing is left out");
    assert!(next().await.unwrap().contains("crm.person.Erased"));
    assert_eq!(next().await, None);
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_infinite_time_is_told_with_the_farthest_and_hides_no_other() {
    let api = contract::Api::new().await;
    let lp = api.made("lps", json!({"name": "Sura"})).await;
    for advisor in ["Mercer", "Aon"] {
        let body = json!({"advisor": advisor});
        api.put(&format!("/lps/{lp}"), body).await.expect(200, "revised");
    }
    api.read("/audit").await;
    tamper(
        &api.db.pool,
        "update events set recorded_at = 'infinity', occurred_at = '-infinity' where position = 2;
         update read_audit_1.audit set recorded_at = 'infinity' where position = 2",
    )
    .await;
    let (first, last) = ("0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z");
    for uri in [format!("/lps/{lp}/history"), "/audit".to_owned()] {
        let told = api.read(&uri).await;
        assert_eq!(told["entries"].as_array().unwrap().len(), 3, "{told}");
        let it = &told["entries"][1];
        assert_eq!((&it["recorded_at"], &it["occurred_at"]), (&json!(last), &json!(first)));
    }
    for uri in ["/audit?from=2020-01-01", "/audit?limit=1&cursor=2", "/lps?as_of=2020-01-01"] {
        api.read(uri).await;
    }
    let mut feed = api.backend.live.feed(Selection::default(), 0);
    let mut times = Vec::new();
    loop {
        match feed.look().await.unwrap() {
            Look::Entry(entry) => {
                let event = CloudEvent::new(&api.backend.live.source, &entry).to_json().unwrap();
                let event: Value = serde_json::from_str(&event).unwrap();
                times.push(event["time"].clone());
            }
            Look::Further => {}
            Look::Level => break,
        }
    }
    assert_eq!(times.len(), 3);
    assert!(times[1].as_str().unwrap().starts_with("9999-12-31T23:59:59"), "{times:?}");
    api.backend.stop().await;
}

/// An app that listens on a port of its own until it is told to stop.
pub struct Served {
    /// Where it is.
    pub url: String,
    app: Parts,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Served {
    /// Starts it.
    pub async fn start(mut app: Parts, heartbeat: Duration) -> Self {
        app.live.heartbeat = heartbeat;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let rebuilds = app.rebuilds.clone();
        let shutdown = async move {
            let _ = stopped.await;
            rebuilds.dismiss_watchers();
        };
        let task = tokio::spawn(api::server::serve(listener, app.clone(), shutdown));
        Self { url, app, stop, task }
    }
}

const SELDOM: Duration = Duration::from_secs(600);

fn register(name: &str) -> LpCommand {
    let (details, legacy) = (LpChanges::default(), Verbatim::default());
    LpCommand::Register { name: name.into(), details, legacy }
}

async fn registered(log: &EventLog, ids: std::ops::Range<i64>) {
    let request = request("Register");
    let all = ids.map(|id| log.execute::<Lp>(id, register("x"), &request));
    let mut all = futures::stream::iter(all).buffered(64);
    while let Some(done) = all.next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_as_a_cloud_event_to_whoever_wants_it() {
    let db = Database::new().await;
    let backend = db.backend().await;
    let served = Served::start(contract::app(&db, &backend, 1 << 20), SELDOM).await;
    registered(&backend.log, 1..2).await;
    registered(&backend.log, 2..3).await;
    let events = format!("{}/events", served.url);
    let mut all = Listener::start(&format!("{events}?after=0"), None).await.unwrap();
    let mut from_now = Listener::start(&events, None).await.unwrap();
    let mut one =
        Listener::start(&format!("{events}?record=lp/2,gp/9&after=0"), None).await.unwrap();
    let mut todos = Listener::start(&format!("{events}?kind=gp&kind=todo"), None).await.unwrap();
    let first = from_now.block().await.unwrap();
    assert_eq!((first.id.as_deref(), first.data, first.comment), (Some("2"), None, true));

    let client = Client::new();
    let put = client.put(format!("{}/lps/2", served.url)).json(&json!({"name": "Ada"}));
    let put = put.header("user-agent", "a browser").send().await.unwrap();
    assert_eq!(put.status(), 200);
    let todo = client.post(format!("{}/todos", served.url)).json(&json!({"title": "Call"}));
    assert_eq!(todo.send().await.unwrap().status(), 200);

    assert_eq!(all.positions(4).await, [1, 2, 3, 4]);
    assert_eq!(one.positions(2).await, [2, 3]);
    let (position, event) = todos.event().await.unwrap();
    assert_eq!((position, &event["type"]), (4, &json!("crm.todo.Registered")));
    let (position, event) = from_now.event().await.unwrap();
    assert_eq!(position, 3);
    let log: uuid::Uuid =
        sqlx::query_scalar("select id from log_identity").fetch_one(&db.pool).await.unwrap();
    for (name, expected) in [
        ("specversion", json!("1.0")),
        ("source", json!(format!("urn:uuid:{log}"))),
        ("type", json!("crm.lp.Renamed")),
        ("subject", json!("lp/2")),
        ("datacontenttype", json!("application/json")),
        ("sequence", json!("2")),
        ("actor", json!("anonymous")),
        ("command", json!("Revise")),
        ("via", json!("api")),
        ("data", json!({"name": "Ada"})),
    ] {
        assert_eq!(event[name], expected, "{name}");
    }
    for (name, value) in event.as_object().unwrap() {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase()), "{name}");
        assert!(value.is_string() || name == "data", "{name}");
    }
    assert!(!event.to_string().contains("a browser"), "who sat where is not told");

    let _ = served.stop.send(());
    assert_eq!(all.event().await, None, "a server that stops ends its streams");
    served.task.await.unwrap().unwrap();
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_is_told_without_what_it_says() {
    let db = Database::new().await;
    let backend = db.backend().await;
    registered(&backend.log, 1..4).await;
    let forge =
        "update events set payload = '{\"Unheard\":1}', event_type = 'Unheard' where position = 2";
    tamper(&db.pool, forge).await;
    let served = Served::start(contract::app(&db, &backend, 1 << 20), SELDOM).await;
    let mut all = Listener::start(&format!("{}/events?after=1", served.url), None).await.unwrap();
    let (position, event) = all.event().await.unwrap();
    assert_eq!((position, &event["type"]), (2, &json!("crm.lp.Unheard")));
    assert!(event["dataerror"].as_str().unwrap().contains("unknown variant `Unheard`"));
    assert!(event.get("data").is_none() && event.get("datacontenttype").is_none());
    assert_eq!(all.positions(1).await, [3]);
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_followed_is_refused_and_never_everything_instead() {
    let db = Database::new().await;
    let backend = db.backend().await;
    let served = Served::start(contract::app(&db, &backend, 1 << 20), SELDOM).await;
    for (query, says) in [
        ("kinds=lp", "there are after, kind, record"),
        ("kind=lps", "is no kind"),
        ("record=lp", "is no record"),
        ("record=lp/7,lp/x", "is no record"),
        ("after=x", "valid integer"),
        ("after=-1", "0 or more"),
        ("after=5", "This log ends at 0"),
    ] {
        let answer = reqwest::get(format!("{}/events?{query}", served.url)).await.unwrap();
        assert_eq!(answer.status(), 422, "{query}");
        let said = answer.text().await.unwrap();
        assert!(said.contains(says), "{query}: {said}");
    }
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_shows_that_it_is_alive_and_how_far_it_has_come() {
    let db = Database::new().await;
    let backend = db.backend().await;
    let often = Duration::from_millis(30);
    let served = Served::start(contract::app(&db, &backend, 1 << 20), often).await;
    let mut gps = Listener::start(&format!("{}/events?kind=gp", served.url), None).await.unwrap();
    registered(&backend.log, 1..8).await;
    let mut last = Block::default();
    // Nothing that it wants, yet it need not look through these again when it comes back.
    while last.id.as_deref() != Some("7") {
        last = gps.block().await.unwrap();
        assert!(last.comment && last.data.is_none(), "{last:?}");
    }
    backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_who_does_not_read_holds_nobody_up_and_misses_nothing() {
    let db = Database::new().await;
    let backend = db.backend().await;
    let served = Served::start(contract::app(&db, &backend, 1 << 20), SELDOM).await;
    let events = format!("{}/events?after=0", served.url);
    let mut slow = Listener::start(&events, None).await.unwrap();
    let mut quick = Listener::start(&events, None).await.unwrap();
    registered(&backend.log, 1..10_001).await;
    let all: Vec<i64> = (1..=10_000).collect();
    assert_eq!(quick.positions(all.len()).await, all);
    assert_eq!(served.app.live.head().await.unwrap(), 10_000);
    assert_eq!(slow.positions(all.len()).await, all);
    backend.stop().await;
}

/// Follows one server after the other and comes back to each by `Last-Event-ID`.
async fn follow(
    mut urls: tokio::sync::watch::Receiver<String>,
    until: oneshot::Receiver<i64>,
) -> Vec<i64> {
    let (mut seen, mut end) = (Vec::new(), None);
    let mut until = Box::pin(until);
    loop {
        let url = format!("{}/events?after=0", urls.borrow_and_update().clone());
        let Some(mut listener) = Listener::start(&url, seen.last().copied()).await else {
            // The next server tells where it is.
            urls.changed().await.unwrap();
            continue;
        };
        loop {
            tokio::select! {
                told = &mut until, if end.is_none() => end = Some(told.unwrap()),
                event = listener.event() => match event {
                    Some((position, _)) => seen.push(position),
                    None => break,
                },
            }
            if end.is_some_and(|end| seen.last() >= Some(&end)) {
                return seen;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_of_servers_that_are_killed_sees_every_change_once_and_in_order() {
    let home = Home::new();
    let server = Server::start(&home, &[]).await;
    let (url, urls) = tokio::sync::watch::channel(server.url.clone());
    let (tell, told) = oneshot::channel();
    let following = tokio::spawn(follow(urls, told));
    let mut server = Some(server);
    for round in 0..3_u64 {
        let going = Arc::new(AtomicBool::new(true));
        let here = server.as_ref().unwrap().url.clone();
        let writers: Vec<_> = (0..4)
            .map(|writer| tokio::spawn(write_while(here.clone(), writer, going.clone())))
            .collect();
        // The moment of the kill differs from round to round; there is no condition to wait for.
        tokio::time::sleep(Duration::from_millis(200 + 150 * round)).await;
        match round {
            // The last time Postgres goes instead, and the stream goes on by itself.
            2 => home.kill_postgres(),
            _ => server.take().unwrap().kill().await,
        }
        going.store(false, Ordering::Release);
        for writer in writers {
            writer.await.unwrap();
        }
        if server.is_none() {
            let next = Server::start(&home, &[]).await;
            url.send(next.url.clone()).unwrap();
            server = Some(next);
        }
    }
    let server = server.unwrap();
    let last = loop {
        let posted =
            Client::new().post(format!("{}/lps", server.url)).json(&json!({"name": "last"}));
        let answer = posted.send().await.unwrap();
        if let Some(position) = answer.headers().get("x-position") {
            break position.to_str().unwrap().parse::<i64>().unwrap();
        }
    };
    let _ = tell.send(last);
    let seen = following.await.unwrap();
    let cluster = api::embedded::Cluster::open(home.path()).await.unwrap();
    let database = crate::harness::connect(cluster.options("crm"), 2);
    let all: Vec<i64> = sqlx::query_scalar("select position from events order by position")
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert_eq!(seen, all);
    database.pool.close().await;
    cluster.close().await.unwrap();
    assert!(server.stop().await);
}
