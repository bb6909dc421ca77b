"""What a call is refused with."""

import pytest
from botocore.exceptions import ClientError


def refused(call, **arguments):
    """Status, code and text of the error that this call of a client answers."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"]
