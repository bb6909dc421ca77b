//! The product's side of the seams: environments from the sandbox, credentials in the front's
//! table, the AWS endpoint inside environments served by the front.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use lambic_front::{CredentialTable, EnvironmentOrigin, Front, Origin, Principal};
use lambic_sandbox::{
    Bind, Event, Events, LaunchError, Mounted, ProgramEnd, Role, Sandbox, Sandboxes, Spec,
    StartFailure,
};
use lambic_wire::sigv4::Credentials;
use tokio::net::TcpListener;

use super::InvokeConfig;
use super::fault::Exit;
use super::launcher::{
    Accept, ApiFront, Control, Ended, Environment, Extensions, Happening, LaunchFault, Launcher,
    Output, Plan, Prepared, Session, Sessions, Stop, Tell, TemplateRole,
};
use super::spares::{SPARE_MEMORY_MB, SPARE_TMP_MB};
use crate::runtime_api::becoming;
use crate::runtime_api::connection::BoxIo;
use crate::state::file_system::FileSystemUse;
use crate::state::version::Version;

/// Environments from the sandbox.
pub struct SandboxLauncher {
    sandboxes: Sandboxes,
    pids_max: u32,
    files_max: u32,
    zygotes: bool,
}

impl SandboxLauncher {
    /// With these limits.
    pub fn new(sandboxes: Sandboxes, config: &InvokeConfig) -> SandboxLauncher {
        let InvokeConfig { pids_max, files_max, zygotes, .. } = *config;
        SandboxLauncher { sandboxes, pids_max, files_max, zygotes }
    }

    fn spec(&self, plan: Plan) -> Spec {
        let bind = |(source, target)| Bind { source, target };
        Spec {
            name: plan.name,
            memory_mb: plan.memory_mb,
            tmp_mb: plan.tmp_mb,
            pids_max: self.pids_max,
            files_max: self.files_max,
            binds: plan.binds.into_iter().map(bind).collect(),
            argv: plan.argv,
            env: plan.env,
            cwd: plan.cwd,
            network: plan.network,
            egress: plan.egress,
            file_system: plan.file_system.map(mounted),
            log_pipe: plan.log_frames,
            extensions: plan.extensions.map(extensions),
        }
    }

    /// Limits come with the function; what stands here for them is never used.
    fn spec_of_spare(&self, prepared: &Prepared) -> Spec {
        self.spec(Plan {
            name: "spare".to_owned(),
            memory_mb: SPARE_MEMORY_MB,
            tmp_mb: SPARE_TMP_MB,
            binds: prepared.binds.clone(),
            argv: prepared.argv.clone(),
            env: prepared.env.clone(),
            cwd: prepared.cwd.clone(),
            network: None,
            egress: None,
            file_system: None,
            log_frames: false,
            extensions: None,
            spare: None,
            second_spare: None,
            template: None,
        })
    }
}

impl Launcher for SandboxLauncher {
    fn launch(&self, plan: Plan) -> BoxFuture<'_, Result<Environment, LaunchFault>> {
        async move {
            let (kind, second, role) = (plan.spare, plan.second_spare, plan.template);
            let spec = self.spec(plan);
            let launched = match (role, kind) {
                (Some(role), _) => self.sandboxes.launch_as(&spec, sandbox_role(role)).await,
                (None, Some(kind)) => self.sandboxes.launch_from_spare(&spec, kind, second).await,
                (None, None) => self.sandboxes.launch(&spec).await,
            };
            let sandbox = launched.map_err(fault)?;
            let becomes = sandbox.is_from_spare.then(|| becoming::document(&spec.env, &spec.cwd));
            environment(sandbox, becomes)
        }
        .boxed()
    }

    fn has_spares(&self) -> bool {
        self.sandboxes.has_spares()
    }

    fn has_templates(&self) -> bool {
        self.sandboxes.has_templates()
    }

    fn keep_spares(&self, kind: u64, prepared: &Prepared, count: u32) -> bool {
        let spec = self.spec_of_spare(prepared);
        let kept = match prepared.forks && self.zygotes {
            true => self.sandboxes.keep_copied_spares(kind, &spec, count),
            false => self.sandboxes.keep_spares(kind, &spec, count),
        };
        kept.inspect_err(|error| tracing::warn!(%error, "spares could not be asked for")).is_ok()
    }

    fn has_ready(&self) -> bool {
        self.sandboxes.has_ready()
    }

    fn keep_ready(&self, more: u32) -> bool {
        let kept = self.sandboxes.keep_ready(more);
        kept.inspect_err(|error| tracing::warn!(%error, "the sandbox could not be told")).is_ok()
    }

    fn watch_waiting(&self, tell: Tell) {
        self.sandboxes.watch_waiting(tell);
    }
}

/// Folders go by the ARNs of their access points.
fn mounted(used: FileSystemUse) -> Mounted {
    Mounted { name: used.arn, target: used.local_mount_path }
}

fn fault(error: LaunchError) -> LaunchFault {
    match error {
        LaunchError::FileSystem(reason) => LaunchFault::FileSystem(reason),
        LaunchError::Template(reason) => LaunchFault::Template(reason),
        error => LaunchFault::Sandbox(error.to_string()),
    }
}

fn sandbox_role(role: TemplateRole) -> Role {
    match role {
        TemplateRole::Becomes(id) => Role::Becomes(id),
        TemplateRole::From(id) => Role::From(id),
    }
}

/// As AWS starts them: nowhere in particular.
fn extensions(plan: Extensions) -> lambic_sandbox::Extensions {
    let cwd = "/".to_owned();
    lambic_sandbox::Extensions { programs: plan.programs, env: plan.env, cwd }
}

fn environment(mut sandbox: Sandbox, becomes: Option<Bytes>) -> Result<Environment, LaunchFault> {
    let missing = |what: &str| LaunchFault::Sandbox(format!("the sandbox came without its {what}"));
    let events = sandbox.take_events().ok_or_else(|| missing("events"))?;
    let output = sandbox.output.take().ok_or_else(|| missing("output"))?;
    let log = sandbox.log.take();
    let control = sandbox.control();
    Ok(Environment {
        becomes,
        inherited: sandbox.runtime_stream.take().map(|stream| Box::pin(stream) as BoxIo),
        runtime: Box::new(Listener(sandbox.runtime_listener)),
        api: Box::new(Listener(sandbox.api_listener)),
        output: Box::new(Printed(output)),
        log_frames: log.map(|log| Box::new(Printed(log)) as Box<dyn Output>),
        extensions_output: sandbox
            .extensions_output
            .take()
            .map(|output| Box::new(Printed(output)) as Box<dyn Output>),
        happenings: happenings(events),
        control: Arc::new(Power(control)),
    })
}

fn ended(exit: lambic_sandbox::Exit) -> Ended {
    match exit.start_failure {
        Some(StartFailure::Exec { errno }) => Ended::NotExecuted(errno_text(errno)),
        Some(StartFailure::Setup(step)) => Ended::NotMade(step),
        None => Ended::Exited(Exit { code: exit.code, signal: exit.signal, oom: exit.oom }),
    }
}

fn happenings(events: Events) -> BoxStream<'static, Happening> {
    stream::unfold(events, |mut events| async move {
        let happening = match events.next().await {
            Event::ProgramEnded { program, end } => {
                Happening::ProgramEnded(program, program_ended(end))
            }
            Event::Ended(exit) => Happening::Ended(ended(exit)),
        };
        Some((happening, events))
    })
    .boxed()
}

fn program_ended(end: ProgramEnd) -> Ended {
    match end {
        ProgramEnd::Exited { code, signal } => Ended::Exited(Exit { code, signal, oom: false }),
        ProgramEnd::NotExecuted { errno } => Ended::NotExecuted(errno_text(errno)),
        ProgramEnd::NotPrepared { step } => Ended::NotMade(step),
    }
}

/// The words of Go's `syscall`, which AWS's messages have; without the number that Rust adds.
fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let plain = text.split(" (os error").next().unwrap_or_default();
    plain.to_lowercase()
}

struct Listener(TcpListener);

impl Accept for Listener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxIo>> {
        async move {
            let (stream, _) = self.0.accept().await?;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "a connection stays slower than it could be");
            }
            Ok(Box::pin(stream) as BoxIo)
        }
        .boxed()
    }
}

struct Printed(lambic_sandbox::Output);

impl Output for Printed {
    fn read<'a>(&'a mut self, buffer: &'a mut [u8]) -> BoxFuture<'a, io::Result<usize>> {
        self.0.read(buffer).boxed()
    }
}

struct Power(lambic_sandbox::Control);

impl Control for Power {
    fn kill(&self) {
        self.0.kill();
    }

    fn limit_cpu(&self, millis: u32) {
        if let Err(error) = self.0.set_cpu(Some(millis)) {
            tracing::warn!(%error, "an environment's processor share could not be set");
        }
    }

    fn set_frozen(&self, frozen: bool) {
        let done = if frozen { self.0.freeze() } else { self.0.thaw() };
        let Err(error) = done else { return };
        tracing::warn!(%error, frozen, "an environment could not be frozen or thawed");
        if !frozen {
            // Whoever gets it finds it dead, which costs less than one that never answers.
            self.0.kill();
        }
    }

    fn memory_peak_bytes(&self) -> Option<u64> {
        Some(self.0.memory_peak_bytes()).filter(|bytes| *bytes > 0)
    }

    fn go(&self) {
        if let Err(error) = self.0.go() {
            tracing::warn!(%error, "an environment's runtime could not be started");
            self.0.kill();
        }
    }

    fn stop(&self, program: usize, stop: Stop) {
        let number = match stop {
            Stop::Terminate => 15,
            Stop::Kill => 9,
        };
        if let Err(error) = self.0.signal(program, number) {
            tracing::debug!(%error, "a program of an environment could not be told to end");
        }
    }

    fn connect(&self, port: u16) -> BoxFuture<'static, io::Result<BoxIo>> {
        let control = self.0.clone();
        async move { Ok(Box::pin(control.connect(port).await?) as BoxIo) }.boxed()
    }
}

/// A function's credentials, valid in the front as long as its environment lives.
pub struct TableSessions(pub Arc<CredentialTable>);

impl Sessions for TableSessions {
    fn open(&self, session: &Session, version: &Version) {
        let role = version.role.rsplit('/').next().unwrap_or_default();
        let credentials = Credentials {
            access_key_id: session.access_key_id.clone(),
            secret_access_key: session.secret_access_key.clone(),
            session_token: Some(session.session_token.clone()),
        };
        let principal = Principal::role_session(&version.account, role, &version.function_name);
        self.0.insert(credentials, principal);
    }

    fn close(&self, access_key_id: &str) {
        self.0.remove(access_key_id);
    }
}

/// The AWS endpoint inside environments: this server itself.
pub struct FrontApi(pub Arc<Front>);

impl ApiFront for FrontApi {
    fn serve(&self, io: BoxIo, version: &Version) -> BoxFuture<'static, ()> {
        let front = self.0.clone();
        let origin = Origin::Environment(Arc::new(EnvironmentOrigin {
            name: version.function_name.clone(),
            account: version.account.clone(),
            region: version.region.clone(),
        }));
        async move { front.serve_connection(io, origin).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_errors_read_as_on_aws() {
        assert_eq!(errno_text(8), "exec format error");
        assert_eq!(errno_text(13), "permission denied");
        assert_eq!(errno_text(2), "no such file or directory");
    }
}
