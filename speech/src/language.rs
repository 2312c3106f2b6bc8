//! Languages as Whisper knows them, by the codes of ISO 639-1.

/// What browsers and people call a language that Whisper has under another code.
const OTHERWISE: [(&str, &str); 5] =
    [("nb", "no"), ("iw", "he"), ("fil", "tl"), ("cmn", "zh"), ("castilian", "es")];

/// The code of a language that is given by its code, with or without a region, or by its English name: `es` for `ES`, `es-MX`,
/// `es_419` and `Spanish`. None for one that Whisper does not know.
#[must_use]
pub fn code(said: &str) -> Option<&'static str> {
    let said = said.trim().to_lowercase();
    let known = |name: &str| {
        let name =
            OTHERWISE.iter().find(|(other, _)| *other == name).map_or(name, |(_, code)| code);
        (0..=whisper_rs::get_lang_max_id()).find_map(|id| {
            let code = whisper_rs::get_lang_str(id)?;
            let is_meant = code == name || whisper_rs::get_lang_str_full(id) == Some(name);
            is_meant.then_some(code)
        })
    };
    known(&said).or_else(|| known(said.split(['-', '_']).next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_known_by_code_region_and_name() {
        for spanish in ["es", "ES", " es-MX ", "es_419", "Spanish", "castilian"] {
            assert_eq!(code(spanish), Some("es"), "{spanish}");
        }
        assert_eq!(code("EN-us"), Some("en"));
        assert_eq!(code("nb-NO"), Some("no"));
        assert_eq!(code("zh-Hant-TW"), Some("zh"));
        assert_eq!(code("Haitian Creole"), Some("ht"));
        for unknown in ["", "-", "xx", "klingon", "e", "espa\u{f1}ol?", "es\0"] {
            assert_eq!(code(unknown), None, "{unknown:?}");
        }
    }
}
