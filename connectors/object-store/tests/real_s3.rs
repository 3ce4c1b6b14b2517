//! S3 on a real server that speaks its protocol, and on one that takes conditional writes and ignores the condition.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{ObjectStore, PutOptions};
use std::fs;
use std::sync::Arc;
use support::cuts::is_done_or_not_wherever_it_is_cut;
use support::{folder, loses_nothing_while_it_goes_and_comes, shared, shows_files_of_any_name};
use tidegate_core::{ErrorKind, Result, Storage};
use tidegate_object_store::{files_with, storage_with};
use tidegate_servers::wire::Wire;
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
