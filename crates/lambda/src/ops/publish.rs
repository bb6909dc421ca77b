//! What PublishVersion, CreateFunction and UpdateFunctionCode have in common: a version made from
//! `$LATEST`, in the same transaction as whatever else changes.

use lambic_front::Cx;
use lambic_model_lambda::FunctionVersionLatestPublished;
use lambic_rt::Timestamp;
use lambic_store::Transaction;
use lambic_wire::Error;

use super::change::read_version;
use crate::Lambda;
use crate::limits::invalid;
use crate::state::function::{Configuration, FunctionRecord, new_generation};
use crate::state::published::{VersionRecord, number_key};
use crate::state::snapshot::Snapshot;

/// The version that was published last, if it is still there and `latest` runs the same.
pub(super) async fn unchanged(
    cx: &Cx<'_, Lambda>,
    record: &FunctionRecord,
    latest: &Configuration,
) -> Result<Option<VersionRecord>, Error> {
    let last = read_version(cx, record, record.last_version).await?;
    Ok(last.filter(|version| {
        version.configuration.runs_as(latest) && version.latest_description == latest.description
    }))
}

/// Publishes `latest` with the next number: adds it to `record` and to `transaction`. The caller
/// writes `record`.
pub(super) fn publish(
    cx: &Cx<'_, Lambda>,
    record: &mut FunctionRecord,
    transaction: &mut Transaction,
    latest: &Configuration,
    description: Option<String>,
    active_at: Timestamp,
) -> VersionRecord {
    record.last_version += 1;
    record.versions.push(record.last_version);
    record.version_bytes += latest.code.zip_bytes;
    if latest.snap_start {
        record.snapshots.insert(record.last_version, Snapshot::Pending);
    }
    let version = VersionRecord {
        account: record.account.clone(),
        region: record.region.clone(),
        name: record.name.clone(),
        number: record.last_version,
        configuration: Configuration {
            description: description.unwrap_or_else(|| latest.description.clone()),
            last_modified_micros: cx.rt.now().micros(),
            generation: new_generation(cx.rt),
            ..latest.clone()
        },
        latest_description: latest.description.clone(),
        revision_id: cx.rt.uuid(),
        active_at_micros: active_at.micros(),
    };
    let key = number_key(version.number);
    transaction.insert(&[&version.account, &version.region, &version.name, &key], &version);
    version
}

/// `PublishTo` is for functions on capacity providers, of which there are none.
pub(super) fn check_publish_to(
    publish_to: Option<&FunctionVersionLatestPublished>,
) -> Result<(), Error> {
    match publish_to {
        None => Ok(()),
        Some(_) => Err(invalid(
            "PublishTo LATEST_PUBLISHED is supported only for functions that are associated with a \
             capacity provider.",
        )),
    }
}
