//! Tells the pool, the log and whoever starts an environment what happens at its desk.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use lambic_rt::Instant;
use tokio::sync::oneshot;

use super::pool::EnvironmentId;
use super::record::Recorder;
use super::shell::Shell;
use super::target;
use crate::runtime_api::desk::{Outcome, Owner};
use crate::telemetry::{self, Api};

/// How far the start of a runtime has come.
pub(super) enum InitEnd {
    /// It asks for work.
    Ready,
    /// It reports that it cannot start.
    Error {
        /// Its error document.
        body: Bytes,
        /// In AWS's words.
        error_type: String,
    },
    /// It has become a template.
    Template,
    /// It is being restored from then on.
    Restoring(Instant),
    /// It reports that it cannot be restored, with this error type.
    RestoreFailed(String),
}

/// What a start waits for.
pub(super) struct Signals {
    /// The first that happens.
    pub(super) init: oneshot::Receiver<InitEnd>,
    /// What happens after [`InitEnd::Restoring`].
    pub(super) restored: oneshot::Receiver<InitEnd>,
    /// All extensions have registered.
    pub(super) registered: oneshot::Receiver<()>,
}

type Slot<T> = Mutex<Option<oneshot::Sender<T>>>;

/// See the module.
pub(super) struct Keeper {
    shell: Arc<Shell>,
    id: EnvironmentId,
    recorder: Arc<Recorder>,
    init: Slot<InitEnd>,
    restored: Slot<InitEnd>,
    registered: Slot<()>,
}

fn take<T>(slot: &Slot<T>) -> Option<oneshot::Sender<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Keeper {
    pub(super) fn new(
        shell: &Arc<Shell>,
        id: EnvironmentId,
        recorder: &Arc<Recorder>,
    ) -> (Keeper, Signals) {
        let (init_end, init) = oneshot::channel();
        let (restored_end, restored) = oneshot::channel();
        let (all, registered) = oneshot::channel();
        let keeper = Keeper {
            shell: shell.clone(),
            id,
            recorder: recorder.clone(),
            init: Mutex::new(Some(init_end)),
            restored: Mutex::new(Some(restored_end)),
            registered: Mutex::new(Some(all)),
        };
        (keeper, Signals { init, restored, registered })
    }

    /// Whether it was a start that has ended so.
    fn end_init(&self, end: InitEnd) -> bool {
        let sender = take(&self.init);
        // Nobody listens when the start took too long; the environment is being killed then.
        sender.map(|sender| drop(sender.send(end))).is_some()
    }
}

impl Owner for Keeper {
    fn registered(&self) {
        // Nobody listens when the start took too long.
        let _ = take(&self.registered).map(|sender| sender.send(()));
    }

    fn runtime_started(&self) {
        self.recorder.runtime_started();
    }

    fn ready(&self) {
        if !self.end_init(InitEnd::Ready) {
            self.shell.ready(self.id);
        }
    }

    fn init_failed(&self, body: Bytes, error_type: String) {
        self.end_init(InitEnd::Error { body, error_type });
    }

    fn is_template(&self) {
        self.recorder.runtime_started();
        self.end_init(InitEnd::Template);
    }

    fn restoring(&self) {
        self.recorder.runtime_started();
        self.end_init(InitEnd::Restoring(self.shell.common.rt.instant()));
        // What comes next is the end of its hooks.
        *self.init.lock().unwrap_or_else(PoisonError::into_inner) = take(&self.restored);
    }

    fn restore_failed(&self, _body: Bytes, error_type: String) {
        // The function has logged it; its caller gets AWS's words.
        self.end_init(InitEnd::RestoreFailed(error_type));
    }

    fn imported(&self, modules: &str) {
        self.shell.imported(modules);
    }

    fn responded(&self, until: Instant) {
        self.shell.responded(self.id, until);
    }

    fn runtime_done(&self, outcome: &Outcome) {
        self.recorder.runtime_done(outcome);
    }

    fn subscribe(&self, api: Api, extension: &str, body: &[u8]) -> telemetry::Answer {
        self.recorder.subscribe(api, extension, body)
    }

    fn record(&self, outcome: &Outcome, wants_tail: bool) -> Option<Vec<u8>> {
        target::count(&self.shell, outcome);
        self.recorder.finish(outcome, wants_tail)
    }
}
