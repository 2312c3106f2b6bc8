//! Two servers on one bucket: a sender whose connection to the first hangs goes on at the second.

use projections::uploads::{Announcement, Upload, UploadError};
use tokio::sync::Notify;

use super::*;

/// The two, and where they keep files.
struct Pair {
    api: Api,
    files: Files,
    first: Intake,
    second: Intake,
    _s3: S3,
}

impl Pair {
    async fn start() -> Self {
        let (api, s3) = (Api::new().await, S3::start().await);
        let files = s3.files("shared").await;
        let intake = || {
            let stop = CancellationToken::new();
            Intake::new(api.db.connections.clone(), files.clone(), 1 << 30, stop)
        };
        let (first, second) = (intake(), intake());
        Self { api, files, first, second, _s3: s3 }
    }

    async fn begun(&self, size: usize) -> Upload {
        let note = made_note(&self.api).await;
        let size = Some(size as u64);
        let announced = Announcement { size, ..Announcement::default() };
        self.first.begin(note, &announced, None).await.unwrap()
    }

    /// The second takes in what follows the first `offset` bytes.
    async fn goes_on(&self, upload: &Upload, offset: usize, bytes: &[u8]) {
        let body = futures::stream::iter([Ok::<_, std::io::Error>(bytes.to_vec().into())]);
        let taken = self.second.append(upload.id, offset as u64, body, None).await.unwrap();
        assert_eq!(taken.received(), (offset + bytes.len()) as u64);
    }

    /// The first has taken in these bytes and hears nothing more, until `meanwhile` is over: then it gives the sender up.
    async fn hangs(
        &self,
        upload: &Upload,
        offset: usize,
        bytes: &[u8],
        meanwhile: impl Future<Output = ()>,
    ) {
        let (taken_in, is_over) = (Notify::new(), Notify::new());
        let silence = async {
            taken_in.notify_one();
            is_over.notified().await;
            Err(std::io::Error::other("it hung up"))
        };
        let body = futures::stream::iter([Ok(bytes.to_vec().into())]);
        let body = futures::StreamExt::chain(body, futures::stream::once(silence));
        let hanging = self.first.append(upload.id, offset as u64, body, None);
        let other = async {
            taken_in.notified().await;
            meanwhile.await;
            is_over.notify_one();
        };
        let (late, ()) = tokio::join!(hanging, other);
        let late = late.unwrap_err();
        assert!(matches!(late, UploadError::Elsewhere(_)), "{late}");
    }

    /// It is whole, and all of it is stored.
    async fn assert_whole(&self, upload: &Upload, content: &[u8]) {
        let whole = self.second.finish(upload.id).await.unwrap();
        assert_eq!(whole.sha256, Some(hash(content)));
        let key = whole.key();
        let cipher = uploads::cipher(&self.api.db.connections, whole.note_id, &key).await.unwrap();
        assert_eq!(self.files.sha256(&key, cipher).await.unwrap(), hash(content));
    }
}

#[tokio::test]
async fn a_server_that_is_overtaken_puts_nothing_in_the_place_of_what_came_later() {
    let pair = Pair::start().await;
    let content = wav(5_000);
    let upload = pair.begun(content.len()).await;
    let meanwhile = pair.goes_on(&upload, 0, &content[..3_000]);
    pair.hangs(&upload, 0, &content[..1_000], meanwhile).await;
    pair.goes_on(&upload, 3_000, &content[3_000..]).await;
    pair.assert_whole(&upload, &content).await;

    // Likewise for what is enough for a part of the file in the bucket.
    let (content, start) = (wav(CHUNK + 3_000), CHUNK - 500);
    let upload = pair.begun(content.len()).await;
    pair.goes_on(&upload, 0, &content[..start]).await;
    let meanwhile = pair.goes_on(&upload, start, &content[start..start + 2_000]);
    pair.hangs(&upload, start, &content[start..start + 1_000], meanwhile).await;
    pair.goes_on(&upload, start + 2_000, &content[start + 2_000..]).await;
    pair.assert_whole(&upload, &content).await;
}

#[tokio::test]
async fn a_file_that_is_not_as_long_as_what_came_becomes_no_recording() {
    let pair = Pair::start().await;
    let content = wav(3_000);
    let upload = pair.begun(content.len()).await;
    pair.goes_on(&upload, 0, &content).await;
    let piece = format!("{}.pieces/{:016}-{:016}", upload.key(), 0, content.len());
    pair.files.store().put(&piece, content[..2_000].to_vec().into()).await.unwrap();
    let error = pair.second.finish(upload.id).await.unwrap_err();
    assert!(matches!(error, UploadError::Files(FileError::Damaged { .. })), "{error}");
}

#[tokio::test]
async fn of_one_request_that_two_servers_begin_at_once_one_is_the_first() {
    let pair = Pair::start().await;
    let note = made_note(&pair.api).await;
    let announced = Announcement { size: Some(1_000), ..Announcement::default() };
    for server in [&pair.first, &pair.second] {
        assert!(server.earlier("k1").await.unwrap().is_none());
    }
    pair.first.begin(note, &announced, Some("k1")).await.unwrap();
    let late = pair.second.begin(note, &announced, Some("k1")).await.unwrap_err();
    assert!(matches!(late, UploadError::Begun), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_that_comes_to_two_servers_at_once_is_one_recording() {
    let api = Api::new().await;
    let other = api::server::router(app(&api.db, &api.backend, 64 << 20));
    let note = made_note(&api).await;
    let content = wav(1_000);
    let send = async |router: &axum::Router| {
        let sending = request(Method::POST, &format!("/notes/{note}/recordings"));
        let sending = sending.header("idempotency-key", "k1").body(Body::from(content.clone()));
        ask(router, sending.unwrap()).await
    };
    // Both have looked before either begins.
    let mut holding = api.db.pool.begin().await.unwrap();
    let lock = "lock table upload in share row exclusive mode";
    sqlx::query(lock).execute(&mut *holding).await.unwrap();
    let releasing = async {
        let waits =
            "select count(*) from pg_locks where relation = 'upload'::regclass and not granted";
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(&api.db.pool).await.unwrap() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        holding.rollback().await.unwrap();
    };
    let (one, two, ()) = tokio::join!(send(&api.router), send(&other), releasing);
    assert!(one.status == 201 || two.status == 201, "{} {}", one.body, two.body);
    for answer in [&one, &two] {
        assert_ne!(answer.status, 500, "{}", answer.body);
    }
    assert_eq!(attached(&api).await, 1);
    // Whoever was told that the other was faster asks again.
    let again = send(&api.router).await;
    let first = if one.status == 201 { one } else { two };
    assert_eq!((again.status, again.body), (201, first.body));
}
