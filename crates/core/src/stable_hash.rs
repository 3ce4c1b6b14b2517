//! The hash by which outputs spread rows over their partitions.

const OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01B3;
/// What splitmix64 counts by.
const WORD: u64 = 0x9E37_79B9_7F4A_7C15;

/// A hash for [`Placement::Hash`](crate::Placement::Hash): of the bytes that are added, the same on every machine and in every version.
///
/// FNV-1a, and the finaliser of splitmix64, because FNV alone leaves its low bits poor and the partition is taken from those. Never
/// change it: what an output remembers is kept by partition, so another hash would send a row to a partition that has not seen
/// its batch, and a batch that is run again after a crash would be written twice.
///
/// ```
/// use tidegate_core::StableHash;
///
/// let mut hash = StableHash::new();
/// hash.add(b"ti");
/// hash.add(b"de");
/// assert_eq!(hash.finish(), StableHash::of(b"tide"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct StableHash(u64);

impl StableHash {
    /// The hash of nothing yet.
    pub fn new() -> StableHash {
        StableHash(OFFSET)
    }

    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut hash = StableHash::new();
        hash.add(bytes);
        hash.finish()
    }

    /// Adds `bytes`. Where one part ends and the next begins makes no difference.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// Adds eight bytes in one step, which is faster, and not the same as adding them one by one.
    pub fn add_word(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(WORD);
        self.0 = mixed ^ (mixed >> 32);
    }

    /// The hash of all that was added.
    pub fn finish(self) -> u64 {
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Default for StableHash {
    fn default() -> StableHash {
        StableHash::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Worked out by a program of its own, from the words above.
    #[test]
    fn the_hash_never_changes() {
        let text = [&[4][..], &3u64.to_le_bytes(), b"the"].concat();
        let pinned: [(&[u8], u64); 4] = [
            (b"", 0xF52A_15E9_A9B5_E89B),
            (b"the", 0x9019_6226_0B6A_34D5),
            (b"day=2026-11-26", 0xF901_3EE5_05A2_E8A3),
            // As the outputs to databases write a text.
            (&text, 0x3A82_B310_4910_91FE),
        ];
        for (bytes, expected) in pinned {
            assert_eq!(StableHash::of(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn the_hash_of_words_never_changes() {
        let of = |words: &[u64]| {
            let mut hash = StableHash::new();
            words.iter().for_each(|word| hash.add_word(*word));
            hash.finish()
        };
        assert_eq!(
            [of(&[0]), of(&[1]), of(&[1, 2])],
            [0xF937_6FE9_0135_A10E, 0x2B66_4188_0501_D436, 0xC0BB_E2CE_3425_705D]
        );
    }

    #[test]
    fn four_partitions_get_about_as_many_keys() {
        let by_word = |number: u64| {
            let mut hash = StableHash::new();
            hash.add_word(number << 40);
            hash.finish()
        };
        for kind in ["word", "row", ""] {
            let mut keys = [0; 4];
            for number in 0..10_000 {
                let text = format!("{kind}{number}");
                let hash = if kind.is_empty() { by_word(number) } else { StableHash::of(text.as_bytes()) };
                keys[(hash % 4) as usize] += 1;
            }
            assert!(keys.iter().all(|count| (2300..2700).contains(count)), "{kind}: {keys:?}");
        }
    }
}
