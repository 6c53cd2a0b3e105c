//! Where the programs stand that the tests need and the workspace does not build: official servers and
//! SDKs, Prometheus. `cargo xtask test` puts them into `target/test-deps`.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What `cargo xtask test` installed.
pub struct Deps {
    root: PathBuf,
}

/// The installed programs; the environment variable `MCPWATCH_TEST_DEPS` overrides the place.
pub fn deps() -> &'static Deps {
    static DEPS: OnceLock<Deps> = OnceLock::new();
    DEPS.get_or_init(|| {
        let root = env::var_os("MCPWATCH_TEST_DEPS")
            .map_or_else(|| target().join("test-deps"), PathBuf::from);
        assert!(
            root.is_dir(),
            "{} is missing: `cargo xtask test` installs what the tests need there",
            root.display()
        );
        Deps { root }
    })
}

impl Deps {
    /// The Python with the official SDK and servers.
    pub fn python(&self) -> PathBuf {
        self.existing("python/bin/python")
    }

    /// Folder of a `node_modules` with the official SDKs and servers.
    pub fn node_modules(&self) -> PathBuf {
        self.existing("npm/node_modules")
    }

    /// The start file of an official npm server: `filesystem`, `everything`, `memory`.
    pub fn npm_server(&self, name: &str) -> PathBuf {
        self.existing(&format!(
            "npm/node_modules/@modelcontextprotocol/server-{name}/dist/index.js"
        ))
    }

    /// The Prometheus server.
    pub fn prometheus(&self) -> PathBuf {
        self.program("prometheus")
    }

    /// Its check tool.
    pub fn promtool(&self) -> PathBuf {
        self.program("promtool")
    }

    /// The root of a small Debian, for containers.
    pub fn root_file_system(&self) -> PathBuf {
        self.existing("rootfs")
    }

    /// A Debian program: from the unpacked package, else the installed one.
    fn program(&self, name: &str) -> PathBuf {
        let unpacked = self.root.join("debian/usr/bin").join(name);
        if unpacked.exists() { unpacked } else { on_path(name) }
    }

    fn existing(&self, path: &str) -> PathBuf {
        let path = self.root.join(path);
        assert!(path.exists(), "{} is missing: run `cargo xtask test`", path.display());
        path
    }
}

/// The first program of this name on `PATH`, as an absolute path.
pub(crate) fn on_path(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            panic!("{name} is not on PATH: `cargo xtask test` says how to install it")
        })
}

/// The workspace's root.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate stands in the workspace")
}

/// The folder cargo builds this profile into.
pub(crate) fn build() -> PathBuf {
    let me = env::current_exe().expect("a program knows its path");
    let folder = me.parent().expect("a program stands in a folder");
    // Tests stand in `deps/`, programs beside it.
    if folder.ends_with("deps") { folder.parent().unwrap_or(folder).into() } else { folder.into() }
}

/// The folder of everything cargo builds.
pub fn target() -> PathBuf {
    build().parent().expect("a profile's folder stands in the target folder").into()
}

/// A program of this crate.
pub fn own_program(name: &str) -> PathBuf {
    let path = build().join(name);
    assert!(path.exists(), "{} is missing: run `cargo build -p mcpwatch-tests`", path.display());
    path
}

/// The agent; the environment variable `MCPWATCH_BIN` overrides the workspace's own.
pub fn agent_program() -> PathBuf {
    let path = env::var_os("MCPWATCH_BIN").map_or_else(|| build().join("mcpwatch"), PathBuf::from);
    assert!(path.exists(), "{} is missing: run `cargo build -p mcpwatch`", path.display());
    path
}
