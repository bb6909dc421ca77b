//! One code signing configuration.
//!
//! ```text
//! GET /2020-04-22/code-signing-configs/<config>
//!
//! 200
//! {"CodeSigningConfig": {"CodeSigningConfigId": "<any>", "CodeSigningConfigArn": "<any>",
//!  "AllowedPublishers": {"SigningProfileVersionArns":
//!  ["arn:aws:signer:us-east-1:000000000000:/signing-profiles/release/abcdefghij"]},
//!  "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Enforce"}, "LastModified": "<any>"}}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{GetCodeSigningConfigRequest, GetCodeSigningConfigResponse};
use lambic_wire::{Arn, Error};

use super::code_signing::{read, resource, show};
use crate::Lambda;

/// The operation.
pub struct GetCodeSigningConfig;

impl Serve for GetCodeSigningConfig {
    type Service = Lambda;
    type Operation = model::ops::GetCodeSigningConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetCodeSigningConfigRequest) -> Arn {
        resource(cx, &input.code_signing_config_arn)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetCodeSigningConfigRequest,
    ) -> Result<GetCodeSigningConfigResponse, Error> {
        let stored = read(cx, &input.code_signing_config_arn).await?;
        Ok(GetCodeSigningConfigResponse { code_signing_config: show(&stored.value) })
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::new().await;
        let config = harness.code_signing_config("Enforce").await;
        let source = include_str!("get_code_signing_config.rs");
        harness.check(&documented(&source.replace("<config>", &config))).await;
    }

    #[tokio::test]
    async fn none() {
        let harness = Harness::new().await;
        let ours =
            "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0";
        for arn in [ours.to_owned(), ours.replace("us-east-1", "eu-west-1")] {
            let reply = harness.get(&format!("/2020-04-22/code-signing-configs/{arn}")).await;
            assert_eq!(
                (reply.status, reply.code().as_str(), reply.message()),
                (
                    404,
                    "ResourceNotFoundException",
                    format!("The Lambda code signing configuration {arn} can not be found.")
                )
            );
            assert!(reply.json().get("Message").is_some() && reply.json().get("Type").is_none());
        }
        let theirs = ours.replace("000000000000", "111111111111");
        let reply = harness.get(&format!("/2020-04-22/code-signing-configs/{theirs}")).await;
        assert_eq!(reply.code(), "AccessDeniedException");
    }
}
