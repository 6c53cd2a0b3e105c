//! `mcpwatch run`: the shell around the pipeline. Four threads: the pipeline with the ring buffer and the
//! kernel's control, the follower of client configurations, the reader of mounts, and this one with signals and
//! the endpoint.

mod books;
mod cgroups;
mod configs;
mod core;
mod inbox;
mod mounts;
mod origin;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use self::inbox::{Inbox, Message, Post};
use crate::cli::UsageError;
use crate::config::{Config, Sniff, TierChoice};
use crate::host::snapshot;
use crate::kernel::object::{Object, Options};
use crate::output::{Colour, DEFAULT_QUEUE_BYTES, Destination, Fanout, Format, Output};
use crate::pipeline::Pipeline;
use crate::recording::{Beginning, Writer};
use crate::telemetry::{self, Health, Metrics};

/// Arguments of `mcpwatch run`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Settings file [default: /etc/mcpwatch/mcpwatch.toml, when it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write the event stream to FILE; `-` is stdout
    #[arg(long, value_name = "FILE|-")]
    pub events: Option<PathBuf>,
    /// Form of what goes to stdout: json, pretty or ocsf
    #[arg(long)]
    pub format: Option<Format>,
    /// Address of the metrics endpoint, or `off`
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<MetricsAddress>,
    /// Capture nothing but this process and its descendants
    #[arg(long, value_name = "PID")]
    pub descendants_of: Option<u32>,
    /// Record everything that goes into the pipeline, for `mcpwatch replay`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// What becomes of processes that may be servers: auto, always or off
    #[arg(long)]
    pub sniff: Option<Sniff>,
    /// How system calls are watched: auto, fexit or tracepoint
    #[arg(long, value_name = "TIER")]
    pub tier: Option<TierChoice>,
}

/// An address, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsAddress(Option<SocketAddr>);

impl std::str::FromStr for MetricsAddress {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if word == "off" {
            return Ok(Self(None));
        }
        word.parse()
            .map(|address| Self(Some(address)))
            .map_err(|_| "expected ADDRESS:PORT, as in 127.0.0.1:9464, or `off`".into())
    }
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    log();
    let mut config = super::settings(args.config.as_deref())?;
    if let Some(sniff) = args.sniff {
        config.discovery.sniff = sniff;
    }
    if let Some(tier) = args.tier {
        config.kernel.tier = tier;
    }
    let no_process = |pid: u32| {
        let reason = "there is no such process; name one that is running";
        UsageError(format!("--descendants-of {pid}: {reason}"))
    };
    let scope = match args.descendants_of {
        Some(pid) => Some(snapshot::key_of(pid).ok_or_else(|| no_process(pid))?),
        None => None,
    };
    let processes = snapshot::read_all(scope);
    if let Some(root) = scope
        && !processes.iter().any(|process| process.key() == root)
    {
        return Err(no_process(root.pid).into());
    }
    let origin = origin::of_this_host();
    let pipeline = Pipeline::new(config.clone(), &origin)?;
    let listener = match args.metrics.map_or(config.metrics.listen, |address| address.0) {
        Some(address) => Some(telemetry::bind(address)?),
        None => None,
    };
    let options = Options {
        ring_bytes: config.capture.ring_bytes,
        payload_limit: config.capture.payload_limit,
        sniff: config.discovery.sniff != Sniff::Off,
        scope: scope.map(|_| processes.iter().map(|process| process.pid).collect()),
        tier: config.kernel.tier,
    };
    let recording = match &args.record {
        Some(path) => {
            let beginning = Beginning {
                origin,
                settings: settings_text(args)?,
                sniff: args.sniff.map(|sniff| sniff.name().to_owned()),
            };
            let writer = Writer::create(path, &beginning).with_context(|| {
                format!("cannot record to {}, name another file with --record", path.display())
            })?;
            Some(writer)
        }
        None => None,
    };
    let (object, ring) = Object::open(&options)?;
    let fanout = Fanout::open(outputs(args, &config), DEFAULT_QUEUE_BYTES, go_first)?;

    let metrics = Arc::new(Metrics::new()?);
    let health = Arc::new(Health::new());
    let (inbox, post, findings) = Inbox::new(ring).context("cannot wait for events")?;
    let (look_for, looking) = configs::LookFor::new();
    configs::start(&config, scope.is_some(), looking, findings)?;
    let (look_for_mounts, wanted) = sync_channel(mounts::WAITING);
    mounts::start(wanted, post.clone())?;
    let core = core::Core {
        pipeline,
        object,
        fanout,
        recording,
        metrics: Arc::clone(&metrics),
        health: Arc::clone(&health),
        look_for,
        look_for_mounts,
        scope,
        cgroups: cgroups::Cgroups::of_host(),
        books: books::Books::default(),
    };
    serve(core, inbox, post, listener, metrics, health, processes)
}

/// Starts the pipeline's thread, and waits for signals, its end, and requests to the endpoint.
fn serve(
    core: core::Core,
    inbox: Inbox,
    post: Post,
    listener: Option<std::net::TcpListener>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    processes: Vec<snapshot::ProcessSnapshot>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the agent's own runtime")?;
    let (ended, end) = tokio::sync::oneshot::channel();
    let beat = health.part("pipeline");
    let thread = std::thread::Builder::new()
        .name("pipeline".into())
        .spawn(move || {
            go_first();
            // The receiver lives as long as this thread's caller.
            let _ = ended.send(core.run(inbox, processes, &beat));
        })
        .context("cannot start the pipeline's thread")?;
    let result = runtime.block_on(async {
        let endpoint = async {
            match listener {
                Some(listener) => {
                    telemetry::serve(listener, metrics, health, std::future::pending()).await
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = end => result.context("the pipeline's thread is gone")?,
            result = signals(post) => result.map(|_: std::convert::Infallible| ()),
            result = endpoint => result.context("the metrics endpoint failed"),
        }
    });
    if result.is_ok() {
        // Ended as asked, or told why: nothing is left to wait for but the thread's last steps.
        let _ = thread.join();
    }
    result
}

/// Lets the calling thread go before others: from the start of the first server to the attaching of the hook
/// on system calls, everything it does goes unseen, and under load most of that is waiting for a processor.
/// An output's thread goes with the pipeline's: on a single processor the records would else be made and not written.
/// Without the right to do so (`CAP_SYS_NICE`) it waits like everybody.
fn go_first() {
    // SAFETY: two numbers; 0 stands for the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// Passes signals on; never ends by itself.
async fn signals(post: Post) -> anyhow::Result<std::convert::Infallible> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        let message = tokio::select! {
            _ = interrupt.recv() => Message::Stop("SIGINT".into()),
            _ = terminate.recv() => Message::Stop("SIGTERM".into()),
            _ = hangup.recv() => Message::Reopen,
        };
        let post = post.clone();
        // The queue may be full for a moment: this thread must go on serving.
        tokio::task::spawn_blocking(move || post.send(message));
    }
}

/// Where the event stream goes.
fn outputs(args: &Args, config: &Config) -> Vec<Output> {
    let file = args.events.clone().or_else(|| config.events.file.clone());
    let to_stdout = file.as_deref().is_none_or(|file| file.as_os_str() == "-");
    let colour = Colour::detect(std::io::stdout().is_terminal(), |name| std::env::var(name).ok());
    let format = args.format.unwrap_or_default();
    let mut outputs = Vec::new();
    if let Some(path) = file.filter(|_| !to_stdout) {
        outputs.push(Output {
            destination: Destination::File(path),
            format: format.for_file(),
            colour: Colour::detect(false, |_| None),
        });
    }
    // Beside a file, stdout is used when somebody said what it should look like.
    if to_stdout || args.format.is_some() {
        outputs.push(Output { destination: Destination::Stdout, format, colour });
    }
    outputs
}

/// The settings file's text, for a recording.
fn settings_text(args: &Args) -> anyhow::Result<String> {
    let path = args.config.clone().unwrap_or_else(|| crate::config::DEFAULT_PATH.into());
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(_) if args.config.is_none() => Ok(String::new()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// The agent's own log goes to stderr; `MCPWATCH_LOG` sets how much of it.
fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MCPWATCH_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Niceness of the threads between kernel and written records; see `setpriority(2)`.
const NICE: libc::c_int = -10;

/// How long an ending run waits for its outputs.
const FINISH: Duration = Duration::from_secs(1);

/// What the follower of configurations is asked to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    /// Configurations and cgroups of the processes that ran before the agent.
    Running(Vec<u32>),
    /// Configurations and cgroup of this process; where it looks for them says nothing when a server started it.
    Around { pid: u32, of_server: bool },
    /// What the host shows of the container with this cgroup.
    Container(String),
    /// Where folders of an instance lie, as one of its processes sees them.
    Folders(u64, u32, Vec<String>),
}
