//! Whether something was said, and when.

use crate::claim::{Claim, Ground};
use crate::prose::words;
use domain::note::Line;

/// All that was said, to look things up in.
pub(super) struct Evidence {
    /// The folded words with a space before and after each.
    text: String,
    /// Where each line begins in it, and when.
    begins: Vec<(usize, u64)>,
    /// What was said, and whom and what it is about.
    ground: Ground,
}

impl Evidence {
    /// Of what was said, and the names of whom and what it is about: nobody need have said these.
    pub(super) fn of(lines: &[Line], names: &[String]) -> Self {
        let (mut text, mut begins) = (" ".to_owned(), Vec::new());
        for line in lines {
            begins.push((text.len() - 1, line.start_ms));
            for word in words(&line.text) {
                text.push_str(&word);
                text.push(' ');
            }
        }
        // A number may stand across two lines, and a line may be in another language than most.
        let all = lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>().join(" ");
        let texts = lines.iter().map(|line| line.text.as_str()).chain([all.as_str()]);
        let ground = Ground::of(texts.chain(names.iter().map(String::as_str)));
        Self { text, begins, ground }
    }

    /// When these words were said, in milliseconds, one after the other and first; `None` if they were not, or are fewer than
    /// `least` words.
    pub(super) fn said(&self, quote: &str, least: usize) -> Option<u64> {
        let words = words(quote);
        if words.is_empty() || words.len() < least {
            return None;
        }
        let at = self.text.find(&format!(" {} ", words.join(" ")))?;
        let line = self.begins.partition_point(|(begin, _)| *begin <= at);
        Some(self.begins[line.checked_sub(1)?].1)
    }

    /// The first name or number of a sentence that was not said.
    pub(super) fn unsaid(&self, sentence: &str) -> Option<String> {
        let claim = Claim::of(sentence, &self.ground, &[]);
        claim.stray(&[&self.ground]).map(|stray| stray.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::line;

    #[test]
    fn words_are_found_where_they_were_said_and_nowhere_else() {
        let lines = [
            line(0, 0, "Good morning, Ana."),
            line(4000, 4000, "We’d commit fifty"),
            line(9000, 9000, "million, by Friday."),
        ];
        let evidence = Evidence::of(&lines, &["Kestrel Capital".to_owned()]);
        assert_eq!(evidence.said("good morning", 1), Some(0));
        assert_eq!(evidence.said("“Commit FIFTY million”", 3), Some(4000));
        assert_eq!(evidence.said("million by Friday", 3), Some(9000));
        assert_eq!(evidence.said("Ana", 1), Some(0));
        assert_eq!(evidence.said("An", 1), None);
        assert_eq!(evidence.said("commit million", 1), None);
        assert_eq!(evidence.said("by Friday", 3), None);
        assert_eq!(evidence.said("…", 0), None);
        let unsaid = |sentence: &str| evidence.unsaid(sentence).unwrap_or_default();
        assert_eq!(unsaid("Ana of Kestrel commits 50 million"), "");
        assert_eq!(unsaid("They commit 75 million"), "the number 75 million");
        assert_eq!(unsaid("They met John Smith of Kestrel"), "the name John");
    }
}
