//! What of a model's draft can be kept, and what is wrong with the rest.

use domain::fund::Interest;
use domain::note::{ActionItem, KeyPoint};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::evidence::Evidence;
use crate::prose::{plain, sentences};

/// The longest summary, in characters.
pub(super) const SUMMARY: usize = 2000;
/// The longest text of a point or item.
const ITEM: usize = 400;
/// The longest name or date.
const NAME: usize = 60;
/// The most points, and the most items, of one draft.
const MOST: usize = 12;
/// The fewest words that prove anything.
const QUOTE: usize = 3;

/// What a model wrote.
#[derive(Debug, Deserialize)]
pub(super) struct Draft {
    summary: String,
    key_points: Option<Vec<DraftPoint>>,
    action_items: Option<Vec<DraftItem>>,
    fundraise: Option<String>,
    interest: Option<String>,
    interest_quote: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DraftPoint {
    text: String,
    quote: String,
}

#[derive(Debug, Deserialize)]
struct DraftItem {
    text: String,
    owner: Option<String>,
    due: Option<String>,
    quote: String,
}

/// What of a draft can be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Empty if nothing of it can be.
    pub(super) summary: String,
    pub(super) key_points: Vec<KeyPoint>,
    pub(super) action_items: Vec<ActionItem>,
    pub(super) fundraise: Option<String>,
    pub(super) interest: Option<KeptInterest>,
}

/// A stage of the funnel, with the words that show it and when they were said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeptInterest {
    pub(super) stage: String,
    pub(super) quote: String,
    pub(super) start_ms: u64,
}

/// A JSON object out of an answer, which some models wrap in a sentence or in marks of code.
///
/// # Errors
/// Words for the model about what is wrong.
pub(super) fn object<T: DeserializeOwned>(answer: &str) -> Result<T, String> {
    let object =
        answer.find('{').zip(answer.rfind('}')).and_then(|(from, to)| answer.get(from..=to));
    let object = object.ok_or("it is not a JSON object")?;
    serde_json::from_str(object)
        .map_err(|error| format!("it is not the JSON object that was asked for: {error}"))
}

/// Keeps of a draft what the transcript bears out. The complaints are words for the model.
pub(super) fn check(draft: Draft, evidence: &Evidence) -> (Kept, Vec<String>) {
    let mut complaints = Vec::new();
    let kept = Kept {
        summary: prose("summary", &draft.summary, SUMMARY, evidence, &mut complaints)
            .unwrap_or_default(),
        key_points: points(draft.key_points.unwrap_or_default(), evidence, &mut complaints),
        action_items: items(draft.action_items.unwrap_or_default(), evidence, &mut complaints),
        fundraise: said_name("fundraise", draft.fundraise, evidence, &mut complaints),
        interest: interest(
            draft.interest,
            draft.interest_quote.as_deref(),
            evidence,
            &mut complaints,
        ),
    };
    (kept, complaints)
}

/// What may be kept of a text of several sentences.
pub(super) fn prose(
    name: &str,
    text: &str,
    most: usize,
    evidence: &Evidence,
    complaints: &mut Vec<String>,
) -> Option<String> {
    let text = match plain(text, most) {
        Ok(text) => text,
        Err(unfit) => {
            complaints.push(format!("{name} {unfit}"));
            return None;
        }
    };
    let is_borne_out = |sentence: &&str| match evidence.unsaid(sentence) {
        Some(unsaid) => {
            complaints.push(format!("{name} has {unsaid}, which is not in the transcript"));
            false
        }
        None => true,
    };
    let kept: Vec<&str> = sentences(&text).into_iter().filter(is_borne_out).collect();
    (!kept.is_empty()).then(|| kept.join(" "))
}

/// Models write words where nothing is meant.
fn is_nothing(text: &str) -> bool {
    let text = text.trim().to_lowercase();
    ["", "null", "none", "n/a", "na", "-", "unknown", "not mentioned", "ninguno", "ninguna"]
        .contains(&text.as_str())
}

/// One sentence with the words that prove it, and when they were said.
fn proved(
    name: &str,
    text: &str,
    quote: &str,
    evidence: &Evidence,
    complaints: &mut Vec<String>,
) -> Option<(String, String, u64)> {
    let text = prose(name, text, ITEM, evidence, complaints)?;
    let (quote, start_ms) = quoted(&format!("the quote of {name}"), quote, evidence, complaints)?;
    Some((text, quote, start_ms))
}

/// Words that were said, and when.
fn quoted(
    name: &str,
    quote: &str,
    evidence: &Evidence,
    complaints: &mut Vec<String>,
) -> Option<(String, u64)> {
    let Some(start_ms) = evidence.said(quote, QUOTE) else {
        complaints.push(format!("{name} does not stand in the transcript word for word"));
        return None;
    };
    match plain(quote, ITEM) {
        Ok(quote) => Some((quote, start_ms)),
        Err(unfit) => {
            complaints.push(format!("{name} {unfit}"));
            None
        }
    }
}

fn points(
    drafts: Vec<DraftPoint>,
    evidence: &Evidence,
    complaints: &mut Vec<String>,
) -> Vec<KeyPoint> {
    let mut points = Vec::new();
    for (at, draft) in drafts.into_iter().take(MOST).enumerate() {
        let name = format!("key_points[{at}]");
        if let Some((text, _, start_ms)) =
            proved(&name, &draft.text, &draft.quote, evidence, complaints)
        {
            points.push(KeyPoint { text, start_ms: Some(start_ms) });
        }
    }
    points
}

fn items(
    drafts: Vec<DraftItem>,
    evidence: &Evidence,
    complaints: &mut Vec<String>,
) -> Vec<ActionItem> {
    let mut items = Vec::new();
    for (at, draft) in drafts.into_iter().take(MOST).enumerate() {
        let name = format!("action_items[{at}]");
        if let Some((text, quote, start_ms)) =
            proved(&name, &draft.text, &draft.quote, evidence, complaints)
        {
            let owner = draft.owner.filter(|owner| !is_pronoun(owner));
            let owner = said_name(&format!("{name}.owner"), owner, evidence, complaints);
            let due = said_name(&format!("{name}.due"), draft.due, evidence, complaints);
            items.push(ActionItem {
                text,
                owner,
                due,
                quote: Some(quote),
                start_ms: Some(start_ms),
            });
        }
    }
    items
}

/// Who is meant by these nobody can tell later.
fn is_pronoun(owner: &str) -> bool {
    let owner = owner.trim().to_lowercase();
    [
        "i",
        "me",
        "we",
        "us",
        "you",
        "he",
        "she",
        "they",
        "speaker",
        "the speaker",
        "yo",
        "nosotros",
        "usted",
        "tú",
        "él",
        "ella",
        "ellos",
    ]
    .contains(&owner.as_str())
}

/// A name or date, if it was said.
fn said_name(
    name: &str,
    text: Option<String>,
    evidence: &Evidence,
    complaints: &mut Vec<String>,
) -> Option<String> {
    let text = text.filter(|text| !is_nothing(text))?;
    match plain(&text, NAME) {
        Ok(text) if evidence.said(&text, 1).is_some() => Some(text),
        _ => {
            complaints
                .push(format!("{name} does not stand in the transcript word for word: write null"));
            None
        }
    }
}

fn interest(
    level: Option<String>,
    quote: Option<&str>,
    evidence: &Evidence,
    complaints: &mut Vec<String>,
) -> Option<KeptInterest> {
    let level = level.filter(|level| !is_nothing(level))?;
    let level = level.trim();
    if !Interest::KNOWN.contains(&level) {
        complaints.push(format!("interest is none of {}", Interest::KNOWN.join(", ")));
        return None;
    }
    let (quote, start_ms) =
        quoted("interest_quote", quote.unwrap_or_default(), evidence, complaints)?;
    Some(KeptInterest { stage: level.to_owned(), quote, start_ms })
}

#[cfg(test)]
mod tests;
