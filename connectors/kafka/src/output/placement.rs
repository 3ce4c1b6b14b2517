//! Which of the output's partitions a record goes to: that of its key.
//!
//! Never change it. What an output remembers is kept by partition, so another hash would send a record to a partition that has
//! not seen its batch, and a batch that is run again after a crash would be written twice. The numbers in the tests below are part
//! of the format.

use super::record::ProducerRecord;

const OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01B3;

/// The hash of a record: of its key; without one of its partition; without that of its value.
pub(crate) fn hash(record: &ProducerRecord) -> u64 {
    if let Some(key) = record.key_bytes() {
        return of_bytes(1, key);
    }
    match record.partition_number() {
        Some(partition) => of_bytes(2, &partition.to_le_bytes()),
        None => of_bytes(3, record.value_bytes().unwrap_or_default()),
    }
}

/// FNV-1a over words of eight bytes, little-endian, the last one filled with zeros; then the length and the finaliser of
/// splitmix64, as the partition is taken from the low bits.
fn of_bytes(tag: u64, bytes: &[u8]) -> u64 {
    let mut state = (OFFSET ^ tag).wrapping_mul(PRIME);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = (state ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME).rotate_left(29);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    state = (state ^ u64::from_le_bytes(last)).wrapping_mul(PRIME).rotate_left(29);
    let mut z = state ^ bytes.len() as u64;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_alone_decides_where_there_is_one() {
        let of = |record: ProducerRecord| hash(&record);
        let key = of(ProducerRecord::new().key("k"));
        assert_eq!(key, of(ProducerRecord::to("other").key("k").value("v").partition(1)));
        assert_ne!(key, of(ProducerRecord::new().value("k")));
        let placed = of(ProducerRecord::new().value("v").partition(1));
        assert_eq!(placed, of(ProducerRecord::new().value("w").partition(1)));
        assert_ne!(of(ProducerRecord::new().key("")), of(ProducerRecord::new().key([0u8])));
    }

    #[test]
    fn four_partitions_get_about_as_many_keys() {
        let mut keys = [0; 4];
        for number in 0..10_000 {
            keys[(hash(&ProducerRecord::new().key(format!("word{number}"))) % 4) as usize] += 1;
        }
        assert!(keys.iter().all(|count| (2300..2700).contains(count)), "{keys:?}");
    }

    // Worked out by a program of its own, from the words above.
    #[test]
    fn the_hash_never_changes() {
        let pinned = [
            (ProducerRecord::new().key(""), 0x6AAD_91AC_F184_14BB),
            (ProducerRecord::new().key("the"), 0x46A5_C950_43EC_5B95),
            (ProducerRecord::new().key("tidegates"), 0x06A2_8EA1_2BE6_76DB),
            (ProducerRecord::new().value("12345678").partition(7), 0xC3EF_6CF2_0B53_2635),
            (ProducerRecord::new().value("12345678"), 0x2935_92B0_A2C4_6884),
        ];
        for (place, (record, was)) in pinned.into_iter().enumerate() {
            let is = hash(&record);
            assert_eq!(is, was, "hash {place} is {is:#018X}");
        }
    }
}
