//! Names that look like settings and are none.

use std::collections::BTreeMap;
use std::fmt;

use super::known::KNOWN;

/// A variable that looks like a setting and is none; most likely a slip of the pen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The unknown name.
    pub name: String,
    /// The known name that it looks like.
    pub nearest: Option<&'static str>,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no setting of crm and is ignored", self.name)?;
        match self.nearest {
            Some(nearest) => write!(f, ": is {nearest} meant?"),
            None => f.write_str("; `crm config` lists all that there are"),
        }
    }
}

/// A warning for each `CRM_` name that is no setting.
pub(super) fn warnings(map: &BTreeMap<String, String>) -> Vec<Warning> {
    map.keys()
        .filter(|name| {
            name.starts_with("CRM_") && KNOWN.iter().all(|setting| setting.name != name.as_str())
        })
        .map(|name| Warning { name: name.clone(), nearest: nearest(name) })
        .collect()
}

/// The known name that this one looks like: of its letters behind `CRM_`, at most every third is another.
fn nearest(name: &str) -> Option<&'static str> {
    let distances = KNOWN.iter().map(|setting| (distance(name, setting.name), setting.name));
    let (distance, nearest) = distances.min_by_key(|(distance, _)| *distance)?;
    (3 * distance <= name.len() - "CRM_".len()).then_some(nearest)
}

/// How many letters must be added, removed or changed to turn `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
