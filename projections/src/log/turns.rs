//! Turns by name: whoever wants the same thing at the same time waits for the one before.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

/// Locks by name, each there only while somebody wants it. They hold within this process.
#[derive(Debug)]
pub struct Turns<K>(Arc<Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>>);

impl<K> Clone for Turns<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Eq + Hash> Turns<K> {
    /// Waits for the turn of this name, first come, first served; it ends when the guard is dropped.
    pub async fn take(&self, name: K) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Now and then, so that a lock costs no walk over all of them.
            if locks.len() >= 64 && locks.len().is_power_of_two() {
                locks.retain(|_, lock| lock.strong_count() > 0);
            }
            let known = locks.get(&name).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::default();
                locks.insert(name, Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn turns_of_one_name_exclude_each_other_and_leave_nothing_behind() {
        let turns = Turns::default();
        let first = turns.take(0).await;
        let other = turns.take(1).await;
        let second = tokio::time::timeout(Duration::from_millis(20), turns.take(0));
        assert!(second.await.is_err());
        drop((first, other));
        for name in 0..1_000 {
            drop(turns.take(name).await);
        }
        assert!(turns.0.lock().unwrap().len() < 200);
    }
}
