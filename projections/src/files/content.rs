//! The bytes of files on their way, and what they are by what they begin with.

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;

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

#[cfg(test)]
mod tests {
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
}
