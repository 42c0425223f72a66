//! What went wrong with one try, and what follows from it.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// One failed try.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    /// What was seen: the server's own words where it had any.
    pub(super) message: String,
    /// How long the server asked to wait.
    pub(super) retry_after: Option<Duration>,
}

/// The kinds of failed tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// No connection.
    Connect,
    /// No reply in time.
    Timeout,
    /// The connection broke before the reply was whole.
    Cut,
    /// A status other than 200.
    Status(u16),
    /// 200 and nothing.
    EmptyBody,
    /// 200 and a completion without text.
    EmptyReply,
    /// 200 and an error object.
    ErrorInReply,
    /// 200 and no JSON.
    InvalidJson,
    /// 200 and no UTF-8.
    InvalidUtf8,
    /// 200 and JSON without choices.
    NoChoices,
    /// The reply passed `max_reply_bytes`.
    TooLarge,
}

/// What follows from a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consequence {
    /// The server is at its limit: slow down, try again, and do not count it as a failure.
    Pushback,
    /// Try again.
    Retry,
    /// This request will never be answered.
    Reject,
    /// No request will be answered.
    Fatal,
}

impl Fault {
    pub(super) fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// The fault of a reply whose status is not 200.
    pub(super) fn status(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let words = serde_json::from_str::<Value>(&text).ok().and_then(|value| error_words(&value));
        Self {
            kind: FaultKind::Status(status.as_u16()),
            message: shorten(words.as_deref().unwrap_or(text.trim())),
            retry_after: retry_after(headers, SystemTime::now()),
        }
    }

    /// The fault of an error object sent with status 200. A code inside it counts like the status.
    pub(super) fn in_reply(error: &Value) -> Self {
        let code = ["code", "status"].iter().find_map(|key| status_code(error.get(key)?));
        let kind = code.map_or(FaultKind::ErrorInReply, FaultKind::Status);
        let words = error_words(error).unwrap_or_else(|| error.to_string());
        Self::new(kind, shorten(&words))
    }

    pub(super) fn consequence(&self) -> Consequence {
        let FaultKind::Status(status) = self.kind else { return Consequence::Retry };
        let words = self.message.to_ascii_lowercase();
        match status {
            // An exhausted quota comes as 429 and never ends by waiting (OpenAI: insufficient_quota).
            429 if words.contains("insufficient_quota") || words.contains("exceeded your current quota") => Consequence::Fatal,
            429 | 529 => Consequence::Pushback,
            503 if self.retry_after.is_some() => Consequence::Pushback,
            401..=403 | 407 => Consequence::Fatal,
            // An unknown path or model; 404 from a proxy whose server restarts is rare and looks the same.
            404 | 405 | 410 | 421 | 426 | 501 | 505 => Consequence::Fatal,
            408 | 409 | 425 | 500..=599 => Consequence::Retry,
            300..=399 => Consequence::Fatal,
            _ => Consequence::Reject,
        }
    }

    /// Whether the server may have answered and billed a reply that did not reach us.
    pub(super) fn may_be_billed(&self) -> bool {
        !matches!(self.kind, FaultKind::Connect | FaultKind::Status(_))
    }

    /// One word for counting.
    pub(super) fn reason(&self) -> String {
        match self.kind {
            FaultKind::Connect => "connect".into(),
            FaultKind::Timeout => "timeout".into(),
            FaultKind::Cut => "connection_cut".into(),
            FaultKind::Status(status) => format!("status_{status}"),
            FaultKind::EmptyBody => "empty_body".into(),
            FaultKind::EmptyReply => "empty_reply".into(),
            FaultKind::ErrorInReply => "error_in_reply".into(),
            FaultKind::InvalidJson => "invalid_json".into(),
            FaultKind::InvalidUtf8 => "invalid_utf8".into(),
            FaultKind::NoChoices => "no_choices".into(),
            FaultKind::TooLarge => "reply_too_large".into(),
        }
    }
}

fn status_code(value: &Value) -> Option<u16> {
    let code = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    u16::try_from(code).ok().filter(|code| (300..600).contains(code))
}

/// The words of an error object in the forms that servers use.
fn error_words(value: &Value) -> Option<String> {
    let error = value.get("error").unwrap_or(value);
    if let Some(text) = error.as_str() {
        return Some(text.to_owned());
    }
    let text = ["message", "detail", "msg"].iter().find_map(|key| error.get(key));
    let text = match text? {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // The code says what the prose may not: `insufficient_quota`, `context_length_exceeded`.
    match error.get("code").and_then(Value::as_str) {
        Some(code) if !text.contains(code) => Some(format!("{text} ({code})")),
        _ => Some(text),
    }
}

/// The head of a server's words: an error page must not fill the log.
fn shorten(text: &str) -> String {
    const LIMIT: usize = 400;
    let text = text.trim();
    if text.is_empty() {
        return "no message".into();
    }
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The wait that a server asks for, in every form in use: `retry-after-ms`, `Retry-After` in seconds or as a date, and
/// `x-ratelimit-reset-*` of a limit that has nothing remaining (`1s`, `6m0s`, `250ms`, a number of seconds, or a time).
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|value| value.parse::<f64>().ok()) {
        return seconds(ms / 1000.0);
    }
    if let Some(value) = text("retry-after") {
        if let Ok(number) = value.parse::<f64>() {
            return seconds(number);
        }
        if let Ok(date) = httpdate::parse_http_date(value) {
            return Some(date.duration_since(now).unwrap_or_default());
        }
    }
    let resets = ["requests", "tokens"].iter().filter_map(|limit| {
        let remaining = text(&format!("x-ratelimit-remaining-{limit}"))?;
        (remaining == "0").then(|| text(&format!("x-ratelimit-reset-{limit}")).and_then(|value| reset(value, now)))?
    });
    resets.max().or_else(|| text("x-ratelimit-reset").and_then(|value| reset(value, now)))
}

fn reset(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(number) = value.parse::<f64>() {
        // Larger numbers are seconds, or milliseconds, since 1970.
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        return match number {
            number if number > 1e11 => seconds((number / 1000.0 - since_1970).max(0.0)),
            number if number > 1e9 => seconds((number - since_1970).max(0.0)),
            number => seconds(number),
        };
    }
    units(value)
}

/// `1h2m3.5s`, `250ms`.
fn units(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let tail = &rest[digits..];
        let length = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        total += number
            * match &tail[..length] {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                _ => return None,
            };
        rest = &tail[length..];
    }
    seconds(total)
}

fn seconds(number: f64) -> Option<Duration> {
    // A day is longer than anybody waits; it also keeps the clock arithmetic from overflowing.
    (number.is_finite() && number >= 0.0).then(|| Duration::from_secs_f64(number.min(86_400.0)))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn asked(headers: &[(&str, &str)]) -> Option<f64> {
        let map = headers.iter().map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap()));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        retry_after(&map.collect(), now).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn every_way_to_ask_for_patience_is_understood() {
        assert_eq!(asked(&[]), None);
        assert_eq!(asked(&[("retry-after", "3")]), Some(3.0));
        assert_eq!(asked(&[("retry-after", "0.5")]), Some(0.5));
        assert_eq!(asked(&[("retry-after", "Tue, 14 Nov 2023 22:13:30 GMT")]), Some(10.0));
        assert_eq!(asked(&[("retry-after", "Tue, 14 Nov 2000 22:13:30 GMT")]), Some(0.0));
        assert_eq!(asked(&[("retry-after", "soon")]), None);
        assert_eq!(asked(&[("retry-after", "-5")]), None);
        assert_eq!(asked(&[("retry-after", "1e300")]), Some(86_400.0));
        assert_eq!(asked(&[("retry-after-ms", "250"), ("retry-after", "1")]), Some(0.25));
        let none_left = ("x-ratelimit-remaining-tokens", "0");
        assert_eq!(asked(&[none_left, ("x-ratelimit-reset-tokens", "1m2.5s")]), Some(62.5));
        assert_eq!(asked(&[none_left, ("x-ratelimit-reset-tokens", "20ms")]), Some(0.02));
        assert_eq!(asked(&[("x-ratelimit-remaining-tokens", "5"), ("x-ratelimit-reset-tokens", "60s")]), None);
        assert_eq!(asked(&[("x-ratelimit-reset", "1700000007")]), Some(7.0));
        assert_eq!(asked(&[("x-ratelimit-reset", "1700000007500")]), Some(7.5));
    }

    #[test]
    fn what_follows_from_a_status() {
        let consequence = |status: u16, body: &str| {
            Fault::status(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes()).consequence()
        };
        assert_eq!(consequence(429, ""), Consequence::Pushback);
        assert_eq!(consequence(429, "{\"error\":{\"message\":\"no\",\"code\":\"insufficient_quota\"}}"), Consequence::Fatal);
        for status in [401, 402, 403, 404, 307] {
            assert_eq!(consequence(status, ""), Consequence::Fatal, "{status}");
        }
        for status in [500, 502, 503, 504, 524, 408] {
            assert_eq!(consequence(status, ""), Consequence::Retry, "{status}");
        }
        for status in [400, 413, 422] {
            assert_eq!(consequence(status, ""), Consequence::Reject, "{status}");
        }
    }

    #[test]
    fn the_servers_words_are_found_and_shortened() {
        let words = |body: &str| Fault::status(StatusCode::BAD_REQUEST, &HeaderMap::new(), body.as_bytes()).message;
        assert_eq!(
            words("{\"error\":{\"message\":\"too long\",\"code\":\"context_length_exceeded\"}}"),
            "too long (context_length_exceeded)"
        );
        assert_eq!(words("{\"error\":\"too long\"}"), "too long");
        assert_eq!(words("{\"detail\":[{\"msg\":\"too long\"}]}"), "[{\"msg\":\"too long\"}]");
        assert_eq!(words("too long\n"), "too long");
        assert_eq!(words(""), "no message");
        assert_eq!(words(&"é".repeat(1000)).chars().count(), 401);
    }
}
