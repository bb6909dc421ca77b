//! What was said of asynchronous invokes of a function, for each of its qualifiers.
//!
//! ```text
//! GET /2019-09-25/functions/hello/event-invoke-config/list
//!
//! 200
//! {"FunctionEventInvokeConfigs": [
//!   {"FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello:$LATEST",
//!    "LastModified": "<any>", "MaximumRetryAttempts": 1,
//!    "DestinationConfig": {"OnSuccess": {}, "OnFailure": {}}}]}
//! ```

use std::ops::Bound;

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    ListFunctionEventInvokeConfigsRequest, ListFunctionEventInvokeConfigsResponse,
};
use lambic_wire::{Arn, Error};

use super::event_invoke::{no_function, show};
use super::{find, paging};
use crate::Lambda;
use crate::names;

/// The operation.
pub struct ListFunctionEventInvokeConfigs;

impl Serve for ListFunctionEventInvokeConfigs {
    type Service = Lambda;
    type Operation = model::ops::ListFunctionEventInvokeConfigs;

    fn resource(cx: &Cx<'_, Lambda>, input: &ListFunctionEventInvokeConfigsRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: ListFunctionEventInvokeConfigsRequest,
    ) -> Result<ListFunctionEventInvokeConfigsResponse, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        let function = find(cx, &target).map_err(|_| no_function())?;
        let record = &function.stored.value;
        let after = paging::after(input.marker.as_deref())?;
        let limit = paging::usual_limit(input.max_items);
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let all = record.qualified.range::<str, _>((from, Bound::Unbounded));
        let found = all.filter_map(|(qualifier, settings)| {
            settings.event_invoke.as_ref().map(|settings| (qualifier, settings))
        });
        let mut found: Vec<_> = found.take(limit + 1).collect();
        let next_marker = paging::cut(&mut found, limit, |(qualifier, _)| (*qualifier).clone());
        let shown = found.iter().map(|(qualifier, settings)| show(record, qualifier, settings));
        Ok(ListFunctionEventInvokeConfigsResponse {
            function_event_invoke_configs: Some(shown.collect()),
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
        let harness = Harness::with_hello().await;
        let path = "/2019-09-25/functions/hello/event-invoke-config";
        let none = harness.get(&format!("{path}/list")).await;
        assert_eq!(none.json(), json!({"FunctionEventInvokeConfigs": []}));
        assert_eq!(harness.put(path, &json!({"MaximumRetryAttempts": 1})).await.status, 200);
        harness.check(&documented(include_str!("list_function_event_invoke_configs.rs"))).await;
    }

    #[tokio::test]
    async fn pages() {
        let harness = Harness::with_versions().await;
        let path = "/2019-09-25/functions/two/event-invoke-config";
        for qualifier in ["$LATEST", "1", "2", "stable"] {
            let body = json!({"MaximumRetryAttempts": 1});
            let reply = harness.put(&format!("{path}?Qualifier={qualifier}"), &body).await;
            assert_eq!(reply.status, 200);
        }
        let mut seen = Vec::new();
        let mut next = format!("{path}/list?MaxItems=3");
        loop {
            let page = harness.get(&next).await.json();
            let items = page["FunctionEventInvokeConfigs"].as_array().unwrap().clone();
            assert!(items.len() <= 3);
            for item in items {
                let arn = item["FunctionArn"].as_str().unwrap();
                seen.push(arn.rsplit(':').next().unwrap().to_owned());
            }
            let Some(marker) = page["NextMarker"].as_str() else { break };
            next = format!("{path}/list?MaxItems=3&Marker={marker}");
        }
        assert_eq!(seen, ["$LATEST", "1", "2", "stable"]);
        assert_eq!(harness.get(&format!("{path}/list?Marker=%21")).await.status, 400);
        assert_eq!(harness.get(&format!("{path}/list?MaxItems=51")).await.status, 400);
        let nobody = harness.get(&format!("{}/list", path.replace("two", "nobody"))).await;
        assert_eq!(
            (nobody.status, nobody.message().as_str()),
            (404, "The function doesn't exist.")
        );
        let qualified = harness.get(&format!("{}/list", path.replace("two", "two:1"))).await;
        assert_eq!(qualified.status, 400);
    }
}
