//! What can be asked, and of which tables.

use domain::{FundId, Kind, RecordRef, RoadshowId};
use sqlx::PgConnection;

use crate::read::link;
use crate::read::standing::{INTEREST, LP_STATUS};
use crate::read::tables::{fold, sort_columns};
use crate::read::todo::TodoFilter;

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    /// All records of a kind, in the order of the contract.
    List(Kind),
    /// One record.
    Show(RecordRef),
    /// The first ten records of a kind whose name contains the text; `%` and `_` are wildcards.
    Search {
        /// The kind.
        kind: Kind,
        /// The text; if blank, nothing is found.
        text: String,
    },
    /// The records of a kind that are linked with one record, whichever owns the link.
    Linked {
        /// The one record.
        of: RecordRef,
        /// The kind of the others.
        kind: Kind,
    },
    /// The notes about a record, newest first.
    NotesOf(RecordRef),
    /// The todos written down in notes about a record.
    TasksOf(RecordRef),
    /// Todos that pass a filter.
    Todos(TodoFilter),
    /// Every LP with its interest in a fund.
    SalesFunnel(FundId),
    /// Every LP with its status at a roadshow.
    LpStatus(RoadshowId),
}

/// The rows that answer a query. Files that they name are yet to be fetched, which takes as long as their store takes:
/// not while a connection is held.
#[derive(Debug)]
pub enum Found {
    /// Those of a whole list.
    List(Kind, Vec<ListRow>),
    /// Records of a kind.
    Records(Kind, Vec<String>),
}

impl Query {
    /// What answers it in the tables that this connection finds; not for [`Query::Show`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find(&self, db: &mut PgConnection) -> Result<Found, sqlx::Error> {
        let (kind, statement, of) = match self {
            Query::Linked { of, kind } => (*kind, link::linked_records(of.kind(), *kind), *of),
            Query::NotesOf(of) => (Kind::Note, link::notes_about(of.kind()), *of),
            Query::TasksOf(of) => (Kind::Todo, link::tasks_of(of.kind()), *of),
            Query::Search { kind, text } => {
                return Ok(Found::Records(*kind, search(db, *kind, text).await?));
            }
            Query::Todos(filter) => {
                return Ok(Found::Records(Kind::Todo, filter.records(db).await?));
            }
            Query::SalesFunnel(fund) => {
                return Ok(Found::Records(Kind::Lp, INTEREST.board(db, fund.0).await?));
            }
            Query::LpStatus(roadshow) => {
                return Ok(Found::Records(Kind::Lp, LP_STATUS.board(db, roadshow.0).await?));
            }
            Query::List(kind) => {
                let rows = sqlx::query_as(&listing(*kind)).bind(0_i64).fetch_all(db).await?;
                return Ok(Found::List(*kind, rows));
            }
            Query::Show(record) => return Ok(Found::Records(record.kind(), Vec::new())),
        };
        let rows = sqlx::query_scalar(&statement).bind(of.kind().as_str()).bind(of.id());
        Ok(Found::Records(kind, rows.fetch_all(db).await?))
    }
}

/// A row of a list: its id, whether it is archived, its text, and what the list is sorted by.
pub(super) type ListRow = (i64, bool, String, Option<String>, Option<String>);

/// The rows that have changed since a position.
pub(super) fn listing(kind: Kind) -> String {
    let (first, second) = sort_columns(kind);
    format!(
        "select id, archived, record::text, {first}::text, {second}::text from {kind} where position > $1"
    )
}

/// The read models that an answer is made of. `None` for a single record.
pub(super) fn topics(query: &Query) -> Option<Vec<&'static str>> {
    Some(match query {
        Query::Show(_) => return None,
        Query::List(kind) | Query::Search { kind, .. } => vec![kind.as_str()],
        Query::Linked { of, kind } => vec!["link", of.kind().as_str(), kind.as_str()],
        Query::NotesOf(of) => vec!["link", "note", of.kind().as_str()],
        Query::TasksOf(of) => vec!["link", "note", "todo", of.kind().as_str()],
        Query::Todos(_) => vec!["todo"],
        Query::SalesFunnel(_) => vec!["interest", "fund", "lp", "link", "note"],
        Query::LpStatus(_) => vec!["lp_status", "roadshow", "lp", "link", "note"],
    })
}

async fn search(db: &mut PgConnection, kind: Kind, text: &str) -> Result<Vec<String>, sqlx::Error> {
    // Postgres cannot hold U+0000, so no name contains it.
    if text.trim().is_empty() || text.contains('\0') {
        return Ok(vec![]);
    }
    sqlx::query_scalar(&format!(
        "select record::text from {kind} where not archived and folded_name like '%' || $1 || '%' escape ''
         order by id limit 10"
    ))
    .bind(fold(text))
    .fetch_all(db)
    .await
}
