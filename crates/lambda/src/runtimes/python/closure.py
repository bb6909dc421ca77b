"""Tells what importing some modules looks for and looks at: every module by its first name, found or not,
and every variable. Whatever a function brings of it must not have been decided before the function came."""

import sys

import importlib
import json
import os

looked_for, read = set(), set()


class Searched:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if path is None:
            looked_for.add(name)
        return None


def get(self, name, get=os._Environ.__getitem__):
    read.add(str(name))
    return get(self, name)


def each(self, each=os._Environ.__iter__):
    read.add("*")
    return each(self)


sys.meta_path.insert(0, Searched)
os._Environ.__getitem__ = get
os._Environ.__iter__ = each
for name in sys.argv[1:]:
    importlib.import_module(name)
print(" ".join(sorted(looked_for)))
print(" ".join(sorted(read)))
places = [os.path.realpath(place) for place in sys.path if os.path.isdir(place)]
print(json.dumps(places))
print(open("/proc/self/maps").read())
