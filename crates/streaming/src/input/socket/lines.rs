//! Lines of UTF-8, each of bounded length.

use super::{Bad, BadRecords, SocketReader};
use std::io::{self, BufRead};

/// The lines of a connection. What is beyond the bound is read and forgotten as it comes, up to its end.
pub(super) struct Lines {
    reader: SocketReader,
    bad: Bad,
    line: Line,
    number: u64,
}

impl Lines {
    pub(super) fn new(reader: SocketReader, bytes_max: usize, bad: BadRecords) -> Lines {
        Lines { reader, bad: Bad::new(bad), line: Line::new(bytes_max), number: 0 }
    }
}

impl Iterator for Lines {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let fail_early = self.bad.policy == BadRecords::Fail;
            let complete = match self.line.read(&mut self.reader, fail_early) {
                Ok(Complete::Nothing) => return None,
                Ok(complete) => complete,
                Err(error) => {
                    if self.line.length > 0 {
                        let (place, bytes) = (self.reader.place(), self.line.length);
                        self.reader
                            .report(&format!("{place}: {bytes} bytes of a line without its end are lost"));
                    }
                    return Some(Err(error));
                }
            };
            self.number += 1;
            let why = match complete {
                Complete::TooLong => {
                    format!("has more than {} bytes (tidegate.socket.line_bytes_max)", self.line.bytes_max)
                }
                _ => match self.line.take() {
                    Ok(text) => return Some(Ok(text)),
                    Err(at) => format!("is not UTF-8 at its byte {at}"),
                },
            };
            let place = format!("line {} of the connection", self.number);
            if let Err(error) = self.bad.found(&self.reader, &place, &why) {
                return Some(Err(error));
            }
        }
    }
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
enum Complete {
    Line,
    TooLong,
    /// The connection has ended.
    Nothing,
}

/// A line that is being read.
struct Line {
    bytes: Vec<u8>,
    /// With what was forgotten.
    length: u64,
    bytes_max: usize,
}

impl Line {
    fn new(bytes_max: usize) -> Line {
        Line { bytes: Vec::new(), length: 0, bytes_max }
    }

    /// Reads up to the end of a line, or of all. With `early`, a line that is too long is told of before its end.
    fn read(&mut self, reader: &mut impl BufRead, early: bool) -> io::Result<Complete> {
        self.bytes.clear();
        self.length = 0;
        loop {
            let there = reader.fill_buf()?;
            if there.is_empty() {
                return Ok(if self.length == 0 { Complete::Nothing } else { self.complete() });
            }
            let end = memchr::memchr(b'\n', there);
            let part = &there[..end.unwrap_or(there.len())];
            self.length += part.len() as u64;
            if self.length <= self.bytes_max as u64 {
                self.bytes.extend_from_slice(part);
            }
            let read = part.len() + usize::from(end.is_some());
            reader.consume(read);
            if end.is_some() || (early && self.length > self.bytes_max as u64) {
                return Ok(self.complete());
            }
        }
    }

    fn complete(&self) -> Complete {
        if self.length > self.bytes_max as u64 { Complete::TooLong } else { Complete::Line }
    }

    /// The line as text; else the byte at which it is none.
    fn take(&mut self) -> Result<String, usize> {
        if self.bytes.last() == Some(&b'\r') {
            self.bytes.pop();
        }
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(error.valid_up_to()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::testing;
    use super::*;
    use std::io::{BufReader, Read, Write};

    fn all(text: &[u8], bytes_max: usize) -> Vec<Option<String>> {
        // Whatever the reads are.
        let read = |capacity| {
            let mut reader = BufReader::with_capacity(capacity, text);
            let (mut line, mut lines) = (Line::new(bytes_max), Vec::new());
            loop {
                match line.read(&mut reader, false).unwrap() {
                    Complete::Nothing => return lines,
                    Complete::TooLong => lines.push(None),
                    Complete::Line => lines.push(line.take().ok()),
                }
            }
        };
        let whole = read(1024);
        (1..8).for_each(|capacity| assert_eq!(read(capacity), whole, "read by {capacity} bytes"));
        whole
    }

    #[test]
    fn lines_end_as_those_of_the_standard_library_do() {
        for text in ["", "a", "a\n", "a\r\nb\n\n\nc", "\n", "\r\n", "a\r", "ä\r\r\nö"] {
            let ours: Vec<_> = all(text.as_bytes(), 100).into_iter().map(Option::unwrap).collect();
            let theirs: Vec<_> = text.as_bytes().lines().map(Result::unwrap).collect();
            // Half a line that ends in `\r` is a line whose `\n` did not come.
            let theirs: Vec<_> = theirs.iter().map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
            assert_eq!(ours, if text == "ä\r\r\nö" { vec!["ä\r", "ö"] } else { theirs }, "{text:?}");
        }
    }

    #[test]
    fn what_is_too_long_or_no_text_is_left_out_alone() {
        let lines = all(b"four\nfive5\n\xff\nok\nfive5", 4);
        assert_eq!(lines, [Some("four".into()), None, None, Some("ok".into()), None]);
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_memory_than_its_bound() {
        let mut reader = BufReader::new(io::repeat(b'x').take(100 << 20).chain(&b"\nnext\n"[..]));
        let mut line = Line::new(1 << 20);
        assert_eq!(line.read(&mut reader, false).unwrap(), Complete::TooLong);
        assert_eq!(line.length, 100 << 20);
        assert!(line.bytes.capacity() <= 2 << 20, "{} bytes", line.bytes.capacity());
        assert_eq!(line.read(&mut reader, false).unwrap(), Complete::Line);
        assert_eq!(line.take().unwrap(), "next");
    }

    #[test]
    fn a_line_that_will_end_the_job_is_not_waited_for() {
        let mut endless = BufReader::new(io::repeat(b'x'));
        assert_eq!(Line::new(10).read(&mut endless, true).unwrap(), Complete::TooLong);
    }

    #[test]
    fn half_a_line_on_a_connection_that_was_reset_is_no_line_and_is_reported() {
        let (reader, reports, mut server, mut own) = testing::connected().unwrap();
        let mut lines = Lines::new(reader, 100, BadRecords::Fail);
        server.write_all(b"one\nhalf").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "one");
        // A server that closes with something unread resets the connection.
        own.write_all(b"?").unwrap();
        server.peek(&mut [0]).unwrap();
        drop(server);
        let error = lines.next().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let reports = reports.0.lock().unwrap();
        assert_eq!(*reports, ["socket test:1: 4 bytes of a line without its end are lost"]);
    }
}
