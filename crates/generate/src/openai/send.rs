//! One try on the wire.

use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use super::config::{OpenAiConfig, wrong};
use super::fault::{Fault, FaultKind};
use super::stream::Assembler;
use crate::error::GenerateError;
use crate::secret::{MASK, SecretKey};

/// An error page is read this far.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// Shorter keys ("EMPTY", "none") are placeholders of local servers and ordinary words, which replies may hold.
const SECRET_LENGTH: usize = 12;

/// The HTTP client and what stands in each request.
pub(super) struct Sender {
    client: Client,
    urls: Vec<String>,
    headers: HeaderMap,
    key: Option<SecretKey>,
    timeout: Duration,
    max_reply_bytes: usize,
}

impl Sender {
    pub(super) fn new(config: &OpenAiConfig, key: Option<SecretKey>) -> Result<Self, GenerateError> {
        let urls: Vec<String> = config.servers().iter().map(|server| server.base_url.trim_end_matches('/').to_owned()).collect();
        Ok(Self {
            client: client(config, &urls)?,
            urls,
            headers: headers(config, key.as_ref())?,
            key,
            timeout: Duration::from_secs_f64(config.timeout_seconds),
            max_reply_bytes: config.max_reply_bytes,
        })
    }

    /// The address of one server.
    pub(super) fn url(&self, server: usize) -> &str {
        self.urls.get(server).map_or("", String::as_str)
    }

    /// The addresses of all servers.
    pub(super) fn urls(&self) -> String {
        self.urls.join(", ")
    }

    /// Sends a chat request; the body of a 200. Nothing that comes back from here shows the key.
    pub(super) async fn send(&self, server: usize, body: Bytes) -> Result<Vec<u8>, Fault> {
        self.post(server, "chat/completions", "application/json", body).await
    }

    /// Posts anything else.
    pub(super) async fn post(&self, server: usize, path: &str, kind: &str, body: Bytes) -> Result<Vec<u8>, Fault> {
        let request = self.client.post(format!("{}/{path}", self.url(server))).header(CONTENT_TYPE, kind).body(body);
        self.masked(self.timed(request, self.max_reply_bytes).await)
    }

    /// Gets a small thing, as large as a reply may be.
    pub(super) async fn get(&self, server: usize, path: &str) -> Result<Vec<u8>, Fault> {
        self.get_up_to(server, path, self.max_reply_bytes).await
    }

    /// Gets a file.
    pub(super) async fn get_up_to(&self, server: usize, path: &str, limit: usize) -> Result<Vec<u8>, Fault> {
        let request = self.client.get(format!("{}/{path}", self.url(server)));
        self.masked(self.timed(request, limit).await)
    }

    async fn timed(&self, request: reqwest::RequestBuilder, limit: usize) -> Result<Vec<u8>, Fault> {
        let exchange = self.exchange(request.headers(self.headers.clone()), limit);
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(Fault::new(FaultKind::Timeout, format!("no reply within {} s", self.timeout.as_secs_f64()))))
    }

    async fn exchange(&self, request: reqwest::RequestBuilder, limit: usize) -> Result<Vec<u8>, Fault> {
        let mut response = request.send().await.map_err(|error| transport(&error))?;
        if response.status() != StatusCode::OK {
            let body = read(&mut response, MAX_ERROR_BYTES).await.unwrap_or_default();
            return Err(Fault::status(response.status(), response.headers(), &body));
        }
        let events = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let mut assembler = Assembler::default();
        if !events {
            let body = read(&mut response, limit).await?;
            // Events under another name.
            if body.starts_with(b"data:") {
                assembler.push(&body)?;
                return assembler.finish();
            }
            return Ok(body);
        }
        let mut size = 0;
        // What follows the end of the stream is not waited for: some servers keep the connection open.
        while !assembler.done()
            && let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))?
        {
            size += chunk.len();
            if size > limit {
                return Err(too_large(limit));
            }
            assembler.push(&chunk)?;
        }
        assembler.finish()
    }

    /// Servers echo keys: in error messages, and an evil one in a reply.
    fn masked(&self, result: Result<Vec<u8>, Fault>) -> Result<Vec<u8>, Fault> {
        let Some(key) = &self.key else { return result };
        match result {
            Ok(body) => Ok(match std::str::from_utf8(&body) {
                Ok(text) if key.reveal().len() >= SECRET_LENGTH && text.contains(key.reveal()) => {
                    text.replace(key.reveal(), MASK).into_bytes()
                }
                _ => body,
            }),
            Err(fault) => Err(Fault { message: key.mask(&fault.message), ..fault }),
        }
    }
}

async fn read(response: &mut Response, limit: usize) -> Result<Vec<u8>, Fault> {
    let expected = response.content_length().map_or(0, |length| length.min(limit as u64) as usize);
    let mut body = Vec::with_capacity(expected);
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
        if body.len() + chunk.len() > limit {
            return Err(too_large(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn too_large(limit: usize) -> Fault {
    Fault::new(FaultKind::TooLarge, format!("the reply is over the limit of {limit} bytes (max_reply_bytes)"))
}

fn transport(error: &reqwest::Error) -> Fault {
    let kind = match () {
        () if error.is_timeout() => FaultKind::Timeout,
        () if error.is_connect() => FaultKind::Connect,
        () => FaultKind::Cut,
    };
    // The outer message only repeats the address; the causes say what happened.
    let mut causes = Vec::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    causes.dedup();
    Fault::new(kind, if causes.is_empty() { error.to_string() } else { causes.join(": ") })
}

fn client(config: &OpenAiConfig, urls: &[String]) -> Result<Client, GenerateError> {
    static PROVIDER: Once = Once::new();
    // An error means that the program has installed one already, which is as good.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    let mut builder = Client::builder()
        .user_agent(concat!("potstill/", env!("CARGO_PKG_VERSION")))
        .pool_max_idle_per_host(config.max_concurrency)
        .connect_timeout(Duration::from_secs_f64(config.timeout_seconds.min(20.0)))
        .tcp_keepalive(Duration::from_secs(30))
        // A redirect would take the key to another address.
        .redirect(redirect::Policy::none());
    let parsed: Vec<Url> = urls.iter().filter_map(|url| Url::parse(url).ok()).collect();
    if parsed.iter().all(is_loopback) {
        builder = builder.no_proxy();
    }
    if parsed.iter().all(|url| url.scheme() == "http") {
        // No certificates are needed, so a machine without any will do.
        builder = builder.tls_certs_only(std::iter::empty());
    }
    builder.build().map_err(|error| wrong("base_url", format!("no HTTP client: {error:?}")))
}

fn is_loopback(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "[::1]")) || url.host_str().is_some_and(|host| host.starts_with("127."))
}

fn headers(config: &OpenAiConfig, key: Option<&SecretKey>) -> Result<HeaderMap, GenerateError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let place = format!("headers.{name}");
        let name = HeaderName::try_from(name).map_err(|_| wrong(&place, "no header can have this name"))?;
        let value = HeaderValue::try_from(value).map_err(|_| wrong(&place, "no header can have this value"))?;
        headers.insert(name, value);
    }
    if let Some(key) = key {
        let (name, text) = match &config.api_key_header {
            None => (AUTHORIZATION, format!("Bearer {}", key.reveal())),
            Some(name) => {
                let name = HeaderName::try_from(name).map_err(|_| wrong("api_key_header", "no header can have this name"))?;
                (name, key.reveal().to_owned())
            }
        };
        let mut value = HeaderValue::try_from(zeroize::Zeroizing::new(text).as_str())
            .map_err(|_| wrong("api_key_env", "no header can carry this key"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Each request in flight is an open connection: raises the process's limit as far as it may be raised.
pub(super) fn make_room_for_connections(max_concurrency: usize) -> Result<(), GenerateError> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    /// What else a process has open: parts, journal segments, logs.
    const OTHERS: u64 = 256;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    let needed = max_concurrency as u64 + OTHERS;
    if needed <= soft {
        return Ok(());
    }
    if needed > hard || setrlimit(Resource::RLIMIT_NOFILE, needed, hard).is_err() {
        return Err(wrong(
            "max_concurrency",
            format!("{max_concurrency} requests need {needed} open files, and this process may have {hard} (ulimit -n)"),
        ));
    }
    Ok(())
}
