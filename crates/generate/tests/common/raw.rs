//! Servers so bad that no HTTP library would build them: bytes over TCP.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test program uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A good reply.
pub const GOOD: &str =
    r#"{"choices":[{"index":0,"message":{"content":"42"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":5}}"#;

/// One step of a server's answer.
#[derive(Debug, Clone)]
pub enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    /// Closes with a reset instead of an end.
    Reset,
    /// Never closes.
    Hang,
}

/// An answer with status and headers and a body that is whole.
pub fn whole(status: &str, headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    vec![Step::Send(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}").into_bytes())]
}

/// Starts a server that answers the n-th request as `script` says; `count` counts them.
pub async fn start(script: impl Fn(usize) -> Vec<Step> + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let (script, counter) = (Arc::new(script), Arc::clone(&count));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (script, counter) = (Arc::clone(&script), Arc::clone(&counter));
            tokio::spawn(async move {
                if read_request(&mut stream).await.is_some() {
                    let number = counter.fetch_add(1, Ordering::SeqCst);
                    play(stream, script(number)).await;
                }
            });
        }
    });
    (address, count)
}

async fn read_request(stream: &mut TcpStream) -> Option<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some(end) = text.find("\r\n\r\n") {
            let length: usize = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok()).unwrap_or(0);
            if request.len() >= end + 4 + length {
                return Some(());
            }
        }
    }
}

async fn play(mut stream: TcpStream, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Step::Pause(time) => tokio::time::sleep(time).await,
            Step::Reset => {
                // Zero lingering makes the close a reset.
                let _ = stream.set_zero_linger();
                return;
            }
            Step::Hang => std::future::pending::<()>().await,
        }
    }
    let _ = stream.shutdown().await;
}
