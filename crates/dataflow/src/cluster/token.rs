//! The secret by which the processes of one job know each other.

use std::fmt;
use std::str::FromStr;
use tidegate_core::{Error, Result};

/// Bytes of each half of a token.
pub(crate) const HALF_BYTES: usize = 32;

/// The secret by which the processes of one job know each other: 64 hexadecimal digits, made anew for each run.
///
/// Who connects shows the first half, who listens answers with the second: neither goes on with a stranger.
#[derive(Clone)]
pub struct ClusterToken {
    knock: [u8; HALF_BYTES],
    answer: [u8; HALF_BYTES],
}

impl ClusterToken {
    /// A token nobody else has: 244 random bits from the operating system.
    pub fn random() -> ClusterToken {
        let half = || {
            let mut text = [0; HALF_BYTES];
            uuid::Uuid::new_v4().simple().encode_lower(&mut text);
            text
        };
        ClusterToken { knock: half(), answer: half() }
    }

    /// The token as text, to be handed to the other processes in secret (their environment, never their arguments).
    pub fn reveal(&self) -> String {
        [self.knock, self.answer].concat().into_iter().map(char::from).collect()
    }

    pub(crate) fn knock(&self) -> &[u8] {
        &self.knock
    }

    pub(crate) fn answer(&self) -> &[u8] {
        &self.answer
    }
}

impl FromStr for ClusterToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<ClusterToken> {
        let digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        let bytes: Option<[u8; 2 * HALF_BYTES]> = text.as_bytes().try_into().ok();
        // The text itself is a secret, even a wrong one.
        let Some(bytes) = bytes.filter(|bytes| bytes.iter().all(digit)) else {
            return Err(Error::reconfigure(format!(
                "the cluster's token must be {} hexadecimal digits in lower case, as the driver made it",
                2 * HALF_BYTES
            )));
        };
        let half = |at: usize| std::array::from_fn(|place| bytes[at + place]);
        Ok(ClusterToken { knock: half(0), answer: half(HALF_BYTES) })
    }
}

impl fmt::Debug for ClusterToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterToken(secret)")
    }
}

/// Whether both are the same, in a time that does not depend on where they differ.
pub(crate) fn same_secret(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |differ, (l, r)| differ | (l ^ r)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_environment_and_never_shows_itself() {
        let token = ClusterToken::random();
        let read: ClusterToken = token.reveal().parse().unwrap();
        assert_eq!((read.knock, read.answer), (token.knock, token.answer));
        assert_ne!(token.reveal(), ClusterToken::random().reveal());
        assert_eq!(format!("{token:?}"), "ClusterToken(secret)");
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_repeated() {
        for text in ["", "hunter2", &"g".repeat(64), &"a".repeat(65)] {
            let error = text.parse::<ClusterToken>().unwrap_err().to_string();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }
}
