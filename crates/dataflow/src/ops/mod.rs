//! The operators, one a file. Each gives the node below it; the public API wraps them.

mod count;
mod filter;
mod flat_map;
mod keyed;
mod map;
mod map_partitions;
mod output;
mod reduce_by_key;
mod union;

pub use count::count;
pub use filter::filter;
pub use flat_map::{flat_map, flat_map_with};
pub use map::map;
pub use map_partitions::map_partitions;
pub use output::{output, output_in_place};
pub use reduce_by_key::{flat_map_reduce_by_key, reduce_by_key};
pub use union::union;
