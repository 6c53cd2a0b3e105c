//! A server at work in a scene: `src/bin/load.rs`, started and waited for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use mcpwatch_tests::{Scene, own_program};
use serde_json::{Value, json};

/// What the server is to open, and how often.
pub struct Plan<'a> {
    /// Folder of the files.
    pub folder: &'a Path,
    /// Their names without the number.
    pub name: &'a str,
    /// How many there are.
    pub files: usize,
    /// Opens a second; 0 for as many as it can make.
    pub rate: u64,
    /// For how long.
    pub seconds: u64,
    /// The processor it stays on.
    pub processor: Option<usize>,
}

/// A server at work.
pub struct Load {
    result: PathBuf,
    until: Instant,
}

/// What it did.
pub struct Done {
    /// Calls of open(2).
    pub opens: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Plan<'_> {
    /// Makes the files.
    pub fn make_files(&self) {
        fs::create_dir_all(self.folder).expect("mkdir");
        for number in 0..self.files {
            let path = self.folder.join(format!("{}{number}", self.name));
            fs::write(path, "nothing to see here\n").expect("a file can be written");
        }
    }

    /// Starts a client and the server in the scene.
    pub fn start(&self, scene: &Scene) -> Load {
        let result = scene.backstage("load.json");
        let _ = fs::remove_file(&result);
        let call = json!({
            "tool": "open_files",
            "folder": self.folder,
            "name": self.name,
            "files": self.files,
            "rate": self.rate,
            "seconds": self.seconds,
            "processor": self.processor,
        });
        let program = own_program("load").display().to_string();
        // Nothing of the environment is needed, so nothing has to be installed.
        scene.start_in(
            &[&program, &call.to_string(), &result.display().to_string()],
            &BTreeMap::new(),
        );
        // Twice the time: the machine may be busy.
        Load { result, until: Instant::now() + Duration::from_secs(30 + 2 * self.seconds) }
    }
}

impl Load {
    /// Waits for the response.
    pub fn wait(self, scene: &Scene) -> Done {
        loop {
            if let Ok(text) = fs::read_to_string(&self.result) {
                let value: Value = serde_json::from_str(&text).expect("the result is JSON");
                assert_eq!(value["failed"], 0, "every open succeeds: {value}");
                return Done {
                    opens: value["made"].as_u64().expect("a number"),
                    seconds: value["seconds"].as_f64().expect("a number"),
                };
            }
            assert!(Instant::now() < self.until, "the load does not end:\n{}", scene.log());
            thread::sleep(Duration::from_millis(20));
        }
    }
}
