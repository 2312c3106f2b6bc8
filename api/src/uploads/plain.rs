//! A recording sent in one request: as the body itself, or as the file of a form.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, HeaderName, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use projections::uploads::Announcement;

use crate::body::Parameters;
use crate::problem::{Fault, Problem};
use crate::recordings::name;

/// RFC 9530: the digest of the file, and that of the body, which is the file where it is no form.
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// A recording as it comes.
pub struct Coming {
    /// Its bytes. They end in an error if another file follows.
    pub bytes: BoxStream<'static, Result<Bytes, axum::Error>>,
    /// Whether another file follows.
    pub surplus: Surplus,
}

/// Whether a form has a second file, which would be lost: known once all of the first has come.
#[derive(Clone, Debug, Default)]
pub struct Surplus(Arc<AtomicBool>);

impl Surplus {
    /// Whether there is one, as far as the request has come.
    pub fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a request says of the recording in its body, and the recording.
///
/// # Errors
/// [`Problem::Invalid`] when there is none.
pub async fn recording(
    headers: &HeaderMap,
    parameters: &Parameters,
    body: Body,
) -> Result<(Announcement, Coming), Problem> {
    let mut announced =
        Announcement { sha256: digest(headers, &REPR_DIGEST)?, ..super::named(parameters)? };
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = content_type.and_then(|it| multer::parse_boundary(it).ok());
    let Some(boundary) = boundary else {
        let of_body = digest(headers, &CONTENT_DIGEST)?;
        announced.sha256 = announced.sha256.or(of_body);
        announced.size = super::tus::number(headers, header::CONTENT_LENGTH)?;
        if announced.size == Some(0) {
            return Err(empty());
        }
        let bytes = body.into_data_stream().boxed();
        return Ok((announced, Coming { bytes, surplus: Surplus::default() }));
    };
    let (said, file) = file_of(body.into_data_stream(), boundary).await?;
    announced.name = announced.name.or(said.name);
    announced.language = announced.language.or(said.language);
    Ok((announced, file))
}

/// What is to be said of a recording that has nothing in it.
pub fn empty() -> Problem {
    Problem::invalid(Fault::new("missing", ["body".into()], "A recording is not empty"))
}

/// What is to be said of a form with several files.
pub fn several() -> Problem {
    let place = ["body".into(), "file".into()];
    let message = "There is more than one file; send each recording in a request of its own";
    Problem::invalid(Fault::new("surplus", place, message))
}

/// The only file of a form, with what the fields before it say of it, else its own name. Other fields are passed over.
async fn file_of(
    body: BodyDataStream,
    boundary: String,
) -> Result<(Announcement, Coming), Problem> {
    let mut form = multer::Multipart::new(body, boundary);
    let mut said = Announcement::default();
    loop {
        let field = form.next_field().await.map_err(|_| Problem::Unreadable)?;
        let Some(field) = field else {
            let fault = Fault::missing(["body".into(), "file".into()]);
            return Err(Problem::invalid(fault));
        };
        if let Some(name) = field.file_name().map(str::to_owned) {
            said.name = said.name.or_else(|| name::of_file(&name));
            let surplus = Surplus::default();
            let state = (field, form, surplus.clone());
            let file = futures::stream::try_unfold(state, async |(mut field, form, surplus)| {
                if let Some(bytes) = field.chunk().await.map_err(axum::Error::new)? {
                    return Ok(Some((bytes, (field, form, surplus))));
                }
                drop(field);
                nothing_follows(form, &surplus).await.map(|()| None)
            });
            return Ok((said, Coming { bytes: file.boxed(), surplus }));
        }
        match field.name() {
            Some("name") => said.name = name::given("body", &short(field).await?)?,
            Some("language") => {
                let language = short(field).await?;
                said.language =
                    super::language(Some(&language), ["body".into(), "language".into()])?;
            }
            _ => {}
        }
    }
}

/// The beginning of a field's text: neither a name nor a language is longer.
async fn short(mut field: multer::Field<'static>) -> Result<String, Problem> {
    const MOST: usize = 4096;
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|_| Problem::Unreadable)? {
        bytes.extend_from_slice(&chunk[..chunk.len().min(MOST - bytes.len())]);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a form to its end.
async fn nothing_follows(
    mut form: multer::Multipart<'static>,
    surplus: &Surplus,
) -> Result<(), axum::Error> {
    while let Some(field) = form.next_field().await.map_err(axum::Error::new)? {
        if field.file_name().is_some() {
            surplus.0.store(true, Ordering::Relaxed);
            return Err(axum::Error::new("another file follows"));
        }
    }
    Ok(())
}

/// The SHA-256 in a header like `Repr-Digest: sha-256=:<base64>:`, in hexadecimal.
fn digest(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let sums = value.to_str().unwrap_or_default().split(',').map(str::trim);
    let Some(sum) = sums.filter_map(|sum| sum.strip_prefix("sha-256=")).next() else {
        return Ok(None);
    };
    let inner = sum.strip_prefix(':').and_then(|sum| sum.strip_suffix(':'));
    let bytes =
        inner.and_then(|sum| BASE64_STANDARD.decode(sum).ok()).filter(|sum| sum.len() == 32);
    let fault = || {
        let place = ["header".into(), name.as_str().into()];
        Fault::new("header", place, "Should be sha-256=: and the digest in base64 and a colon")
    };
    bytes.map(|bytes| Some(hex::encode(bytes))).ok_or_else(|| Problem::invalid(fault()))
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    async fn taken(content_type: &str, body: &str) -> Result<(Announcement, Vec<u8>), Problem> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type.parse().unwrap())]);
        let parameters = Parameters::of(&"/?language=en".parse().unwrap());
        let (told, file) = recording(&headers, &parameters, Body::from(body.to_owned())).await?;
        let all = file.bytes.try_fold(Vec::new(), async |mut all, piece| {
            all.extend_from_slice(&piece);
            Ok(all)
        });
        match all.await {
            Ok(all) => Ok((told, all)),
            Err(_) if file.surplus.is_there() => Err(several()),
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn a_form_holds_the_recording_as_its_only_file() {
        let (field, file) = (
            "--x\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nCall\r\n",
            "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"call.webm\"\r\n\
             Content-Type: text/html\r\n\r\nthe \r\n-- bytes\r\n",
        );
        let form = format!("{field}{file}{field}--x--\r\n");
        let (told, taken_file) = taken("multipart/form-data; boundary=x", &form).await.unwrap();
        assert_eq!(taken_file, b"the \r\n-- bytes");
        assert_eq!(told.name.as_deref(), Some("call.webm"));
        let named = format!(
            "--x\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nOn hedging\r\n\
             --x\r\nContent-Disposition: form-data; name=\"language\"\r\n\r\nspanish\r\n{file}--x--\r\n"
        );
        let (named, _) = taken("multipart/form-data; boundary=x", &named).await.unwrap();
        assert_eq!(named.name.as_deref(), Some("On hedging"));
        assert_eq!(told.language.as_deref(), Some("en"));
        for refused in [format!("{field}--x--\r\n"), format!("{file}{field}{file}--x--\r\n")] {
            assert!(taken("multipart/form-data; boundary=x", &refused).await.is_err(), "{refused}");
        }
        let (told, file) = taken("audio/webm", "bytes").await.unwrap();
        assert_eq!((told.name, file), (None, b"bytes".to_vec()));
    }

    #[tokio::test]
    async fn a_name_that_is_given_is_one_line() {
        let check = async |name: &str| {
            let parameters = Parameters::of(&format!("/?name={name}").parse().unwrap());
            let taken = recording(&HeaderMap::new(), &parameters, Body::from("bytes")).await;
            taken.map(|(told, _)| told.name)
        };
        assert_eq!(check("Lunch%20with%20Ana").await.unwrap().as_deref(), Some("Lunch with Ana"));
        assert_eq!(check("%20").await.unwrap(), None);
        for bad in ["Lunch%0AAna", "Lunch%E2%80%A8Ana", &"x".repeat(201)] {
            assert!(matches!(check(bad).await, Err(Problem::Invalid(_))), "{bad}");
        }
        let form =
            "--x\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nLunch\nAna\r\n--x--\r\n";
        let refused = taken("multipart/form-data; boundary=x", form).await;
        assert!(
            matches!(refused, Err(Problem::Invalid(faults)) if faults[0].kind() == "string_control_character")
        );
    }

    #[tokio::test]
    async fn a_language_is_one_that_can_be_understood() {
        let check = async |language: &str| {
            let parameters = Parameters::of(&format!("/?language={language}").parse().unwrap());
            let taken = recording(&HeaderMap::new(), &parameters, Body::from("bytes")).await;
            taken.map(|(told, _)| told.language)
        };
        assert_eq!(check("es-MX").await.unwrap().as_deref(), Some("es"));
        assert_eq!(check("spanish").await.unwrap().as_deref(), Some("es"));
        assert_eq!(check("auto").await.unwrap(), None);
        assert!(matches!(check("klingon").await, Err(Problem::Invalid(_))));
    }

    #[test]
    fn a_digest_of_another_kind_says_nothing() {
        let check = |value: &str| {
            digest(&HeaderMap::from_iter([(REPR_DIGEST, value.parse().unwrap())]), &REPR_DIGEST)
        };
        let sum = BASE64_STANDARD.encode([0xab; 32]);
        assert_eq!(check(&format!("sha-256=:{sum}:")).unwrap(), Some("ab".repeat(32)));
        assert_eq!(check(&format!("md5=:AAAA:, sha-256=:{sum}:")).unwrap(), Some("ab".repeat(32)));
        assert_eq!(check("sha-512=:AAAA:").unwrap(), None);
        assert!(check("sha-256=AAAA").is_err());
    }
}
