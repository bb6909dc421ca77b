//! The few names that random requests use, and texts for shapes that want a certain form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::dice::Dice;
use crate::ops::testing::{other_zip, zip_base64};

/// What functions are called.
pub(super) const FUNCTIONS: [&str; 5] = ["f", "f", "f", "g", "a-longer_name"];
/// What layers are called.
pub(super) const LAYERS: [&str; 3] = ["l", "l", "shared"];
const ALIASES: [&str; 3] = ["live", "live", "beta"];
const ACCOUNT: &str = "000000000000";
const UUID: &str = "11111111-2222-3333-4444-555555555555";
const CSC: &str = "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-0123456789abcdef0";

/// How often, in a hundred, a member is given that matters more, or less, than chance would have it.
pub(super) fn chance(owner: &str, member: &str) -> Option<u64> {
    let chance = match (owner, member) {
        ("CreateFunctionRequest", "Runtime" | "Handler") => 97,
        ("FunctionCode" | "UpdateFunctionCodeRequest" | "LayerVersionContentInput", member) => {
            match member {
                "ZipFile" => 97,
                "DryRun" | "Publish" | "RevisionId" => 20,
                _ => 2,
            }
        }
        ("CreateEventSourceMappingRequest", "EventSourceArn") => 85,
        ("CreateEventSourceMappingRequest", "StartingPosition") => 60,
        ("CreateEventSourceMappingRequest" | "UpdateEventSourceMappingRequest", "Enabled") => 90,
        ("CreateEventSourceMappingRequest" | "UpdateEventSourceMappingRequest", _) => 4,
        ("PutFunctionEventInvokeConfigRequest" | "UpdateFunctionEventInvokeConfigRequest", _) => 40,
        ("PutResourcePolicyRequest", "RevisionId") => 10,
        (_, "RevisionId" | "Marker") => 15,
        (_, "TenancyConfig" | "CapacityProviderConfig" | "DurableConfig") => 2,
        (_, "ImageConfig" | "AcceleratorConfig" | "PublishTo" | "PackageType") => 2,
        (_, "KMSKeyArn" | "DurableExecutionName" | "TenantId") => 2,
        _ => return None,
    };
    Some(chance)
}

/// A deployment package as it is sent.
pub(super) fn package(dice: &mut Dice) -> Value {
    json!(match dice.below(20) {
        0 => STANDARD.encode("no zip"),
        1 => String::new(),
        2..=10 => zip_base64(),
        _ => other_zip(),
    })
}

/// An event. Payloads are sent as they are, so this is the text itself.
pub(super) fn event(dice: &mut Dice) -> Value {
    json!(dice.pick(&[
        "{}",
        "1",
        "\"text\"",
        "{\"fail\": 1}",
        "{\"fail\":1}",
        "null",
        "[1, {\"a\": 2}]"
    ]))
}

/// A text for a shape that wants a certain form; `None` for the others.
pub(super) fn text(dice: &mut Dice, member: &str, shape: &str, about: &Value) -> Option<String> {
    let text = match shape {
        "FunctionName" | "NamespacedFunctionName" => function_name(dice, true),
        "UnqualifiedFunctionName" => function_name(dice, false),
        "FunctionUrlFunctionName" => function_name(dice, false),
        "NumericLatestPublishedOrAliasQualifier" | "Qualifier" => qualifier(dice),
        "FunctionUrlQualifier" | "Alias" => dice.pick(&ALIASES).to_owned(),
        "Version" | "VersionWithLatestPublished" => {
            dice.pick(&["1", "1", "1", "2", "2", "3", "$LATEST", "77"]).to_owned()
        }
        "PublishedFunctionQualifier" => dice.pick(&["1", "2", "$LATEST.PUBLISHED"]).to_owned(),
        "AdditionalVersion" => dice.pick(&["1", "2", "3"]).to_owned(),
        "LayerName" | "LayerNameOrArn" => match dice.below(4) {
            0 => format!("arn:aws:lambda:us-east-1:{ACCOUNT}:layer:{}", dice.pick(&LAYERS)),
            _ => dice.pick(&LAYERS).to_owned(),
        },
        "LayerVersionArn" => {
            let (name, number) = (dice.pick(&LAYERS), dice.between(1, 3));
            format!("arn:aws:lambda:us-east-1:{ACCOUNT}:layer:{name}:{number}")
        }
        "FunctionArn" | "NameSpacedFunctionArn" => function_arn(dice),
        "RoleArn" => "arn:aws:iam::000000000000:role/r".to_owned(),
        "Handler" => "main.handler".to_owned(),
        "Runtime" if dice.percent(85) => "python3.13".to_owned(),
        "Architecture" if dice.percent(85) => std::env::consts::ARCH.replace("aarch64", "arm64"),
        "UUIDString" => UUID.to_owned(),
        "RevisionId" => UUID.to_owned(),
        "String" => return untyped(dice, member),
        "CodeSigningConfigArn" => CSC.to_owned(),
        "KMSKeyArn" | "KMSKeyArnNonEmpty" => {
            format!("arn:aws:kms:us-east-1:{ACCOUNT}:key/{UUID}")
        }
        _ => return policy_or_network(dice, member, shape, about),
    };
    Some(text)
}

fn policy_or_network(dice: &mut Dice, member: &str, shape: &str, about: &Value) -> Option<String> {
    let text = match shape {
        "StatementId" | "NamespacedStatementId" => dice.pick(&["s1", "s1", "s2"]).to_owned(),
        "Action" => dice
            .pick(&["lambda:InvokeFunction", "lambda:InvokeFunctionUrl", "lambda:GetFunction", "*"])
            .to_owned(),
        "Principal" => dice.pick(&["s3.amazonaws.com", "111122223333", "*", "nobody"]).to_owned(),
        "LayerPermissionAllowedAction" => "lambda:GetLayerVersion".to_owned(),
        "LayerPermissionAllowedPrincipal" => {
            dice.pick(&["*", "111122223333", "arn:aws:iam::111122223333:root"]).to_owned()
        }
        "PrincipalOrgID" | "OrganizationId" => "o-0123456789".to_owned(),
        "SourceOwner" => "111122223333".to_owned(),
        "PolicyResourceArn" => function_arn(dice),
        "ResourcePolicy" => policy_document(dice),
        "TaggableResource" => match dice.below(4) {
            0 => CSC.to_owned(),
            1 => format!("arn:aws:lambda:us-east-1:{ACCOUNT}:event-source-mapping:{UUID}"),
            _ => function_arn(dice),
        },
        "TagKey" => dice.pick(&["team", "cost centre", "étiquette", "aws:mine"]).to_owned(),
        "EnvironmentVariableName" => dice.pick(&["COLOUR", "A_1", "AWS_REGION"]).to_owned(),
        "Arn" => event_source(dice),
        "DestinationArn" | "ResourceArn" => match dice.below(4) {
            0 => function_arn(dice),
            1 => format!("arn:aws:sns:us-east-1:{ACCOUNT}:topic"),
            2 => String::new(),
            _ => format!("arn:aws:sqs:us-east-1:{ACCOUNT}:queue"),
        },
        "Pattern" => dice
            .pick(&["{\"body\": [{\"prefix\": \"a\"}]}", "{\"a\": [1]}", "{", "{\"a\": 1}"])
            .to_owned(),
        "FileSystemArn" => {
            let point = "fsap-0123456789abcdef0";
            format!("arn:aws:elasticfilesystem:us-east-1:{ACCOUNT}:access-point/{point}")
        }
        "LocalMountPath" => dice.pick(&["/mnt/data", "/mnt/a"]).to_owned(),
        "SubnetId" => dice.pick(&["subnet-1", "subnet-abc"]).to_owned(),
        "SecurityGroupId" => dice.pick(&["sg-1", "sg-abc"]).to_owned(),
        "LogGroup" => dice.pick(&["/aws/lambda/f", "mine"]).to_owned(),
        "MasterRegion" => dice.pick(&["ALL", "us-east-1", "eu-west-1"]).to_owned(),
        "RuntimeVersionArn" => format!("arn:aws:lambda:us-east-1::runtime:{}", "0a".repeat(32)),
        "CapacityProviderArn" => {
            format!("arn:aws:lambda:us-east-1:{ACCOUNT}:capacity-provider:mine")
        }
        "FunctionRuntimeArn" => format!("arn:aws:lambda:us-east-1:{ACCOUNT}:runtime/mine"),
        "Endpoint" => "broker.example.com:9092".to_owned(),
        "URI" | "SchemaRegistryUri" => {
            format!("arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:s")
        }
        "Origin" => dice.pick(&["*", "https://example.com"]).to_owned(),
        "Method" => dice.pick(&["GET", "*", "PUT"]).to_owned(),
        _ if about["enum"].is_array() || about["pattern"].is_null() => return None,
        // Whatever the pattern, two small letters are within nearly all of the others.
        _ if member.is_empty() => return None,
        _ => "ab".to_owned(),
    };
    Some(text)
}

fn untyped(dice: &mut Dice, member: &str) -> Option<String> {
    let text = match member {
        "ClientContext" => STANDARD.encode("{\"custom\": {\"a\": 1}}"),
        "UUID" | "RevisionId" => UUID.to_owned(),
        "Marker" => dice.pick(&["f", "no marker", ""]).to_owned(),
        _ => return None,
    };
    Some(text)
}

fn function_arn(dice: &mut Dice) -> String {
    let plain = format!("arn:aws:lambda:us-east-1:{ACCOUNT}:function:{}", dice.pick(&FUNCTIONS));
    if dice.percent(25) { format!("{plain}:{}", qualifier(dice)) } else { plain }
}

fn function_name(dice: &mut Dice, may_be_qualified: bool) -> String {
    let name = dice.pick(&FUNCTIONS);
    let written = match dice.below(12) {
        0 => format!("arn:aws:lambda:us-east-1:{ACCOUNT}:function:{name}"),
        1 => format!("{ACCOUNT}:function:{name}"),
        2 => format!("function:{name}"),
        _ => name.to_owned(),
    };
    if may_be_qualified && dice.percent(12) {
        return format!("{written}:{}", qualifier(dice));
    }
    written
}

fn qualifier(dice: &mut Dice) -> String {
    dice.pick(&["$LATEST", "1", "1", "1", "1", "2", "3", "live", "live", "live", "beta", "77"])
        .to_owned()
}

fn event_source(dice: &mut Dice) -> String {
    let stream = "stream/2026-01-01T00:00:00.000";
    match dice.below(6) {
        0 => format!("arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/s"),
        1 => format!("arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/t/{stream}"),
        2 => "arn:aws:s3:::bucket".to_owned(),
        _ => format!("arn:aws:sqs:us-east-1:{ACCOUNT}:q{}", dice.below(3)),
    }
}

fn policy_document(dice: &mut Dice) -> String {
    let statement = json!({
        "Sid": dice.pick(&["s1", "s2", "s9"]), "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"}, "Action": "lambda:InvokeFunction",
        "Resource": format!("arn:aws:lambda:us-east-1:{ACCOUNT}:function:{}", dice.pick(&FUNCTIONS)),
    });
    match dice.below(5) {
        0 => "not a document".to_owned(),
        1 => json!({"Version": "2012-10-17", "Statement": statement}).to_string(),
        _ => json!({"Version": "2012-10-17", "Statement": [statement]}).to_string(),
    }
}
