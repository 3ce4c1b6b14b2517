//! Lets clients that are async be called from threads that are not.
//!
//! A call is run by threads of this module's own and waited for, so it works on any thread, also on one of a tokio runtime
//! (where blocking is the caller's decision). Dropping it never waits.

use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;
use tidegate_core::{Error, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Enough for checksums while a connection is served: what is waited for is the network.
const THREADS: usize = 2;

/// A private tokio runtime.
pub(crate) struct Blocking {
    runtime: Option<Runtime>,
}

impl Blocking {
    /// Starts its threads.
    pub(crate) fn new() -> Result<Blocking> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("tidegate-store")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|e| Error::reconfigure("no thread can be started").because(e))?;
        Ok(Blocking { runtime: Some(runtime) })
    }

    /// What a client wants that has background tasks of its own.
    #[cfg(feature = "hdfs")]
    pub(crate) fn handle(&self) -> tokio::runtime::Handle {
        self.runtime().handle().clone()
    }

    /// Runs `call` and waits for it for at most `limit`; then it is dropped, and `what` had no answer.
    pub(crate) fn run<T, F>(&self, what: &str, limit: Duration, call: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (done, result) = mpsc::sync_channel(1);
        self.runtime().spawn(async move {
            // Nobody waits any more only when the caller's thread was ended.
            let _ = done.send(tokio::time::timeout(limit, call).await);
        });
        match result.recv() {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::retry(format!("{what}: no answer in {} s", limit.as_secs()))),
            Err(_) => Err(Error::bug(format!("{what}: the client panicked"))),
        }
    }

    /// Has `call` run without waiting for it; it may be cut off when this is dropped.
    pub(crate) fn spawn<F>(&self, call: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.runtime().spawn(call)
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is taken by drop only")
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::ErrorKind;

    #[test]
    fn a_call_is_waited_for_and_not_for_ever() {
        let blocking = Blocking::new().unwrap();
        let limit = Duration::from_millis(10);
        assert_eq!(blocking.run("x", Duration::from_secs(60), async { Ok(7) }).unwrap(), 7);
        let error = blocking.run("s3://b/x", limit, std::future::pending::<Result<()>>()).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string()),
            (ErrorKind::Retry, "s3://b/x: no answer in 0 s".to_owned())
        );
        let call = async { if true { panic!("on purpose") } else { Ok(()) } };
        assert_eq!(blocking.run("x", Duration::from_secs(60), call).unwrap_err().kind(), ErrorKind::Bug);
    }

    #[test]
    fn it_may_be_used_and_dropped_inside_another_runtime() {
        let outer = Builder::new_current_thread().build().unwrap();
        let seven = outer.block_on(async {
            let blocking = Blocking::new().unwrap();
            blocking.run("x", Duration::from_secs(60), async { Ok(7) }).unwrap()
        });
        assert_eq!(seven, 7);
    }
}
