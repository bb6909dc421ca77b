//! The functions of an account in a region, by name, up to fifty on a page.
//!
//! The marker names the last function that was given out, so that paging goes on rightly while
//! functions come and go.
//!
//! ```text
//! GET /2015-03-31/functions?MaxItems=1
//!
//! 200
//! {"Functions": [
//!   {"FunctionName": "hello",
//!    "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello",
//!    "Runtime": "python3.13", "Role": "arn:aws:iam::000000000000:role/r",
//!    "Handler": "main.handler", "CodeSize": "<any>", "Description": "", "Timeout": 3,
//!    "MemorySize": 128, "LastModified": "<any>", "CodeSha256": "<any>", "Version": "$LATEST",
//!    "TracingConfig": {"Mode": "PassThrough"}, "RevisionId": "<any>",
//!    "PackageType": "Zip", "Architectures": ["x86_64"], "EphemeralStorage": {"Size": 512},
//!    "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
//!    "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/hello"}}]}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{FunctionVersion, ListFunctionsRequest, ListFunctionsResponse};
use lambic_wire::{Arn, Error, paging};

use super::show::show_listed;
use crate::Lambda;
use crate::limits::{PAGE_ITEMS_MAX, invalid};

/// The operation.
pub struct ListFunctions;

impl Serve for ListFunctions {
    type Service = Lambda;
    type Operation = model::ops::ListFunctions;

    fn resource(cx: &Cx<'_, Lambda>, _input: &ListFunctionsRequest) -> Arn {
        Arn::new("lambda", cx.region, cx.account, "*")
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: ListFunctionsRequest,
    ) -> Result<ListFunctionsResponse, Error> {
        let mut page = ListFunctionsResponse { functions: Some(Vec::new()), next_marker: None };
        // Replicas of another region's functions belong to Lambda@Edge; there are none here.
        if input.master_region.as_deref().is_some_and(|region| region != "ALL") {
            return Ok(page);
        }
        let after = match input.marker.as_deref().filter(|marker| !marker.is_empty()) {
            Some(marker) => Some(paging::decode(marker).ok_or_else(invalid_marker)?),
            None => None,
        };
        let wanted = input.max_items.and_then(|items| usize::try_from(items).ok());
        let limit = wanted.unwrap_or(PAGE_ITEMS_MAX).clamp(1, PAGE_ITEMS_MAX);
        let every_version = input.function_version == Some(FunctionVersion::All);
        let mut found = cx.service.catalog.list(cx.account, cx.region, after.as_deref(), limit + 1);
        if found.len() > limit {
            found.truncate(limit);
            page.next_marker = found.last().map(|last| paging::encode(&last.stored.value.name));
        }
        let shown =
            found.iter().map(|function| show_listed(cx, &function.stored.value, every_version));
        page.functions = Some(shown.collect());
        Ok(page)
    }
}

pub(super) fn invalid_marker() -> Error {
    invalid("The marker is not one that this operation has given out.")
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("list_functions.rs"))).await;
    }

    #[tokio::test]
    async fn pages_go_on_rightly_while_functions_come_and_go() {
        let harness = Harness::new().await;
        for name in ["a", "b", "d"] {
            harness.create(name).await;
        }
        let page = async |query: &str| {
            let reply = harness.get(&format!("/2015-03-31/functions/?{query}")).await.json();
            let names: Vec<String> = reply["Functions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|function| function["FunctionName"].as_str().unwrap().to_owned())
                .collect();
            (names.join(" "), reply["NextMarker"].as_str().map(str::to_owned))
        };
        let (names, marker) = page("MaxItems=2").await;
        assert_eq!(names, "a b");
        let marker = marker.unwrap();
        harness.delete("/2015-03-31/functions/b").await;
        harness.create("c").await;
        assert_eq!(page(&format!("MaxItems=2&Marker={marker}")).await, ("c d".into(), None));
        assert_eq!(page("MaxItems=3").await, ("a c d".into(), None));
        assert_eq!(page("MasterRegion=eu-west-1&FunctionVersion=ALL").await, ("".into(), None));
        let reply = harness.get("/2015-03-31/functions?Marker=nonsense").await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidParameterValueException"));
        let reply = harness.get("/2015-03-31/functions?FunctionVersion=ALL").await.json();
        let arn = reply["Functions"][0]["FunctionArn"].as_str().unwrap().to_owned();
        assert!(arn.ends_with(":function:a:$LATEST"), "{arn}");
    }

    #[tokio::test]
    async fn another_region_is_another_list() {
        let harness = Harness::with_hello().await;
        let elsewhere = harness.in_region("eu-west-1");
        assert_eq!(
            elsewhere.get("/2015-03-31/functions").await.json()["Functions"],
            serde_json::json!([])
        );
    }
}
