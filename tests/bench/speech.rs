//! What speech costs: decoding and transcribing a meeting, in processor seconds per second of sound, beside faster-whisper
//! with the same weights, both with one thread, in turns.
//!
//! faster-whisper is looked for in the Python that `CRM_BENCH_PYTHON` names, otherwise in `python3`.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use speech::decode::Audio;
use speech::transcribe::{Control, Model, Options};

use crate::table::{Table, Target, median};
use crate::usage;

/// How often each is measured.
const ROUNDS: usize = 3;
/// The sound of so much of a recording is decoded, in seconds.
const DECODED: usize = 7200;

const MEETING: &str = include_str!("meeting.txt");

/// The names in it, as its note would have them. The tests of `speech` have a text and names of their own, which no other crate sees.
const NAMES: [&str; 7] = [
    "Profuturo",
    "Stratum",
    "Rosa Delgado",
    "Martin Aguirre",
    "Afore Coppel",
    "Ignacio Barrera",
    "Brookhaven",
];

/// Who speaks it: from voice to voice as much varies by chance as by anything else.
const VOICES: [&str; 6] = ["en-us", "en-us+f3", "en-us+m3", "en-gb", "en-gb+f4", "en-gb-scotland"];

/// Processor seconds, and what was understood.
struct Heard {
    seconds: f64,
    text: String,
}

pub async fn run() -> anyhow::Result<()> {
    tokio::task::spawn_blocking(measure).await?
}

fn measure() -> anyhow::Result<()> {
    let mut table = Table::new("speech: CPU seconds per second of sound");
    let folder = tempfile::tempdir()?;
    let spoken = folder.path().join("meeting.wav");
    if let Err(error) = speak(VOICES[0], &spoken) {
        table.note(format!("nothing was measured: {error:#}"));
        table.print();
        return Ok(());
    }
    decode(&mut table, folder.path(), &spoken)?;
    match model() {
        Some(path) => {
            transcribe(&mut table, folder.path(), &spoken, &path)?;
            understand(&mut table, folder.path(), &Model::open(&path)?)?;
        }
        None => table.note("nothing was transcribed: Whisper base is not on this machine (`crm models get speech`)"),
    }
    table.print();
    Ok(())
}

fn speak(voice: &str, path: &Path) -> anyhow::Result<String> {
    let mut speaking = Command::new("espeak-ng");
    run_program(speaking.args(["-v", voice, "-s", "150", "-w"]).arg(path).arg(MEETING))
}

/// How many words are wrong, whoever speaks, and what names as a prompt change about that.
fn understand(table: &mut Table, folder: &Path, model: &Model) -> anyhow::Result<()> {
    let path = folder.join("voice.wav");
    let prompts = [("without names", String::new()), ("with its names", model.prompt(NAMES))];
    let mut rates: [Vec<f64>; 2] = Default::default();
    let mut longest = [0; 2];
    for voice in VOICES {
        speak(voice, &path)?;
        let samples = sound(&std::fs::read(&path)?)?;
        for (at, (_, prompt)) in prompts.iter().enumerate() {
            let options = Options { language: Some("en"), prompt, threads: 2 };
            let text = model.transcribe(&samples, &options, &Control::default())?;
            rates[at].push(error_rate(MEETING, &text.text()) * 100.0);
            let lengths = text.segments.iter().map(|segment| segment.end_ms - segment.start_ms);
            longest[at] = longest[at].max(lengths.max().unwrap_or(0));
        }
    }
    for (at, (name, _)) in prompts.iter().enumerate() {
        #[allow(clippy::cast_precision_loss, reason = "six")]
        let mean = rates[at].iter().sum::<f64>() / rates[at].len() as f64;
        table.figure(&format!("word errors over six voices, {name}"), format!("{mean:.1} %"));
        let of_each: Vec<String> = rates[at].iter().map(|rate| format!("{rate:.1}")).collect();
        let longest = longest[at] as f64 / 1000.0;
        table.note(format!("{name}: {} %; longest segment {longest:.1} s", of_each.join(", ")));
    }
    Ok(())
}

/// Two hours as a browser and as a phone record them.
fn decode(table: &mut Table, folder: &Path, spoken: &Path) -> anyhow::Result<()> {
    for (name, arguments, file) in [
        ("Opus in WebM", ["-c:a", "libopus"], "long.webm"),
        ("AAC in MP4", ["-c:a", "aac"], "long.m4a"),
    ] {
        let path = folder.join(file);
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args([
            "-v",
            "error",
            "-nostdin",
            "-stream_loop",
            "-1",
            "-t",
            &DECODED.to_string(),
            "-i",
        ]);
        run_program(ffmpeg.arg(spoken).args(arguments).arg(&path))?;
        let before = usage::of_this_thread()?;
        let mut samples = 0;
        for block in Audio::open(std::io::BufReader::new(std::fs::File::open(&path)?))? {
            samples += block?.len();
        }
        let spent = (usage::of_this_thread()? - before).as_secs_f64();
        table.figure(
            &format!("decode two hours: {name}"),
            format!("{:.5}", spent / seconds(samples)),
        );
        std::fs::remove_file(path)?;
    }
    let most = usage::memory(std::process::id(), "VmHWM")?;
    table.note(format!("Memory of this process after decoding: at most {most:.0} MiB."));
    Ok(())
}

fn transcribe(table: &mut Table, folder: &Path, spoken: &Path, model: &Path) -> anyhow::Result<()> {
    let recording = std::fs::read(spoken)?;
    let samples = sound(&recording)?;
    let length = seconds(samples.len());
    let raw = folder.join("meeting.f32");
    std::fs::write(
        &raw,
        samples.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>(),
    )?;
    let weights = model.with_file_name("faster-whisper-base");
    let model = Model::open(model)?;
    let mut all: [Vec<Heard>; 3] = Default::default();
    for _ in 0..ROUNDS {
        all[0].push(ours(&model, &recording)?);
        for (at, beams) in [(1, 1), (2, 5)] {
            match theirs(&weights, &raw, beams) {
                Ok(heard) => all[at].push(heard),
                Err(error) => {
                    table.figure(
                        "decode and transcribe",
                        format!("{:.4}", all[0][0].seconds / length),
                    );
                    table.note(format!("faster-whisper was not measured: {error:#}"));
                    return Ok(());
                }
            }
        }
    }
    let per_second =
        |heard: &[Heard]| median(&heard.iter().map(|it| it.seconds / length).collect::<Vec<_>>());
    let [own, greedy, beams] = all.each_ref().map(|heard| per_second(heard));
    for (name, theirs, target) in [
        ("decode and transcribe / faster-whisper, greedy as well", greedy, Target::AtMost(1.5)),
        ("decode and transcribe / faster-whisper, five beams", beams, Target::None),
    ] {
        table.row(name, format!("{own:.4}"), format!("{theirs:.4}"), own / theirs, target);
    }
    for (who, heard) in
        [("crm", &all[0]), ("faster-whisper", &all[1]), ("with five beams", &all[2])]
    {
        let rate = error_rate(MEETING, &heard[0].text);
        table.figure(&format!("word errors: {who}"), format!("{:.1} %", rate * 100.0));
    }
    let most = usage::memory(std::process::id(), "VmHWM")?;
    table.note(format!(
        "Whisper base, a meeting of {length:.0} s, one thread each, medians of {ROUNDS} in turns; faster-whisper computes \
         with int8. Memory at most {most:.0} MiB."
    ));
    table.note(format!("Built for: {}", speech::transcribe::built_for()));
    Ok(())
}

fn ours(model: &Model, recording: &[u8]) -> anyhow::Result<Heard> {
    let before = usage::of_process(std::process::id())?;
    let samples = sound(recording)?;
    let options = Options { language: Some("en"), prompt: "", threads: 1 };
    let text = model.transcribe(&samples, &options, &Control::default())?.text();
    let seconds = (usage::of_process(std::process::id())? - before).as_secs_f64();
    Ok(Heard { seconds, text })
}

fn theirs(weights: &Path, raw: &Path, beams: u32) -> anyhow::Result<Heard> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/speech_peer.py");
    let python = std::env::var_os("CRM_BENCH_PYTHON").unwrap_or_else(|| "python3".into());
    let mut python = Command::new(python);
    let said = run_program(python.arg(script).arg(weights).arg(raw).arg(beams.to_string()))?;
    let (seconds, text) = said.split_once('\n').context("it says nothing")?;
    Ok(Heard { seconds: seconds.trim().parse()?, text: text.to_owned() })
}

fn sound(recording: &[u8]) -> anyhow::Result<Vec<f32>> {
    let mut samples = Vec::new();
    for block in Audio::open(Cursor::new(recording.to_vec()))? {
        samples.extend(block?);
    }
    Ok(samples)
}

fn seconds(samples: usize) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "hours at most")]
    let samples = samples as f64;
    samples / f64::from(speech::RATE)
}

/// The weights, where `crm models get` or the tests put them.
fn model() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let folders = [
        std::env::var_os("CRM_TEST_MODELS").map(PathBuf::from),
        Some(PathBuf::from(format!(
            "/tmp/crm-test-models-{}",
            rustix::process::geteuid().as_raw()
        ))),
        Some(PathBuf::from("/var/lib/crm/models")),
        home.map(|home| home.join(".local/share/crm/models")),
    ];
    folders
        .into_iter()
        .flatten()
        .map(|folder| folder.join("ggml-base.bin"))
        .find(|path| path.exists())
}

/// Runs a program and gives what it prints.
fn run_program(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let run =
        command.stdin(Stdio::null()).output().with_context(|| format!("{name} is not there"))?;
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        bail!("{name}: {}", said.trim().lines().last().unwrap_or("it failed and says nothing"));
    }
    Ok(String::from_utf8_lossy(&run.stdout).into_owned())
}

/// Words to be replaced, added or removed, per word said.
fn error_rate(said: &str, heard: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        let text = text.to_lowercase().replace(|c: char| !c.is_alphanumeric() && c != '\'', " ");
        text.split_whitespace().map(|word| word.replace('\'', "")).collect()
    };
    let (said, heard) = (words(said), words(heard));
    let mut row: Vec<u32> = (0..).take(heard.len() + 1).collect();
    for a in &said {
        let mut diagonal = row[0];
        row[0] += 1;
        for (at, b) in heard.iter().enumerate() {
            let replaced = diagonal + u32::from(a != b);
            diagonal = row[at + 1];
            row[at + 1] = replaced.min(diagonal + 1).min(row[at] + 1);
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "some hundred words")]
    let words = said.len() as f64;
    f64::from(row[heard.len()]) / words
}
