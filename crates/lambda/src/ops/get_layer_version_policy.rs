//! Who else may use a version of a layer.
//!
//! ```text
//! GET /2018-10-31/layers/shared/versions/1/policy
//!
//! 200
//! {"Policy": "{\"Version\":\"2012-10-17\",\"Id\":\"default\",\"Statement\":[{\"Sid\":\"all\",\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"lambda:GetLayerVersion\",\"Resource\":\"arn:aws:lambda:us-east-1:000000000000:layer:shared:1\"}]}",
//!  "RevisionId": "<any>"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{GetLayerVersionPolicyRequest, GetLayerVersionPolicyResponse};
use lambic_wire::{Arn, Error, Fault, MessageKey};
use serde_json::json;

use super::layers::{LayerName, own_version, policy};
use crate::Lambda;
use crate::state::layer_policy::LayerPolicyRecord;

/// The operation.
pub struct GetLayerVersionPolicy;

impl Serve for GetLayerVersionPolicy {
    type Service = Lambda;
    type Operation = model::ops::GetLayerVersionPolicy;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetLayerVersionPolicyRequest) -> Arn {
        LayerName::resolve(cx, &input.layer_name).version_resource(input.version_number)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetLayerVersionPolicyRequest,
    ) -> Result<GetLayerVersionPolicyResponse, Error> {
        let version = input.version_number;
        let action = "lambda:GetLayerVersionPolicy";
        let (layer, _) = own_version(cx, &input.layer_name, version, action).await?;
        let stored = policy(cx, &layer, version).await?.ok_or_else(no_policy)?;
        let arn = format!("{}:{version}", layer.arn());
        Ok(GetLayerVersionPolicyResponse {
            policy: Some(document(&stored.value, &arn)),
            revision_id: Some(stored.value.revision_id),
        })
    }
}

/// The policy's document as AWS writes it.
pub(super) fn document(record: &LayerPolicyRecord, version_arn: &str) -> String {
    let statements: Vec<_> =
        record.statements.iter().map(|statement| statement.document(version_arn)).collect();
    json!({"Version": "2012-10-17", "Id": "default", "Statement": statements}).to_string()
}

fn no_policy() -> Error {
    Error::new("ResourceNotFoundException", 404, "No policy is associated with the given resource.")
        .with_message_key(MessageKey::Upper)
        .with_fault(Fault::User)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_layer().await;
        let path = "/2018-10-31/layers/shared/versions/1/policy";
        let none = harness.get(path).await;
        assert_eq!(
            (none.status, none.message().as_str()),
            (404, "No policy is associated with the given resource.")
        );
        let body = json!({
            "StatementId": "all", "Action": "lambda:GetLayerVersion", "Principal": "*",
        });
        assert_eq!(harness.post(path, &body).await.status, 201);
        harness.check(&documented(include_str!("get_layer_version_policy.rs"))).await;
    }
}
