//! S3 on a real server that speaks its protocol, and on one that takes conditional writes and ignores the condition.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::{ObjectStore, PutOptions};
use std::cell::RefCell;
use std::sync::Arc;
use support::{
    folder, is_away, loses_nothing_acknowledged, shared, shows_files_of_any_name, survives_an_outage,
};
use tidegate_core::{ErrorKind, Result, Storage};
use tidegate_object_store::{files_with, storage_with};
use tidegate_servers::{ALLUXIO_ENV, S3, S3_ENV};
use tidegate_storage::conformance;

fn open(endpoint: &str, bucket: &str, secret: &str) -> Result<Arc<dyn Storage>> {
    let settings = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_ALLOW_HTTP", "true"),
    ];
    storage_with(&format!("s3://{bucket}/{}", folder()), &settings)
}

fn own(s3: &RefCell<S3>) -> Arc<dyn Storage> {
    let endpoint = s3.borrow().endpoint();
    open(&endpoint, S3::BUCKET, S3::SECRET_ACCESS_KEY).unwrap()
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
fn s3_that_is_away_is_a_retry_and_works_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let s3 = RefCell::new(S3::start(dir.path()).unwrap());
    let storage = own(&s3);
    survives_an_outage(
        &*storage,
        || s3.borrow_mut().stop().unwrap(),
        || s3.borrow_mut().start_again().unwrap(),
    );
    s3.borrow_mut().stop().unwrap();
    let endpoint = s3.borrow().endpoint();
    is_away(|| open(&endpoint, S3::BUCKET, S3::SECRET_ACCESS_KEY), "s3://tidegate");
}

#[test]
fn s3_killed_between_puts_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let s3 = RefCell::new(S3::start(dir.path()).unwrap());
    loses_nothing_acknowledged(
        own(&s3),
        || s3.borrow_mut().kill(),
        || s3.borrow_mut().start_again().unwrap(),
    );
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
