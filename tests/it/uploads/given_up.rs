//! Uploads that are given up, by their sender or by time, while or after all of them has come.

use projections::log::APPEND_LOCK;
use projections::seal::Trust;
use projections::uploads::{Announcement, Upload};

use super::*;

async fn delete(api: &Api, place: &str) -> Answer {
    ask(&api.router, tus(Method::DELETE, place, &[], Body::empty())).await
}

/// An upload that lacks the second half of what it will be.
async fn half_sent(api: &Api, note: i64, content: &[u8]) -> String {
    let length = content.len().to_string();
    let place = begun(api, note, &[("upload-length", &length)]).await;
    let half = content.len() / 2;
    assert_eq!(patch(api, &place, 0, &[], &content[..half]).await.status, 204);
    place
}

/// Sends a recording in one request that breaks off after so many bytes.
async fn broken_off(api: &Api, note: i64, length: usize) -> Answer {
    let pieces = wav(length).chunks(1 << 20).map(|some| Ok(some.to_vec())).collect::<Vec<_>>();
    let gone = [Err(std::io::Error::other("the client is gone"))];
    let body = Body::from_stream(futures::stream::iter(pieces.into_iter().chain(gone)));
    let sending = request(Method::POST, &format!("/notes/{note}/recordings")).body(body);
    ask(&api.router, sending.unwrap()).await
}

#[tokio::test]
async fn of_a_recording_whose_only_request_breaks_off_nothing_is_left() {
    let s3 = S3::start().await;
    for bucket in [None, Some("uploads")] {
        let db = Database::new().await;
        let files = match bucket {
            None => db.files(),
            Some(bucket) => s3.files(bucket).await,
        };
        let backend = db.backend().await;
        let mut app = app(&db, &backend, 64 << 20);
        app.files = files.clone();
        let stop = CancellationToken::new();
        app.intake = Intake::new(db.connections.clone(), files.clone(), 1 << 30, stop);
        let api = Api { router: api::server::router(app), backend, db };
        let note = made_note(&api).await;
        for length in [1_000, 2 * CHUNK + 99] {
            let answer = broken_off(&api, note, length).await;
            assert!(answer.status >= 400 && answer.header("location").is_none());
            let left = sqlx::query_scalar::<_, i64>("select count(*) from upload");
            assert_eq!(left.fetch_one(&api.db.pool).await.unwrap(), 0, "{length}");
            assert_eq!(recordings_in(&files).await, 0, "{length}");
        }
    }
    let begun = s3.client().list_multipart_uploads().bucket("uploads").send().await.unwrap();
    assert_eq!(begun.uploads().len(), 0);
}

#[tokio::test]
async fn an_upload_is_given_up_or_becomes_a_recording_and_never_both() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let content = wav(1_000);
    let mut recordings = 0;
    for at in 0..40 {
        let place = half_sent(&api, note, &content).await;
        let last = patch(&api, &place, 500, &[], &content[500..]);
        let (last, given_up) = match at % 2 {
            0 => tokio::join!(last, delete(&api, &place)),
            _ => {
                let (given_up, last) = tokio::join!(delete(&api, &place), last);
                (last, given_up)
            }
        };
        let now = ask(&api.router, tus(Method::HEAD, &place, &[], Body::empty())).await;
        if given_up.status == 204 {
            assert_ne!(last.status, 204, "its sender was told that it is there");
            assert_eq!(now.status, 404);
        } else {
            assert_eq!((given_up.status, now.status), (409, 200), "{}", given_up.body);
            recordings += 1;
            let audio = format!("{}/audio", now.header("content-location").unwrap());
            let audio = api.get(&audio).await;
            assert_eq!((audio.status, audio.bytes), (200, content.clone().into()));
        }
        assert_eq!(attached(&api).await, recordings, "what the log has is what is there");
    }
}

#[tokio::test]
async fn an_upload_is_kept_while_its_note_is_told_of_it() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let content = wav(1_000);
    let place = half_sent(&api, note, &content).await;
    // Nothing can be recorded for as long as somebody else appends.
    let mut other = api.db.pool.acquire().await.unwrap().detach();
    let lock = sqlx::query("select pg_advisory_lock($1)").bind(APPEND_LOCK);
    lock.execute(&mut other).await.unwrap();
    let given_up = async {
        let deadline = Instant::now() + PATIENCE;
        let whole = "select exists (select from upload where sha256 is not null)";
        while !sqlx::query_scalar::<_, bool>(whole).fetch_one(&api.db.pool).await.unwrap() {
            assert!(Instant::now() < deadline, "it comes wholly in time");
        }
        let given_up = delete(&api, &place).await;
        drop(other);
        given_up
    };
    let (last, given_up) = tokio::join!(patch(&api, &place, 500, &[], &content[500..]), given_up);
    assert_eq!((last.status, given_up.status), (204, 409), "{}", given_up.body);
    assert!(given_up.body["detail"].as_str().unwrap().starts_with("all of it has come"));
    let audio = api.get(&format!("{}/audio", last.header("content-location").unwrap())).await;
    assert_eq!(audio.status, 200);
}

/// Brings an upload to where a kill and a week without any server leave it.
async fn left_for_a_week(api: &Api, place: &str) {
    let left = "update upload set attached_at = null, expires_at = now() - interval '1 day' where id = $1::uuid";
    let id = place.rsplit('/').next().unwrap();
    let done = sqlx::query(left).bind(id).execute(&api.db.pool).await.unwrap();
    assert_eq!(done.rows_affected(), 1);
}

async fn waiting(api: &Api) -> Vec<Upload> {
    uploads::unattached(&mut api.db.pool.acquire().await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn what_an_event_names_is_kept_however_long_no_server_noted_it() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let content = wav(1_000);
    let place = half_sent(&api, note, &content).await;
    let last = patch(&api, &place, 500, &[], &content[500..]).await;
    left_for_a_week(&api, &place).await;
    assert_eq!(waiting(&api).await.len(), 1, "the next server attaches it");
    let files = api.db.files();
    for dry_run in [true, false] {
        let found = garbage::collect(
            &api.db.connections,
            &files,
            &Trust::default(),
            Duration::ZERO,
            dry_run,
        )
        .await;
        assert_eq!(found.unwrap(), Garbage::default());
    }
    assert!(waiting(&api).await.is_empty(), "it is noted now");
    let audio = api.get(&format!("{}/audio", last.header("content-location").unwrap())).await;
    assert_eq!((audio.status, audio.bytes), (200, content.into()));
    assert_eq!(stands(&api, &place).await, 1_000);
}

#[tokio::test]
async fn what_no_note_took_in_time_is_forgotten_first_and_its_file_removed_later() {
    let api = Api::new().await;
    let note = made_note(&api).await;
    let files = api.db.files();
    let stop = CancellationToken::new();
    let intake = Intake::new(api.db.connections.clone(), files.clone(), 1 << 30, stop);
    let announced = Announcement { size: Some(1_000), ..Announcement::default() };
    let upload = intake.begin(note, &announced, None).await.unwrap();
    let body = futures::stream::iter([Ok::<_, std::io::Error>(wav(1_000).into())]);
    intake.append(upload.id, 0, body, None).await.unwrap();
    intake.finish(upload.id).await.unwrap();
    left_for_a_week(&api, &format!("/uploads/{}", upload.id)).await;
    let collect = async || {
        let found =
            garbage::collect(&api.db.connections, &files, &Trust::default(), Duration::ZERO, false)
                .await;
        found.unwrap()
    };
    assert_eq!(collect().await, Garbage { uploads: 1, ..Garbage::default() });
    assert_eq!(recordings_in(&files).await, 1, "the event that names it may be on its way");
    assert!(waiting(&api).await.is_empty());
    assert_eq!(collect().await, Garbage { recordings: 1, bytes: 1_000, ..Garbage::default() });
    assert_eq!(recordings_in(&files).await, 0);
}
