//! The hash of a row, by which it is in its partition: of its values, whatever the format of the file.
//!
//! A serialiser that writes nothing. Formats have one of text made of each row for the file anyway, but a second one for the hash
//! costs as much again as the first.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use std::fmt;
use tidegate_core::StableHash;

/// The hash of a row, the same on every machine and in every version. The order of a map or set, which is another one in each
/// process, makes no difference. A row that refuses to be serialised is hashed up to there, which is as stable.
pub(super) fn hash_row(row: &impl Serialize) -> u64 {
    let mut hash = Values(StableHash::new());
    let _ = row.serialize(&mut hash);
    hash.0.finish()
}

struct Values(StableHash);

impl Values {
    fn add(&mut self, word: u64) -> Result<(), fmt::Error> {
        self.0.add_word(word);
        Ok(())
    }

    /// Eight bytes at a time, the last ones filled up with zeros, and their number.
    fn text(&mut self, bytes: &[u8]) -> Result<(), fmt::Error> {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.0.add_word(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.0.add_word(u64::from_le_bytes(last));
        }
        self.add(bytes.len() as u64)
    }

    fn several(&mut self) -> Several<'_> {
        Several { into: self, sum: 0 }
    }
}

/// Values whose order makes no difference.
struct Several<'v> {
    into: &'v mut Values,
    sum: u64,
}

impl Several<'_> {
    fn add(&mut self, hash: u64) -> Result<(), fmt::Error> {
        self.sum = self.sum.wrapping_add(hash);
        Ok(())
    }

    fn end(self) -> Result<(), fmt::Error> {
        self.into.add(self.sum)
    }
}

/// Entries of a map: the key at hand is hashed with its value.
struct Entries<'v> {
    all: Several<'v>,
    entry: Values,
}

/// A number as one word, a negative one in two's complement.
macro_rules! numbers {
    ($($name:ident: $kind:ty),*) => {
        $(fn $name(self, value: $kind) -> Result<(), fmt::Error> {
            self.add(value as u64)
        })*
    };
}

impl<'v> Serializer for &'v mut Values {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Several<'v>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Entries<'v>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    numbers!(
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64
    );

    fn serialize_i128(self, value: i128) -> Result<(), fmt::Error> {
        self.serialize_u128(value.cast_unsigned())
    }

    fn serialize_u128(self, value: u128) -> Result<(), fmt::Error> {
        self.add(value as u64)?;
        self.add((value >> 64) as u64)
    }

    fn serialize_f32(self, value: f32) -> Result<(), fmt::Error> {
        self.add(value.to_bits().into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), fmt::Error> {
        self.add(value.to_bits())
    }

    fn serialize_bool(self, value: bool) -> Result<(), fmt::Error> {
        self.add(value.into())
    }

    fn serialize_char(self, value: char) -> Result<(), fmt::Error> {
        self.add(u32::from(value).into())
    }

    fn serialize_str(self, value: &str) -> Result<(), fmt::Error> {
        self.text(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), fmt::Error> {
        self.text(value)
    }

    fn serialize_none(self) -> Result<(), fmt::Error> {
        self.add(0)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), fmt::Error> {
        self.add(1)?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), fmt::Error> {
        self.add(0)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), fmt::Error> {
        self.add(0)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), fmt::Error> {
        self.text(variant.as_bytes())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), fmt::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), fmt::Error> {
        self.text(variant.as_bytes())?;
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Several<'v>, fmt::Error> {
        Ok(self.several())
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, fmt::Error> {
        self.text(variant.as_bytes())?;
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'v>, fmt::Error> {
        Ok(Entries { all: self.several(), entry: Values(StableHash::new()) })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, fmt::Error> {
        self.text(variant.as_bytes())?;
        Ok(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl SerializeSeq for Several<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.add(hash_row(&value))
    }

    fn end(self) -> Result<(), fmt::Error> {
        Several::end(self)
    }
}

impl SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), fmt::Error> {
        self.entry = Values(StableHash::new());
        key.serialize(&mut self.entry)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        value.serialize(&mut self.entry)?;
        self.all.add(self.entry.0.finish())
    }

    fn end(self) -> Result<(), fmt::Error> {
        self.all.end()
    }
}

macro_rules! fields {
    ($($kind:ident: $name:ident($($key:ty)?)),*) => {
        $(impl $kind for &mut Values {
            type Ok = ();
            type Error = fmt::Error;

            fn $name<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Result<(), fmt::Error> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), fmt::Error> {
                Ok(())
            }
        })*
    };
}

fields!(
    SerializeTuple: serialize_element(),
    SerializeTupleStruct: serialize_field(),
    SerializeTupleVariant: serialize_field(),
    SerializeStruct: serialize_field(&'static str),
    SerializeStructVariant: serialize_field(&'static str)
);

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serialize;
    use std::collections::{BTreeMap, HashMap, HashSet};

    #[derive(Serialize)]
    enum Kind {
        Plain,
        With { level: f64 },
    }

    #[derive(Serialize)]
    struct Row {
        word: &'static str,
        count: i64,
        kind: Kind,
        note: Option<char>,
    }

    /// Pinned, worked out by a program of its own: another hash would look for a batch in a partition that does not have it.
    #[test]
    fn rows_have_the_hash_that_they_always_had() {
        let row = Row { word: "ebb", count: 2, kind: Kind::With { level: 0.5 }, note: Some('x') };
        assert_eq!(hash_row(&row), 0x97C8_D789_1EB1_38C4);
        let row = Row { word: "", count: -1, kind: Kind::Plain, note: None };
        assert_eq!(hash_row(&row), 0x9578_5355_AE7F_A321);
        assert_eq!(hash_row(&(7u8, "flow and ebb")), 0xA35A_8C4F_B40A_0617);
    }

    #[test]
    fn the_order_of_maps_and_sets_makes_no_difference_but_what_is_in_them() {
        let words: Vec<String> = (0..100).map(|number| format!("w{number}")).collect();
        // Each has an order of its own.
        let maps = || words.iter().map(|word| (word.clone(), word.len())).collect::<HashMap<_, _>>();
        assert_eq!(hash_row(&maps()), hash_row(&maps()));
        let ordered: BTreeMap<_, _> = maps().into_iter().collect();
        assert_eq!(hash_row(&maps()), hash_row(&ordered));
        let set: HashSet<_> = words.iter().cloned().collect();
        assert_eq!(hash_row(&set), hash_row(&words));
        assert_ne!(hash_row(&words[1..].to_vec()), hash_row(&words));
        let swapped = BTreeMap::from([("a", "2"), ("b", "1")]);
        assert_ne!(hash_row(&swapped), hash_row(&BTreeMap::from([("a", "1"), ("b", "2")])));
    }
}
