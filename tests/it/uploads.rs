//! Recordings on their way: by tus or in one request, through lost connections, kills and stores that fail.

mod content;
mod given_up;
mod killed;
mod silent;
mod two_servers;

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use projections::files::{CHUNK, Facts, FileError, Files};
use projections::seal::Trust;
use projections::uploads::{self, Intake};
use replay::garbage::{self, Garbage};
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::contract::{Answer, Api, app, ask, request};
use crate::files::noise;
use crate::harness::Database;
use crate::s3::{KEYS, S3};
use crate::server::{Home, Server};

/// How long to wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Something that begins as a wav file does.
pub fn wav(length: usize) -> Vec<u8> {
    let mut bytes = noise(length, 17);
    bytes[..4].copy_from_slice(b"RIFF");
    bytes[8..12].copy_from_slice(b"WAVE");
    bytes
}

fn base64(text: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(text)
}

/// A request of tus.
fn tus(
    method: Method,
    uri: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Request<Body> {
    let mut builder = request(method, uri).header("tus-resumable", "1.0.0");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body.into()).unwrap()
}

pub async fn patch(
    api: &Api,
    place: &str,
    offset: usize,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let offset = offset.to_string();
    let own = [("content-type", "application/offset+octet-stream"), ("upload-offset", &offset)];
    let headers = [&own, headers].concat();
    ask(&api.router, tus(Method::PATCH, place, &headers, body.to_vec())).await
}

/// Where an upload stands.
pub async fn stands(api: &Api, place: &str) -> usize {
    let answer = ask(&api.router, tus(Method::HEAD, place, &[], Body::empty())).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.header("upload-offset").unwrap().parse().unwrap()
}

/// Begins an upload and tells its place.
pub async fn begun(api: &Api, note: i64, headers: &[(&str, &str)]) -> String {
    let uri = format!("/notes/{note}/recordings");
    let answer = ask(&api.router, tus(Method::POST, &uri, headers, Body::empty())).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.header("location").unwrap().to_owned()
}

async fn made_note(api: &Api) -> i64 {
    api.made("notes", json!({"name": "Call", "date": "2025-01-31"})).await
}

/// The files that the log says recordings are.
pub async fn attached(api: &Api) -> i64 {
    let count = "select count(*) from events where event_type = 'RecordingAttached'";
    sqlx::query_scalar(count).fetch_one(&api.db.pool).await.unwrap()
}

#[tokio::test]
async fn an_upload_goes_on_where_it_stopped_and_becomes_a_recording() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let uri = format!("/notes/{note}/recordings");
    let able = ask(&api.router, request(Method::OPTIONS, &uri).body(Body::empty()).unwrap()).await;
    assert_eq!(able.header("tus-version"), Some("1.0.0"));
    assert!(able.header("tus-extension").unwrap().contains("creation-defer-length"));
    assert_eq!(able.header("tus-max-size"), Some((1_u64 << 30).to_string().as_str()));

    let content = wav(CHUNK + 1_234_567);
    let (length, sum) = (content.len().to_string(), hash(&content));
    let metadata = format!(
        "filename {},language {},sha256 {},filetype {}",
        base64("Reunión.webm"),
        base64("es"),
        base64(&sum),
        base64("video/quicktime")
    );
    let place =
        begun(&api, note, &[("upload-length", &length), ("upload-metadata", &metadata)]).await;
    assert_eq!(stands(&api, &place).await, 0);
    let first = patch(&api, &place, 0, &[], &content[..1_000]).await;
    assert_eq!((first.status, first.header("upload-offset")), (204, Some("1000")));
    assert!(first.header("upload-expires").unwrap().ends_with(" GMT"));
    for wrong in [0, 999, 1_001] {
        let answer = patch(&api, &place, wrong, &[], b"x").await;
        assert_eq!(answer.status, 409, "{wrong}");
    }
    let bad = format!("sha256 {}", base64(Sha256::digest(b"other")));
    let answer =
        patch(&api, &place, 1_000, &[("upload-checksum", &bad)], &content[1_000..2_000]).await;
    assert_eq!(answer.status, 460);
    assert_eq!(stands(&api, &place).await, 1_000, "what is damaged on the way does not count");
    let good = format!("sha256 {}", base64(Sha256::digest(&content[1_000..2_000])));
    let answer =
        patch(&api, &place, 1_000, &[("upload-checksum", &good)], &content[1_000..2_000]).await;
    assert_eq!((answer.status, stands(&api, &place).await), (204, 2_000));
    let short = format!("sha1 {}", base64(Sha1::digest(&content[2_000..3_000])));
    for (sent, status) in [(&content[..1_000], 460), (&content[2_000..3_000], 204)] {
        let answer = patch(&api, &place, 2_000, &[("upload-checksum", &short)], sent).await;
        assert_eq!(answer.status, status);
    }
    let unknown = patch(&api, &place, 3_000, &[("upload-checksum", "md5 AAAA")], b"x").await;
    assert_eq!(unknown.status, 400);
    let beyond = patch(&api, &place, 3_000, &[], &noise(content.len(), 1)).await;
    assert_eq!(beyond.status, 413);
    // What came before it was too much is there, and is not what the sender has: it begins anew.
    let answer = ask(&api.router, tus(Method::DELETE, &place, &[], Body::empty())).await;
    assert_eq!(answer.status, 204);
    let gone = ask(&api.router, tus(Method::HEAD, &place, &[], Body::empty())).await;
    assert_eq!(gone.status, 404);

    let place =
        begun(&api, note, &[("upload-length", &length), ("upload-metadata", &metadata)]).await;
    patch(&api, &place, 0, &[], &content[..100]).await;
    assert_eq!(attached(&api).await, 0);
    let last = patch(&api, &place, 100, &[], &content[100..]).await;
    assert_eq!(last.status, 204, "{}", last.body);
    let recording = last.header("content-location").unwrap().to_owned();
    assert_eq!(stands(&api, &place).await, content.len());
    assert_eq!(attached(&api).await, 1);
    let again = patch(&api, &place, content.len(), &[], b"").await;
    assert_eq!(again.status, 409, "it is whole");
    let kept = ask(&api.router, tus(Method::DELETE, &place, &[], Body::empty())).await;
    assert_eq!(kept.status, 409, "the note has it");

    let audio = api.get(&format!("{recording}/audio")).await;
    assert_eq!((audio.status, hash(&audio.bytes)), (200, sum.clone()));
    assert_eq!(audio.header("content-type"), Some("audio/wav"), "not what its sender says");
    assert_eq!(
        audio.header("content-disposition"),
        Some("inline; filename*=UTF-8''Reuni%C3%B3n.webm")
    );
    heard_in_parts(&api, &format!("{recording}/audio"), &content).await;
}

async fn heard_in_parts(api: &Api, uri: &str, content: &[u8]) {
    let size = content.len();
    let part = async |method: Method, headers: &[(&str, &str)]| {
        let mut builder = request(method, uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        ask(&api.router, builder.body(Body::empty()).unwrap()).await
    };
    let tag = format!("\"{}\"", hash(content));
    let some = part(Method::GET, &[("range", "bytes=1000-1999")]).await;
    assert_eq!((some.status, &some.bytes[..]), (206, &content[1_000..2_000]));
    assert_eq!(some.header("content-range"), Some(format!("bytes 1000-1999/{size}").as_str()));
    assert_eq!(some.header("etag"), Some(tag.as_str()));
    // Safari plays nothing that it does not get in parts, and asks for the first part in this way.
    for all in ["bytes=0-".to_owned(), format!("bytes=0-{}", size - 1)] {
        let all = part(Method::GET, &[("range", &all)]).await;
        assert_eq!((all.status, all.bytes.len()), (206, size));
        let told = format!("bytes 0-{}/{size}", size - 1);
        assert_eq!(all.header("content-range"), Some(told.as_str()));
    }
    let end = part(Method::GET, &[("range", "bytes=-10"), ("if-range", &tag)]).await;
    assert_eq!((end.status, &end.bytes[..]), (206, &content[size - 10..]));
    let other = part(Method::GET, &[("range", "bytes=-10"), ("if-range", "\"other\"")]).await;
    assert_eq!((other.status, other.bytes.len()), (200, size));
    let beyond = part(Method::GET, &[("range", &format!("bytes={size}-"))]).await;
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), Some(format!("bytes */{size}").as_str()));
    let beyond = format!("bytes={size}-");
    for headers in [&[][..], &[("range", "bytes=0-9")], &[("range", &beyond)]] {
        let head = part(Method::HEAD, headers).await;
        assert_eq!((head.status, head.bytes.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some(size.to_string().as_str()));
        assert_eq!(head.header("accept-ranges"), Some("bytes"));
        assert_eq!(head.header("content-range"), None);
    }
    let known = part(Method::GET, &[("if-none-match", &tag)]).await;
    assert_eq!(known.status, 304);
    let stored = part(Method::GET, &[]).await;
    assert!(stored.header("content-security-policy").unwrap().contains("sandbox"));
}

#[tokio::test]
async fn an_upload_in_parts_is_named_in_its_address_as_one_in_one_request_is() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let content = wav(1_000);
    let file = format!("filename {}", base64("call.wav"));
    let said = [("upload-metadata", file.as_str()), ("upload-length", "1000")];
    for (headers, expected) in [(&said[1..], "Lunch with Ana"), (&said[..], "call.wav")] {
        let uri = format!("/notes/{note}/recordings?name=Lunch%20with%20Ana&language=es");
        let answer = ask(&api.router, tus(Method::POST, &uri, headers, Body::empty())).await;
        let place = answer.header("location").unwrap();
        let last = patch(&api, place, 0, &[], &content).await;
        let recording = api.read(last.header("content-location").unwrap()).await;
        assert_eq!(
            (&recording["name"], &recording["language"]),
            (&json!(expected), &json!("es")),
            "{recording}"
        );
    }
}

#[tokio::test]
async fn a_recorder_need_not_know_how_long_it_will_be() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let place = begun(&api, note, &[("upload-defer-length", "1")]).await;
    let content = wav(300_000);
    for (at, piece) in content.chunks(100_000).enumerate() {
        let answer = patch(&api, &place, at * 100_000, &[], piece).await;
        assert_eq!((answer.status, answer.header("upload-defer-length")), (204, Some("1")));
    }
    let astray = patch(&api, &place, 200_000, &[("upload-length", "400000")], b"").await;
    assert_eq!(astray.status, 409, "its length is not taken for that of this upload");
    let short = patch(&api, &place, 300_000, &[("upload-length", "299999")], b"").await;
    assert_eq!(short.status, 413, "it is longer already");
    let done = patch(&api, &place, 300_000, &[("upload-length", "300000")], b"").await;
    assert_eq!(done.status, 204);
    let audio = api.get(&format!("{}/audio", done.header("content-location").unwrap())).await;
    assert_eq!(audio.bytes, content);
    assert_eq!(audio.header("content-disposition"), Some("inline; filename*=UTF-8''Recording.wav"));
}

#[tokio::test]
async fn a_recording_comes_in_one_request_as_well() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let content = wav(200_000);
    let sent = async |uri: &str, headers: &[(&str, &str)], body: Vec<u8>| {
        let mut builder = request(Method::POST, uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        ask(&api.router, builder.body(Body::from(body)).unwrap()).await
    };
    let uri = format!("/notes/{note}/recordings");
    let named = format!("{uri}?name=Call.wav&language=en");
    let digest = format!("sha-256=:{}:", base64(Sha256::digest(&content)));
    let claims = [("content-type", "audio/wav"), ("repr-digest", digest.as_str())];
    for bad in ["Lunch%0AAna", "Lunch%E2%80%A9Ana", &"x".repeat(201)] {
        let refused = sent(&format!("{uri}?name={bad}"), &claims, content.clone()).await;
        assert_eq!(refused.status, 422, "{bad}");
        assert_eq!(refused.body["detail"][0]["loc"], json!(["query", "name"]), "{bad}");
    }
    let plain = sent(&named, &claims, content.clone()).await;
    let body = plain.body.clone();
    assert_eq!(plain.status, 201, "{body}");
    assert!(plain.position() > 0);
    assert_eq!(plain.header("location"), Some(format!("/recordings/{}", body["id"]).as_str()));
    assert_eq!(
        (&body["name"], &body["size"], &body["media_type"], &body["sha256"]),
        (&json!("Call.wav"), &json!(200_000), &json!("audio/wav"), &json!(hash(&content)))
    );
    let mut file =
        b"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.wav\"\r\n\r\n".to_vec();
    file.extend_from_slice(&content);
    let of_form = async |files: &[&[u8]]| {
        let form = [&files.join(&b"\r\n"[..]), &b"\r\n--x--\r\n"[..]].concat();
        sent(&uri, &[("content-type", "multipart/form-data; boundary=x")], form).await
    };
    // None of several is lost, and none is taken for all.
    let several = of_form(&[&file, &file]).await;
    assert_eq!((several.status, several.header("location")), (422, None), "{}", several.body);
    let form = of_form(&[&file]).await;
    assert_eq!(form.status, 201, "{}", form.body);
    assert_eq!((&form.body["name"], &form.body["sha256"]), (&json!("a.wav"), &body["sha256"]));

    // The same request again is the same recording; another one is refused. What came of one that broke off is given up.
    let keyed = [("idempotency-key", "k1"), ("content-type", "audio/wav")];
    let broken = "insert into upload (id, note_id, received, size, expires_at, request_key)
        values (gen_random_uuid(), $1, 0, 9, now() + make_interval(days => $2), 'k1')";
    for days in [-1, 1] {
        sqlx::query(broken).bind(note).bind(days).execute(&api.db.pool).await.unwrap();
        let wrong = [
            keyed[0],
            keyed[1],
            ("repr-digest", "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"),
        ];
        assert_eq!(sent(&named, &wrong, content.clone()).await.status, 422, "{days}");
    }
    let once = sent(&named, &keyed, content.clone()).await;
    let again = sent(&named, &keyed, content.clone()).await;
    assert_eq!((again.status, again.body), (once.status, once.body.clone()));
    for (uri, content) in
        [(&named, noise(200_000, 3)), (&named, content[..100].to_vec()), (&uri, content.clone())]
    {
        assert_eq!(sent(uri, &keyed, content).await.status, 422, "{uri}");
    }

    let other = sent(&uri, &[("repr-digest", &digest)], noise(1_000, 3)).await;
    assert_eq!(other.status, 422);
    assert!(other.body["detail"].as_str().unwrap().contains("upload it again"), "{}", other.body);
    assert_eq!(other.header("location"), None, "there is nothing to go on with");
    let other = sent(&uri, &[("content-digest", &digest)], noise(1_000, 3)).await;
    assert_eq!(other.status, 422);
    // Likewise where an upload is begun with all that there is.
    let begins = async |headers: &[(&str, &str)]| {
        let body = noise(1_000, 3);
        let mut all =
            vec![("upload-length", "1000"), ("content-type", "application/offset+octet-stream")];
        all.extend_from_slice(headers);
        ask(&api.router, tus(Method::POST, &uri, &all, Body::from(body))).await
    };
    let metadata = format!("sha256 {}", base64(hash(&content)));
    let other = begins(&[("upload-metadata", &metadata)]).await;
    assert_eq!((other.status, other.header("location")), (422, None), "{}", other.body);
    // What was damaged on the way may be sent again.
    let checksum = format!("sha256 {}", base64(Sha256::digest(&content)));
    let damaged = begins(&[("upload-checksum", &checksum)]).await;
    assert_eq!((damaged.status, damaged.header("upload-offset")), (201, Some("0")));
    let unknown = begins(&[("upload-checksum", "md5 AAAA")]).await;
    assert_eq!((unknown.status, unknown.header("location")), (400, None));
    let waiting: i64 = sqlx::query_scalar("select count(*) from upload where attached_at is null")
        .fetch_one(&api.db.pool)
        .await
        .unwrap();
    assert_eq!(waiting, 1, "the damaged one alone");
    let place = damaged.header("location").unwrap();
    assert_eq!(ask(&api.router, tus(Method::DELETE, place, &[], Body::empty())).await.status, 204);
    assert_eq!(sent(&uri, &[], Vec::new()).await.status, 422);
    assert_eq!(sent("/notes/999/recordings", &[], content.clone()).await.status, 404);
    let part = [("tus-resumable", "1.0.0"), ("upload-length", "1"), ("upload-concat", "partial")];
    assert_eq!(sent(&uri, &part, Vec::new()).await.status, 422, "parts are not put together");
    let old = [("tus-resumable", "0.2.2"), ("upload-length", "1")];
    let old = sent(&uri, &old, Vec::new()).await;
    assert_eq!((old.status, old.header("tus-version")), (412, Some("1.0.0")));
    let place = begun(&api, note, &[("upload-length", "10")]).await;
    for method in [Method::HEAD, Method::PATCH, Method::DELETE] {
        let silent = request(method.clone(), &place)
            .header("content-type", "application/offset+octet-stream")
            .header("upload-offset", "0");
        let silent = ask(&api.router, silent.body(Body::from("RIFF")).unwrap()).await;
        let told = (silent.status, silent.header("tus-version"));
        assert_eq!(told, (412, Some("1.0.0")), "{method} without a word of tus");
    }
    assert_eq!(stands(&api, &place).await, 0);
    ask(&api.router, tus(Method::DELETE, &place, &[], Body::empty())).await;
    assert_eq!(attached(&api).await, 3);
    let left = api.db.files();
    assert_eq!(recordings_in(&left).await, 3, "what is refused leaves nothing");
}

async fn recordings_in(files: &Files) -> usize {
    use futures::TryStreamExt as _;
    let found = files.store().list("recordings/").await.unwrap();
    let is_one = |file: &Facts| !file.key.ends_with("crm-owner.txt");
    found.try_collect::<Vec<_>>().await.unwrap().iter().filter(|file| is_one(file)).count()
}

#[tokio::test]
async fn no_recording_is_larger_than_the_limit() {
    let db = Database::new().await;
    let backend = db.backend().await;
    let mut app = app(&db, &backend, 1_000);
    app.intake = Intake::new(db.connections.clone(), db.files(), 5_000, CancellationToken::new());
    let router = api::server::router(app);
    let api = Api { router, backend, db };
    let note = api.made("notes", json!({"name": "Call"})).await;
    let uri = format!("/notes/{note}/recordings");
    let long =
        ask(&api.router, tus(Method::POST, &uri, &[("upload-length", "5001")], Body::empty()))
            .await;
    assert_eq!(long.status, 413);
    let told = "a recording may have 5000 bytes at most, and this one has more";
    assert_eq!(long.body["detail"], told);
    let announced = async |length: &str| {
        let sending = tus(Method::POST, &uri, &[("upload-length", length)], Body::empty());
        ask(&api.router, sending).await
    };
    // More than any number here can hold is a number as well.
    let endless = announced(&"9".repeat(40)).await;
    assert_eq!((endless.status, &endless.body["detail"]), (413, &json!(told)));
    for no_number in ["abc", "-1", "+7", "1e3", "7 bytes"] {
        let answer = announced(no_number).await;
        let fault = &answer.body["detail"][0];
        assert_eq!((answer.status, &fault["input"]), (422, &json!(no_number)), "{fault}");
        assert!(fault["msg"].as_str().unwrap().contains("a number of bytes"), "{fault}");
        assert_eq!(fault["loc"], json!(["header", "upload-length"]));
    }
    let plain = request(Method::POST, &uri).body(Body::from(noise(5_001, 1))).unwrap();
    assert_eq!(ask(&api.router, plain).await.status, 413);
    let endless = futures::stream::iter((0..60).map(|_| Ok::<_, std::io::Error>(vec![7_u8; 100])));
    let endless = request(Method::POST, &uri).body(Body::from_stream(endless)).unwrap();
    let endless = ask(&api.router, endless).await;
    assert_eq!((endless.status, endless.header("location")), (413, None));
    // Other bodies are measured by a limit of their own, and a recording may be larger than that.
    let fits = request(Method::POST, &uri).body(Body::from(noise(5_000, 1))).unwrap();
    assert_eq!(ask(&api.router, fits).await.status, 201);
}

/// What a server of its own takes in over a connection that breaks.
#[tokio::test]
async fn nothing_that_arrived_is_lost_with_the_connection_or_the_server() {
    let home = Home::new();
    let server = Server::start(&home, &[]).await;
    let http = reqwest::Client::new();
    let note: Value = http
        .post(format!("{}/notes", server.url))
        .json(&json!({"name": "Call", "date": "2025-01-31"}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let content = wav(3 * CHUNK + 777);
    let place = http
        .post(format!("{}/notes/{}/recordings", server.url, note["id"]))
        .header("tus-resumable", "1.0.0")
        .header("upload-length", content.len())
        .send()
        .await
        .unwrap();
    let place = place.headers()["location"].to_str().unwrap().to_owned();

    // The connection breaks within the first chunk: all that had arrived counts.
    send_and_break_off(&server.url, &place, 0, &content[..100_000]).await;
    assert_eq!(offset_of(&http, &server.url, &place).await, 100_000);

    // The server is killed: all chunks that were full count.
    let mut sender = opened(&server.url, &place, 100_000, content.len()).await;
    sender.write_all(&content[100_000..100_000 + CHUNK + CHUNK / 2]).await.unwrap();
    let file = home.path().join(format!("{}.part", place.replace("/uploads/", "recordings/")));
    let deadline = Instant::now() + PATIENCE;
    while std::fs::metadata(&file).map_or(0, |file| file.len()) < (100_000 + CHUNK) as u64 {
        assert!(Instant::now() < deadline, "a chunk is stored in time");
        tokio::task::yield_now().await;
    }
    server.kill().await;
    let server = Server::start(&home, &[]).await;
    let offset = offset_of(&http, &server.url, &place).await;
    assert!([100_000, 100_000 + CHUNK].contains(&offset), "{offset}");
    let rest = http
        .patch(format!("{}{place}", server.url))
        .header("tus-resumable", "1.0.0")
        .header("content-type", "application/offset+octet-stream")
        .header("upload-offset", offset)
        .body(content[offset..].to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(rest.status(), 204);
    let recording = rest.headers()["content-location"].to_str().unwrap().to_owned();
    let audio = http.get(format!("{}{recording}/audio", server.url)).send().await.unwrap();
    assert_eq!(hash(&audio.bytes().await.unwrap()), hash(&content));
    server.kill().await;
}

async fn offset_of(http: &reqwest::Client, url: &str, place: &str) -> usize {
    let answer =
        http.head(format!("{url}{place}")).header("tus-resumable", "1.0.0").send().await.unwrap();
    answer.headers()["upload-offset"].to_str().unwrap().parse().unwrap()
}

/// A PATCH whose head was sent, and none of its body.
async fn opened(url: &str, place: &str, offset: usize, size: usize) -> TcpStream {
    let host = url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(host).await.unwrap();
    let head = format!(
        "PATCH {place} HTTP/1.1\r\nhost: {host}\r\ntus-resumable: 1.0.0\r\ncontent-type: application/offset+octet-stream\r\n\
         upload-offset: {offset}\r\ncontent-length: {}\r\n\r\n",
        size - offset
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// Sends a part of what was announced and hangs up.
async fn send_and_break_off(url: &str, place: &str, offset: usize, some: &[u8]) {
    let mut socket = opened(url, place, offset, offset + 10 * some.len()).await;
    socket.write_all(some).await.unwrap();
    // Closing the sending half lets what was sent arrive; then the server is the first to end the connection.
    socket.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn a_bucket_that_goes_away_costs_an_upload_nothing() {
    let mut s3 = S3::start().await;
    let db = Database::new().await;
    let backend = db.backend().await;
    let mut app = app(&db, &backend, 64 << 20);
    app.files = s3.files("uploads").await;
    app.intake =
        Intake::new(db.connections.clone(), app.files.clone(), 1 << 30, CancellationToken::new());
    let files = app.files.clone();
    let api = Api { router: api::server::router(app), backend, db };
    let note = made_note(&api).await;
    let content = wav(2 * CHUNK + 99);
    let length = content.len().to_string();
    let place = begun(&api, note, &[("upload-length", &length)]).await;
    assert_eq!(patch(&api, &place, 0, &[], &content[..CHUNK + 5]).await.status, 204);
    s3.kill().await;
    let down = patch(&api, &place, CHUNK + 5, &[], &content[CHUNK + 5..]).await;
    assert_eq!((down.status, down.header("retry-after")), (503, Some("1")));
    assert_eq!(down.body["detail"], "The file storage does not answer; please try again");
    assert_eq!(stands(&api, &place).await, CHUNK + 5);
    s3.resume().await;
    let done = patch(&api, &place, CHUNK + 5, &[], &content[CHUNK + 5..]).await;
    assert_eq!(done.status, 204, "{}", done.body);
    let audio = format!("{}/audio", done.header("content-location").unwrap());
    assert_eq!(hash(&api.get(&audio).await.bytes), hash(&content));
    heard_in_parts(&api, &audio, &content).await;
    // What the bucket holds nobody can hear, so that there is no link to it.
    let direct = api.get(&format!("{audio}?presigned")).await;
    assert_eq!((direct.status, hash(&direct.bytes)), (200, hash(&content)));
    let (key, stored) = stored(&api, &files).await;
    assert_eq!(stored.len(), content.len());
    assert!(stored.chunks(64).zip(content.chunks(64)).all(|(one, other)| one != other));
    assert_eq!(recordings_in(&files).await, 1);

    // One that was altered there does not pass for what was recorded.
    let cipher = uploads::cipher(&api.db.connections, note, &key).await.unwrap();
    assert!(files.copy(&key, &hash(&content), cipher.clone()).await.is_ok());
    let mut altered = stored;
    altered[CHUNK] ^= 1;
    files.store().put(&key, altered.into()).await.unwrap();
    let error = files.copy(&key, &hash(&content), cipher).await.unwrap_err();
    assert!(matches!(error, FileError::Damaged { .. }), "{error}");
}

/// The recording that was attached first, as the storage has it, and the name of its file.
async fn stored(api: &Api, files: &Files) -> (String, Vec<u8>) {
    let name = "select 'recordings/' || id from upload order by attached_at limit 1";
    let key: String = sqlx::query_scalar(name).fetch_one(&api.db.pool).await.unwrap();
    let content = files.whole(&key).await.unwrap();
    (key, content)
}

#[tokio::test]
async fn a_bucket_hands_out_what_is_not_sealed_and_both_kinds_are_served() {
    let s3 = S3::start().await;
    let db = Database::new().await;
    let backend = db.backend().await;
    let mut app = app(&db, &backend, 64 << 20);
    app.files = s3.files("plain").await;
    let sealing =
        Intake::new(db.connections.clone(), app.files.clone(), 1 << 30, CancellationToken::new());
    app.intake = sealing.clone().without_seals();
    let (files, content) = (app.files.clone(), wav(70_000));
    let mut sealed = app.clone();
    sealed.intake = sealing;
    let (plain, sealed) = (api::server::router(app), api::server::router(sealed));
    let api = Api { router: plain.clone(), backend, db };
    let note = made_note(&api).await;
    let mut places = Vec::new();
    for router in [&plain, &sealed] {
        let uri = format!("/notes/{note}/recordings");
        let sent = request(Method::POST, &uri).body(Body::from(content.clone())).unwrap();
        let sent = ask(router, sent).await;
        assert_eq!(sent.status, 201, "{}", sent.body);
        places.push(format!("/recordings/{}/audio", sent.body["id"]));
    }
    assert_eq!(stored(&api, &files).await.1, content);
    for router in [&plain, &sealed] {
        for place in &places {
            let got = ask(router, request(Method::GET, place).body(Body::empty()).unwrap()).await;
            assert_eq!((got.status, hash(&got.bytes)), (200, hash(&content)));
        }
    }
    let link = api.get(&format!("{}?presigned", places[0])).await;
    assert_eq!(link.status, 307);
    let elsewhere = reqwest::get(link.header("location").unwrap()).await.unwrap();
    assert_eq!(elsewhere.headers()["content-type"], "audio/wav");
    assert_eq!(hash(&elsewhere.bytes().await.unwrap()), hash(&content));
}

#[tokio::test]
async fn settings_that_the_bucket_refuses_are_told_and_cost_nothing_else() {
    let s3 = S3::start().await;
    let home = Home::new();
    let url = s3.url();
    let settings = [
        ("S3_BUCKET", "crm-files"),
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_ACCESS_KEY_ID", KEYS.0),
        ("AWS_SECRET_ACCESS_KEY", "not the secret"),
    ];
    let server = Server::start_with(&home, &[], &settings).await;
    let http = reqwest::Client::new();
    let note = http.post(format!("{}/notes", server.url)).json(&json!({"name": "Call"}));
    let note: Value = note.send().await.unwrap().json().await.unwrap();
    let upload =
        http.post(format!("{}/notes/{}/recordings", server.url, note["id"])).body(wav(1_000));
    let refused = upload.try_clone().unwrap().send().await.unwrap();
    assert_eq!(refused.status(), 502);
    assert!(!refused.headers().contains_key("location"), "it is given up");
    let detail: Value = refused.json().await.unwrap();
    assert!(detail["detail"].as_str().unwrap().contains("S3_BUCKET and its keys"), "{detail}");
    server.kill().await;
    let settings = [&settings[..3], &[("AWS_SECRET_ACCESS_KEY", KEYS.1)]].concat();
    // The embedded server's file storage makes the bucket with the first file.
    let server = Server::start_with(&home, &[], &settings).await;
    let upload =
        http.post(format!("{}/notes/{}/recordings", server.url, note["id"])).body(wav(1_000));
    assert_eq!(upload.send().await.unwrap().status(), 201);
    assert!(!home.path().join("recordings").exists(), "it is in the bucket");
    server.kill().await;
}

#[tokio::test]
async fn an_upload_says_what_it_has_no_use_for_and_what_is_too_much() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let uri = format!("/notes/{note}/recordings?nmae=Lunch");
    let sent = request(Method::POST, &uri).body(Body::from(wav(1_000))).unwrap();
    assert_eq!(ask(&api.router, sent).await.faults(), ["extra_forbidden at query.nmae"]);
    let answer =
        ask(&api.router, tus(Method::POST, &uri, &[("upload-length", "7")], Body::empty()));
    assert_eq!(answer.await.faults(), ["extra_forbidden at query.nmae"]);
    let uri = format!("/notes/{note}/recordings?language=xx");
    let answer = tus(Method::POST, &uri, &[("upload-length", "7")], Body::empty());
    assert_eq!(ask(&api.router, answer).await.faults(), ["language at query.language"]);
    let place = begun(&api, note, &[("upload-length", "1000")]).await;
    let answer = patch(&api, &place, 0, &[], &wav(2_000)).await;
    let told = answer.body["detail"].as_str().unwrap();
    assert_eq!(answer.status, 413, "{told}");
    assert!(told.contains("1000 bytes") && told.contains("Upload-Length"), "{told}");
}

#[tokio::test]
async fn a_removed_recording_whose_audio_cannot_be_removed_yet_says_so() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let uri = format!("/notes/{note}/recordings");
    let send = async || {
        let sent = request(Method::POST, &uri).body(Body::from(wav(1_000))).unwrap();
        ask(&api.router, sent).await.expect(201, "sent")["id"].clone()
    };
    let (first, second) = (send().await, send().await);
    let gone = api.delete(&format!("/recordings/{first}")).await.expect(200, "removed");
    assert_eq!(gone, json!({"status": "deleted"}));
    // The disk is not mounted.
    let folder = api.db.dir.path().join("recordings");
    let away = api.db.dir.path().join("away");
    std::fs::rename(&folder, &away).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let kept = api.delete(&format!("/recordings/{second}")).await.expect(200, "removed");
    assert_eq!((&kept["status"], &kept["audio"]), (&json!("deleted"), &json!("kept")));
    assert!(kept["why"].as_str().unwrap().contains("crm removes it"), "{kept}");
    assert_eq!(api.get(&format!("/recordings/{second}")).await.status, 404);
}

#[tokio::test]
async fn what_nothing_names_is_collected_once_it_is_old() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let files = api.db.files();
    let kept = wav(1_000);
    let length = kept.len().to_string();
    let place = begun(&api, note, &[("upload-length", &length)]).await;
    patch(&api, &place, 0, &[], &kept).await;
    let under_way = begun(&api, note, &[("upload-length", "1000")]).await;
    patch(&api, &under_way, 0, &[], &kept[..500]).await;
    let given_up = begun(&api, note, &[("upload-length", "1000")]).await;
    patch(&api, &given_up, 0, &[], &kept[..500]).await;
    let id = given_up.rsplit('/').next().unwrap();
    let expire = "update upload set expires_at = now() - interval '1 second' where id = $1::uuid";
    sqlx::query(expire).bind(id).execute(&api.db.pool).await.unwrap();
    let gone = ask(&api.router, tus(Method::HEAD, &given_up, &[], Body::empty())).await;
    assert_eq!(gone.status, 404);
    files.put(b"refused", "text/plain").await.unwrap();
    let images = format!("[\"{}\"]", "data:image/png;base64,AAAA".repeat(100));
    let roadshow = json!({"name": "Lima", "fund_id": api.made("funds", json!({"fund_name": "F"})).await,
        "flight_images": images});
    let roadshow = api.made("roadshows", roadshow).await;

    let collect = async |grace, dry_run| {
        let found =
            garbage::collect(&api.db.connections, &files, &Trust::default(), grace, dry_run).await;
        found.unwrap()
    };
    let expired = Garbage { uploads: 1, ..Garbage::default() };
    assert_eq!(collect(garbage::GRACE, true).await, expired, "what is young is left alone");
    let all = Garbage { uploads: 1, recordings: 0, documents: 1, bytes: 7 };
    assert_eq!(collect(Duration::ZERO, true).await, all);
    assert_eq!(collect(Duration::ZERO, false).await, all);
    assert_eq!(collect(Duration::ZERO, false).await, Garbage::default());
    assert_eq!(api.read(&format!("/roadshows/{roadshow}")).await["flight_images"], images.as_str());
    assert_eq!(stands(&api, &under_way).await, 500);
    assert_eq!(stands(&api, &place).await, 1_000);
}

#[tokio::test]
async fn a_recording_of_a_note_under_a_legal_hold_stays_until_that_is_lifted() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let content = wav(1_000);
    let place = begun(&api, note, &[("upload-length", "1000")]).await;
    let done = patch(&api, &place, 0, &[], &content).await;
    let recording = done.header("content-location").unwrap().to_owned();
    let (audio, hold) = (format!("{recording}/audio"), format!("/notes/{note}/hold"));
    api.put(&hold, json!({"reason": "case 7"})).await.expect(200, "held");

    let reason = json!({"reason": "request 7"});
    let not_erased = api.post(&format!("/notes/{note}/erase"), reason).await.expect(409, "erase");
    let refused = api.delete(&recording).await.expect(409, "remove");
    assert_eq!(refused["detail"], not_erased["detail"]);
    assert!(refused["detail"].as_str().unwrap().contains("(case 7)"), "{refused}");
    assert_eq!(recordings_in(&api.db.files()).await, 1);
    assert_eq!(api.get(&audio).await.bytes, content, "it can still be played");

    api.delete(&format!("{hold}?reason=settled")).await.expect(200, "lifted");
    api.delete(&recording).await.expect(200, "removed");
    assert_eq!(api.get(&audio).await.status, 404);
    assert_eq!(recordings_in(&api.db.files()).await, 0);
}

#[tokio::test]
async fn an_erased_note_leaves_no_recording_behind() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let content = wav(1_000);
    let place = begun(&api, note, &[("upload-length", "1000")]).await;
    let done = patch(&api, &place, 0, &[], &content).await;
    let audio = format!("{}/audio", done.header("content-location").unwrap());
    let under_way = begun(&api, note, &[("upload-length", "1000")]).await;
    patch(&api, &under_way, 0, &[], &content[..500]).await;
    let reason = json!({"reason": "case 7"});
    api.post(&format!("/notes/{note}/erase"), reason).await.expect(200, "erased");
    assert_eq!(api.get(&audio).await.status, 404, "at once");
    let stands = ask(&api.router, tus(Method::HEAD, &under_way, &[], Body::empty())).await;
    let goes_on = patch(&api, &under_way, 500, &[], &content[500..]).await;
    assert_eq!((stands.status, goes_on.status), (404, 404), "both at once");
    crate::erasure::scrub(&api.db).await;
    assert_eq!(recordings_in(&api.db.files()).await, 0);
    let rows: i64 =
        sqlx::query_scalar("select count(*) from upload").fetch_one(&api.db.pool).await.unwrap();
    assert_eq!(rows, 0);
    let gone = ask(&api.router, tus(Method::HEAD, &under_way, &[], Body::empty())).await;
    assert_eq!(gone.status, 404);
}
