//! The unit of import: a record with all rows that it owns. It is hashed to see whether it changed, and decoded only
//! if it did.

use chrono::{DateTime, Datelike, Utc};
use domain::{Contact, Kind, LpId, Moment, NoteId, RecordRef, Remembered, SourceValue, Verbatim};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use crate::convert::{self, Cell};
use crate::ledger::Foreign;
use crate::report::Notice;
use crate::schema::{Column, Layout, Part, Role};
use crate::source::Values;

/// 16 bytes of a SHA-256.
pub type Hash = [u8; 16];

/// The pseudo column of a note that names the links that its `lp_id` and `gp_id` columns imply and no link row states.
pub const INFERRED: &str = "~inferred";

/// Why a record is not attached to the one that its row names.
const TAKEN: &str = "points to an id that a record made in crm has; not attached to it";

/// A record's row and the rows that it owns.
pub struct Unit<'s> {
    /// What the record is.
    pub kind: Kind,
    /// Its id.
    pub id: i64,
    /// Its table.
    pub layout: &'s Layout,
    /// Its row.
    pub row: Values,
    /// The rows it owns, with their tables; within a table each has another target.
    pub parts: Vec<(&'s Layout, Part, Values)>,
}

/// What a unit says, in the words of the domain.
#[derive(Debug, Default)]
pub struct Content {
    /// Attributes in the record itself.
    pub own: Map<String, Json>,
    /// The other attributes; those of columns that the file does not have are missing.
    pub details: Map<String, Json>,
    /// What the attributes do not reproduce.
    pub legacy: Verbatim,
    /// What the record is linked to.
    pub links: Vec<RecordRef>,
    /// How LPs stand to it.
    pub standings: Vec<Standing>,
    /// When it came about, if the file says so.
    pub occurred_at: Option<DateTime<Utc>>,
    /// Contents that must be stored as files.
    pub files: Vec<Vec<u8>>,
    /// What somebody should know.
    pub notices: Vec<Notice>,
}

/// How an LP stands to a fund or a roadshow.
#[derive(Debug)]
pub struct Standing {
    /// The LP.
    pub lp: LpId,
    /// Its stage or status.
    pub word: String,
    /// What the row remembers besides.
    pub remembered: Remembered,
}

/// What an old todo gets that its row does not say.
#[derive(Clone, Copy, Debug)]
pub struct OldTodo {
    /// For a todo that is new: the date of its note, else the time of the import, and whether it is the former.
    pub created: Option<(Moment, bool)>,
}

impl Unit<'_> {
    /// The hash of all its rows. Null columns do not count: a column that was added and left empty changes nothing.
    pub fn hash(&self) -> Hash {
        let mut hasher = Sha256::new();
        hash_row(&mut hasher, self.layout, &self.row);
        for (layout, _, row) in &self.parts {
            hash_row(&mut hasher, layout, row);
        }
        truncated(hasher)
    }

    /// Tells whether two files speak of the same record.
    pub fn identity(&self) -> Hash {
        let [name, fallback] = identity_columns(self.layout);
        let cell = |column: Option<&str>| {
            column.and_then(|c| self.layout.at(c)).map_or(&Cell::Null, |at| &self.row[at])
        };
        identity(cell(name), cell(fallback), cell(Some("notion_id")))
    }

    /// Roughly how much memory it takes.
    pub fn size(&self) -> usize {
        let cells = self.row.iter().chain(self.parts.iter().flat_map(|(_, _, row)| row));
        cells.map(Cell::size).sum()
    }

    /// The value of a column of the record's own row.
    pub fn cell(&self, column: &str) -> &Cell {
        self.layout.at(column).map_or(&Cell::Null, |at| &self.row[at])
    }

    /// Decodes the rows. None of their references leads to a record that is foreign to the file.
    pub fn content(&self, old_todo: Option<OldTodo>, foreign: &Foreign) -> Content {
        let mut content = Content::default();
        let row = convert_row(self.layout, &self.row, &json!(self.id), foreign);
        (content.own, content.details) = (row.own, row.details);
        (content.legacy, content.files, content.notices) = (row.legacy, row.files, row.notices);
        for (layout, part, row) in &self.parts {
            // Rows whose keys are no integers are no parts.
            let target = layout.at(part.target_column).and_then(|at| row[at].integer());
            let Some(target) = target else { continue };
            match part.standing {
                None => content.links.push(part.target.record(target)),
                Some(word) => {
                    let key = json!(format!("{},{target}", self.id));
                    let row = convert_row(layout, row, &key, foreign);
                    content.add_standing(word, LpId(target), row);
                }
            }
        }
        self.infer_links(&mut content, foreign);
        if let Some(old) = old_todo {
            content.renew_todo(old);
        }
        content.occurred_at = match self.kind {
            Kind::Note => content.date("date"),
            Kind::Todo
                if old_todo.is_none_or(|old| old.created.is_some_and(|(_, dated)| dated)) =>
            {
                content.date("created_at")
            }
            _ => None,
        };
        content
    }

    /// Old notes name an LP and a GP in columns of their own.
    fn infer_links(&self, content: &mut Content, foreign: &Foreign) {
        if self.kind != Kind::Note {
            return;
        }
        let mut inferred = Vec::new();
        for (column, kind) in [("lp_id", Kind::Lp), ("gp_id", Kind::Gp)] {
            let cell = self.cell(column);
            let Some(id) = cell.integer() else { continue };
            if foreign.contains(&(kind, id)) {
                let notice = Notice::of_cell(self.layout, &json!(self.id), column, TAKEN, cell);
                content.notices.push(notice);
                continue;
            }
            let target = kind.record(id);
            if !content.links.contains(&target) {
                content.links.push(target);
                inferred.push(format!("{kind}:{}", target.id()));
            }
        }
        if !inferred.is_empty() {
            let inferred = SourceValue::Text(inferred.join(","));
            content.legacy.0.insert(INFERRED.to_owned(), inferred);
        }
    }
}

impl Content {
    fn add_standing(&mut self, word: &str, lp: LpId, mut row: Converted) {
        let text = row.own.remove(word).and_then(|word| word.as_str().map(str::to_owned));
        let date = row.details.get("last_contact_date").and_then(Json::as_str);
        let contact = Contact {
            date: date.and_then(|date| Moment::parse(date).ok()),
            note: row.details.get("latest_note_id").and_then(Json::as_i64).map(NoteId),
        };
        self.notices.append(&mut row.notices);
        let word = text.unwrap_or_default();
        let remembered = Remembered { contact, legacy: row.legacy };
        self.standings.push(Standing { lp, word, remembered });
    }

    /// Todos had no title, priority and creation date at first.
    fn renew_todo(&mut self, old: OldTodo) {
        let description =
            self.details.get("description").and_then(Json::as_str).unwrap_or_default();
        let title = description.lines().next().unwrap_or_default().to_owned();
        self.own.insert("title".to_owned(), json!(title));
        if let Some((created_at, _)) = old.created {
            self.details.insert("priority".to_owned(), json!("medium"));
            self.details.insert("created_at".to_owned(), json!(created_at));
        }
    }

    fn date(&self, column: &str) -> Option<DateTime<Utc>> {
        let moment = Moment::parse(self.details.get(column)?.as_str()?).ok()?;
        Some(moment.instant()).filter(|instant| (1..=9999).contains(&instant.year()))
    }
}

/// One row in the words of the domain.
struct Converted {
    own: Map<String, Json>,
    details: Map<String, Json>,
    legacy: Verbatim,
    files: Vec<Vec<u8>>,
    notices: Vec<Notice>,
}

fn convert_row(layout: &Layout, row: &Values, id: &Json, foreign: &Foreign) -> Converted {
    let mut converted = Converted {
        own: Map::new(),
        details: Map::new(),
        legacy: Verbatim::default(),
        files: Vec::new(),
        notices: Vec::new(),
    };
    for (column, cell) in layout.columns.iter().zip(row) {
        let mut keep = |cell: &Cell| converted.legacy.0.insert(column.name.clone(), cell.into());
        let (kind, own) = match column.role {
            Role::Key => continue,
            Role::Extra if *cell == Cell::Null => continue,
            Role::Extra => {
                keep(cell);
                continue;
            }
            Role::Attribute { kind, own } => (kind, own),
        };
        let mut result =
            if own { convert::typed_required(kind, cell) } else { convert::typed(kind, cell) };
        let target = column.target.or_else(|| organisation(layout, row, column));
        if target.zip(result.value.as_i64()).is_some_and(|record| foreign.contains(&record)) {
            result = convert::Converted::odd(Json::Null, TAKEN);
        }
        if !result.exact {
            keep(cell);
        }
        if let Some(reason) = result.odd {
            converted.notices.push(Notice::of_cell(layout, id, &column.name, reason, cell));
        }
        converted.files.extend(result.file);
        let target = if own { &mut converted.own } else { &mut converted.details };
        target.insert(column.name.clone(), result.value);
    }
    converted
}

/// What an old person's `org_id` refers to: the column beside it says `LP`, `gp` or something else.
pub fn organisation(layout: &Layout, row: &Values, column: &Column) -> Option<Kind> {
    if (layout.table.name, column.name.as_str()) != ("person", "org_id") {
        return None;
    }
    match &row[layout.at("org_type")?] {
        Cell::Text(name) => Kind::parse(&String::from_utf8_lossy(name).to_lowercase()),
        _ => None,
    }
}

/// The hash of one row.
pub fn row_hash(layout: &Layout, row: &Values) -> Hash {
    let mut hasher = Sha256::new();
    hash_row(&mut hasher, layout, row);
    truncated(hasher)
}

/// The hash of some values in this order.
pub fn cells_hash(cells: &[Cell]) -> Hash {
    let mut hasher = Sha256::new();
    cells.iter().for_each(|cell| hash_cell(&mut hasher, cell));
    truncated(hasher)
}

fn hash_row(hasher: &mut Sha256, layout: &Layout, row: &Values) {
    hash_bytes(hasher, b'r', layout.table.name.as_bytes());
    for &at in &layout.by_name {
        if row[at] != Cell::Null {
            hash_bytes(hasher, b'c', layout.columns[at].name.as_bytes());
            hash_cell(hasher, &row[at]);
        }
    }
}

fn hash_cell(hasher: &mut Sha256, cell: &Cell) {
    match cell {
        Cell::Null => hash_bytes(hasher, b'n', &[]),
        Cell::Integer(value) => hash_bytes(hasher, b'i', &value.to_be_bytes()),
        Cell::Real(value) => hash_bytes(hasher, b'f', &value.to_bits().to_be_bytes()),
        Cell::Text(bytes) => hash_bytes(hasher, b't', bytes),
        Cell::Blob(bytes) => hash_bytes(hasher, b'b', bytes),
    }
}

fn hash_bytes(hasher: &mut Sha256, tag: u8, bytes: &[u8]) {
    hasher.update([tag]);
    hasher.update((bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

fn truncated(hasher: Sha256) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(&hasher.finalize()[..16]);
    hash
}

/// The columns that tell what a record is called: the second counts where the first is null.
pub fn identity_columns(layout: &Layout) -> [Option<&'static str>; 2] {
    let first = |columns: [&'static str; 4]| columns.into_iter().find(|c| layout.at(c).is_some());
    [first(["name", "fund_name", "title", "description"]), layout.at("date").map(|_| "date")]
}

/// Hashes what a record is called, and its id in Notion. Zeros stand for what is missing.
pub fn identity(name: &Cell, fallback: &Cell, notion_id: &Cell) -> Hash {
    let mut identity = Hash::default();
    let (called, notion) = identity.split_at_mut(8);
    let name = if *name == Cell::Null { fallback } else { name };
    for (half, cell) in [(called, name), (notion, notion_id)] {
        let line = match cell {
            Cell::Null => continue,
            Cell::Text(bytes) => bytes.split(|&b| b == b'\n').next().unwrap_or_default(),
            Cell::Blob(bytes) => bytes,
            Cell::Integer(_) | Cell::Real(_) => b"number",
        };
        if !line.is_empty() {
            half.copy_from_slice(&Sha256::digest(line)[..8]);
        }
    }
    identity
}

/// Whether the identities are of the same record: one of their halves is equal.
pub fn same_record(a: &Hash, b: &Hash) -> bool {
    let known = |half: &[u8]| half.iter().any(|&byte| byte != 0);
    [0..8, 8..16].into_iter().any(|half| known(&a[half.clone()]) && a[half.clone()] == b[half])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    fn text(text: &str) -> Cell {
        Cell::Text(text.as_bytes().to_vec())
    }

    fn layout(table: &str, columns: &[&str]) -> Layout {
        let columns = columns.iter().map(|&c| c.to_owned()).collect();
        Layout::new(schema::table(table).unwrap(), columns, String::new())
    }

    fn unit(kind: Kind, layout: &Layout, row: Values) -> Unit<'_> {
        Unit { kind, id: 1, layout, row, parts: vec![] }
    }

    #[test]
    fn an_empty_new_column_and_another_order_change_no_hash() {
        let old = layout("lp", &["id", "name"]);
        let new = layout("lp", &["name", "notion_id", "id"]);
        let a = row_hash(&old, &vec![Cell::Integer(1), text("A")]);
        assert_eq!(a, row_hash(&new, &vec![text("A"), Cell::Null, Cell::Integer(1)]));
        assert_ne!(a, row_hash(&new, &vec![text("A"), text(""), Cell::Integer(1)]));
        assert_ne!(a, row_hash(&old, &vec![Cell::Integer(1), Cell::Blob(b"A".to_vec())]));
    }

    #[test]
    fn what_attributes_cannot_hold_is_kept_beside_them_and_reported() {
        let layout = layout("lp", &["id", "name", "aum_billions", "phone"]);
        let row = vec![Cell::Integer(1), text("A"), text("12,5"), text("81")];
        let content = unit(Kind::Lp, &layout, row).content(None, &Foreign::new());
        assert_eq!(content.own["name"], json!("A"));
        assert_eq!(content.details["aum_billions"], Json::Null);
        let kept: Vec<_> = content.legacy.0.keys().map(String::as_str).collect();
        assert_eq!(kept, ["aum_billions", "phone"]);
        assert_eq!(content.notices.len(), 1);
    }

    #[test]
    fn an_old_note_is_linked_to_the_lp_and_gp_it_names() {
        let note = layout("note", &["id", "date", "lp_id", "gp_id"]);
        let links = layout("notelplink", &["note_id", "lp_id"]);
        let part = schema::parts_of(Kind::Note).find(|(t, _)| t.name == "notelplink").unwrap().1;
        let row = vec![Cell::Integer(1), Cell::Null, Cell::Integer(5), Cell::Integer(3)];
        let mut unit = unit(Kind::Note, &note, row);
        unit.parts.push((&links, part, vec![Cell::Integer(1), Cell::Integer(5)]));
        let content = unit.content(None, &Foreign::new());
        assert_eq!(content.links, [Kind::Lp.record(5), Kind::Gp.record(3)]);
        assert_eq!(content.legacy.0[INFERRED], SourceValue::Text("gp:3".into()));
    }

    #[test]
    fn a_reference_to_a_record_made_in_crm_is_kept_but_leads_nowhere() {
        let check = |kind: Kind, column: &str, target: Kind, cell: Cell, own: Json| {
            let layout = layout(kind.as_str(), &["id", column]);
            let foreign = Foreign::from([(target, 21)]);
            let record = unit(kind, &layout, vec![Cell::Integer(1), cell.clone()]);
            let content = record.content(None, &foreign);
            let typed = content.own.get(column).or(content.details.get(column)).cloned();
            assert_eq!(typed.unwrap_or_default(), own, "{column}");
            assert_eq!(content.legacy.0[column], SourceValue::from(&cell), "{column}");
            assert_eq!(content.links, [], "{column}");
            assert_eq!(content.notices.len(), 1, "{column}");
        };
        check(Kind::Gp, "distributor_id", Kind::Distributor, Cell::Integer(21), json!(null));
        check(Kind::Todo, "note_id", Kind::Note, Cell::Real(21.0), json!(null));
        check(Kind::Todo, "parent_todo_id", Kind::Todo, Cell::Integer(21), json!(null));
        check(Kind::Roadshow, "fund_id", Kind::Fund, Cell::Integer(21), json!(null));
        check(Kind::Note, "lp_id", Kind::Lp, Cell::Integer(21), json!(null));
    }

    #[test]
    fn an_old_persons_organisation_is_looked_up_by_its_type() {
        let layout = layout("person", &["id", "org_type", "org_id"]);
        let foreign = Foreign::from([(Kind::Lp, 21)]);
        let check = |org_type: &str, expected: Json| {
            let row = vec![Cell::Integer(1), text(org_type), Cell::Integer(21)];
            let content = unit(Kind::Person, &layout, row).content(None, &foreign);
            assert_eq!(content.details["org_id"], expected, "{org_type}");
        };
        check("LP", json!(null));
        check("lp", json!(null));
        check("GP", json!(21));
        check("Other", json!(21));
    }

    #[test]
    fn an_old_todo_gets_the_first_line_of_its_description_as_title() {
        let layout = layout("todo", &["id", "note_id", "description", "status", "due_date"]);
        let row = vec![
            Cell::Integer(1),
            Cell::Integer(2),
            text("Call\r\nAna"),
            text("pending"),
            Cell::Null,
        ];
        let created_at = Moment::parse("2025-01-31").unwrap();
        let old = OldTodo { created: Some((created_at, true)) };
        let content = unit(Kind::Todo, &layout, row).content(Some(old), &Foreign::new());
        assert_eq!(content.own["title"], json!("Call"));
        assert_eq!(content.details["priority"], json!("medium"));
        assert_eq!(content.occurred_at, Some(created_at.instant()));
    }

    #[test]
    fn a_record_is_the_same_if_its_name_or_its_notion_id_is() {
        let id = |name: &str, notion: &str| identity(&text(name), &Cell::Null, &text(notion));
        assert!(same_record(&id("A", "x"), &id("B", "x")));
        assert!(same_record(&id("A", ""), &id("A", "y")));
        assert!(!same_record(&id("A", ""), &id("B", "")));
        assert!(!same_record(&Hash::default(), &Hash::default()));
    }
}
