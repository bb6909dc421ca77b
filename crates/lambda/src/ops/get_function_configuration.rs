//! The settings of a function.
//!
//! ```text
//! GET /2015-03-31/functions/hello/configuration
//!
//! 200
//! {"FunctionName": "hello", "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello",
//!  "Runtime": "python3.13", "Role": "arn:aws:iam::000000000000:role/r",
//!  "Handler": "main.handler", "CodeSize": "<any>", "Description": "", "Timeout": 3,
//!  "MemorySize": 128, "LastModified": "<any>", "CodeSha256": "<any>", "Version": "$LATEST",
//!  "TracingConfig": {"Mode": "PassThrough"}, "RevisionId": "<any>", "State": "Active",
//!  "LastUpdateStatus": "Successful",
//!  "PackageType": "Zip", "Architectures": ["x86_64"], "EphemeralStorage": {"Size": 512},
//!  "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
//!  "RuntimeVersionConfig": {"RuntimeVersionArn": "<any>"},
//!  "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/hello"}}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{FunctionConfiguration, GetFunctionConfigurationRequest};
use lambic_wire::{Arn, Error};

use super::qualifier::shown;
use crate::Lambda;
use crate::names;

/// The operation.
pub struct GetFunctionConfiguration;

impl Serve for GetFunctionConfiguration {
    type Service = Lambda;
    type Operation = model::ops::GetFunctionConfiguration;

    fn resource(cx: &Cx<'_, Lambda>, input: &GetFunctionConfigurationRequest) -> Arn {
        let qualifier = input.qualifier.as_deref();
        names::qualified_resource(cx.account, cx.region, &input.function_name, qualifier)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: GetFunctionConfigurationRequest,
    ) -> Result<FunctionConfiguration, Error> {
        let qualifier = input.qualifier.as_deref();
        let target = names::resolve(cx.account, cx.region, &input.function_name, qualifier)?;
        let (_, shown, _) = shown(cx, &target).await?;
        Ok(shown)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{Harness, documented};

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        harness.check(&documented(include_str!("get_function_configuration.rs"))).await;
    }

    #[tokio::test]
    async fn qualifiers() {
        let harness = Harness::with_hello().await;
        let arn = "arn:aws:lambda:us-east-1:000000000000:function:hello";
        let get = async |rest: &str| harness.get(&format!("/2015-03-31/functions/{rest}")).await;
        let reply = get("hello/configuration?Qualifier=$LATEST").await;
        assert_eq!(reply.json()["FunctionArn"], format!("{arn}:$LATEST"));
        let reply = get("hello:%24LATEST/configuration").await;
        assert_eq!(reply.json()["FunctionArn"], format!("{arn}:$LATEST"));
        let reply = get("hello/configuration?Qualifier=7").await;
        assert_eq!((reply.status, reply.message()), (404, format!("Function not found: {arn}:7")));
        let reply = get("nobody/configuration").await;
        assert!(reply.message().ends_with("function:nobody"), "{reply:?}");
        let reply =
            get("arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Ahello/configuration");
        assert_eq!(reply.await.status, 200);
        let reply = get("111111111111%3Ahello/configuration").await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "AccessDeniedException"));
    }
}
