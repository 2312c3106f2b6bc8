//! Sealed payloads: what the log holds instead of the content of an event that has personal data.
//!
//! A payload is encrypted under its stream's key by XChaCha20-Poly1305, whose nonces are long enough to be drawn at random.
//! Where the event stands goes into the seal, so that a sealed payload opens at no other place. Ciphertext cannot be
//! compressed by Postgres, so longer texts are compressed before.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, Generate as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

/// What a sealed payload begins with; it is valid JSON for whoever does not know of seals.
const OPENING: &str = "{\"sealed\":\"";
const CLOSING: &str = "\"}";

/// The first byte of what is sealed: how it is to be opened.
const PLAIN: u8 = 1;
const LZ4: u8 = 2;

/// Texts shorter than this, in bytes, gain nothing from compression.
const COMPRESSED_FROM: usize = 256;

const NONCE: usize = 24;

/// The key of one stream. Its memory is wiped when it is dropped.
pub struct StreamKey(XChaCha20Poly1305, Zeroizing<[u8; 32]>);

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamKey(***)")
    }
}

/// Where an event stands. What is sealed for one place opens at no other.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The type of its stream.
    pub aggregate_type: &'a str,
    /// The stream's id.
    pub aggregate_id: &'a str,
    /// Its place in the stream.
    pub sequence: i64,
    /// The variant's name.
    pub event_type: &'a str,
}

/// Why a sealed payload does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is not what was sealed, or not where.
    #[error("the sealed payload does not open: it was altered, or moved from another event")]
    Altered,
    /// It cannot have been sealed by this or an earlier release.
    #[error("the payload is not sealed in a way that this release of crm knows")]
    Unknown,
    /// There is no trace of the stream's key, though nobody erased the stream.
    #[error("the key of this stream is missing: restore table stream_key from a backup")]
    NoKey,
    /// The key is wrapped under a master key that crm was not given, or was altered.
    #[error(
        "the key of this stream does not open under the master key {0}: restore that master key or the stream's key from a backup"
    )]
    Wrapped(String),
}

impl StreamKey {
    /// A new one.
    pub(super) fn generate() -> Self {
        Self::from_bytes(Zeroizing::new(Key::generate().into()))
    }

    pub(super) fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(XChaCha20Poly1305::new((&*bytes).into()), bytes)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.1
    }

    /// What the log is to hold instead of this payload.
    pub fn seal(&self, place: Place<'_>, payload: &str) -> String {
        let (form, content) = match payload.len() < COMPRESSED_FROM {
            true => (PLAIN, Cow::Borrowed(payload.as_bytes())),
            false => (LZ4, Cow::Owned(lz4_flex::compress_prepend_size(payload.as_bytes()))),
        };
        let sealed = seal(&self.0, form, &content, &bound(form, place));
        let mut text =
            String::with_capacity(OPENING.len() + sealed.len().div_ceil(3) * 4 + CLOSING.len());
        text.push_str(OPENING);
        BASE64.encode_string(sealed, &mut text);
        text.push_str(CLOSING);
        text
    }

    /// The payload that was sealed at this place.
    ///
    /// # Errors
    /// When it was altered or moved.
    pub fn open(&self, place: Place<'_>, sealed: &str) -> Result<String, OpenError> {
        self.open_content(place, sealed_text(sealed).ok_or(OpenError::Unknown)?)
    }

    /// Likewise, of what stands in the field `sealed` of a payload.
    pub(super) fn open_content(&self, place: Place<'_>, sealed: &str) -> Result<String, OpenError> {
        let sealed = BASE64.decode(sealed).map_err(|_| OpenError::Altered)?;
        let form = *sealed.first().ok_or(OpenError::Altered)?;
        let content = open(&self.0, &sealed, &bound(form, place)).ok_or(OpenError::Altered)?;
        let content = match form {
            PLAIN => content,
            // What opens was sealed by us, so that the length it tells is true.
            LZ4 => lz4_flex::decompress_size_prepended(&content).map_err(|_| OpenError::Unknown)?,
            _ => return Err(OpenError::Unknown),
        };
        String::from_utf8(content).map_err(|_| OpenError::Unknown)
    }
}

/// Whether a payload is sealed.
pub fn is_sealed(payload: &str) -> bool {
    sealed_text(payload).is_some()
}

fn sealed_text(payload: &str) -> Option<&str> {
    payload.strip_prefix(OPENING)?.strip_suffix(CLOSING)
}

/// Form, nonce, ciphertext with its tag.
pub(super) fn seal(cipher: &XChaCha20Poly1305, form: u8, content: &[u8], bound: &[u8]) -> Vec<u8> {
    // Long enough to be drawn at random without ever being the same, and by a generator in memory: it is cryptographic, and
    // takes its seed from the system now and then.
    let nonce = XNonce::generate_from_rng(&mut rand::rng());
    let ciphertext = cipher
        .encrypt(&nonce, Payload { msg: content, aad: bound })
        .expect("only a content of 256 GiB is too long");
    let mut sealed = Vec::with_capacity(1 + NONCE + ciphertext.len());
    sealed.push(form);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&ciphertext);
    sealed
}

/// The content, unless anything about it was altered.
pub(super) fn open(cipher: &XChaCha20Poly1305, sealed: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
    let (nonce, ciphertext) = sealed.get(1..)?.split_at_checked(NONCE)?;
    let nonce = XNonce::try_from(nonce).ok()?;
    cipher.decrypt(&nonce, Payload { msg: ciphertext, aad: bound }).ok()
}

/// What the seal is bound to. With the lengths, no two places have the same bytes.
fn bound(form: u8, place: Place<'_>) -> Vec<u8> {
    let Place { aggregate_type, aggregate_id, sequence, event_type } = place;
    let mut bound = vec![form];
    for text in [aggregate_type, aggregate_id, event_type] {
        bound.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bound.extend_from_slice(text.as_bytes());
    }
    bound.extend_from_slice(&sequence.to_be_bytes());
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> =
        Place { aggregate_type: "person", aggregate_id: "7", sequence: 3, event_type: "Renamed" };

    #[test]
    fn what_is_sealed_opens_as_it_was_and_shows_nothing_of_it() {
        let key = StreamKey::generate();
        for payload in ["", "{\"Renamed\":{\"name\":\"Ana Ruiz\"}}", &"Ana Ruiz ".repeat(500)] {
            let sealed = key.seal(PLACE, payload);
            assert!(is_sealed(&sealed) && !sealed.contains("Ana"));
            assert!(serde_json::from_str::<serde_json::Value>(&sealed).is_ok());
            assert_ne!(sealed, key.seal(PLACE, payload), "each has a nonce of its own");
            assert_eq!(key.open(PLACE, &sealed).unwrap(), payload);
        }
        let long = "Ana Ruiz ".repeat(500);
        assert!(key.seal(PLACE, &long).len() < long.len() / 4);
    }

    #[test]
    fn what_was_altered_or_moved_or_is_of_another_stream_does_not_open() {
        let key = StreamKey::generate();
        let sealed = key.seal(PLACE, "\"Archived\"");
        for place in [
            Place { aggregate_type: "note", ..PLACE },
            Place { aggregate_id: "8", ..PLACE },
            Place { sequence: 4, ..PLACE },
            Place { event_type: "Archived", ..PLACE },
        ] {
            assert_eq!(key.open(place, &sealed), Err(OpenError::Altered), "{place:?}");
        }
        assert_eq!(StreamKey::generate().open(PLACE, &sealed), Err(OpenError::Altered));
        let content = sealed_text(&sealed).unwrap();
        let bytes = BASE64.decode(content).unwrap();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1;
            let altered = format!("{OPENING}{}{CLOSING}", BASE64.encode(altered));
            assert_eq!(key.open(PLACE, &altered), Err(OpenError::Altered), "byte {at}");
        }
        assert_eq!(key.open(PLACE, "\"Archived\""), Err(OpenError::Unknown));
    }
}
