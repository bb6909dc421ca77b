//! Takes back what AddLayerVersionPermission gave. Functions that use the version go on.
//!
//! ```text
//! DELETE /2018-10-31/layers/shared/versions/1/policy/all
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::RemoveLayerVersionPermissionRequest;
use lambic_store::Transaction;
use lambic_wire::{Arn, Error, Fault, MessageKey};

use super::add_layer_version_permission::check_revision;
use super::change::write;
use super::layers::{ATTEMPTS_MAX, LayerName, own_version, policy};
use crate::Lambda;
use crate::limits::too_many_changes;
use crate::state::layer_policy::LayerPolicyRecord;

/// The operation.
pub struct RemoveLayerVersionPermission;

impl Serve for RemoveLayerVersionPermission {
    type Service = Lambda;
    type Operation = model::ops::RemoveLayerVersionPermission;

    fn resource(cx: &Cx<'_, Lambda>, input: &RemoveLayerVersionPermissionRequest) -> Arn {
        LayerName::resolve(cx, &input.layer_name).version_resource(input.version_number)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: RemoveLayerVersionPermissionRequest,
    ) -> Result<(), Error> {
        let version = input.version_number;
        let action = "lambda:RemoveLayerVersionPermission";
        let (layer, _) = own_version(cx, &input.layer_name, version, action).await?;
        for _ in 0..ATTEMPTS_MAX {
            let stored = policy(cx, &layer, version).await?;
            let stored = stored.ok_or_else(|| no_statement(&input.statement_id))?;
            let mut statements = stored.value.statements.clone();
            statements.retain(|statement| statement.id != input.statement_id);
            if statements.len() == stored.value.statements.len() {
                return Err(no_statement(&input.statement_id));
            }
            check_revision(Some(&stored.value), input.revision_id.as_deref())?;
            let mut transaction = Transaction::new();
            if statements.is_empty() {
                transaction.remove(&stored);
            } else {
                let revision_id = cx.rt.uuid();
                transaction.replace(&stored, &LayerPolicyRecord { statements, revision_id });
            }
            if write(cx, transaction).await?.is_some() {
                return Ok(());
            }
        }
        Err(too_many_changes())
    }
}

fn no_statement(id: &str) -> Error {
    let text = format!("Statement {id} is not found in resource policy.");
    Error::new("ResourceNotFoundException", 404, text)
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
        let body = json!({
            "StatementId": "all", "Action": "lambda:GetLayerVersion", "Principal": "*",
        });
        assert_eq!(harness.post(path, &body).await.status, 201);
        harness.check(&documented(include_str!("remove_layer_version_permission.rs"))).await;
        let again = harness.delete(&format!("{path}/all")).await;
        assert_eq!(
            (again.status, again.message().as_str()),
            (404, "Statement all is not found in resource policy.")
        );
        // The last statement took the policy with it.
        assert_eq!(harness.get(path).await.status, 404);
    }
}
