//! One version of a layer, with a link to its package that is good for ten minutes.
//!
//! ```text
//! GET /2018-10-31/layers/shared/versions/1
//!
//! 200
//! {"Content": {"Location": "<any>", "CodeSha256": "<any>", "CodeSize": "<any>"},
//!  "LayerArn": "arn:aws:lambda:us-east-1:000000000000:layer:shared",
//!  "LayerVersionArn": "arn:aws:lambda:us-east-1:000000000000:layer:shared:1",
//!  "Description": "", "CreatedDate": "<any>", "Version": 1,
//!  "CompatibleRuntimes": ["python3.13"]}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{GetLayerVersionRequest, GetLayerVersionResponse};
use lambic_wire::{Arn, Error};

use super::layers::{LayerName, readable, show};
use crate::Lambda;

/// The operation.
pub struct GetLayerVersion;

impl Serve for GetLayerVersion {
    type Service = Lambda;
    type Operation = model::ops::GetLayerVersion;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetLayerVersionRequest) -> Arn {
        LayerName::resolve(cx, &input.layer_name).readable_resource(cx, input.version_number)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetLayerVersionRequest,
    ) -> Result<GetLayerVersionResponse, Error> {
        let layer = LayerName::resolve(cx, &input.layer_name);
        Ok(show(cx, &readable(cx, &layer, input.version_number).await?))
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_layer().await;
        harness.check(&documented(include_str!("get_layer_version.rs"))).await;
        let arn = "arn:aws:lambda:us-east-1:000000000000:layer:shared";
        let reply = harness.get(&format!("/2018-10-31/layers/{arn}/versions/1")).await;
        assert_eq!(reply.json()["Version"], 1);
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::with_layer().await;
        let arn = "arn:aws:lambda:us-east-1:000000000000:layer";
        for (path, status, text) in [
            ("shared/versions/2", 404, format!("Layer version {arn}:shared:2 does not exist.")),
            ("other/versions/1", 404, format!("Layer version {arn}:other:1 does not exist.")),
            ("shared/versions/0", 400, "Layer Version Cannot be less than 1".to_owned()),
        ] {
            let reply = harness.get(&format!("/2018-10-31/layers/{path}")).await;
            assert_eq!((reply.status, reply.message()), (status, text));
        }
    }
}
