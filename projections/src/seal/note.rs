//! A checkpoint as text: what anyone may keep to prove later what the log was.
//!
//! It is a signed note as C2SP has them, so that other programs can check the signature as well. The first three lines
//! are those of C2SP's checkpoints: which log, how many events, and the head of the chain (which is no Merkle root).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, SecondsFormat, Utc};

use super::{Digest, PublicKey, Seal};

/// What a seal says of the log. Its text is what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: `crm/<id>`.
    pub origin: String,
    /// How many events it had.
    pub total: i64,
    /// The end of the chain.
    pub head: Digest,
    /// The number of the seal.
    pub number: i64,
    /// The position of the last event.
    pub position: i64,
    /// When that was so, by the sealer's clock.
    pub sealed_at: DateTime<Utc>,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, total, number, position, .. } = self;
        let (head, at) =
            (BASE64.encode(self.head), self.sealed_at.to_rfc3339_opts(SecondsFormat::Micros, true));
        write!(f, "{origin}\n{total}\n{head}\nseal {number}\nposition {position}\nat {at}\n")
    }
}

/// Why a text is no checkpoint that can be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is something else, or not whole.
    #[error("this is no checkpoint of a crm log")]
    Malformed,
    /// None of the keys given has signed it.
    #[error("none of the given keys has signed this checkpoint of {origin}: it names the keys {}", .signers.join(", "))]
    Unsigned {
        /// The log that it says it is of.
        origin: String,
        /// The ids of the keys that it says have signed it.
        signers: Vec<String>,
    },
}

/// A checkpoint with signatures, not looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    checkpoint: Checkpoint,
    /// By the id of the key.
    signatures: Vec<([u8; 4], [u8; 64])>,
}

/// What a line of a signature begins with, before the name.
const SIGNATURE: &str = "— ";

impl Note {
    /// The checkpoint of a seal.
    pub fn of(seal: &Seal, key: &PublicKey, checkpoint: Checkpoint) -> Self {
        Self { checkpoint, signatures: vec![(key.id(), seal.signature)] }
    }

    /// The checkpoint, if one of these keys has signed it, with that key.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`].
    pub fn open<'k>(
        &self,
        keys: &'k [PublicKey],
    ) -> Result<(&Checkpoint, &'k PublicKey), NoteError> {
        let text = self.checkpoint.to_string();
        let of_this_log = keys.iter().filter(|key| key.origin == self.checkpoint.origin);
        for key in of_this_log {
            let id = key.id();
            let mut own = self.signatures.iter().filter(|(by, _)| *by == id);
            if own.any(|(_, signature)| key.has_signed(&text, signature)) {
                return Ok((&self.checkpoint, key));
            }
        }
        let signers = self.signatures.iter().map(|(id, _)| hex::encode(id)).collect();
        Err(NoteError::Unsigned { origin: self.checkpoint.origin.clone(), signers })
    }

    /// Whether it says that one of these keys has signed it.
    pub fn names(&self, keys: &[PublicKey]) -> bool {
        self.signatures.iter().any(|(by, _)| keys.iter().any(|key| key.id() == *by))
    }

    /// The checkpoint, whoever may have signed it.
    pub fn unchecked(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.checkpoint)?;
        for (id, signature) in &self.signatures {
            let bytes = BASE64.encode([&id[..], &signature[..]].concat());
            writeln!(f, "{SIGNATURE}{} {bytes}", self.checkpoint.origin)?;
        }
        Ok(())
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let parse = || {
            let (body, signatures) = text.split_once("\n\n")?;
            let checkpoint = parse_body(body)?;
            let signatures: Option<Vec<_>> = signatures
                .lines()
                .map(|line| line.strip_prefix(SIGNATURE)?.split_once(' '))
                // Others may have signed as well, in ways that are theirs.
                .filter(|line| line.is_none_or(|(name, _)| name == checkpoint.origin))
                .map(|line| parse_signature(line?.1))
                .collect();
            Some(Self { checkpoint, signatures: signatures? })
        };
        parse().ok_or(NoteError::Malformed)
    }
}

fn parse_body(body: &str) -> Option<Checkpoint> {
    let mut lines = body.lines();
    let checkpoint = Checkpoint {
        origin: lines.next()?.to_owned(),
        total: lines.next()?.parse().ok()?,
        head: BASE64.decode(lines.next()?).ok()?.try_into().ok()?,
        number: lines.next()?.strip_prefix("seal ")?.parse().ok()?,
        position: lines.next()?.strip_prefix("position ")?.parse().ok()?,
        sealed_at: lines.next()?.strip_prefix("at ")?.parse().ok()?,
    };
    // What is signed is the text, so there must be one text only for what it says.
    (checkpoint.to_string().strip_suffix('\n') == Some(body)).then_some(checkpoint)
}

fn parse_signature(text: &str) -> Option<([u8; 4], [u8; 64])> {
    let bytes = BASE64.decode(text).ok()?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    Some((*id, signature.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::SealKey;
    use super::*;
    use uuid::Uuid;

    fn seal() -> (Seal, PublicKey, Uuid) {
        let key: SealKey = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=".parse().unwrap();
        let log = Uuid::from_u128(0x6372_6d00_0000_4000_8000_0000_0000_0001);
        let mut seal = Seal {
            number: 2,
            after: 5,
            position: 9,
            events: 3,
            total: 8,
            batch: [1; 32],
            head: [2; 32],
            sealed_at: DateTime::from_timestamp_micros(1_764_000_000_000_001).unwrap(),
            key: key.public(),
            signature: [0; 64],
        };
        seal.signature = key.sign(&seal.checkpoint(log).to_string());
        (seal, PublicKey::of(log, key.public()), log)
    }

    fn note() -> (Note, PublicKey) {
        let (seal, key, log) = seal();
        let checkpoint = seal.checkpoint(log);
        (Note::of(&seal, &key, checkpoint), key)
    }

    #[test]
    fn the_text_is_a_signed_note_that_is_read_again() {
        let (note, key) = note();
        let expected = "crm/63726d00-0000-4000-8000-000000000001
8
AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=
seal 2
position 9
at 2025-11-24T16:00:00.000001Z

— crm/63726d00-0000-4000-8000-000000000001 djZuPr0oZCByHPIbD7t2OOLQHOBiY6Mk3QVgizvFi7yG0BNNqlkEkqFwqH2cwdolzUNhdPFogmjB6407jQVuZMuMqgc=
";
        assert_eq!(note.to_string(), expected);
        let again: Note = expected.parse().unwrap();
        assert_eq!(again, note);
        assert_eq!(again.open(std::slice::from_ref(&key)).unwrap(), (again.unchecked(), &key));
    }

    #[test]
    fn a_text_that_was_changed_anywhere_is_not_believed() {
        let (note, key) = note();
        let text = note.to_string();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            let opened = changed
                .parse::<Note>()
                .is_ok_and(|note| note.open(std::slice::from_ref(&key)).is_ok());
            assert!(!opened, "byte {at}: {changed}");
        }
        for other in ["", "x", "\n\n", &text[..60]] {
            assert_eq!(other.parse::<Note>(), Err(NoteError::Malformed));
        }
        let stranger = SealKey::from_str("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        let stranger = PublicKey { key: stranger.public(), ..key };
        assert!(matches!(note.open(&[stranger]), Err(NoteError::Unsigned { .. })));
    }

    #[test]
    fn others_may_have_signed_it_as_well() {
        let (note, key) = note();
        let text = format!("{note}— witness.example/w {}\n", BASE64.encode([0; 76]));
        assert!(text.parse::<Note>().unwrap().open(&[key]).is_ok());
    }
}
