//! Records by the initials of their names.

use sqlx::{PgConnection, QueryBuilder, Row as _};

use super::{Called, SAME, hits_of, restrict_kinds};
use crate::search::Filter;
use crate::search::acronyms;
use crate::search::asked::Asked;
use crate::search::highlight::Wanted;
use crate::search::lexical::{Word, restrict_records};
use crate::search::spelling::{self, Said};

/// The most names that one acronym stands for.
const MOST_SHORTENED: i64 = 8;

/// The likeness of a name whose initials are a short word that texts have, which may be chance: enough for it to stand among the first, behind
/// texts that have the word and are near to it.
const BY_CHANCE_INITIALS: f64 = 0.5;

/// Of how many at most all are meant whose initials are asked for.
const FEW: usize = 3;

/// Records by the initials of their names.
#[derive(Default)]
pub(super) struct Shortened {
    /// With the acronym as a word of the name.
    pub(super) found: Vec<Called>,
    /// Whether no text has it for something else, so that those are meant who have these initials.
    pub(super) is_sure: bool,
}

/// Those that acronyms of the question, which has these words, stand for, as far as the filter lets them pass.
pub(super) async fn shortened(
    db: &mut PgConnection,
    asked: &Asked,
    said: &[&str],
    words: &[Word],
    filter: &Filter,
) -> Result<Shortened, sqlx::Error> {
    let mut shortened = Shortened::default();
    for acronym in &asked.acronyms {
        let is_it = |word: &&Word| Wanted::new(&word.lexemes, 0.0).is(&acronym.word);
        let is_known = words.iter().filter(is_it).any(|word| word.is_known);
        let is_chance = is_known && !acronyms::is_telling(&acronym.word);
        let likeness = if is_chance { BY_CHANCE_INITIALS } else { SAME };
        let mut statement = QueryBuilder::new("select kind, id, folded_title, ");
        statement.push_bind(likeness).push("::float8 as likeness from unnest(");
        let kinds = acronym.records.iter().map(|record| record.kind().as_str().to_owned());
        statement.push_bind(kinds.collect::<Vec<String>>()).push("::text[], ");
        statement.push_bind(acronym.records.iter().map(|it| it.id()).collect::<Vec<i64>>());
        statement.push(
            "::bigint[]) as named (kind, id) join findable using (kind, id) where not archived",
        );
        restrict_kinds(&mut statement, filter);
        restrict_records(&mut statement, filter);
        statement.push(" order by length(folded_title), kind, id limit ").push_bind(MOST_SHORTENED);
        let statement = statement.build().persistent(*filter == Filter::default());
        let rows = statement.fetch_all(&mut *db).await?;
        let is_few = rows.len() <= FEW;
        for (row, mut hit) in rows.iter().zip(hits_of(&rows)?) {
            let name: String = row.try_get("folded_title")?;
            // It may have been renamed a moment ago.
            if !acronyms::of(&name).contains(&acronym.word) {
                continue;
            }
            let called = format!("{name} {}", acronym.word);
            if has_all(&called, said) && (said.len() > 1 || !is_chance) {
                hit.likeness = SAME;
                hit.is_exact = is_few;
            }
            shortened.is_sure |= !is_known;
            shortened.found.push((hit, called));
        }
    }
    Ok(shortened)
}

/// Whether a question has nothing but words of this name.
fn has_all(name: &str, said: &[&str]) -> bool {
    let said: Vec<Said<'_>> = said.iter().map(|word| Said { word, is_known: true }).collect();
    spelling::errors(&said, &spelling::words(name), false) == Some(0)
}
