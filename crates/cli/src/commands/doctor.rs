//! `potstill doctor`

use std::path::PathBuf;
use std::process::ExitCode;

use potstill_generate::SecretKey;
use potstill_generate::openai::{EndpointReport, OpenAi, OpenAiConfig};
use potstill_verify::VerifyOptions;
use potstill_verify::sandbox::{Level, Sandbox, Settings};
use serde_json::{Value, json};

use crate::app::App;
use crate::exit::{Done, FAILED, Failure, TEMPORARY};
use crate::load::{Loaded, PipelineArgs};
use crate::sandbox;
use crate::stages::generate_error;
use crate::terminal::say;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A teacher of the pipeline file, or the address of an endpoint (http://…/v1); without one, this machine is examined: how
    /// programs in replies are shut in, and which languages they may be in
    teacher: Option<String>,
    /// The pipeline file that has the teacher
    #[arg(long, short, value_name = "FILE")]
    pipeline: Option<PathBuf>,
    /// The model to ask at an address; the first one listed if not given
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The environment variable that holds the key for an address
    #[arg(long, value_name = "VARIABLE")]
    api_key_env: Option<String>,
    /// How long each request may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    timeout: f64,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Done {
    let Some(teacher) = &args.teacher else { return machine(args.json) };
    let (config, key, app) = if teacher.contains("://") { by_address(args, teacher)? } else { by_name(args, teacher)? };
    let config = OpenAiConfig { timeout_seconds: args.timeout, ..config };
    let teacher = |config: &OpenAiConfig| OpenAi::new(config.clone(), key.clone()).map_err(generate_error);
    let reports = app.runtime().block_on(async {
        let mut config = config;
        if config.model.is_empty() {
            config.model = first_model(&teacher(&OpenAiConfig { model: "any".into(), ..config.clone() })?).await?;
        }
        Ok::<_, Failure>((teacher(&config)?.examine().await, config.model))
    });
    let (reports, model) = reports?;
    if args.json {
        let found: Vec<Value> = reports.iter().map(|report| as_json(report, &model)).collect();
        say(&serde_json::to_string_pretty(&found).unwrap_or_default());
    } else {
        reports.iter().for_each(|report| say(&as_text(report, &model)));
    }
    let dead = reports.iter().filter(|report| report.chat.is_err()).count();
    match dead {
        0 => Ok(ExitCode::SUCCESS),
        // Nobody there at all may come back; somebody there who refuses will not.
        _ if reports.iter().all(|report| report.models.is_err() && report.chat.is_err()) => Ok(ExitCode::from(TEMPORARY)),
        _ => Ok(ExitCode::from(FAILED)),
    }
}

/// The levels of the sandbox, each tried, and the tools for programs.
fn machine(as_json: bool) -> Done {
    let options = sandbox::ready(&VerifyOptions::default()).code;
    let tools = potstill_verify::code::tools(&options);
    let tried = |level: Level| {
        let Some(launcher) = options.launcher.clone() else { return Err("the system does not say which file this program is".to_owned()) };
        let settings = Settings { launcher, level: Some(level), boxes: 1, readable: Vec::new(), scratch: PathBuf::from("/tmp") };
        Sandbox::start(settings).map(|sandbox| sandbox.notes().to_vec()).map_err(|error| error.to_string())
    };
    let levels: Vec<(Level, Result<Vec<String>, String>)> = [Level::L1, Level::L2].map(|level| (level, tried(level))).into();
    let works = levels.iter().any(|(_, found)| found.is_ok());
    if as_json {
        let levels = levels.iter().map(|(level, found)| {
            let value = match found {
                Ok(notes) => json!({ "works": true, "notes": notes }),
                Err(why) => json!({ "works": false, "error": why }),
            };
            (level.to_string(), value)
        });
        let languages = tools.iter().map(|(language, tool)| ((*language).to_owned(), json!(tool)));
        let found =
            json!({ "sandbox": levels.collect::<serde_json::Map<_, _>>(), "languages": languages.collect::<serde_json::Map<_, _>>() });
        say(&serde_json::to_string_pretty(&found).unwrap_or_default());
    } else {
        say("programs in replies (the strongest level that works is used)");
        for (level, found) in &levels {
            let name = format!("sandbox {level}");
            match found {
                Ok(notes) if notes.is_empty() => say(&format!("  + {name:<22} works")),
                Ok(notes) => say(&format!("  + {name:<22} works: {}", notes.join("; "))),
                Err(why) => say(&format!("  x {name:<22} {why}")),
            }
        }
        for (language, tool) in &tools {
            match tool {
                Some(path) => say(&format!("  + {language:<22} {}", path.display())),
                None => say(&format!("  x {language:<22} no tool in /usr/bin or /usr/local/bin; programs in it are undecided")),
            }
        }
    }
    Ok(ExitCode::from(if works { 0 } else { FAILED }))
}

type Found = (OpenAiConfig, Option<SecretKey>, App);

fn by_name(args: &Args, teacher: &str) -> Result<Found, Failure> {
    let Some(file) = &args.pipeline else {
        let why = format!("where is the teacher `{teacher}`?");
        return Err(Failure::new(
            crate::exit::CONFIG,
            why,
            Some("name the pipeline file with --pipeline FILE, or give an address (http://…/v1)"),
        ));
    };
    let Loaded { app, .. } = PipelineArgs { file: Some(file.clone()), set: Vec::new(), store: None }.load()?;
    let Some((config, key)) = app.teacher(teacher)?.endpoint(&app)? else {
        return Err(Failure::config(format!("the teacher `{teacher}` is a program and has no endpoint")));
    };
    Ok((config, key, app))
}

fn by_address(args: &Args, teacher: &str) -> Result<Found, Failure> {
    let app = App::new(PathBuf::from("."), Default::default(), "doctor".to_owned(), String::new())
        .map_err(|e| Failure::new(FAILED, format!("cannot start threads: {e}"), None))?;
    let config = OpenAiConfig::new(teacher, args.model.as_deref().unwrap_or_default());
    let key = match &args.api_key_env {
        None => None,
        Some(name) => {
            let text = App::variable(name).ok_or_else(|| Failure::config(format!("the environment variable `{name}` is not set")))?;
            Some(SecretKey::new(&text).map_err(|why| Failure::config(format!("the key in `{name}` cannot be used: {why}")))?)
        }
    };
    Ok((config, key, app))
}

/// The model that a server offers first.
async fn first_model(teacher: &OpenAi) -> Result<String, Failure> {
    let listed = teacher.list_models().await;
    let model = listed.as_ref().ok().and_then(|models| models.first().cloned());
    model.ok_or_else(|| {
        let why = listed.err().unwrap_or_else(|| "it lists no model".to_owned());
        Failure::new(TEMPORARY, format!("the endpoint does not say what it serves: {why}"), Some("name one with --model"))
    })
}

fn as_json(report: &EndpointReport, model: &str) -> Value {
    let chat = match &report.chat {
        Err(why) => json!({ "ok": false, "error": why }),
        Ok(chat) => {
            let parameters = chat.parameters.iter().map(|(name, result)| {
                let found = match result {
                    Ok(()) => json!({ "supported": true }),
                    Err(why) => json!({ "supported": false, "error": why }),
                };
                (name.clone(), found)
            });
            json!({
                "ok": true, "latency_ms": chat.latency_ms, "warm_latency_ms": chat.warm_latency_ms, "reply": chat.reply,
                "reasoning": chat.reasoning, "usage": chat.usage, "parameters": parameters.collect::<serde_json::Map<_, _>>(),
            })
        }
    };
    let models = match &report.models {
        Ok(models) => json!({ "ok": true, "listed": models, "has_model": models.iter().any(|m| m == model) }),
        Err(why) => json!({ "ok": false, "error": why }),
    };
    json!({ "base_url": report.base_url, "model": model, "models": models, "chat": chat })
}

fn as_text(report: &EndpointReport, model: &str) -> String {
    let mut lines = vec![report.base_url.clone()];
    let mut tell = |good: bool, what: &str, text: String| lines.push(format!("  {} {what:<22} {text}", if good { "+" } else { "x" }));
    match &report.models {
        Ok(models) if models.iter().any(|m| m == model) => tell(true, "models", format!("`{model}` is one of {}", models.len())),
        Ok(models) => {
            let near = potstill_pipeline::near(model, models.iter().map(String::as_str));
            let shown: Vec<&str> = models.iter().take(5).map(String::as_str).collect();
            let hint = near.map_or_else(|| format!("it lists {}", shown.join(", ")), |near| format!("did you mean `{near}`?"));
            tell(false, "models", format!("`{model}` is not listed; {hint}"));
        }
        Err(why) => tell(false, "models", format!("not listed: {why}")),
    }
    let chat = match &report.chat {
        Ok(chat) => chat,
        Err(why) => {
            tell(false, "chat", why.clone());
            return lines.join("\n");
        }
    };
    let warm = chat.warm_latency_ms.map_or_else(String::new, |ms| format!(", {ms} ms on an open connection"));
    tell(true, "chat", format!("{} ms{warm}: {:?}", chat.latency_ms, chat.reply));
    let apart = if chat.reasoning { "told apart" } else { "none in this reply" };
    tell(true, "reasoning", apart.to_owned());
    tell(
        chat.usage,
        "usage",
        if chat.usage { "tokens are counted" } else { "tokens are not counted: they will be counted here" }.to_owned(),
    );
    for (name, result) in &chat.parameters {
        let text = result.as_ref().map_or_else(|why| format!("no: {why}"), |()| "yes".to_owned());
        tell(result.is_ok(), name, text);
    }
    lines.join("\n")
}
