//! The headers of tus 1.0: resumable uploads by creation, offset and PATCH.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use projections::uploads::{Announcement, Checksum, Upload};

use crate::body::Parameters;
use crate::problem::{Fault, Problem};
use crate::recordings::name;

/// Says that a request speaks tus, and which version.
pub const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
/// Where an upload stands, in bytes.
pub const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// How long it will be, in bytes.
pub const LENGTH: HeaderName = HeaderName::from_static("upload-length");
/// That its length is not known yet.
pub const DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const CONCAT: HeaderName = HeaderName::from_static("upload-concat");
const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
const EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

const VERSION: &str = "1.0.0";
const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,termination,checksum,expiration";

/// The media type of what is appended.
const APPENDED: &str = "application/offset+octet-stream";

/// Whether a request speaks tus.
///
/// # Errors
/// The answer that tells which version is spoken here, if it speaks another.
pub fn speaks_tus(headers: &HeaderMap) -> Result<bool, Box<Response>> {
    match headers.get(RESUMABLE) {
        None => Ok(false),
        Some(version) if version == VERSION => Ok(true),
        Some(_) => Err(unspoken(format!("Only tus {VERSION} is spoken here"))),
    }
}

/// Likewise, where nothing else than tus is spoken.
///
/// # Errors
/// The answer that tells which version is spoken here, if the request does not say that it speaks it.
pub fn must_speak_tus(headers: &HeaderMap) -> Result<(), Box<Response>> {
    match speaks_tus(headers)? {
        true => Ok(()),
        false => {
            Err(unspoken("Say which version of tus this is, by the header Tus-Resumable: 1.0.0"))
        }
    }
}

fn unspoken(said: impl Into<String>) -> Box<Response> {
    let said = serde_json::json!({"detail": said.into()});
    let version = [(HeaderName::from_static("tus-version"), VERSION)];
    Box::new((StatusCode::PRECONDITION_FAILED, version, axum::Json(said)).into_response())
}

/// The method that a client means which can send only POST.
pub fn meant_method(headers: &HeaderMap) -> Option<&str> {
    headers.get(OVERRIDE)?.to_str().ok()
}

/// What the server can do.
pub fn abilities(limit: u64) -> Response {
    let headers = [
        ("tus-version", VERSION.to_owned()),
        ("tus-extension", EXTENSIONS.to_owned()),
        ("tus-max-size", limit.to_string()),
        ("tus-checksum-algorithm", "sha1,sha256".to_owned()),
        ("tus-resumable", VERSION.to_owned()),
    ];
    (StatusCode::NO_CONTENT, axum::response::AppendHeaders(headers)).into_response()
}

/// What a creation says of the recording: what its metadata leave open, its parameters may say.
///
/// # Errors
/// [`Problem::Invalid`] when it does not make sense.
pub fn announcement(headers: &HeaderMap, parameters: &Parameters) -> Result<Announcement, Problem> {
    let size = match (number(headers, LENGTH)?, headers.get(DEFER_LENGTH)) {
        (Some(0), _) => return Err(bad(&LENGTH, "A recording is not empty")),
        (size, None) if size.is_some() => size,
        (None, Some(value)) if value == "1" => None,
        _ => return Err(bad(&LENGTH, "Send either Upload-Length or Upload-Defer-Length: 1")),
    };
    if headers.contains_key(CONCAT) {
        return Err(bad(
            &CONCAT,
            "Parts are not put together here: send the whole in one upload, without parallel ones",
        ));
    }
    let mut announced = Announcement { size, ..super::named(parameters)? };
    let metadata = headers.get(METADATA).map(|value| value.to_str());
    let metadata = metadata.transpose().map_err(|_| bad(&METADATA, "Should be ASCII"))?;
    for pair in metadata.unwrap_or_default().split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let value = BASE64_STANDARD.decode(value.trim()).ok();
        let value = value.and_then(|value| String::from_utf8(value).ok());
        let value = value.ok_or_else(|| bad(&METADATA, "Values should be UTF-8 in base64"))?;
        match key {
            "filename" | "name" => announced.name = name::of_file(&value).or(announced.name),
            "language" => {
                let place = ["header".into(), METADATA.as_str().into()];
                announced.language = super::language(Some(&value), place)?.or(announced.language);
            }
            "sha256" => {
                announced.sha256 = Some(
                    hex_digest(&value)
                        .ok_or_else(|| bad(&METADATA, "sha256 should be 64 hexadecimal digits"))?,
                )
            }
            // What it claims to be is found out from its bytes; other keys are for other servers.
            _ => {}
        }
    }
    Ok(announced)
}

fn hex_digest(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(text)
}

/// Where what is sent begins.
///
/// # Errors
/// [`Problem::Invalid`] when it is not said or is no number, or when the body is not said to be appended.
pub fn offset(headers: &HeaderMap) -> Result<u64, Problem> {
    if !is_appended(headers) {
        let said = format!("Should be {APPENDED}");
        return Err(Problem::Unsupported(said));
    }
    number(headers, OFFSET)?.ok_or_else(|| bad(&OFFSET, "Say where what is sent begins"))
}

/// Whether the body belongs into the file.
pub fn is_appended(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value == APPENDED)
}

/// The checksum of what is sent, if the request has one.
///
/// # Errors
/// [`Problem::Parameter`] for another algorithm, as tus has it, and [`Problem::Invalid`] for what is no checksum.
pub fn checksum(headers: &HeaderMap) -> Result<Option<Checksum>, Problem> {
    let Some(value) = headers.get(CHECKSUM) else { return Ok(None) };
    let no_checksum = || bad(&CHECKSUM, "Should be sha1 or sha256 and the sum in base64");
    let text = value.to_str().map_err(|_| no_checksum())?;
    let (algorithm, sum) = text.split_once(' ').ok_or_else(no_checksum)?;
    let sum = BASE64_STANDARD.decode(sum.trim()).map_err(|_| no_checksum())?;
    let checksum = match algorithm {
        "sha1" => sum.try_into().map(Checksum::Sha1),
        "sha256" => sum.try_into().map(Checksum::Sha256),
        _ => {
            return Err(Problem::Parameter(format!(
                "Upload-Checksum knows sha1 and sha256, not {algorithm}"
            )));
        }
    };
    checksum.map(Some).map_err(|_| no_checksum())
}

/// A number in a header.
///
/// # Errors
/// [`Problem::Invalid`] when it is none.
pub fn number(headers: &HeaderMap, name: HeaderName) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(&name) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let digits = text.trim();
    match !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number, and more bytes than anything has.
        true => Ok(Some(digits.parse().unwrap_or(u64::MAX))),
        false => {
            let place = ["header".into(), name.as_str().into()];
            let said = "Should be a number of bytes, written in digits alone";
            let shown: String = text.chars().take(100).collect();
            Err(Problem::invalid(Fault::new("header", place, said).with_input(shown)))
        }
    }
}

fn bad(header: &HeaderName, said: &'static str) -> Problem {
    Problem::invalid(Fault::new("header", ["header".into(), header.as_str().into()], said))
}

/// Where an upload stands, and where the recording is that it became.
pub fn standing(upload: &Upload) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(RESUMABLE, HeaderValue::from_static(VERSION));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(OFFSET, HeaderValue::from(upload.received()));
    match upload.size() {
        Some(size) => headers.insert(LENGTH, HeaderValue::from(size)),
        None => headers.insert(DEFER_LENGTH, HeaderValue::from_static("1")),
    };
    let metadata = [("filename", &upload.name), ("language", &upload.language)];
    let metadata: Vec<String> = metadata
        .into_iter()
        .filter_map(|(key, value)| {
            Some(format!("{key} {}", BASE64_STANDARD.encode(value.as_ref()?)))
        })
        .collect();
    let mut set = |name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    };
    if !metadata.is_empty() {
        set(METADATA, metadata.join(","));
    }
    match upload.recording_id {
        Some(recording) => set(header::CONTENT_LOCATION, format!("/recordings/{recording}")),
        None => {
            let time = upload.expires_at.format("%a, %d %b %Y %H:%M:%S GMT");
            set(EXPIRES, time.to_string());
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn told(pairs: &[(&'static str, &str)], query: &str) -> Result<Announcement, Problem> {
        let uri = format!("/notes/7/recordings?{query}").parse().unwrap();
        announcement(&headers(pairs), &Parameters::of(&uri))
    }

    #[test]
    fn what_its_metadata_leave_open_the_parameters_of_a_creation_may_say() {
        let check = |metadata: &str, query: &str, expected: [Option<&str>; 2]| {
            let pairs = [("upload-length", "7"), ("upload-metadata", metadata)];
            let Announcement { name, language, .. } = told(&pairs, query).unwrap();
            assert_eq!([name.as_deref(), language.as_deref()], expected, "{metadata} {query}");
        };
        let named = format!("filename {}", BASE64_STANDARD.encode("call.webm"));
        let spoken = format!("language {}", BASE64_STANDARD.encode("en"));
        check("", "name=Lunch&language=es", [Some("Lunch"), Some("es")]);
        check(&named, "name=Lunch&language=es", [Some("call.webm"), Some("es")]);
        check(&spoken, "name=Lunch&language=es", [Some("Lunch"), Some("en")]);
        check("filename IA==", "name=Lunch&language=auto", [Some("Lunch"), None]);
        for bad in ["name=a%0Ab", "language=xx"] {
            assert!(told(&[("upload-length", "7")], bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_creation_says_what_comes() {
        let sum = "a".repeat(64);
        let metadata = format!(
            "filename {},language {}, sha256 {},filetype dGV4dC9odG1s",
            BASE64_STANDARD.encode("Reunión\n\u{2028}Ana.webm"),
            BASE64_STANDARD.encode("ES-mx"),
            BASE64_STANDARD.encode(&sum),
        );
        let all = told(&[("upload-length", "7"), ("upload-metadata", &metadata)], "");
        assert_eq!(
            all.unwrap(),
            Announcement {
                name: Some("Reunión  Ana.webm".into()),
                language: Some("es".into()),
                size: Some(7),
                sha256: Some(sum),
            }
        );
        let unknown = told(&[("upload-defer-length", "1")], "").unwrap();
        assert_eq!(unknown, Announcement::default());
        for bad in [
            &[][..],
            &[("upload-length", "-1")],
            &[("upload-length", "0")],
            &[("upload-defer-length", "2")],
            &[("upload-length", "7"), ("upload-defer-length", "1")],
            &[("upload-length", "7"), ("upload-metadata", "filename ***")],
            &[("upload-length", "7"), ("upload-metadata", "sha256 YWJj")],
            // No language: "xx".
            &[("upload-length", "7"), ("upload-metadata", "language eHg=")],
        ] {
            assert!(told(bad, "").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_checksum_is_a_sum_in_base64_of_an_algorithm_that_is_known() {
        let (short, sum) = (BASE64_STANDARD.encode([7; 20]), BASE64_STANDARD.encode([7; 32]));
        let check = |value: &str| checksum(&headers(&[("upload-checksum", value)]));
        assert_eq!(check(&format!("sha256 {sum}")).unwrap(), Some(Checksum::Sha256([7; 32])));
        assert_eq!(check(&format!("sha1 {short}")).unwrap(), Some(Checksum::Sha1([7; 20])));
        assert_eq!(checksum(&headers(&[])).unwrap(), None);
        for bad in ["sha1 AAAA", "sha256 AAAA", "sha256", "sha256 ?", &format!("sha1 {sum}")] {
            assert!(matches!(check(bad), Err(Problem::Invalid(_))), "{bad}");
        }
        assert!(matches!(check(&format!("md5 {sum}")), Err(Problem::Parameter(_))));
    }
}
