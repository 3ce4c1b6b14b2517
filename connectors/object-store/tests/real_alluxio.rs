//! Alluxio on a real master, worker and proxy.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::cell::Cell;
use std::fs;
use support::cuts::is_done_or_not_wherever_it_is_cut;
use support::{folder, loses_nothing_while_it_goes_and_comes, shared, shows_files_of_any_name};
use tidegate_core::{ErrorKind, Storage};
use tidegate_object_store::{files, storage};
use tidegate_servers::wire::Wire;
use tidegate_servers::{ALLUXIO_ENV, Alluxio};
use tidegate_storage::conformance;

/// Writes a file by REST, as a writer that dies before the next step.
fn write(path: &str, bytes: &[u8]) {
    let server = shared(ALLUXIO_ENV);
    let stream = begin(&server, path, bytes);
    post(&server, &format!("streams/{stream}/close"), "application/json", b"");
}

/// Writes a file and does not close it.
fn begin(server: &str, path: &str, bytes: &[u8]) -> String {
    let options = br#"{"recursive":true,"writeType":"CACHE_THROUGH"}"#;
    let stream = post(server, &format!("paths/{path}/create-file"), "application/json", options);
    post(server, &format!("streams/{stream}/write"), "application/octet-stream", bytes);
    stream
}

fn post(server: &str, call: &str, kind: &str, body: &[u8]) -> String {
    let request = ureq::post(format!("http://{server}/api/v1/{call}")).header("Content-Type", kind);
    request.send(body).unwrap().body_mut().read_to_string().unwrap()
}

#[test]
fn alluxio_keeps_what_a_storage_promises() {
    let url = format!("alluxio://{}/{}/checkpoints", shared(ALLUXIO_ENV), folder());
    let storage = storage(&url).unwrap();
    assert!(storage.is_exclusive());
    conformance::all(&*storage, "here");
    conformance::below_an_object_is_nothing(&*storage, "here");
    assert_eq!(storage.list("").unwrap(), []);
    assert_eq!(storage.describe(), url);
}

#[test]
fn alluxio_shows_nothing_of_a_writer_that_died_before_the_rename() {
    let folder = folder();
    let storage = storage(&format!("alluxio://{}/{folder}", shared(ALLUXIO_ENV))).unwrap();
    let left = Cell::new(0);
    conformance::an_aborted_write_is_not_seen(&*storage, "here", |_| {
        left.set(left.get() + 1);
        write(&format!("/{folder}/_~aside/{}", left.get()), b"half");
    });
}

#[test]
fn alluxio_reads_the_newest_where_a_writer_died_before_it_removed_the_older() {
    let folder = folder();
    let storage = storage(&format!("alluxio://{}/{folder}", shared(ALLUXIO_ENV))).unwrap();
    storage.put("a/x", b"older".to_vec()).unwrap();
    write(&format!("/{folder}/a/x~9"), b"old");
    write(&format!("/{folder}/a/x~10"), b"newest");
    assert_eq!(storage.get("a/x").unwrap(), Some(b"newest".to_vec()));
    let listed = storage.list("").unwrap();
    assert_eq!(
        listed.iter().map(|object| (object.path.as_str(), object.bytes)).collect::<Vec<_>>(),
        [("a/x", 6)]
    );
    assert!(!storage.put_new("a/x", b"new".to_vec()).unwrap());
    storage.put("a/x", b"next".to_vec()).unwrap();
    assert_eq!(storage.get("a/x").unwrap(), Some(b"next".to_vec()));
    storage.delete("a/x").unwrap();
    assert_eq!(storage.get("a/x").unwrap(), None);
    assert!(storage.put_new("a/x", b"new".to_vec()).unwrap());
}

/// Files that are written at once for which there is room: more than the storage itself has.
const OPEN_FILES: u32 = 16;

#[test]
fn alluxio_that_goes_and_comes_under_calls_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut alluxio = Alluxio::start(dir.path()).unwrap();
    let url = format!("alluxio://{}/checkpoints", alluxio.rest());
    // From its next start on.
    alluxio.set_room(16 * OPEN_FILES);
    loses_nothing_while_it_goes_and_comes(|| storage(&url), &mut alluxio);
    let storage = storage(&url).unwrap();
    a_rename_that_the_master_did_not_note_is_done(&*storage, &alluxio);
    a_write_that_finds_no_room_is_not_acknowledged(&*storage, &alluxio);
}

/// The store below is as after a master that was killed when it had renamed a file there.
fn a_rename_that_the_master_did_not_note_is_done(storage: &dyn Storage, alluxio: &Alluxio) {
    for to in ["noted/x", "noted/y"] {
        storage.put("not/x", to.as_bytes().to_vec()).unwrap();
        let below = |path: &str| alluxio.files().join("checkpoints").join(path);
        fs::create_dir_all(below("noted")).unwrap();
        fs::rename(below("not/x"), below(to)).unwrap();
        storage.rename("not/x", to).unwrap();
        assert_eq!(storage.get(to).unwrap(), Some(to.as_bytes().to_vec()));
        assert_eq!(storage.list("not").unwrap(), []);
    }
    assert_eq!(storage.list("noted").unwrap().len(), 2);
}

/// The proxy says of such a write that it is closed.
fn a_write_that_finds_no_room_is_not_acknowledged(storage: &dyn Storage, alluxio: &Alluxio) {
    let open: Vec<String> =
        (0..OPEN_FILES).map(|number| begin(&alluxio.rest(), &format!("/open/{number}"), b"x")).collect();
    let error = storage.put("full/x", vec![7; 1000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(error.to_string().contains("has a worker room?"), "{error}");
    assert_eq!(storage.get("full/x").unwrap(), None);
    for stream in open {
        post(&alluxio.rest(), &format!("streams/{stream}/close"), "application/json", b"");
    }
    storage.put("full/x", vec![7; 1000]).unwrap();
    assert_eq!(storage.get("full/x").unwrap(), Some(vec![7; 1000]));
}

#[test]
fn alluxio_has_each_call_done_or_not_wherever_the_connection_is_cut() {
    let (server, folder) = (shared(ALLUXIO_ENV), folder());
    let wire = Wire::to(&server);
    let through = storage(&format!("alluxio://{}/{folder}", wire.address())).unwrap();
    let direct = storage(&format!("alluxio://{server}/{folder}")).unwrap();
    let all = files(&format!("alluxio://{server}/{folder}")).unwrap();
    is_done_or_not_wherever_it_is_cut(&*through, &*direct, &wire, |case| {
        let files = all.list(usize::MAX).unwrap();
        let seen = files.iter().filter(|file| !file.path.starts_with("_~aside/"));
        assert!(seen.count() <= 1, "{case}: {files:?}");
    });
}

#[test]
fn alluxio_shows_files_of_any_name() {
    let folder = folder();
    let url = format!("alluxio://{}/{folder}/in coming", shared(ALLUXIO_ENV));
    let files = files(&url).unwrap();
    assert_eq!(files.describe(), url);
    let error = files.list(1).unwrap_err().to_string();
    assert!(error.contains("there is no such folder"), "{error}");
    let escaped =
        |path: &str| path.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>().replace("%2F", "/");
    // Alluxio itself takes what follows a question mark for a query.
    shows_files_of_any_name(&*files, "a b%20#&+=ä~'.txt", &|path, bytes| {
        let path = escaped(&format!("/{folder}/in coming/{path}"));
        // What is not there can't be removed, which is as well.
        let _ = ureq::post(format!("http://{}/api/v1/paths/{path}/delete", shared(ALLUXIO_ENV)))
            .header("Content-Type", "application/json")
            .send(b"{}");
        write(&path, bytes);
    });
}
