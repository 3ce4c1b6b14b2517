//! Objects in S3, or in what speaks its protocol.
//!
//! A `put` is one request, atomic and durable by the store's own promise. A `put_new` is one with `If-None-Match: *`. Where the
//! probe finds that the store does not keep that condition, an object that is there is looked for first: right for one writer,
//! and no protection among several, which [`Storage::is_exclusive`] says. An object that comes in pieces is a multipart upload.

#[cfg(test)]
mod fake;
mod files;
mod leftovers;
mod staged;

pub(crate) use files::S3Files;

use crate::blocking::Blocking;
use crate::probe::{self, Probed};
use crate::{ANSWER_LIMIT, limit, refused};
use futures_util::TryStreamExt;
use leftovers::Connections;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientConfigKey, ClientOptions, CopyOptions, Error as StoreError,
    GetOptions, ObjectStore, PutMode, PutOptions, RetryConfig,
};
use staged::{S3Staged, SENDING_MAX, is_no_upload};
use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tidegate_core::{Error, Result, StagedObject, Storage, StoredObject, is_storage_path};
use tidegate_storage::{check_folder, check_path, check_rename, nothing_to_rename};
use tokio::sync::Semaphore;
use uuid::Uuid;

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// After the last try of a request there must be time for its answer.
const RETRY_LIMIT: Duration = Duration::from_secs(8);
/// Names who wrote an object with a condition: a request that was sent again may meet its own object.
const WRITER: &str = "tidegate-writer";

/// See [`crate::storage`].
pub(crate) struct S3Storage {
    client: Arc<AmazonS3>,
    blocking: Arc<Blocking>,
    bucket: String,
    root: String,
    keeps_condition: bool,
    /// For the parts of staged objects that are on their way.
    room: Arc<Semaphore>,
}

impl fmt::Debug for S3Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Storage({})", self.describe())
    }
}

impl S3Storage {
    pub(crate) fn open(bucket: &str, root: &str, settings: &[(&str, &str)]) -> Result<S3Storage> {
        let (connections, settings) = (Connections::default(), settings_of(variables(), settings)?);
        let mut storage = S3Storage::new(bucket, root, &settings, connections.clone())?;
        storage.keeps_condition = probe::is_exclusive(&storage)?;
        let unsigned = settings.get(AmazonS3ConfigKey::SkipSignature.as_ref());
        if !unsigned.is_some_and(|(_, value)| value.eq_ignore_ascii_case("true")) {
            leftovers::end(&storage, &connections);
        }
        Ok(storage)
    }

    /// Asks nothing of the store.
    fn new(bucket: &str, root: &str, settings: &Settings, connections: Connections) -> Result<S3Storage> {
        Ok(S3Storage {
            client: Arc::new(client(bucket, settings, connections)?),
            blocking: Arc::new(Blocking::new()?),
            bucket: bucket.to_owned(),
            root: root.to_owned(),
            keeps_condition: true,
            room: Arc::new(Semaphore::new(SENDING_MAX)),
        })
    }

    fn place(&self, path: &str) -> String {
        place(&self.bucket, &self.root, path)
    }

    fn key(&self, path: &str) -> Key {
        let whole = if self.root.is_empty() { path.to_owned() } else { format!("{}/{path}", self.root) };
        Key::parse(whole.trim_end_matches('/')).expect("root and path were checked")
    }

    /// Puts `path`, which no object may have in [`PutMode::Create`]; then `false` if one has.
    fn put_at(&self, path: &str, bytes: Vec<u8>, mode: PutMode) -> Result<bool> {
        let (client, key, place) = (self.client.clone(), self.key(path), self.place(path));
        let limit = limit(bytes.len() as u64);
        self.blocking.run(&self.place(path), limit, async move {
            let writer = Uuid::new_v4().to_string();
            let new = mode == PutMode::Create;
            let mut options = PutOptions::from(mode);
            if new {
                let mark = (Attribute::Metadata(WRITER.into()), writer.clone());
                options.attributes = Attributes::from_iter([mark]);
            }
            match client.put_opts(&key, bytes.into(), options).await {
                Ok(_) => Ok(true),
                Err(StoreError::AlreadyExists { .. }) if new => match wrote(&client, &key, &writer).await {
                    // Removed since, or refused because two came at the same time.
                    Err(e) if is_no_object(&e) => {
                        Err(Error::retry(format!("{place}: another writer was there and is gone")).because(e))
                    }
                    other => other.map_err(|e| failed(&place, "can't be looked at", e)),
                },
                Err(e) => Err(failed(&place, "can't be put", e)),
            }
        })
    }

    fn is_there(&self, path: &str) -> Result<bool> {
        Ok(self.length(path)?.is_some())
    }

    /// The length of the object, if there is one.
    fn length(&self, path: &str) -> Result<Option<u64>> {
        let (client, key, place) = (self.client.clone(), self.key(path), self.place(path));
        self.blocking.run(&self.place(path), ANSWER_LIMIT, async move {
            match client.get_opts(&key, GetOptions::new().with_head(true)).await {
                Ok(there) => Ok(Some(there.meta.size)),
                Err(e) if is_no_object(&e) => Ok(None),
                Err(e) => Err(failed(&place, "can't be looked at", e)),
            }
        })
    }

    fn delete_at(&self, path: &str) -> Result<()> {
        let (client, key, place) = (self.client.clone(), self.key(path), self.place(path));
        self.blocking.run(&self.place(path), ANSWER_LIMIT, async move {
            let key = futures_util::stream::iter([Ok(key)]);
            let deleted = client.delete_stream(Box::pin(key)).try_collect::<Vec<_>>().await;
            match deleted {
                Err(e) if is_no_object(&e) => Ok(()),
                other => other.map(drop).map_err(|e| failed(&place, "can't be removed", e)),
            }
        })
    }
}

/// Whether the object that keeps a new one out is that of this writer.
async fn wrote(client: &AmazonS3, key: &Key, writer: &str) -> Result<bool, StoreError> {
    let there = client.get_opts(key, GetOptions::new().with_head(true)).await?;
    let mark = there.attributes.get(&Attribute::Metadata(WRITER.into()));
    Ok(mark.is_some_and(|mark| mark.as_ref() == writer))
}

impl Probed for S3Storage {
    fn put_new_probe(&self, name: &str, bytes: Vec<u8>) -> Result<bool> {
        self.put_at(name, bytes, PutMode::Create)
    }

    fn delete_probe(&self, name: &str) -> Result<()> {
        self.delete_at(name)
    }
}

impl Storage for S3Storage {
    fn describe(&self) -> String {
        self.place("")
    }

    fn put(&self, path: &str, bytes: Vec<u8>) -> Result<()> {
        check_path(path)?;
        self.put_at(path, bytes, PutMode::Overwrite).map(drop)
    }

    fn put_new(&self, path: &str, bytes: Vec<u8>) -> Result<bool> {
        check_path(path)?;
        if !self.keeps_condition && self.is_there(path)? {
            return Ok(false);
        }
        self.put_at(path, bytes, PutMode::Create)
    }

    fn is_exclusive(&self) -> bool {
        self.keeps_condition
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>> {
        check_path(path)?;
        let (client, key, place) = (self.client.clone(), self.key(path), self.place(path));
        let answer = self.blocking.run(&self.place(path), ANSWER_LIMIT, async move {
            match client.get_opts(&key, GetOptions::new()).await {
                Ok(answer) => Ok(Some(answer)),
                Err(e) if is_no_object(&e) => Ok(None),
                Err(e) => Err(failed(&place, "can't be read", e)),
            }
        })?;
        let Some(answer) = answer else { return Ok(None) };
        let (length, place) = (answer.meta.size, self.place(path));
        self.blocking.run(&self.place(path), limit(length), async move {
            let bytes = answer.bytes().await.map_err(|e| failed(&place, "can't be read", e))?;
            Ok(Some(Vec::from(bytes)))
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<StoredObject>> {
        check_folder(prefix)?;
        let folder = self.key(prefix);
        let (client, place, root) = (self.client.clone(), self.place(prefix), self.root.clone());
        // Each page of 1,000 is a request; the time is for them all.
        let mut found = self.blocking.run(&self.place(prefix), ANSWER_LIMIT * 6, async move {
            let prefix = (!folder.as_ref().is_empty()).then_some(&folder);
            let mut objects = client.list(prefix);
            let mut found = Vec::new();
            while let Some(object) =
                objects.try_next().await.map_err(|e| failed(&place, "can't be listed", e))?
            {
                let key = object.location.as_ref();
                let path = if root.is_empty() { Some(key) } else { key.strip_prefix(&format!("{root}/")) };
                // What no object can be named is a probe's, or not ours.
                if let Some(path) = path.filter(|path| is_storage_path(path)) {
                    found.push(StoredObject { path: path.to_owned(), bytes: object.size });
                }
            }
            Ok(found)
        })?;
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    fn delete(&self, path: &str) -> Result<()> {
        check_path(path)?;
        self.delete_at(path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_rename(from, to)?;
        let nothing = || nothing_to_rename(from, to).context(self.place(""));
        let Some(length) = self.length(from)? else {
            // Unlike the looks, which have no words in their answers, this tells when the whole bucket is gone.
            return if self.is_there(to)? || self.get(to)?.is_some() { Ok(()) } else { Err(nothing()) };
        };
        let (client, old, new) = (self.client.clone(), self.key(from), self.key(to));
        let (place, what) = (self.place(to), format!("can't be made of {from} by copying it"));
        self.blocking.run(&self.place(to), limit(length), async move {
            client.copy_opts(&old, &new, CopyOptions::new()).await.map_err(|e| failed(&place, &what, e))
        })?;
        self.delete_at(from)
    }

    fn stage(&self, path: &str) -> Result<Option<Box<dyn StagedObject>>> {
        check_path(path)?;
        Ok(Some(Box::new(S3Staged::new(self, path))))
    }
}

fn place(bucket: &str, root: &str, path: &str) -> String {
    match (root, path) {
        ("", path) => format!("s3://{bucket}/{path}"),
        (root, "") => format!("s3://{bucket}/{root}"),
        (root, path) => format!("s3://{bucket}/{root}/{path}"),
    }
}

/// The environment, as far as it is text.
fn variables() -> impl Iterator<Item = (String, String)> {
    env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// By the client's own names.
type Settings = BTreeMap<String, (AmazonS3ConfigKey, String)>;

/// Variables that the client knows, and over them the settings given, which it must know.
fn settings_of(
    variables: impl Iterator<Item = (String, String)>,
    given: &[(&str, &str)],
) -> Result<Settings> {
    let parsed = |name: &str| name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>();
    let mut settings = BTreeMap::new();
    for (name, value) in variables.filter(|(name, _)| name.starts_with("AWS_")) {
        if let Ok(key) = parsed(&name) {
            settings.insert(key.as_ref().to_owned(), (key, value));
        }
    }
    for &(name, value) in given {
        let key = parsed(name).ok().filter(|_| name.starts_with("AWS_"));
        let key = key.ok_or_else(|| Error::reconfigure(format!("{name}: is no setting of S3")))?;
        settings.insert(key.as_ref().to_owned(), (key, value.to_owned()));
    }
    Ok(settings)
}

fn client(bucket: &str, settings: &Settings, connections: Connections) -> Result<AmazonS3> {
    // The time of a whole request depends on its size, so it is bounded by whoever makes it.
    let options = ClientOptions::new().with_connect_timeout(CONNECT_LIMIT).with_timeout_disabled();
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(2), ..BackoffConfig::default() };
    let retry = RetryConfig { backoff, max_retries: 10, retry_timeout: RETRY_LIMIT };
    let mut builder = AmazonS3Builder::new().with_client_options(options).with_retry(retry);
    builder = builder.with_bucket_name(bucket).with_http_connector(connections);
    // Objects are removed one by one, and not every store takes the request for many.
    builder = builder.with_disable_bulk_delete(true);
    for (key, value) in settings.values() {
        builder = builder.with_config(*key, value);
    }
    let place = format!("s3://{bucket}");
    let set = |key: AmazonS3ConfigKey| builder.get_config_value(&key);
    let endpoint = set(AmazonS3ConfigKey::S3Endpoint).or(set(AmazonS3ConfigKey::Endpoint));
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let allowed = set(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp));
    if plain && !allowed.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        let help = "set AWS_ALLOW_HTTP=true if nobody else can listen, else give an https endpoint";
        return Err(refused(&place, "the endpoint is not encrypted", help));
    }
    // A program that has chosen another provider of its own keeps it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // The client's own words may repeat a value.
    builder
        .build()
        .map_err(|_| refused(&place, "the AWS_... settings make no client", "look for a misspelt value"))
}

fn is_no_object(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { .. }) && !error.to_string().contains("NoSuchBucket")
}

const NO_BUCKET: &str = "there is no such bucket: make it, or name another";

/// The error about the object or folder `place`.
fn failed(place: &str, what: &str, error: StoreError) -> Error {
    let text = error.to_string();
    if is_no_upload(&error) {
        let help = "is the job run twice, or does a rule of the bucket end uploads too soon?";
        return Error::retry(format!("{place}: {what}, what was staged is gone; {help}")).because(error);
    }
    let help = match &error {
        StoreError::NotFound { .. } => Some(NO_BUCKET),
        // A listing has no kind of its own for it.
        StoreError::Generic { .. } if text.contains("NoSuchBucket") => Some(NO_BUCKET),
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => Some(
            "give the key that is used the right to list, read, write and delete there, or use another key",
        ),
        StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => {
            Some("the store can't do that")
        }
        // Without a key the client asks the machine for one, which only a machine of AWS answers.
        StoreError::Generic { .. } if text.contains("169.254.169.254") => {
            Some("there is no key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        }
        StoreError::Generic { .. } if is_refusal(&text) => Some("the store refuses the request"),
        _ => None,
    };
    match help {
        Some(help) => refused(place, what, help).because(error),
        None if text.contains("status code: ") => Error::retry(format!("{place}: {what}")).because(error),
        None => {
            let help = "does the store run, and is AWS_ENDPOINT_URL its address?";
            Error::retry(format!("{place}: {what}; {help}")).because(error)
        }
    }
}

/// Whether the store answered, and with an error that trying again does not mend.
fn is_refusal(text: &str) -> bool {
    let status = text.split_once("status code: ").and_then(|(_, rest)| rest.get(..3)?.parse::<u16>().ok());
    status.is_some_and(|status| (300..500).contains(&status) && ![408, 425, 429].contains(&status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_core::ErrorKind;

    fn settings(variables: &[(&str, &str)], given: &[(&str, &str)]) -> Result<Vec<(String, String)>> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Ok(settings_of(variables, given)?.into_iter().map(|(name, (_, value))| (name, value)).collect())
    }

    #[test]
    fn a_given_setting_takes_the_place_of_the_variable() {
        let variables =
            [("AWS_REGION", "a"), ("AWS_ALLOW_HTTP", "true"), ("AWS_UNKNOWN", "x"), ("HOME", "/root")];
        let found = settings(&variables, &[("AWS_REGION", "b")]).unwrap();
        assert!(found.contains(&("aws_region".to_owned(), "b".to_owned())), "{found:?}");
        assert_eq!(found.len(), 2);
        let error = settings(&[], &[("AWS_REGOIN", "secret")]).unwrap_err();
        assert_eq!(error.to_string(), "AWS_REGOIN: is no setting of S3");
    }

    #[test]
    fn an_endpoint_without_encryption_must_be_allowed() {
        let client = |given: &[(&str, &str)]| {
            client("b", &settings_of(std::iter::empty(), given).unwrap(), Connections::default())
        };
        let endpoint = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
        let error = client(&[endpoint]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reconfigure);
        assert!(error.to_string().contains("AWS_ALLOW_HTTP=true"), "{error}");
        assert!(client(&[endpoint, ("AWS_ALLOW_HTTP", "true")]).is_ok());
    }

    #[test]
    fn an_encrypted_endpoint_needs_nothing_more() {
        client(
            "b",
            &settings_of(std::iter::empty(), &[("AWS_ENDPOINT_URL", "https://127.0.0.1:9")]).unwrap(),
            Connections::default(),
        )
        .unwrap();
    }

    #[test]
    fn an_answer_that_will_stay_the_same_is_a_refusal() {
        for (text, expected) in [
            ("Server returned non-2xx status code: 400 Bad Request: x", true),
            ("Server returned non-2xx status code: 301 Moved: x", true),
            ("Server returned non-2xx status code: 429 Slow: x", false),
            ("Server returned non-2xx status code: 503 Slow: x", false),
            ("error sending request", false),
        ] {
            assert_eq!(is_refusal(text), expected, "{text}");
        }
    }
}
