//! A hub in this process: the parts of the Hugging Face API that the client speaks, and the ways in which a server can fail.

#![allow(dead_code, reason = "each test binary uses its part of the fake")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use futures::StreamExt as _;
use serde_json::{Value, json};
use sha2::Digest as _;

/// Files of at least so many bytes are in LFS.
pub(crate) const LFS: usize = 1000;
/// Files of at least so many bytes are uploaded in parts of [`PART`].
pub(crate) const MULTIPART: usize = 200_000;
/// Bytes of a part.
pub(crate) const PART: usize = 1 << 16;

/// How the hub misbehaves.
#[derive(Default, Clone)]
pub(crate) struct Faults {
    /// The next so many downloads end after this many bytes of the rest.
    pub(crate) cut: Option<(u32, usize)>,
    /// Ranges are ignored.
    pub(crate) no_ranges: bool,
    /// Contents are sent with their first byte changed.
    pub(crate) corrupt: bool,
    /// So many requests are answered with 503 first.
    pub(crate) busy: u32,
    /// Names listed beside the real ones.
    pub(crate) listed: Vec<String>,
}

#[derive(Default)]
pub(crate) struct Repo {
    pub(crate) commits: u64,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) private: bool,
}

#[derive(Default)]
pub(crate) struct Hub {
    /// By `models/a/b` or `datasets/a/b`.
    pub(crate) repos: BTreeMap<String, Repo>,
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    pub(crate) parts: BTreeMap<(String, usize), Vec<u8>>,
    pub(crate) faults: Faults,
    /// Every request: method and path, whether it came with the token.
    pub(crate) log: Vec<(String, bool)>,
    /// Ranges asked for.
    pub(crate) ranges: Vec<String>,
    pub(crate) token: Option<String>,
    pub(crate) port: u16,
}

/// A running fake.
pub(crate) struct Fake {
    pub(crate) state: Arc<Mutex<Hub>>,
    pub(crate) endpoint: String,
    runtime: tokio::runtime::Runtime,
}

impl Fake {
    /// A hub that demands `token` for what is private and for writing.
    pub(crate) fn start(token: Option<&str>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(Hub { token: token.map(str::to_owned), port, ..Hub::default() }));
        let router = Router::new().fallback(answer).with_state(state.clone()).layer(axum::extract::DefaultBodyLimit::disable());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { state, endpoint: format!("http://127.0.0.1:{port}"), runtime }
    }

    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Hub) -> T) -> T {
        work(&mut self.state.lock().unwrap())
    }

    pub(crate) fn put(&self, repo: &str, path: &str, content: impl Into<Vec<u8>>) {
        self.with(|hub| {
            let repo = hub.repos.entry(repo.to_owned()).or_insert_with(|| Repo { commits: 1, ..Repo::default() });
            repo.files.insert(path.to_owned(), content.into());
        });
    }

    pub(crate) fn requests(&self, part: &str) -> usize {
        self.with(|hub| hub.log.iter().filter(|(line, _)| line.contains(part)).count())
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).as_slice().iter().map(|b| format!("{b:02x}")).collect()
}

fn git(bytes: &[u8]) -> String {
    let mut hasher = sha1::Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hasher.finalize().as_slice().iter().map(|b| format!("{b:02x}")).collect()
}

fn reply(status: u16, body: impl Into<Body>) -> Response<Body> {
    Response::builder().status(status).body(body.into()).unwrap()
}

fn json_reply(value: &Value) -> Response<Body> {
    reply(200, value.to_string())
}

async fn answer(State(state): State<Arc<Mutex<Hub>>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let mut hub = state.lock().unwrap();
    let path = uri.path().replace("%2F", "/");
    let sent = headers.get("authorization").and_then(|v| v.to_str().ok()).map(str::to_owned);
    hub.log.push((format!("{method} {path}"), sent.is_some()));
    if hub.faults.busy > 0 {
        hub.faults.busy -= 1;
        return Response::builder().status(503).header("retry-after", "0").body(Body::from("busy")).unwrap();
    }
    let allowed = hub.token.is_none() || sent == hub.token.as_ref().map(|token| format!("Bearer {token}"));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (method.as_str(), parts.as_slice()) {
        ("GET", ["api", kind, org, name, "revision", ..]) => hub.revision(&format!("{kind}/{org}/{name}"), &uri, allowed),
        ("GET", ["datasets", org, name, "resolve", _, file @ ..]) => {
            hub.resolve(&format!("datasets/{org}/{name}"), file, &headers, allowed)
        }
        ("GET", [org, name, "resolve", _, file @ ..]) => hub.resolve(&format!("models/{org}/{name}"), file, &headers, allowed),
        ("GET", ["cdn", oid]) => match hub.objects.get(*oid).cloned() {
            Some(content) => hub.content(&content, &headers),
            None => reply(404, ""),
        },
        ("POST" | "PUT", ["storage", rest @ ..]) => hub.storage(rest, &body),
        ("POST", _) if !allowed => reply(401, json!({ "error": format!("Invalid credentials: {}", sent.unwrap_or_default()) }).to_string()),
        ("POST", ["api", "repos", "create"]) => hub.create(&body),
        ("POST", ["api", _, _, _, "preupload", _]) => preupload(&body),
        ("POST", ["api", kind, org, name, "commit", _]) => hub.commit(&format!("{kind}/{org}/{name}"), &body),
        ("POST", [.., "info", "lfs", "objects", "batch"]) => hub.batch(&body),
        _ => reply(404, json!({ "error": "no such route" }).to_string()),
    }
}

impl Hub {
    fn revision(&mut self, repo: &str, uri: &Uri, allowed: bool) -> Response<Body> {
        let Some(found) = self.repos.get(repo).filter(|found| allowed || !found.private) else {
            // The hub's way: without credentials what is not there is refused like what may not be seen.
            return reply(if allowed { 404 } else { 401 }, json!({ "error": "Repository not found" }).to_string());
        };
        assert_eq!(uri.query(), Some("blobs=true"));
        let sibling = |(path, content): (&String, &Vec<u8>)| {
            if content.len() >= LFS {
                json!({ "rfilename": path, "size": content.len(), "blobId": git(content), "lfs": { "sha256": sha256(content), "size": content.len(), "pointerSize": 130 } })
            } else {
                json!({ "rfilename": path, "size": content.len(), "blobId": git(content) })
            }
        };
        let mut siblings: Vec<Value> = found.files.iter().map(sibling).collect();
        siblings.extend(self.faults.listed.iter().map(|path| json!({ "rfilename": path, "size": 1, "blobId": git(b"x") })));
        json_reply(&json!({ "id": repo, "sha": format!("{:040x}", found.commits), "siblings": siblings }))
    }

    fn resolve(&mut self, repo: &str, file: &[&str], headers: &HeaderMap, allowed: bool) -> Response<Body> {
        let Some(found) = self.repos.get(repo) else { return reply(404, "") };
        if found.private && !allowed {
            return reply(403, json!({ "error": "gated" }).to_string());
        }
        let Some(content) = found.files.get(&file.join("/")).cloned() else { return reply(404, "") };
        if content.len() < LFS {
            return self.content(&content, headers);
        }
        let oid = sha256(&content);
        self.objects.insert(oid.clone(), content);
        // Another host than the hub's, where the token has no business.
        let place = format!("http://localhost:{}/cdn/{oid}?signature=secret", self.port);
        Response::builder().status(302).header("location", place).body(Body::empty()).unwrap()
    }

    fn content(&mut self, content: &[u8], headers: &HeaderMap) -> Response<Body> {
        let mut content = content.to_vec();
        if self.faults.corrupt && !content.is_empty() {
            content[0] ^= 1;
        }
        let range = headers.get("range").and_then(|v| v.to_str().ok()).map(str::to_owned);
        self.ranges.extend(range.clone());
        let start =
            range.filter(|_| !self.faults.no_ranges).and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let rest = content[start.unwrap_or(0)..].to_vec();
        let mut builder = Response::builder().status(if start.is_some() { 206 } else { 200 });
        if let Some(start) = start {
            builder = builder.header("content-range", format!("bytes {start}-{}/{}", content.len() - 1, content.len()));
        }
        builder = builder.header("content-length", rest.len());
        match &mut self.faults.cut {
            Some((times, bytes)) if *times > 0 => {
                *times -= 1;
                let head = Bytes::from(rest[..rest.len().min(*bytes)].to_vec());
                // The cut comes a little later, so that what was sent before it arrives.
                let cut = async {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    Err(std::io::Error::other("cut"))
                };
                let broken = futures::stream::once(async { Ok(head) }).chain(futures::stream::once(cut));
                builder.body(Body::from_stream(broken)).unwrap()
            }
            _ => builder.body(Body::from(rest)).unwrap(),
        }
    }

    fn create(&mut self, body: &[u8]) -> Response<Body> {
        let asked: Value = serde_json::from_slice(body).unwrap();
        let organisation = asked["organization"].as_str().map(|o| format!("{o}/")).unwrap_or_default();
        let name = format!("{}s/{organisation}{}", asked["type"].as_str().unwrap(), asked["name"].as_str().unwrap());
        if self.repos.contains_key(&name) {
            return reply(409, json!({ "error": "You already created this repo" }).to_string());
        }
        self.repos.insert(name, Repo { commits: 1, private: asked["private"] == true, ..Repo::default() });
        json_reply(&json!({ "url": "created" }))
    }

    fn batch(&mut self, body: &[u8]) -> Response<Body> {
        let asked: Value = serde_json::from_slice(body).unwrap();
        assert_eq!((asked["operation"].as_str(), asked["hash_algo"].as_str()), (Some("upload"), Some("sha256")));
        let base = format!("http://localhost:{}/storage", self.port);
        let object = |object: &Value| {
            let (oid, size) = (object["oid"].as_str().unwrap(), object["size"].as_u64().unwrap() as usize);
            if self.objects.contains_key(oid) {
                return json!({ "oid": oid, "size": size });
            }
            let verify = json!({ "href": format!("{base}/verify/{oid}") });
            let mut header = json!({});
            if size >= MULTIPART {
                header["chunk_size"] = json!(PART.to_string());
                for part in 1..=size.div_ceil(PART) {
                    header[part.to_string()] = json!(format!("{base}/part/{oid}/{part}"));
                }
                return json!({ "oid": oid, "size": size, "actions": { "upload": { "href": format!("{base}/complete/{oid}"), "header": header }, "verify": verify } });
            }
            json!({ "oid": oid, "size": size, "actions": { "upload": { "href": format!("{base}/whole/{oid}"), "header": { "x-storage": "1" } }, "verify": verify } })
        };
        let objects: Vec<Value> = asked["objects"].as_array().unwrap().iter().map(object).collect();
        json_reply(&json!({ "objects": objects }))
    }

    fn storage(&mut self, rest: &[&str], body: &[u8]) -> Response<Body> {
        match rest {
            ["whole", oid] => {
                assert_eq!(sha256(body), *oid);
                self.objects.insert((*oid).to_owned(), body.to_vec());
                reply(200, "")
            }
            ["part", oid, part] => {
                self.parts.insert(((*oid).to_owned(), part.parse().unwrap()), body.to_vec());
                Response::builder().status(200).header("etag", format!("\"etag-{part}\"")).body(Body::empty()).unwrap()
            }
            ["complete", oid] => {
                let asked: Value = serde_json::from_slice(body).unwrap();
                let mut content = Vec::new();
                for (at, part) in asked["parts"].as_array().unwrap().iter().enumerate() {
                    assert_eq!(part["etag"], format!("\"etag-{}\"", at + 1));
                    content.extend_from_slice(&self.parts[&((*oid).to_owned(), at + 1)]);
                }
                assert_eq!(sha256(&content), *oid);
                self.objects.insert((*oid).to_owned(), content);
                reply(200, "")
            }
            ["verify", oid] if self.objects.contains_key(*oid) => reply(200, ""),
            _ => reply(404, ""),
        }
    }

    fn commit(&mut self, repo: &str, body: &[u8]) -> Response<Body> {
        let lines: Vec<Value> = std::str::from_utf8(body).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["key"], "header");
        let mut changes = Vec::new();
        for line in &lines[1..] {
            let (value, path) = (&line["value"], line["value"]["path"].as_str().unwrap().to_owned());
            let content = match line["key"].as_str().unwrap() {
                "file" => base64::Engine::decode(&base64::engine::general_purpose::STANDARD, value["content"].as_str().unwrap()).unwrap(),
                _ => match self.objects.get(value["oid"].as_str().unwrap()) {
                    Some(content) => content.clone(),
                    None => return reply(400, json!({ "error": "LFS pointer to what was never uploaded" }).to_string()),
                },
            };
            changes.push((path, content));
        }
        let Some(repo) = self.repos.get_mut(repo) else { return reply(404, "") };
        repo.files.extend(changes);
        repo.commits += 1;
        json_reply(&json!({ "success": true, "commitOid": format!("{:040x}", repo.commits), "commitUrl": "url" }))
    }
}

fn preupload(body: &[u8]) -> Response<Body> {
    let asked: Value = serde_json::from_slice(body).unwrap();
    let mode = |file: &Value| {
        let lfs = file["size"].as_u64().unwrap() as usize >= LFS;
        assert!(file["sample"].is_string());
        json!({ "path": file["path"], "uploadMode": if lfs { "lfs" } else { "regular" }, "shouldIgnore": false })
    };
    let files: Vec<Value> = asked["files"].as_array().unwrap().iter().map(mode).collect();
    json_reply(&json!({ "files": files }))
}
