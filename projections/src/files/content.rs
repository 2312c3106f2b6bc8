//! The bytes of files on their way, and what they are by what they begin with.

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use sha2::{Digest as _, Sha256};

use super::FileError;

/// The bytes of a file, piece by piece.
pub type Content = BoxStream<'static, Result<Bytes, FileError>>;

/// All of it, for what is known to be small.
///
/// # Errors
/// When reading fails.
pub async fn gather(content: Content) -> Result<Vec<u8>, FileError> {
    let all = content.try_fold(Vec::new(), async |mut all, piece| {
        all.extend_from_slice(&piece);
        Ok(all)
    });
    all.await
}

/// The media type of a recording by the first 64 KiB of it; what its sender says is not believed.
pub fn media_type(begin: &[u8]) -> &'static str {
    let has = |text: &[u8]| begin.windows(text.len()).any(|window| window == text);
    let at =
        |offset: usize, text: &[u8]| begin.get(offset..).is_some_and(|it| it.starts_with(text));
    if (at(0, b"RIFF") || at(0, b"RF64") || at(0, b"BW64")) && at(8, b"WAVE") {
        return "audio/wav";
    }
    if at(0, &[0x1a, 0x45, 0xdf, 0xa3]) {
        // Matroska's names of codecs: V_VP9, A_OPUS and so on.
        let (webm, picture) = (has(b"webm"), has(b"V_VP") || has(b"V_AV1") || has(b"V_MPEG"));
        return match (webm, picture) {
            (true, false) => "audio/webm",
            (true, true) => "video/webm",
            (false, false) => "audio/x-matroska",
            (false, true) => "video/x-matroska",
        };
    }
    if at(4, b"ftyp") {
        let audio_only = at(8, b"M4A") || at(8, b"M4B");
        return if !audio_only && has(b"vide") { "video/mp4" } else { "audio/mp4" };
    }
    if at(0, b"FORM") && (at(8, b"AIFF") || at(8, b"AIFC")) {
        return "audio/aiff";
    }
    match begin {
        [b'O', b'g', b'g', b'S', ..] => "audio/ogg",
        [b'f', b'L', b'a', b'C', ..] => "audio/flac",
        [b'c', b'a', b'f', b'f', ..] => "audio/x-caf",
        [b'I', b'D', b'3', ..] => "audio/mpeg",
        [0x23, 0x21, b'A', b'M', b'R', ..] => "audio/amr",
        // An AAC frame: twelve set bits, and layer 0, which MPEG audio does not have.
        [0xff, second, ..] if second & 0xf6 == 0xf0 => "audio/aac",
        [0xff, second, third, ..] if second & 0xe0 == 0xe0 && third & 0xf0 != 0xf0 => "audio/mpeg",
        _ => "application/octet-stream",
    }
}

/// What people send by mistake in the place of a recording, by what it begins with. Whatever could be one is none of these,
/// and of too little nobody can tell unless that `is_all` of it.
pub fn mistaken(begin: &[u8], is_all: bool) -> Option<&'static str> {
    const IMAGES: [&[u8]; 6] =
        [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"];
    const PICTURES: [&[u8]; 5] = [b"heic", b"heix", b"mif1", b"msf1", b"avif"];
    /// Less may be the beginning of something else.
    const TELLING: usize = 512;
    let at =
        |offset: usize, text: &[u8]| begin.get(offset..).is_some_and(|it| it.starts_with(text));
    let is_image = IMAGES.iter().any(|image| at(0, image))
        || (at(0, b"RIFF") && at(8, b"WEBP"))
        || (at(4, b"ftyp") && PICTURES.iter().any(|brand| at(8, brand)));
    let trimmed = begin.trim_ascii_start();
    let is_page = ["<!doctype html", "<html"].iter().any(|tag| {
        trimmed.get(..tag.len()).is_some_and(|it| it.eq_ignore_ascii_case(tag.as_bytes()))
    });
    match () {
        () if is_image => Some("an image"),
        () if at(0, b"%PDF-") => Some("a PDF"),
        () if at(0, b"PK\x03\x04") => Some("a ZIP archive or an Office document"),
        () if is_page => Some("a web page"),
        () if (is_all && !begin.is_empty() || begin.len() >= TELLING) && is_text(begin) => {
            Some("a text")
        }
        () => None,
    }
}

/// Whether all of it is text: of sound, hardly a dozen bytes are.
fn is_text(begin: &[u8]) -> bool {
    let is_written = |it: char| !it.is_control() || matches!(it, '\t' | '\n' | '\r' | '\x0c');
    match begin {
        [0xff, 0xfe, rest @ ..] | [0xfe, 0xff, rest @ ..] => {
            let of = if begin[0] == 0xff { u16::from_le_bytes } else { u16::from_be_bytes };
            let units = rest.chunks_exact(2).map(|unit| of([unit[0], unit[1]]));
            let mut letters = char::decode_utf16(units);
            letters.all(|letter| letter.is_ok_and(is_written)) && rest.len() > 1
        }
        _ => {
            let text = match std::str::from_utf8(begin) {
                Ok(text) => text,
                // A letter may be cut in two where the beginning ends.
                Err(error) if error.error_len().is_none() => {
                    std::str::from_utf8(&begin[..error.valid_up_to()]).unwrap_or_default()
                }
                Err(_) => return false,
            };
            !text.is_empty() && text.chars().all(is_written)
        }
    }
}

/// A whole file on its way out, which breaks off before its last piece if it is not what was stored.
pub fn verified(content: Content, key: String, sha256: String) -> Content {
    let state = (content, Sha256::new(), None::<Bytes>, Some((key, sha256)));
    Box::pin(futures::stream::try_unfold(
        state,
        async |(mut content, mut hash, mut held, stored)| {
            while let Some(piece) = content.try_next().await? {
                hash.update(&piece);
                if let Some(ready) = held.replace(piece) {
                    return Ok(Some((ready, (content, hash, held, stored))));
                }
            }
            let Some((key, expected)) = stored else { return Ok(None) };
            let found = hex::encode(hash.clone().finalize());
            if !found.eq_ignore_ascii_case(&expected) {
                let what = format!("its SHA-256 is {found}, and was {expected}");
                return Err(FileError::Damaged { key, what });
            }
            Ok(held.take().map(|last| (last, (content, hash, None, None))))
        },
    ))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[test]
    fn a_recording_is_what_it_begins_with() {
        let check = |begin: &[u8], expected: &str| assert_eq!(media_type(begin), expected);
        check(b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav");
        check(b"RF64\xff\xff\xff\xffWAVEds64", "audio/wav");
        check(b"BW64\xff\xff\xff\xffWAVEds64", "audio/wav");
        check(b"RIFF\x24\x00\x00\x00AVI LIST", "application/octet-stream");
        check(b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm..A_OPUS", "audio/webm");
        check(b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm..V_VP9..A_OPUS", "video/webm");
        check(b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", "audio/x-matroska");
        check(b"\x00\x00\x00\x1cftypM4A \x00\x00", "audio/mp4");
        check(b"\x00\x00\x00\x1cftypisom\x00\x00hdlr\x00vide", "video/mp4");
        check(b"\x00\x00\x00\x1cftypiso5\x00\x00hdlr\x00soun", "audio/mp4");
        check(b"OggS\x00\x02", "audio/ogg");
        check(b"fLaC\x00", "audio/flac");
        check(b"ID3\x04", "audio/mpeg");
        check(b"\xff\xfb\x90\x00", "audio/mpeg");
        check(b"\xff\xf1\x50\x80", "audio/aac");
        check(b"FORM\x00\x00\x00\x00AIFF", "audio/aiff");
        check(b"<html><script>alert(1)</script>", "application/octet-stream");
        check(b"%PDF-1.7", "application/octet-stream");
        check(b"", "application/octet-stream");
    }

    #[test]
    fn only_what_is_plainly_no_recording_is_taken_for_a_mistake() {
        let check = |begin: &[u8], is_all: bool, expected: Option<&str>| {
            assert_eq!(mistaken(begin, is_all), expected, "{:?}", begin.get(..20));
        };
        let text = "Ana: ¿Y las comisiones?\r\n".repeat(40);
        check(text.as_bytes(), false, Some("a text"));
        check(&text.as_bytes()[..520], false, Some("a text"));
        // Also where it ends within a letter.
        let cut = text.find('¿').unwrap() + 1;
        check(&text.as_bytes()[..cut], true, Some("a text"));
        check(b"Ana: hi", false, None);
        check(b"Ana: hi", true, Some("a text"));
        check(b"", true, None);
        check(b"\xff\xfeA\0n\0a\0", true, Some("a text"));
        check(b"\xfe\xff\0A\0n\0a", true, Some("a text"));
        // A frame of MPEG audio begins like a text in UTF-16.
        check(&[b"\xff\xfe\x90\x64\0\0".as_slice(), &[0; 600]].concat(), true, None);
        check(b" \n<!doctype HTML>", false, Some("a web page"));
        check(b"%PDF-1.7", false, Some("a PDF"));
        check(b"PK\x03\x04\x14", false, Some("a ZIP archive or an Office document"));
        check(b"\x89PNG\r\n\x1a\n", false, Some("an image"));
        check(b"\x00\x00\x00\x18ftypavif", false, Some("an image"));
        check(b"\x00\x00\x00\x18ftypM4A ", false, None);
        check(b"RIFF\x24\x00\x00\x00WEBPVP8 ", false, Some("an image"));
        check(b"RIFF\x24\x00\x00\x00WAVEfmt ", true, None);
        check(b"#!AMR\n\x3c\x91\x17", true, None);
        check(&[0; 600], true, None);
    }

    #[tokio::test]
    async fn a_file_that_is_not_what_was_stored_breaks_off_before_its_end() {
        let pieces = ["one", "two", "three"];
        let sha256 = hex::encode(Sha256::digest("onetwothree"));
        let sent = async |sha256: &str| {
            let content = futures::stream::iter(pieces.map(|it| Ok(Bytes::from(it))));
            let content = verified(Box::pin(content), "k".into(), sha256.to_owned());
            content.collect::<Vec<_>>().await
        };
        let whole = sent(&sha256).await;
        let whole: Vec<Bytes> = whole.into_iter().map(Result::unwrap).collect();
        assert_eq!(whole, pieces);
        let damaged = sent("00").await;
        assert_eq!((damaged.len(), damaged[2].is_err()), (3, true));
        let nothing = verified(Box::pin(futures::stream::empty()), "k".into(), "00".into());
        assert!(nothing.collect::<Vec<_>>().await[0].is_err());
    }
}
