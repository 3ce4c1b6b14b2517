//! Outputs that need no outer system.

mod files;
mod foreach;
mod print;

pub use files::{BatchDirectories, BatchFiles, Part, PartFormat, TextFormat, TextRow};
pub(crate) use foreach::Foreach;
pub use foreach::Outcome;
pub(crate) use print::Print;
