//! The calls of a batch API.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::fault::{Fault, FaultKind};
use super::super::send::Sender;
use crate::journal::RequestKey;

/// The service, seen through its batch calls.
pub(super) struct Api<'a> {
    pub(super) sender: &'a Sender,
    pub(super) window: &'a str,
}

/// How a batch stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Status {
    UnderWay,
    /// Ended, whole or not; its results are in these files.
    Ended {
        files: Vec<String>,
        why: String,
    },
}

/// One answered line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

#[derive(Deserialize)]
struct WireLine<'a> {
    custom_id: String,
    #[serde(borrow, default)]
    response: Option<WireResponse<'a>>,
}

#[derive(Deserialize)]
struct WireResponse<'a> {
    #[serde(default)]
    status_code: Option<u16>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

/// The batch calls live at the first server.
const SERVER: usize = 0;

/// Pages of the list of batches that are looked through for one of ours.
const PAGES: usize = 20;

impl Api<'_> {
    /// Uploads the requests' file; its id.
    pub(super) async fn upload(&self, name: &str, file: &[u8]) -> Result<String, Fault> {
        // JSON escapes control characters, so that no line of the file can hold the boundary's line end.
        let boundary = format!("----{name}");
        let mut body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{boundary}\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"{name}.jsonl\"\r\nContent-Type: application/jsonl\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(file);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let kind = format!("multipart/form-data; boundary={boundary}");
        id(&parse(&self.sender.post(SERVER, "files", &kind, Bytes::from(body)).await?)?)
    }

    /// Hands the file in as a batch; its id.
    pub(super) async fn submit(&self, name: &str, file_id: &str) -> Result<String, Fault> {
        let body = json!({
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": self.window,
            "metadata": { "name": name },
        });
        id(&parse(&self.sender.post(SERVER, "batches", "application/json", Bytes::from(body.to_string())).await?)?)
    }

    /// The id of the batch that bears a name, if the service has it.
    pub(super) async fn find(&self, name: &str) -> Result<Option<String>, Fault> {
        let mut after = String::new();
        for _ in 0..PAGES {
            let page = parse(&self.sender.get(SERVER, &format!("batches?limit=100{after}")).await?)?;
            let batches = page.get("data").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            if let Some(batch) = batches.iter().find(|batch| batch.pointer("/metadata/name").and_then(Value::as_str) == Some(name)) {
                return id(batch).map(Some);
            }
            let last = batches.last().and_then(|batch| batch.get("id")?.as_str());
            let (Some(last), Some(true)) = (last, page.get("has_more").and_then(Value::as_bool)) else { break };
            after = format!("&after={last}");
        }
        Ok(None)
    }

    pub(super) async fn status(&self, batch_id: &str) -> Result<Status, Fault> {
        let batch = parse(&self.sender.get(SERVER, &format!("batches/{batch_id}")).await?)?;
        let status = batch.get("status").and_then(Value::as_str).unwrap_or_default();
        if !matches!(status, "completed" | "failed" | "expired" | "cancelled") {
            return Ok(Status::UnderWay);
        }
        let files = ["output_file_id", "error_file_id"].iter().filter_map(|key| batch.get(*key)?.as_str().map(str::to_owned));
        let message = batch.pointer("/errors/data/0/message").and_then(Value::as_str);
        let why =
            message.map_or_else(|| format!("the batch ended as {status}"), |message| format!("the batch ended as {status}: {message}"));
        Ok(Status::Ended { files: files.collect(), why })
    }

    pub(super) async fn download(&self, file_id: &str, limit: usize) -> Result<Vec<u8>, Fault> {
        self.sender.get_up_to(SERVER, &format!("files/{file_id}/content"), limit).await
    }

    pub(super) async fn cancel(&self, batch_id: &str) -> Result<(), Fault> {
        self.sender.post(SERVER, &format!("batches/{batch_id}/cancel"), "application/json", Bytes::new()).await.map(drop)
    }
}

fn parse(body: &[u8]) -> Result<Value, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::new(FaultKind::InvalidJson, error.to_string()))
}

fn id(object: &Value) -> Result<String, Fault> {
    let id = object.get("id").and_then(Value::as_str);
    // It becomes part of an address.
    let plain = |id: &&str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
    id.filter(plain).map(str::to_owned).ok_or_else(|| Fault::new(FaultKind::InvalidJson, "the reply holds no id"))
}

/// The file of a batch: a request a line, named by its key.
pub(super) fn file(lines: &[(RequestKey, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::with_capacity(lines.iter().map(|(_, body)| body.len() + 144).sum());
    for (key, body) in lines {
        file.extend_from_slice(
            format!("{{\"custom_id\":\"{key}\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":").as_bytes(),
        );
        file.extend_from_slice(body);
        file.extend_from_slice(b"}\n");
    }
    file
}

/// The lines of a result file by their keys. What cannot be read is as if the service had not answered it.
pub(super) fn read_results(bytes: &[u8], into: &mut HashMap<RequestKey, Line>) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(wire) = serde_json::from_slice::<WireLine<'_>>(line) else { continue };
        let Some(key) = RequestKey::from_hex(&wire.custom_id) else { continue };
        let response = wire.response.and_then(|response| Some((response.status_code.unwrap_or(200), response.body?)));
        // A line with an error instead of a response (expired, cancelled) was not answered.
        let Some((status, body)) = response else { continue };
        into.insert(key, Line { status, body: body.get().as_bytes().to_vec() });
    }
}

impl Line {
    /// The service's words about a line that failed.
    pub(super) fn fault(&self) -> Fault {
        let status = reqwest::StatusCode::from_u16(self.status).unwrap_or(reqwest::StatusCode::INTERNAL_SERVER_ERROR);
        Fault::status(status, &reqwest::header::HeaderMap::new(), &self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_their_keys_and_damage_is_stepped_over() {
        let key = RequestKey([7; 32]);
        let good = format!("{{\"custom_id\":\"{key}\",\"response\":{{\"status_code\":200,\"body\":{{\"choices\":[]}}}},\"error\":null}}");
        let expired = format!("{{\"custom_id\":\"{}\",\"response\":null,\"error\":{{\"code\":\"batch_expired\"}}}}", RequestKey([8; 32]));
        let mut lines = HashMap::new();
        read_results(format!("{good}\n{expired}\n\nno json\n{{\"custom_id\":\"x\"}}\n").as_bytes(), &mut lines);
        assert_eq!(lines, HashMap::from([(key, Line { status: 200, body: b"{\"choices\":[]}".to_vec() })]));
    }

    #[test]
    fn an_id_that_would_lead_elsewhere_is_refused() {
        for bad in ["", "../files", "a/b", "a?b", "a b"] {
            assert!(id(&json!({ "id": bad })).is_err(), "{bad}");
        }
        assert_eq!(id(&json!({ "id": "batch_abc-123" })).unwrap(), "batch_abc-123");
    }
}
