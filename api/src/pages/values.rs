//! Values of fields as people read them, and what differs between two.

use domain::telling::{Part, label, plain, value};
use domain::{FactChange, FactName, Facts, RecordRef};
use maud::{Markup, html};
use projections::history::Names;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// Texts longer than this, in bytes, are shown side by side without looking for what differs in them.
const COMPARED: usize = 20_000;

/// Where the history of a record is.
pub fn path(record: RecordRef) -> String {
    format!("/audit/{}/{}", record.kind(), record.id())
}

/// A record by name, leading to its history.
pub fn record_link(names: &Names, record: RecordRef) -> Markup {
    html! { a href=(path(record)) { (names.call(record)) } }
}

/// What a fact is called: its field and the record it is about.
pub fn name(names: &Names, field: &str, about: Option<RecordRef>) -> Markup {
    html! { (label(field)) @if let Some(about) = about { " · " (record_link(names, about)) } }
}

/// The records that these facts speak of.
pub fn spoken_of(facts: &Facts) -> impl Iterator<Item = RecordRef> {
    facts.iter().flat_map(|(name, said)| {
        let named = match value(&name.field, said) {
            Part::Record(record) => Some(record),
            Part::Text(_) | Part::Value(_) => None,
        };
        named.into_iter().chain(name.about)
    })
}

/// Likewise for changes.
pub fn changed(changes: &[FactChange]) -> Vec<RecordRef> {
    let side = |pick: fn(&FactChange) -> &Value| -> Facts {
        changes.iter().map(|change| (change.name(), pick(change).clone())).collect()
    };
    let (from, to) = (side(|change| &change.from), side(|change| &change.to));
    spoken_of(&from).chain(spoken_of(&to)).collect()
}

/// A value by itself.
pub fn shown(names: &Names, field: &str, said: &Value) -> Markup {
    match (value(field, said), said) {
        (Part::Record(record), _) => record_link(names, record),
        (_, Value::Null) => html! { span.none { "nothing" } },
        (_, Value::Object(_) | Value::Array(_)) => {
            html! { pre.words tabindex="0" { (serde_json::to_string_pretty(said).unwrap_or_default()) } }
        }
        (_, Value::String(text)) if is_long(text) => html! { div.words tabindex="0" { (text) } },
        _ => html! { (plain(said)) },
    }
}

fn is_long(text: &str) -> bool {
    text.len() > 300 || text.contains('\n')
}

/// Old and new, told apart by more than colour.
pub fn difference(names: &Names, change: &FactChange) -> Markup {
    let FactChange { field, from, to, .. } = change;
    if let (Value::String(from), Value::String(to)) = (from, to)
        && (is_long(from) || is_long(to))
        && from.len().max(to.len()) <= COMPARED
    {
        return rewritten(from, to);
    }
    html! {
        @if !from.is_null() { del { span.hidden { "was " } (shown(names, field, from)) } }
        @if !from.is_null() || to.is_null() { span aria-hidden="true" { " → " } }
        @if to.is_null() { span.none { "nothing" } }
        @else { ins { span.hidden { " is now " } (shown(names, field, to)) } }
    }
}

fn rewritten(from: &str, to: &str) -> Markup {
    let diff = TextDiff::from_words(from, to);
    let words: Vec<_> = diff.iter_all_changes().collect();
    let runs = words
        .chunk_by(|one, other| one.tag() == other.tag())
        .map(|run| (run[0].tag(), run.iter().map(|word| word.value()).collect::<String>()));
    html! {
        div.words tabindex="0" {
            @for (tag, text) in runs {
                @match tag {
                    ChangeTag::Equal => (text),
                    ChangeTag::Delete => del { (text) },
                    ChangeTag::Insert => ins { (text) },
                }
            }
        }
    }
}

/// A list of changes: which field, what it was, what it is.
pub fn change_list(names: &Names, changes: &[FactChange]) -> Markup {
    html! {
        dl.changes {
            @for change in changes {
                dt { (name(names, &change.field, change.about)) }
                dd { (difference(names, change)) }
            }
        }
    }
}

/// Two states of a record, fact by fact; where they differ is said.
pub fn table(names: &Names, caption: &str, heads: [&str; 2], sides: [&Facts; 2]) -> Markup {
    let [left, right] = sides;
    let mut facts: Vec<&FactName> = left.keys().chain(right.keys()).collect();
    facts.sort();
    facts.dedup();
    let nothing = Value::Null;
    html! {
        div.scroll {
            table.stack {
                caption { (caption) }
                thead { tr { th scope="col" { "Field" } @for head in heads { th scope="col" { (head) } } } }
                tbody {
                    @for fact in facts {
                        @let (one, other) = (left.get(fact).unwrap_or(&nothing), right.get(fact).unwrap_or(&nothing));
                        @let differs = one != other;
                        tr.differs[differs] {
                            th scope="row" {
                                (name(names, &fact.field, fact.about))
                                @if differs { span.mark { "differs" } }
                            }
                            td data-head=(heads[0]) { @if differs && !one.is_null() { del { (shown(names, &fact.field, one)) } } @else { (shown(names, &fact.field, one)) } }
                            td data-head=(heads[1]) { @if differs && !other.is_null() { ins { (shown(names, &fact.field, other)) } } @else { (shown(names, &fact.field, other)) } }
                        }
                    }
                }
            }
        }
    }
}
