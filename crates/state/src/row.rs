//! What a state is made of: keys, values, and one row of both as it is kept in a file.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::hash::Hash;

/// What a key must be. Every type that fits is one.
///
/// Two keys are the same when they are equal *and* serialise equally, so `Eq` must agree with `Serialize`: a key that compares
/// without regard to case, say, must also serialise in one case.
pub trait StateKey: Clone + Hash + Eq + Serialize + DeserializeOwned + Send + 'static {}

impl<K: Clone + Hash + Eq + Serialize + DeserializeOwned + Send + 'static> StateKey for K {}

/// What a value must be. Every type that fits is one.
///
/// It must come back from `Deserialize` as it went into `Serialize`: what is skipped there is lost at a restart.
pub trait StateValue: Clone + Serialize + DeserializeOwned + Send + 'static {}

impl<V: Clone + Serialize + DeserializeOwned + Send + 'static> StateValue for V {}

/// One key of a state, as it is kept in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<K, V> {
    /// The key.
    pub key: K,
    /// Its value; `None`: the key was removed.
    pub value: Option<V>,
    /// When it was last updated, in milliseconds since 1970 UTC; of a removed key, when it was last updated before.
    pub updated_ms: u64,
}
