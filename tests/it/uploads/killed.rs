//! A server that is killed between the last byte of a recording and the word of it in the log.

use api::embedded::Cluster;
use projections::log::APPEND_LOCK;
use sqlx::ConnectOptions as _;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_came_wholly_is_attached_once_by_the_next_server() {
    let home = Home::new();
    let server = Server::start(&home, &[]).await;
    let http = reqwest::Client::new();
    let note = http.post(format!("{}/notes", server.url)).json(&json!({"name": "Call"}));
    let note: Value = note.send().await.unwrap().json().await.unwrap();
    let recordings = format!("/notes/{}/recordings", note["id"]);
    let cluster = Cluster::open(home.path()).await.unwrap();
    let mut db = cluster.options("crm").connect().await.unwrap();

    // Nothing can be recorded for as long as somebody else appends.
    let mut other = cluster.options("crm").connect().await.unwrap();
    let lock = sqlx::query("select pg_advisory_lock($1)").bind(APPEND_LOCK);
    lock.execute(&mut other).await.unwrap();
    let content = wav(CHUNK + 99);
    let sent = http.post(format!("{}{recordings}", server.url)).body(content.clone()).send();
    let sending = tokio::spawn(sent);
    let deadline = Instant::now() + PATIENCE;
    let whole =
        "select exists (select from upload where sha256 is not null and attached_at is null)";
    while !sqlx::query_scalar::<_, bool>(whole).fetch_one(&mut db).await.unwrap() {
        assert!(Instant::now() < deadline, "it comes wholly in time");
    }
    server.kill().await;
    assert!(sending.await.unwrap().is_err(), "nobody was told that it is there");
    drop(other);

    let server = Server::start(&home, &[]).await;
    let url = format!("{}{recordings}", server.url);
    let deadline = Instant::now() + PATIENCE;
    let attached = loop {
        let shown: Value = http.get(&url).send().await.unwrap().json().await.unwrap();
        if let Some([one]) = shown.as_array().map(Vec::as_slice) {
            break one.clone();
        }
        assert!(Instant::now() < deadline, "it is attached in time: {shown}");
        tokio::task::yield_now().await;
    };
    let audio = format!("{}/recordings/{}/audio", server.url, attached["id"]);
    let audio = http.get(audio).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(hash(&audio), hash(&content));
    let events = "select count(*) from events where event_type = 'RecordingAttached'";
    assert_eq!(sqlx::query_scalar::<_, i64>(events).fetch_one(&mut db).await.unwrap(), 1);
    server.kill().await;
}
