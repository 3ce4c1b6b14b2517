//! A future that goes on a moment after it could.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Runs `future`, with a pause each time before it goes on. It is never cut off.
pub(super) async fn slowed<F: Future>(future: F, pause: Duration) -> F::Output {
    let mut future = pin!(future);
    loop {
        let (mut done, mut is_woken) = (None, false);
        poll_fn(|cx| {
            if !is_woken && let Poll::Ready(output) = future.as_mut().poll(cx) {
                done = Some(output);
            }
            // Woken: it could go on.
            if std::mem::replace(&mut is_woken, true) || done.is_some() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        if let Some(done) = done {
            return done;
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::runtime::Builder;
    use tokio::sync::oneshot;

    /// One thing is told before another, and who waits for the first finds the second one too.
    #[test]
    fn what_follows_at_once_has_happened_when_it_goes_on() {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let found = runtime.block_on(async {
            let (told, hears) = oneshot::channel();
            let second = Arc::new(AtomicBool::new(false));
            let seen = second.clone();
            tokio::spawn(async move {
                told.send(()).unwrap();
                tokio::task::yield_now().await;
                second.store(true, Ordering::Relaxed);
            });
            let waits = async move {
                hears.await.unwrap();
                seen.load(Ordering::Relaxed)
            };
            slowed(waits, Duration::from_millis(1)).await
        });
        assert!(found);
    }
}
