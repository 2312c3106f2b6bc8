//! Quotations: what must stand in a passage as it was typed.

use sqlx::PgConnection;

use super::{Passage, Word, any_form, ranked};
use crate::search::Filter;
use crate::search::asked::Asked;
use crate::search::words::{self, is_telling};

/// Passages that have every quotation as it is; if there are none, those that have one of them.
pub(super) async fn find(
    db: &mut PgConnection,
    words: &[Word],
    asked: &Asked,
    filter: &Filter,
) -> Result<Vec<(Passage, bool)>, sqlx::Error> {
    let mut found = with_all(db, words, &asked.quoted, filter, true).await?;
    if found.is_empty() && asked.quoted.len() > 1 {
        for phrase in &asked.quoted {
            // To read every text once is enough.
            let phrase = std::slice::from_ref(phrase);
            found.extend(with_all(db, words, phrase, filter, false).await?);
        }
    }
    Ok(found.into_iter().map(|passage| (passage, true)).collect())
}

async fn with_all(
    db: &mut PgConnection,
    words: &[Word],
    quoted: &[String],
    filter: &Filter,
    may_read_all: bool,
) -> Result<Vec<Passage>, sqlx::Error> {
    let together = quoted.join(" ");
    let is_indexed = is_telling(&together);
    if !is_indexed && !may_read_all {
        return Ok(vec![]);
    }
    let mut query = String::new();
    // No index knows where stop words stand.
    if is_indexed {
        let lexemes = words::asked(&together);
        let all = lexemes.iter().map(|lexemes| format!("({})", any_form(lexemes)));
        query = all.collect::<Vec<_>>().join(" & ");
    }
    let folded: Vec<String> =
        sqlx::query_scalar("select crm_fold(phrase) from unnest($1::text[]) with ordinality as quoted (phrase, at) order by at")
            .bind(quoted)
            .fetch_all(&mut *db)
            .await?;
    let phrases: Vec<String> = folded.iter().map(|phrase| expression(phrase)).collect();
    Ok(ranked(db, words, &query, &phrases, filter).await?.passages)
}

/// A regular expression for a phrase as it stands, but for how its words are spaced.
fn expression(phrase: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in phrase.split_whitespace() {
        let mut escaped = String::new();
        for c in word.chars() {
            if c.is_ascii_punctuation() {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        words.push(escaped);
    }
    words.join(r"\s+")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_looked_for_as_it_stands_whatever_its_signs_are() {
        assert_eq!(expression("currency  hedging"), r"currency\s+hedging");
        assert_eq!(expression("50% (net)"), r"50\%\s+\(net\)");
        assert_eq!(expression(r"a_b\c ñ 東"), r"a\_b\\c\s+ñ\s+東");
    }
}
