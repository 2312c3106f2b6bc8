//! What is plainly no recording is refused as soon as it is seen, and what is damaged is not handed out as if it were whole.

use tower::ServiceExt as _;

use super::*;

/// What people upload by mistake.
fn mistakes() -> Vec<(&'static str, Vec<u8>)> {
    let text = "Ana: Profuturo likes the fund.\r\nLuis: ¿Y las comisiones?\n".repeat(40);
    let utf16: Vec<u8> =
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let with = |head: &[u8]| [head, &noise(4_000, 3)].concat();
    vec![
        ("a text", text.clone().into_bytes()),
        ("a text", utf16),
        ("a web page", b"<!DOCTYPE html>\n<html><body>x</body></html>".to_vec()),
        ("a PDF", with(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")),
        ("a ZIP archive or an Office document", with(b"PK\x03\x04\x14\x00")),
        ("an image", with(b"\x89PNG\r\n\x1a\n")),
        ("an image", with(b"\xff\xd8\xff\xe0\x00\x10JFIF\0")),
        ("an image", with(b"GIF89a")),
        ("an image", with(b"RIFF\x24\x10\x00\x00WEBPVP8 ")),
        ("an image", with(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00")),
    ]
}

#[tokio::test]
async fn what_is_plainly_no_recording_is_refused_at_once() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let uri = format!("/notes/{note}/recordings");
    for (what, content) in mistakes() {
        let sent = request(Method::POST, &uri).body(Body::from(content.clone())).unwrap();
        let refused = ask(&api.router, sent).await;
        let detail = refused.body["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(refused.status, 415, "{what}: {}", refused.body);
        assert!(detail.starts_with(&format!("This is {what}, and no recording")), "{detail}");
        // In parts, long before all of it is there; and if its first part tells nothing, at the end.
        let length = (content.len() + 50_000_000).to_string();
        let place = begun(&api, note, &[("upload-length", &length)]).await;
        let refused = patch(&api, &place, 0, &[], &content).await;
        assert_eq!(refused.status, 415, "{what}");
        let gone = ask(&api.router, tus(Method::HEAD, &place, &[], Body::empty())).await;
        assert_eq!(gone.status, 404, "{what}");
        let length = content.len().to_string();
        let place = begun(&api, note, &[("upload-length", &length)]).await;
        assert_eq!(patch(&api, &place, 0, &[], &content[..1]).await.status, 204, "{what}");
        assert_eq!(patch(&api, &place, 1, &[], &content[1..]).await.status, 415, "{what}");
    }
    assert_eq!(attached(&api).await, 0);
    assert_eq!(recordings_in(&api.db.files()).await, 0, "nothing of it is kept");
}

#[tokio::test]
async fn whatever_could_be_a_recording_is_taken() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let raw: Vec<u8> = (0..4_000_i16).flat_map(|at| (at % 50 - 25).to_le_bytes()).collect();
    for content in
        [noise(5_000, 9), raw, vec![0; 5_000], wav(5_000), b"#!AMR\n\x3c\x91\x17\xbe\0".to_vec()]
    {
        let uri = format!("/notes/{note}/recordings");
        let sent = request(Method::POST, &uri).body(Body::from(content.clone())).unwrap();
        let taken = ask(&api.router, sent).await;
        assert_eq!(taken.status, 201, "{:?}: {}", content.get(..20), taken.body);
    }
}

#[tokio::test]
async fn a_damaged_recording_is_never_handed_out_as_if_it_were_whole() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let content = wav(3_000_000);
    let uri = format!("/notes/{note}/recordings");
    let sent = request(Method::POST, &uri).body(Body::from(content.clone())).unwrap();
    let recording = ask(&api.router, sent).await.body["id"].clone();
    let audio = format!("/recordings/{recording}/audio");
    let got = async |range: Option<&str>| {
        let mut asked = Request::get(&audio).header("host", "localhost");
        if let Some(range) = range {
            asked = asked.header("range", range);
        }
        let answer = api.router.clone().oneshot(asked.body(Body::empty()).unwrap()).await.unwrap();
        axum::body::to_bytes(answer.into_body(), usize::MAX).await
    };
    assert_eq!(hash(&got(None).await.unwrap()), hash(&content));
    let key = "select 'recordings/' || id from upload";
    let key: String = sqlx::query_scalar(key).fetch_one(&api.db.pool).await.unwrap();
    let file = api.db.dir.path().join(&key);
    let mut stored = std::fs::read(&file).unwrap();
    stored[1_000_000] ^= 1;
    std::fs::write(&file, stored).unwrap();
    assert!(got(None).await.is_err(), "it breaks off");
    assert!(got(Some("bytes=0-")).await.is_err(), "as players ask for it");
    // Of a part nobody can tell.
    assert_eq!(got(Some("bytes=0-99")).await.unwrap()[..], content[..100]);
}
