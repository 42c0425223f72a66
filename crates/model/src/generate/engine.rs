//! A model that answers requests as they come.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, TryRecvError, channel},
    },
    thread::JoinHandle,
};

use super::{
    Batching, Decoder, Decoding, Generated,
    scheduler::{Event, Scheduler},
    sequence::{Group, Part},
};
use crate::{Error, Result};

/// One prompt to continue, once per seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The prompt's tokens, at least one.
    pub ids: Vec<u32>,
    /// One per sample; the samples share the prompt's keys and values.
    pub seeds: Vec<u64>,
    /// How to continue it.
    pub decoding: Decoding,
    /// Text is wanted as it grows.
    pub stream: bool,
}

/// What happens to a request's samples.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// A sample's text has grown; only when streaming.
    Grew {
        /// Which sample.
        sample: usize,
        /// By what.
        part: Part,
    },
    /// A sample has ended; the request is done when all have.
    Ended {
        /// Which sample.
        sample: usize,
        /// All of it.
        generated: Generated,
    },
    /// The engine cannot go on with this request.
    Failed(String),
}

/// Takes a request's updates, on the engine's thread; `false` cancels the request.
type Sink = Box<dyn FnMut(Update) -> bool + Send>;

/// A thread that continues requests together. Dropping it cancels what is in flight.
pub struct Engine {
    decoder: Decoder,
    queue: Mutex<Option<Sender<(Request, Sink)>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Starts an engine.
    ///
    /// # Errors
    /// When a setting is out of range or the system gives no thread.
    pub fn start(decoder: Decoder, batching: Batching) -> Result<Self> {
        batching.validate()?;
        let (sender, receiver) = channel();
        let model = decoder.clone();
        let serve = move || serve(&model, batching, &receiver);
        let thread = std::thread::Builder::new().name("potstill-engine".into()).spawn(serve);
        let thread = thread.map_err(|error| Error::Generate(format!("the engine's thread cannot be started: {error}")))?;
        Ok(Self { decoder, queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    /// The model.
    #[must_use]
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Lines a request up. `sink` is called with what happens to it; when it returns `false` the request is cancelled.
    ///
    /// # Errors
    /// As [`generate`](super::generate), and when the engine has stopped.
    pub fn submit(&self, request: Request, sink: impl FnMut(Update) -> bool + Send + 'static) -> Result<()> {
        request.decoding.validate()?;
        if request.seeds.is_empty() {
            return Err(Error::Generate("a request needs at least one seed, found 0".into()));
        }
        self.decoder.check_prompt("the prompt", &request.ids, request.decoding.max_new_tokens)?;
        let stopped = || Error::Generate("the engine has stopped".into());
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().ok_or_else(stopped)?.send((request, Box::new(sink))).map_err(|_| stopped())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic of the engine has been told to every request in flight; there is nobody else to tell.
            let _ = thread.join();
        }
    }
}

/// A request in flight.
struct Flight {
    sink: Sink,
    left: usize,
}

fn serve(decoder: &Decoder, batching: Batching, queue: &Receiver<(Request, Sink)>) {
    let mut flights: HashMap<usize, Flight> = HashMap::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| work(decoder, batching, queue, &mut flights)));
    let problem = match outcome {
        Ok(Ok(())) => "the engine was stopped".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the engine failed".to_owned(),
    };
    let tell = |sink: &mut Sink| {
        let _ = sink(Update::Failed(problem.clone()));
    };
    flights.values_mut().for_each(|flight| tell(&mut flight.sink));
    queue.try_iter().for_each(|(_, mut sink)| tell(&mut sink));
}

fn work(decoder: &Decoder, batching: Batching, queue: &Receiver<(Request, Sink)>, flights: &mut HashMap<usize, Flight>) -> Result<()> {
    let mut scheduler = Scheduler::new(decoder, batching.size, batching.threads)?;
    let mut next = 0;
    loop {
        loop {
            let arrived = if scheduler.idle() { queue.recv().map_err(|_| TryRecvError::Disconnected) } else { queue.try_recv() };
            match arrived {
                Ok((request, sink)) => {
                    flights.insert(next, Flight { sink, left: request.seeds.len() });
                    scheduler.push(Group {
                        id: next,
                        ids: request.ids.into(),
                        seeds: request.seeds,
                        decoding: Arc::new(request.decoding),
                        streamed: request.stream,
                    });
                    next += 1;
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        let mut cancelled = Vec::new();
        scheduler.step(&mut |group, sample, event| {
            let Some(flight) = flights.get_mut(&group.id) else { return };
            let update = match event {
                Event::Grew(None) => return,
                Event::Grew(Some(part)) => Update::Grew { sample, part },
                Event::Ended(generated) => {
                    flight.left -= 1;
                    Update::Ended { sample, generated }
                }
            };
            if !(flight.sink)(update) {
                cancelled.push(group.id);
            } else if flight.left == 0 {
                flights.remove(&group.id);
            }
        })?;
        for id in cancelled {
            scheduler.cancel(id);
            flights.remove(&id);
        }
    }
}
