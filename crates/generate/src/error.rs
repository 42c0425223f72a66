//! What can go wrong when a model is asked.

use crate::journal::JournalError;

/// Why a completion could not be had, or a run could not go on.
///
/// Messages are masked of the key before they get here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// A setting that cannot work; nothing was sent.
    #[error("{field}: {message}")]
    Config {
        /// The setting, as written in the pipeline file.
        field: String,
        /// What is wrong with it: the limit and the value found.
        message: String,
    },
    /// The server refuses every request (401, 402, 403, an unknown model): asking on would change nothing.
    #[error("{endpoint} refuses: status {status}: {message}")]
    Fatal {
        /// The endpoint's address, without user name, password and query.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// The server's own words.
        message: String,
    },
    /// The server refuses this request (400, 413, 422, …), whatever the number of tries.
    #[error("the server refuses this request: status {status}: {message}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The server's own words.
        message: String,
    },
    /// Every allowed try failed.
    #[error("{tries} tries failed, the last one with {reason}: {message}")]
    Exhausted {
        /// The last failure's reason, one of a small set of words (`timeout`, `status_500`, `empty_reply`, …).
        reason: String,
        /// How often the request was sent.
        tries: u32,
        /// What was seen the last time.
        message: String,
    },
    /// No server of the teacher has answered for longer than `patience_seconds`.
    #[error("{endpoint} cannot be reached: {message}")]
    Unreachable {
        /// The endpoints' addresses.
        endpoint: String,
        /// The last failure.
        message: String,
    },
    /// The request could cost more than what is left, with nothing in flight that could return money.
    #[error("the budget of ${cap:.4} is spent: ${spent:.4} used, the next request may cost ${worst:.4}")]
    Budget {
        /// The cap in USD.
        cap: f64,
        /// What was spent, in USD.
        spent: f64,
        /// The most that the refused request could cost, in USD.
        worst: f64,
    },
    /// A stored reply cannot be read back as an answer to this request.
    #[error("stored reply {request_key}: {message}")]
    Replay {
        /// The request's key, in hex.
        request_key: String,
        /// What is wrong with it.
        message: String,
    },
    /// The journal of paid replies failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A generator of another crate failed in a way that concerns this request only.
    #[error("{0}")]
    Other(String),
}

impl GenerateError {
    /// The reason as one word, for counting.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Config { .. } => "config",
            Self::Fatal { .. } => "refused",
            Self::Rejected { .. } => "rejected",
            Self::Exhausted { reason, .. } => reason,
            Self::Unreachable { .. } => "unreachable",
            Self::Budget { .. } => "budget",
            Self::Replay { .. } => "unreadable_record",
            Self::Journal(_) => "journal",
            Self::Cancelled => "cancelled",
            Self::Other(_) => "other",
        }
    }

    /// Whether the whole run must stop: no other request can fare better.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Config { .. } | Self::Fatal { .. } | Self::Unreachable { .. } | Self::Journal(_))
    }

    /// Whether trying the whole run again later may help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Exhausted { .. })
    }

    /// What the user may do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Fatal { status: 401 | 403, .. } => Some("check the key and what it may use"),
            Self::Fatal { status: 402, .. } => Some("the account has no credit left"),
            Self::Fatal { status: 404, .. } => Some("check base_url (it usually ends in /v1) and model"),
            Self::Unreachable { .. } => Some("is the server running at base_url? a rerun asks only for what is missing"),
            Self::Budget { .. } => Some("raise max_cost_usd or lower max_tokens; a rerun asks only for what is missing"),
            Self::Exhausted { reason, .. } if reason == "timeout" => Some("raise timeout_seconds or lower max_tokens"),
            _ => None,
        }
    }
}
