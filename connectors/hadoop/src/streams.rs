//! SequenceFiles and object files as formats of file streams.

use crate::object::{ObjectFormat, ObjectReader};
use crate::sequence::{SequenceFormat, SequenceReader};
use crate::writable::Writable;
use serde::de::DeserializeOwned;
use tidegate_core::Result;
use tidegate_files::{FileFormat, InputFile};

impl<K: Writable, V: Writable> FileFormat<(K, V)> for SequenceFormat {
    fn describe(&self) -> String {
        "pairs of SequenceFiles".to_owned()
    }

    fn read(&self, file: &InputFile, each: &mut dyn FnMut((K, V)) -> Result<()>) -> Result<()> {
        SequenceReader::new(file.place(), file.unpacked()?)?.records()?.try_for_each(|pair| each(pair?))
    }
}

impl<T: DeserializeOwned> FileFormat<T> for ObjectFormat {
    fn describe(&self) -> String {
        "objects".to_owned()
    }

    fn read(&self, file: &InputFile, each: &mut dyn FnMut(T) -> Result<()>) -> Result<()> {
        ObjectReader::new(file.place(), file.unpacked()?)?.try_for_each(|object| each(object?))
    }
}
