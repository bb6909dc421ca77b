"""Operations that are not offered yet answer 501 and name themselves, whatever is asked of them."""

import botocore.session
import pytest
from botocore.exceptions import ClientError

from support.server import ROOT

MODEL = botocore.session.get_session().get_service_model("lambda")
NOT_OFFERED = set((ROOT / "crates/lambda/not-offered.txt").read_text().split())
OFFERED = set(MODEL.operation_names) - NOT_OFFERED
ARN = "arn:aws:lambda:us-east-1:000000000000:"
# Members whose value has to have a certain form before a client sends it at all.
TEXTS = {
    "CodeSigningConfigArn": ARN + "code-signing-config:csc-0123456789abcdefg",
    "CapacityProviderName": "provider", "LayerName": "layer", "FunctionName": "some-function",
    "DurableExecutionArn": ARN + "function:f:1/durable-execution/a/b", "RevisionId": "0" * 36,
}


def smallest(shape, name=""):
    """The least that boto3 takes for a shape."""
    kind = shape.type_name
    if kind == "structure":
        return {member: smallest(shape.members[member], member) for member in shape.required_members}
    if kind == "list":
        return [smallest(shape.member, name)] * max(1, shape.metadata.get("min", 1))
    if kind == "map":
        return {"key": smallest(shape.value, name)}
    if kind == "string":
        text = TEXTS.get(name) or (shape.enum[0] if shape.enum else "some-text")
        return text.ljust(shape.metadata.get("min", 0), "x")
    if kind in ("integer", "long"):
        return max(1, shape.metadata.get("min", 1))
    return {"boolean": True, "blob": b"x", "timestamp": 1, "double": 1.0, "float": 1.0}[kind]


def test_the_offered_operations_are_those_of_the_list():
    listed = (ROOT / "models/offered-lambda.txt").read_text().split("\n")
    names = {line.strip() for line in listed if line.strip() and not line.startswith("#")}
    assert names == OFFERED, "shapes are generated for other operations than those that are offered"


@pytest.mark.parametrize("operation", sorted(NOT_OFFERED))
def test_an_operation_that_is_not_offered(client, operation):
    methods = {name: method for method, name in client.meta.method_to_api_mapping.items()}
    method = getattr(client, methods[operation])
    shape = MODEL.operation_model(operation).input_shape
    with pytest.raises(ClientError) as caught:
        method(**(smallest(shape) if shape else {}))
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 501, answer
    assert answer["Error"]["Code"] == "NotImplementedException", answer
    assert operation in answer["Error"]["Message"], answer
    assert answer["ResponseMetadata"]["RequestId"]


def test_all_operations_are_accounted_for():
    assert len(MODEL.operation_names) == 91
    assert NOT_OFFERED <= set(MODEL.operation_names)
