//! A connection as a `BufRead` that can be ended while it waits.

use crate::{Error, ExchangeData, Result};
use std::io::{self, BufRead, ErrorKind, Read};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegate_receivers::ReceiverHandle;

/// Bytes that are read at once at most, and that wait to be decoded.
const BUFFER_BYTES: usize = 128 * 1024;
/// How long a stop may go unnoticed while the server is silent.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a server sends, for the converter of a [`socket_stream`](crate::StreamingContext::socket_stream).
///
/// Reading waits for the server. It gives an error when the stream stops or the connection breaks; hand that on, or end. Before
/// it waits, the records that the converter has given are stored.
pub struct SocketReader {
    connection: TcpStream,
    place: String,
    receiver: Box<dyn Told>,
    store: Box<dyn FnMut() -> Result<()>>,
    buffer: Box<[u8]>,
    from: usize,
    until: usize,
    fault: Fault,
}

/// Why the reader gave an error.
#[derive(Clone, Default)]
pub(super) struct Fault(Arc<Mutex<Option<Error>>>);

impl Fault {
    pub(super) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Remembers `error` and gives the words for whoever reads.
    fn set(&self, kind: ErrorKind, error: Error) -> io::Error {
        let told = io::Error::new(kind, error.to_string());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        told
    }
}

/// What the reader needs of the receiver's handle, whatever the records are.
trait Told {
    fn is_stopped(&self) -> bool;
    fn report(&self, what: &str);
}

impl<T: ExchangeData> Told for ReceiverHandle<T> {
    fn is_stopped(&self) -> bool {
        ReceiverHandle::is_stopped(self)
    }

    fn report(&self, what: &str) {
        self.report_error(what);
    }
}

impl SocketReader {
    pub(super) fn new<T: ExchangeData>(
        connection: TcpStream,
        place: String,
        handle: ReceiverHandle<T>,
        store: impl FnMut() -> Result<()> + 'static,
    ) -> Result<SocketReader> {
        SocketReader::told(connection, place, Box::new(handle), Box::new(store))
    }

    fn told(
        connection: TcpStream,
        place: String,
        receiver: Box<dyn Told>,
        store: Box<dyn FnMut() -> Result<()>>,
    ) -> Result<SocketReader> {
        connection
            .set_read_timeout(Some(LOOK_EVERY))
            .map_err(|e| Error::retry(format!("{place}: the connection can't be used")).because(e))?;
        Ok(SocketReader {
            connection,
            place,
            receiver,
            store,
            buffer: vec![0; BUFFER_BYTES].into(),
            from: 0,
            until: 0,
            fault: Fault::default(),
        })
    }

    pub(super) fn fault(&self) -> Fault {
        self.fault.clone()
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Ends the job with `error`.
    pub(super) fn refuse(&self, error: Error) -> io::Error {
        self.fault.set(ErrorKind::InvalidData, error)
    }

    pub(super) fn report(&self, what: &str) {
        self.receiver.report(what);
    }

    /// Waits for bytes; none: the server has closed.
    fn wait(&mut self) -> io::Result<usize> {
        (self.store)().map_err(|error| self.fault.set(ErrorKind::Other, error))?;
        loop {
            if self.receiver.is_stopped() {
                let ends = Error::retry(format!("{}: the stream stops", self.place));
                return Err(self.fault.set(ErrorKind::ConnectionAborted, ends));
            }
            match self.connection.read(&mut self.buffer) {
                Ok(read) => return Ok(read),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                    kind => {
                        let broken = Error::retry(format!("{}: the connection broke", self.place));
                        return Err(self.fault.set(kind, broken.because(error)));
                    }
                },
            }
        }
    }
}

impl BufRead for SocketReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.from == self.until {
            (self.from, self.until) = (0, 0);
            self.until = self.wait()?;
        }
        Ok(&self.buffer[self.from..self.until])
    }

    fn consume(&mut self, bytes: usize) {
        self.from = (self.from + bytes).min(self.until);
    }
}

impl Read for SocketReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let bytes = there.len().min(into.len());
        into[..bytes].copy_from_slice(&there[..bytes]);
        self.consume(bytes);
        Ok(bytes)
    }
}

impl std::fmt::Debug for SocketReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.place)
    }
}

/// A reader of a real connection, for the tests of what reads from one.
#[cfg(test)]
pub(super) mod testing {
    use super::{Arc, Mutex, Result, SocketReader, TcpStream, Told};
    use std::net::TcpListener;

    /// What was reported.
    #[derive(Clone, Default)]
    pub(crate) struct Reports(pub(crate) Arc<Mutex<Vec<String>>>);

    impl Told for Reports {
        fn is_stopped(&self) -> bool {
            false
        }

        fn report(&self, what: &str) {
            self.0.lock().unwrap().push(what.to_owned());
        }
    }

    /// A reader, what it reports, and both ends of its connection: the server's, and a copy of its own.
    pub(crate) fn connected() -> Result<(SocketReader, Reports, TcpStream, TcpStream)> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (copy, reports) = (connection.try_clone().unwrap(), Reports::default());
        let told = Box::new(reports.clone());
        let reader = SocketReader::told(connection, "socket test:1".to_owned(), told, Box::new(|| Ok(())))?;
        Ok((reader, reports, listener.accept().unwrap().0, copy))
    }
}
