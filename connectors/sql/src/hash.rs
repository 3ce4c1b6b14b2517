//! The bytes and the hash of a key: what decides the partition a row goes to.
//!
//! Never change either. What an output remembers is kept by partition, so another hash would send a row to a partition
//! that has not seen its batch, and a batch run again after a crash would be written twice. The numbers in the tests below are
//! part of the format.

use crate::row::{SqlRef, SqlRow};
use tidegate_core::StableHash;

/// Gives the canonical bytes of `value`: a tag, then the value. No two keys have the same bytes, and numbers that a database
/// takes for equal (`1` as i32 and i64, `0.0` and `-0.0`) have the same.
pub(crate) fn encode(value: SqlRef<'_>, put: &mut impl FnMut(&[u8])) {
    match value {
        SqlRef::Null => put(&[0]),
        SqlRef::Int(number) => {
            put(&[1]);
            put(&number.to_le_bytes());
        }
        SqlRef::Unsigned(number) => match i64::try_from(number) {
            Ok(number) => encode(SqlRef::Int(number), put),
            // The writer refuses it; it needs some partition all the same.
            Err(_) => {
                put(&[6]);
                put(&number.to_le_bytes());
            }
        },
        SqlRef::Float(number) => {
            // "A NaN" has many bit patterns, of which this is ours; adding zero turns -0.0 into 0.0.
            let bits = if number.is_nan() { 0x7FF8_0000_0000_0000 } else { (number + 0.0).to_bits() };
            put(&[2]);
            put(&bits.to_le_bytes());
        }
        SqlRef::Bool(truth) => put(&[3, u8::from(truth)]),
        SqlRef::Text(text) => encode_bytes(4, text.as_bytes(), put),
        SqlRef::Bytes(bytes) => encode_bytes(5, bytes, put),
    }
}

fn encode_bytes(tag: u8, bytes: &[u8], put: &mut impl FnMut(&[u8])) {
    put(&[tag]);
    put(&(bytes.len() as u64).to_le_bytes());
    put(bytes);
}

/// The hash of the first `fields` fields of `row`, of [`encode`]'s bytes.
pub(crate) fn hash_row<T: SqlRow>(row: &T, fields: usize) -> u64 {
    let mut hash = StableHash::new();
    let mut field = 0;
    row.each_value(&mut |value| {
        if field < fields {
            encode(value, &mut |bytes| hash.add(bytes));
        }
        field += 1;
    });
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use compact_str::CompactString;

    // Worked out by a program of its own, from the words above.
    #[test]
    fn the_hash_never_changes() {
        let pinned = [
            (hash_row(&(String::new(),), 1), 0x4D3F_C651_B154_5DFD),
            (hash_row(&("the",), 1), 0x3A82_B310_4910_91FE),
            (hash_row(&("tidegate", 7i64), 1), 0xCBC9_3A86_26E8_21A8),
            (hash_row(&(42i64,), 1), 0x3239_A611_418A_928F),
            (hash_row(&("a", -1i64), 2), 0x6303_E751_FFA5_60FA),
            (hash_row(&(1.5f64, true, None::<i64>, vec![1u8, 2]), 4), 0x9F35_87CD_6E1D_C1E0),
            (hash_row(&(f64::NAN,), 1), 0x6EB7_2715_FAEE_B48D),
        ];
        for (place, (is, was)) in pinned.into_iter().enumerate() {
            assert_eq!(is, was, "hash {place} is {is:#018X}");
        }
    }

    #[test]
    fn what_a_database_takes_for_equal_has_the_same_hash() {
        assert_eq!(hash_row(&(7i32,), 1), hash_row(&(7u64,), 1));
        assert_eq!(hash_row(&(0.0f64,), 1), hash_row(&(-0.0f64,), 1));
        assert_eq!(hash_row(&(f64::NAN,), 1), hash_row(&(-f64::NAN,), 1));
        assert_eq!(hash_row(&("x",), 1), hash_row(&(CompactString::new("x"),), 1));
        assert_eq!(hash_row(&("x", 1i64), 1), hash_row(&("x", 2i64), 1));
    }

    #[test]
    fn a_key_of_two_fields_is_not_their_concatenation() {
        assert_ne!(hash_row(&("ab", "c"), 2), hash_row(&("a", "bc"), 2));
        assert_ne!(hash_row(&("",), 1), hash_row(&(Vec::<u8>::new(),), 1));
    }

    #[test]
    fn four_partitions_get_about_as_many_keys() {
        let mut keys = [0; 4];
        for number in 0..10_000i64 {
            keys[(hash_row(&(format!("word{number}"),), 1) % 4) as usize] += 1;
        }
        assert!(keys.iter().all(|count| (2300..2700).contains(count)), "{keys:?}");
    }
}
