//! A state on disk that is many times larger than the memory it is allowed stays within that memory, whatever is done with it.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::fs;
use std::process::Command;
use tempfile::TempDir;
use tidegate_core::{PartitionId, StateFile};
use tidegate_state::{DiskStores, Kept, KeyedState, StateFormat, Stores};
use tidegate_storage::LocalStorage;

const CHILD: &str = "TIDEGATE_STATE_CHILD";
const MEMORY_BYTES: u64 = 32 << 20;
const KEYS: u64 = 140_000;
const VALUE_BYTES: usize = 1 << 10;
/// What the process may have had at most: the caches and buffers, the program itself, what the allocator holds back, one file and one
/// group of rows that are being written. The state alone is more.
const PEAK_BYTES_MAX: u64 = 112 << 20;
const STATE_BYTES: u64 = KEYS * VALUE_BYTES as u64;
const _: () = assert!(STATE_BYTES > 4 * MEMORY_BYTES);
const _: () = assert!(STATE_BYTES > PEAK_BYTES_MAX);

/// Bytes that no compression makes smaller, the same for the same seed.
fn value(seed: u64) -> String {
    let mut state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(VALUE_BYTES);
    while bytes.len() < VALUE_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes().map(|byte| byte & 0x7F));
    }
    String::from_utf8(bytes).unwrap()
}

fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_state_on_disk_takes_no_more_memory_than_it_is_allowed() {
    if std::env::var_os(CHILD).is_some() {
        return child();
    }
    // A process of its own, so that its peak is that of this test.
    let name = "a_state_on_disk_takes_no_more_memory_than_it_is_allowed";
    let mut command = Command::new(std::env::current_exe().unwrap());
    let child = command.args([name, "--exact", "--nocapture"]).env(CHILD, "1");
    // What is in use counts, not what the allocator keeps for later: that is given back at once.
    let child = child.env("MALLOC_ARENA_MAX", "1").env("MALLOC_MMAP_THRESHOLD_", "65536").output().unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stdout));
    println!("{said}");
}

fn child() {
    let directory = TempDir::new().unwrap();
    let stores = Stores::Disk(DiskStores::open(&directory.path().join("states"), MEMORY_BYTES).unwrap());
    let storage = LocalStorage::open(directory.path().join("files")).unwrap();
    let format = StateFormat::<u64, String>::of();

    let mut state = KeyedState::<u64, String>::open(&stores, "totals-0").unwrap();
    fill_and_update(&mut state);
    eprintln!("updated: {} MiB", peak_bytes() >> 20);
    let files =
        format.write(&storage, "a", PartitionId(0), state.take_changes().unwrap().into_rows()).unwrap();
    assert!(files.len() > 2);
    eprintln!("written: {} MiB", peak_bytes() >> 20);
    let mut merged = files.clone();
    merged.extend(later_changes(&mut state, &format, &storage));
    let merged = format.merge(&storage, "m", &merged, None, true).unwrap();
    eprintln!("merged: {} MiB", peak_bytes() >> 20);

    let mut restored = KeyedState::<u64, String>::open(&stores, "totals-0-again").unwrap();
    for file in &merged {
        format.read(&storage, file, &mut |row| restored.restore(row)).unwrap();
    }
    assert!(restored.take_changes().unwrap().is_empty());
    assert_eq!(restored.len(), state.len());
    for key in (0..KEYS).step_by(997) {
        assert_eq!(restored.get(&key).unwrap(), state.get(&key).unwrap());
    }
    let peak = peak_bytes();
    eprintln!("restored: {} MiB", peak >> 20);
    assert!(peak < PEAK_BYTES_MAX, "{} MiB", peak >> 20);
}

fn fill_and_update(state: &mut KeyedState<u64, String>) {
    for key in 0..KEYS {
        state.put(key, value(key), key).unwrap();
    }
    assert_eq!(state.older_than(3).unwrap().len(), 3);
    state
        .update_all(KEYS, &mut |key, old| {
            assert_eq!(old.len(), VALUE_BYTES);
            Ok(if key % 4 == 0 { Kept::Changed(value(key + KEYS)) } else { Kept::Same(old) })
        })
        .unwrap();
    let mut count = 0;
    state
        .for_each(&mut |_, _| {
            count += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!((count, state.len()), (KEYS, KEYS));
}

fn later_changes(
    state: &mut KeyedState<u64, String>,
    format: &StateFormat<u64, String>,
    storage: &LocalStorage,
) -> Vec<StateFile> {
    for key in (0..KEYS).step_by(10) {
        if key % 20 == 0 {
            assert!(state.remove(&key).unwrap());
        } else {
            state.put(key, value(key + 2 * KEYS), KEYS + 1).unwrap();
        }
    }
    let changes = state.take_changes().unwrap();
    assert_eq!(changes.len(), KEYS / 10);
    format.write(storage, "b", PartitionId(0), changes.into_rows()).unwrap()
}
