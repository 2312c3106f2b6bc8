//! The first words with a Postgres that somebody else runs: whether it is one that crm can work on, and what to do if not.

use std::error::Error as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use projections::database::{Shortage, Surroundings};
use reqwest::Url;
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};

const DIRECTLY: &str = "DATABASE_URL leads to a pooler, which does not keep what crm sets on its connections, or gives \
     one connection to several: name the Postgres server itself there, crm must be connected to it directly";

const READ_ONLY: &str = "the database takes no changes (it is a replica or read-only): DATABASE_URL must name the writer";

/// How to connect to the server that DATABASE_URL names.
///
/// # Errors
/// When the URL cannot be used; the text says what to change, and quotes nothing secret.
pub(super) fn options(url: &str) -> anyhow::Result<PgConnectOptions> {
    let options: PgConnectOptions = url.parse().context("DATABASE_URL cannot be used")?;
    if let Ok(url) = Url::parse(url) {
        let files = url.query_pairs().filter(|(name, value)| {
            ["sslrootcert", "sslcert", "sslkey"].contains(&name.as_ref())
                && !value.trim_start().starts_with("-----BEGIN")
        });
        for (name, path) in files {
            std::fs::File::open(&*path).with_context(|| {
                format!("DATABASE_URL names `{path}` as {name}, a file that crm cannot read")
            })?;
        }
    }
    Ok(options)
}

/// Tries connections of its own, since a pool would only say that it waited in vain.
///
/// # Errors
/// When crm is not let in, or cannot work on what it finds; the text says what to do.
pub(super) async fn greet(options: &PgConnectOptions) -> anyhow::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let (host, port) = (options.get_host(), options.get_port());
    let outside =
        || format!("the Postgres of DATABASE_URL does not let crm in (host {host}, port {port})");
    let options = Surroundings::default().options(options.clone());
    let connecting = async { (options.connect().await, options.connect().await) };
    let connected = tokio::time::timeout(PATIENCE, connecting).await;
    let (first, second) = connected
        .with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))
        .with_context(outside)?;
    let mut first = first.map_err(advised).with_context(outside)?;
    let mut second = second.map_err(advised).with_context(outside)?;
    tokio::time::timeout(PATIENCE, examine(&mut first, &mut second))
        .await
        .with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))??;
    first.close().await?;
    second.close().await?;
    Ok(())
}

async fn examine(first: &mut PgConnection, second: &mut PgConnection) -> anyhow::Result<()> {
    ensure!(is_direct(first, second).await.map_err(advised)?, DIRECTLY);
    let (encoding, read_only, may_create, user, database): (String, bool, bool, String, String) =
        sqlx::query_as(
            "select current_setting('server_encoding'), current_setting('transaction_read_only')::boolean,
                 has_database_privilege(current_database(), 'create'),
                 quote_ident(current_user), quote_ident(current_database())",
        )
        .fetch_one(&mut *first)
        .await
        .map_err(advised)?;
    let shut: Option<String> = sqlx::query_scalar(
        "select quote_ident(nspname) from pg_extension join pg_namespace on pg_namespace.oid = extnamespace
         where extname in ('pg_trgm', 'unaccent') and not has_schema_privilege(extnamespace, 'usage')",
    )
    .fetch_optional(first)
    .await
    .map_err(advised)?;
    ensure!(
        encoding == "UTF8",
        "the database of DATABASE_URL stores text as {encoding}, in which some of it could not be read again; crm needs one that \
         was made with `create database {database} encoding 'UTF8' template template0`"
    );
    ensure!(!read_only, READ_ONLY);
    ensure!(
        may_create,
        "crm may not create schemas in the database of DATABASE_URL, where it keeps read models: its owner has to \
         `grant create on database {database} to {user}`"
    );
    if let Some(schema) = shut {
        bail!(
            "crm may not use the schema {schema}, which has the extensions pg_trgm or unaccent: its owner has to \
             `grant usage on schema {schema} to {user}`"
        );
    }
    Ok(())
}

/// Whether the connections are those of the server: each keeps what was set on it, and stays with one process whatever
/// others do.
async fn is_direct(
    first: &mut PgConnection,
    second: &mut PgConnection,
) -> Result<bool, sqlx::Error> {
    const PROCESS: &str = "select pg_backend_pid()";
    let path: String =
        sqlx::query_scalar("select current_setting('search_path')").fetch_one(&mut *first).await?;
    let before: i32 = sqlx::query_scalar(PROCESS).fetch_one(&mut *first).await?;
    // A pooler that has a process to spare after each transaction gives it to the next who begins one.
    let mut tx = second.begin().await?;
    let other: i32 = sqlx::query_scalar(PROCESS).fetch_one(&mut *tx).await?;
    let after: i32 = sqlx::query_scalar(PROCESS).fetch_one(first).await?;
    tx.rollback().await?;
    Ok(path == Surroundings::default().search_path(&[]) && before == after && before != other)
}

/// The error with what to do about it, where that is known.
pub(super) fn advised(error: sqlx::Error) -> anyhow::Error {
    match advice(&error) {
        Some(advice) => anyhow!("{error}; {advice}"),
        None => error.into(),
    }
}

/// The same for an error of the migrations.
pub(super) fn of_migration(error: MigrateError) -> anyhow::Error {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => advised(error),
        error => error.into(),
    }
}

fn advice(error: &sqlx::Error) -> Option<&'static str> {
    match error {
        sqlx::Error::Database(refused) => {
            let (code, said) = (refused.code().unwrap_or_default(), refused.message());
            let of_pooler = said.contains("unsupported startup parameter")
                || said.contains("prepared statement \"sqlx_s_");
            match (&*code, Shortage::of(error)) {
                _ if of_pooler => Some(DIRECTLY),
                (_, Some(Shortage::Changes)) => Some(READ_ONLY),
                (_, Some(Shortage::Connections)) => Some(
                    "a crm takes up to 24 connections: lower CRM_DB_CONNECTIONS, or raise max_connections of Postgres",
                ),
                ("28P01", _) => Some(
                    "look at DATABASE_URL; in a password @ / # ? % are percent-encoded there (%40 %2F %23 %3F %25)",
                ),
                ("42501", _) => Some(
                    "crm needs `grant create on database …` and `grant create on schema public` for its role; the extensions \
                     pg_trgm and unaccent, if it may not create them, have to be created by an administrator of the server",
                ),
                _ if said.contains("extension") => Some(
                    "crm needs the extensions pg_trgm and unaccent, which come with Postgres's package contrib: an \
                     administrator of the server has to install them",
                ),
                _ => None,
            }
        }
        sqlx::Error::Tls(source) => Some(about_certificate(&source.to_string()).unwrap_or(
            "sslmode and sslrootcert in DATABASE_URL say how crm encrypts its connections",
        )),
        // What TLS found may come wrapped.
        sqlx::Error::Io(io) => about_certificate(&format!("{io} {:?}", io.source())),
        _ => None,
    }
}

fn about_certificate(said: &str) -> Option<&'static str> {
    let is = |what: &str| said.contains(what);
    if is("UnknownIssuer") {
        Some("name the authority's certificate: sslrootcert=/path/to/ca.pem in DATABASE_URL")
    } else if is("NotValidForName") || is("not valid for name") {
        // sslmode=verify-ca does not help: sqlx compares the name all the same.
        Some("the certificate is another host's: DATABASE_URL must name the host that it is for")
    } else if is("Invalid certificate") {
        Some("sslrootcert in DATABASE_URL must name a file of certificates in PEM")
    } else {
        None
    }
}
