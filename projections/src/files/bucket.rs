//! Files in a bucket of S3, or of a server that speaks as S3 does.
//!
//! S3 appends to nothing: a file that grows is a multipart upload, whose parts but the last have at least 5 MiB. What is
//! shorter waits as pieces, small objects beside the key, until there is enough for a part.

mod failure;
mod lock;
mod pace;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient,
    StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    CompletedMultipartUpload, CompletedPart, Delete, Object, ObjectIdentifier,
};
use aws_smithy_http_client::{Builder, tls};
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};

use self::failure::{failure, is_beyond, is_missing};
pub use self::lock::{Lock, LockError, LockMode};
use self::pace::Paced;
use super::{CHUNK, Content, Facts, FileError, Growth, Shown, Store, check_key, gather};

/// The most pieces that wait beside a key; then they are put together.
const MOST_PIECES: usize = 16;

/// Follows the key of a growing file in those of its pieces.
const PIECES: &str = ".pieces/";

/// The key of what is never stored: it only shows whether anything could be.
const PROBE: &str = "recordings/crm-probe";

/// Which bucket, and how to get there.
#[derive(Clone, Debug)]
pub struct BucketOptions {
    /// Its name.
    pub name: String,
    /// Where it is; `None`: as AWS's tools find it.
    pub region: Option<String>,
    /// An access key and its secret; `None`: as AWS's tools find them.
    pub keys: Option<(String, String)>,
    /// What goes with these keys if they hold for some hours only.
    pub session: Option<String>,
    /// The server, if it is not Amazon's; buckets are then parts of its paths.
    pub endpoint: Option<String>,
    /// How long to wait for a sign of life; then it is asked again, twice.
    pub patience: Duration,
}

impl BucketOptions {
    /// A bucket at Amazon, with what AWS's tools find.
    pub fn new(name: impl Into<String>) -> Self {
        let patience = Duration::from_secs(20);
        Self {
            name: name.into(),
            region: None,
            keys: None,
            session: None,
            endpoint: None,
            patience,
        }
    }
}

/// A bucket of files by key.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: Client,
    /// Waits as long as anybody here does: to put parts together may take minutes, of which no server says anything.
    patient: Client,
    connector: SharedHttpClient,
    name: String,
    /// What the server is called when it cannot be reached.
    server: String,
    patience: Duration,
}

impl Bucket {
    /// Finds credentials and region; the bucket itself is not asked yet.
    pub async fn open(options: &BucketOptions) -> Self {
        let patience = options.patience;
        let connector = Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(Paced { client: connector.clone(), patience, again: true })
            .retry_config(RetryConfig::standard().with_max_attempts(3))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(patience.min(Duration::from_secs(5)))
                    .build(),
            )
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled().grace_period(patience).build(),
            );
        let anywhere = options.endpoint.as_ref().map(|_| "us-east-1".to_owned());
        if let Some(region) = options.region.clone().or(anywhere) {
            loader = loader.region(Region::new(region));
        }
        if let Some((id, secret)) = &options.keys {
            let session = options.session.clone();
            let keys = Credentials::new(id, secret, session, None, "settings");
            loader = loader.credentials_provider(keys);
        }
        let shared = loader.load().await;
        // Others than Amazon need not know its checksums; what is sent is signed with its hash as it is.
        let mut config = aws_sdk_s3::config::Builder::from(&shared)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &options.endpoint {
            config = config.endpoint_url(endpoint).force_path_style(true);
        }
        let server = match (&options.endpoint, shared.endpoint_url(), shared.region()) {
            (Some(endpoint), ..) => format!("the S3 server {endpoint}"),
            (None, Some(endpoint), _) => format!("the S3 server {endpoint}"),
            (None, None, Some(region)) => format!("Amazon S3 in {region}"),
            (None, None, None) => "Amazon S3".to_owned(),
        };
        let client = Client::from_conf(config.build());
        let name = options.name.clone();
        Self { patient: client.clone(), client, connector, name, server, patience }
    }

    /// What a failed request about this key means.
    fn failure<E>(&self, error: SdkError<E, HttpResponse>, key: &str) -> FileError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        failure(error, key, &self.server)
    }

    async fn put_object(&self, key: &str, content: Bytes) -> Result<(), FileError> {
        let put = self.client.put_object().bucket(&self.name).key(key);
        let sent = put.body(ByteStream::from(content)).send().await;
        sent.map(|_| ()).map_err(|error| self.failure(error, key))
    }

    /// The pieces of a growing file, put together with what follows them.
    async fn with_pieces(
        &self,
        key: &str,
        growth: &Growth,
        chunk: &[u8],
    ) -> Result<Bytes, FileError> {
        let mut content = BytesMut::with_capacity(pending(growth) + chunk.len());
        for piece in &growth.pieces {
            content.extend_from_slice(&self.piece(key, piece).await?);
        }
        content.extend_from_slice(chunk);
        Ok(content.freeze())
    }

    /// A piece of a growing file.
    async fn piece(&self, key: &str, piece: &Range<u64>) -> Result<Vec<u8>, FileError> {
        let length = piece.end - piece.start;
        let read = match self.read(&piece_key(key, piece), 0..length).await {
            // What was put in its place since begins with it.
            Err(FileError::Missing(_)) => self.read(&early_piece_key(key, piece), 0..length).await,
            read => read,
        };
        let content = gather(read?).await?;
        let found = content.len() as u64;
        if found != length {
            let what = format!(
                "{found} bytes are left of the {length} that were stored at {}",
                piece.start
            );
            return Err(FileError::Damaged { key: key.to_owned(), what });
        }
        Ok(content)
    }

    async fn begin(&self, key: &str) -> Result<String, FileError> {
        let begun = self.client.create_multipart_upload().bucket(&self.name).key(key).send().await;
        let ticket = begun.map_err(|error| self.failure(error, key))?.upload_id;
        ticket
            .ok_or_else(|| FileError::Failed(format!("{key}: an upload was begun without a name")))
    }

    /// Uploads the next part and gives its tag.
    async fn upload(
        &self,
        key: &str,
        ticket: &str,
        number: usize,
        part: Bytes,
    ) -> Result<String, FileError> {
        let number = i32::try_from(number).map_err(|error| FileError::Failed(error.to_string()))?;
        let upload = self.client.upload_part().bucket(&self.name).key(key);
        let sent =
            upload.upload_id(ticket).part_number(number).body(ByteStream::from(part)).send().await;
        let tag = sent.map_err(|error| self.failure(error, key))?.e_tag;
        tag.ok_or_else(|| FileError::Failed(format!("{key}: a part was taken without a tag")))
    }

    async fn complete_upload(
        &self,
        key: &str,
        ticket: &str,
        tags: Vec<String>,
    ) -> Result<(), FileError> {
        let parts = (1..)
            .zip(tags)
            .map(|(number, tag)| CompletedPart::builder().part_number(number).e_tag(tag).build());
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let complete = self.patient.complete_multipart_upload().bucket(&self.name).key(key);
        let sent = complete.upload_id(ticket).multipart_upload(parts).send().await;
        sent.map(|_| ()).map_err(|error| self.failure(error, key))
    }

    /// Ends all multipart uploads of a key.
    async fn abort_uploads(&self, key: &str) -> Result<(), FileError> {
        let begun =
            self.client.list_multipart_uploads().bucket(&self.name).prefix(key).send().await;
        let begun = begun.map_err(|error| self.failure(error, key))?.uploads.unwrap_or_default();
        for upload in begun.into_iter().filter(|upload| upload.key() == Some(key)) {
            let abort = self.client.abort_multipart_upload().bucket(&self.name).key(key);
            match abort.set_upload_id(upload.upload_id).send().await {
                Err(error) if !is_missing(&error) => return Err(self.failure(error, key)),
                _ => {}
            }
        }
        Ok(())
    }

    async fn remove_pieces(&self, key: &str) -> Result<(), FileError> {
        loop {
            let found = self.page(&format!("{key}{PIECES}"), None).await?.0;
            if found.is_empty() {
                return Ok(());
            }
            let name = |it: Facts| ObjectIdentifier::builder().key(it.key).build();
            let names: Result<Vec<_>, _> = found.into_iter().map(name).collect();
            let names = names
                .and_then(|names| Delete::builder().set_objects(Some(names)).quiet(true).build());
            let names = names.map_err(|error| FileError::Failed(error.to_string()))?;
            let sent = self.client.delete_objects().bucket(&self.name).delete(names).send().await;
            let failed = sent.map_err(|error| self.failure(error, key))?.errors.unwrap_or_default();
            if let Some(first) = failed.first() {
                let said = first.message().unwrap_or("no reason given");
                return Err(FileError::Failed(format!("{key}: pieces are not removed: {said}")));
            }
        }
    }

    /// Up to 1,000 files and where the next ones begin, if there are more.
    async fn page(
        &self,
        prefix: &str,
        after: Option<String>,
    ) -> Result<(Vec<Facts>, Option<String>), FileError> {
        let list = self.client.list_objects_v2().bucket(&self.name).prefix(prefix);
        let page = list.set_continuation_token(after).send().await;
        let page = page.map_err(|error| self.failure(error, prefix))?;
        let found = page.contents.unwrap_or_default().into_iter().filter_map(facts);
        Ok((found.collect(), page.next_continuation_token))
    }
}

#[async_trait]
impl Store for Bucket {
    fn with_patience(&self, patience: Duration) -> Arc<dyn Store> {
        let client = Paced { client: self.connector.clone(), patience, again: false };
        let config = self.client.config().to_builder().http_client(client).build();
        Arc::new(Self { client: Client::from_conf(config), patience, ..self.clone() })
    }

    async fn put(&self, key: &str, content: Bytes) -> Result<(), FileError> {
        check_key(key)?;
        self.put_object(key, content).await
    }

    async fn facts(&self, key: &str) -> Result<Option<Facts>, FileError> {
        check_key(key)?;
        let found = self.client.head_object().bucket(&self.name).key(key).send().await;
        match found {
            Ok(found) => {
                let size = found.content_length.and_then(|size| u64::try_from(size).ok());
                let modified = found.last_modified.and_then(time).unwrap_or_default();
                Ok(Some(Facts { key: key.to_owned(), size: size.unwrap_or_default(), modified }))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.failure(error, key)),
        }
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<Content, FileError> {
        check_key(key)?;
        let get = self.client.get_object().bucket(&self.name).key(key);
        let asked = match range {
            Range { start: 0, end: u64::MAX } => None,
            Range { start, end } if start >= end => return Ok(stream::empty().boxed()),
            Range { start, end: u64::MAX } => Some(format!("bytes={start}-")),
            Range { start, end } => Some(format!("bytes={start}-{}", end - 1)),
        };
        let found = match get.set_range(asked).send().await {
            Ok(found) => found,
            // Nothing of the file is there.
            Err(error) if is_beyond(&error) => return Ok(stream::empty().boxed()),
            Err(error) => return Err(self.failure(error, key)),
        };
        let first = (found.body, key.to_owned(), self.patience);
        let pieces =
            stream::try_unfold(
                first,
                async |(mut body, key, patience)| match tokio::time::timeout(patience, body.next())
                    .await
                {
                    Ok(None) => Ok(None),
                    Ok(Some(Ok(piece))) => Ok(Some((piece, (body, key, patience)))),
                    Ok(Some(Err(error))) => Err(FileError::Unavailable(format!("{key}: {error}"))),
                    Err(_) => Err(FileError::silent(&key, patience)),
                },
            );
        Ok(pieces.boxed())
    }

    async fn remove(&self, key: &str) -> Result<(), FileError> {
        check_key(key)?;
        self.abort_uploads(key).await?;
        self.remove_pieces(key).await?;
        match self.client.delete_object().bucket(&self.name).key(key).send().await {
            Err(error) if !is_missing(&error) => Err(self.failure(error, key)),
            _ => Ok(()),
        }
    }

    async fn list(
        &self,
        prefix: &str,
    ) -> Result<BoxStream<'_, Result<Facts, FileError>>, FileError> {
        let prefix = prefix.to_owned();
        let first = (prefix, None, false);
        let pages = stream::try_unfold(first, async |(prefix, after, done)| {
            if done {
                return Ok(None);
            }
            let (found, next) = self.page(&prefix, after).await?;
            let done = next.is_none();
            Ok::<_, FileError>(Some((stream::iter(found).map(Ok), (prefix, next, done))))
        });
        Ok(pages.try_flatten().boxed())
    }

    async fn grow(&self, key: &str, growth: &Growth, chunk: Bytes) -> Result<Growth, FileError> {
        check_key(key)?;
        let mut grown = growth.clone();
        grown.size += chunk.len() as u64;
        if pending(growth) + chunk.len() >= CHUNK {
            let part = self.with_pieces(key, growth, &chunk).await?;
            let ticket = match grown.ticket.take() {
                Some(ticket) => ticket,
                None => self.begin(key).await?,
            };
            grown.parts.push(self.upload(key, &ticket, growth.parts.len() + 1, part).await?);
            (grown.ticket, grown.pieces) = (Some(ticket), Vec::new());
        } else if growth.pieces.len() < MOST_PIECES {
            let piece = growth.size..grown.size;
            self.put_object(&piece_key(key, &piece), chunk).await?;
            grown.pieces.push(piece);
        } else {
            let all = self.with_pieces(key, growth, &chunk).await?;
            let piece = growth.pieces[0].start..grown.size;
            self.put_object(&piece_key(key, &piece), all).await?;
            grown.pieces = vec![piece];
        }
        Ok(grown)
    }

    async fn complete(&self, key: &str, growth: &Growth) -> Result<(), FileError> {
        let there = self.facts(key).await?;
        if there.is_none_or(|there| there.size != growth.size) {
            let rest = self.with_pieces(key, growth, &[]).await?;
            match &growth.ticket {
                None => self.put_object(key, rest).await?,
                Some(ticket) => {
                    let mut tags = growth.parts.clone();
                    if !rest.is_empty() {
                        tags.push(self.upload(key, ticket, tags.len() + 1, rest).await?);
                    }
                    self.complete_upload(key, ticket, tags).await?;
                }
            }
        }
        // What parts have taken the place of is removed only now: until then a crash may have to go back to it.
        self.remove_pieces(key).await
    }

    async fn link(
        &self,
        key: &str,
        shown: &Shown,
        lifetime: Duration,
    ) -> Result<Option<String>, FileError> {
        check_key(key)?;
        let terms = PresigningConfig::expires_in(lifetime);
        let terms = terms.map_err(|error| FileError::Failed(error.to_string()))?;
        let get = self.client.get_object().bucket(&self.name).key(key);
        let get = get
            .response_content_type(&shown.media_type)
            .response_content_disposition(&shown.disposition);
        let signed = get.presigned(terms).await.map_err(|error| self.failure(error, key))?;
        Ok(Some(signed.uri().to_owned()))
    }

    fn places(&self) -> &'static [&'static str] {
        &[""]
    }

    /// An upload that is begun and ended again takes the right to store, and leaves nothing, not even where nothing can be removed
    /// or every version is kept.
    async fn probe(&self, _: &'static str, whole: bool) -> Result<(), FileError> {
        let ticket = self.begin(PROBE).await?;
        let sent = match whole {
            true => self.upload(PROBE, &ticket, 1, vec![0; CHUNK].into()).await.map(|_| ()),
            false => Ok(()),
        };
        let end = self.client.abort_multipart_upload().bucket(&self.name).key(PROBE);
        let ended = end.upload_id(ticket).send().await;
        sent?;
        ended.map(|_| ()).map_err(|error| self.failure(error, PROBE))
    }

    async fn check(&self) -> Result<(), FileError> {
        self.page(super::RECORDINGS, None).await.map(|_| ())
    }
}

/// How much waits for the next part.
fn pending(growth: &Growth) -> usize {
    growth.pieces.iter().map(|piece| (piece.end - piece.start) as usize).sum()
}

/// Names a piece by where it begins and ends, so that another server, which has taken in less of the same, does not put that
/// in its place.
fn piece_key(key: &str, piece: &Range<u64>) -> String {
    format!("{}-{:016}", early_piece_key(key, piece), piece.end)
}

/// What releases called a piece that named it by where it begins alone: uploads of theirs go on.
fn early_piece_key(key: &str, piece: &Range<u64>) -> String {
    format!("{key}{PIECES}{:016}", piece.start)
}

fn facts(object: Object) -> Option<Facts> {
    let size = object.size.and_then(|size| u64::try_from(size).ok());
    let modified = object.last_modified.and_then(time).unwrap_or_default();
    Some(Facts { key: object.key?, size: size.unwrap_or_default(), modified })
}

fn time(time: aws_sdk_s3::primitives::DateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.secs(), time.subsec_nanos())
}
