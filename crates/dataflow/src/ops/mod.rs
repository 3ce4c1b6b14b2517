//! The operators, one a file. Each gives the node below it; the public API wraps them.
//!
//! What all of them keep to: an operator that gives something when a batch is through does so only where its node has a
//! dataset in that batch; a shuffle opens every partition, empty ones too; what it gives is in an order that does not depend on
//! the number of workers (by the hash of the key, values of a key by source partition and position).

mod coalesce;
mod cogroup;
mod combine_by_key;
mod count;
mod decode;
mod filter;
mod flat_map;
mod gather;
mod inverse_window;
mod keyed;
mod keys;
mod map;
mod map_partitions;
mod map_with_state;
mod output;
mod pack;
mod reduce;
mod reduce_by_key;
mod repartition;
mod sample;
mod scatter;
mod sets;
mod sort;
mod static_pairs;
mod take;
mod thin;
mod union;
mod update_state;
mod values;
mod window;
mod with;
mod zip_with_index;

pub use coalesce::coalesce;
pub use cogroup::{cogroup, full_outer_join, join, left_outer_join, right_outer_join};
pub use combine_by_key::{combine_by_key, group_by_key};
pub use count::count;
pub use decode::{decode, decode_or_give};
pub use filter::filter;
pub use flat_map::{flat_map, flat_map_with};
pub use gather::{aggregate, gather};
pub use inverse_window::{Keep, Moving, reduce_by_key_and_window};
pub use keys::{group_by, key_by, keys, values};
pub use map::map;
pub use map_partitions::map_partitions;
pub use map_with_state::{Mapped, MappedState, Mapping, State, map_with_state};
pub use output::{output, output_in_place};
pub use reduce::{reduce, reduce_as};
pub use reduce_by_key::{flat_map_reduce_by_key, reduce_by_key};
pub use repartition::repartition;
pub use sample::sample;
pub use sets::{distinct, intersection, subtract, subtract_by_key};
pub use sort::{sort_by, sort_by_key};
pub use static_pairs::{StaticPairs, join_static, left_outer_join_static, subtract_static};
pub use take::{first, take};
pub use thin::thin;
pub use union::union;
pub use update_state::{InitialState, KeyUpdate, UpdateKey, UpdatePartition, Updating, update_state_by_key};
pub use values::{flat_map_values, map_values};
pub use window::{WindowSpan, window};
pub use with::{filter_with, map_with};
pub use zip_with_index::zip_with_index;
