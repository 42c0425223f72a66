//! Errors in the shape of OpenAI's API.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request gets no completion.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
}

impl Fault {
    /// The request is wrong at `param`.
    pub(super) fn invalid(param: &str, message: impl Into<String>) -> Self {
        let (status, kind) = (StatusCode::BAD_REQUEST, "invalid_request_error");
        Self { status, kind, code: None, param: Some(param.to_owned()), message: message.into() }
    }

    /// A request that is no JSON object, or too large.
    pub(super) fn unreadable(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, kind: "invalid_request_error", code: None, param: None, message: message.into() }
    }

    /// What is not here.
    pub(super) fn not_found(code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, kind: "invalid_request_error", code, param: None, message: message.into() }
    }

    /// No key, or not the right one.
    pub(super) fn unauthorized() -> Self {
        let message = "the server wants its key: `Authorization: Bearer KEY`".to_owned();
        Self { status: StatusCode::UNAUTHORIZED, kind: "invalid_request_error", code: Some("invalid_api_key"), param: None, message }
    }

    /// Too many requests wait already.
    pub(super) fn busy(limit: usize) -> Self {
        let message = format!("{limit} requests are in flight, which is the limit; try again later");
        Self { status: StatusCode::TOO_MANY_REQUESTS, kind: "rate_limit_error", code: Some("queue_full"), param: None, message }
    }

    /// The server's own failure.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self { status, kind: "server_error", code: None, param: None, message: message.into() }
    }

    pub(super) fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The body.
    pub(super) fn body(&self) -> serde_json::Value {
        json!({ "error": { "message": self.message, "type": self.kind, "param": self.param, "code": self.code } })
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert("retry-after", axum::http::HeaderValue::from_static("1"));
        }
        response
    }
}
