//! All versions and aliases of a function that have provisioned concurrency.
//!
//! ```text
//! GET /2019-09-30/functions/two/provisioned-concurrency?List=ALL
//!
//! 200
//! {"ProvisionedConcurrencyConfigs": []}
//! ```

use std::ops::Bound;

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    ListProvisionedConcurrencyConfigsRequest, ListProvisionedConcurrencyConfigsResponse,
    ProvisionedConcurrencyConfigListItem,
};
use lambic_wire::{Arn, Error};

use super::provisioned::shown;
use super::{find, paging};
use crate::Lambda;
use crate::names;

/// The operation.
pub struct ListProvisionedConcurrencyConfigs;

impl Serve for ListProvisionedConcurrencyConfigs {
    type Service = Lambda;
    type Operation = model::ops::ListProvisionedConcurrencyConfigs;

    fn resource(cx: &Cx<'_, Lambda>, input: &ListProvisionedConcurrencyConfigsRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: ListProvisionedConcurrencyConfigsRequest,
    ) -> Result<ListProvisionedConcurrencyConfigsResponse, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        let function = find(cx, &target)?;
        let after = paging::after(input.marker.as_deref())?;
        let limit = paging::usual_limit(input.max_items);
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let all = function.stored.value.qualified.range::<str, _>((from, Bound::Unbounded));
        let all = all.filter_map(|(qualifier, settings)| Some((qualifier, settings.provisioned?)));
        let mut found: Vec<_> = all.take(limit + 1).collect();
        let next_marker = paging::cut(&mut found, limit, |(qualifier, _)| (*qualifier).clone());
        let mut items = Vec::new();
        for (qualifier, config) in found {
            let shown = shown(cx, &function, qualifier, config).await?;
            items.push(ProvisionedConcurrencyConfigListItem {
                function_arn: Some(format!("{}:{qualifier}", target.arn())),
                requested_provisioned_concurrent_executions: Some(shown.requested),
                available_provisioned_concurrent_executions: Some(shown.available),
                allocated_provisioned_concurrent_executions: Some(shown.available),
                status: Some(shown.status),
                status_reason: shown.status_reason,
                last_modified: Some(shown.last_modified),
            });
        }
        Ok(ListProvisionedConcurrencyConfigsResponse {
            provisioned_concurrency_configs: Some(items),
            next_marker,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_versions().await;
        let example = documented(include_str!("list_provisioned_concurrency_configs.rs"));
        harness.check(&example).await;
    }

    #[tokio::test]
    async fn page_by_page() {
        let harness = Harness::with_versions().await;
        let path = "/2019-09-30/functions/two/provisioned-concurrency";
        for (qualifier, count) in [("stable", 2), ("2", 1)] {
            let body = json!({"ProvisionedConcurrentExecutions": count});
            let put = harness.put(&format!("{path}?Qualifier={qualifier}"), &body).await;
            assert_eq!(put.status, 202, "{put:?}");
        }
        harness.provision().await;
        let first = harness.get(&format!("{path}?List=ALL&MaxItems=1")).await.json();
        let marker = first["NextMarker"].as_str().unwrap();
        let second = harness.get(&format!("{path}?List=ALL&Marker={marker}")).await.json();
        assert_eq!(second.get("NextMarker"), None);
        let both = [&first, &second].map(|page| {
            let one = &page["ProvisionedConcurrencyConfigs"][0];
            let arn = one["FunctionArn"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
            (arn, one["AvailableProvisionedConcurrentExecutions"].as_u64().unwrap())
        });
        assert_eq!(both, [("2".to_owned(), 1), ("stable".to_owned(), 2)]);
        let nobody = "/2019-09-30/functions/nobody/provisioned-concurrency?List=ALL";
        assert_eq!(harness.get(nobody).await.status, 404);
    }
}
