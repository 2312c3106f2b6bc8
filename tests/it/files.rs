//! The file storage: a folder and a bucket hold to one contract, and failures say what to do.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use domain::Document;
use futures::TryStreamExt as _;
use projections::files::{Bucket, BucketOptions, CHUNK, FileError, Files, Growth, Shown, gather};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::Database;
use crate::s3::S3;

/// Bytes that differ from place to place.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next());
    }
    bytes.truncate(length);
    bytes
}

async fn part(files: &Files, key: &str, range: Range<u64>) -> Result<Vec<u8>, FileError> {
    gather(files.store().read(key, range).await?).await
}

/// The keys that begin so, each with the length of its file.
pub async fn listed(files: &Files, prefix: &str) -> Vec<(String, u64)> {
    let found = files.store().list(prefix).await.unwrap();
    let mut found: Vec<_> = found.map_ok(|file| (file.key, file.size)).try_collect().await.unwrap();
    found.sort();
    found
}

#[tokio::test]
async fn a_folder_and_a_bucket_keep_files_alike() {
    let folder = TempDir::new().unwrap();
    contract(&Files::folder(folder.path())).await;
    contract(&Database::new().await.files()).await;
    let s3 = S3::start().await;
    let bucket = s3.files("contract").await;
    // This server makes a bucket with its first file.
    bucket.store().put("files/first", Bytes::from_static(b"first")).await.unwrap();
    bucket.store().remove("files/first").await.unwrap();
    contract(&bucket).await;
    early_pieces(&bucket).await;
}

async fn contract(files: &Files) {
    whole_files(files).await;
    documents(files).await;
    for sizes in [
        &[1][..],
        &[100, 200, 300],
        &[CHUNK, 7],
        &[CHUNK, CHUNK, CHUNK / 2],
        &[CHUNK / 2, CHUNK / 2, CHUNK / 2, CHUNK],
        // More pieces than are kept beside a key.
        &[1_000; 40],
    ] {
        growth(files, sizes).await;
    }
    growth_after_a_death(files).await;
    growth_beside_another(files).await;
}

async fn whole_files(files: &Files) {
    let (store, key) = (files.store(), "images/foto de Lima ñ+&.webp");
    assert_eq!(store.facts(key).await.unwrap(), None);
    let missing = part(files, key, 0..10).await;
    assert!(matches!(missing, Err(FileError::Missing(_))), "{missing:?}");
    store.remove(key).await.unwrap();
    let before = chrono::Utc::now() - chrono::Duration::seconds(5);
    store.put(key, Bytes::from_static(b"0123456789")).await.unwrap();
    let facts = store.facts(key).await.unwrap().unwrap();
    assert_eq!((facts.key.as_str(), facts.size), (key, 10));
    assert!(
        facts.modified > before
            && facts.modified < chrono::Utc::now() + chrono::Duration::seconds(5)
    );
    for (range, expected) in [
        (0..u64::MAX, "0123456789"),
        (0..10, "0123456789"),
        (3..5, "34"),
        (9..10, "9"),
        (8..u64::MAX, "89"),
        (4..4, ""),
    ] {
        assert_eq!(
            part(files, key, range.clone()).await.unwrap(),
            expected.as_bytes(),
            "{range:?}"
        );
    }
    store.put(key, Bytes::from_static(b"new")).await.unwrap();
    assert_eq!(part(files, key, 0..u64::MAX).await.unwrap(), b"new");
    store.put("images/empty", Bytes::new()).await.unwrap();
    assert_eq!(part(files, "images/empty", 0..u64::MAX).await.unwrap(), b"");
    assert_eq!(listed(files, "images/").await, [("images/empty".into(), 0), (key.into(), 3)]);
    assert_eq!(listed(files, "images/f").await, [(key.into(), 3)]);
    assert_eq!(listed(files, "nothing/").await, []);
    for key in [key, "images/empty", key] {
        store.remove(key).await.unwrap();
        assert_eq!(store.facts(key).await.unwrap(), None);
    }
    for bad in ["../escaped", "/etc/passwd", "images/../../x", ""] {
        assert!(matches!(store.put(bad, Bytes::new()).await, Err(FileError::NoKey(_))), "{bad}");
        assert!(matches!(part(files, bad, 0..1).await, Err(FileError::NoKey(_))), "{bad}");
        assert!(matches!(store.remove(bad).await, Err(FileError::NoKey(_))), "{bad}");
    }
}

async fn documents(files: &Files) {
    let content = noise(100_000, 7);
    let Document::Stored { sha256, size, media_type } =
        files.put(&content, "text/plain").await.unwrap()
    else {
        panic!("a stored document");
    };
    assert_eq!((size, media_type.as_str()), (100_000, "text/plain"));
    assert_eq!(sha256, hex::encode(Sha256::digest(&content)));
    assert_eq!(files.get(&sha256).await.unwrap(), content);
    files.put(&content, "text/plain").await.unwrap();
    let key = format!("files/{}/{sha256}", &sha256[..2]);
    assert_eq!(files.sha256(&key, None).await.unwrap(), sha256);
    assert!(listed(files, "files/").await.contains(&(key.clone(), 100_000)));
    files.store().put(&key, Bytes::from_static(b"rot")).await.unwrap();
    assert!(matches!(files.get(&sha256).await, Err(FileError::Damaged { .. })));
    assert!(matches!(files.get(&"0".repeat(64)).await, Err(FileError::Missing(_))));
}

/// A file grows by these chunks and is then what they were, however often it is completed.
async fn growth(files: &Files, sizes: &[usize]) {
    let (store, key) = (files.store(), "recordings/0198c0de-0000-4000-8000-000000000001");
    let content = noise(sizes.iter().sum(), 11);
    let (mut growth, mut at) = (Growth::default(), 0);
    for size in sizes {
        let chunk = Bytes::copy_from_slice(&content[at..at + size]);
        growth = store.grow(key, &growth, chunk).await.unwrap();
        at += size;
        assert_eq!(growth.size, at as u64);
        // It can be kept as text and taken up by another process.
        growth = serde_json::from_str(&serde_json::to_string(&growth).unwrap()).unwrap();
        assert_eq!(store.facts(key).await.unwrap(), None, "not there before it is whole");
    }
    for _ in 0..2 {
        store.complete(key, &growth).await.unwrap();
        assert_eq!(store.facts(key).await.unwrap().unwrap().size, content.len() as u64);
    }
    assert_eq!(
        files.sha256(key, None).await.unwrap(),
        hex::encode(Sha256::digest(&content)),
        "{sizes:?}"
    );
    let middle = content.len() as u64 / 2;
    let some = part(files, key, middle..middle + 100).await.unwrap();
    assert!(content[middle as usize..].starts_with(&some));
    assert_eq!(listed(files, "recordings/").await.len(), 1, "nothing is left beside it");
    store.remove(key).await.unwrap();
    assert_eq!(listed(files, "recordings/").await, []);
}

/// What was stored by somebody who died before he could note it is written over; what is given up leaves nothing.
async fn growth_after_a_death(files: &Files) {
    let (store, key) = (files.store(), "recordings/0198c0de-0000-4000-8000-000000000002");
    let (lost, kept) = (noise(CHUNK, 3), noise(2 * CHUNK, 5));
    let chunk = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let known = store.grow(key, &Growth::default(), chunk(&kept[..CHUNK])).await.unwrap();
    store.grow(key, &known, chunk(&lost)).await.unwrap();
    let piece = store.grow(key, &known, chunk(&lost[..100])).await.unwrap();
    store.grow(key, &piece, chunk(&lost[..50])).await.unwrap();
    let known = store.grow(key, &known, chunk(&kept[CHUNK..CHUNK + 10])).await.unwrap();
    let known = store.grow(key, &known, chunk(&kept[CHUNK + 10..])).await.unwrap();
    store.complete(key, &known).await.unwrap();
    assert_eq!(files.sha256(key, None).await.unwrap(), hex::encode(Sha256::digest(&kept)));
    store.remove(key).await.unwrap();
    let given_up = store.grow(key, &Growth::default(), chunk(&kept[..CHUNK])).await.unwrap();
    store.grow(key, &given_up, chunk(b"some")).await.unwrap();
    store.remove(key).await.unwrap();
    assert_eq!(listed(files, "recordings/").await, []);
    assert!(store.complete(key, &given_up).await.is_err(), "what was removed cannot be completed");
}

/// Two servers take in the same from the same place, and the one that has taken in more is gone on from.
async fn growth_beside_another(files: &Files) {
    let (store, key) = (files.store(), "recordings/0198c0de-0000-4000-8000-000000000003");
    let content = noise(5_000, 7);
    let chunk = |range: Range<usize>| Bytes::copy_from_slice(&content[range]);
    let known = store.grow(key, &Growth::default(), chunk(0..1_000)).await.unwrap();
    let longer = store.grow(key, &known, chunk(1_000..3_000)).await.unwrap();
    store.grow(key, &known, chunk(1_000..1_500)).await.unwrap();
    let all = store.grow(key, &longer, chunk(3_000..5_000)).await.unwrap();
    store.complete(key, &all).await.unwrap();
    assert_eq!(files.whole(key).await.unwrap(), content);
    store.remove(key).await.unwrap();
    assert_eq!(listed(files, "recordings/").await, []);
}

/// What an earlier release has stored of a growing file in a bucket, and what is no longer all there.
async fn early_pieces(files: &Files) {
    let (store, key) = (files.store(), "recordings/0198c0de-0000-4000-8000-000000000004");
    let growth = serde_json::json!({"size": 7, "pieces": [{"start": 0, "end": 7}]});
    let growth: Growth = serde_json::from_value(growth).unwrap();
    let piece = format!("{key}.pieces/{:016}", 0);
    store.put(&piece, Bytes::from_static(b"short")).await.unwrap();
    let error = store.complete(key, &growth).await.unwrap_err();
    assert!(matches!(error, FileError::Damaged { .. }), "{error}");
    assert_eq!(store.facts(key).await.unwrap(), None, "nothing is made of it");
    store.put(&piece, Bytes::from_static(b"as long and more")).await.unwrap();
    store.complete(key, &growth).await.unwrap();
    assert_eq!(files.whole(key).await.unwrap(), b"as long");
    store.remove(key).await.unwrap();
}

#[tokio::test]
async fn a_bucket_gives_links_that_end_and_a_folder_none() {
    let s3 = S3::start().await;
    let files = s3.files("links").await;
    files.store().put("recordings/x", Bytes::from_static(b"sound")).await.unwrap();
    let shown = Shown { media_type: "audio/wav".into(), disposition: "inline".into() };
    let link =
        files.store().link("recordings/x", &shown, Duration::from_secs(60)).await.unwrap().unwrap();
    let answer = reqwest::get(&link).await.unwrap();
    assert_eq!(answer.status(), 200, "{link}");
    assert_eq!(answer.headers()["content-type"], "audio/wav");
    assert_eq!(answer.bytes().await.unwrap(), "sound");
    let forged = link.replace("recordings/x", "recordings/y");
    assert_eq!(reqwest::get(&forged).await.unwrap().status(), 403);
    let unsigned = link.split('?').next().unwrap();
    assert_eq!(reqwest::get(unsigned).await.unwrap().status(), 403);
    let folder = TempDir::new().unwrap();
    let none =
        Files::folder(folder.path()).store().link("recordings/x", &shown, Duration::MAX).await;
    assert_eq!(none.unwrap(), None);
}

#[tokio::test]
async fn what_a_bucket_answers_says_what_to_do() {
    let s3 = S3::start().await;
    let of = async |change: &dyn Fn(&mut BucketOptions)| {
        let mut options = s3.options("answers");
        options.patience = Duration::from_millis(300);
        change(&mut options);
        let files = Files::bucket(Bucket::open(&options).await);
        let put = files.store().put("files/x", Bytes::from_static(b"x")).await;
        put.expect_err("a failure")
    };
    let wrong = of(&|it| it.keys = Some(("crm-test".into(), "wrong".into()))).await;
    assert!(matches!(wrong, FileError::Denied(_)), "{wrong}");
    assert!(!wrong.to_string().contains("wrong"), "{wrong}");
    let stranger = of(&|it| it.keys = Some(("nobody".into(), "wrong".into()))).await;
    assert!(matches!(stranger, FileError::Denied(_)), "{stranger}");
    let gone = of(&|it| it.endpoint = Some("http://127.0.0.1:9".into())).await;
    assert!(matches!(gone, FileError::Unavailable(_)), "{gone}");
    let told = gone.to_string();
    let expected = "the S3 server http://127.0.0.1:9 cannot be reached (Connection refused";
    assert!(told.contains(expected) && !told.to_lowercase().contains("dispatch"), "{told}");
    let silent = answering(None).await;
    let slow = of(&|it| it.endpoint = Some(silent.clone())).await;
    assert!(matches!(slow, FileError::Unavailable(_)), "{slow}");
    let told = slow.to_string();
    assert!(told.ends_with(&format!("the S3 server {silent} does not answer in time")), "{told}");
    let full = answering(Some((507, "XMinioStorageFull"))).await;
    let full = of(&|it| it.endpoint = Some(full.clone())).await;
    assert!(matches!(full, FileError::Full(_)), "{full}");
    let busy = answering(Some((503, "SlowDown"))).await;
    let busy = of(&|it| it.endpoint = Some(busy.clone())).await;
    assert!(matches!(busy, FileError::Unavailable(_)), "{busy}");
    let absent = answering(Some((404, "NoSuchBucket"))).await;
    let absent = of(&|it| it.endpoint = Some(absent.clone())).await;
    assert!(matches!(absent, FileError::Denied(_)), "{absent}");
}

#[tokio::test]
async fn temporary_keys_are_sent_with_their_token() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = BucketOptions {
        keys: Some(("id".into(), "secret".into())),
        session: Some("the-token".into()),
        endpoint: Some(format!("http://{}", listener.local_addr().unwrap())),
        patience: Duration::from_secs(5),
        ..BucketOptions::new("temporary")
    };
    let files = Files::bucket(Bucket::open(&options).await);
    tokio::spawn(async move { files.store().put("files/x", Bytes::from_static(b"x")).await });
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut request = [0; 16 << 10];
    let length = socket.read(&mut request).await.unwrap();
    let head = String::from_utf8_lossy(&request[..length]).to_lowercase();
    assert!(head.contains("x-amz-security-token: the-token"), "{head}");
}

/// A server that gives every request this status and code of S3's, or no answer at all.
pub async fn answering(answer: Option<(u16, &'static str)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let Some((status, code)) = answer else {
                silent.push(socket);
                continue;
            };
            tokio::spawn(async move {
                let mut request = [0; 16 << 10];
                let _ = socket.read(&mut request).await;
                let body = format!(
                    "<Error><Code>{code}</Code><Message>as the test has it</Message></Error>"
                );
                let head = format!(
                    "HTTP/1.1 {status} No\r\ncontent-type: application/xml\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let _ = socket.write_all((head + &body).as_bytes()).await;
            });
        }
    });
    format!("http://{address}")
}
