//! Words of a question that stand beside the texts of notes and the cards of people: names of what they are linked to, and those of titles.

use std::collections::{HashMap, HashSet};

use domain::{Kind, RecordRef};
use sqlx::{PgConnection, QueryBuilder, Row as _};

use super::{PASSAGE, Passage, Word, ranked, record_of, restrict_records};
use crate::search::highlight::{Sought, Wanted};
use crate::search::passage::named;
use crate::search::{Filter, Part, names, spelling};

/// Of how many cards the names are compared with the question.
const TITLED: usize = 20;

/// The most people of those that are named who are looked at.
const PEOPLE: usize = 100;

/// A record that people name, and its name, folded.
pub(in crate::search) type Titled = (RecordRef, String);

/// The records among these passages that people name, by their cards.
pub(super) fn cards(passages: &[Passage]) -> Vec<RecordRef> {
    let is_named = |passage: &&Passage| {
        passage.part == Part::Card && names::NAMED.contains(&passage.record.kind())
    };
    passages.iter().filter(is_named).map(|passage| passage.record).collect()
}

/// What people name by words of the question, the best first, whatever the filter keeps of it: these records, unless the filter
/// has kept others out.
pub(super) async fn titled(
    db: &mut PgConnection,
    words: &[Word],
    query: &str,
    mut records: Vec<RecordRef>,
    filter: &Filter,
) -> Result<Vec<Titled>, sqlx::Error> {
    if *filter != Filter::default() {
        let named = Filter { kinds: names::NAMED.to_vec(), ..Filter::default() };
        let found = ranked(db, words, query, &[], &named).await?;
        records = cards(&found.passages);
    }
    records.truncate(TITLED);
    if records.is_empty() {
        return Ok(vec![]);
    }
    let rows = sqlx::query(
        "select kind, id, folded_title from unnest($1::text[], $2::bigint[]) with ordinality as found (kind, id, rank)
             join findable using (kind, id) order by rank",
    )
    .bind(records.iter().map(|record| record.kind().as_str()).collect::<Vec<_>>())
    .bind(records.iter().map(|record| record.id()).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    rows.iter().map(|row| Ok((record_of(row)?, row.try_get("folded_title")?))).collect()
}

/// The cards of people who are linked to one of those that are named best. What they have of a question may be a role, which everybody's
/// card has words of, so that rare words do not lead to it.
pub(super) async fn people_of(
    db: &mut PgConnection,
    names: &[Titled],
    filter: &Filter,
) -> Result<Vec<Passage>, sqlx::Error> {
    let is_wanted = filter.kinds.is_empty() || filter.kinds.contains(&Kind::Person);
    if names.is_empty() || !is_wanted {
        return Ok(vec![]);
    }
    let names: Vec<String> = names.iter().map(|(record, _)| named(*record)).collect();
    let mut statement = QueryBuilder::new(format!(
        "select {PASSAGE} from passage
             join (select kind, id from findable where kind = 'person' and not archived and about && "
    ));
    statement.push_bind(names);
    restrict_records(&mut statement, filter);
    statement.push(format!(
        " order by id + 0 desc limit {PEOPLE}) as linked using (kind, id) where part = 'card'"
    ));
    statement.build_query_as().persistent(*filter == Filter::default()).fetch_all(db).await
}

/// Which words of the question each note and person has beside its text, by their places: in its title, or as names of what it is
/// linked to. Whoever names an organisation and a subject means what was said with it, be it named in the text, in the title or not at
/// all; and with a role, whoever has that role there.
pub(super) async fn said_beside<'a>(
    db: &mut PgConnection,
    found: impl Iterator<Item = &Passage>,
    names: impl Iterator<Item = &Titled>,
    words: impl Iterator<Item = (&'a Word, &'a Wanted)> + Clone,
    sought: &Sought<'_>,
) -> Result<HashMap<RecordRef, HashSet<usize>>, sqlx::Error> {
    let mut said: HashMap<String, Vec<usize>> = HashMap::new();
    for (record, name) in names {
        let name = spelling::words(name);
        let is_in_it = |(word, wanted): (&Word, &Wanted)| {
            name.iter().any(|it| wanted.is(it) || word.is_like(wanted, it))
        };
        let places = words.clone().enumerate();
        let places: Vec<usize> =
            places.filter_map(|(at, word)| is_in_it(word).then_some(at)).collect();
        if !places.is_empty() {
            said.insert(named(*record), places);
        }
    }
    let linked = found.map(|passage| passage.record);
    let is_linked = |it: &RecordRef| matches!(it.kind(), Kind::Note | Kind::Person);
    let linked: HashSet<RecordRef> = linked.filter(is_linked).collect();
    // One word is in a note or is not, wherever it stands.
    if linked.is_empty() || (said.is_empty() && words.count() < 2) {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "select kind, id, folded_title, case when about && $3 then about else '{}' end as about
         from unnest($1::text[], $2::bigint[]) as found (kind, id) join findable using (kind, id)",
    )
    .bind(linked.iter().map(|record| record.kind().as_str()).collect::<Vec<_>>())
    .bind(linked.iter().map(|record| record.id()).collect::<Vec<_>>())
    .bind(said.keys().map(String::as_str).collect::<Vec<_>>())
    .fetch_all(db)
    .await?;
    let mut beside: HashMap<RecordRef, HashSet<usize>> = HashMap::new();
    for row in &rows {
        let (title, about): (&str, Vec<String>) =
            (row.try_get("folded_title")?, row.try_get("about")?);
        let title = sought.tally(title);
        let titled = title.has().enumerate().filter_map(|(at, has)| has.then_some(at));
        let linked = about.iter().filter_map(|record| said.get(record)).flatten().copied();
        beside.entry(record_of(row)?).or_default().extend(titled.chain(linked));
    }
    Ok(beside)
}
