//! The agent's HTTP endpoint, asked without any library between.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Status code and body of a GET on a local port.
pub fn http_get(port: u16, path: &str) -> Result<(u16, String), std::io::Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let timeout = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let malformed = || std::io::Error::other(format!("no HTTP answer: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    Ok((code, body.to_owned()))
}

/// One scrape.
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of all series of a name whose labels contain every given `label="value"`: they count.
    #[track_caller]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        self.series(name)
            .filter(|(found, _)| {
                labels.iter().all(|(label, value)| found.contains(&format!("{label}=\"{value}\"")))
            })
            .map(|(_, value)| value.parse::<i64>().unwrap_or_else(|_| panic!("{name} is {value}")))
            .sum()
    }

    /// Labels and value of every series of a name.
    pub fn series<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.lines().filter_map(move |line| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, value))
        })
    }
}
