//! Records of one length.

use super::{FileFormat, RECORD_BYTES_MAX};
use crate::file::InputFile;
use std::io::Read;
use tidegate_core::{Error, Result};

/// Records of so many bytes each. A file whose last record is not whole is an error.
#[derive(Clone, Copy, Debug)]
pub struct BinaryRecords {
    length: usize,
}

impl BinaryRecords {
    /// Records of `length` bytes.
    ///
    /// # Errors
    /// `Reconfigure` for a length of 0, or over 16 MiB.
    pub fn new(length: usize) -> Result<BinaryRecords> {
        if length == 0 || length > RECORD_BYTES_MAX {
            return Err(Error::reconfigure(format!(
                "records of {length} bytes: they have from 1 to {RECORD_BYTES_MAX} bytes"
            )));
        }
        Ok(BinaryRecords { length })
    }
}

impl FileFormat<Vec<u8>> for BinaryRecords {
    fn describe(&self) -> String {
        format!("records of {} bytes", self.length)
    }

    fn read(&self, file: &InputFile, each: &mut dyn FnMut(Vec<u8>) -> Result<()>) -> Result<()> {
        let mut reader = file.unpacked()?;
        for number in 1u64.. {
            let mut record = Vec::with_capacity(self.length);
            let read = reader.by_ref().take(self.length as u64).read_to_end(&mut record);
            match read.map_err(|e| file.failed(None, e))? {
                0 => break,
                read if read < self.length => {
                    let text = format!("record {number} has {read} bytes instead of {}", self.length);
                    return Err(file.refused(None, text));
                }
                _ => each(record)?,
            }
        }
        Ok(())
    }
}
