//! What the platform says about the start of an environment: why it was started, in which phase, and
//! what came of it.

use std::time::Duration;

use serde::Serialize;

use super::fault::Status;
use super::platform_events::{Ending, Millis};

/// Why an environment is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitType {
    /// A request waits for it.
    #[default]
    OnDemand,
    /// It is provisioned.
    ProvisionedConcurrency,
    /// Its version has SnapStart.
    SnapStart,
}

impl InitType {
    /// AWS's word, as in `AWS_LAMBDA_INITIALIZATION_TYPE`.
    pub fn name(self) -> &'static str {
        match self {
            InitType::OnDemand => "on-demand",
            InitType::ProvisionedConcurrency => "provisioned-concurrency",
            InitType::SnapStart => "snap-start",
        }
    }
}

/// In which phase a runtime is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Ahead of the first invocation.
    Init,
    /// Again, inside of it.
    Invoke,
    /// For a snapshot.
    SnapStart,
}

/// Of `platform.initStart`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitStart {
    initialization_type: InitType,
    phase: Phase,
    pub(super) runtime_version: String,
    pub(super) runtime_version_arn: String,
    function_name: String,
    function_version: String,
    instance_id: String,
    /// In bytes.
    instance_max_memory: u64,
}

impl InitStart {
    /// The same of an environment that is started for this reason.
    pub fn of_type(self, initialization_type: InitType) -> InitStart {
        InitStart { initialization_type, ..self }
    }

    /// `runtime` names what runs, such as `python:3.13.1`; `log_stream` stands for the environment.
    pub fn new(
        phase: Phase,
        runtime: (&str, String),
        function: (&str, &str),
        log_stream: &str,
        memory_mb: u32,
    ) -> InitStart {
        InitStart {
            initialization_type: InitType::OnDemand,
            phase,
            runtime_version: runtime.0.to_owned(),
            runtime_version_arn: runtime.1,
            function_name: function.0.to_owned(),
            function_version: function.1.to_owned(),
            instance_id: log_stream.to_owned(),
            instance_max_memory: u64::from(memory_mb) << 20,
        }
    }
}

/// Of `platform.initRuntimeDone`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitRuntimeDone {
    initialization_type: InitType,
    phase: Phase,
    #[serde(flatten)]
    pub(super) ending: Ending,
}

impl InitRuntimeDone {
    /// The same of an environment that is started for this reason.
    pub fn of_type(self, initialization_type: InitType) -> InitRuntimeDone {
        InitRuntimeDone { initialization_type, ..self }
    }

    /// Of a start that ended so.
    pub fn new(phase: Phase, status: &Status) -> InitRuntimeDone {
        InitRuntimeDone {
            initialization_type: InitType::OnDemand,
            phase,
            ending: Ending::of(status),
        }
    }
}

/// Of `platform.initReport`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitReport {
    initialization_type: InitType,
    phase: Phase,
    #[serde(flatten)]
    pub(super) ending: Ending,
    metrics: InitMetrics,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct InitMetrics {
    duration_ms: Millis,
}

impl InitReport {
    /// The same of an environment that is started for this reason.
    pub fn of_type(self, initialization_type: InitType) -> InitReport {
        InitReport { initialization_type, ..self }
    }

    /// Of a start that took so long and ended so.
    pub fn new(phase: Phase, status: &Status, duration: Duration) -> InitReport {
        InitReport {
            initialization_type: InitType::OnDemand,
            phase,
            ending: Ending::of(status),
            metrics: InitMetrics { duration_ms: Millis(duration) },
        }
    }

    /// Written for a start that went wrong, and for that of a snapshot: no invocation tells how long
    /// it took.
    pub(super) fn text(&self) -> Option<String> {
        let duration = self.metrics.duration_ms.value();
        let phase = match self.phase {
            Phase::Init | Phase::SnapStart => "init",
            Phase::Invoke => "invoke",
        };
        match (self.ending.text(), self.phase) {
            (None, Phase::SnapStart) => {
                Some(format!("INIT_REPORT Init Duration: {duration:.2} ms\n"))
            }
            (None, _) => None,
            (Some(ending), _) => Some(format!(
                "INIT_REPORT Init Duration: {duration:.2} ms\tPhase: {phase}\t{ending}\n"
            )),
        }
    }

    /// Whether it was started because a request waited.
    pub(super) fn is_on_demand(&self) -> bool {
        self.initialization_type == InitType::OnDemand
    }
}

/// Of `platform.restoreStart`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreStart {
    pub(super) runtime_version: String,
    pub(super) runtime_version_arn: String,
    function_name: String,
    function_version: String,
    instance_id: String,
    /// In bytes.
    instance_max_memory: u64,
}

impl RestoreStart {
    /// As [`InitStart::new`].
    pub fn new(
        runtime: (&str, String),
        function: (&str, &str),
        log_stream: &str,
        memory_mb: u32,
    ) -> RestoreStart {
        RestoreStart {
            runtime_version: runtime.0.to_owned(),
            runtime_version_arn: runtime.1,
            function_name: function.0.to_owned(),
            function_version: function.1.to_owned(),
            instance_id: log_stream.to_owned(),
            instance_max_memory: u64::from(memory_mb) << 20,
        }
    }
}

/// Of `platform.restoreRuntimeDone`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoreRuntimeDone {
    #[serde(flatten)]
    pub(super) ending: Ending,
}

impl RestoreRuntimeDone {
    /// Of a restore that ended so.
    pub fn new(status: &Status) -> RestoreRuntimeDone {
        RestoreRuntimeDone { ending: Ending::of(status) }
    }
}

/// Of `platform.restoreReport`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RestoreReport {
    #[serde(flatten)]
    pub(super) ending: Ending,
    metrics: InitMetrics,
}

impl RestoreReport {
    /// Of a restore that took so long and ended so.
    pub fn new(status: &Status, duration: Duration) -> RestoreReport {
        let metrics = InitMetrics { duration_ms: Millis(duration) };
        RestoreReport { ending: Ending::of(status), metrics }
    }

    pub(super) fn text(&self) -> String {
        let duration = self.metrics.duration_ms.value();
        let ending = self.ending.text().map(|ending| format!("\t{ending}")).unwrap_or_default();
        format!("RESTORE_REPORT Restore Duration: {duration:.2} ms{ending}\n")
    }
}
