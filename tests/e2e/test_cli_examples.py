"""The examples that AWS documents for the AWS CLI behave as they are documented.

The commands are those of the AWS CLI's command reference and of the AWS Lambda Developer Guide, in their account and
region, so that ARNs can be compared as they are printed there. What an example supposes to be there already is made by
steps without an expectation. `...` stands for any value. Where a documented member is missing or differs on purpose,
a comment says so.
"""

import json
import re
import shlex

import pytest

from support.functions import zip_of
from support.tools import CliProcess
from support.wait import until

ACCOUNT, REGION = "123456789012", "us-west-2"
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:my-function"
LAYER = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:my-layer"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/service-role/MyTestFunction-role-tges6bf4"
QUEUE = f"arn:aws:sqs:{REGION}:{ACCOUNT}:mySQSqueue"
SIGNER = f"arn:aws:signer:{REGION}:{ACCOUNT}:/signing-profiles/my_profile/AbCdEfGhIj"

PACKAGE = {"my-function.js": "exports.handler = async (event) => `Hello, ${event.name}`;\n"}
OTHER = {"my-function.js": "exports.handler = async () => 'newer';\n"}

LATEST = {
    "FunctionName": "my-function", "FunctionArn": ARN, "Version": "$LATEST", "Role": ROLE, "Runtime": "nodejs22.x",
    "Handler": "my-function.handler", "MemorySize": 128, "Timeout": 3, "Description": "", "CodeSize": ...,
    "CodeSha256": ..., "RevisionId": ..., "LastModified": ..., "TracingConfig": {"Mode": "PassThrough"},
}

CREATE = ("create-function --function-name my-function --runtime nodejs22.x --zip-file fileb://my-function.zip "
          f"--handler my-function.handler --role {ROLE}")
# The command `wait` looks once a second only.
ACTIVE = "until Active get-function-configuration --function-name my-function"
UPDATED = "until Successful get-function-configuration --function-name my-function"
READY = [(CREATE,), (ACTIVE,)]
NEW_CODE = [("update-function-code --function-name my-function --zip-file fileb://other.zip",), (UPDATED,)]
PUBLISH = "publish-version --function-name my-function"
TWO_VERSIONS = [*READY, (PUBLISH,), *NEW_CODE, (PUBLISH,)]


def alias(name, version, description=""):
    return {"AliasArn": f"{ARN}:{name}", "Name": name, "FunctionVersion": version, "Description": description,
            "RevisionId": ...}


def statement(sid, service):
    return {"Sid": sid, "Effect": "Allow", "Principal": {"Service": service}, "Action": "lambda:InvokeFunction",
            "Resource": ARN}


LAYER_STATEMENT = {"Sid": "xaccount", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::210987654321:root"},
                   "Action": "lambda:GetLayerVersion", "Resource": f"{LAYER}:1"}
LAYER_VERSION = {"Content": {"Location": ..., "CodeSha256": ..., "CodeSize": ...}, "LayerArn": LAYER,
                 "LayerVersionArn": f"{LAYER}:1", "Description": "My Python layer", "CreatedDate": ..., "Version": 1,
                 "LicenseInfo": "MIT", "CompatibleRuntimes": ["python3.10", "python3.11"]}
MAPPING = {"UUID": ..., "StateTransitionReason": ..., "LastModified": ..., "BatchSize": 5, "FunctionArn": ARN,
           "EventSourceArn": QUEUE}
# Not documented there: `--no-enabled`. A mapping that would be obeyed is not offered yet.
MAP = f"create-event-source-mapping --function-name my-function --batch-size 5 --event-source-arn {QUEUE} --no-enabled"
# A hundred in the documentation; this many environments are really started.
PROVISION = "put-provisioned-concurrency-config --function-name my-function --provisioned-concurrent-executions 1"
PROVISIONED = {"RequestedProvisionedConcurrentExecutions": 1, "AvailableProvisionedConcurrentExecutions": 1,
               "AllocatedProvisionedConcurrentExecutions": 1, "Status": "READY", "LastModified": ...}
SIGNING = {"CodeSigningConfigId": ..., "CodeSigningConfigArn": ..., "Description": ..., "LastModified": ...,
           "AllowedPublishers": {"SigningProfileVersionArns": [SIGNER]},
           "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Warn"}}
URL = {"FunctionUrl": ..., "FunctionArn": ARN, "AuthType": "AWS_IAM", "CreationTime": ...}

# A step is a command, and what it prints where an example documents that: a document, or "" for nothing. `{uuid}` and
# the like are what an earlier step printed.
STORIES = {
    "functions": [
        (CREATE, LATEST),
        ("wait function-active-v2 --function-name my-function", ""),
        ("put-function-concurrency --function-name my-function --reserved-concurrent-executions 100",),
        ("get-function --function-name my-function",
         {"Concurrency": {"ReservedConcurrentExecutions": 100},
          "Code": {"RepositoryType": "S3", "Location": ...}, "Configuration": LATEST}),
        ("list-functions", {"Functions": [LATEST]}),
        ("update-function-code --function-name my-function --zip-file fileb://other.zip", LATEST),
        ("wait function-updated-v2 --function-name my-function", ""),
        ("update-function-configuration --function-name my-function --memory-size 256", {**LATEST, "MemorySize": 256}),
        (UPDATED,),
        # The documentation is older than the member of the answer, which the AWS CLI prints.
        ("delete-function --function-name my-function", {"StatusCode": 204}),
        *READY,
        (f"delete-function --function-name {ARN}", {"StatusCode": 204}),
        *READY,
        (f"delete-function --function-name {ACCOUNT}:function:my-function", {"StatusCode": 204}),
        ("list-functions", {"Functions": []}),
    ],
    "invokes": [
        *READY,
        # Version 2 of the AWS CLI wants `--cli-binary-format raw-in-base64-out` as well.
        ("invoke --function-name my-function --payload '{ \"name\": \"Bob\" }' response.json", {"ExecutedVersion": "$LATEST", "StatusCode": 200}),
    ],
    "versions": [
        *READY,
        (PUBLISH, {**LATEST, "FunctionArn": f"{ARN}:1", "Version": "1"}),
        *NEW_CODE,
        (PUBLISH, {**LATEST, "FunctionArn": f"{ARN}:2", "Version": "2"}),
        ("get-function-configuration --function-name my-function:2",
         {**LATEST, "FunctionArn": f"{ARN}:2", "Version": "2"}),
        ("list-versions-by-function --function-name my-function",
         {"Versions": [{**LATEST, "FunctionArn": f"{ARN}:$LATEST"},
                       {**LATEST, "FunctionArn": f"{ARN}:1", "Version": "1"},
                       {**LATEST, "FunctionArn": f"{ARN}:2", "Version": "2"}]}),
    ],
    "aliases": [
        *TWO_VERSIONS,
        ("create-alias --function-name my-function --description 'alias for live version of function' "
         "--function-version 1 --name LIVE", alias("LIVE", "1", "alias for live version of function")),
        ("create-alias --function-name my-function --description 'alias for beta version of function' "
         "--function-version 2 --name BETA",),
        ("list-aliases --function-name my-function",
         {"Aliases": [alias("BETA", "2", "alias for beta version of function"),
                      alias("LIVE", "1", "alias for live version of function")]}),
        ("update-alias --function-name my-function --function-version 2 --name LIVE",
         alias("LIVE", "2", "alias for live version of function")),
        ("get-alias --function-name my-function --name LIVE", alias("LIVE", "2", "alias for live version of function")),
        # The Developer Guide's "Create a weighted alias".
        ("create-alias --name routing-alias --function-name my-function --function-version 1 "
         "--routing-config AdditionalVersionWeights={2=0.03}",
         {**alias("routing-alias", "1"), "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.03}}}),
        ("update-alias --name routing-alias --function-name my-function "
         "--routing-config AdditionalVersionWeights={2=0.05}",
         {**alias("routing-alias", "1"), "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.05}}}),
        ("update-alias --name routing-alias --function-name my-function --function-version 2 "
         "--routing-config AdditionalVersionWeights={}", alias("routing-alias", "2")),
        ("delete-alias --function-name my-function --name LIVE", ""),
        ("get-alias --function-name my-function --name LIVE", "ResourceNotFoundException"),
    ],
    "concurrency": [
        *READY,
        ("put-function-concurrency --function-name my-function --reserved-concurrent-executions 100",
         {"ReservedConcurrentExecutions": 100}),
        ("get-function-concurrency --function-name my-function", {"ReservedConcurrentExecutions": 100}),
        ("get-account-settings",
         {"AccountLimit": {"CodeSizeUnzipped": 262144000, "UnreservedConcurrentExecutions": 900,
                           "ConcurrentExecutions": 1000, "CodeSizeZipped": 52428800, "TotalCodeSize": 80530636800},
          "AccountUsage": {"FunctionCount": 1, "TotalCodeSize": ...}}),
        ("delete-function-concurrency --function-name my-function", ""),
        ("get-function-concurrency --function-name my-function", {}),
    ],
    "provisioned concurrency": [
        *TWO_VERSIONS,
        ("create-alias --function-name my-function --function-version 1 --name BLUE",),
        ("create-alias --function-name my-function --function-version 2 --name GREEN",),
        # The documentation prints two members with a blank in their names, which no answer can have.
        (f"{PROVISION} --qualifier BLUE",
         {"RequestedProvisionedConcurrentExecutions": 1, "AllocatedProvisionedConcurrentExecutions": 0,
          "Status": "IN_PROGRESS", "LastModified": ...}),
        (f"{PROVISION} --qualifier GREEN",),
        ("until READY get-provisioned-concurrency-config --function-name my-function --qualifier BLUE", PROVISIONED),
        ("until READY get-provisioned-concurrency-config --function-name my-function --qualifier GREEN", PROVISIONED),
        ("list-provisioned-concurrency-configs --function-name my-function",
         {"ProvisionedConcurrencyConfigs": [{**PROVISIONED, "FunctionArn": ...}, {**PROVISIONED, "FunctionArn": ...}]}),
        ("delete-provisioned-concurrency-config --function-name my-function --qualifier GREEN", ""),
        ("get-provisioned-concurrency-config --function-name my-function --qualifier GREEN",
         "ProvisionedConcurrencyConfigNotFoundException"),
    ],
    "asynchronous invokes": [
        *TWO_VERSIONS,
        ("create-alias --function-name my-function --function-version 1 --name BLUE",),
        ("create-alias --function-name my-function --function-version 2 --name GREEN",),
        ("put-function-event-invoke-config --function-name my-function --maximum-event-age-in-seconds 3600 "
         "--maximum-retry-attempts 0",
         {"LastModified": ..., "FunctionArn": f"{ARN}:$LATEST", "MaximumRetryAttempts": 0,
          "MaximumEventAgeInSeconds": 3600, "DestinationConfig": {"OnSuccess": {}, "OnFailure": {}}}),
        ("update-function-event-invoke-config --function-name my-function --destination-config "
         f"""'{{"OnFailure":{{"Destination": "arn:aws:sqs:{REGION}:{ACCOUNT}:destination"}}}}'""",
         {"LastModified": ..., "FunctionArn": f"{ARN}:$LATEST", "MaximumRetryAttempts": 0,
          "MaximumEventAgeInSeconds": 3600,
          "DestinationConfig": {"OnSuccess": {},
                                "OnFailure": {"Destination": f"arn:aws:sqs:{REGION}:{ACCOUNT}:destination"}}}),
        ("put-function-event-invoke-config --function-name my-function:GREEN --maximum-event-age-in-seconds 1800 "
         "--maximum-retry-attempts 2",),
        ("get-function-event-invoke-config --function-name my-function:GREEN",
         {"LastModified": ..., "FunctionArn": f"{ARN}:GREEN", "MaximumRetryAttempts": 2,
          "MaximumEventAgeInSeconds": 1800}),
        ("list-function-event-invoke-configs --function-name my-function",
         {"FunctionEventInvokeConfigs": [
             {"LastModified": ..., "FunctionArn": ..., "MaximumRetryAttempts": ..., "MaximumEventAgeInSeconds": ...},
             {"LastModified": ..., "FunctionArn": ..., "MaximumRetryAttempts": ..., "MaximumEventAgeInSeconds": ...}]}),
        ("delete-function-event-invoke-config --function-name my-function:GREEN", ""),
        ("get-function-event-invoke-config --function-name my-function:GREEN", "ResourceNotFoundException"),
    ],
    "event source mappings": [
        *READY,
        (MAP, {**MAPPING, "State": "Creating"}),
        ("until Disabled get-event-source-mapping --uuid {UUID}", {**MAPPING, "State": "Disabled"}),
        ("list-event-source-mappings --function-name my-function",
         {"EventSourceMappings": [{**MAPPING, "State": "Disabled"}]}),
        ("update-event-source-mapping --uuid {UUID} --batch-size 8", {**MAPPING, "BatchSize": 8, "State": "Updating"}),
        ("until Disabled get-event-source-mapping --uuid {UUID}", {**MAPPING, "BatchSize": 8}),
        ("delete-event-source-mapping --uuid {UUID}", {**MAPPING, "BatchSize": 8, "State": "Deleting"}),
        ("until ResourceNotFoundException get-event-source-mapping --uuid {UUID}", "ResourceNotFoundException"),
    ],
    "policies": [
        *READY,
        ("add-permission --function-name my-function --action lambda:InvokeFunction --statement-id sns "
         "--principal sns.amazonaws.com", {"Statement": statement("sns", "sns.amazonaws.com")}),
        ("get-policy --function-name my-function",
         {"Policy": {"Version": "2012-10-17", "Id": "default", "Statement": [statement("sns", "sns.amazonaws.com")]},
          "RevisionId": ...}),
        ("remove-permission --function-name my-function --statement-id sns", ""),
        ("get-policy --function-name my-function", "ResourceNotFoundException"),
    ],
    "layers": [
        # A file, where the documentation takes it from a bucket.
        ("publish-layer-version --layer-name my-layer --description 'My Python layer' --license-info MIT "
         "--zip-file fileb://my-function.zip --compatible-runtimes python3.10 python3.11", LAYER_VERSION),
        ("get-layer-version --layer-name my-layer --version-number 1", LAYER_VERSION),
        (f"get-layer-version-by-arn --arn {LAYER}:1", LAYER_VERSION),
        ("publish-layer-version --layer-name my-layer --description 'My layer' --zip-file fileb://other.zip "
         "--compatible-runtimes python3.10 python3.11",),
        # The documentation calls the member Layers, the service LayerVersions.
        ("list-layer-versions --layer-name my-layer",
         {"LayerVersions": [
             {"LayerVersionArn": f"{LAYER}:2", "Version": 2, "Description": "My layer", "CreatedDate": ...,
              "CompatibleRuntimes": ["python3.10", "python3.11"]},
             {"LayerVersionArn": f"{LAYER}:1", "Version": 1}]}),
        ("list-layers --compatible-runtime python3.11",
         {"Layers": [{"LayerName": "my-layer", "LayerArn": LAYER, "LatestMatchingVersion": {
             "LayerVersionArn": f"{LAYER}:2", "Version": 2, "Description": "My layer", "CreatedDate": ...,
             "CompatibleRuntimes": ["python3.10", "python3.11"]}}]}),
        ("add-layer-version-permission --layer-name my-layer --statement-id xaccount --action lambda:GetLayerVersion "
         "--principal 210987654321 --version-number 1", {"RevisionId": ..., "Statement": LAYER_STATEMENT}),
        ("get-layer-version-policy --layer-name my-layer --version-number 1",
         {"Policy": {"Version": "2012-10-17", "Id": "default", "Statement": [LAYER_STATEMENT]}, "RevisionId": ...}),
        ("remove-layer-version-permission --layer-name my-layer --statement-id xaccount --version-number 1", ""),
        ("delete-layer-version --layer-name my-layer --version-number 2", ""),
    ],
    "tags": [
        *READY,
        (f'tag-resource --resource {ARN} --tags "DEPARTMENT=Department A"', ""),
        (f"list-tags --resource {ARN}", {"Tags": {"DEPARTMENT": "Department A"}}),
        (f"untag-resource --resource {ARN} --tag-keys DEPARTMENT", ""),
        (f"list-tags --resource {ARN}", {"Tags": {}}),
    ],
    # From here on from the Developer Guide, as the command reference has no examples.
    "code signing": [
        *READY,
        (f"create-code-signing-config --description 'my signers' --allowed-publishers SigningProfileVersionArns={SIGNER}",
         {"CodeSigningConfig": SIGNING}),
        ("list-code-signing-configs", {"CodeSigningConfigs": [SIGNING]}),
        ("put-function-code-signing-config --code-signing-config-arn {CodeSigningConfigArn} --function-name my-function",
         {"CodeSigningConfigArn": ..., "FunctionName": "my-function"}),
        ("list-functions-by-code-signing-config --code-signing-config-arn {CodeSigningConfigArn}",
         {"FunctionArns": [ARN]}),
        ("get-function-code-signing-config --function-name my-function",
         {"CodeSigningConfigArn": ..., "FunctionName": "my-function"}),
        ("delete-code-signing-config --code-signing-config-arn {CodeSigningConfigArn}", "ResourceConflictException"),
        ("delete-function-code-signing-config --function-name my-function", ""),
        ("update-code-signing-config --code-signing-config-arn {CodeSigningConfigArn} "
         "--code-signing-policies UntrustedArtifactOnDeployment=Enforce",
         {"CodeSigningConfig": {**SIGNING, "CodeSigningPolicies": {"UntrustedArtifactOnDeployment": "Enforce"}}}),
        ("delete-code-signing-config --code-signing-config-arn {CodeSigningConfigArn}", ""),
        ("get-code-signing-config --code-signing-config-arn {CodeSigningConfigArn}", "ResourceNotFoundException"),
    ],
    "function URLs": [
        *READY,
        ("create-function-url-config --function-name my-function --auth-type AWS_IAM", URL),
        ("get-function-url-config --function-name my-function", {**URL, "LastModifiedTime": ...}),
        ("update-function-url-config --function-name my-function --invoke-mode RESPONSE_STREAM "
         "--cors AllowOrigins=https://example.com,AllowMethods=GET",
         {**URL, "InvokeMode": "RESPONSE_STREAM",
          "Cors": {"AllowOrigins": ["https://example.com"], "AllowMethods": ["GET"]}}),
        ("list-function-url-configs --function-name my-function", {"FunctionUrlConfigs": [URL]}),
        ("delete-function-url-config --function-name my-function", ""),
        ("get-function-url-config --function-name my-function", "ResourceNotFoundException"),
    ],
    "recursion and runtime management": [
        *READY,
        ("get-function-recursion-config --function-name my-function", {"RecursiveLoop": "Terminate"}),
        ("put-function-recursion-config --function-name my-function --recursive-loop Allow", {"RecursiveLoop": "Allow"}),
        ("get-function-recursion-config --function-name my-function", {"RecursiveLoop": "Allow"}),
        ("get-runtime-management-config --function-name my-function",
         {"UpdateRuntimeOn": "Auto", "FunctionArn": ARN}),
        ("put-runtime-management-config --function-name my-function --update-runtime-on FunctionUpdate",
         {"UpdateRuntimeOn": "FunctionUpdate", "FunctionArn": ARN}),
        ("get-runtime-management-config --function-name my-function", {"UpdateRuntimeOn": "FunctionUpdate"}),
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli-examples")
    (folder / "my-function.zip").write_bytes(zip_of(PACKAGE))
    (folder / "other.zip").write_bytes(zip_of(OTHER))
    return folder


@pytest.fixture(scope="module")
def aws(server, folder):
    one = CliProcess(server.endpoint, folder, account=ACCOUNT, region=REGION)
    yield one
    one.close()


@pytest.fixture
def account(server):
    """Leaves the account empty, however the story ended."""
    client = server.client(account=ACCOUNT, region=REGION)
    yield client
    for function in client.list_functions()["Functions"]:
        client.delete_function(FunctionName=function["FunctionName"])
    for layer in client.list_layers()["Layers"]:
        for version in client.list_layer_versions(LayerName=layer["LayerName"])["LayerVersions"]:
            client.delete_layer_version(LayerName=layer["LayerName"], VersionNumber=version["Version"])
    for mapping in client.list_event_source_mappings()["EventSourceMappings"]:
        client.delete_event_source_mapping(UUID=mapping["UUID"])
    for config in client.list_code_signing_configs()["CodeSigningConfigs"]:
        client.delete_code_signing_config(CodeSigningConfigArn=config["CodeSigningConfigArn"])


def differences(got, expected, at="output"):
    """Where a documented member is absent or another. What is documented of a list is the whole list."""
    if expected is ...:
        return []
    if isinstance(expected, dict):
        # The policy of an answer is a text, which the documentation prints as the document that it is.
        got = json.loads(got) if isinstance(got, str) else got
        if not isinstance(got, dict):
            return [f"{at} is {got!r} and not a document"]
        if not expected:
            return [f"{at} is {got}"] if got else []
        absent = [f"{at}.{name} is absent" for name in expected if name not in got]
        return absent + [one for name in expected if name in got
                         for one in differences(got[name], expected[name], f"{at}.{name}")]
    if isinstance(expected, list):
        if not isinstance(got, list) or len(got) != len(expected):
            return [f"{at} is {got!r} and not {len(expected)} items"]
        return [one for index, pair in enumerate(zip(got, expected))
                for one in differences(*pair, f"{at}[{index}]")]
    return [] if got == expected else [f"{at} is {got!r} and not {expected!r}"]


def learn(known, document):
    for name, value in document.items() if isinstance(document, dict) else []:
        if name in ("UUID", "CodeSigningConfigArn"):
            known[name] = value
        learn(known, value)


def arguments(command):
    """The words of a command, and the word that is waited for in what it prints."""
    wanted = re.match(r"until (\w+) ", command)
    return (shlex.split(command[wanted.end():]), wanted[1]) if wanted else (shlex.split(command), None)


def step(aws, known, command, expected=...):
    for name, value in known.items():
        command = command.replace("{" + name + "}", value)
    words, awaited = arguments(command)

    def has_come():
        shown = aws.run(*words)
        return awaited in shown.stdout + shown.stderr

    if awaited:
        until(has_come, command)
    done = aws.run(*words)
    if isinstance(expected, str) and expected:
        assert done.returncode != 0 and f"({expected})" in done.stderr, f"{command}: {done.stdout or done.stderr}"
        return
    assert done.returncode == 0, f"{command}: {done.stderr}"
    if expected == "":
        assert not done.stdout.strip(), f"{command} prints {done.stdout}"
    elif expected is not ...:
        printed = json.loads(done.stdout or "{}")
        assert not differences(printed, expected), f"{command} prints {done.stdout}"
        learn(known, printed)


@pytest.mark.parametrize("name", STORIES)
def test_the_documented_examples_of(name, aws, account, folder):
    known = {}
    for one in STORIES[name]:
        step(aws, known, *one)
    if name == "invokes":
        assert (folder / "response.json").read_text() == '"Hello, Bob"'
