//! A first look at the whole file: how much there is, which ids it uses, and whether it is the file it should be.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::Kind;

use crate::error::ImportError;
use crate::ledger::Ledger;
use crate::schema::{Part, Rows};
use crate::source::Source;
use crate::unit;

/// What the file holds.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Rows of each table.
    pub tables: BTreeMap<String, u64>,
    /// Rows altogether.
    pub rows: u64,
    /// The ids of its records.
    pub ids: HashMap<Kind, HashSet<i64>>,
    /// The highest id of each kind that it uses or refers to: new records get higher ones.
    pub highest: BTreeMap<Kind, i64>,
    /// Pages in Notion that several records of a kind name as theirs.
    pub repeated: HashMap<Kind, HashSet<String>>,
    /// The pages of GPs.
    pub gp_pages: HashSet<String>,
}

/// Ids above this are no plausible ids of the legacy application, and numbers of JavaScript no longer tell them
/// apart; new ids do not start after them.
const PLAUSIBLE: i64 = 1 << 53;

/// The column with the id of the page in Notion that a record was made of.
const PAGE: &str = "notion_id";

/// From how many common ids on a file is compared with the one imported before.
const ENOUGH: u64 = 10;

impl Survey {
    /// Looks through the file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of(source: &Source) -> Result<Self, ImportError> {
        let mut survey = Survey::default();
        for layout in &source.layouts {
            let count = source.count(layout)?;
            survey.rows += count;
            survey.tables.insert(layout.table.name.to_owned(), count);
            match layout.table.rows {
                Rows::Records(kind) => {
                    let ids = source.integers(layout.table.name, "id")?;
                    survey.raise(kind, ids.iter().copied().chain(source.remembered_id(kind)?));
                    survey.ids.insert(kind, ids);
                    if layout.at(PAGE).is_some() {
                        survey.repeated.insert(kind, source.repeated(layout.table.name, PAGE)?);
                    }
                }
                Rows::Parts(Part { owner, owner_column, target, target_column, .. }) => {
                    survey
                        .raise(owner, source.highest(layout.table.name, owner_column, PLAUSIBLE)?);
                    survey.raise(
                        target,
                        source.highest(layout.table.name, target_column, PLAUSIBLE)?,
                    );
                }
            }
            // A record that is made later must not take the place of one that is only referred to.
            for column in &layout.columns {
                let Some(target) = column.target else { continue };
                survey.raise(target, source.highest(layout.table.name, &column.name, PLAUSIBLE)?);
            }
        }
        if source.layout("gp").is_some_and(|layout| layout.at(PAGE).is_some()) {
            let pages = source.texts("gp", PAGE)?;
            survey.gp_pages = pages.into_iter().map(|(_, page)| page).collect();
        }
        if source.layout("person").is_some_and(|layout| layout.at("org_id").is_some()) {
            let organisation = source.highest("person", "org_id", PLAUSIBLE)?;
            survey.raise(Kind::Lp, organisation);
            survey.raise(Kind::Gp, organisation);
        }
        Ok(survey)
    }

    /// Makes sure that the file is a newer copy of the one imported before.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_lineage(&self, source: &Source, ledger: &Ledger) -> Result<(), ImportError> {
        let imported = ledger.present();
        if self.rows == 0 && imported >= ENOUGH {
            return Err(ImportError::NoRows { imported });
        }
        let (mut shared, mut same) = (0, 0);
        for layout in &source.layouts {
            let Rows::Records(kind) = layout.table.rows else { continue };
            source.identities(layout, |id, identity| {
                let entry = ledger.records.get(&(kind, id)).filter(|entry| entry.hash.is_some());
                let Some(entry) = entry else { return };
                if entry.identity != unit::Hash::default() {
                    shared += 1;
                    same += u64::from(unit::same_record(&entry.identity, &identity));
                }
            })?;
        }
        match shared >= ENOUGH && same * 2 < shared {
            true => Err(ImportError::OtherFile { shared, same }),
            false => Ok(()),
        }
    }

    fn raise(&mut self, kind: Kind, ids: impl IntoIterator<Item = i64>) {
        let highest = ids.into_iter().filter(|id| (1..PLAUSIBLE).contains(id)).max();
        let known = self.highest.entry(kind).or_default();
        *known = (*known).max(highest.unwrap_or_default());
    }
}
