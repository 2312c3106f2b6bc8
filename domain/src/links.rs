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

    /// What to add and what to remove so that the links of these kinds are exactly `wanted`.
    pub fn difference(
        &self,
        kinds: &[Kind],
        wanted: &[RecordRef],
    ) -> (Vec<RecordRef>, Vec<RecordRef>) {
        let surplus = self
            .iter()
            .filter(|link| kinds.contains(&link.kind()) && !wanted.contains(link))
            .collect();
        (self.missing(wanted.iter().copied()), surplus)
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

    #[test]
    fn replacing_links_touches_only_the_kinds_named() {
        let mut links = Links::default();
        links.add([LpId(1).into(), LpId(2).into(), GpId(9).into()]);
        let wanted = [LpId(2).into(), LpId(3).into()];
        let (add, remove) = links.difference(&[Kind::Lp], &wanted);
        assert_eq!(add, [LpId(3).into()]);
        assert_eq!(remove, [LpId(1).into()]);
    }
}
