//! Sealed payloads: what the log holds instead of the content of an event that has personal data.
//!
//! A payload is encrypted under its stream's key by XChaCha20-Poly1305, whose nonces are long enough to be drawn at random.
//! Where the event stands goes into the seal, so that a sealed payload opens at no other place. Ciphertext cannot be
//! compressed by Postgres, so longer texts are compressed before.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20::R20;
use rand::Rng as _;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// What a sealed payload begins with; it is valid JSON for whoever does not know of seals.
const OPENING: &str = "{\"sealed\":\"";
const CLOSING: &str = "\"}";

/// The first byte of what is sealed: how it is to be opened.
const PLAIN: u8 = 1;
const LZ4: u8 = 2;

/// Texts shorter than this, in bytes, gain nothing from compression.
const COMPRESSED_FROM: usize = 256;

/// The bytes of a key, which are wiped when it is dropped.
pub(super) type KeyBytes = Zeroizing<[u8; 32]>;

const NONCE: usize = 24;

/// Where the ciphertext begins, behind form and nonce.
const HEADER: usize = 1 + NONCE;

/// The key of one stream. Its memory is wiped when it is dropped.
pub struct StreamKey(KeyBytes);

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
        Self::from_bytes(draw_key())
    }

    pub(super) fn from_bytes(bytes: KeyBytes) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
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
        let content = open(&self.0, sealed, &bound(form, place)).ok_or(OpenError::Altered)?;
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
pub fn is_sealed(payload: &[u8]) -> bool {
    let content = payload.strip_prefix(OPENING.as_bytes());
    content.is_some_and(|content| content.ends_with(CLOSING.as_bytes()))
}

fn sealed_text(payload: &str) -> Option<&str> {
    payload.strip_prefix(OPENING)?.strip_suffix(CLOSING)
}

/// A new key, from the system: a generator in memory could keep a copy of one that is destroyed.
pub(super) fn draw_key() -> KeyBytes {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key).expect("the system gives random bytes");
    key
}

/// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) for one nonce, made of ChaCha20-Poly1305, of which ring's is several times as
/// fast as any in Rust alone: a key derived from the first 16 bytes of the nonce, and the other 8. ring does not wipe the derived
/// key, which opens this one text only.
fn cipher(key: &[u8; 32], nonce: &[u8; NONCE]) -> (LessSafeKey, Nonce) {
    let (first, last) = nonce.split_first_chunk::<16>().expect("a nonce has 24 bytes");
    let derived =
        Zeroizing::new(<[u8; 32]>::from(chacha20::hchacha::<R20>(key.into(), first.into())));
    let derived = UnboundKey::new(&CHACHA20_POLY1305, &*derived).expect("a key has 32 bytes");
    let mut short = [0; 12];
    short[4..].copy_from_slice(last);
    (LessSafeKey::new(derived), Nonce::assume_unique_for_key(short))
}

/// Form, nonce, ciphertext with its tag.
pub(super) fn seal(key: &[u8; 32], form: u8, content: &[u8], bound: &[u8]) -> Vec<u8> {
    // Long enough to be drawn at random without ever being the same.
    let mut nonce = [0; NONCE];
    rand::rng().fill_bytes(&mut nonce);
    let mut sealed = Vec::with_capacity(HEADER + content.len() + CHACHA20_POLY1305.tag_len());
    sealed.push(form);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(content);
    let (cipher, nonce) = cipher(key, &nonce);
    let tag = cipher
        .seal_in_place_separate_tag(nonce, Aad::from(bound), &mut sealed[HEADER..])
        .expect("only a content of 256 GiB is too long");
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

/// The content, unless anything about it was altered.
pub(super) fn open(key: &[u8; 32], mut sealed: Vec<u8>, bound: &[u8]) -> Option<Vec<u8>> {
    let nonce = sealed.get(1..HEADER)?.try_into().ok()?;
    let (cipher, nonce) = cipher(key, &nonce);
    let length = cipher.open_within(nonce, Aad::from(bound), &mut sealed, HEADER..).ok()?.len();
    sealed.truncate(length);
    Some(sealed)
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
            assert!(is_sealed(sealed.as_bytes()) && !sealed.contains("Ana"));
            assert!(serde_json::from_str::<serde_json::Value>(&sealed).is_ok());
            assert_ne!(sealed, key.seal(PLACE, payload), "each has a nonce of its own");
            assert_eq!(key.open(PLACE, &sealed).unwrap(), payload);
        }
        let long = "Ana Ruiz ".repeat(500);
        assert!(key.seal(PLACE, &long).len() < long.len() / 4);
    }

    /// The example of draft-irtf-cfrg-xchacha-03, A.3.1.
    #[test]
    fn it_is_the_cipher_that_others_call_by_its_name() {
        let bytes = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
        let key: [u8; 32] = bytes(0x80, 0x9f).try_into().unwrap();
        let bound = [bytes(0x50, 0x53), bytes(0xc0, 0xc7)].concat();
        let ciphertext = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39\
                          ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
                          21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49";
        let sealed = [vec![PLAIN], bytes(0x40, 0x57), hex::decode(ciphertext).unwrap()].concat();
        let opened = String::from_utf8(open(&key, sealed, &bound).unwrap()).unwrap();
        assert_eq!(
            opened,
            "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
        );
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
