//! A running environment, as its worker holds it: connections are served, ends are noticed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use lambic_rt::{Rt, TaskKind};
use tokio::sync::{Semaphore, watch};

use super::fault::{Exit, Fault, extension_exit_text};
use super::launcher::{Accept, Control, Ended, Environment, Happening};
use super::record::{Attached, Outputs, Recorder};
use super::room::Room;
use super::shell::{Handle, Shell};
use crate::runtime_api::connection::{self, BoxIo, CONNECTIONS_MAX};
use crate::runtime_api::desk::Desk;
use crate::runtime_api::extensions::ShutdownReason;
use crate::runtime_api::life::Life;
use crate::telemetry::Hub;

/// Connections to the AWS endpoint that one environment may have open at a time.
const API_CONNECTIONS_MAX: usize = 128;
/// How long an answer that was written right before the process ended may take to arrive.
const LAST_WORDS_MAX: Duration = Duration::from_millis(200);
/// After a connection that could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// An environment whose runtime is at work.
pub(super) struct Running {
    runtime: Box<dyn Accept>,
    api: Box<dyn Accept>,
    happenings: BoxStream<'static, Happening>,
    pub(super) control: Arc<dyn Control>,
    pub(super) desk: Arc<Desk>,
    /// Programs beside the runtime, whether they live or not.
    pub(super) extensions: Vec<String>,
    /// Which programs have ended; the runtime is the first.
    pub(super) ended: Vec<bool>,
    ending: Arc<watch::Sender<Option<ShutdownReason>>>,
    /// Given back when this is over.
    farewell: Arc<Mutex<Option<Room>>>,
    /// What tells its extensions what happens.
    pub(super) hub: Arc<Hub>,
    pub(super) rt: Rt,
    connections: Arc<Semaphore>,
    api_connections: Arc<Semaphore>,
    /// Ends the reading of its output when it is over.
    _output: Attached,
}

/// Waits for the next connection. What fails (no descriptors, a connection that was reset at once)
/// passes, so it is tried again after a moment.
async fn accept(listener: &mut Box<dyn Accept>, rt: &Rt, what: &'static str) -> BoxIo {
    loop {
        match listener.accept().await {
            Ok(io) => return io,
            Err(error) => {
                tracing::warn!(%error, what, "an environment's connection was not accepted");
                rt.sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

impl Running {
    /// An environment that has just been launched.
    pub(super) fn begin(
        launched: Environment,
        desk: Arc<Desk>,
        extensions: Vec<String>,
        recorder: &Arc<Recorder>,
        rt: &Rt,
    ) -> Running {
        let outputs = Outputs {
            printed: launched.output,
            frames: launched.log_frames,
            extensions: launched.extensions_output,
        };
        let (attached, reading) = recorder.attach(outputs, launched.control.clone());
        rt.spawn("function output", TaskKind::Request, reading).detach();
        let running = Running {
            runtime: launched.runtime,
            api: launched.api,
            happenings: launched.happenings,
            control: launched.control,
            desk,
            ended: vec![false; 1 + extensions.len()],
            extensions,
            ending: Arc::new(watch::Sender::new(None)),
            farewell: Arc::default(),
            hub: recorder.hub().clone(),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            api_connections: Arc::new(Semaphore::new(API_CONNECTIONS_MAX)),
            rt: rt.clone(),
            _output: attached,
        };
        if let Some(io) = launched.inherited {
            running.serve_runtime(io, true);
        }
        running
    }

    /// Whether nothing of it is left.
    pub(super) fn is_over(&self) -> bool {
        self.ended.iter().all(|ended| *ended)
    }

    /// Waits until somebody tells the environment to end, and why.
    pub(super) async fn until_told(&mut self, shell: &Shell) -> Result<ShutdownReason, Happening> {
        let mut told = self.ending.subscribe();
        let told = async move { told.wait_for(Option::is_some).await.ok().and_then(|told| *told) };
        let told = self.until(shell, Box::pin(told)).await?;
        Ok(told.unwrap_or(ShutdownReason::Spindown))
    }

    pub(super) fn handle(&self, recorder: &Arc<Recorder>) -> Handle {
        Handle {
            desk: self.desk.clone(),
            recorder: recorder.clone(),
            control: self.control.clone(),
            ending: self.ending.clone(),
            farewell: self.farewell.clone(),
        }
    }

    /// Accepts connections until `what` is there, or something has ended.
    pub(super) async fn until<T>(
        &mut self,
        shell: &Shell,
        mut what: impl Future<Output = T> + Unpin,
    ) -> Result<T, Happening> {
        loop {
            tokio::select! {
                biased;
                value = &mut what => return Ok(value),
                happening = self.happenings.next() => return Err(self.note(happening)),
                io = accept(&mut self.runtime, &self.rt, "Runtime API") => {
                    self.serve_runtime(io, false);
                }
                io = accept(&mut self.api, &self.rt, "AWS endpoint") => self.serve_api(shell, io),
            }
        }
    }

    /// Remembers what has ended. A source of happenings that dries up is an end too.
    fn note(&mut self, happening: Option<Happening>) -> Happening {
        let happening =
            happening.unwrap_or_else(|| Happening::Ended(Ended::Exited(Exit::default())));
        match &happening {
            Happening::ProgramEnded(program, _) => {
                if let Some(ended) = self.ended.get_mut(*program) {
                    *ended = true;
                }
            }
            Happening::Ended(_) => self.ended.fill(true),
        }
        happening
    }

    /// Somebody beside the runtime has ended, or could not be started.
    pub(super) fn extension_failed(&self, program: usize, ended: Ended) -> Fault {
        let at = program - 1;
        let path = self.extensions.get(at).map_or("", String::as_str);
        match ended {
            Ended::Exited(exit) => self.desk.extension_exited(at, extension_exit_text(&exit)),
            Ended::NotExecuted(why) => {
                let reason = format!("fork/exec /opt/extensions/{path}: {why}");
                self.desk.extension_not_launched(at, reason)
            }
            Ended::NotMade(step) => self.desk.extension_not_launched(at, step),
        }
    }

    fn serve_runtime(&self, io: BoxIo, inherited: bool) {
        // Dropping the connection closes it: the environment has too many.
        let Ok(permit) = self.connections.clone().try_acquire_owned() else { return };
        let desk = self.desk.clone();
        let served = async move {
            match inherited {
                true => connection::serve_inherited(io, desk).await,
                false => connection::serve(io, desk).await,
            }
            drop(permit);
        };
        self.rt.spawn("runtime connection", TaskKind::Request, served).detach();
    }

    fn serve_api(&self, shell: &Shell, io: BoxIo) {
        let Some(front) = shell.common.api_front.get() else { return };
        let Ok(permit) = self.api_connections.clone().try_acquire_owned() else { return };
        let served = front.serve(io, shell.version());
        let served = async move {
            served.await;
            drop(permit);
        };
        self.rt.spawn("environment's AWS connection", TaskKind::Request, served).detach();
    }

    /// Ends what the process left open.
    pub(super) async fn close(&mut self, exit: Exit) {
        self.settle_answer(exit).await;
        self.desk.close(exit);
    }

    /// The runtime has ended; an answer that it had written whole still counts.
    pub(super) async fn settle_answer(&mut self, exit: Exit) {
        // Nobody writes any more, so what is on its way is soon read.
        if matches!(self.desk.life(), Life::Running | Life::Answering) {
            let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
            let quiet = self.connections.acquire_many(all);
            let _ = self.rt.within(LAST_WORDS_MAX, quiet).await;
        }
        self.desk.exited(exit);
        if self.desk.life() == Life::Answering {
            self.desk.exited(exit);
        }
    }
}
