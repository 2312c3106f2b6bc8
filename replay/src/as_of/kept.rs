//! The scenes that can be asked or are being built, few enough to be looked through.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Scene, SceneError};

/// The most scenes kept at a time.
const KEPT: usize = 3;

/// The most scenes being built or waiting for their turn. Whoever asks for one more is told to try again.
const WAITING: usize = 10;

/// How long a scene is kept that nobody asks.
const IDLE: Duration = Duration::from_secs(600);

/// What a scene has come to; `None` while it is being built.
pub(super) type Outcome = Option<Result<Arc<Scene>, SceneError>>;

/// A scene that is there or being built.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) position: i64,
    asked: Instant,
    built: watch::Receiver<Outcome>,
    /// Calls off what is being built.
    pub(super) stop: CancellationToken,
}

impl Kept {
    /// What it has come to, if it is not being built any more.
    pub(super) fn outcome(&self) -> Outcome {
        self.built.borrow().clone()
    }

    /// Waits until it is built.
    pub(super) async fn built(&mut self) -> Result<Arc<Scene>, SceneError> {
        let built = self.built.wait_for(Option::is_some).await;
        built.map_err(|_| SceneError::Stopped)?.clone().unwrap_or(Err(SceneError::Stopped))
    }

    fn is_built(&self) -> bool {
        self.built.borrow().is_some()
    }

    fn is(&self, other: &Self) -> bool {
        self.built.same_channel(&other.built)
    }
}

/// Who is to build a scene, and tell when that is done.
pub(super) enum Found {
    /// Somebody has begun to.
    Known(Kept),
    /// Whoever asked.
    New(Kept, watch::Sender<Outcome>),
}

/// All of them.
#[derive(Default)]
pub(super) struct Shelf(Mutex<Vec<Kept>>);

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The scene of a position, if there is one or somebody builds it; else a new one, unless too many are being built.
    pub(super) fn find(
        &self,
        position: i64,
        stop: &CancellationToken,
    ) -> Result<Found, SceneError> {
        let mut all = self.lock();
        if let Some(known) = all.iter_mut().find(|kept| kept.position == position) {
            known.asked = Instant::now();
            return Ok(Found::Known(known.clone()));
        }
        if all.iter().filter(|kept| !kept.is_built()).count() >= WAITING {
            return Err(SceneError::Busy);
        }
        let (tell, built) = watch::channel(None);
        let new = Kept { position, asked: Instant::now(), built, stop: stop.child_token() };
        all.push(new.clone());
        Ok(Found::New(new, tell))
    }

    /// Takes out this very scene, beside which there may be another one of its position by now.
    pub(super) fn forget(&self, gone: &Kept) {
        self.lock().retain(|kept| !kept.is(gone));
    }

    /// Takes out what is too much now that there is this scene: those that nobody has asked for longest. What is still being
    /// built is waited for by somebody, and so is this one.
    pub(super) fn take_surplus(&self, new: &Kept) -> Vec<Kept> {
        let mut all = self.lock();
        let mut surplus = Vec::new();
        while all.iter().filter(|kept| kept.is_built()).count() > KEPT {
            let others = all.iter().enumerate();
            let others = others.filter(|(_, kept)| kept.is_built() && !kept.is(new));
            let Some((oldest, _)) = others.min_by_key(|(_, kept)| kept.asked) else { break };
            surplus.push(all.remove(oldest));
        }
        surplus
    }

    /// Takes out those that nobody has asked for long.
    pub(super) fn take_idle(&self) -> Vec<Kept> {
        self.lock().extract_if(.., |kept| kept.asked.elapsed() > IDLE).collect()
    }

    pub(super) fn take_all(&self) -> Vec<Kept> {
        std::mem::take(&mut *self.lock())
    }

    pub(super) fn all(&self) -> Vec<Kept> {
        self.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(shelf: &Shelf, position: i64) -> Found {
        shelf.find(position, &CancellationToken::new()).unwrap()
    }

    /// Puts a scene there that is being built.
    fn begin(shelf: &Shelf, position: i64) -> (Kept, watch::Sender<Outcome>) {
        match find(shelf, position) {
            Found::New(kept, tell) => (kept, tell),
            Found::Known(_) => panic!("there is one already"),
        }
    }

    fn build(shelf: &Shelf, position: i64) -> Kept {
        let (kept, tell) = begin(shelf, position);
        let open = tokio::sync::Mutex::new(None);
        tell.send_replace(Some(Ok(Arc::new(Scene { schema: String::new(), open }))));
        kept
    }

    fn positions(shelf: &Shelf) -> Vec<i64> {
        shelf.all().iter().map(|kept| kept.position).collect()
    }

    #[test]
    fn what_was_taken_out_takes_no_other_of_its_position_along() {
        let shelf = Shelf::default();
        let (first, _building) = begin(&shelf, 7);
        assert_eq!(shelf.take_all().len(), 1);
        let second = build(&shelf, 7);
        shelf.forget(&first);
        assert!(matches!(find(&shelf, 7), Found::Known(_)));
        shelf.forget(&second);
        assert!(shelf.all().is_empty());
    }

    #[test]
    fn those_that_nobody_has_asked_for_longest_are_too_much() {
        let shelf = Shelf::default();
        let (_, _building) = begin(&shelf, 1);
        for position in 2..=4 {
            let kept = build(&shelf, position);
            assert!(shelf.take_surplus(&kept).is_empty());
        }
        find(&shelf, 2);
        let surplus = shelf.take_surplus(&build(&shelf, 5));
        assert_eq!(surplus.iter().map(|kept| kept.position).collect::<Vec<_>>(), [3]);
        assert_eq!(positions(&shelf), [1, 2, 4, 5]);
    }

    #[test]
    fn when_many_are_being_built_no_other_is_begun() {
        let shelf = Shelf::default();
        let building: Vec<_> = (1..=10).map(|position| begin(&shelf, position)).collect();
        let another = shelf.find(11, &CancellationToken::new());
        assert!(matches!(another, Err(SceneError::Busy)));
        assert!(matches!(find(&shelf, 10), Found::Known(_)));
        drop(building);
    }
}
