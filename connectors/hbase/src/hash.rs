//! The hash of a row key: what decides the partition it goes to, and so the one writer that has it.

const FNV_OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01B3;

/// FNV-1a, then the finaliser of splitmix64, because FNV alone leaves its low bits poor.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut z = FNV_OFFSET;
    for byte in bytes {
        z = (z ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
    }
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_partitions_get_about_as_many_keys() {
        let mut keys = [0; 4];
        for number in 0..10_000 {
            keys[(hash(format!("row{number}").as_bytes()) % 4) as usize] += 1;
        }
        assert!(keys.iter().all(|count| (2300..2700).contains(count)), "{keys:?}");
    }
}
