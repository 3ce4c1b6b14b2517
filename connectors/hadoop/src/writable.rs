//! Types as Hadoop's `Writable`s: the name of the Java class, and its bytes.

use crate::wire::{put_text, take, take_array, take_text};
use compact_str::CompactString;
use tidegate_core::{Error, Result};

/// A type that Hadoop knows by a Java class: what keys and values of a SequenceFile are.
///
/// | type | class in `org.apache.hadoop.io` |
/// | --- | --- |
/// | `String`, `CompactString` | `Text` |
/// | `i8`, `i16`, `i32`, `i64` | `ByteWritable`, `ShortWritable`, `IntWritable`, `LongWritable` |
/// | `f32`, `f64` | `FloatWritable`, `DoubleWritable` |
/// | `bool` | `BooleanWritable` |
/// | `Vec<u8>` | `BytesWritable` |
/// | `()` | `NullWritable` |
///
/// Java has no unsigned numbers: convert them to what holds them. A class of one's own is a type with this trait:
///
/// ```
/// use tidegate_hadoop::{Writable, wire};
///
/// #[derive(Debug, PartialEq)]
/// struct Reading {
///     station: String,
///     level: f64,
/// }
///
/// impl Writable for Reading {
///     const CLASS: &'static str = "org.example.Reading";
///
///     fn write(&self, out: &mut Vec<u8>) {
///         wire::put_text(out, &self.station);
///         out.extend(self.level.to_be_bytes());
///     }
///
///     fn read(bytes: &mut &[u8]) -> tidegate::Result<Reading> {
///         let station = wire::take_text(bytes)?.to_owned();
///         Ok(Reading { station, level: f64::from_be_bytes(wire::take_array(bytes)?) })
///     }
/// }
///
/// let mut bytes = Vec::new();
/// Reading { station: "Cuxhaven".to_owned(), level: 1.5 }.write(&mut bytes);
/// assert_eq!(Reading::read(&mut bytes.as_slice()).unwrap().level, 1.5);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no Hadoop `Writable`",
    note = "texts, signed numbers, `bool`, `Vec<u8>` and `()` are; `map` to them, or implement `Writable` for your type"
)]
pub trait Writable: Sized {
    /// The full name of the Java class.
    const CLASS: &'static str;

    /// Appends what the class's `write` writes.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes from the front of `bytes` what [`write`](Writable::write) appends.
    ///
    /// # Errors
    /// `DataLost` when the bytes are none of this type.
    fn read(bytes: &mut &[u8]) -> Result<Self>;
}

macro_rules! numbers {
    ($($type:ty: $class:literal),*) => {$(
        impl Writable for $type {
            const CLASS: &'static str = concat!("org.apache.hadoop.io.", $class);

            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn read(bytes: &mut &[u8]) -> Result<Self> {
                Ok(<$type>::from_be_bytes(take_array(bytes)?))
            }
        }
    )*};
}

numbers!(
    i8: "ByteWritable", i16: "ShortWritable", i32: "IntWritable", i64: "LongWritable", f32: "FloatWritable",
    f64: "DoubleWritable"
);

macro_rules! texts {
    ($($type:ty),*) => {$(
        impl Writable for $type {
            const CLASS: &'static str = "org.apache.hadoop.io.Text";

            fn write(&self, out: &mut Vec<u8>) {
                put_text(out, self);
            }

            fn read(bytes: &mut &[u8]) -> Result<Self> {
                take_text(bytes).map(<$type>::from)
            }
        }
    )*};
}

texts!(String, CompactString);

impl Writable for bool {
    const CLASS: &'static str = "org.apache.hadoop.io.BooleanWritable";

    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(bytes: &mut &[u8]) -> Result<Self> {
        // As Java does: all but 0 is true.
        Ok(take(bytes, 1)?[0] != 0)
    }
}

impl Writable for Vec<u8> {
    const CLASS: &'static str = "org.apache.hadoop.io.BytesWritable";

    fn write(&self, out: &mut Vec<u8>) {
        // A record that is longer than its length can say is refused by the writer of the file.
        out.extend_from_slice(&(self.len() as u32).to_be_bytes());
        out.extend_from_slice(self);
    }

    fn read(bytes: &mut &[u8]) -> Result<Self> {
        let length = i32::from_be_bytes(take_array(bytes)?);
        let length = usize::try_from(length)
            .map_err(|_| Error::data_lost(format!("a BytesWritable says that it has {length} bytes")))?;
        Ok(take(bytes, length)?.to_vec())
    }
}

impl Writable for () {
    const CLASS: &'static str = "org.apache.hadoop.io.NullWritable";

    fn write(&self, _: &mut Vec<u8>) {}

    fn read(_: &mut &[u8]) -> Result<Self> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    fn has<T: Writable + PartialEq + Debug>(value: T, class: &str, bytes: &[u8]) {
        let mut out = Vec::new();
        value.write(&mut out);
        assert_eq!((T::CLASS, out.as_slice()), (&*format!("org.apache.hadoop.io.{class}"), bytes));
        let mut rest = out.as_slice();
        assert_eq!(T::read(&mut rest).unwrap(), value);
        assert!(rest.is_empty());
        for end in 0..bytes.len() {
            assert!(T::read(&mut &bytes[..end]).is_err(), "{value:?} cut off at {end}");
        }
    }

    #[test]
    fn each_type_has_the_bytes_of_its_class() {
        has("ä".to_owned(), "Text", &[2, 0xc3, 0xa4]);
        has(CompactString::from("a"), "Text", &[1, 97]);
        has(-1i8, "ByteWritable", &[255]);
        has(-2i16, "ShortWritable", &[255, 254]);
        has(258i32, "IntWritable", &[0, 0, 1, 2]);
        has(-1i64, "LongWritable", &[255; 8]);
        has(1f32, "FloatWritable", &[0x3f, 0x80, 0, 0]);
        has(-2f64, "DoubleWritable", &[0xc0, 0, 0, 0, 0, 0, 0, 0]);
        has(true, "BooleanWritable", &[1]);
        has(vec![7u8, 8], "BytesWritable", &[0, 0, 0, 2, 7, 8]);
        has((), "NullWritable", &[]);
    }
}
