//! What webhooks sign with: in the database it is wrapped under the master key.

use std::fmt;

use sqlx::{Connection as _, FromRow, PgConnection, PgTransaction};
use zeroize::Zeroizing;

use crate::log::keys::KeysError;
use crate::log::{Keys, MasterKey};

/// A secret that signs; it is never shown, and wiped from memory when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A secret of these bytes.
    pub fn new(bytes: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        Self(bytes.into())
    }

    /// What it is made of. Not for logs or errors.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The secrets of a receiver as they are stored.
#[derive(Clone, FromRow)]
pub(super) struct Wrapped {
    wrapped_secret: Option<Vec<u8>>,
    wrapped_previous: Option<Vec<u8>>,
    secret_master: Option<String>,
}

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wrapped({:?})", self.secret_master)
    }
}

impl Wrapped {
    /// What signs: the present secret, and then the one before as long as it holds.
    ///
    /// # Errors
    /// When they do not open under a master key that crm has.
    pub(super) fn open(&self, webhook: i32, keys: &Keys) -> Result<Vec<Secret>, SecretError> {
        let (Some(secret), Some(id)) = (&self.wrapped_secret, &self.secret_master) else {
            return Err(SecretError::Plain);
        };
        let master = keys.find_master(id);
        let open = |wrapped| {
            let opened = master.as_ref().and_then(|it| it.unwrap_secret(webhook, wrapped));
            opened.map(Secret).ok_or_else(|| SecretError::Shut { webhook, master: id.clone() })
        };
        std::iter::once(secret).chain(&self.wrapped_previous).map(|it| open(it)).collect()
    }
}

/// Why nothing can be signed.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A server of an earlier release has just put it there.
    #[error("the secret is not wrapped yet; crm does that within seconds")]
    Plain,
    /// It was altered, moved, or wrapped under another master key.
    #[error(
        "the secret of webhook {webhook} does not open under the master key {master}: give crm that master key, or the \
         webhook a new secret by `\"rotate_secret\": true`"
    )]
    Shut {
        /// Whose it is.
        webhook: i32,
        /// The master key that it is wrapped under.
        master: String,
    },
}

/// Wraps the secrets that an earlier release stored in plain, and wipes them from the table.
///
/// # Errors
/// When crm has not the master key that the database is under, or the database fails.
pub async fn wrap_plain(db: &mut PgConnection, keys: &Keys) -> Result<(), KeysError> {
    let found: bool =
        sqlx::query_scalar("select exists (select from webhook where secret is not null)")
            .fetch_one(&mut *db)
            .await?;
    if !found {
        return Ok(());
    }
    let mut tx = db.begin().await?;
    let master = keys.hold_master(&mut tx).await?;
    wrap_plain_under(&mut tx, &master).await?;
    tx.commit().await?;
    // What an update leaves behind is otherwise overwritten some day.
    sqlx::query("vacuum full webhook").execute(db).await?;
    Ok(())
}

async fn wrap_plain_under(
    tx: &mut PgTransaction<'_>,
    master: &MasterKey,
) -> Result<(), sqlx::Error> {
    let plain: Vec<(i32, Vec<u8>, Option<Vec<u8>>)> = sqlx::query_as(
        "select id, secret, previous_secret from webhook where secret is not null for update",
    )
    .fetch_all(&mut **tx)
    .await?;
    for (id, secret, previous) in plain {
        let (secret, previous) = (Zeroizing::new(secret), previous.map(Zeroizing::new));
        sqlx::query(
            "update webhook set secret = null, previous_secret = null, wrapped_secret = $2, wrapped_previous = $3,
                 secret_master = $4
             where id = $1",
        )
        .bind(id)
        .bind(master.wrap_secret(id, &secret))
        .bind(previous.map(|previous| master.wrap_secret(id, &previous)))
        .bind(master.id())
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Wraps all secrets under another master key. Tells how many receivers have some.
///
/// # Errors
/// When one does not open under the present master key, or the database fails.
pub(crate) async fn rewrap(
    tx: &mut PgTransaction<'_>,
    present: &MasterKey,
    next: &MasterKey,
) -> Result<u64, KeysError> {
    wrap_plain_under(tx, present).await?;
    let rows: Vec<(i32, Vec<u8>, Option<Vec<u8>>)> =
        sqlx::query_as("select id, wrapped_secret, wrapped_previous from webhook for update")
            .fetch_all(&mut **tx)
            .await?;
    for (id, secret, previous) in &rows {
        let again = |wrapped: &Vec<u8>| {
            let secret = present.unwrap_secret(*id, wrapped).ok_or_else(|| KeysError::Shut {
                kind: "webhook".to_owned(),
                id: id.to_string(),
                master: present.id().to_owned(),
            })?;
            Ok::<_, KeysError>(next.wrap_secret(*id, &secret))
        };
        let (secret, previous) = (again(secret)?, previous.as_ref().map(again).transpose()?);
        sqlx::query(
            "update webhook set wrapped_secret = $2, wrapped_previous = $3, secret_master = $4 where id = $1",
        )
        .bind(id)
        .bind(secret)
        .bind(previous)
        .bind(next.id())
        .execute(&mut **tx)
        .await?;
    }
    Ok(rows.len() as u64)
}
