//! What holds on every connection of crm, whatever the role, the database or the server are set to.
//!
//! Tables are looked for in crm's own schemas and then in `public`, where the migrations put them: a `search_path` of the
//! role's would lead them elsewhere. Extensions may have been installed in a schema of their own, as managed servers do;
//! it comes last.
//!
//! No statement, lock or pause ends by itself. A rebuild, an import or a check takes as long as it takes, and a projector
//! that is cut off begins the same page again, for ever. What is asked for by a request ends with its time
//! (`CRM_REQUEST_TIMEOUT_S`), and no answer of the database is waited for longer than `Database::PATIENCE` there; who waits
//! for a lock that others may keep says so at that place. A connection whose other end has gone is given up by the server,
//! so that no transaction stays open for want of a limit.

use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

/// Where crm's own tables are that are no read model's.
const HOME: &str = "public";

/// What there is in a database that decides on how to connect to it.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The schemas of the extensions that crm uses, as they are written in a statement; without [`HOME`].
    extensions: Vec<String>,
    /// Whether this Postgres knows a limit for transactions, as it does from 17 on.
    limits_transactions: bool,
}

impl Surroundings {
    /// Looks around in a database.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn of(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let extensions = sqlx::query_scalar(
            "select distinct quote_ident(nspname)
             from pg_extension join pg_namespace on pg_namespace.oid = extnamespace
             where extname in ('pg_trgm', 'unaccent') and nspname not in ('pg_catalog', $1)",
        )
        .bind(HOME)
        .fetch_all(&mut *connection)
        .await?;
        let limits_transactions = sqlx::query_scalar(
            "select exists (select from pg_settings where name = 'transaction_timeout')",
        )
        .fetch_one(connection)
        .await?;
        Ok(Self { extensions, limits_transactions })
    }

    /// Where tables, functions and operators are looked for, these schemas first.
    pub fn search_path(&self, schemas: &[String]) -> String {
        let extensions = self.extensions.iter().map(String::as_str);
        let all = schemas.iter().map(String::as_str).chain([HOME]).chain(extensions);
        all.collect::<Vec<_>>().join(",")
    }

    /// How to connect such that everything holds that crm relies on.
    pub fn options(&self, options: PgConnectOptions) -> PgConnectOptions {
        let options = options.options([
            // The server gives a connection up, with its locks and whatever it was doing, soon after its other end has
            // gone: when that was killed, or its machine was.
            ("client_connection_check_interval", "1s"),
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("statement_timeout", "0"),
            ("lock_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            ("idle_session_timeout", "0"),
        ]);
        let options = match self.limits_transactions {
            true => options.options([("transaction_timeout", "0")]),
            false => options,
        };
        self.looking_in(options, &[])
    }

    /// The same, with these schemas before all others.
    pub(super) fn looking_in(
        &self,
        options: PgConnectOptions,
        schemas: &[String],
    ) -> PgConnectOptions {
        // Among the options of a connection a blank separates one from the next.
        let path = self.search_path(schemas).replace('\\', "\\\\").replace(' ', "\\ ");
        options.options([("search_path", path)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_found_behind_everything_that_is_crms_own() {
        let around =
            Surroundings { extensions: vec!["\"my ext\"".to_owned()], ..Surroundings::default() };
        let schemas = ["read_lp_1".to_owned()];
        assert_eq!(around.search_path(&schemas), "read_lp_1,public,\"my ext\"");
        assert_eq!(Surroundings::default().search_path(&[]), "public");
        let options = around.looking_in(PgConnectOptions::new_without_pgpass(), &schemas);
        assert_eq!(options.get_options(), Some(r#"-c search_path=read_lp_1,public,"my\ ext""#));
    }
}
