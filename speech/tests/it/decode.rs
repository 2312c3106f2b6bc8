//! Every container and codec that people record in; what is damaged, cut off or no sound at all; and memory.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::time::Duration;

use speech::RATE;
use speech::decode::{Audio, DecodeError};

use crate::clips::{
    self, decoded, encode, ffmpeg, file, output, sentence, sound, with_unknown_sizes,
};

const OPUS: [&str; 2] = ["-c:a", "libopus"];

/// Loudness in steps of 20 ms: what stays the same whatever the codec.
fn envelope(sound: &[f32]) -> Vec<f32> {
    let loudness =
        |step: &[f32]| (step.iter().map(|s| s * s).sum::<f32>() / step.len() as f32).sqrt();
    sound.chunks(RATE as usize / 50).map(loudness).collect()
}

/// How alike the courses of loudness are, from 0 to 1. The first may be up to 60 ms late: encoders begin with a little silence.
fn likeness(a: &[f32], b: &[f32]) -> f32 {
    let (a, b) = (envelope(a), envelope(b));
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let alike = |late| product(&a[late..], &b) / (product(&a, &a) * product(&b, &b)).sqrt();
    (0..=3).map(alike).fold(0.0, f32::max)
}

fn assert_is_the_sentence(name: &str, recording: &[u8]) {
    let original = decoded(sentence());
    let (sound, damaged) = sound(recording).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(damaged, 0, "{name}");
    let seconds = (sound.len() as f32 - original.len() as f32) / RATE as f32;
    assert!(seconds.abs() < 0.1, "{name} is {seconds} s longer than what was spoken");
    let alike = likeness(&sound, &original);
    assert!(alike > 0.93, "{name}: {alike}");
}

#[test]
fn recordings_of_browsers_phones_and_recorders_are_decoded() {
    let recordings: [(&str, &[&str], &str); 14] = [
        ("WebM, Opus", &["-c:a", "libopus", "-b:a", "48k"], "webm"),
        ("Ogg, Opus", &OPUS, "ogg"),
        ("Ogg, Vorbis", &["-c:a", "libvorbis"], "ogg"),
        ("M4A, AAC", &["-c:a", "aac"], "m4a"),
        (
            "MP4 in fragments, AAC",
            &["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov", "-frag_duration", "1000000"],
            "mp4",
        ),
        ("MP4, Opus", &OPUS, "mp4"),
        ("AAC as a stream", &["-c:a", "aac"], "aac"),
        ("MP3", &["-c:a", "libmp3lame"], "mp3"),
        ("FLAC", &["-c:a", "flac"], "flac"),
        ("WAV, 16 bit, 44.1 kHz, stereo", &["-ar", "44100", "-ac", "2"], "wav"),
        ("WAV, float, 44.1 kHz, stereo", &["-ar", "44100", "-ac", "2", "-c:a", "pcm_f32le"], "wav"),
        ("WAV, 24 bit, 96 kHz", &["-ar", "96000", "-c:a", "pcm_s24le"], "wav"),
        ("WAV, telephone", &["-ar", "16000", "-c:a", "pcm_mulaw"], "wav"),
        ("AIFF", &[], "aiff"),
    ];
    for (name, arguments, ending) in recordings {
        assert_is_the_sentence(name, &encode(sentence(), arguments, ending));
    }
}

#[test]
fn a_browsers_recording_with_clusters_of_unknown_size_is_decoded() {
    // As Chrome writes it: clusters of a second, no cues.
    let webm = encode(sentence(), &["-c:a", "libopus", "-cluster_time_limit", "1000"], "webm");
    assert_is_the_sentence("live WebM", &with_unknown_sizes(&webm));
}

#[test]
fn what_a_recording_says_about_its_length_is_known_unless_it_is_live() {
    let length =
        |recording: &[u8]| Audio::open(Cursor::new(recording.to_vec())).unwrap().duration();
    let seconds = decoded(sentence()).len() as f64 / f64::from(RATE);
    for (arguments, ending) in
        [(&["-c:a", "aac"], "m4a"), (&OPUS, "ogg"), (&["-c:a", "flac"], "flac")]
    {
        let said = length(&encode(sentence(), arguments, ending)).unwrap().as_secs_f64();
        assert!((said - seconds).abs() < 0.1, "{ending} says {said} s");
    }
    assert!(length(sentence()).is_some_and(|length| length > Duration::from_secs(4)));
}

#[test]
fn the_length_of_a_recording_that_does_not_say_it_is_that_of_its_packets() {
    let seconds = decoded(sentence()).len() as f64 / f64::from(RATE);
    let opened = |recording: &[u8]| Audio::open(Cursor::new(recording.to_vec())).unwrap();
    // As a browser writes it, which cannot go back to its head: to a pipe.
    let mut writing = ffmpeg();
    let sound = file(sentence(), "wav");
    writing.arg("-i").arg(&sound).args(["-c:a", "libopus", "-f", "webm", "-live", "1", "-"]);
    let live = output(writing);
    assert_eq!(opened(&live).duration(), None);
    for recording in
        [live, encode(sentence(), &OPUS, "ogg"), encode(sentence(), &["-c:a", "aac"], "m4a")]
    {
        let measured = opened(&recording).measure().unwrap().as_secs_f64();
        assert!((measured - seconds).abs() < 0.1, "{measured} s instead of {seconds} s");
    }
}

#[test]
fn both_ears_are_heard() {
    let left = encode(sentence(), &["-af", "pan=stereo|c0=c0|c1=0*c0"], "wav");
    let (left, both) = (decoded(&left), decoded(sentence()));
    let half = envelope(&left).iter().sum::<f32>() / envelope(&both).iter().sum::<f32>();
    assert!((half - 0.5).abs() < 0.01, "{half}");
}

#[test]
fn no_number_in_a_float_file_is_silence() {
    let mut wav = encode(sentence(), &["-c:a", "pcm_f32le"], "wav");
    let middle = (wav.len() / 2) & !3;
    for sample in wav[middle..middle + 40].chunks_exact_mut(4) {
        sample.copy_from_slice(&f32::NAN.to_le_bytes());
    }
    assert!(decoded(&wav).iter().all(|sample| sample.is_finite()));
}

#[test]
fn going_on_at_a_sample_gives_the_very_same_samples() {
    for (arguments, ending) in
        [(&OPUS, "webm"), (&["-c:a", "libmp3lame"], "mp3"), (&["-c:a", "aac"], "m4a")]
    {
        let recording = encode(sentence(), arguments, ending);
        let all = decoded(&recording);
        for from in [0, 1, 16_000, 54_321, all.len() - 1, all.len(), all.len() + 5] {
            let mut audio = Audio::open(Cursor::new(recording.clone())).unwrap();
            audio.skip_to(from as u64).unwrap();
            assert_eq!(audio.position(), from.min(all.len()) as u64);
            let rest: Vec<f32> = audio.by_ref().flat_map(Result::unwrap).collect();
            assert_eq!(rest, all[from.min(all.len())..], "{ending} from {from}");
            assert_eq!(audio.position(), all.len() as u64);
        }
    }
}

#[test]
fn a_recording_that_was_cut_off_is_heard_to_where_it_ends() {
    let webm = encode(sentence(), &["-c:a", "libopus", "-cluster_time_limit", "1000"], "webm");
    let all = decoded(&webm);
    let cut = with_unknown_sizes(&webm);
    let half = decoded(&cut[..cut.len() / 2]);
    assert!(
        (all.len() / 3..all.len() * 2 / 3).contains(&half.len()),
        "{} of {}",
        half.len(),
        all.len()
    );
    let cut = encode(sentence(), &OPUS, "ogg");
    assert!(!decoded(&cut[..cut.len() / 2]).is_empty());
}

#[test]
fn an_mp4_that_was_cut_off_is_heard_to_where_it_ends_if_its_index_is_there() {
    let faststart = ["-c:a", "aac", "-movflags", "+faststart"];
    let fragment = ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"];
    let fragments = [&fragment[..], &["-frag_duration", "1000000"]].concat();
    for arguments in [&faststart[..], &fragment[..], &fragments[..]] {
        let mp4 = encode(sentence(), arguments, "mp4");
        let all = decoded(&mp4);
        let half = decoded(&mp4[..mp4.len() / 2]);
        assert!(half.len() > all.len() / 3, "{arguments:?}: {} of {}", half.len(), all.len());
        assert_eq!(half[..half.len() - 2_000], all[..half.len() - 2_000], "{arguments:?}");
        let within = mp4.windows(4).position(|kind| kind == b"moov").unwrap() + 100;
        assert_refused(&mp4[..within], "cut off or never finished: without its index");
    }
    let at_the_end = encode(sentence(), &["-c:a", "aac"], "m4a");
    let cut = &at_the_end[..at_the_end.len() / 2];
    assert_refused(cut, "cut off or never finished: without its index");
}

/// A WAV with these sizes in its head: of everything, and of the sound.
fn with_sizes(wav: &[u8], all: u32, sound: u32) -> Vec<u8> {
    let mut file = wav.to_vec();
    let size = data(wav) - 4;
    file[4..8].copy_from_slice(&all.to_le_bytes());
    file[size..size + 4].copy_from_slice(&sound.to_le_bytes());
    file
}

/// Where the sound of a WAV begins.
fn data(wav: &[u8]) -> usize {
    wav.windows(4).position(|kind| kind == b"data").unwrap() + 8
}

/// The sentence in a WAV whose head is right, as ffmpeg writes it: 16 bit, or another codec.
fn finished(codec: &str) -> Vec<u8> {
    encode(sentence(), &["-ar", "16000", "-c:a", codec], "wav")
}

#[test]
fn a_wav_whose_recorder_died_is_heard_to_its_end() {
    for codec in ["pcm_s16le", "pcm_f32le", "pcm_u8"] {
        let wav = finished(codec);
        let (all, there) = (decoded(&wav), (wav.len() - data(&wav)) as u32);
        for (of_all, of_sound) in [
            (0, 0),
            (36, 0),
            (there + 36, 0),
            (0, there),
            (u32::MAX, u32::MAX),
            (0x7fff_ffff, 0x7fff_ffff),
            (0, u32::MAX),
            (36, there + 1_000_000),
            // It wrote how long it was half-way.
            (there / 2 + 36, there / 2),
            (there + 36, there / 2),
        ] {
            let died = with_sizes(&wav, of_all, of_sound);
            let told = format!("{codec}, {of_all} and {of_sound}");
            assert!(
                sound(&died).unwrap_or_else(|error| panic!("{told}: {error}")).0 == all,
                "{told}"
            );
            let length = Audio::open(Cursor::new(died)).unwrap().duration().unwrap();
            let seconds = length.as_secs_f64() - all.len() as f64 / f64::from(RATE);
            assert!(seconds.abs() < 0.01, "{told}: {seconds} s too long");
        }
    }
}

#[test]
fn a_wav_whose_head_is_right_is_heard_as_it_says() {
    let (wav, list) = (finished("pcm_s16le"), b"LIST\x04\0\0\0INFO");
    let behind = with_sizes(
        &[&wav[..], list].concat(),
        (wav.len() + list.len() - 8) as u32,
        (wav.len() - data(&wav)) as u32,
    );
    assert!(decoded(&behind) == decoded(&wav));
    // Nothing was recorded into this one, and it says so.
    let empty = [&wav[..data(&wav)], list].concat();
    let all = (empty.len() - 8) as u32;
    assert_refused(&with_sizes(&empty, all, 0), "holds no sound");
}

/// A WAV in the form for more than 4 GB, with these sizes in it.
fn long(wav: &[u8], marker: &[u8; 4], all: u64, sound: u64) -> Vec<u8> {
    let sizes = [all.to_le_bytes(), sound.to_le_bytes(), [0; 8]].concat();
    let chunk = [&b"ds64\x1c\0\0\0"[..], &sizes, &[0; 4]].concat();
    let wav = with_sizes(wav, u32::MAX, u32::MAX);
    [&marker[..], &wav[4..12], &chunk, &wav[12..]].concat()
}

#[test]
fn a_wav_in_the_form_for_more_than_4_gb_is_decoded() {
    let written = encode(sentence(), &["-ar", "16000", "-rf64", "always"], "wav");
    assert_eq!(written[..4], *b"RF64");
    let wav = finished("pcm_s16le");
    let all = decoded(&wav);
    assert!(decoded(&written) == all);
    let there = (wav.len() - data(&wav)) as u64;
    for marker in [b"RF64", b"BW64"] {
        for (of_all, of_sound) in [(there + 72, there), (0, 0), (u64::MAX, u64::MAX)] {
            assert!(decoded(&long(&wav, marker, of_all, of_sound)) == all, "{of_sound}");
        }
    }
    let behind = [&long(&wav, b"BW64", there + 104, there)[..], b"axml\x18\0\0\0", &[0x55; 24]];
    assert!(decoded(&behind.concat()) == all);
}

#[test]
fn a_wav_of_a_telephone_may_describe_its_sound_in_few_words() {
    for codec in ["pcm_alaw", "pcm_mulaw"] {
        let wav = finished(codec);
        let all = decoded(&wav);
        assert!(decoded(&[&wav[..], &[b'\t'; 128]].concat()) == all, "{codec}, and something else");
        let at = wav.windows(4).position(|kind| kind == b"fmt ").unwrap();
        assert_eq!(wav[at + 4..at + 8], 18_u32.to_le_bytes(), "{codec}");
        let size = (wav.len() as u32 - 10).to_le_bytes();
        let format = [&b"fmt \x10\0\0\0"[..], &wav[at + 8..at + 24]].concat();
        let short = [&b"RIFF"[..], &size, &wav[8..at], &format, &wav[at + 26..]].concat();
        assert!(decoded(&short) == all, "{codec}");
        // And its recorder died.
        assert!(decoded(&with_sizes(&short, 0, 0)) == all, "{codec}");
        let ours = Audio::open(Cursor::new(short)).unwrap();
        assert_eq!(ours.duration(), Audio::open(Cursor::new(wav)).unwrap().duration());
        let mut audio = ours;
        audio.skip_to(20_000).unwrap();
        assert!(audio.flat_map(Result::unwrap).eq(all[20_000..].iter().copied()), "{codec}");
    }
}

/// A CAF with this size of its sound in it.
fn with_size(caf: &[u8], sound: i64) -> Vec<u8> {
    let mut file = caf.to_vec();
    let size = sound_of(caf);
    file[size - 8..size].copy_from_slice(&sound.to_be_bytes());
    file
}

/// Where the sound of a CAF begins, with how often it was edited before it.
fn sound_of(caf: &[u8]) -> usize {
    caf.windows(4).position(|kind| kind == b"data").unwrap() + 12
}

#[test]
fn a_caf_that_was_never_finished_or_cut_off_is_heard_to_its_end() {
    for codec in ["pcm_s16le", "pcm_f32be"] {
        let caf = encode(sentence(), &["-ar", "16000", "-c:a", codec], "caf");
        let all = decoded(&caf);
        let there = (caf.len() - sound_of(&caf)) as i64;
        for size in [there, -1, 0, there + 1_000_000, i64::MAX] {
            let died = with_size(&caf, size);
            assert!(decoded(&died) == all, "{codec}, {size}");
            let length = Audio::open(Cursor::new(died)).unwrap().duration().unwrap();
            let seconds = length.as_secs_f64() - all.len() as f64 / f64::from(RATE);
            assert!(seconds.abs() < 0.01, "{codec}, {size}: {seconds} s too long");
        }
        let half = decoded(&caf[..caf.len() / 2]);
        assert!(half.len() > all.len() / 3, "{codec}: {} of {}", half.len(), all.len());
        assert_eq!(half[..half.len() - 200], all[..half.len() - 200], "{codec}");
        let behind = [&caf[..], b"free\0\0\0\0\0\0\0\x04\0\0\0\0"].concat();
        assert!(decoded(&behind) == all, "{codec}");
        assert_refused(&with_size(&caf[..sound_of(&caf) + 4], -1), "holds no sound");
    }
}

/// A CAF with the list of its packets before them, as Apple's recorders write it, rather than behind.
fn with_list_first(caf: &[u8]) -> Vec<u8> {
    let sound = sound_of(caf) - 12;
    let list = caf.windows(4).rposition(|kind| kind == b"pakt").unwrap();
    [&caf[..sound], &caf[list..], &caf[sound..list]].concat()
}

#[test]
fn a_caf_with_packets_is_heard_as_far_as_it_says_where_they_are() {
    let caf = encode(sentence(), &["-ar", "16000", "-c:a", "alac"], "caf");
    let all = decoded(&caf);
    let list = caf.windows(4).rposition(|kind| kind == b"pakt").unwrap();
    let never = "CAF file was cut off or never finished: without its index";
    for died in [&caf[..list], &caf[..list / 2], &with_size(&caf[..list], -1)] {
        assert_refused(died, never);
    }
    let first = with_list_first(&caf);
    assert!(decoded(&first) == all);
    let half = decoded(&first[..first.len() / 2]);
    assert!(half.len() > all.len() / 4, "{} of {}", half.len(), all.len());
    // But for the packet that was cut.
    assert_eq!(half[..half.len() - 5_000], all[..half.len() - 5_000]);
}

/// A file that nobody has room for: zeros between its beginning and what stands behind.
struct Large {
    head: Vec<u8>,
    length: u64,
    at: u64,
    behind: Vec<u8>,
}

impl Read for Large {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(self.at)).unwrap();
        let read = left.min(buffer.len());
        buffer[..read].fill(0);
        let head = self.head.iter().skip(usize::try_from(self.at).unwrap());
        buffer[..read].iter_mut().zip(head).for_each(|(place, byte)| *place = *byte);
        let behind = (self.length - self.behind.len() as u64..).zip(&self.behind);
        for (place, byte) in behind.filter(|(place, _)| *place >= self.at) {
            if let Some(there) = buffer[..read].get_mut((place - self.at) as usize) {
                *there = *byte;
            }
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Large {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = match to {
            SeekFrom::Start(place) => place,
            SeekFrom::End(by) => self.length.checked_add_signed(by).unwrap(),
            SeekFrom::Current(by) => self.at.checked_add_signed(by).unwrap(),
        };
        Ok(self.at)
    }
}

#[test]
fn a_size_that_was_only_a_guess_ends_no_recording_of_hours() {
    let wav = finished("pcm_s16le");
    let begin = data(&wav);
    let length = |guess: u32, there: u64, behind: &[u8]| {
        let head = with_sizes(&wav[..begin], u32::MAX, guess);
        let length = begin as u64 + there + behind.len() as u64;
        let audio = Audio::open(Large { head, length, at: 0, behind: behind.to_vec() }).unwrap();
        audio.duration().unwrap().as_secs_f64() * 2.0 * 16_000.0
    };
    for guess in [0x7fff_ffff_u32, 0x7fff_f000, 0xffff_0000] {
        let there = u64::from(guess) + 40_000;
        let said = length(guess, there, b"");
        assert!((said - there as f64).abs() < 1_000.0, "{guess:x}: {said}");
    }
    // It may be right.
    let (size, list) = (0x7fff_f000, b"LIST\x04\0\0\0INFO");
    let said = length(size, size.into(), list);
    assert!((said - f64::from(size)).abs() < 1_000.0, "{said}");
}

#[test]
fn of_more_than_4_gb_the_sound_alone_is_heard() {
    let wav = finished("pcm_s16le");
    let sound = u64::from(u32::MAX) + 2;
    let head = long(&wav[..data(&wav)], b"RF64", sound + 72, sound);
    let behind = [&b"\0axml\x20\xa1\x07\0"[..], &[0; 500_000]].concat();
    let length = head.len() as u64 + sound + behind.len() as u64;
    let audio = Audio::open(Large { head, length, at: 0, behind }).unwrap();
    let seconds = audio.measure().unwrap().as_secs_f64() - sound as f64 / (2.0 * 16_000.0);
    assert!(seconds.abs() < 0.1, "{seconds} s too long");
}

#[test]
fn a_scratch_is_silence_and_what_follows_keeps_its_time() {
    let mut mp3 = encode(sentence(), &["-c:a", "libmp3lame", "-b:a", "64k"], "mp3");
    let original = decoded(&mp3);
    let middle = mp3.len() / 2;
    mp3[middle..middle + 2_000].fill(0x55);
    let (scratched, damaged) = sound(&mp3).unwrap();
    assert!(damaged > 0 || scratched.len() < original.len());
    let tail = RATE as usize;
    let alike = likeness(&scratched[scratched.len() - tail..], &original[original.len() - tail..]);
    assert!(alike > 0.95, "{alike}");
}

/// Numbers that are the same in every run.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}

#[test]
fn whatever_is_broken_ends_with_sound_or_with_an_error() {
    let recordings: [(&[&str], &str); 7] = [
        (&OPUS, "webm"),
        (&OPUS, "ogg"),
        (&["-c:a", "libvorbis"], "ogg"),
        (&["-c:a", "aac"], "m4a"),
        (&["-c:a", "libmp3lame"], "mp3"),
        (&["-c:a", "flac"], "flac"),
        (&["-c:a", "pcm_s16le"], "wav"),
    ];
    for (arguments, ending) in recordings {
        let recording = encode(sentence(), arguments, ending);
        for seed in 0..40 {
            let mut broken = recording.clone();
            let places = noise(seed, 64);
            for place in places.chunks_exact(4) {
                let [a, b, c, value] = [place[0], place[1], place[2], place[3]].map(usize::from);
                // Half of them in the head, which says where everything is.
                let within = if a % 2 == 0 { broken.len().min(600) } else { broken.len() };
                broken[(a << 16 | b << 8 | c) % within] = value as u8;
            }
            // Sound of a length that the file cannot have would fill memory or disk.
            if let Ok((sound, _)) = sound(&broken) {
                assert!(
                    sound.len() < 3600 * RATE as usize,
                    "{ending}, seed {seed}: {}",
                    sound.len()
                );
            }
        }
    }
}

#[track_caller]
fn assert_refused(recording: &[u8], why: &str) {
    match sound(recording) {
        Ok((sound, _)) => panic!("{} samples", sound.len()),
        Err(error) => {
            let told = error.to_string();
            assert!(told.contains(why), "{told}");
            // What the demuxers say is for the log.
            for jargon in ["isomp4", "moov", "mkv", "ebml", "core", "codec", "stream"] {
                assert!(!told.contains(jargon), "{told}");
            }
        }
    }
}

#[test]
fn what_cannot_be_decoded_is_refused_in_plain_words() {
    assert_refused(b"", "holds no sound");
    assert_refused(b"Dear all, please find attached", "no sound file that can be read");
    assert_refused(&noise(7, 100_000), "no sound file that can be read");
    let mut video = clips::ffmpeg();
    let path = clips::path("mp4");
    video.args(["-f", "lavfi", "-i", "testsrc=duration=1", "-c:v", "mpeg4"]).arg(&path);
    clips::output(video);
    assert_refused(&std::fs::read(path).unwrap(), "no sound track");
    let dolby = encode(sentence(), &["-c:a", "ac3"], "mp4");
    assert_refused(&dolby, "Dolby Digital, which cannot be decoded: convert the file to");
    let layer_2 = encode(sentence(), &["-c:a", "mp2"], "mp2");
    assert_refused(&layer_2, "Opus, Vorbis, AAC-LC, MP3, FLAC, ALAC and PCM can be decoded");
    let webm = encode(sentence(), &OPUS, "webm");
    assert_refused(&webm[..300], "nothing of it could be read");
    let empty = encode(sentence(), &["-t", "0"], "wav");
    assert_refused(&empty, "holds no sound");
}

#[test]
fn high_efficiency_aac_is_named() {
    // AAC-LC at 44.1 kHz is described by the bytes 12 08; the type of the first, 2, becomes 5.
    let mut m4a = encode(sentence(), &["-ar", "44100", "-ac", "1", "-c:a", "aac"], "m4a");
    let at = m4a.windows(2).rposition(|bytes| bytes == [0x12, 0x08]).unwrap();
    m4a[at] = 0x2a;
    assert_refused(&m4a, "HE-AAC");
}

/// A disk that fails after so many bytes.
struct Failing(Cursor<Vec<u8>>, u64);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.position() >= self.1 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the cable is out"));
        }
        self.0.read(buffer)
    }
}

impl Seek for Failing {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn a_disk_that_fails_is_not_taken_for_the_end() {
    for (arguments, ending) in [
        (&OPUS, "webm"),
        (&OPUS, "ogg"),
        (&["-c:a", "aac"], "m4a"),
        (&["-c:a", "libmp3lame"], "mp3"),
        (&["-c:a", "flac"], "flac"),
    ] {
        let recording = encode(sentence(), arguments, ending);
        for after in [0, recording.len() as u64 / 2] {
            let result = Audio::open(Failing(Cursor::new(recording.clone()), after))
                .and_then(|audio| audio.collect::<Result<Vec<_>, _>>());
            match result {
                Err(DecodeError::Read(error)) => assert_eq!(error.to_string(), "the cable is out"),
                other => panic!("{ending}: {:?}", other.map(|blocks| blocks.len())),
            }
        }
    }
}

/// What this process has needed at most, in KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

const ENDING: &str = "SPEECH_TEST_DECODES";

/// Not a test of its own: [`ten_minutes_take_no_more_memory_than_one`] runs it in a process that does nothing else.
#[test]
#[ignore = "run by another test"]
fn decodes_one_file() {
    let path = std::env::var(ENDING).unwrap();
    let samples: usize = Audio::open(std::fs::File::open(path).unwrap())
        .unwrap()
        .map(|block| block.unwrap().len())
        .sum();
    println!("{samples} {}", memory());
}

/// Samples and memory of decoding a sentence over and over for so many minutes.
fn decode_alone(minutes: u32, arguments: &[&str], ending: &str) -> (u64, u64) {
    let (from, to) = (file(sentence(), "wav"), clips::path(ending));
    let mut ffmpeg = clips::ffmpeg();
    ffmpeg.args(["-stream_loop", "-1", "-t", &(minutes * 60).to_string(), "-i"]).arg(&from);
    clips::output({
        ffmpeg.args(arguments).arg(&to);
        ffmpeg
    });
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    alone
        .args(["--exact", "decode::decodes_one_file", "--ignored", "--nocapture"])
        .env(ENDING, &to);
    let said = String::from_utf8(clips::output(alone)).unwrap();
    let numbers = said.lines().find_map(|line| {
        let (samples, memory) = line.split_once(' ')?;
        Some((samples.parse().ok()?, memory.parse().ok()?))
    });
    numbers.unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn ten_minutes_take_no_more_memory_than_one() {
    for (arguments, ending) in
        [(&["-c:a", "libopus", "-b:a", "16k"][..], "webm"), (&["-c:a", "pcm_s16le"], "wav")]
    {
        let (_, minute) = decode_alone(1, arguments, ending);
        let (samples, ten) = decode_alone(10, arguments, ending);
        assert!(samples > 590 * u64::from(RATE), "{ending}: {samples}");
        assert!(ten < minute + 4096, "{ending}: {minute} KiB, then {ten} KiB");
    }
}
