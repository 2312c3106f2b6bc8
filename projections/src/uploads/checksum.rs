//! Checksums that come with the parts of an upload.

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// What a part must have to count. Every server that speaks tus has to know SHA-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// A SHA-1: good against damage on the way, not against forgery.
    Sha1([u8; 20]),
    /// A SHA-256.
    Sha256([u8; 32]),
}

/// A part on its way in, and what it must have.
pub(super) enum Checking {
    Sha1(Sha1, [u8; 20]),
    Sha256(Box<Sha256>, [u8; 32]),
}

impl Checking {
    pub(super) fn of(expected: Checksum) -> Self {
        match expected {
            Checksum::Sha1(sum) => Checking::Sha1(Sha1::new(), sum),
            Checksum::Sha256(sum) => Checking::Sha256(Box::default(), sum),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Checking::Sha1(hash, _) => hash.update(bytes),
            Checking::Sha256(hash, _) => hash.update(bytes),
        }
    }

    pub(super) fn holds(self) -> bool {
        match self {
            Checking::Sha1(hash, sum) => hash.finalize()[..] == sum,
            Checking::Sha256(hash, sum) => hash.finalize()[..] == sum,
        }
    }
}
