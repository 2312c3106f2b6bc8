//! Servers that do not answer: whoever asks one is told at once, and nobody waits for it until it has answered again.
//!
//! Only the first question waits, and only so long as one may take. From then on somebody in the background asks again and
//! again, so that no search has to find out.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;

/// How long to wait before a silent server is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known of a server: the failure with which it fell silent, until it answers again.
pub(super) struct Silence<E> {
    trouble: Mutex<Option<E>>,
    /// Whether a failure means that it does not answer; to refuse is an answer.
    is_silent: fn(&E) -> bool,
}

impl<E: Clone + Display + Send + 'static> Silence<E> {
    /// Of a server that is taken to answer.
    pub(super) fn new(is_silent: fn(&E) -> bool) -> Arc<Self> {
        Arc::new(Self { trouble: Mutex::new(None), is_silent })
    }

    /// Asks, unless it is silent. If it turns out to be, `probe` finds out when it answers again.
    ///
    /// # Errors
    /// What the server answered, or how it fell silent.
    pub(super) async fn ask<T>(
        self: &Arc<Self>,
        asking: impl Future<Output = Result<T, E>>,
        probe: impl Fn() -> BoxFuture<'static, Result<(), E>> + Send + 'static,
    ) -> Result<T, E> {
        let trouble = self.trouble().clone();
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        let answer = asking.await;
        if let Err(error) = &answer
            && (self.is_silent)(error)
            && self.trouble().replace(error.clone()).is_none()
        {
            tracing::warn!(%error, "searches go by word until it answers");
            self.listen(probe);
        }
        answer
    }

    fn trouble(&self) -> MutexGuard<'_, Option<E>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks until there is an answer, or nobody is left who wants to know.
    fn listen(
        self: &Arc<Self>,
        probe: impl Fn() -> BoxFuture<'static, Result<(), E>> + Send + 'static,
    ) {
        let wanted = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(AGAIN).await;
                if wanted.strong_count() == 0 {
                    return;
                }
                let answer = probe().await;
                let Some(silence) = wanted.upgrade() else { return };
                let trouble = answer.err().filter(silence.is_silent);
                let is_over = trouble.is_none();
                *silence.trouble() = trouble;
                if is_over {
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Instant;

    use futures::FutureExt as _;

    use super::*;

    /// A server that counts how often it is asked.
    #[derive(Clone, Default)]
    struct Server {
        asked: Arc<AtomicUsize>,
        answers: Arc<AtomicBool>,
    }

    impl Server {
        async fn ask(&self) -> Result<(), String> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            match self.answers.load(Ordering::SeqCst) {
                true => Ok(()),
                false => Err("silent".to_owned()),
            }
        }
    }

    async fn ask(silence: &Arc<Silence<String>>, server: &Server) -> Result<(), String> {
        let probed = server.clone();
        let probe = move || {
            let server = probed.clone();
            async move { server.ask().await }.boxed()
        };
        silence.ask(server.ask(), probe).await
    }

    #[tokio::test]
    async fn who_is_silent_is_asked_in_the_background_alone_until_there_is_an_answer() {
        let silence = Silence::new(|error: &String| error == "silent");
        let server = Server::default();
        for _ in 0..100 {
            assert_eq!(ask(&silence, &server).await, Err("silent".to_owned()));
        }
        assert_eq!(server.asked.load(Ordering::SeqCst), 1, "nobody else waits for it");
        server.answers.store(true, Ordering::SeqCst);
        let started = Instant::now();
        while ask(&silence, &server).await.is_err() {
            assert!(started.elapsed() < 30 * AGAIN);
            tokio::task::yield_now().await;
        }
        assert_eq!(server.asked.load(Ordering::SeqCst), 1 + 1 + 1);
    }

    #[tokio::test]
    async fn a_refusal_is_an_answer() {
        let silence = Silence::new(|error: &String| error == "silent");
        let server = Server::default();
        server.answers.store(true, Ordering::SeqCst);
        let refused =
            silence.ask(async { Err::<(), _>("refused".to_owned()) }, || async { Ok(()) }.boxed());
        assert_eq!(refused.await, Err("refused".to_owned()));
        assert_eq!(ask(&silence, &server).await, Ok(()));
    }
}
