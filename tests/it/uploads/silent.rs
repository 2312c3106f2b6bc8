//! A bucket that accepts the connection and then says nothing, or nothing more: whoever waits for it is told in time, and an
//! upload goes on later from where it stands.

use api::app::Parts;
use api::backend::Backend;
use axum::Router;
use futures::StreamExt as _;
use projections::files::{Bucket, BucketOptions};
use tower::ServiceExt as _;

use super::*;
use crate::files::answering;
use crate::gate::{Gate, Way};
use crate::jobs::address;

/// How long the store may be silent.
const SILENCE: Duration = Duration::from_secs(2);

/// Who is told has been told long before, and long before the store's own patience ends.
const IN_TIME: Duration = Duration::from_secs(15);

async fn in_time<T>(asking: impl Future<Output = T>) -> T {
    tokio::time::timeout(IN_TIME, asking).await.expect("it is told in time")
}

async fn bucket(endpoint: String) -> Files {
    let options = BucketOptions {
        keys: Some((KEYS.0.to_owned(), KEYS.1.to_owned())),
        endpoint: Some(endpoint),
        ..BucketOptions::new("silent")
    };
    Files::bucket(Bucket::open(&options).await)
}

/// The product with these files, for which requests wait [`SILENCE`].
async fn product(api: &Api, files: &Files) -> (Router, Backend) {
    let files = files.with_patience(SILENCE);
    let backend = Backend::start(api.db.connections.clone(), files.clone()).await.unwrap();
    backend.settle().await.unwrap();
    let stop = CancellationToken::new();
    let intake = Intake::new(api.db.connections.clone(), files.clone(), 1 << 30, stop);
    let parts = Parts { files, intake, ..app(&api.db, &backend, 64 << 20) };
    (api::server::router(parts), backend)
}

fn assert_told(answer: &Answer, what: &str) {
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{what}");
    if !answer.body.is_null() {
        let told = "The file storage does not answer; please try again";
        assert_eq!(answer.body["detail"], told, "{what}");
    }
}

/// A recording, and a roadshow with a document, that the database has.
async fn recorded(api: &Api) -> [String; 2] {
    let note = made_note(api).await;
    let sending = request(Method::POST, &format!("/notes/{note}/recordings"));
    let sent = ask(&api.router, sending.body(Body::from(wav(1_000))).unwrap()).await;
    let fund = api.made("funds", json!({"fund_name": "F"})).await;
    let images = format!("[\"{}\"]", "data:image/png;base64,AAAA".repeat(100));
    let roadshow = json!({"name": "Lima", "fund_id": fund, "flight_images": images});
    let roadshow = api.made("roadshows", roadshow).await;
    [format!("/recordings/{}/audio", sent.body["id"]), format!("/roadshows/{roadshow}")]
}

#[tokio::test]
async fn a_store_that_is_silent_is_told_to_whoever_asks_or_sends() {
    let api = Api::new().await;
    let [audio, roadshow] = recorded(&api).await;
    let note = made_note(&api).await;
    let (router, backend) = product(&api, &bucket(answering(None).await).await).await;
    let asking = async |method: Method, uri: &str, body: Body| {
        in_time(ask(&router, request(method, uri).body(body).unwrap())).await
    };
    for uri in [audio.as_str(), &roadshow, "/images/a.png"] {
        assert_told(&asking(Method::GET, uri, Body::empty()).await, uri);
    }
    assert_told(&asking(Method::HEAD, &audio, Body::empty()).await, "HEAD");
    for length in [1_000, CHUNK + 7] {
        let uri = format!("/notes/{note}/recordings");
        assert_told(&asking(Method::POST, &uri, Body::from(wav(length))).await, "an upload");
    }
    backend.stop().await;
}

#[tokio::test]
async fn a_server_says_so_after_a_third_of_the_time_that_a_request_may_take() {
    let api = Api::new().await;
    let [audio, _] = recorded(&api).await;
    let note = made_note(&api).await;
    let home = Home::new();
    let mut serving = home.crm(&["serve"]);
    serving
        .env("DATABASE_URL", address(&api.db))
        .envs([("S3_BUCKET", "silent"), ("CRM_REQUEST_TIMEOUT_S", "3"), ("CRM_WORKERS", "0")])
        .env("AWS_ENDPOINT_URL", answering(None).await)
        .envs([("AWS_ACCESS_KEY_ID", KEYS.0), ("AWS_SECRET_ACCESS_KEY", KEYS.1)]);
    let server = Server::launch(serving).await;
    let http = reqwest::Client::new();
    let heard = in_time(http.get(format!("{}{audio}", server.url)).send()).await.unwrap();
    assert_eq!(heard.status(), 503);
    let sending = http.post(format!("{}/notes/{note}/recordings", server.url)).body(wav(1_000));
    assert_eq!(in_time(sending.send()).await.unwrap().status(), 503);
    server.kill().await;
}

#[tokio::test]
async fn an_upload_whose_store_falls_silent_in_the_middle_of_a_part_goes_on_from_there() {
    let (api, s3) = (Api::new().await, S3::start().await);
    let gate = Gate::before(s3.address()).await;
    let files = bucket(gate.url()).await;
    let (router, backend) = product(&api, &files).await;
    let api = Api { router, ..api };
    let note = made_note(&api).await;
    let content = wav(2 * CHUNK + 99);
    let length = content.len().to_string();
    let place = begun(&api, note, &[("upload-length", &length)]).await;
    assert_eq!(patch(&api, &place, 0, &[], &content[..CHUNK]).await.status, 204);
    for part in [0, CHUNK / 2] {
        gate.close_after(Way::To, part as u64);
        assert_told(&in_time(patch(&api, &place, CHUNK, &[], &content[CHUNK..])).await, "to");
        assert_eq!(stands(&api, &place).await, CHUNK);
    }
    // It has taken all, and does not say so.
    gate.open();
    gate.close_after(Way::From, 0);
    assert_told(&in_time(patch(&api, &place, CHUNK, &[], &content[CHUNK..])).await, "from");
    gate.open();
    let done = patch(&api, &place, CHUNK, &[], &content[CHUNK..]).await;
    assert_eq!(done.status, 204, "{}", done.body);
    let audio = format!("{}/audio", done.header("content-location").unwrap());
    assert_eq!(hash(&api.get(&audio).await.bytes), hash(&content));
    backend.stop().await;
}

#[tokio::test]
async fn a_store_that_takes_a_part_slowly_takes_all_of_it() {
    let (api, s3) = (Api::new().await, S3::start().await);
    let gate = Gate::before(s3.address()).await;
    let (router, backend) = product(&api, &bucket(gate.url()).await).await;
    let note = made_note(&api).await;
    // 320 pieces: some seconds for the part, of which the store is never silent.
    gate.slow_down(Duration::from_millis(20));
    let begun = Instant::now();
    let content = wav(CHUNK);
    let sending = request(Method::POST, &format!("/notes/{note}/recordings"));
    let sent = ask(&router, sending.body(Body::from(content)).unwrap()).await;
    assert_eq!(sent.status, 201, "{}", sent.body);
    assert!(begun.elapsed() > 2 * SILENCE, "as slow as it should be: {:?}", begun.elapsed());
    backend.stop().await;
}

#[tokio::test]
async fn a_store_that_falls_silent_in_the_middle_of_a_file_is_not_waited_for() {
    let (api, s3) = (Api::new().await, S3::start().await);
    let gate = Gate::before(s3.address()).await;
    let files = bucket(gate.url()).await;
    let (router, backend) = product(&api, &files).await;
    let note = made_note(&api).await;
    let content = wav(1 << 20);
    files.store().put("images/a.png", content.clone().into()).await.unwrap();
    let sending = request(Method::POST, &format!("/notes/{note}/recordings"));
    let sent = ask(&router, sending.body(Body::from(content.clone())).unwrap()).await;
    let audio = format!("/recordings/{}/audio", sent.body["id"]);
    let get = |uri: &str| request(Method::GET, uri).body(Body::empty()).unwrap();

    // What is sent as a whole is a 503.
    gate.close_after(Way::From, 300_000);
    assert_told(&in_time(ask(&router, get("/images/a.png"))).await, "an image");
    // What has begun to be sent is broken off, and can be gone on with.
    gate.open();
    gate.close_after(Way::From, 300_000);
    let answer = in_time(router.clone().oneshot(get(&audio))).await.unwrap();
    assert_eq!(answer.status(), 200);
    let (mut body, mut heard) = (answer.into_body().into_data_stream(), Vec::new());
    let broken_off = loop {
        match in_time(body.next()).await {
            Some(Ok(piece)) => heard.extend_from_slice(&piece),
            end => break end,
        }
    };
    assert!(matches!(broken_off, Some(Err(_))), "it does not look as if this were all");
    assert!(gate.is_closed(Way::From) && !heard.is_empty());
    gate.open();
    let rest = request(Method::GET, &audio).header("range", format!("bytes={}-", heard.len()));
    let rest = ask(&router, rest.body(Body::empty()).unwrap()).await;
    assert_eq!(rest.status, 206);
    heard.extend_from_slice(&rest.bytes);
    assert_eq!(hash(&heard), hash(&content));
    backend.stop().await;
}
