//! Values of fields as people read them, and what differs between two.

use domain::telling::{label, named, plain};
use domain::{FactChange, FactName, Facts, RecordRef};
use maud::{Markup, html};
use projections::history::Names;
use serde_json::Value;
use similar::ChangeTag;

use super::excerpt::{
    ALONE, LISTED, Room, beginning, grouped, is_cut, json, rest, rewritten, short_json, side,
};
use super::filters::escaped;

/// Where values that a page cuts stand whole.
#[derive(Clone, Copy)]
pub enum Whole {
    /// On the page of the record's change at this position.
    Change(RecordRef, i64),
    /// As texts, before and after that change.
    Texts(RecordRef, i64),
    /// Nowhere yet: nothing of it is recorded.
    Nowhere,
}

impl Whole {
    fn room(self) -> Room {
        match self {
            Self::Texts(..) => ALONE,
            Self::Change(..) | Self::Nowhere => LISTED,
        }
    }
}

/// Where the history of a record is.
pub fn path(record: RecordRef) -> String {
    format!("/audit/{}/{}", record.kind(), record.id())
}

/// Where one change of a record is.
pub fn change_path(record: RecordRef, position: i64) -> String {
    format!("{}/changes/{position}", path(record))
}

/// Where a value is, whole: what the record said of a fact after the event at a position.
fn text_path(record: RecordRef, fact: &FactName, position: i64) -> String {
    let about = fact.about.map(|about| format!("&about={}/{}", about.kind(), about.id()));
    let (field, about) = (escaped(&fact.field), about.unwrap_or_default());
    format!("{}/text?field={field}{about}&at={position}", path(record))
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
    facts.iter().flat_map(|(name, said)| named(&name.field, said).into_iter().chain(name.about))
}

/// Likewise for changes.
pub fn changed(changes: &[FactChange]) -> Vec<RecordRef> {
    let of = |change: &FactChange| {
        let sides = [&change.from, &change.to].map(|said| named(&change.field, said));
        sides.into_iter().chain([change.about]).flatten().collect::<Vec<_>>()
    };
    changes.iter().flat_map(of).collect()
}

/// A value by itself, as much of it as there is room for.
fn shown(names: &Names, field: &str, said: &Value, room: Room) -> Markup {
    if let Some(texts) = listed(said).filter(|_| !exceeds(said, room)) {
        return list(&texts);
    }
    match (named(field, said), said) {
        (Some(record), _) => record_link(names, record),
        (_, Value::Null) => html! { span.none { "nothing" } },
        (_, Value::Object(_) | Value::Array(_)) => {
            let (text, more) = json(said, room.value);
            html! { pre.words tabindex="0" { (text) @if more > 0 { (rest(more)) } } }
        }
        (_, Value::String(text)) if is_long(text) => {
            html! { div.words tabindex="0" { (beginning(text, room.value)) } }
        }
        _ => html! { (plain(said)) },
    }
}

/// Several short texts, such as the reasons of legal holds.
fn listed(said: &Value) -> Option<Vec<&str>> {
    let texts: Option<Vec<&str>> = said.as_array()?.iter().map(Value::as_str).collect();
    texts.filter(|texts| !texts.is_empty() && texts.iter().all(|it| !is_long(it)))
}

/// Texts of which each is seen to be one, whatever stands in it.
pub fn list(texts: &[impl AsRef<str>]) -> Markup {
    html! { ul.values { @for text in texts { li { (text.as_ref()) } } } }
}

/// Whether a text needs a box of its own; blanks alone are told in words.
fn is_long(text: &str) -> bool {
    (text.len() > 300 || text.contains('\n')) && !text.trim().is_empty()
}

/// Whether two texts are compared word by word.
fn are_compared(from: &str, to: &str) -> bool {
    let is_blank = |text: &str| text.trim().is_empty();
    (is_long(from) || is_long(to)) && !is_blank(from) && !is_blank(to)
}

/// Whether there is more of a value than a page shows.
fn exceeds(said: &Value, room: Room) -> bool {
    match said {
        Value::String(text) => is_cut(text, room.value) && !text.trim().is_empty(),
        Value::Array(_) | Value::Object(_) => short_json(said, room.value).is_none(),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Old and new, told apart by more than colour.
fn difference(names: &Names, change: &FactChange, room: Room) -> Markup {
    let FactChange { field, from, to, .. } = change;
    if let (Value::String(from), Value::String(to)) = (from, to)
        && are_compared(from, to)
    {
        return rewritten(from, to, room);
    }
    if let Some(words) = tie(change) {
        return html! { (words) };
    }
    html! {
        @if !from.is_null() { del { span.hidden { "was " } (shown(names, field, from, room)) } }
        @if !from.is_null() || to.is_null() { span aria-hidden="true" { " → " } }
        @if to.is_null() { span.none { "nothing" } }
        @else { ins { span.hidden { " is now " } (shown(names, field, to, room)) } }
    }
}

/// What became of a link, which says nothing but that it is there.
fn tie(change: &FactChange) -> Option<&'static str> {
    match (change.about, &change.from, &change.to) {
        (Some(_), Value::Null, Value::Bool(true)) => Some("added"),
        (Some(_), Value::Bool(true), Value::Null) => Some("removed"),
        _ => None,
    }
}

/// How to see all of a change of which only a part is shown.
fn way(change: &FactChange, whole: Whole) -> Markup {
    let sides = [(&change.from, "before", 1), (&change.to, "after", 0)];
    let mut cut = sides.into_iter().filter(|(said, ..)| exceeds(said, whole.room())).peekable();
    let field = label(&change.field);
    html! {
        @if cut.peek().is_some() {
            @match whole {
                Whole::Change(record, position) => {
                    p { a href=(change_path(record, position)) { "See all of it" span.hidden { ": " (field) ", change " (position) } } }
                }
                Whole::Texts(record, position) => {
                    p.actions {
                        @for (said, when, back) in cut {
                            (text_link(record, &change.name(), position - back, &format!("All of it {when}"), said))
                        }
                    }
                }
                Whole::Nowhere => {}
            }
        }
    }
}

/// Leads to a value as a text.
fn text_link(
    record: RecordRef,
    fact: &FactName,
    position: i64,
    words: &str,
    said: &Value,
) -> Markup {
    html! {
        a href=(text_path(record, fact, position)) {
            (words) span.hidden { ": " (label(&fact.field)) }
            @if let Value::String(text) = said { " (" (grouped(text.chars().count())) " characters)" }
        }
    }
}

/// A list of changes: which field, what it was, what it is.
pub fn change_list(names: &Names, changes: &[FactChange], whole: Whole) -> Markup {
    html! {
        dl.changes {
            @for change in changes {
                dt { (name(names, &change.field, change.about)) }
                dd { (difference(names, change, whole.room())) (way(change, whole)) }
            }
        }
    }
}

/// A record at a point in time.
pub struct Side<'s> {
    /// What to call the point.
    pub head: &'s str,
    /// Its position.
    pub at: i64,
    /// What the record said then.
    pub facts: &'s Facts,
}

/// Two states of a record, fact by fact; where they differ is said.
pub fn table(names: &Names, caption: &str, own: RecordRef, sides: [Side<'_>; 2]) -> Markup {
    let mut facts: Vec<&FactName> = sides.iter().flat_map(|side| side.facts.keys()).collect();
    facts.sort();
    facts.dedup();
    html! {
        div.scroll {
            table.stack {
                caption { (caption) }
                thead { tr { th scope="col" { "Field" } @for side in &sides { th scope="col" { (side.head) } } } }
                tbody { @for fact in facts { (row(names, own, fact, &sides)) } }
            }
        }
    }
}

/// A fact at both points.
fn row(names: &Names, own: RecordRef, fact: &FactName, sides: &[Side<'_>; 2]) -> Markup {
    let nothing = Value::Null;
    let said = sides.each_ref().map(|side| side.facts.get(fact).unwrap_or(&nothing));
    let differs = said[0] != said[1];
    html! {
        tr.differs[differs] {
            th scope="row" {
                (name(names, &fact.field, fact.about))
                @if differs { span.mark { "differs" } }
            }
            @for (at, side) in sides.iter().enumerate() {
                td data-head=(side.head) {
                    (cell(names, fact, said, at))
                    @if exceeds(said[at], LISTED) {
                        p { (text_link(own, fact, side.at, "See all of it", said[at])) }
                    }
                }
            }
        }
    }
}

/// What one of both sides says; marked if the other says something else.
fn cell(names: &Names, fact: &FactName, said: [&Value; 2], at: usize) -> Markup {
    if said[0] != said[1]
        && let [Value::String(from), Value::String(to)] = said
        && are_compared(from, to)
        && (is_cut(from, LISTED.value) || is_cut(to, LISTED.value))
    {
        let mark = if at == 0 { ChangeTag::Delete } else { ChangeTag::Insert };
        return side(from, to, mark, LISTED);
    }
    let value = shown(names, &fact.field, said[at], LISTED);
    match said[at] {
        Value::Null => value,
        _ if said[0] == said[1] => value,
        _ if at == 0 => html! { del { (value) } },
        _ => html! { ins { (value) } },
    }
}
