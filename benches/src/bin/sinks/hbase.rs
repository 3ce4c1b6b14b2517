//! Rows into a table of HBase: `mutateRows` of its Thrift gateway, as many rows a call as the output has.
//!
//! Thrift's binary protocol is written out here: a client made of its classes would be slower than it has to be.

use crate::row::{Row, Rows};
use crate::sink::{Client, Sink};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tidegate::{DStream, Result};
use tidegate_benches::Failure;
use tidegate_hbase::{HBaseOutput, Mutation, SaveToHBase};

const CALL_ROWS: i32 = 1_000;
const LIMIT: Duration = Duration::from_secs(60);
const STOP: u8 = 0;
const BOOL: u8 = 2;
const I32: u8 = 8;
const TEXT: u8 = 11;
const STRUCT: u8 = 12;
const MAP: u8 = 13;
const LIST: u8 = 15;

pub(crate) struct Table {
    pub(crate) gateway: String,
    pub(crate) name: String,
}

impl Table {
    fn connect(&self) -> std::result::Result<Gateway, Failure> {
        let stream = TcpStream::connect(&self.gateway)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Gateway { answers: BufReader::new(stream.try_clone()?), stream, calls: 0 })
    }
}

impl Sink for Table {
    fn make(&self) -> std::result::Result<(), Failure> {
        let mut call = Fields::default();
        call.text(1, self.name.as_bytes());
        call.list(2, 1);
        call.text(1, b"f:");
        call.number(2, 1);
        call.text(3, b"NONE");
        call.text(5, b"NONE");
        call.number(9, i32::MAX);
        call.0.extend([STOP, STOP]);
        self.connect()?.call("createTable", &call.0)
    }

    fn save(&self, rows: &DStream<Row>) -> Result<()> {
        let output = HBaseOutput::new(&self.gateway, &self.name)?.request_limit(LIMIT);
        rows.map(|row| {
            let put = Mutation::put(key(&row)).cell("f", "word", row.word);
            put.cell("f", "level", row.level.to_be_bytes())
        })
        .save_to_hbase(output)
        .map(drop)
    }

    fn client(&self, _: u64) -> std::result::Result<Box<dyn Client>, Failure> {
        Ok(Box::new(Mutating { gateway: self.connect()?, table: self.name.clone() }))
    }

    /// Counting is a scan, which takes longer than all that is measured.
    fn rows(&self) -> std::result::Result<Option<u64>, Failure> {
        Ok(None)
    }
}

/// Spread like those of a job whose keys are words, not one after the other.
fn key(row: &Row) -> Vec<u8> {
    row.id.cast_unsigned().reverse_bits().to_be_bytes().to_vec()
}

struct Mutating {
    gateway: Gateway,
    table: String,
}

impl Client for Mutating {
    fn write(&mut self, _: u64, mut rows: Rows) -> std::result::Result<(), Failure> {
        loop {
            let mut mutations = Fields::default();
            let mut count = 0;
            for row in rows.by_ref().take(CALL_ROWS as usize) {
                mutations.text(1, &key(&row));
                mutations.list(2, 2);
                mutations.cell(b"f:word", row.word.as_bytes());
                mutations.cell(b"f:level", &row.level.to_be_bytes());
                mutations.0.push(STOP);
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            let mut call = Fields::default();
            call.text(1, self.table.as_bytes());
            call.list(2, count);
            call.0.append(&mut mutations.0);
            call.field(3, MAP);
            call.0.extend([TEXT, TEXT, 0, 0, 0, 0, STOP]);
            self.gateway.call("mutateRows", &call.0)?;
        }
    }
}

/// The fields of a call's arguments, as bytes.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn field(&mut self, number: i16, kind: u8) {
        self.0.push(kind);
        self.0.extend(number.to_be_bytes());
    }

    fn text(&mut self, number: i16, text: &[u8]) {
        self.field(number, TEXT);
        self.0.extend((text.len() as i32).to_be_bytes());
        self.0.extend(text);
    }

    fn number(&mut self, number: i16, value: i32) {
        self.field(number, I32);
        self.0.extend(value.to_be_bytes());
    }

    /// The head of a list of structs.
    fn list(&mut self, number: i16, length: i32) {
        self.field(number, LIST);
        self.0.push(STRUCT);
        self.0.extend(length.to_be_bytes());
    }

    /// What is put into one cell of a row: not a delete, and into the log.
    fn cell(&mut self, column: &[u8], value: &[u8]) {
        self.field(1, BOOL);
        self.0.push(0);
        self.text(2, column);
        self.text(3, value);
        self.field(4, BOOL);
        self.0.extend([1, STOP]);
    }
}

struct Gateway {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    calls: i32,
}

impl Gateway {
    /// Calls `name`, which gives nothing back.
    fn call(&mut self, name: &str, arguments: &[u8]) -> std::result::Result<(), Failure> {
        self.calls += 1;
        let end = [(name.len() as i32).to_be_bytes().as_slice(), name.as_bytes(), &self.calls.to_be_bytes()]
            .concat();
        self.stream.write_all(&[&[0x80, 1, 0, 1], end.as_slice(), arguments].concat())?;
        let mut answer = vec![0; 4 + end.len() + 1];
        self.answers.read_exact(&mut answer)?;
        // A reply, to this call, without a field: no result, and no error.
        if answer[..4] == [0x80, 1, 0, 2] && answer[4..4 + end.len()] == end && answer[4 + end.len()] == STOP
        {
            return Ok(());
        }
        let mut why = [0; 300];
        let length = self.answers.read(&mut why)?;
        Err(format!("{name} is refused: {}", String::from_utf8_lossy(&why[..length])).into())
    }
}
