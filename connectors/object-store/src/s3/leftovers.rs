//! Uploads that nobody will complete: their process died. Nobody sees them, and the bucket pays for them.
//!
//! The client can't list them, so the request is made here, signed by the client. An upload says when it was begun and not by whom; so
//! only one is ended that is a week old, below a folder and not in a whole bucket, and has a path that an object of ours may have.

use super::{S3Storage, failed};
use crate::ANSWER_LIMIT;
use chrono::{DateTime, Utc};
use object_store::aws::AmazonS3;
use object_store::client::{ClientOptions, HttpClient, HttpConnector, HttpRequest, ReqwestConnector};
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::signer::{Method, SignedUrlOptions, Signer};
use serde::Deserialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tidegate_core::{Error, Result, is_storage_path};

const LEFTOVER_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Pages of 1,000 uploads that are looked at. What comes behind is for the next who opens the folder.
const PAGES_MAX: usize = 10;
/// For how long a request is valid that was signed.
const SIGNED_FOR: Duration = Duration::from_secs(60);

/// Makes the connections of a client, and keeps them for requests that it does not have.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<Option<HttpClient>>>);

impl HttpConnector for Connections {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        // The last that is asked for is the one for objects; others are for credentials.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(client.clone());
        Ok(client)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default, rename = "Upload")]
    uploads: Vec<Upload>,
    #[serde(default)]
    is_truncated: bool,
    #[serde(default)]
    next_key_marker: String,
    #[serde(default)]
    next_upload_id_marker: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
    /// As in `2026-11-26T20:44:09.941Z`.
    initiated: String,
}

/// Ends what is left below the storage's folder. A key that may not list or end uploads leaves them, which the log says.
pub(super) fn end(storage: &S3Storage, connections: &Connections) {
    let http = connections.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(http) = http.filter(|_| !storage.root.is_empty()) else { return };
    let (client, place, root) = (storage.client.clone(), storage.place(""), storage.root.clone());
    let ended = storage.blocking.run(&storage.place(""), ANSWER_LIMIT, async move {
        let before = DateTime::<Utc>::from(SystemTime::now() - LEFTOVER_AGE);
        end_begun(&client, &http, &place, &root, before).await
    });
    if let Err(error) = ended {
        log::info!("uploads that a crash may have left are not ended: {error}");
    }
}

/// Ends those that were begun before a time.
async fn end_begun(
    client: &AmazonS3,
    http: &HttpClient,
    place: &str,
    root: &str,
    before: DateTime<Utc>,
) -> Result<()> {
    let folder = format!("{root}/");
    let (mut key_marker, mut upload_marker) = (String::new(), String::new());
    for _ in 0..PAGES_MAX {
        let page = page(client, http, place, &folder, &key_marker, &upload_marker).await?;
        for upload in page.uploads {
            let begun = upload.initiated.parse::<DateTime<Utc>>();
            let is_ours = upload.key.strip_prefix(&folder).is_some_and(is_storage_path);
            if let (true, Ok(true), Ok(key)) =
                (is_ours, begun.map(|begun| begun < before), Key::parse(&upload.key))
            {
                let ended = client.abort_multipart(&key, &upload.upload_id).await;
                ended.map_err(|e| failed(place, &format!("an upload of {key} can't be ended"), e))?;
                log::info!("{place}: ended an upload of {key}, it was left half written");
            }
        }
        if !page.is_truncated {
            break;
        }
        (key_marker, upload_marker) = (page.next_key_marker, page.next_upload_id_marker);
    }
    Ok(())
}

async fn page(
    client: &AmazonS3,
    http: &HttpClient,
    place: &str,
    folder: &str,
    key_marker: &str,
    upload_marker: &str,
) -> Result<Page> {
    let mut query = vec![("uploads", ""), ("prefix", folder)];
    if !key_marker.is_empty() {
        query.extend([("key-marker", key_marker), ("upload-id-marker", upload_marker)]);
    }
    let options = SignedUrlOptions::default().with_query(query);
    let url = client.signed_url_opts(Method::GET, &Key::default(), SIGNED_FOR, &options).await;
    let url = url.map_err(|e| failed(place, "no request can be signed", e))?;
    // What was signed is not repeated in an error: it stands for the key while it is valid.
    let fails = |what: &str| Error::retry(format!("{place}: uploads can't be listed: {what}"));
    let mut request = HttpRequest::new(Vec::new().into());
    *request.uri_mut() = url.as_str().parse().map_err(|_| fails("the address is no address"))?;
    let answer = http.execute(request).await.map_err(|e| fails("no answer").because(e))?;
    let status = answer.status();
    let bytes = answer.into_body().bytes().await.map_err(|e| fails("no whole answer").because(e))?;
    if !status.is_success() {
        return Err(fails(&format!("the store answers {status}")));
    }
    let text = str::from_utf8(&bytes).map_err(|e| fails("the answer is no text").because(e))?;
    quick_xml::de::from_str(text).map_err(|e| fails("the answer is not one of S3").because(e))
}

#[cfg(test)]
mod tests {
    use super::super::fake;
    use super::*;

    fn upload(key: &str, id: &str, begun: &str) -> String {
        format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiated>{begun}</Initiated></Upload>")
    }

    /// Which uploads are ended of those on two pages, and how the pages were asked for.
    fn ended(status: &'static str, first: &str, second: &str) -> (Vec<String>, Vec<String>) {
        let (ended, asked) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (storage, connections) = fake::storage({
            let (ended, asked) = (ended.clone(), asked.clone());
            let pages = [
                "<ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>b</Bucket><KeyMarker/>\
                 <NextKeyMarker>jobs/k</NextKeyMarker><NextUploadIdMarker>last</NextUploadIdMarker><IsTruncated>true</IsTruncated>"
                    .to_owned()
                    + first,
                "<ListMultipartUploadsResult><Bucket>b</Bucket><NextKeyMarker/><IsTruncated>false</IsTruncated>".to_owned()
                    + second,
            ];
            move |request: &String| {
                let line = request.lines().next().unwrap();
                if line.starts_with("DELETE /b/") {
                    ended.lock().unwrap().push(line.split(' ').nth(1).unwrap().to_owned());
                    return ("204 No Content", String::new(), String::new());
                }
                assert!(line.starts_with("GET /b/?") && line.contains("X-Amz-Signature="), "{line}");
                assert!(line.contains("uploads=") && line.contains("prefix=jobs%2F"), "{line}");
                asked.lock().unwrap().push(line.to_owned());
                let page = &pages[usize::from(line.contains("key-marker"))];
                (status, String::new(), format!("{page}</ListMultipartUploadsResult>"))
            }
        });
        end(&storage, &connections);
        let taken = |list: &Mutex<Vec<String>>| list.lock().unwrap().clone();
        (taken(&ended), taken(&asked))
    }

    #[test]
    fn an_upload_of_last_week_is_ended_and_no_other() {
        let now = DateTime::<Utc>::from(SystemTime::now());
        let day = Duration::from_secs(24 * 60 * 60);
        let (old, young) = ((now - day * 8).to_rfc3339(), (now - day * 6).to_rfc3339());
        let first = [
            upload("jobs/a/part-0", "old", "2026-01-02T03:04:05.678Z"),
            upload("jobs/a/part-1", "young", &young),
            upload("jobs/a/part-2", "unclear", "yesterday"),
            upload("jobs/in coming/x", "not-ours", &old),
            upload("jobs-2/x", "beside", &old),
        ];
        let (ended, asked) = ended("200 OK", &first.concat(), &upload("jobs/z", "next", &old));
        assert_eq!(ended, ["/b/jobs/a/part-0?uploadId=old", "/b/jobs/z?uploadId=next"]);
        assert_eq!(asked.len(), 2);
        assert!(
            asked[1].contains("key-marker=jobs%2Fk") && asked[1].contains("upload-id-marker=last"),
            "{asked:?}"
        );
    }

    #[test]
    fn who_may_not_list_uploads_ends_none() {
        let old = upload("jobs/x", "old", "2020-01-02T03:04:05.678Z");
        let (ended, asked) = ended("403 Forbidden", &old, &old);
        assert_eq!((ended.len(), asked.len()), (0, 1));
    }
}
