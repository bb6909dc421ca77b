//! `$LATEST` and the published versions of a function, in the order of their numbers.
//!
//! ```text
//! GET /2015-03-31/functions/hello/versions
//!
//! 200
//! {"Versions": [
//!   {"FunctionName": "hello",
//!    "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello:$LATEST",
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
use lambic_model_lambda::{ListVersionsByFunctionRequest, ListVersionsByFunctionResponse};
use lambic_wire::{Arn, Error};

use super::list_functions::versions;
use super::{find, paging};
use crate::Lambda;
use crate::names;

/// The operation.
pub struct ListVersionsByFunction;

impl Serve for ListVersionsByFunction {
    type Service = Lambda;
    type Operation = model::ops::ListVersionsByFunction;

    fn resource(cx: &Cx<'_, Lambda>, input: &ListVersionsByFunctionRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: ListVersionsByFunctionRequest,
    ) -> Result<ListVersionsByFunctionResponse, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        let function = find(cx, &target)?;
        let after = paging::after(input.marker.as_deref())?;
        let after = after.map(|number| number.parse().map_err(|_| paging::invalid_marker()));
        let limit = paging::usual_limit(input.max_items);
        let record = &function.stored.value;
        let mut found = versions(cx, record, after.transpose()?, limit + 1).await?;
        let next_marker = paging::cut(&mut found, limit, |(number, _)| number.to_string());
        let versions = found.into_iter().map(|(_, shown)| shown).collect();
        Ok(ListVersionsByFunctionResponse { next_marker, versions: Some(versions) })
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("list_versions_by_function.rs"))).await;
    }

    #[tokio::test]
    async fn pages_go_on_rightly_while_versions_come_and_go() {
        let harness = Harness::with_versions().await;
        let page = async |query: &str| {
            let path = format!("/2015-03-31/functions/two/versions?{query}");
            let reply = harness.get(&path).await.json();
            let versions = reply["Versions"].as_array().unwrap().clone();
            let names: Vec<_> =
                versions.iter().map(|one| one["Version"].as_str().unwrap().to_owned()).collect();
            (names.join(" "), reply["NextMarker"].as_str().map(str::to_owned))
        };
        assert_eq!(page("").await, ("$LATEST 1 2".into(), None));
        let (names, marker) = page("MaxItems=1").await;
        assert_eq!(names, "$LATEST");
        let marker = marker.unwrap();
        let deleted = harness.delete("/2015-03-31/functions/two?Qualifier=2").await;
        assert_eq!(deleted.status, 204);
        assert_eq!(page(&format!("Marker={marker}")).await, ("1".into(), None));
        assert_eq!(harness.get("/2015-03-31/functions/nobody/versions").await.status, 404);
    }
}
