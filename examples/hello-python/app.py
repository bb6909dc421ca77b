"""Answers an HTTP API request with a greeting."""

import json
import os

GREETINGS = {"en": "Hello", "fr": "Bonjour", "nl": "Hallo"}


def handler(event, context):
    name = event["pathParameters"]["name"]
    language = (event.get("queryStringParameters") or {}).get("language", "en")
    print(f"greeting {name} in {language}, {context.get_remaining_time_in_millis()} ms left")
    return {
        "statusCode": 200,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(
            {
                "message": f"{GREETINGS.get(language, 'Hello')}, {name}!",
                "function": context.function_name,
                "region": os.environ["AWS_REGION"],
            }
        ),
    }
