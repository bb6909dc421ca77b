//! Deletes a version of a layer. Functions that use it go on as they are; deleting what is not there
//! is no error, as on AWS.
//!
//! ```text
//! DELETE /2018-10-31/layers/shared/versions/1
//!
//! 204
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::DeleteLayerVersionRequest;
use lambic_store::Transaction;
use lambic_wire::{Arn, Error};

use super::change::write;
use super::layers::{LayerName, check_number, denied, find, policy};
use crate::Lambda;
use crate::state::layer_policy::LayerPolicyRecord;

/// The operation.
pub struct DeleteLayerVersion;

impl Serve for DeleteLayerVersion {
    type Service = Lambda;
    type Operation = model::ops::DeleteLayerVersion;

    fn resource(cx: &Cx<'_, Lambda>, input: &DeleteLayerVersionRequest) -> Arn {
        LayerName::resolve(cx, &input.layer_name).version_resource(input.version_number)
    }

    async fn run(cx: &Cx<'_, Lambda>, input: DeleteLayerVersionRequest) -> Result<(), Error> {
        let layer = LayerName::resolve(cx, &input.layer_name);
        if !layer.is_of(cx) {
            return Err(denied(cx, "lambda:DeleteLayerVersion", &layer.arn()));
        }
        check_number(input.version_number)?;
        if let Some(stored) = find(cx, &layer, input.version_number).await? {
            let mut transaction = Transaction::new();
            transaction.remove(&stored);
            if let Some(policy) = policy(cx, &layer, input.version_number).await? {
                transaction.delete::<LayerPolicyRecord>(
                    &policy.key.iter().map(String::as_str).collect::<Vec<_>>(),
                );
            }
            // A version is never altered, so whoever was faster has deleted it too.
            let _ = write(cx, transaction).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_layer().await;
        harness.check(&documented(include_str!("delete_layer_version.rs"))).await;
        assert_eq!(harness.get("/2018-10-31/layers/shared/versions/1").await.status, 404);
        assert_eq!(harness.delete("/2018-10-31/layers/shared/versions/1").await.status, 204);
    }
}
