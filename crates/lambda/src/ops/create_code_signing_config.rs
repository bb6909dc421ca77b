//! Creates a code signing configuration: who may sign packages, and what becomes of those that they have
//! not signed. Without a policy it is `Warn`: they are deployed, and the log says so.
//!
//! ```text
//! POST /2020-04-22/code-signing-configs
//! {"Description": "ours", "AllowedPublishers": {"SigningProfileVersionArns":
//!  ["arn:aws:signer:us-east-1:000000000000:/signing-profiles/release/abcdefghij"]},
//!  "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Enforce"}, "Tags": {"team": "blue"}}
//!
//! 201
//! {"CodeSigningConfig": {"CodeSigningConfigId": "<any>", "CodeSigningConfigArn": "<any>",
//!  "Description": "ours", "AllowedPublishers": {"SigningProfileVersionArns":
//!  ["arn:aws:signer:us-east-1:000000000000:/signing-profiles/release/abcdefghij"]},
//!  "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Enforce"}, "LastModified": "<any>"}}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{CreateCodeSigningConfigRequest, CreateCodeSigningConfigResponse};
use lambic_rt::Rt;
use lambic_store::Transaction;
use lambic_wire::{Arn, Error};

use super::change::write;
use super::code_signing::{ATTEMPTS_MAX, enforced, show};
use super::settings;
use crate::Lambda;
use crate::limits::too_many_changes;
use crate::state::code_signing::CodeSigningRecord;

/// The operation.
pub struct CreateCodeSigningConfig;

impl Serve for CreateCodeSigningConfig {
    type Service = Lambda;
    type Operation = model::ops::CreateCodeSigningConfig;

    fn resource(cx: &Cx<'_, Lambda>, _input: &CreateCodeSigningConfigRequest) -> Arn {
        Arn::new("lambda", cx.region, cx.account, "code-signing-config:*")
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: CreateCodeSigningConfigRequest,
    ) -> Result<CreateCodeSigningConfigResponse, Error> {
        let mut record = CodeSigningRecord {
            account: cx.account.to_owned(),
            region: cx.region.to_owned(),
            id: String::new(),
            description: input.description,
            publishers: input.allowed_publishers.signing_profile_version_arns,
            enforced: input.code_signing_policies.as_ref().is_some_and(enforced),
            tags: settings::tags(input.tags.unwrap_or_default())?,
            last_modified_micros: cx.rt.now().micros(),
        };
        for _ in 0..ATTEMPTS_MAX {
            record.id = new_id(cx.rt);
            let mut transaction = Transaction::new();
            transaction.insert(&record.key(), &record);
            if write(cx, transaction).await?.is_some() {
                return Ok(CreateCodeSigningConfigResponse { code_signing_config: show(&record) });
            }
        }
        Err(too_many_changes())
    }
}

/// In the form of AWS's: `csc-` and 17 hexadecimal digits.
fn new_id(rt: &Rt) -> String {
    let mut random = [0; 8];
    rt.fill_random(&mut random);
    format!("csc-0{:016x}", u64::from_le_bytes(random))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2020-04-22/code-signing-configs";
    const PROFILE: &str =
        "arn:aws:signer:us-east-1:000000000000:/signing-profiles/release/abcdefghij";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::new().await;
        harness.check(&documented(include_str!("create_code_signing_config.rs"))).await;
    }

    #[tokio::test]
    async fn the_default_is_to_warn() {
        let harness = Harness::new().await;
        let publishers = json!({"SigningProfileVersionArns": [PROFILE]});
        for policies in [json!(null), json!({})] {
            let body = json!({"AllowedPublishers": publishers, "CodeSigningPolicies": policies});
            let config = harness.post(PATH, &body).await.json()["CodeSigningConfig"].take();
            let policies = &config["CodeSigningPolicies"];
            assert_eq!(*policies, json!({"UntrustedArtifactOnDeployment": "Warn"}));
            assert!(config.get("Description").is_none());
            let id = config["CodeSigningConfigId"].as_str().unwrap();
            assert!(id.len() == 21 && id.starts_with("csc-"), "{id}");
            let arn = format!("arn:aws:lambda:us-east-1:000000000000:code-signing-config:{id}");
            assert_eq!(config["CodeSigningConfigArn"], arn);
        }
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::new().await;
        let of = |arns: Vec<&str>| json!({"SigningProfileVersionArns": arns});
        let cases = [
            (json!({}), "Value null at 'allowedPublishers'"),
            (
                json!({"AllowedPublishers": of(vec![])}),
                "at 'allowedPublishers.signingProfileVersionArns' failed to satisfy constraint: \
                 Member must have length greater than or equal to 1",
            ),
            (
                json!({"AllowedPublishers": of(vec![PROFILE; 21])}),
                "Member must have length less than or equal to 20",
            ),
            (
                json!({"AllowedPublishers": of(vec!["release"])}),
                "at 'allowedPublishers.signingProfileVersionArns'",
            ),
            (
                json!({
                    "AllowedPublishers": of(vec![PROFILE]),
                    "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Ignore"},
                }),
                "at 'codeSigningPolicies.untrustedArtifactOnDeployment'",
            ),
        ];
        for (body, text) in cases {
            let reply = harness.post(PATH, &body).await;
            assert_eq!((reply.status, reply.code().as_str()), (400, "ValidationException"));
            assert!(reply.message().contains(text), "{body}: {}", reply.message());
        }
        let body = json!({"AllowedPublishers": of(vec![PROFILE]), "Tags": {"aws:a": "b"}});
        assert_eq!(harness.post(PATH, &body).await.code(), "InvalidParameterValueException");
        let none = harness.get(PATH).await.json();
        assert_eq!(none, json!({"CodeSigningConfigs": []}));
    }
}
