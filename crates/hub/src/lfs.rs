//! Large files to the hub's storage, by Git LFS: one request, or parts for those that are larger.
//!
//! The batch API of Git LFS with the hub's transfer `multipart`: the answer's header holds the size of a part and an address for
//! each, numbered from 1; the parts' ETags complete the upload.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use futures::stream::{self, StreamExt, TryStreamExt};
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use reqwest::{Method, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::download::Watch;
use crate::push::{Local, Push};
use crate::{Hub, HubError, Progress};

const MEDIA: &str = "application/vnd.git-lfs+json";
/// Files that are sent at once.
const AT_ONCE: usize = 2;
/// Objects asked about at a time.
const BATCH: usize = 100;
/// The smallest part of a file that a server may ask for: smaller ones would be millions of requests.
const SMALLEST_PART: u64 = 1 << 16;
/// The largest part, which stands in memory while it is sent.
const LARGEST_PART: u64 = 256 << 20;

#[derive(Deserialize)]
struct Batch {
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Actions {
    #[serde(default)]
    upload: Option<Action>,
    #[serde(default)]
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, Value>,
}

impl Action {
    fn text(&self, key: &str) -> Option<String> {
        match self.header.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

impl Hub {
    /// Sends the files that the storage does not have yet.
    pub(crate) async fn upload(&self, push: &Push, files: &[Local], total: u64, watch: &Watch<'_>) -> Result<(), HubError> {
        let sent = std::sync::atomic::AtomicU64::new(0);
        for batch in files.chunks(BATCH) {
            let objects = self.batch(push, batch).await?;
            let send = |file: &Local| {
                let (object, sent, file) = (objects.get(&file.sha256), &sent, file.clone());
                async move {
                    let Some(object) = object else {
                        let what = format!("it says nothing of `{}`", file.name);
                        return Err(HubError::Answer { url: self.lfs_url(push), what });
                    };
                    self.send_object(push, &file, object).await?;
                    let bytes = sent.fetch_add(file.size, std::sync::atomic::Ordering::Relaxed) + file.size;
                    watch(Progress { bytes, total });
                    Ok(())
                }
            };
            stream::iter(batch.iter().map(send)).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        }
        Ok(())
    }

    fn lfs_url(&self, push: &Push) -> String {
        format!("{}/{}.git/info/lfs/objects/batch", self.endpoint(), push.repo)
    }

    async fn batch(&self, push: &Push, files: &[Local]) -> Result<BTreeMap<String, Object>, HubError> {
        let objects: Vec<Value> = files.iter().map(|file| json!({ "oid": file.sha256, "size": file.size })).collect();
        let body = json!({
            "operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256",
            "ref": { "name": push.branch }, "objects": objects,
        });
        let url = self.lfs_url(push);
        let body = body.to_string();
        let request = || self.http.request(Method::POST, &url).header(ACCEPT, MEDIA).header(CONTENT_TYPE, MEDIA).body(body.clone());
        let answer = self.http.send(request).await?;
        let batch: Batch = self.parsed(self.http.checked(answer, &push.repo).await?).await?;
        Ok(batch.objects.into_iter().map(|object| (object.oid.clone(), object)).collect())
    }

    async fn send_object(&self, push: &Push, file: &Local, object: &Object) -> Result<(), HubError> {
        if let Some(error) = &object.error {
            let message = error.get("message").and_then(Value::as_str).unwrap_or("no message").to_owned();
            return Err(HubError::Answer { url: self.lfs_url(push), what: format!("`{}` is refused: {message}", file.name) });
        }
        // Without actions the storage has the content.
        let Some(actions) = &object.actions else { return Ok(()) };
        if let Some(upload) = &actions.upload {
            match upload.text("chunk_size") {
                Some(size) => self.send_parts(push, file, upload, &size).await?,
                None => self.send_whole(push, file, upload).await?,
            }
        }
        if let Some(verify) = &actions.verify {
            let body = json!({ "oid": file.sha256, "size": file.size });
            let request =
                || self.http.request(Method::POST, &verify.href).header(ACCEPT, MEDIA).header(CONTENT_TYPE, MEDIA).body(body.to_string());
            let answer = self.http.send(request).await?;
            self.http.checked(answer, &push.repo).await?;
        }
        Ok(())
    }

    async fn send_whole(&self, push: &Push, file: &Local, upload: &Action) -> Result<(), HubError> {
        // The body streams from disk, so that a repeated try opens the file anew.
        let open = || File::open(&file.path);
        open().map_err(HubError::file("read", &file.path))?;
        let request = || {
            let mut request = self.http.request(Method::PUT, &upload.href).header(CONTENT_LENGTH, file.size);
            for key in upload.header.keys() {
                if let Some(value) = upload.text(key) {
                    request = request.header(key, value);
                }
            }
            match open() {
                Ok(content) => request.body(reqwest::Body::wrap_stream(chunks(content))),
                Err(_) => request,
            }
        };
        let answer = self.http.send(request).await?;
        self.http.checked(answer, &push.repo).await.map(drop)
    }

    async fn send_parts(&self, push: &Push, file: &Local, upload: &Action, chunk_size: &str) -> Result<(), HubError> {
        let wrong = |what: String| HubError::Answer { url: self.lfs_url(push), what };
        let size: u64 = chunk_size
            .parse()
            .ok()
            .filter(|size| (SMALLEST_PART..=LARGEST_PART).contains(size))
            .ok_or_else(|| wrong(format!("parts of `{chunk_size}` bytes; between {SMALLEST_PART} and {LARGEST_PART} can be sent")))?;
        let numbered = |(key, value): (&String, &Value)| Some((key.parse::<u32>().ok()?, value.as_str()?.to_owned()));
        let addresses: BTreeMap<u32, String> = upload.header.iter().filter_map(numbered).collect();
        let count = file.size.div_ceil(size);
        if addresses.len() as u64 != count || !addresses.keys().copied().eq(1..=addresses.len() as u32) {
            return Err(wrong(format!("{} parts for `{}`, which needs {count}", addresses.len(), file.name)));
        }
        let content = File::open(&file.path).map_err(HubError::file("read", &file.path))?;
        let mut parts = Vec::new();
        for (number, address) in addresses {
            let start = u64::from(number - 1) * size;
            let length = size.min(file.size - start);
            let mut part = vec![0; usize::try_from(length).unwrap_or_default()];
            content.read_exact_at(&mut part, start).map_err(HubError::file("read", &file.path))?;
            let part = bytes::Bytes::from(part);
            let answer = self.http.send(|| self.http.request(Method::PUT, &address).body(part.clone())).await?;
            let answer = self.http.checked(answer, &push.repo).await?;
            let etag = etag(&answer).ok_or_else(|| wrong(format!("part {number} of `{}` has no ETag", file.name)))?;
            parts.push(json!({ "partNumber": number, "etag": etag }));
        }
        let body = json!({ "oid": file.sha256, "parts": parts });
        let request =
            || self.http.request(Method::POST, &upload.href).header(ACCEPT, MEDIA).header(CONTENT_TYPE, MEDIA).body(body.to_string());
        let answer = self.http.send(request).await?;
        self.http.checked(answer, &push.repo).await.map(drop)
    }
}

fn etag(answer: &Response) -> Option<String> {
    answer.headers().get(ETAG)?.to_str().ok().map(str::to_owned)
}

/// A file's content in pieces.
fn chunks(file: File) -> impl futures::Stream<Item = std::io::Result<bytes::Bytes>> {
    stream::try_unfold(file, |mut file| async move {
        let mut buffer = vec![0; 1 << 18];
        let read = file.read(&mut buffer)?;
        buffer.truncate(read);
        Ok((read > 0).then(|| (bytes::Bytes::from(buffer), file)))
    })
}
