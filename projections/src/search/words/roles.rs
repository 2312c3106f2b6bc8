//! Roles of people, which English, Spanish and initials call differently: `Chief Investment Officer`, `Director de Inversiones`, `CIO`.
//! Each is found by all that it is called.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use super::compounds::Compound;
use crate::prose::{cut, fold};

/// What roles are called, a role a line, folded.
const ROLES: &str = include_str!("roles.txt");

/// All that roles are called, and what each is found by.
static KNOWN: LazyLock<(Regex, HashMap<&str, String>)> = LazyLock::new(|| {
    let roles = ROLES.lines().filter_map(|line| line.split_once(" = "));
    let called: HashMap<&str, String> = roles
        .flat_map(|(role, names)| names.split(" | ").map(move |name| (name, format!("@{role}"))))
        .collect();
    let mut names: Vec<&str> = called.keys().copied().collect();
    // The first that matches is taken.
    names.sort_by_key(|name| (std::cmp::Reverse(name.len()), *name));
    let patterns: Vec<String> = names.into_iter().map(pattern).collect();
    let pattern = format!("(?i){}", patterns.join("|"));
    (Regex::new(&pattern).expect("the pattern is made of constants"), called)
});

/// What finds a name in a text that is not folded, whatever stands between its words.
fn pattern(name: &str) -> String {
    let letter = |c: char| match c {
        'a' => "[aá]".to_owned(),
        'e' => "[eé]".to_owned(),
        'i' => "[ií]".to_owned(),
        'o' => "[oó]".to_owned(),
        'u' => "[uúü]".to_owned(),
        ' ' => r"[\s-]{1,2}".to_owned(),
        other => other.to_string(),
    };
    name.chars().map(letter).collect()
}

/// The roles that a text names, in their order.
pub(super) fn roles(text: &str) -> impl Iterator<Item = Compound> {
    let (names, called) = &*KNOWN;
    names.find_iter(text).filter_map(|found| {
        let is_part = text[..found.start()].ends_with(char::is_alphanumeric)
            || text[found.end()..].starts_with(char::is_alphanumeric);
        if is_part {
            return None;
        }
        let folded = fold(found.as_str());
        let words: Vec<&str> = cut(&folded).collect();
        let form = called.get(words.join(" ").as_str())?;
        Some(Compound { place: found.range(), forms: vec![form.clone()] })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let forms: Vec<String> = roles(text).flat_map(|it| it.forms).collect();
        assert_eq!(forms, expected, "{text}");
    }

    #[test]
    fn a_role_is_the_same_in_both_languages_and_by_its_initials() {
        check("Chief Investment Officer; Director de Inversiones; CIO", &["@cio"; 3]);
        check("Relación con Inversionistas, VP, Vice-President", &["@ir", "@vp", "@vp"]);
        check("the analysts and una analista", &["@analyst", "@analyst"]);
        check("director\njurídico", &["@counsel"]);
        check("chief executive officer, director general adjunto", &["@ceo", "@ceo"]);
        check("2025_CFO_Coppel", &["@cfo"]);
    }

    #[test]
    fn words_of_roles_alone_are_none() {
        check("the chief said that the director of the precio partner invests", &[]);
        check("investment officer, psychoanalyst, inversiones, écfo, vpñ, mvp", &[]);
    }

    #[test]
    fn what_a_role_is_called_is_folded_and_names_one_role() {
        let names: Vec<&str> = ROLES
            .lines()
            .map(|line| line.split_once(" = ").expect("a role and its names").1)
            .flat_map(|names| names.split(" | "))
            .collect();
        assert_eq!(names.len(), KNOWN.1.len());
        for name in names {
            assert_eq!(fold(name), name);
            check(name, &[KNOWN.1[name].as_str()]);
        }
    }
}
