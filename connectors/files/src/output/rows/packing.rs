//! Bytes packed while they are written, into memory. Packed pieces one behind the other are a packed whole.

use super::{FileBytes, FileCompression, only_in_parquet};
use flate2::write::GzEncoder;
use std::io::{self, Write};
use tidegate_core::{Error, Result};

/// What is written into it is packed.
pub(super) enum Packing {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Packing {
    pub(super) fn new(packed: FileCompression) -> Result<Packing> {
        match packed {
            FileCompression::None => Ok(Packing::Plain(Vec::new())),
            FileCompression::Gzip => {
                Ok(Packing::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default())))
            }
            FileCompression::Zstd => {
                let encoder = zstd::stream::write::Encoder::new(Vec::new(), zstd::DEFAULT_COMPRESSION_LEVEL);
                encoder
                    .map(Packing::Zstd)
                    .map_err(|e| Error::bug("no Zstandard encoder can be made").because(e))
            }
            FileCompression::Snappy => Err(only_in_parquet(packed)),
        }
    }

    /// What a file's name gets behind the ending of its format.
    pub(super) fn ending(packed: FileCompression) -> Result<&'static str> {
        match packed {
            FileCompression::None => Ok(""),
            FileCompression::Gzip => Ok(".gz"),
            FileCompression::Zstd => Ok(".zst"),
            FileCompression::Snappy => Err(only_in_parquet(packed)),
        }
    }
}

/// Pieces one behind the other.
impl FileBytes for Packing {
    fn push(&mut self, piece: &[u8]) -> std::result::Result<(), String> {
        self.write_all(piece).map_err(|e| e.to_string())
    }

    fn bytes(&self) -> u64 {
        let packed = match self {
            Packing::Plain(bytes) => bytes,
            Packing::Gzip(encoder) => encoder.get_ref(),
            Packing::Zstd(encoder) => encoder.get_ref(),
        };
        packed.len() as u64
    }

    fn ready(&self) -> u64 {
        self.bytes()
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Packing::Plain(bytes) => bytes,
            Packing::Gzip(encoder) => encoder.get_mut(),
            Packing::Zstd(encoder) => encoder.get_mut(),
        })
    }

    fn finish(self: Box<Self>) -> std::result::Result<Vec<u8>, String> {
        let bytes = match *self {
            Packing::Plain(bytes) => Ok(bytes),
            Packing::Gzip(encoder) => encoder.finish(),
            Packing::Zstd(encoder) => encoder.finish(),
        };
        bytes.map_err(|e| e.to_string())
    }
}

impl Write for Packing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Packing::Plain(packed) => packed.write(bytes),
            Packing::Gzip(encoder) => encoder.write(bytes),
            Packing::Zstd(encoder) => encoder.write(bytes),
        }
    }

    // The encoders end a block at a flush, which would pack worse; what they hold comes out at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
