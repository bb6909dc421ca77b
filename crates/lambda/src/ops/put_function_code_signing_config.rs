//! Makes a function use a code signing configuration, in the place of another if it has one. It holds for
//! packages and layers that the function gets from now on; what it has goes on running.
//!
//! ```text
//! PUT /2020-06-30/functions/hello/code-signing-config
//! {"CodeSigningConfigArn": "<config>"}
//!
//! 200
//! {"CodeSigningConfigArn": "<config>", "FunctionName": "hello"}
//! ```

use lambic_front::{Cx, Serve};
use lambic_model_lambda as model;
use lambic_model_lambda::{
    PutFunctionCodeSigningConfigRequest, PutFunctionCodeSigningConfigResponse,
};
use lambic_store::Transaction;
use lambic_wire::{Arn, Error};

use super::change::{commit, in_progress, read};
use super::code_signing::{ATTEMPTS_MAX, begin_use, end_use, read_for_function};
use crate::Lambda;
use crate::names;
use crate::state::function::FunctionRecord;

/// The operation.
pub struct PutFunctionCodeSigningConfig;

impl Serve for PutFunctionCodeSigningConfig {
    type Service = Lambda;
    type Operation = model::ops::PutFunctionCodeSigningConfig;

    fn resource(cx: &Cx<'_, Lambda>, input: &PutFunctionCodeSigningConfigRequest) -> Arn {
        names::resource(cx.account, cx.region, &input.function_name)
    }

    async fn run(
        cx: &Cx<'_, Lambda>,
        input: PutFunctionCodeSigningConfigRequest,
    ) -> Result<PutFunctionCodeSigningConfigResponse, Error> {
        let target = names::resolve_unqualified(cx.account, cx.region, &input.function_name)?;
        for _ in 0..ATTEMPTS_MAX {
            let arn = &input.code_signing_config_arn;
            let config = read_for_function(cx, &target.account, arn).await?;
            let stored = read(cx, &target).await?;
            let code_signing_config = Some(config.value.arn());
            let next = FunctionRecord { code_signing_config, ..stored.value.clone() };
            if next != stored.value {
                let mut transaction = Transaction::new();
                end_use(cx, &mut transaction, &stored.value);
                begin_use(&mut transaction, &config, &target.name);
                transaction.replace(&stored, &next);
                if commit(cx, transaction).await?.is_none() {
                    continue;
                }
            }
            return Ok(PutFunctionCodeSigningConfigResponse {
                code_signing_config_arn: config.value.arn(),
                function_name: target.name,
            });
        }
        Err(in_progress(&target))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::ops::testing::{Harness, documented};

    const PATH: &str = "/2020-06-30/functions/hello/code-signing-config";

    #[tokio::test]
    async fn as_documented() {
        let harness = Harness::with_hello().await;
        let config = harness.code_signing_config("Enforce").await;
        let before = harness.get("/2015-03-31/functions/hello/configuration").await.json();
        let source = include_str!("put_function_code_signing_config.rs");
        let example = documented(&source.replace("<config>", &config));
        harness.check(&example).await;
        harness.check(&example).await;
        let after = harness.get("/2015-03-31/functions/hello/configuration").await.json();
        assert_eq!(before, after);
    }

    #[tokio::test]
    async fn another_takes_the_place_of_the_first() {
        let harness = Harness::with_hello().await;
        let (first, second) =
            (harness.code_signing_config("Warn").await, harness.code_signing_config("Warn").await);
        let users = async |config: &str| {
            let path = format!("/2020-04-22/code-signing-configs/{config}/functions");
            harness.get(&path).await.json()["FunctionArns"].as_array().unwrap().len()
        };
        for config in [&first, &second] {
            harness.put(PATH, &json!({"CodeSigningConfigArn": config})).await;
            assert_eq!(users(config).await, 1);
        }
        assert_eq!(users(&first).await, 0);
        assert_eq!(harness.get(PATH).await.json()["CodeSigningConfigArn"], second);
    }

    #[tokio::test]
    async fn what_is_not_there() {
        let harness = Harness::with_hello().await;
        let config = harness.code_signing_config("Warn").await;
        let none = format!("{}x", &config[..config.len() - 1]);
        let foreign = config.replace("000000000000", "111111111111");
        let nobody = PATH.replace("hello", "nobody");
        for (path, arn) in [(PATH, &none), (&nobody, &none), (PATH, &foreign)] {
            let reply = harness.put(path, &json!({"CodeSigningConfigArn": arn})).await;
            assert_eq!(
                (reply.status, reply.code().as_str(), reply.message()),
                (
                    404,
                    "CodeSigningConfigNotFoundException",
                    format!(
                        "The code signing configuration cannot be found. Check that the provided \
                         configuration is not deleted: {arn}."
                    )
                )
            );
            assert_eq!(reply.json()["Type"], "User");
        }
        let reply = harness.put(&nobody, &json!({"CodeSigningConfigArn": config})).await;
        assert_eq!(
            (reply.status, reply.message().as_str()),
            (404, "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nobody")
        );
        let reply = harness.put(PATH, &json!({"CodeSigningConfigArn": "csc-1"})).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "ValidationException"));
    }
}
