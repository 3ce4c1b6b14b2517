//! Compression codecs, each by the name of its Java class.

use flate2::Compression as Level;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::{self, Read, Write};

/// How keys and values are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// `DefaultCodec`: zlib. Every Hadoop reads it, without native libraries.
    #[default]
    Default,
    /// `GzipCodec`. Hadoop reads it everywhere, and writes it only with its native libraries.
    Gzip,
}

impl Codec {
    /// The full name of its Java class.
    pub fn class(self) -> &'static str {
        match self {
            Codec::Default => "org.apache.hadoop.io.compress.DefaultCodec",
            Codec::Gzip => "org.apache.hadoop.io.compress.GzipCodec",
        }
    }

    /// The codec of this class. `DeflateCodec` is another name of the default.
    pub(crate) fn of_class(class: &str) -> Option<Codec> {
        match class {
            "org.apache.hadoop.io.compress.DeflateCodec" => Some(Codec::Default),
            _ => [Codec::Default, Codec::Gzip].into_iter().find(|codec| codec.class() == class),
        }
    }

    /// Appends `bytes`, compressed.
    pub(crate) fn compress(self, bytes: &[u8], out: &mut Vec<u8>) {
        // Writing to a vector can't fail.
        let written = match self {
            Codec::Default => {
                let mut encoder = ZlibEncoder::new(out, Level::default());
                encoder.write_all(bytes).and_then(|()| encoder.finish().map(drop))
            }
            Codec::Gzip => {
                // Its header has no time and no name, so equal bytes give equal bytes.
                let mut encoder = GzEncoder::new(out, Level::default());
                encoder.write_all(bytes).and_then(|()| encoder.finish().map(drop))
            }
        };
        written.expect("a vector takes all that is written to it");
    }

    /// `bytes` decompressed, at most `limit` of them. More than that is an error, and so is what is left behind their end.
    pub(crate) fn decompress(self, bytes: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        // What has no byte at all is nothing, too.
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let (plain, left) = match self {
            Codec::Default => {
                let mut decoder = ZlibDecoder::new(bytes);
                (read_up_to(&mut decoder, limit)?, decoder.into_inner().len())
            }
            Codec::Gzip => {
                let mut decoder = MultiGzDecoder::new(bytes);
                (read_up_to(&mut decoder, limit)?, decoder.into_inner().len())
            }
        };
        if left > 0 {
            return Err(io::Error::other(format!(
                "{left} bytes are left behind the end of what is compressed"
            )));
        }
        Ok(plain)
    }
}

fn read_up_to(from: &mut impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    from.take(limit as u64 + 1).read_to_end(&mut plain)?;
    if plain.len() > limit {
        return Err(io::Error::other(format!("has more than {limit} bytes when decompressed")));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Codec; 2] = [Codec::Default, Codec::Gzip];

    #[test]
    fn what_expands_beyond_the_limit_is_refused() {
        for codec in ALL {
            let mut bomb = Vec::new();
            codec.compress(&vec![0; 10_000_000], &mut bomb);
            assert!(bomb.len() < 20_000);
            let error = codec.decompress(&bomb, 1_000_000).unwrap_err();
            assert!(error.to_string().contains("more than 1000000 bytes"), "{error}");
            assert_eq!(codec.decompress(&bomb, 10_000_000).unwrap().len(), 10_000_000);
        }
    }

    #[test]
    fn what_is_cut_off_or_has_something_behind_it_is_refused() {
        for codec in ALL {
            let mut packed = Vec::new();
            codec.compress(b"the tide comes", &mut packed);
            for end in 1..packed.len() {
                assert!(codec.decompress(&packed[..end], 100).is_err(), "{codec:?} cut off at {end}");
            }
            packed.push(7);
            assert!(codec.decompress(&packed, 100).is_err(), "{codec:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>) {
            for codec in ALL {
                let mut packed = Vec::new();
                codec.compress(&bytes, &mut packed);
                prop_assert_eq!(&codec.decompress(&packed, bytes.len()).unwrap(), &bytes);
            }
        }
    }
}
