//! The event source mappings of an account in a region, all or those of one source or one function, up
//! to a hundred on a page.
//!
//! A function's name means mappings of the function itself; those of a version or an alias are listed
//! by its name with the qualifier.
//!
//! ```text
//! GET /2015-03-31/event-source-mappings?FunctionName=hello
//!
//! 200
//! {"EventSourceMappings": [
//!   {"UUID": "<any>", "EventSourceMappingArn": "<any>", "BatchSize": 10,
//!    "MaximumBatchingWindowInSeconds": 0,
//!    "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:q",
//!    "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello",
//!    "LastModified": "<any>", "State": "Disabled", "StateTransitionReason": "USER_INITIATED",
//!    "FunctionResponseTypes": []}]}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{ListEventSourceMappingsRequest, ListEventSourceMappingsResponse};
use lambic_wire::{Arn, Error};

use super::change::read_failed;
use super::mapping::show;
use super::paging;
use crate::Lambda;
use crate::limits::{MAPPINGS_PAGE_ITEMS_MAX, MAPPINGS_PAGE_SCAN_MAX};
use crate::names::{self, Target};
use crate::state::mapping::MappingRecord;

/// Records read at a time.
const READ_MAX: usize = 200;

/// The operation.
pub struct ListEventSourceMappings;

impl Serve for ListEventSourceMappings {
    type Service = Lambda;
    type Operation = model::ops::ListEventSourceMappings;

    fn resource(cx: &Cx<'_, Lambda>, _: &ListEventSourceMappingsRequest) -> Arn {
        Arn::new("lambda", cx.region, cx.account, "*")
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: ListEventSourceMappingsRequest,
    ) -> Result<ListEventSourceMappingsResponse, Error> {
        let name = input.function_name.as_deref().filter(|name| !name.is_empty());
        let function = name.map(|name| names::resolve(cx.account, cx.region, name, None));
        let function = function.transpose()?;
        let arn = input.event_source_arn.as_deref().filter(|arn| !arn.is_empty());
        let is_asked = |record: &MappingRecord| {
            let is_of = |target: &Target| record.function_arn() == target.qualified_arn();
            function.as_ref().is_none_or(is_of)
                && arn.is_none_or(|arn| record.source.arn.as_deref() == Some(arn))
        };
        let limit = paging::limit(input.max_items, MAPPINGS_PAGE_ITEMS_MAX);
        let mut after = paging::after(input.marker.as_deref())?;
        let table = cx.service.store.table::<MappingRecord>();
        let mut found = Vec::new();
        for _ in 0..MAPPINGS_PAGE_SCAN_MAX / READ_MAX {
            let key = after.as_deref().map(|uuid| [cx.account, cx.region, uuid]);
            let key = key.as_ref().map(|key| &key[..]);
            let page = table.list(&[cx.account, cx.region], key, READ_MAX).await;
            let page = page.map_err(read_failed)?;
            let is_last = page.len() < READ_MAX;
            for stored in page {
                let record = stored.value;
                let state = record.state(cx.rt.now());
                if let Some(state) = state.filter(|_| is_asked(&record)) {
                    if found.len() == limit {
                        return Ok(answer(found, after));
                    }
                    found.push(show(&record, state));
                }
                after = Some(record.uuid);
            }
            if is_last {
                return Ok(answer(found, None));
            }
        }
        Ok(answer(found, after))
    }
}

/// A page, and what was looked at last if there may be more.
fn answer(
    found: Vec<model::EventSourceMappingConfiguration>,
    after: Option<String>,
) -> ListEventSourceMappingsResponse {
    ListEventSourceMappingsResponse {
        next_marker: after.as_deref().map(lambic_wire::paging::encode),
        event_source_mappings: Some(found),
    }
}

#[cfg(test)]
mod tests {
    use lambic_store::Transaction;
    use serde_json::{Value, json};

    use super::MAPPINGS_PAGE_SCAN_MAX;
    use crate::ops::testing::{Harness, documented};
    use crate::state::mapping::tests::record;

    const PATH: &str = "/2015-03-31/event-source-mappings";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        let none = harness.get(PATH).await.json();
        assert_eq!(none, json!({"EventSourceMappings": []}));
        harness.map_queue("q").await;
        harness.check(&documented(include_str!("list_event_source_mappings.rs"))).await;
    }

    /// The queues' names of all pages, and how many pages there were.
    async fn listed(harness: &Harness, query: &str) -> (Vec<String>, usize) {
        let (mut names, mut pages) = (Vec::new(), 1);
        let mut path = format!("{PATH}?{query}");
        loop {
            let page = harness.get(&path).await;
            assert_eq!(page.status, 200, "{page:?}");
            let page = page.json();
            for item in page["EventSourceMappings"].as_array().unwrap() {
                let arn = item["EventSourceArn"].as_str().unwrap();
                names.push(arn.rsplit(':').next().unwrap().to_owned());
            }
            let Some(marker) = page["NextMarker"].as_str() else { break };
            path = format!("{PATH}?{query}&Marker={marker}");
            pages += 1;
        }
        names.sort();
        (names, pages)
    }

    #[tokio::test]
    async fn filters_and_pages() {
        let harness = Harness::with_versions().await;
        harness.create("hello").await;
        for queue in ["a", "b", "c", "d", "e"] {
            harness.map_queue(queue).await;
        }
        for (function, queue) in [("two", "a"), ("two:stable", "x"), ("two:1", "y")] {
            let body = json!({"FunctionName": function, "Enabled": false, "EventSourceArn":
                              format!("arn:aws:sqs:us-east-1:000000000000:{queue}")});
            assert_eq!(harness.post(PATH, &body).await.status, 202);
        }
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(listed(&harness, "").await, (names("a a b c d e x y"), 1));
        assert_eq!(listed(&harness, "MaxItems=3").await, (names("a a b c d e x y"), 3));
        assert_eq!(listed(&harness, "MaxItems=4").await.1, 2);
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:two";
        for (function, expected) in [
            ("hello", "a b c d e"),
            ("two", "a"),
            (arn, "a"),
            ("two:stable", "x"),
            ("000000000000:function:two:1", "y"),
        ] {
            let query = format!("FunctionName={function}&MaxItems=2");
            assert_eq!(listed(&harness, &query).await.0, names(expected), "{function}");
        }
        let queue = "EventSourceArn=arn:aws:sqs:us-east-1:000000000000:a";
        assert_eq!(listed(&harness, queue).await.0, names("a a"));
        assert_eq!(listed(&harness, &format!("{queue}&FunctionName=two")).await.0, names("a"));
        assert!(listed(&harness, "FunctionName=nobody").await.0.is_empty());
        let elsewhere = harness.in_region("eu-west-1");
        assert!(listed(&elsewhere, "").await.0.is_empty());
        assert_eq!(harness.get(&format!("{PATH}?Marker=%21")).await.status, 400);
        assert_eq!(harness.get(&format!("{PATH}?EventSourceArn=q")).await.status, 400);
    }

    #[tokio::test]
    async fn a_page_of_few_among_many_ends_before_it_is_full() {
        let harness = Harness::with_hello().await;
        for number in 0..MAPPINGS_PAGE_SCAN_MAX + 10 {
            let mut mapping = record(&format!("{number:036}"));
            mapping.source.arn = Some(format!("arn:aws:sqs:us-east-1:000000000000:q{number:05}"));
            let mut transaction = Transaction::new();
            transaction.put(&mapping.key(), &mapping);
            harness.lambda.store.commit(transaction).await.unwrap();
        }
        let last = MAPPINGS_PAGE_SCAN_MAX + 9;
        let query = format!("EventSourceArn=arn:aws:sqs:us-east-1:000000000000:q{last:05}");
        let first = harness.get(&format!("{PATH}?{query}")).await.json();
        assert_eq!(first["EventSourceMappings"], json!([]));
        assert!(first["NextMarker"].is_string());
        assert_eq!(listed(&harness, &query).await, (vec![format!("q{last:05}")], 2));
        let all: Value = harness.get(&format!("{PATH}?MaxItems=10000")).await.json();
        assert_eq!(all["EventSourceMappings"].as_array().unwrap().len(), 100);
    }
}
