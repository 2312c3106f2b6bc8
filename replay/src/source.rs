//! The legacy file: opened read-only, checked, and read in one snapshot.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use domain::Kind;
use rusqlite::{Connection, OpenFlags, Row, Rows};

use crate::age::Clock;
use crate::convert::Cell;
use crate::error::ImportError;
use crate::schema::{self, Layout, Table};
use crate::unit::{self, Hash};

/// A row, its values in the order of its layout's columns.
pub type Values = Vec<Cell>;

/// A legacy database, open in one read transaction.
pub struct Source {
    connection: Connection,
    /// The tables it has.
    pub layouts: Vec<Layout>,
    /// How often it was changed, if it counts that.
    pub clock: Option<Clock>,
}

impl Source {
    /// Opens the file and makes sure that nothing in it would be lost.
    ///
    /// # Errors
    /// When the file is missing, in use, or no legacy database.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let connection = connect(path)?;
        let layouts = read_layouts(&connection)?;
        let clock = Clock::of_header(&read_header(path)?);
        Ok(Self { connection, layouts, clock })
    }

    /// Has SQLite check the structure of the file, which takes as long as reading all of it. What it says about the
    /// content of single rows is no damage: such rows are imported as they are.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn check(path: &Path) -> Result<(), ImportError> {
        const CONTENT: &[&str] =
            &["NULL value in", "TEXT value in", "NUMERIC value in", "CHECK ", "non-unique"];
        let connection = connect(path)?;
        let mut statement = connection.prepare("pragma quick_check")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let finding: String = row.get(0)?;
            if finding != "ok" && !CONTENT.iter().any(|prefix| finding.starts_with(prefix)) {
                let first = finding.lines().next().unwrap_or_default();
                return Err(ImportError::Damaged(first.to_owned()));
            }
        }
        Ok(())
    }

    /// The table of this name, if the file has it.
    pub fn layout(&self, table: &str) -> Option<&Layout> {
        self.layouts.iter().find(|layout| layout.table.name == table)
    }

    /// How many rows the table has.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn count(&self, layout: &Layout) -> Result<u64, ImportError> {
        let sql = format!("select count(*) from {}", layout.table.name);
        let count: i64 = self.connection.query_row(&sql, [], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// All rows of a table, ordered by these columns.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn rows(
        &self,
        layout: &Layout,
        order: &[&str],
    ) -> Result<rusqlite::Statement<'_>, ImportError> {
        let columns: Vec<String> = layout.columns.iter().map(|c| quoted(&c.name)).collect();
        let order: Vec<String> = order.iter().map(|column| quoted(column)).collect();
        let (columns, order) = (columns.join(", "), order.join(", "));
        let sql = format!("select {columns} from {} order by {order}", layout.table.name);
        Ok(self.connection.prepare(&sql)?)
    }

    /// The integers in a column.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn integers(&self, table: &str, column: &str) -> Result<HashSet<i64>, ImportError> {
        let column = quoted(column);
        let mut statement = self
            .connection
            .prepare(&format!("select {column} from {table} where typeof({column}) = 'integer'"))?;
        let ids = statement.query_map([], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// The highest number in a column that is lower than `limit`, without its fraction.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn highest(
        &self,
        table: &str,
        column: &str,
        limit: i64,
    ) -> Result<Option<i64>, ImportError> {
        let column = quoted(column);
        let sql = format!(
            "select max(cast({column} as integer)) from {table}
             where typeof({column}) in ('integer', 'real') and {column} < ?"
        );
        Ok(self.connection.query_row(&sql, [limit], |row| row.get(0))?)
    }

    /// One column of the row with this id, or null.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn value(&self, table: &str, column: &str, id: i64) -> Result<Cell, ImportError> {
        let sql = format!("select {} from {table} where id = ?", quoted(column));
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query([id])?;
        Ok(match rows.next()? {
            Some(row) => Cell::from(row.get_ref(0)?),
            None => Cell::Null,
        })
    }

    /// Shows the id and identity of every record of a table.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn identities(
        &self,
        layout: &Layout,
        mut show: impl FnMut(i64, Hash),
    ) -> Result<(), ImportError> {
        let [name, fallback] = unit::identity_columns(layout);
        let notion_id = layout.at("notion_id").map(|_| "notion_id");
        let columns = [name, fallback, notion_id]
            .map(|column| column.map_or("null".to_owned(), quoted))
            .join(", ");
        let mut statement = self.connection.prepare(&format!(
            "select id, {columns} from {} where typeof(id) = 'integer'",
            layout.table.name
        ))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let cell = |at| row.get_ref(at).map(Cell::from);
            show(row.get(0)?, unit::identity(&cell(1)?, &cell(2)?, &cell(3)?));
        }
        Ok(())
    }

    /// The texts in a column that are not null.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn texts(&self, table: &str, column: &str) -> Result<Vec<(Cell, String)>, ImportError> {
        let column = quoted(column);
        let mut statement = self.connection.prepare(&format!(
            "select id, {column} from {table} where typeof({column}) = 'text' order by id"
        ))?;
        let mut rows = statement.query([])?;
        let mut texts = Vec::new();
        while let Some(row) = rows.next()? {
            let text = row.get_ref(1)?.as_bytes().unwrap_or_default();
            texts.push((Cell::from(row.get_ref(0)?), String::from_utf8_lossy(text).into_owned()));
        }
        Ok(texts)
    }

    /// The texts that a column has more than once.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn repeated(&self, table: &str, column: &str) -> Result<HashSet<String>, ImportError> {
        let column = quoted(column);
        let mut statement = self.connection.prepare(&format!(
            "select {column} from {table} where typeof({column}) = 'text'
             group by {column} having count(*) > 1"
        ))?;
        let mut rows = statement.query([])?;
        let mut repeated = HashSet::new();
        while let Some(row) = rows.next()? {
            let text = row.get_ref(0)?.as_bytes().unwrap_or_default();
            repeated.insert(String::from_utf8_lossy(text).into_owned());
        }
        Ok(repeated)
    }

    /// The highest id that was ever given out, where the file remembers it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn remembered_id(&self, kind: Kind) -> Result<Option<i64>, ImportError> {
        let known = "select 1 from sqlite_master where name = 'sqlite_sequence'";
        if !self.connection.prepare(known)?.exists([])? {
            return Ok(None);
        }
        let mut statement = self.connection.prepare(
            "select max(seq) from sqlite_sequence where name = ? collate nocase and typeof(seq) = 'integer'",
        )?;
        Ok(statement.query_row([kind.as_str()], |row| row.get(0))?)
    }
}

/// A cursor over the rows of one table that shows the next row before it is taken.
pub struct Cursor<'s> {
    /// The table.
    pub layout: &'s Layout,
    rows: Rows<'s>,
    next: Option<Values>,
}

impl<'s> Cursor<'s> {
    /// Starts a prepared query over all columns of `layout`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn new(
        layout: &'s Layout,
        statement: &'s mut rusqlite::Statement<'_>,
    ) -> Result<Self, ImportError> {
        let mut cursor = Self { layout, rows: statement.query([])?, next: None };
        cursor.advance()?;
        Ok(cursor)
    }

    /// The next row.
    pub fn peek(&self) -> Option<&Values> {
        self.next.as_ref()
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn take(&mut self) -> Result<Option<Values>, ImportError> {
        let row = self.next.take();
        self.advance()?;
        Ok(row)
    }

    fn advance(&mut self) -> Result<(), ImportError> {
        let width = self.layout.columns.len();
        self.next = match self.rows.next()? {
            Some(row) => Some(values(row, width)?),
            None => None,
        };
        Ok(())
    }
}

fn values(row: &Row<'_>, width: usize) -> Result<Values, rusqlite::Error> {
    (0..width).map(|at| row.get_ref(at).map(Cell::from)).collect()
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A connection that cannot write, in a read transaction: all it reads is of one moment.
fn connect(path: &Path) -> Result<Connection, ImportError> {
    let immutable = check_header(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri(path, immutable), flags)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    connection.execute_batch("pragma query_only = on; pragma mmap_size = 0; begin")?;
    Ok(connection)
}

/// Makes sure that there is a file and that it begins like an SQLite database, which takes no time.
///
/// # Errors
/// When it is missing, no file, or no SQLite database.
pub fn check_file(path: &Path) -> Result<(), ImportError> {
    check_header(path).map(|_| ())
}

/// Looks at the first bytes. Tells whether the file is in write-ahead mode with nobody using it.
fn check_header(path: &Path) -> Result<bool, ImportError> {
    let unreadable = |source| ImportError::Unreadable { path: path.to_owned(), source };
    let facts = match std::fs::metadata(path) {
        Ok(facts) => facts,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ImportError::NotFound(path.to_owned()));
        }
        Err(error) => return Err(unreadable(error)),
    };
    if !facts.is_file() {
        return Err(ImportError::NotAFile(path.to_owned()));
    }
    if facts.len() == 0 {
        return Err(ImportError::Empty(path.to_owned()));
    }
    let header = read_header(path)?;
    check_length(&header, facts.len())?;
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        Path::new(&name).exists()
    };
    Ok(header[18] == 2 && !beside("-wal") && !beside("-shm"))
}

/// The first bytes of an SQLite database.
fn read_header(path: &Path) -> Result<[u8; Clock::HEADER], ImportError> {
    let mut header = Vec::new();
    File::open(path)
        .and_then(|file| file.take(Clock::HEADER as u64).read_to_end(&mut header))
        .map_err(|source| ImportError::Unreadable { path: path.to_owned(), source })?;
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(ImportError::NotSqlite(path.to_owned()));
    }
    let incomplete = |_| ImportError::Damaged("its header is incomplete".to_owned());
    header.try_into().map_err(incomplete)
}

/// Compares the file's length with what its header says; SQLite itself would not notice a missing empty page.
fn check_length(header: &[u8], length: u64) -> Result<(), ImportError> {
    let number =
        |at: usize| header[at..at + 4].iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    let page_size = match number(16) >> 16 {
        1 => 65_536,
        size => size,
    };
    let (pages, change, written_at) = (number(28), number(24), number(92));
    if change == written_at && length < pages * page_size {
        let expected = pages * page_size;
        return Err(ImportError::Damaged(format!("{length} bytes instead of {expected}")));
    }
    Ok(())
}

/// A file in write-ahead mode that nobody has open is read as it stands: SQLite would otherwise have to make files
/// beside it, which a read-only folder or medium does not allow.
fn uri(path: &Path, immutable: bool) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                uri.push(char::from(*byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str(if immutable { "?mode=ro&immutable=1" } else { "?mode=ro" });
    uri
}

fn read_layouts(connection: &Connection) -> Result<Vec<Layout>, ImportError> {
    let mut statement = connection.prepare(
        "select name, coalesce(sql, '') from sqlite_master
         where type = 'table' and name not like 'sqlite\\_%' escape '\\' order by name",
    )?;
    let tables: Vec<(String, String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    // SQLite takes `Name` for `name`, and so did the application that wrote the file.
    let is_core = |core: &str| tables.iter().any(|(name, _)| name.eq_ignore_ascii_case(core));
    let missing = schema::CORE.iter().find(|core| !is_core(core));
    if let Some(core) = missing {
        return Err(ImportError::NotLegacy((*core).to_owned()));
    }
    let (mut layouts, mut unknown) = (Vec::new(), Vec::new());
    for (name, sql) in tables {
        match schema::table(&name.to_ascii_lowercase()) {
            Some(table) => layouts.push(Layout::new(table, columns(connection, table)?, sql)),
            None => unknown.push(name),
        }
    }
    if !unknown.is_empty() {
        return Err(ImportError::UnknownTables(unknown));
    }
    for layout in &layouts {
        if let Some(column) = layout.key_columns().into_iter().find(|c| layout.at(c).is_none()) {
            let table = layout.table.name.to_owned();
            return Err(ImportError::MalformedTable { table, column: column.to_owned() });
        }
    }
    Ok(layouts)
}

/// The columns of a table, those that are known by the names by which they are, however the file writes them.
fn columns(connection: &Connection, table: &'static Table) -> Result<Vec<String>, ImportError> {
    let usual = Layout::usual(table).columns;
    let known = |name: String| {
        let it = usual.iter().find(|column| column.name.eq_ignore_ascii_case(&name));
        it.map_or(name, |column| column.name.clone())
    };
    let sql = format!("pragma table_xinfo({})", quoted(table.name));
    let mut statement = connection.prepare(&sql)?;
    let names = statement.query_map([], |row| row.get(1))?;
    Ok(names.map(|name| name.map(known)).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_no_database_is_refused_before_anything_is_opened() {
        let folder = std::env::temp_dir().join(format!("crm-check-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let check = |path: &Path, expected: &str| {
            let told = check_file(path).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{told}");
        };
        let text = folder.join("text.db");
        std::fs::write(&text, "id,name").unwrap();
        let empty = folder.join("empty.db");
        std::fs::write(&empty, "").unwrap();
        let database = folder.join("crm.db");
        Connection::open(&database).unwrap().execute_batch("create table lp (id)").unwrap();
        check(&folder.join("none.db"), "there is no file");
        check(&text.join("none.db"), "cannot be read");
        check(&folder, "is not a file");
        check(&text, "is not an SQLite database");
        check(&empty, "is empty");
        check(&database, "");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
