//! The code signing configurations of an account in a region, up to fifty on a page.
//!
//! ```text
//! GET /2020-04-22/code-signing-configs?MaxItems=10
//!
//! 200
//! {"CodeSigningConfigs": [{"CodeSigningConfigId": "<any>", "CodeSigningConfigArn": "<any>",
//!  "AllowedPublishers": {"SigningProfileVersionArns":
//!  ["arn:aws:signer:us-east-1:000000000000:/signing-profiles/release/abcdefghij"]},
//!  "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Enforce"}, "LastModified": "<any>"}]}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{ListCodeSigningConfigsRequest, ListCodeSigningConfigsResponse};
use lambic_wire::{Arn, Error};

use super::change::read_failed;
use super::code_signing::show;
use super::paging;
use crate::Lambda;
use crate::state::code_signing::CodeSigningRecord;

/// The operation.
pub struct ListCodeSigningConfigs;

impl Serve for ListCodeSigningConfigs {
    type Service = Lambda;
    type Operation = model::ops::ListCodeSigningConfigs;

    fn resource(cx: &Cx<'_, Lambda>, _input: &ListCodeSigningConfigsRequest) -> Arn {
        Arn::new("lambda", cx.region, cx.account, "*")
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: ListCodeSigningConfigsRequest,
    ) -> Result<ListCodeSigningConfigsResponse, Error> {
        let after = paging::after(input.marker.as_deref())?;
        let limit = paging::usual_limit(input.max_items);
        let key = after.as_deref().map(|id| [cx.account, cx.region, id]);
        let key = key.as_ref().map(|key| &key[..]);
        let table = cx.service.store.table::<CodeSigningRecord>();
        let found = table.list(&[cx.account, cx.region], key, limit + 1).await;
        let mut found = found.map_err(read_failed)?;
        let next_marker = paging::cut(&mut found, limit, |last| last.value.id.clone());
        let shown = found.iter().map(|stored| show(&stored.value)).collect();
        Ok(ListCodeSigningConfigsResponse { next_marker, code_signing_configs: Some(shown) })
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2020-04-22/code-signing-configs";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::new().await;
        harness.code_signing_config("Enforce").await;
        harness.check(&documented(include_str!("list_code_signing_configs.rs"))).await;
        // As old SDKs write it.
        assert_eq!(harness.get(&format!("{PATH}/")).await.json(), harness.get(PATH).await.json());
    }

    #[tokio::test]
    async fn pages() {
        let harness = Harness::new().await;
        let mut made = Vec::new();
        for _ in 0..5 {
            made.push(harness.code_signing_config("Warn").await);
        }
        made.sort();
        let (mut seen, mut marker) = (Vec::new(), String::new());
        loop {
            let reply = harness.get(&format!("{PATH}?MaxItems=2&Marker={marker}")).await.json();
            for config in reply["CodeSigningConfigs"].as_array().unwrap() {
                seen.push(config["CodeSigningConfigArn"].as_str().unwrap().to_owned());
            }
            match reply["NextMarker"].as_str() {
                Some(next) => marker = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, made);
        let elsewhere = harness.in_region("eu-west-1").get(PATH).await.json();
        assert_eq!(elsewhere["CodeSigningConfigs"].as_array().unwrap().len(), 0);
        let reply = harness.get(&format!("{PATH}?Marker=nonsense")).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidParameterValueException"));
    }
}
