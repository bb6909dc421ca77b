"""Spares of Python that have imported AWS's SDK: who gets one, and that functions find what they would find without."""

import itertools
import json

import pytest

from support.functions import Functions, invoke, new_name, wait_updated, zip_of
from support.interpreter import RUNTIME, Interpreter
from support.server import Server
from support.wait import until

KEPT = 2
# `ahead` is what somebody had imported before the function did.
LOOKS = """
import sys
ahead = [name for name in ("boto3", "botocore", "six", "certifi", "urllib3") if name in sys.modules]
import boto3, botocore
def handler(event, context):
    return {"ahead": ahead, "files": [boto3.__file__, botocore.__file__], "path": sys.path}
"""
DRAWS = """
import sys
ahead = "boto3" in sys.modules
import boto3, hashlib, logging, multiprocessing, os, random, ssl, time, uuid
def handler(event, context):
    session = boto3.session.Session()
    return {
        "ahead": ahead,
        "own": [random.random(), str(uuid.uuid4()), ssl.RAND_bytes(16).hex(),
                bytes(multiprocessing.current_process().authkey).hex()],
        "default": boto3.DEFAULT_SESSION is None,
        "keys": session.get_credentials().access_key == os.environ["AWS_ACCESS_KEY_ID"],
        "session": [os.environ["AWS_ACCESS_KEY_ID"], session.region_name],
        "function": boto3.client("lambda").get_function(
            FunctionName=context.function_name)["Configuration"]["Description"],
        "logged_ms": logging.LogRecord("x", 20, "", 1, "", None, None).relativeCreated,
    }
"""
_starts = itertools.count(1)


class Made:
    def __init__(self, folder, interpreter, *args):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "python.toml").write_text(interpreter.setting())
        self.server = Server(folder, "--config", "python.toml", "--set", "functions.transition_ms=0", *args).start()
        self.use(self.server.client())

    def use(self, client):
        self.client, self.functions = client, Functions(client)

    def create(self, source=None, **settings):
        return self.functions.create(source, Runtime=RUNTIME, MemorySize=256, **settings)

    def cold(self, name):
        """What it says in an environment that has just been started."""
        self.client.update_function_configuration(
            FunctionName=name, Environment={"Variables": {"START": str(next(_starts))}})
        wait_updated(self.client, name)
        answer = invoke(self.client, name)
        assert answer.error is None, answer
        return json.loads(answer.payload)

    def until_kept(self, kinds):
        until(lambda: self.server.figure("lambic_spares") >= KEPT * kinds, f"spares of {kinds} kinds")

    def with_it(self, name):
        """What it says in an environment that had the SDK."""
        def started():
            answer = self.cold(name)
            return answer if answer["ahead"] else None
        return until(started, "a start that has it")


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory):
    return Interpreter(tmp_path_factory.mktemp("python") / "installed").install_sdk()


@pytest.fixture(scope="module")
def made(tmp_path_factory, interpreter):
    made = Made(tmp_path_factory.mktemp("sdk"), interpreter)
    yield made
    assert made.server.stop() == 0


def test_the_second_start_finds_it_imported_and_nothing_else_differs(tmp_path_factory, interpreter):
    made = Made(tmp_path_factory.mktemp("second"), interpreter)
    plain = made.create("def handler(event, context): return 1")
    name = made.create(LOOKS)
    made.until_kept(1)
    assert len(made.server.zygotes()) == 1
    first = made.cold(name)
    assert first["ahead"] == []
    made.until_kept(2)
    assert len(made.server.zygotes()) == 2, "one that has it, now that somebody wants it"
    second = made.cold(name)
    assert second["ahead"] == ["boto3", "botocore", "six", "urllib3"]
    assert (second["files"], second["path"]) == (first["files"], first["path"])
    # Other code of the same function has to show it again, and other functions go without.
    made.functions.replace_code(name, LOOKS + "\n# changed\n")
    assert made.cold(name)["ahead"] == []
    assert made.cold(name)["ahead"] != []
    assert made.cold(plain) == 1
    assert made.server.stop() == 0


def test_it_is_remembered_by_the_next_server_and_forgotten_with_the_function(tmp_path_factory, interpreter):
    made = Made(tmp_path_factory.mktemp("again"), interpreter)
    name = made.create(LOOKS)
    made.cold(name)
    made.until_kept(2)
    made.server.kill()
    made.server.start()
    # The interpreter has to be asked again what it has.
    until(lambda: made.cold(name)["ahead"] != [], "a start that remembers")
    made.client.delete_function(FunctionName=name)
    made.create(LOOKS, name=name)
    assert made.cold(name)["ahead"] == [], "another function of that name"
    assert made.server.stop() == 0


@pytest.mark.parametrize("own", ["boto3/__init__.py", "six.py", "certifi/__init__.py", "extra.pth"])
def test_who_brings_anything_of_it_gets_its_own(made, interpreter, own):
    marks = {"boto3/__init__.py": "", "six.py": (interpreter.modules / "six.py").read_text(),
             "certifi/__init__.py": "def where(): return '/own'\n", "extra.pth": "\n"}
    name = made.create(files={"app.py": LOOKS, own: marks[own]})
    answers = [made.cold(name) for _ in range(3)]
    assert all(answer["ahead"] == [] for answer in answers)
    place = "/var/task/boto3/__init__.py" if own.startswith("boto3") else f"/var/lang/lib/{RUNTIME}/site-packages"
    assert all(answer["files"][0].startswith(place) for answer in answers)


def test_a_layers_own_wins(made):
    content = zip_of({"python/boto3/__init__.py": "", "python/botocore/__init__.py": ""})
    layer = made.client.publish_layer_version(LayerName=new_name("layer"), Content={"ZipFile": content})
    name = made.create(LOOKS, Layers=[layer["LayerVersionArn"]])
    for _ in range(3):
        answer = made.cold(name)
        assert answer["ahead"] == []
        assert answer["files"] == ["/opt/python/boto3/__init__.py", "/opt/python/botocore/__init__.py"]


def test_who_searches_elsewhere_is_started_as_before(made):
    name = made.create("import sys\nsys.path.insert(0, '/tmp')\n" + LOOKS)
    assert all(made.cold(name)["ahead"] == [] for _ in range(3))


def test_what_is_drawn_and_whose_keys_are_used_is_each_ones_own(made):
    answers = []
    for account, region in (("000000000000", "us-east-1"), ("111122223333", "eu-west-1")):
        made.use(made.server.client(account=account, region=region))
        name = made.create(DRAWS, Description=f"{account} {region}")
        for _ in range(3):
            answer = made.with_it(name)
            assert answer["default"] and answer["keys"]
            assert answer["session"][1] == region and answer["function"] == f"{account} {region}"
            # Not from when the zygote was started.
            assert 0 <= answer["logged_ms"] < 2_000
            answers.append(answer)
    made.use(made.server.client())
    for column in zip(*[answer["own"] + answer["session"][:1] for answer in answers]):
        assert len(set(column)) == len(answers), column


def test_what_is_installed_later_is_found(tmp_path_factory, interpreter):
    folder = tmp_path_factory.mktemp("later")
    later = Interpreter(folder / "installed").install_sdk()
    made = Made(folder / "server", later)
    name = made.create(LOOKS)
    made.cold(name)
    made.until_kept(2)
    assert "certifi" not in made.cold(name)["ahead"]
    (later.modules / "certifi").mkdir()
    (later.modules / "certifi/__init__.py").write_text("def where(): return '/installed'\n")
    assert made.cold(name)["ahead"] == [], "one that was started before is of no use any more"
    until(lambda: "certifi" in made.cold(name)["ahead"], "a start that has it")
    assert made.server.stop() == 0
