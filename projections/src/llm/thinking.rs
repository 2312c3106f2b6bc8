//! Models that think aloud write `<think>…</think>` before their answer; that is no part of it.

/// Leaves out what is thought, in pieces as they come.
#[derive(Debug, Default)]
pub(super) struct Thinking {
    state: State,
    held: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing but white space came, or the beginning of a mark.
    #[default]
    Beginning,
    Thinking,
    Answering,
}

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

impl Thinking {
    /// What of a whole answer was not only thought.
    pub(super) fn without(text: &str) -> String {
        let mut thinking = Self::default();
        let mut answer = thinking.filter(text);
        if thinking.state == State::Beginning {
            answer.push_str(&thinking.held);
        }
        answer.trim().to_owned()
    }

    /// What of the next piece belongs to the answer.
    pub(super) fn filter(&mut self, piece: &str) -> String {
        if self.state == State::Answering {
            return piece.to_owned();
        }
        self.held.push_str(piece);
        if self.state == State::Beginning {
            let begun = self.held.trim_start();
            if begun.len() < OPEN.len() && OPEN.starts_with(begun) {
                return String::new();
            }
            if !begun.starts_with(OPEN) {
                self.state = State::Answering;
                return std::mem::take(&mut self.held);
            }
            self.state = State::Thinking;
        }
        let Some((_, answer)) = self.held.split_once(CLOSE) else { return String::new() };
        let answer = answer.trim_start().to_owned();
        (self.state, self.held) = (State::Answering, String::new());
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_thought_is_left_out_however_it_comes() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Thinking::without(text), expected);
            let mut thinking = Thinking::default();
            let pieces: String =
                text.chars().map(|letter| thinking.filter(&letter.to_string())).collect();
            assert_eq!(pieces.trim(), expected, "{text}, letter by letter");
        };
        check("\n<think>Hm, [1]?</think>\n\nThey asked.", "They asked.");
        check("They <think> so.", "They <think> so.");
        check("<think>for ever", "");
        check("<thin ice>", "<thin ice>");
        check("", "");
    }
}
