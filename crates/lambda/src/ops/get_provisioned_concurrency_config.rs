//! How many environments of a version or alias are wanted before anybody asks for them, and how many
//! are there.
//!
//! ```text
//! GET /2019-09-30/functions/two/provisioned-concurrency?Qualifier=2
//!
//! 200
//! {"RequestedProvisionedConcurrentExecutions": 1, "AllocatedProvisionedConcurrentExecutions": 1,
//!  "AvailableProvisionedConcurrentExecutions": 1, "Status": "READY", "LastModified": "<any>"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    GetProvisionedConcurrencyConfigRequest, GetProvisionedConcurrencyConfigResponse, errors,
};
use lambic_wire::{Arn, Error};

use super::provisioned::{check_qualifier, qualifier, shown};
use crate::Lambda;
use crate::names;

/// The operation.
pub struct GetProvisionedConcurrencyConfig;

impl Serve for GetProvisionedConcurrencyConfig {
    type Service = Lambda;
    type Operation = model::ops::GetProvisionedConcurrencyConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetProvisionedConcurrencyConfigRequest) -> Arn {
        let qualifier = Some(input.qualifier.as_str());
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetProvisionedConcurrencyConfigRequest,
    ) -> Result<GetProvisionedConcurrencyConfigResponse, Error> {
        let given = Some(input.qualifier.as_str());
        let target = names::resolve(cx.account, cx.region, &input.function_name, given)?;
        let qualifier = qualifier(&target)?;
        let function = cx.service.catalog.find(&target.account, &target.region, &target.name);
        let record = function.as_ref().map(|function| &function.stored.value);
        check_qualifier(record, &target, qualifier)?;
        let missing = || {
            errors::provisioned_concurrency_config_not_found(
                "No Provisioned Concurrency Config found for this function",
            )
        };
        let function = function.ok_or_else(missing)?;
        let settings = function.stored.value.qualified.get(qualifier);
        let config = settings.and_then(|settings| settings.provisioned).ok_or_else(missing)?;
        let shown = shown(cx, &function, qualifier, config).await?;
        Ok(GetProvisionedConcurrencyConfigResponse {
            requested_provisioned_concurrent_executions: Some(shown.requested),
            available_provisioned_concurrent_executions: Some(shown.available),
            allocated_provisioned_concurrent_executions: Some(shown.available),
            status: Some(shown.status),
            status_reason: shown.status_reason,
            last_modified: Some(shown.last_modified),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    fn path(qualifier: &str) -> String {
        format!("/2019-09-30/functions/two/provisioned-concurrency?Qualifier={qualifier}")
    }

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_versions().await;
        let one = json!({"ProvisionedConcurrentExecutions": 1});
        assert_eq!(harness.put(&path("2"), &one).await.status, 202);
        assert_eq!(harness.get(&path("2")).await.json()["Status"], "IN_PROGRESS");
        harness.provision().await;
        let example = documented(include_str!("get_provisioned_concurrency_config.rs"));
        harness.check(&example).await;
    }

    #[tokio::test]
    async fn what_is_not_there() {
        let harness = Harness::with_versions().await;
        let none = harness.get(&path("stable")).await;
        assert_eq!(
            (none.status, none.code().as_str(), none.message().as_str()),
            (
                404,
                "ProvisionedConcurrencyConfigNotFoundException",
                "No Provisioned Concurrency Config found for this function"
            )
        );
        let latest = harness.get(&path("$LATEST")).await;
        assert_eq!(
            (latest.status, latest.message().as_str()),
            (400, "The function resource provided must be an alias or a published version.")
        );
        let alias = harness.get(&path("noalias")).await;
        assert_eq!(alias.code(), "ResourceNotFoundException");
        assert!(alias.message().starts_with("Cannot find alias arn: "), "{alias:?}");
        assert!(harness.get(&path("9")).await.message().starts_with("Function not found: "));
    }

    #[tokio::test]
    async fn an_alias_takes_its_environments_along() {
        let harness = Harness::with_versions().await;
        let three = json!({"ProvisionedConcurrentExecutions": 3});
        assert_eq!(harness.put(&path("stable"), &three).await.status, 202);
        harness.provision().await;
        let moved = json!({"FunctionVersion": "2"});
        harness.put("/2015-03-31/functions/two/aliases/stable", &moved).await;
        assert_eq!(harness.get(&path("stable")).await.json()["Status"], "IN_PROGRESS");
        harness.provision().await;
        assert_eq!(harness.get(&path("stable")).await.json()["Status"], "READY");
    }
}
