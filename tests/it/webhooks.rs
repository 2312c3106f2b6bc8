//! Webhooks: receivers are told of every event in order, whatever they answer and whoever is killed, and nobody inside
//! is called by mistake.

mod repeated;
mod secrets;

use std::collections::VecDeque;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::webhooks::{Reach, Webhooks};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::Verbatim;
use domain::lp::{Lp, LpChanges, LpCommand};
use projections::log::EventLog;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::contract::{self, Api, json_request};
use crate::harness::Database;
use crate::log::request;
use crate::server::{Home, Server};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a receiver got.
#[derive(Clone)]
struct Got {
    headers: HeaderMap,
    body: String,
    answered: StatusCode,
}

impl Got {
    fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn position(&self) -> i64 {
        self.event()["position"].as_str().unwrap().parse().unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

/// A server that keeps what it is sent and answers as it is told: by this list first, then 204.
#[derive(Clone, Default)]
struct Receiver {
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<Mutex<VecDeque<Response>>>,
    /// Takes what it is sent and never answers.
    is_silent: Arc<AtomicBool>,
    news: Arc<Notify>,
}

impl Receiver {
    async fn start(answers: Vec<Response>) -> (Self, String) {
        let answers = Arc::new(Mutex::new(answers.into()));
        let receiver = Self { answers, ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, url)
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Waits until it has got something that passes.
    async fn until(&self, passes: impl Fn(&[Got]) -> bool) -> Vec<Got> {
        let waiting = async {
            loop {
                let news = self.news.notified();
                let got = self.got();
                if passes(&got) {
                    return got;
                }
                news.await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, waiting).await;
        in_time.unwrap_or_else(|_| panic!("got {:?}", self.positions()))
    }

    fn positions(&self) -> Vec<i64> {
        self.got().iter().map(Got::position).collect()
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    // Before anybody hears of it and may change that.
    let is_silent = receiver.is_silent.load(Ordering::Acquire);
    let answer = receiver.answers.lock().unwrap().pop_front();
    let answer = answer.unwrap_or_else(|| StatusCode::NO_CONTENT.into_response());
    let (body, answered) = (String::from_utf8(body.to_vec()).unwrap(), answer.status());
    receiver.got.lock().unwrap().push(Got { headers, body, answered });
    receiver.news.notify_waiters();
    if is_silent {
        std::future::pending::<()>().await;
    }
    answer
}

fn answers(codes: &[u16]) -> Vec<Response> {
    codes.iter().map(|code| StatusCode::from_u16(*code).unwrap().into_response()).collect()
}

/// The product with a courier that is in a hurry.
struct Sending {
    api: Api,
    webhooks: Webhooks,
    stop: CancellationToken,
    courier: JoinHandle<()>,
}

impl Sending {
    async fn start(reach: Reach, pauses: &[u64]) -> Self {
        let db = Database::new().await;
        let backend = db.backend().await;
        let mut webhooks = Webhooks::new(backend.live.clone(), reach).unwrap();
        webhooks.pauses = pauses.iter().map(|pause| Duration::from_millis(*pause)).collect();
        let mut app = contract::app(&db, &backend, 1 << 20);
        app.webhooks = webhooks.clone();
        let stop = CancellationToken::new();
        let courier = tokio::spawn(webhooks.clone().deliver(stop.clone()));
        let api = Api { router: api::server::router(app), backend, db };
        Self { api, webhooks, stop, courier }
    }

    /// What the router answers with this status.
    async fn ask(&self, status: u16, method: Method, path: &str, body: Value) -> Value {
        let asked = self.api.router.clone().oneshot(json_request(method, path, &body));
        let answer = asked.await.unwrap();
        let told = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(told, status, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str) -> Value {
        self.ask(200, Method::POST, path, json!({})).await
    }

    async fn add(&self, wish: Value) -> Value {
        self.ask(200, Method::POST, "/webhooks", wish).await
    }

    /// Waits until what is told of a webhook passes.
    async fn until(&self, id: &Value, passes: impl Fn(&Value) -> bool) -> Value {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let hook = self.api.read(&format!("/webhooks/{id}")).await;
            if passes(&hook) {
                return hook;
            }
            assert!(std::time::Instant::now() < deadline, "{hook}");
            tokio::task::yield_now().await;
        }
    }

    /// Stops the courier as a server that stops would, and has another take its place.
    async fn restart(&mut self) {
        self.stop.cancel();
        (&mut self.courier).await.unwrap();
        self.stop = CancellationToken::new();
        self.courier = tokio::spawn(self.webhooks.clone().deliver(self.stop.clone()));
    }

    async fn stop(self) {
        self.stop.cancel();
        self.courier.await.unwrap();
        self.api.backend.stop().await;
    }
}

async fn register(log: &EventLog, ids: std::ops::RangeInclusive<i64>) {
    for id in ids {
        let (details, legacy) = (LpChanges::default(), Verbatim::default());
        let command = LpCommand::Register { name: "x".into(), details, legacy };
        log.execute::<Lp>(id, command, &request("Register")).await.unwrap();
    }
}

/// What Python's own HMAC makes of a delivery.
fn signature(secret: &str, got: &Got) -> String {
    const PROGRAM: &str = "import base64, hashlib, hmac, sys
key = base64.b64decode(sys.argv[1].removeprefix('whsec_'))
print('v1,' + base64.b64encode(hmac.new(key, sys.argv[2].encode(), hashlib.sha256).digest()).decode())";
    let (id, at) = (got.header("webhook-id"), got.header("webhook-timestamp"));
    let signed = format!("{id}.{at}.{}", got.body);
    let done = Command::new("python3").args(["-c", PROGRAM, secret, &signed]).output().unwrap();
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_told_what_it_wants_signed_and_in_order() {
    let sending = Sending::start(Reach::Private, &[]).await;
    let (receiver, url) = Receiver::start(vec![]).await;
    register(&sending.api.backend.log, 1..=2).await;
    let hook = sending.add(json!({"url": url, "records": ["lp/3"], "kinds": ["todo"]})).await;
    let secret = hook["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_") && hook["position"] == json!(2), "{hook}");
    register(&sending.api.backend.log, 3..=4).await;
    sending.api.made("todos", json!({"title": "Call"})).await;
    let got = receiver.until(|got| got.len() == 2).await;
    assert_eq!(receiver.positions(), [3, 5]);
    let event = got[0].event();
    assert_eq!((&event["type"], &event["subject"]), (&json!("crm.lp.Registered"), &json!("lp/3")));
    assert_eq!(event["id"], json!(got[0].header("webhook-id")));
    assert_eq!(got[0].header("content-type"), "application/cloudevents+json; charset=utf-8");
    let age =
        chrono::Utc::now().timestamp() - got[0].header("webhook-timestamp").parse::<i64>().unwrap();
    assert!((0..60).contains(&age), "{age}");
    assert_eq!(got[0].header("webhook-signature"), signature(&secret, &got[0]));

    let path = format!("/webhooks/{}", hook["id"]);
    let rotate = json!({"rotate_secret": true, "kinds": []});
    let changed = sending.ask(200, Method::PUT, &path, rotate).await;
    let new = changed["secret"].as_str().unwrap().to_owned();
    let tested = sending.post(&format!("{path}/test")).await;
    assert_eq!((&tested["delivered"], &tested["status"]), (&json!(true), &json!(204)));
    let got = receiver.until(|got| got.len() == 3).await.remove(2);
    assert_eq!(got.event()["type"], json!("crm.test"));
    let both = format!("{} {}", signature(&new, &got), signature(&secret, &got));
    assert_eq!(got.header("webhook-signature"), both, "while receivers change over");

    let deliveries = sending.api.read(&format!("{path}/deliveries")).await;
    let told: Vec<&Value> =
        deliveries["deliveries"].as_array().unwrap().iter().map(|one| &one["event_type"]).collect();
    assert_eq!(told, ["crm.test", "crm.todo.Registered", "crm.lp.Registered"]);
    for path in ["/webhooks", &path, &format!("{path}/deliveries")] {
        let text = sending.api.read(path).await.to_string();
        assert!(!text.contains("secret") && !text.contains(&new[6..]), "{path}: {text}");
    }
    sending.ask(200, Method::DELETE, &path, json!({})).await;
    sending.api.get(&path).await.expect(404, &path);
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again_and_holds_back_what_comes_after_it() {
    let sending = Sending::start(Reach::Private, &[20, 20, 20]).await;
    let (receiver, url) = Receiver::start(answers(&[200, 500, 302, 429, 202])).await;
    let hook = sending.add(json!({"url": url})).await;
    register(&sending.api.backend.log, 1..=3).await;
    let got = receiver.until(|got| got.len() == 6).await;
    assert_eq!(receiver.positions(), [1, 2, 2, 2, 2, 3]);
    let ids: Vec<_> = got[1..5].iter().map(|got| got.header("webhook-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let hook = sending.until(&hook["id"], |hook| hook["position"] == json!(3)).await;
    assert_eq!((&hook["attempts"], &hook["failing_since"]), (&json!(0), &Value::Null));
    let path = format!("/webhooks/{}/deliveries", hook["id"]);
    let deliveries = sending.api.read(&path).await["deliveries"].take();
    let of = |name: &str| -> Vec<Value> {
        deliveries.as_array().unwrap().iter().rev().map(|one| one[name].clone()).collect()
    };
    assert_eq!(of("attempt"), [1, 1, 2, 3, 4, 1]);
    assert_eq!(of("status"), [200, 500, 302, 429, 202, 204]);
    assert!(of("error")[2].as_str().unwrap().contains("redirects are not followed"));
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_asks_for_a_pause_gets_it_at_whichever_attempt() {
    let in_an_hour = || (chrono::Utc::now() + chrono::TimeDelta::hours(1)).to_rfc2822();
    let in_an_hour = in_an_hour().replace("+0000", "GMT");
    for (status, asked) in [(429, "3600"), (503, in_an_hour.as_str())] {
        let sending = Sending::start(Reach::Private, &[1, 1, 1, 1]).await;
        let mut answers = answers(&[500, 500, status]);
        answers[2].headers_mut().insert("retry-after", asked.parse().unwrap());
        let (receiver, url) = Receiver::start(answers).await;
        let hook = sending.add(json!({"url": url})).await;
        register(&sending.api.backend.log, 1..=1).await;
        let hook = sending.until(&hook["id"], |hook| hook["attempts"] == json!(3)).await;
        let at = hook["next_attempt_at"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>();
        let pause = (at.unwrap() - chrono::Utc::now()).num_minutes();
        assert!((55..=66).contains(&pause), "{asked}: {hook}");
        assert_eq!(receiver.positions(), [1, 1, 1]);
        sending.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_takes_counts_even_if_its_answer_never_ends() {
    let sending = Sending::start(Reach::Private, &[]).await;
    let endless = || {
        let nothing_more = futures::stream::pending::<Result<Bytes, std::convert::Infallible>>();
        Response::new(axum::body::Body::from_stream(nothing_more))
    };
    let (receiver, url) = Receiver::start(vec![endless(), endless()]).await;
    let hook = sending.add(json!({"url": url})).await;
    register(&sending.api.backend.log, 1..=3).await;
    let hook = sending.until(&hook["id"], |hook| hook["position"] == json!(3)).await;
    assert_eq!((&hook["state"], &hook["attempts"]), (&json!("enabled"), &json!(0)), "{hook}");
    assert_eq!(receiver.positions(), [1, 2, 3]);
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_or_fails_too_long_is_told_nothing_more_until_somebody_enables_it() {
    let sending = Sending::start(Reach::Private, &[1]).await;
    let (receiver, url) = Receiver::start(answers(&[410, 503, 500, 200])).await;
    let hook = sending.add(json!({"url": url})).await;
    let enable = format!("/webhooks/{}/enable", hook["id"]);
    register(&sending.api.backend.log, 1..=2).await;
    let off = |hook: &Value| hook["state"] == json!("disabled");
    let gone = sending.until(&hook["id"], off).await;
    assert_eq!(gone["reason"], json!("the receiver answered 410 Gone"));
    sending.post(&enable).await;
    let failed = sending.until(&hook["id"], off).await;
    let reason = failed["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("2 attempts failed; the last: the receiver answers 500"),
        "{reason}"
    );
    assert!(!failed["failing_since"].is_null());
    assert_eq!(receiver.positions(), [1, 1, 1]);
    sending.post(&enable).await;
    sending.until(&hook["id"], |hook| hook["position"] == json!(2)).await;
    assert_eq!(receiver.positions(), [1, 1, 1, 1, 2], "it goes on where it stopped");
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_inside_is_called_whatever_the_address_says() {
    let sending = Sending::start(Reach::Public, &[]).await;
    let (receiver, url) = Receiver::start(vec![]).await;
    let port = url.split(':').nth(2).unwrap();
    let refused = async |wish: Value, says: &str| {
        let said = sending.ask(422, Method::POST, "/webhooks", wish.clone()).await.to_string();
        assert!(said.contains(says), "{wish}: {said}");
    };
    for (address, says) in [
        (url.clone(), "expected is an https address"),
        (format!("https://127.0.0.1:{port}"), "CRM_WEBHOOK_PRIVATE=on"),
        (format!("https://[::ffff:127.0.0.1]:{port}"), "CRM_WEBHOOK_PRIVATE=on"),
        ("https://169.254.169.254/latest/meta-data".to_owned(), "CRM_WEBHOOK_PRIVATE=on"),
        ("https://user:password@hooks.example.com".to_owned(), "without user"),
    ] {
        refused(json!({"url": address}), says).await;
    }
    let good = "https://hooks.example.com";
    refused(json!({"kinds": ["lp"]}), "Field required").await;
    refused(json!({"url": good, "kinds": ["lps"]}), "is no kind").await;
    refused(json!({"url": good, "records": ["lp"]}), "is no record").await;
    refused(json!({"url": good, "position": 1}), "from 0 to 0").await;
    refused(json!({"url": good, "kind": ["lp"]}), "unknown field `kind`").await;

    // A name says nothing until it is resolved; then it does, each time.
    let hook = sending.add(json!({"url": format!("https://localhost:{port}/")})).await;
    let test = format!("/webhooks/{}/test", hook["id"]);
    let tested = sending.post(&test).await;
    let error = tested["error"].as_str().unwrap();
    assert!(error.contains("is not an address of the public internet"), "{error}");
    assert_eq!((&tested["delivered"], &tested["status"]), (&json!(false), &Value::Null));
    assert!(receiver.got().is_empty());
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_inside_is_not_followed() {
    let sending = Sending::start(Reach::Private, &[]).await;
    let (inside, target) = Receiver::start(vec![]).await;
    let there = (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target)]).into_response();
    let (receiver, url) = Receiver::start(vec![there]).await;
    let hook = sending.add(json!({"url": url})).await;
    register(&sending.api.backend.log, 1..=1).await;
    let hook = sending.until(&hook["id"], |hook| hook["state"] == json!("disabled")).await;
    assert!(hook["reason"].as_str().unwrap().contains("redirects are not followed"), "{hook}");
    assert_eq!((receiver.got().len(), inside.got().len()), (1, 0));
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_a_stop_cut_off_is_made_again() {
    let mut sending = Sending::start(Reach::Private, &[]).await;
    let (receiver, url) = Receiver::start(vec![]).await;
    receiver.is_silent.store(true, Ordering::Release);
    let hook = sending.add(json!({"url": url})).await;
    register(&sending.api.backend.log, 1..=1).await;
    receiver.until(|got| got.len() == 1).await;
    receiver.is_silent.store(false, Ordering::Release);
    sending.restart().await;
    let hook = sending.until(&hook["id"], |hook| hook["position"] == json!(1)).await;
    assert_eq!(hook["attempts"], json!(0), "it was abandoned, and did not fail");
    let got = receiver.got();
    assert_eq!(receiver.positions(), [1, 1]);
    assert_eq!(got[0].header("webhook-id"), got[1].header("webhook-id"));
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_tell_each_event_once_and_whoever_is_left_goes_on() {
    let home = Home::new();
    let settings = [("CRM_WEBHOOK_PRIVATE", "on")];
    let first = Server::start_with(&home, &[], &settings).await;
    let second = Server::start_with(&home, &[], &settings).await;
    let (receiver, url) = Receiver::start(vec![]).await;
    let client = reqwest::Client::new();
    let post = async |server: &Server, path: &str, body: Value| {
        let sent = client.post(format!("{}{path}", server.url)).json(&body).send().await.unwrap();
        assert_eq!(sent.status(), 200);
        sent.json::<Value>().await.unwrap()
    };
    post(&first, "/webhooks", json!({"url": url, "kinds": ["lp"]})).await;
    for number in 0..20 {
        let server = if number % 2 == 0 { &first } else { &second };
        post(server, "/lps", json!({"name": "x"})).await;
    }
    receiver.until(|got| got.len() >= 20).await;
    assert_eq!(receiver.positions(), (1..=20).collect::<Vec<_>>());
    // Whether its server lives to book this answer is a matter of luck.
    let (posted, heard) = tokio::join!(
        post(&second, "/lps", json!({"name": "y"})),
        receiver.until(|got| got.len() >= 21)
    );
    assert_eq!((posted["id"].as_i64(), heard.len()), (Some(21), 21));
    first.kill().await;
    for _ in 0..5 {
        post(&second, "/lps", json!({"name": "z"})).await;
    }
    let got = receiver.until(|got| got.last().is_some_and(|last| last.position() == 26)).await;
    assert!(got.iter().all(|got| got.answered == StatusCode::NO_CONTENT));
    let mut positions = receiver.positions();
    positions.dedup();
    assert_eq!(
        positions,
        (1..=26).collect::<Vec<_>>(),
        "in order; the last before the kill perhaps twice"
    );
    assert!(second.stop().await);
}
