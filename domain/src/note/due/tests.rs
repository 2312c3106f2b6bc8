use super::*;

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

/// What the words mean if they are said on Wednesday, 12 November 2025.
fn check(words: &str, expected: Option<&str>) {
    let found = due(words, Some(date("2025-11-12"))).map(|due| due.date());
    assert_eq!(found, expected.map(date), "{words}");
}

#[test]
fn days_in_english_count_from_the_meeting() {
    for (words, expected) in [
        ("today", "2025-11-12"),
        ("by tonight", "2025-11-12"),
        ("this afternoon", "2025-11-12"),
        ("by the end of the day", "2025-11-12"),
        ("tomorrow morning", "2025-11-13"),
        ("first thing tomorrow", "2025-11-13"),
        ("tomorrow at 3 pm", "2025-11-13"),
        ("the day after tomorrow", "2025-11-14"),
        ("by Friday", "2025-11-14"),
        ("before Friday.", "2025-11-14"),
        ("EOD Friday", "2025-11-14"),
        ("by end of day Friday", "2025-11-14"),
        ("no later than Friday noon", "2025-11-14"),
        ("next Tuesday", "2025-11-18"),
        ("next Wednesday", "2025-11-19"),
        ("this coming Monday", "2025-11-17"),
        ("the coming Friday", "2025-11-14"),
        ("this Friday", "2025-11-14"),
        ("Friday of this week", "2025-11-14"),
        ("this week on Friday", "2025-11-14"),
        ("on Wednesday", "2025-11-19"),
        ("Monday of next week", "2025-11-17"),
        ("Friday next week", "2025-11-21"),
        ("this week", "2025-11-14"),
        ("by the end of the week", "2025-11-14"),
        ("next week", "2025-11-21"),
        ("by the end of next week", "2025-11-21"),
        ("this weekend", "2025-11-16"),
        ("end of the month", "2025-11-30"),
        ("before month end", "2025-11-30"),
        ("at the end of the month", "2025-11-30"),
        ("at month end", "2025-11-30"),
        ("at the end of the day, at 5pm", "2025-11-12"),
        ("before the end of next week", "2025-11-21"),
        ("before Friday of next week", "2025-11-21"),
        ("before end of day Friday", "2025-11-14"),
        ("before the 5th of next month", "2025-12-05"),
        ("before tomorrow noon", "2025-11-13"),
        ("tomorrow before noon", "2025-11-13"),
        ("next month", "2025-12-31"),
        ("by the end of the quarter", "2025-12-31"),
        ("next quarter", "2026-03-31"),
        ("end of Q1", "2026-03-31"),
        ("year end", "2025-12-31"),
        ("by EOY", "2025-12-31"),
        ("by 15 November", "2025-11-15"),
        ("on November 15th", "2025-11-15"),
        ("by the 15th of November", "2025-11-15"),
        ("by November 15, 2026", "2026-11-15"),
        ("12 November", "2025-11-12"),
        ("11 November", "2026-11-11"),
        ("Friday, 14 November", "2025-11-14"),
        ("Friday the 14th", "2025-11-14"),
        ("by the 5th", "2025-12-05"),
        ("on the 31st", "2025-12-31"),
        ("the 5th of next month", "2025-12-05"),
        ("by the end of June", "2026-06-30"),
        ("in January", "2026-01-31"),
        ("end of February 2028", "2028-02-29"),
        ("in two weeks", "2025-11-26"),
        ("within 10 days", "2025-11-22"),
        ("within two weeks", "2025-11-26"),
        ("in the coming week", "2025-11-21"),
        ("a week from now", "2025-11-19"),
        ("in a month", "2025-12-12"),
    ] {
        check(words, Some(expected));
    }
}

#[test]
fn days_in_spanish_count_from_the_meeting() {
    for (words, expected) in [
        ("hoy por la tarde", "2025-11-12"),
        ("esta mañana", "2025-11-12"),
        ("mañana", "2025-11-13"),
        ("mañana por la mañana", "2025-11-13"),
        ("man\u{303}ana a las 10", "2025-11-13"),
        ("pasado mañana", "2025-11-14"),
        ("por el viernes", "2025-11-14"),
        ("a más tardar el viernes", "2025-11-14"),
        ("para este sábado", "2025-11-15"),
        ("el próximo lunes", "2025-11-17"),
        ("el próximo viernes", "2025-11-14"),
        ("el viernes próximo", "2025-11-14"),
        ("el miércoles que viene", "2025-11-19"),
        ("el jueves de la próxima semana", "2025-11-20"),
        ("esta semana", "2025-11-14"),
        ("a finales de la semana", "2025-11-14"),
        ("La próxima semana", "2025-11-21"),
        ("la semana que viene", "2025-11-21"),
        ("en la semana entrante", "2025-11-21"),
        ("este fin de semana", "2025-11-16"),
        ("a fin de mes", "2025-11-30"),
        ("para finales de este mes", "2025-11-30"),
        ("el mes que viene", "2025-12-31"),
        ("fin del trimestre", "2025-12-31"),
        ("antes de fin de año", "2025-12-31"),
        ("antes de mañana", "2025-11-13"),
        ("mañana antes de las 5", "2025-11-13"),
        ("antes del viernes", "2025-11-14"),
        ("antes del 15 de marzo", "2026-03-15"),
        ("el próximo 15 de diciembre", "2025-12-15"),
        ("el 1 de diciembre de 2025", "2025-12-01"),
        ("el primero de diciembre", "2025-12-01"),
        ("el día 20", "2025-11-20"),
        ("en mayo", "2026-05-31"),
        ("en dos semanas", "2025-11-26"),
        ("dentro de una semana", "2025-11-19"),
        ("dentro de dos semanas", "2025-11-26"),
    ] {
        check(words, Some(expected));
    }
}

#[test]
fn what_can_be_read_in_several_ways_or_in_none_stays_words() {
    for words in [
        "when the committee has met",
        "cuando se reúna el comité",
        "soon",
        "after Friday",
        "no antes del viernes",
        "around the 15th",
        "early next week",
        "mid November",
        "by June",
        "next weekend",
        "next Friday",
        "Friday next",
        "this Monday",
        "before next week",
        "before this week",
        "before the weekend",
        "before next month",
        "before the next quarter",
        "before Q1",
        "antes de la próxima semana",
        "antes del mes que viene",
        "the day before Friday",
        "a week before Friday",
        "the Friday before",
        "within the next month",
        "within the next week",
        "dentro de la próxima semana",
        "dentro de este mes",
        "at one",
        "today or tomorrow",
        "Monday or Tuesday",
        "the week of 15 November",
        "Thursday, 14 November",
        "in two business days",
        "a week from Friday",
        "31 November",
        "15",
        "in the morning",
        "por la mañana",
        "03/04/2026",
        "15/13/2026",
        "3pm",
        "",
        "…",
    ] {
        check(words, None);
    }
}

#[test]
fn a_date_is_one_whether_or_not_anybody_knows_when_it_was_said() {
    let check = |words: &str, expected: Option<&str>| {
        let found = due(words, None).map(|due| due.to_string());
        assert_eq!(found.as_deref(), expected, "{words}");
    };
    check(" 2025-02-07 ", Some("2025-02-07T00:00:00"));
    check("2025-02-07T10:30", Some("2025-02-07T10:30:00"));
    check("15/11/2025", Some("2025-11-15T00:00:00"));
    check("11/15/2025", Some("2025-11-15T00:00:00"));
    check("05/05/2025", Some("2025-05-05T00:00:00"));
    check("by Friday", None);
}

#[test]
fn the_day_itself_is_not_the_next_of_its_name_and_a_week_ends_with_its_work() {
    let check = |words: &str, said_on: &str, expected: Option<&str>| {
        let found = due(words, Some(date(said_on))).map(|due| due.date());
        assert_eq!(found, expected.map(date), "{words} on {said_on}");
    };
    check("by Friday", "2025-11-14", Some("2025-11-21"));
    check("this Friday", "2025-11-14", None);
    check("next Friday", "2025-11-14", Some("2025-11-21"));
    check("next Monday", "2025-11-16", Some("2025-11-17"));
    check("this week", "2025-11-14", Some("2025-11-14"));
    check("this week", "2025-11-15", None);
    check("next week", "2025-11-16", Some("2025-11-21"));
    check("el 29 de febrero", "2028-02-01", Some("2028-02-29"));
    check("29 February", "2025-11-12", None);
    check("in one month", "2025-01-31", Some("2025-02-28"));
    check("by Friday", "+262142-12-31", None);
    check("in two weeks", "+262142-12-31", None);
}
