//! What clients send: bodies, path ids and query parameters, and the faults that the legacy server found in them.

use std::collections::HashSet;

use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use serde_path_to_error::Segment;

use crate::json::{self, Json, JsonError};
use crate::problem::{Fault, Problem};

/// The members of a JSON object that a client sent.
pub type Members = Vec<(String, Json)>;

/// A request's body, decoded but not yet judged.
#[derive(Debug)]
pub enum Body {
    /// None, or `null`.
    Nothing,
    /// JSON.
    Json(Json),
    /// Something that does not claim to be JSON: it counts as a text.
    Text(String),
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let claims_json = claims_json(request.headers());
        // It has been buffered and measured before it gets here.
        let bytes =
            request.into_body().collect().await.map_err(|_| Problem::Unreadable)?.to_bytes();
        if bytes.is_empty() {
            return Ok(Body::Nothing);
        }
        if !claims_json {
            return Ok(Body::Text(String::from_utf8_lossy(&bytes).into_owned()));
        }
        Self::parse(std::str::from_utf8(&bytes).map_err(|_| Problem::Unreadable)?)
    }
}

/// Bodies are taken as they are: one that is compressed would be read as damaged JSON, or kept as a recording that nobody
/// can play.
///
/// # Errors
/// [`Problem::Unsupported`] when the headers say that the body is encoded.
pub fn admit_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    if encodings.all(|it| it.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    Err(Problem::Unsupported("Send the body as it is, without Content-Encoding".to_owned()))
}

/// A body without a content type counts as JSON too.
fn claims_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else { return true };
    let content_type = content_type.to_str().unwrap_or_default().to_ascii_lowercase();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence
        .strip_prefix("application/")
        .is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

/// How the legacy server called a body that is no object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// For all records but roadshows.
    Model,
    /// For roadshows.
    Dict,
}

impl Body {
    fn parse(text: &str) -> Result<Self, Problem> {
        match json::parse(text.strip_prefix('\u{feff}').unwrap_or(text)) {
            Ok(Json::Null) => Ok(Body::Nothing),
            Ok(value) => Ok(Body::Json(value)),
            Err(JsonError::TooDeep) => Err(Problem::Unreadable),
            Err(JsonError::At { offset, message }) => Err(Problem::invalid(
                Fault::new("json_invalid", ["body".into(), offset.into()], "JSON decode error")
                    .with_input(json!({}))
                    .with_context(json!({ "error": message })),
            )),
        }
    }

    /// What the object says that the body must be, whatever type of content it claims to be.
    ///
    /// # Errors
    /// [`Problem::Invalid`] that names the field which is missing, unknown, or of another type.
    pub fn into_wish<T: DeserializeOwned>(self) -> Result<T, Problem> {
        let body = match self {
            Body::Text(text) => Self::parse(&text)?,
            other => other,
        };
        let sent = Json::Object(body.into_members(Shape::Model)?);
        let shown = sent.shown();
        serde_path_to_error::deserialize(sent.into_value())
            .map_err(|error| Problem::invalid(misfit(&error, &shown)))
    }

    /// The members of the object that the body must be.
    ///
    /// # Errors
    /// [`Problem::Invalid`] when it is absent or something else.
    pub fn into_members(self, shape: Shape) -> Result<Members, Problem> {
        let input = match self {
            Body::Nothing => return Err(Problem::invalid(Fault::missing(["body".into()]))),
            Body::Json(Json::Object(members)) => return Ok(members),
            Body::Json(other) => other.shown(),
            Body::Text(text) => Json::Text(text).shown(),
        };
        let (kind, msg) = match shape {
            Shape::Model => (
                "model_attributes_type",
                "Input should be a valid dictionary or object to extract fields from",
            ),
            Shape::Dict => ("dict_type", "Input should be a valid dictionary"),
        };
        Err(Problem::invalid(Fault::new(kind, ["body".into()], msg).with_input(input)))
    }

    /// The lists of ids of these names, each absent or null as `None`. No body at all is a body without lists.
    ///
    /// # Errors
    /// [`Problem::Invalid`] with everything that is no list, no id, or there twice.
    pub fn into_lists<const N: usize>(
        self,
        names: [&'static str; N],
    ) -> Result<[Option<Vec<i64>>; N], Problem> {
        let mut members = match self {
            Body::Nothing => Vec::new(),
            Body::Json(Json::Object(members)) => members,
            Body::Json(_) | Body::Text(_) => {
                let missing = names.map(|name| Fault::missing(["body".into(), name.into()]));
                return Err(Problem::Invalid(missing.into()));
            }
        };
        let mut faults = Vec::new();
        let lists = names.map(|name| {
            let at = members.iter().position(|(key, _)| key == name)?;
            match members.swap_remove(at).1 {
                Json::Null => None,
                Json::List(items) => Some(ids(name, &items, &mut faults)),
                other => {
                    let fault = Fault::field(name, "list_type", "Input should be a valid list");
                    faults.push(fault.with_input(other.shown()));
                    None
                }
            }
        });
        if faults.is_empty() { Ok(lists) } else { Err(Problem::Invalid(faults)) }
    }
}

/// What does not fit into the type that a body is read as.
fn misfit(error: &serde_path_to_error::Error<serde_json::Error>, sent: &Value) -> Fault {
    let mut place: Vec<Value> = vec!["body".into()];
    let mut input = Some(sent);
    for segment in error.path() {
        let (part, inner) = match segment {
            Segment::Map { key } => (key.as_str().into(), input.and_then(|it| it.get(key))),
            Segment::Seq { index } => ((*index).into(), input.and_then(|it| it.get(index))),
            _ => continue,
        };
        place.push(part);
        input = inner;
    }
    let said = error.inner().to_string();
    if let Some(name) = said.strip_prefix("missing field `").and_then(|it| it.split('`').next()) {
        place.push(name.into());
        return Fault::missing(place).with_input(sent.clone());
    }
    let (kind, msg) = match said.rsplit_once("expected ").map(|(_, expected)| expected) {
        _ if said.starts_with("unknown field") => ("extra_forbidden", said),
        Some("a string") => ("string_type", "Input should be a valid string".to_owned()),
        Some("a sequence") => ("list_type", "Input should be a valid list".to_owned()),
        Some("a boolean") => ("bool_type", "Input should be a valid boolean".to_owned()),
        Some("i64" | "usize") => ("int_type", "Input should be a valid integer".to_owned()),
        _ => ("value_error", said),
    };
    Fault::new(kind, place, msg).with_input(input.cloned().unwrap_or_default())
}

fn ids(name: &str, items: &[Json], faults: &mut Vec<Fault>) -> Vec<i64> {
    let (mut ids, mut seen) = (Vec::new(), HashSet::new());
    for (index, item) in items.iter().enumerate() {
        let id = match item {
            Json::Text(text) => parse_id(text),
            Json::Flag(flag) => Ok(i64::from(*flag)),
            Json::Number(spelling) => parse_id(spelling).map_err(|fault| match spelling.parse() {
                Ok(number) if f64::fract(number) != 0.0 => from_fraction(),
                _ => fault,
            }),
            _ => Err(Fault::new("int_type", [], "Input should be a valid integer")),
        };
        let id = id.and_then(|id| match seen.insert(id) {
            true => Ok(id),
            false => Err(Fault::new("duplicate", [], "This id is in the list twice")),
        });
        match id {
            Ok(id) => ids.push(id),
            Err(fault) => {
                let fault = fault.at(["body".into(), name.into(), index.into()]);
                faults.push(fault.with_input(item.shown()));
            }
        }
    }
    ids
}

fn from_fraction() -> Fault {
    let msg = "Input should be a valid integer, got a number with a fractional part";
    Fault::new("int_from_float", [], msg)
}

/// An id as the legacy server read it: spaces around it, a sign, leading zeros and a fraction of zeros do no harm.
pub fn parse_id(text: &str) -> Result<i64, Fault> {
    let trimmed = text.trim();
    let (digits, fraction) = trimmed.split_once('.').unwrap_or((trimmed, "0"));
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    let all_digits =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(unsigned) || !all_digits(fraction) || fraction.bytes().any(|byte| byte != b'0') {
        let msg = "Input should be a valid integer, unable to parse string as an integer";
        return Err(Fault::new("int_parsing", [], msg));
    }
    digits.parse().map_err(|_| {
        Fault::new(
            "int_parsing_size",
            [],
            "Unable to parse input string as an integer, exceeded maximum size",
        )
    })
}

/// The ids in a path, in its order.
#[derive(Clone, Copy, Debug)]
pub struct Ids<const N: usize>(pub [i64; N]);

impl<const N: usize, S: Send + Sync> FromRequestParts<S> for Ids<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::NoSuchPath)?;
        let (mut ids, mut faults) = (Vec::new(), Vec::new());
        for (name, value) in &params {
            match parse_id(value) {
                Ok(id) => ids.push(id),
                Err(fault) => {
                    faults.push(fault.at(["path".into(), name.into()]).with_input(value));
                }
            }
        }
        if !faults.is_empty() {
            return Err(Problem::Invalid(faults));
        }
        ids.try_into().map(Ids).map_err(|ids: Vec<i64>| {
            Problem::Internal(anyhow::anyhow!("a path with {} ids where {N} belong", ids.len()))
        })
    }
}

/// The parameters of a query; of those that repeat, the last counts.
#[derive(Clone, Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// The parameters of this address.
    pub fn of(uri: &Uri) -> Self {
        // Decoding replaces what is no UTF-8, so nothing is refused here.
        Query::try_from_uri(uri).map(|Query(pairs)| Self(pairs)).unwrap_or_default()
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The value of this name, which may be there once.
    ///
    /// # Errors
    /// [`Problem::Invalid`] when it is there again: nobody knows which one is meant.
    pub fn once(&self, name: &'static str) -> Result<Option<&str>, Problem> {
        match self.0.iter().filter(|(key, _)| key == name).nth(1) {
            None => Ok(self.get(name)),
            Some((_, again)) => {
                let fault = Fault::new(
                    "duplicate",
                    ["query".into(), name.into()],
                    format!("The parameter {name} is there twice"),
                );
                Err(Problem::invalid(fault.with_input(again.as_str())))
            }
        }
    }

    /// Names and values, in the order of the address.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All names, each as often as it is there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// All values of this name: it may come again, and each time name several, separated by commas.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.0.iter().filter(move |(key, _)| key == name);
        values
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|text| !text.is_empty())
    }

    /// Whether this name is there, but without any value.
    pub fn is_blank(&self, name: &str) -> bool {
        self.get(name).is_some() && self.list(name).next().is_none()
    }

    /// Refuses parameters of any other name: whoever misspells a filter must not get everything.
    ///
    /// # Errors
    /// [`Problem::Invalid`] that names each of them.
    pub fn expect(&self, names: &[&str]) -> Result<(), Problem> {
        let unknown = self.0.iter().filter(|(key, _)| !names.contains(&key.as_str()));
        let faults: Vec<Fault> = unknown
            .map(|(key, value)| {
                let said = format!("There is no such parameter; there are {}", names.join(", "));
                let place = ["query".into(), key.as_str().into()];
                Fault::new("extra_forbidden", place, said).with_input(value.as_str())
            })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(Problem::Invalid(faults)) }
    }

    /// The value of this name, which must be there and storable.
    ///
    /// # Errors
    /// [`Problem::Invalid`] when it is not.
    pub fn required(&self, name: &'static str) -> Result<String, Problem> {
        let loc = || ["query".into(), name.into()];
        let value = self.get(name).ok_or_else(|| Problem::invalid(Fault::missing(loc())))?;
        if value.contains('\0') {
            return Err(Problem::invalid(crate::coerce::null_character().at(loc())));
        }
        Ok(value.to_owned())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self::of(&parts.uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(problem: Problem) -> Vec<&'static str> {
        match problem {
            Problem::Invalid(faults) => faults.iter().map(Fault::kind).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_id_is_read_as_the_legacy_server_read_it() {
        let check = |text: &str, expected: Result<i64, &str>| {
            assert_eq!(parse_id(text).map_err(|fault| fault.kind()), expected, "{text}");
        };
        for text in ["1", " 1", "1.0", "+1", "01", "1.000 "] {
            check(text, Ok(1));
        }
        check("-5", Ok(-5));
        for text in ["", "x", "1.5", "1e3", "1.", ".0", "--1", "1 2"] {
            check(text, Err("int_parsing"));
        }
        check("9223372036854775808", Err("int_parsing_size"));
    }

    #[test]
    fn lists_of_ids_are_read_and_all_faults_told() {
        let lists =
            |text: &str| Body::Json(json::parse(text).unwrap()).into_lists(["lp_ids", "gp_ids"]);
        let good = lists(r#"{"lp_ids": [1, "2", 3.0], "gp_ids": null, "x": 1}"#).unwrap();
        assert_eq!(good, [Some(vec![1, 2, 3]), None]);
        let bad = lists(r#"{"lp_ids": ["", 1, 1, 1.5, null], "gp_ids": 7}"#).unwrap_err();
        let expected = ["int_parsing", "duplicate", "int_from_float", "int_type", "list_type"];
        assert_eq!(kinds(bad), expected);
        assert_eq!(kinds(lists("[]").unwrap_err()), ["missing", "missing"]);
        assert_eq!(Body::Nothing.into_lists(["lp_ids"]).unwrap(), [None]);
    }

    #[test]
    fn a_body_must_be_an_object() {
        let list = || Body::Json(Json::List(vec![]));
        assert_eq!(kinds(Body::Nothing.into_members(Shape::Model).unwrap_err()), ["missing"]);
        assert_eq!(
            kinds(list().into_members(Shape::Model).unwrap_err()),
            ["model_attributes_type"]
        );
        assert_eq!(kinds(list().into_members(Shape::Dict).unwrap_err()), ["dict_type"]);
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_field() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code, reason = "only what does not fit is looked at")]
        struct Wish {
            question: String,
            kinds: Option<Vec<String>>,
            limit: Option<usize>,
        }
        let check = |text: &str, expected: Value| {
            let body = Body::Text(text.to_owned());
            let problem = body.into_wish::<Wish>().unwrap_err();
            let fault = problem.body()["detail"][0].take();
            assert_eq!(json!([fault["type"], fault["loc"], fault["input"]]), expected, "{text}");
        };
        check("{}", json!(["missing", ["body", "question"], {}]));
        check(r#"{"question": 5}"#, json!(["string_type", ["body", "question"], 5]));
        check(
            r#"{"question": "x", "kinds": ["lp", null]}"#,
            json!(["string_type", ["body", "kinds", 1], null]),
        );
        check(r#"{"question": "x", "limit": "y"}"#, json!(["int_type", ["body", "limit"], "y"]));
        check(r#"{"question": "x", "kind": 7}"#, json!(["extra_forbidden", ["body", "kind"], 7]));
        check("{", json!(["json_invalid", ["body", 1], {}]));
        check("[]", json!(["model_attributes_type", ["body"], []]));
    }

    #[test]
    fn only_json_counts_as_json() {
        let check = |content_type: &'static str, expected: bool| {
            let headers =
                HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())]);
            assert_eq!(claims_json(&headers), expected, "{content_type}");
        };
        check("application/json", true);
        check("Application/JSON; charset=utf-8", true);
        check("application/merge-patch+json", true);
        check("text/plain;charset=UTF-8", false);
        check("application/x-www-form-urlencoded", false);
        assert!(claims_json(&HeaderMap::new()));
    }
}
