//! What the front can be told, and every limit it keeps.

use crate::authenticate::AuthMode;
use crate::metrics::Metrics;

/// How the front behaves. [`FrontConfig::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct FrontConfig {
    /// Whether signatures are demanded.
    pub auth: AuthMode,
    /// The region of requests that carry none (unsigned ones).
    pub region_default: String,
    /// `http://host:port` told to requests without a `Host` header (HTTP/1.0).
    pub endpoint_default: String,
    /// Host names, beside IP addresses, `localhost` and `*.localhost`, under which development mode
    /// may be addressed: `lambic.test` for exactly this name, `.example.test` for it and all names
    /// under it. Any other name is refused, because a hostile web page can make its own name point
    /// to the loopback address (DNS rebinding).
    pub hosts_allowed: Vec<String>,
    /// Web origins (`http://localhost:3000`) whose pages may call the API in development mode.
    pub origins_allowed: Vec<String>,
    /// All limits.
    pub limits: Limits,
    /// Where requests and operations are counted.
    pub metrics: Metrics,
    /// The version told by `/_lambic/health`.
    pub version: String,
}

impl FrontConfig {
    /// The defaults with this way of authentication.
    pub fn new(auth: AuthMode) -> FrontConfig {
        FrontConfig {
            auth,
            region_default: "us-east-1".to_owned(),
            endpoint_default: "http://127.0.0.1:4566".to_owned(),
            hosts_allowed: Vec::new(),
            origins_allowed: Vec::new(),
            limits: Limits::default(),
            metrics: Metrics::process().clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Every limit of the front, each with its unit.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections from outside that are open at the same time; more are answered 429 and closed.
    pub connections_max: usize,
    /// Connections from all execution environments together. Who accepts them limits those of each.
    pub environment_connections_max: usize,
    /// Requests being served at the same time, with those whose client has gone.
    pub requests_in_flight_max: usize,
    /// Bytes of one request's line and headers; more are answered 431. At least 8,192.
    /// (The number of header lines is limited to 100.)
    pub header_bytes_max: usize,
    /// Time from the first byte of a request to the end of its headers.
    pub header_read_ms_max: u64,
    /// Time between two requests of one connection.
    pub idle_ms_max: u64,
    /// Time without a byte while a body is being read; then 408.
    pub body_stall_ms_max: u64,
    /// Time for the whole of a body; then 408.
    pub body_read_ms_max: u64,
    /// Time in which a client that takes no bytes must take some; then its connection is closed.
    pub write_stall_ms_max: u64,
    /// Bytes of all request and reply bodies in memory at one time; more are answered 429.
    /// Execution environments together may use half of it.
    pub body_bytes_in_flight_max: usize,
    /// Bytes of a refused body that are read and thrown away so that its client sees the refusal
    /// and not a broken connection.
    pub discard_bytes_max: usize,
    /// Time that requests in flight have to finish at shutdown.
    pub drain_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 4_096,
            environment_connections_max: 4_096,
            requests_in_flight_max: 8_192,
            header_bytes_max: 64 * 1_024,
            header_read_ms_max: 30_000,
            idle_ms_max: 300_000,
            body_stall_ms_max: 30_000,
            body_read_ms_max: 600_000,
            write_stall_ms_max: 60_000,
            body_bytes_in_flight_max: 512 * 1_024 * 1_024,
            discard_bytes_max: 256 * 1_024 * 1_024,
            drain_ms_max: 30_000,
        }
    }
}
