//! Every operation of AWS Lambda and where it lives: the newcomer's index.

use lambic_front::{Cx, serve};
use lambic_model_lambda::Op;
use lambic_wire::{Error, Labels, Request, Response};

use crate::Lambda;
use crate::ops;

/// Runs one operation.
///
/// # Errors
/// The operation's own; 501 naming it when it is not offered.
#[rustfmt::skip] // One operation, one line.
pub(crate) async fn dispatch(
    cx: &Cx<'_, Lambda>,
    op: Op,
    request: Request,
    labels: Labels,
) -> Result<Response, Error> {
    match op {
        Op::AddLayerVersionPermission => serve::<ops::AddLayerVersionPermission>(cx, request, labels).await,
        Op::AddPermission => serve::<ops::AddPermission>(cx, request, labels).await,
        Op::CreateAlias => serve::<ops::CreateAlias>(cx, request, labels).await,
        Op::CreateCodeSigningConfig => serve::<ops::CreateCodeSigningConfig>(cx, request, labels).await,
        Op::CreateEventSourceMapping => serve::<ops::CreateEventSourceMapping>(cx, request, labels).await,
        Op::CreateFunction => serve::<ops::CreateFunction>(cx, request, labels).await,
        Op::CreateFunctionUrlConfig => serve::<ops::CreateFunctionUrlConfig>(cx, request, labels).await,
        Op::DeleteAlias => serve::<ops::DeleteAlias>(cx, request, labels).await,
        Op::DeleteCodeSigningConfig => serve::<ops::DeleteCodeSigningConfig>(cx, request, labels).await,
        Op::DeleteEventSourceMapping => serve::<ops::DeleteEventSourceMapping>(cx, request, labels).await,
        Op::DeleteFunction => serve::<ops::DeleteFunction>(cx, request, labels).await,
        Op::DeleteFunctionCodeSigningConfig => serve::<ops::DeleteFunctionCodeSigningConfig>(cx, request, labels).await,
        Op::DeleteFunctionConcurrency => serve::<ops::DeleteFunctionConcurrency>(cx, request, labels).await,
        Op::DeleteFunctionEventInvokeConfig => serve::<ops::DeleteFunctionEventInvokeConfig>(cx, request, labels).await,
        Op::DeleteFunctionUrlConfig => serve::<ops::DeleteFunctionUrlConfig>(cx, request, labels).await,
        Op::DeleteLayerVersion => serve::<ops::DeleteLayerVersion>(cx, request, labels).await,
        Op::DeleteProvisionedConcurrencyConfig => serve::<ops::DeleteProvisionedConcurrencyConfig>(cx, request, labels).await,
        Op::DeleteResourcePolicy => serve::<ops::DeleteResourcePolicy>(cx, request, labels).await,
        Op::GetAccountSettings => serve::<ops::GetAccountSettings>(cx, request, labels).await,
        Op::GetAlias => serve::<ops::GetAlias>(cx, request, labels).await,
        Op::GetCodeSigningConfig => serve::<ops::GetCodeSigningConfig>(cx, request, labels).await,
        Op::GetEventSourceMapping => serve::<ops::GetEventSourceMapping>(cx, request, labels).await,
        Op::GetFunction => serve::<ops::GetFunction>(cx, request, labels).await,
        Op::GetFunctionCodeSigningConfig => serve::<ops::GetFunctionCodeSigningConfig>(cx, request, labels).await,
        Op::GetFunctionConcurrency => serve::<ops::GetFunctionConcurrency>(cx, request, labels).await,
        Op::GetFunctionConfiguration => serve::<ops::GetFunctionConfiguration>(cx, request, labels).await,
        Op::GetFunctionEventInvokeConfig => serve::<ops::GetFunctionEventInvokeConfig>(cx, request, labels).await,
        Op::GetFunctionRecursionConfig => serve::<ops::GetFunctionRecursionConfig>(cx, request, labels).await,
        Op::GetFunctionUrlConfig => serve::<ops::GetFunctionUrlConfig>(cx, request, labels).await,
        Op::GetLayerVersion => serve::<ops::GetLayerVersion>(cx, request, labels).await,
        Op::GetLayerVersionByArn => serve::<ops::GetLayerVersionByArn>(cx, request, labels).await,
        Op::GetLayerVersionPolicy => serve::<ops::GetLayerVersionPolicy>(cx, request, labels).await,
        Op::GetPolicy => serve::<ops::GetPolicy>(cx, request, labels).await,
        Op::GetProvisionedConcurrencyConfig => serve::<ops::GetProvisionedConcurrencyConfig>(cx, request, labels).await,
        Op::GetResourcePolicy => serve::<ops::GetResourcePolicy>(cx, request, labels).await,
        Op::GetRuntimeManagementConfig => serve::<ops::GetRuntimeManagementConfig>(cx, request, labels).await,
        Op::Invoke => serve::<ops::Invoke>(cx, request, labels).await,
        Op::InvokeWithResponseStream => serve::<ops::InvokeWithResponseStream>(cx, request, labels).await,
        Op::ListAliases => serve::<ops::ListAliases>(cx, request, labels).await,
        Op::ListCodeSigningConfigs => serve::<ops::ListCodeSigningConfigs>(cx, request, labels).await,
        Op::ListEventSourceMappings => serve::<ops::ListEventSourceMappings>(cx, request, labels).await,
        Op::ListFunctionEventInvokeConfigs => serve::<ops::ListFunctionEventInvokeConfigs>(cx, request, labels).await,
        Op::ListFunctionUrlConfigs => serve::<ops::ListFunctionUrlConfigs>(cx, request, labels).await,
        Op::ListFunctions => serve::<ops::ListFunctions>(cx, request, labels).await,
        Op::ListFunctionsByCodeSigningConfig => serve::<ops::ListFunctionsByCodeSigningConfig>(cx, request, labels).await,
        Op::ListLayerVersions => serve::<ops::ListLayerVersions>(cx, request, labels).await,
        Op::ListLayers => serve::<ops::ListLayers>(cx, request, labels).await,
        Op::ListProvisionedConcurrencyConfigs => serve::<ops::ListProvisionedConcurrencyConfigs>(cx, request, labels).await,
        Op::ListTags => serve::<ops::ListTags>(cx, request, labels).await,
        Op::ListVersionsByFunction => serve::<ops::ListVersionsByFunction>(cx, request, labels).await,
        Op::PublishLayerVersion => serve::<ops::PublishLayerVersion>(cx, request, labels).await,
        Op::PublishVersion => serve::<ops::PublishVersion>(cx, request, labels).await,
        Op::PutFunctionCodeSigningConfig => serve::<ops::PutFunctionCodeSigningConfig>(cx, request, labels).await,
        Op::PutFunctionConcurrency => serve::<ops::PutFunctionConcurrency>(cx, request, labels).await,
        Op::PutFunctionEventInvokeConfig => serve::<ops::PutFunctionEventInvokeConfig>(cx, request, labels).await,
        Op::PutFunctionRecursionConfig => serve::<ops::PutFunctionRecursionConfig>(cx, request, labels).await,
        Op::PutProvisionedConcurrencyConfig => serve::<ops::PutProvisionedConcurrencyConfig>(cx, request, labels).await,
        Op::PutResourcePolicy => serve::<ops::PutResourcePolicy>(cx, request, labels).await,
        Op::PutRuntimeManagementConfig => serve::<ops::PutRuntimeManagementConfig>(cx, request, labels).await,
        Op::RemoveLayerVersionPermission => serve::<ops::RemoveLayerVersionPermission>(cx, request, labels).await,
        Op::RemovePermission => serve::<ops::RemovePermission>(cx, request, labels).await,
        Op::TagResource => serve::<ops::TagResource>(cx, request, labels).await,
        Op::UntagResource => serve::<ops::UntagResource>(cx, request, labels).await,
        Op::UpdateAlias => serve::<ops::UpdateAlias>(cx, request, labels).await,
        Op::UpdateCodeSigningConfig => serve::<ops::UpdateCodeSigningConfig>(cx, request, labels).await,
        Op::UpdateEventSourceMapping => serve::<ops::UpdateEventSourceMapping>(cx, request, labels).await,
        Op::UpdateFunctionCode => serve::<ops::UpdateFunctionCode>(cx, request, labels).await,
        Op::UpdateFunctionConfiguration => serve::<ops::UpdateFunctionConfiguration>(cx, request, labels).await,
        Op::UpdateFunctionEventInvokeConfig => serve::<ops::UpdateFunctionEventInvokeConfig>(cx, request, labels).await,
        Op::UpdateFunctionUrlConfig => serve::<ops::UpdateFunctionUrlConfig>(cx, request, labels).await,

        // Not offered yet. `not-offered.txt` repeats them and may only shrink.
        Op::CheckpointDurableExecution | Op::CreateCapacityProvider | Op::DeleteCapacityProvider
        | Op::DeleteDurableExecution | Op::GetCapacityProvider | Op::GetDurableExecution
        | Op::GetDurableExecutionHistory | Op::GetDurableExecutionState
        | Op::GetFunctionScalingConfig | Op::InvokeAsync | Op::ListCapacityProviders
        | Op::ListDurableExecutionsByFunction | Op::ListFunctionVersionsByCapacityProvider
        | Op::PauseDurableExecution | Op::PutFunctionScalingConfig | Op::ResumeDurableExecution
        | Op::SendDurableExecutionCallbackFailure | Op::SendDurableExecutionCallbackHeartbeat
        | Op::SendDurableExecutionCallbackSuccess | Op::StopDurableExecution
        | Op::UpdateCapacityProvider => {
            Err(Error::not_offered(op.name()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::Harness;

    const NOT_OFFERED: &str = include_str!("../not-offered.txt");

    #[tokio::test]
    async fn what_is_not_offered_stands_in_the_list() {
        let harness = Harness::new().await;
        let call = harness.call();
        let mut refused = Vec::new();
        for op in Op::ALL {
            let request = Harness::request("GET", "/", b"");
            let result = dispatch(&call.cx(&*harness.lambda), *op, request, Vec::new()).await;
            if let Err(error) = result
                && error.status == 501
            {
                assert!(error.message.contains(op.name()), "{}", error.message);
                refused.push(op.name());
            }
        }
        let listed: Vec<&str> = NOT_OFFERED.lines().collect();
        assert_eq!(refused, listed, "not-offered.txt must repeat dispatch.rs");
        assert!(listed.len() <= 81, "the list of what is not offered may only shrink");
    }
}
