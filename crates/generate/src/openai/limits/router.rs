//! Which server a request goes to, and when: one queue before all servers of a teacher.
//!
//! A request that waits here waits for any server, so that one that fails or slows down loses its share to the others
//! at once. Whoever gets a [`Slot`] may send; the slot reports how it went when it is closed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::aimd::Aimd;
use super::breaker::{Breaker, Room};

/// All servers of one teacher.
#[derive(Debug)]
pub(in crate::openai) struct Router {
    state: Mutex<State>,
    /// How long all servers may be down before waiting is given up.
    patience: Duration,
}

#[derive(Debug)]
struct State {
    servers: Vec<Server>,
    ceiling: usize,
    in_flight: usize,
    queue: VecDeque<oneshot::Sender<Slot>>,
    /// When the queue will be looked at again without being asked.
    alarm: Option<Instant>,
}

#[derive(Debug)]
struct Server {
    weight: f64,
    aimd: Aimd,
    breaker: Breaker,
    in_flight: usize,
    /// Turned away since the last reply.
    refusals: usize,
    paused_until: Option<Instant>,
}

/// How a request went, for the server's limits.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::openai) enum Outcome {
    /// It was answered with so many tokens.
    Answered(u32),
    /// The server turned it away, for this long if it said so.
    TurnedAway(Option<Duration>),
    /// The server failed.
    Failed(String),
    /// It says nothing about the server (given up by us, or refused for what it asked).
    Neutral,
}

/// The right to have one request in flight at a server.
#[derive(Debug)]
pub(in crate::openai) struct Slot {
    router: Arc<Router>,
    server: usize,
    sent: Instant,
    closed: bool,
}

/// No server has answered for longer than is waited.
#[derive(Debug)]
pub(in crate::openai) struct Unreachable(pub(in crate::openai) String);

impl Router {
    pub(in crate::openai) fn new(weights: &[f64], ceiling: usize, patience: Duration) -> Arc<Self> {
        let server = |weight: &f64| Server {
            weight: *weight,
            aimd: Aimd::new(ceiling),
            breaker: Breaker::default(),
            in_flight: 0,
            refusals: 0,
            paused_until: None,
        };
        let servers = weights.iter().map(server).collect();
        let state = State { servers, ceiling, in_flight: 0, queue: VecDeque::new(), alarm: None };
        Arc::new(Self { state: Mutex::new(state), patience })
    }

    /// Waits for a place at a server.
    pub(in crate::openai) async fn slot(self: &Arc<Self>) -> Result<Slot, Unreachable> {
        let granted = {
            let mut state = self.lock();
            let (grant, granted) = oneshot::channel();
            state.queue.push_back(grant);
            self.serve(&mut state);
            granted
        };
        // The sender is dropped only when every server has been down for too long.
        match granted.await {
            Ok(mut slot) => {
                slot.sent = Instant::now();
                Ok(slot)
            }
            Err(_) => Err(Unreachable(self.why_down())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn why_down(&self) -> String {
        let now = Instant::now();
        self.lock().servers.iter().find_map(|server| server.breaker.down(now).map(|(_, fault)| fault.to_owned())).unwrap_or_default()
    }

    /// Gives places to those who wait, first come first served.
    fn serve(self: &Arc<Self>, state: &mut State) {
        let now = Instant::now();
        while !state.queue.is_empty() {
            let Some(server) = state.choose(now) else { break };
            let Some(waiting) = state.queue.pop_front() else { break };
            state.servers[server].in_flight += 1;
            state.in_flight += 1;
            let slot = Slot { router: Arc::clone(self), server, sent: now, closed: false };
            if let Err(mut slot) = waiting.send(slot) {
                // Nobody waits there any more. Closing it here would lock twice.
                slot.closed = true;
                state.servers[server].in_flight -= 1;
                state.in_flight -= 1;
            }
        }
        if state.queue.is_empty() {
            return;
        }
        if state.servers.iter().all(|server| server.breaker.down(now).is_some_and(|(down, _)| down > self.patience)) {
            state.queue.clear();
            return;
        }
        self.set_alarm(state, now);
    }

    /// Sees to it that the queue is served when time alone makes room.
    fn set_alarm(self: &Arc<Self>, state: &mut State, now: Instant) {
        let Some(at) = state.servers.iter().filter_map(|server| server.next_change(now)).min() else { return };
        if state.alarm.is_some_and(|alarm| alarm <= at) {
            return;
        }
        // Outside a runtime (the last slot is dropped as it shuts down) nobody waits any more.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        state.alarm = Some(at);
        let router = Arc::downgrade(self);
        runtime.spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            if let Some(router) = router.upgrade() {
                let mut state = router.lock();
                if state.alarm == Some(at) {
                    state.alarm = None;
                }
                router.serve(&mut state);
            }
        });
    }
}

impl State {
    /// The server with the most room for its weight.
    fn choose(&mut self, now: Instant) -> Option<usize> {
        if self.in_flight >= self.ceiling {
            return None;
        }
        let load = |server: &Server| (server.in_flight + 1) as f64 / server.weight;
        let free = self.servers.iter_mut().enumerate().filter_map(|(index, server)| server.has_room(now).then_some((index, load(server))));
        free.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
    }
}

impl Server {
    fn has_room(&mut self, now: Instant) -> bool {
        if self.paused_until.is_some_and(|until| until > now) {
            return false;
        }
        match self.breaker.room(now) {
            Room::All => self.in_flight < self.aimd.limit(now),
            Room::One => self.in_flight == 0,
            Room::None => false,
        }
    }

    /// When it may have room without a request coming back.
    fn next_change(&self, now: Instant) -> Option<Instant> {
        let opening = [self.paused_until, self.breaker.reopens()].into_iter().flatten().filter(|at| *at > now).max();
        opening.or_else(|| self.aimd.next_step(now))
    }

    fn close(&mut self, sent: Instant, now: Instant, outcome: &Outcome) {
        match outcome {
            Outcome::Answered(tokens) => {
                self.refusals = 0;
                self.paused_until = None;
                self.breaker.succeeded();
                self.aimd.succeeded(sent, now, *tokens, self.in_flight);
            }
            Outcome::TurnedAway(wait) => {
                self.refusals += 1;
                self.aimd.turned_away(sent, now, self.in_flight);
                // While replies still come, only the refused request waits. A server that answers nothing any more is
                // left alone for as long as it says.
                if let Some(wait) = wait.filter(|_| self.refusals >= 16.max(2 * self.in_flight)) {
                    self.paused_until = self.paused_until.max(Some(now + wait));
                }
            }
            Outcome::Failed(fault) => self.breaker.failed(sent, now, fault),
            Outcome::Neutral => {}
        }
        self.in_flight -= 1;
    }
}

impl Slot {
    /// The server's place in the list that the router was made of.
    pub(in crate::openai) fn server(&self) -> usize {
        self.server
    }

    /// The request leaves now: what was waited for since the slot was given is not the server's latency.
    pub(in crate::openai) fn sent(&mut self) -> Instant {
        self.sent = Instant::now();
        self.sent
    }

    /// Gives the place back with what was learnt.
    pub(in crate::openai) fn close(mut self, outcome: &Outcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: &Outcome) {
        self.closed = true;
        let mut state = self.router.lock();
        let now = Instant::now();
        state.servers[self.server].close(self.sent, now, outcome);
        state.in_flight -= 1;
        self.router.serve(&mut state);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.closed {
            self.finish(&Outcome::Neutral);
        }
    }
}
