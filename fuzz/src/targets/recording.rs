//! Recordings somebody made up, through the whole pipeline.

use std::path::Path;

use mcpwatch::config::Config;
use mcpwatch::pipeline::Pipeline;
use mcpwatch::recording::{Frame, Reader};

use super::host::check;
use super::kernel::stamp;

/// Frames that are read; a recording of tiny ones would take for ever.
const FRAMES: usize = 1_000;

/// Reads it as `mcpwatch replay` does.
pub fn recordings(data: &[u8]) {
    let Ok((mut reader, beginning)) = Reader::of(Path::new("recording"), data) else { return };
    // Settings have a target of their own.
    let Ok(mut pipeline) = Pipeline::new(Config::default(), &beginning.origin) else { return };
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
}
