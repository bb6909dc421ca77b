"""What a spare of the Python runtime imports and calls once, before it has a function."""


def handler(event, context):
    return event
