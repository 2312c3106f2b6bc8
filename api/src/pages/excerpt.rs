//! Texts of any length in the little room that a page has: where they begin, and where two of them differ.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

use maud::{Markup, html};
use serde::Serialize;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// How much a page shows of long values, in characters.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Of a value by itself.
    pub value: usize,
    /// Of all places together in which two texts differ.
    pub difference: usize,
}

/// In a list, where values are many.
pub const LISTED: Room = Room { value: 300, difference: 1_200 };

/// On the page of one change.
pub const ALONE: Room = Room { value: 6_000, difference: 20_000 };

/// What is the same on either side of what differs is shown so far, in characters.
const AROUND: usize = 100;

/// What lies between the common beginning and end of two texts is compared word by word up to this length, in bytes.
const COMPARED: usize = 40_000;

/// Comparing takes no longer than this; what is found by then is shown. Tests see all of it, however busy the machine is.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 10_000 } else { 20 });

/// A word reaches so far at most, in bytes, from where two texts part.
const WORD: usize = 80;

/// Where a text is cut that is longer than so many characters.
fn end_of(text: &str, most: usize) -> Option<usize> {
    text.char_indices().nth(most).map(|(end, _)| end)
}

/// Whether a text is longer than there is room for.
pub fn is_cut(text: &str, most: usize) -> bool {
    text.len() > most && end_of(text, most).is_some()
}

/// The text, or its first characters and how many more there are.
pub fn beginning(text: &str, most: usize) -> Markup {
    match end_of(text, most) {
        None => html! { (text) },
        Some(end) => html! { (text[..end]) (rest(text[end..].chars().count())) },
    }
}

/// The first characters of a value as JSON, and how many more there are; these are counted and never held.
pub fn json(value: &Value, most: usize) -> (String, usize) {
    let mut beginning = Beginning { kept: String::new(), room: most, more: 0, must_fit: false };
    // Nothing that it writes to can fail.
    let _ = serde_json::to_writer_pretty(&mut beginning, value);
    (beginning.kept, beginning.more)
}

/// A value as JSON if it has no more than so many characters; of a longer one no more than these are made.
pub fn short_json(value: &impl Serialize, most: usize) -> Option<String> {
    let mut beginning = Beginning { kept: String::new(), room: most, more: 0, must_fit: true };
    serde_json::to_writer_pretty(&mut beginning, value).ok()?;
    Some(beginning.kept)
}

/// Keeps what there is room for, and counts the rest, in characters.
struct Beginning {
    kept: String,
    room: usize,
    more: usize,
    must_fit: bool,
}

impl Write for Beginning {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let end = end_of(&text, self.room).unwrap_or(text.len());
        if self.must_fit && end < text.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.kept.push_str(&text[..end]);
        self.room -= text[..end].chars().count();
        self.more += text[end..].chars().count();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A name in the room of a heading.
pub fn shortened(name: &str) -> String {
    const LONGEST: usize = 200;
    match end_of(name, LONGEST) {
        Some(end) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// How much is left out, in characters.
pub fn rest(count: usize) -> Markup {
    html! { span.rest { "… and " (grouped(count)) @if count == 1 { " more character" } @else { " more characters" } } }
}

/// 1234567 as 1,234,567.
pub fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Some text that two have in common, or that one of them alone has.
type Run<'t> = (ChangeTag, Cow<'t, str>);

/// A text that became another one: what went, what came, and a little of what is the same around it.
pub fn rewritten(from: &str, to: &str, room: Room) -> Markup {
    html! { div.words tabindex="0" { (told(&runs(from, to), None, room)) } }
}

/// One of two texts alone, with what the other has not: `side` is what is marked in it.
pub fn side(from: &str, to: &str, side: ChangeTag, room: Room) -> Markup {
    let other = if side == ChangeTag::Delete { ChangeTag::Insert } else { ChangeTag::Delete };
    html! { div.words tabindex="0" { (told(&runs(from, to), Some(other), room)) } }
}

/// Two texts as one, run by run.
fn runs<'t>(from: &'t str, to: &'t str) -> Vec<Run<'t>> {
    let (begin, end) = common(from, to);
    let (old, new) = (&from[begin..from.len() - end], &to[begin..to.len() - end]);
    let mut runs = vec![(ChangeTag::Equal, Cow::from(&from[..begin]))];
    runs.extend(compared(old, new));
    runs.push((ChangeTag::Equal, from[from.len() - end..].into()));
    runs.retain(|(_, text)| !text.is_empty());
    runs
}

/// How long the common beginning and the common end are, in bytes. Both end between words, unless these are very long.
fn common(from: &str, to: &str) -> (usize, usize) {
    let same = |(one, other): &(u8, u8)| one == other;
    let mut begin = from.bytes().zip(to.bytes()).take_while(same).count();
    while !from.is_char_boundary(begin) || !to.is_char_boundary(begin) {
        begin -= 1;
    }
    begin = whole_words(&from[..begin]);
    let (old, new) = (&from[begin..], &to[begin..]);
    let mut end = old.bytes().rev().zip(new.bytes().rev()).take_while(same).count();
    while !old.is_char_boundary(old.len() - end) || !new.is_char_boundary(new.len() - end) {
        end -= 1;
    }
    let tail = &old[old.len() - end..];
    let cut = tail.find(char::is_whitespace).unwrap_or(tail.len());
    (begin, if cut <= WORD { end - cut } else { end })
}

/// The length of a text without the word that its end may be in the middle of, in bytes.
fn whole_words(text: &str) -> usize {
    let last = text.char_indices().rfind(|(_, letter)| letter.is_whitespace());
    let end = last.map_or(0, |(at, blank)| at + blank.len_utf8());
    if text.len() - end <= WORD { end } else { text.len() }
}

/// What differs between two texts, word by word; the one for the other if they are too long for that.
fn compared<'t>(old: &'t str, new: &'t str) -> Vec<Run<'t>> {
    if old.len() + new.len() > COMPARED {
        return vec![(ChangeTag::Delete, old.into()), (ChangeTag::Insert, new.into())];
    }
    let diff = TextDiff::configure().timeout(PATIENCE).diff_words(old, new);
    let words: Vec<_> = diff.iter_all_changes().collect();
    let runs = words.chunk_by(|one, other| one.tag() == other.tag());
    runs.map(|run| {
        let text: String = run.iter().map(|word| word.value()).collect();
        (run[0].tag(), text.into())
    })
    .collect()
}

/// The runs that there is room for, each shortened, but for those that are hidden.
fn told(runs: &[Run<'_>], hidden: Option<ChangeTag>, room: Room) -> Markup {
    let is_hidden = |tag: ChangeTag| hidden == Some(tag);
    let mut left = room.difference;
    let last = runs.len().saturating_sub(1);
    let mut parts = Vec::new();
    for (at, (tag, text)) in runs.iter().enumerate() {
        if is_hidden(*tag) {
            continue;
        }
        if left == 0 {
            let differs = |tag: ChangeTag| tag != ChangeTag::Equal && !is_hidden(tag);
            if runs[at..].iter().any(|(tag, _)| differs(*tag)) {
                parts.push(html! { span.rest { "… and more that differs" } });
            }
            break;
        }
        let (part, used) = run(*tag, text, (at > 0, at < last), room.value.min(left));
        left = left.saturating_sub(used);
        parts.push(part);
    }
    html! { @for part in &parts { (part) } }
}

/// One run and how much room it takes, in characters; `beside` tells whether something else stands before and after it.
fn run(tag: ChangeTag, text: &str, beside: (bool, bool), most: usize) -> (Markup, usize) {
    let (part, used) = match tag {
        ChangeTag::Equal => return surroundings(text, beside),
        ChangeTag::Delete => (html! { del { (beginning(text, most)) } }, most),
        ChangeTag::Insert => (html! { ins { (beginning(text, most)) } }, most),
    };
    (part, used.min(text.len()))
}

/// Of what is the same, the parts that stand next to something that is not.
fn surroundings(text: &str, (after, before): (bool, bool)) -> (Markup, usize) {
    let end = if after { end_of(text, AROUND).unwrap_or(text.len()) } else { 0 };
    let begin = if before { start_of(text, AROUND) } else { text.len() };
    if end >= begin {
        return (html! { (text) }, text.len().min(2 * AROUND));
    }
    let part = html! { (text[..end]) span.rest { " … " } (text[begin..]) };
    (part, 2 * AROUND)
}

/// Where the last characters of a text begin.
fn start_of(text: &str, most: usize) -> usize {
    most.checked_sub(1).and_then(|last| text.char_indices().nth_back(last)).map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The markup with what went in brackets and what came in braces.
    fn rewrite(from: &str, to: &str) -> String {
        let markup = told(&runs(from, to), None, LISTED).into_string();
        let tags = [("<del>", "["), ("</del>", "]"), ("<ins>", "{"), ("</ins>", "}")];
        let plain = tags.iter().fold(markup, |text, (tag, mark)| text.replace(tag, mark));
        plain.replace("<span class=\"rest\">", "").replace("</span>", "")
    }

    fn words(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("word{number:05}")).collect()
    }

    #[test]
    fn a_word_in_the_middle_of_a_long_text_is_marked_and_nothing_else() {
        let mut changed = words(3_000);
        changed[2_499] = "otherwise".to_owned();
        let told = rewrite(&words(3_000).join(" "), &changed.join(" "));
        assert!(told.contains("word02499 [word02500]{otherwise} word02501"), "{told}");
        assert_eq!(told.matches(['[', '{']).count(), 2, "{told}");
        assert!(told.starts_with(" … ") && told.ends_with(" … "), "{told}");
        assert!(told.len() < 400, "{told}");
    }

    #[test]
    fn the_common_ends_of_two_texts_are_whole_words_and_whole_letters() {
        let check = |from: &str, to: &str, expected: &str| {
            assert_eq!(rewrite(from, to), expected, "{from:?} {to:?}");
        };
        check("one two three", "one too three", "one [two]{too} three");
        check("a más b", "a mñs b", "a [más]{mñs} b");
        check("é", "è", "[é]{è}");
        check("aa", "aaa", "[aa]{aaa}");
        check("a a", "a a a", "a a{ a}");
        check("", "new", "{new}");
        let long = "x".repeat(500);
        let told = rewrite(&format!("{long}1"), &format!("{long}2"));
        assert!(told.contains("[1]{2}"), "{told}");
    }

    #[test]
    fn of_a_text_that_something_was_added_to_the_place_is_shown_on_both_sides() {
        let from = format!("{}the end.\n", "more ".repeat(100));
        let to = format!("{from}Added.");
        let one = side(&from, &to, ChangeTag::Delete, LISTED).into_string();
        assert!(one.contains("more the end.") && !one.contains("Added"), "{one}");
        let other = side(&from, &to, ChangeTag::Insert, LISTED).into_string();
        assert!(other.contains("the end.") && other.contains("<ins>Added.</ins>"), "{other}");
    }

    #[test]
    fn texts_that_differ_all_over_are_shown_by_how_they_begin() {
        let (from, to) = ("old ".repeat(200_000), "new ".repeat(200_000));
        let told = rewrite(&from, &to);
        assert!(told.starts_with("[old old") && told.contains("{new new"), "{told}");
        assert_eq!(told.matches("… and 799,699 more characters").count(), 2, "{told}");
        let scattered = |word: &str| format!("{word} {} ", "same ".repeat(100)).repeat(30);
        let told = rewrite(&scattered("old"), &scattered("new"));
        assert!(told.len() < 2_500 && told.ends_with("… and more that differs"), "{told}");
    }

    #[test]
    fn of_json_no_more_is_made_than_is_shown() {
        let value = serde_json::json!(["ñandú"]);
        assert_eq!(json(&value, 100), ("[\n  \"ñandú\"\n]".to_owned(), 0));
        assert_eq!(json(&value, 6), ("[\n  \"ñ".to_owned(), 7));
        assert_eq!(short_json(&value, 13), Some(json(&value, 100).0));
        assert_eq!(short_json(&value, 12), None);
    }

    #[test]
    fn what_is_left_out_is_counted_in_characters() {
        let check = |text: &str, most: usize, expected: &str| {
            let told = beginning(text, most).into_string();
            assert_eq!(told.replace("<span class=\"rest\">", "|").replace("</span>", ""), expected);
        };
        check("ñandú", 5, "ñandú");
        check("ñandú", 4, "ñand|… and 1 more character");
        check(&"ñ".repeat(12_347), 2, "ññ|… and 12,345 more characters");
    }
}
