//! An object of S3 that comes in pieces: a multipart upload, which nobody sees or lists before it is completed.
//!
//! Of what is done with one path at a time S3 may let win what was begun last, and not what ended last. So nobody may put or remove an
//! object there meanwhile.
//!
//! Nothing is asked of the store before there are bytes for a part, or all are given. What a crash leaves of an upload is for
//! `leftovers`, or for a rule of the bucket.

use super::{S3Storage, WRITER, failed, is_no_object, wrote};
use crate::blocking::Blocking;
use crate::{ANSWER_LIMIT, WAITING_LIMIT, limit, refused};
use object_store::aws::AmazonS3;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use object_store::{Attribute, Attributes, Error as StoreError, MultipartId, PutMultipartOptions};
use std::mem;
use std::sync::Arc;
use tidegate_core::{Error, Result, StagedObject};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The least that S3 takes of a part which is not the last one. All are of this size, as some stores want them equal.
const PART_BYTES: usize = 5 * 1024 * 1024;
/// S3 takes no more of one object: 48 GiB.
const PARTS_MAX: usize = 10_000;
/// Parts on their way at once, of all staged objects of a storage.
pub(super) const SENDING_MAX: usize = 8;

/// See [`tidegate_core::Storage::stage`].
pub(super) struct S3Staged {
    client: Arc<AmazonS3>,
    blocking: Arc<Blocking>,
    /// For parts to be sent.
    room: Arc<Semaphore>,
    key: Key,
    place: String,
    /// Tells the object from one that somebody else gave its path.
    writer: String,
    /// What is too little for a part.
    rest: Vec<u8>,
    bytes: u64,
    upload: Option<MultipartId>,
    /// Parts that are there.
    parts: Vec<PartId>,
    /// Parts that follow them, on their way.
    sending: Vec<JoinHandle<Result<PartId>>>,
    step: Step,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Growing,
    /// All parts are there.
    Closed,
    Published,
    /// A call has failed, so parts may be missing.
    Failed,
}

impl S3Staged {
    pub(super) fn new(storage: &S3Storage, path: &str) -> S3Staged {
        S3Staged {
            client: storage.client.clone(),
            blocking: storage.blocking.clone(),
            room: storage.room.clone(),
            key: storage.key(path),
            place: storage.place(path),
            writer: Uuid::new_v4().to_string(),
            rest: Vec::new(),
            bytes: 0,
            upload: None,
            parts: Vec::new(),
            sending: Vec::new(),
            step: Step::Growing,
        }
    }

    /// Goes from one step to another by `call`, after whose failure nothing more can be done.
    fn go(&mut self, to: Step, call: impl FnOnce(&mut S3Staged) -> Result<()>) -> Result<()> {
        if self.step != Step::Growing {
            return Err(Error::bug(format!("{}: it is closed, or a call has failed", self.place)));
        }
        self.step = Step::Failed;
        call(self)?;
        self.step = to;
        Ok(())
    }

    /// The upload, which is begun if it is not.
    fn upload(&mut self) -> Result<MultipartId> {
        if let Some(upload) = &self.upload {
            return Ok(upload.clone());
        }
        let (client, key, place) = (self.client.clone(), self.key.clone(), self.place.clone());
        let mark = (Attribute::Metadata(WRITER.into()), self.writer.clone());
        let options = PutMultipartOptions {
            attributes: Attributes::from_iter([mark]),
            ..PutMultipartOptions::default()
        };
        let upload = self.blocking.run(&self.place, ANSWER_LIMIT, async move {
            let begun = client.create_multipart_opts(&key, options).await;
            begun.map_err(|e| failed(&place, "can't be put", e))
        })?;
        self.upload = Some(upload.clone());
        Ok(upload)
    }

    fn add(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if !self.rest.is_empty() {
                // No more than a part is ever reserved.
                self.rest.reserve_exact(PART_BYTES - self.rest.len());
            }
            let (now, later) = bytes.split_at(bytes.len().min(PART_BYTES - self.rest.len()));
            self.rest.extend_from_slice(now);
            bytes = later;
            if self.rest.len() == PART_BYTES {
                self.send()?;
            }
        }
        Ok(())
    }

    /// Sends what is there as the next part, without waiting until it has come.
    fn send(&mut self) -> Result<()> {
        let (upload, number) = (self.upload()?, self.parts.len() + self.sending.len());
        if number == PARTS_MAX {
            let help = "have more partitions or shorter batches";
            return Err(refused(
                &self.place,
                "an object that comes in pieces can't have more than 48 GiB",
                help,
            ));
        }
        // One that has failed is told of here, and not after all others.
        let done = self.sending.iter().take_while(|part| part.is_finished()).count();
        self.receive(done)?;
        let room = self.room.clone();
        let room = self.blocking.run(&self.place, WAITING_LIMIT, async move {
            let room = room.acquire_owned().await;
            room.map_err(|e| Error::bug("the storage's room was closed").because(e))
        })?;
        let (client, key, place) = (self.client.clone(), self.key.clone(), self.place.clone());
        let part = mem::take(&mut self.rest);
        let limit = limit(part.len() as u64);
        self.bytes += part.len() as u64;
        self.sending.push(self.blocking.spawn(async move {
            let sent = tokio::time::timeout(limit, client.put_part(&key, &upload, number, part.into())).await;
            drop(room);
            match sent {
                Ok(sent) => sent.map_err(|e| failed(&place, "can't be put", e)),
                Err(_) => Err(Error::retry(format!("{place}: no answer in {} s", limit.as_secs()))),
            }
        }));
        Ok(())
    }

    /// Waits for the first `count` of the parts that are on their way; after an error none of them is any more.
    fn receive(&mut self, count: usize) -> Result<()> {
        let sending: Vec<_> = self.sending.drain(..count).collect();
        let parts = self.blocking.run(&self.place, WAITING_LIMIT, async move {
            let mut parts = Vec::with_capacity(sending.len());
            for part in sending {
                parts.push(part.await.unwrap_or_else(|e| Err(Error::bug("the client panicked").because(e))));
            }
            parts.into_iter().collect::<Result<Vec<_>>>()
        })?;
        self.parts.extend(parts);
        Ok(())
    }
}

impl StagedObject for S3Staged {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.go(Step::Growing, |staged| staged.add(bytes))
    }

    fn close(&mut self) -> Result<()> {
        self.go(Step::Closed, |staged| {
            // An upload has to have a part.
            if !staged.rest.is_empty() || staged.upload.is_none() {
                staged.send()?;
            }
            staged.receive(staged.sending.len())
        })
    }

    fn publish(&mut self) -> Result<()> {
        // Also once it is published: then it is found to be done.
        let is_closed = matches!(self.step, Step::Closed | Step::Published);
        let Some(upload) = self.upload.clone().filter(|_| is_closed) else {
            return Err(Error::bug(format!("{}: it is not closed", self.place)));
        };
        let (client, key, place) = (self.client.clone(), self.key.clone(), self.place.clone());
        let (parts, writer) = (self.parts.clone(), self.writer.clone());
        // Some stores copy the parts together.
        self.blocking.run(&self.place, limit(self.bytes), async move {
            let error = match client.complete_multipart(&key, &upload, parts).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if !is_no_upload(&error) {
                return Err(failed(&place, "can't be put", error));
            }
            // That it was completed before, and the answer got lost, is what most stores don't say.
            match wrote(&client, &key, &writer).await {
                Ok(true) => Ok(()),
                Err(e) if !is_no_object(&e) => Err(failed(&place, "can't be looked at", e)),
                _ => Err(failed(&place, "can't be put", error)),
            }
        })?;
        self.step = Step::Published;
        Ok(())
    }
}

impl Drop for S3Staged {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take().filter(|_| self.step != Step::Published) else { return };
        let (client, key, sending) = (self.client.clone(), self.key.clone(), mem::take(&mut self.sending));
        // Nobody waits for it. One that can't be ended now is a leftover.
        drop(self.blocking.spawn(async move {
            // A part that comes later than the end of its upload may stay.
            for part in sending {
                let _ = part.await;
            }
            let _ = client.abort_multipart(&key, &upload).await;
        }));
    }
}

/// Whether an upload is not there: it was completed, or ended.
pub(super) fn is_no_upload(error: &StoreError) -> bool {
    matches!(error, StoreError::NotFound { .. }) && error.to_string().contains("NoSuchUpload")
}

#[cfg(test)]
mod tests {
    use super::super::fake;
    use super::*;
    use std::sync::Mutex;
    use tidegate_core::{ErrorKind, Storage};

    /// Who wrote the object that is there.
    #[derive(Clone, Copy, Debug)]
    enum There {
        This,
        Another,
        Nobody,
    }

    #[test]
    fn an_upload_that_is_gone_was_completed_before_if_the_object_is_there() {
        for (there, expected) in
            [(There::This, None), (There::Another, Some("is gone")), (There::Nobody, Some("is gone"))]
        {
            let mark = Mutex::new(String::new());
            let (storage, _) = fake::storage(move |request| {
                let mut mark = mark.lock().unwrap();
                let (line, headers) = request.split_once("\r\n").unwrap();
                if line.starts_with("POST /b/jobs/a/x?uploads") {
                    *mark = headers.lines().find(|line| line.contains(WRITER)).unwrap().to_owned();
                    let body = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
                    return ("200 OK", String::new(), body.to_owned());
                }
                if line.starts_with("PUT /b/jobs/a/x?partNumber=1&uploadId=u ") {
                    return ("200 OK", "etag: \"p\"\r\n".to_owned(), String::new());
                }
                if line.starts_with("HEAD /b/jobs/a/x ") {
                    let mark = match there {
                        There::This => &mark,
                        There::Another => "x-amz-meta-tidegate-writer: another",
                        There::Nobody => return ("404 Not Found", String::new(), String::new()),
                    };
                    let headers = format!(
                        "etag: \"e\"\r\ncontent-length: 1\r\nlast-modified: Thu, 26 Nov 2026 20:44:12 GMT\r\n{mark}\r\n"
                    );
                    return ("200 OK", headers, String::new());
                }
                let body = "<Error><Code>NoSuchUpload</Code></Error>";
                ("404 Not Found", String::new(), body.to_owned())
            });
            let mut staged = storage.stage("a/x").unwrap().unwrap();
            staged.write(b"x").unwrap();
            staged.close().unwrap();
            match (staged.publish(), expected) {
                (Ok(()), None) => {}
                (Err(error), Some(text)) => {
                    assert_eq!(error.kind(), ErrorKind::Retry, "{there:?}: {error}");
                    assert!(error.to_string().contains(text), "{there:?}: {error}");
                    assert!(error.to_string().starts_with("s3://b/jobs/a/x: "), "{there:?}: {error}");
                }
                (other, _) => panic!("{there:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn after_a_call_that_failed_nothing_is_published() {
        let (storage, _) = fake::storage(|request| {
            let body =
                "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
            if request.contains("?uploads") {
                return ("200 OK", String::new(), body.to_owned());
            }
            let refused = "<Error><Code>AccessDenied</Code></Error>";
            let is_first = request.contains("partNumber=1&");
            if is_first {
                ("403 Forbidden", String::new(), refused.to_owned())
            } else {
                ("200 OK", "etag: \"p\"\r\n".to_owned(), String::new())
            }
        });
        let mut staged = storage.stage("a/x").unwrap().unwrap();
        let error = loop {
            // The first part has failed at the latest when there is no room for more.
            if let Err(error) = staged.write(&vec![0; PART_BYTES]) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::Reconfigure, "{error}");
        for result in [staged.write(b"x"), staged.close(), staged.publish()] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Bug);
        }
    }
}
