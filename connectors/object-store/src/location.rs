//! What a URL names. Nothing is opened here, and no error repeats a URL that may hold a password.

use std::path::PathBuf;
use tidegate_core::{Error, Result, is_storage_path};

/// A place for objects.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// A directory of this machine.
    Local(PathBuf),
    /// A folder of another system.
    Remote {
        store: Store,
        /// Bucket, or host and port.
        authority: String,
        /// The folder there, without a slash at either end; empty for all of it.
        root: String,
    },
}

/// Systems that can be asked for objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    S3,
    Hdfs,
    Alluxio,
}

impl Store {
    #[allow(dead_code, reason = "for the error about a store that is not built in")]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Store::S3 => "S3",
            Store::Hdfs => "HDFS",
            Store::Alluxio => "Alluxio",
        }
    }

    #[allow(dead_code, reason = "for the error about a store that is not built in")]
    pub(crate) fn feature(self) -> &'static str {
        match self {
            Store::S3 => "s3",
            Store::Hdfs => "hdfs",
            Store::Alluxio => "alluxio",
        }
    }
}

impl Location {
    /// A place that Tidegate names things in.
    pub(crate) fn parse(url: &str) -> Result<Location> {
        let location = Location::parse_folder(url)?;
        match &location {
            Location::Remote { root, .. } if !root.is_empty() && !is_plain(root) => {
                Err(Error::reconfigure(format!(
                    "{url}: the folder must be names of letters, digits and \"._-=\" joined by single slashes"
                )))
            }
            _ => Ok(location),
        }
    }

    /// A folder of any name.
    pub(crate) fn parse_folder(url: &str) -> Result<Location> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return if url.is_empty() {
                Err(Error::reconfigure("an empty URL names no place"))
            } else {
                Ok(Location::Local(url.into()))
            };
        };
        let store = match scheme {
            "file" if rest.starts_with('/') => return Ok(Location::Local(rest.into())),
            "file" => {
                let text = format!(
                    "{url}: a file URL has three slashes and a whole path, as file:///var/checkpoints"
                );
                return Err(Error::reconfigure(text));
            }
            "s3" | "s3a" => Store::S3,
            "hdfs" => Store::Hdfs,
            "alluxio" => Store::Alluxio,
            _ => {
                return Err(Error::reconfigure(format!(
                    "{scheme}: is no kind of place; there are s3, hdfs, alluxio, file, and a plain path"
                )));
            }
        };
        remote(store, scheme, rest)
    }
}

/// A `%` is refused: whether a URL that holds one names what is escaped, or the `%`, nobody could tell.
fn is_plain(root: &str) -> bool {
    is_storage_path(root) && !root.contains('%')
}

fn remote(store: Store, scheme: &str, rest: &str) -> Result<Location> {
    let (authority, root) = rest.split_once('/').unwrap_or((rest, ""));
    // Before anything is repeated: what stands before an @ may be a password.
    if rest.contains('@') {
        return Err(Error::reconfigure(format!(
            "the {scheme} URL has an @ in it; credentials do not belong in a URL, give them by environment"
        )));
    }
    let url = format!("{scheme}://{rest}");
    let host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(host) {
        let what = if store == Store::S3 { "a bucket" } else { "a host" };
        return Err(Error::reconfigure(format!("{url}: names no {}", what.trim_start_matches("a "))));
    }
    let root = root.trim_end_matches('/');
    if !root.is_empty() && root.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Err(Error::reconfigure(format!(
            "{url}: the folder must be names joined by single slashes, none of them \".\" or \"..\""
        )));
    }
    Ok(Location::Remote { store, authority: authority.to_owned(), root: root.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        let error = Location::parse(url).unwrap_err();
        assert_eq!(error.kind(), tidegate_core::ErrorKind::Reconfigure);
        error.to_string()
    }

    #[test]
    fn a_url_names_its_place() {
        let remote = |store, authority: &str, root: &str| {
            Ok(Location::Remote { store, authority: authority.to_owned(), root: root.to_owned() })
        };
        for (url, expected) in [
            ("checkpoint", Ok(Location::Local("checkpoint".into()))),
            ("/var/check points", Ok(Location::Local("/var/check points".into()))),
            ("file:///var/x", Ok(Location::Local("/var/x".into()))),
            ("s3://bucket/jobs/counts/", remote(Store::S3, "bucket", "jobs/counts")),
            ("s3a://bucket", remote(Store::S3, "bucket", "")),
            ("hdfs://name-node:8020/jobs", remote(Store::Hdfs, "name-node:8020", "jobs")),
            ("alluxio://[::1]:39999/", remote(Store::Alluxio, "[::1]:39999", "")),
        ] {
            assert_eq!(Location::parse(url).map_err(|error| error.to_string()), expected, "{url}");
        }
    }

    #[test]
    fn a_url_that_names_nothing_is_refused_with_what_would_do() {
        for (url, expected) in [
            ("", "an empty URL"),
            ("file://var/x", "file://var/x: a file URL has three slashes"),
            ("gs://bucket/x", "gs: is no kind of place; there are s3,"),
            ("s3:///x", "s3:///x: names no bucket"),
            ("hdfs:///x", "hdfs:///x: names no host"),
            ("s3://bucket/a//b", "s3://bucket/a//b: the folder must be"),
            ("s3://bucket/../b", "s3://bucket/../b: the folder must be"),
        ] {
            assert!(refusal(url).starts_with(expected), "{url}: {}", refusal(url));
        }
    }

    #[test]
    fn a_folder_of_files_may_have_any_name() {
        let expected = Location::Remote {
            store: Store::S3,
            authority: "b".to_owned(),
            root: "in coming/ä?#%".to_owned(),
        };
        assert_eq!(Location::parse_folder("s3://b/in coming/ä?#%/").unwrap(), expected);
        for url in ["s3://b/in coming", "s3://b/in%20coming"] {
            assert!(refusal(url).contains("letters, digits"), "{}", refusal(url));
        }
        assert!(Location::parse_folder("s3://b/a/../c").is_err());
    }

    #[test]
    fn a_password_in_a_url_is_never_repeated() {
        for url in
            ["s3://key:secret@bucket/x", "hdfs://ann:secret@host/x", "alluxio://secret@/x", "s3://b/secret@x"]
        {
            assert!(!refusal(url).contains("secret"), "{}", refusal(url));
        }
    }
}
