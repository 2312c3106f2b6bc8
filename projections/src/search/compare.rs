//! What an engine holds against what it should hold.

use super::engine::Held;

/// What stands in one of two sorted lists and not in the other.
pub(super) fn differing(expected: &[Held], held: &[Held]) -> Vec<Held> {
    let only = |a: &[Held], b: &[Held]| -> Vec<Held> {
        a.iter().filter(|one| b.binary_search(one).is_err()).cloned().collect()
    };
    let mut odd = only(expected, held);
    odd.append(&mut only(held, expected));
    odd.sort_unstable();
    odd
}

#[cfg(test)]
mod tests {
    use domain::Kind;

    use super::super::Part;
    use super::super::engine::{Place, TextDigest};
    use super::*;

    #[test]
    fn what_is_missing_stale_or_too_much_differs() {
        let held = |id: i64, version: i64| Held {
            place: Place { record: Kind::Note.record(id), part: Part::Text, ordinal: 0 },
            version,
            digest: TextDigest([0; 16]),
        };
        let expected = [held(1, 1), held(2, 2), held(3, 3)];
        assert_eq!(differing(&expected, &expected), []);
        let there = [held(2, 1), held(3, 3), held(4, 4)];
        assert_eq!(differing(&expected, &there), [held(1, 1), held(2, 1), held(2, 2), held(4, 4)]);
    }
}
