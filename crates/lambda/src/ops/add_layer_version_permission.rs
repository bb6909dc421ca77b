//! Lets another account, or all, use a version of a layer.
//!
//! ```text
//! POST /2018-10-31/layers/shared/versions/1/policy
//! {"StatementId": "friends", "Action": "lambda:GetLayerVersion", "Principal": "111111111111"}
//!
//! 201
//! {"Statement": "{\"Sid\":\"friends\",\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"arn:aws:iam::111111111111:root\"},\"Action\":\"lambda:GetLayerVersion\",\"Resource\":\"arn:aws:lambda:us-east-1:000000000000:layer:shared:1\"}",
//!  "RevisionId": "<any>"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    AddLayerVersionPermissionRequest, AddLayerVersionPermissionResponse, errors,
};
use lambic_store::Transaction;
use lambic_wire::{Arn, Error};

use super::change::write;
use super::layers::{LayerName, own_version, policy};
use super::settings::refuse_if;
use crate::Lambda;
use crate::limits::{POLICY_BYTES_MAX, policy_too_large};
use crate::state::layer_policy::{LayerPolicyRecord, LayerStatement};

/// Attempts before a caller is told to try again.
const ATTEMPTS_MAX: usize = 8;

/// The operation.
pub struct AddLayerVersionPermission;

impl Serve for AddLayerVersionPermission {
    type Service = Lambda;
    type Operation = model::ops::AddLayerVersionPermission;

    fn resource(cx: &Cx<'_, Lambda>, input: &AddLayerVersionPermissionRequest) -> Arn {
        LayerName::resolve(cx, &input.layer_name).version_resource(input.version_number)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: AddLayerVersionPermissionRequest,
    ) -> Result<AddLayerVersionPermissionResponse, Error> {
        let version = input.version_number;
        let action = "lambda:AddLayerVersionPermission";
        let (layer, number) = own_version(cx, &input.layer_name, version, action).await?;
        // There are no organizations that an account could be in.
        refuse_if(input.organization_id.is_some(), "OrganizationId")?;
        let statement = LayerStatement { id: input.statement_id, principal: input.principal };
        for _ in 0..ATTEMPTS_MAX {
            let stored = policy(cx, &layer, version).await?;
            let present = stored.as_ref().map(|stored| &stored.value);
            check_revision(present, input.revision_id.as_deref())?;
            let mut statements =
                present.map(|record| record.statements.clone()).unwrap_or_default();
            if statements.iter().any(|known| known.id == statement.id) {
                return Err(errors::resource_conflict(format!(
                    "The statement id ({}) provided already exists. Please provide a new statement \
                     id, or remove the existing statement.",
                    statement.id
                )));
            }
            statements.push(statement.clone());
            let next = LayerPolicyRecord { statements, revision_id: cx.rt.uuid() };
            let arn = format!("{}:{version}", layer.arn());
            if super::get_layer_version_policy::document(&next, &arn).len() > POLICY_BYTES_MAX {
                return Err(policy_too_large());
            }
            let mut transaction = Transaction::new();
            let key = [layer.account.as_str(), layer.region.as_str(), &layer.name, &number];
            match &stored {
                Some(stored) => transaction.replace(stored, &next),
                None => transaction.insert(&key, &next),
            }
            if write(cx, transaction).await?.is_some() {
                return Ok(AddLayerVersionPermissionResponse {
                    statement: Some(statement.document(&arn).to_string()),
                    revision_id: Some(next.revision_id),
                });
            }
        }
        Err(errors::resource_conflict("Another change of this policy is in progress."))
    }
}

/// Whether the policy is the one that the caller has seen.
pub(super) fn check_revision(
    present: Option<&LayerPolicyRecord>,
    wanted: Option<&str>,
) -> Result<(), Error> {
    let present = present.map(|record| record.revision_id.as_str());
    if wanted.is_some() && wanted != present {
        return Err(errors::precondition_failed(
            "The Revision Id provided does not match the latest Revision Id. Call the \
             GetLayerPolicy API to retrieve the latest Revision Id",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2018-10-31/layers/shared/versions/1/policy";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_layer().await;
        harness.check(&documented(include_str!("add_layer_version_permission.rs"))).await;
    }

    #[tokio::test]
    async fn what_is_refused() {
        let harness = Harness::with_layer().await;
        let body = json!({
            "StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": "*",
        });
        let added = harness.post(PATH, &body).await;
        assert_eq!(added.status, 201);
        let again = harness.post(PATH, &body).await;
        assert_eq!((again.status, again.code().as_str()), (409, "ResourceConflictException"));
        let other = json!({
            "StatementId": "t", "Action": "lambda:GetLayerVersion", "Principal": "*",
        });
        let stale = harness.post(&format!("{PATH}?RevisionId=x"), &other).await;
        assert_eq!((stale.status, stale.code().as_str()), (412, "PreconditionFailedException"));
        let revision = added.json()["RevisionId"].as_str().unwrap().to_owned();
        let fresh = harness.post(&format!("{PATH}?RevisionId={revision}"), &other).await;
        assert_eq!(fresh.status, 201);
        let mut of_organization = body.clone();
        of_organization["OrganizationId"] = json!("o-abcdefghij");
        let refused = harness.post(PATH, &of_organization).await;
        assert_eq!(refused.status, 501);
        assert!(refused.message().contains("OrganizationId"), "{}", refused.message());
        let none = "/2018-10-31/layers/shared/versions/7/policy";
        assert_eq!(harness.post(none, &body).await.status, 404);
    }
}
