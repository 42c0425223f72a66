//! `potstill serve`

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use potstill_generate::SecretKey;
use potstill_model::generate::{Batching, Engine};

use super::model::{ModelArgs, model_failure};
use crate::app::App;
use crate::exit::{Done, FAILED, Failure};
use crate::serve::{Server, router};
use crate::terminal::complain;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The address to listen at; another than this machine's own needs a key
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// The port; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The name that requests call the model by (the folder's or file's name)
    #[arg(long)]
    name: Option<String>,
    /// The environment variable with the key that clients must show
    #[arg(long, value_name = "VARIABLE")]
    api_key_env: Option<String>,
    /// Sequences decoded together
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch_size: u32,
    /// Requests in flight at most; more are refused with status 429
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    queue: u32,
}

pub(crate) fn run(args: &Args) -> Done {
    let key = args.api_key_env.as_deref().map(key).transpose()?;
    if key.is_none() && !args.host.is_loopback() {
        return Err(Failure::new(
            crate::exit::CONFIG,
            format!("{} can be reached from other machines, so the server needs a key", args.host),
            Some("--api-key-env VARIABLE, or listen at 127.0.0.1"),
        ));
    }
    let decoder = args.model.load()?;
    decoder.template().map_err(model_failure)?;
    let name = args.name.clone().unwrap_or_else(|| args.model.name());
    let batching = Batching { size: args.batch_size as usize, threads: args.model.threads() };
    let engine = Engine::start(decoder, batching).map_err(model_failure)?;
    let app = router(Server { engine, name: name.clone(), key, queue: args.queue as usize });
    let io = |what: &str, error: std::io::Error| Failure::new(FAILED, format!("{what}: {error}"), None);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| io("no threads for the server", error))?;
    runtime.block_on(async {
        let address = SocketAddr::new(args.host, args.port);
        let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| io(&format!("cannot listen at {address}"), error))?;
        let bound = listener.local_addr().map_err(|error| io("no address", error))?;
        complain(&format!("{name} at http://{bound}/v1; stop with Ctrl-C"));
        let stop = async {
            // Without the signal's handler the process ends as any other does.
            let _ = tokio::signal::ctrl_c().await;
        };
        tokio::select! {
            served = axum::serve(listener, app).into_future() => served.map_err(|error| io("the server failed", error)),
            () = stop => Ok(()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn key(variable: &str) -> Result<SecretKey, Failure> {
    let text = App::variable(variable).ok_or_else(|| Failure::config(format!("the environment variable `{variable}` is not set")))?;
    SecretKey::new(&text).map_err(|why| Failure::config(format!("the key in the variable `{variable}` cannot be used: {why}")))
}
