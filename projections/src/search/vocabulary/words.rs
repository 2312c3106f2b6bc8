//! The words of all texts at a position of the log, and of which records they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::RecordRef;
use sqlx::{FromRow, PgConnection};

use super::super::acronyms::{self, Acronym, Initials};
use super::super::asked::{Asked, Correction, Near, Written};
use super::super::dictionary;
use super::super::lag::lag;
use super::super::lexical::record_of;
use super::super::spelling;
use super::super::words::stems;
use super::shape::{Shape, Sound};
use crate::database::{Database, DatabaseError};
use crate::prose::fold;

/// How many letters a word has that is kept: longer ones are addresses and keys.
const LETTERS: std::ops::RangeInclusive<usize> = 2..=24;

/// The most words that are kept, and the most times that a record has one: some 30 MB of memory each, twice that while they are read
/// anew. Of more texts only the first are known.
const MOST_WORDS: usize = 200_000;
const MOST_PLACES: usize = 8_000_000;

/// How many words of a question are corrected at most.
const MOST: usize = 8;

/// How many letters a word of a long question has that may be mistyped.
const TELLING: usize = 8;

/// The most words that a mistyped one is looked for by.
const MOST_NEAR: usize = 8;

/// How many letters a word has at least that is hardly anybody's initials.
const MERE: usize = 4;

/// How many letters each of two words has at least that may have been typed as one.
const PAIRED: usize = 3;

/// How many letters at the end of a word tell one form of it from another.
const ENDING: usize = 3;

/// How many records are read at once: few, as texts may be long.
const PAGE: i64 = 50;

/// After this time all is read anew: rows that were put right have positions that were passed long ago.
const RENEWED: Duration = Duration::from_secs(3_600);

/// How far the words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// They are those of all texts.
    Level,
    /// Texts have changed since.
    Behind,
}

/// A record's texts as they stand.
struct Said {
    record: RecordRef,
    position: i64,
    /// Its name, folded, unless it is archived or erased.
    name: Option<String>,
    texts: Vec<String>,
}

impl FromRow<'_, sqlx::postgres::PgRow> for Said {
    fn from_row(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        use sqlx::Row as _;
        let (position, texts) = (row.try_get("position")?, row.try_get("texts")?);
        Ok(Self { record: record_of(row)?, position, name: row.try_get("name")?, texts })
    }
}

/// A word, and how many records have it.
struct Entry {
    word: Arc<str>,
    shape: Shape,
    sound: Sound,
    records: u32,
}

/// The words of all texts at a position of the log.
pub(super) struct Words {
    /// Those without records are free to be others.
    entries: Vec<Entry>,
    free: Vec<u32>,
    places: HashMap<Arc<str>, u32>,
    /// How many of the words have each stem.
    stems: HashMap<String, u32>,
    /// Which words each record has.
    said: HashMap<RecordRef, Box<[u32]>>,
    initials: Initials,
    /// How many words records have together.
    size: usize,
    /// Whether there was no room for some.
    is_cut: bool,
    position: i64,
    /// In which tables they stand, see [`Database::era`].
    era: u64,
    begun: Instant,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            entries: vec![],
            free: vec![],
            places: HashMap::new(),
            stems: HashMap::new(),
            said: HashMap::new(),
            initials: Initials::default(),
            size: 0,
            is_cut: false,
            position: i64::MIN,
            era: 0,
            begun: Instant::now(),
        }
    }
}

impl Words {
    /// Whether all is to be read anew, beside what is there.
    pub(super) fn is_outdated(&self, database: &Database) -> bool {
        self.said.is_empty() || self.era != database.era() || self.begun.elapsed() > RENEWED
    }

    /// As of which position they are those of all texts in these tables, if there are any.
    pub(super) fn position(&self, database: &Database) -> Option<i64> {
        (!self.said.is_empty() && self.era == database.era()).then_some(self.position)
    }

    /// Reads what has changed since. Given up in between, it is as far as it came.
    pub(super) async fn catch_up(&mut self, database: &Database) -> Result<Reach, DatabaseError> {
        loop {
            if let Some(reach) = self.advance(database).await? {
                return Ok(reach);
            }
        }
    }

    /// Reads some of what has changed since; tells how far the words are once that is all.
    pub(super) async fn advance(
        &mut self,
        database: &Database,
    ) -> Result<Option<Reach>, DatabaseError> {
        let era = database.era();
        if self.era != era {
            *self = Self { era, ..Self::default() };
        }
        let mut db = database.ask(database.pool.acquire()).await?;
        // First, so that what was erased until now is not missed.
        let reach = match database.ask(lag(&mut db)).await? {
            Some(_) => Reach::Behind,
            None => Reach::Level,
        };
        let page = database.ask(changed(&mut db, self.position)).await?;
        let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        page.into_iter().for_each(|said| self.take(&said));
        Ok(is_last.then_some(reach))
    }

    /// Puts what a record says in the place of what it said before.
    fn take(&mut self, said: &Said) {
        self.initials.take(said.record, said.name.as_deref());
        let before = self.said.remove(&said.record).unwrap_or_default();
        self.size -= before.len();
        let mut places: Vec<u32> = Vec::new();
        for word in said.texts.iter().flat_map(|text| words(text)).collect::<BTreeSet<_>>() {
            places.extend(self.add(&word));
        }
        before.into_iter().for_each(|place| self.remove(place));
        self.position = said.position;
        if !places.is_empty() {
            self.size += places.len();
            self.said.insert(said.record, places.into());
        }
    }

    /// Counts a word once more, if there is room for it.
    fn add(&mut self, word: &str) -> Option<u32> {
        if self.size >= MOST_PLACES {
            self.is_cut = true;
            return None;
        }
        if let Some(place) = self.places.get(word) {
            self.entries[*place as usize].records += 1;
            return Some(*place);
        }
        if self.places.len() >= MOST_WORDS {
            self.is_cut = true;
            return None;
        }
        for stem in stems(word) {
            *self.stems.entry(stem).or_default() += 1;
        }
        let (shape, sound) = (Shape::of(word), Sound::of(word));
        let entry = Entry { word: word.into(), shape, sound, records: 1 };
        let key = entry.word.clone();
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place as usize] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).ok()?
            }
        };
        self.places.insert(key, place);
        Some(place)
    }

    /// Counts a word once less. That of no record is forgotten.
    fn remove(&mut self, place: u32) {
        let entry = &mut self.entries[place as usize];
        entry.records -= 1;
        if entry.records > 0 {
            return;
        }
        let word = std::mem::replace(&mut entry.word, "".into());
        (entry.shape, entry.sound) = (Shape::default(), Sound::default());
        self.places.remove(&word);
        self.free.push(place);
        for stem in stems(&word) {
            if let Some(words) = self.stems.get_mut(&stem) {
                *words -= 1;
                if *words == 0 {
                    self.stems.remove(&stem);
                }
            }
        }
    }

    /// The question with what was probably meant by its words that are not quoted, if these words here are those of all texts.
    pub(super) fn understood(&self, asked: &Asked) -> Asked {
        let typed = asked.unquoted();
        let acronyms = acronyms::written(&asked.text).into_iter();
        let acronyms: Vec<Acronym> = acronyms.filter_map(|it| self.initials.named(it)).collect();
        let forgiven = if asked.is_brief() { spelling::forgiven } else { forgiven_in_long };
        let is_named = |word: &&String| !acronyms.iter().any(|acronym| acronym.word == **word);
        let unwritten = typed.iter().filter(|word| self.is_unwritten(word)).filter(is_named);
        let odd = unwritten.take(MOST).filter(|word| self.is_odd(word));
        let corrections = odd.filter_map(|word| self.correction(word, forgiven)).collect();
        let is_strange = |word: &&String| self.is_strange(word, typed.len());
        let strange = typed.iter().filter(is_strange).filter(is_named);
        let near = strange.take(MOST).filter_map(|word| self.near(word)).collect();
        let written = self.written(asked, true);
        Asked { corrections, near, acronyms, written, ..asked.clone() }
    }

    /// Of the words of a question whether texts have them, where that is known for sure: that they do not have one as it is typed, only if
    /// the words are up with the texts.
    pub(super) fn written(&self, asked: &Asked, are_level: bool) -> BTreeMap<String, Written> {
        let folded = fold(&asked.text);
        let written = |word: &str| match self.places.contains_key(word) {
            true => Some(Written::AsTyped),
            false if !are_level || self.is_cut => None,
            false if self.has_form_of(word) => Some(Written::InAnotherForm),
            false => Some(Written::Nowhere),
        };
        let kept = spelling::words(&folded).into_iter().filter(|word| is_kept(word));
        kept.filter_map(|word| Some((word.to_owned(), written(word)?))).collect()
    }

    /// Whether a word that may be an acronym is one of texts, and nobody's initials; a short one may be those of somebody who is new.
    pub(super) fn is_mere_word(&self, written: &str) -> bool {
        let word = fold(written);
        word.chars().count() >= MERE
            && self.places.contains_key(&*word)
            && self.initials.named(written).is_none()
    }

    /// Whether no text has a word in any form, though it is long enough to tell what was meant by it.
    fn is_odd(&self, word: &str) -> bool {
        self.is_unwritten(word) && !self.has_form_of(word)
    }

    /// Whether a word of a question of so many may be mistyped: one that no text has in this form; a short one that no text has in any,
    /// beside others, unless it is of a language.
    pub(super) fn is_strange(&self, word: &str, words: usize) -> bool {
        let may_be_short = || {
            is_kept(word)
                && !self.places.contains_key(word)
                && !self.has_form_of(word)
                && dictionary::may_be_mistyped(word, words)
        };
        self.is_unwritten(word) || may_be_short()
    }

    fn has_form_of(&self, word: &str) -> bool {
        stems(word).iter().any(|stem| self.stems.contains_key(stem))
    }

    /// Whether no text has a word in this form, though it is long enough to tell what was meant by it.
    pub(super) fn is_unwritten(&self, word: &str) -> bool {
        is_kept(word)
            && spelling::forgiven(word.chars().count(), 1) > 0
            && !self.places.contains_key(word)
    }

    /// The words that are like one that nobody wrote in this form, if all of them are kept.
    fn near(&self, typed: &str) -> Option<Near> {
        let shape = Shape::of(typed);
        let length = usize::from(shape.length);
        let most = spelling::forgiven(length, 2);
        let are_kept = LETTERS.contains(&(length - most)) && LETTERS.contains(&(length + most));
        if self.is_cut || !are_kept || !typed.chars().all(char::is_alphabetic) {
            return None;
        }
        let sound = Sound::of(typed);
        let mut near: Vec<(usize, u32, &str)> = self
            .entries
            .iter()
            .filter_map(|entry| {
                let is_near = shape.is_near(entry.shape, most);
                let errors = is_near.then(|| spelling::distance(typed, &entry.word, most));
                let errors = errors.flatten().or_else(|| sound.is(entry.sound).then_some(1))?;
                Some((errors, u32::MAX - entry.records, &*entry.word))
            })
            .collect();
        near.sort_unstable();
        let is_cut = near.len() > MOST_NEAR;
        near.truncate(MOST_NEAR);
        let mut words: Vec<String> = near.into_iter().map(|(.., word)| word.to_owned()).collect();
        if words.is_empty() {
            words.extend(self.pair(typed));
        }
        Some(Near { typed: typed.to_owned(), words, is_cut })
    }

    /// Two words that were typed as one, if both are long enough to be found.
    fn pair(&self, typed: &str) -> Option<String> {
        let places = typed.char_indices().map(|(at, _)| typed.split_at(at));
        let is_kept = |word: &str| word.chars().count() >= PAIRED && self.places.contains_key(word);
        let mut pairs = places.filter(|(one, other)| is_kept(one) && is_kept(other));
        pairs.next().map(|(one, other)| format!("{one} {other}"))
    }

    /// The word that was probably meant: the nearest, of several the one that most records have.
    fn correction(&self, typed: &str, forgiven: fn(usize, usize) -> usize) -> Option<Correction> {
        let shape = Shape::of(typed);
        let forgiven = forgiven(usize::from(shape.length), 1);
        let sound = Sound::of(typed);
        let near = self.entries.iter().filter_map(|entry| {
            let begins = entry.shape.first == shape.first;
            // Hardly anybody mistypes the first letter and another one.
            let most = if begins { forgiven } else { forgiven.min(1) };
            let is_near = shape.is_near(entry.shape, most);
            let errors = is_near.then(|| spelling::distance(typed, &entry.word, most)).flatten();
            let is_said_alike = || forgiven > 0 && sound.is(entry.sound);
            let errors = errors.or_else(|| is_said_alike().then_some(1))?;
            if errors > 1 && is_another_ending(typed, &entry.word) {
                return None;
            }
            Some(((errors, !begins, u32::MAX - entry.records, &*entry.word), entry))
        });
        let (_, entry) = near.min_by_key(|(rank, _)| *rank)?;
        Some(Correction { typed: typed.to_owned(), word: entry.word.to_string() })
    }
}

/// Whether two words differ only in their last letters, as forms of a word do: there nobody mistypes several.
fn is_another_ending(one: &str, other: &str) -> bool {
    let same = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let rest = |word: &str| word.chars().count() - same;
    rest(one) <= ENDING && rest(other) <= ENDING
}

/// How many errors there may be in a word of this length in a long question, whose words are more often such as nobody used.
fn forgiven_in_long(length: usize, _words: usize) -> usize {
    usize::from(length >= TELLING)
}

/// The records that have changed behind a position, in the order in which they did, and their texts.
async fn changed(db: &mut PgConnection, after: i64) -> Result<Vec<Said>, sqlx::Error> {
    sqlx::query_as(
        "select kind, id, position, case when not archived then folded_title end as name, array(
             select text from passage where passage.kind = findable.kind and passage.id = findable.id) as texts
         from findable where position > $1 order by position limit $2",
    )
    .bind(after)
    .bind(PAGE)
    .fetch_all(db)
    .await
}

/// The words of a text that are kept, folded.
fn words(text: &str) -> Vec<String> {
    let folded = fold(text);
    let words = spelling::words(&folded).into_iter();
    words.filter(|word| is_kept(word)).map(str::to_owned).collect()
}

/// Whether a word is one that is kept.
fn is_kept(word: &str) -> bool {
    LETTERS.contains(&word.chars().count()) && word.chars().all(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use domain::Kind;

    use super::*;

    fn said(id: i64, position: i64, text: &str) -> Said {
        let (record, name) = (Kind::Note.record(id), None);
        Said { record, position, name, texts: vec![text.to_owned()] }
    }

    fn of(texts: &[&str]) -> Words {
        let mut all = Words::default();
        for (id, text) in (1..).zip(texts) {
            all.take(&said(id, id, text));
        }
        all
    }

    fn corrected(words: &Words, typed: &str) -> Option<String> {
        let correction = words.correction(typed, spelling::forgiven);
        correction.filter(|_| words.is_odd(typed)).map(|it| it.word)
    }

    #[test]
    fn a_word_that_nobody_wrote_is_taken_for_the_nearest_one() {
        let words = of(&[
            "Currency hedging for pension funds; the master fund.",
            "El rendimiento de los fondos de pensión y su cobertura.",
            "Hedging again, and hedgerows, and a wedge. Managers manage.",
        ]);
        let check = |typed: &str, expected: Option<&str>| {
            assert_eq!(corrected(&words, typed).as_deref(), expected, "{typed}");
        };
        check("curency", Some("currency"));
        check("hedgng", Some("hedging"));
        check("fnuds", Some("funds"));
        check("rendimeinto", Some("rendimiento"));
        check("pensoin", Some("pension"));
        check("xobertura", Some("cobertura"));
        // Two errors in a long word, but not where it begins.
        check("rendiminetoo", Some("rendimiento"));
        check("xendimeinto", None);
        // Another form of a word.
        check("rendimiental", None);
        // Words of texts in any form, short ones, and those that are like none.
        for typed in ["hedging", "hedged", "managing", "fnd", "fnds", "leverage"] {
            check(typed, None);
        }
    }

    #[test]
    fn a_mistyped_word_may_be_any_that_is_like_it() {
        let words = of(&["Local loans.", "Local, vocal.", "The focal point; loyal locality."]);
        let near = |typed: &str| words.near(typed).map(|near| near.words);
        let of = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(near("lokal"), of(&["local", "loyal"]));
        assert_eq!(near("xocal"), of(&["local", "focal", "vocal"]), "most records, then by letter");
        assert_eq!(near("leverage"), of(&[]));
        assert_eq!(near("loan"), of(&["loans"]), "a short one");
        assert_eq!(near("local2"), None, "what it may be is not kept");
    }

    #[test]
    fn two_words_may_have_been_typed_as_one() {
        let words = of(&["Granite Peak of Ohio."]);
        let near = |typed: &str| words.near(typed).map(|near| near.words);
        assert_eq!(near("granitepeak"), Some(vec!["granite peak".to_owned()]));
        assert_eq!(near("ofgranite"), Some(vec!["granite".to_owned()]), "two letters are errors");
        assert_eq!(near("granitehill"), Some(vec![]));
    }

    #[test]
    fn a_short_word_may_be_mistyped_where_no_text_has_it_in_any_form() {
        let all = of(&["The funds of a peak, and an IV."]);
        for (typed, words, expected) in [
            ("fnud", 2, true),
            ("pek", 2, true),
            ("pek", 1, false),
            ("tax", 2, false),
            ("fund", 2, false),
            ("peak", 2, false),
            ("fx", 2, false),
            ("peakk", 1, true),
        ] {
            assert_eq!(all.is_strange(typed, words), expected, "{typed} of {words}");
        }
    }

    #[test]
    fn it_is_told_whether_a_word_may_be_others_as_well() {
        let near = |texts: &str| of(&[texts]).near("rok").unwrap();
        let few = near("rob rod roe rot row ron ros rock");
        assert_eq!((few.words.len(), few.is_cut), (8, false));
        let many = near("rob rod roe rot row ron ros roy rock");
        assert_eq!((many.words.len(), many.is_cut), (8, true));
    }

    #[test]
    fn a_name_is_taken_for_the_one_that_sounds_so() {
        let words = of(&["Etxeberría, Giménez y Vázquez."]);
        for (typed, word) in
            [("echeverria", "etxeberria"), ("ximenes", "gimenez"), ("basques", "vazquez")]
        {
            assert_eq!(corrected(&words, typed).as_deref(), Some(word));
            assert_eq!(words.near(typed).unwrap().words, [word]);
        }
    }

    #[test]
    fn it_is_known_which_words_of_a_question_texts_have_as_they_are_typed() {
        let check = |words: &Words, are_level, expected: &[(&str, Written)]| {
            let written = words.written(&Asked::of("Hedging Pensiónes at pensions"), are_level);
            let found: Vec<(&str, Written)> =
                written.iter().map(|(it, written)| (it.as_str(), *written)).collect();
            assert_eq!(found, expected);
        };
        let mut words = of(&["hedging of pensiones"]);
        let typed = [("hedging", Written::AsTyped), ("pensiones", Written::AsTyped)];
        let (at, pensions) = (("at", Written::Nowhere), ("pensions", Written::InAnotherForm));
        check(&words, true, &[at, typed[0], typed[1], pensions]);
        check(&words, false, &typed);
        words.is_cut = true;
        check(&words, true, &typed);
    }

    #[test]
    fn of_several_words_the_one_is_meant_that_most_records_have() {
        let words = of(&["The loan.", "A local loan.", "A local one.", "The loyal local."]);
        assert_eq!(corrected(&words, "locyl").as_deref(), Some("local"));
        let words = of(&["Loyal, loyal and loyal.", "Focal points.", "Focal points."]);
        assert_eq!(corrected(&words, "foyal").as_deref(), Some("focal"));
    }

    #[test]
    fn in_a_long_question_only_long_words_are_taken_for_typing_errors() {
        let words = of(&["The county has a committee."]);
        let check = |typed: &str, brief: bool, long: bool| {
            assert_eq!(words.correction(typed, spelling::forgiven).is_some(), brief, "{typed}");
            assert_eq!(words.correction(typed, forgiven_in_long).is_some(), long, "{typed}");
        };
        check("country", true, false);
        check("commitee", true, true);
        check("comitee", true, false);
        check("comitae", false, false);
        check("comittae", true, false);
    }

    #[test]
    fn the_words_of_a_text_go_with_it_and_others_take_their_places() {
        let mut words = of(&["Currency hedging.", "Hedging."]);
        words.take(&said(1, 3, "Leverage."));
        assert_eq!(corrected(&words, "curency"), None);
        assert!(!words.stems.contains_key("currenc") && words.stems.contains_key("hedg"));
        assert_eq!(corrected(&words, "hedgng").as_deref(), Some("hedging"));
        words.take(&Said { texts: vec![], ..said(2, 4, "") });
        words.take(&Said { texts: vec![], ..said(1, 5, "") });
        assert!(words.places.is_empty() && words.stems.is_empty() && words.said.is_empty());
        assert!(words.entries.iter().all(|entry| entry.word.is_empty()));
        assert_eq!((words.size, words.position), (0, 5));
        words.take(&said(3, 6, "Currency hedging."));
        assert_eq!(words.entries.len(), words.places.len() + words.free.len());
        assert_eq!(corrected(&words, "curency").as_deref(), Some("currency"));
    }

    #[test]
    fn a_question_says_what_it_means() {
        let mut words = of(&["Currency hedging of the Ottawa office."]);
        let (record, name) = (Kind::Lp.record(1), Some("curtis erie north county y".to_owned()));
        words.take(&Said { record, position: 2, name, texts: vec![] });
        let understood = |text: &str| words.understood(&Asked::of(text));
        let asked = understood("CENC hedgng \"offise\"");
        assert_eq!(asked.acronyms, [Acronym { word: "cenc".into(), records: vec![record] }]);
        let typed: Vec<&str> = asked.corrections.iter().map(|it| it.typed.as_str()).collect();
        assert_eq!(typed, ["hedgng"]);
        let plain = understood("currency hedging");
        assert_eq!(Asked { written: Default::default(), ..plain }, Asked::of("currency hedging"));
    }

    #[test]
    fn what_is_no_word_is_not_kept() {
        assert_eq!(
            words("Fee 2% IV xxi2 a@b.example, Señoría"),
            ["fee", "iv", "example", "senoria"]
        );
        assert_eq!(words(&"x".repeat(25)), Vec::<String>::new());
    }
}
