//! The summary on the page, and the suggestions that a person accepts or dismisses.

use domain::fund::Interest;
use domain::note::{
    AcceptedInterest, AcceptedTodo, ActionItem, Author, Decision, KeyPoint, SuggestedInterest,
    SuggestedItem, Summary,
};
use domain::{FundId, LpId, RecordRef};
use maud::{Markup, html};

use super::super::empty;
use super::super::values::path;
use super::{Choice, Shown, action, seek};

/// All that was made of the recording.
pub fn section(shown: &Shown) -> Markup {
    let recording = &shown.now.stored.recording;
    html! {
        aside aria-label="What it comes down to" {
            @match &recording.summary {
                Some(summary) => (summary_of(shown, summary)),
                None => section {
                    h2 { "Summary" }
                    (empty(if shown.now.is_under_way() { "There is no summary yet." } else { "There is no summary." }))
                },
            }
            @if !recording.items.is_empty() {
                section.box aria-labelledby="items-title" {
                    h2 id="items-title" { "Action items" }
                    p.quiet { "Suggestions: they become todos only when you accept them." }
                    ul.suggestions { @for (number, item) in &recording.items { (item_of(shown, *number, item)) } }
                }
            }
            @if let Some(interest) = &recording.interest { (interest_of(shown, interest)) }
        }
    }
}

fn summary_of(shown: &Shown, summary: &Summary) -> Markup {
    let recording = &shown.now.stored.recording;
    // A sentence that stands out and is an action item stands among these.
    let is_item = |point: &KeyPoint| {
        let mut items = recording.items.values().map(|it| &it.item);
        items.any(|item| item.start_ms == point.start_ms && is_same(&item.text, &point.text))
    };
    let points: Vec<_> = summary.key_points.iter().filter(|point| !is_item(point)).collect();
    let is_elsewhere = points.is_empty() && !summary.key_points.is_empty();
    html! {
        section.box aria-labelledby="summary-title" {
            @match &summary.author {
                Author::Model { model, .. } => {
                    h2 id="summary-title" { "Summary" }
                    p.quiet { "Written by " (model) ": check it before you rely on it." }
                },
                Author::Highlights | Author::HighlightsInstead { .. } => {
                    h2 id="summary-title" { (Summary::HIGHLIGHTS) }
                },
            }
            @if recording.is_corrected_since && !shown.now.is_under_way() {
                div.notice id="outdated" {
                    p { "The transcript was corrected after this was made." }
                    (action(&shown.path("/summarise"), "Make it anew", None))
                }
            }
            @if summary.is_empty() { (empty("No sentence stands out.")) }
            @for paragraph in summary.text.lines().filter(|line| !line.trim().is_empty()) { p { (paragraph) } }
            @if !points.is_empty() { ul.points { @for point in points { (point_of(point)) } } }
            @if is_elsewhere && summary.text.trim().is_empty() { p.quiet { "All that stands out is among the action items." } }
        }
    }
}

/// Whether both say the same, whatever stands around it.
fn is_same(one: &str, other: &str) -> bool {
    let bare = |text: &str| text.trim_matches(|it: char| !it.is_alphanumeric()).to_lowercase();
    bare(one) == bare(other)
}

fn point_of(KeyPoint { text, start_ms }: &KeyPoint) -> Markup {
    html! { li { (text) " " @if let Some(start) = start_ms { (seek(*start)) } } }
}

/// How many characters of an action item can be read in its field, however narrow the page is.
const ROOM: usize = 24;

fn item_of(shown: &Shown, number: u32, SuggestedItem { item, decision }: &SuggestedItem) -> Markup {
    let place = shown.path(&format!("/action-items/{number}"));
    // What a todo says in the same words need not be said twice, nor what a field has room for.
    let is_told = match decision {
        Decision::Open => item.text.chars().count() <= ROOM,
        Decision::Accepted(todo) => {
            let todo = shown.names.name(todo.id.into());
            todo.is_some_and(|title| is_same(title, &item.text))
        }
        Decision::Dismissed => false,
    };
    let is_open = *decision == Decision::Open;
    let quote = item.quote.as_ref().filter(|quote| !is_same(quote, &item.text));
    html! {
        li id={"action-item-" (number)} data-part {
            @if !is_told { p { (item.text) } }
            @if let Some(quote) = quote { blockquote { (quote) } }
            p.quiet {
                @if let Some(owner) = item.owner.as_ref().filter(|_| !is_open) { "Owner: " (owner) ". " }
                @if let Some(due) = &item.due { "Due, as it was said: " (due) ". " }
                @if let Some(start) = item.start_ms { (seek(start)) }
            }
            @match decision {
                Decision::Accepted(todo) => (accepted(shown, number, item, todo)),
                Decision::Dismissed => { p.quiet { "Dismissed." } (action(&format!("{place}/accept"), "Accept after all", None)) },
                Decision::Open => div.decide {
                    (item_form(shown, number, item, "Accept"))
                    (action(&format!("{place}/dismiss"), "Dismiss", None))
                },
            }
        }
    }
}

/// The todo that an item became, or how to make another when that is deleted.
fn accepted(shown: &Shown, number: u32, item: &ActionItem, todo: &AcceptedTodo) -> Markup {
    let link = html! { a href=(path(todo.id.into())) { (shown.names.call(todo.id.into())) } };
    html! {
        @if shown.now.deleted.contains(&todo.id.into()) {
            p { "✓ Accepted, but its " (link) " was deleted." }
            (item_form(shown, number, item, "Make another"))
        } @else {
            p { "✓ Accepted: " (link) }
        }
    }
}

/// A form that makes a todo of an item.
fn item_form(shown: &Shown, number: u32, item: &ActionItem, button: &str) -> Markup {
    let title = format!("item-{number}");
    let due = shown.now.due_if_accepted(item).map(|due| due.date().to_string());
    html! {
        form data-send=(shown.path(&format!("/action-items/{number}/accept"))) {
            div.row {
                div { label for=(title) { "Todo" } input id=(title) name="title" value=(item.text) required; }
                div { label for={(title) "-owner"} { "Owner" } input id={(title) "-owner"} name="owner" value=[&item.owner] maxlength="200"; }
                div { label for={(title) "-due"} { "Due" } input id={(title) "-due"} name="due_date" type="date" value=[due]; }
                button.primary type="submit" { (button) }
            }
        }
    }
}

fn interest_of(
    shown: &Shown,
    SuggestedInterest { suggestion, decision }: &SuggestedInterest,
) -> Markup {
    html! {
        section.box id="suggested-interest" aria-labelledby="interest-title" data-part {
            h2 id="interest-title" { "Interest" }
            p { (suggestion.in_words().replace('_', " ")) }
            @if let Some(quote) = &suggestion.quote { blockquote { (quote) } }
            @if let Some(start) = suggestion.start_ms { p.quiet { (seek(start)) } }
            @match decision {
                Decision::Accepted(AcceptedInterest { fund, lp, interest }) => p {
                    "✓ Accepted: " (interest.as_str().replace('_', " ")) ", of "
                    (party(shown, (*lp).into())) " in " (party(shown, (*fund).into()))
                },
                Decision::Dismissed => p.quiet { "Dismissed." },
                Decision::Open => (interest_form(shown, suggestion.interest.as_deref())),
            }
        }
    }
}

/// Whose interest it is, or in what.
fn party(shown: &Shown, record: RecordRef) -> Markup {
    html! {
        a href=(path(record)) { (shown.names.call(record)) }
        @if shown.now.deleted.contains(&record) { ", which was deleted since" }
    }
}

/// How an LP stands to a fund before anything is accepted.
fn present_stage(shown: &Shown, fund: FundId, lp: LpId, stage: Option<&str>) -> Markup {
    let (fund, lp) = (shown.names.call(fund.into()), shown.names.begin(lp.into()));
    html! {
        p.quiet {
            @match stage {
                Some(stage) => { "At present " (lp) " is at " b { (stage.replace('_', " ")) } " for " (fund) "." },
                None => { "At present " (lp) " is not in the funnel of " (fund) " yet." },
            }
        }
    }
}

fn interest_form(shown: &Shown, suggested: Option<&str>) -> Markup {
    let is_suggested = |stage: &&str| suggested.is_some_and(|it| it.eq_ignore_ascii_case(stage));
    let stage = Interest::KNOWN.iter().copied().find(is_suggested);
    let records = |name: &str, label: &str, choice: &Choice| {
        let is_clear = choice.are_linked && choice.all.len() == 1;
        html! {
            div {
                label for=(name) { (label) }
                select id=(name) name=(name) data-number required {
                    @if !is_clear { option value="" { "Choose" } }
                    @for record in &choice.all { option value=(record.id()) { (shown.names.call(*record)) } }
                }
            }
        }
    };
    let is_possible = !shown.funds.all.is_empty() && !shown.lps.all.is_empty();
    html! {
        @if !is_possible {
            p.quiet { "It can be accepted once there is a fund and an LP." }
        }
        @for (fund, lp, stage) in &shown.stages { (present_stage(shown, *fund, *lp, stage.as_deref())) }
        div.decide {
            @if is_possible { form data-send=(shown.path("/interest/accept")) {
                div.row {
                    (records("fund_id", "Fund", &shown.funds))
                    (records("lp_id", "LP", &shown.lps))
                    div {
                        label for="interest" { "Stage" }
                        select id="interest" name="interest" required {
                            @if stage.is_none() { option value="" { "Choose" } }
                            @for known in Interest::KNOWN { option value=(known) selected[stage == Some(*known)] { (known.replace('_', " ")) } }
                        }
                    }
                    button.primary type="submit" { "Accept" }
                }
            } }
            (action(&shown.path("/interest/dismiss"), "Dismiss", None))
        }
    }
}
