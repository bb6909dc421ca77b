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
use lambic_model_lambda::{
    FunctionConfiguration, FunctionVersion, ListFunctionsRequest, ListFunctionsResponse,
};
use lambic_wire::{Arn, Error};

use super::change::read_failed;
use super::paging;
use super::show::{show_listed, show_listed_version};
use crate::Lambda;
use crate::catalog::Function;
use crate::names::LATEST;
use crate::state::function::FunctionRecord;
use crate::state::published::{VersionRecord, number_key};

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
        let after = paging::after(input.marker.as_deref())?;
        let limit = paging::usual_limit(input.max_items);
        if input.function_version == Some(FunctionVersion::All) {
            return every_version(cx, after, limit).await;
        }
        let mut found = cx.service.catalog.list(cx.account, cx.region, after.as_deref(), limit + 1);
        page.next_marker = paging::cut(&mut found, limit, |last| last.stored.value.name.clone());
        let shown = found.iter().map(|function| show_listed(cx, &function.stored.value, None));
        page.functions = Some(shown.collect());
        Ok(page)
    }
}

/// All versions of all functions. The marker names function and version.
async fn every_version(
    cx: &Cx<'_, Lambda>,
    after: Option<String>,
    limit: usize,
) -> Result<ListFunctionsResponse, Error> {
    let mut found = Vec::new();
    let mut last = None;
    if let Some(after) = after {
        let (name, number) = after.split_once(':').ok_or_else(paging::invalid_marker)?;
        let number = number.parse().map_err(|_| paging::invalid_marker())?;
        if let Some(function) = cx.service.catalog.find(cx.account, cx.region, name) {
            add_versions(cx, &function, Some(number), limit, &mut found).await?;
        }
        last = Some(name.to_owned());
    }
    while found.len() <= limit {
        let next = cx.service.catalog.list(cx.account, cx.region, last.as_deref(), 1);
        let Some(function) = next.first() else { break };
        add_versions(cx, function, None, limit, &mut found).await?;
        last = Some(function.stored.value.name.clone());
    }
    let next_marker =
        paging::cut(&mut found, limit, |(name, number, _)| format!("{name}:{number}"));
    let functions = found.into_iter().map(|(_, _, shown)| shown).collect();
    Ok(ListFunctionsResponse { functions: Some(functions), next_marker })
}

/// Fills `found` to one more than `limit`.
async fn add_versions(
    cx: &Cx<'_, Lambda>,
    function: &Function,
    after: Option<u64>,
    limit: usize,
    found: &mut Vec<(String, u64, FunctionConfiguration)>,
) -> Result<(), Error> {
    let record = &function.stored.value;
    let versions = versions(cx, record, after, limit + 1 - found.len()).await?;
    let name = &record.name;
    found.extend(versions.into_iter().map(|(number, shown)| (name.clone(), number, shown)));
    Ok(())
}

/// Up to `limit` versions of a function with their numbers, those after the number `after`; without
/// it `$LATEST` first, as number 0.
pub(super) async fn versions(
    cx: &Cx<'_, Lambda>,
    record: &FunctionRecord,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<(u64, FunctionConfiguration)>, Error> {
    let mut found = Vec::new();
    if after.is_none() && limit > 0 {
        found.push((0, show_listed(cx, record, Some(LATEST))));
    }
    let left = limit - found.len();
    if left == 0 || record.versions.after(after.unwrap_or(0)).next().is_none() {
        return Ok(found);
    }
    let prefix = [record.account.as_str(), &record.region, &record.name];
    let key = number_key(after.unwrap_or(0));
    let key = [prefix[0], prefix[1], prefix[2], &key];
    let table = cx.service.store.table::<VersionRecord>();
    let page = table.list(&prefix, Some(&key), left).await.map_err(read_failed)?;
    found.extend(
        page.iter()
            .map(|stored| (stored.value.number, show_listed_version(cx, record, &stored.value))),
    );
    Ok(found)
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
    async fn all_versions_of_all_functions() {
        let harness = Harness::with_versions().await;
        for name in ["one", "zero"] {
            harness.create(name).await;
        }
        let (mut marker, mut all) = (String::new(), Vec::new());
        loop {
            let path =
                format!("/2015-03-31/functions?FunctionVersion=ALL&MaxItems=2&Marker={marker}");
            let page = harness.get(&path).await.json();
            for function in page["Functions"].as_array().unwrap() {
                let arn = function["FunctionArn"].as_str().unwrap();
                all.push(arn.split("function:").nth(1).unwrap().to_owned());
            }
            match page["NextMarker"].as_str() {
                Some(next) => marker = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(all, ["one:$LATEST", "two:$LATEST", "two:1", "two:2", "zero:$LATEST"]);
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
