//! Which positions of the log pass a selection: asked of the read model `audit`. Which of the events of roadshows did something to a
//! fund is not in it, since that takes a fold: the fund's life has them, and `audit` is asked which of these pass.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use domain::{FundId, Kind, RecordRef};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::gather::Stretch;
use super::named::{self, Word};
use super::origin::{Network, number_of};
use super::{History, Of, Selection, touched_name, touches};
use crate::log::{Entry, RECORDED_AT};
use crate::read::audit::{self, named};
use crate::read::life;

/// How many rows are looked through one by one, newest first, before an index without order is asked.
const NEWEST: i64 = 2_000;

/// Likewise before what passes two filters is gathered, each of which has an index in order: reading on in the order of one
/// finds them soon, unless they rarely meet.
const NEWEST_OF_BOTH: i64 = 10_000;

/// What passes.
#[derive(Default)]
pub(super) struct Found {
    /// Where it stands, newest first.
    pub(super) positions: Vec<i64>,
    /// If it is of a fund that roadshows brought something to: the fund.
    pub(super) visited: Option<Visited>,
    /// The streams that are not searched.
    pub(super) missing: Vec<String>,
}

/// A fund, and what roadshows did to it.
pub(super) struct Visited {
    /// The fund.
    pub(super) fund: FundId,
    /// Its life, as far as it is searched.
    pub(super) life: Vec<Entry>,
    /// Where it has what was found only as something that a roadshow did to it.
    pub(super) arrivals: BTreeSet<i64>,
}

impl History {
    /// What passes of that which stands before the cursor, the newest, at most so much.
    pub(super) async fn find(
        &self,
        selection: &Selection,
        cursor: Option<i64>,
        limit: usize,
    ) -> Result<Found, sqlx::Error> {
        let mut connection = self.database.pool.acquire().await?;
        let missing = audit::missing(&mut connection).await?;
        // Texts that Postgres cannot hold are in none of its rows.
        if selection.texts().any(|text| text.contains('\0')) {
            return Ok(Found { missing, ..Found::default() });
        }
        let from = match selection.from {
            Some(time) => first_since(&mut connection, time).await?,
            None => 0,
        };
        let to = match selection.to {
            Some(time) => first_since(&mut connection, time).await?,
            None => i64::MAX,
        };
        // Nor is looked at what comes meanwhile: the rows that are counted must be those that are read.
        let end = end(&mut connection).await?;
        let to = cursor.map_or(to, |cursor| to.min(cursor)).min(end);
        let words = match &selection.text {
            Some(text) => Some(named::words_of(&mut connection, text).await?),
            None => None,
        };
        let asked = Asked { selection, words };
        let mut positions = asked.newest(&mut connection, from, to, limit).await?;
        let visited = match selection.record {
            // What a roadshow brought is an event of its kind.
            Some(RecordRef::Fund(fund)) if selection.has_kind(Kind::Roadshow) => {
                let up_to = to.saturating_sub(1);
                life::of_visited(&mut connection, &self.log, fund, up_to)
                    .await?
                    .map(|life| Visited { fund, life, arrivals: BTreeSet::new() })
            }
            _ => None,
        };
        let Some(mut visited) = visited else {
            return Ok(Found { positions, missing, visited: None });
        };
        let mut arrivals = asked.arrivals(&mut connection, &visited, from).await?;
        arrivals.retain(|position| !positions.contains(position));
        positions.extend(&arrivals);
        positions.sort_unstable_by_key(|position| std::cmp::Reverse(*position));
        positions.truncate(limit);
        visited.arrivals = arrivals;
        Ok(Found { positions, missing, visited: Some(visited) })
    }
}

impl Asked<'_> {
    /// The newest positions in a range that pass, at most so many, newest first.
    async fn newest(
        &self,
        connection: &mut PgConnection,
        from: i64,
        to: i64,
        limit: usize,
    ) -> Result<Vec<i64>, sqlx::Error> {
        let selection = self.selection;
        // What fields and words have most often stands in the newest rows already. If it does not, it is rare enough, or old,
        // to be gathered by an index that has no order. Postgres alone would choose by how often a value occurs, as if it
        // occurred evenly, and look through the whole table for what only old events have.
        let rows = selection.looked_through();
        let floor = match rows {
            Some(rows) => selection.floor(connection, from, to, rows).await?,
            None => None,
        };
        let Some(floor) = floor else {
            return self.statement(from, to, limit, None).fetch(connection).await;
        };
        let mut found = self.statement(floor, to, limit, rows).fetch(connection).await?;
        if found.len() < limit {
            let wanted = limit - found.len();
            found.extend(self.gathered(connection, Stretch { from, to: floor }, wanted).await?);
        }
        Ok(found)
    }

    /// What roadshows did to a fund since a position, as far as it passes: what happened is an event of the roadshow, and so are
    /// its envelope and its words; which field it changed and whom it is about is told as of the fund.
    async fn arrivals(
        &self,
        connection: &mut PgConnection,
        visited: &Visited,
        from: i64,
    ) -> Result<BTreeSet<i64>, sqlx::Error> {
        let (selection, fund) = (self.selection, RecordRef::Fund(visited.fund));
        let brought = visited.life.iter().filter(|entry| !life::is_own(fund, entry));
        let field = selection.field.as_deref();
        let passing = brought.filter(|entry| {
            entry.position >= from && field.is_none_or(|field| touches(entry, field))
        });
        let passing: Vec<i64> = passing.map(|entry| entry.position).collect();
        if passing.is_empty() {
            return Ok(BTreeSet::new());
        }
        let mut query = QueryBuilder::new("select position from audit where position = any (");
        query.push_bind(passing).push(")");
        push_equal(&mut query, &selection.equalities());
        push_origin(&mut query, selection);
        if let Some(words) = &self.words {
            let others: Vec<&Word> = words.iter().filter(|word| !word.names(fund)).collect();
            if words.is_empty() || !others.is_empty() {
                named::push(&mut query, &others, selection.kind, None);
            }
        }
        Ok(Statement(query).fetch(connection).await?.into_iter().collect())
    }
}

impl Selection {
    fn has_kind(&self, kind: Kind) -> bool {
        self.kind.is_none_or(|of| of == Of::Records(kind))
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        let texts =
            [&self.actor, &self.event, &self.field, &self.source, &self.program, &self.text];
        texts.into_iter().flatten().map(String::as_str)
    }

    /// The columns that must have a value, those that choose best first. Each is in an index before the position.
    pub(super) fn equalities(&self) -> Vec<(&'static str, Value<'_>)> {
        let columns = [
            ("correlation_id", self.correlation.map(Value::Id)),
            ("event", self.event.as_deref().map(Value::Text)),
            ("actor", self.actor.as_deref().map(Value::Text)),
            ("source", self.source.as_deref().map(Value::Text)),
            ("kind", self.kind.map(|of| Value::Text(of.as_str()))),
        ];
        columns.into_iter().filter_map(|(column, value)| Some((column, value?))).collect()
    }

    /// How many rows are looked through before all that pass are gathered, if that may be needed: for what has an index that does
    /// not know the order of positions, and for several that do, of which only one can be read in order.
    fn looked_through(&self) -> Option<i64> {
        if self.is_of_origin() || self.field.is_some() || self.text.is_some() || self.related {
            return Some(NEWEST);
        }
        (self.equalities().len() > 1).then_some(NEWEST_OF_BOTH)
    }

    /// Where the newest rows of a range begin, if it has more than those. Where a column must have a value, they are the newest
    /// of those that have it: all others may be newer.
    async fn floor(
        &self,
        connection: &mut PgConnection,
        from: i64,
        to: i64,
        rows: i64,
    ) -> Result<Option<i64>, sqlx::Error> {
        let mut query = QueryBuilder::new("select position from audit where position < ");
        query.push_bind(to).push(" and position >= ").push_bind(from);
        push_order(&mut query, self.equalities().first().copied(), from, to);
        query.push(" offset ").push_bind(rows).push(" limit 1");
        query.build_query_scalar().persistent(false).fetch_optional(connection).await
    }
}

/// What a column must be equal to.
#[derive(Clone, Copy)]
pub(super) enum Value<'s> {
    Text(&'s str),
    Id(Uuid),
}

impl<'s> Value<'s> {
    pub(super) fn push(self, query: &mut QueryBuilder<'s, Postgres>) {
        match self {
            Self::Text(text) => query.push_bind(text),
            Self::Id(id) => query.push_bind(id),
        };
    }
}

/// Has columns be equal to what they must be.
fn push_equal<'s>(
    query: &mut QueryBuilder<'s, Postgres>,
    equalities: &[(&'static str, Value<'s>)],
) {
    for (column, value) in equalities {
        query.push(format!(" and {column} = "));
        value.push(query);
    }
}

/// Has rows be of what comes from an address and a program.
fn push_origin(query: &mut QueryBuilder<'_, Postgres>, selection: &Selection) {
    if let Some(network) = selection.address {
        push_network(query, network);
    }
    if let Some(program) = &selection.program {
        query.push(" and program = ").push_bind(number_of(program));
    }
}

/// Has rows be of what comes from an address of a network.
pub(super) fn push_network(query: &mut QueryBuilder<'_, Postgres>, network: Network) {
    query.push(" and client <<= ").push_bind(network.to_string()).push("::inet");
}

/// Has rows read in the order of their positions, newest first: by the index of a column that must have a value, if there is
/// one.
fn push_order<'s>(
    query: &mut QueryBuilder<'s, Postgres>,
    leading: Option<(&'static str, Value<'s>)>,
    from: i64,
    to: i64,
) {
    let Some((column, value)) = leading else {
        query.push(" order by position desc");
        return;
    };
    // It is not called equal too: Postgres would take it for constant, and any index for as good.
    for (comparison, position) in [("<", to), (">=", from)] {
        query.push(format!(" and ({column}, position) {comparison} ("));
        value.push(query);
        query.push(", ").push_bind(position).push(")");
    }
    query.push(format!(" order by {column} desc, position desc"));
}

/// A question that is asked once.
struct Statement<'s>(QueryBuilder<'s, Postgres>);

impl Statement<'_> {
    async fn fetch(mut self, connection: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
        // Planned for these very values: how often a field or a word occurs decides how it is best found.
        self.0.build_query_scalar().persistent(false).fetch_all(connection).await
    }
}

/// What is asked for, with the words that were looked up in names.
pub(super) struct Asked<'s> {
    pub(super) selection: &'s Selection,
    pub(super) words: Option<Vec<Word>>,
}

impl Asked<'_> {
    /// What passes in a range, in the order of positions: of the column that an index has before the position, or else of the
    /// position alone. If it is known to have so many rows and one with that column, no more are looked through.
    fn statement(&self, from: i64, to: i64, limit: usize, rows: Option<i64>) -> Statement<'_> {
        let selection = self.selection;
        let equalities = selection.equalities();
        let (leading, others) = match equalities.split_first() {
            Some((leading, others)) => (Some(*leading), others),
            None => (None, &equalities[..]),
        };
        let counted = leading.zip(rows);
        let mut query = QueryBuilder::new("select position from ");
        query.push(if counted.is_some() { "(select * from audit" } else { "audit" });
        query.push(" where position < ").push_bind(to);
        if from > 0 {
            query.push(" and position >= ").push_bind(from);
        }
        if let Some((_, rows)) = counted {
            // Postgres does not stop where the position is less than it may be: it would read on among all that have the column.
            push_order(&mut query, leading, from, to);
            query.push(" limit ").push_bind(rows + 1).push(") as newest where true");
        }
        push_equal(&mut query, others);
        push_origin(&mut query, selection);
        if let Some(record) = selection.record {
            query.push(" and ((kind = ").push_bind(record.kind().as_str());
            query.push(" and id = ").push_bind(record.id()).push(")");
            if selection.related {
                query.push(" or about @> ").push_bind(vec![named(record)]);
            }
            query.push(")");
        }
        if let Some(field) = &selection.field {
            query.push(" and fields @> ").push_bind(vec![touched_name(field).to_owned()]);
        }
        if let Some(words) = &self.words {
            let words: Vec<&Word> = words.iter().collect();
            named::push(&mut query, &words, selection.kind, None);
        }
        match counted {
            Some(((column, _), _)) => {
                query.push(format!(" order by {column} desc, position desc"));
            }
            None => push_order(&mut query, leading, from, to),
        }
        query.push(" limit ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX));
        Statement(query)
    }
}

/// The position after the last.
async fn end(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let last: Option<i64> =
        sqlx::query_scalar("select max(position) from audit").fetch_one(connection).await?;
    Ok(last.map_or(0, |last| last + 1))
}

/// The first position that was recorded then or later. Positions are in the order of time, so no index on the time is
/// needed: some twenty rows are looked at.
async fn first_since(
    connection: &mut PgConnection,
    time: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    let (mut low, mut high) = (0, end(&mut *connection).await?);
    let statement = format!(
        "select position, {RECORDED_AT} from audit where position >= $1 order by position limit 1"
    );
    // Everything before `low` is earlier, and what stands at `high` or after is not.
    while low < high {
        let middle = low + (high - low) / 2;
        let (position, recorded_at): (i64, DateTime<Utc>) =
            sqlx::query_as(&statement).bind(middle).fetch_one(&mut *connection).await?;
        if recorded_at < time {
            low = position + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
