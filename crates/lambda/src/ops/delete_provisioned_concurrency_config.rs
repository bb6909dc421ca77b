//! Keeps no environments of a version or alias started any more. One that has none is no error.
//!
//! ```text
//! DELETE /2019-09-30/functions/two/provisioned-concurrency?Qualifier=stable
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::DeleteProvisionedConcurrencyConfigRequest;
use lambic_wire::{Arn, Error};

use super::change::edit;
use super::provisioned::{check_qualifier, qualifier};
use crate::Lambda;
use crate::names;

/// The operation.
pub struct DeleteProvisionedConcurrencyConfig;

impl Serve for DeleteProvisionedConcurrencyConfig {
    type Service = Lambda;
    type Operation = model::ops::DeleteProvisionedConcurrencyConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &DeleteProvisionedConcurrencyConfigRequest) -> Arn {
        let qualifier = Some(input.qualifier.as_str());
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: DeleteProvisionedConcurrencyConfigRequest,
    ) -> Result<(), Error> {
        let given = Some(input.qualifier.as_str());
        let target = names::resolve(cx.account, cx.region, &input.function_name, given)?;
        let qualifier = qualifier(&target)?;
        let function = cx.service.catalog.find(&target.account, &target.region, &target.name);
        let record = function.as_ref().map(|function| &function.stored.value);
        check_qualifier(record, &target, qualifier)?;
        let _dividing = cx.service.dividing.lock().await;
        edit(cx, &target, |record| {
            if let Some(settings) = record.qualified.get_mut(qualifier) {
                settings.provisioned = None;
            }
            Ok(())
        })
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_versions().await;
        let path = "/2019-09-30/functions/two/provisioned-concurrency";
        let one = json!({"ProvisionedConcurrentExecutions": 1});
        let of_alias = format!("{path}?Qualifier=stable");
        assert_eq!(harness.put(&of_alias, &one).await.status, 202);
        let example = documented(include_str!("delete_provisioned_concurrency_config.rs"));
        harness.check(&example).await;
        assert_eq!(harness.get(&of_alias).await.status, 404);
        harness.check(&example).await;
        assert_eq!(harness.delete(&format!("{path}?Qualifier=none")).await.status, 404);
        assert_eq!(harness.delete(&format!("{path}?Qualifier=$LATEST")).await.status, 400);
    }
}
