//! What S3's answers mean for whoever has to do something about them.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::files::FileError;

/// Somebody has to change settings or rights.
const DENIED: &[&str] = &[
    "AccessDenied",
    "AccountProblem",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "NoSuchBucket",
    "NotSignedUp",
    "PermanentRedirect",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];

/// There is no room. Amazon's never says this; others do.
const FULL: &[&str] = &[
    "QuotaExceeded",
    "EntityTooLarge",
    "InsufficientCapacity",
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
];

/// What a failed request about this key to this server means.
pub(super) fn failure<E>(error: SdkError<E, HttpResponse>, key: &str, server: &str) -> FileError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let code =
        error.as_service_error().and_then(|error| error.code()).unwrap_or_default().to_owned();
    let status = error.raw_response().map(|response| response.status().as_u16());
    let text = DisplayErrorContext(&error).to_string();
    let cause = cause(&error);
    let said = match error.as_service_error().and_then(|error| error.message()) {
        Some(message) => format!("{key}: {message} ({code})"),
        None => format!("{key}: {text}"),
    };
    let late = format!("{key}: {server} does not answer in time");
    match &error {
        SdkError::ServiceError(_) => {}
        // Whoever has no credentials has asked nobody yet.
        _ if text.to_lowercase().contains("credentials") => return FileError::Denied(said),
        SdkError::ConstructionFailure(_) => return FileError::Failed(said),
        SdkError::TimeoutError(_) => return FileError::Unavailable(late),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            return FileError::Unavailable(late);
        }
        SdkError::DispatchFailure(_) => {
            let said = format!("{key}: {server} cannot be reached ({cause})");
            return FileError::Unavailable(said);
        }
        _ => {
            let said = format!("{key}: what {server} answers cannot be understood ({cause})");
            return FileError::Unavailable(said);
        }
    }
    match (code.as_str(), status) {
        (code, _) if DENIED.contains(&code) => FileError::Denied(said),
        (code, _) if FULL.contains(&code) => FileError::Full(said),
        (_, Some(507)) => FileError::Full(said),
        (_, Some(401 | 403)) => FileError::Denied(said),
        (_, Some(404)) => FileError::Missing(key.to_owned()),
        (_, Some(408 | 429 | 500..)) => FileError::Unavailable(said),
        _ => FileError::Failed(said),
    }
}

/// What an error comes of in the end: what stands around it names parts of a library.
fn cause(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Whether the answer says that there is no such file or upload, rather than no such bucket.
pub(super) fn is_missing<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let code = error.as_service_error().and_then(|error| error.code()).unwrap_or_default();
    let status = error.raw_response().map(|response| response.status().as_u16());
    status == Some(404) && code != "NoSuchBucket"
}

/// Whether the answer says that the file ends before what was asked for begins.
pub(super) fn is_beyond<E>(error: &SdkError<E, HttpResponse>) -> bool {
    error.raw_response().is_some_and(|response| response.status().as_u16() == 416)
}
