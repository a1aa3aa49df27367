//! Where blocking work runs.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::StorageError;

/// Where blocking work runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// On tokio's blocking pool.
    Pool,
    /// On the calling thread, at once: for tests, which then need no runtime.
    Inline,
}

impl Offload {
    /// Starts `work`, which goes on even if the task is dropped. Where there is no runtime (any more), it runs here:
    /// a value that is dropped late still cleans up after itself.
    pub(crate) fn start<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
        match self {
            Self::Pool => match Handle::try_current() {
                Ok(runtime) => Task::Spawned(runtime.spawn_blocking(work)),
                Err(_) => Task::Done(Some(work())),
            },
            Self::Inline => Task::Done(Some(work())),
        }
    }

    /// Runs `work` to its end.
    ///
    /// # Errors
    /// What `work` returned; `Io` if it panicked or the runtime is shutting down.
    pub async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        self.start(work).await?
    }
}

/// Work that was started.
pub(crate) enum Task<T> {
    Spawned(JoinHandle<T>),
    Done(Option<T>),
}

impl<T> Unpin for Task<T> {}

impl<T> Future for Task<T> {
    type Output = Result<T, StorageError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let lost = |source| StorageError::Io { doing: "waiting for blocking work", source };
        match self.get_mut() {
            Self::Spawned(handle) => Pin::new(handle).poll(context).map_err(|error| lost(io::Error::other(error))),
            Self::Done(result) => Poll::Ready(result.take().ok_or_else(|| lost(io::Error::other("polled again")))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_pool_runs_work_on_another_thread() {
        let here = std::thread::current().id();
        let there = Offload::Pool.run(|| Ok(std::thread::current().id())).await.unwrap();
        assert_ne!(here, there);
    }

    #[test]
    fn without_a_runtime_the_pool_s_work_is_done_at_once() {
        let (sender, receiver) = std::sync::mpsc::channel();
        drop(Offload::Pool.start(move || sender.send(1)));
        assert_eq!(receiver.try_recv(), Ok(1));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error() {
        let result: Result<(), _> = Offload::Pool.run(|| panic!("as the test wants")).await;
        assert!(matches!(result, Err(StorageError::Io { .. })));
    }
}
