//! Blocks of bytes, each after its length.

use super::{Bad, BadRecords, SocketReader};
use std::io::{self, BufRead, ErrorKind, Read};

/// The blocks of a connection: four bytes of length, the highest first, then as many bytes.
pub(super) struct Blocks {
    reader: SocketReader,
    bad: Bad,
    bytes_max: usize,
    number: u64,
}

impl Blocks {
    pub(super) fn new(reader: SocketReader, bytes_max: usize, bad: BadRecords) -> Blocks {
        Blocks { reader, bad: Bad::new(bad), bytes_max, number: 0 }
    }

    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if self.reader.fill_buf()?.is_empty() {
                return Ok(None);
            }
            let mut length = [0; 4];
            self.reader.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length);
            self.number += 1;
            if length as usize <= self.bytes_max {
                return read(&mut self.reader, length).map(Some);
            }
            let place = format!("block {} of the connection", self.number);
            let most = self.bytes_max;
            let why = format!(
                "says that it has {length} bytes, at most {most} are taken (tidegate.socket.line_bytes_max)"
            );
            self.bad.found(&self.reader, &place, &why)?;
            skip(&mut self.reader, length)?;
        }
    }
}

impl Iterator for Blocks {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// Takes memory for what has come, not for what was announced.
fn read(reader: &mut impl Read, length: u32) -> io::Result<Vec<u8>> {
    let mut block = Vec::new();
    reader.by_ref().take(u64::from(length)).read_to_end(&mut block)?;
    whole(block.len() as u64, length).map(|()| block)
}

fn skip(reader: &mut impl Read, length: u32) -> io::Result<()> {
    let skipped = io::copy(&mut reader.by_ref().take(u64::from(length)), &mut io::sink())?;
    whole(skipped, length)
}

fn whole(came: u64, length: u32) -> io::Result<()> {
    if came == u64::from(length) {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::UnexpectedEof, format!("{came} of the {length} bytes of a block came")))
}
