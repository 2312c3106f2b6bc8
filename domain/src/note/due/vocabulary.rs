//! The words that days are named by, in English and Spanish.

use chrono::Weekday;

use super::super::wording::words;

/// What a word, or some in a row, say of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Today,
    Tomorrow,
    AfterTomorrow,
    Weekday(Weekday),
    Month(u32),
    Period(Period),
    /// Of the year.
    Quarter(u32),
    Number(u32),
    /// The number that follows is a day.
    The,
    This,
    /// Of a weekday it may be the one to come or the one of the week that follows.
    Next,
    /// The next to come.
    Coming,
    End,
    /// Of a day, or the end of something, that is when it is due; of a whole week or month it is none of its days.
    Before,
    In,
    /// A length of time follows.
    Within,
    /// Counted from today.
    Ahead,
    /// Of a day that is named; a clock time is one as well.
    PartOfDay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Period {
    Day,
    Week,
    Weekend,
    Month,
    Quarter,
    Year,
}

/// Several words that say something else, or more, than each of them.
const PHRASES: &[(&[&str], &[Word])] = &[
    (&["day", "after", "tomorrow"], &[Word::AfterTomorrow]),
    (&["pasado", "manana"], &[Word::AfterTomorrow]),
    (&["la", "manana"], &[Word::PartOfDay]),
    (&["esta", "manana"], &[Word::This, Word::PartOfDay]),
    (&["que", "viene"], &[Word::Coming]),
    (&["fin", "de", "semana"], &[Word::Period(Period::Weekend)]),
    (&["from", "now"], &[Word::Ahead]),
    (&["from", "today"], &[Word::Ahead]),
    (&["first", "thing"], &[]),
    (&["no", "later", "than"], &[]),
    (&["no", "mas", "tarde"], &[]),
    (&["a", "mas", "tardar"], &[]),
    (&["at", "the", "latest"], &[]),
];

/// These add nothing to the day that they stand before or behind.
const EMPTY: &[&str] = &[
    "by", "on", "until", "till", "the", "of", "for", "later", "latest", "para", "por", "hasta",
    "a", "al", "de", "del", "el", "la", "los",
];

/// What the words say; `None` if one of them is none that days are named by.
pub(super) fn read(text: &str) -> Option<Vec<Word>> {
    let said = words(text);
    let mut rest: &[String] = &said;
    let mut read = Vec::new();
    while let [word, after @ ..] = rest {
        if let Some((phrase, meaning)) = PHRASES.iter().find(|(phrase, _)| begins(rest, phrase)) {
            read.extend_from_slice(meaning);
            rest = &rest[phrase.len()..];
            continue;
        }
        if ["at", "las"].contains(&word.as_str())
            && let Some(behind) = without_clock(after)
        {
            read.push(Word::PartOfDay);
            rest = behind;
            continue;
        }
        let next = after.first().map(String::as_str);
        read.extend(one(word, next)?);
        rest = after;
    }
    Some(bare(read))
}

fn begins(words: &[String], phrase: &[&str]) -> bool {
    words.len() >= phrase.len() && words.iter().zip(phrase).all(|(word, other)| word == other)
}

/// What follows a time of the day, which says nothing of the day.
fn without_clock(words: &[String]) -> Option<&[String]> {
    let is_clock = |word: &String| {
        let hour = word.trim_end_matches(|it: char| it.is_ascii_alphabetic());
        let rest = &word[hour.len()..];
        (1..=2).contains(&hour.len())
            && hour.bytes().all(|it| it.is_ascii_digit())
            && ["", "am", "pm", "h"].contains(&rest)
    };
    let count = words.iter().take_while(|word| is_clock(word)).count();
    let behind = &words[count..];
    let behind = behind.strip_prefix(&["am".to_owned()]).unwrap_or(behind);
    let behind = behind.strip_prefix(&["pm".to_owned()]).unwrap_or(behind);
    (count > 0 || behind.first().is_some_and(|it| it == "noon")).then_some(behind)
}

/// What one word says; `next` is the word behind it.
fn one(word: &str, next: Option<&str>) -> Option<Vec<Word>> {
    let of_next = next.and_then(number);
    let meaning = match word {
        // `a week`, but `a fin de mes`.
        "a" | "an" if next.and_then(period).is_some() => vec![Word::Number(1)],
        "the" | "el" | "dia" if of_next.is_some() => vec![Word::The],
        // `at month end`, but `at one` is a time of the day.
        "at" if of_next.is_none() => vec![],
        word if EMPTY.contains(&word) => vec![],
        "today" | "tonight" | "hoy" => vec![Word::Today],
        "tomorrow" | "manana" => vec![Word::Tomorrow],
        "this" | "este" | "esta" => vec![Word::This],
        "next" => vec![Word::Next],
        "coming" | "following" | "proximo" | "proxima" | "siguiente" | "entrante" => {
            vec![Word::Coming]
        }
        "before" | "antes" => vec![Word::Before],
        "end" | "fin" | "final" | "finales" => vec![Word::End],
        "in" | "en" => vec![Word::In],
        "within" | "dentro" => vec![Word::Within],
        "morning" | "afternoon" | "evening" | "noon" | "midday" | "eod" | "cob" | "tarde"
        | "noche" | "mediodia" => vec![Word::PartOfDay],
        "eow" => vec![Word::End, Word::Period(Period::Week)],
        "eom" => vec![Word::End, Word::Period(Period::Month)],
        "eoq" => vec![Word::End, Word::Period(Period::Quarter)],
        "eoy" => vec![Word::End, Word::Period(Period::Year)],
        "q1" => vec![Word::Quarter(1)],
        "q2" => vec![Word::Quarter(2)],
        "q3" => vec![Word::Quarter(3)],
        "q4" => vec![Word::Quarter(4)],
        word => {
            let weekday = weekday(word).map(Word::Weekday);
            let calendar = weekday.or_else(|| month(word).map(Word::Month));
            let named = calendar.or_else(|| period(word).map(Word::Period));
            match named {
                Some(named) => vec![named],
                None => [ordinal(word), vec![Word::Number(number(word)?)]].concat(),
            }
        }
    };
    Some(meaning)
}

/// Without what the rest says as well.
fn bare(mut read: Vec<Word>) -> Vec<Word> {
    // `Friday before noon`
    let mut following = read.clone().into_iter().skip(1);
    read.retain(|it| following.next() != Some(Word::PartOfDay) || *it != Word::Before);
    read.dedup();
    if read.first() == Some(&Word::Before) {
        let rest = bare(read.split_off(1));
        return [read, rest].concat();
    }
    let has_month = read.iter().any(|it| matches!(it, Word::Month(_)));
    read.retain(|it| !(has_month && *it == Word::The));
    if read[..] != [Word::This, Word::PartOfDay] {
        read.retain(|it| *it != Word::PartOfDay);
    }
    // `this coming Friday`
    if let [Word::This, Word::Next | Word::Coming, ..] = read[..] {
        read.remove(0);
    }
    // Which of the two it is makes a difference for a weekday alone.
    if !matches!(read[..], [Word::Coming, Word::Weekday(_)] | [Word::Weekday(_), Word::Coming]) {
        read.iter_mut().filter(|it| **it == Word::Coming).for_each(|it| *it = Word::Next);
    }
    // `end of day Friday`, but not `end of the day` alone.
    const END_OF_DAY: [Word; 2] = [Word::End, Word::Period(Period::Day)];
    if read.len() > END_OF_DAY.len() {
        if read.starts_with(&END_OF_DAY) {
            read.drain(..END_OF_DAY.len());
        } else if read.ends_with(&END_OF_DAY) {
            read.truncate(read.len() - END_OF_DAY.len());
        }
    }
    read
}

fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
        "monday" | "mon" | "lunes" => Weekday::Mon,
        "tuesday" | "tue" | "tues" | "martes" => Weekday::Tue,
        "wednesday" | "wed" | "miercoles" => Weekday::Wed,
        "thursday" | "thu" | "thur" | "thurs" | "jueves" => Weekday::Thu,
        "friday" | "fri" | "viernes" => Weekday::Fri,
        "saturday" | "sat" | "sabado" => Weekday::Sat,
        "sunday" | "sun" | "domingo" => Weekday::Sun,
        _ => return None,
    })
}

fn month(word: &str) -> Option<u32> {
    Some(match word {
        "january" | "jan" | "enero" | "ene" => 1,
        "february" | "feb" | "febrero" => 2,
        "march" | "marzo" => 3,
        "april" | "apr" | "abril" | "abr" => 4,
        "may" | "mayo" => 5,
        "june" | "jun" | "junio" => 6,
        "july" | "jul" | "julio" => 7,
        "august" | "aug" | "agosto" | "ago" => 8,
        "september" | "sept" | "sep" | "septiembre" | "setiembre" => 9,
        "october" | "oct" | "octubre" => 10,
        "november" | "nov" | "noviembre" => 11,
        "december" | "dec" | "diciembre" | "dic" => 12,
        _ => return None,
    })
}

fn period(word: &str) -> Option<Period> {
    Some(match word {
        "day" | "days" | "dia" | "dias" => Period::Day,
        "week" | "weeks" | "semana" | "semanas" => Period::Week,
        "weekend" => Period::Weekend,
        "month" | "months" | "mes" | "meses" => Period::Month,
        "quarter" | "trimestre" => Period::Quarter,
        "year" | "years" | "ano" | "anos" => Period::Year,
        _ => return None,
    })
}

fn number(word: &str) -> Option<u32> {
    const WORDS: &[(&str, &str, u32)] = &[
        ("one", "una", 1),
        ("first", "primero", 1),
        ("first", "un", 1),
        ("two", "dos", 2),
        ("three", "tres", 3),
        ("four", "cuatro", 4),
        ("five", "cinco", 5),
        ("six", "seis", 6),
        ("seven", "siete", 7),
        ("eight", "ocho", 8),
        ("nine", "nueve", 9),
        ("ten", "diez", 10),
        ("eleven", "once", 11),
        ("twelve", "doce", 12),
        ("fifteen", "quince", 15),
        ("twenty", "veinte", 20),
        ("thirty", "treinta", 30),
    ];
    let written = WORDS.iter().find(|(english, spanish, _)| [english, spanish].contains(&&word));
    let digits = ENDINGS.iter().find_map(|ending| word.strip_suffix(ending)).unwrap_or(word);
    let is_number = (1..=4).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit());
    written.map(|it| it.2).or_else(|| is_number.then(|| digits.parse().ok()).flatten())
}

/// What makes a number the one of a day.
const ENDINGS: &[&str] = &["st", "nd", "rd", "th", "ro", "o"];

/// `15th` is a day even without an article.
fn ordinal(word: &str) -> Vec<Word> {
    let is_ordinal = ["first", "primero"].contains(&word)
        || word.starts_with(|it: char| it.is_ascii_digit())
            && ENDINGS.iter().any(|ending| word.ends_with(ending));
    if is_ordinal { vec![Word::The] } else { vec![] }
}
