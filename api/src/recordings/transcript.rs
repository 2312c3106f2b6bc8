//! Transcripts, in the form that is asked for.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use domain::note::{Correction, Line, MarkKind, Transcript, is_told};
use projections::read::StoredRecording;
use serde_json::{Value, json};
use speech::formats::{self, Cue};

use super::shown::seconds;
use crate::answers::disposition;
use crate::json::Json as Sent;
use crate::problem::{Fault, Problem};

/// A form of a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Segments with all that is known of them.
    Json,
    /// WebVTT.
    Vtt,
    /// SubRip.
    Subrip,
    /// Paragraphs for people.
    Plain,
}

/// How long a segment may be, in characters.
const LONGEST: usize = 10_000;

impl Format {
    /// The form that a parameter names, else the first that the client accepts, else JSON.
    ///
    /// # Errors
    /// [`Problem::Parameter`] when the parameter names none.
    pub fn wanted(parameter: Option<&str>, headers: &HeaderMap) -> Result<Self, Problem> {
        match parameter {
            Some("json") => Ok(Format::Json),
            Some("vtt") => Ok(Format::Vtt),
            Some("srt") => Ok(Format::Subrip),
            Some("txt") => Ok(Format::Plain),
            Some(other) => Err(Problem::Parameter(format!(
                "there is no format {other:?}: ask for json, vtt, srt or txt"
            ))),
            None => Ok(Self::accepted(headers)),
        }
    }

    fn accepted(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let types = accept.unwrap_or_default().split(',');
        let mut essences = types.map(|it| it.split(';').next().unwrap_or_default().trim());
        let known = |essence: &str| match essence {
            "application/json" | "*/*" | "application/*" => Some(Format::Json),
            "text/vtt" => Some(Format::Vtt),
            "application/x-subrip" => Some(Format::Subrip),
            "text/plain" | "text/*" => Some(Format::Plain),
            _ => None,
        };
        essences.find_map(known).unwrap_or(Format::Json)
    }

    /// What the name of a file in this form ends with.
    fn ending(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Vtt => "vtt",
            Format::Subrip => "srt",
            Format::Plain => "txt",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Vtt => "text/vtt; charset=utf-8",
            Format::Subrip => "application/x-subrip; charset=utf-8",
            Format::Plain => "text/plain; charset=utf-8",
        }
    }
}

/// The transcript as people corrected it, under a name that tells of which meeting it is.
///
/// # Errors
/// [`Problem::NoRecording`] when there is no transcript yet.
pub fn answer(stored: &StoredRecording, note: &Value, format: Format) -> Result<Response, Problem> {
    let mut answer = content(stored, format)?;
    let name = format!("{}.{}", saved_as(stored, note), format.ending());
    if let Ok(disposition) = HeaderValue::from_str(&disposition("inline", &name)) {
        answer.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(answer)
}

/// What a file with the transcript is called: when the meeting was, which it was, and which recording of it this is.
fn saved_as(stored: &StoredRecording, note: &Value) -> String {
    /// No file system has longer names.
    const LONGEST: usize = 100;
    let text = |field: &str| note[field].as_str().map(str::trim).unwrap_or_default();
    let day: String = text("date").chars().take(10).collect();
    // Neither slashes nor what else some system gives a meaning.
    let plain = |it: char| match it {
        it if it.is_control() || "/\\:*?\"<>|".contains(it) => '_',
        it => it,
    };
    let name: String = text("name").chars().take(LONGEST).map(plain).collect();
    let recording = format!("recording {}", stored.id);
    [day, name, recording].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn content(stored: &StoredRecording, format: Format) -> Result<Response, Problem> {
    let Some(transcript) = &stored.recording.transcript else {
        return Err(Problem::NoRecording(domain::Refusal::NotTranscribed.to_string()));
    };
    let lines = stored.recording.lines();
    // A hole is never silent: what could not be transcribed, or understood, is a line of its own, unless a person wrote what is said
    // there.
    let hole = |start_ms, end_ms, text| Line { start_ms, end_ms, text, confidence: None };
    let gaps = transcript
        .gaps
        .iter()
        .map(|gap| hole(gap.start_ms, gap.end_ms, format!("[not transcribed: {}]", gap.reason)));
    let wordless = transcript.marks.iter().filter(|mark| mark.kind == MarkKind::NoWords);
    let wordless =
        wordless.map(|mark| hole(mark.start_ms, mark.end_ms, "[no word understood]".to_owned()));
    let holes: Vec<Line> =
        gaps.chain(wordless).filter(|hole| !is_told(&lines, hole.start_ms, hole.end_ms)).collect();
    let mut all: Vec<Line> = lines.into_iter().chain(holes).collect();
    all.retain(|line| !line.text.trim().is_empty());
    all.sort_by_key(|line| line.start_ms);
    let cues = all.iter().map(|line| Cue {
        start_ms: line.start_ms,
        end_ms: line.end_ms,
        text: &line.text,
    });
    let text = match format {
        Format::Json => return Ok(Json(to_json(stored)).into_response()),
        Format::Vtt => formats::vtt(cues),
        Format::Subrip => formats::subrip(cues),
        Format::Plain => formats::plain(cues),
    };
    let media_type = HeaderValue::from_static(format.media_type());
    Ok(([(header::CONTENT_TYPE, media_type)], text).into_response())
}

/// Its segments with all that is known of them.
pub fn to_json(stored: &StoredRecording) -> Value {
    let transcript = stored.recording.transcript.as_ref();
    let lines = stored.recording.lines();
    let segments = lines.iter().map(|line| {
        json!({"start": seconds(line.start_ms), "end": seconds(line.end_ms), "text": line.text,
            "confidence": line.confidence.map(|it| f64::from(it) / 100.0),
            "corrected": line.is_corrected()})
    });
    let gaps = transcript.into_iter().flat_map(|it| &it.gaps).map(|gap| {
        json!({"start": seconds(gap.start_ms), "end": seconds(gap.end_ms), "reason": gap.reason})
    });
    let marks = transcript.into_iter().flat_map(Transcript::marks_as_one).map(|mark| {
        let kind = match mark.kind {
            MarkKind::Silence => "silence",
            MarkKind::Repetition => "repetition",
            MarkKind::NoWords => "no_words",
        };
        json!({"start": seconds(mark.start_ms), "end": seconds(mark.end_ms), "kind": kind})
    });
    json!({"recording_id": stored.id, "note_id": stored.note,
        "language": transcript.map(|it| &it.language), "model": transcript.map(|it| &it.model),
        "duration": transcript.map(|it| seconds(it.duration_ms)),
        "segments": segments.collect::<Vec<_>>(), "gaps": gaps.collect::<Vec<_>>(),
        "marks": marks.collect::<Vec<_>>()})
}

/// The corrections in a body: `{"segments": [{"start", "end", "text"}]}`, each naming a segment by its times.
///
/// # Errors
/// [`Problem::Invalid`] that names what is wrong with which.
pub fn corrections(members: Vec<(String, Sent)>) -> Result<Vec<Correction>, Problem> {
    let segments = members.into_iter().find(|(name, _)| name == "segments");
    let Some((_, Sent::List(segments))) = segments else {
        let fault = Fault::field("segments", "list_type", "Input should be a valid list");
        return Err(Problem::invalid(fault));
    };
    let (mut corrections, mut faults) = (Vec::new(), Vec::new());
    for (at, segment) in segments.into_iter().enumerate() {
        match correction(segment) {
            Ok(correction) => corrections.push(correction),
            Err((field, message)) => faults.push(Fault::new(
                "segment",
                ["body".into(), "segments".into(), at.into(), field.into()],
                message,
            )),
        }
    }
    if faults.is_empty() { Ok(corrections) } else { Err(Problem::Invalid(faults)) }
}

/// A correction, or which field is wrong and how.
fn correction(segment: Sent) -> Result<Correction, (&'static str, String)> {
    let members = segment.into_members().unwrap_or_default();
    let find = |name: &str| members.iter().find(|(it, _)| it == name).map(|(_, value)| value);
    let time = |name: &'static str| match find(name) {
        Some(Sent::Number(spelling)) => milliseconds(spelling)
            .ok_or_else(|| (name, "Input should be a time in seconds".to_owned())),
        _ => Err((name, "Input should be a time in seconds".to_owned())),
    };
    let text = match find("text") {
        Some(Sent::Text(text)) if text.contains('\0') => {
            return Err(("text", "Text must not contain null characters".to_owned()));
        }
        Some(Sent::Text(text)) if text.chars().count() > LONGEST => {
            return Err(("text", format!("Text should have at most {LONGEST} characters")));
        }
        Some(Sent::Text(text)) => Some(text.trim().to_owned()),
        Some(Sent::Null) => None,
        _ => return Err(("text", "Input should be a text, or null to go back".to_owned())),
    };
    Ok(Correction { start_ms: time("start")?, end_ms: time("end")?, text })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked before")]
fn milliseconds(spelling: &str) -> Option<u64> {
    let seconds: f64 = spelling.parse().ok()?;
    // Longer than any recording, and exact in a float.
    (0.0..1e9).contains(&seconds).then(|| (seconds * 1000.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_what_the_parameter_or_else_the_client_asks_for() {
        let check = |parameter: Option<&str>, accept: &str, expected: Format| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(Format::wanted(parameter, &headers).unwrap(), expected, "{accept}");
        };
        check(None, "*/*", Format::Json);
        check(None, "text/vtt", Format::Vtt);
        check(None, "text/html, application/x-subrip;q=0.9, */*", Format::Subrip);
        check(None, "text/plain;charset=utf-8", Format::Plain);
        check(None, "image/png", Format::Json);
        check(Some("txt"), "text/vtt", Format::Plain);
        assert!(Format::wanted(Some("docx"), &HeaderMap::new()).is_err());
    }

    fn sent(text: &str) -> Result<Vec<Correction>, Problem> {
        corrections(crate::json::parse(text).unwrap().into_members().unwrap())
    }

    #[test]
    fn a_correction_names_a_segment_by_its_times_in_seconds() {
        let read = sent(
            r#"{"segments": [{"start": 1.2, "end": 3, "text": " Hola "},
            {"start": 3, "end": 4.001, "text": null}]}"#,
        );
        let expected = vec![
            Correction { start_ms: 1200, end_ms: 3000, text: Some("Hola".into()) },
            Correction { start_ms: 3000, end_ms: 4001, text: None },
        ];
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn what_is_no_correction_is_refused_by_name() {
        for text in [
            r#"{}"#,
            r#"{"segments": "x"}"#,
            r#"{"segments": [7]}"#,
            r#"{"segments": [{"start": 1, "end": 2}]}"#,
            r#"{"segments": [{"start": -1, "end": 2, "text": "x"}]}"#,
            r#"{"segments": [{"start": NaN, "end": 2, "text": "x"}]}"#,
            r#"{"segments": [{"start": "1", "end": 2, "text": "x"}]}"#,
            "{\"segments\": [{\"start\": 1, \"end\": 2, \"text\": \"a\\u0000\"}]}",
        ] {
            assert!(matches!(sent(text), Err(Problem::Invalid(_))), "{text}");
        }
    }
}
