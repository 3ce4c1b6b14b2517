//! Inputs that need no outer system.

mod constant;
mod queue;

pub(crate) use constant::ConstantSource;
pub use queue::QueueInput;
pub(crate) use queue::QueueSource;
