//! What was made of a transcript: a summary, and suggestions that count for nothing until a person accepts them.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::{FundId, LpId, Moment, RecordRef, TodoId};

/// Who wrote a summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Author {
    /// A language model.
    Model {
        /// Which.
        model: String,
        /// The version of what it was asked.
        prompt: String,
    },
    /// Nobody: sentences were picked from the transcript.
    Highlights,
    /// Likewise, since a model that was asked wrote nothing that can be used.
    HighlightsInstead {
        /// What is wrong with the model.
        why: String,
    },
}

impl Author {
    /// Why a model that was asked did not write it.
    pub fn instead_of_model(&self) -> Option<&str> {
        match self {
            Author::HighlightsInstead { why } => Some(why),
            Author::Model { .. } | Author::Highlights => None,
        }
    }
}

/// A point of a summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPoint {
    /// What it is; of highlights, the very words.
    pub text: String,
    /// Where in the recording it is said, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<u64>,
}

/// What a recording comes down to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Who wrote it.
    pub author: Author,
    /// The summary in whole sentences; empty for highlights.
    pub text: String,
    /// Its points.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_points: Vec<KeyPoint>,
}

impl Summary {
    /// What stands above sentences that were picked, so that nobody takes them for a summary.
    pub const HIGHLIGHTS: &str = "Highlights (not AI-written)";

    /// Whether it says nothing: of a few words, no sentence is worth quoting.
    pub fn is_empty(&self) -> bool {
        self.text.trim().is_empty() && self.key_points.is_empty()
    }

    /// The summary as one text, a line for each point.
    pub fn to_text(&self) -> String {
        let mut text = match self.author {
            Author::Model { .. } => self.text.clone(),
            Author::Highlights | Author::HighlightsInstead { .. } => Self::HIGHLIGHTS.to_owned(),
        };
        for point in &self.key_points {
            let _ = write!(text, "\n- {}", point.text);
            if let Some(start) = point.start_ms {
                let seconds = start / 1000;
                let _ = write!(text, " ({}:{:02})", seconds / 60, seconds % 60);
            }
        }
        text
    }
}

/// Something that somebody seems to have promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionItem {
    /// What is to be done.
    pub text: String,
    /// Who is to do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When, as it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// The words it was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// Where in the recording it is said, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<u64>,
}

/// An action item with the number that it is accepted or dismissed by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberedItem {
    /// Its number among all that were ever suggested for the recording, from 1.
    pub number: u32,
    /// What it says.
    pub item: ActionItem,
}

/// How interested an LP seems to be, and in what; at least one of both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterestSuggestion {
    /// How much, in words; none if that was not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interest: Option<String>,
    /// In which fund, as it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fundraise: Option<String>,
    /// The words that show how much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// Where in the recording they are said, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ms: Option<u64>,
}

impl InterestSuggestion {
    /// Whether both suggest the same, whatever they rest on.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.interest, &self.fundraise) == (&other.interest, &other.fundraise)
    }

    /// What it says, in a few words.
    pub fn in_words(&self) -> String {
        let parts = [self.interest.as_deref(), self.fundraise.as_deref()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" in ")
    }
}

/// The todo that an action item became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedTodo {
    /// Its id.
    pub id: TodoId,
    /// What is to be done, perhaps in better words than were suggested.
    pub title: String,
    /// When it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_date: Option<Moment>,
    /// Whether a person said that it has no date, whatever was said of one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_undated: bool,
    /// Who is to do it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Whom and what it is about beside the note.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<RecordRef>,
    /// When it was accepted, in UTC.
    pub at: Moment,
}

/// The interest that a suggestion became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedInterest {
    /// In which fund.
    pub fund: FundId,
    /// Whose.
    pub lp: LpId,
    /// The stage that was recorded.
    pub interest: String,
}

/// What became of a suggestion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision<A> {
    /// Nothing yet.
    Open,
    /// A person accepted it.
    Accepted(A),
    /// A person dismissed it.
    Dismissed,
}

impl<A> Decision<A> {
    /// What became of it, in a word.
    pub fn in_a_word(&self) -> &'static str {
        match self {
            Decision::Open => "open",
            Decision::Accepted(_) => "accepted",
            Decision::Dismissed => "dismissed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn highlights_are_labelled_wherever_a_summary_is_one_text() {
        let check = |author: Author, text: &str, expected: &str| {
            let key_points = vec![
                KeyPoint { text: "They like it.".into(), start_ms: Some(65_900) },
                KeyPoint { text: "They wait.".into(), start_ms: None },
            ];
            assert_eq!(Summary { author, text: text.into(), key_points }.to_text(), expected);
        };
        let instead = Author::HighlightsInstead { why: "rubbish".into() };
        for nobody in [Author::Highlights, instead] {
            let expected = "Highlights (not AI-written)\n- They like it. (1:05)\n- They wait.";
            check(nobody, "", expected);
        }
        let model = Author::Model { model: "m".into(), prompt: "1".into() };
        check(model, "A call.", "A call.\n- They like it. (1:05)\n- They wait.");
    }
}
