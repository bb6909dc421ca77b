//! Changes a code signing configuration; members that are not given stay as they are. It holds for
//! deployments from now on, and not for what is deployed.
//!
//! ```text
//! PUT /2020-04-22/code-signing-configs/<config>
//! {"Description": "ours", "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Warn"}}
//!
//! 200
//! {"CodeSigningConfig": {"CodeSigningConfigId": "<any>", "CodeSigningConfigArn": "<any>",
//!  "Description": "ours", "AllowedPublishers": {"SigningProfileVersionArns":
//!  ["arn:aws:signer:us-east-1:000000000000:/signing-profiles/release/abcdefghij"]},
//!  "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Warn"}, "LastModified": "<any>"}}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{UpdateCodeSigningConfigRequest, UpdateCodeSigningConfigResponse};
use lambic_wire::{Arn, Error};

use super::code_signing::{edit, enforced, resource, show};
use crate::Lambda;

/// The operation.
pub struct UpdateCodeSigningConfig;

impl Serve for UpdateCodeSigningConfig {
    type Service = Lambda;
    type Operation = model::ops::UpdateCodeSigningConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &UpdateCodeSigningConfigRequest) -> Arn {
        resource(cx, &input.code_signing_config_arn)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: UpdateCodeSigningConfigRequest,
    ) -> Result<UpdateCodeSigningConfigResponse, Error> {
        let changed = edit(cx, &input.code_signing_config_arn, |record| {
            if input.description.is_some() {
                record.description.clone_from(&input.description);
            }
            if let Some(publishers) = &input.allowed_publishers {
                record.publishers.clone_from(&publishers.signing_profile_version_arns);
            }
            let policies = input.code_signing_policies.as_ref();
            if let Some(policies) =
                policies.filter(|policies| policies.untrusted_artifact_on_deployment.is_some())
            {
                record.enforced = enforced(policies);
            }
            record.last_modified_micros = cx.rt.now().micros();
            Ok(())
        });
        Ok(UpdateCodeSigningConfigResponse { code_signing_config: show(&changed.await?) })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::new().await;
        let config = harness.code_signing_config("Enforce").await;
        let source = include_str!("update_code_signing_config.rs");
        harness.check(&documented(&source.replace("<config>", &config))).await;
    }

    #[tokio::test]
    async fn what_is_not_given_stays() {
        let harness = Harness::new().await;
        let config = harness.code_signing_config("Enforce").await;
        let path = format!("/2020-04-22/code-signing-configs/{config}");
        let mut before = harness.get(&path).await.json()["CodeSigningConfig"].take();
        for body in [json!({}), json!({"CodeSigningPolicies": {}})] {
            let mut after = harness.put(&path, &body).await.json()["CodeSigningConfig"].take();
            (before["LastModified"], after["LastModified"]) = (json!(0), json!(0));
            assert_eq!(before, after);
        }
        let other = "arn:aws:signer:us-east-1:000000000000:/signing-profiles/other/0123456789";
        let body = json!({"AllowedPublishers": {"SigningProfileVersionArns": [other]}});
        let after = harness.put(&path, &body).await.json()["CodeSigningConfig"].take();
        assert_eq!(after["AllowedPublishers"]["SigningProfileVersionArns"], json!([other]));
        assert_eq!(after["CodeSigningPolicies"], before["CodeSigningPolicies"]);
        let none = format!("{}x", &path[..path.len() - 1]);
        let reply = harness.put(&none, &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "ResourceNotFoundException"));
        let body = json!({"AllowedPublishers": {"SigningProfileVersionArns": []}});
        assert_eq!(harness.put(&path, &body).await.code(), "ValidationException");
    }
}
