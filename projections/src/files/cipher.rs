//! What enciphers the files of one record, so that erasing the record makes them unreadable wherever copies of them lie.
//!
//! ChaCha20 (RFC 8439) byte by byte: a file is as long as it was, grows at any place and is read from any place. Each file has
//! a key of its own, an HMAC-SHA256 of its name under the record's key, so that the nonce can be zero. Whether a file was
//! altered is not told by this but by its SHA-256, which the log has. A place that is written twice, after a crash, is
//! written with the same bytes, unless a sender does not send what he sent before.

use std::fmt;

use bytes::BytesMut;
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _, StreamCipherSeek as _};
use futures::{StreamExt as _, TryStreamExt as _};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Content;

/// What the name of a file is prefixed with, so that no other use of the record's key gives the same.
const TAG: &[u8] = b"crm/file/1\0";

/// Enciphers a file, and deciphers it. Its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct FileCipher(Zeroizing<[u8; 32]>);

impl fmt::Debug for FileCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileCipher(***)")
    }
}

impl FileCipher {
    /// That of the file of this name that belongs to the record with this key.
    pub(crate) fn of(record: &[u8; 32], name: &str) -> Self {
        let mut code = Hmac::<Sha256>::new_from_slice(record).expect("a key may have any length");
        code.update(TAG);
        code.update(name.as_bytes());
        Self(Zeroizing::new(code.finalize().into_bytes().into()))
    }

    /// Enciphers, or deciphers, what stands `at` so many bytes behind the file's beginning.
    pub fn apply(&self, at: u64, bytes: &mut [u8]) {
        let mut cipher = ChaCha20::new((&*self.0).into(), &[0; 12].into());
        // The counter suffices for 256 GiB, of which a recording may have a sixth.
        cipher.seek(at);
        cipher.apply_keystream(bytes);
    }

    /// Deciphers what is read from a file, beginning `at` so many bytes.
    pub fn decipher(self, at: u64, content: Content) -> Content {
        let mut at = at;
        let deciphered = content.map_ok(move |piece| {
            let mut bytes = piece.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
            self.apply(at, &mut bytes);
            at += bytes.len() as u64;
            bytes.freeze()
        });
        deciphered.boxed()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::gather;
    use super::*;

    #[test]
    fn each_file_of_each_record_is_enciphered_otherwise() {
        let enciphered = |record: u8, name: &str| {
            let mut bytes = [0; 64];
            FileCipher::of(&[record; 32], name).apply(0, &mut bytes);
            hex::encode(bytes)
        };
        let all = [enciphered(1, "a"), enciphered(1, "b"), enciphered(2, "a")];
        assert!(all[0] != all[1] && all[0] != all[2] && all[1] != all[2]);
        // The format that files were stored in: HMAC-SHA256 and ChaCha20, as any other program has them.
        assert_eq!(all[0][..32], *"d51bfcbb387f938d23b66b0b6487ef22");
    }

    #[tokio::test]
    async fn what_grew_in_pieces_is_read_in_other_pieces() {
        let cipher = FileCipher::of(&[7; 32], "recordings/x");
        let content: Vec<u8> = (0..700_u16).map(|at| at.to_le_bytes()[0]).collect();
        for grown in [1, 3, 63, 64, 65, 199, 700] {
            let (mut stored, mut at) = (content.clone(), 0);
            for piece in stored.chunks_mut(grown) {
                cipher.apply(at, piece);
                at += piece.len() as u64;
            }
            assert!(stored.windows(4).zip(content.windows(4)).all(|(one, other)| one != other));
            for (read, from) in
                [(1, 0), (64, 1), (100, 63), (700, 64), (50, 65), (9, 699), (1, 700)]
            {
                let pieces = stored[from..].chunks(read).map(|it| Ok(Bytes::copy_from_slice(it)));
                let pieces = futures::stream::iter(pieces.collect::<Vec<_>>()).boxed();
                let deciphered = gather(cipher.clone().decipher(from as u64, pieces)).await;
                assert_eq!(deciphered.unwrap(), content[from..], "{grown} {read} {from}");
            }
        }
    }
}
