//! The other ends of a scene's connections, listening inside its network namespace.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;

use crate::scene::Scene;

/// The addresses of a scene with a network. They are for documentation (RFC 5737, RFC 3849) but for the
/// metadata address, and exist on the scene's own `lo` alone.
pub mod address {
    /// A host on the internet.
    pub const WEB: &str = "203.0.113.7";
    /// The same over IPv6.
    pub const WEB_IPV6: &str = "2001:db8::7";
    /// The name server of a scene with one, if the test has it answer.
    pub const RESOLVER: &str = "203.0.113.53";
    /// Somebody else's name server.
    pub const STRANGER: &str = "198.51.100.53";
    /// The metadata service of clouds.
    pub const METADATA: &str = "169.254.169.254";
}

/// What a listener does with a visitor.
#[derive(Clone, Copy, Debug)]
pub enum Visitor {
    /// Takes the connection and drops it.
    Dismissed,
    /// Gets a small HTML page.
    Browser,
    /// Is a shell: it is told to leave.
    Shell,
}

impl Scene {
    /// Listens on TCP inside the scene's network for as long as the test runs.
    pub fn listen(&self, address: &str, visitor: Visitor) {
        let listener = self.listen_tcp(address);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || receive(stream, visitor));
            }
        });
    }

    /// The listener alone: whoever has it deals with the visitors.
    pub(crate) fn listen_tcp(&self, address: &str) -> TcpListener {
        self.inside(|| {
            TcpListener::bind(address)
                .unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"))
        })
    }

    /// A UDP socket inside the scene's network; datagrams to it are taken as long as it lives.
    pub fn listen_udp(&self, address: &str) -> UdpSocket {
        self.inside(|| {
            UdpSocket::bind(address)
                .unwrap_or_else(|error| panic!("cannot bind {address}: {error}"))
        })
    }

    /// Runs something in the scene's network namespace. A socket stays in the namespace it was made in.
    fn inside<T: Send>(&self, bind: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.anchor_pid()))
            .expect("the anchor has a network namespace");
        // A thread of its own: setns(2) moves just the calling thread, and this one ends right after.
        thread::scope(|scope| {
            let made = scope.spawn(|| {
                // SAFETY: setns(2) takes a file descriptor, which lives, and touches no memory.
                let done = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
                assert!(done == 0, "setns: {}", std::io::Error::last_os_error());
                bind()
            });
            made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

const PAGE: &str =
    "<html><head><title>Notes</title></head><body><p>Nothing to see here.</p></body></html>";

/// What goes wrong here is the visitor's leaving, which is as good an end as any.
fn receive(mut stream: TcpStream, visitor: Visitor) {
    match visitor {
        Visitor::Dismissed => {}
        Visitor::Shell => {
            let _ = stream.write_all(b"exit\n");
            // Until it has left: a connection reset would take the order with it.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
        Visitor::Browser => {
            let head = BufReader::new(&stream).lines().map_while(Result::ok);
            let path = head.take_while(|line| !line.is_empty()).next().unwrap_or_default();
            let (status, body) =
                if path.contains("robots.txt") { ("404 Not Found", "") } else { ("200 OK", PAGE) };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    }
}
