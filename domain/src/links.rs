//! The set of records that a record is linked to.

use std::collections::BTreeSet;

use crate::{Kind, RecordRef, Refusal};

/// What a record is linked to. A link is there or not; it carries nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Links(BTreeSet<RecordRef>);

impl Links {
    /// The links, ordered by kind and id.
    pub fn iter(&self) -> impl Iterator<Item = RecordRef> + '_ {
        self.0.iter().copied()
    }

    /// Whether the link is there.
    pub fn contains(&self, target: RecordRef) -> bool {
        self.0.contains(&target)
    }

    /// Adds links.
    pub fn add(&mut self, targets: impl IntoIterator<Item = RecordRef>) {
        self.0.extend(targets);
    }

    /// Takes links away.
    pub fn remove(&mut self, targets: &[RecordRef]) {
        self.0.retain(|link| !targets.contains(link));
    }

    /// Which of `wanted` are not there yet, each once.
    pub fn missing(&self, wanted: impl IntoIterator<Item = RecordRef>) -> Vec<RecordRef> {
        let wanted: BTreeSet<_> = wanted.into_iter().collect();
        wanted.difference(&self.0).copied().collect()
    }

    /// Which of `unwanted` are there, each once.
    pub fn present(&self, unwanted: &[RecordRef]) -> Vec<RecordRef> {
        self.iter().filter(|link| unwanted.contains(link)).collect()
    }

    /// Which links the other does not have.
    pub fn without(&self, other: &Self) -> Vec<RecordRef> {
        self.0.difference(&other.0).copied().collect()
    }

    /// Which links of these kinds are not among `wanted`.
    pub fn surplus(&self, kinds: &[Kind], wanted: &[RecordRef]) -> Vec<RecordRef> {
        self.iter().filter(|link| kinds.contains(&link.kind()) && !wanted.contains(link)).collect()
    }
}

/// Refuses a link to a kind that `from` is never linked to.
pub(crate) fn check_linkable(
    from: Kind,
    allowed: &[Kind],
    targets: &[RecordRef],
) -> Result<(), Refusal> {
    match targets.iter().find(|target| !allowed.contains(&target.kind())) {
        Some(&to) => Err(Refusal::CannotLink { from, to }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GpId, LpId};

    fn links() -> Links {
        let mut links = Links::default();
        links.add([LpId(1).into(), LpId(2).into(), GpId(9).into()]);
        links
    }

    #[test]
    fn a_link_is_added_or_removed_once_and_only_if_that_changes_something() {
        let [one, three] = [LpId(1).into(), LpId(3).into()];
        assert_eq!(links().missing([one, three, three]), [three]);
        assert_eq!(links().present(&[one, one, three]), [one]);
    }

    #[test]
    fn replacing_links_removes_only_those_of_the_kinds_named() {
        let wanted = [LpId(2).into(), LpId(3).into()];
        assert_eq!(links().surplus(&[Kind::Lp], &wanted), [LpId(1).into()]);
        assert_eq!(links().surplus(&[], &wanted), []);
    }
}
