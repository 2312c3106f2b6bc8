//! Seals in a bucket with object lock: whoever has the keys of the bucket can neither change nor remove them.

use std::sync::{Arc, Mutex};

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::types::{
    DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRetentionMode,
    ObjectLockRule,
};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use crate::s3::{KEYS, S3};
use crate::seals::post;
use crate::server::{Home, Server};

/// A home whose log has an event and is sealed.
async fn sealed() -> Home {
    let home = Home::new();
    let server = Server::start(&home, &[]).await;
    post(&server).await;
    assert!(server.stop().await);
    home
}

/// What `crm seal export --s3` says, and whether it ended well.
async fn export(home: &Home, endpoint: &str, bucket: &str, more: &[&str]) -> (bool, String) {
    let args = [&["seal", "export", "--s3", "--bucket", bucket], more].concat();
    let mut command = home.crm(&args);
    command.envs([
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", KEYS.0),
        ("AWS_SECRET_ACCESS_KEY", KEYS.1),
    ]);
    let done = command.output().await.unwrap();
    let text = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (done.status.success(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn seals_in_a_bucket_with_object_lock_can_be_changed_and_removed_by_nobody() {
    let (home, s3) = (sealed().await, S3::start().await);
    let (client, url) = (s3.client(), s3.url());
    client.create_bucket().bucket("plain").send().await.unwrap();
    let create = client.create_bucket().bucket("archive").object_lock_enabled_for_bucket(true);
    create.send().await.unwrap();

    let (done, said) = export(&home, &url, "plain", &["--lock-days", "30"]).await;
    assert!(!done && said.contains("the bucket plain has no object lock"), "{said}");
    let (done, said) = export(&home, &url, "nowhere", &["--lock-days", "30"]).await;
    assert!(!done && said.contains("NoSuchBucket"), "{said}");
    let (done, said) = export(&home, &url, "archive", &[]).await;
    assert!(!done && said.contains("say by --lock-days"), "{said}");
    let listed = client.list_objects_v2().bucket("archive").send().await.unwrap();
    assert!(listed.contents().is_empty(), "{listed:?}");

    let lock = ["--lock-days", "30", "--mode", "compliance"];
    let (done, said) = export(&home, &url, "archive", &lock).await;
    let day = (chrono::Utc::now() + chrono::Duration::days(30)).format("%Y-%m-%d");
    assert!(done && said.contains(&format!("1 seals, locked until {day}")), "{said}");
    assert!(said.contains("(compliance)"), "{said}");
    let key = said.strip_prefix("s3://archive/").and_then(|rest| rest.split(':').next()).unwrap();
    assert!(key.starts_with("seals/") && key.ends_with("/0000000000000000001-1-1.jsonl"), "{key}");

    let object = client.get_object().bucket("archive").key(key).send().await.unwrap();
    let version = object.version_id.clone().unwrap();
    let content = object.body.collect().await.unwrap().into_bytes();
    assert!(home.crm(&["seal", "export", "file.jsonl"]).status().await.unwrap().success());
    assert_eq!(content, std::fs::read(home.path().join("file.jsonl")).unwrap());

    let delete = client.delete_object().bucket("archive").key(key).version_id(&version);
    let refused = delete.send().await.unwrap_err();
    assert_eq!(refused.code(), Some("AccessDenied"), "{refused:?}");
    client.put_object().bucket("archive").key(key).send().await.unwrap();
    let first = client.get_object().bucket("archive").key(key).version_id(&version);
    let kept = first.send().await.unwrap().body.collect().await.unwrap().into_bytes();
    assert_eq!(kept, content, "what is written over it is another version");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_may_say_itself_for_how_long_seals_are_locked() {
    let (home, s3) = (sealed().await, S3::start().await);
    let client = s3.client();
    let create = client.create_bucket().bucket("archive").object_lock_enabled_for_bucket(true);
    create.send().await.unwrap();
    let retention =
        DefaultRetention::builder().days(7).mode(ObjectLockRetentionMode::Governance).build();
    let lock = ObjectLockConfiguration::builder()
        .object_lock_enabled(ObjectLockEnabled::Enabled)
        .rule(ObjectLockRule::builder().default_retention(retention).build())
        .build();
    let put = client.put_object_lock_configuration().bucket("archive");
    put.object_lock_configuration(lock).send().await.unwrap();
    let (done, said) = export(&home, &s3.url(), "archive", &["--latest"]).await;
    let day = (chrono::Utc::now() + chrono::Duration::days(7)).format("%Y-%m-%d");
    assert!(done && said.contains(&format!("locked until {day}")), "{said}");
    assert!(said.contains("(governance)"), "{said}");
}

/// What came with a PUT.
type Put = (HeaderMap, Vec<u8>);

/// A server that knows the words of object lock and forgets them; it keeps what was put.
#[derive(Clone, Default)]
struct Forgetful(Arc<Mutex<Vec<Put>>>);

async fn take(State(server): State<Forgetful>, request: Request) -> String {
    let (parts, body) = request.into_parts();
    if parts.method == Method::PUT {
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        server.0.lock().unwrap().push((parts.headers, body.to_vec()));
    }
    let is_lock = parts.uri.query().is_some_and(|query| query.contains("object-lock"));
    let told = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
    if is_lock { told.to_owned() } else { String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_heed_of_a_lock_is_noticed() {
    let home = sealed().await;
    let server = Forgetful::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(take).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (done, said) = export(&home, &url, "archive", &["--lock-days", "30"]).await;
    assert!(!done && said.contains("does not show the lock"), "{said}");
    let put = server.0.lock().unwrap().clone();
    let [(headers, body)] = &put[..] else { panic!("one file is put: {put:?}") };
    assert_eq!(headers["x-amz-object-lock-mode"], "GOVERNANCE");
    let until = headers["x-amz-object-lock-retain-until-date"].to_str().unwrap();
    let until: chrono::DateTime<chrono::Utc> = until.parse().unwrap();
    let days = (until - chrono::Utc::now()).num_hours();
    assert!((30 * 24 - 1..=30 * 24).contains(&days), "{until}");
    let digest = BASE64.encode(Sha256::digest(body));
    assert_eq!(headers["x-amz-checksum-sha256"], digest.as_str());
}

#[tokio::test]
async fn what_makes_no_sense_together_is_refused() {
    let home = Home::new();
    for args in [
        &["--lock-days", "30"][..],
        &["--bucket", "archive"],
        &["--s3", "--mode", "compliance"],
        &["--s3", "file.jsonl"],
        &["--s3", "--bucket", "My Bucket"],
        &["--s3", "--lock-days", "0"],
    ] {
        let done = home.crm(&[&["seal", "export"], args].concat()).output().await.unwrap();
        assert_eq!(done.status.code(), Some(2), "{args:?}");
    }
}
