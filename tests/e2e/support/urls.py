"""The URLs of functions: made, opened to everybody or to signers, and asked."""

import dataclasses
import json
import urllib.parse

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from .http import Wire, request
from .server import REGION


def open_to(client, name, principal="*", auth="NONE", **more):
    """The two statements that AWS wants in a function's policy."""
    for action, condition in [
        ("lambda:InvokeFunctionUrl", {"FunctionUrlAuthType": auth}),
        ("lambda:InvokeFunction", {"InvokedViaFunctionUrl": True}),
    ]:
        client.add_permission(
            FunctionName=name, StatementId=action.replace(":", "-"), Action=action, Principal=principal,
            **condition, **more)


@dataclasses.dataclass
class Url:
    """One URL. It is asked by its host on the server's port, so that no name has to be resolved."""

    port: int
    text: str

    @property
    def host(self):
        return urllib.parse.urlsplit(self.text).netloc

    @property
    def id(self):
        return self.host.split(".")[0]

    def ask(self, method="GET", path="/", body=None, headers=None):
        return request(self.port, method, path, body, {"Host": self.host, **(headers or {})})

    def says(self, answer, method="POST"):
        """What comes of this answer of the function, which does as it is told."""
        return self.ask(method, "/answer", json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def signed(self, key="000000000000", secret="any", path="/event", method="GET", body=b"", service="lambda",
               region=REGION, headers=None):
        """Signed as botocore signs."""
        asked = AWSRequest(method, f"http://{self.host}{path}", data=body, headers=headers or {})
        SigV4Auth(Credentials(key, secret), service, region).add_auth(asked)
        return self.ask(method, path, body or None, dict(asked.headers.items()))

    def wire(self, path="/", body="", headers=""):
        """A bare connection on which this has been asked."""
        return Wire(self.port).send(
            f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: text/plain\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n{body}")


def url_of(server, client, name, auth="NONE", **settings):
    made = client.create_function_url_config(FunctionName=name, AuthType=auth, **settings)
    return Url(server.port, made["FunctionUrl"])
