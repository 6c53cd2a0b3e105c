//! `mcpwatch replay`: a recording through the same pipeline, to stdout.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;

use crate::config::Config;
use crate::output::{Colour, Destination, Fanout, Format, Output};
use crate::pipeline::Pipeline;
use crate::recording::{Frame, Reader};

/// Arguments of `mcpwatch replay`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The recording, made with `mcpwatch run --record`
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// json, pretty or ocsf
    #[arg(long, default_value = "json")]
    pub format: Format,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let (mut reader, beginning) = Reader::open(&args.file)?;
    let mut config = if beginning.settings.is_empty() {
        Config::default()
    } else {
        Config::parse(
            &beginning.settings,
            Path::new("settings in the recording"),
            &super::rule_ids(),
        )?
    };
    if let Some(sniff) = &beginning.sniff {
        config.discovery.sniff = sniff.parse().map_err(anyhow::Error::msg)?;
    }
    let mut pipeline = Pipeline::new(config, &beginning.origin)?;
    let colour = Colour::detect(std::io::IsTerminal::is_terminal(&std::io::stdout()), |name| {
        std::env::var(name).ok()
    });
    let output = Output { destination: Destination::Stdout, format: args.format, colour };
    // Nothing is lost in a replay: the queue takes a batch whole, and the loop waits for it.
    let mut fanout = Fanout::open(vec![output], usize::MAX, || {})?;
    while let Some(frame) = reader.next_frame()? {
        match frame {
            Frame::Events(batch) => pipeline.events(&batch),
            Frame::Input(input) => pipeline.input(*input),
        }
        pipeline.take_actions();
        fanout.publish(pipeline.take_records());
        wait_for_room(&fanout);
        if let Some(failure) = fanout.failed() {
            bail!(failure.message);
        }
    }
    let lost = fanout.finish(Duration::from_mins(1));
    if let Some(loss) = lost.first() {
        bail!(
            "{} records could not be written to {}: {}",
            loss.lost,
            loss.output,
            loss.reason.name()
        );
    }
    Ok(())
}

/// Most records that wait to be written.
const WAITING: usize = 4_096;

fn wait_for_room(fanout: &Fanout) {
    while fanout.failed().is_none() && fanout.states().iter().any(|state| state.queued > WAITING) {
        std::thread::sleep(Duration::from_millis(1));
    }
}
