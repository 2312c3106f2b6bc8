//! Long texts cut into pieces that a model can take in and a person can read at a glance.
//!
//! A piece is a range of the text, so nothing is rewritten and every word is in at least one. It ends where a paragraph or
//! at least a sentence ends, if one does near its end; the next begins about forty tokens before that, so that what is said
//! across the cut is found too. Tokens are estimated: the model's own count differs by a quarter, which its limit allows.

use std::ops::Range;

/// The most tokens in a piece, as estimated.
pub const MOST: usize = 250;

/// A piece ends at the best place after this many tokens.
const ENOUGH: usize = 200;

/// How many tokens a piece has in common with the one before, where sentences do not end otherwise.
const OVERLAP: usize = 40;

/// A word of more tokens is taken apart: it is no word.
const WORD: usize = 20;

/// How good a place is to cut the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    #[default]
    Word,
    Clause,
    Sentence,
    Paragraph,
}

/// A word, or what stands for one, with what may follow it.
#[derive(Clone, Copy, Debug)]
struct Word {
    start: usize,
    end: usize,
    tokens: usize,
    cut: Cut,
}

/// How many tokens a model makes of the text, more or less: multilingual sentence pieces take a short word whole, a longer
/// one in syllables, and scripts without spaces sign by sign.
pub fn estimate(text: &str) -> usize {
    words(text).iter().map(|word| word.tokens).sum()
}

/// The pieces of a text, in order. A text without a word has none.
pub fn pieces(text: &str) -> Vec<Range<usize>> {
    let words = words(text);
    let mut pieces = Vec::new();
    let mut first = 0;
    while first < words.len() {
        let next = end_of_piece(&words, first);
        pieces.push(words[first].start..words[next - 1].end);
        if next == words.len() {
            break;
        }
        first = overlapping(&words, first, next);
    }
    pieces
}

/// The word after the last of the piece that begins with this one.
fn end_of_piece(words: &[Word], first: usize) -> usize {
    let (mut tokens, mut best) = (0, (Cut::Word, first + 1));
    for (at, word) in words.iter().enumerate().skip(first) {
        tokens += word.tokens;
        if tokens > MOST {
            return best.1;
        }
        if tokens < ENOUGH || word.cut >= best.0 {
            // Before it is long enough no place is better than a later one.
            let cut = if tokens < ENOUGH { Cut::Word } else { word.cut };
            best = (cut, at + 1);
        }
    }
    words.len()
}

/// The first word of the piece after one of `first..next`: where a paragraph or a sentence begins about forty tokens before
/// its end, else a word.
fn overlapping(words: &[Word], first: usize, next: usize) -> usize {
    let mut tokens = 0;
    let mut best = None;
    for at in (first + 1..next).rev() {
        tokens += words[at].tokens;
        if tokens > OVERLAP + OVERLAP / 2 {
            break;
        }
        if tokens >= OVERLAP / 2 {
            // What ends before the word is what makes it a beginning.
            let place = (words[at - 1].cut, std::cmp::Reverse(tokens.abs_diff(OVERLAP)), at);
            best = best.max(Some(place));
        }
    }
    best.map_or(next, |(.., at)| at)
}

fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut word: Option<(usize, Weight)> = None;
    for (at, c) in text.char_indices() {
        if c.is_whitespace() {
            words.extend(word.take().map(|(start, weight)| weight.word(text, start, at)));
            if let (Some(last), '\n' | '\u{2029}') = (words.last_mut(), c) {
                last.cut = Cut::Paragraph;
            }
            continue;
        }
        let (start, mut weight) = word.take().unwrap_or((at, Weight::default()));
        let before = weight;
        weight.add(c);
        if weight.tokens() > WORD && start < at {
            words.push(before.word(text, start, at));
            let mut rest = Weight::default();
            rest.add(c);
            word = Some((at, rest));
        } else {
            word = Some((start, weight));
        }
    }
    if let Some((start, weight)) = word {
        words.push(weight.word(text, start, text.len()));
    }
    words
}

/// What the signs of a word make in tokens.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    letters: usize,
    digits: usize,
    signs: usize,
}

impl Weight {
    fn add(&mut self, c: char) {
        match c {
            c if c.is_ascii_digit() => self.digits += 1,
            // Latin, Greek, Cyrillic and the like, and the marks upon them.
            c if c.is_alphabetic() && c < '\u{600}' || ('\u{300}'..'\u{370}').contains(&c) => {
                self.letters += 1;
            }
            _ => self.signs += 1,
        }
    }

    fn tokens(self) -> usize {
        let letters = if self.letters == 0 { 0 } else { 1 + (self.letters - 1) / 6 };
        (letters + self.digits.div_ceil(3) + self.signs).max(1)
    }

    fn word(self, text: &str, start: usize, end: usize) -> Word {
        let closing = text[start..end].trim_end_matches(['"', '\'', ')', ']', '”', '’', '»']);
        let cut = match closing.chars().next_back() {
            Some('.' | '!' | '?' | '…' | '。' | '！' | '？') => Cut::Sentence,
            Some(',' | ';' | ':' | '–' | '—') => Cut::Clause,
            _ => Cut::Word,
        };
        Word { start, end, tokens: self.tokens(), cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLISH: &str = "The pension fund asked about currency hedging and whether the share class could be hedged to \
        pesos. They were worried about fees, but would look at a co-investment of 25 million.";
    const SPANISH: &str = "La afore preguntó por la cobertura cambiaria y si la clase de acciones podría cubrirse en pesos. \
        Les preocupan las comisiones, pero verían una coinversión de 25 millones.";

    fn texts(text: &str) -> Vec<&str> {
        pieces(text).into_iter().map(|piece| &text[piece]).collect()
    }

    /// Every piece within its limit, every word in some piece, and every piece but the first going on where the last ended.
    fn check(text: &str) {
        let pieces = pieces(text);
        let mut end = 0;
        for piece in &pieces {
            let said = &text[piece.clone()];
            assert!(estimate(said) <= MOST, "{} tokens in {piece:?}", estimate(said));
            assert!(!said.trim().is_empty() && said.trim() == said, "{said:?}");
            assert!(end == 0 || piece.start > 0, "{piece:?}");
            let skipped = text.get(end.min(piece.start)..piece.start).unwrap_or_default();
            assert!(skipped.trim().is_empty(), "{skipped:?} is in no piece");
            assert!(piece.end > end, "{piece:?} adds nothing");
            end = piece.end;
        }
        assert!(text[end..].trim().is_empty(), "{:?} is in no piece", &text[end..]);
        assert_eq!(pieces, super::pieces(text));
    }

    /// Random texts from a seed, so that a failure can be repeated.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap_or_default() % sides
        }

        fn char(&mut self) -> char {
            const ODD: &[char] = &[
                ' ',
                '\n',
                '\r',
                '\t',
                '.',
                ',',
                '"',
                '\0',
                '\u{301}',
                '\u{200d}',
                '\u{202e}',
                '\u{2029}',
                '🙂',
                '東',
                'ñ',
                'ع',
                '\u{feff}',
                '\u{10ffff}',
                '\u{a0}',
                'ẞ',
            ];
            match self.roll(3) {
                0 => ODD[self.roll(ODD.len())],
                1 => char::from(b'a' + u8::try_from(self.roll(26)).unwrap_or_default()),
                _ => char::from_u32(u32::try_from(self.roll(0x11_0000)).unwrap_or_default())
                    .unwrap_or('x'),
            }
        }
    }

    #[test]
    fn nothing_is_lost_of_any_text_and_no_piece_is_too_long() {
        let mut dice = Dice(7);
        for _ in 0..300 {
            let length = dice.roll(6_000);
            let text: String = (0..length).map(|_| dice.char()).collect();
            check(&text);
        }
        for text in [
            "",
            " ",
            "\n\n",
            "a",
            "\0",
            &"x".repeat(100_000),
            &"東".repeat(20_000),
            &"🙂".repeat(20_000),
        ] {
            check(text);
        }
        check(&format!("{ENGLISH}\n\n{SPANISH}\n").repeat(2_000));
    }

    #[test]
    fn long_texts_are_cut_to_two_hundred_to_two_hundred_and_fifty_tokens() {
        for text in [ENGLISH, SPANISH] {
            let text = format!("{text} ").repeat(60);
            let pieces = texts(&text);
            let (_, all_but_last) = pieces.split_last().unwrap();
            assert!(all_but_last.len() > 8);
            for piece in all_but_last {
                assert!((ENOUGH..=MOST).contains(&estimate(piece)), "{}", estimate(piece));
                assert!(piece.ends_with('.'), "{piece}");
            }
        }
    }

    #[test]
    fn a_piece_begins_with_what_the_last_one_ended_with() {
        let text = (0..80)
            .map(|n| format!("Sentence number {n} is about fees and hedging."))
            .collect::<Vec<_>>();
        let text = text.join(" ");
        for pair in pieces(&text).windows(2) {
            let common = &text[pair[1].start..pair[0].end];
            let tokens = estimate(common);
            assert!((OVERLAP / 2..=OVERLAP * 3 / 2).contains(&tokens), "{common}");
            assert!(common.starts_with("Sentence"), "{common}");
        }
    }

    #[test]
    fn a_cut_is_made_between_paragraphs_rather_than_sentences() {
        let paragraph = "Short sentence here. ".repeat(22);
        let text = format!("{paragraph}\n\n").repeat(8);
        let first = texts(&text)[0];
        assert!(first.contains("\n\n") && text[first.len()..].starts_with(" \n\n"), "{first}");
    }

    #[test]
    fn a_short_text_is_one_piece_without_the_blanks_around_it() {
        assert_eq!(texts("  They like it.\n\nLater.\n"), ["They like it.\n\nLater."]);
    }
}
