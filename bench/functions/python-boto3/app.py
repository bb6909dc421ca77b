"""The Python function that is measured, for one that imports AWS's SDK as most do."""

import boto3

SESSION = boto3.session.Session(region_name="us-east-1")


def handler(event, context):
    return {"ok": True, "n": event["n"] + 1, "region": SESSION.region_name}
