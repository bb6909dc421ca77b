"""Very many functions with very many versions, made in seconds: one is made through the API, and the records of it are
copied in the database while no server has it open."""

import http.client
import json
import random
import sqlite3
import time
import urllib.parse
import uuid

from .functions import PYTHON, ROLE, python_zip, wait_active, wait_updated

# Five digits, so that all names and with them all keys are of one length.
NAME = "f-{:05}"
FIRST = NAME.format(0)
FUNCTIONS = "/2015-03-31/functions"
SOURCE = "def handler(event, context): return [context.function_name, context.function_version]\n"


def make(server, functions, versions):
    """So many functions, all on one package, each with so many versions and the alias `live` on the last of them.
    The server is stopped when this is done."""
    server.start()
    client = server.client()
    client.create_function(FunctionName=FIRST, Runtime=PYTHON, Handler="app.handler", Role=ROLE, Timeout=20,
                           Code={"ZipFile": python_zip(SOURCE)}, Environment={"Variables": {"COLOUR": "blue"}})
    wait_active(client, FIRST)
    for number in range(versions):
        client.update_function_configuration(FunctionName=FIRST, Description=f"number {number}")
        wait_updated(client, FIRST)
        client.publish_version(FunctionName=FIRST)
    client.create_alias(FunctionName=FIRST, Name="live", FunctionVersion=str(versions))
    assert server.stop() == 0
    copy(server.data / "lambic.db", functions)


def copy(path, functions):
    """Gives every record of the first function to so many others."""
    random.seed(20_261_128)
    with sqlite3.connect(path) as database:
        records = database.execute(
            "SELECT key, value, revision FROM records WHERE key LIKE ?", [f"function% {FIRST}%"]).fetchall()
        assert records, "the first function has no records, or they are called something else"
        rows = ((key.replace(FIRST, NAME.format(number)), other(value, NAME.format(number)), revision)
                for number in range(1, functions) for key, value, revision in records)
        database.executemany("INSERT INTO records (key, value, revision) VALUES (?, ?, ?)", rows)


def other(value, name):
    """The record with another name, and with its own of what no two records may share."""
    record = json.loads(value.replace(FIRST, name))
    renew(record)
    return json.dumps(record, separators=(",", ":"))


def renew(value):
    if isinstance(value, dict):
        for name, member in value.items():
            if name == "generation":
                value[name] = random.getrandbits(62)
            elif name == "revision_id":
                value[name] = str(uuid.UUID(int=random.getrandbits(128), version=4))
            else:
                renew(member)
    elif isinstance(value, list):
        for item in value:
            renew(item)


class Reader:
    """Asks over one connection and without a signature, so that the client's own work is small."""

    def __init__(self, server):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)

    def get(self, path, **query):
        """The answer and the seconds that it took."""
        asked = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        begun = time.perf_counter()
        self.connection.request("GET", asked)
        reply = self.connection.getresponse()
        body = reply.read()
        took = time.perf_counter() - begun
        assert reply.status == 200, f"GET {asked}: {reply.status} {body[:300]}"
        return json.loads(body), took

    def pages(self, path, member, **query):
        """`(items, seconds)` of every page."""
        marker = None
        while True:
            page, took = self.get(path, **query, **({"Marker": marker} if marker else {}))
            yield page[member], took
            marker = page.get("NextMarker")
            if not marker:
                return
