//! Stores that can be lost: how each is reached, what a rename is on the wire, and how its files are looked at without the code under test.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use tidegate_core::Storage;
use tidegate_object_store::storage_with;
use tidegate_servers::{Alluxio, Hdfs, S3, Server};

/// In which way a server goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lost {
    /// In order.
    Stopped,
    /// By SIGKILL.
    Killed,
}

impl Lost {
    pub(crate) fn happens(self, store: &mut dyn Store) {
        match self {
            Lost::Stopped => store.stop().unwrap(),
            Lost::Killed => store.kill(),
        }
    }
}

/// A server of the test's own.
pub(crate) trait Store: Server {
    /// Of the server itself: `127.0.0.1:PORT`.
    fn address(&self) -> String;

    /// A folder, by the server or a wire to it at `address`.
    fn open(&self, address: &str, folder: &str) -> Arc<dyn Storage>;

    /// What the request has in it by which a staged file of an output gets its name, or which ends that.
    fn rename(&self, output: &str) -> &'static str;

    /// Copies what is in `files` and in `saved` of a folder into one of this machine, as other programs see it.
    fn copy(&self, folder: &str, to: &Path);
}

impl Store for Hdfs {
    fn address(&self) -> String {
        self.url().trim_start_matches("hdfs://").to_owned()
    }

    fn open(&self, address: &str, folder: &str) -> Arc<dyn Storage> {
        storage_with(&format!("hdfs://{address}/{folder}"), &[]).unwrap()
    }

    fn rename(&self, _: &str) -> &'static str {
        "rename2"
    }

    fn copy(&self, folder: &str, to: &Path) {
        // Not what is aside: a file that is not closed can't be read before the NameNode gives its writer up.
        self.copy_to_local(&format!("/{folder}/[fs]*/[a-z]*"), to).unwrap();
    }
}

impl Store for S3 {
    fn address(&self) -> String {
        self.endpoint().trim_start_matches("http://").to_owned()
    }

    fn open(&self, address: &str, folder: &str) -> Arc<dyn Storage> {
        let settings = [
            ("AWS_ENDPOINT_URL", &*format!("http://{address}")),
            ("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", S3::SECRET_ACCESS_KEY),
            ("AWS_ALLOW_HTTP", "true"),
        ];
        storage_with(&format!("s3://{}/{folder}", S3::BUCKET), &settings).unwrap()
    }

    fn rename(&self, output: &str) -> &'static str {
        if output == "pairs" {
            // Completes an upload in parts.
            return "?uploadId=";
        }
        // Of what was copied: between both steps of a rename.
        "DELETE /"
    }

    fn copy(&self, folder: &str, to: &Path) {
        ["files", "saved"].iter().for_each(|part| copy(&self.files().join(folder).join(part), to));
    }
}

impl Store for Alluxio {
    fn address(&self) -> String {
        self.rest()
    }

    fn open(&self, address: &str, folder: &str) -> Arc<dyn Storage> {
        storage_with(&format!("alluxio://{address}/{folder}"), &[]).unwrap()
    }

    fn rename(&self, _: &str) -> &'static str {
        "/rename?dst="
    }

    fn copy(&self, folder: &str, to: &Path) {
        ["files", "saved"].iter().for_each(|part| copy(&self.files().join(folder).join(part), to));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(path, to.join(name)).unwrap();
        }
    }
}
