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
use lambic_store::{Stored, Transaction};
use lambic_wire::{Arn, Error};

use super::change::write;
use super::get_layer_version_policy::document;
use super::layers::{ATTEMPTS_MAX, LayerName, own_version, policy};
use super::settings::refuse_if;
use crate::Lambda;
use crate::limits::{POLICY_BYTES_MAX, policy_too_large, too_many_changes};
use crate::state::layer::LayerVersionRecord;
use crate::state::layer_policy::{LayerPolicyRecord, LayerStatement};

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
        // There are no organizations that an account could be in.
        refuse_if(input.organization_id.is_some(), "OrganizationId")?;
        let statement = LayerStatement { id: input.statement_id, principal: input.principal };
        for _ in 0..ATTEMPTS_MAX {
            let (layer, record) = own_version(cx, &input.layer_name, version, action).await?;
            let revision_id = input.revision_id.as_deref();
            if let Some(added) = add(cx, &layer, &record, &statement, revision_id).await? {
                return Ok(added);
            }
        }
        Err(too_many_changes())
    }
}

/// One attempt. `None`: the version or its policy has been changed meanwhile.
async fn add(
    cx: &Cx<'_, Lambda>,
    layer: &LayerName,
    record: &Stored<LayerVersionRecord>,
    statement: &LayerStatement,
    revision_id: Option<&str>,
) -> Result<Option<AddLayerVersionPermissionResponse>, Error> {
    let stored = policy(cx, layer, record.value.version as i64).await?;
    let present = stored.as_ref().map(|stored| &stored.value);
    check_revision(present, revision_id)?;
    let mut statements = present.map(|record| record.statements.clone()).unwrap_or_default();
    if statements.iter().any(|known| known.id == statement.id) {
        return Err(errors::resource_conflict(format!(
            "The statement id ({}) provided already exists. Please provide a new statement id, or \
             remove the existing statement.",
            statement.id
        )));
    }
    statements.push(statement.clone());
    let next = LayerPolicyRecord { statements, revision_id: cx.rt.uuid() };
    let arn = record.value.arn();
    let bytes = document(&next, &arn).len();
    if bytes > POLICY_BYTES_MAX {
        return Err(policy_too_large(bytes));
    }
    let mut transaction = Transaction::new();
    // A policy does not outlive its version.
    transaction.expect_unchanged(record);
    match &stored {
        Some(stored) => transaction.replace(stored, &next),
        None => transaction.insert(&record.segments(), &next),
    }
    let committed = write(cx, transaction).await?;
    Ok(committed.map(|_| AddLayerVersionPermissionResponse {
        statement: Some(statement.document(&arn).to_string()),
        revision_id: Some(next.revision_id),
    }))
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

    use super::{LayerStatement, add, own_version, policy};
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

    #[tokio::test]
    async fn a_version_that_is_deleted_meanwhile_gets_no_policy() {
        let harness = Harness::with_layer().await;
        let call = harness.call();
        let cx = call.cx(&*harness.lambda);
        let (layer, record) = own_version(&cx, "shared", 1, "a").await.unwrap();
        assert_eq!(harness.delete("/2018-10-31/layers/shared/versions/1").await.status, 204);
        let statement = LayerStatement { id: "s".into(), principal: "*".into() };
        assert!(add(&cx, &layer, &record, &statement, None).await.unwrap().is_none());
        assert!(policy(&cx, &layer, 1).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn many_at_once_are_all_added() {
        let harness = Harness::with_layer().await;
        let adds = (0..32).map(|number| {
            let body = json!({
                "StatementId": format!("s{number}"), "Action": "lambda:GetLayerVersion",
                "Principal": "*",
            });
            let harness = &harness;
            async move { harness.post(PATH, &body).await.status }
        });
        let statuses = futures_util::future::join_all(adds).await;
        assert!(statuses.iter().all(|status| *status == 201), "{statuses:?}");
        let shown = harness.get(PATH).await.json();
        let policy = shown["Policy"].as_str().unwrap();
        let policy: serde_json::Value = serde_json::from_str(policy).unwrap();
        assert_eq!(policy["Statement"].as_array().unwrap().len(), 32);
    }
}
