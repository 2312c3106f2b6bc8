//! What people did to webhooks, and who it was. It is kept also of those that are removed.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use super::Webhook;

/// What somebody does to a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Registers it.
    Added,
    /// Says something else of it, or gives it a new secret.
    Changed {
        /// The latter.
        new_secret: bool,
    },
    /// Has it tried again.
    Enabled,
    /// Takes it away.
    Removed,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Changed { .. } => "changed",
            Change::Enabled => "enabled",
            Change::Removed => "removed",
        }
    }

    fn has_new_secret(self) -> bool {
        matches!(self, Change::Added | Change::Changed { new_secret: true })
    }
}

/// Who does it.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// Who acts.
    pub actor: &'a str,
    /// Names the request.
    pub correlation_id: Uuid,
    /// The network address it came from.
    pub client: Option<&'a str>,
    /// The program it came from.
    pub user_agent: Option<&'a str>,
}

/// What was done to a webhook.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct Changed {
    /// Numbers the changes of all webhooks in their order.
    pub id: i64,
    /// When.
    pub changed_at: DateTime<Utc>,
    /// Which webhook.
    pub webhook: i32,
    /// `added`, `changed`, `enabled` or `removed`.
    pub change: String,
    /// Where it sends to after that; one that is removed, before.
    pub url: String,
    /// The aggregate types that it wants.
    pub kinds: Vec<String>,
    /// The records that it wants.
    pub records: Vec<String>,
    /// After which position it was told at that moment.
    pub position: i64,
    /// Whether it was given a secret.
    pub new_secret: bool,
    /// Who did it.
    pub actor: String,
    /// Names the request.
    pub correlation_id: Uuid,
    /// The network address it came from.
    pub client: Option<String>,
    /// The program it came from.
    pub user_agent: Option<String>,
}

/// Notes a change in the transaction that makes it.
///
/// # Errors
/// When the database fails.
pub async fn note(
    db: &mut PgConnection,
    hook: &Webhook,
    change: Change,
    by: By<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into webhook_change (webhook_id, change, url, kinds, records, position, new_secret, actor,
             correlation_id, client, user_agent)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(hook.id)
    .bind(change.name())
    .bind(&hook.url)
    .bind(&hook.kinds)
    .bind(&hook.records)
    .bind(hook.position)
    .bind(change.has_new_secret())
    .bind(by.actor)
    .bind(by.correlation_id)
    .bind(by.client)
    .bind(by.user_agent)
    .execute(db)
    .await?;
    Ok(())
}

/// The changes before one, the newest first, as many as there are at most.
///
/// # Errors
/// When the database fails.
pub async fn changes(
    db: &mut PgConnection,
    before: Option<i64>,
    most: i64,
) -> Result<Vec<Changed>, sqlx::Error> {
    sqlx::query_as(
        "select id, changed_at, webhook_id as webhook, change, url, kinds, records, position, new_secret, actor,
             correlation_id, client, user_agent
         from webhook_change where id < coalesce($1, 9223372036854775807) order by id desc limit $2",
    )
    .bind(before)
    .bind(most)
    .fetch_all(db)
    .await
}
