"""The Python function that is measured: it adds one."""


def handler(event, context):
    return {"ok": True, "n": event["n"] + 1}
