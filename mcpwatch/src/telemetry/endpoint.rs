//! The HTTP endpoint: `/metrics`, `/healthz`, `/readyz`.
//!
//! A client can hold one of a few connections for a few seconds and nothing more: one request a
//! connection, a small head, a deadline on everything.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Health, Metrics};

/// Connections served at once; others wait in the listener's backlog.
const CONNECTIONS: usize = 16;
/// From accepting a connection to the last byte of its response.
const DEADLINE: Duration = Duration::from_secs(3);
/// Longest request head, in bytes: the least hyper accepts.
const HEAD_BYTES: usize = 8192;
/// Pause after a failed accept: out of descriptors is not over at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The metrics address cannot be listened on: says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address}: {reason}; {advice}")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// What the system said. It stands in the message, and would again as its source.
    pub reason: io::Error,
    /// What to do.
    pub advice: &'static str,
}

/// Listens on the address of the metrics endpoint.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|reason: io::Error| {
        let advice = match reason.kind() {
            ErrorKind::AddrInUse => {
                "another program, perhaps another mcpwatch, has it: choose another address with \
                 `--metrics ADDR`, or switch metrics off with `--metrics off`"
            }
            ErrorKind::AddrNotAvailable => {
                "no interface of this host has this address: choose one that does with \
                 `--metrics ADDR`"
            }
            ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one with \
                 `--metrics ADDR`"
            }
            _ => "choose another address with `--metrics ADDR`, or `--metrics off`",
        };
        BindError { address, reason, advice }
    })
}

/// Serves until `shutdown` is ready. The listener comes from [`bind`].
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = router(metrics, health);
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    tokio::pin!(shutdown);
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&connections).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            (permit, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(answer(stream, router.clone(), permit));
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection to the metrics endpoint failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// One request and its response.
async fn answer(stream: TcpStream, router: Router, permit: Option<OwnedSemaphorePermit>) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Slow and broken clients are their own trouble.
    let _ = tokio::time::timeout(DEADLINE, connection).await;
    drop(permit);
}

fn router(metrics: Arc<Metrics>, health: Arc<Health>) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics).with_state(metrics))
        .route("/healthz", get(show_health).with_state(Arc::clone(&health)))
        .route("/readyz", get(show_readiness).with_state(health))
        .fallback(|| async {
            (StatusCode::NOT_FOUND, "not here: there are /metrics, /healthz and /readyz\n")
        })
}

async fn show_metrics(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            let text = format!("the metrics could not be encoded: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

async fn show_health(State(health): State<Arc<Health>>) -> Response {
    let stuck = health.stuck();
    if stuck.is_empty() {
        return "alive\n".into_response();
    }
    let lines: Vec<_> = stuck
        .into_iter()
        .map(|(part, silence)| format!("{part} is stuck: silent for {} s\n", silence.as_secs()))
        .collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines.concat()).into_response()
}

async fn show_readiness(State(health): State<Arc<Health>>) -> Response {
    let missing = health.missing();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    let text: String = missing.into_iter().map(|what| what + "\n").collect();
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    struct Endpoint {
        address: SocketAddr,
        health: Arc<Health>,
        stop: Option<tokio::sync::oneshot::Sender<()>>,
        thread: Option<std::thread::JoinHandle<()>>,
    }

    impl Endpoint {
        fn start() -> Self {
            let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let address = listener.local_addr().unwrap();
            let health = Arc::new(Health::new());
            let (stop, stopped) = tokio::sync::oneshot::channel();
            let serving = Arc::clone(&health);
            let thread = std::thread::spawn(move || {
                let metrics = Arc::new(Metrics::new().unwrap());
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let shutdown = async { stopped.await.unwrap() };
                runtime.block_on(serve(listener, metrics, serving, shutdown)).unwrap();
            });
            Self { address, health, stop: Some(stop), thread: Some(thread) }
        }

        fn connect(&self) -> std::net::TcpStream {
            std::net::TcpStream::connect(self.address).unwrap()
        }

        fn get(&self, path: &str) -> String {
            let mut stream = self.connect();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        }
    }

    impl Drop for Endpoint {
        fn drop(&mut self) {
            self.stop.take().unwrap().send(()).unwrap();
            self.thread.take().unwrap().join().unwrap();
        }
    }

    #[test]
    fn each_path_answers_what_it_says() {
        let endpoint = Endpoint::start();
        let metrics = endpoint.get("/metrics");
        assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
        assert!(metrics.contains("content-type: text/plain; version=0.0.4"));
        assert!(metrics.contains("\nmcpwatch_build_info{"));
        assert!(endpoint.get("/healthz").starts_with("HTTP/1.1 200"));
        let unready = endpoint.get("/readyz");
        assert!(unready.starts_with("HTTP/1.1 503"), "{unready}");
        assert!(unready.contains("not attached yet"));
        endpoint.health.set_missing(Vec::new());
        assert!(endpoint.get("/readyz").ends_with("ready\n"));
        let lost = endpoint.get("/");
        assert!(lost.starts_with("HTTP/1.1 404") && lost.contains("/readyz"), "{lost}");
    }

    #[test]
    fn slow_and_talkative_clients_hold_nobody_up_for_long() {
        let endpoint = Endpoint::start();
        let mut talkative = endpoint.connect();
        let _ = talkative.write_all(&vec![b'x'; 4 * HEAD_BYTES]);
        let mut slow: Vec<_> = (0..CONNECTIONS).map(|_| endpoint.connect()).collect();
        for stream in &mut slow {
            stream.write_all(b"GET /metrics HT").unwrap();
        }
        let start = std::time::Instant::now();
        assert!(endpoint.get("/healthz").starts_with("HTTP/1.1 200"));
        assert!(start.elapsed() < DEADLINE + Duration::from_secs(2));
    }

    #[test]
    fn an_address_in_use_is_named_with_the_way_out() {
        let taken = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = taken.local_addr().unwrap();
        let message = bind(address).unwrap_err().to_string();
        for part in [address.to_string().as_str(), "in use", "--metrics ADDR", "--metrics off"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
