//! `crm projections`: streams that a projector cannot follow, tried again or given up in part by a person's decision.

use std::sync::Arc;

use projections::database::Database;
use projections::dead_letter::{DeadLetters, Parked};
use projections::follow::{Decision, FollowError, Follower, Target, Treated};
use projections::generation;
use projections::log::Stream;
use projections::projector::Projector;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::watch;

/// What became of a parked stream.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The stream.
    pub stream: Stream,
    /// What it is parked at now; `None` if the read model has caught up with it.
    pub stuck: Option<Parked>,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ParkedError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The projector failed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The stream is not parked.
    #[error("{stream} is not parked in {projector}; `crm projections parked` lists what is")]
    NotParked {
        /// The projector.
        projector: &'static str,
        /// The stream.
        stream: Stream,
    },
    /// Somebody else has taken the stream back meanwhile, wholly or up to another event.
    #[error(
        "nothing was skipped: {stream} is no longer parked at position {position}; `crm projections parked` lists what is"
    )]
    Moved {
        /// The stream.
        stream: Stream,
        /// The event that it was parked at.
        position: i64,
    },
    /// This release does not know what the live generation is made of.
    #[error(
        "the live generation of {0} was built by another version of its projector; use the release that built it"
    )]
    OtherVersion(&'static str),
}

/// Tries the parked streams of a read model again, or only one of them.
///
/// # Errors
/// See [`ParkedError`].
pub async fn retry(
    database: &Database,
    projector: &Arc<dyn Projector>,
    stream: Option<&Stream>,
) -> Result<Vec<Outcome>, ParkedError> {
    let mut hospital = Hospital::open(database, projector).await?;
    let mut outcomes = Vec::new();
    for parked in hospital.parked(stream).await? {
        let (Treated::Tried(stuck) | Treated::Elsewhere(stuck)) =
            hospital.treat(&parked, None).await?;
        outcomes.push(Outcome { stream: parked.stream, stuck });
    }
    Ok(outcomes)
}

/// Leaves out the event that a stream is parked at, for good, and goes on with what follows it. Who decided so and why is
/// recorded.
///
/// # Errors
/// See [`ParkedError`].
pub async fn skip(
    database: &Database,
    projector: &Arc<dyn Projector>,
    stream: &Stream,
    reason: &str,
    actor: &str,
) -> Result<Outcome, ParkedError> {
    let mut hospital = Hospital::open(database, projector).await?;
    let parked = hospital.parked(Some(stream)).await?.remove(0);
    match hospital.treat(&parked, Some(&Decision { reason, actor })).await? {
        Treated::Tried(stuck) => {
            tracing::warn!(
                projector = projector.name(), %stream, position = parked.position, reason, actor,
                "an event is skipped by order"
            );
            Ok(Outcome { stream: parked.stream, stuck })
        }
        Treated::Elsewhere(_) => {
            Err(ParkedError::Moved { stream: parked.stream, position: parked.position })
        }
    }
}

/// A read model's live generation under treatment.
struct Hospital {
    follower: Follower,
    connection: PgConnection,
    target: Target,
}

impl Hospital {
    async fn open(
        database: &Database,
        projector: &Arc<dyn Projector>,
    ) -> Result<Self, ParkedError> {
        let mut connection = database.options_for(&[]).connect().await?;
        generation::ensure(&mut connection, std::slice::from_ref(projector)).await?;
        let all = generation::all(&mut connection).await?;
        let own = generation::served(&all, &**projector)
            .filter(|generation| generation.version == projector.version())
            .ok_or(ParkedError::OtherVersion(projector.name()))?;
        let (number, state) = (own.number, own.state);
        let target = Target { projector: projector.clone(), number, state };
        let connection = database.options_for(&[target.schema()]).connect().await?;
        let (checkpoints, _) = watch::channel([(target.name(), own.checkpoint)].into());
        let letters = Arc::new(DeadLetters::default());
        let follower = Follower::new(database.clone(), letters, "retry".to_owned(), checkpoints);
        Ok(Self { follower, connection, target })
    }

    async fn parked(&mut self, stream: Option<&Stream>) -> Result<Vec<Parked>, ParkedError> {
        let target = std::slice::from_ref(&self.target);
        let parked = self.follower.dead_letters().load(&mut self.connection, target).await?;
        let mut parked: Vec<Parked> = parked.into_iter().map(|(_, parked)| parked).collect();
        if let Some(stream) = stream {
            parked.retain(|parked| parked.stream == *stream);
            if parked.is_empty() {
                let projector = self.target.name();
                return Err(ParkedError::NotParked { projector, stream: stream.clone() });
            }
        }
        Ok(parked)
    }

    async fn treat(
        &mut self,
        parked: &Parked,
        skip: Option<&Decision<'_>>,
    ) -> Result<Treated, FollowError> {
        self.follower.treat(&mut self.connection, &self.target, parked, skip).await
    }
}
