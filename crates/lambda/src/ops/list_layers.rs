//! The layers of an account in a region that have a version which matches, by name, up to fifty on a
//! page, each with its newest such version.
//!
//! ```text
//! GET /2018-10-31/layers?CompatibleRuntime=python3.13
//!
//! 200
//! {"Layers": [
//!   {"LayerName": "shared", "LayerArn": "arn:aws:lambda:us-east-1:000000000000:layer:shared",
//!    "LatestMatchingVersion": {
//!      "LayerVersionArn": "arn:aws:lambda:us-east-1:000000000000:layer:shared:1",
//!      "Version": 1, "Description": "", "CreatedDate": "<any>",
//!      "CompatibleRuntimes": ["python3.13"]}}]}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{LayersListItem, ListLayersRequest, ListLayersResponse};
use lambic_wire::paging::encode;
use lambic_wire::{Arn, Error};

use super::change::read_failed;
use super::layers::{Filter, LayerName, show_listed, versions};
use super::paging;
use crate::Lambda;
use crate::limits::PAGE_ITEMS_MAX;
use crate::state::layer::LayerRecord;

/// The operation.
pub struct ListLayers;

impl Serve for ListLayers {
    type Service = Lambda;
    type Operation = model::ops::ListLayers;

    fn resource(cx: &Cx<'_, Lambda>, _input: &ListLayersRequest) -> Arn {
        Arn::new("lambda", cx.region, cx.account, "*")
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: ListLayersRequest,
    ) -> Result<ListLayersResponse, Error> {
        let mut after = paging::after(input.marker.as_deref())?;
        let limit = paging::usual_limit(input.max_items);
        let filter = Filter {
            runtime: input.compatible_runtime,
            architecture: input.compatible_architecture,
        };
        let table = cx.service.store.table::<LayerRecord>();
        let mut layers = Vec::new();
        loop {
            let key = after.as_deref().map(|name| [cx.account, cx.region, name]);
            let key = key.as_ref().map(|key| &key[..]);
            let page = table.list(&[cx.account, cx.region], key, PAGE_ITEMS_MAX).await;
            let page = page.map_err(read_failed)?;
            if page.is_empty() {
                return Ok(ListLayersResponse { layers: Some(layers), next_marker: None });
            }
            for stored in page {
                let name = stored.value.name;
                let Some(item) = shown(cx, &name, &filter).await? else {
                    after = Some(name);
                    continue;
                };
                if layers.len() == limit {
                    let next_marker = after.as_deref().map(encode);
                    return Ok(ListLayersResponse { layers: Some(layers), next_marker });
                }
                layers.push(item);
                after = Some(name);
            }
        }
    }
}

async fn shown(
    cx: &Cx<'_, Lambda>,
    name: &str,
    filter: &Filter,
) -> Result<Option<LayersListItem>, Error> {
    let layer = LayerName::resolve(cx, name);
    let newest = versions(cx, &layer, filter, None, 1).await?.pop();
    Ok(newest.map(|record| LayersListItem {
        layer_name: Some(layer.name.clone()),
        layer_arn: Some(layer.arn()),
        latest_matching_version: Some(show_listed(&record)),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented, zip_base64};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_layer().await;
        harness.check(&documented(include_str!("list_layers.rs"))).await;
        let none = harness.get("/2018-10-31/layers?CompatibleRuntime=nodejs22.x").await;
        assert_eq!(none.json(), json!({"Layers": []}));
        let none = harness.get("/2018-10-31/layers?CompatibleArchitecture=arm64").await;
        assert_eq!(none.json(), json!({"Layers": []}));
    }

    #[tokio::test]
    async fn pages_hold_what_matches_and_no_layer_without_versions() {
        let harness = Harness::new().await;
        for number in 0..5 {
            let path = format!("/2018-10-31/layers/l{number}/versions");
            let body = json!({"Content": {"ZipFile": zip_base64()}});
            assert_eq!(harness.post(&path, &body).await.status, 201);
        }
        assert_eq!(harness.delete("/2018-10-31/layers/l3/versions/1").await.status, 204);
        let mut names = Vec::new();
        let mut path = "/2018-10-31/layers?MaxItems=2".to_owned();
        loop {
            let page = harness.get(&path).await.json();
            let layers = page["Layers"].as_array().unwrap().clone();
            assert!(layers.len() <= 2);
            names
                .extend(layers.iter().map(|layer| layer["LayerName"].as_str().unwrap().to_owned()));
            let Some(marker) = page["NextMarker"].as_str() else { break };
            path = format!("/2018-10-31/layers?MaxItems=2&Marker={marker}");
        }
        assert_eq!(names, ["l0", "l1", "l2", "l4"]);
    }
}
