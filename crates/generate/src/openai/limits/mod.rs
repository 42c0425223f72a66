//! How much is asked at once, and how fast: concurrency ([`router`], [`aimd`], [`queueing`]), requests and tokens per minute
//! ([`rate`]), servers that are down ([`breaker`]), and how much of the traffic may be repetition ([`retries`]).

pub(super) mod aimd;
pub(super) mod breaker;
mod queueing;
pub(super) mod rate;
pub(super) mod retries;
pub(super) mod router;
