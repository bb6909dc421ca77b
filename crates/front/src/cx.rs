//! What an operation is told about the request it serves.

use std::net::SocketAddr;
use std::sync::Arc;

use lambic_rt::Rt;

use crate::credentials::Principal;
use crate::metrics::Metrics;

/// Where a connection comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A client outside, at this address.
    Remote(SocketAddr),
    /// A function inside an execution environment, over the listener in its network namespace.
    Environment(Arc<EnvironmentOrigin>),
    /// Lambic itself: one service calls another in process, or a test.
    Process,
}

/// Which execution environment a connection comes from.
#[derive(Clone, Debug)]
pub struct EnvironmentOrigin {
    /// The sandbox's name, for logs.
    pub name: String,
    /// The 12-digit account of the function that runs there. In development mode unknown
    /// credentials act as this account and no other.
    pub account: String,
    /// The region of the function that runs there; the default for unsigned requests.
    pub region: String,
}

/// One authenticated request's owned facts. [`Call::cx`] lends them to an operation.
#[derive(Clone)]
pub struct Call {
    /// The signing name of the service that is asked, for example `lambda`.
    pub service: &'static str,
    /// Who asks.
    pub principal: Arc<Principal>,
    /// The region from the request's signature, or the default.
    pub region: String,
    /// The request's id, a UUID in text form; also the `x-amzn-RequestId` of the answer.
    pub request_id: String,
    /// `http://host:port` as the client addressed us.
    pub endpoint: String,
    /// Where the request came from.
    pub origin: Origin,
    /// The request's `X-Amzn-Trace-Id`, as it came, if it has one.
    pub trace_header: Option<String>,
    /// Time, randomness, tasks.
    pub rt: Rt,
    /// Where [`crate::serve`] counts.
    pub metrics: Metrics,
}

impl Call {
    /// A call that did not come over HTTP: one service calling another in process, or a test.
    pub fn in_process(
        rt: &Rt,
        service: &'static str,
        principal: Arc<Principal>,
        region: &str,
        endpoint: &str,
    ) -> Call {
        Call {
            service,
            principal,
            region: region.to_owned(),
            request_id: rt.uuid(),
            endpoint: endpoint.to_owned(),
            origin: Origin::Process,
            trace_header: None,
            rt: rt.clone(),
            metrics: Metrics::process().clone(),
        }
    }

    /// Lends this call to the operations of `service`.
    pub fn cx<'a, S: ?Sized>(&'a self, service: &'a S) -> Cx<'a, S> {
        Cx {
            service,
            account: &self.principal.account,
            region: &self.region,
            partition: "aws",
            principal: &self.principal,
            request_id: &self.request_id,
            endpoint: &self.endpoint,
            origin: &self.origin,
            trace_header: self.trace_header.as_deref(),
            rt: &self.rt,
            call: self,
        }
    }
}

/// What an operation sees: its service's state and the request's facts. Copies freely.
pub struct Cx<'a, S: ?Sized> {
    /// The service's own state.
    pub service: &'a S,
    /// The caller's 12-digit account.
    pub account: &'a str,
    /// The region the request was signed for, for example `us-east-1`.
    pub region: &'a str,
    /// Always `aws`; the other partitions are not offered.
    pub partition: &'static str,
    /// Who asks.
    pub principal: &'a Principal,
    /// The request's id, a UUID in text form.
    pub request_id: &'a str,
    /// `http://host:port` as the client addressed us, for links in answers.
    pub endpoint: &'a str,
    /// Where the request came from.
    pub origin: &'a Origin,
    /// The request's `X-Amzn-Trace-Id`, as it came, if it has one: a stranger's text of any form.
    pub trace_header: Option<&'a str>,
    /// Time, randomness, tasks.
    pub rt: &'a Rt,
    pub(crate) call: &'a Call,
}

impl<S: ?Sized> Clone for Cx<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: ?Sized> Copy for Cx<'_, S> {}
