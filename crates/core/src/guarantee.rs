//! What becomes of a record after a crash: a word for it, and the reason.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How often a record takes effect, at worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guarantee {
    /// A crash can lose it; it is never there twice.
    AtMostOnce,
    /// It is never lost; a crash can bring it twice.
    AtLeastOnce,
    /// It is there once, whatever happens.
    ExactlyOnce,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Guarantee::AtMostOnce => "at most once",
            Guarantee::AtLeastOnce => "at least once",
            Guarantee::ExactlyOnce => "exactly once",
        })
    }
}

/// What an input does with a record, from its origin into a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputGuarantee {
    /// How often the record is in a batch that is committed, seen from its origin.
    pub guarantee: Guarantee,
    /// Why, and where it is less than exactly once what would mend that; half a sentence without a full stop.
    pub why: String,
}

impl InputGuarantee {
    /// Of `guarantee`, because of `why`.
    pub fn new(guarantee: Guarantee, why: impl Into<String>) -> InputGuarantee {
        InputGuarantee { guarantee, why: why.into() }
    }

    /// Exactly once, because of `why`.
    pub fn exactly_once(why: impl Into<String>) -> InputGuarantee {
        InputGuarantee::new(Guarantee::ExactlyOnce, why)
    }
}

impl fmt::Display for InputGuarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.guarantee, self.why)
    }
}
