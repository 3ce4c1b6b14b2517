//! Calls to a Thrift gateway: one at a time over one connection, each bounded in time, tried anew over a new connection for a while
//! when it fails in a way that passes.
//!
//! All calls can be made twice: they only look, or write under timestamps of the caller's.

use crate::failure::Failure;
use crate::mutation::Mutation;
use crate::protocol::{mutations, read_families, read_fields, table_argument};
use std::io::{BufReader, BufWriter};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};
use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TInputProtocol, TMessageIdentifier, TMessageType,
    TOutputProtocol, TType,
};
use tidegate_core::Pauses;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSES: Pauses = Pauses { first: Duration::from_millis(50), longest: Duration::from_secs(2) };

/// Where a gateway is, and how long it is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    /// `host:port`.
    pub(crate) shown: String,
    /// How long one answer may take.
    pub(crate) request: Duration,
    /// How long a call is tried anew.
    pub(crate) patience: Duration,
}

/// A gateway, and the connection to it.
pub(crate) struct Gateway {
    address: Address,
    connection: Option<Connection>,
}

struct Connection {
    input: TBinaryInputProtocol<BufReader<TcpStream>>,
    out: TBinaryOutputProtocol<BufWriter<TcpStream>>,
    calls: i32,
}

type WriteArguments<'a> = &'a dyn Fn(&mut dyn TOutputProtocol) -> thrift::Result<()>;
type ReadResult<'a, T> = &'a dyn Fn(&mut dyn TInputProtocol) -> thrift::Result<T>;

impl Gateway {
    pub(crate) fn at(address: Address) -> Gateway {
        Gateway { address, connection: None }
    }

    /// The families of a table.
    pub(crate) fn families(&mut self, table: &str) -> Result<Vec<String>, Failure> {
        let families = self
            .call("getColumnDescriptors", &|out| table_argument(out, table), &|input| read_families(input))?;
        families.ok_or_else(|| Failure::Away("an answer without the table's families".to_owned()))
    }

    /// Whether a table takes calls.
    pub(crate) fn is_enabled(&mut self, table: &str) -> Result<bool, Failure> {
        let is_enabled =
            self.call("isTableEnabled", &|out| table_argument(out, table), &|input| input.read_bool())?;
        is_enabled.ok_or_else(|| {
            Failure::Away("an answer that does not say whether the table is enabled".to_owned())
        })
    }

    /// Changes rows, all cells with `timestamp`. `families` are all of the table's.
    pub(crate) fn mutate(
        &mut self,
        table: &str,
        rows: &[Mutation],
        families: &[String],
        timestamp: i64,
    ) -> Result<(), Failure> {
        let write: WriteArguments<'_> = &|out| mutations(out, table, rows, families, timestamp);
        self.call("mutateRowsTs", write, &|_| Ok(())).map(drop)
    }

    /// A call, tried anew while it fails in a way that passes. None: the answer holds nothing.
    fn call<T>(
        &mut self,
        name: &str,
        write: WriteArguments<'_>,
        read: ReadResult<'_, T>,
    ) -> Result<Option<T>, Failure> {
        let until = Instant::now() + self.address.patience;
        let mut failures = 0;
        loop {
            let failure = match self.once(name, write, read) {
                Err(failure) if failure.is_passing() => failure,
                done => return done,
            };
            failures += 1;
            let pause = PAUSES.after(failures, fastrand::f64());
            if Instant::now() + pause > until {
                return Err(failure);
            }
            thread::sleep(pause);
        }
    }

    fn once<T>(
        &mut self,
        name: &str,
        write: WriteArguments<'_>,
        read: ReadResult<'_, T>,
    ) -> Result<Option<T>, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::to(&self.address)?,
        };
        let done = connection.call(name, write, read).map_err(|error| Failure::Away(error.to_string()))?;
        // Only one whose answer was read to its end can be used again.
        self.connection = Some(connection);
        done
    }
}

impl Connection {
    fn to(address: &Address) -> Result<Connection, Failure> {
        let connect = || {
            let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
            for address in address.shown.to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        let open = || -> std::io::Result<Connection> {
            let stream = connect()?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(address.request))?;
            stream.set_write_timeout(Some(address.request))?;
            let input = TBinaryInputProtocol::new(BufReader::new(stream.try_clone()?), true);
            let out = TBinaryOutputProtocol::new(BufWriter::with_capacity(64 * 1024, stream), true);
            Ok(Connection { input, out, calls: 0 })
        };
        open().map_err(|error| Failure::Away(error.to_string()))
    }

    /// The outer error: the connection is of no use any more. The inner one: the gateway refuses.
    fn call<T>(
        &mut self,
        name: &str,
        write: WriteArguments<'_>,
        read: ReadResult<'_, T>,
    ) -> thrift::Result<Result<Option<T>, Failure>> {
        self.calls = self.calls.wrapping_add(1);
        self.out.write_message_begin(&TMessageIdentifier::new(name, TMessageType::Call, self.calls))?;
        write(&mut self.out)?;
        self.out.write_message_end()?;
        self.out.flush()?;
        let message = self.input.read_message_begin()?;
        if message.message_type == TMessageType::Exception {
            let error = thrift::Error::read_application_error_from_in_protocol(&mut self.input)?;
            self.input.read_message_end()?;
            return Ok(Err(Failure::Refused(format!("IllegalArgument: {}", error.message))));
        }
        if message.name != name || message.sequence_number != self.calls {
            return Err(thrift::Error::from(format!("the answer to {name} is one to {}", message.name)));
        }
        let (mut result, mut refused) = (None, None);
        read_fields(&mut self.input, |input, number, kind| {
            match (number, kind) {
                (0, _) => result = Some(read(input)?),
                // An error of HBase, or an argument that it does not take.
                (1 | 2, TType::Struct) => refused = Some(read_refusal(input, number)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        self.input.read_message_end()?;
        Ok(refused.map_or(Ok(result), Err))
    }
}

fn read_refusal(input: &mut dyn TInputProtocol, number: i16) -> thrift::Result<Failure> {
    let mut text = String::new();
    read_fields(input, |input, field, kind| {
        let is_text = field == 1 && kind == TType::String;
        if is_text {
            text = String::from_utf8_lossy(&input.read_bytes()?).into_owned();
        }
        Ok(is_text)
    })?;
    Ok(Failure::Refused(if number == 2 { format!("IllegalArgument: {text}") } else { text }))
}
