//! A table that is read by calls of the tests' own, a wire that can be cut, and an engine of a few lines.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeMap;
use std::io::{BufReader, BufWriter, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TFieldIdentifier, TInputProtocol, TListIdentifier,
    TMapIdentifier, TMessageIdentifier, TMessageType, TOutputProtocol, TStructIdentifier, TType,
};
use tidegate_core::{
    Batch, BatchId, BatchPlan, BatchTime, Delivery, Held, Output, OutputContext, PartitionId, Placement,
    Result, Seat, SourcePlan, SourceRange, Writer,
};
use tidegate_hbase::{HBaseOutput, Mutation};
use tidegate_servers::HBASE_ENV;
use uuid::Uuid;

/// A cell: its value and its timestamp.
pub(crate) type Cell = (String, i64);
/// The newest cells of a row, by `family:qualifier`.
pub(crate) type Row = BTreeMap<String, Cell>;

/// The gateway, asked without the code under test.
#[derive(Clone)]
pub(crate) struct Server(pub(crate) String);

impl Server {
    /// The one that `cargo xtask test` hands out.
    pub(crate) fn shared() -> Server {
        Server(std::env::var(HBASE_ENV).unwrap_or_else(|_| {
            panic!(
                "{HBASE_ENV} names no server: run these tests by `cargo xtask test`, which starts one, or start one by \
                 `cargo xtask servers up hbase`"
            )
        }))
    }

    /// A new table with the family `f`.
    pub(crate) fn table(&self) -> String {
        let name = name();
        let mut connection = Connection::to(&self.0);
        connection.call(
            "createTable",
            |out| {
                text(out, 1, &name);
                field(out, 2, TType::List);
                out.write_list_begin(&TListIdentifier::new(TType::Struct, 1)).unwrap();
                begin(out);
                text(out, 1, "f:");
                number(out, 2, 3);
                text(out, 3, "NONE");
                text(out, 5, "ROW");
                number(out, 9, i32::MAX);
                out.write_field_stop().unwrap();
            },
            |_| (),
        );
        name
    }

    pub(crate) fn disable(&self, table: &str) {
        Connection::to(&self.0).call("disableTable", |out| text(out, 1, table), |_| ());
    }

    pub(crate) fn enable(&self, table: &str) {
        Connection::to(&self.0).call("enableTable", |out| text(out, 1, table), |_| ());
    }

    /// Every row of a table.
    pub(crate) fn rows(&self, table: &str) -> BTreeMap<String, Row> {
        let mut connection = Connection::to(&self.0);
        let scanner = connection.call(
            "scannerOpenWithScan",
            |out| {
                text(out, 1, table);
                field(out, 2, TType::Struct);
                begin(out);
                number(out, 5, 1_000);
                out.write_field_stop().unwrap();
                field(out, 3, TType::Map);
                out.write_map_begin(&TMapIdentifier::new(TType::String, TType::String, 0)).unwrap();
            },
            |input| input.read_i32().unwrap(),
        );
        let scanner = scanner.unwrap();
        let mut rows = BTreeMap::new();
        loop {
            let next = |out: &mut Out| {
                number(out, 1, scanner);
                number(out, 2, 1_000);
            };
            let found = connection.call("scannerGetList", next, read_rows).unwrap();
            if found.is_empty() {
                break;
            }
            rows.extend(found);
        }
        connection.call("scannerClose", |out| number(out, 1, scanner), |_| ());
        rows
    }

    /// The cell `f:count` of every row.
    pub(crate) fn counts(&self, table: &str) -> BTreeMap<String, String> {
        let rows = self.rows(table).into_iter();
        rows.map(|(key, mut row)| (key, row.remove("f:count").unwrap().0)).collect()
    }

    pub(crate) fn output(&self, table: &str) -> HBaseOutput {
        HBaseOutput::new(&self.0, table).unwrap()
    }
}

type Input = TBinaryInputProtocol<BufReader<TcpStream>>;
type Out = TBinaryOutputProtocol<BufWriter<TcpStream>>;

struct Connection {
    input: Input,
    out: Out,
}

impl Connection {
    fn to(address: &str) -> Connection {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let input = TBinaryInputProtocol::new(BufReader::new(stream.try_clone().unwrap()), true);
        Connection { input, out: TBinaryOutputProtocol::new(BufWriter::new(stream), true) }
    }

    fn call<T>(&mut self, name: &str, write: impl Fn(&mut Out), read: impl Fn(&mut Input) -> T) -> Option<T> {
        self.out.write_message_begin(&TMessageIdentifier::new(name, TMessageType::Call, 1)).unwrap();
        begin(&mut self.out);
        write(&mut self.out);
        self.out.write_field_stop().unwrap();
        self.out.flush().unwrap();
        let answer = self.input.read_message_begin().unwrap();
        assert_eq!(answer.message_type, TMessageType::Reply, "{name}");
        let mut result = None;
        fields(&mut self.input, |input, id, _| {
            assert_eq!(id, 0, "{name}: {}", refusal(input));
            result = Some(read(input));
            true
        });
        result
    }
}

fn refusal(input: &mut Input) -> String {
    let mut text = String::new();
    fields(input, |input, id, _| {
        if id == 1 {
            text = input.read_string().unwrap();
        }
        id == 1
    });
    text
}

fn begin(out: &mut Out) {
    out.write_struct_begin(&TStructIdentifier::new("")).unwrap();
}

fn field(out: &mut Out, id: i16, kind: TType) {
    out.write_field_begin(&TFieldIdentifier::new("", kind, id)).unwrap();
}

fn text(out: &mut Out, id: i16, text: &str) {
    field(out, id, TType::String);
    out.write_string(text).unwrap();
}

fn number(out: &mut Out, id: i16, number: i32) {
    field(out, id, TType::I32);
    out.write_i32(number).unwrap();
}

fn fields(input: &mut Input, mut read: impl FnMut(&mut Input, i16, TType) -> bool) {
    input.read_struct_begin().unwrap();
    loop {
        let field = input.read_field_begin().unwrap();
        if field.field_type == TType::Stop {
            return input.read_struct_end().unwrap();
        }
        if !read(input, field.id.unwrap(), field.field_type) {
            input.skip(field.field_type).unwrap();
        }
    }
}

fn read_bytes(input: &mut Input) -> String {
    String::from_utf8_lossy(&input.read_bytes().unwrap()).into_owned()
}

/// A list of `TRowResult`: the key, and a map from columns to cells.
fn read_rows(input: &mut Input) -> Vec<(String, Row)> {
    let list = input.read_list_begin().unwrap();
    let read_row = |_| {
        let (mut key, mut row) = (String::new(), Row::new());
        fields(input, |input, id, _| {
            match id {
                1 => key = read_bytes(input),
                2 => {
                    let map = input.read_map_begin().unwrap();
                    for _ in 0..map.size {
                        let column = read_bytes(input);
                        row.insert(column, read_cell(input));
                    }
                }
                _ => return false,
            }
            true
        });
        (key, row)
    };
    (0..list.size).map(read_row).collect()
}

fn read_cell(input: &mut Input) -> Cell {
    let mut cell = Cell::default();
    fields(input, |input, id, _| {
        match id {
            1 => cell.0 = read_bytes(input),
            2 => cell.1 = input.read_i64().unwrap(),
            _ => return false,
        }
        true
    });
    cell
}

pub(crate) fn name() -> String {
    format!("test-{}", Uuid::new_v4())
}

pub(crate) fn count(word: &str, count: i64) -> Mutation {
    Mutation::put(word).cell("f", "count", count.to_string())
}

/// `n` words, each with that count.
pub(crate) fn many(n: usize, number: i64) -> Vec<Mutation> {
    (0..n).map(|place| count(&format!("w{place:05}"), number)).collect()
}

pub(crate) fn counts<'a>(counts: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    counts.into_iter().map(|(word, count)| (word.to_owned(), count.to_owned())).collect()
}

pub(crate) fn batch(id: u64) -> Batch {
    let ranges = vec![SourceRange::new("lines-0", id * 10, id * 10 + 10)];
    let sources = vec![SourcePlan { stream: "lines".into(), ranges }];
    let time = BatchTime(1_700_000_000_000 + id * 1000);
    Batch::new(Arc::new(BatchPlan { id: BatchId(id), time, zero: BatchTime(0), sources }))
}

/// The writers of `workers` workers: partition p belongs to worker p % workers.
pub(crate) struct Workers {
    partitions: u32,
    hash: Arc<dyn Fn(&Mutation) -> u64 + Send + Sync>,
    writers: Vec<Box<dyn Writer<Mutation>>>,
}

impl Workers {
    pub(crate) fn start(output: &HBaseOutput, workers: usize) -> Result<Workers> {
        let context = OutputContext { output: "out".into(), job: None, new_job: "job-1".into() };
        output.open(&context)?;
        let Placement::Hash { partitions, hash } = output.placement() else { panic!("not placed by hash") };
        let seat = |worker| output.writer(&Seat { output: "out".into(), worker, workers });
        Ok(Workers { partitions, hash, writers: (0..workers).map(seat).collect::<Result<_>>()? })
    }

    pub(crate) fn prepare(&mut self, batch: &Batch, rows: Vec<Mutation>) -> Result<()> {
        let workers = self.writers.len();
        for row in rows {
            let partition = ((self.hash)(&row) % u64::from(self.partitions)) as u32;
            self.writers[partition as usize % workers].write(batch, PartitionId(partition), vec![row])?;
        }
        for (worker, writer) in self.writers.iter_mut().enumerate() {
            let own: Vec<PartitionId> =
                (0..self.partitions).filter(|p| *p as usize % workers == worker).map(PartitionId).collect();
            writer.prepare(batch, &own)?;
        }
        Ok(())
    }

    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<()> {
        self.writers.iter_mut().try_for_each(|writer| writer.commit(batch))
    }

    /// The commit of one worker alone.
    pub(crate) fn commit_one(&mut self, worker: usize, batch: &Batch) -> Result<()> {
        self.writers[worker].commit(batch)
    }

    pub(crate) fn run(&mut self, batch: &Batch, rows: Vec<Mutation>) -> Result<()> {
        self.prepare(batch, rows)?;
        self.commit(batch)
    }
}

/// A wire to a server that lets so many bytes through towards it and then cuts every connection, until it is mended.
pub(crate) struct Wire {
    pub(crate) address: String,
    state: Arc<State>,
}

struct State {
    /// Bytes that are let through.
    left: AtomicU64,
    /// Connections that were cut.
    cut: AtomicU64,
    /// The first cut mends it.
    once: AtomicBool,
}

impl Wire {
    pub(crate) fn to(server: &Server) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let target = server.0.clone();
        let state = Arc::new(State {
            left: AtomicU64::new(u64::MAX),
            cut: AtomicU64::new(0),
            once: AtomicBool::new(false),
        });
        let wire = Wire { address, state: state.clone() };
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let (answers, back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let state = state.clone();
                thread::spawn(move || carry(client, server, Some(&state)));
                thread::spawn(move || carry(answers, back, None));
            }
        });
        wire
    }

    /// Cuts after `bytes` more, and every connection after that.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.state.cut.store(0, Ordering::SeqCst);
        self.state.once.store(false, Ordering::SeqCst);
        self.state.left.store(bytes, Ordering::SeqCst);
    }

    /// Cuts one connection after `bytes` more.
    pub(crate) fn cut_once_after(&self, bytes: u64) {
        self.cut_after(bytes);
        self.state.once.store(true, Ordering::SeqCst);
    }

    /// Lets all through again, and says how many connections were cut.
    pub(crate) fn mend(&self) -> u64 {
        self.state.left.store(u64::MAX, Ordering::SeqCst);
        self.state.cut.load(Ordering::SeqCst)
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, state: Option<&State>) {
    let mut buffer = [0; 4096];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0) as u64;
        let allowed = state.map_or(read, |state| match state.left.load(Ordering::SeqCst) {
            u64::MAX => read,
            bytes => {
                state.left.store(bytes - bytes.min(read), Ordering::SeqCst);
                bytes.min(read)
            }
        });
        let sent = to.write_all(&buffer[..allowed as usize]).is_ok();
        if let Some(state) = state.filter(|_| allowed < read) {
            state.cut.fetch_add(1, Ordering::SeqCst);
            if state.once.load(Ordering::SeqCst) {
                state.left.store(u64::MAX, Ordering::SeqCst);
            }
        }
        if read == 0 || allowed < read || !sent {
            // Both ends see it.
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// Where in a batch's way a fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    BeforePrepare,
    Prepared,
    InCommit,
}

/// What happens there.
pub(crate) type Fault = Arc<dyn Fn(Point, &Batch) + Send + Sync>;

/// An output with something that happens on the way of each batch of each writer.
pub(crate) struct Faulty {
    pub(crate) inner: HBaseOutput,
    pub(crate) fault: Fault,
}

impl Output<Mutation> for Faulty {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn delivery(&self) -> Delivery {
        self.inner.delivery()
    }

    fn open(&self, context: &OutputContext) -> Result<Held> {
        self.inner.open(context)
    }

    fn placement(&self) -> Placement<Mutation> {
        self.inner.placement()
    }

    fn writer(&self, seat: &Seat) -> Result<Box<dyn Writer<Mutation>>> {
        Ok(Box::new(FaultyWriter { inner: self.inner.writer(seat)?, fault: self.fault.clone() }))
    }
}

struct FaultyWriter {
    inner: Box<dyn Writer<Mutation>>,
    fault: Fault,
}

impl Writer<Mutation> for FaultyWriter {
    fn write(&mut self, batch: &Batch, partition: PartitionId, rows: Vec<Mutation>) -> Result<()> {
        self.inner.write(batch, partition, rows)
    }

    fn prepare(&mut self, batch: &Batch, partitions: &[PartitionId]) -> Result<()> {
        (self.fault)(Point::BeforePrepare, batch);
        self.inner.prepare(batch, partitions)?;
        (self.fault)(Point::Prepared, batch);
        Ok(())
    }

    fn commit(&mut self, batch: &Batch) -> Result<()> {
        (self.fault)(Point::InCommit, batch);
        self.inner.commit(batch)
    }

    fn abort(&mut self) {
        self.inner.abort();
    }
}
