"""KMSKeyArn: environment variables under keys of the operator's."""

import base64
import os

import pytest

from support.functions import ROLE, invoke, new_name, python_zip, wait_active, wait_updated
from support.refusals import refused
from support.server import Server

KEY = "arn:aws:kms:us-east-1:000000000000:key/orders"
ALIAS = "arn:aws:kms:us-east-1:000000000000:alias/elsewhere"
SECRET = "a-secret-that-nobody-else-writes"
SOURCE = "import os\ndef handler(event, context): return os.environ['TOKEN']\n"


class Vault:
    """A server with two keys: one in its data directory, one far from it."""

    def __init__(self, folder):
        self.far = folder / "far"
        self.server = Server(folder / "server", "--config", "keys.toml", "--set", "functions.transition_ms=250")
        self.near = self.server.data / "keys" / "orders.key"
        self.near.parent.mkdir(parents=True)
        self.far.mkdir()
        self.near.write_bytes(os.urandom(32))
        (self.far / "key").write_text(base64.b64encode(os.urandom(32)).decode() + "\n")
        (self.server.folder / "keys.toml").write_text(
            f'[kms.keys]\n"{KEY}" = "orders.key"\n"{ALIAS}" = "{self.far / "key"}"\n')
        self.server.start()
        self.client = self.server.client()

    def create(self, key, secret=SECRET):
        name = new_name("sealed")
        self.client.create_function(
            FunctionName=name, Runtime="python3.13", Handler="app.handler", Role=ROLE, KMSKeyArn=key,
            Code={"ZipFile": python_zip(SOURCE)}, Environment={"Variables": {"TOKEN": secret}})
        wait_active(self.client, name)
        return name

    def renew(self, name):
        """Another configuration, so that no environment from before serves."""
        shown = self.client.get_function_configuration(FunctionName=name)
        self.client.update_function_configuration(FunctionName=name, Timeout=shown["Timeout"] + 1)
        wait_updated(self.client, name)


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    one = Vault(tmp_path_factory.mktemp("vault"))
    yield one
    assert one.server.stop() == 0
    assert SECRET not in one.server.text()


@pytest.mark.parametrize("key", [KEY, ALIAS])
def test_variables_under_a_key_are_nowhere_on_the_disk(vault, key):
    name = vault.create(key)
    shown = vault.client.get_function_configuration(FunctionName=name)
    assert (shown["KMSKeyArn"], shown["Environment"]) == (key, {"Variables": {"TOKEN": SECRET}})
    assert invoke(vault.client, name).value == SECRET
    # Whatever is open or was deleted since: what is in the files now is what a thief of the disk gets.
    for file in vault.server.data.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file


def test_what_happens_to_the_file_happens_to_the_key(vault):
    name, client = vault.create(KEY), vault.client
    # Environments that there are go on; new ones need the key.
    assert invoke(client, name).value == SECRET
    aside = vault.near.with_name("orders.key.disabled")
    vault.near.rename(aside)
    assert invoke(client, name).value == SECRET
    vault.renew(name)

    def outcome():
        status, code, text = refused(client.invoke, FunctionName=name)
        shown = client.get_function_configuration(FunctionName=name)["Environment"]
        assert set(shown) == {"Error"} and SECRET not in text
        return status, code, shown["Error"]["ErrorCode"]

    assert outcome() == (502, "KMSDisabledException", "DisabledException")
    content = aside.read_bytes()
    aside.unlink()
    assert outcome() == (502, "KMSNotFoundException", "NotFoundException")
    vault.near.write_bytes(bytes(32))
    assert outcome() == (502, "KMSInvalidStateException", "KMSInvalidStateException")
    vault.near.chmod(0)
    assert outcome() == (502, "KMSAccessDeniedException", "AccessDeniedException")
    vault.near.chmod(0o600)
    vault.near.write_bytes(content)
    assert invoke(client, name).value == SECRET


def test_an_unknown_key_is_refused(vault):
    unknown = "arn:aws:kms:us-east-1:000000000000:key/unknown"
    status, code, text = refused(
        vault.client.create_function, FunctionName=new_name("sealed"), Runtime="python3.13", Handler="app.handler",
        Role=ROLE, KMSKeyArn=unknown, Code={"ZipFile": python_zip(SOURCE)})
    assert (status, code) == (400, "InvalidParameterValueException")
    assert text.endswith(f"KMS Exception: NotFoundException KMS Message: Key '{unknown}' does not exist")


def test_a_key_can_be_given_changed_and_taken_away(vault):
    # Another one, since this one is stored in the clear for a while.
    value = "no secret"
    name, client = vault.create(KEY, value), vault.client
    for key in (ALIAS, "", KEY):
        client.update_function_configuration(FunctionName=name, KMSKeyArn=key)
        wait_updated(client, name)
        shown = client.get_function_configuration(FunctionName=name)
        assert (shown.get("KMSKeyArn", ""), shown["Environment"]["Variables"]) == (key, {"TOKEN": value})
        assert invoke(client, name).value == value
