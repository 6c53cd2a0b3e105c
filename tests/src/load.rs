//! A server at work in a scene: `src/bin/load`, started and waited for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::deps::own_program;
use crate::scene::Scene;

/// What a server is to open, and how often.
pub struct OpenPlan<'a> {
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

/// A server at work, or done.
pub struct Load {
    result: PathBuf,
    until: Instant,
}

/// What it did.
#[derive(Clone, Debug)]
pub struct Done {
    /// How many of what it was asked for.
    pub made: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Everything it says.
    pub told: Value,
}

impl OpenPlan<'_> {
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
        let call = json!({
            "tool": "open_files",
            "folder": self.folder,
            "name": self.name,
            "files": self.files,
            "rate": self.rate,
            "seconds": self.seconds,
            "processor": self.processor,
        });
        Load::start(scene, "load", &call)
    }
}

impl Load {
    /// Starts a client and a server in the scene that do what `call` says (see `src/bin/load`); `name` tells
    /// its result from others'.
    pub fn start(scene: &Scene, name: &str, call: &Value) -> Self {
        let result = scene.backstage(&format!("{name}.json"));
        let _ = fs::remove_file(&result);
        let program = own_program("load").display().to_string();
        // Nothing of the environment is needed, so nothing has to be installed.
        scene.start_in(
            &[&program, &call.to_string(), &result.display().to_string()],
            &BTreeMap::new(),
        );
        // Up to ten times the time: the machine may be busy, and what is traced call by call is slow.
        let seconds = call["seconds"].as_u64().unwrap_or(0);
        Self {
            result,
            until: Instant::now() + Duration::from_secs(30 + seconds + (9 * seconds).min(300)),
        }
    }

    /// What it did, if it is done.
    pub fn done(&self) -> Option<Done> {
        let told: Value = serde_json::from_str(&fs::read_to_string(&self.result).ok()?)
            .expect("the result is JSON");
        assert_eq!(told["failed"], 0, "everything succeeds: {told}");
        Some(Done {
            made: told["made"].as_u64().expect("a number"),
            seconds: told["seconds"].as_f64().expect("a number"),
            told,
        })
    }

    /// Waits for the response.
    pub fn wait(self, scene: &Scene) -> Done {
        loop {
            if let Some(done) = self.done() {
                return done;
            }
            assert!(Instant::now() < self.until, "the load does not end:\n{}", scene.log());
            thread::sleep(Duration::from_millis(20));
        }
    }
}
