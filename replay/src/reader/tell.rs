//! What somebody should know of a record of the file: values that were changed to be understood, and those that lead nowhere.

use domain::Kind;
use serde_json::json;

use super::Reader;
use crate::convert::Cell;
use crate::report::Notice;
use crate::schema::{self, Layout, Role};
use crate::source::Values;
use crate::unit::{Content, Unit, organisation};

/// How many rows have something in a column that no record has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    /// All of them.
    rows: u64,
    /// Those that the last import had not seen as they are.
    news: u64,
}

impl Reader {
    /// Passes on what is odd about a record, whose rows may be as they were at the last import.
    pub(super) fn tell(&mut self, unit: &Unit<'_>, content: &Content, unchanged: bool) {
        let mut notices = content.notices.clone();
        for (layout, part, row) in &unit.parts {
            let key = json!(part_key(unit.id, layout, part.target_column, row));
            let target = self.dangling(layout, &key, (part.target_column, part.target), row);
            let note = part
                .standing
                .and_then(|_| self.dangling(layout, &key, (schema::LATEST_NOTE, Kind::Note), row));
            notices.extend(target.into_iter().chain(note));
            self.count_extras(layout, row, unchanged);
        }
        let row = &unit.row;
        let references = schema::REFERENCES.iter().filter(|(kind, ..)| *kind == unit.kind);
        let organisation = unit.layout.columns.iter().filter_map(|column| {
            let target = organisation(unit.layout, row, column)?;
            Some((column.name.as_str(), target))
        });
        for to in references.map(|&(_, column, target)| (column, target)).chain(organisation) {
            notices.extend(self.dangling(unit.layout, &json!(unit.id), to, row));
        }
        notices.extend(self.notion(unit));
        self.count_extras(unit.layout, row, unchanged);
        notices.into_iter().for_each(|notice| self.report.note(Notice { unchanged, ..notice }));
    }

    /// What is odd about the pages in Notion that a record names.
    fn notion(&self, unit: &Unit<'_>) -> Vec<Notice> {
        let odd = |column: &'static str, reason: &str, is_odd: &dyn Fn(&str) -> bool| {
            let cell = unit.cell(column);
            let Cell::Text(text) = cell else { return None };
            let text = String::from_utf8_lossy(text);
            let is_told = !text.trim().is_empty() && is_odd(&text);
            is_told.then(|| Notice::of_cell(unit.layout, &json!(unit.id), column, reason, cell))
        };
        let repeated = self.survey.repeated.get(&unit.kind);
        let is_repeated = |id: &str| repeated.is_some_and(|ids| ids.contains(id));
        let is_no_gp = |id: &str| unit.kind == Kind::Fund && !self.survey.gp_pages.contains(id);
        let twice = "other records of the file have it as well; each keeps it";
        let nowhere = "is the page of no GP that the file has";
        [odd("notion_id", twice, &is_repeated), odd("gp_notion_id", nowhere, &is_no_gp)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// A value that is the id of a record which neither the file nor crm has.
    fn dangling(
        &self,
        layout: &Layout,
        key: &serde_json::Value,
        (column, target): (&str, Kind),
        row: &Values,
    ) -> Option<Notice> {
        let cell = layout.at(column).map(|at| &row[at])?;
        let id = cell.integer()?;
        let is_there = self.survey.ids.get(&target).is_some_and(|ids| ids.contains(&id))
            || self.ledger.foreign.contains(&(target, id));
        let reason = format!("points to {target} {id}, which the file does not have");
        (!is_there).then(|| Notice::of_cell(layout, key, column, &reason, cell))
    }

    fn count_extras(&mut self, layout: &Layout, row: &Values, unchanged: bool) {
        for (column, cell) in layout.columns.iter().zip(row) {
            // What refers to a record became a link.
            let is_extra = column.role == Role::Extra && column.target.is_none();
            if is_extra && *cell != Cell::Null {
                let key = (layout.table.name, column.name.clone());
                let extras = self.extras.entry(key).or_default();
                extras.rows += 1;
                extras.news += u64::from(!unchanged);
            }
        }
    }

    /// Tells in which columns there was something that no record has a place for.
    pub(super) fn tell_extras(&mut self) {
        for ((table, column), Extras { rows, news }) in std::mem::take(&mut self.extras) {
            let reason = format!(
                "{rows} rows have something in a column that crm has no place for; it is kept in their history, and shown nowhere else"
            );
            let notice = Notice::of_row(table, serde_json::Value::Null, reason);
            let (column, unchanged) = (Some(column), news == 0);
            self.report.note(Notice { column, unchanged, ..notice });
        }
    }
}

/// The key of a row of a link table.
fn part_key(owner: i64, layout: &Layout, target_column: &str, row: &Values) -> String {
    let target = layout.at(target_column).and_then(|at| row[at].integer()).unwrap_or_default();
    format!("{owner},{target}")
}
