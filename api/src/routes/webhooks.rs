//! `/webhooks`: who is told of events by POST.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use projections::database::DatabaseError;
use projections::log::keys::KeysError;
use projections::log::{Keys, take_key};
use projections::webhooks::{self, By, Change, Secret, Webhook, Wish};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::app::App;
use crate::body::{Body, Ids, Parameters, parse_id};
use crate::caller::{Caller, current_correlation};
use crate::describe::{Content, LIVE, Routes, delete, get, post, put};
use crate::live::selection;
use crate::once::{self, Lone, Secretive};
use crate::problem::{Fault, Problem};
use crate::webhooks::{Parcel, signature};

/// The routes of webhooks.
pub fn routes() -> Routes {
    let hook = json!({"id": 1, "url": "https://hooks.example.com/crm", "kinds": ["lp"], "records": ["fund/2"],
        "state": "enabled", "reason": null, "position": 1659, "attempts": 0, "failing_since": null,
        "next_attempt_at": "2025-01-31T15:04:05Z", "created_at": "2025-01-31T15:04:05Z", "previous_until": null});
    let mut with_secret = hook.clone();
    with_secret["secret"] = json!("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let attempt = json!([{"attempted_at": "2025-01-31T15:04:05Z", "position": 1660,
        "event_id": "0198c0de-0000-7000-8000-000000000001", "event_type": "crm.lp.Renamed", "attempt": 1,
        "status": 500, "error": "the receiver answers 500 Internal Server Error", "duration_ms": 12}]);
    let attempts = json!({"state": "enabled", "reason": null, "next_attempt_at": "2025-01-31T15:04:10Z",
        "deliveries": attempt});
    let tested = json!({"delivered": true, "status": 204, "error": null, "duration_ms": 12});
    let wish = json!({"url": "https://hooks.example.com/crm", "kinds": ["lp"], "records": ["fund/2"],
        "position": 1659});
    let mut change = wish.clone();
    change["rotate_secret"] = json!(true);
    let noted = json!({"id": 1, "changed_at": "2025-01-31T15:04:05Z", "webhook": 1, "change": "added",
        "url": "https://hooks.example.com/crm", "kinds": ["lp"], "records": ["fund/2"], "position": 1659,
        "new_secret": true, "actor": "anonymous", "correlation_id": "0198c0de-0000-7000-8000-000000000001",
        "client": "127.0.0.1", "user_agent": "curl/8"});
    Routes::tagged(LIVE)
        .at(
            "/webhooks",
            [
                get("Everybody who is told of events by POST", Content::Example(json!([hook])), list),
                post(
                    "Tells somebody of events from now on, or after a position; the answer shows the secret, once",
                    Content::Example(with_secret.clone()),
                    add,
                )
                .takes(Content::Example(wish)),
            ],
        )
        .at(
            "/webhooks/changes",
            [get(
                "Who did what to webhooks, also to those that are removed, newest first",
                Content::Example(json!({"changes": [noted], "next": null})),
                changes,
            )
            .query("before", false, "The id of the change before which to go on: what next said")],
        )
        .at(
            "/webhooks/{webhook_id}",
            [
                get("One of them", Content::Example(hook.clone()), show),
                put(
                    "Changes what is named; a new secret is shown, and the one before signs as well for a day",
                    Content::Example(with_secret),
                    change_it,
                )
                .takes(Content::Example(change)),
                delete("Tells it nothing more", Content::Example(json!({"status": "deleted"})), remove),
            ],
        )
        .at(
            "/webhooks/{webhook_id}/test",
            [post("Sends an event of type crm.test now", Content::Example(tested), test)],
        )
        .at(
            "/webhooks/{webhook_id}/enable",
            [post("Tries again at once, from where it stopped", Content::Example(hook), enable)],
        )
        .at(
            "/webhooks/{webhook_id}/deliveries",
            [get("The last attempts, newest first, and when the next is due", Content::Example(attempts), deliveries)],
        )
}

/// The most changes of one answer.
const PAGE: i64 = 100;

/// What a person sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    url: Option<String>,
    kinds: Option<Vec<String>>,
    records: Option<Vec<String>>,
    position: Option<i64>,
    #[serde(default)]
    rotate_secret: bool,
}

impl Sent {
    /// What it says, if that makes sense here.
    async fn wish(self, app: &App) -> Result<(Wish, bool), Problem> {
        let invalid =
            |name: &str, said: String| Problem::invalid(Fault::field(name, "value_error", said));
        if let Some(url) = &self.url {
            let admitted = app.webhooks.sender.reach.admit(url);
            admitted.map_err(|error| invalid("url", error.to_string()))?;
        }
        for kind in self.kinds.iter().flatten() {
            selection::kind(kind).map_err(|error| invalid("kinds", error.to_string()))?;
        }
        for record in self.records.iter().flatten() {
            selection::record(record).map_err(|error| invalid("records", error.to_string()))?;
        }
        if let Some(position) = self.position {
            let head = app.live.head().await?;
            if !(0..=head).contains(&position) {
                return Err(invalid("position", format!("This log goes from 0 to {head}")));
            }
        }
        let Self { url, kinds, records, position, rotate_secret } = self;
        Ok((Wish { url, kinds, records, position, secret: None }, rotate_secret))
    }
}

/// Asks the database about webhooks.
async fn ask<T>(
    app: &App,
    question: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, DatabaseError> {
    let database = app.live.database();
    database.check()?;
    let asking = async {
        let mut connection = database.pool.acquire().await?;
        question(&mut connection).await
    };
    database.ask(asking).await
}

/// Likewise, where secrets are written.
async fn ask_with_keys<T>(
    app: &App,
    question: impl AsyncFnOnce(&mut PgConnection, &Keys) -> Result<T, KeysError>,
) -> Result<T, DatabaseError> {
    let keys = app.live.database().keys();
    ask(app, async |db| {
        question(db, keys).await.map_err(|error| match error {
            KeysError::Database(error) => error,
            error => sqlx::Error::Encode(error.into()),
        })
    })
    .await
}

/// Ids that no webhook can have are not found either.
fn id_of(Ids([id]): Ids<1>) -> Result<i32, Problem> {
    i32::try_from(id).map_err(|_| Problem::NoSuchWebhook)
}

/// What has become of a write.
enum Done {
    Now(Box<Webhook>),
    /// It was carried out before, under the same idempotency key, for this webhook.
    Before(i64),
}

/// Carries out a write in one transaction with its idempotency key, if it has one, and with a note of who did it, unless nothing is
/// done by it.
async fn carry_out(
    app: &App,
    caller: &Caller,
    change: Change,
    make: impl AsyncFnOnce(&mut PgConnection, &Keys) -> Result<Option<(Webhook, bool)>, KeysError>,
) -> Result<Done, Problem> {
    let key = caller.idempotency.as_ref();
    let by = By {
        actor: caller.actor(),
        correlation_id: current_correlation(),
        client: caller.address(),
        user_agent: caller.user_agent(),
    };
    let done = ask_with_keys(app, async |db, keys| {
        let mut tx = db.begin().await?;
        let Some((hook, is_worth_a_note)) = make(&mut tx, keys).await? else { return Ok(None) };
        if is_worth_a_note {
            webhooks::note(&mut tx, &hook, change, by).await?;
        }
        if let Some(key) = key {
            let id = hook.id.to_string();
            if !take_key(&mut tx, &key.key, &key.request_hash, ("webhook", &id)).await? {
                return Ok(None);
            }
        }
        tx.commit().await?;
        Ok(Some(hook))
    })
    .await?;
    match done {
        Some(hook) => {
            app.webhooks.look();
            Ok(Done::Now(hook.into()))
        }
        None => Ok(Done::Before(carried_out_meanwhile(app, caller).await?)),
    }
}

/// The webhook that the same request was about when another server has carried it out in the same moment.
async fn carried_out_meanwhile(app: &App, caller: &Caller) -> Result<i64, Problem> {
    let Some(key) = &caller.idempotency else { return Err(Problem::NoSuchWebhook) };
    let recorded = app.log.recorded_answer(&key.key).await.map_err(once::problem)?;
    let Some(recorded) = recorded else { return Err(Problem::NoSuchWebhook) };
    if recorded.request_hash.is_none_or(|hash| hash != key.request_hash) {
        return Err(Problem::key_reused());
    }
    Ok(recorded.aggregate_id.parse().map_err(anyhow::Error::from)?)
}

/// A webhook, and the secret that this very request has brought about.
fn shown(hook: &Webhook, secret: Option<&Secret>) -> Result<Response, Problem> {
    let mut answer = serde_json::to_value(hook).map_err(anyhow::Error::from)?;
    let Some(secret) = secret else { return Ok(Json(answer).into_response()) };
    answer["secret"] = signature::shown(secret).into();
    Ok((Extension(Secretive), Json(answer)).into_response())
}

/// Answers a request that was carried out before with the webhook as it is now, and the secret that it signs with.
async fn shown_again(app: &App, id: i64, with_secret: bool) -> Result<Response, Problem> {
    let hook = find(app, i32::try_from(id).map_err(|_| Problem::NoSuchWebhook)?).await?;
    let secrets = match with_secret {
        true => hook.secrets(app.live.database().keys()).map_err(anyhow::Error::from)?,
        false => Vec::new(),
    };
    shown(&hook, secrets.first())
}

async fn list(State(app): State<App>) -> Result<Json<Vec<Webhook>>, Problem> {
    Ok(Json(ask(&app, async |db| webhooks::all(db).await).await?))
}

async fn changes(State(app): State<App>, parameters: Parameters) -> Result<Json<Value>, Problem> {
    parameters.expect(&["before", "min_position"])?;
    let before = parameters.once("before")?.map(|text| {
        parse_id(text).map_err(|fault| {
            Problem::invalid(fault.at(["query".into(), "before".into()]).with_input(text))
        })
    });
    let before = before.transpose()?;
    let changes = ask(&app, async |db| webhooks::changes(db, before, PAGE).await).await?;
    let is_full = i64::try_from(changes.len()) == Ok(PAGE);
    let next = changes.last().map(|change| change.id).filter(|_| is_full);
    Ok(Json(json!({"changes": changes, "next": next})))
}

async fn find(app: &App, id: i32) -> Result<Webhook, Problem> {
    ask(app, async |db| webhooks::find(db, id).await).await?.ok_or(Problem::NoSuchWebhook)
}

async fn show(State(app): State<App>, ids: Ids<1>) -> Result<Json<Webhook>, Problem> {
    Ok(Json(find(&app, id_of(ids)?).await?))
}

async fn add(State(app): State<App>, caller: Caller, body: Body) -> Result<Response, Problem> {
    if let Some(earlier) = caller.earlier() {
        return shown_again(&app, earlier.id, true).await;
    }
    let (wish, _) = body.into_wish::<Sent>()?.wish(&app).await?;
    let missing = || Problem::invalid(Fault::missing(["body".into(), "url".into()]));
    let url = wish.url.clone().ok_or_else(missing)?;
    let secret = signature::new_secret()?;
    let add = async |db: &mut PgConnection, keys: &Keys| {
        webhooks::add(db, keys, &url, &secret, &wish).await.map(|hook| Some((hook, true)))
    };
    match carry_out(&app, &caller, Change::Added, add).await? {
        Done::Now(hook) => {
            tracing::info!(webhook = hook.id, position = hook.position, "a webhook is added");
            shown(&hook, Some(&secret))
        }
        Done::Before(id) => shown_again(&app, id, true).await,
    }
}

async fn change_it(
    State(app): State<App>,
    ids: Ids<1>,
    caller: Caller,
    body: Body,
) -> Result<Response, Problem> {
    let id = id_of(ids)?;
    let sent = body.into_wish::<Sent>()?;
    if let Some(earlier) = caller.earlier() {
        return shown_again(&app, earlier.id, sent.rotate_secret).await;
    }
    let (mut wish, rotate_secret) = sent.wish(&app).await?;
    if rotate_secret {
        wish.secret = Some(signature::new_secret()?);
    }
    ask_with_keys(&app, async |db, keys| webhooks::wrap_plain(db, keys).await).await?;
    let change =
        async |db: &mut PgConnection, keys: &Keys| webhooks::change(db, keys, id, &wish).await;
    let kind = Change::Changed { new_secret: rotate_secret };
    match carry_out(&app, &caller, kind, change).await? {
        Done::Now(hook) => {
            tracing::info!(webhook = id, rotate_secret, "a webhook is changed");
            shown(&hook, wish.secret.as_ref())
        }
        Done::Before(id) => shown_again(&app, id, rotate_secret).await,
    }
}

async fn remove(
    State(app): State<App>,
    ids: Ids<1>,
    caller: Caller,
) -> Result<Json<Value>, Problem> {
    let id = id_of(ids)?;
    let remove = async |db: &mut PgConnection, _: &Keys| {
        Ok(webhooks::remove(db, id).await?.map(|hook| (hook, true)))
    };
    if caller.earlier().is_none()
        && let Done::Now(_) = carry_out(&app, &caller, Change::Removed, remove).await?
    {
        tracing::info!(webhook = id, "a webhook is removed");
    }
    Ok(Json(json!({"status": "deleted"})))
}

async fn enable(State(app): State<App>, ids: Ids<1>, caller: Caller) -> Result<Response, Problem> {
    let id = id_of(ids)?;
    let enable = async |db: &mut PgConnection, _: &Keys| {
        Ok(webhooks::enable(db, id).await?.map(|hook| (hook, true)))
    };
    if caller.earlier().is_none()
        && let Done::Now(hook) = carry_out(&app, &caller, Change::Enabled, enable).await?
    {
        return shown(&hook, None);
    }
    shown_again(&app, i64::from(id), false).await
}

/// What the receiver makes of it is the answer, whatever it is.
async fn test(State(app): State<App>, ids: Ids<1>) -> Result<Response, Problem> {
    let mut hook = find(&app, id_of(ids)?).await?;
    // A test is an attempt of its own, however many others have failed.
    hook.attempts = 0;
    let (event_id, event_type) = (Uuid::now_v7(), "crm.test".to_owned());
    let body = json!({"specversion": "1.0", "id": event_id, "source": &*app.live.source, "type": event_type,
        "time": chrono::Utc::now().to_rfc3339(), "datacontenttype": "application/json", "data": {}});
    let parcel = Parcel { position: None, event_id, event_type, body: body.to_string() };
    let secrets = hook.secrets(app.live.database().keys()).map_err(anyhow::Error::from)?;
    let outcome = app.webhooks.sender.send(&hook, &secrets, &parcel).await;
    app.webhooks.keep(hook.id, &outcome).await?;
    let delivery = &outcome.delivery;
    let body = json!({"delivered": outcome.is_delivered(), "status": delivery.status,
        "error": delivery.error, "duration_ms": delivery.duration_ms});
    Ok((Extension(Lone), Json(body)).into_response())
}

async fn deliveries(State(app): State<App>, ids: Ids<1>) -> Result<Json<Value>, Problem> {
    let hook = find(&app, id_of(ids)?).await?;
    let deliveries = ask(&app, async |db| webhooks::deliveries(db, hook.id).await).await?;
    let next = hook.is_enabled().then_some(hook.next_attempt_at);
    Ok(Json(json!({"state": hook.state, "reason": hook.reason, "next_attempt_at": next,
        "deliveries": deliveries})))
}
