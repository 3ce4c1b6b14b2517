//! The hash of a row or of its folder: what decides the partition a row goes to.
//!
//! Never change it. What an output remembers is kept by partition, so another hash would send a row to a partition that has not seen
//! its batch, and a batch run again after a crash would be written twice. The numbers in the test below are part of the format.

use std::io::{self, Write};

const OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01B3;

/// FNV-1a over what is written into it, and the finaliser of splitmix64, for FNV alone leaves poor low bits.
pub(super) struct StableHash(u64);

impl StableHash {
    pub(super) fn new() -> StableHash {
        StableHash(OFFSET)
    }

    pub(super) fn of(bytes: &[u8]) -> u64 {
        let mut hash = StableHash::new();
        hash.add(bytes);
        hash.finish()
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    pub(super) fn finish(self) -> u64 {
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Write for StableHash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_never_changes() {
        for (text, expected) in HASHES {
            assert_eq!(StableHash::of(text.as_bytes()), expected, "{text:?}");
        }
    }

    // Worked out by a program of its own, from the words above.
    const HASHES: [(&str, u64); 3] = [
        ("", 0xF52A_15E9_A9B5_E89B),
        ("the", 0x9019_6226_0B6A_34D5),
        ("day=2026-11-26", 0xF901_3EE5_05A2_E8A3),
    ];
}
