//! `crm projections`: streams that a projector cannot follow, tried again or given up in part by a person's decision.

use std::sync::Arc;

use projections::database::Database;
use projections::dead_letter::{DeadLetters, Parked};
use projections::follow::{FollowError, Follower, Target};
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
        outcomes.push(hospital.retry(&parked).await?);
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
    let Hospital { follower, connection, target } = &mut hospital;
    follower.dead_letters().skip(connection, target, &parked, reason, actor).await?;
    tracing::warn!(
        projector = target.name(), stream = %parked.stream, position = parked.position, reason, actor,
        "an event is skipped by order"
    );
    hospital.retry(&parked).await
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

    async fn retry(&mut self, parked: &Parked) -> Result<Outcome, ParkedError> {
        let stuck = self.follower.retry(&mut self.connection, &self.target, parked).await?;
        Ok(Outcome { stream: parked.stream.clone(), stuck })
    }
}
