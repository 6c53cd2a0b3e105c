//! Globs over resolved paths, with `~/` for every home.

use std::borrow::Cow;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// Places of homes, besides those of the user database.
const HOMES: &[&str] = &["/root", "/home/*", "/var/home/*", "/Users/*"];

/// Folders in a home that hold everything.
pub const SHARED: &[&str] = &["~/.config", "~/.local", "~/.local/share", "~/.cache"];

/// The globs one pattern stands for. `homes` are home directories beyond the usual places.
///
/// `~/…` stands for the path below every home. When its first component begins with a dot it matches
/// below any directory: a container's or a test's home is nowhere in the user database, and such a
/// name hardly means anything else elsewhere. Other names may (`bin`, `work`), and these patterns stand in
/// `allow` lists, too: they match in the usual places of homes, those of containers among them, and in `homes`
/// alone.
pub fn expand(pattern: &str, homes: &[String]) -> Result<Vec<Glob>, globset::Error> {
    let Some(below) = pattern.strip_prefix("~/") else {
        return Ok(vec![glob(pattern)?]);
    };
    if below.starts_with('.') {
        return Ok(vec![glob(&format!("**/{below}"))?]);
    }
    HOMES
        .iter()
        .map(|home| (*home).to_owned())
        .chain(homes.iter().map(|home| globset::escape(home.trim_end_matches('/'))))
        .map(|home| glob(&format!("{home}/{below}")))
        .collect()
}

/// A set of patterns; indices are those of the globs in the order they were expanded.
pub fn set<'a>(
    patterns: impl IntoIterator<Item = &'a str>,
    homes: &[String],
) -> Result<GlobSet, globset::Error> {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        for glob in expand(pattern, homes)? {
            builder.add(glob);
        }
    }
    builder.build()
}

fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build()
}

/// Whether a path is the usual place of homes or of everything: too broad to explain anything in it.
#[must_use]
pub fn is_broad(path: &str, homes: &[String]) -> bool {
    let path = path.trim_end_matches('/');
    let child_of = |parent: &str| {
        path.strip_prefix(parent)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|rest| !rest.contains('/'))
    };
    path.is_empty()
        || HOMES.iter().any(|home| match home.strip_suffix("/*") {
            Some(parent) => path == parent || child_of(parent),
            None => path == *home,
        })
        || homes.iter().any(|home| path == home.trim_end_matches('/'))
}

/// Whether a path is a home, or a home lies below it, or the usual place of homes.
#[must_use]
pub fn holds_homes(path: &str, homes: &[String]) -> bool {
    let usual = HOMES.iter().map(|home| home.trim_end_matches("/*"));
    let own = homes.iter().map(|home| home.trim_end_matches('/'));
    is_broad(path, homes) || usual.chain(own).any(|home| is_within(home, path))
}

/// Whether `path` is `directory` or lies below it.
#[must_use]
pub fn is_within(path: &str, directory: &str) -> bool {
    let directory = directory.trim_end_matches('/');
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The path without `.`, `..` and empty components. The kernel's paths have none; those of failed
/// opens are the argument and may.
#[must_use]
#[expect(
    clippy::needless_bitwise_bool,
    reason = "lazy ones are jumps, and keep it to a byte at a time"
)]
pub fn normal(path: &str) -> Cow<'_, str> {
    // A component that goes is empty or begins with a dot; nearly no path has one.
    // Without an early end the compiler looks at many bytes at once.
    let bytes = path.as_bytes();
    let pairs = bytes.iter().zip(bytes.get(1..).unwrap_or_default());
    let suspect = pairs.fold(false, |found, (first, second)| {
        found | ((*first == b'/') & ((*second == b'/') | (*second == b'.')))
    });
    let odd = |component: &str| matches!(component, "" | "." | "..");
    if !suspect || !path.starts_with('/') || !path.split('/').skip(1).any(odd) {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            name => kept.push(name),
        }
    }
    Cow::Owned(format!("/{}", kept.join("/")))
}

/// Every absolute path by which a program may have meant a file: the resolved one, that below its own root
/// directory, that on the host, and the argument. A link elsewhere is still the file it stands for; relative
/// arguments are in the path.
pub fn spellings<'a>(
    path: &'a str,
    inner_path: Option<&'a str>,
    host_path: Option<&'a str>,
    argument: &'a str,
) -> impl Iterator<Item = Cow<'a, str>> {
    let path = normal(path);
    let inner = inner_path.map(normal);
    let named = normal(argument);
    let more = named != path && Some(&named) != inner.as_ref() && named.starts_with('/');
    [Some(path), inner, host_path.map(normal), more.then_some(named)].into_iter().flatten()
}

/// The last component: asked for so often that a search made for long texts would cost most of it.
#[must_use]
pub fn file_name(path: &str) -> &str {
    let slash = path.bytes().rposition(|byte| byte == b'/');
    slash.and_then(|slash| path.get(slash + 1..)).unwrap_or(path)
}

/// Everything before the last component, without the slash; empty for entries of `/`.
#[must_use]
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_relative_pattern_matches_below_every_home() {
        let table: &[(&str, &str, bool)] = &[
            ("~/.ssh/id_*", "/root/.ssh/id_rsa", true),
            ("~/.ssh/id_*", "/home/a/.ssh/id_rsa", true),
            ("~/.ssh/id_*", "/tmp/pytest-1/home/.ssh/id_rsa", true),
            ("~/.ssh/id_*", "/var/lib/jenkins/.ssh/id_rsa", true),
            ("~/.ssh/id_*", "/.ssh/id_rsa", true),
            ("~/.ssh/id_*", "/home/a/.ssh/deep/id_rsa", false),
            ("~/.ssh/id_*", "/home/a/x.ssh/id_rsa", false),
            ("~/.ssh/id_*", "/home/a/.sshx/id_rsa", false),
            ("~/Monero/wallets/*", "/home/a/Monero/wallets/w", true),
            ("~/Monero/wallets/*", "/srv/homes/a/Monero/wallets/w", true),
            ("~/Monero/wallets/*", "/tmp/Monero/wallets/w", false),
            ("~/_netrc", "/root/_netrc", true),
            ("~/_netrc", "/home/node/_netrc", true),
            ("~/_netrc", "/home/node/work/_netrc", false),
            ("~/_netrc", "/app/_netrc", false),
            ("**/.env", "/.env", true),
            ("**/.env", "/a/b/.env", true),
            ("**/.env", "/a/b/x.env", false),
            ("/etc/shadow", "/etc/shadow", true),
            ("/etc/shadow", "/mnt/etc/shadow", false),
        ];
        let homes = ["/srv/homes/a/".to_owned()];
        for (pattern, path, expected) in table {
            let set = set([*pattern], &homes).unwrap();
            assert_eq!(set.is_match(path), *expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_home_with_glob_characters_is_taken_literally() {
        let homes = ["/srv/[a]*".to_owned()];
        let set = set(["~/x"], &homes).unwrap();
        assert!(set.is_match("/srv/[a]*/x"));
        assert!(!set.is_match("/srv/ab/x"));
    }

    #[test]
    fn normal_paths() {
        let table = [
            ("/a/b", "/a/b"),
            ("/a//b/./c", "/a/b/c"),
            ("/a/../../b", "/b"),
            ("/..", "/"),
            ("/a/.", "/a"),
            ("/a/.b/c", "/a/.b/c"),
            ("a/../b", "a/../b"),
            ("", ""),
        ];
        for (path, expected) in table {
            assert_eq!(normal(path), expected);
        }
        assert!(matches!(normal("/a/b"), Cow::Borrowed(_)));
    }

    #[test]
    fn every_spelling_once() {
        let of = |path, inner, argument| -> Vec<String> {
            spellings(path, inner, None, argument).map(Cow::into_owned).collect()
        };
        assert_eq!(of("/a/b", None, "/a/b"), ["/a/b"]);
        assert_eq!(of("/a/b", None, "b"), ["/a/b"]);
        assert_eq!(of("/a/b", None, "/x/../link"), ["/a/b", "/link"]);
        assert_eq!(of("/jail/a", Some("/a"), "/a"), ["/jail/a", "/a"]);
        assert_eq!(of("/jail/a", Some("/a"), "/link"), ["/jail/a", "/a", "/link"]);
        let mounted: Vec<_> = spellings("/work/a", None, Some("/home/me/a"), "/work/a").collect();
        assert_eq!(mounted, ["/work/a", "/home/me/a"]);
    }

    #[test]
    fn broad_places() {
        for path in ["/", "/root", "/home", "/home/a", "/home/a/", "/Users/b", "/srv/h"] {
            assert!(is_broad(path, &["/srv/h/".to_owned()]), "{path}");
        }
        for path in ["/home/a/project", "/srv", "/tmp", "/rootfs"] {
            assert!(!is_broad(path, &["/srv/h".to_owned()]), "{path}");
        }
    }

    #[test]
    fn within() {
        assert!(is_within("/a/b", "/a"));
        assert!(is_within("/a", "/a/"));
        assert!(is_within("/a", "/"));
        assert!(!is_within("/ab", "/a"));
    }
}
