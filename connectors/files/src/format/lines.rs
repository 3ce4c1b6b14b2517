//! Lines of text.

use super::{FileFormat, RECORD_BYTES_MAX, too_long};
use crate::file::InputFile;
use std::io::{BufRead, Read};
use tidegate_core::Result;

/// Lines of UTF-8 text without what ends them (`\n` or `\r\n`), each of at most 16 MiB. An empty line is a record; what follows the last
/// line's end is one if there is anything.
#[derive(Clone, Copy, Debug)]
pub struct TextLines;

impl FileFormat<String> for TextLines {
    fn describe(&self) -> String {
        "lines of text".to_owned()
    }

    fn read(&self, file: &InputFile, each: &mut dyn FnMut(String) -> Result<()>) -> Result<()> {
        each_line(file, &mut |number, line| {
            let text = std::str::from_utf8(line).map_err(|e| {
                file.refused(
                    Some(number),
                    format!("is not UTF-8 ({e}); read such files by a FileFormat of your own"),
                )
            })?;
            each(text.to_owned())
        })
    }
}

/// Each line and its number, from 1 on.
pub(super) fn each_line(file: &InputFile, each: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let mut reader = file.unpacked()?;
    let mut line = Vec::new();
    let mut begins = 0;
    for number in 1.. {
        line.clear();
        let read = reader.by_ref().take(RECORD_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line);
        let read = read.map_err(|e| file.failed(Some(number), e))?;
        if read == 0 {
            break;
        }
        if line.ends_with(b"\n") {
            line.pop();
            if line.ends_with(b"\r") {
                line.pop();
            }
        } else if line.len() > RECORD_BYTES_MAX {
            return Err(file.refused(Some(number), too_long(begins)));
        }
        each(number, &line)?;
        begins += read as u64;
    }
    Ok(())
}
