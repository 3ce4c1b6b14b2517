//! Connections: how many, how long they may be silent, TLS, and their end.

use crate::options::HttpOptions;
use crate::request;
use crate::told::Told;
use futures_util::future::{Either, select};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidegate::ReceiverHandle;
use tidegate::core::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// What answers that are being written get when the job stops.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// From a failure to take a connection, such as too many open files, to the next try.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Bytes in the head of a request at most.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What all connections share.
pub(crate) struct Serve {
    pub(crate) options: Arc<HttpOptions>,
    pub(crate) handle: ReceiverHandle<String>,
    /// One for each request whose body may be in memory.
    pub(crate) working: Arc<Semaphore>,
}

impl Serve {
    pub(crate) fn new(options: Arc<HttpOptions>, handle: ReceiverHandle<String>) -> Serve {
        let working = Arc::new(Semaphore::new(options.requests_max.min(Semaphore::MAX_PERMITS)));
        Serve { options, handle, working }
    }
}

/// Told when the receiver is to end. Copies are told alike.
#[derive(Clone)]
pub(crate) struct Ended(watch::Receiver<bool>);

impl Ended {
    /// What `work` gives; `None` when the receiver is to end before.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut told = self.0.clone();
        let ended = pin!(told.wait_for(|ended| *ended));
        match select(ended, pin!(work)).await {
            Either::Left(_) => None,
            Either::Right((done, _)) => Some(done),
        }
    }

    pub(crate) fn is_told(&self) -> bool {
        *self.0.borrow()
    }
}

/// Takes connections until the receiver is to end.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    serve: Serve,
    ended: watch::Receiver<bool>,
) -> Result<()> {
    let (serve, ended) = (Arc::new(serve), Ended(ended));
    let connections = Arc::new(Semaphore::new(serve.options.connections_max.min(Semaphore::MAX_PERMITS)));
    while let Some(Ok(place)) = ended.or(connections.clone().acquire_owned()).await {
        let Some(taken) = ended.or(listener.accept()).await else { break };
        let stream = match taken {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::warn!("HTTP stream {}: can't take a connection: {error}", serve.options.name);
                ended.or(sleep(ACCEPT_AGAIN_AFTER)).await;
                continue;
            }
        };
        let (serve, tls, ended) = (serve.clone(), tls.clone(), ended.clone());
        tokio::spawn(async move {
            connection(stream, tls, &serve, &ended).await;
            drop(place);
        });
    }
    drop(listener);
    let all = u32::try_from(serve.options.connections_max).unwrap_or(u32::MAX);
    // Whoever is not done by then is cut off: what he sent is not acknowledged.
    let _ = timeout(END_PATIENCE, connections.acquire_many(all)).await;
    Ok(())
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, serve: &Arc<Serve>, ended: &Ended) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => drive(TokioIo::new(stream), serve, ended).await,
        Some(tls) => {
            let greeting = timeout(serve.options.head_patience, tls.accept(stream));
            match ended.or(greeting).await {
                Some(Ok(Ok(stream))) => drive(TokioIo::new(stream), serve, ended).await,
                Some(Ok(Err(error))) => {
                    log::debug!(
                        "HTTP stream {}: a client does not speak TLS as we do: {error}",
                        serve.options.name
                    );
                }
                Some(Err(_)) | None => {}
            }
        }
    }
}

async fn drive<I: Read + Write + Unpin>(io: I, serve: &Arc<Serve>, ended: &Ended) {
    let stored = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        let (stored, serve, ended) = (stored.clone(), serve.clone(), ended.clone());
        async move {
            let answer = request::answer(&serve, &ended, request).await;
            stored.store(answer.is_stored(), Ordering::Relaxed);
            Ok::<_, Infallible>(answer.into_response())
        }
    });
    let io = Told::new(io, stored.clone());
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(serve.options.head_patience)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(io, service);
    let mut http = pin!(http);
    // A connection that breaks is its client's matter: it was not answered, and he sends again.
    if ended.or(http.as_mut()).await.is_none() {
        http.as_mut().graceful_shutdown();
        let _ = http.await;
    }
}
