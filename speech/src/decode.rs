//! Any recording that browsers, phones and recorders write, as sound at 16 kHz with one channel.
//!
//! What the file is called or said to be does not count, only how it begins. It is read and decoded as it is asked for, so that
//! hours of sound take no more memory than seconds.

mod caf;
mod mp4;
mod resample;
mod source;
mod told;
mod wav;

use std::io::{self, Read, Seek};
use std::sync::LazyLock;
use std::time::Duration;

use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AAC, CODEC_ID_AC3, CODEC_ID_EAC3, CODEC_ID_OPUS,
};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::codecs::registry::CodecRegistry;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known::FORMAT_ID_CAF;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;
use symphonia::core::units::{self, TimeBase};

use self::resample::Resampler;
use self::source::{Failure, Source};

/// This many damaged packets in a row, about ten seconds of sound, are not a scratch any more.
const DAMAGED_IN_A_ROW: u32 = 500;
/// The same of places where not even the next packet is found.
const LOST_IN_A_ROW: u32 = 32;
/// Sample rates of recordings; others are errors in the file, or attacks on our memory.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=768_000;

static CODECS: LazyLock<CodecRegistry> = LazyLock::new(|| {
    let mut codecs = CodecRegistry::new();
    symphonia::default::register_enabled_codecs(&mut codecs);
    codecs.register_audio_decoder::<symphonia_adapter_libopus::OpusDecoder>();
    codecs
});

/// Why a recording gives no sound, in words for who uploaded it; [`technical`](Self::technical) has those for the log. All but
/// [`Read`](Self::Read) are for good: trying again changes nothing.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is not known what this is.
    #[error(
        "this is no sound file that can be read, or too little of one: WebM, Ogg, MP4 (M4A), MP3, FLAC, WAV, AIFF and CAF can"
    )]
    NotSound,
    /// Where its sound is stands at its end, which is not there; this kind of file has such an end.
    #[error(
        "the {0} file was cut off or never finished: without its index, which most recorders write at its end, nothing of it can be read"
    )]
    NoIndex(&'static str),
    /// A video without sound, for instance.
    #[error("the file has no sound track")]
    NoTrack,
    /// The sound is encoded in a way that is not supported, which is named.
    #[error(
        "the sound is {0}, which cannot be decoded: convert the file to Opus, AAC-LC, MP3, FLAC or WAV and upload it again"
    )]
    Unsupported(String),
    /// Likewise, and nobody knows the way. A file that is no sound at all may look like that.
    #[error(
        "the sound is of a kind that is not supported, or the file is damaged: Opus, Vorbis, AAC-LC, MP3, FLAC, ALAC and PCM can be decoded; convert the file to one of them and upload it again"
    )]
    Unknown {
        /// What was found.
        problem: String,
    },
    /// Damaged beyond what may be skipped.
    #[error("{}", damaged(*.seconds))]
    Damaged {
        /// What was found.
        problem: String,
        /// How much could be decoded before, in whole seconds.
        seconds: u64,
    },
    /// Sound of no length.
    #[error("the file holds no sound: nothing was recorded, or the upload was cut off")]
    Empty,
    /// The file itself could not be read: a disk or a network failed.
    #[error("the recording could not be read: {0}")]
    Read(#[source] io::Error),
}

impl DecodeError {
    /// What demuxer or decoder say, where that is no word for people.
    #[must_use]
    pub fn technical(&self) -> Option<&str> {
        match self {
            Self::Unknown { problem } | Self::Damaged { problem, .. } => Some(problem),
            _ => None,
        }
    }
}

fn damaged(seconds: u64) -> String {
    match seconds {
        0 => "the file is cut off or damaged: nothing of it could be read".to_owned(),
        seconds => format!("the file is damaged: only {seconds} s of sound could be read"),
    }
}

/// The sound of a recording, in blocks of some thousand samples at [`RATE`](crate::RATE), all channels mixed into one.
///
/// What cannot be decoded of a damaged file is replaced by silence of the same length, so that later times stay right.
pub struct Audio {
    format: Box<dyn FormatReader>,
    failure: Failure,
    track: u32,
    decoder: Box<dyn AudioDecoder>,
    resampler: Option<Resampler>,
    duration: Option<Duration>,
    interleaved: Vec<f32>,
    mono: Vec<f32>,
    /// What [`skip_to`](Self::skip_to) has decoded beyond its aim.
    rest: Vec<f32>,
    given: u64,
    damaged: u64,
    damaged_in_a_row: u32,
    ended: bool,
}

impl Audio {
    /// Looks at the beginning of a recording and gets ready to decode it.
    ///
    /// # Errors
    /// When it cannot be read, or is no sound that can be decoded.
    pub fn open(source: impl Read + Seek + Send + Sync + 'static) -> Result<Self, DecodeError> {
        let source = Source::new(source).map_err(DecodeError::Read)?;
        if source.is_empty() {
            return Err(DecodeError::Empty);
        }
        let failure = source.failure();
        let format = match probe(source.clone()) {
            Ok(format) => format,
            // The head may point to what is missing at the end. Read from front to back, the rest may do without.
            Err(error) => match source.forward_only().and_then(probe) {
                Ok(format) => format,
                Err(_) => {
                    return Err(failure
                        .take()
                        .map_or_else(|| not_opened(&error), DecodeError::Read));
                }
            },
        };
        let track = format.default_track(TrackType::Audio).ok_or(DecodeError::NoTrack)?;
        let (track, decoder, duration) = (track.id, decoder(track)?, duration(track));
        Ok(Self {
            format,
            failure,
            track,
            decoder,
            resampler: None,
            duration,
            interleaved: Vec::new(),
            mono: Vec::new(),
            rest: Vec::new(),
            given: 0,
            damaged: 0,
            damaged_in_a_row: 0,
            ended: false,
        })
    }

    /// How long the recording says it is. A browser's recordings do not say.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        self.duration
    }

    /// How long the recording is by its packets, none of which is decoded: for those that do not say it. It is read to the end,
    /// or to where it is damaged.
    #[must_use]
    pub fn measure(mut self) -> Option<Duration> {
        let base = self.format.default_track(TrackType::Audio)?.time_base?;
        let (mut begin, mut end) = (None, None);
        while let Ok(Some(packet)) = self.packet() {
            begin = begin.or(Some(packet.pts));
            end = end.max(Some(packet.pts.saturating_add(packet.dur)));
        }
        length(base, end?.duration_from(begin?)?)
    }

    /// The number of samples given or skipped so far: where the next block begins.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.given
    }

    /// How many damaged packets were replaced by silence so far.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Goes forward, so that the next block begins with this sample, or to the end if there is no such sample.
    ///
    /// Everything before is decoded and dropped: containers seek to a packet at best and codecs have a memory, while these
    /// samples are exactly those that reading from the beginning gives. An hour takes some seconds.
    ///
    /// # Errors
    /// As reading does.
    pub fn skip_to(&mut self, sample: u64) -> Result<(), DecodeError> {
        while self.given < sample {
            let Some(mut block) = self.next().transpose()? else { break };
            if let Some(beyond) = self.given.checked_sub(sample)
                && let Ok(beyond) = usize::try_from(beyond)
            {
                self.rest = block.split_off(block.len() - beyond);
                self.given = sample;
            }
        }
        Ok(())
    }

    /// Decodes one packet. Often it gives no sound yet.
    fn advance(&mut self) -> Result<Vec<f32>, DecodeError> {
        let Some(packet) = self.packet()? else {
            self.ended = true;
            let last = self.resampler.as_mut().map(Resampler::finish).unwrap_or_default();
            return if self.given == 0 && last.is_empty() { Err(self.nothing()) } else { Ok(last) };
        };
        match self.decode(&packet) {
            Ok(Some(rate)) => self.resample(rate),
            Ok(None) => Ok(Vec::new()),
            Err(Error::Unsupported(what)) => Err(unknown(what)),
            // The packet is in memory: no disk has failed, even if the decoder calls its end one of its input.
            Err(error) => self.silence_for(&error),
        }
    }

    /// Why there was no sound. A CAF without the list of its packets, where these are not all alike, looks as if it had none.
    fn nothing(&self) -> DecodeError {
        let length = self.format.default_track(TrackType::Audio).and_then(|track| track.num_frames);
        match length {
            None if self.format.format_info().format == FORMAT_ID_CAF => {
                DecodeError::NoIndex("CAF")
            }
            _ => DecodeError::Empty,
        }
    }

    /// The next packet of the track, none at the end of the file.
    fn packet(&mut self) -> Result<Option<Packet>, DecodeError> {
        let mut lost = 0;
        loop {
            match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => return Ok(Some(packet)),
                Ok(Some(_)) => {}
                Ok(None) => return self.end(),
                // A recording that was cut off is as good as one that ends there.
                Err(Error::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return self.end();
                }
                Err(Error::IoError(error)) => return Err(DecodeError::Read(error)),
                // Another recording follows in the same file, with a track of its own.
                Err(Error::ResetRequired) => self.change_track()?,
                Err(error) => {
                    lost += 1;
                    self.damaged += 1;
                    if lost == LOST_IN_A_ROW {
                        return Err(self.damaged_by(&error));
                    }
                }
            }
        }
    }

    /// The end, unless the file only seems to end because it could not be read.
    fn end<T>(&self) -> Result<Option<T>, DecodeError> {
        self.failure.take().map_or(Ok(None), |failed| Err(DecodeError::Read(failed)))
    }

    fn change_track(&mut self) -> Result<(), DecodeError> {
        let track = self.format.default_track(TrackType::Audio).ok_or(DecodeError::NoTrack)?;
        self.track = track.id;
        self.decoder = decoder(track)?;
        Ok(())
    }

    /// Decodes a packet into `mono`, and says at which rate; none when the packet gives nothing yet.
    fn decode(&mut self, packet: &Packet) -> Result<Option<u32>, Error> {
        let decoded = self.decoder.decode(packet)?;
        let (frames, rate) = (decoded.frames(), decoded.spec().rate());
        let channels = decoded.spec().channels().count();
        self.damaged_in_a_row = 0;
        if frames == 0 || channels == 0 {
            return Ok(None);
        }
        self.interleaved.resize(frames * channels, 0.0);
        decoded.copy_to_slice_interleaved(&mut self.interleaved);
        mix(&self.interleaved, channels, &mut self.mono);
        Ok(Some(rate))
    }

    /// Instead of a packet that does not decode: silence as long as the packet before, or an end to it.
    fn silence_for(&mut self, error: &Error) -> Result<Vec<f32>, DecodeError> {
        self.damaged += 1;
        self.damaged_in_a_row += 1;
        if self.damaged_in_a_row == DAMAGED_IN_A_ROW {
            return Err(self.damaged_by(error));
        }
        self.mono.fill(0.0);
        match &self.resampler {
            Some(resampler) => self.resample(resampler.rate()),
            None => Ok(Vec::new()),
        }
    }

    fn resample(&mut self, rate: u32) -> Result<Vec<f32>, DecodeError> {
        if !RATES.contains(&rate) {
            let problem = format!("it claims {rate} samples per second");
            return Err(DecodeError::Damaged { problem, seconds: self.seconds() });
        }
        let mut sound = Vec::new();
        let resampler = match &mut self.resampler {
            Some(resampler) if resampler.rate() == rate => resampler,
            other => {
                if let Some(finished) = other {
                    sound = finished.finish();
                }
                other.insert(Resampler::new(rate))
            }
        };
        resampler.push(&self.mono, &mut sound);
        Ok(sound)
    }

    fn damaged_by(&self, error: &Error) -> DecodeError {
        DecodeError::Damaged { problem: error.to_string(), seconds: self.seconds() }
    }

    fn seconds(&self) -> u64 {
        self.given / u64::from(crate::RATE)
    }
}

impl Iterator for Audio {
    type Item = Result<Vec<f32>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut block = std::mem::take(&mut self.rest);
        while block.is_empty() {
            if self.ended {
                return None;
            }
            block = match self.advance() {
                Ok(block) => block,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            };
        }
        self.given += block.len() as u64;
        Some(Ok(block))
    }
}

/// Finds out what the file is.
fn probe<S>(source: Source<S>) -> Result<Box<dyn FormatReader>, Error>
where
    S: Read + Seek + Send + Sync + 'static,
{
    let stream = MediaSourceStream::new(Box::new(source), MediaSourceStreamOptions::default());
    let probe = symphonia::default::get_probe();
    probe.probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default())
}

/// How much of a channel's power the mean of all has at least, unless they cancel each other out: 30 dB less.
const CANCELLED: f32 = 1e-3;

/// The mean of all channels; or the first where they cancel each other out, as those of a wrongly wired line do. A float file may hold
/// anything; what is no number is silence.
fn mix(interleaved: &[f32], channels: usize, mono: &mut Vec<f32>) {
    let number = |sample: f32| if sample.is_finite() { sample } else { 0.0 };
    mono.clear();
    #[allow(clippy::cast_precision_loss, reason = "a few channels")]
    let share = 1.0 / channels as f32;
    let frames = interleaved.chunks_exact(channels);
    mono.extend(frames.clone().map(|frame| number(frame.iter().sum::<f32>() * share)));
    let power = |samples: &mut dyn Iterator<Item = f32>| samples.map(|it| it * it).sum::<f32>();
    let first = frames.map(|frame| number(frame[0]));
    if power(&mut mono.iter().copied()) < CANCELLED * power(&mut first.clone()) {
        mono.clear();
        mono.extend(first);
    }
}

fn decoder(track: &Track) -> Result<Box<dyn AudioDecoder>, DecodeError> {
    let parameters = track.codec_params.as_ref().and_then(|parameters| parameters.audio());
    let parameters =
        parameters.ok_or_else(|| unknown("the track does not say how it is encoded"))?;
    CODECS
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|error| not_decoded(parameters, &error))
}

fn duration(track: &Track) -> Option<Duration> {
    length(track.time_base?, track.duration?)
}

fn length(base: TimeBase, duration: units::Duration) -> Option<Duration> {
    let length = base.calc_duration(duration)?;
    Duration::try_from_secs_f64(length.as_secs_f64()).ok().filter(|length| !length.is_zero())
}

fn not_opened(error: &Error) -> DecodeError {
    match error {
        Error::Unsupported(problem) if problem.contains("missing moov") => {
            DecodeError::NoIndex("MP4")
        }
        Error::DecodeError(problem) | Error::LimitError(problem) => {
            DecodeError::Damaged { problem: (*problem).to_owned(), seconds: 0 }
        }
        Error::Unsupported(problem) if problem.contains("missing") => {
            DecodeError::Damaged { problem: (*problem).to_owned(), seconds: 0 }
        }
        // The container is known then, and something about it is not.
        Error::Unsupported(what) if !what.contains("probe") => unknown(what),
        _ => DecodeError::NotSound,
    }
}

fn unknown(problem: &str) -> DecodeError {
    DecodeError::Unknown { problem: problem.to_owned() }
}

fn not_decoded(parameters: &AudioCodecParameters, error: &Error) -> DecodeError {
    let channels = parameters.channels.as_ref().map_or(0, |channels| channels.count());
    let what = match parameters.codec {
        CODEC_ID_AAC if is_high_efficiency(parameters.extra_data.as_deref()) => "HE-AAC".to_owned(),
        CODEC_ID_AAC if channels > 2 => format!("AAC with {channels} channels"),
        CODEC_ID_OPUS if channels > 2 => format!("Opus with {channels} channels"),
        CODEC_ID_AC3 | CODEC_ID_EAC3 => "Dolby Digital".to_owned(),
        _ => return unknown(&error.to_string()),
    };
    DecodeError::Unsupported(what)
}

/// Whether an AAC stream's own description begins with the object type of spectral band replication (5) or of parametric
/// stereo (29).
fn is_high_efficiency(description: Option<&[u8]>) -> bool {
    description.and_then(<[u8]>::first).is_some_and(|first| matches!(first >> 3, 5 | 29))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_mixed_unless_they_cancel_each_other_out() {
        let check = |interleaved: &[f32], expected: &[f32]| {
            let mut mono = Vec::new();
            mix(interleaved, 2, &mut mono);
            assert_eq!(mono, expected, "{interleaved:?}");
        };
        check(&[0.5, 0.25, -0.5, -0.25], &[0.375, -0.375]);
        check(&[0.0, 0.5, 0.0, -0.5], &[0.25, -0.25]);
        check(&[0.5, -0.5, -0.25, 0.25], &[0.5, -0.25]);
        check(&[0.5, -0.499, -0.25, 0.249], &[0.5, -0.25]);
        check(&[f32::NAN, 0.5, 0.25, 0.25], &[0.0, 0.25]);
        check(&[0.0; 4], &[0.0; 2]);
    }
}
