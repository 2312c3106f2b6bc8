//! What the failures of the client mean, in words for people.

use ::qdrant_client::QdrantError;
use tonic::Code;

use crate::search::engine::EngineError;

/// What an answer of the client means.
pub(super) fn told(error: QdrantError, what: &str) -> EngineError {
    let status = match error {
        QdrantError::ResponseError { status }
        | QdrantError::ResourceExhaustedError { status, .. } => status,
        other => return EngineError::Rejected(other.to_string()),
    };
    let said = status.message().to_owned();
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => EngineError::Refused,
        Code::NotFound => EngineError::Missing(what.to_owned()),
        // Qdrant answers so as well.
        Code::InvalidArgument if said.contains("doesn't exist") => {
            EngineError::Missing(what.to_owned())
        }
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::AlreadyExists => EngineError::Rejected(said),
        _ => EngineError::Unavailable(plain(&said).unwrap_or(said)),
    }
}

/// What hinders a connection, for people. The client has only the words of the error left, for programmers.
fn plain(said: &str) -> Option<String> {
    if said == "Timeout expired" {
        return Some("it took too long".to_owned());
    }
    let (_, error) = said.split_once("tonic::transport::Error(")?;
    Some(distrust(error).unwrap_or_else(|| unreached(error)))
}

/// What to do about a certificate that is not accepted.
fn distrust(error: &str) -> Option<String> {
    let (_, rest) = error.split_once("InvalidCertificate(")?;
    let reason: String = rest.chars().take_while(|letter| letter.is_alphanumeric()).collect();
    Some(format!(
        "its certificate is not accepted ({reason}): QDRANT_URL must have the name that it is for, and SSL_CERT_FILE may name \
         the file of the authority that issued it"
    ))
}

/// That there is no connection, with the reason that the system gives, if it is among the words.
fn unreached(error: &str) -> String {
    let quoted = |before: &str| error.split_once(before)?.1.split('"').next();
    let reason = match error.contains("TimedOut") {
        true => Some("it took too long"),
        false => quoted("message: \"").or_else(|| quoted("error: \"")),
    };
    match reason {
        Some(reason) => format!("it cannot be reached ({})", reason.to_lowercase()),
        None => "it cannot be reached".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hinders_a_connection_is_said_plainly() {
        let check = |error: &str, expected: &str| {
            let said = format!(
                "Failed to connect to http://host:6334/: tonic::transport::Error(Transport, {error})"
            );
            assert_eq!(plain(&said).as_deref(), Some(expected));
        };
        check(
            r#"ConnectError(ConnectError("tcp connect error", 127.0.0.1:6334, Os { code: 111, kind: ConnectionRefused, message: "Connection refused" }))"#,
            "it cannot be reached (connection refused)",
        );
        check(
            r#"ConnectError(ConnectError("dns error", Custom { kind: Uncategorized, error: "failed to lookup address information: Name or service not known" }))"#,
            "it cannot be reached (failed to lookup address information: name or service not known)",
        );
        check(
            r#"ConnectError(ConnectError("tcp connect error", 10.0.0.1:6334, Custom { kind: TimedOut, error: Elapsed(()) }))"#,
            "it cannot be reached (it took too long)",
        );
        check(
            "ConnectError(Custom { kind: InvalidData, error: InvalidMessage(InvalidContentType) })",
            "it cannot be reached",
        );
        assert_eq!(plain("Timeout expired").as_deref(), Some("it took too long"));
        assert_eq!(plain("Service internal error: disk"), None);
    }
}
