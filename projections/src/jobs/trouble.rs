//! Why a job was not done, by what becomes of it then.
//!
//! What is known to be away, full or shut (the database, the files, the language model) is waited for as long as it takes: a
//! night without storage must not cost a single recording. So is a language model that has not been fetched yet, or is too
//! slow. Only what nobody can explain is counted, and given up at last.

use std::fmt;
use std::time::Duration;

use super::journal::JournalError;
use super::models::NoModel;
use crate::database::{DatabaseError, is_passing};
use crate::files::FileError;
use crate::llm::LlmError;
use crate::log::{AsideError, CommandError};
use crate::summary::SummaryError;

/// A failure that nobody can explain is taken for good after so many attempts.
const MOST_FAILURES: i32 = 10;

/// Why a job was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Trying again will not help.
    ForGood(String),
    /// Trying again later may, and nobody knows.
    Passing(String),
    /// Something that it needs is away, full or shut, and may ask to be left alone for a while. It will be back.
    Away { reason: String, pause: Option<Duration> },
    /// The language model did not get done in this time. It may be busy with others, and may never get this text done.
    Slow { reason: String, took: Duration },
    /// The speech model that it needs is not here.
    NoModel(String),
    /// Nobody wants the result any more.
    Withdrawn,
    /// Somebody else may go on: the process stops, its lease has run out, or the note was archived.
    Interrupted,
}

impl Trouble {
    /// The same after so many failures of the job that nobody could explain: at last it is for good.
    pub(super) fn after(self, failures: i32) -> Self {
        match self {
            Trouble::Passing(reason) if failures + 1 >= MOST_FAILURES => {
                Trouble::ForGood(format!("{reason} (after {MOST_FAILURES} attempts)"))
            }
            other => other,
        }
    }

    pub(super) fn passing(error: &(impl fmt::Display + ?Sized)) -> Self {
        Trouble::Passing(error.to_string())
    }

    fn away(error: &(impl fmt::Display + ?Sized)) -> Self {
        Trouble::Away { reason: error.to_string(), pause: None }
    }
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        if is_passing(&error) { Trouble::away(&error) } else { Trouble::passing(&error) }
    }
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(_) => Trouble::away(&error),
            DatabaseError::Failed(error) => error.into(),
        }
    }
}

impl From<CommandError> for Trouble {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Unavailable(_) => Trouble::away(&error),
            error => Trouble::passing(&error),
        }
    }
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        let told = error.in_plain_words();
        match error {
            FileError::Unavailable(_)
            | FileError::OtherFolder(_)
            | FileError::Denied(_)
            | FileError::Full(_) => Trouble::away(told),
            // It was there when the server took it. Where it is not, others of the installation may have it.
            FileError::Missing(_) => Trouble::away(&format!(
                "{told} where this worker keeps files: S3_BUCKET, or a CRM_DATA_DIR that is shared, must be as the server has it"
            )),
            // The worker's own folder: whoever looks at the recording may well be who can make room.
            FileError::NoCopy { .. } => Trouble::away(&error),
            _ => Trouble::passing(told),
        }
    }
}

impl From<JournalError> for Trouble {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Lost => Trouble::Interrupted,
            JournalError::Aside(AsideError::Database(error)) => error.into(),
            error => Trouble::passing(&error),
        }
    }
}

impl From<NoModel> for Trouble {
    fn from(error: NoModel) -> Self {
        match error {
            NoModel::Missing(_) => Trouble::NoModel(error.to_string()),
            // Somebody has to put another file there, and each look at it costs a copy of the recording.
            NoModel::Unusable(_) => Trouble::away(&error),
        }
    }
}

impl From<SummaryError> for Trouble {
    fn from(error: SummaryError) -> Self {
        let reason = error.to_string();
        match error {
            SummaryError::Llm(LlmError::Busy { pause, .. }) => Trouble::Away { reason, pause },
            SummaryError::Llm(LlmError::Down(_)) => Trouble::Away { reason, pause: None },
            // A key that has run out is renewed, a bill is paid, a model is fetched, an address is set right.
            SummaryError::Llm(
                LlmError::NoModel { .. } | LlmError::Rejected { status: 401..=404, .. },
            ) => Trouble::Away { reason, pause: None },
            SummaryError::Llm(LlmError::Slow(took)) => Trouble::Slow { reason, took },
            error if error.is_transient() => Trouble::Passing(reason),
            _ => Trouble::ForGood(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(trouble: impl Into<Trouble>) -> &'static str {
        match trouble.into() {
            Trouble::ForGood(_) => "for good",
            Trouble::Passing(_) => "counted",
            Trouble::Away { pause: None, .. } => "waited for",
            Trouble::Away { pause: Some(_), .. } => "left alone",
            Trouble::Slow { .. } => "slow",
            Trouble::NoModel(_) => "no model",
            Trouble::Withdrawn => "withdrawn",
            Trouble::Interrupted => "interrupted",
        }
    }

    #[test]
    fn only_what_nobody_can_explain_is_counted() {
        let said = || "no".to_owned();
        assert_eq!(kind(FileError::Unavailable(said())), "waited for");
        assert_eq!(kind(FileError::OtherFolder(said())), "waited for");
        assert_eq!(kind(FileError::Denied(said())), "waited for");
        assert_eq!(kind(FileError::Full(said())), "waited for");
        assert_eq!(kind(FileError::Missing(said())), "waited for");
        let copy = FileError::NoCopy { folder: "/tmp".into(), what: said() };
        assert_eq!(kind(copy), "waited for");
        assert_eq!(kind(FileError::Failed(said())), "counted");
        assert_eq!(kind(DatabaseError::Unavailable(said())), "waited for");
        assert_eq!(kind(DatabaseError::Failed(sqlx::Error::PoolTimedOut)), "waited for");
        assert_eq!(kind(sqlx::Error::RowNotFound), "counted");
        assert_eq!(kind(JournalError::from(sqlx::Error::PoolTimedOut)), "waited for");
        assert_eq!(kind(JournalError::Lost), "interrupted");
        assert_eq!(kind(CommandError::Unavailable(said())), "waited for");
        assert_eq!(kind(CommandError::Conflict), "counted");
        assert_eq!(kind(NoModel::Missing(said())), "no model");
        let unreadable = speech::transcribe::ModelError::File {
            path: "base.bin".into(),
            source: std::io::Error::other("no"),
        };
        assert_eq!(kind(NoModel::Unusable(unreadable)), "waited for");
    }

    #[test]
    fn what_nobody_can_explain_is_given_up_after_ten_attempts() {
        let failed = |failures| Trouble::passing("no").after(failures);
        assert_eq!(failed(8), Trouble::passing("no"));
        assert_eq!(failed(9), Trouble::ForGood("no (after 10 attempts)".to_owned()));
        assert_eq!(Trouble::away("no").after(99), Trouble::away("no"));
    }

    #[test]
    fn a_language_model_that_is_down_busy_shut_or_not_there_is_waited_for() {
        let check = |error: LlmError, expected| {
            assert_eq!(kind(SummaryError::from(error.clone())), expected, "{error}");
        };
        let said = || "no".to_owned();
        let rejected = |status| LlmError::Rejected { status, said: said() };
        check(LlmError::Down("no connection".to_owned()), "waited for");
        check(LlmError::Busy { status: 503, said: said(), pause: None }, "waited for");
        check(
            LlmError::Busy { status: 429, said: said(), pause: Some(Duration::from_secs(90)) },
            "left alone",
        );
        check(rejected(401), "waited for");
        check(rejected(400), "for good");
        check(rejected(404), "waited for");
        let (model, said) = ("llama3.1".to_owned(), "not found".to_owned());
        check(LlmError::NoModel { model, said }, "waited for");
        check(LlmError::Slow(Duration::from_secs(300)), "slow");
        check(LlmError::Rubbish("<html>".to_owned()), "counted");
        assert_eq!(kind(SummaryError::Nothing), "for good");
    }
}
