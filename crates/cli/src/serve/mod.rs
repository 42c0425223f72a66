//! An OpenAI-compatible endpoint over a local model: chat completions, streamed or whole, and the list of models.

mod fault;
mod reply;
mod request;
mod split;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, extract::FromRequest};
use futures::stream::{Stream, unfold};
use potstill_generate::SecretKey;
use potstill_model::generate::{Engine, Generated, Update};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use fault::Fault;
use reply::Head;
use request::Chat;
use split::Splitter;

/// Bytes of a request at most.
const LARGEST_BODY: usize = 16 << 20;

/// What a server is made of.
pub(crate) struct Server {
    pub(crate) engine: Engine,
    /// The name that requests call the model by.
    pub(crate) name: String,
    /// What clients must show.
    pub(crate) key: Option<SecretKey>,
    /// Requests in flight at most; more are refused.
    pub(crate) queue: usize,
}

struct Shared {
    server: Server,
    places: Arc<Semaphore>,
    started: u64,
}

type App = Arc<Shared>;

/// The server's routes.
pub(crate) fn router(server: Server) -> Router {
    let shared = Arc::new(Shared { places: Arc::new(Semaphore::new(server.queue)), started: now(), server });
    let api = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .layer(from_fn_with_state(Arc::clone(&shared), authorize));
    api.route("/health", get(|| async { "ok" }))
        .fallback(|request: Request| async move { Fault::not_found(None, format!("there is nothing at {}", request.uri().path())) })
        .method_not_allowed_fallback(|request: Request| async move {
            let message = format!("{} is not allowed at {}", request.method(), request.uri().path());
            Fault::unreadable(StatusCode::METHOD_NOT_ALLOWED, message)
        })
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(shared)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Today's date as `YYYY-MM-DD`, for templates that print it.
pub(crate) fn today() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string().chars().take(10).collect()
}

async fn authorize(State(app): State<App>, request: Request, next: Next) -> Response {
    if let Some(key) = &app.server.key {
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        if !key.is(shown.trim()) {
            return Fault::unauthorized().into_response();
        }
    }
    next.run(request).await
}

fn description(app: &Shared) -> Value {
    json!({
        "id": app.server.name, "object": "model", "created": app.started, "owned_by": "potstill",
        "max_model_len": app.server.engine.decoder().config().max_position_embeddings,
    })
}

async fn models(State(app): State<App>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [description(&app)] }))
}

async fn model(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Value>, Fault> {
    if name != app.server.name {
        return Err(Fault::not_found(Some("model_not_found"), format!("the model `{name}` is not served here, `{}` is", app.server.name)));
    }
    Ok(Json(description(&app)))
}

async fn chat(State(app): State<App>, request: Request) -> Result<Response, Fault> {
    let bytes = Bytes::from_request(request, &()).await.map_err(|rejection: BytesRejection| {
        let message = format!("the body cannot be read ({}); at most {LARGEST_BODY} bytes are taken", rejection.body_text());
        Fault::unreadable(rejection.status(), message)
    })?;
    let permit = Arc::clone(&app.places).try_acquire_owned().map_err(|_| Fault::busy(app.server.queue))?;
    // Templates are programs of bounded length; they still do not belong on a thread that serves connections.
    let reader = Arc::clone(&app);
    let read = tokio::task::spawn_blocking(move || {
        let body = serde_json::from_slice(&bytes)
            .map_err(|error| Fault::unreadable(StatusCode::BAD_REQUEST, format!("the body is no JSON: {error}")))?;
        let seed = uuid::Uuid::new_v4().as_u128() as u64;
        request::read(body, reader.server.engine.decoder(), &reader.server.name, &today(), seed)
    });
    let chat = read.await.map_err(|error| Fault::failed(format!("the request could not be read: {error}")))??;
    let head = Head { id: format!("chatcmpl-{}", uuid::Uuid::new_v4().simple()), created: now(), model: app.server.name.clone() };
    let flight = Flight::start(app, head, &chat, permit)?;
    if chat.stream {
        return Ok(Sse::new(flight.stream(&chat)).keep_alive(KeepAlive::default()).into_response());
    }
    flight.whole(&chat).await.map(IntoResponse::into_response)
}

/// A request that the engine has.
struct Flight {
    app: App,
    head: Head,
    updates: UnboundedReceiver<Update>,
    prompt_tokens: usize,
    samples: Vec<Option<Generated>>,
    /// Held until the request is done, or its client has gone.
    _permit: OwnedSemaphorePermit,
}

impl Flight {
    fn start(app: App, head: Head, chat: &Chat, permit: OwnedSemaphorePermit) -> Result<Self, Fault> {
        let (sender, updates) = unbounded_channel();
        // A client that has gone drops the receiver, and the engine drops the request.
        let submitted = app.server.engine.submit(chat.request.clone(), move |update| sender.send(update).is_ok());
        submitted.map_err(|error| match error {
            potstill_model::Error::Generate(problem) if problem.contains("exceeds the model's context") => {
                Fault::invalid("messages", problem).with_code("context_length_exceeded")
            }
            potstill_model::Error::Generate(problem) if problem.contains("engine has stopped") => Fault::failed(problem),
            other => Fault::invalid("messages", other.to_string()),
        })?;
        let samples = vec![None; chat.request.seeds.len()];
        Ok(Self { app, head, updates, prompt_tokens: chat.request.ids.len(), samples, _permit: permit })
    }

    async fn next(&mut self) -> Result<Update, Fault> {
        match self.updates.recv().await {
            Some(Update::Failed(problem)) => Err(Fault::failed(problem)),
            Some(update) => Ok(update),
            None => Err(Fault::failed("the engine has stopped")),
        }
    }

    fn done(&self) -> bool {
        self.samples.iter().all(Option::is_some)
    }

    fn generated(&self) -> Vec<Generated> {
        self.samples.iter().flatten().cloned().collect()
    }

    async fn whole(mut self, chat: &Chat) -> Result<Json<Value>, Fault> {
        while !self.done() {
            if let Update::Ended { sample, generated } = self.next().await? {
                self.samples[sample] = Some(generated);
            }
        }
        let tokenizer = &self.app.server.engine.decoder().tokenizer;
        let logprobs = chat.request.decoding.logprobs.is_some();
        Ok(Json(self.head.completion(&self.generated(), self.prompt_tokens, logprobs, chat.thinking, tokenizer)))
    }

    fn stream(self, chat: &Chat) -> impl Stream<Item = Result<Event, Infallible>> + use<> {
        let splitters = vec![Splitter::new(chat.thinking); self.samples.len()];
        let ready = (0..self.samples.len()).map(|index| self.head.opening(index)).collect();
        let state = Streaming { flight: self, splitters, ready, include_usage: chat.include_usage, over: false };
        unfold(state, |mut state| async move { state.event().await.map(|event| (Ok(event), state)) })
    }
}

/// A stream of chunks.
struct Streaming {
    flight: Flight,
    splitters: Vec<Splitter>,
    ready: VecDeque<Value>,
    include_usage: bool,
    /// Nothing but `[DONE]` was left, and it was sent.
    over: bool,
}

impl Streaming {
    async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Some(Event::default().data(chunk.to_string()));
            }
            if self.over {
                return None;
            }
            if self.flight.done() {
                self.over = true;
                return Some(Event::default().data("[DONE]"));
            }
            match self.flight.next().await {
                Ok(update) => self.update(update),
                Err(fault) => {
                    self.over = true;
                    return Some(Event::default().data(fault.body().to_string()));
                }
            }
        }
    }

    fn update(&mut self, update: Update) {
        let head = self.flight.head.clone();
        match update {
            Update::Grew { sample, part } => {
                let pieces = self.splitters[sample].push(&part.text);
                let mut logprobs = match part.logprobs.as_slice() {
                    [] => Value::Null,
                    some => reply::places(some, &self.flight.app.server.engine.decoder().tokenizer),
                };
                for piece in &pieces {
                    self.ready.push_back(head.piece(sample, piece, logprobs.take()));
                }
            }
            Update::Ended { sample, generated } => {
                let pieces = self.splitters[sample].finish();
                self.ready.extend(pieces.iter().map(|piece| head.piece(sample, piece, Value::Null)));
                self.ready.push_back(head.closing(sample, generated.finish));
                self.flight.samples[sample] = Some(generated);
                if self.flight.done() && self.include_usage {
                    self.ready.push_back(head.usage(self.flight.prompt_tokens, &self.flight.generated()));
                }
            }
            Update::Failed(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
