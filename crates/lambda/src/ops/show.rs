//! How a function is shown to callers: `FunctionConfiguration` with every member that AWS fills.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambic_front::Cx;
use lambic_model_lambda::{
    Architecture, DeadLetterConfig, EphemeralStorage, FunctionConfiguration, LastUpdateStatus,
    LastUpdateStatusReasonCode, Layer, PackageType, Runtime, RuntimeVersionConfig,
    SnapStartApplyOn, SnapStartOptimizationStatus, SnapStartResponse, State as ShownState,
    StateReasonCode, TenancyConfig, TenantIsolationMode, TracingConfigResponse, TracingMode,
    VpcConfigResponse,
};
use lambic_rt::Timestamp;

use super::{file_systems, logging, secrets};
use crate::Lambda;
use crate::keys::Owner;
use crate::names::LATEST;
use crate::state::function::{Code, Configuration, FunctionRecord, State, UpdateStatus};
use crate::state::layer::LayerUse;
use crate::state::published::VersionRecord;
use crate::state::runtime_id;
use crate::state::snapshot::Snapshot;
use crate::state::vpc::VpcUse;

/// AWS gives this reason for creations and for updates alike.
const BEING_CREATED: &str = "The function is being created.";

/// `$LATEST` as GetFunctionConfiguration answers it. The ARN ends as the caller named it, as AWS's
/// does.
pub(crate) fn show(
    cx: &Cx<'_, Lambda>,
    record: &FunctionRecord,
    qualifier: Option<&str>,
) -> FunctionConfiguration {
    let mut shown = show_configuration(cx, record, record.shown(), LATEST, qualifier);
    shown.revision_id = Some(record.revision_id.clone());
    shown.runtime_version_config = Some(runtime_version(record, record.shown()));
    match record.state {
        State::Pending => set_pending(&mut shown),
        State::Active => shown.state = Some(ShownState::Active),
        State::Failed => shown.state = Some(ShownState::Failed),
    }
    match record.update {
        UpdateStatus::None => {}
        UpdateStatus::InProgress => {
            shown.last_update_status = Some(LastUpdateStatus::InProgress);
            shown.last_update_status_reason = Some(BEING_CREATED.to_owned());
            shown.last_update_status_reason_code =
                Some(LastUpdateStatusReasonCode::Unknown("Creating".to_owned()));
        }
        UpdateStatus::Successful => shown.last_update_status = Some(LastUpdateStatus::Successful),
        UpdateStatus::Failed => shown.last_update_status = Some(LastUpdateStatus::Failed),
    }
    shown
}

/// A published version as GetFunctionConfiguration answers it.
pub(crate) fn show_version(
    cx: &Cx<'_, Lambda>,
    record: &FunctionRecord,
    version: &VersionRecord,
    qualifier: &str,
    now: Timestamp,
) -> FunctionConfiguration {
    let mut shown = show_listed_version(cx, record, version);
    shown.function_arn = Some(format!("{}:{qualifier}", record.arn()));
    shown.runtime_version_config = Some(runtime_version(record, &version.configuration));
    let snapshot = record.snapshots.get(&version.number);
    match snapshot {
        Some(Snapshot::Failed { reason }) => set_failed(&mut shown, reason),
        Some(Snapshot::Pending) => set_pending(&mut shown),
        _ if version.is_pending(now) => set_pending(&mut shown),
        _ => {
            shown.state = Some(ShownState::Active);
            shown.last_update_status = Some(LastUpdateStatus::Successful);
        }
    }
    shown
}

/// `$LATEST` as lists have it: without states and without the runtime's version.
pub(crate) fn show_listed(
    cx: &Cx<'_, Lambda>,
    record: &FunctionRecord,
    qualifier: Option<&str>,
) -> FunctionConfiguration {
    let mut shown = show_configuration(cx, record, record.shown(), LATEST, qualifier);
    shown.revision_id = Some(record.revision_id.clone());
    shown
}

/// A published version as lists have it.
pub(crate) fn show_listed_version(
    cx: &Cx<'_, Lambda>,
    record: &FunctionRecord,
    version: &VersionRecord,
) -> FunctionConfiguration {
    let number = version.number.to_string();
    let mut shown = show_configuration(cx, record, &version.configuration, &number, Some(&number));
    shown.revision_id = Some(version.revision_id.clone());
    let is_taken = record.snapshots.get(&version.number) == Some(&Snapshot::Taken);
    if is_taken && cx.service.runner.has_snapshots() {
        let snap_start = shown.snap_start.get_or_insert_default();
        snap_start.optimization_status = Some(SnapStartOptimizationStatus::On);
    }
    shown
}

fn runtime_version(record: &FunctionRecord, of: &Configuration) -> RuntimeVersionConfig {
    let arn = runtime_id::version_arn(&record.region, &of.runtime);
    RuntimeVersionConfig { runtime_version_arn: Some(arn), error: None }
}

fn set_pending(shown: &mut FunctionConfiguration) {
    shown.state = Some(ShownState::Pending);
    shown.state_reason = Some(BEING_CREATED.to_owned());
    shown.state_reason_code = Some(StateReasonCode::Creating);
}

/// A version that cannot be initialized.
fn set_failed(shown: &mut FunctionConfiguration, reason: &str) {
    shown.state = Some(ShownState::Failed);
    shown.state_reason = Some(reason.to_owned());
    shown.state_reason_code = Some(StateReasonCode::FunctionError);
    shown.last_update_status = Some(LastUpdateStatus::Failed);
    shown.last_update_status_reason = Some(reason.to_owned());
    shown.last_update_status_reason_code = Some(LastUpdateStatusReasonCode::FunctionError);
}

/// Absent without layers, as on AWS.
fn show_layers(configuration: &Configuration) -> Option<Vec<Layer>> {
    let layer = |layer: &LayerUse| Layer {
        arn: Some(layer.arn.clone()),
        code_size: Some(layer.code.zip_bytes as i64),
        signing_profile_version_arn: profile_version_arn(&layer.code),
        signing_job_arn: job_arn(&layer.code),
    };
    let layers = &configuration.layers;
    (!layers.is_empty()).then(|| layers.iter().map(layer).collect())
}

fn show_vpc(used: &VpcUse) -> VpcConfigResponse {
    VpcConfigResponse {
        subnet_ids: Some(used.subnet_ids.clone()),
        security_group_ids: Some(used.security_group_ids.clone()),
        vpc_id: Some(used.vpc_id.clone()),
        ipv6_allowed_for_dual_stack: Some(false),
    }
}

/// Of the signing profile version that has signed a package.
pub(crate) fn profile_version_arn(code: &Code) -> Option<String> {
    code.signature.as_ref().map(|signature| signature.profile_version_arn.clone())
}

/// Of that one signing.
pub(crate) fn job_arn(code: &Code) -> Option<String> {
    code.signature.as_ref().map(|signature| signature.job_arn.clone())
}

fn show_configuration(
    cx: &Cx<'_, Lambda>,
    record: &FunctionRecord,
    configuration: &Configuration,
    version: &str,
    qualifier: Option<&str>,
) -> FunctionConfiguration {
    let arn = record.arn();
    let owner = Owner { account: &record.account, region: &record.region, function_arn: &arn };
    let environment = secrets::shown(&cx.service.config.keys, owner, configuration);
    let modified = Timestamp::from_micros(configuration.last_modified_micros);
    let tracing =
        if configuration.active_tracing { TracingMode::Active } else { TracingMode::PassThrough };
    FunctionConfiguration {
        function_name: Some(record.name.clone()),
        function_arn: Some(match qualifier {
            Some(qualifier) => format!("{arn}:{qualifier}"),
            None => arn,
        }),
        runtime: Some(Runtime::from(configuration.runtime.as_str())),
        role: Some(configuration.role.clone()),
        handler: configuration.handler.clone(),
        code_size: Some(configuration.code.zip_bytes as i64),
        layers: show_layers(configuration),
        file_system_configs: file_systems::shown(configuration.file_system.as_deref()),
        description: Some(configuration.description.clone()),
        timeout: Some(configuration.timeout_s as i32),
        memory_size: Some(configuration.memory_mb as i32),
        last_modified: Some(modified.lambda_text()),
        code_sha256: Some(STANDARD.encode(configuration.code.sha256.to_bytes())),
        version: Some(version.to_owned()),
        environment,
        kms_key_arn: configuration.kms_key_arn.clone(),
        vpc_config: configuration.vpc.as_deref().map(show_vpc),
        tracing_config: Some(TracingConfigResponse { mode: Some(tracing) }),
        dead_letter_config: configuration
            .dead_letter_arn
            .as_ref()
            .map(|arn| DeadLetterConfig { target_arn: Some(arn.clone()) }),
        package_type: Some(PackageType::Zip),
        architectures: Some(vec![Architecture::from(configuration.architecture.as_str())]),
        ephemeral_storage: Some(EphemeralStorage { size: configuration.tmp_mb as i32 }),
        snap_start: Some(SnapStartResponse {
            apply_on: Some(match configuration.snap_start {
                true => SnapStartApplyOn::PublishedVersions,
                false => SnapStartApplyOn::None,
            }),
            optimization_status: Some(SnapStartOptimizationStatus::Off),
        }),
        signing_profile_version_arn: profile_version_arn(&configuration.code),
        signing_job_arn: job_arn(&configuration.code),
        logging_config: Some(logging::shown(&configuration.logging, &record.name)),
        tenancy_config: configuration
            .isolates_tenants
            .then_some(TenancyConfig { tenant_isolation_mode: TenantIsolationMode::PerTenant }),
        ..FunctionConfiguration::default()
    }
}
