//! What Whisper is told before it listens: names that may be said.

/// What names may take of the tokens that Whisper reads. What was said last decides style and spelling, and has the others.
const TOKENS: usize = 150;

/// As many of the names as fit; `tokens` counts.
pub(super) fn compose<'n>(
    names: impl IntoIterator<Item = &'n str>,
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
        if tokens(&longer) < TOKENS {
            list = longer;
        }
        seen.push(name);
    }
    if !list.is_empty() {
        list.push('.');
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> usize {
        text.split_whitespace().count()
    }

    #[test]
    fn each_name_is_told_once() {
        let prompt = compose(["Profuturo", " Afore  Coppel ", "Profuturo", ""], words);
        assert_eq!(prompt, "Profuturo, Afore Coppel.");
        assert_eq!(compose([], words), "");
    }

    #[test]
    fn they_never_exceed_what_whisper_reads() {
        let names: Vec<String> = (0..500).map(|number| format!("Fund {number}")).collect();
        let long = |text: &str| text.split_whitespace().count() * 3;
        let prompt = compose(names.iter().map(String::as_str), long);
        assert!(long(&prompt) <= TOKENS && long(&prompt) > TOKENS - 10);
        assert!(prompt.starts_with("Fund 0, Fund 1, "));
    }

    #[test]
    fn one_name_too_long_does_not_keep_out_the_others() {
        let long = "very ".repeat(300);
        assert_eq!(compose([long.as_str(), "Stratum"], words), "Stratum.");
    }
}
