//! The versions of a layer that match, newest first, up to fifty on a page.
//!
//! ```text
//! GET /2018-10-31/layers/shared/versions
//!
//! 200
//! {"LayerVersions": [
//!   {"LayerVersionArn": "arn:aws:lambda:us-east-1:000000000000:layer:shared:1", "Version": 1,
//!    "Description": "", "CreatedDate": "<any>", "CompatibleRuntimes": ["python3.13"]}]}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{ListLayerVersionsRequest, ListLayerVersionsResponse};
use lambic_wire::{Arn, Error};

use super::layers::{Filter, LayerName, denied, show_listed, versions};
use super::paging;
use crate::Lambda;

/// The operation.
pub struct ListLayerVersions;

impl Serve for ListLayerVersions {
    type Service = Lambda;
    type Operation = model::ops::ListLayerVersions;

    fn resource(cx: &Cx<'_, Lambda>, input: &ListLayerVersionsRequest) -> Arn {
        LayerName::resolve(cx, &input.layer_name).resource()
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: ListLayerVersionsRequest,
    ) -> Result<ListLayerVersionsResponse, Error> {
        let layer = LayerName::resolve(cx, &input.layer_name);
        if !layer.is_of(cx) {
            return Err(denied(cx, "lambda:ListLayerVersions", &layer.arn()));
        }
        // The number of the last one that was given out; what follows is older.
        let before = paging::after(input.marker.as_deref())?;
        let before = before.map(|number| number.parse().map_err(|_| paging::invalid_marker()));
        let limit = paging::usual_limit(input.max_items);
        let filter = Filter {
            runtime: input.compatible_runtime,
            architecture: input.compatible_architecture,
        };
        let mut found = versions(cx, &layer, &filter, before.transpose()?, limit + 1).await?;
        Ok(ListLayerVersionsResponse {
            next_marker: paging::cut(&mut found, limit, |last| last.version.to_string()),
            layer_versions: Some(found.iter().map(show_listed).collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented, zip_base64};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_layer().await;
        harness.check(&documented(include_str!("list_layer_versions.rs"))).await;
        let none = harness.get("/2018-10-31/layers/other/versions").await;
        assert_eq!(none.json(), json!({"LayerVersions": []}));
    }

    #[tokio::test]
    async fn pages_newest_first() {
        let harness = Harness::new().await;
        for _ in 0..12 {
            let body = json!({"Content": {"ZipFile": zip_base64()}});
            harness.post("/2018-10-31/layers/l/versions", &body).await;
        }
        let mut numbers = Vec::new();
        let mut path = "/2018-10-31/layers/l/versions?MaxItems=5".to_owned();
        loop {
            let page = harness.get(&path).await.json();
            let versions = page["LayerVersions"].as_array().unwrap().clone();
            numbers.extend(versions.iter().map(|version| version["Version"].as_i64().unwrap()));
            let Some(marker) = page["NextMarker"].as_str() else { break };
            path = format!("/2018-10-31/layers/l/versions?MaxItems=5&Marker={marker}");
        }
        assert_eq!(numbers, (1..=12).rev().collect::<Vec<_>>());
    }
}
