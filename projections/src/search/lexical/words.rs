//! The words of a question: how they are stemmed, how common they are, and which nobody wrote.

use sqlx::{FromRow as _, PgConnection, Row as _};

use super::{CARDS, TEXTS};
use crate::search::asked::{Asked, BRIEF, Correction, Written};
use crate::search::commonness::Common;
use crate::search::highlight::Wanted;
use crate::search::lag::{FOLLOWED, Followed};
use crate::search::spelling;
use crate::search::words::{asked as lexemes, is_telling, stems};

/// How many passages rare words should give.
const ENOUGH: f64 = 250.0;

/// In how many passages of a group a word is looked for as it is typed.
const SPELT: i64 = 50;

/// The most words of a question that are looked for, the rarest first.
const WORDS: usize = 24;

/// What a word counts for that was probably meant, beside one that was typed.
const CORRECTED: f64 = 0.95;

/// A word of the question as it is looked for.
#[derive(Clone)]
pub(in crate::search) struct Word {
    pub(in crate::search) lexemes: Vec<String>,
    pub(super) passages_with: f64,
    pub(super) weight: f64,
    /// Whether any passage has it, in some form.
    pub(in crate::search) is_known: bool,
    /// The word of the question, if that may be a name and this word is mistyped: so far as is known no passage has it as it is
    /// typed, though one may have its stem.
    pub(in crate::search) mistyped: Option<String>,
    /// Whether it is what was probably meant by the mistyped one.
    pub(super) is_corrected: bool,
    /// Whether all of this is known for sure without looking at the texts.
    is_sure: bool,
}

/// A question as the tables have it.
pub(in crate::search) struct Opened {
    /// As names are folded there.
    pub(in crate::search) folded: String,
    /// How far these are.
    pub(in crate::search) followed: Followed,
    /// Whether no record can have changed behind the position as of which it was understood.
    pub(in crate::search) is_current: bool,
}

/// Begins to look for a question that was understood as of a position.
pub(in crate::search) async fn open(
    db: &mut PgConnection,
    asked: &Asked,
    as_of: Option<i64>,
) -> Result<Opened, sqlx::Error> {
    // The setting goes along: whatever comes after is planned for the very words that are asked for, since how common they are decides
    // how they are best found.
    let row = sqlx::query(&format!(
        "select crm_fold($1) as folded, exists (select from findable where position > $2) as is_changed, followed.*
         from set_config('plan_cache_mode', 'force_custom_plan', true) left join ({FOLLOWED}) as followed on true"
    ))
    .bind(&asked.text)
    .bind(as_of)
    .fetch_one(db)
    .await?;
    let (is_changed, followed): (bool, _) = (row.try_get("is_changed")?, Followed::from_row(&row)?);
    let is_current = as_of.is_none() || (!is_changed && followed.behind.is_none());
    Ok(Opened { folded: row.try_get("folded")?, followed, is_current })
}

/// A text as names are folded in the table.
pub(in crate::search) async fn folded(
    db: &mut PgConnection,
    text: &str,
) -> Result<String, sqlx::Error> {
    sqlx::query_scalar("select crm_fold($1)").bind(text).fetch_one(db).await
}

/// The words of a question, which is given as it is and folded, the rarest first.
pub(super) async fn words(
    db: &mut PgConnection,
    common: &Common,
    asked: &Asked,
    folded: &str,
) -> Result<Vec<Word>, sqlx::Error> {
    let said = spelling::words(folded);
    let mut words: Vec<Word> = Vec::new();
    for lexemes in lexemes(&asked.text) {
        if words.iter().any(|word| word.lexemes == lexemes) {
            continue;
        }
        let wanted = Wanted::new(&lexemes, 0.0);
        let typed = said.iter().copied().find(|word| wanted.is(word));
        let written = typed.and_then(|word| Some((word, *asked.written.get(word)?)));
        // An amount or a role may be written otherwise.
        let is_sure = |(word, written): &(&str, Written)| {
            *written != Written::Nowhere || lexemes.iter().all(|it| stems(word).contains(it))
        };
        let written = written.filter(is_sure).map(|(_, written)| written);
        let is_written = written == Some(Written::AsTyped);
        let is_known = match written {
            Some(written) => written != Written::Nowhere,
            None => lexemes.iter().any(|lexeme| common.has(lexeme)),
        };
        let passages_with = match written {
            Some(Written::Nowhere) => 0.0,
            _ => lexemes.iter().map(|it| common.passages_with(it)).fold(0.0, f64::max),
        };
        let may_be_mistyped = !is_written && may_be_mistyped(&lexemes, common, &said);
        let mistyped = typed.filter(|_| may_be_mistyped).map(str::to_owned);
        words.push(Word {
            lexemes,
            passages_with,
            weight: 0.0,
            is_known,
            mistyped,
            is_corrected: false,
            is_sure: written.is_some(),
        });
    }
    look_up(db, &mut words).await?;
    Ok(weighed(words, common))
}

/// The words with what they say, the rarest first, as many as are looked for.
fn weighed(mut words: Vec<Word>, common: &Common) -> Vec<Word> {
    for word in &mut words {
        word.weight = common.weight(word.passages_with);
    }
    words.sort_by(|one, other| one.passages_with.total_cmp(&other.passages_with));
    words.truncate(WORDS);
    words
}

/// The words that were probably meant where they were mistyped.
pub(super) fn meant(common: &Common, words: &[Word], asked: &Asked) -> Vec<Word> {
    let mut meant = words.to_vec();
    if asked.corrections.is_empty() {
        return meant;
    }
    for Correction { typed, word } in &asked.corrections {
        let is_it = |it: &&mut Word| !it.is_known && Wanted::new(&it.lexemes, 0.0).is(typed);
        let Some(at) = meant.iter_mut().find(is_it) else { continue };
        // A stop word says nothing.
        at.lexemes = if is_telling(word) { lexemes(word).concat() } else { vec![] };
        // It is one of texts or names.
        (at.is_known, at.is_sure) = (true, true);
        at.passages_with = at.lexemes.iter().map(|it| common.passages_with(it)).fold(0.0, f64::max);
        at.mistyped = Some(typed.clone());
        at.is_corrected = true;
    }
    meant.retain(|word| !word.lexemes.is_empty());
    weighed(meant, common)
}

/// Whether a word of a question with these stems may be a name, unless the longest one is that of a usual word.
fn may_be_mistyped(lexemes: &[String], common: &Common, said: &[&str]) -> bool {
    let longest = lexemes.iter().max_by_key(|lexeme| lexeme.len());
    longest.is_some_and(|longest| !common.has(longest)) && said.len() <= BRIEF
}

/// Looks whether any passage has those words of which that is not known, and has them as they are typed.
async fn look_up(db: &mut PgConnection, words: &mut [Word]) -> Result<(), sqlx::Error> {
    let is_doubtful =
        |word: &&mut Word| !word.is_sure && (!word.is_known || word.mistyped.is_some());
    let mut doubtful: Vec<&mut Word> = words.iter_mut().filter(is_doubtful).collect();
    if doubtful.is_empty() {
        return Ok(());
    }
    let queries: Vec<String> = doubtful.iter().map(|word| word.query()).collect();
    let typed: Vec<Option<&str>> = doubtful.iter().map(|word| word.mistyped.as_deref()).collect();
    let known: Vec<(bool, bool)> = sqlx::query_as(&format!(
        // Each group by its own index. Whether a word is there as it is typed is looked at in some passages with its stem.
        "select exists (select from passage where {0} and words @@ query::tsquery)
                 or exists (select from passage where {1} and words @@ query::tsquery),
             typed is not null
                 and (exists (select from (select text from passage where {0} and words @@ query::tsquery limit {SPELT}) as sample
                     where crm_fold(text) ~ ('\\m' || typed || '\\M'))
                 or exists (select from (select text from passage where {1} and words @@ query::tsquery limit {SPELT}) as sample
                     where crm_fold(text) ~ ('\\m' || typed || '\\M')))
         from unnest($1::text[], $2::text[]) with ordinality as asked (query, typed, at) order by at",
        TEXTS.condition, CARDS.condition
    ))
    .bind(queries)
    .bind(typed)
    .fetch_all(db)
    .await?;
    for (word, (is_known, is_typed)) in doubtful.iter_mut().zip(known) {
        word.is_known = is_known;
        if is_typed {
            word.mistyped = None;
        }
        if !is_known {
            word.passages_with = 0.0;
        }
    }
    Ok(())
}

/// How many of the rarest words give enough passages.
pub(super) fn rare(words: &[Word]) -> usize {
    let mut passages = 0.0;
    let rare = words.iter().take_while(|word| {
        let is_enough =
            passages >= ENOUGH || (passages > 0.0 && passages + word.passages_with > ENOUGH * 2.0);
        passages += word.passages_with;
        !is_enough
    });
    rare.count()
}

/// A query for any of the words, as text.
pub(super) fn any_of(words: &[Word]) -> String {
    let any: Vec<String> = words.iter().map(Word::query).collect();
    any.join(" | ")
}

impl Word {
    /// The word as it is found in texts.
    pub(super) fn wanted(&self) -> Wanted {
        let share = if self.is_corrected { CORRECTED } else { 1.0 };
        Wanted::new(&self.lexemes, self.weight).counting(share)
    }

    /// Whether no text has it as it is typed, so far as is known.
    pub(in crate::search) fn is_odd(&self) -> bool {
        !self.is_known || self.mistyped.is_some()
    }

    /// Whether this word of a name, folded, is probably meant by it.
    pub(super) fn is_like(&self, wanted: &Wanted, name: &str) -> bool {
        match self.mistyped.as_deref().filter(|_| self.is_corrected) {
            Some(typed) => spelling::is_like(typed, name),
            None => self.is_odd() && wanted.is_like(name),
        }
    }

    /// A query for any of its forms, as text.
    pub(super) fn query(&self) -> String {
        any_form(&self.lexemes)
    }
}

pub(super) fn any_form(lexemes: &[String]) -> String {
    let quoted =
        |lexeme: &String| format!("'{}'", lexeme.replace('\\', "\\\\").replace('\'', "''"));
    lexemes.iter().map(quoted).collect::<Vec<_>>().join(" | ")
}
