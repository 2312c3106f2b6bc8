//! How wrong a transcript is.

/// Word error rate: words that must be replaced, added or removed, per word of the original.
pub fn error_rate(said: &str, heard: &str) -> f64 {
    let (said, heard) = (normal(said), normal(heard));
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (line, a) in said.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in heard.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[heard.len()] as f64 / said.len() as f64
}

fn normal(text: &str) -> Vec<String> {
    let letters = |c: char| if c.is_alphanumeric() || c == '\'' { c } else { ' ' };
    let text: String = text.to_lowercase().chars().map(letters).collect();
    text.split_whitespace().map(|word| word.replace('\'', "")).collect()
}

#[test]
fn errors_are_counted_in_words() {
    let cases = [
        ("a b c d", "A, b - c d!", 0.0),
        ("a b c d", "a x c d", 0.25),
        ("a b c d", "a c d", 0.25),
        ("a b c d", "a b c c d", 0.25),
        ("a b", "", 1.0),
        ("it's", "its", 0.0),
    ];
    for (said, heard, rate) in cases {
        assert_eq!(error_rate(said, heard), rate, "{said} / {heard}");
    }
}
