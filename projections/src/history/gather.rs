//! Gathering what passes by indexes that do not know the order of positions, the newest of it.
//!
//! What takes time is to read the positions of all rows that pass, wherever they lie in the table. So the log is looked through
//! in ranges that grow, the newest first; and where more pass in one than are read at once, it is halved until few do. The
//! indexes know of each row which block of positions it is in, so that a part of the log costs that part of what all of it does.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::named::{self, MARKS, Word, mark};
use super::origin::{NETWORKS, number_of};
use super::search::{Asked, push_network};
use super::touched_name;
use crate::read::audit::{self, BLOCK, BLOCK_BITS};

/// The most rows that are read for their positions at once, unless as many are wanted.
const AT_ONCE: usize = 1_000;

/// How many positions are looked through first, and how many times as many next.
const FIRST: i64 = 2 << BLOCK_BITS;
const GROWTH: i64 = 4;

/// Of more blocks than this, looking for each in an index takes longer than looking through those that are not meant.
const BLOCKS: i64 = 64;

/// A range of positions, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Stretch {
    /// The older and the newer half, where a block ends; none of what is no longer than a block.
    fn halves(self) -> Option<(Self, Self)> {
        let block = 1 << BLOCK_BITS;
        let Self { from, to } = self;
        if to - from <= block {
            return None;
        }
        let middle = (from + (to - from) / 2) >> BLOCK_BITS << BLOCK_BITS;
        let middle = if middle > from { middle } else { middle + block };
        Some((Self { from, to: middle }, Self { from: middle, to }))
    }

    /// Has an index that knows blocks look only there.
    ///
    /// Postgres takes two conditions that are looked for in the same range for parts of one, gathers one of them, and looks
    /// through all of its rows for the other. So each has a range of its own by its number: a block beside that there is none of.
    pub(super) fn push_blocks(self, query: &mut QueryBuilder<'_, Postgres>, number: i64) {
        let (first, last) = (self.from >> BLOCK_BITS, (self.to - 1) >> BLOCK_BITS);
        if last - first < BLOCKS {
            let blocks: Vec<i64> = (first..=last).chain([-1 - number]).collect();
            query.push(" and ").push(BLOCK).push(" && ").push_bind(blocks);
        }
    }

    /// Likewise an index that knows positions: a few more.
    pub(super) fn push_positions(self, query: &mut QueryBuilder<'_, Postgres>, number: i64) {
        query.push(" and position >= ").push_bind(self.from - number);
        query.push(" and position < ").push_bind(self.to + number);
    }
}

impl Asked<'_> {
    /// The newest positions in a range that pass, at most so many, newest first.
    pub(super) async fn gathered(
        &self,
        connection: &mut PgConnection,
        within: Stretch,
        limit: usize,
    ) -> Result<Vec<i64>, sqlx::Error> {
        let most = AT_ONCE.max(limit);
        let (mut found, mut to, mut length) = (Vec::new(), within.to, FIRST);
        while to > within.from && found.len() < limit {
            let stretch = Stretch { from: within.from.max(to - length), to };
            let passing = self.passing(connection, stretch, most + 1).await?;
            if passing.len() > most {
                found.extend(self.halving(connection, stretch, limit - found.len()).await?);
                break;
            }
            found.extend(passing);
            (to, length) = (stretch.from, length.saturating_mul(GROWTH));
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Likewise of a range in which more pass than are read at once: so many, or a few more.
    async fn halving(
        &self,
        connection: &mut PgConnection,
        mut within: Stretch,
        limit: usize,
    ) -> Result<Vec<i64>, sqlx::Error> {
        let most = AT_ONCE.max(limit);
        let mut found = Vec::new();
        while let Some((older, newer)) = within.halves() {
            let passing = self.passing(connection, newer, most + 1).await?;
            if passing.len() > most {
                // All that are still wanted are among these.
                within = newer;
                continue;
            }
            found.extend(passing);
            if found.len() >= limit {
                return Ok(found);
            }
            within = older;
        }
        found.extend(self.passing(connection, within, usize::MAX).await?);
        Ok(found)
    }

    /// The positions in a range that pass, newest first: all, or if they are more than `most` any `most` of them.
    async fn passing(
        &self,
        connection: &mut PgConnection,
        within: Stretch,
        most: usize,
    ) -> Result<Vec<i64>, sqlx::Error> {
        // Planned as if all were read: for a few, Postgres would look through the table, as if what passes lay evenly in it.
        let mut query = QueryBuilder::new(
            "with passing as materialized (select position from audit where position + 0 >= ",
        );
        query.push_bind(within.from).push(" and position + 0 < ").push_bind(within.to);
        self.push_conditions(&mut query, within);
        query.push(") select coalesce(array_agg(position), '{}') from (select position from passing limit ");
        query.push_bind(i64::try_from(most).unwrap_or(i64::MAX)).push(") as few");
        // Planned for these very values: how often a field or a word occurs decides how it is best found.
        let asking = query.build_query_scalar().persistent(false);
        let mut positions: Vec<i64> = asking.fetch_one(connection).await?;
        positions.sort_unstable_by_key(|position| std::cmp::Reverse(*position));
        Ok(positions)
    }

    /// Each condition is one of two, of which the other never holds, so that Postgres uses nothing of it for another condition,
    /// and gathers each by an index of its own.
    fn push_conditions<'s>(&'s self, query: &mut QueryBuilder<'s, Postgres>, within: Stretch) {
        let selection = self.selection;
        let mut number = MARKS;
        let mut next = || {
            number += 1;
            number
        };
        for (column, value) in selection.equalities() {
            let number = next();
            query.push(format!(" and ({column} = "));
            value.push(query);
            within.push_positions(query, number);
            push_never(query, number);
        }
        if let Some(record) = selection.record {
            let number = next();
            query.push(" and (kind = ").push_bind(record.kind().as_str());
            query.push(" and id = ").push_bind(record.id());
            within.push_positions(query, number);
            if selection.related {
                query.push(" or about @> ").push_bind(vec![audit::named(record)]);
                within.push_blocks(query, number);
            }
            push_never(query, number);
        }
        if let Some(field) = &selection.field {
            let number = next();
            query.push(" and (fields @> ").push_bind(vec![touched_name(field).to_owned()]);
            within.push_blocks(query, number);
            push_never(query, number);
        }
        if let Some(network) = selection.address {
            let number = next();
            query.push(" and (").push(NETWORKS).push(" && ").push_bind(network.sought());
            query.push("::text[]::inet[]");
            within.push_blocks(query, number);
            push_never(query, number);
            push_network(query, network);
        }
        if let Some(program) = &selection.program {
            let number = next();
            query.push(" and (array[program] && ").push_bind(vec![number_of(program)]);
            within.push_blocks(query, number);
            push_never(query, number);
        }
        if let Some(words) = &self.words {
            let words: Vec<&Word> = words.iter().collect();
            named::push(query, &words, selection.kind, Some(within));
        }
    }
}

/// Ends a condition with what never holds.
fn push_never(query: &mut QueryBuilder<'_, Postgres>, number: i64) {
    query.push(" or about && ").push_bind(vec![mark(number)]).push(")");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_ranges_have_the_same_blocks() {
        assert!(BLOCK.ends_with(&format!(">> {BLOCK_BITS}]")));
    }

    #[test]
    fn a_range_is_halved_where_a_block_ends() {
        let check = |from: i64, to: i64, middle: Option<i64>| {
            let halves = Stretch { from, to }.halves();
            let expected =
                middle.map(|middle| (Stretch { from, to: middle }, Stretch { from: middle, to }));
            assert_eq!(halves, expected, "{from}..{to}");
        };
        let block = 1 << BLOCK_BITS;
        check(0, 8 * block, Some(4 * block));
        check(0, 7 * block + 5, Some(3 * block));
        check(10, block + 11, Some(block));
        check(block - 1, 2 * block, Some(block));
        check(10, block + 10, None);
        check(0, 0, None);
    }
}
