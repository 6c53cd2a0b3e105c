//! Where things are in the workspace.

use std::env;
use std::path::{Path, PathBuf};

/// The folder of the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Cargo's build folder, wherever the user's settings put it: this program lies in it as
/// `<target>/debug/xtask`.
pub fn target() -> PathBuf {
    let own = env::current_exe().ok();
    own.as_deref()
        .and_then(|path| path.ancestors().nth(2))
        .map_or_else(|| root().join("target"), Path::to_path_buf)
}

/// The agent, built with the profile of this folder name (`debug`, `release`).
pub fn agent(profile: &str) -> PathBuf {
    target().join(profile).join("mcpwatch")
}

/// Everything the end-to-end tests need from outside: `MCPWATCH_TEST_DEPS`, else in the build folder.
pub fn test_deps() -> PathBuf {
    env::var_os("MCPWATCH_TEST_DEPS")
        .map_or_else(|| target().join("test-deps"), |path| root().join(path))
}

/// What every checkout and every clean build shares.
pub fn cache() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    cache
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(target)
        .join("mcpwatch")
}
