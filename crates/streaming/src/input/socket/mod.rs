//! Streams of what a TCP server sends: lines, blocks with their length before them, or whatever a converter makes of the bytes.
//!
//! The receiver connects, decodes on one thread, and stores before it waits for more: so the server is slowed down by TCP when the
//! stream takes no more. `reader` is the connection as a `BufRead`; `lines` and `blocks` are converters that are there.
//!
//! A socket has no positions and repeats nothing: what must not be here is a promise of more than at most once.

mod blocks;
mod lines;
mod reader;

pub use reader::SocketReader;

use crate::{Conf, Error, ExchangeData, InputDStream, Result, StreamingContext};
use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidegate_core::{Guarantee, InputGuarantee};
use tidegate_receivers::{Receiver, ReceiverHandle};

/// For each address of the server; the longest that a stop waits for a server that does not answer.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// Records that wait for being stored together at most.
const RECORDS_MAX: usize = 10_000;
const LINE_BYTES_MAX: &str = "tidegate.socket.line_bytes_max";
const BAD_LINES: &str = "tidegate.socket.bad_lines";
/// Bytes that a text or a block takes in storage besides its own, at most.
const LENGTH_BYTES: usize = 5;

impl StreamingContext {
    /// A stream of the lines that the server at `host:port` sends, in UTF-8, ended by `\n` or `\r\n`: Spark's `socketTextStream`.
    /// What the server sent of a line when it closed the connection is a line.
    ///
    /// The stream connects again, after `tidegate.receiver.restart_delay_ms`, whenever the connection ends or the server is away.
    /// **At most once**: a socket repeats nothing, so what was sent and is not stored when the process ends is lost, and so is what
    /// was sent while it was away. With a write-ahead log what is stored is not lost.
    ///
    /// A line of more than `tidegate.socket.line_bytes_max` bytes (1 MiB), or that is not UTF-8, ends the job; with
    /// `tidegate.socket.bad_lines` = `skip` it is left out, counted and warned of.
    ///
    /// ```no_run
    /// # use tidegate::{Conf, StreamingContext};
    /// # fn main() -> tidegate::Result<()> {
    /// # let ssc = StreamingContext::new(Conf::new(), std::time::Duration::from_secs(1))?;
    /// ssc.socket_text_stream("localhost", 9999)?.count().print()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Reconfigure` when a setting makes no sense or the context was started.
    pub fn socket_text_stream(&self, host: &str, port: u16) -> Result<InputDStream<String>> {
        let bad = BadRecords::of(self.conf())?;
        let most = record_bytes_max(self, LINE_BYTES_MAX)?;
        self.socket_stream(host, port, move |reader| lines::Lines::new(reader, most, bad))
    }

    /// A stream of what `decode` makes of the bytes that the server at `host:port` sends: Spark's `socketStream`. It is called for
    /// each connection, and gives records until the reader ends. What it gave is stored whenever the reader waits for more.
    ///
    /// Connects again and promises as [`socket_text_stream`](StreamingContext::socket_text_stream). An error that did not come
    /// from the reader ends the job (one of [`ErrorKind::UnexpectedEof`] counts as the connection's). A record must fit into a block
    /// (`tidegate.receiver.block_bytes_max`), and it is for `decode` to bound what it keeps of one that is not complete.
    ///
    /// ```no_run
    /// # use tidegate::{Conf, StreamingContext};
    /// use std::io::{BufRead, Error, ErrorKind};
    /// # fn main() -> tidegate::Result<()> {
    /// # let ssc = StreamingContext::new(Conf::new(), std::time::Duration::from_secs(1))?;
    /// let numbers = ssc.socket_stream("localhost", 9999, |reader| {
    ///     let number = |text: Vec<u8>| std::str::from_utf8(&text).ok()?.trim().parse::<u64>().ok();
    ///     let refused = || Error::new(ErrorKind::InvalidData, "not a number");
    ///     reader.split(b';').map(move |text| number(text?).ok_or_else(refused))
    /// })?;
    /// numbers.print()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`socket_text_stream`](StreamingContext::socket_text_stream).
    pub fn socket_stream<T, I>(
        &self,
        host: &str,
        port: u16,
        decode: impl Fn(SocketReader) -> I + Send + Sync + 'static,
    ) -> Result<InputDStream<T>>
    where
        T: ExchangeData,
        I: IntoIterator<Item = io::Result<T>> + 'static,
    {
        let decode = move |reader| -> Records<T> { Box::new(decode(reader).into_iter()) };
        let receiver = SocketReceiver { host: host.to_owned(), port, decode: Arc::new(decode) };
        self.named_receiver_stream(&self.next_name("socket"), receiver)
    }

    /// A stream of the blocks that the server at `host:port` sends, each after its length in four bytes, the highest first: Spark's
    /// `rawSocketStream`, which gives the bytes as they are.
    ///
    /// Connects again and promises as [`socket_text_stream`](StreamingContext::socket_text_stream). A block of more than
    /// `tidegate.socket.line_bytes_max` bytes is a bad one; what there is of a block when the connection ends is warned of, and lost.
    ///
    /// # Errors
    /// As [`socket_text_stream`](StreamingContext::socket_text_stream).
    pub fn raw_socket_stream(&self, host: &str, port: u16) -> Result<InputDStream<Vec<u8>>> {
        let bad = BadRecords::of(self.conf())?;
        let most = record_bytes_max(self, LINE_BYTES_MAX)?;
        self.socket_stream(host, port, move |reader| blocks::Blocks::new(reader, most, bad))
    }
}

/// The bound on a record: what the setting says, or 1 MiB; in any case what fits into a block.
fn record_bytes_max(ssc: &StreamingContext, key: &str) -> Result<usize> {
    let fits = ssc.receiver_settings()?.block_bytes_max.saturating_sub(LENGTH_BYTES);
    match ssc.conf().number(key, fits.min(1024 * 1024) as u64)? {
        0 => Err(ssc.conf().refuse(key, "a number above 0")),
        most if most > fits as u64 => Err(ssc.conf().refuse(
            key,
            &format!("at most {fits}: a record must fit into a block (tidegate.receiver.block_bytes_max)"),
        )),
        most => Ok(most as usize),
    }
}

/// What becomes of a record that can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BadRecords {
    Fail,
    Skip,
}

impl BadRecords {
    fn of(conf: &Conf) -> Result<BadRecords> {
        match conf.get(BAD_LINES) {
            None | Some("fail") => Ok(BadRecords::Fail),
            Some("skip") => Ok(BadRecords::Skip),
            Some(_) => Err(conf.refuse(BAD_LINES, "fail or skip")),
        }
    }
}

/// Counts the bad records of one connection, and tells of them.
struct Bad {
    policy: BadRecords,
    count: u64,
}

impl Bad {
    fn new(policy: BadRecords) -> Bad {
        Bad { policy, count: 0 }
    }

    /// A record at `place` is bad because of `why`: goes on without it, or gives the error that ends the job.
    fn found(&mut self, reader: &SocketReader, place: &str, why: &str) -> io::Result<()> {
        self.count += 1;
        if self.policy == BadRecords::Fail {
            return Err(reader.refuse(Error::reconfigure(format!(
                "{}: {place} {why}. {BAD_LINES} = skip leaves such out",
                reader.place()
            ))));
        }
        // A flood of them must not become a flood of warnings; each of these says how many there were.
        if self.count <= 10 || self.count.is_power_of_two() {
            let (of, count) = (reader.place(), self.count);
            reader
                .report(&format!("{of}: {place} {why}; it is left out ({count} of this connection so far)"));
        }
        Ok(())
    }
}

type Records<T> = Box<dyn Iterator<Item = io::Result<T>>>;
type Decode<T> = dyn Fn(SocketReader) -> Records<T> + Send + Sync;

struct SocketReceiver<T> {
    host: String,
    port: u16,
    decode: Arc<Decode<T>>,
}

impl<T: ExchangeData> Receiver<T> for SocketReceiver<T> {
    fn describe(&self) -> String {
        format!("socket {}:{}", self.host, self.port)
    }

    fn promise(&self, logged: bool) -> InputGuarantee {
        let why = "a socket repeats nothing: what was sent and is not stored when the process ends, or was sent while it was away, is \
                   lost";
        InputGuarantee::new(
            Guarantee::AtMostOnce,
            match logged {
                true => why.to_owned(),
                false => format!(
                    "{why}, and so is what is in no committed batch (tidegate.receiver.write_ahead_log.enable keeps that)"
                ),
            },
        )
    }

    fn on_start(&mut self, handle: ReceiverHandle<T>) -> Result<()> {
        let (host, port, decode) = (self.host.clone(), self.port, self.decode.clone());
        handle.spawn("reads", move |handle| receive(&handle, &host, port, &*decode))
    }
}

/// Reads one connection to its end.
fn receive<T: ExchangeData>(
    handle: &ReceiverHandle<T>,
    host: &str,
    port: u16,
    decode: &Decode<T>,
) -> Result<()> {
    let place = format!("socket {host}:{port}");
    let connection = connect(host, port).map_err(|e| {
        Error::retry(format!("{place}: can't connect; is the server there, and does it listen?")).because(e)
    })?;
    log::info!("{place}: connected");
    let waiting = Waiting { records: Arc::default(), handle: handle.clone() };
    let (mine, told) = (waiting.clone(), handle.clone());
    let reader = SocketReader::new(connection, place.clone(), handle.clone(), move || mine.store())?;
    let fault = reader.fault();
    let mut ended = None;
    for record in decode(reader) {
        match record {
            Ok(record) => {
                if waiting.push(record) >= RECORDS_MAX {
                    waiting.store()?;
                }
            }
            Err(error) => {
                ended = Some(error);
                break;
            }
        }
    }
    // What came before is whole, whatever came after.
    let stored = waiting.store();
    if told.is_stopped() {
        return Ok(());
    }
    stored?;
    Err(match (fault.take(), ended) {
        (Some(fault), _) => fault,
        (None, None) => Error::retry(format!("{place}: the server closed the connection")),
        (None, Some(error)) if error.kind() == ErrorKind::UnexpectedEof => {
            Error::retry(format!("{place}: the server closed the connection within a record, which is lost"))
                .because(error)
        }
        (None, Some(error)) => {
            Error::user_code(format!("{place}: the converter can't read what was sent")).because(error)
        }
    })
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Records that are decoded and not stored.
struct Waiting<T> {
    records: Arc<Mutex<Vec<T>>>,
    handle: ReceiverHandle<T>,
}

impl<T> Clone for Waiting<T> {
    fn clone(&self) -> Self {
        Waiting { records: self.records.clone(), handle: self.handle.clone() }
    }
}

impl<T: ExchangeData> Waiting<T> {
    /// Adds a record; gives how many wait.
    fn push(&self, record: T) -> usize {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.push(record);
        records.len()
    }

    fn store(&self) -> Result<()> {
        let records = std::mem::take(&mut *self.records.lock().unwrap_or_else(PoisonError::into_inner));
        self.handle.store_in_blocks(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_promises_at_most_once_with_a_log_too_and_says_what_the_log_would_keep() {
        let decode: Arc<Decode<String>> = Arc::new(|reader| Box::new(std::io::BufRead::lines(reader)));
        let receiver = SocketReceiver { host: "localhost".to_owned(), port: 1, decode };
        for logged in [true, false] {
            let InputGuarantee { guarantee, why } = receiver.promise(logged);
            assert_eq!(guarantee, Guarantee::AtMostOnce);
            assert!(why.contains("a socket repeats nothing"), "{why}");
            assert_eq!(why.contains("write_ahead_log.enable"), !logged, "{why}");
        }
        assert_eq!(receiver.describe(), "socket localhost:1");
    }
}
