//! The service as one value: all of its state, its start, and its door for requests.

use std::sync::Arc;
use std::time::Duration;

use lambic_front::{BoxFuture, Call, InternalRoute, Service};
use lambic_model_lambda::{Op, Routed, route};
use lambic_rt::{Rt, TaskKind};
use lambic_store::{Store, StoreError, Swept};
use lambic_wire::{Error, Request, Response};

use crate::catalog::Catalog;
use crate::code::link::CodeLinks;
use crate::code::packages::Packages;
use crate::dispatch::dispatch;
use crate::invoke::{Answer, Invocation};
use crate::limits::{
    CONCURRENT_EXECUTIONS, INVOKE_REQUEST_BYTES_MAX, PACKAGE_REQUEST_BYTES_MAX, REQUEST_BYTES_MAX,
};
use crate::state::code_link_secret::CodeLinkSecret;
use crate::state::version::Version;
use crate::tasks::{settle, sweep};

/// How the control plane behaves.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// Between the acknowledgement of a creation or an update and its coming into force. Long enough
    /// to be seen: tools look for `Pending` and `InProgress` right after the call.
    pub settle_after: Duration,
    /// Between two rounds of removing packages that nobody refers to.
    pub sweep_every: Duration,
    /// Concurrent invokes of one account in one region, as GetAccountSettings tells them.
    pub concurrency_max: i32,
}

impl Default for ControlConfig {
    fn default() -> ControlConfig {
        ControlConfig {
            settle_after: Duration::from_secs(1),
            sweep_every: Duration::from_secs(60),
            concurrency_max: CONCURRENT_EXECUTIONS,
        }
    }
}

/// Runs functions: the invoke path in the product, a fake in tests of operations.
pub trait Runner: Send + Sync + 'static {
    /// Runs one invocation of this snapshot.
    fn invoke<'a>(
        &'a self,
        version: Arc<Version>,
        invocation: Invocation,
    ) -> BoxFuture<'a, Result<Answer, Error>>;

    /// Snapshots of this function other than that of generation `current` are not run any more
    /// (`None`: the function is deleted).
    fn retire(&self, function_arn: &str, current: Option<u64>);
}

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What is stored could not be read.
    #[error("the stored functions cannot be read: {0}")]
    Catalog(#[from] StoreError),
    /// The secret for code links could not be read or made.
    #[error("the secret for code links cannot be stored: {0}")]
    Secret(String),
    /// The runtime clients could not be put where environments find them.
    #[error("the runtime clients cannot be installed: {0}")]
    Clients(#[from] std::io::Error),
}

/// AWS Lambda.
pub struct Lambda {
    /// How the control plane behaves.
    pub(crate) config: ControlConfig,
    /// All durable state.
    pub(crate) store: Store,
    /// All functions, in memory.
    pub(crate) catalog: Catalog,
    /// The door for deployment packages.
    pub(crate) packages: Packages,
    /// Links for downloading them.
    pub(crate) links: Arc<CodeLinks>,
    /// The invoke path.
    pub(crate) runner: Arc<dyn Runner>,
}

impl Lambda {
    /// The service without its background tasks; `runner` runs its functions.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub async fn new(
        config: ControlConfig,
        rt: Rt,
        store: Store,
        runner: Arc<dyn Runner>,
    ) -> Result<Lambda, StartError> {
        let secret = CodeLinkSecret::load(&store, &rt).await.map_err(StartError::Secret)?;
        let retiring = runner.clone();
        let on_retire =
            Arc::new(move |arn: &str, current: Option<u64>| retiring.retire(arn, current));
        let catalog = Catalog::start(store.clone(), rt.clone(), on_retire).await?;
        Ok(Lambda {
            config,
            packages: Packages::new(store.clone(), rt.clone()),
            links: Arc::new(CodeLinks::new(secret, store.clone(), rt)),
            store,
            catalog,
            runner,
        })
    }

    /// Starts the background tasks. They end at shutdown.
    pub fn spawn_tasks(&self, rt: &Rt) {
        let settling = settle::run(self.catalog.clone(), self.store.clone(), rt.clone());
        rt.spawn("settle functions", TaskKind::Essential, settling).detach();
        let sweeping = sweep::run(self.store.clone(), rt.clone(), self.config.sweep_every);
        rt.spawn("sweep packages", TaskKind::Essential, sweeping).detach();
    }

    /// All functions, in memory.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The internal route by which packages are downloaded; the front is given it.
    pub fn code_route(&self) -> Arc<dyn InternalRoute> {
        self.links.clone()
    }

    /// One round of removing packages that nobody refers to.
    ///
    /// # Errors
    /// The store's, in words.
    pub async fn sweep(&self) -> Result<Swept, String> {
        sweep::sweep(&self.store).await
    }
}

impl Service for Lambda {
    fn signing_name(&self) -> &'static str {
        "lambda"
    }

    fn body_bytes_max(&self, method: &http::Method, path: &str) -> usize {
        match route(method, path, "") {
            Routed::Op(
                Op::CreateFunction | Op::UpdateFunctionCode | Op::PublishLayerVersion,
                _,
            ) => PACKAGE_REQUEST_BYTES_MAX,
            Routed::Op(Op::Invoke | Op::InvokeAsync | Op::InvokeWithResponseStream, _) => {
                INVOKE_REQUEST_BYTES_MAX
            }
            _ => REQUEST_BYTES_MAX,
        }
    }

    fn operation_name(&self, method: &http::Method, path: &str, query: &str) -> Option<&str> {
        match route(method, path, query) {
            // AWS names the permission here, not the operation.
            Routed::Op(Op::Invoke, _) => Some("InvokeFunction"),
            Routed::Op(op, _) => Some(op.name()),
            Routed::MethodNotAllowed | Routed::Unknown => None,
        }
    }

    fn owns_path(&self, _method: &http::Method, path: &str) -> bool {
        // Every path of this API begins with a date, such as /2015-03-31/functions.
        let date = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    }

    fn handle<'a>(
        &'a self,
        call: &'a Call,
        request: Request,
    ) -> BoxFuture<'a, Result<Response, Error>> {
        Box::pin(async move {
            match route(&request.method, &request.path, &request.query) {
                Routed::Op(op, labels) => dispatch(&call.cx(self), op, request, labels).await,
                Routed::MethodNotAllowed => {
                    let text = format!("{} is not allowed for this path.", request.method);
                    Err(Error::new("MethodNotAllowedException", 405, text))
                }
                Routed::Unknown => Err(Error::new("UnknownOperationException", 404, "")),
            }
        })
    }
}
