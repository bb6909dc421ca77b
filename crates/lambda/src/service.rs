//! The service as one value: all of its state, its start, and its door for requests.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lambic_front::metrics::{Counter, Metrics};
use lambic_front::{BoxFuture, Call, CredentialTable, Front, InternalRoute, Service, serve};
use lambic_model_lambda::{Op, Routed, route};
use lambic_rt::{Rt, TaskKind};
use lambic_sandbox::Sandboxes;
use lambic_store::{Store, StoreError, Swept};
use lambic_wire::{Error, Request, Response};

use crate::catalog::Catalog;
use crate::code::link::CodeLinks;
use crate::code::packages::Packages;
use crate::dispatch::dispatch;
use crate::invoke::networks::Networks;
use crate::invoke::product::{FrontApi, SandboxLauncher, TableSessions};
use crate::invoke::streamed::StreamedAnswer;
use crate::invoke::templates::{SnapshotFault, Wanted};
use crate::invoke::vpcs::Vpcs;
use crate::invoke::{Answer, Invocation, InvokeConfig, Invoker, Provision};
use crate::keys::Keys;
use crate::limits::{INVOKE_REQUEST_BYTES_MAX, PACKAGE_REQUEST_BYTES_MAX, REQUEST_BYTES_MAX};
use crate::ops;
use crate::rollback::{self, RollbackConfig};
use crate::runtimes::clients::Clients;
use crate::runtimes::packs::{Packs, PacksConfig};
use crate::state::code_link_secret::CodeLinkSecret;
use crate::state::function::FunctionRecord;
use crate::state::runtime_id::AllowRetired;
use crate::state::version::Version;
use crate::tasks::{mappings, provision, settle, snapshots, sweep};
use crate::urls::UrlBase;

/// How the service behaves.
#[derive(Clone, Debug, Default)]
pub struct LambdaConfig {
    /// Functions and their packages.
    pub control: ControlConfig,
    /// Environments and concurrency.
    pub invoke: InvokeConfig,
    /// Interpreters of this machine.
    pub packs: PacksConfig,
}

/// How the control plane behaves.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// Between the acknowledgement of a creation or an update and its coming into force. Long enough
    /// to be seen: tools look for `Pending` and `InProgress` right after the call.
    pub settle_after: Duration,
    /// Between two rounds of removing packages that nobody refers to.
    pub sweep_every: Duration,
    /// Concurrent invokes of one account, as GetAccountSettings tells them. [`Lambda::start`] takes
    /// it from the invoke path's configuration, which is what enforces it.
    pub concurrency_max: u32,
    /// Where the URLs of functions are.
    pub url_base: UrlBase,
    /// When an alias loses its second version.
    pub rollback: RollbackConfig,
    /// Runtimes that functions may have though AWS has retired them.
    pub allow_retired: AllowRetired,
    /// Keys that functions' variables may be encrypted under. [`Lambda::start`] takes them from the
    /// invoke path's configuration, which decrypts with them.
    pub keys: Arc<Keys>,
    /// ARNs of the access points that functions may have; the sandbox knows their folders.
    pub access_points: BTreeSet<String>,
    /// Subnets and security groups; as `keys`, the invoke path's.
    pub vpcs: Arc<Vpcs>,
    /// Functions that are in a network by their names; as `keys`, the invoke path's.
    pub networks: Networks,
}

impl Default for ControlConfig {
    fn default() -> ControlConfig {
        ControlConfig {
            settle_after: Duration::from_secs(1),
            sweep_every: Duration::from_secs(60),
            concurrency_max: InvokeConfig::default().concurrency_max,
            url_base: UrlBase::local(4_566),
            rollback: RollbackConfig::default(),
            allow_retired: AllowRetired::default(),
            keys: Arc::default(),
            access_points: BTreeSet::new(),
            vpcs: Arc::default(),
            networks: Networks::default(),
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

    /// Runs one invocation whose answer comes piece by piece; ready when it begins.
    fn invoke_streamed<'a>(
        &'a self,
        version: Arc<Version>,
        invocation: Invocation,
    ) -> BoxFuture<'a, Result<StreamedAnswer, Error>>;

    /// The function has changed to this (`None`: it is deleted): what is no longer to be run, and
    /// how much of it may run at once.
    fn follow(&self, function_arn: &str, now: Option<&FunctionRecord>);

    /// So many environments of this version are to be there before anybody asks for them.
    fn provision(&self, version: &Arc<Version>, count: u32);

    /// How far that is.
    fn provisioned(&self, version: &Arc<Version>) -> Provision;

    /// Whether there can be snapshots of initialized functions.
    fn has_snapshots(&self) -> bool {
        false
    }

    /// Initializes this version and takes its snapshot, for the first time.
    fn take_snapshot<'a>(
        &'a self,
        _version: &'a Arc<Version>,
    ) -> BoxFuture<'a, Result<(), SnapshotFault>> {
        let reason = "there are no snapshots here".to_owned();
        Box::pin(std::future::ready(Err(SnapshotFault::Platform(reason))))
    }

    /// The snapshots of these versions, and of no others, are to be there from now on.
    fn keep_snapshots(&self, _wanted: Vec<Wanted>) {}
}

impl Runner for Invoker {
    fn invoke<'a>(
        &'a self,
        version: Arc<Version>,
        invocation: Invocation,
    ) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(Invoker::invoke(self, version, invocation))
    }

    fn invoke_streamed<'a>(
        &'a self,
        version: Arc<Version>,
        invocation: Invocation,
    ) -> BoxFuture<'a, Result<StreamedAnswer, Error>> {
        Box::pin(Invoker::invoke_streamed(self, version, invocation))
    }

    fn follow(&self, function_arn: &str, now: Option<&FunctionRecord>) {
        Invoker::follow(self, function_arn, now);
    }

    fn provision(&self, version: &Arc<Version>, count: u32) {
        Invoker::provision(self, version, count);
    }

    fn provisioned(&self, version: &Arc<Version>) -> Provision {
        Invoker::provisioned(self, version)
    }

    fn has_snapshots(&self) -> bool {
        Invoker::has_snapshots(self)
    }

    fn take_snapshot<'a>(
        &'a self,
        version: &'a Arc<Version>,
    ) -> BoxFuture<'a, Result<(), SnapshotFault>> {
        Box::pin(Invoker::take_snapshot(self, version))
    }

    fn keep_snapshots(&self, wanted: Vec<Wanted>) {
        Invoker::keep_snapshots(self, wanted);
    }
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

/// What operations refuse, or let pass with a warning, and an operator wants to know of.
pub(crate) struct Counts {
    /// AWS's `RecursiveInvocationsDropped`.
    pub(crate) recursions_stopped: Counter,
    /// AWS's `SignatureValidationErrors`.
    pub(crate) signatures_doubted: Counter,
}

impl Counts {
    fn new(metrics: &Metrics) -> Counts {
        let counter = |name, help| metrics.counter(name, help, &[]);
        Counts {
            recursions_stopped: counter(
                "lambic_recursive_invocations_dropped_total",
                "Invokes refused because the function is part of a recursive loop.",
            ),
            signatures_doubted: counter(
                "lambic_signature_validation_errors_total",
                "Packages and layers that their function's code signing configuration does not \
                 accept, whether they were refused or deployed with a warning.",
            ),
        }
    }
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
    /// What `/metrics` shows of operations.
    pub(crate) counts: Counts,
    /// The invoke path, as operations see it.
    pub(crate) runner: Arc<dyn Runner>,
    /// Held by whoever divides the account's concurrency among its functions.
    pub(crate) dividing: tokio::sync::Mutex<()>,
    /// The invoke path itself; absent in tests of operations.
    invoker: Option<Invoker>,
}

impl Lambda {
    /// The whole service: reads what is stored, starts the invoke path and the background tasks.
    /// What was acknowledged before a crash and is not in force yet will be.
    ///
    /// # Errors
    /// When what is stored cannot be read, or the runtime clients cannot be written.
    pub async fn start(
        config: LambdaConfig,
        rt: Rt,
        store: Store,
        sandboxes: Sandboxes,
        credentials: Arc<CredentialTable>,
    ) -> Result<Arc<Lambda>, StartError> {
        let dir = store.dir().join("runtimes");
        let clients = rt.blocking("install clients", move || Clients::install(&dir)).await?;
        let LambdaConfig { control, invoke, packs } = config;
        let control = ControlConfig {
            concurrency_max: invoke.concurrency_max,
            keys: invoke.keys.clone(),
            vpcs: invoke.vpcs.clone(),
            networks: invoke.networks.clone(),
            ..control
        };
        let launcher = SandboxLauncher::new(sandboxes, &invoke);
        let packs = Arc::new(Packs::new(packs, clients, rt.clone()));
        let sessions = Arc::new(TableSessions(credentials));
        let invoker = Invoker::start(invoke, rt.clone(), Arc::new(launcher), packs, sessions);
        invoker.set_store(store.clone());
        let runner = Arc::new(invoker.clone());
        let mut lambda = Lambda::new(control, rt.clone(), store, runner).await?;
        let (catalog, store) = (&lambda.catalog, &lambda.store);
        if let Some(observer) = rollback::observer(lambda.config.rollback, catalog, store, &rt) {
            invoker.set_observer(observer);
        }
        lambda.invoker = Some(invoker);
        lambda.spawn_tasks(&rt);
        Ok(Arc::new(lambda))
    }

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
        let following = runner.clone();
        let on_change =
            Arc::new(move |arn: &str, now: Option<&FunctionRecord>| following.follow(arn, now));
        let catalog = Catalog::start(store.clone(), rt.clone(), on_change).await?;
        Ok(Lambda {
            config,
            packages: Packages::new(store.clone(), rt.clone()),
            links: Arc::new(CodeLinks::new(secret, store.clone(), rt)),
            store,
            catalog,
            counts: Counts::new(Metrics::process()),
            runner,
            dividing: tokio::sync::Mutex::default(),
            invoker: None,
        })
    }

    /// Starts the background tasks. They end at shutdown.
    fn spawn_tasks(&self, rt: &Rt) {
        let settling = settle::run(self.catalog.clone(), self.store.clone(), rt.clone());
        rt.spawn("settle functions", TaskKind::Essential, settling).detach();
        let provisioning = provision::run(self.catalog.clone(), self.runner.clone(), rt.clone());
        rt.spawn("provision environments", TaskKind::Essential, provisioning).detach();
        let (store, runner) = (self.store.clone(), self.runner.clone());
        let snapshots = snapshots::run(self.catalog.clone(), store, runner, rt.clone());
        rt.spawn("take snapshots", TaskKind::Essential, snapshots).detach();
        let sweeping = sweep::run(self.store.clone(), rt.clone(), self.config.sweep_every);
        rt.spawn("sweep packages", TaskKind::Essential, sweeping).detach();
        let removing = mappings::run(self.store.clone(), rt.clone(), self.config.sweep_every);
        rt.spawn("remove event source mappings", TaskKind::Essential, removing).detach();
    }

    /// Connections to the AWS endpoint inside environments will be served by `front`. Called once,
    /// before the first invoke.
    pub fn set_api_front(&self, front: Arc<Front>) {
        if let Some(invoker) = &self.invoker {
            invoker.set_api_front(Arc::new(FrontApi(front)));
        }
    }

    /// Waits until no invocation is at work, at most for `limit`, then ends all environments.
    /// Whether all work had ended.
    pub async fn drain(&self, limit: Duration) -> bool {
        match &self.invoker {
            Some(invoker) => invoker.drain(limit).await,
            None => true,
        }
    }

    /// The invoke path, for its figures; absent in tests of operations.
    pub fn invoker(&self) -> Option<&Invoker> {
        self.invoker.as_ref()
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
            Routed::Op(Op::Invoke | Op::InvokeWithResponseStream, _) => Some("InvokeFunction"),
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
                // In boxes of their own, so that an invoke does not carry the room for all the others.
                Routed::Op(Op::Invoke, labels) => {
                    Box::pin(serve::<ops::Invoke>(&call.cx(self), request, labels)).await
                }
                Routed::Op(op, labels) => {
                    Box::pin(dispatch(&call.cx(self), op, request, labels)).await
                }
                Routed::MethodNotAllowed => {
                    let text = format!("{} is not allowed for this path.", request.method);
                    Err(Error::new("MethodNotAllowedException", 405, text))
                }
                Routed::Unknown => Err(Error::new("UnknownOperationException", 404, "")),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ops::testing::{Echo, Harness};

    async fn open(dir: &Path, rt: &Rt) -> (Harness, Store) {
        let store = Store::open(dir, rt.clone()).await.unwrap();
        let config = ControlConfig { settle_after: Duration::ZERO, ..ControlConfig::default() };
        let lambda = Lambda::new(config, rt.clone(), store.clone(), Arc::new(Echo::default()))
            .await
            .unwrap();
        (Harness::of(lambda, rt.clone()), store)
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_a_restart_and_is_finished() {
        let temp = tempfile::tempdir().unwrap();
        let rt = Rt::real();
        let (harness, store) = open(temp.path(), &rt).await;
        harness.post("/2015-03-31/functions", &Harness::creation("f")).await;
        let link = harness.get("/2015-03-31/functions/f").await.json()["Code"]["Location"].clone();
        store.close().await;
        drop(harness);

        let (harness, _store) = open(temp.path(), &rt).await;
        let path = "/2015-03-31/functions/f/configuration";
        assert_eq!(harness.get(path).await.json()["State"], "Pending");
        harness.settle().await;
        assert_eq!(harness.get(path).await.json()["State"], "Active");
        let function = harness.lambda.catalog.find("000000000000", "us-east-1", "f").unwrap();
        assert!(function.latest.bundle_path.join("main.py").exists());
        // A link that was given out before is still good.
        harness.download(link.as_str().unwrap()).await;
    }

    #[tokio::test]
    async fn paths_and_their_limits() {
        let lambda = Harness::new().await.lambda;
        let max = |method: http::Method, path: &str| lambda.body_bytes_max(&method, path);
        let functions = "/2015-03-31/functions";
        assert_eq!(max(http::Method::POST, functions), 70_167_211);
        let invoke = format!("{functions}/f/invocations");
        assert_eq!(max(http::Method::POST, &invoke), INVOKE_REQUEST_BYTES_MAX);
        assert_eq!(max(http::Method::GET, functions), REQUEST_BYTES_MAX);
        let name = |path: &str| lambda.operation_name(&http::Method::POST, path, "");
        assert_eq!(name(&invoke), Some("InvokeFunction"));
        assert_eq!(name("/nowhere"), None);
        assert!(lambda.owns_path(&http::Method::GET, "/2016-08-19/account-settings/"));
        assert!(!lambda.owns_path(&http::Method::GET, "/bucket/key"));
    }
}
