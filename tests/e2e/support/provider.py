"""What the AWS provider of Terraform and OpenTofu does with the service, call by call.

Each class follows one resource of the provider's published source (hashicorp/terraform-provider-aws,
internal/service/lambda): the requests that its Create, Update and Delete make, what they retry and wait for, and which
attributes its Read takes from which answers. `plan` then compares like a second `tofu plan`: an attribute that was
configured and reads otherwise is a difference, and a test that finds one has found what an operator would see for ever.
"""

import json

from .functions import zip_of
from .wait import until

# The provider waits five seconds before it looks for the first time; a test need not.
WAIT_SECONDS = 30


def errors_of(client, *names):
    return tuple(getattr(client.exceptions, name) for name in names)


def gone(client, call, *names):
    """Whether a look-up answers that there is no such thing; anything but these errors is a fault."""
    try:
        call()
    except errors_of(client, *(names or ("ResourceNotFoundException",))):
        return True
    return False


def retried(client, call, *, text, name="ResourceConflictException"):
    """tfresource.RetryWhenIsAErrorMessageContains: again while an error has this type and this text."""
    def attempt():
        try:
            return call() or {}
        except errors_of(client, name) as error:
            assert text in error.response["Error"]["Message"], error
            return None
    return until(lambda: attempt() is not None or None, f"no more '{text}'", WAIT_SECONDS)


class Resource:
    """A resource with its configuration and, after it was read, its state."""

    def __init__(self, client, **config):
        self.client, self.config, self.state = client, config, None

    def plan(self):
        """What a second plan would show: attributes that read otherwise than they are configured."""
        self.read()
        assert self.state is not None, "the provider would make it once more"
        return {name: (self.state.get(name), value) for name, value in self.config.items()
                if not self.same(name, self.state.get(name), value)}

    def same(self, name, have, wanted):
        return have == wanted

    def apply(self, **changes):
        before, self.config = self.config, {**self.config, **changes}
        self.update({name for name in self.config if before.get(name) != self.config.get(name)})
        self.read()


class Function(Resource):
    """aws_lambda_function: function.go."""

    # Attributes that Read cannot refresh, so that they are never a difference.
    NOT_READ = ("filename", "publish", "code_signing_config_arn")
    # Attributes that make an update of the configuration, and the member each becomes.
    SETTINGS = {
        "description": "Description", "handler": "Handler", "memory_size": "MemorySize", "role": "Role",
        "runtime": "Runtime", "timeout": "Timeout", "layers": "Layers",
        "environment": "Environment", "ephemeral_storage": "EphemeralStorage", "tracing_config": "TracingConfig",
        "logging_config": "LoggingConfig", "snap_start": "SnapStart", "kms_key_arn": "KMSKeyArn",
        "dead_letter_config": "DeadLetterConfig", "vpc_config": "VpcConfig",
    }

    @property
    def name(self):
        return self.config["function_name"]

    def create(self):
        wanted = {member: self.config[name] for name, member in self.SETTINGS.items() if name in self.config}
        self.client.create_function(
            FunctionName=self.name, Code={"ZipFile": zip_of(self.config["filename"])}, PackageType="Zip",
            Publish=self.config.get("publish", False), Architectures=self.config.get("architectures", ["x86_64"]),
            Tags=self.config.get("tags", {}), **wanted)
        # RetryWhenNotFound after Create: the function must be there at once, or soon.
        found = self.client.get_function(FunctionName=self.name)
        assert found["Code"] and found["Configuration"], "findFunction calls such an answer empty"
        self.wait("State", pending=["Pending"], target=["Active", "ActiveNonInvocable"])
        if self.config.get("reserved_concurrent_executions", -1) >= 0:
            self.reserve()
        self.read()
        return self

    def wait(self, member, *, pending, target):
        """StateChangeConf: a state that is neither pending nor wanted ends the wait as an error."""
        def reached():
            state = self.client.get_function(FunctionName=self.name)["Configuration"].get(member, "")
            assert state in pending + target, f"unexpected state {state!r}, wanted target {target}"
            return state in target
        until(reached, f"{member} of {self.name}", WAIT_SECONDS)

    def wait_updated(self):
        self.wait("LastUpdateStatus", pending=["InProgress"], target=["Successful"])

    def reserve(self):
        self.client.put_function_concurrency(
            FunctionName=self.name, ReservedConcurrentExecutions=self.config["reserved_concurrent_executions"])

    def read(self):
        try:
            found = self.client.get_function(FunctionName=self.name)
        except errors_of(self.client, "ResourceNotFoundException"):
            self.state = None
            return
        function = found["Configuration"]
        # findLatestFunctionVersionByName: the last version of the last page is the newest one.
        pages = self.client.get_paginator("list_versions_by_function").paginate(
            FunctionName=self.name, MaxItems=10_000)
        [*_, latest] = [version for page in pages for version in page["Versions"]]
        signing = self.client.get_function_code_signing_config(FunctionName=self.name)
        logging = function.get("LoggingConfig")
        self.state = {
            "function_name": self.name, "arn": function["FunctionArn"], "architectures": function["Architectures"],
            "code_sha256": function["CodeSha256"], "description": function["Description"],
            "environment": function.get("Environment"), "ephemeral_storage": function.get("EphemeralStorage"),
            "file_system_config": function.get("FileSystemConfigs", []), "handler": function["Handler"],
            "kms_key_arn": function.get("KMSKeyArn", ""), "last_modified": function["LastModified"],
            "layers": [layer["Arn"] for layer in function.get("Layers", [])],
            "logging_config": logging, "memory_size": function["MemorySize"],
            "package_type": function["PackageType"],
            # Absent means that nothing is reserved.
            "reserved_concurrent_executions":
                found.get("Concurrency", {}).get("ReservedConcurrentExecutions", -1),
            "role": function["Role"], "runtime": function["Runtime"],
            # flattenSnapStart: None is no block at all.
            "snap_start": [one for one in [function.get("SnapStart")] if one and one["ApplyOn"] != "None"],
            "source_code_size": function["CodeSize"], "timeout": function["Timeout"],
            "tracing_config": {"Mode": function.get("TracingConfig", {"Mode": "PassThrough"})["Mode"]},
            "dead_letter_config": function.get("DeadLetterConfig"),
            "vpc_config": function.get("VpcConfig"),
            "version": latest["Version"], "qualified_arn": latest["FunctionArn"],
            "tags": found.get("Tags", {}),
            "code_signing_config_arn": signing.get("CodeSigningConfigArn", ""),
        }

    def same(self, name, have, wanted):
        if name in self.NOT_READ:
            return True
        if name == "logging_config":
            # suppressLoggingConfigUnspecifiedLogLevels: levels that nobody asked for are no difference.
            return all(have.get(member) == value for member, value in wanted.items())
        return super().same(name, have, wanted)

    def update(self, changed):
        settings = {self.SETTINGS[name]: self.config[name] for name in changed if name in self.SETTINGS}
        if settings:
            retried(self.client, lambda: self.client.update_function_configuration(
                FunctionName=self.name, **settings), text="")
            self.wait_updated()
        code = changed & {"filename", "architectures"}
        if code:
            self.client.update_function_code(FunctionName=self.name, ZipFile=zip_of(self.config["filename"]))
            self.wait_updated()
        if "reserved_concurrent_executions" in changed:
            if self.config["reserved_concurrent_executions"] >= 0:
                self.reserve()
            else:
                self.client.delete_function_concurrency(FunctionName=self.name)
        if "tags" in changed:
            self.update_tags()
        if self.config.get("publish") and (settings or code or "publish" in changed):
            published = {}
            retried(self.client, lambda: published.update(
                self.client.publish_version(FunctionName=self.name)), text="in progress")
            self.wait_published(published)

    def wait_published(self, published):
        """waitFunctionConfigurationUpdated, by the ARN of the version and its number once more."""
        def updated():
            one = self.client.get_function_configuration(
                FunctionName=published["FunctionArn"], Qualifier=published["Version"])
            return one.get("LastUpdateStatus", "InProgress") == "Successful"
        until(updated, f"{published['FunctionArn']} to be published", WAIT_SECONDS)

    def update_tags(self):
        """updateTags of tags_gen.go: first what is gone, then what is new."""
        have, wanted = self.state["tags"], self.config["tags"]
        removed = [key for key in have if key not in wanted]
        if removed:
            self.client.untag_resource(Resource=self.state["arn"], TagKeys=removed)
        added = {key: value for key, value in wanted.items() if have.get(key) != value}
        if added:
            self.client.tag_resource(Resource=self.state["arn"], Tags=added)

    def destroy(self):
        self.client.delete_function(FunctionName=self.name)
        until(lambda: gone(self.client, lambda: self.client.get_function(FunctionName=self.name)),
              f"{self.name} to be gone", WAIT_SECONDS)
        # A second destroy is no error: the provider takes ResourceNotFoundException for success.
        assert gone(self.client, lambda: self.client.delete_function(FunctionName=self.name))


class Alias(Resource):
    """aws_lambda_alias: alias.go."""

    def key(self):
        return {"FunctionName": self.config["function_name"], "Name": self.config["name"]}

    def request(self):
        """Create and Update send the same: all attributes, an empty description and an empty routing too."""
        weights = self.config.get("routing_config", {})
        return {**self.key(), "FunctionVersion": self.config["function_version"],
                "Description": self.config.get("description", ""),
                "RoutingConfig": {"AdditionalVersionWeights": weights} if weights else {}}

    def create(self):
        made = self.client.create_alias(**self.request())
        assert made["AliasArn"], "it is the resource's id"
        self.read()
        return self

    def read(self):
        try:
            found = self.client.get_alias(**self.key())
        except errors_of(self.client, "ResourceNotFoundException"):
            self.state = None
            return
        self.state = {
            "arn": found["AliasArn"], "description": found["Description"], "name": found["Name"],
            "function_name": self.config["function_name"], "function_version": found["FunctionVersion"],
            # An answer that has the member at all is a block in the state, and no block is configured without weights.
            "routing_config": found["RoutingConfig"]["AdditionalVersionWeights"] if "RoutingConfig" in found else {},
            "has_routing_block": "RoutingConfig" in found,
        }

    def plan(self):
        differences = super().plan()
        if self.state["has_routing_block"] != bool(self.config.get("routing_config")):
            differences["routing_config"] = self.state
        return differences

    def update(self, changed):
        self.client.update_alias(**self.request())
        if not self.config.get("routing_config"):
            # waitAliasRoutingWeightsCleared
            until(lambda: not self.client.get_alias(**self.key()).get("RoutingConfig", {}).get(
                "AdditionalVersionWeights"), "the weights to be cleared", WAIT_SECONDS)

    def destroy(self):
        self.client.delete_alias(**self.key())
        assert gone(self.client, lambda: self.client.get_alias(**self.key()))


class LayerVersion(Resource):
    """aws_lambda_layer_version: layer_version.go. A change makes another version."""

    def create(self):
        optional = {"CompatibleRuntimes": "compatible_runtimes", "CompatibleArchitectures": "compatible_architectures"}
        made = self.client.publish_layer_version(
            LayerName=self.config["layer_name"], Content={"ZipFile": zip_of(self.config["filename"])},
            Description=self.config.get("description", ""), LicenseInfo=self.config.get("license_info", ""),
            **{member: self.config[name] for member, name in optional.items() if self.config.get(name)})
        self.id = made["LayerVersionArn"]
        self.read()
        return self

    def key(self):
        """layerVersionParseResourceID: name and number from the ARN."""
        *_, kind, name, version = self.id.split(":")
        assert kind == "layer"
        return {"LayerName": name, "VersionNumber": int(version)}

    def read(self):
        try:
            found = self.client.get_layer_version(**self.key())
        except errors_of(self.client, "ResourceNotFoundException"):
            self.state = None
            return
        self.state = {
            "layer_name": self.key()["LayerName"], "version": str(self.key()["VersionNumber"]),
            "arn": found["LayerVersionArn"], "layer_arn": found["LayerArn"], "description": found["Description"],
            "license_info": found.get("LicenseInfo", ""), "created_date": found["CreatedDate"],
            "code_sha256": found["Content"]["CodeSha256"], "source_code_size": found["Content"]["CodeSize"],
            "compatible_runtimes": found.get("CompatibleRuntimes", []),
            "compatible_architectures": found.get("CompatibleArchitectures", []),
        }

    def same(self, name, have, wanted):
        if name == "filename":
            return True
        # Both are sets in the provider's schema.
        return sorted(have) == sorted(wanted) if isinstance(wanted, list) else have == wanted

    def destroy(self):
        self.client.delete_layer_version(**self.key())
        assert gone(self.client, lambda: self.client.get_layer_version(**self.key()))


class Permission(Resource):
    """aws_lambda_permission: permission.go. Every change makes another one."""

    MEMBERS = {"event_source_token": "EventSourceToken", "function_url_auth_type": "FunctionUrlAuthType",
               "principal_org_id": "PrincipalOrgID", "qualifier": "Qualifier", "source_account": "SourceAccount",
               "source_arn": "SourceArn"}

    def where(self):
        qualifier = self.config.get("qualifier")
        return {"FunctionName": self.config["function_name"], **({"Qualifier": qualifier} if qualifier else {})}

    def create(self):
        more = {member: self.config[name] for name, member in self.MEMBERS.items() if name in self.config}
        self.client.add_permission(
            FunctionName=self.config["function_name"], Action=self.config["action"],
            Principal=self.config["principal"], StatementId=self.config["statement_id"], **more)
        self.read()
        return self

    def statement(self):
        """findPolicyStatementByTwoPartKey: the policy is text, and its statements are found by their Sid."""
        policy = json.loads(self.client.get_policy(**self.where())["Policy"])
        # The fields of the provider's type `policy`, which are text, text and a list.
        assert isinstance(policy["Version"], str) and isinstance(policy["Id"], str)
        found = [one for one in policy["Statement"] if one["Sid"] == self.config["statement_id"]]
        return found[0] if found else None

    def read(self):
        try:
            statement = self.statement()
        except errors_of(self.client, "ResourceNotFoundException"):
            statement = None
        if statement is None:
            self.state = None
            return
        # getFunctionNameFromARN and getQualifierFromAliasOrVersionARN
        parts = statement["Resource"].split(":")
        principal = statement["Principal"]
        if isinstance(principal, dict):
            principal = principal.get("AWS", principal.get("Service"))
        condition = statement.get("Condition", {})
        equals, like = condition.get("StringEquals", {}), condition.get("ArnLike", {})
        self.state = {
            "function_name": parts[6], "qualifier": parts[7] if len(parts) > 7 else "",
            "action": statement["Action"], "principal": principal, "statement_id": statement["Sid"],
            "event_source_token": equals.get("lambda:EventSourceToken"),
            "function_url_auth_type": equals.get("lambda:FunctionUrlAuthType"),
            "principal_org_id": equals.get("aws:PrincipalOrgID"),
            "source_account": equals.get("AWS:SourceAccount"), "source_arn": like.get("AWS:SourceArn"),
        }

    def destroy(self):
        self.client.remove_permission(StatementId=self.config["statement_id"], **self.where())
        self.read()
        assert self.state is None
        assert gone(self.client, lambda: self.client.remove_permission(
            StatementId=self.config["statement_id"], **self.where()))


class ProvisionedConcurrency(Resource):
    """aws_lambda_provisioned_concurrency_config: provisioned_concurrency_config.go."""

    def key(self):
        return {"FunctionName": self.config["function_name"], "Qualifier": self.config["qualifier"]}

    def create(self):
        self.update(set())
        self.read()
        return self

    def update(self, changed):
        self.client.put_provisioned_concurrency_config(
            **self.key(), ProvisionedConcurrentExecutions=self.config["provisioned_concurrent_executions"])

        def ready():
            found = self.client.get_provisioned_concurrency_config(**self.key())
            assert found["Status"] in ("IN_PROGRESS", "READY"), found.get("StatusReason")
            return found["Status"] == "READY"
        until(ready, "provisioned concurrency to be ready", 60)

    def read(self):
        try:
            found = self.client.get_provisioned_concurrency_config(**self.key())
        except errors_of(self.client, "ResourceNotFoundException", "ProvisionedConcurrencyConfigNotFoundException"):
            self.state = None
            return
        # What is allocated, not what was requested: the second plan sees whether it was all made.
        self.state = {**{name: self.config[name] for name in ("function_name", "qualifier")},
                      "provisioned_concurrent_executions": found["AllocatedProvisionedConcurrentExecutions"]}

    def destroy(self):
        self.client.delete_provisioned_concurrency_config(**self.key())
        self.read()
        assert self.state is None


class EventSourceMapping(Resource):
    """aws_lambda_event_source_mapping: event_source_mapping.go."""

    MEMBERS = {
        "batch_size": "BatchSize", "enabled": "Enabled", "event_source_arn": "EventSourceArn",
        "filter_criteria": "FilterCriteria", "function_name": "FunctionName",
        "function_response_types": "FunctionResponseTypes", "scaling_config": "ScalingConfig",
        "maximum_batching_window_in_seconds": "MaximumBatchingWindowInSeconds",
        "maximum_record_age_in_seconds": "MaximumRecordAgeInSeconds",
        "maximum_retry_attempts": "MaximumRetryAttempts", "parallelization_factor": "ParallelizationFactor",
        "bisect_batch_on_function_error": "BisectBatchOnFunctionError", "starting_position": "StartingPosition",
        "destination_config": "DestinationConfig", "tumbling_window_in_seconds": "TumblingWindowInSeconds",
    }

    def create(self):
        made = self.client.create_event_source_mapping(
            **{member: self.config[name] for name, member in self.MEMBERS.items() if name in self.config})
        self.id = made["UUID"]
        self.wait(["Creating", "Disabling", "Enabling"])
        self.read()
        return self

    def wait(self, pending):
        def reached():
            state = self.client.get_event_source_mapping(UUID=self.id)["State"]
            assert state in [*pending, "Enabled", "Disabled"], f"unexpected state {state!r}"
            return state not in pending
        until(reached, f"the mapping {self.id}", WAIT_SECONDS)

    def read(self):
        try:
            found = self.client.get_event_source_mapping(UUID=self.id)
        except errors_of(self.client, "ResourceNotFoundException"):
            self.state = None
            return
        # The provider formats it as a moment, so it must be one.
        assert found["LastModified"].timestamp() > 0
        self.client.list_tags(Resource=found["EventSourceMappingArn"])
        self.state = {name: found.get(member) for name, member in self.MEMBERS.items()}
        self.state["function_name"] = found["FunctionArn"]
        self.state["enabled"] = {"Enabled": True, "Enabling": True, "Disabled": False, "Disabling": False}.get(
            found["State"])
        self.state["state_transition_reason"] = found["StateTransitionReason"]

    def same(self, name, have, wanted):
        if name == "function_name":
            # DiffSuppressFunc: a name and the ARN of that name are the same.
            return have == wanted or have.split(":")[6] == wanted
        if name == "destination_config":
            # flattenDestinationConfig takes the failure alone.
            return have["OnFailure"] == wanted["OnFailure"]
        return super().same(name, have, wanted)

    def update(self, changed):
        self.client.update_event_source_mapping(
            UUID=self.id, **{self.MEMBERS[name]: self.config[name] for name in changed})
        self.wait(["Disabling", "Enabling", "Updating"])

    def destroy(self):
        def deleted():
            try:
                self.client.delete_event_source_mapping(UUID=self.id)
                return True
            except errors_of(self.client, "ResourceInUseException"):
                return False  # RetryWhenIsA
        until(deleted, "the mapping to be free", WAIT_SECONDS)

        def is_gone():
            try:
                state = self.client.get_event_source_mapping(UUID=self.id)["State"]
            except errors_of(self.client, "ResourceNotFoundException"):
                return True
            assert state == "Deleting", f"unexpected state {state!r}"
            return False
        until(is_gone, f"the mapping {self.id} to be gone", WAIT_SECONDS)
