//! `/recordings/{id}` for people: the recording along its transcript, and what was made of it.

mod suggestions;
mod transcript;
mod wording;

use std::collections::BTreeSet;

use axum::http::HeaderMap;
use axum::response::Response;
use domain::note::{Decision, Note, RecordingId, Stage, spoken_time};
use domain::{FundId, Kind, LpId, RecordRef};
use maud::{Markup, html};
use projections::history::Names;

use self::wording::heard;
pub use self::wording::{length, reason, words};
use super::answer;
use super::assets::{IDIOMORPH, RECORDING};
use super::layout::{Here, Section, moment, page_with};
use super::recorder::languages;
use crate::app::App;
use crate::problem::Problem;
use crate::recordings::{self, Standing, named};
use crate::resource::record_of;

/// A recording with whom its note is about, by name.
struct Shown {
    /// What is shown is no older than the log was here.
    position: i64,
    now: Standing,
    note: RecordRef,
    /// Which fund and LP a suggested interest may be about.
    funds: Choice,
    lps: Choice,
    /// How those that the note is about stand to each other; there is none where they do not.
    stages: Vec<(FundId, LpId, Option<String>)>,
    names: Names,
}

/// Records to choose one of: those of a kind that the note is about, or else all.
struct Choice {
    all: Vec<RecordRef>,
    are_linked: bool,
}

/// Of more than these nobody reads how they stand.
const MOST_STAGES: usize = 6;

impl Shown {
    async fn read(app: &App, id: i64) -> Result<Self, Problem> {
        let position = app.reader.position();
        let now = recordings::find(app, RecordingId(id)).await?;
        let note = record_of::<Note>(now.stored.note.0);
        let linked = app.reader.linked_to(note).await?;
        let of = |kind: Kind| {
            let all: Vec<_> = linked.iter().copied().filter(|it| it.kind() == kind).collect();
            Choice { are_linked: !all.is_empty(), all }
        };
        let (mut funds, mut lps) = (of(Kind::Fund), of(Kind::Lp));
        let database = app.log.database();
        let spoken = linked.iter().copied().chain(named(&now.stored)).chain([note]);
        let mut names = Names::of(database, spoken.collect::<Vec<_>>()).await?;
        let mut stages = Vec::new();
        if is_interest_open(&now) {
            stages = stages_of(app, &funds.all, &lps.all).await?;
            for (chosen, kind) in [(&mut funds, Kind::Fund), (&mut lps, Kind::Lp)] {
                if !chosen.are_linked {
                    chosen.all = names.add_all(database, kind).await?;
                }
            }
        }
        Ok(Self { position, now, note, funds, lps, stages, names })
    }

    /// Where to hear of what changes the note, what its suggestions became, and while an interest is to be decided on the funds
    /// that it may be about. Their names and those of LPs are shown as they were.
    fn feed(&self) -> String {
        let funds: BTreeSet<RecordRef> =
            self.stages.iter().map(|(fund, ..)| (*fund).into()).collect();
        let records = std::iter::once(self.note).chain(named(&self.now.stored)).chain(funds);
        let records: Vec<_> = records.map(|it| format!("{}/{}", it.kind(), it.id())).collect();
        format!("/events?record={}", records.join(","))
    }

    /// The path of one of its endpoints.
    fn path(&self, rest: &str) -> String {
        format!("/recordings/{}{rest}", self.now.stored.id)
    }
}

/// Whether somebody is to decide on a suggested interest.
fn is_interest_open(now: &Standing) -> bool {
    let interest = now.stored.recording.interest.as_ref();
    interest.is_some_and(|interest| interest.decision == Decision::Open)
}

/// How LPs stand to funds.
async fn stages_of(
    app: &App,
    funds: &[RecordRef],
    lps: &[RecordRef],
) -> Result<Vec<(FundId, LpId, Option<String>)>, Problem> {
    let funds: Vec<FundId> = funds.iter().map(|fund| FundId(fund.id())).collect();
    let lps: Vec<LpId> = lps.iter().map(|lp| LpId(lp.id())).collect();
    let mut stages = app.reader.interests(&funds, &lps).await?;
    let pairs = funds.iter().flat_map(|fund| lps.iter().map(move |lp| (*fund, *lp)));
    let told = pairs.map(|(fund, lp)| (fund, lp, stages.remove(&(fund, lp))));
    Ok(told.take(MOST_STAGES).collect())
}

/// Shows the page.
pub async fn show(app: &App, headers: &HeaderMap, id: i64) -> Response {
    answer(app, headers, async {
        let shown = Shown::read(app, id).await?;
        let recording = &shown.now.stored.recording;
        let body = html! {
            div.lead id="lead" {
                div {
                    p.quiet { a href={"/audit/note/" (shown.note.id())} { (shown.names.begin(shown.note)) } }
                    h1 { (recording.name) }
                    @if let Some(at) = shown.now.stored.attached_at { p.quiet { "Added " (moment(at)) } }
                }
                p { a.button href={"/notes/" (shown.note.id()) "/record"} { "Record another" } }
            }
            div.notice id="said" role="alert" hidden {}
            p.quiet id="cut-off" role="status" {}
            div.player id="player" { audio id="audio" controls preload="metadata" src=(shown.path("/audio")) aria-label="The recording" {} }
            div id="recording" data-address=(shown.path("")) data-under-way[shown.now.is_under_way()]
                data-feed=(shown.feed()) data-position=(shown.position) {
                (standing(&shown))
                div.listening {
                    (transcript::section(&shown))
                    (suggestions::section(&shown))
                }
            }
            (transcript::editor())
        };
        Ok(page_with(app, &recording.name, Here::Within(Section::Recordings), &[&IDIOMORPH, &RECORDING], body).await)
    })
    .await
}

/// What is asked before a recording is removed.
const QUESTION: &str = "Remove the recording? Its audio is gone for good. Its transcript and summary are no longer shown or found, \
                        but stay in the note's history until the note is erased.";

/// Where it stands, in plain words, and what can be done about it.
fn standing(shown: &Shown) -> Markup {
    let (state, why) = shown.now.state();
    let recording = &shown.now.stored.recording;
    let can_cancel = shown.now.is_under_way();
    let transcript = recording.transcript.as_ref();
    let can_retry = matches!(
        recording.stage,
        Stage::TranscriptionCancelled
            | Stage::SummaryCancelled
            | Stage::TranscriptionFailed { .. }
            | Stage::SummaryFailed { .. }
    );
    html! {
        section.box id="standing" data-state=(state) data-why=[&why] aria-label="Where it stands" {
            p role="status" {
                (words(state, why.is_some()))
                @if let Some(why) = &why { " " (reason(why)) }
            }
            @if let Some(it) = transcript { p.quiet { (heard(it)) } }
            @if state == "transcribing" {
                @let done = shown.now.done();
                div.progress {
                    progress id="progress" max="1" value=[done] aria-label="Transcribed so far" {}
                    span id="progress-told" { @if let Some(done) = done { (percent(done)) } }
                }
            }
            div.actions {
                @if can_cancel { (action(&shown.path("/cancel"), "Stop", None)) }
                @if shown.now.is_put_off() { (action(&shown.path("/retry"), "Try now", None)) }
                @if can_retry { (action(&shown.path("/retry"), "Try again", None)) }
                @if recording.transcript.is_some() && !can_cancel { (action(&shown.path("/summarise"), "Summarise again", None)) }
                form.actions data-send=(shown.path("")) data-method="DELETE" data-then={"/notes/" (shown.note.id()) "/record?removed"}
                    data-confirm=(QUESTION) {
                    button.danger type="submit" { "Remove…" }
                }
            }
            details id="rename" {
                summary { "Rename" }
                form.row id="rename-form" data-send=(shown.path("")) data-method="PATCH" data-part {
                    div { label for="name" { "Name" } input id="name" name="name" value=(recording.name) maxlength="200" required; }
                    button type="submit" { "Rename" }
                }
            }
            @if !can_cancel {
                details {
                    summary { @if transcript.is_some() { "Transcribe it again" } @else { "Transcribe it in a language of your choice" } }
                    form.row id="transcribe-again" data-send=(shown.path("/transcribe")) data-query data-part {
                        div { label for="again" { "Language spoken" } (languages("again", recording.language.as_deref())) }
                        button type="submit" { "Transcribe again" }
                    }
                }
            }
        }
    }
}

/// A part of the whole, as people say it.
fn percent(done: f64) -> String {
    format!("{:.0} %", 100.0 * done)
}

/// A button that sends something, perhaps after a question.
fn action(address: &str, text: &str, question: Option<&str>) -> Markup {
    html! {
        form.actions data-send=(address) data-confirm=[question] { button type="submit" { (text) } }
    }
}

/// A button that goes to a time in the recording.
fn seek(ms: u64) -> Markup {
    let time = spoken_time(ms);
    html! { button.seek type="button" data-seek=(ms) aria-label={"Play from " (time)} { (time) } }
}
