//! Outputs that need no outer system.

mod foreach;
mod print;

pub(crate) use foreach::Foreach;
pub use foreach::Outcome;
pub(crate) use print::Print;
