//! A table that is read by calls of the tests' own.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeMap;
use std::io::{BufReader, BufWriter};
use std::net::TcpStream;
use std::time::Duration;
use thrift::protocol::{
    TBinaryInputProtocol, TBinaryOutputProtocol, TFieldIdentifier, TInputProtocol, TListIdentifier,
    TMapIdentifier, TMessageIdentifier, TMessageType, TOutputProtocol, TStructIdentifier, TType,
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
