//! Inputs that need no library for an outer system.

mod constant;
mod queue;
mod rate;
mod socket;

pub(crate) use constant::ConstantSource;
pub use queue::QueueInput;
pub(crate) use queue::QueueSource;
pub(crate) use rate::{RateSource, RateTimes};
pub use socket::SocketReader;
