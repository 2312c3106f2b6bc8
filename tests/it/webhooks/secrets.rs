//! What webhooks sign with stands in the database only under the master key, whichever that is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sqlx::PgPool;

use super::*;
use crate::harness::connect;

/// All that the database has about webhooks.
pub(super) async fn stored(pool: &PgPool) -> String {
    sqlx::query_scalar(
        "select concat((select string_agg(w::text, ' ') from webhook w), (select string_agg(k::text, ' ') from
             idempotency_key k))",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

fn bytes(secret: &str) -> Vec<u8> {
    BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_alone_lets_nobody_sign() {
    let sending = Sending::start(Reach::Private, &[]).await;
    let pool = &sending.api.db.pool;
    let (receiver, url) = Receiver::start(vec![]).await;
    let hook = sending.add(json!({"url": url})).await;
    let path = format!("/webhooks/{}", hook["id"]);
    let changed = sending.ask(200, Method::PUT, &path, json!({"rotate_secret": true})).await;
    let other = sending.add(json!({"url": url})).await;
    let stored = stored(pool).await;
    assert!(stored.contains(&url), "{stored}");
    for hook in [&hook, &changed, &other] {
        let secret = hook["secret"].as_str().unwrap();
        let in_hexadecimal = hex::encode(bytes(secret));
        assert!(!stored.contains(&in_hexadecimal) && !stored.contains(&secret[6..]), "{stored}");
    }
    // Whoever writes to the table cannot have one receiver's events signed for another.
    sqlx::query(
        "update webhook set wrapped_secret = (select wrapped_secret from webhook where id = $1) where id = $2",
    )
    .bind(hook["id"].as_i64())
    .bind(other["id"].as_i64())
    .execute(pool)
    .await
    .unwrap();
    let test = format!("/webhooks/{}/test", other["id"]);
    sending.ask(500, Method::POST, &test, json!({})).await;
    assert!(receiver.got().is_empty());
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_an_earlier_release_are_wrapped_and_sign_as_before() {
    let sending = Sending::start(Reach::Private, &[]).await;
    let pool = &sending.api.db.pool;
    let (receiver, url) = Receiver::start(vec![]).await;
    let (present, previous) = (vec![7; 32], vec![8; 32]);
    sqlx::query(
        "insert into webhook (url, secret, previous_secret, previous_until, position)
         values ($1, $2, $3, now() + interval '1 hour', 0)",
    )
    .bind(&url)
    .bind(&present)
    .bind(&previous)
    .execute(pool)
    .await
    .unwrap();
    register(&sending.api.backend.log, 1..=1).await;
    let got = receiver.until(|got| got.len() == 1).await.remove(0);
    let [present, previous] =
        [&present, &previous].map(|it| format!("whsec_{}", BASE64.encode(it)));
    let both = format!("{} {}", signature(&present, &got), signature(&previous, &got));
    assert_eq!(got.header("webhook-signature"), both);
    let stored = stored(pool).await;
    assert!(!stored.contains(&"07".repeat(32)) && !stored.contains(&"08".repeat(32)), "{stored}");
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_master_key_takes_secrets_along_and_receivers_notice_nothing() {
    let home = Home::new();
    let mut command = home.crm(&["serve"]);
    command.env_remove("CRM_MASTER_KEY").env("CRM_WEBHOOK_PRIVATE", "on");
    let server = Server::launch(command).await;
    let (receiver, url) = Receiver::start(vec![]).await;
    let client = reqwest::Client::new();
    let post = async |path: &str, body: Value| {
        let sent = client.post(format!("{}{path}", server.url)).json(&body).send().await.unwrap();
        assert_eq!(sent.status(), 200);
        sent.json::<Value>().await.unwrap()
    };
    let hook = post("/webhooks", json!({"url": url})).await;
    let secret = hook["secret"].as_str().unwrap();
    post("/lps", json!({"name": "x"})).await;
    receiver.until(|got| got.len() == 1).await;

    let cluster = api::embedded::Cluster::open(home.path()).await.unwrap();
    let database = connect(cluster.options("crm"), 2);
    let wrapped = async || {
        sqlx::query_as::<_, (Vec<u8>, String, String)>(
            "select wrapped_secret, secret_master, (select id from master_key) from webhook",
        )
        .fetch_one(&database.pool)
        .await
        .unwrap()
    };
    let (before, first, _) = wrapped().await;
    let rotated =
        home.crm(&["keys", "rotate"]).env_remove("CRM_MASTER_KEY").output().await.unwrap();
    let said = String::from_utf8(rotated.stdout).unwrap();
    assert!(said.contains("0 keys and the secrets of 1 webhooks"), "{said}");
    let (after, second, current) = wrapped().await;
    assert!(before != after && first != second && second == current);
    database.pool.close().await;
    cluster.close().await.unwrap();

    post("/lps", json!({"name": "y"})).await;
    let got = receiver.until(|got| got.len() == 2).await;
    for got in &got {
        assert_eq!(got.header("webhook-signature"), signature(secret, got));
    }
    let next = post("/webhooks", json!({"url": url, "kinds": ["gp"]})).await;
    assert!(next["secret"].is_string(), "the server that runs wraps under the new one");
    assert!(server.stop().await);
}
