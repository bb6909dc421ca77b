//! The front as one value: all of its state.

use std::sync::Arc;

use lambic_rt::{Instant, Rt};

use crate::budget::{Budget, Slots};
use crate::config::FrontConfig;
use crate::credentials::CredentialTable;
use crate::internal::InternalRoute;
use crate::metrics::{Counter, Metrics};
use crate::service::Service;
use crate::sites::Sites;

/// The HTTP front. Made once, shared in an `Arc`.
pub struct Front {
    /// What it was told.
    pub(crate) config: FrontConfig,
    /// Time, randomness, tasks, the signal to stop.
    pub(crate) rt: Rt,
    /// All known access keys.
    pub(crate) credentials: Arc<CredentialTable>,
    /// The services, in the order in which unsigned requests are offered to them.
    pub(crate) services: Vec<Arc<dyn Service>>,
    /// The internal routes beside health and metrics.
    pub(crate) internal: Vec<Arc<dyn InternalRoute>>,
    /// What is told apart by its host and is none of the services' API.
    pub(crate) sites: Vec<Arc<dyn Sites>>,
    /// What is open and running now.
    pub(crate) load: Load,
    /// What was turned away.
    pub(crate) refused: Refused,
    /// When it was made; health tells the time since.
    pub(crate) started: Instant,
}

/// What is open and running now. Each is bounded by a limit.
pub(crate) struct Load {
    /// Connections from outside.
    pub(crate) remote_connections: Arc<Slots>,
    /// Connections from execution environments.
    pub(crate) environment_connections: Arc<Slots>,
    /// Connections that are being told that there are too many.
    pub(crate) excess_connections: Arc<Slots>,
    /// Requests from their headers to their answer, with those whose client has gone.
    pub(crate) requests: Arc<Slots>,
    /// Bytes of bodies in memory.
    pub(crate) budget: Arc<Budget>,
}

/// Counts what was turned away, by reason.
pub(crate) struct Refused {
    pub(crate) connection: Counter,
    pub(crate) busy: Counter,
    pub(crate) browser: Counter,
    pub(crate) too_large: Counter,
    pub(crate) broken_body: Counter,
    pub(crate) unauthenticated: Counter,
}

/// Connections that are told about the limit at the same time; yet more are closed without a word.
const EXCESS_CONNECTIONS_MAX: usize = 128;

impl Front {
    /// A front that serves these services. `internal` are routes beside `/_lambic/health` and
    /// `/metrics`; `sites` are asked first, by the request's host.
    ///
    /// # Panics
    /// When an internal route's prefix does not begin with `/_lambic/`.
    pub fn new(
        config: FrontConfig,
        rt: Rt,
        credentials: Arc<CredentialTable>,
        services: Vec<Arc<dyn Service>>,
        internal: Vec<Arc<dyn InternalRoute>>,
        sites: Vec<Arc<dyn Sites>>,
    ) -> Arc<Front> {
        for route in &internal {
            let prefix = route.prefix();
            assert!(prefix.starts_with("/_lambic/"), "{prefix} would hide a service's paths");
        }
        let limits = &config.limits;
        let load = Load {
            remote_connections: Slots::new(limits.connections_max),
            environment_connections: Slots::new(limits.environment_connections_max),
            excess_connections: Slots::new(EXCESS_CONNECTIONS_MAX),
            requests: Slots::new(limits.requests_in_flight_max),
            budget: Budget::new(limits.body_bytes_in_flight_max),
        };
        let refused = Refused::new(&config.metrics);
        let started = rt.instant();
        Arc::new(Front {
            config,
            rt,
            credentials,
            services,
            internal,
            sites,
            load,
            refused,
            started,
        })
    }

    /// Where this front counts.
    pub fn metrics(&self) -> &Metrics {
        &self.config.metrics
    }

    /// The access keys that this front knows.
    pub fn credentials(&self) -> &Arc<CredentialTable> {
        &self.credentials
    }

    /// Requests being served now, with those whose client has gone.
    pub fn requests_in_flight(&self) -> usize {
        self.load.requests.used()
    }
}

impl Refused {
    fn new(metrics: &Metrics) -> Refused {
        let counter = |reason| {
            let help = "Connections and requests turned away before any operation, by reason.";
            metrics.counter("lambic_front_refused_total", help, &[("reason", reason)])
        };
        Refused {
            connection: counter("too_many_connections"),
            busy: counter("busy"),
            browser: counter("browser"),
            too_large: counter("too_large"),
            broken_body: counter("broken_body"),
            unauthenticated: counter("unauthenticated"),
        }
    }
}
