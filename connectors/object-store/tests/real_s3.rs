//! S3 on a real server that speaks its protocol, and on one that takes conditional writes and ignores the condition.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{ObjectStore, PutOptions};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use support::cuts::is_done_or_not_wherever_it_is_cut;
use support::{folder, loses_nothing_while_it_goes_and_comes, shared, shows_files_of_any_name, until};
use tidegate_core::{ErrorKind, Result, Storage};
use tidegate_object_store::{files_with, storage_with};
use tidegate_servers::wire::{Lost, Wire};
use tidegate_servers::{ALLUXIO_ENV, S3, S3_ENV};
use tidegate_storage::conformance;

fn open(endpoint: &str, bucket: &str, secret: &str) -> Result<Arc<dyn Storage>> {
    open_in(&folder(), endpoint, bucket, secret)
}

fn open_in(folder: &str, endpoint: &str, bucket: &str, secret: &str) -> Result<Arc<dyn Storage>> {
    let settings = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    storage_with(&format!("s3://{bucket}/{folder}"), &settings)
}

#[test]
fn s3_keeps_what_a_storage_promises() {
    let storage = open(&shared(S3_ENV), S3::BUCKET, S3::SECRET_ACCESS_KEY).unwrap();
    assert!(storage.is_exclusive());
    conformance::all(&*storage, "here");
    assert_eq!(storage.list("").unwrap(), []);
    assert!(storage.describe().starts_with("s3://tidegate/test-"), "{}", storage.describe());
}

#[test]
fn s3_of_a_whole_bucket_lists_from_its_root() {
    let settings = [
        ("AWS_ENDPOINT_URL", &*shared(S3_ENV)),
        ("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", S3::SECRET_ACCESS_KEY),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    let storage = storage_with(&format!("s3a://{}", S3::BUCKET), &settings).unwrap();
    conformance::all(&*storage, &folder());
}

#[test]
fn s3_without_the_bucket_or_the_right_says_what_to_do() {
    let endpoint = shared(S3_ENV);
    let error = open(&endpoint, "no-such-bucket", S3::SECRET_ACCESS_KEY).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(error.to_string().contains("there is no such bucket"), "{error}");
    let error = open(&endpoint, S3::BUCKET, "a-wrong-secret").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
    assert!(error.to_string().contains("give the key that is used the right"), "{error}");
    assert!(!format!("{error:?}").contains("a-wrong-secret"), "{error:?}");
}

#[test]
fn s3_that_ignores_the_condition_is_found_out_and_still_refuses_a_second_object() {
    // Alluxio's S3 interface is such a store.
    let endpoint = format!("http://{}/api/v1/s3", shared(ALLUXIO_ENV));
    let bucket = format!("bucket-{}", folder());
    let rest = tidegate_object_store::storage(&format!("alluxio://{}", shared(ALLUXIO_ENV))).unwrap();
    rest.put(&format!("{bucket}/any"), vec![1]).unwrap();
    let storage = open(&endpoint, &bucket, "unused").unwrap();
    assert!(!storage.is_exclusive());
    assert!(storage.put_new("a/x", b"first".to_vec()).unwrap());
    assert!(!storage.put_new("a/x", b"second".to_vec()).unwrap());
    assert_eq!(storage.get("a/x").unwrap(), Some(b"first".to_vec()));
    storage.delete("a/x").unwrap();
    assert!(storage.put_new("a/x", b"third".to_vec()).unwrap());
}

#[test]
fn s3_that_goes_and_comes_under_calls_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut s3 = S3::start(dir.path()).unwrap();
    let (endpoint, folder) = (s3.endpoint(), folder());
    let open = || open_in(&folder, &endpoint, S3::BUCKET, S3::SECRET_ACCESS_KEY);
    loses_nothing_while_it_goes_and_comes(open, &mut s3);

    let storage = open().unwrap();
    fs::remove_dir_all(s3.files()).unwrap();
    let told = |result: Result<()>| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        assert!(error.to_string().contains("there is no such bucket: make it, or name another"), "{error}");
        assert!(error.to_string().starts_with(&storage.describe()), "{error}");
    };
    told(storage.put("a/x", vec![1]));
    told(storage.put_new("a/x", vec![1]).map(drop));
    told(storage.get("a/x").map(drop));
    told(storage.list("a").map(drop));
    told(storage.rename("a/x", "b/x"));
}

#[test]
fn s3_has_each_call_done_or_not_wherever_the_connection_is_cut() {
    let (server, folder) = (shared(S3_ENV), folder());
    let wire = Wire::to(server.strip_prefix("http://").unwrap());
    let open = |endpoint: &str| open_in(&folder, endpoint, S3::BUCKET, S3::SECRET_ACCESS_KEY).unwrap();
    let (through, direct) = (open(&format!("http://{}", wire.address())), open(&server));
    is_done_or_not_wherever_it_is_cut(&*through, &*direct, &wire, |case| {
        assert!(direct.list("").unwrap().len() <= 1, "{case}: {:?}", direct.list(""));
    });
}

#[test]
fn s3_shows_files_of_any_name() {
    let (endpoint, folder) = (shared(S3_ENV), folder());
    let settings = [
        ("AWS_ENDPOINT_URL", &*endpoint),
        ("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", S3::SECRET_ACCESS_KEY),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    let url = format!("s3://{}/{folder}/in coming", S3::BUCKET);
    let files = files_with(&url, &settings).unwrap();
    assert_eq!((files.describe(), files.list(1).unwrap()), (url, vec![]));
    let client = AmazonS3Builder::new()
        .with_endpoint(&endpoint)
        .with_allow_http(true)
        .with_bucket_name(S3::BUCKET)
        .with_access_key_id(S3::ACCESS_KEY_ID)
        .with_secret_access_key(S3::SECRET_ACCESS_KEY)
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    shows_files_of_any_name(&*files, "a b%20?#&+=ä~'.txt", &|path, bytes| {
        let key = Key::parse(format!("{folder}/in coming/{path}")).unwrap();
        runtime.block_on(client.put_opts(&key, bytes.to_vec().into(), PutOptions::default())).unwrap();
    });
}

/// The files of uploads that are begun and not completed.
fn uploads(s3: &S3) -> Vec<PathBuf> {
    let folders = fs::read_dir(s3.files()).unwrap().map(|entry| entry.unwrap().path());
    let folders = folders.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".mpus-"));
    let mut found = Vec::new();
    let mut folders: Vec<_> = folders.collect();
    while let Some(folder) = folders.pop() {
        // One that ends meanwhile is gone.
        for path in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            match path.to_str().unwrap().ends_with("-stub") {
                _ if path.is_dir() => folders.push(path),
                true => found.push(path),
                false => {}
            }
        }
    }
    found
}

#[test]
fn s3_ends_what_was_left_a_week_ago_and_nothing_younger() {
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3::start(dir.path()).unwrap();
    let open = || open_in("jobs", &s3.endpoint(), S3::BUCKET, S3::SECRET_ACCESS_KEY).unwrap();
    let storage = open();
    for path in ["a/old", "a/young"] {
        let mut staged = storage.stage(path).unwrap().unwrap();
        staged.write(&vec![1; 6 << 20]).unwrap();
        staged.close().unwrap();
        // As when the process dies.
        std::mem::forget(staged);
    }
    let left = uploads(&s3);
    assert_eq!((left.len(), storage.list("").unwrap()), (2, vec![]));
    let old = left.iter().find(|path| path.ends_with("old-stub")).unwrap();
    let week_ago = SystemTime::now() - Duration::from_secs(7 * 24 * 60 * 60 + 60);
    fs::File::options().write(true).open(old).unwrap().set_modified(week_ago).unwrap();
    open();
    let left = uploads(&s3);
    assert!(left.len() == 1 && left[0].ends_with("young-stub"), "{left:?}");
}

#[test]
fn s3_has_an_object_of_many_parts_whole_or_not_at_all_wherever_the_connection_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3::start(dir.path()).unwrap();
    let endpoint = s3.endpoint();
    let wire = Wire::to(endpoint.strip_prefix("http://").unwrap());
    let open = |endpoint: &str| open_in("jobs", endpoint, S3::BUCKET, S3::SECRET_ACCESS_KEY).unwrap();
    let (through, direct) = (open(&format!("http://{}", wire.address())), open(&endpoint));
    let piece = |number: u8| (0..1 << 20).map(|n: u32| (n % 251) as u8 ^ number).collect::<Vec<_>>();
    let pieces: Vec<_> = (0..11).map(piece).collect();
    let (old, new) = (b"old".to_vec(), pieces.concat());
    let put = || {
        let mut staged = through.stage("a/x")?.unwrap();
        pieces.iter().try_for_each(|piece| staged.write(piece))?;
        staged.close()?;
        staged.publish()
    };
    for request in ["x?uploads", "x?partNumber=1&", "x?partNumber=3&", "x?uploadId="] {
        for lost in [Lost::Request, Lost::Answer(|answer| !answer.is_empty())] {
            let case = format!("{request}, {lost:?}");
            direct.put("a/x", old.clone()).unwrap();
            let cuts = wire.cuts();
            let is_meant = move |sent: &[u8]| {
                let line = sent.split(|&byte| byte == b'\n').next().unwrap_or_default();
                line.windows(request.len()).any(|bytes| bytes == request.as_bytes())
            };
            wire.cut_at(is_meant, lost, 0);
            let result = put();
            wire.open();
            assert_eq!(wire.cuts(), cuts + 1, "{case}: it was not cut");
            let there = direct.get("a/x").unwrap().unwrap();
            match result {
                Ok(()) => assert!(there == new, "{case}: {} bytes", there.len()),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Retry, "{case}: {error}");
                    assert!(there == old || there == new, "{case}: {} bytes", there.len());
                    put().unwrap();
                    assert!(direct.get("a/x").unwrap().unwrap() == new, "{case}, and again");
                }
            }
        }
    }
    assert_eq!(direct.list("").unwrap().len(), 1);
}

#[test]
fn s3_keeps_nothing_of_an_object_that_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3::start(dir.path()).unwrap();
    let storage = open_in("jobs", &s3.endpoint(), S3::BUCKET, S3::SECRET_ACCESS_KEY).unwrap();
    for is_closed in [false, true] {
        let mut staged = storage.stage("a/x").unwrap().unwrap();
        staged.write(&vec![1; 16 << 20]).unwrap();
        if is_closed {
            staged.close().unwrap();
        }
        drop(staged);
        until(|| uploads(&s3).is_empty());
    }
    assert_eq!(storage.list("").unwrap(), []);
}
