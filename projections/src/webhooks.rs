//! Who is told of events by POST: what is kept about them, and how far each has been told.

mod changes;
mod secret;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Connection as _, FromRow, PgConnection};
use uuid::Uuid;

use crate::log::keys::KeysError;
use crate::log::{Keys, RECORDED_AT};
pub use changes::{By, Change, Changed, changes, note};
use secret::Wrapped;
pub(crate) use secret::rewrap;
pub use secret::{Secret, SecretError, wrap_plain};

/// A receiver of events.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct Webhook {
    /// Names it.
    pub id: i32,
    /// Where events are sent.
    pub url: String,
    /// The aggregate types that it wants.
    pub kinds: Vec<String>,
    /// The records that it wants, such as `lp/7`; if there are no kinds either, it wants everything.
    pub records: Vec<String>,
    /// `enabled` or `disabled`.
    pub state: String,
    /// Why it is disabled.
    pub reason: Option<String>,
    /// Up to here everything has been delivered or is not wanted.
    pub position: i64,
    /// Attempts at the next event that have failed.
    pub attempts: i32,
    /// Since when they fail.
    pub failing_since: Option<DateTime<Utc>>,
    /// Before this nothing is sent.
    pub next_attempt_at: DateTime<Utc>,
    /// Since when it is there.
    pub created_at: DateTime<Utc>,
    /// Until when the secret before the present one signs as well.
    pub previous_until: Option<DateTime<Utc>>,
    #[serde(skip)]
    #[sqlx(flatten)]
    secrets: Wrapped,
    #[serde(skip)]
    revision: i64,
}

impl Webhook {
    /// Whether events are sent to it.
    pub fn is_enabled(&self) -> bool {
        self.state == "enabled"
    }

    /// What signs: the present secret, and then the one before as long as it holds.
    ///
    /// # Errors
    /// When they do not open under a master key that crm has.
    pub fn secrets(&self, keys: &Keys) -> Result<Vec<Secret>, SecretError> {
        self.secrets.open(self.id, keys)
    }
}

/// What a person says of a receiver; what is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Where to send to.
    pub url: Option<String>,
    /// The aggregate types wanted.
    pub kinds: Option<Vec<String>>,
    /// The records wanted.
    pub records: Option<Vec<String>>,
    /// Go on after this position.
    pub position: Option<i64>,
    /// A new secret; the one before signs as well for a day.
    pub secret: Option<Secret>,
}

/// An attempt at telling a receiver of an event.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct Delivery {
    /// When it ended.
    pub attempted_at: DateTime<Utc>,
    /// The event's place in the log; `None` for a test.
    pub position: Option<i64>,
    /// Names the event.
    pub event_id: Uuid,
    /// What happened, as `crm.lp.Renamed`.
    pub event_type: String,
    /// Which attempt at this event it was, from 1.
    pub attempt: i32,
    /// What the receiver answered, if it did.
    pub status: Option<i16>,
    /// Why it counts as failed; `None` when it was delivered.
    pub error: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: i32,
}

/// What an attempt means for what comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It was delivered; go on with what follows this position.
    After(i64),
    /// Try again at this time.
    Again(DateTime<Utc>),
    /// Send nothing more, for this reason.
    Never(String),
}

/// How a receiver stands, without its address, which may be a secret.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct WebhookStatus {
    /// Names it.
    pub id: i32,
    /// `enabled` or `disabled`.
    pub state: String,
    /// Why it is disabled.
    pub reason: Option<String>,
    /// Up to here everything has been delivered or is not wanted.
    pub position: i64,
    /// How many positions that is behind the log's end.
    pub lag: i64,
    /// For how long the oldest event after it has been in the log, in seconds.
    pub lag_seconds: f64,
    /// Attempts at the next event that have failed.
    pub attempts: i32,
}

/// How many attempts are kept of each receiver.
const KEPT: i64 = 100;

/// All columns, without a previous secret whose time is over.
const COLUMNS: &str =
    "id, url, kinds, records, state, reason, position, attempts, failing_since, next_attempt_at,
    created_at, revision, secret_master, wrapped_secret,
    case when previous_until > now() then previous_until end as previous_until,
    case when previous_until > now() then wrapped_previous end as wrapped_previous";

/// Adds a receiver, which is told of everything from now on unless a position is named.
///
/// # Errors
/// When crm has not the master key that the database is under, or the database fails.
pub async fn add(
    db: &mut PgConnection,
    keys: &Keys,
    url: &str,
    secret: &Secret,
    wish: &Wish,
) -> Result<Webhook, KeysError> {
    let mut tx = db.begin().await?;
    let master = keys.hold_master(&mut tx).await?;
    // What is wrapped is bound to the id.
    let id: i32 =
        sqlx::query_scalar("select nextval(pg_get_serial_sequence('webhook', 'id'))::integer")
            .fetch_one(&mut *tx)
            .await?;
    let statement = format!(
        "insert into webhook (id, url, wrapped_secret, secret_master, kinds, records, position)
         overriding system value
         values ($1, $2, $3, $4, $5, $6, coalesce($7, (select coalesce(max(position), 0) from events)))
         returning {COLUMNS}"
    );
    let hook = sqlx::query_as(&statement)
        .bind(id)
        .bind(url)
        .bind(master.wrap_secret(id, secret.expose()))
        .bind(master.id())
        .bind(wish.kinds.as_deref().unwrap_or_default())
        .bind(wish.records.as_deref().unwrap_or_default())
        .bind(wish.position)
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(hook)
}

/// All receivers, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn all(db: &mut PgConnection) -> Result<Vec<Webhook>, sqlx::Error> {
    sqlx::query_as(&format!("select {COLUMNS} from webhook order by id")).fetch_all(db).await
}

/// How all receivers stand, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn standing(db: &mut PgConnection, head: i64) -> Result<Vec<WebhookStatus>, sqlx::Error> {
    let statement = format!(
        "select id, state, reason, position, greatest(0, $1 - position) as lag, attempts,
             greatest(0, coalesce(extract(epoch from clock_timestamp() - (
                 select {RECORDED_AT} from events where events.position > webhook.position
                 order by position limit 1)), 0))::double precision as lag_seconds
         from webhook order by id"
    );
    sqlx::query_as(&statement).bind(head).fetch_all(db).await
}

/// One receiver.
///
/// # Errors
/// When the database fails.
pub async fn find(db: &mut PgConnection, id: i32) -> Result<Option<Webhook>, sqlx::Error> {
    let statement = format!("select {COLUMNS} from webhook where id = $1");
    sqlx::query_as(&statement).bind(id).fetch_optional(db).await
}

/// Changes a receiver, whose secret is wrapped. An address or place that is named is tried at once. Tells whether it is another
/// receiver by that: whether anything was said of it that it was not, or it is tried again after it failed.
///
/// # Errors
/// When crm has not the master key that the database is under, or the database fails.
pub async fn change(
    db: &mut PgConnection,
    keys: &Keys,
    id: i32,
    wish: &Wish,
) -> Result<Option<(Webhook, bool)>, KeysError> {
    let mut tx = db.begin().await?;
    let master = keys.hold_master(&mut tx).await?;
    let statement = format!("select {COLUMNS} from webhook where id = $1 for update");
    let before: Option<Webhook> =
        sqlx::query_as(&statement).bind(id).fetch_optional(&mut *tx).await?;
    let Some(before) = before else { return Ok(None) };
    let statement = format!(
        "update webhook set url = coalesce($2, url), kinds = coalesce($3, kinds), records = coalesce($4, records),
             position = coalesce($5, position), wrapped_secret = coalesce($6, wrapped_secret),
             wrapped_previous = case when $6 is null then wrapped_previous else wrapped_secret end,
             previous_until = case when $6 is null then previous_until else now() + interval '1 day' end,
             secret_master = $7,
             attempts = case when $8 then 0 else attempts end,
             failing_since = case when $8 then null else failing_since end,
             next_attempt_at = case when $8 then now() else next_attempt_at end,
             revision = revision + 1
         where id = $1 returning {COLUMNS}"
    );
    let after: Webhook = sqlx::query_as(&statement)
        .bind(id)
        .bind(&wish.url)
        .bind(&wish.kinds)
        .bind(&wish.records)
        .bind(wish.position)
        .bind(wish.secret.as_ref().map(|secret| master.wrap_secret(id, secret.expose())))
        .bind(master.id())
        .bind(wish.url.is_some() || wish.position.is_some())
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    let said = |hook: &Webhook| {
        (hook.url.clone(), hook.kinds.clone(), hook.records.clone(), hook.position)
    };
    let is_tried =
        before.failing_since.is_some() && (wish.url.is_some() || wish.position.is_some());
    let is_other = wish.secret.is_some() || is_tried || said(&before) != said(&after);
    Ok(Some((after, is_other)))
}

/// Sends to a receiver again, beginning at once with what it was not told of.
///
/// # Errors
/// When the database fails.
pub async fn enable(db: &mut PgConnection, id: i32) -> Result<Option<Webhook>, sqlx::Error> {
    let statement = format!(
        "update webhook set state = 'enabled', reason = null, attempts = 0, failing_since = null,
             next_attempt_at = now(), revision = revision + 1
         where id = $1 returning {COLUMNS}"
    );
    sqlx::query_as(&statement).bind(id).fetch_optional(db).await
}

/// Forgets a receiver. Returns what it was, if there was one.
///
/// # Errors
/// When the database fails.
pub async fn remove(db: &mut PgConnection, id: i32) -> Result<Option<Webhook>, sqlx::Error> {
    let statement = format!("delete from webhook where id = $1 returning {COLUMNS}");
    sqlx::query_as(&statement).bind(id).fetch_optional(db).await
}

/// The last attempts at telling a receiver, newest first.
///
/// # Errors
/// When the database fails.
pub async fn deliveries(db: &mut PgConnection, id: i32) -> Result<Vec<Delivery>, sqlx::Error> {
    sqlx::query_as(
        "select attempted_at, position, event_id, event_type, attempt, status, error, duration_ms
         from webhook_delivery where webhook_id = $1 order by id desc limit $2",
    )
    .bind(id)
    .bind(KEPT)
    .fetch_all(db)
    .await
}

/// Keeps an attempt, and the oldest no longer.
///
/// # Errors
/// When the database fails.
pub async fn keep(db: &mut PgConnection, id: i32, delivery: &Delivery) -> Result<(), sqlx::Error> {
    sqlx::query(
        "with kept as (select id from webhook_delivery where webhook_id = $1 order by id desc offset $2),
             forgotten as (delete from webhook_delivery where id in (select id from kept))
         insert into webhook_delivery
             (webhook_id, attempted_at, position, event_id, event_type, attempt, status, error, duration_ms)
         select $1, $3, $4, $5, $6, $7, $8, $9, $10 where exists (select from webhook where id = $1)",
    )
    .bind(id)
    .bind(KEPT - 1)
    .bind(delivery.attempted_at)
    .bind(delivery.position)
    .bind(delivery.event_id)
    .bind(&delivery.event_type)
    .bind(delivery.attempt)
    .bind(delivery.status)
    .bind(&delivery.error)
    .bind(delivery.duration_ms)
    .execute(db)
    .await?;
    Ok(())
}

/// Books what comes next, unless a person has changed the receiver meanwhile; then nothing is booked and `None` comes
/// back.
///
/// # Errors
/// When the database fails.
pub async fn book(
    db: &mut PgConnection,
    hook: &Webhook,
    next: &Next,
) -> Result<Option<Webhook>, sqlx::Error> {
    let (position, again, reason) = match next {
        Next::After(position) => (Some(*position), None, None),
        Next::Again(at) => (None, Some(*at), None),
        Next::Never(reason) => (None, None, Some(reason)),
    };
    let statement = format!(
        "update webhook set position = coalesce($3, position),
             attempts = case when $3 is null then attempts + 1 else 0 end,
             failing_since = case when $3 is null then coalesce(failing_since, now()) end,
             next_attempt_at = coalesce($4, now()),
             state = case when $5 is null then state else 'disabled' end,
             reason = $5
         where id = $1 and revision = $2 returning {COLUMNS}"
    );
    sqlx::query_as(&statement)
        .bind(hook.id)
        .bind(hook.revision)
        .bind(position)
        .bind(again)
        .bind(reason)
        .fetch_optional(db)
        .await
}
