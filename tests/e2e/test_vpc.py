"""VpcConfig: networks of the machine as subnets, and what security groups allow of them."""

import json
import threading

import pytest

from support.functions import Functions, invoke, wait_updated
from support.refusals import refused
from support.server import Server
from support.world import HOST, OTHER, PORT, SERVER, World

CONFIG = f"""
[[sandbox.network]]
name = "inner"
subnet_ids = ["subnet-0a", "subnet-0b"]
vpc_id = "vpc-0"
reach = ["{SERVER}"]

[[sandbox.network]]
name = "outer"
functions = ["walled-*"]
subnet_ids = ["subnet-0c"]
vpc_id = "vpc-0"
reach = ["internet"]

[[sandbox.security_group]]
id = "sg-0server"
vpc_id = "vpc-0"
allow = ["{SERVER}:{PORT}"]

[[sandbox.security_group]]
id = "sg-0both"
vpc_id = "vpc-0"
allow = ["{SERVER}:{PORT}/tcp", "{OTHER}"]

[[sandbox.security_group]]
id = "sg-0none"
vpc_id = "vpc-0"
allow = []
"""
# Tells which of several addresses answered.
PROBE = """
    import socket
    from concurrent.futures import ThreadPoolExecutor
    def reached(address):
        try:
            with socket.create_connection((address, PORT), timeout=2) as stream:
                return stream.recv(5) == b"hello"
        except OSError:
            return False
    def handler(event, context):
        with ThreadPoolExecutor() as pool:
            return [address for address, answered in zip(event, pool.map(reached, event)) if answered]
""".replace("PORT", str(PORT))


def vpc(subnets, groups):
    return {"SubnetIds": subnets, "SecurityGroupIds": groups}


@pytest.fixture(scope="module")
def world():
    one = World()
    try:
        one.build()
        yield one
    finally:
        one.remove()


@pytest.fixture(scope="module")
def server(world, tmp_path_factory):
    one = Server(tmp_path_factory.mktemp("vpc"), "--config", "vpc.toml", "--set", "functions.transition_ms=250")
    (one.folder / "vpc.toml").write_text(CONFIG)
    one.start()
    yield one
    assert one.stop() == 0


@pytest.fixture
def functions(server):
    made = Functions(server.client())
    yield made
    made.clean()


def test_a_function_reaches_what_its_subnet_and_its_groups_allow(functions):
    wanted = {
        "neither": (None, None, {SERVER, OTHER}),
        "one group": (["subnet-0a"], ["sg-0server"], {SERVER}),
        "two groups": (["subnet-0c"], ["sg-0server", "sg-0both"], {SERVER, OTHER}),
        "the group allows what the subnet does not reach": (["subnet-0a", "subnet-0b"], ["sg-0both"], {SERVER}),
        "the subnet reaches what the group does not allow": (["subnet-0c"], ["sg-0server"], {SERVER}),
        "a group that allows nothing": (["subnet-0c"], ["sg-0none"], set()),
    }
    found = {}

    def ask(case):
        subnets, groups, _ = wanted[case]
        more = {} if subnets is None else {"VpcConfig": vpc(subnets, groups)}
        found[case] = set(functions.invoke(functions.python(PROBE, **more), [SERVER, OTHER, HOST]).value)

    threads = [threading.Thread(target=ask, args=(case,)) for case in wanted]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert found == {case: reached for case, (_, _, reached) in wanted.items()}


def test_a_vpc_comes_changes_and_goes(functions):
    client, name = functions.client, functions.python(PROBE)
    assert "VpcConfig" not in client.get_function_configuration(FunctionName=name)
    for subnets, groups, vpc_id, reached in (
            (["subnet-0a"], ["sg-0server"], "vpc-0", {SERVER}),
            (["subnet-0c"], ["sg-0none"], "vpc-0", set()),
            ([], [], "", {SERVER, OTHER})):
        client.update_function_configuration(FunctionName=name, VpcConfig=vpc(subnets, groups))
        wait_updated(client, name)
        shown = client.get_function_configuration(FunctionName=name)["VpcConfig"]
        assert shown == {"SubnetIds": subnets, "SecurityGroupIds": groups, "VpcId": vpc_id,
                         "Ipv6AllowedForDualStack": False}
        assert set(invoke(client, name, [SERVER, OTHER]).value) == reached


def test_what_does_not_exist(functions):
    invalid = (400, "InvalidParameterValueException")
    for subnets, groups, text in (
            (["subnet-9"], ["sg-0none"], "Error occurred while DescribeSubnets. EC2 Error Code: "
             "InvalidSubnetID.NotFound. EC2 Error Message: The subnet ID 'subnet-9' does not exist"),
            (["subnet-0a"], ["sg-9"], "Error occurred while DescribeSecurityGroups. EC2 Error Code: "
             "InvalidGroup.NotFound. EC2 Error Message: The security group 'sg-9' does not exist")):
        assert refused(functions.python, source=PROBE, VpcConfig=vpc(subnets, groups)) == (*invalid, text)
    # What an operator says by the function's name, its owner does not change.
    walled = refused(functions.python, source=PROBE, name="walled-1", VpcConfig=vpc(["subnet-0a"], ["sg-0none"]))
    assert walled[:2] == invalid and "'outer'" in walled[2]


def test_a_function_that_means_harm(functions):
    """Whoever is inside cannot get rid of the list, by any program that is there."""
    name = functions.python("""
        import os, socket, subprocess
        def handler(event, context):
            run = lambda *command: subprocess.run(command, capture_output=True, text=True).returncode
            netlink = None
            try:
                socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
            except OSError as error:
                netlink = error.strerror
            return {
                "nft": run("/usr/sbin/nft", "flush", "ruleset"),
                "namespace": run("unshare", "--user", "--net", "true"),
                "netlink": netlink,
                "reached": reached(event),
            }
        def reached(address):
            try:
                return socket.create_connection((address, %d), timeout=2).recv(5).decode()
            except OSError as error:
                return "nothing"
    """ % PORT, VpcConfig=vpc(["subnet-0c"], ["sg-0none"]))
    seen = functions.invoke(name, SERVER).value
    assert seen["nft"] and seen["namespace"] and seen["netlink"], json.dumps(seen)
    assert seen["reached"] == "nothing"


def test_what_is_gone_from_the_configuration_ends_at_the_next_start(server, functions):
    name = functions.python(PROBE, VpcConfig=vpc(["subnet-0b"], ["sg-0server"]))
    assert functions.invoke(name, [SERVER]).value == [SERVER]
    file = server.folder / "vpc.toml"
    for gone, code in (("subnet-0b", "InvalidSubnetIDException"), ("sg-0server", "InvalidSecurityGroupIDException")):
        assert server.stop() == 0
        file.write_text(CONFIG.replace(gone, gone.replace("-0", "-7")))
        server.start()
        status, found, text = refused(server.client().invoke, FunctionName=name)
        assert (status, found) == (502, code) and gone in text
    assert server.stop() == 0
    file.write_text(CONFIG)
    server.start()
    assert invoke(server.client(), name, [SERVER]).value == [SERVER]
