//! Keeps so many environments of a version, or of what an alias leads to, started before anybody asks
//! for them. They are made after the answer; GetProvisionedConcurrencyConfig tells how far they are.
//!
//! ```text
//! PUT /2019-09-30/functions/two/provisioned-concurrency?Qualifier=stable
//! {"ProvisionedConcurrentExecutions": 2}
//!
//! 202
//! {"RequestedProvisionedConcurrentExecutions": 2, "AllocatedProvisionedConcurrentExecutions": 0,
//!  "AvailableProvisionedConcurrentExecutions": 0, "Status": "IN_PROGRESS", "LastModified": "<any>"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    PutProvisionedConcurrencyConfigRequest, PutProvisionedConcurrencyConfigResponse, errors,
};
use lambic_wire::{Arn, Error};

use super::change::edit;
use super::provisioned::{Shown, check_qualifier};
use super::snap_start;
use crate::Lambda;
use crate::limits::{UNRESERVED_CONCURRENCY_MIN, invalid, invalid_of_nobody};
use crate::names::{self, LATEST};
use crate::state::alias::Alias;
use crate::state::function::FunctionRecord;
use crate::state::qualified::Provisioned;

/// The operation.
pub struct PutProvisionedConcurrencyConfig;

impl Serve for PutProvisionedConcurrencyConfig {
    type Service = Lambda;
    type Operation = model::ops::PutProvisionedConcurrencyConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &PutProvisionedConcurrencyConfigRequest) -> Arn {
        let qualifier = Some(input.qualifier.as_str());
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: PutProvisionedConcurrencyConfigRequest,
    ) -> Result<PutProvisionedConcurrencyConfigResponse, Error> {
        let qualifier = Some(input.qualifier.as_str());
        let target = names::resolve(cx.account, cx.region, &input.function_name, qualifier)?;
        let qualifier = target.qualifier.as_deref().unwrap_or(LATEST);
        let requested = u32::try_from(input.provisioned_concurrent_executions)
            .map_err(|_| invalid("ProvisionedConcurrentExecutions must be positive."))?;
        if qualifier == LATEST {
            return Err(unpublished());
        }
        let _dividing = cx.service.dividing.lock().await;
        let function = cx.service.catalog.find(&target.account, &target.region, &target.name);
        check_qualifier(function.map(|f| f.stored.value.clone()).as_ref(), &target, qualifier)?;
        let usage = cx.service.catalog.usage(&target.account, &target.region);
        let config = Provisioned { requested, last_modified_micros: cx.rt.now().micros() };
        edit(cx, &target, |record| {
            check_qualifier(Some(record), &target, qualifier)?;
            check_versions(record, qualifier)?;
            let others =
                usage.kept_concurrency.saturating_sub(u64::from(record.kept_concurrency()));
            let left = u64::from(cx.service.config.concurrency_max).saturating_sub(others);
            check_room(record, qualifier, requested, left)?;
            let settings = record.qualified.entry(qualifier.to_owned()).or_default();
            settings.provisioned = Some(config);
            Ok(())
        })
        .await?;
        let shown = Shown::fresh(config);
        Ok(PutProvisionedConcurrencyConfigResponse {
            requested_provisioned_concurrent_executions: Some(shown.requested),
            allocated_provisioned_concurrent_executions: Some(shown.available),
            available_provisioned_concurrent_executions: Some(shown.available),
            status: Some(shown.status),
            status_reason: shown.status_reason,
            last_modified: Some(shown.last_modified),
        })
    }
}

fn unpublished() -> Error {
    invalid("Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
}

/// Not twice for one version, by its number and by an alias, and not beside SnapStart.
pub(super) fn check_versions(record: &FunctionRecord, qualifier: &str) -> Result<(), Error> {
    snap_start::check_provisioned(record, qualifier)?;
    // An environment that waits ahead of time would be nobody's.
    if record.shown().isolates_tenants {
        return Err(invalid(
            "Provisioned Concurrency Configs cannot be applied to functions with tenancy \
             configuration.",
        ));
    }
    let has_config = |qualifier: &str| {
        record.qualified.get(qualifier).is_some_and(|settings| settings.provisioned.is_some())
    };
    let leads = |alias: &Alias, version: &str| {
        let second = alias.second.as_ref().map(|second| second.version.as_str());
        alias.version == version || second == Some(version)
    };
    if let Some(alias) = record.aliases.get(qualifier) {
        if alias.version == LATEST {
            return Err(unpublished());
        }
        let mut others = record.qualified.keys().filter(|other| record.number(other).is_some());
        if others.any(|version| leads(alias, version) && has_config(version)) {
            return Err(errors::resource_conflict(
                "Alias can't be used for Provisioned Concurrency configuration on an already \
                 Provisioned version",
            ));
        }
        return Ok(());
    }
    let mut aliases = record.aliases.iter().filter(|(_, alias)| leads(alias, qualifier));
    if aliases.any(|(name, _)| has_config(name)) {
        return Err(errors::resource_conflict(
            "Version is pointed by a Provisioned Concurrency alias",
        ));
    }
    Ok(())
}

/// Whether there is so much concurrency: `left` is what no other function keeps.
fn check_room(
    record: &FunctionRecord,
    qualifier: &str,
    requested: u32,
    left: u64,
) -> Result<(), Error> {
    let settings = record.qualified.get(qualifier);
    let own = settings.and_then(|settings| settings.provisioned);
    let own = own.map_or(0, |own| own.requested);
    let elsewhere = record.provisioned().saturating_sub(own);
    if let Some(reserved) = record.reserved_concurrency {
        if elsewhere.saturating_add(requested) > reserved {
            return Err(invalid(
                "Requested Provisioned Concurrency should not be greater than the \
                 reservedConcurrentExecution for function",
            ));
        }
        return Ok(());
    }
    let left = left.saturating_sub(u64::from(elsewhere));
    if u64::from(requested) > left {
        return Err(invalid_of_nobody(format!(
            "Specified ConcurrentExecutions for function is greater than account's unreserved \
             concurrency [{left}]."
        )));
    }
    if requested > own && left - u64::from(requested) < UNRESERVED_CONCURRENCY_MIN {
        return Err(invalid_of_nobody(format!(
            "Specified ConcurrentExecutions for function decreases account's \
             UnreservedConcurrentExecution below its minimum value of \
             [{UNRESERVED_CONCURRENCY_MIN}]."
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, Reply, documented};

    async fn put(harness: &Harness, function: &str, qualifier: &str, count: i64) -> Reply {
        let path = format!(
            "/2019-09-30/functions/{function}/provisioned-concurrency?Qualifier={qualifier}"
        );
        harness.put(&path, &json!({"ProvisionedConcurrentExecutions": count})).await
    }

    async fn refused(harness: &Harness, qualifier: &str, count: i64) -> String {
        let reply = put(harness, "two", qualifier, count).await;
        format!("{} {}: {}", reply.status, reply.code(), reply.message())
    }

    #[tokio::test]
    async fn not_for_functions_that_isolate_tenants() {
        let harness = Harness::new().await;
        let mut body = Harness::creation("isolating");
        body["TenancyConfig"] = json!({"TenantIsolationMode": "PER_TENANT"});
        body["Publish"] = json!(true);
        harness.post("/2015-03-31/functions", &body).await;
        harness.settle().await;
        let path = "/2019-09-30/functions/isolating/provisioned-concurrency?Qualifier=1";
        let reply = harness.put(path, &json!({"ProvisionedConcurrentExecutions": 1})).await;
        assert_eq!(
            (reply.status, reply.message().as_str()),
            (
                400,
                "Provisioned Concurrency Configs cannot be applied to functions with tenancy \
                 configuration."
            )
        );
    }

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_versions().await;
        harness.check(&documented(include_str!("put_provisioned_concurrency_config.rs"))).await;
    }

    #[tokio::test]
    async fn what_cannot_have_it() {
        let harness = Harness::with_versions().await;
        let invalid = "400 InvalidParameterValueException: ";
        let unpublished = format!(
            "{invalid}Provisioned Concurrency Configs cannot be applied to unpublished function \
             versions."
        );
        let latest = json!({"Name": "newest", "FunctionVersion": "$LATEST"});
        harness.post("/2015-03-31/functions/two/aliases", &latest).await;
        assert_eq!(refused(&harness, "$LATEST", 1).await, unpublished);
        assert_eq!(refused(&harness, "newest", 1).await, unpublished);
        let zero = refused(&harness, "1", 0).await;
        assert!(zero.starts_with("400 ValidationException"), "{zero}");
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:two";
        assert_eq!(
            refused(&harness, "7", 1).await,
            format!("404 ResourceNotFoundException: Function not found: {arn}:7")
        );
        assert_eq!(
            refused(&harness, "none", 1).await,
            format!("404 ResourceNotFoundException: Cannot find alias arn: {arn}:none")
        );
        let nobody = put(&harness, "nobody", "none", 1).await;
        assert!(nobody.message().ends_with(
            "Cannot find alias arn: arn:aws:lambda:us-east-1:000000000000:function:nobody:none"
        ));
    }

    #[tokio::test]
    async fn not_twice_for_one_version() {
        let harness = Harness::with_versions().await;
        let conflict = "409 ResourceConflictException: ";
        assert_eq!(put(&harness, "two", "stable", 1).await.status, 202);
        assert_eq!(
            refused(&harness, "1", 1).await,
            format!("{conflict}Version is pointed by a Provisioned Concurrency alias")
        );
        let path = "/2019-09-30/functions/two/provisioned-concurrency?Qualifier=stable";
        assert_eq!(harness.delete(path).await.status, 204);
        assert_eq!(put(&harness, "two", "1", 1).await.status, 202);
        assert_eq!(
            refused(&harness, "stable", 1).await,
            format!(
                "{conflict}Alias can't be used for Provisioned Concurrency configuration on an \
                 already Provisioned version"
            )
        );
        assert_eq!(put(&harness, "two", "2", 1).await.status, 202);
    }

    #[tokio::test]
    async fn within_what_is_reserved_or_left() {
        let harness = Harness::with_versions().await;
        let invalid = "400 InvalidParameterValueException: ";
        assert_eq!(
            refused(&harness, "1", 1_001).await,
            format!(
                "{invalid}Specified ConcurrentExecutions for function is greater than account's \
                 unreserved concurrency [1000]."
            )
        );
        assert_eq!(
            refused(&harness, "1", 901).await,
            format!(
                "{invalid}Specified ConcurrentExecutions for function decreases account's \
                 UnreservedConcurrentExecution below its minimum value of [100]."
            )
        );
        assert_eq!(put(&harness, "two", "1", 900).await.status, 202);
        assert!(refused(&harness, "2", 1).await.contains("below its minimum value"));
        assert_eq!(put(&harness, "two", "1", 2).await.status, 202);
        let reserve = async |count: u32| {
            let body = json!({"ReservedConcurrentExecutions": count});
            harness.put("/2017-10-31/functions/two/concurrency", &body).await
        };
        assert_eq!(
            reserve(1).await.message(),
            " ReservedConcurrentExecutions  1 should not be lower than function's total \
             provisioned concurrency [2]."
        );
        assert_eq!(reserve(3).await.status, 200);
        assert_eq!(
            refused(&harness, "2", 2).await,
            format!(
                "{invalid}Requested Provisioned Concurrency should not be greater than the \
                 reservedConcurrentExecution for function"
            )
        );
        assert_eq!(put(&harness, "two", "2", 1).await.status, 202);
    }
}
