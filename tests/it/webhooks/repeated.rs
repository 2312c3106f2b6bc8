//! A write about webhooks that is sent again with its idempotency key is carried out once.

use super::secrets::stored;
use super::*;

/// Sends a write with a key, to this server.
async fn keyed(api: &Api, key: &str, method: Method, path: &str, body: Value) -> contract::Answer {
    api.write_with(method, path, body, ("idempotency-key", key)).await
}

async fn webhooks(api: &Api) -> usize {
    api.read("/webhooks").await.as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_sent_again_is_one_webhook_with_one_secret() {
    let sending = Sending::start(Reach::Public, &[]).await;
    let api = &sending.api;
    let wish = json!({"url": "https://hooks.example.com/crm"});
    let add = async |wish: &Value| keyed(api, "add", Method::POST, "/webhooks", wish.clone()).await;
    let first = add(&wish).await.expect(200, "added");
    let again = add(&wish).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect(200, "again"), first);
    assert_eq!(webhooks(api).await, 1);
    let other = add(&json!({"url": "https://hooks.example.com/other"})).await;
    assert_eq!(other.faults(), ["idempotency_key_reused at header.idempotency-key"]);

    let path = format!("/webhooks/{}", first["id"]);
    let rotate = json!({"rotate_secret": true});
    let rotated = keyed(api, "rotate", Method::PUT, &path, rotate.clone()).await;
    let rotated = rotated.expect(200, "rotated");
    assert_ne!(rotated["secret"], first["secret"]);
    let secrets = "select wrapped_secret, wrapped_previous from webhook";
    let secrets =
        async || sqlx::query_as::<_, (Vec<u8>, Vec<u8>)>(secrets).fetch_one(&api.db.pool).await;
    let before = secrets().await.unwrap();
    let again = keyed(api, "rotate", Method::PUT, &path, rotate).await;
    assert_eq!(again.expect(200, "rotated once"), rotated);
    assert_eq!(secrets().await.unwrap(), before, "the secret in use still signs");
    let url = keyed(api, "rotate", Method::PUT, &path, wish.clone()).await;
    assert_eq!(url.faults(), ["idempotency_key_reused at header.idempotency-key"]);

    let stored = stored(&api.db.pool).await;
    for hook in [&first, &rotated] {
        let secret = hook["secret"].as_str().unwrap();
        assert!(!stored.contains(&hex::encode(secret)) && !stored.contains(&secret[6..]));
    }
    let same = json!({"url": wish["url"], "kinds": [], "records": []});
    for wish in [same, json!({}), json!({"kinds": ["lp"]}), json!({"kinds": ["lp"]})] {
        sending.ask(200, Method::PUT, &path, wish).await;
    }
    for (key, method, path) in [
        ("enable", Method::POST, format!("{path}/enable")),
        ("delete", Method::DELETE, path.clone()),
    ] {
        let done = keyed(api, key, method.clone(), &path, Value::Null).await.expect(200, key);
        let again = keyed(api, key, method.clone(), &path, Value::Null).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{key}");
        assert_eq!(again.expect(200, key), done);
        let other = keyed(api, key, method, &path, json!({"other": 1})).await;
        assert_eq!(other.faults(), ["idempotency_key_reused at header.idempotency-key"]);
    }
    // Each was done once, what changed nothing is not noted, and who did the rest is known after all is gone.
    let told = api.read("/webhooks/changes").await;
    let noted = |it: &Value| {
        assert_eq!(
            (&it["webhook"], &it["url"], &it["actor"]),
            (&first["id"], &wish["url"], &json!("anonymous"))
        );
        (it["change"].as_str().unwrap().to_owned(), it["new_secret"] == true)
    };
    let noted: Vec<(String, bool)> =
        told["changes"].as_array().unwrap().iter().map(noted).collect();
    let expected = [
        ("removed", false),
        ("enabled", false),
        ("changed", false),
        ("changed", true),
        ("added", true),
    ];
    assert_eq!(noted, expected.map(|(change, is_new)| (change.to_owned(), is_new)));
    let second = &told["changes"][1]["id"];
    let rest = api.read(&format!("/webhooks/changes?before={second}")).await;
    assert_eq!(rest["changes"].as_array().unwrap()[..], told["changes"].as_array().unwrap()[2..]);
    assert_eq!(rest["next"], Value::Null);
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_is_sent_again_reaches_its_receiver_once() {
    let sending = Sending::start(Reach::Private, &[]).await;
    let (receiver, url) = Receiver::start(vec![]).await;
    let hook = sending.add(json!({"url": url})).await;
    let path = format!("/webhooks/{}/test", hook["id"]);
    let test = async || keyed(&sending.api, "test", Method::POST, &path, Value::Null).await;
    let first = test().await.expect(200, "sent");
    assert_eq!(test().await.expect(200, "again"), first);
    assert_eq!(receiver.got().len(), 1);
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_comes_to_two_servers_at_once_is_one() {
    let sending = Sending::start(Reach::Public, &[]).await;
    let (other, backend) = sending.api.second().await;
    for round in 1..=5 {
        let request = || {
            let wish = json!({"url": format!("https://hooks.example.com/{round}")});
            let mut request = json_request(Method::POST, "/webhooks", &wish);
            let key = format!("round {round}").parse().unwrap();
            request.headers_mut().insert("idempotency-key", key);
            request
        };
        let there = contract::send(&other, request());
        let (here, there) = tokio::join!(sending.api.send(request()), there);
        assert_eq!(here.expect(200, "here"), there.expect(200, "there"));
        assert_eq!(webhooks(&sending.api).await, round);
    }
    backend.stop().await;
    sending.stop().await;
}

/// The transaction has the key and the webhook; the answer is only stored after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_in_a_crash_is_not_carried_out_again() {
    let sending = Sending::start(Reach::Public, &[]).await;
    let api = &sending.api;
    let hook = sending.add(json!({"url": "https://hooks.example.com/crm"})).await;
    let path = format!("/webhooks/{}", hook["id"]);
    for (method, path, body) in [
        (Method::PUT, path.clone(), json!({"kinds": ["lp"]})),
        (Method::POST, format!("{path}/enable"), Value::Null),
        (Method::DELETE, path, Value::Null),
    ] {
        let send = async || {
            keyed(api, &format!("{method} {path}"), method.clone(), &path, body.clone()).await
        };
        let first = send().await.expect(200, &path);
        let forget = "update idempotency_key set status = null, answer = null";
        sqlx::query(forget).execute(&api.db.pool).await.unwrap();
        assert_eq!(send().await.expect(200, "again"), first);
    }
    sending.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_asked_for_again_begins_once() {
    let api = Api::new().await;
    let rebuild = async |name: &str| {
        let path = format!("/projections/{name}/rebuild");
        keyed(&api, "rebuild", Method::POST, &path, Value::Null).await
    };
    let first = rebuild("lp").await.expect(202, "begun");
    let again = rebuild("lp").await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.expect(202, "begun before"), first);
    let other = rebuild("gp").await;
    assert_eq!(other.faults(), ["idempotency_key_reused at header.idempotency-key"]);
    api.backend.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_tells_which_writes_take_a_key() {
    let api = Api::new().await;
    let document = api.read("/openapi.json").await;
    for (path, method) in [
        ("/webhooks", "post"),
        ("/webhooks/{webhook_id}", "put"),
        ("/webhooks/{webhook_id}", "delete"),
        ("/webhooks/{webhook_id}/enable", "post"),
        ("/webhooks/{webhook_id}/test", "post"),
        ("/projections/{name}/rebuild", "post"),
        ("/projections/{name}/rollback", "post"),
        ("/notes/{note_id}/recordings", "post"),
    ] {
        let parameters = document["paths"][path][method]["parameters"].as_array().unwrap();
        let takes = parameters.iter().any(|one| one["name"] == json!("Idempotency-Key"));
        assert!(takes, "{method} {path}");
    }
    api.backend.stop().await;
}
