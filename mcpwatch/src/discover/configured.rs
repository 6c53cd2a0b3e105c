//! The servers of all clients' configurations, in bounded number, of which nobody takes all.

use std::collections::BTreeMap;

use super::client_config::{ConfigError, ConfiguredServer};

/// Most servers of all files together.
pub const SERVERS: usize = 4_096;
/// Most bytes they take: an entry may be as large as its file.
const BYTES: usize = 16 << 20;

/// What clients' configurations say, as far as there is room for it.
#[derive(Debug, Default)]
pub struct ConfiguredServers {
    /// In the order of the files' paths, then in that of the file.
    servers: Vec<ConfiguredServer>,
    /// Who answers for each file that they stand in.
    owners: BTreeMap<String, String>,
}

impl ConfiguredServers {
    /// All that are kept.
    #[must_use]
    pub fn servers(&self) -> &[ConfiguredServer] {
        &self.servers
    }

    /// Puts what a file says in the place of what it said before. Gives the warning when not all of it has room:
    /// `owner` answers for it, and leaves as much free for others as all files of that owner take.
    pub fn replace(
        &mut self,
        path: &str,
        owner: &str,
        mut servers: Vec<ConfiguredServer>,
    ) -> Option<ConfigError> {
        self.remove(path);
        // What has to stay free counts like what is taken.
        let mut count = 0;
        let mut bytes: usize = 0;
        for server in &self.servers {
            let own = self.owners.get(&server.config_path).is_some_and(|other| other == owner);
            let times = if own { 2 } else { 1 };
            count += times;
            bytes = bytes.saturating_add(times * weight(server));
        }
        let found = servers.len();
        servers.retain(|server| {
            let filled = bytes.saturating_add(2 * weight(server));
            let fits = count + 2 <= SERVERS && filled <= BYTES;
            if fits {
                count += 2;
                bytes = filled;
            }
            fits
        });
        let left_out = found - servers.len();
        if !servers.is_empty() {
            self.owners.insert(path.to_owned(), owner.to_owned());
        }
        let at = self.servers.partition_point(|server| server.config_path.as_str() < path);
        drop(self.servers.splice(at..at, servers));
        (left_out > 0).then(|| ConfigError {
            path: path.to_owned(),
            line: 0,
            column: 0,
            message: format!(
                "too many servers in all files together (at most {SERVERS} and {} MiB of text, and of one user \
                 or container half of what others leave), {left_out} of this one are not looked at; take some \
                 out, then change this file",
                BYTES >> 20
            ),
        })
    }

    /// A file is gone.
    pub fn remove(&mut self, path: &str) {
        self.owners.remove(path);
        self.servers.retain(|server| server.config_path != path);
    }
}

/// What a server takes, roughly, in bytes.
fn weight(server: &ConfiguredServer) -> usize {
    let fields = [
        Some(&server.name),
        server.command.as_ref(),
        server.url.as_ref(),
        server.cwd.as_ref(),
        Some(&server.config_path),
        Some(&server.client),
    ];
    let variables = server.env.iter().flat_map(|(name, value)| [name, value]);
    let texts = fields.into_iter().flatten().chain(&server.args).chain(variables);
    let texts: usize = texts.map(|text| size_of::<String>() + text.len()).sum();
    size_of::<ConfiguredServer>() + texts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many servers of one file, each with an argument of this length.
    fn file(path: &str, count: usize, length: usize) -> Vec<ConfiguredServer> {
        let server = |number: usize| ConfiguredServer {
            name: number.to_string(),
            args: vec!["a".repeat(length)],
            config_path: path.into(),
            ..ConfiguredServer::default()
        };
        (0..count).map(server).collect()
    }

    fn paths(configured: &ConfiguredServers) -> Vec<&str> {
        configured.servers().iter().map(|server| server.config_path.as_str()).collect()
    }

    #[test]
    fn a_file_takes_the_place_of_what_it_was_before_in_the_order_of_paths() {
        let mut configured = ConfiguredServers::default();
        for (path, count) in [("/b", 2), ("/c", 1), ("/a", 1), ("/b", 1), ("/d", 0)] {
            assert_eq!(configured.replace(path, "1000", file(path, count, 1)), None);
        }
        assert_eq!(paths(&configured), ["/a", "/b", "/c"]);
        configured.remove("/b");
        configured.remove("/none");
        assert_eq!(paths(&configured), ["/a", "/c"]);
        assert_eq!(configured.owners.len(), 2);
    }

    #[test]
    fn what_is_too_many_is_left_out_and_said() {
        let mut configured = ConfiguredServers::default();
        assert_eq!(configured.replace("/a", "1000", file("/a", SERVERS / 2 - 1, 1)), None);
        let warning = configured.replace("/b", "1000", file("/b", 3, 1)).unwrap();
        assert_eq!((warning.path.as_str(), warning.line), ("/b", 0));
        assert!(warning.message.contains("2 of this one are not looked at"), "{warning}");
        assert_eq!(configured.servers().len(), SERVERS / 2);
        configured.remove("/a");
        assert_eq!(configured.replace("/b", "1000", file("/b", 3, 1)), None);
        assert_eq!(paths(&configured), ["/b"; 3]);
    }

    #[test]
    fn what_is_too_large_is_left_out_and_said() {
        let mut configured = ConfiguredServers::default();
        for path in ["/a", "/b", "/c"] {
            assert_eq!(configured.replace(path, "1000", file(path, 1, 2 << 20)), None);
        }
        assert!(configured.replace("/d", "1000", file("/d", 2, 2 << 20)).is_some());
        assert_eq!(configured.servers().len(), 3);
        let small = configured.replace("/e", "1000", file("/e", 9, 9));
        assert_eq!(small, None, "small ones still have room");
        let other = configured.replace("/f", "1001", file("/f", 1, 4 << 20));
        assert_eq!(other, None, "others have theirs");
    }

    #[test]
    fn nobody_takes_the_room_of_others() {
        let mut configured = ConfiguredServers::default();
        let kept = |configured: &ConfiguredServers, path: &str| {
            paths(configured).iter().filter(|other| **other == path).count()
        };
        assert!(configured.replace("/a", "1000", file("/a", SERVERS, 1)).is_some());
        assert_eq!(kept(&configured, "/a"), SERVERS / 2);
        assert_eq!(configured.replace("/b", "1001", file("/b", 96, 1)), None);
        // The same again, in another file too, takes nothing from anybody.
        assert!(configured.replace("/a", "1000", file("/a", SERVERS, 1)).is_some());
        assert!(configured.replace("/a2", "1000", file("/a2", 1, 1)).is_some());
        assert_eq!((kept(&configured, "/a"), kept(&configured, "/b")), (2_000, 96));
        // Of many, each leaves something.
        for (path, expected) in [("/c", 1_000), ("/d", 500), ("/e", 250)] {
            assert!(configured.replace(path, path, file(path, SERVERS, 1)).is_some());
            assert_eq!(kept(&configured, path), expected);
        }
        assert_eq!(kept(&configured, "/b"), 96);
    }
}
