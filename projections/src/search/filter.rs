//! Which records a search looks at.

use chrono::{DateTime, Utc};
use domain::{Kind, RecordRef};

use super::Language;

/// Which records a search looks at; what is empty or `None` does not filter. Both the tables and every engine of vectors
/// go by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Only records of these kinds. If there are none, all but cards too short to say much, where it is about points.
    pub kinds: Vec<Kind>,
    /// Only what is about every one of these, or is that record itself.
    pub about: Vec<RecordRef>,
    /// Only what happened at that moment or later; what has no date did not.
    pub from: Option<DateTime<Utc>>,
    /// Only what happened before that moment.
    pub to: Option<DateTime<Utc>>,
    /// Only passages in this language.
    pub language: Option<Language>,
}

/// What a filter asks of a passage and of its record.
#[derive(Clone, Copy, Debug)]
pub struct Filtered<'a> {
    /// The record.
    pub record: RecordRef,
    /// The records it is linked to.
    pub about: &'a [RecordRef],
    /// When it happened, if it is of a day.
    pub date: Option<DateTime<Utc>>,
    /// What the passage is written in, if it is known.
    pub language: Option<Language>,
    /// Whether it is a card too short to say much.
    pub is_brief: bool,
}

impl Filter {
    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Lets of what it lets pass only that pass which is of this time: from a moment on, before another one.
    #[must_use]
    pub fn within(&self, (from, to): (DateTime<Utc>, DateTime<Utc>)) -> Self {
        let from = Some(self.from.map_or(from, |it| it.max(from)));
        let to = Some(self.to.map_or(to, |it| it.min(to)));
        Self { from, to, ..self.clone() }
    }

    /// Whether this passes.
    pub fn admits(&self, it: Filtered<'_>) -> bool {
        let is_late = |from| it.date.is_some_and(|date| date >= from);
        let is_early = |to| it.date.is_some_and(|date| date < to);
        let is_of_kind = match self.kinds.is_empty() {
            true => !it.is_brief,
            false => self.kinds.contains(&it.record.kind()),
        };
        is_of_kind
            && self.about.iter().all(|one| it.record == *one || it.about.contains(one))
            && self.from.is_none_or(is_late)
            && self.to.is_none_or(is_early)
            && self.language.is_none_or(|language| it.language == Some(language))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_admits_what_it_names_and_nothing_else() {
        let day = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let note = Filtered {
            record: Kind::Note.record(1),
            about: &[Kind::Lp.record(7), Kind::Fund.record(2)],
            date: Some(day("2025-01-31T00:00:00Z")),
            language: Some(Language::English),
            is_brief: false,
        };
        let check = |filter: Filter, expected: bool| {
            assert_eq!(filter.admits(note), expected, "{filter:?}");
        };
        let none = Filter::default();
        assert!(none.is_empty());
        check(none.clone(), true);
        check(Filter { kinds: vec![Kind::Lp], ..none.clone() }, false);
        check(Filter { kinds: vec![Kind::Lp, Kind::Note], ..none.clone() }, true);
        check(Filter { about: vec![Kind::Lp.record(7)], ..none.clone() }, true);
        check(Filter { about: vec![Kind::Note.record(1)], ..none.clone() }, true);
        check(
            Filter { about: vec![Kind::Lp.record(7), Kind::Gp.record(7)], ..none.clone() },
            false,
        );
        check(Filter { from: Some(day("2025-01-31T00:00:00Z")), ..none.clone() }, true);
        check(Filter { to: Some(day("2025-01-31T00:00:00Z")), ..none.clone() }, false);
        check(Filter { language: Some(Language::Spanish), ..none.clone() }, false);
        let brief = Filtered { is_brief: true, ..note };
        assert!(!none.admits(brief));
        assert!(Filter { kinds: vec![Kind::Note], ..none.clone() }.admits(brief));
        let undated = Filtered { date: None, ..note };
        assert!(!Filter { to: Some(day("2026-01-01T00:00:00Z")), ..none }.admits(undated));
    }
}
