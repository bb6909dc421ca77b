"""A network namespace that stands for the rest of the world."""

import os
import subprocess
import sys

# Addresses of a run, from a range for documentation: two runs may be at it on one machine.
NUMBER = os.getpid() % 32
HOST, SERVER, OTHER = (f"203.0.113.{8 * NUMBER + last}" for last in (1, 2, 6))
METADATA = f"169.254.170.{NUMBER}"
PORT = 8080
GREETER = """
import socket
with socket.create_server(("0.0.0.0", 8080)) as server:
    print("listening", flush=True)
    while True:
        server.accept()[0].sendall(b"hello")
"""


class World:
    """A network namespace that stands for the rest of the world, with somebody who says hello."""

    def __init__(self):
        self.name, self.link = f"lambic-e2e-{os.getpid()}", f"lme{os.getpid()}"
        self.greeter = None

    def build(self):
        self.ip(f"netns add {self.name}")
        self.ip(f"link add {self.link} type veth peer name eth0 netns {self.name}")
        self.ip(f"addr add {HOST}/30 dev {self.link}")
        self.ip(f"link set {self.link} up")
        for address in (f"{SERVER}/30", f"{OTHER}/32", f"{METADATA}/32"):
            self.ip(f"-n {self.name} addr add {address} dev eth0")
        self.ip(f"-n {self.name} link set lo up")
        self.ip(f"-n {self.name} link set eth0 up")
        for address in (OTHER, METADATA):
            self.ip(f"route add {address}/32 dev {self.link}")
        self.greeter = subprocess.Popen(
            ["ip", "netns", "exec", self.name, sys.executable, "-c", GREETER], stdout=subprocess.PIPE)
        assert self.greeter.stdout.readline() == b"listening\n"

    def remove(self):
        if self.greeter:
            self.greeter.kill()
            self.greeter.wait()
        subprocess.run(["ip", "netns", "del", self.name], check=False)

    @staticmethod
    def ip(line):
        subprocess.run(["ip", *line.split()], check=True)
