//! Generations of read models: each has its tables in a schema of its own, so that a new one can be built beside the one
//! that is read, and the one before be kept.

use std::sync::Arc;

use sqlx::{Acquire as _, PgConnection};

use crate::projector::{Projector, Table};

/// The advisory lock of whoever makes generations, for the length of a transaction.
const GENERATIONS_LOCK: i64 = 0x6372_6d5f_6765_6e01;

/// What a generation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being built; nobody reads it.
    Building,
    /// It is the one that is read.
    Live,
    /// It was the one that was read, and is kept in case it is wanted back.
    Previous,
}

impl State {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Building => "building",
            State::Live => "live",
            State::Previous => "previous",
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "live" => State::Live,
            "previous" => State::Previous,
            _ => State::Building,
        }
    }
}

/// One generation of a read model.
#[derive(Clone, Debug)]
pub struct Generation {
    /// The projector's name.
    pub projector: String,
    /// Counts the projector's generations.
    pub number: i32,
    /// The version of the code that fills it.
    pub version: i32,
    /// What it is for.
    pub state: State,
    /// Where it is.
    pub checkpoint: Checkpoint,
}

/// How far the tables of a read model are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Everything up to here is in them.
    pub position: i64,
    /// The last position that changed a row of them.
    pub changed: i64,
    /// How often they were changed other than by following the log.
    pub revision: i64,
}

impl Generation {
    /// The schema that its tables are in.
    pub fn schema(&self) -> String {
        schema(&self.projector, self.number)
    }
}

/// The schema of a generation.
pub fn schema(projector: &str, number: i32) -> String {
    format!("read_{projector}_{number}")
}

/// A row of the table: projector, number, version, state, position, changed, revision.
type Row = (String, i32, i32, String, i64, i64, i64);

const COLUMNS: &str = "projector, number, version, state, position, changed, revision";

fn generation((projector, number, version, state, position, changed, revision): Row) -> Generation {
    let checkpoint = Checkpoint { position, changed, revision };
    Generation { projector, number, version, state: State::parse(&state), checkpoint }
}

/// All generations there are, by projector and number.
///
/// # Errors
/// When the database fails.
pub async fn all(db: &mut PgConnection) -> Result<Vec<Generation>, sqlx::Error> {
    let rows: Vec<Row> =
        sqlx::query_as(&format!("select {COLUMNS} from generation order by projector, number"))
            .fetch_all(db)
            .await?;
    Ok(rows.into_iter().map(generation).collect())
}

/// Those of one projector, which nobody else changes or moves until the transaction ends.
///
/// # Errors
/// When the database fails.
pub async fn lock(db: &mut PgConnection, projector: &str) -> Result<Vec<Generation>, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(&format!(
        "select {COLUMNS} from generation where projector = $1 order by number for update"
    ))
    .bind(projector)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(generation).collect())
}

/// Which of a projector's generations this release reads and follows: the live one if its own code fills that, else the
/// newest that its code fills; if there is none yet, the live one all the same, which it must not touch.
pub fn served<'g>(all: &'g [Generation], projector: &dyn Projector) -> Option<&'g Generation> {
    let mut own: Vec<&Generation> = all
        .iter()
        .filter(|generation| {
            generation.projector == projector.name() && generation.state != State::Building
        })
        .collect();
    // What it may follow comes last, the live one last of all.
    own.sort_by_key(|generation| {
        let is_live = generation.state == State::Live;
        (generation.version == projector.version(), is_live, generation.number)
    });
    match own.last() {
        Some(generation) if generation.version == projector.version() => Some(generation),
        _ => own.into_iter().find(|generation| generation.state == State::Live),
    }
}

/// Whether what this release reads is of another version of a projector's code: then its own is yet to be built. Each release
/// reads its own generation, so that an earlier one and a later one may both build theirs.
pub fn lacks_own(all: &[Generation], projector: &dyn Projector) -> bool {
    served(all, projector).is_some_and(|generation| generation.version != projector.version())
}

/// A generation whose schema somebody has dropped.
const GONE: &str = "to_regnamespace('read_' || projector || '_' || number) is null";

/// Makes a first generation for each projector that has none, or whose tables somebody dropped. It is live at once, and
/// empty.
///
/// # Errors
/// When the database fails.
pub async fn ensure(
    db: &mut PgConnection,
    projectors: &[Arc<dyn Projector>],
) -> Result<(), sqlx::Error> {
    // Usually there is nothing to do, and then it must work on a read-only database as well.
    let there = all(db).await?;
    let names: Vec<&str> = projectors.iter().map(|projector| projector.name()).collect();
    let are_gone: bool = sqlx::query_scalar(&format!(
        "select exists (select 1 from generation where {GONE} and projector = any($1))"
    ))
    .bind(&names)
    .fetch_one(&mut *db)
    .await?;
    let is_live = |projector: &Arc<dyn Projector>| {
        let mut of_it = there.iter().filter(|generation| generation.projector == projector.name());
        of_it.any(|generation| generation.state == State::Live)
    };
    if !are_gone && projectors.iter().all(is_live) {
        return Ok(());
    }
    let mut tx = db.begin().await?;
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(GENERATIONS_LOCK)
        .execute(&mut *tx)
        .await?;
    let lost: Vec<(String, i32, i64)> = sqlx::query_as(&format!(
        "delete from generation where {GONE} and projector = any($1)
         returning projector, number, revision"
    ))
    .bind(&names)
    .fetch_all(&mut *tx)
    .await?;
    for (projector, number, _) in &lost {
        tracing::warn!(
            projector,
            number,
            "the tables of this read model are gone; it is built again"
        );
    }
    let there = all(&mut tx).await?;
    for projector in projectors {
        let name = projector.name();
        let of_it = || there.iter().filter(|generation| generation.projector == name);
        if of_it().any(|generation| generation.state == State::Live) {
            continue;
        }
        let gone = || lost.iter().filter(|(projector, ..)| projector == name);
        let numbers = of_it().map(|generation| generation.number).chain(gone().map(|gone| gone.1));
        let number = numbers.max().unwrap_or(0) + 1;
        let revision = gone().map(|gone| gone.2).max().map_or(0, |revision| revision + 1);
        create_tables(&mut tx, &**projector, &schema(name, number)).await?;
        finish_tables(&mut tx, &**projector, &schema(name, number)).await?;
        sqlx::query(
            "insert into generation (projector, number, version, state, revision)
             values ($1, $2, $3, 'live', $4)",
        )
        .bind(name)
        .bind(number)
        .bind(projector.version())
        .bind(revision)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await
}

/// Begins a new generation, with empty tables that have neither keys nor indexes. What is left of a build that was
/// broken off is cleared away.
///
/// # Errors
/// When the database fails.
pub async fn begin(db: &mut PgConnection, projector: &dyn Projector) -> Result<i32, sqlx::Error> {
    let mut there = all(db).await?;
    there.retain(|generation| generation.projector == projector.name());
    for broken_off in there.iter().filter(|generation| generation.state == State::Building) {
        // Perhaps a Postgres process of that build has yet to notice that nobody wants it any more. While it is waited for,
        // nobody else must have to wait for us: nothing is locked but what is dropped.
        remove_unfinished(db, &broken_off.projector, broken_off.number).await?;
    }
    let number = there.iter().map(|generation| generation.number).max().unwrap_or(0) + 1;
    let mut tx = db.begin().await?;
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(GENERATIONS_LOCK)
        .execute(&mut *tx)
        .await?;
    drop_tables(&mut tx, &schema(projector.name(), number)).await?;
    create_tables(&mut tx, projector, &schema(projector.name(), number)).await?;
    sqlx::query(
        "insert into generation (projector, number, version, state) values ($1, $2, $3, 'building')",
    )
    .bind(projector.name())
    .bind(number)
    .bind(projector.version())
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(number)
}

/// Drops a generation, its tables and what it had parked.
///
/// # Errors
/// When the database fails.
pub async fn remove(db: &mut PgConnection, generation: &Generation) -> Result<(), sqlx::Error> {
    for statement in [
        "delete from dead_letter where projector = $1 and generation = $2",
        "delete from generation where projector = $1 and number = $2",
    ] {
        sqlx::query(statement)
            .bind(&generation.projector)
            .bind(generation.number)
            .execute(&mut *db)
            .await?;
    }
    drop_tables(db, &generation.schema()).await
}

/// Drops a generation that is being built, unless it has become live meanwhile. Tells whether it was dropped.
///
/// # Errors
/// When the database fails.
pub async fn remove_unfinished(
    db: &mut PgConnection,
    projector: &str,
    number: i32,
) -> Result<bool, sqlx::Error> {
    let mut tx = db.begin().await?;
    // A swap that is about to commit is waited for, and then counts.
    let row: Option<Row> = sqlx::query_as(&format!(
        "select {COLUMNS} from generation where projector = $1 and number = $2 and state = 'building' for update"
    ))
    .bind(projector)
    .bind(number)
    .fetch_optional(&mut *tx)
    .await?;
    let is_building = row.is_some();
    if let Some(row) = row {
        remove(&mut tx, &generation(row)).await?;
    }
    tx.commit().await?;
    Ok(is_building)
}

/// Drops a schema with all that is in it.
///
/// # Errors
/// When the database fails.
pub async fn drop_tables(db: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    sqlx::query(&format!("drop schema if exists {schema} cascade")).execute(db).await?;
    Ok(())
}

/// Makes a projector's tables in a new schema, without keys and indexes.
///
/// # Errors
/// When the database fails.
pub async fn create_tables(
    db: &mut PgConnection,
    projector: &dyn Projector,
    schema: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(&format!("create schema {schema}")).execute(&mut *db).await?;
    add_tables(db, projector, schema, "").await
}

/// Makes the tables of several projectors in one new schema, without keys and indexes. They are gone after a crash of
/// Postgres, and cost its log nothing.
///
/// # Errors
/// When the database fails.
pub async fn create_scratch(
    db: &mut PgConnection,
    projectors: &[Arc<dyn Projector>],
    schema: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(&format!("create schema {schema}")).execute(&mut *db).await?;
    for projector in projectors {
        add_tables(db, &**projector, schema, "unlogged").await?;
    }
    Ok(())
}

async fn add_tables(
    db: &mut PgConnection,
    projector: &dyn Projector,
    schema: &str,
    how: &str,
) -> Result<(), sqlx::Error> {
    let has_lz4: bool = sqlx::query_scalar(
        "select exists (select 1 from pg_settings
                        where name = 'default_toast_compression' and 'lz4' = any (enumvals))",
    )
    .fetch_one(&mut *db)
    .await?;
    for Table { name, columns, long, is_whole, .. } in projector.tables() {
        // The most that Postgres takes.
        let storage = if is_whole { " with (toast_tuple_target = 8160)" } else { "" };
        let statement = format!("create {how} table {schema}.{name} ({columns}){storage}");
        sqlx::query(&statement).execute(&mut *db).await?;
        // As for the log: see the migration.
        for column in long.iter().filter(|_| has_lz4) {
            let alter = format!("alter table {schema}.{name} alter {column} set compression lz4");
            sqlx::query(&alter).execute(&mut *db).await?;
        }
    }
    Ok(())
}

/// Gives the tables their keys, so that rows can be found and replaced.
///
/// # Errors
/// When the database fails, or two rows have the same key.
pub async fn add_keys(
    db: &mut PgConnection,
    projector: &dyn Projector,
    schema: &str,
) -> Result<(), sqlx::Error> {
    for Table { name, key, .. } in projector.tables() {
        let statement = format!("alter table {schema}.{name} add primary key ({})", key.join(", "));
        sqlx::query(&statement).execute(&mut *db).await?;
    }
    Ok(())
}

/// The statements that give the tables their other indexes, in any order; those that take longest come first.
pub fn indexes(projector: &dyn Projector, schema: &str) -> Vec<String> {
    let tables = projector.tables();
    // Named, since names that Postgres chooses may be the same where it makes several at once.
    let of_table = |Table { name, indexes, .. }: &Table| {
        let statement = |(number, on): (usize, &String)| {
            format!("create index {name}_{number}_idx on {schema}.{name} {on}")
        };
        indexes.iter().enumerate().map(statement).collect::<Vec<_>>()
    };
    let mut statements: Vec<String> = tables.iter().flat_map(of_table).collect();
    // Words and parts of words.
    statements.sort_by_key(|statement| !statement.contains("using gin"));
    statements
}

/// Gives the tables their keys and all other indexes.
///
/// # Errors
/// When the database fails.
pub async fn finish_tables(
    db: &mut PgConnection,
    projector: &dyn Projector,
    schema: &str,
) -> Result<(), sqlx::Error> {
    add_keys(db, projector, schema).await?;
    for statement in indexes(projector, schema) {
        sqlx::query(&statement).execute(&mut *db).await?;
    }
    Ok(())
}
