//! Highlights of a transcript without any model: the sentences that most others resemble, and those that promise or ask
//! for something. All of it is quoted, nothing is written; so it is labelled.

mod due;
mod promise;
mod rank;
mod spoken;

use std::fmt::Write as _;

use super::said::{Transcript, clock};
use super::{ActionItem, Author, KeyPoint, Summary};
use spoken::{Sentence, spoken};

/// What stands above highlights, so that nobody takes them for a summary that somebody thought about.
pub const LABEL: &str = "Highlights (not AI-written)";

/// The most action items that are suggested.
const MOST_ITEMS: usize = 20;

/// The longest quote, in characters.
const LONGEST: usize = 400;

/// The highlights of a transcript: the same for the same transcript.
pub fn highlights(transcript: &Transcript) -> Summary {
    let sentences = spoken(transcript);
    let key_points: Vec<KeyPoint> = rank::most_telling(&sentences).into_iter().map(point).collect();
    let promises =
        sentences.iter().filter_map(|sentence| Some((sentence, promise::promise(&sentence.text)?)));
    let mut action_items: Vec<ActionItem> = Vec::new();
    for (sentence, promise) in promises {
        let KeyPoint { text, quote, start_ms } = point(sentence);
        let is_new = action_items.iter().all(|item| item.text != text);
        if is_new && action_items.len() < MOST_ITEMS {
            let due = due::due(&sentence.text);
            action_items.push(ActionItem { text, owner: promise.owner, due, quote, start_ms });
        }
    }
    let mut summary = LABEL.to_owned();
    for point in &key_points {
        let _ = write!(summary, "\n{} “{}”", clock(point.start_ms), point.quote);
    }
    Summary {
        summary,
        key_points,
        action_items,
        fundraise: None,
        interest: None,
        author: Author::Highlights,
    }
}

fn point(sentence: &Sentence) -> KeyPoint {
    let text = shortened(&sentence.text);
    KeyPoint { quote: text.clone(), text, start_ms: sentence.start_ms }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
    }
}

#[cfg(test)]
mod tests;
