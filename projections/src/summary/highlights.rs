//! Highlights of a transcript without any model: the sentences that most others resemble, and those that promise or ask
//! for something. All of it is quoted, nothing is written; so it is labelled as such wherever it
//! is shown ([`Summary::to_text`]).

mod due;
mod promise;
mod rank;
mod spoken;

use domain::note::{ActionItem, Author, KeyPoint, Line, Summary};

use super::Summarised;
use spoken::{Sentence, spoken};

/// The most action items that are suggested.
const MOST_ITEMS: usize = 20;

/// The longest quote, in characters.
const LONGEST: usize = 400;

/// The highlights of a transcript: the same for the same transcript.
pub fn highlights(lines: &[Line]) -> Summarised {
    let sentences = spoken(lines);
    let point = |sentence: &Sentence| KeyPoint {
        text: shortened(&sentence.text),
        start_ms: Some(sentence.start_ms),
    };
    let key_points = rank::most_telling(&sentences).into_iter().map(point).collect();
    let mut items: Vec<ActionItem> = Vec::new();
    for item in sentences.iter().filter_map(item) {
        let is_new = items.iter().all(|known| known.text != item.text);
        if is_new && items.len() < MOST_ITEMS {
            items.push(item);
        }
    }
    let summary = Summary { author: Author::Highlights, text: String::new(), key_points };
    Summarised { summary, items, interest: None }
}

/// The sentence as an action item, if it promises or asks for something.
fn item(sentence: &Sentence) -> Option<ActionItem> {
    let promise = promise::promise(&sentence.text)?;
    let text = shortened(&sentence.text);
    Some(ActionItem {
        owner: promise.owner,
        due: due::due(&sentence.text[promise.deed..])
            .or_else(|| due::due_first(&sentence.text[..promise.deed])),
        quote: Some(text.clone()),
        start_ms: Some(sentence.start_ms),
        text,
    })
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
    }
}

#[cfg(test)]
mod tests;
