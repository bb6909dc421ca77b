//! One version of a layer by its ARN.
//!
//! ```text
//! GET /2018-10-31/layers?find=LayerVersion&Arn=arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Alayer%3Ashared%3A1
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
use lambic_model_lambda::{GetLayerVersionByArnRequest, GetLayerVersionResponse};
use lambic_wire::{Arn, Error};

use super::layers::{LayerName, readable, show, split_version_arn};
use crate::Lambda;
use crate::limits::invalid;

/// The operation.
pub struct GetLayerVersionByArn;

impl Serve for GetLayerVersionByArn {
    type Service = Lambda;
    type Operation = model::ops::GetLayerVersionByArn;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetLayerVersionByArnRequest) -> Arn {
        match split_version_arn(cx, &input.arn) {
            Some((layer, version)) => layer.readable_resource(cx, version),
            None => LayerName::resolve(cx, "*").resource(),
        }
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetLayerVersionByArnRequest,
    ) -> Result<GetLayerVersionResponse, Error> {
        let (layer, version) = split_version_arn(cx, &input.arn)
            .ok_or_else(|| invalid(format!("{} is no layer version", input.arn)))?;
        Ok(show(cx, &readable(cx, &layer, version).await?))
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_layer().await;
        harness.check(&documented(include_str!("get_layer_version_by_arn.rs"))).await;
    }

    #[tokio::test]
    async fn another_account_s_layer_is_not_shown() {
        let harness = Harness::with_layer().await;
        let arn = "arn:aws:lambda:us-east-1:111111111111:layer:shared:1";
        let reply = harness.get(&format!("/2018-10-31/layers?find=LayerVersion&Arn={arn}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "AccessDeniedException"));
    }
}
