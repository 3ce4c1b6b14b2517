//! HDFS on a real NameNode and DataNode.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use hdfs_native::{ClientBuilder, WriteOptions};
use std::cell::RefCell;
use support::{
    folder, is_away, loses_nothing_acknowledged, shared, shows_files_of_any_name, survives_an_outage,
};
use tidegate_object_store::{files, storage};
use tidegate_servers::{HDFS_ENV, Hdfs};
use tidegate_storage::conformance;

#[test]
fn hdfs_keeps_what_a_storage_promises() {
    let url = format!("{}/{}/checkpoints", shared(HDFS_ENV), folder());
    let storage = storage(&url).unwrap();
    assert!(storage.is_exclusive());
    conformance::all(&*storage, "here");
    conformance::below_an_object_is_nothing(&*storage, "here");
    assert_eq!(storage.list("").unwrap(), []);
    assert_eq!(storage.describe(), url);
}

#[test]
fn hdfs_from_its_root_lists_from_its_root() {
    let storage = storage(&shared(HDFS_ENV)).unwrap();
    conformance::all(&*storage, &folder());
}

#[test]
fn hdfs_shows_nothing_of_a_writer_that_died() {
    let (server, folder) = (shared(HDFS_ENV), folder());
    let storage = storage(&format!("{server}/{folder}")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let client =
        ClientBuilder::new().with_url(&server).with_io_runtime(runtime.handle().clone()).build().unwrap();
    let left = std::cell::Cell::new(0);
    conformance::an_aborted_write_is_not_seen(&*storage, "here", |_| {
        left.set(left.get() + 1);
        let aside = format!("/{folder}/_~aside/{}", left.get());
        runtime.block_on(async {
            let mut writer = client.create(&aside, WriteOptions::default()).await.unwrap();
            writer.write_bytes(b"half".to_vec().into()).await.unwrap();
            // Neither closed nor renamed.
            writer.hsync().await.unwrap();
        });
    });
    assert_eq!(storage.list("").unwrap(), []);
}

#[test]
fn hdfs_clears_away_what_was_left_a_day_ago_and_nothing_younger() {
    let (server, folder) = (shared(HDFS_ENV), folder());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let client =
        ClientBuilder::new().with_url(&server).with_io_runtime(runtime.handle().clone()).build().unwrap();
    let aside = format!("/{folder}/_~aside");
    runtime.block_on(async {
        for name in ["old", "young"] {
            client
                .create(&format!("{aside}/{name}"), WriteOptions::default())
                .await
                .unwrap()
                .close()
                .await
                .unwrap();
        }
        client.set_times(&format!("{aside}/old"), 1_000, 1_000).await.unwrap();
    });
    storage(&format!("{server}/{folder}")).unwrap();
    let left = runtime.block_on(client.list_status(&aside, false)).unwrap();
    assert_eq!(left.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), [format!("{aside}/young")]);
}

#[test]
fn hdfs_that_is_away_is_a_retry_and_works_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let hdfs = RefCell::new(Hdfs::start(dir.path()).unwrap());
    let url = format!("{}/checkpoints", hdfs.borrow().url());
    let opened = storage(&url).unwrap();
    survives_an_outage(
        &*opened,
        || hdfs.borrow_mut().stop().unwrap(),
        || hdfs.borrow_mut().start_again().unwrap(),
    );
    hdfs.borrow_mut().stop().unwrap();
    is_away(|| storage(&url), &url);
}

#[test]
fn hdfs_killed_between_puts_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let hdfs = RefCell::new(Hdfs::start(dir.path()).unwrap());
    let storage = storage(&format!("{}/checkpoints", hdfs.borrow().url())).unwrap();
    loses_nothing_acknowledged(
        storage,
        || hdfs.borrow_mut().kill(),
        || hdfs.borrow_mut().start_again().unwrap(),
    );
}

#[test]
fn hdfs_shows_files_of_any_name() {
    let (server, folder) = (shared(HDFS_ENV), folder());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let client =
        ClientBuilder::new().with_url(&server).with_io_runtime(runtime.handle().clone()).build().unwrap();
    let url = format!("{server}/{folder}/in coming");
    let files = files(&url).unwrap();
    assert_eq!(files.describe(), url);
    let error = files.list(1).unwrap_err().to_string();
    assert!(error.contains("there is no such folder"), "{error}");
    shows_files_of_any_name(&*files, "a b%20?#&+=ä~'.txt", &|path, bytes| {
        runtime.block_on(async {
            let options = WriteOptions::default().overwrite(true);
            let mut writer = client.create(&format!("/{folder}/in coming/{path}"), options).await.unwrap();
            writer.write_bytes(bytes.to_vec().into()).await.unwrap();
            writer.close().await.unwrap();
        });
    });
}
