//! The receiver: one thread, with a runtime of its own that ends with it.

use crate::options::HttpOptions;
use crate::server::{self, Serve};
use crate::tls;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use tidegate::core::{Error, Guarantee, Result};
use tidegate::{InputGuarantee, Receiver, ReceiverHandle};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Where the receiver listens, once it does. Copies are the same.
#[derive(Clone, Default)]
pub(crate) struct Address(Arc<Mutex<Option<SocketAddr>>>);

impl Address {
    pub(crate) fn get(&self) -> Option<SocketAddr> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, address: SocketAddr) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }
}

pub(crate) struct HttpReceiver {
    options: Arc<HttpOptions>,
    addresses: Vec<SocketAddr>,
    tls: Option<TlsAcceptor>,
    address: Address,
    /// Tells the server of the current start to end.
    end: Option<watch::Sender<bool>>,
}

impl HttpReceiver {
    pub(crate) fn new(options: HttpOptions) -> Result<HttpReceiver> {
        let addresses = options.check()?;
        let files = options.tls.as_ref();
        let tls = files.map(|(certificates, key)| tls::acceptor(certificates, key)).transpose();
        let tls = tls.map_err(|e| e.context(format!("HTTP stream {}", options.name)))?;
        Ok(HttpReceiver {
            options: Arc::new(options),
            addresses,
            tls,
            address: Address::default(),
            end: None,
        })
    }

    pub(crate) fn address(&self) -> Address {
        self.address.clone()
    }

    fn listen(&self) -> Result<TcpListener> {
        // A free port that was taken once stays: clients know it.
        let known = self.address.get().map(|address| vec![address]);
        let addresses = known.as_ref().unwrap_or(&self.addresses);
        TcpListener::bind(&addresses[..]).map_err(|error| {
            let place = &self.options.address;
            match error.kind() {
                ErrorKind::AddrInUse => Error::retry(format!(
                    "can't listen on {place}: another program does; it is tried again until that one ends"
                )),
                _ => Error::reconfigure(format!("can't listen on {place}")).because(error),
            }
        })
    }
}

impl Receiver<String> for HttpReceiver {
    fn describe(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}{}", self.options.address, self.options.path)
    }

    fn promise(&self, logged: bool) -> InputGuarantee {
        match (logged, self.options.identity_required) {
            (true, true) => InputGuarantee::new(
                Guarantee::ExactlyOnce,
                "requests are answered when they are in the write-ahead log, and are known again by number or key",
            ),
            (true, false) => InputGuarantee::new(
                Guarantee::AtLeastOnce,
                "requests are answered when they are in the write-ahead log; exactly once for clients that number or key them, and a \
                 repeated request without either is there twice (identity_required() refuses such)",
            ),
            (false, _) => InputGuarantee::new(
                Guarantee::AtMostOnce,
                "what was answered and is in no committed batch is lost with the process; \
                 tidegate.receiver.write_ahead_log.enable keeps it",
            ),
        }
    }

    fn on_start(&mut self, handle: ReceiverHandle<String>) -> Result<()> {
        let listener = self.listen()?;
        let local = listener.local_addr().and_then(|local| listener.set_nonblocking(true).map(|()| local));
        let local = local.map_err(|e| Error::retry("the listener can't be used").because(e))?;
        self.address.set(local);
        let (end, ended) = watch::channel(false);
        self.end = Some(end);
        let (options, tls) = (self.options.clone(), self.tls.clone());
        handle.spawn("listens", move |handle| {
            log::info!("HTTP stream {}: listening on {local}", options.name);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(options.requests_max)
                .thread_name(format!("http-{}", options.name))
                .build()
                .map_err(|e| Error::retry("can't start the runtime of an HTTP stream").because(e))?;
            let listener = {
                let _inside = runtime.enter();
                tokio::net::TcpListener::from_std(listener)
            };
            let listener = listener.map_err(|e| Error::retry("the listener can't be used").because(e))?;
            runtime.block_on(server::serve(listener, tls, Serve::new(options, handle), ended))
            // Dropping the runtime waits for the calls that store; those end, since the stream has stopped.
        })
    }

    fn on_stop(&mut self) {
        if let Some(end) = self.end.take() {
            // Where nobody listens any more the server has ended.
            let _ = end.send(true);
        }
    }
}
