//! Which action items of a new summary are known from an earlier one, and under which numbers they are suggested.
//!
//! Whoever summarises words things differently each time. An item is known if it says the same as one that is there, or if it alone
//! was read from the words that one alone was read from. What was decided stays decided; what is open keeps its number, by which
//! somebody may be about to decide on it.

use super::recording::{Recording, SuggestedItem};
use super::suggestion::{ActionItem, Decision, NumberedItem};
use super::wording::is_same;

impl ActionItem {
    /// Whether both say the same, however that is written.
    fn says_what(&self, other: &Self) -> bool {
        is_same(&self.text, &other.text)
    }

    /// Whether both were read from the same words at the same time.
    fn is_read_where(&self, other: &Self) -> bool {
        let is_same_quote = match (&self.quote, &other.quote) {
            (Some(one), Some(other)) => is_same(one, other),
            _ => false,
        };
        is_same_quote && self.start_ms.is_some() && self.start_ms == other.start_ms
    }
}

impl Recording {
    /// The items that are yet to be decided on, with their numbers: those that they were suggested under before, or fresh ones.
    pub(super) fn numbered(&self, items: Vec<ActionItem>) -> Vec<NumberedItem> {
        let items = each_once(items);
        let known = self.known(&items);
        let mut fresh = self.numbered + 1..;
        let suggested = items.into_iter().zip(known).filter_map(|(item, known)| {
            let number = match known {
                Some((_, suggested)) if suggested.decision != Decision::Open => return None,
                Some((number, _)) => number,
                None => fresh.next()?,
            };
            Some(NumberedItem { number, item })
        });
        suggested.collect()
    }

    /// Which of the earlier items each of these is. Those that say the same find each other first. Several may be read from the same
    /// words, as where somebody promises two things at once: of the rest nobody knows which is which, unless there is one of each.
    fn known(&self, items: &[ActionItem]) -> Vec<Option<(u32, &SuggestedItem)>> {
        let mut earlier: Vec<_> = self.items.iter().map(|(number, it)| (*number, it)).collect();
        earlier.sort_by_key(|(_, it)| it.decision == Decision::Open);
        let mut known = vec![None; items.len()];
        for (item, known) in items.iter().zip(&mut known) {
            let at = earlier.iter().position(|(_, it)| item.says_what(&it.item));
            *known = at.map(|at| earlier.remove(at));
        }
        let rest: Vec<usize> = (0..items.len()).filter(|at| known[*at].is_none()).collect();
        for at in &rest {
            let item = &items[*at];
            let like = rest.iter().filter(|at| item.is_read_where(&items[**at])).count();
            let mut before = earlier.iter().filter(|(_, it)| item.is_read_where(&it.item));
            if let (1, Some(only), None) = (like, before.next(), before.next()) {
                known[*at] = Some(*only);
            }
        }
        known
    }
}

/// Of items that say the same, the first.
fn each_once(items: Vec<ActionItem>) -> Vec<ActionItem> {
    let mut once: Vec<ActionItem> = Vec::new();
    for item in items {
        if !once.iter().any(|it| it.says_what(&item)) {
            once.push(item);
        }
    }
    once
}
