//! JSON as the legacy server read it.
//!
//! Like RFC 8259, but `NaN`, `Infinity` and `-Infinity` are numbers, and numbers keep their spelling until the column
//! that takes them says what they are: `1e400` and integers of any length reach the coercion, which names the field.
//! Faults carry the words and the offset (in characters) that clients of the legacy server know.

/// A JSON value, numbers as they were spelled.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A number as it was spelled, `NaN` and infinities included.
    Number(String),
    /// A text.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object; of keys that repeat, the last counts.
    Object(Vec<(String, Json)>),
}

/// Why a text is no JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// Something is wrong at this character.
    At {
        /// How many characters come before it.
        offset: usize,
        /// What is wrong.
        message: &'static str,
    },
    /// It is nested deeper than any body of ours.
    TooDeep,
}

/// How deep values may be nested.
const DEPTH: usize = 200;

/// Reads a whole text.
///
/// # Errors
/// [`JsonError`] with the first thing that is wrong.
pub fn parse(text: &str) -> Result<Json, JsonError> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.whole().map_err(|fault| match fault {
        Fault::At(at, message) => {
            JsonError::At { offset: text[..at.min(text.len())].chars().count(), message }
        }
        Fault::TooDeep => JsonError::TooDeep,
    })?;
    Ok(value)
}

impl Json {
    /// The members of an object, each key once.
    pub fn into_members(self) -> Option<Vec<(String, Json)>> {
        match self {
            Json::Object(members) => Some(members),
            _ => None,
        }
    }

    /// All of it; numbers that are none elsewhere as text.
    pub fn into_value(self) -> serde_json::Value {
        match self {
            Json::Null => serde_json::Value::Null,
            Json::Flag(flag) => flag.into(),
            Json::Number(spelling) => {
                serde_json::from_str(&spelling).unwrap_or_else(|_| spelling.into())
            }
            Json::Text(text) => text.into(),
            Json::List(items) => items.into_iter().map(Json::into_value).collect(),
            Json::Object(members) => {
                members.into_iter().map(|(key, value)| (key, value.into_value())).collect()
            }
        }
    }

    /// As an answer can show it: numbers that JSON cannot hold as text, long texts cut off.
    pub fn shown(&self) -> serde_json::Value {
        const SHOWN: usize = 200;
        match self {
            Json::Null => serde_json::Value::Null,
            Json::Flag(flag) => (*flag).into(),
            Json::Number(spelling) => serde_json::from_str(spelling)
                .unwrap_or_else(|_| spelling.chars().take(SHOWN).collect::<String>().into()),
            Json::Text(text) => match text.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("{}…", &text[..end]).into(),
                None => text.clone().into(),
            },
            Json::List(items) => items.iter().take(20).map(Json::shown).collect(),
            Json::Object(members) => {
                members.iter().take(20).map(|(key, value)| (key.clone(), value.shown())).collect()
            }
        }
    }
}

enum Fault {
    At(usize, &'static str),
    TooDeep,
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn whole(&mut self) -> Result<Json, Fault> {
        self.skip_space();
        let value = self.value(0)?;
        self.skip_space();
        match self.peek() {
            Some(_) => Err(Fault::At(self.at, "Extra data")),
            None => Ok(value),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, Fault> {
        if depth > DEPTH {
            return Err(Fault::TooDeep);
        }
        match self.peek() {
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            _ => self.word().or_else(|| self.number()).ok_or(Fault::At(self.at, "Expecting value")),
        }
    }

    fn word(&mut self) -> Option<Json> {
        let rest = &self.text[self.at..];
        let words =
            [("null", Json::Null), ("true", Json::Flag(true)), ("false", Json::Flag(false))];
        let numbers =
            ["NaN", "Infinity", "-Infinity"].map(|word| (word, Json::Number(word.into())));
        let (word, value) =
            words.into_iter().chain(numbers).find(|(word, _)| rest.starts_with(word))?;
        self.at += word.len();
        Some(value)
    }

    fn number(&mut self) -> Option<Json> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let digits = |mut at: usize| {
            let first = at;
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            (at > first).then_some(at)
        };
        let first = start + usize::from(self.peek() == Some(b'-'));
        let mut end = if bytes.get(first) == Some(&b'0') { first + 1 } else { digits(first)? };
        if bytes.get(end) == Some(&b'.') {
            end = digits(end + 1).unwrap_or(end);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let signed = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            end = digits(end + 1 + signed).unwrap_or(end);
        }
        self.at = end;
        Some(Json::Number(self.text[start..end].to_owned()))
    }

    fn list(&mut self, depth: usize) -> Result<Json, Fault> {
        self.at += 1;
        self.skip_space();
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_space();
            match self.peek() {
                Some(b']') => break,
                Some(b',') => self.at += 1,
                _ => return Err(Fault::At(self.at, "Expecting ',' delimiter")),
            }
            self.skip_space();
        }
        self.at += 1;
        Ok(Json::List(items))
    }

    fn object(&mut self, depth: usize) -> Result<Json, Fault> {
        self.at += 1;
        self.skip_space();
        let mut members: Vec<(String, Json)> = Vec::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            if self.peek() != Some(b'"') {
                let message = "Expecting property name enclosed in double quotes";
                return Err(Fault::At(self.at, message));
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(Fault::At(self.at, "Expecting ':' delimiter"));
            }
            self.at += 1;
            self.skip_space();
            let value = self.value(depth + 1)?;
            members.push((key, value));
            self.skip_space();
            match self.peek() {
                Some(b'}') => break,
                Some(b',') => self.at += 1,
                _ => return Err(Fault::At(self.at, "Expecting ',' delimiter")),
            }
            self.skip_space();
        }
        self.at += 1;
        Ok(Json::Object(last_of_each(members)))
    }

    fn string(&mut self) -> Result<String, Fault> {
        let start = self.at;
        let unterminated = Fault::At(start, "Unterminated string starting at");
        self.at += 1;
        let mut content = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(stop) = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
            else {
                return Err(unterminated);
            };
            content.push_str(&rest[..stop]);
            self.at += stop;
            match rest.as_bytes()[stop] {
                b'"' => break,
                b'\\' if rest.len() == stop + 1 => return Err(unterminated),
                b'\\' => content.push(self.escape()?),
                _ => return Err(Fault::At(self.at, "Invalid control character at")),
            }
        }
        self.at += 1;
        Ok(content)
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let at = self.at;
        self.at += 2;
        Ok(match self.text.as_bytes()[at + 1] {
            plain @ (b'"' | b'\\' | b'/') => plain.into(),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let invalid = Fault::At(at + 1, "Invalid \\uXXXX escape");
                let Some(first) = self.hex4(self.at) else { return Err(invalid) };
                self.at += 4;
                let follows = self.text.as_bytes()[self.at..].starts_with(b"\\u");
                let second = follows.then(|| self.hex4(self.at + 2)).flatten();
                let units = [Some(first), second].into_iter().flatten();
                let decoded = char::decode_utf16(units).next();
                // A browser that cuts a text between the halves of a sign sends half of it, which no text can hold.
                let char = decoded.and_then(Result::ok).unwrap_or(char::REPLACEMENT_CHARACTER);
                self.at += if char.len_utf16() == 2 { 6 } else { 0 };
                char
            }
            _ => return Err(Fault::At(at, "Invalid \\escape")),
        })
    }

    fn hex4(&self, at: usize) -> Option<u16> {
        let digits = self.text.get(at..at + 4)?;
        let all_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        all_hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    }
}

/// Of members with the same key, only the last.
fn last_of_each(members: Vec<(String, Json)>) -> Vec<(String, Json)> {
    let mut seen = std::collections::HashSet::new();
    let mut last: Vec<_> =
        members.into_iter().rev().filter(|(key, _)| seen.insert(key.clone())).collect();
    last.reverse();
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_the_words_and_offsets_that_clients_know() {
        let check = |text: &str, offset: usize, message: &'static str| {
            assert_eq!(parse(text), Err(JsonError::At { offset, message }), "{text}");
        };
        check("", 0, "Expecting value");
        check("{bad}", 1, "Expecting property name enclosed in double quotes");
        check(r#"{"name": "#, 9, "Expecting value");
        check(r#"{"name": "x",}"#, 13, "Expecting property name enclosed in double quotes");
        check(r#"{"a" 1}"#, 5, "Expecting ':' delimiter");
        check(r#"{"ñ":1 "b":2}"#, 7, "Expecting ',' delimiter");
        check(r#"{"a":"x"#, 5, "Unterminated string starting at");
        check("{\"a\":\"x\ny\"}", 7, "Invalid control character at");
        check(r#"{"a":"\x"}"#, 6, "Invalid \\escape");
        check(r#"{"a":"\ud8g0"}"#, 7, "Invalid \\uXXXX escape");
        check("{} x", 3, "Extra data");
        check("[1 2]", 3, "Expecting ',' delimiter");
        check("01", 1, "Extra data");
        check("-", 0, "Expecting value");
        assert_eq!(parse(&"[".repeat(100_000)), Err(JsonError::TooDeep));
    }

    #[test]
    fn values_are_read_and_numbers_keep_their_spelling() {
        let check = |text: &str, expected: Json| assert_eq!(parse(text), Ok(expected), "{text}");
        let number = |spelling: &str| Json::Number(spelling.into());
        check(" null ", Json::Null);
        for spelling in
            ["0", "-1", "1.0", "1e400", "-1.5E+3", "12345678901234567890123", "NaN", "-Infinity"]
        {
            check(spelling, number(spelling));
        }
        check(
            r#""a\"\\\/\b\f\n\r\t\u00f1\ud83d\ude00ñ""#,
            Json::Text("a\"\\/\u{8}\u{c}\n\r\tñ😀ñ".into()),
        );
        // Halves of signs, of which a browser may send one.
        for (halves, expected) in [
            (r#""a\ud83d""#, "a\u{fffd}"),
            (r#""\ud83d😀""#, "\u{fffd}😀"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\ude00\ud83d\n""#, "\u{fffd}\u{fffd}\n"),
        ] {
            check(halves, Json::Text(expected.into()));
        }
        check(
            "[1, [ ], {}]",
            Json::List(vec![number("1"), Json::List(vec![]), Json::Object(vec![])]),
        );
        check(
            r#"{"a": 1, "b": true, "a": false}"#,
            Json::Object(vec![("b".into(), Json::Flag(true)), ("a".into(), Json::Flag(false))]),
        );
    }
}
