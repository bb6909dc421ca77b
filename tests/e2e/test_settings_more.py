"""Settings of functions that need something of the machine's: retired runtimes."""

from support.functions import ROLE, invoke, python_zip, wait_active
from support.refusals import refused

SOURCE = "def handler(event, context): return event\n"


def test_a_retired_runtime_is_a_matter_of_configuration(client, fresh_server):
    one = fresh_server("--set", "runtimes.allow_retired=python3.7")
    function = {"FunctionName": "old", "Runtime": "python3.7", "Handler": "app.handler", "Role": ROLE,
                "Code": {"ZipFile": python_zip(SOURCE)}}
    status, code, text = refused(client.create_function, **function)
    assert (status, code) == (400, "InvalidParameterValueException")
    assert text.startswith("The runtime parameter of python3.7 is no longer supported for creating or updating")
    allowing = one.client()
    assert refused(allowing.create_function, **{**function, "Runtime": "nodejs14.x"})[0] == 400
    allowing.create_function(**function)
    wait_active(allowing, "old")
    assert invoke(allowing, "old", {"a": 1}).value == {"a": 1}
    # Without the permission it runs on, and nothing of it is changed.
    one.stop()
    one.args = ()
    one.start()
    kept = one.client()
    assert invoke(kept, "old", 2).value == 2
    assert kept.get_function_configuration(FunctionName="old")["Runtime"] == "python3.7"
