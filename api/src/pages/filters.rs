//! What is filtered by, as it stands in the address: read, explained, and turned into chips that take it away again.

use chrono::{DateTime, Utc};
use domain::telling::{known, label};
use domain::{Kind, Moment};
use maud::{Markup, html};
use projections::history::{Network, Of, Selection};
use uuid::Uuid;

use super::story::record_of;
use crate::body::Parameters;
use crate::history::names;
use crate::history::wanted::{MOST, USUAL};
use crate::problem;

/// The filters, each with what it is called.
const FILTERS: &[(&str, &str)] = &[
    ("q", "Words"),
    ("kind", "Kind"),
    ("record", "Record"),
    ("related", "Also what is about it"),
    ("actor", "Who"),
    ("event", "Event"),
    ("field", "Field"),
    ("from", "Since"),
    ("to", "Before"),
    ("source", "Source"),
    ("address", "Address"),
    ("program", "Program"),
    ("correlation", "Same request"),
];

/// Filters that only refusals have.
const STATUS: (&str, &str) = ("status", "Answered with");

/// What may stand in the address beside filters.
const BESIDE: &[&str] = &["cursor", "min_position", "as_of", "change", "done"];

/// What is asked for.
pub struct Filters {
    /// Name and value of each filter that is set.
    pub set: Vec<(&'static str, String)>,
    /// The same, understood.
    pub selection: Selection,
    /// What could not be understood: name, value and why.
    pub faults: Vec<(String, String, String)>,
    /// Only what lies before this position, as an earlier page says.
    pub cursor: Option<i64>,
    /// How many changes a page has.
    pub limit: usize,
    path: String,
}

impl Filters {
    /// Reads them.
    pub fn of(path: String, parameters: &Parameters) -> Self {
        let mut filters = Self {
            set: Vec::new(),
            selection: Selection::default(),
            faults: Vec::new(),
            cursor: None,
            limit: USUAL,
            path,
        };
        for (name, value) in parameters.pairs() {
            let value = value.trim();
            if !value.is_empty() {
                filters.take(name, value);
            }
        }
        let is_of_one = filters.path != "/audit" || filters.selection.record.is_some();
        if filters.selection.related && !is_of_one {
            let why = "It needs a record that it is about".to_owned();
            filters.faults.push(("related".to_owned(), "true".to_owned(), why));
        }
        filters
    }

    fn take(&mut self, name: &str, value: &str) {
        if let Err(why) = self.understand(name, value) {
            self.faults.push((name.to_owned(), value.to_owned(), why));
        } else if let Some((name, _)) = FILTERS.iter().find(|(known, _)| *known == name) {
            self.set.retain(|(set, _)| set != name);
            self.set.push((name, value.to_owned()));
        }
    }

    fn understand(&mut self, name: &str, value: &str) -> Result<(), String> {
        let is_of_one = self.path != "/audit";
        if is_of_one && ["kind", "record"].contains(&name) {
            return Err(
                "These are the changes of one record; see all changes for those of others".into()
            );
        }
        let wanted = &mut self.selection;
        let text = || Some(value.to_owned());
        match name {
            "q" => wanted.text = text(),
            "actor" => wanted.actor = text(),
            "event" => wanted.event = Some(names::event(value)?),
            "field" => wanted.field = Some(names::field(value)?),
            "source" => wanted.source = text(),
            "address" => {
                let network = Network::parse(value);
                wanted.address = Some(
                    network
                        .ok_or("An address is written like 10.1.2.3, a network like 10.1.0.0/16")?,
                );
            }
            "program" => wanted.program = text(),
            "kind" => {
                let none = || format!("There is no such kind; there are {}", Of::names());
                wanted.kind = Some(Of::parse(value).ok_or_else(none)?);
            }
            "record" => {
                let record = value.split_once('/').and_then(|(kind, id)| record_of(kind, id).ok());
                wanted.record = Some(record.ok_or("A record is named like lp/7")?);
            }
            "related" => {
                wanted.related = value.parse().map_err(|_| "It is true or false")?;
            }
            "correlation" => {
                let id = Uuid::try_parse(value);
                wanted.correlation = Some(id.map_err(|_| "The id of a request is a UUID")?);
            }
            "from" => wanted.from = Some(moment(value)?),
            "to" => wanted.to = Some(moment(value)?),
            "cursor" => {
                self.cursor = Some(value.parse().map_err(|_| "A position is a whole number")?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MOST).contains(limit));
                self.limit = limit.ok_or_else(|| format!("A page has 1 to {MOST} changes"))?;
            }
            known if BESIDE.contains(&known) => {}
            _ => {
                let names: Vec<&str> = FILTERS.iter().map(|(name, _)| *name).collect();
                return Err(format!(
                    "There is no filter of this name; there are {}",
                    names.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// The address with these filters but one, and something more.
    pub fn address(&self, without: &str, more: &[(&str, String)]) -> String {
        let kept = self.set.iter().filter(|(name, _)| *name != without);
        let kept = kept.map(|(name, value)| (*name, value.as_str()));
        let pairs: Vec<String> = kept
            .chain(more.iter().map(|(name, value)| (*name, value.as_str())))
            .map(|(name, value)| format!("{name}={}", escaped(value)))
            .collect();
        match pairs.is_empty() {
            true => self.path.clone(),
            false => format!("{}?{}", self.path, pairs.join("&")),
        }
    }

    /// Another page of as many changes.
    pub fn page(&self, cursor: Option<i64>) -> String {
        let limit = (self.limit != USUAL).then(|| ("limit", self.limit.to_string()));
        let cursor = cursor.map(|cursor| ("cursor", cursor.to_string()));
        self.address("", &limit.into_iter().chain(cursor).collect::<Vec<_>>())
    }

    fn value(&self, name: &str) -> &str {
        self.set.iter().find(|(set, _)| *set == name).map_or("", |(_, value)| value)
    }

    /// Likewise what was asked for in vain, so that it can be mended.
    fn asked(&self, name: &str) -> &str {
        let fault = self.faults.iter().find(|(faulty, ..)| faulty == name);
        fault.map_or_else(|| self.value(name), |(_, value, _)| value)
    }

    /// What is set, each with a way to take it away.
    pub fn chips(&self) -> Markup {
        html! {
            @if !self.set.is_empty() {
                ul.chips aria-label="Filters that are set" {
                    @for (name, value) in &self.set {
                        li { a href=(self.address(name, &[])) {
                            (told(name, value)) " " span aria-hidden="true" { "×" } span.hidden { " (remove this filter)" }
                        } }
                    }
                    @if self.set.len() > 1 { li { a href=(self.path) { "Remove all" } } }
                }
            }
        }
    }

    /// What is set, in a line that is seen while the form is folded.
    fn told(&self) -> Markup {
        let set = self.set.iter().map(|(name, value)| told(name, value));
        html! { span.told id="filters-told" { (set.collect::<Vec<_>>().join(", ")) } }
    }

    /// What could not be understood, and what to do.
    pub fn explanation(&self) -> Markup {
        html! {
            @if !self.faults.is_empty() {
                div.notice role="alert" {
                    h2 { "Nothing is shown, since a filter was not understood" }
                    @for (name, value, why) in &self.faults {
                        p { b { (name) " = " (value) } " – " (why) "." }
                    }
                    p { a href=(self.address("", &[])) { "Show the changes without it" } }
                }
            }
        }
    }

    /// The form; `of` is the kind of the record, where only one is told of.
    pub fn form(&self, of: Option<Kind>) -> Markup {
        let text = |name: &'static str, placeholder: &str| {
            html! {
                div {
                    label for={"f-" (name)} { (called(name)) }
                    input id={"f-" (name)} name=(name) type="search" value=(self.value(name)) placeholder=(placeholder) autocomplete="off";
                }
            }
        };
        let date = |name: &'static str| {
            html! {
                div {
                    label for={"f-" (name)} { (called(name)) }
                    @let value = self.value(name);
                    @let kind = if value.is_empty() || value.len() == 10 { "date" } else { "text" };
                    input id={"f-" (name)} name=(name) type=(kind) value=(value);
                }
            }
        };
        // Not asked for while it is typed: half a name is none, nor is half an address.
        let typed = |name: &'static str, placeholder: &str| {
            html! {
                div {
                    label for={"f-" (name)} { (called(name)) }
                    input id={"f-" (name)} name=(name) type="text" value=(self.asked(name)) placeholder=(placeholder) autocomplete="off";
                }
            }
        };
        let named = |name: &'static str, placeholder: &str, offered: Markup| {
            html! {
                div {
                    label for={"f-" (name)} { (called(name)) }
                    input id={"f-" (name)} name=(name) type="text" list={"known-" (name)} value=(self.asked(name)) placeholder=(placeholder) autocomplete="off";
                    datalist id={"known-" (name)} { (offered) }
                }
            }
        };
        html! {
            details.filters id="filters" open {
                summary { "Filter " (self.told()) }
                form method="get" action=(self.path) data-tidy role="search" aria-label="Filter changes"
                    hx-get=(self.path) hx-target="#results" hx-select="#results" hx-select-oob="#filters-told" hx-swap="outerHTML" hx-push-url="true" hx-sync="this:replace"
                    hx-trigger="submit, change, input delay:300ms from:input[type=search]" {
                    @if of.is_none() {
                        (text("q", "such as “Fund III”"))
                        div {
                            label for="f-kind" { (called("kind")) }
                            select id="f-kind" name="kind" {
                                option value="" { "All kinds" }
                                @for kind in Of::all() {
                                    option value=(kind.as_str()) selected[self.value("kind") == kind.as_str()] { (title(kind)) }
                                }
                            }
                        }
                    }
                    (named("field", "such as priority", fields(of)))
                    (text("actor", "such as anonymous"))
                    (date("from"))
                    (date("to"))
                    (named("event", "such as Renamed", events(of)))
                    (text("source", "such as api"))
                    (typed("address", "such as 10.1.0.0/16"))
                    (typed("program", "such as curl/8.5.0"))
                    @if of.is_some() {
                        label.check {
                            input name="related" type="checkbox" value="true" checked[self.selection.related];
                            (called("related"))
                        }
                    }
                    @for name in ["record", "related", "correlation"] {
                        @let is_asked = name == "related" && of.is_some();
                        @if !is_asked && !self.value(name).is_empty() { input type="hidden" name=(name) value=(self.value(name)); }
                    }
                    @if self.limit != USUAL { input type="hidden" name="limit" value=(self.limit); }
                    div.actions {
                        button.primary type="submit" { "Show" }
                        a.button href=(self.path) { "Clear" }
                    }
                }
            }
        }
    }
}

/// The fields that can be asked for, each with what people call it.
fn fields(of: Option<Kind>) -> Markup {
    let fields = of.map_or_else(known::all_fields, known::fields);
    html! { @for field in fields { option value=(field) { (label(field)) } } }
}

/// The events that can be asked for.
fn events(of: Option<Kind>) -> Markup {
    let events = of.map_or_else(known::all_events, known::events);
    html! { @for event in events { option value=(event) {} } }
}

/// What a filter is called.
pub fn called(name: &str) -> &str {
    let mut all = FILTERS.iter().chain([&STATUS]);
    all.find(|(known, _)| *known == name).map_or(name, |(_, called)| called)
}

/// What entries are of, as people call it.
fn title(of: Of) -> &'static str {
    match of {
        Of::Records(kind) => problem::title(kind),
        Of::Imports => "Rows of no record",
    }
}

/// A filter that is set, in words.
fn told(name: &str, value: &str) -> String {
    match (name, value) {
        ("related", "true") => called(name).to_owned(),
        ("related", _) => "Nothing else that is about it".to_owned(),
        _ => format!("{}: {value}", called(name)),
    }
}

/// A moment; a date alone is its beginning.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    Moment::parse(text.trim())
        .map(|moment| moment.instant())
        .map_err(|_| "A time is written like 2025-01-31 or 2025-01-31T15:04Z".to_owned())
}

/// Text as it stands in the query of an address.
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(query: &str) -> Filters {
        let uri = format!("/audit?{query}").parse().unwrap();
        Filters::of("/audit".to_owned(), &Parameters::of(&uri))
    }

    #[test]
    fn filters_stand_in_the_address_and_come_out_of_it_one_by_one() {
        let filters = filters("kind=lp&q=Fund+III&actor=&cursor=9");
        assert!(filters.faults.is_empty());
        assert_eq!(filters.cursor, Some(9));
        assert_eq!(filters.address("", &[]), "/audit?kind=lp&q=Fund%20III");
        assert_eq!(
            filters.address("kind", &[("cursor", "3".to_owned())]),
            "/audit?q=Fund%20III&cursor=3"
        );
        assert_eq!(filters.address("q", &[]), "/audit?kind=lp");
        assert_eq!(filters.page(None), "/audit?kind=lp&q=Fund%20III");
    }

    #[test]
    fn pages_are_as_long_as_the_address_says() {
        let filters = filters("limit=500&record=lp/7&related=true");
        assert!(filters.faults.is_empty() && filters.selection.related);
        assert_eq!(filters.limit, 500);
        assert_eq!(filters.page(Some(9)), "/audit?record=lp/7&related=true&limit=500&cursor=9");
    }

    #[test]
    fn the_changes_of_one_record_are_not_those_of_another_kind_or_record() {
        for query in ["kind=gp", "record=gp/3"] {
            let uri = format!("/audit/lp/7?{query}").parse().unwrap();
            let filters = Filters::of("/audit/lp/7".to_owned(), &Parameters::of(&uri));
            assert_eq!((filters.faults.len(), filters.set.len()), (1, 0), "{query}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let check = |query: &str, expected: &str| {
            let faults: Vec<String> =
                filters(query).faults.into_iter().map(|(name, ..)| name).collect();
            assert_eq!(faults, [expected], "{query}");
        };
        for name in [
            "colour",
            "kind",
            "record",
            "from",
            "to",
            "correlation",
            "address",
            "cursor",
            "field",
            "event",
            "limit",
            "related",
        ] {
            check(&format!("{name}=x"), name);
        }
        check("limit=501", "limit");
        check("related=true", "related");
    }
}
