//! Requests and tokens per minute.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, Ordering};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Mutex;

/// Both limits of a service; either may be absent.
#[derive(Debug)]
pub(in crate::openai) struct Rate {
    requests: Option<DefaultDirectRateLimiter>,
    tokens: Option<Tokens>,
    /// One waits at a time, in order: otherwise all wake at once for one place.
    turn: Mutex<()>,
}

/// Tokens are reserved by estimate before a request and corrected after it.
#[derive(Debug)]
struct Tokens {
    limiter: DefaultDirectRateLimiter,
    most: u32,
    /// Reserved and not used (above zero), or used and not reserved (below): the next reservations settle it.
    credit: AtomicI64,
    /// A running mean of the completion tokens per request, in 1/16 tokens; what the next reply is thought to take.
    typical: AtomicI64,
}

impl Rate {
    pub(in crate::openai) fn new(requests_per_minute: Option<u32>, tokens_per_minute: Option<u32>) -> Self {
        let limiter = |most: NonZeroU32| RateLimiter::direct(Quota::per_minute(most));
        Self {
            requests: requests_per_minute.and_then(NonZeroU32::new).map(limiter),
            tokens: tokens_per_minute.and_then(NonZeroU32::new).map(|most| Tokens {
                limiter: limiter(most),
                most: most.get(),
                credit: AtomicI64::new(0),
                typical: AtomicI64::new(0),
            }),
            turn: Mutex::new(()),
        }
    }

    /// Waits until a request of this size may be sent; the tokens reserved for it.
    pub(in crate::openai) async fn ready(&self, prompt_tokens: u32, max_tokens: u32) -> u32 {
        if self.requests.is_none() && self.tokens.is_none() {
            return 0;
        }
        let _turn = self.turn.lock().await;
        if let Some(requests) = &self.requests {
            requests.until_ready().await;
        }
        let Some(tokens) = &self.tokens else { return 0 };
        let typical = tokens.typical.load(Ordering::Relaxed) / 16;
        let completion = if typical == 0 { max_tokens } else { u32::try_from(typical).unwrap_or(max_tokens).min(max_tokens) };
        let estimate = prompt_tokens.saturating_add(completion).min(tokens.most);
        let credit = tokens.credit.swap(0, Ordering::Relaxed);
        let due = i64::from(estimate) - credit;
        if due <= 0 {
            tokens.credit.fetch_add(-due, Ordering::Relaxed);
            return estimate;
        }
        let now = due.min(i64::from(tokens.most));
        tokens.credit.fetch_sub(due - now, Ordering::Relaxed);
        if let Some(count) = u32::try_from(now).ok().and_then(NonZeroU32::new) {
            // `now` is at most the bucket's size, the only thing that could make this fail.
            let _ = tokens.limiter.until_n_ready(count).await;
        }
        estimate
    }

    /// What the request took in truth; `None` for one that was turned away and took nothing.
    pub(in crate::openai) fn settle(&self, reserved: u32, used: Option<(u32, u32)>) {
        let Some(tokens) = &self.tokens else { return };
        let total = used.map_or(0, |(prompt, completion)| i64::from(prompt) + i64::from(completion));
        tokens.credit.fetch_add(i64::from(reserved) - total, Ordering::Relaxed);
        if let Some((_, completion)) = used {
            let sample = i64::from(completion) * 16;
            let _ = tokens.typical.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |mean| {
                Some(if mean == 0 { sample.max(16) } else { mean + (sample - mean) / 16 })
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn unused_tokens_are_given_back() {
        let rate = Rate::new(None, Some(1000));
        let start = Instant::now();
        for _ in 0..20 {
            // 20 × 1000 would take 19 minutes; in truth each takes 20.
            let reserved = rate.ready(100, 900).await;
            rate.settle(reserved, Some((10, 10)));
        }
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_spent_minute_is_waited_for() {
        let rate = Rate::new(Some(600), None);
        for _ in 0..600 {
            rate.ready(1, 1).await;
        }
        let start = Instant::now();
        for _ in 0..3 {
            rate.ready(1, 1).await;
        }
        // Ten a second once the burst is spent.
        assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    }
}
