//! What is written down when an environment is made from a snapshot.

use std::time::Duration;

use super::Recorder;
use crate::invoke::fault::Status;
use crate::invoke::platform_events::{
    PlatformRecord, RestoreReport, RestoreRuntimeDone, RestoreStart,
};
use crate::state::runtime_id;

impl Recorder {
    /// The environment is made from a snapshot; `runtime` as in [`Recorder::init_start`].
    pub fn restore_start(&self, runtime: &str) {
        self.hub.restart();
        let version = &self.version;
        let arn = runtime_id::version_arn(&version.region, &version.runtime);
        let function = (version.function_name.as_str(), version.version.as_str());
        let start =
            RestoreStart::new((runtime, arn), function, &self.log_stream, version.memory_mb);
        self.hear(&mut self.lock(), PlatformRecord::RestoreStart(start));
    }

    /// It is not, and why: a line of its own.
    pub fn not_restored(&self, why: &str) {
        self.hear(&mut self.lock(), PlatformRecord::Fault(why.to_owned()));
    }

    /// That has ended after `duration`.
    pub fn restore_ended(&self, duration: Duration, status: &Status) {
        self.drain();
        let mut state = self.lock();
        let done = PlatformRecord::RestoreRuntimeDone(RestoreRuntimeDone::new(status));
        self.hear(&mut state, done);
        let report = PlatformRecord::RestoreReport(RestoreReport::new(status, duration));
        self.hear(&mut state, report);
        if *status == Status::Answered {
            self.hub.close_subscriptions();
        }
    }
}
