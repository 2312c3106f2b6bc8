//! Partial updates: what a PUT body says about one optional attribute.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Absent keeps, `null` clears, a value sets. The same shape in the request and in the event.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Change<T> {
    /// Leaves the attribute as it is.
    #[default]
    Keep,
    /// Empties the attribute.
    Clear,
    /// Gives the attribute this value.
    Set(T),
}

impl<T> Change<T> {
    /// Whether this leaves the attribute as it is.
    pub fn is_keep(&self) -> bool {
        matches!(self, Change::Keep)
    }

    /// Puts the change into effect.
    pub fn apply(self, slot: &mut Option<T>) {
        match self {
            Change::Keep => {}
            Change::Clear => *slot = None,
            Change::Set(value) => *slot = Some(value),
        }
    }

    /// Takes the change out, leaving [`Change::Keep`]: for attributes that have an event of their own.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// The value that results when `None` stands for "keep": the new content, or nothing to do.
    pub fn into_option(self) -> Option<Option<T>> {
        match self {
            Change::Keep => None,
            Change::Clear => Some(None),
            Change::Set(value) => Some(Some(value)),
        }
    }
}

impl<T: PartialEq> Change<T> {
    /// `Keep` unless it would really alter `current`: an event records only what changed.
    pub fn against(self, current: &Option<T>) -> Self {
        match (&self, current) {
            (Change::Clear, None) => Change::Keep,
            (Change::Set(new), Some(old)) if new == old => Change::Keep,
            _ => self,
        }
    }
}

impl<T> From<Option<T>> for Change<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Change::Clear, Change::Set)
    }
}

impl<T: Serialize> Serialize for Change<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Change::Set(value) => s.serialize_some(value),
            Change::Keep | Change::Clear => s.serialize_none(),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(d)?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_difference_remains() {
        let check = |change: Change<i64>, current: Option<i64>, expected: Change<i64>| {
            assert_eq!(
                change.clone().against(&current),
                expected,
                "{change:?} against {current:?}"
            );
        };
        check(Change::Keep, Some(1), Change::Keep);
        check(Change::Clear, None, Change::Keep);
        check(Change::Clear, Some(1), Change::Clear);
        check(Change::Set(1), Some(1), Change::Keep);
        check(Change::Set(2), Some(1), Change::Set(2));
        check(Change::Set(1), None, Change::Set(1));
    }
}
