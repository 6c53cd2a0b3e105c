//! Recordings somebody made up, through the whole pipeline.

use std::cell::RefCell;
use std::path::Path;

use mcpwatch::config::Config;
use mcpwatch::pipeline::Pipeline;
use mcpwatch::recording::{Frame, Reader};

use super::host::check;
use super::kernel::stamp;

/// Frames that are read; a recording of tiny ones would take for ever.
const FRAMES: usize = 1_000;

/// Recordings read into one pipeline: making one compiles all rules, which takes a hundred times as long.
const TOGETHER: u32 = 50;

thread_local! {
    /// The pipeline of the last recordings and their number, unless one broke it.
    static LAST: RefCell<Option<(Pipeline, u32)>> = const { RefCell::new(None) };
}

/// Reads it as `mcpwatch replay` does, but for the settings, which have a target of their own.
pub fn recordings(data: &[u8]) {
    let Ok((mut reader, beginning)) = Reader::of(Path::new("recording"), data) else { return };
    let last = LAST.take().filter(|(_, read)| *read < TOGETHER);
    let made = || Some((Pipeline::new(Config::default(), &beginning.origin).ok()?, 0));
    let Some((mut pipeline, read)) = last.or_else(made) else { return };
    for _ in 0..FRAMES {
        match reader.next_frame() {
            Ok(Some(Frame::Events(mut batch))) => {
                stamp(&mut batch);
                pipeline.events(&batch);
            }
            Ok(Some(Frame::Input(input))) => pipeline.input(*input),
            Ok(None) => break,
            Err(error) => {
                assert!(error.to_string().contains("recording"));
                break;
            }
        }
        check(&mut pipeline);
    }
    LAST.set(Some((pipeline, read + 1)));
}
