//! Requests to a hub: the token goes to the hub alone, failures that may pass are tried again, answers are bounded.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};

use crate::HubError;
use crate::repo::Repo;

/// Tries of a request that may be repeated.
const TRIES: u32 = 5;
/// The first wait between tries; it doubles.
const WAIT: Duration = Duration::from_millis(500);
/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The largest answer of the API.
const LARGEST_ANSWER: usize = 64 << 20;
/// Characters of a server's message that are told.
const MESSAGE: usize = 300;

/// A client of one hub.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client,
    endpoint: String,
    authorization: Option<HeaderValue>,
}

/// An answer, or that there is nothing at the address.
pub(crate) enum Found {
    Yes(Vec<u8>),
    No,
}

impl Http {
    pub(crate) fn new(endpoint: &str, mut authorization: Option<HeaderValue>) -> Result<Self, HubError> {
        let wrong = |what: String, hint| Err(HubError::Setting { what, hint });
        let hint = "name the hub as `https://host`";
        let url = match Url::parse(endpoint) {
            Ok(url) if matches!(url.scheme(), "https" | "http") && url.host_str().is_some() => url,
            _ => return wrong("the hub's endpoint is no http address".to_owned(), hint),
        };
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return wrong("the hub's endpoint holds more than a host and a path".to_owned(), hint);
        }
        let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if url.scheme() == "http" && authorization.is_some() && !local {
            return wrong(format!("{endpoint} would carry the token unencrypted"), "use https, or unset the token");
        }
        let client = client().map_err(|error| HubError::Setting { what: format!("no HTTP client: {error}"), hint: "" })?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        Ok(Self { client, endpoint: endpoint.trim_end_matches('/').to_owned(), authorization })
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A request; the token is added only to addresses of the hub itself.
    pub(crate) fn request(&self, method: Method, url: &str) -> RequestBuilder {
        let request = self.client.request(method, url);
        match &self.authorization {
            Some(value) if url.strip_prefix(&self.endpoint).is_some_and(|rest| rest.starts_with('/')) => {
                request.header(AUTHORIZATION, value.clone())
            }
            _ => request,
        }
    }

    /// Sends a request that may be repeated until it is answered with something other than a passing failure.
    pub(crate) async fn send(&self, build: impl Fn() -> RequestBuilder) -> Result<Response, HubError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (wait, failure) = match build().send().await {
                Ok(answer) if is_passing(answer.status()) => {
                    let wait = retry_after(&answer);
                    (wait, self.status_error(answer).await)
                }
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_builder() || error.is_redirect() => return Err(self.unreachable(&error)),
                Err(error) => (None, self.unreachable(&error)),
            };
            if tries == TRIES {
                return Err(failure);
            }
            tokio::time::sleep(wait.unwrap_or(WAIT * 2_u32.pow(tries - 1))).await;
        }
    }

    /// The body of an answer of the API.
    pub(crate) async fn get_json(&self, url: &str, repo: &Repo) -> Result<Found, HubError> {
        let answer = self.send(|| self.request(Method::GET, url)).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(Found::No);
        }
        let answer = self.checked(answer, repo).await?;
        self.body(answer).await.map(Found::Yes)
    }

    /// The body, if it is not too large.
    pub(crate) async fn body(&self, mut answer: Response) -> Result<Vec<u8>, HubError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LARGEST_ANSWER {
                let url = answer.url().to_string();
                return Err(HubError::Answer { url, what: format!("more than {LARGEST_ANSWER} bytes") });
            }
        }
        Ok(bytes)
    }

    /// The answer if it is a success.
    pub(crate) async fn checked(&self, answer: Response, repo: &Repo) -> Result<Response, HubError> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            let (endpoint, repo, with_token) = (self.endpoint.clone(), repo.to_string(), self.authorization.is_some());
            return Err(HubError::Refused { endpoint, repo, status: status.as_u16(), message: self.message(answer).await, with_token });
        }
        Err(self.status_error(answer).await)
    }

    pub(crate) async fn status_error(&self, answer: Response) -> HubError {
        let status = answer.status().as_u16();
        // Signed addresses of storage carry their permission in the query.
        let mut url = answer.url().clone();
        url.set_query(None);
        HubError::Status { url: url.to_string(), status, message: self.message(answer).await }
    }

    /// What the server says, short, without control characters and without the token.
    async fn message(&self, answer: Response) -> String {
        let header = answer.headers().get("x-error-message").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let text = match header {
            Some(text) => text,
            None => {
                let bytes = self.body(answer).await.unwrap_or_default();
                let json = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
                let error = json.and_then(|value| Some(value.get("error").or(value.get("message"))?.as_str()?.to_owned()));
                error.unwrap_or_else(|| String::from_utf8_lossy(&bytes).into_owned())
            }
        };
        let text: String = self.mask(&text).chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE).collect();
        if text.trim().is_empty() { "no message".to_owned() } else { text.trim().to_owned() }
    }

    /// A text of the server's without the token: some echo what they refuse.
    fn mask(&self, text: &str) -> String {
        let value = self.authorization.as_ref().and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.rsplit(' ').next()).filter(|token| !token.is_empty());
        token.map_or_else(|| text.to_owned(), |token| text.replace(token, "[token]"))
    }

    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> HubError {
        let mut message = String::new();
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(error) = cause {
            // reqwest's own line repeats the address, which may be a signed one.
            if error.downcast_ref::<reqwest::Error>().is_none() {
                message = error.to_string();
            }
            cause = error.source();
        }
        if error.is_timeout() {
            message = "no answer in time".to_owned();
        }
        if message.is_empty() {
            message = "the connection broke".to_owned();
        }
        HubError::Unreachable { endpoint: self.endpoint.clone(), message: self.mask(&message) }
    }
}

fn client() -> Result<Client, reqwest::Error> {
    // The provider of TLS is one for the process; who comes second finds it set.
    drop(rustls::crypto::ring::default_provider().install_default());
    let policy = reqwest::redirect::Policy::custom(|attempt| {
        let secure = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
        if secure && attempt.url().scheme() != "https" {
            return attempt.error("a redirect away from https");
        }
        if attempt.previous().len() > 10 { attempt.error("more than ten redirects") } else { attempt.follow() }
    });
    let client = Client::builder().connect_timeout(Duration::from_secs(15)).read_timeout(Duration::from_secs(60));
    client.redirect(policy).user_agent(concat!("potstill/", env!("CARGO_PKG_VERSION"))).build()
}

fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds: u64 = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_would_show_the_token_are_refused() {
        let token = || Some(HeaderValue::from_static("Bearer hf_canary"));
        assert!(Http::new("https://hub.example", token()).is_ok() && Http::new("http://127.0.0.1:9", token()).is_ok());
        assert!(Http::new("http://hub.example", None).is_ok());
        for bad in ["http://hub.example", "ftp://hub.example", "hub.example", "https://user:pw@hub.example", "https://hub.example?x=1"] {
            assert!(Http::new(bad, token()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_token_goes_to_the_hub_alone() {
        let http = Http::new("https://hub.example/", Some(HeaderValue::from_static("Bearer hf_canary"))).unwrap();
        let sent = |url: &str| http.request(Method::GET, url).build().unwrap().headers().contains_key(AUTHORIZATION);
        assert!(sent("https://hub.example/api/models/a/b"));
        assert!(!sent("https://hub.example.evil/api") && !sent("https://cdn.example/x"));
        assert!(!format!("{:?}", http.authorization).contains("canary"));
        assert_eq!(http.mask("bad hf_canary!"), "bad [token]!");
    }
}
