//! Inputs that need no outer system.

mod constant;
mod queue;
mod rate;

pub(crate) use constant::ConstantSource;
pub use queue::QueueInput;
pub(crate) use queue::QueueSource;
pub(crate) use rate::{RateSource, RateTimes};
