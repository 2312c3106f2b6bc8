//! What Whisper is told before it listens: names that may be said, and what was said last.

/// What Whisper takes: half of its text context, less the token that begins the prompt.
const TOKENS: usize = 223;
/// What names may take of it; what was said last decides style and spelling, and needs less.
const FOR_NAMES: usize = 150;
/// Words of the text before, at most: about two sentences.
const WORDS_BEFORE: usize = 40;

/// Names and the end of the text before, as many as fit; `tokens` counts.
pub(super) fn compose<'n>(
    names: impl IntoIterator<Item = &'n str>,
    before: &str,
    tokens: impl Fn(&str) -> usize,
) -> String {
    let mut list = String::new();
    let mut seen = Vec::new();
    for name in names {
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ").replace('\0', "");
        if name.is_empty() || seen.contains(&name) {
            continue;
        }
        let longer = if list.is_empty() { name.clone() } else { format!("{list}, {name}") };
        // A name that is too long for what is left may be followed by one that is not.
        if tokens(&longer) < FOR_NAMES {
            list = longer;
        }
        seen.push(name);
    }
    if !list.is_empty() {
        list.push('.');
    }
    let words: Vec<&str> = before.split_whitespace().collect();
    let last = &words[words.len().saturating_sub(WORDS_BEFORE)..];
    let mut last = &last[sentence(last)..];
    loop {
        let said = last.join(" ");
        let prompt = format!("{list} {said}").trim().to_owned();
        if last.is_empty() || tokens(&prompt) <= TOKENS {
            return prompt;
        }
        last = &last[1..];
    }
}

/// Where the first whole sentence begins, if enough words are left from there on.
fn sentence(words: &[&str]) -> usize {
    let ends = |word: &&str| word.ends_with(['.', '?', '!']);
    let start = words.iter().position(ends).map_or(0, |end| end + 1);
    if start * 2 <= words.len() { start } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> usize {
        text.split_whitespace().count()
    }

    #[test]
    fn names_come_first_then_the_last_whole_sentences() {
        let before = "ly lost. We met Afore Coppel last week. They liked it";
        let prompt = compose(["Profuturo", " Afore  Coppel ", "Profuturo", ""], before, words);
        assert_eq!(prompt, "Profuturo, Afore Coppel. We met Afore Coppel last week. They liked it");
    }

    #[test]
    fn there_may_be_nothing_to_say() {
        assert_eq!(compose([], "", words), "");
        assert_eq!(compose(["Stratum"], "", words), "Stratum.");
        assert_eq!(compose([], "and then", words), "and then");
    }

    #[test]
    fn it_never_exceeds_what_whisper_reads() {
        let names: Vec<String> = (0..500).map(|number| format!("Fund {number}")).collect();
        let before = "word ".repeat(1000);
        let long = |text: &str| text.split_whitespace().count() * 3;
        let prompt = compose(names.iter().map(String::as_str), &before, long);
        assert!(long(&prompt) <= TOKENS && long(&prompt) > TOKENS - 10);
        assert!(prompt.starts_with("Fund 0, Fund 1, ") && prompt.ends_with(" word"));
    }

    #[test]
    fn one_name_too_long_does_not_keep_out_the_others() {
        let long = "very ".repeat(300);
        assert_eq!(compose([long.as_str(), "Stratum"], "", words), "Stratum.");
    }
}
