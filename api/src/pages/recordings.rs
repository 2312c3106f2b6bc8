//! `/recordings` for people: those of all meetings, the newest first.

use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use domain::RecordRef;
use domain::note::spoken_time;
use maud::{Markup, html};

use super::layout::{Here, Section, moment, page};
use super::recorder::language;
use super::recording::{reason, words};
use super::values::path;
use super::{answer, empty};
use crate::app::App;
use crate::body::Parameters;
use crate::history::wanted::{RECORDINGS, Wanted};
use crate::recordings::Standing;
use crate::recordings::list::{Listed, STATES, list};

/// Shows the page; it takes the same parameters as the API.
pub async fn show(app: &App, headers: &HeaderMap, uri: &Uri) -> Response {
    answer(app, headers, async {
        let listed = list(app, &Wanted::of(uri, RECORDINGS)?).await?;
        let parameters = Parameters::of(uri);
        let state = parameters.get("state");
        let body = html! {
            div.lead {
                div {
                    h1 { "Recordings" }
                    p.quiet { "What was recorded of meetings, the newest first. The page of a note has the recorder." }
                }
            }
            (choice(state))
            @if !listed.all.is_empty() { (table(&listed)) }
            @else if state.is_some() { (empty("No recording is in this state.")) }
            @else { (empty("Nothing is recorded.")) }
            @if let Some(next) = listed.next {
                nav.pages aria-label="Further recordings" {
                    a.button rel="next" href=(address(state, parameters.get("limit"), Some(next))) { "Older recordings" }
                }
            }
        };
        Ok(page(app, "Recordings", Here::At(Section::Recordings), body).await)
    })
    .await
}

fn address(state: Option<&str>, limit: Option<&str>, cursor: Option<i64>) -> String {
    // Each of these is known: what is unknown was refused before.
    let state = state.map(|state| format!("state={state}"));
    let limit = limit.map(|limit| format!("limit={limit}"));
    let cursor = cursor.map(|cursor| format!("cursor={cursor}"));
    let pairs: Vec<String> = [state, limit, cursor].into_iter().flatten().collect();
    match pairs.is_empty() {
        true => "/recordings".to_owned(),
        false => format!("/recordings?{}", pairs.join("&")),
    }
}

/// What a state is called where there is little room.
fn called(state: &str) -> &str {
    match state {
        "stored" => "Waiting",
        "waiting_for_model" => "Waiting for a model",
        "transcribing" => "Being transcribed",
        "transcribed" => "Transcribed",
        "summarised" => "Summarised",
        "cancelled" => "Stopped",
        "failed" => "Failed",
        other => other,
    }
}

fn choice(chosen: Option<&str>) -> Markup {
    let choice = |state: Option<&str>, text: &str| {
        html! { li { a href=(address(state, None, None)) aria-current=[(state == chosen).then_some("true")] { (text) } } }
    };
    html! {
        nav aria-label="By state" {
            ul.chips {
                (choice(None, "All"))
                @for (state, _) in STATES { (choice(Some(state), called(state))) }
            }
        }
    }
}

fn table(listed: &Listed) -> Markup {
    html! {
        div.scroll {
            table.stack.recordings {
                caption { "Recordings of meetings" }
                thead { tr { @for head in ["Recording", "Meeting", "LPs", "State", "Length"] { th scope="col" { (head) } } } }
                tbody { @for it in &listed.all { (row(listed, it)) } }
            }
        }
    }
}

fn row(listed: &Listed, it: &Standing) -> Markup {
    let (state, why) = it.state();
    let (lps, note) = (listed.lps(it), RecordRef::from(it.stored.note));
    html! {
        tr data-state=(state) {
            th scope="row" {
                a href={"/recordings/" (it.stored.id)} { (it.stored.recording.name) }
                @if let Some(at) = it.stored.attached_at { " " span.quiet { "added " (moment(at)) } }
            }
            td data-head="Meeting" { a href=(path(note)) { (listed.names.name(note).map_or_else(|| listed.names.begin(note), str::to_owned)) } }
            td data-head="LPs" {
                @if lps.is_empty() { span.quiet { "none" } }
                @for (at, lp) in lps.iter().enumerate() {
                    @if at > 0 { ", " }
                    a href=(path((*lp).into())) { (listed.names.begin((*lp).into())) }
                }
            }
            td data-head="State" {
                (words(state, why.is_some()))
                @if let Some(why) = &why { " " span.quiet { (reason(why)) } }
            }
            td data-head="Length" {
                @match it.duration_ms() { Some(length) => (spoken_time(length)), None => span.quiet { "not known yet" } }
                @if let Some(spoken) = it.language() { ", " (language(spoken)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_can_be_chosen_by_a_name_of_its_own() {
        for (state, _) in STATES {
            assert_ne!(called(state), *state);
        }
        assert_eq!(address(None, None, None), "/recordings");
        assert_eq!(
            address(Some("failed"), Some("2"), Some(7)),
            "/recordings?state=failed&limit=2&cursor=7"
        );
    }
}
