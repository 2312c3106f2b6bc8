//! Sound to test with, made on the spot: nothing is committed and nothing is downloaded.

use std::io::Cursor;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use speech::decode::{Audio, DecodeError};
use tempfile::TempPath;

/// A meeting with an LP, as it might be told. Few numbers, which can be written in many ways.
pub const MEETING: &str = "\
Good morning everybody and thank you for making the time. We are meeting with Profuturo to talk about the third \
infrastructure fund that Stratum is raising. Rosa Delgado from Profuturo opened by saying that the pension fund has a new \
mandate for private markets, and that the investment committee will meet again in October. They like the pipeline in Mexico \
and in Colombia, but they are worried about currency risk and about the fees during the investment period. Martin Aguirre \
explained that Stratum charges a lower management fee for large tickets, and that Afore Coppel has already signed. Rosa will \
introduce us to Ignacio Barrera, who leads due diligence at Profuturo. Please remind me to prepare a short note about the \
Brookhaven portfolio and about the exit of the toll road. Thank you all, and see you in the next meeting in Guadalajara.";

/// The names in it, as the note of the meeting would have them.
pub const NAMES: [&str; 7] = [
    "Profuturo",
    "Stratum",
    "Rosa Delgado",
    "Martin Aguirre",
    "Afore Coppel",
    "Ignacio Barrera",
    "Brookhaven",
];

/// Dry notes with names that nobody knows, in which Whisper is prone to repeat itself.
pub const COUNSEL: &str = "\
Marketing figures corrected. Orchard Lane Ventures. Awkward call. Our compliance desk found that the one-pager shows \
gross returns without net beside them with equal prominence, and mixes realised with unrealised in the headline. Under \
the marketing rule that is an offence, for them and for us. The page has gone to 140 people. We agreed on a corrected \
version with a covering note by tomorrow. The head of marketing, Trent Ibarra, argued that everyone does it. Everyone \
does not. I will not present them anywhere until the new one is signed off. Contract comments from counsel. Granite \
State Firefighters Fund. Nine pages back from their law firm. The hard points: no indemnity by a public body, state \
law and state courts, disclosure under the right-to-know statute must be permitted, sovereign immunity is reserved, \
and removal without cause by 75 percent after year two. The soft ones: annual meeting in person, notice of litigation \
within ten days. Northgate has given all of the hard points before, to another state, apart from removal, where it \
offers 80 percent after year three. Hank thinks the trustees will accept. Signing target 17 October. Waterfall and \
clawback. EPSV Lauburu. Itziar brought in a retired fund lawyer as adviser, a delight to talk to. He found that the \
giveback obligation of the sponsor is net of taxes and several, not joint, and that there is no escrow. In plain \
words: should early winners be paid out and later deals fail, the investors may never recover the excess.";

/// The meeting, spoken in American English: a wav file.
pub fn meeting() -> &'static [u8] {
    static SPOKEN: OnceLock<Vec<u8>> = OnceLock::new();
    SPOKEN.get_or_init(|| speak("en-us", MEETING))
}

/// Speech of about eight seconds: a wav file.
pub fn sentence() -> &'static [u8] {
    static SPOKEN: OnceLock<Vec<u8>> = OnceLock::new();
    SPOKEN.get_or_init(|| {
        speak(
            "en-us",
            "The investment committee will meet again in October. They like the pipeline.",
        )
    })
}

/// Text spoken by this voice of espeak-ng.
pub fn speak(voice: &str, text: &str) -> Vec<u8> {
    let mut command = Command::new("espeak-ng");
    command.args(["-v", voice, "-s", "150", "--stdout", text]);
    output(command)
}

/// The noise of a room at this level, in decibels below full scale.
pub fn noise(seconds: usize, level: f32) -> Vec<f32> {
    let mut command = ffmpeg();
    let source = format!("anoisesrc=d={seconds}:c=pink:r=16000:seed=7");
    command.args(["-f", "lavfi", "-i", &source, "-c:a", "pcm_s16le", "-f", "wav", "-"]);
    let mut noise = decoded(&output(command));
    let energy: f32 = noise.iter().map(|sample| sample * sample).sum();
    let factor = 10_f32.powf(level / 20.0) / (energy / noise.len() as f32).sqrt();
    noise.iter_mut().for_each(|sample| *sample *= factor);
    noise
}

/// An organ that trembles, as a waiting line has it.
pub fn music(seconds: usize) -> Vec<f32> {
    let tones = [(220, 4.0), (330, 3.0), (440, 5.5)];
    let mut command = ffmpeg();
    for (hertz, _) in tones {
        command.args(["-f", "lavfi", "-i", &format!("sine=f={hertz}:d={seconds}:r=16000")]);
    }
    let trembling =
        (0..).zip(tones).map(|(at, (_, times))| format!("[{at}]tremolo=f={times}[t{at}];"));
    let filter = trembling.collect::<String>() + "[t0][t1][t2]amix=inputs=3";
    command.args(["-filter_complex", &filter, "-c:a", "pcm_s16le", "-f", "wav", "-"]);
    decoded(&output(command))
}

/// Encodes a wav file by ffmpeg into a file with this ending.
pub fn encode(wav: &[u8], arguments: &[&str], ending: &str) -> Vec<u8> {
    let from = file(wav, "wav");
    let to = path(ending);
    let mut command = ffmpeg();
    command.arg("-i").arg(&from).args(arguments).arg(&to);
    output(command);
    std::fs::read(&to).expect("ffmpeg has written it")
}

/// ffmpeg, ready for inputs, codecs and a file that may exist.
pub fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y"]);
    command
}

/// Runs a program and gives what it prints.
pub fn output(mut command: Command) -> Vec<u8> {
    let run = command.stdin(Stdio::null()).output();
    let run = run.unwrap_or_else(|error| panic!("{command:?}: {error}: `make setup` installs it"));
    assert!(run.status.success(), "{command:?}: {}", String::from_utf8_lossy(&run.stderr));
    run.stdout
}

/// A file of its own, which goes with its path.
pub fn file(bytes: &[u8], ending: &str) -> TempPath {
    let path = path(ending);
    std::fs::write(&path, bytes).expect("there is room for a clip");
    path
}

/// The path of an empty file, which goes with it.
pub fn path(ending: &str) -> TempPath {
    let file = tempfile::Builder::new().suffix(&format!(".{ending}")).tempfile();
    file.expect("a file for a clip").into_temp_path()
}

/// All sound of a file, and how many packets of it were damaged.
pub fn sound(file: &[u8]) -> Result<(Vec<f32>, u64), DecodeError> {
    let mut audio = Audio::open(Cursor::new(file.to_vec()))?;
    let mut sound = Vec::new();
    for block in audio.by_ref() {
        sound.extend(block?);
    }
    Ok((sound, audio.damaged()))
}

/// The sound of a file that is in order.
pub fn decoded(file: &[u8]) -> Vec<f32> {
    sound(file).expect("the file is in order").0
}

/// Makes a WebM as a browser's MediaRecorder writes it, which cannot go back to fill in sizes: those of segment and clusters
/// are unknown.
pub fn with_unknown_sizes(webm: &[u8]) -> Vec<u8> {
    const SEGMENT: u32 = 0x1853_8067;
    const CLUSTER: u32 = 0x1f43_b675;
    let mut file = webm.to_vec();
    let (mut at, mut clusters) = (0, 0);
    while at < file.len() {
        let id_length = file[at].leading_zeros() as usize + 1;
        let id = file[at..at + id_length].iter().fold(0, |id, &byte| id << 8 | u32::from(byte));
        let size_at = at + id_length;
        let size_length = file[size_at].leading_zeros() as usize + 1;
        let first = usize::from(file[size_at]) & (0xff >> size_length);
        let size = file[size_at + 1..size_at + size_length]
            .iter()
            .fold(first, |size, &byte| size << 8 | usize::from(byte));
        at = size_at + size_length;
        if id == SEGMENT || id == CLUSTER {
            file[size_at] = 0xff >> (size_length - 1);
            file[size_at + 1..at].fill(0xff);
        }
        clusters += usize::from(id == CLUSTER);
        // What is in the segment is looked at, what is in the others is passed over.
        if id != SEGMENT {
            at += size;
        }
    }
    assert!(clusters > 1, "a recording of one cluster proves nothing");
    file
}
