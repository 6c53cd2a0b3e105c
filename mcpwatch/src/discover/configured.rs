//! The servers of all clients' configurations, in bounded number.

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
}

impl ConfiguredServers {
    /// All that are kept.
    #[must_use]
    pub fn servers(&self) -> &[ConfiguredServer] {
        &self.servers
    }

    /// Puts what a file says in the place of what it said before. Gives the warning when not all of it has room.
    pub fn replace(
        &mut self,
        path: &str,
        mut servers: Vec<ConfiguredServer>,
    ) -> Option<ConfigError> {
        self.remove(path);
        let mut count = self.servers.len();
        let mut bytes: usize = self.servers.iter().map(weight).sum();
        let found = servers.len();
        servers.retain(|server| {
            let filled = bytes.saturating_add(weight(server));
            let fits = count < SERVERS && filled <= BYTES;
            if fits {
                count += 1;
                bytes = filled;
            }
            fits
        });
        let left_out = found - servers.len();
        let at = self.servers.partition_point(|server| server.config_path.as_str() < path);
        drop(self.servers.splice(at..at, servers));
        (left_out > 0).then(|| ConfigError {
            path: path.to_owned(),
            line: 0,
            column: 0,
            message: format!(
                "too many servers in all files together (at most {SERVERS} and {} MiB of text), {left_out} of \
                 this one are not looked at; take some out, then change this file",
                BYTES >> 20
            ),
        })
    }

    /// A file is gone.
    pub fn remove(&mut self, path: &str) {
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
            assert_eq!(configured.replace(path, file(path, count, 1)), None);
        }
        assert_eq!(paths(&configured), ["/a", "/b", "/c"]);
        configured.remove("/b");
        configured.remove("/none");
        assert_eq!(paths(&configured), ["/a", "/c"]);
    }

    #[test]
    fn what_is_too_many_is_left_out_and_said() {
        let mut configured = ConfiguredServers::default();
        assert_eq!(configured.replace("/a", file("/a", SERVERS - 1, 1)), None);
        let warning = configured.replace("/b", file("/b", 3, 1)).unwrap();
        assert_eq!((warning.path.as_str(), warning.line), ("/b", 0));
        assert!(warning.message.contains("2 of this one are not looked at"), "{warning}");
        assert_eq!(configured.servers().len(), SERVERS);
        configured.remove("/a");
        assert_eq!(configured.replace("/b", file("/b", 3, 1)), None);
        assert_eq!(paths(&configured), ["/b"; 3]);
    }

    #[test]
    fn what_is_too_large_is_left_out_and_said() {
        let mut configured = ConfiguredServers::default();
        for path in ["/a", "/b", "/c"] {
            assert_eq!(configured.replace(path, file(path, 1, 4 << 20)), None);
        }
        assert!(configured.replace("/d", file("/d", 2, 4 << 20)).is_some());
        assert_eq!(configured.servers().len(), 3);
        assert_eq!(configured.replace("/e", file("/e", 9, 9)), None, "small ones still have room");
    }
}
