//! HDFS on a real NameNode and DataNode.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use hdfs_native::{ClientBuilder, WriteOptions};
use support::cuts::is_done_or_not_wherever_it_is_cut;
use support::{folder, loses_nothing_while_it_goes_and_comes, shared, shows_files_of_any_name};
use tidegate_core::ErrorKind;
use tidegate_object_store::{files, storage, storage_with};
use tidegate_servers::wire::Wire;
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
fn hdfs_that_goes_and_comes_under_calls_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut hdfs = Hdfs::start(dir.path()).unwrap();
    let url = format!("{}/checkpoints", hdfs.url());
    loses_nothing_while_it_goes_and_comes(|| storage(&url), &mut hdfs);

    let opened = storage(&url).unwrap();
    // What the user may not is no fault that passes.
    let error = storage_with(&url, &[("HADOOP_USER_NAME", "stranger")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(error.to_string().contains("give the user the right to write there"), "{error}");
    assert!(error.to_string().contains("user=stranger"), "{error}");
    hdfs.set_space_quota("/checkpoints", 1).unwrap();
    let error = opened.put("a/put", vec![1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(
        error.to_string().contains("a/put: can't be put; make room within the quota of that folder"),
        "{error}"
    );
}

#[test]
fn hdfs_without_room_is_a_retry_that_says_where_to_look() {
    let url = format!("{}/{}", shared(HDFS_ENV), folder());
    // A block has to have room as a whole: with this size all disks are full.
    let error = storage_with(&url, &[("dfs.blocksize", "140737488355328")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    assert!(error.to_string().starts_with(&format!("{url}/_~probe/")), "{error}");
    let help = "can't be put; no DataNode takes it: does one run, with room on its disks?";
    assert!(error.to_string().contains(help), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
}

#[test]
fn hdfs_has_each_call_done_or_not_wherever_the_connection_is_cut() {
    let (server, folder) = (shared(HDFS_ENV), folder());
    // To the NameNode: the client goes to the DataNode itself.
    let wire = Wire::to(server.strip_prefix("hdfs://").unwrap());
    let through = storage(&format!("hdfs://{}/{folder}", wire.address())).unwrap();
    let direct = storage(&format!("{server}/{folder}")).unwrap();
    let all = files(&format!("{server}/{folder}")).unwrap();
    is_done_or_not_wherever_it_is_cut(&*through, &*direct, &wire, |case| {
        let files = all.list(usize::MAX).unwrap();
        let seen = files.iter().filter(|file| !file.path.starts_with("_~aside/"));
        assert!(seen.count() <= 1, "{case}: {files:?}");
    });
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
